"""Head yaw and pitch from the 49 points, the way the daemon finds them (host/src/vision/head_pose.rs).

A generic head is turned, scaled and moved until it lies on the points, by weighted Gauss-Newton. The daemon does
it with perspective and the camera's focal length; pictures of unknown cameras get a scaled-orthographic fit.
"""

from __future__ import annotations

import numpy as np

from gaze_models.data import face_axes

RIGID = np.array([0, 8, 24, 16, 42, 43, 44, 45, 46, 47, 48])
"""Points that do not move with lids and gaze."""

HEAD_MM = np.array(
    [
        [-45.0, -0.6, 2.7],
        [-18.0, 0.6, -2.7],
        [18.0, 0.6, -2.7],
        [45.0, -0.6, 2.7],
        [0.0, 38.3, -42.1],
        [-26.1, 67.9, -6.5],
        [26.1, 67.9, -6.5],
        [0.0, -53.9, -12.5],
        [0.0, 116.0, -7.0],
        [-71.3, 21.3, 56.0],
        [71.3, 21.3, 56.0],
    ]
)
"""The daemon's generic head: x to the picture's right, y down, z away from the camera, facing it."""

WEIGHTS = np.array([1.0, 1.0, 1.0, 1.0, 0.5, 0.2, 0.2, 0.3, 0.15, 0.3, 0.3])


def turn(vector: np.ndarray) -> np.ndarray:
    """Return the rotation matrix of a rotation vector (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def head_angles(points: np.ndarray, steps: int = 12) -> np.ndarray:
    """Return yaw, pitch in radians, our signs, in the frame of the eye line.

    Parameters
    ----------
    points
        (49, 2) pixels.
    steps
        Gauss-Newton steps at most.
    """
    middle, _, u, s = face_axes(points)
    v = np.array([-u[1], u[0]])
    flat = (points[RIGID] - middle) @ np.stack([u, v], 1) / s
    head = HEAD_MM / 63.0
    rotation, scale, shift = np.eye(3), 1.0, np.zeros(2)
    root = np.repeat(WEIGHTS, 2)
    for _ in range(steps):
        turned = head @ rotation.T
        residual = flat - scale * turned[:, :2] - shift
        # d(turned) = w x turned; its x and y by the three components of w
        x, y, z = turned.T
        zero, one = np.zeros_like(x), np.ones_like(x)
        by_x = np.stack([zero, scale * z, -scale * y, x, one, zero], 1)
        by_y = np.stack([-scale * z, zero, scale * x, y, zero, one], 1)
        jacobian = np.stack([by_x, by_y], 1).reshape(-1, 6)
        step, *_ = np.linalg.lstsq(jacobian * root[:, None], residual.reshape(-1) * root, rcond=None)
        step[:3] *= min(1.0, 0.5 / max(float(np.linalg.norm(step[:3])), 1e-9))
        rotation = turn(step[:3]) @ rotation
        scale += step[3]
        shift = shift + step[4:]
        if np.abs(step).max() < 1e-6:
            break
    look = rotation @ np.array([0.0, 0.0, -1.0])
    return np.array([np.arctan2(look[0], -look[2]), np.arcsin(np.clip(-look[1], -1, 1))])
