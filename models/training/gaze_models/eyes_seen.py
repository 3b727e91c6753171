"""Eyes as the daemon will cut them: ``python -m gaze_models.eyes_seen --config configs/eyes.toml --data DIR``.

The landmark network finds the points of every prepared face, real and rendered, once from a jittered crop and once
from the crop of what it found, as in tracking. Where its patches lie against those of the true points, and how it
lets the head be turned, goes into ``real-seen.npz`` and the ``seen.npz`` of each folder of renders. Run it again when
that network changes.
"""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gaze_models.common import MODELS, onnx_session
from gaze_models.data import POINTS, eye_crops, face_crop, faces_folder, read_face_set, read_rendered
from gaze_models.eyes_patches import PATCH_W
from gaze_models.head_pose import head_angles
from gaze_models.landmarks import jittered
from gaze_models.render import RENDERS


@dataclasses.dataclass
class Seen:
    """Patches by the landmark network against those by the true points; one row a face.

    Attributes
    ----------
    shift
        (n, 2, 2) where the centres lie, contract pixels, along the axes of the wide patch.
    scale
        (n,) how much wider the patches are.
    turn
        (n,) radians, how much further the eye line is turned clockwise.
    head
        (n, 2) yaw, pitch of the head in the frame of the eye line found.
    """

    shift: np.ndarray
    scale: np.ndarray
    turn: np.ndarray
    head: np.ndarray


def read_seen(file: Path, posed: np.ndarray) -> Seen:
    """Read the file; where it is missing, the points found are the true ones."""
    n = len(posed)
    if not file.exists():
        return Seen(np.zeros((n, 2, 2), np.float32), np.ones(n, np.float32), np.zeros(n, np.float32), posed)
    with np.load(file) as arrays:
        if len(arrays["scale"]) != n:
            raise ValueError(
                f"{file} has {len(arrays['scale'])} faces, expected {n}: run gaze_models.eyes_seen again"
            )
        return Seen(**{name: arrays[name] for name in Seen.__dataclass_fields__})


def against(points: np.ndarray, found: np.ndarray, is_upright: bool) -> tuple[np.ndarray, float, float]:
    """Return `shift`, `scale` and `turn` (see `Seen`) of the patches by `found` against those by the true points."""
    true, ours = eye_crops(points), eye_crops(found)
    u = np.array([1.0, 0.0]) if is_upright else true[0].u
    axes = np.stack([u, [-u[1], u[0]]])
    step = true[0].width / PATCH_W
    shift = np.stack([axes @ (o.centre - t.centre) / step for o, t in zip(ours, true, strict=True)])
    (x, y), (ox, oy) = true[0].u, ours[0].u
    return shift, ours[0].width / true[0].width, float(np.arctan2(x * oy - y * ox, x * ox + y * oy))


def look(faces: list[tuple[np.ndarray, np.ndarray]], is_upright: bool, landmarks: Path) -> Seen:
    """Let the landmark network look at faces.

    Parameters
    ----------
    faces
        Grey pictures with their true (49, 2) points.
    is_upright
        Whether the wide patches are upright in the picture; else they lie along the eye line.
    landmarks
        The exported network.
    """
    session, rng = onnx_session(landmarks), np.random.default_rng(5)
    columns: dict[str, list] = {name: [] for name in Seen.__dataclass_fields__}
    for grey, points in tqdm(faces, desc="faces", mininterval=10):
        crop = jittered(face_crop(points), rng, 0.05, 0.1, 0.1)
        for _ in range(2):
            pixels = (crop.sample(grey) / 255).astype(np.float32)[None, None]
            found = crop.points_to_source(session.run(["points"], {"face": pixels})[0].reshape(POINTS, 2))
            crop = face_crop(found)
        shift, scale, turn = against(points.astype(np.float64), found, is_upright)
        columns["shift"].append(shift)
        columns["scale"].append(scale)
        columns["turn"].append(turn)
        columns["head"].append(head_angles(found))
    return Seen(**{name: np.array(values, np.float32) for name, values in columns.items()})


def main() -> None:
    """Write the files and print how far off the patches lie."""
    from gaze_models.eyes_prepare import EYE_SETS, usable

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    settings = tomllib.loads(arguments.config.read_text())["prepare"]
    folder, landmarks = Path(settings["folder"]), arguments.models / "onnx" / "landmarks.onnx"
    limit = 12 if arguments.smoke else None
    real = []
    for name in EYE_SETS:
        for picture in read_face_set(faces_folder(arguments.data) / f"{name}.tar", limit):
            real += [(picture.grey, f.points) for f in picture.faces if usable(f, picture, settings["smallest_s_px"])]
    jobs = [(folder / "real-seen.npz", real, False)]
    for name in RENDERS:
        pictures = read_rendered(folder / name) if (folder / name).exists() else []
        jobs.append((folder / name / "seen.npz", [(p.grey, p.faces[0].points) for p in pictures], True))
    for file, faces, is_upright in jobs:
        if not faces:
            continue
        seen = look(faces, is_upright, landmarks)
        np.savez(file, **dataclasses.asdict(seen))
        mean, spread = seen.shift.mean((0, 1)).round(2), seen.shift.std((0, 1)).round(2)
        print(f"{file}: {len(faces)} faces; patches off by {mean} px, SD {spread}, scale {seen.scale.mean():.3f}")


if __name__ == "__main__":
    main()
