"""Head yaw and pitch from the 49 points, by a scaled-orthographic fit of a mean face (evaluation only)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaze_models.data import face_axes, faces_folder, read_face_set, split_of_picture

RIGID = np.array([0, 8, 16, 24, 42, 43, 44, 45, 46, 47, 48])
"""Points that do not move with lids and gaze."""


@dataclass(frozen=True)
class HeadShape:
    """A mean face: (len(RIGID), 3) in units of s, x to the picture's right, y down, z away from the camera."""

    points: np.ndarray

    def angles(self, points: np.ndarray) -> np.ndarray:
        """Return yaw, pitch in radians, our signs, in the frame of the eye line, of (49, 2) pixels."""
        middle, _, u, s = face_axes(points)
        v = np.array([-u[1], u[0]])
        flat = (points[RIGID] - middle) @ np.stack([u, v], 1) / s
        flat = flat - flat.mean(0)
        model = self.points - self.points.mean(0)
        a, *_ = np.linalg.lstsq(model, flat, rcond=None)
        # rows of the rotation up to scale; made orthonormal
        left, _, right = np.linalg.svd(a.T, full_matrices=False)
        rows = left @ right
        forward = np.cross(rows[0], rows[1])
        rotation = np.stack([rows[0], rows[1], forward])
        # the face looks along its own -z
        look = rotation @ np.array([0.0, 0.0, -1.0])
        return np.array([np.arctan2(look[0], -look[2]), np.arcsin(np.clip(-look[1], -1, 1))])


def head_shape(data: Path, rounds: int = 5) -> HeadShape:
    """Average the training people of LFW, turned to face forward, into a mean shape."""
    pictures = read_face_set(faces_folder(data) / "lfw.tar")
    shapes = []
    for picture in pictures:
        if split_of_picture(picture) != "train" or not picture.faces:
            continue
        face = picture.faces[0]
        middle, _, u, s = face_axes(face.points)
        v = np.array([-u[1], u[0]])
        flat = (face.points[RIGID] - middle) @ np.stack([u, v], 1) / s
        shape = np.column_stack([flat, face.depth[RIGID] / s])
        shapes.append(shape - shape.mean(0))
    stack = np.stack(shapes)
    mean = stack.mean(0)
    mean = (mean + mean[MIRRORED] * [-1, 1, 1]) / 2
    for _ in range(rounds):
        turned = [s @ rotation_onto(s, mean) for s in stack]
        mean = np.median(turned, 0)
        mean = (mean + mean[MIRRORED] * [-1, 1, 1]) / 2
    return HeadShape(mean)


MIRRORED = np.array([2, 3, 0, 1, 4, 6, 5, 7, 8, 10, 9])
"""Index of the mirror image of each point of `RIGID`."""


def rotation_onto(shape: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the matrix R so that ``shape @ R`` is closest to `target` (Kabsch)."""
    left, _, right = np.linalg.svd(shape.T @ target)
    sign = np.sign(np.linalg.det(left @ right))
    return left @ np.diag([1, 1, sign]) @ right
