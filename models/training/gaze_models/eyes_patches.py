"""Eye patches and their truth, as `eyes.onnx` wants them.

Training keeps *wide* patches (1.6 times as wide as the contract's, 64 x 96 pixels) so that shift, scale
and rotation can be drawn afresh in every epoch. They are neither turned upright differently nor mirrored;
:func:`canonical` and :func:`canonical_truth` mirror the left eye when the patches go into the network.

Patch units run 0..1 across the contract's 48 x 64 patch, x to the picture's right, y down.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from gaze_models.data import EYE_PATCH, Crop, eye_crops, openness

PATCH_W, PATCH_H = EYE_PATCH
WIDE_W, WIDE_H = 96, 64
WIDE_SCALE = 1.6
"""Width of the wide patch in widths of the contract's patch."""

EYE_COLUMNS = ("iris_x", "iris_y", "iris_radius", "openness")
"""Columns of the truth per eye: patch units, share of the patch width, 0..1."""


def widen(crop: Crop) -> Crop:
    """Return the wide crop around a contract patch."""
    return dataclasses.replace(crop, width=WIDE_SCALE * crop.width, columns=WIDE_W, rows=WIDE_H)


def cut_wide(grey: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return both wide patches of a face, (2, 64, 96) uint8, the observer's right eye first."""
    patches = [widen(crop).sample(grey) for crop in eye_crops(points)]
    return np.clip(np.round(np.stack(patches)), 0, 255).astype(np.uint8)


def cut_contract(grey: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the network's `patches` of one face, (2, 1, 48, 64) float32, 0..1, the left eye mirrored."""
    patches = [crop.sample(grey) for crop in eye_crops(points)]
    return canonical(np.stack(patches) / 255)[:, None].astype(np.float32)


def eye_truth(points: np.ndarray) -> np.ndarray:
    """Return iris and opening of both eyes from the 49 points, (2, 4) float32, ``EYE_COLUMNS``, unmirrored."""
    truth = np.zeros((2, 4), np.float32)
    for eye, (crop, iris) in enumerate(zip(eye_crops(points), (32, 37), strict=True)):
        truth[eye, :2] = crop.points_from_source(points[iris])
        radius = np.linalg.norm(points[iris + 1 : iris + 5] - points[iris], axis=1).mean()
        truth[eye, 2] = radius / crop.width
    truth[:, 3] = openness(points)
    return truth


def eye_lids(points: np.ndarray) -> np.ndarray:
    """Return the contours of both eyes, (2, 16, 2) float32, unmirrored patch units, outer corner first.

    Points 1 to 7 lie on the upper lid, 9 to 15 on the lower.
    """
    contours = (points[0:16], points[16:32])
    return np.stack([crop.points_from_source(c) for crop, c in zip(eye_crops(points), contours, strict=True)]).astype(
        np.float32
    )


def close_lid(wide: np.ndarray, lids: np.ndarray, share: float) -> np.ndarray:
    """Draw the upper lid of a wide patch down over the eye.

    The skin between brow and lid margin is stretched, the lashes come down with it; what is below stays.

    Parameters
    ----------
    wide
        (64, 96) uint8, unmirrored.
    lids
        (16, 2) contour in patch units.
    share
        0 leaves the eye as it is, 1 closes it.
    """
    step = WIDE_SCALE * PATCH_W / WIDE_W
    place = (lids - 0.5) * [PATCH_W / step, PATCH_H / step] + [(WIDE_W - 1) / 2, (WIDE_H - 1) / 2]
    order = 1 if place[0, 0] < place[8, 0] else -1
    upper, lower = place[0:9][::order], place[np.r_[8:16, 0]][::-order]
    columns = np.arange(WIDE_W, dtype=np.float32)
    top = np.interp(columns, upper[:, 0], upper[:, 1])
    bottom = np.maximum(np.interp(columns, lower[:, 0], lower[:, 1]), top)
    width = abs(place[8, 0] - place[0, 0])
    margin = top + share * (bottom - top)
    brow = top - 0.45 * width
    rows = np.arange(WIDE_H, dtype=np.float32)[:, None]
    stretched = brow + (rows - brow) * (top - brow) / np.maximum(margin - brow, 1e-3)
    rows_from = np.where(rows < brow, rows, np.where(rows <= margin + 0.5, stretched, rows)).astype(np.float32)
    columns_from = np.broadcast_to(columns, rows_from.shape).astype(np.float32)
    return cv2.remap(wide, columns_from, rows_from, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def look_aside(
    wide: np.ndarray, eye: np.ndarray, lids: np.ndarray, shift: np.ndarray, follow: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move the iris of a wide patch, and the lids with it: a real eye that looks a little elsewhere.

    Between the lids the picture moves as the iris does, less and less towards the corners; the skin above and
    below is stretched. Nothing that was under a lid is uncovered: the row next to the lid is drawn out instead.

    Parameters
    ----------
    wide
        (64, 96) uint8, unmirrored.
    eye, lids
        Truth (``EYE_COLUMNS``) and (16, 2) contour in patch units.
    shift
        (2,) of the iris, patch units, to the picture's right and down.
    follow
        Shares of the shift down that the upper and the lower lid follow.

    Returns
    -------
    tuple
        The new patch, iris (2,) and contour.
    """
    step = WIDE_SCALE * PATCH_W / WIDE_W
    unit = np.array([PATCH_W, PATCH_H]) / step
    middle = np.array([WIDE_W - 1, WIDE_H - 1]) / 2
    place, by = (lids - 0.5) * unit + middle, shift * unit
    iris, radius = (eye[:2] - 0.5) * unit + middle, max(float(eye[2] * unit[0]), 2.0)
    order = 1 if place[0, 0] < place[8, 0] else -1
    upper, lower = place[0:9][::order], place[np.r_[8:16, 0]][::-order]
    columns = np.arange(WIDE_W, dtype=np.float32)
    left, right = min(place[0, 0], place[8, 0]), max(place[0, 0], place[8, 0])
    old_top = np.interp(columns, upper[:, 0], upper[:, 1])
    old_bottom = np.maximum(np.interp(columns, lower[:, 0], lower[:, 1]), old_top)
    # lids move most in the middle and not at all in the corners
    bend = np.clip(1 - ((columns - (left + right) / 2) / (0.5 * (right - left))) ** 2, 0, 1)
    top = old_top + follow[0] * by[1] * bend
    bottom = np.maximum(old_bottom + follow[1] * by[1] * bend, top)
    edges = [left, iris[0] + by[0] - 1.1 * radius, iris[0] + by[0] + 1.1 * radius, right]
    with_iris = np.interp(columns, np.maximum.accumulate(edges), [0.0, 1.0, 1.0, 0.0])
    reach = 0.45 * (right - left)
    rows = np.arange(WIDE_H, dtype=np.float32)[:, None]
    inside = (rows > top) & (rows < bottom)
    within = np.clip(rows - by[1] * with_iris, old_top, old_bottom)
    brow, cheek = old_top - reach, old_bottom + reach
    above = brow + (rows - brow) * (old_top - brow) / np.maximum(top - brow, 1e-3)
    below = cheek - (cheek - rows) * (cheek - old_bottom) / np.maximum(cheek - bottom, 1e-3)
    rows_from = np.where(inside, within, np.where(rows <= top, np.where(rows < brow, rows, above), rows))
    rows_from = np.where(~inside & (rows >= bottom) & (rows > top), np.where(rows > cheek, rows, below), rows_from)
    columns_from = np.where(inside, columns - by[0] * with_iris, np.broadcast_to(columns, rows_from.shape))
    moved = cv2.remap(
        wide,
        columns_from.astype(np.float32),
        rows_from.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    contour = lids.copy()
    at = np.interp(place[:, 0], columns, bend) * shift[1]
    contour[1:8, 1] += (follow[0] * at)[1:8]
    contour[9:16, 1] += (follow[1] * at)[9:16]
    return moved, (eye[:2] + shift).astype(np.float32), contour.astype(np.float32)


def canonical(patches: np.ndarray) -> np.ndarray:
    """Mirror the left eye of (..., 2, rows, columns)."""
    result = patches.copy()
    result[..., 1, :, :] = result[..., 1, :, ::-1]
    return result


def canonical_truth(truth: np.ndarray) -> np.ndarray:
    """Mirror the iris x of the left eye of (..., 2, columns)."""
    result = truth.copy()
    result[..., 1, 0] = 1 - result[..., 1, 0]
    return result
