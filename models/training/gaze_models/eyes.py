"""The eye network's task: what the stages train, validate, export and measure (``configs/eyes.toml``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from gaze_models.common import GOLDEN_CASES, ModelContract, moved, smooth_noise
from gaze_models.data import tile
from gaze_models.eyes_augment import (
    Faults,
    compress,
    cut_patch,
    hide_eye,
    move_points,
    move_truth,
    narrow,
    turn_angles,
)
from gaze_models.eyes_network import FEATURES, EyeNetwork
from gaze_models.eyes_patches import PATCH_H, PATCH_W, close_lid
from gaze_models.eyes_seen import read_seen
from gaze_models.render import read_renders


@dataclass
class EyeSet:
    """Faces as the network learns them; one row a face.

    Attributes
    ----------
    patches
        (n, 2, 64, 96) uint8 wide patches, unmirrored.
    eyes
        (n, 2, 4) float32 truth (``EYE_COLUMNS``), unmirrored.
    head, posed, gaze
        (n, 2) float32 yaw, pitch in radians, normalised frame. `head` by the teacher or exact, `posed` fitted
        to the points, as at run time.
    gaze_weight
        (n,) float32 how much the gaze label is worth.
    visible
        (n, 2) float32: 0 where an eye is hidden in the picture.
    lids
        (n, 2, 16, 2) float32 contours of the eyes in patch units.
    person
        (n,) views of one person stand in a row and have the same number; -1 where nobody has several.
    roll
        (n,) float32 radians: clockwise turn of the eye line in `patches` and `eyes`; gaze and head are given in
        the turned frame.
    seen_shift, seen_scale, seen_turn, seen_head
        The landmark network's patches and head: see `gaze_models.eyes_seen.Seen`.
    """

    patches: np.ndarray
    eyes: np.ndarray
    head: np.ndarray
    posed: np.ndarray
    gaze: np.ndarray
    gaze_weight: np.ndarray
    visible: np.ndarray
    lids: np.ndarray
    person: np.ndarray
    roll: np.ndarray
    seen_shift: np.ndarray
    seen_scale: np.ndarray
    seen_turn: np.ndarray
    seen_head: np.ndarray


def true_openness(measured: np.ndarray) -> np.ndarray:
    """Correct the opening read off FaceMesh points, whose lids never quite meet.

    Looked at by eye on the training faces: below 0.3 the eye is shut, above 0.6 the points are right.
    """
    return np.interp(measured, [0.0, 0.3, 0.6, 1.0], [0.0, 0.03, 0.55, 1.0]).astype(np.float32)


def read_real(folder: Path, split: str) -> EyeSet:
    """Read one split of ``real.npz``; the teacher's spread says how much its gaze is worth."""
    with np.load(folder / "real.npz") as arrays:
        rows = arrays["split"] == split
        spread = arrays["spread"][rows]
        eyes = arrays["eyes"][rows]
        eyes[..., 3] = true_openness(eyes[..., 3])
        seen = read_seen(folder / "real-seen.npz", arrays["posed"])
        return EyeSet(
            arrays["patches"][rows],
            eyes,
            arrays["head"][rows],
            arrays["posed"][rows],
            arrays["gaze"][rows],
            (1 / (1 + (spread / np.deg2rad(4)) ** 2)).astype(np.float32),
            np.ones((rows.sum(), 2), np.float32),
            arrays["lids"][rows],
            np.full(rows.sum(), -1),
            np.zeros(rows.sum(), np.float32),
            seen.shift[rows],
            seen.scale[rows],
            seen.turn[rows],
            seen.head[rows],
        )


def read_rendered(folder: Path) -> EyeSet | None:
    """Read the renders of a folder, or None where there are none."""
    found = read_renders(folder)
    if found is None:
        return None
    ones = np.ones(len(found.gaze), np.float32)
    seen = read_seen(folder / "seen.npz", found.posed)
    return EyeSet(
        found.patches,
        found.eyes,
        found.head,
        found.posed,
        found.gaze,
        ones,
        found.visible,
        found.lids,
        found.person,
        found.roll,
        seen.shift,
        seen.scale,
        seen.turn,
        seen.head,
    )


def balance(gaze: np.ndarray, power: float) -> np.ndarray:
    """Return sampling weights that even out gaze directions: 1 / density ** power, capped at 20 x the median."""
    degrees = np.rad2deg(gaze)
    density, *_ = edges = np.histogram2d(*degrees.T, bins=[np.arange(-60, 61, 5), np.arange(-48, 49, 4)])
    density = cv2.GaussianBlur(density, (0, 0), 1.0)
    i, j = (np.clip(np.digitize(degrees[:, k], edges[k + 1]) - 1, 0, density.shape[k] - 1) for k in range(2))
    weights = (density[i, j] + 0.5) ** -power
    weights = np.minimum(weights, 20 * np.median(weights))
    return weights / weights.sum()


SIGMA_SHARE = 0.68
"""Share of the angular errors that lie within the stated sigma."""


def robust(miss: torch.Tensor, bend: float = 0.03) -> torch.Tensor:
    """Return the length of (n, 2) angles, quadratic within `bend` radians, in units of it."""
    return functional.huber_loss(miss, torch.zeros_like(miss), delta=bend, reduction="none").sum(1) / bend


def shape_of(eyes: torch.Tensor, lids: torch.Tensor) -> torch.Tensor:
    """Return what a calibration wants to know of eyes, wherever the patch was cut: (..., 6).

    Iris x, y from the middle of the corners, radius, openness, heights of the upper and the lower lid above that
    middle; in widths of the patch.
    """
    middle = (lids[..., 0, :] + lids[..., 8, :]) / 2
    square = eyes.new_tensor([1.0, PATCH_H / PATCH_W])
    iris = (eyes[..., :2] - middle) * square
    heights = (torch.stack([lids[..., 2:7, 1].mean(-1), lids[..., 10:15, 1].mean(-1)], -1) - middle[..., 1:]) * 0.75
    return torch.cat([iris, eyes[..., 2:], heights], -1)


def other_views(person: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each row another view of the same person, or the row itself where there is none."""
    first = np.searchsorted(person, person[rows], "left")
    count = np.searchsorted(person, person[rows], "right") - first
    step = 1 + (rng.random(len(rows)) * np.maximum(count - 1, 1)).astype(int)
    return first + (rows - first + step) % count


class EyeTask:
    """See `gaze_models.common.Task`."""

    def __init__(self, config: dict[str, Any], data: Path | None) -> None:
        self.config = config
        self.data = data
        self.folder = Path(config["prepare"]["folder"])
        self.contract = ModelContract(
            name="eyes",
            inputs={"patches": (2, 1, PATCH_H, PATCH_W), "head": (1, 2), "present": (1, 2)},
            outputs={"gaze": (1, 2), "log_sigma": (1, 1), "eye": (2, 6), "features": (1, FEATURES)},
            thresholds=dict(config["thresholds"]),
            tolerance=1e-3,
        )

    def network(self) -> EyeNetwork:
        """Return a fresh network."""
        shape = self.config["network"]
        return EyeNetwork(tuple(shape["channels"]), shape["width"], shape["hidden"])

    def batches(self, first_step: int, steps: int, smoke: bool) -> Iterator[dict[str, torch.Tensor]]:
        """Yield augmented batches; the draws depend on the seed and the step alone."""
        settings = self.config["train"]
        real = read_real(self.folder, "train")
        rendered = read_rendered(self.folder / "renders-train") if settings["render_share"] > 0 else None
        strangers = np.load(self.folder / "strangers.npy")
        faults = Faults(self.config["seed"])
        size = 8 if smoke else settings["batch"]
        sets = [real] if rendered is None else [real, rendered]
        shares = [1.0] if rendered is None else [1 - settings["render_share"], settings["render_share"]]
        odds = [balance(s.gaze, settings["balance_power"]) for s in sets]
        for step in range(first_step, steps):
            rng = np.random.default_rng([self.config["seed"], step])
            parts = []
            for chosen, share, p in zip(sets, shares, odds, strict=True):
                if chosen is real:
                    rows = rng.choice(len(p), max(1, round(size * share)), p=p)
                else:
                    rows = rng.choice(len(p), max(1, round(size * share / 2)), p=p)
                    rows = np.concatenate([rows, other_views(chosen.person, rows, rng)])
                part = {name: getattr(chosen, name)[rows] for name in EyeSet.__dataclass_fields__}
                parts.append(part | {"is_real": np.full(len(rows), chosen is real)})
            rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            yield augment(rows, strangers, faults, settings, rng)

    def loss(self, network: EyeNetwork, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the loss terms of one batch."""
        w = self.config["loss"]
        b = len(batch["gaze"])
        encoded = network.encode(batch["patches"].reshape(2 * b, 1, PATCH_H, PATCH_W))
        gaze, log_sigma, eye, features = network.answer(encoded, batch["head"], batch["present"])
        eye = eye.reshape(b, 2, -1)
        truth, visible = batch["eyes"], batch["visible"]
        openness = (truth[..., 3] * visible * batch["present"]).amax(1)
        seen = ((openness - 0.15) / 0.3).clamp(0.02, 1) * batch["weight"]
        miss = gaze - batch["gaze"]
        terms = {"gaze": (robust(miss) * seen).mean()}
        # people differ by a constant; two views of one person must not
        first = torch.nonzero(batch["partner"] >= 0)[:, 0]
        second = batch["partner"][first]
        both_seen = seen[first] * seen[second]
        terms["pair"] = (robust(miss[first] - miss[second]) * both_seen).sum() / b
        # sigma is the angle within which SIGMA_SHARE of the errors lie: that quantile of ln(angle)
        angle = torch.hypot(miss[:, 0] * torch.cos(batch["gaze"][:, 1]), miss[:, 1]).detach().clamp_min(1e-4)
        beyond = torch.log(angle)[:, None] - log_sigma
        terms["sigma"] = torch.maximum(SIGMA_SHARE * beyond, (SIGMA_SHARE - 1) * beyond).mean()
        error = eye[..., :3] - truth[..., :3]
        error = error * error.new_tensor([1.0, PATCH_H / PATCH_W, 1.0])
        iris_seen = visible * ((truth[..., 3] - 0.1) / 0.25).clamp(0.1, 1)
        nothing = torch.zeros_like(error[..., :2])
        position = functional.huber_loss(error[..., :2], nothing, delta=0.02, reduction="none")
        terms["iris"] = (position.sum(-1) / 0.02 * iris_seen).mean()
        terms["radius"] = (error[..., 2].abs() * iris_seen).mean()
        spread = 0.5 * (error[..., :2].detach() ** 2).sum(-1)
        spread = visible * spread + (1 - visible) * 0.04
        terms["iris_sigma"] = (eye[..., 5] + 0.5 * spread * torch.exp(-2 * eye[..., 5])).mean()
        lids = functional.binary_cross_entropy_with_logits(eye[..., 3], truth[..., 3], reduction="none")
        terms["openness"] = (lids * visible).mean()
        terms["visible"] = functional.binary_cross_entropy_with_logits(eye[..., 4], visible)
        contour = network.contour(encoded).reshape(b, 2, 16, 2) + 0.5
        off = functional.huber_loss(contour, batch["lids"], delta=0.02, reduction="none").sum(-1).mean(-1)
        terms["contour"] = (off / 0.02 * visible * batch["true_lids"]).mean()
        asked = torch.cat([shape_of(truth, batch["lids"]).flatten(1), batch["head"]], 1)
        known = (visible * batch["present"] * batch["true_lids"])[..., None].expand(b, 2, 6).flatten(1)
        mask = torch.cat([known, known.new_ones(b, 2)], 1)
        terms["auxiliary"] = ((network.auxiliary(features) - asked).abs() * mask).mean()
        terms["total"] = sum(w[name] * value for name, value in terms.items())
        return terms

    @torch.no_grad()
    def validate(self, network: nn.Module, page: Path, smoke: bool) -> dict[str, float]:
        """Return errors on held-out people and held-out renders, without augmentation."""
        figures: dict[str, float] = {}
        pictures = []
        for name, chosen in (
            ("real", read_real(self.folder, "val")),
            ("render", read_rendered(self.folder / "renders-val")),
        ):
            if chosen is None:
                continue
            found = predict(network, chosen, 16 if smoke else None)
            figures |= {f"{name} {k}": v for k, v in errors_of(found, chosen).items()}
            for k in np.linspace(0, len(found["gaze"]) - 1, 12).astype(int):
                pictures.append(draw_prediction(found, k, name))
        cv2.imwrite(str(page), tile(pictures, 4))
        return figures

    @torch.no_grad()
    def settle(self, network: EyeNetwork) -> None:
        """Shift the stated sigma so that it holds on the validation renders, whose truth is exact.

        Training sees harder pictures than cameras send, so that what is learnt there is too large.
        """
        chosen = read_rendered(self.folder / "renders-val")
        if chosen is None:
            return
        found = predict(network, chosen)
        looks = ((found["truth"][..., 3] > 0.35) & (chosen.visible > 0.5)).any(1)
        beyond = np.log(np.deg2rad(angular_error(found["gaze"], found["true_gaze"])) / found["sigma"])[looks]
        network.side_log_sigma.bias.add_(float(np.quantile(beyond, SIGMA_SHARE)))

    def golden_inputs(self) -> dict[str, np.ndarray]:
        """Return rendered eyes where there are any (else drawn ones), every presence pattern among them."""
        rng = np.random.default_rng(self.config["seed"])
        rendered = read_rendered(self.folder / "renders-val")
        if rendered is None:
            patches = np.stack(
                [[[smooth_noise(rng, PATCH_H, PATCH_W)] for _ in range(2)] for _ in range(GOLDEN_CASES)]
            )
            head = rng.normal(0, 0.2, (GOLDEN_CASES, 1, 2))
        else:
            few = EyeSet(*(getattr(rendered, f)[:GOLDEN_CASES] for f in EyeSet.__dataclass_fields__))
            patches = plain_batch(few)["patches"].numpy()[:, :, None]
            head = few.seen_head[:, None]
        present = np.ones((GOLDEN_CASES, 1, 2))
        present[2, 0, 0] = present[5, 0, 1] = 0
        return {
            "patches": patches.astype(np.float32),
            "head": head.astype(np.float32),
            "present": present.astype(np.float32),
        }

    def evaluate(self, onnx_file: Path, out: Path, smoke: bool) -> dict[str, Any]:
        """Measure the exported file; see `gaze_models.eyes_evaluate`."""
        from gaze_models.eyes_evaluate import evaluate_eyes

        return evaluate_eyes(self, onnx_file, out, smoke)

    def card_figures(self, figures: dict[str, Any]) -> str:
        """Return the evaluation as the tables of the model card."""
        from gaze_models.eyes_evaluate import card_tables

        return card_tables(figures)


def augment(
    rows: dict[str, np.ndarray],
    strangers: np.ndarray,
    faults: Faults,
    settings: dict[str, Any],
    rng: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """Jitter, degrade and hide: rows of an `EyeSet` in, the network's inputs and truth out."""
    b = len(rows["gaze"])
    # most patches are cut where the landmark network puts them, give or take a little; the others around the truth
    is_seen = rng.random(b) < settings["seen_share"]
    loose = np.where(is_seen, 0.4, 1.0)
    turned = np.where(is_seen, rows["seen_turn"], 0.0)
    angle = turned + loose * np.clip(rng.normal(0, 0.05, b), -0.12, 0.12)
    scale = np.where(is_seen, rows["seen_scale"], 1.0)[:, None] * (1 + rng.uniform(-0.02, 0.02, (b, 2)))
    scale *= 1 + loose[:, None] * rng.uniform(-0.10, 0.10, (b, 1))
    shift = np.clip(rng.normal(0, 0.012, (b, 1, 2)) + rng.normal(0, 0.022, (b, 2, 2)), -0.07, 0.07) * PATCH_W
    shift = np.clip(loose[:, None, None] * shift + is_seen[:, None, None] * rows["seen_shift"], -9, 9)
    patches = np.empty((b, 2, PATCH_H, PATCH_W), np.float32)
    eyes, lids = np.empty((b, 2, 4), np.float32), np.empty((b, 2, 16, 2), np.float32)
    true_lids = np.ones((b, 2), np.float32)
    visible, present = np.empty((b, 2), np.float32), np.empty((b, 2), np.float32)
    weight = np.empty(b, np.float32)
    for k in range(b):
        poor = rng.random() < settings["jpeg_share"] and rows["is_real"][k]
        shut = np.zeros(2)
        if rng.random() < settings["close_share"] and rows["is_real"][k]:
            shut[:] = 1.0 if rng.random() < 0.5 else rng.uniform(0.2, 1.0)
            if rng.random() < 0.1:
                shut[rng.integers(2)] = 0.0
        cut = np.empty((2, PATCH_H, PATCH_W), np.uint8)
        for eye in range(2):
            wide = rows["patches"][k, eye]
            if shut[eye] > 0:
                wide = close_lid(wide, rows["lids"][k, eye], shut[eye])
            if poor:
                wide = compress(wide, rng)
            place = angle[k] + rows["roll"][k], scale[k, eye], shift[k, eye], eye == 1
            cut[eye] = cut_patch(wide, *place)
            eyes[k, eye] = move_truth(rows["eyes"][k, eye], *place)
            eyes[k, eye, 3] *= 1 - shut[eye]
            lids[k, eye] = move_points(rows["lids"][k, eye], *place)
            true_lids[k, eye] = shut[eye] == 0
        if rng.random() < settings["narrow_share"]:
            cut = narrow(cut, rng)
        cut, shown, present[k] = hide_eye(cut, strangers, rng)
        visible[k] = shown * rows["visible"][k]
        # renders come with a camera's faults of their own
        if rng.random() < (settings["fault_share"] if rows["is_real"][k] else settings["render_fault_share"]):
            patches[k] = faults.apply(cut, rng)
        else:
            patches[k] = cut / np.float32(255)
        # a lid drawn down over a straight look is not what lids do: iris counts, gaze hardly
        weight[k] = rows["gaze_weight"][k] * (0.3 if shut.any() else 1.0)
    # what the landmarks say of the head is off by a constant of the person and some noise
    mix = (rng.random((b, 1)) * settings["true_head_share"] * rows["is_real"][:, None]).astype(np.float32)
    posed = np.where(is_seen[:, None], turn_angles(rows["seen_head"], -rows["seen_turn"]), rows["posed"])
    told = mix * rows["head"] + (1 - mix) * posed
    error = loose[:, None] * rng.normal(0, np.deg2rad(settings["head_noise_deg"]), (b, 2))
    error *= np.where(rng.random((b, 1)) < 0.1, 3, 1)
    # the rendered rows stand last: views, then another view of each one's person
    partner = np.full(b, -1)
    rendered = np.flatnonzero(~rows["is_real"])
    firsts, others = np.split(rendered, 2)
    partner[firsts] = np.where(rows["person"][firsts] == rows["person"][others], others, -1)
    arrays = {
        "patches": patches,
        "eyes": eyes,
        "lids": lids,
        "true_lids": true_lids,
        "partner": partner,
        "gaze": turn_angles(rows["gaze"], angle),
        "head": turn_angles(told, angle) + error.astype(np.float32),
        "present": present,
        "visible": visible,
        "weight": weight,
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}


def plain_batch(chosen: EyeSet) -> dict[str, torch.Tensor]:
    """Return a set as the network gets it at run time: cut where the landmark network puts the eyes, no jitter."""
    n = len(chosen.gaze)
    patches, eyes = np.empty((n, 2, PATCH_H, PATCH_W), np.float32), np.empty((n, 2, 4), np.float32)
    for k in range(n):
        for eye in range(2):
            place = chosen.roll[k] + chosen.seen_turn[k], chosen.seen_scale[k], chosen.seen_shift[k, eye], eye == 1
            patches[k, eye] = cut_patch(chosen.patches[k, eye], *place) / np.float32(255)
            eyes[k, eye] = move_truth(chosen.eyes[k, eye], *place)
    gaze = turn_angles(chosen.gaze, chosen.seen_turn)
    arrays = {"patches": patches, "eyes": eyes, "gaze": gaze, "head": chosen.seen_head}
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


@torch.no_grad()
def predict(network: nn.Module, chosen: EyeSet, limit: int | None = None) -> dict[str, np.ndarray]:
    """Run the network over a set; ``eyes`` and ``truth`` are (n, 2, 4) as the network sees them (left mirrored)."""
    network.eval()
    where = next(network.parameters()).device
    batch = plain_batch(chosen)
    n = min(limit or len(chosen.gaze), len(chosen.gaze))
    outputs: list[tuple[torch.Tensor, ...]] = []
    for start in range(0, n, 256):
        rows = slice(start, min(start + 256, n))
        patches = batch["patches"][rows].reshape(-1, 1, PATCH_H, PATCH_W)
        head = batch["head"][rows]
        outputs.append(network(*moved((patches, head, torch.ones_like(head)), where)))
    gaze, log_sigma, eye, features = (torch.cat(part).cpu().numpy() for part in zip(*outputs, strict=True))
    eye = eye.reshape(n, 2, -1).astype(np.float64)
    eyes = np.concatenate([eye[..., :3], 1 / (1 + np.exp(-eye[..., 3:4]))], -1)
    return {
        "gaze": gaze,
        "sigma": np.exp(log_sigma[:, 0]),
        "eyes": eyes,
        "truth": batch["eyes"].numpy()[:n],
        "true_gaze": batch["gaze"].numpy()[:n],
        "patches": batch["patches"].numpy()[:n],
        "features": features,
        "visible": eye[..., 4],
        "iris_sigma": np.exp(eye[..., 5]),
    }


def draw_prediction(found: dict[str, np.ndarray], k: int, caption: str) -> np.ndarray:
    """Draw both contract patches of a face with the predicted iris, opening and gaze."""
    zoom, shown = 4, []
    for eye in range(2):
        patch = np.round(found["patches"][k, eye] * 255).astype(np.uint8)
        canvas = cv2.cvtColor(cv2.resize(patch, None, fx=zoom, fy=zoom), cv2.COLOR_GRAY2BGR)
        x, y, radius, openness = (float(v) for v in found["eyes"][k, eye])
        centre = np.array([x * PATCH_W, y * PATCH_H]) * zoom
        yaw, pitch = found["gaze"][k] * ([1, 1] if eye == 0 else [-1, 1])
        tip = centre + 90 * np.array([np.cos(pitch) * np.sin(yaw), -np.sin(pitch)])
        start = np.round(centre).astype(int).tolist()
        cv2.circle(canvas, start, max(1, round(abs(radius) * PATCH_W * zoom)), (0, 0, 255), 1)
        cv2.arrowedLine(canvas, start, np.round(tip).astype(int).tolist(), (0, 255, 0), 1)
        cv2.putText(canvas, f"open {openness:.2f}", (3, PATCH_H * zoom - 5), 0, 0.4, (0, 255, 255), 1)
        shown.append(canvas)
    page = np.hstack(shown)
    cv2.putText(page, caption, (3, 12), 0, 0.4, (0, 255, 255), 1)
    return page


def angular_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angle in degrees between two gaze directions given as (n, 2) yaw, pitch in radians."""
    cosine = np.sin(a[:, 1]) * np.sin(b[:, 1]) + np.cos(a[:, 1]) * np.cos(b[:, 1]) * np.cos(a[:, 0] - b[:, 0])
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def errors_of(found: dict[str, np.ndarray], chosen: EyeSet) -> dict[str, float]:
    """Return the figures that validation follows; gaze and iris over open, visible eyes only."""
    n = len(found["gaze"])
    truth, visible = found["truth"], chosen.visible[:n] > 0.5
    open_eye = (truth[..., 3] > 0.35) & visible
    looks = open_eye.any(1)
    error = angular_error(found["gaze"], found["true_gaze"])[looks]
    delta = (found["eyes"][..., :2] - truth[..., :2]) * [1, PATCH_H / PATCH_W]
    # a patch is 0.85 s wide and s is about the eye distance of a frontal face
    iris = 0.85 * np.linalg.norm(delta, axis=-1)[open_eye]
    return {
        "gaze median": float(np.median(error)),
        "yaw r": float(np.corrcoef(found["gaze"][looks, 0], found["true_gaze"][looks, 0])[0, 1]),
        "pitch r": float(np.corrcoef(found["gaze"][looks, 1], found["true_gaze"][looks, 1])[0, 1]),
        "within sigma": float((np.deg2rad(error) < found["sigma"][looks]).mean()),
        "iris share of s": float(np.median(iris)),
        "openness": float(np.abs(found["eyes"][..., 3] - truth[..., 3])[visible].mean()),
    }


def task(config: dict[str, Any], data: Path | None) -> EyeTask:
    """Return the task of ``configs/eyes.toml``."""
    return EyeTask(config, data)
