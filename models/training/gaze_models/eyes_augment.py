"""Training batches of eye patches: jittered crops, webcam faults, hidden and false eyes.

Plain NumPy and OpenCV, one patch after the other: at this size that is several times faster on a CPU than the
same operations on torch batches.
"""

from __future__ import annotations

import cv2
import numpy as np

from gaze_models.common import smooth_noise
from gaze_models.eyes_patches import PATCH_H, PATCH_W, WIDE_H, WIDE_SCALE, WIDE_W

WIDE_STEP = WIDE_SCALE * PATCH_W / WIDE_W
"""Contract pixels per pixel of the wide patch."""

COLUMNS = ((np.arange(PATCH_W, dtype=np.float32) + 0.5) / PATCH_W * 2 - 1)[None, :]
ROWS = ((np.arange(PATCH_H, dtype=np.float32) + 0.5) / PATCH_H * 2 - 1)[:, None]
SIZE = np.array([PATCH_W, PATCH_H], np.float64)


def cut_patch(wide: np.ndarray, angle: float, scale: float, shift: np.ndarray, mirrored: bool) -> np.ndarray:
    """Cut a contract patch out of a wide one.

    Parameters
    ----------
    wide
        (64, 96) uint8, unmirrored.
    angle, scale, shift
        The patch is turned clockwise by `angle`, `scale` times as wide and moved by `shift` contract pixels.
    mirrored
        Mirror the result (the left eye).
    """
    cos, sin = np.cos(angle) * scale / WIDE_STEP, np.sin(angle) * scale / WIDE_STEP
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    if mirrored:
        matrix[:, 0] = -matrix[:, 0]
    middle = np.array([WIDE_W - 1, WIDE_H - 1]) / 2 + shift / WIDE_STEP
    matrix[:, 2] = middle - matrix[:, :2] @ ((SIZE - 1) / 2)
    return cv2.warpAffine(
        wide,
        matrix,
        (PATCH_W, PATCH_H),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def move_points(points: np.ndarray, angle: float, scale: float, shift: np.ndarray, mirrored: bool) -> np.ndarray:
    """Move points (..., 2) in patch units the way `cut_patch` moves the picture."""
    offset = (points.astype(np.float64) - 0.5) * SIZE - shift
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    moved = offset @ np.array([[cos, -sin], [sin, cos]])
    if mirrored:
        moved[..., 0] = -moved[..., 0]
    return (0.5 + moved / SIZE).astype(np.float32)


def move_truth(eye: np.ndarray, angle: float, scale: float, shift: np.ndarray, mirrored: bool) -> np.ndarray:
    """Move one eye's truth (``EYE_COLUMNS``) the way `cut_patch` moves its picture."""
    moved = eye.copy()
    moved[:2] = move_points(eye[:2], angle, scale, shift, mirrored)
    moved[2] = eye[2] / scale
    return moved


def narrow(patches: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Keep a tight window around the eye of (2, 48, 64) patches and draw its edges out, as from a crop of one eye.

    Such crops often have another shape than the eye: also returned is how much taller everything has become,
    around the patch's middle.
    """
    taller = float(np.exp(rng.normal(0, 0.12)))
    half_width = int(rng.integers(15, 24))
    half_height = int(rng.integers(7, 14) if rng.random() < 0.6 else rng.integers(14, 23))
    x, y = PATCH_W // 2 + int(rng.integers(-2, 3)), PATCH_H // 2 + int(rng.integers(-3, 3))
    left, top = x - half_width, max(0, y - half_height)
    bottom = min(PATCH_H, y + half_height)
    stretch = np.array([[1, 0, 0], [0, 1 / taller, (PATCH_H - 1) / 2 * (1 - 1 / taller)]])
    kind = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    stretched = [
        cv2.warpAffine(patch, stretch, (PATCH_W, PATCH_H), flags=kind, borderMode=cv2.BORDER_REPLICATE)
        for patch in patches
    ]
    inside = np.stack(stretched)[:, top:bottom, left : left + 2 * half_width]
    right = PATCH_W - left - 2 * half_width
    return np.pad(inside, ((0, 0), (top, PATCH_H - bottom), (left, right)), mode="edge"), taller


def wear_glasses(patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw glasses on (2, 48, 64) uint8 patches: a rim around each eye, tinted lenses, and what these mirror."""
    eyes_apart = PATCH_W / 0.85
    half = rng.uniform([0.24, 0.16], [0.48, 0.40]) * eyes_apart
    corner = rng.uniform(1.8, 5.0)  # 2 is an ellipse, 5 nearly a box
    level = rng.uniform(0, 0.35) if rng.random() < 0.75 else rng.uniform(0.35, 1.0)
    width, cover, tint = rng.uniform(0.7, 5.0), rng.uniform(0.5, 1.0), rng.uniform(0.7, 1.0)
    open_below = rng.random() < 0.2
    place = rng.normal([0, 2], [3, 3])
    shine = rng.uniform(0.05, 0.6) * (rng.random() < 0.4)
    window, size = rng.uniform(-0.7, 0.7, 2), rng.uniform(0.1, 0.7, 2)
    worn = np.empty(patches.shape, np.uint8)
    for eye, side in ((0, 1), (1, -1)):
        x_off, y_off = COLUMNS * PATCH_W / 2 - place[0], ROWS * PATCH_H / 2 - place[1] - rng.normal(0, 1)
        x, y = np.abs(x_off / half[0]), np.abs(y_off / half[1])
        edge = ((x**corner + y**corner) ** (1 / corner) - 1) * half.min()
        rim = cover * np.clip(0.5 * width + 0.5 - np.abs(edge), 0, 1)
        if open_below:
            rim = rim * (y_off < 0)
        lens = np.clip(0.5 - edge, 0, 1)
        # the same place of the picture in both lenses, one of which is mirrored
        x, y = np.abs(x_off / half[0] - side * window[0]), np.abs(y_off / half[1] - window[1])
        mirrors = (x < size[0]) & (y < size[1])
        mirrors = cv2.GaussianBlur(mirrors * lens.astype(np.float32), (0, 0), 1.2)
        seen = patches[eye] / 255 * (1 - lens * (1 - tint)) + shine * mirrors
        worn[eye] = np.round(np.clip(seen * (1 - rim) + level * rim, 0, 1) * 255)
    return worn


def turn_angles(angles: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Express yaw, pitch (b, 2) in frames that are turned clockwise in the picture by `roll` (b,)."""
    yaw, pitch = angles[:, 0], angles[:, 1]
    x, y, z = np.cos(pitch) * np.sin(yaw), -np.sin(pitch), -np.cos(pitch) * np.cos(yaw)
    cos, sin = np.cos(roll), np.sin(roll)
    x, y = cos * x + sin * y, -sin * x + cos * y
    return np.stack([np.arctan2(x, -z), np.arcsin(np.clip(-y, -1, 1))], 1).astype(np.float32)


def compress(wide: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink and JPEG-compress one wide patch, as a poor or distant camera would."""
    factor = rng.uniform(0.3, 1.0)
    size = max(16, round(WIDE_W * factor)), max(12, round(WIDE_H * factor))
    small = cv2.resize(wide, size, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))])[1]
    small = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    return cv2.resize(small, (WIDE_W, WIDE_H), interpolation=cv2.INTER_LINEAR)


def spot(middle: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return a spot of light, 1 in its middle; both in halves of the patch."""
    (x, y), (w, h) = middle, size
    return (np.exp(-(((COLUMNS - x) / w) ** 2)) * np.exp(-(((ROWS - y) / h) ** 2))).astype(np.float32)


class Faults:
    """What a webcam does to one face: the same light, blur and noise for both eyes, most of the time.

    Parameters
    ----------
    seed
        Seed of the bank of noise pictures.
    glare_share
        Share of faces with light over both eyes.
    """

    def __init__(self, seed: int, glare_share: float) -> None:
        self.glare_share = glare_share
        rng = np.random.default_rng(seed)
        fine = rng.normal(0, 1, (64, PATCH_H, PATCH_W)).astype(np.float32)
        coarse = np.stack([cv2.GaussianBlur(f, (0, 0), 0.8) for f in fine])
        self.noise = np.concatenate([fine, coarse / coarse.std()])
        self.shadows = np.stack([smooth_noise(rng, PATCH_H, PATCH_W) for _ in range(64)])

    def apply(self, patches: np.ndarray, rng: np.random.Generator, own: np.random.Generator) -> np.ndarray:
        """Return (2, 48, 64) float32, 0..1 in steps of 1/255, of (2, 48, 64) uint8.

        The camera and the light are drawn from `rng`, the noise of the moment from `own`.
        """
        gamma = np.exp(rng.normal(0, 0.25))
        gain = np.exp(rng.normal(0, 0.2)) * (rng.uniform(0.15, 0.5) if rng.random() < 0.12 else 1.0)
        curve = (np.linspace(0, 1, 256) ** gamma * gain + rng.normal(0, 0.03)).astype(np.float32)
        sigma = rng.uniform(0.3, 1.9, 2) if rng.random() < 0.5 else np.zeros(2)
        if rng.random() < 0.7:
            sigma[1] = sigma[0]
        strength = 0.06 * rng.random() ** 3 * (1 if gain > 0.5 else 0.4)
        tilt = rng.normal(0, 0.15, 2)
        glare = rng.uniform(0.3, 0.9) if rng.random() < self.glare_share else 0.0
        result = np.empty(patches.shape, np.float32)
        for eye in range(2):
            x = curve[patches[eye]]
            if sigma[0] > 0:
                x = cv2.GaussianBlur(x, (0, 0), float(sigma[0]), sigmaY=float(sigma[1]))
            tilt_here = tilt + rng.normal(0, 0.08, 2)
            x *= np.maximum(0.1, 1 + tilt_here[0] * COLUMNS + tilt_here[1] * ROWS).astype(np.float32)
            if rng.random() < 0.15:
                x *= 1 - rng.uniform(0, 0.6) * self.shadows[rng.integers(64)]
            while rng.random() < 0.2:
                middle, size = rng.uniform(-1, 1, 2), rng.uniform(0.05, [0.6, 0.5])
                x += rng.uniform(0.1, 0.9) * spot(middle, size)
            if glare > 0:
                x += glare * spot(rng.uniform(-0.7, 0.7, 2), rng.uniform(0.2, 0.5, 2))
            x += strength * self.noise[own.integers(len(self.noise))][:: own.choice([-1, 1])]
            result[eye] = x
        return np.round(np.clip(result, 0, 1) * 255) / 255


def cover(patch: np.ndarray, rng: np.random.Generator, is_lens: bool = False) -> np.ndarray:
    """Return a (48, 64) uint8 patch with something even before the eye: an eye patch, a hand, hair, or a dark lens.

    A turned rectangle, half a patch wide or more, so that nothing of the iris is left; a lens lets a little through.
    """
    angle, half = rng.uniform(-0.5, 0.5), rng.uniform(0.5, 1.3, 2)
    cos, sin = np.cos(angle), np.sin(angle)
    across, down = COLUMNS - rng.uniform(-0.15, 0.15), (ROWS - rng.uniform(-0.15, 0.15)) * PATCH_H / PATCH_W
    edge = np.maximum(
        np.abs(cos * across + sin * down) / half[0], np.abs(cos * down - sin * across) * PATCH_W / PATCH_H / half[1]
    )
    share = np.clip((1 - edge) / rng.uniform(0.02, 0.2) + 0.5, 0, 1)
    texture = rng.uniform(0, 40) * (smooth_noise(rng, PATCH_H, PATCH_W) - 0.5)
    through = rng.uniform(0, 0.12) * (patch.astype(np.float32) - patch.mean()) if is_lens else 0.0
    before = np.clip(rng.uniform(0, 60 if is_lens else 255) + texture + through, 0, 255)
    return np.round(patch + share * (before - patch)).astype(np.uint8)


def hide_eye(
    patches: np.ndarray, strangers: np.ndarray, rng: np.random.Generator, absent: float = 0.2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Now and then hide one eye, put dark lenses before both, or declare one absent.

    One is hidden in 5 %, half of them by a picture of something else and half by a cover; both in 2 %.

    Parameters
    ----------
    patches
        (2, 48, 64) uint8.
    strangers
        (m, 48, 64) uint8 patches without an eye.
    rng
        Source of the draws.
    absent
        How often one eye is declared absent.

    Returns
    -------
    tuple
        Patches, ``visible`` (2,) and ``present`` (2,), both 0 or 1.
    """
    visible, present = np.ones(2, np.float32), np.ones(2, np.float32)
    event, side = rng.random(), rng.integers(2)
    if event < 0.05 or event > 0.98:
        patches = patches.copy()
    if event < 0.025:
        patches[side] = strangers[rng.integers(len(strangers))]
        visible[side] = 0
    elif event < 0.05:
        patches[side] = cover(patches[side], rng)
        visible[side] = 0
    elif event > 0.98:
        patches[:] = [cover(patch, rng, is_lens=True) for patch in patches]
        visible[:] = 0
    if 0.05 < event < 0.05 + absent:
        present[side] = 0
    return patches, visible, present
