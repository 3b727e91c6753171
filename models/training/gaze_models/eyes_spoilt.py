"""How much worse the eye network gets when light, camera or glasses spoil the picture: the robustness rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from gaze_models.common import bootstrap_interval
from gaze_models.eyes import angular_error
from gaze_models.eyes_augment import cover
from gaze_models.eyes_patches import PATCH_H, PATCH_W
from gaze_models.eyes_sets import EyeSet, plain_batch

if TYPE_CHECKING:
    from gaze_models.eyes_evaluate import EyeNet

SPOILT = ("dark", "glare", "blur", "noise", "JPEG 20", "glasses")
"""Columns of the robustness table; see `corruptions`."""


def corruptions(rng: np.random.Generator) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return what the robustness row does to (2, 48, 64) patches, 0..1, whose pixels are about a webcam's."""

    def noisy(x: np.ndarray, levels: float) -> np.ndarray:
        return x + rng.normal(0, levels / 255, x.shape)

    def glare(x: np.ndarray) -> np.ndarray:
        rows, columns = np.mgrid[-1 : 1 : PATCH_H * 1j, -1 : 1 : PATCH_W * 1j]
        cx, cy = rng.uniform(-0.5, 0.5, (2, 2, 1, 1))
        return x + 0.7 * np.exp(-(((columns - cx) / 0.35) ** 2)) * np.exp(-(((rows - cy) / 0.35) ** 2))

    def glasses(x: np.ndarray) -> np.ndarray:
        # a dark rim round each eye, and in three of ten what the lens mirrors; eyes are about 75 pixels apart
        half = rng.uniform([0.3, 0.2], [0.42, 0.36]) * 75
        rim, lens = np.zeros((2, PATCH_H, PATCH_W), np.float32), np.zeros((2, PATCH_H, PATCH_W), np.float32)
        level, width = rng.uniform(0.05, 0.3), float(rng.uniform(1, 4))
        shine, across, down = rng.uniform(0.1, 0.4) * (rng.random() < 0.3), *rng.uniform(-0.5, 0.5, 2)
        rows, columns = np.mgrid[0:PATCH_H, 0:PATCH_W]
        for eye, side in ((0, 1), (1, -1)):
            x_off, y_off = (columns - PATCH_W / 2) / half[0], (rows - PATCH_H / 2) / half[1]
            edge = (np.hypot(x_off, y_off) - 1) * half.mean()
            rim[eye] = np.clip(0.5 * width + 0.5 - np.abs(edge), 0, 1)
            # a window: the same place of the picture in both lenses, one of which is mirrored
            u, v = columns / PATCH_W - 0.5 - 0.4 * side * across, rows / PATCH_H - 0.5 - 0.4 * down
            lens[eye] = (np.abs(u) < 0.15) & (np.abs(v) < 0.2) & (edge < 0)
            lens[eye] = cv2.GaussianBlur(lens[eye], (0, 0), 1.0)
        return (x + shine * lens) * (1 - rim) + level * rim

    def jpeg(x: np.ndarray) -> np.ndarray:
        shown = [
            cv2.imencode(".jpg", np.round(p * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 20])[1] for p in x
        ]
        return np.stack([cv2.imdecode(code, cv2.IMREAD_GRAYSCALE) for code in shown]) / 255

    return {
        "dark": lambda x: noisy(0.15 * x, 2),
        "glare": glare,
        "blur": lambda x: np.stack([cv2.GaussianBlur(p, (0, 0), 1.5) for p in x]),
        "noise": lambda x: noisy(x, 12),
        "JPEG 20": jpeg,
        "glasses": glasses,
    }


def open_faces(chosen: EyeSet) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return which faces have both eyes open and visible (n,); their patches (m, 2, 48, 64), heads, gaze (m, 2)."""
    seen = (chosen.visible > 0.5).all(1) & (chosen.eyes[..., 3] > 0.35).all(1)
    batch = plain_batch(chosen)
    patches, posed, truth = (batch[name].numpy()[seen] for name in ("patches", "head", "gaze"))
    return seen, patches, posed, truth


def sure_median(error: np.ndarray, who: list[str]) -> tuple[float, float, float]:
    """Return the median of sure answers' errors and its interval; NaN where none is sure, as after a few steps."""
    return bootstrap_interval(error, who, "median") if len(error) else (math.nan,) * 3


def measure_robustness(net: EyeNet, chosen: EyeSet, people: list[str], limit_rad: float) -> dict[str, Any]:
    """Return the median gaze error of spoilt patches, deg, of answers that are not said with low confidence.

    See `sure_median`; `of_clean` is over the error of clean patches.

    Parameters
    ----------
    chosen
        Held-out faces; the open and visible ones count.
    people
        Who is in each.
    limit_rad
        Sigma above which an answer is of low confidence.
    """
    seen, patches, posed, truth = open_faces(chosen)
    who = [people[k] for k in np.flatnonzero(seen)]
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {"clean": lambda x: x}
    results: dict[str, Any] = {}
    for name, spoil in (kinds | corruptions(np.random.default_rng(4))).items():
        spoilt = [np.round(np.clip(spoil(p), 0, 1) * 255) / 255 for p in patches]
        found = [net(p[:, None], head) for p, head in zip(spoilt, posed, strict=True)]
        error = angular_error(np.stack([f["gaze"] for f in found]), truth)
        sure = np.array([f["sigma"] for f in found]) <= limit_rad
        results[name] = {
            "n": len(error),
            "low_confidence": float(1 - sure.mean()),
            "median_deg": sure_median(error[sure], [w for w, s in zip(who, sure, strict=True) if s]),
        }
    for row in results.values():
        row["of_clean"] = row["median_deg"][0] / results["clean"]["median_deg"][0]
    return results


def measure_covered(net: EyeNet, chosen: EyeSet, visible_logit: float) -> dict[str, float]:
    """Return what is made of eyes with something drawn before them, as in training, and of bare ones.

    `taken` is the share of covered eyes that pass for eyes, `missed` that of bare open ones that do not; `of_clean`
    the median gaze error with one eye covered, over that with none.
    """
    rng = np.random.default_rng(5)
    _, patches, posed, truth = open_faces(chosen)
    covered = patches.copy()
    sides = rng.integers(2, size=len(patches))
    for pair, side in zip(covered, sides, strict=True):
        pair[side] = cover(np.round(pair[side] * 255).astype(np.uint8), rng) / np.float32(255)
    looks, errors = [], []
    for shown in (patches, covered):
        answers = []
        for pair, head in zip(shown, posed, strict=True):
            found = net(pair[:, None], head)
            looks.append(found["eye"][:, 4] > visible_logit)
            if looks[-1].sum() == 1:
                # as the daemon does: an eye that is not seen is told to be absent
                found = net(pair[:, None], head, tuple(looks[-1].astype(float)))
            answers.append(found["gaze"])
        errors.append(np.median(angular_error(np.stack(answers), truth)))
    bare, hidden = np.array(looks).reshape(2, -1, 2)
    return {
        "n": len(sides),
        "taken": float(hidden[np.arange(len(sides)), sides].mean()),
        "missed": float(1 - bare.mean()),
        "of_clean": float(errors[1] / errors[0]),
    }


def measure_glasses(net: EyeNet, chosen: EyeSet, worn: np.ndarray, limit_rad: float) -> dict[str, Any]:
    """Return the median gaze error of renders with glasses against those without, as `measure_robustness` does."""
    seen = (chosen.visible > 0.5).all(1) & (chosen.eyes[..., 3] > 0.35).all(1)
    batch = plain_batch(chosen)
    inputs = zip(batch["patches"].numpy(), batch["head"].numpy(), strict=True)
    found = [net(patches[:, None], head) for patches, head in inputs]
    gaze, sigma = np.stack([f["gaze"] for f in found]), np.array([f["sigma"] for f in found])
    error, sure = angular_error(gaze, batch["gaze"].numpy()), sigma <= limit_rad
    bare, interval = (
        sure_median(kept, [str(k) for k in range(len(kept))])
        for kept in (error[seen & sure & ~worn], error[seen & sure & worn])
    )
    return {
        "n": int((seen & worn).sum()),
        "low_confidence": float(1 - sure[seen & worn].mean()),
        "median_deg": interval,
        "of_clean": interval[0] / bare[0],
    }
