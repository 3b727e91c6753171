"""Real faces for the eye network: ``python -m gaze_models.eyes_prepare --config configs/eyes.toml --data DIR``.

Cuts the wide patches of every face that is large enough, reads iris and lids off its points, asks the OpenVINO
teacher (``--teachers DIR``) for head pose and gaze, and writes ``real.npz`` and a page of pictures into the
config's folder; ``strangers.npy`` beside it holds patches that show no eye.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from gaze_models.common import smooth_noise
from gaze_models.data import (
    Crop,
    Face,
    Picture,
    face_axes,
    faces_folder,
    read_backgrounds,
    read_face_set,
    split_of_picture,
    tile,
)
from gaze_models.eyes_patches import PATCH_H, PATCH_W, WIDE_H, WIDE_SCALE, WIDE_W, cut_wide, eye_lids, eye_truth
from gaze_models.head_pose import head_angles
from gaze_models.teacher import Teacher, TeacherLabel

EYE_SETS = ("lfw", "ytfaces", "helen", "caltech")
"""Sets whose eyes are large enough; the 80 x 80 pictures of net7876 are not."""


def usable(face: Face, picture: Picture, smallest_s: float) -> bool:
    """Return whether both eyes lie in the picture and are large enough to tell where they look."""
    _, _, _, s = face_axes(face.points)
    h, w = picture.grey.shape
    eyes = face.points[:42]
    return bool(s >= smallest_s and (eyes > 0).all() and (eyes < [w - 1, h - 1]).all())


NO_TEACHER = 1e3
"""Spread (rad) of the gaze of faces that no teacher has seen: it makes them worth nothing as labels of gaze."""


def prepare(pictures: list[Picture], teacher: Teacher | None, views: int, smallest_s: float) -> dict[str, np.ndarray]:
    """Return the arrays of ``real.npz``, one row a face.

    ``patches`` (n, 2, 64, 96) u8, ``eyes`` (n, 2, 4) truth,
    ``lids`` (n, 2, 16, 2) contours, ``head`` and ``gaze`` (n, 2) rad by the teacher,
    ``posed`` (n, 2) rad head angles by the points, ``spread`` (n,) rad, ``s`` (n,) px,
    ``set``, ``split``, ``identity``.
    """
    columns: dict[str, list] = {
        k: [] for k in ("patches", "eyes", "lids", "head", "posed", "gaze", "spread", "s", "set", "split", "identity")
    }
    for index, picture in enumerate(tqdm(pictures, desc="faces", mininterval=10)):
        for face in picture.faces:
            if not usable(face, picture, smallest_s):
                continue
            posed = head_angles(face.points)
            if teacher is None:
                label = TeacherLabel(posed, posed, NO_TEACHER)
            else:
                label = teacher.label(picture.grey, face, views, seed=index)
            row = {
                "patches": cut_wide(picture.grey, face.points),
                "eyes": eye_truth(face.points),
                "lids": eye_lids(face.points),
                "head": label.head,
                "posed": posed,
                "gaze": label.gaze,
                "spread": label.spread,
                "s": face_axes(face.points)[3],
                "set": picture.set_name,
                "split": split_of_picture(picture),
                "identity": picture.identity if picture.identity != picture.set_name else picture.file,
            }
            for name, value in row.items():
                columns[name].append(value)
    words = ("set", "split", "identity")
    kinds = {name: None if name in words else np.uint8 if name == "patches" else np.float32 for name in columns}
    return {name: np.asarray(values, kinds[name]) for name, values in columns.items()}


def cut_strangers(pictures: list[Picture], backgrounds: list[Picture], count: int, seed: int) -> np.ndarray:
    """Return (count, 48, 64) u8 patches without an eye: mouths, noses, cheeks, foreheads, scenes, plain noise."""
    rng = np.random.default_rng(seed)
    patches = []
    for k in range(count):
        if k % 2 and backgrounds:
            grey = backgrounds[rng.integers(len(backgrounds))].grey
            centre = rng.random(2) * grey.shape[::-1]
            width, turn = rng.uniform(0.1, 0.8) * min(grey.shape), rng.uniform(-0.5, 0.5)
        else:
            picture = pictures[rng.integers(len(pictures))]
            grey, points = picture.grey, picture.faces[0].points
            _, _, u, s = face_axes(points)
            places = points[[42, 43, 44, 45, 46, 47, 48]]
            centre = places[rng.integers(len(places))] + rng.normal(0, 0.12 * s, 2)
            width, turn = 0.85 * s * rng.uniform(0.7, 1.4), np.arctan2(u[1], u[0])
            eyes = np.array([points[:16].mean(0), points[16:32].mean(0)])
            if np.linalg.norm(eyes - centre, axis=1).min() < 0.45 * s:
                centre = points[44 if rng.random() < 0.5 else 43]
        crop = Crop(centre, np.array([np.cos(turn), np.sin(turn)]), width, PATCH_W, PATCH_H)
        patch = crop.sample(grey)
        if k % 9 == 0:
            patch = rng.uniform(0, 255) + rng.uniform(0, 40) * smooth_noise(rng, PATCH_H, PATCH_W)
        patches.append(np.clip(np.round(patch), 0, 255).astype(np.uint8))
    return np.stack(patches)


def draw_sample(patches: np.ndarray, eyes: np.ndarray, gaze: np.ndarray, caption: str = "") -> np.ndarray:
    """Draw one face's two wide patches with iris, contract frame and gaze arrow; BGR."""
    zoom = 3
    shown = []
    for patch, (x, y, radius, openness) in zip(patches, eyes, strict=True):
        canvas = cv2.cvtColor(cv2.resize(patch, None, fx=zoom, fy=zoom), cv2.COLOR_GRAY2BGR)
        step = WIDE_SCALE * PATCH_W / WIDE_W
        to_wide = np.array([PATCH_W, PATCH_H]) / step
        origin = np.array([WIDE_W, WIDE_H]) / 2 - to_wide / 2
        corner = (origin * zoom).astype(int)
        cv2.rectangle(canvas, corner.tolist(), (corner + to_wide * zoom).astype(int).tolist(), (255, 200, 0), 1)
        centre = (origin + np.array([x, y]) * to_wide) * zoom
        c = tuple(int(round(float(k))) for k in centre)
        cv2.circle(canvas, c, max(1, round(float(radius * to_wide[0] * zoom))), (0, 0, 255), 1)
        tip = centre + 90 * np.array([np.cos(gaze[1]) * np.sin(gaze[0]), -np.sin(gaze[1])])
        cv2.arrowedLine(canvas, c, tuple(int(round(float(k))) for k in tip), (0, 255, 0), 1)
        cv2.putText(canvas, f"open {openness:.2f}", (3, WIDE_H * zoom - 5), 0, 0.4, (0, 255, 255), 1)
        shown.append(canvas)
    page = np.hstack(shown)
    angles = f"{caption} yaw {np.rad2deg(gaze[0]):+.0f} pitch {np.rad2deg(gaze[1]):+.0f}"
    cv2.putText(page, angles, (3, 12), 0, 0.4, (0, 255, 255), 1)
    return page


def main() -> None:
    """Write ``real.npz`` and ``real.png``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--teachers", type=Path, help="folder with the OpenVINO networks; without it real faces teach no gaze"
    )
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    settings = tomllib.loads(arguments.config.read_text())["prepare"]
    out = Path(settings["folder"])
    out.mkdir(parents=True, exist_ok=True)
    limit = 12 if arguments.smoke else None
    folder = faces_folder(arguments.data)
    pictures = [p for name in EYE_SETS for p in read_face_set(folder / f"{name}.tar", limit) if p.faces]
    teacher = None if arguments.teachers is None else Teacher(arguments.teachers)
    arrays = prepare(pictures, teacher, 1 if arguments.smoke else settings["views"], settings["smallest_s_px"])
    np.savez(out / "real.npz", **arrays)
    train = [p for p in pictures if split_of_picture(p) == "train"]
    strangers = cut_strangers(train, read_backgrounds(arguments.data, "train", limit), settings["strangers"], 0)
    np.save(out / "strangers.npy", strangers)
    rng = np.random.default_rng(0)
    shown = rng.choice(len(arrays["s"]), min(48, len(arrays["s"])), replace=False)
    page = [draw_sample(*(arrays[n][k] for n in ("patches", "eyes", "gaze"))) for k in shown]
    cv2.imwrite(str(out / "real.png"), tile(page, 4))
    print(f"{len(arrays['s'])} faces; gaze SD {np.rad2deg(arrays['gaze'].std(0)).round(1)} degrees")


if __name__ == "__main__":
    main()
