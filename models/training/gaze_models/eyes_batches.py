"""What one step of the eye network's training sees: which faces, cut, spoilt and hidden how.

A batch holds real faces, some of them once more with the iris moved (`look_aside`), pairs of rendered views of one
person, and rendered sessions: many views of one person in one light. What belongs together is cut and spoilt nearly
alike, as the frames of one recording are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from gaze_models.eyes_augment import (
    Faults,
    compress,
    cut_patch,
    hide_eye,
    move_points,
    move_truth,
    narrow,
    turn_angles,
    wear_glasses,
)
from gaze_models.eyes_patches import PATCH_H, PATCH_W, close_lid, look_aside
from gaze_models.eyes_sets import EyeSet, balance, other_views

Rows = dict[str, np.ndarray]
"""The fields of an `EyeSet`, and `is_real`, `group` (rows of one number belong together) and `partner` (the row whose
error has to be the same, or -1)."""

EYE_RADIUS = 10.0 / 63.0 / 0.85
"""From the eyeball's centre of rotation to the middle of the iris, in widths of a frontal patch (10 mm, eyes 63 mm
apart)."""


def directions(angles: np.ndarray) -> np.ndarray:
    """Return the parts towards the picture's right and down of the unit vectors of (..., 2) yaw, pitch."""
    yaw, pitch = angles[..., 0], angles[..., 1]
    return np.stack([np.cos(pitch) * np.sin(yaw), -np.sin(pitch)], -1)


def moved_looks(rows: Rows, rng: np.random.Generator) -> Rows:
    """Return the rows with both irises moved by some degrees, and gaze, iris and lids told accordingly.

    The new gaze is exact relative to the old one, whatever that was: real eyes with a truth of their own.
    """
    new = {name: values.copy() for name, values in rows.items()}
    turned = np.deg2rad(rng.uniform(-1, 1, (len(rows["gaze"]), 2)) * [12.0, 9.0])
    new["gaze"] = (rows["gaze"] + turned).astype(np.float32)
    shift = EYE_RADIUS * (directions(new["gaze"]) - directions(rows["gaze"])) * [1, PATCH_W / PATCH_H]
    for k, by in enumerate(shift):
        follow = rng.uniform(0.4, 0.95), rng.uniform(0.1, 0.5)
        for eye in range(2):
            patch, iris, lids = look_aside(
                rows["patches"][k, eye], rows["eyes"][k, eye], rows["lids"][k, eye], by, follow
            )
            new["patches"][k, eye], new["eyes"][k, eye, :2], new["lids"][k, eye] = patch, iris, lids
    return new


def choose(
    sets: dict[str, EyeSet],
    odds: dict[str, np.ndarray],
    settings: dict[str, Any],
    size: int,
    rng: np.random.Generator,
) -> Rows:
    """Draw the rows of a batch from the sets ``real``, ``views`` and ``sessions``, as far as they are there."""
    rendered = settings["render_share"] if "views" in sets else 0.0
    parts: list[Rows] = []

    def put(part: Rows, is_real: bool, group: np.ndarray, partner: np.ndarray) -> None:
        """Add rows; groups and partners are counted within the part."""
        before = sum(len(p["gaze"]) for p in parts)
        n = len(group)
        partner = np.where(partner >= 0, partner + before, -1)
        parts.append(part | {"is_real": np.full(n, is_real), "group": group + before, "partner": partner})

    def of(chosen: EyeSet, rows: np.ndarray) -> Rows:
        return {name: getattr(chosen, name)[rows] for name in EyeSet.__dataclass_fields__}

    n = max(2, round(size * (1 - rendered)))
    aside = round(n * settings["aside_share"])
    rows = of(sets["real"], rng.choice(len(odds["real"]), n - aside, p=odds["real"]))
    plain = np.arange(n - aside)
    put(rows, True, plain, np.full(len(plain), -1))
    # only open eyes can be made to look elsewhere, and only where a little of both can be seen
    able = (rows["eyes"][..., 3] > 0.5).all(1) & (np.abs(rows["gaze"]) < 0.6).all(1)
    open_eyes = np.flatnonzero(able)[:aside]
    if len(open_eyes):
        moved = moved_looks({name: rows[name][open_eyes] for name in EyeSet.__dataclass_fields__}, rng)
        put(moved, True, np.arange(len(open_eyes)), np.full(len(open_eyes), -1))
        parts[-1]["group"], parts[-1]["partner"] = parts[0]["group"][open_eyes], parts[0]["group"][open_eyes]
    if "views" in sets:
        n = max(1, round(size * rendered / 2))
        first = rng.choice(len(odds["views"]), n, p=odds["views"])
        rows = np.concatenate([first, other_views(sets["views"].person, first, rng)])
        both = np.arange(2 * n)
        partner = np.where(rows[:n] == rows[n:], -1, n + np.arange(n))
        put(of(sets["views"], rows), False, both, np.concatenate([partner, np.full(n, -1)]))
    if "sessions" in sets and settings["sessions"] > 0:
        person = sets["sessions"].person
        each = settings["session_views"]
        for who in rng.choice(np.unique(person), settings["sessions"], replace=False):
            rows = rng.permutation(np.flatnonzero(person == who))[:each]
            put(of(sets["sessions"], rows), False, np.zeros(each, int), (np.arange(each) + 1) % each)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass
class Batches(IterableDataset):
    """Augmented batches, one a step; the draws depend on the seed and the step alone."""

    sets: dict[str, EyeSet]
    strangers: np.ndarray
    settings: dict[str, Any]
    seed: int
    steps: range
    size: int

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the batches of the steps; a loading worker those that are its turn."""
        faults = Faults(self.seed, self.settings["glare_share"])
        odds = {name: balance(chosen.gaze, self.settings["balance_power"]) for name, chosen in self.sets.items()}
        worker = get_worker_info()
        for step in self.steps if worker is None else self.steps[worker.id :: worker.num_workers]:
            rng = np.random.default_rng([self.seed, step])
            rows = choose(self.sets, odds, self.settings, self.size, rng)
            yield augment(rows, self.strangers, faults, self.settings, rng)


OWN = 0.2
"""How much of the jitter of a row in a group is its own."""


def augment(
    rows: Rows,
    strangers: np.ndarray,
    faults: Faults,
    settings: dict[str, Any],
    rng: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """Jitter, degrade and hide: rows in, the network's inputs and truth out."""
    b = len(rows["gaze"])
    group = rows["group"]
    grouped = np.bincount(group, minlength=group.max() + 1)[group] > 1
    in_session = grouped & ~rows["is_real"]

    def shared(draw: np.ndarray, own: float = OWN) -> np.ndarray:
        """Let rows of one group have the same draw, but for a part of their own."""
        common = draw[group]
        return np.where(grouped.reshape(-1, *[1] * (draw.ndim - 1)), common + own * draw, draw)

    # most patches are cut where the landmark network puts them, give or take a little; the others around the truth
    is_seen = (rng.random(b) < settings["seen_share"])[group]
    loose = np.where(is_seen, 0.4, 1.0)
    turned = np.where(is_seen, rows["seen_turn"], 0.0)
    angle = turned + loose * np.clip(shared(rng.normal(0, 0.05, b)), -0.12, 0.12)
    scale = np.where(is_seen, rows["seen_scale"], 1.0)[:, None] * (1 + shared(rng.uniform(-0.02, 0.02, (b, 2))))
    scale *= 1 + loose[:, None] * shared(rng.uniform(-0.10, 0.10, (b, 1)))
    shift = shared(rng.normal(0, 0.012, (b, 1, 2)) + rng.normal(0, 0.022, (b, 2, 2)))
    shift = np.clip(shift, -0.07, 0.07) * PATCH_W
    shift = np.clip(loose[:, None, None] * shift + is_seen[:, None, None] * rows["seen_shift"], -9, 9)
    patches = np.empty((b, 2, PATCH_H, PATCH_W), np.float32)
    eyes, lids = np.empty((b, 2, 4), np.float32), np.empty((b, 2, 16, 2), np.float32)
    true_lids = np.ones((b, 2), np.float32)
    visible, present = np.empty((b, 2), np.float32), np.empty((b, 2), np.float32)
    weight, headless = np.empty(b, np.float32), np.zeros(b, bool)
    seeds = rng.integers(2**32, size=b)[group]
    for k in range(b):
        alike = np.random.default_rng(seeds[k])
        is_real = rows["is_real"][k]
        poor = alike.random() < settings["jpeg_share"] and is_real
        shut = np.zeros(2)
        if alike.random() < settings["close_share"] and is_real and not grouped[k]:
            shut[:] = 1.0 if rng.random() < 0.5 else rng.uniform(0.2, 1.0)
            if rng.random() < 0.1:
                shut[rng.integers(2)] = 0.0
        cut = np.empty((2, PATCH_H, PATCH_W), np.uint8)
        for eye in range(2):
            wide = rows["patches"][k, eye]
            if shut[eye] > 0:
                wide = close_lid(wide, rows["lids"][k, eye], shut[eye])
            if poor:
                wide = compress(wide, alike)
            place = angle[k] + rows["roll"][k], scale[k, eye], shift[k, eye], eye == 1
            cut[eye] = cut_patch(wide, *place)
            eyes[k, eye] = move_truth(rows["eyes"][k, eye], *place)
            eyes[k, eye, 3] *= 1 - shut[eye]
            lids[k, eye] = move_points(rows["lids"][k, eye], *place)
            true_lids[k, eye] = shut[eye] == 0
        if alike.random() < settings["glasses_share"] and is_real:
            cut = wear_glasses(cut, alike)
        is_narrow = alike.random() < settings["session_narrow_share" if in_session[k] else "narrow_share"]
        headless[k] = alike.random() < 0.5 and is_narrow
        if is_narrow:
            cut, taller = narrow(cut, alike)
            eyes[k, :, 1] = 0.5 + (eyes[k, :, 1] - 0.5) * taller
            lids[k, ..., 1] = 0.5 + (lids[k, ..., 1] - 0.5) * taller
        cut, shown, present[k] = hide_eye(cut, strangers, alike, 0.6 if is_narrow else 0.2)
        visible[k] = shown * rows["visible"][k]
        # renders come with a camera's faults of their own
        if alike.random() < settings["fault_share" if is_real else "render_fault_share"]:
            patches[k] = faults.apply(cut, alike, rng)
        else:
            patches[k] = cut / np.float32(255)
        # a lid drawn down over a straight look is not what lids do: iris counts, gaze hardly
        weight[k] = rows["gaze_weight"][k] * (0.3 if shut.any() else 1.0)
    # what the landmarks say of the head is off by a constant of the person and some noise
    mix = rng.random((b, 1))[group] * settings["true_head_share"] * rows["is_real"][:, None]
    posed = np.where(is_seen[:, None], turn_angles(rows["seen_head"], -rows["seen_turn"]), rows["posed"])
    told = (mix * rows["head"] + (1 - mix) * posed).astype(np.float32)
    error = rng.normal(0, np.deg2rad(settings["head_noise_deg"]), (b, 2)) * np.where(rng.random((b, 1)) < 0.1, 3, 1)
    head = turn_angles(told, angle) + (loose[:, None] * shared(error)).astype(np.float32)
    head[headless] = 0
    arrays = {
        "patches": patches,
        "eyes": eyes,
        "lids": lids,
        "true_lids": true_lids,
        "partner": rows["partner"],
        "session": np.where(in_session, group, -1),
        "gaze": turn_angles(rows["gaze"], angle),
        "head": head,
        "headless": headless,
        "present": present,
        "visible": visible,
        "weight": weight,
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
