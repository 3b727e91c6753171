"""OpenVINO pseudo-labels: head pose and gaze of real faces.

Both networks come from the Open Model Zoo (Apache-2.0): ``head-pose-estimation-adas-0001`` and
``gaze-estimation-adas-0002``. The gaze network speaks the eye-to-camera frame: x to the picture's right, y up,
z away from the camera, so that somebody who looks into the camera gets (0, 0, -1). Its eyes are cut along the
line between both eyes, which takes the roll out, and its third head angle is 0. In our signs (yaw towards the
observer's left = +x of the picture, pitch up): yaw = atan2(x, -z), pitch = asin(y).

Each face is seen several times, jittered and mirrored; the mean is the label, the spread tells how sure it is.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from gaze_models.data import Crop, Face, face_axes, flip_points

GAZE_NET = "gaze-estimation-adas-0002.xml"
HEAD_NET = "head-pose-estimation-adas-0001.xml"
EYE_SCALE = 1.8
"""Side of the teacher's eye square in corner distances, as in the Open Model Zoo demo."""


@dataclasses.dataclass(frozen=True)
class TeacherLabel:
    """What the teacher says of one face, radians, in the normalised frame and our signs.

    Attributes
    ----------
    head
        Yaw, pitch.
    gaze
        Yaw, pitch.
    spread
        Standard deviation of the gaze over the jittered views, root mean square of both angles.
    """

    head: np.ndarray
    gaze: np.ndarray
    spread: float


class Teacher:
    """Both OpenVINO networks with fixed batch sizes of one.

    Parameters
    ----------
    directory
        Folder with the two ``.xml`` and ``.bin`` files.
    """

    def __init__(self, directory: Path) -> None:
        import openvino

        core = openvino.Core()
        options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        self._gaze = core.compile_model(str(directory / GAZE_NET), "CPU", options)
        self._head = core.compile_model(str(directory / HEAD_NET), "CPU", options)

    def head_degrees(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Return yaw, pitch, roll in the teacher's own signs, degrees, of one face box (x0, y0, x1, y1)."""
        x0, y0, x1, y1 = (round(float(b)) for b in box)
        pad = max(0, -x0, -y0, x1 - picture.shape[1], y1 - picture.shape[0])
        if pad:
            picture = cv2.copyMakeBorder(picture, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        face = cv2.resize(picture[y0 + pad : y1 + pad, x0 + pad : x1 + pad], (60, 60))
        result = self._head({"data": three_planes(face)})
        return np.array([result[f"angle_{a}_fc"].item() for a in "ypr"])

    def gaze_angles(self, eyes: list[np.ndarray], head_degrees: np.ndarray) -> np.ndarray:
        """Return yaw, pitch (radians, our signs) for the two eye squares in picture order, roll removed."""
        angles = np.array([[head_degrees[0], head_degrees[1], 0.0]], np.float32)
        vector = self._gaze(
            {
                "left_eye_image": three_planes(eyes[0]),
                "right_eye_image": three_planes(eyes[1]),
                "head_pose_angles": angles,
            }
        )["gaze_vector"][0]
        x, y, z = vector / np.linalg.norm(vector)
        return np.array([np.arctan2(x, -z), np.arcsin(np.clip(y, -1, 1))])

    def label(self, picture: np.ndarray, face: Face, views: int = 3, seed: int = 0) -> TeacherLabel:
        """Label one face from `views` jittered views and their mirror images.

        Parameters
        ----------
        picture
            (h, w) luma or (h, w, 3) BGR, uint8.
        face
            Its box and points in the picture.
        views
            Views per orientation; the first is not jittered.
        seed
            Seed of the jitter.
        """
        rng = np.random.default_rng(seed)
        width = picture.shape[1]
        heads, gazes = [], []
        for mirrored in (False, True):
            seen = np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
            points = flip_points(face.points, width - 1) if mirrored else face.points
            box = face.box.astype(float)
            if mirrored:
                box = np.array([width - 1 - box[2], box[1], width - 1 - box[0], box[3]])
            for view in range(views):
                jitter = rng.normal(0, 0.02 if view else 0, 5)
                side = box[2] - box[0]
                moved = box + side * np.array(
                    [
                        jitter[0] - jitter[2],
                        jitter[1] - jitter[2],
                        jitter[0] + jitter[2],
                        jitter[1] + jitter[2],
                    ]
                )
                head = self.head_degrees(seen, moved)
                eyes = eye_squares(seen, points, 1 + 2 * jitter[2], jitter[3:])
                sign = np.array([-1.0, 1.0]) if mirrored else np.ones(2)
                gazes.append(sign * self.gaze_angles(eyes, head))
                heads.append(sign * head_in_our_signs(head))
        gaze = np.array(gazes)
        return TeacherLabel(np.mean(heads, 0), gaze.mean(0), float(np.sqrt(gaze.var(0).mean())))


def three_planes(picture: np.ndarray) -> np.ndarray:
    """Return (1, 3, h, w) float32 of a grey or BGR picture."""
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)


def head_in_our_signs(head_degrees: np.ndarray) -> np.ndarray:
    """Turn the teacher's yaw, pitch, roll (degrees) into our yaw, pitch (radians)."""
    return np.deg2rad([head_degrees[0], -head_degrees[1]])


def eye_squares(picture: np.ndarray, points: np.ndarray, scale: float, shift: np.ndarray) -> list[np.ndarray]:
    """Cut the teacher's two 60 x 60 eye squares in picture order, turned by the roll of the eye line."""
    _, _, u, _ = face_axes(points)
    squares = []
    for outer, inner in ((0, 8), (16, 24)):
        side = EYE_SCALE * scale * float(np.hypot(*(points[outer] - points[inner])))
        centre = (points[outer] + points[inner]) / 2 + side * shift
        squares.append(Crop(centre, u, side, 60, 60).sample(picture))
    return squares
