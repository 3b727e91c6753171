"""The prepared faces that the eye network learns from and is validated on, real and rendered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from gaze_models.eyes_augment import cut_patch, move_truth, turn_angles
from gaze_models.eyes_patches import PATCH_H, PATCH_W
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


def other_views(person: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each row another view of the same person, or the row itself where there is none."""
    first = np.searchsorted(person, person[rows], "left")
    count = np.searchsorted(person, person[rows], "right") - first
    step = 1 + (rng.random(len(rows)) * np.maximum(count - 1, 1)).astype(int)
    return first + (rows - first + step) % count


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
