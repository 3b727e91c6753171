"""Face sets: reading the tars, splits by person, and the contract's crops.

``python -m gaze_models.data --data DIR --out DIR`` checks every set and writes what was found,
by set and split, together with a page of pictures with their points drawn in.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

FACE_SETS = ("lfw", "ytfaces", "net7876", "helen", "caltech")
"""Sets with landmarks, by the name of their tar."""

WHOLE_SETS = {"helen": "train", "caltech": "test"}
"""Sets that do not say who is in a picture: each stays whole in one split."""

POINTS = 49
FACE_CROP = 96
EYE_PATCH = (64, 48)
FACE_SIDE = 3.2
"""Side of the face crop in units of the larger of eye distance and eye-mouth distance."""
FACE_SHIFT = 0.35
"""The crop's centre, as the share of the way from the eyes to the mouth."""
EYE_WIDTH = 0.85
"""Width of an eye patch in units of (side of the face crop / 3.2)."""

RIGHT_EYE = np.arange(0, 16)
"""Contour of the eye at image left, the observer's right: 0 outer corner, 8 inner corner."""
LEFT_EYE = np.arange(16, 32)
RIGHT_IRIS = np.arange(32, 37)
LEFT_IRIS = np.arange(37, 42)

FLIP = np.concatenate(
    [
        np.arange(16, 32),
        np.arange(0, 16),
        [37, 40, 39, 38, 41],
        [32, 35, 34, 33, 36],
        [42, 44, 43, 45, 46, 48, 47],
    ]
)
"""``flipped[i] = mirrored[FLIP[i]]``. Both contours run from the outer corner over the upper lid; the edge
points of an iris run image-right, top, image-left, bottom, so 33 and 35 change places."""


@dataclass(frozen=True)
class Face:
    """One labelled face.

    Attributes
    ----------
    box
        x0, y0, x1, y1 in pixels.
    points
        (49, 2) x, y in pixels, centre of the top-left pixel = 0, 0.
    depth
        (49,) relative z in pixels, as FaceMesh gives it.
    """

    box: np.ndarray
    points: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class Picture:
    """One grey picture with its faces; `faces` is empty for the pictures without one."""

    set_name: str
    file: str
    identity: str
    grey: np.ndarray
    faces: tuple[Face, ...]


def split_of(identity: str) -> str:
    """Return ``train`` (85 %), ``val`` (5 %) or ``test`` (10 %) from a hash of the name alone.

    The same name falls into the same split in every set, so people that two sets share are never on both
    sides.
    """
    share = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4], "little") % 100
    return "test" if share < 10 else "val" if share < 15 else "train"


def split_of_picture(picture: Picture) -> str:
    """Return the split of a picture: by set where nobody is named, else by person."""
    return WHOLE_SETS.get(picture.set_name) or split_of(picture.identity)


def decode_grey(encoded: bytes) -> np.ndarray:
    """Return Rec. 601 luma, (h, w) uint8."""
    grey = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError("not a picture OpenCV can read")
    return grey


def read_face_set(path: Path, limit: int | None = None) -> list[Picture]:
    """Read one tar of faces.

    Parameters
    ----------
    path
        ``<set>.tar`` with ``labels.csv``, ``landmarks.npz`` and ``img/``.
    limit
        Stop after so many pictures (smoke runs).
    """
    set_name = path.stem
    with tarfile.open(path) as tar:
        rows = list(csv.DictReader(io.TextIOWrapper(tar.extractfile("labels.csv"), "utf-8")))
        landmarks = np.load(io.BytesIO(tar.extractfile("landmarks.npz").read()))
        boxes, points, owner = landmarks["box"], landmarks["lm"], landmarks["img_idx"]
        faces: dict[int, list[Face]] = {}
        for k, index in enumerate(owner):
            faces.setdefault(int(index), []).append(Face(boxes[k], points[k, :, :2], points[k, :, 2]))
        if limit is not None:
            rows = rows[:: max(1, len(rows) // limit)][:limit]
        return [
            Picture(
                set_name,
                row["file"],
                row["identity"] or f"{set_name}",
                decode_grey(tar.extractfile(row["file"]).read()),
                tuple(faces.get(int(row["img_idx"]), ())),
            )
            for row in rows
        ]


def read_negatives(path: Path, limit: int | None = None) -> list[Picture]:
    """Read the pictures without a face; the file name stands in for the person."""
    with tarfile.open(path) as tar:
        names = sorted(n for n in tar.getnames() if n.startswith("img/") and n != "img/")
        if limit is not None:
            names = names[:: max(1, len(names) // limit)][:limit]
        return [Picture(path.stem, n, f"{path.stem}/{n}", decode_grey(tar.extractfile(n).read()), ()) for n in names]


def read_faces(directory: Path, split: str | None = None, limit: int | None = None) -> list[Picture]:
    """Read all face sets of `directory` (a folder with ``faces/`` or the tars themselves)."""
    directory = faces_folder(directory)
    pictures = [p for name in FACE_SETS for p in read_face_set(directory / f"{name}.tar", limit)]
    return [p for p in pictures if p.faces and (split is None or split_of_picture(p) == split)]


def read_backgrounds(directory: Path, split: str | None = None, limit: int | None = None) -> list[Picture]:
    """Read the pictures without a face of one split (or of all)."""
    pictures = read_negatives(faces_folder(directory) / "negatives.tar", limit)
    return [p for p in pictures if split is None or split_of_picture(p) == split]


def read_rendered(folder: Path | None, limit: int | None = None) -> list[Picture]:
    """Read the face crops that `gaze_models.render` made, with their points; none where no folder is named.

    Several views in a row are of one person, as the header says.
    """
    if folder is None:
        return []
    if not (folder / "truth.json").exists():
        raise FileNotFoundError(f"{folder} holds no renders: make them first, with gaze_models.render")
    header = json.loads((folder / "truth.json").read_text())
    column = {name: k for k, name in enumerate(header["columns"])}
    table = np.fromfile(folder / "truth.f32", "<f4").reshape(-1, len(column))
    pixels = np.fromfile(folder / "faces.u8", np.uint8).reshape(header["faces"])
    pictures = []
    for row, grey in zip(table[:limit], pixels[:limit], strict=True):
        centre = row[[column["face_crop_cx"], column["face_crop_cy"]]]
        zoom = grey.shape[1] / row[column["face_crop_w"]]
        points = np.array([[row[column[f"lm{k}_{axis}"]] for axis in "xy"] for k in range(POINTS)])
        x, y, w, h = (row[column[f"box_{side}"]] for side in "xywh")
        middle = np.array(grey.shape[::-1]) / 2 - 0.5
        box = (np.array([[x, y], [x + w, y + h]]) - centre) * zoom + middle
        face = Face(box.reshape(-1), (points - centre) * zoom + middle, np.zeros(POINTS, np.float32))
        name = f"{folder.name}/{len(pictures)}"
        person = f"{folder.name}/person {len(pictures) // header['views_each']}"
        pictures.append(Picture("renders", name, person, np.ascontiguousarray(grey), (face,)))
    return pictures


def on_canvas(grey: np.ndarray) -> np.ndarray:
    """Return a small picture in the middle of a grey 640x480 frame, or of a larger one that holds it."""
    canvas = np.full((max(480, grey.shape[0]), max(640, grey.shape[1])), 128, np.uint8)
    top, left = (canvas.shape[0] - grey.shape[0]) // 2, (canvas.shape[1] - grey.shape[1]) // 2
    canvas[top : top + grey.shape[0], left : left + grey.shape[1]] = grey
    return canvas


def rendered_folder(config: dict[str, Any], smoke: bool) -> Path | None:
    """Return the folder of renders that a config names, if it does; a smoke run goes without."""
    name = config["train"].get("renders")
    return None if name is None or smoke else Path(name)


def faces_folder(directory: Path) -> Path:
    """Return the folder that holds the face tars."""
    return directory / "faces" if (directory / "faces").is_dir() else directory


@dataclass(frozen=True)
class Crop:
    """A rotated crop: `centre` in pixels, `u` unit vector of its x axis, `width` of it in source pixels."""

    centre: np.ndarray
    u: np.ndarray
    width: float
    columns: int
    rows: int

    def to_source(self) -> np.ndarray:
        """Return the 2x3 matrix from output pixel indices (i, j) to source pixels."""
        step = self.width / self.columns
        x_axis = self.u * step
        y_axis = np.array([-self.u[1], self.u[0]]) * step
        origin = self.centre + (0.5 - self.columns / 2) * x_axis + (0.5 - self.rows / 2) * y_axis
        return np.column_stack([x_axis, y_axis, origin])

    def points_from_source(self, points: np.ndarray) -> np.ndarray:
        """Map source pixels to crop units: x = (i + 0.5) / columns, y = (j + 0.5) / rows."""
        v = np.array([-self.u[1], self.u[0]])
        relative = np.asarray(points, np.float64) - self.centre
        height = self.width * self.rows / self.columns
        return np.stack([relative @ self.u / self.width + 0.5, relative @ v / height + 0.5], axis=-1)

    def points_to_source(self, points: np.ndarray) -> np.ndarray:
        """Undo `points_from_source`."""
        v = np.array([-self.u[1], self.u[0]])
        height = self.width * self.rows / self.columns
        offset = np.asarray(points, np.float64) - 0.5
        return self.centre + offset[..., :1] * self.width * self.u + offset[..., 1:] * height * v

    def sample(self, grey: np.ndarray, oversample: int | None = None) -> np.ndarray:
        """Return the crop, (rows, columns) float32, 0..255; 0 outside the picture.

        Bilinear; where a pixel covers more than 1.5 source pixels, n x n bilinear sub-samples are averaged,
        n = min(4, round(step)). `oversample` overrides n and returns the sub-samples before averaging.
        """
        step = self.width / self.columns
        n = oversample or (min(4, round(step)) if step > 1.5 else 1)
        matrix = Crop(self.centre, self.u, self.width, self.columns * n, self.rows * n).to_source()
        sampled = cv2.warpAffine(
            grey.astype(np.float32) if grey.dtype != np.float32 else grey,
            matrix,
            (self.columns * n, self.rows * n),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
        if n == 1 or oversample:
            return sampled
        return sampled.reshape(self.rows, n, self.columns, n).mean(axis=(1, 3))


def face_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return eye midpoint, mouth midpoint, unit vector between the eyes, and s = side of the crop / 3.2.

    An eye's centre is the mean of its two corners.
    """
    right, left = (points[0] + points[8]) / 2, (points[16] + points[24]) / 2
    eyes, mouth = (right + left) / 2, (points[43] + points[44]) / 2
    between = left - right
    distance = float(np.hypot(*between))
    return eyes, mouth, between / max(distance, 1e-6), max(distance, float(np.hypot(*(mouth - eyes))))


def face_crop(points: np.ndarray) -> Crop:
    """Return the contract's face crop of 49 points (pixels)."""
    eyes, mouth, u, scale = face_axes(points)
    return Crop(eyes + FACE_SHIFT * (mouth - eyes), u, FACE_SIDE * scale, FACE_CROP, FACE_CROP)


def eye_crops(points: np.ndarray) -> tuple[Crop, Crop]:
    """Return the patches of the observer's right and left eye; the left one is not yet mirrored."""
    _, _, u, scale = face_axes(points)
    return tuple(Crop((points[a] + points[b]) / 2, u, EYE_WIDTH * scale, *EYE_PATCH) for a, b in ((0, 8), (16, 24)))


def eye_distance(points: np.ndarray) -> float:
    """Return the distance between the two eye centres, in the unit of `points`."""
    return float(np.hypot(*((points[0] + points[8]) / 2 - (points[16] + points[24]) / 2)))


def openness(points: np.ndarray) -> np.ndarray:
    """Return how far the eyes are open, [right, left], 0..1.

    The aperture between the lids' middles over 0.35 of the distance of the corners.
    """
    apertures = [np.hypot(*(points[o + 4] - points[o + 12])) for o in (0, 16)]
    widths = [np.hypot(*(points[o] - points[o + 8])) for o in (0, 16)]
    return np.clip([a / max(0.35 * w, 1e-6) for a, w in zip(apertures, widths, strict=True)], 0, 1)


def flip_points(points: np.ndarray, width: float) -> np.ndarray:
    """Mirror points in a picture of `width` (x' = width - x) and bring them back into order."""
    mirrored = points[FLIP].copy()
    mirrored[:, 0] = width - mirrored[:, 0]
    return mirrored


def draw_face(picture: np.ndarray, points: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
    """Return a BGR copy with points (pixels) and box (x0, y0, x1, y1) drawn in."""
    canvas = cv2.cvtColor(picture.astype(np.uint8), cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture.copy()
    for k, (x, y) in enumerate(points):
        colour = (0, 255, 0) if k < 16 else (255, 160, 0) if k < 32 else (0, 0, 255) if k < 42 else (0, 255, 255)
        cv2.circle(canvas, (round(float(x)), round(float(y))), 1, colour, -1)
    if box is not None:
        x0, y0, x1, y1 = (round(float(b)) for b in box)
        cv2.rectangle(canvas, (x0, y0), (x1, y1), (255, 0, 255), 1)
    return canvas


def tile(pictures: list[np.ndarray], columns: int = 8) -> np.ndarray:
    """Return equally large BGR pictures as one page."""
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    blank = np.zeros_like(pictures[0])
    return np.vstack([np.hstack(row + [blank] * (columns - len(row))) for row in rows])


def main() -> None:
    """Check the sets; write ``data.json`` and ``data.png`` into the run folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, help="accepted as by the other stages; nothing in it matters here")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    limit = 24 if arguments.smoke else None
    pictures = read_faces(arguments.data, limit=limit) + read_backgrounds(arguments.data, limit=limit)
    found: dict[str, dict[str, dict[str, int]]] = {}
    people: dict[tuple[str, str], set[str]] = {}
    for p in pictures:
        split = split_of_picture(p)
        counts = found.setdefault(p.set_name, {}).setdefault(split, {"pictures": 0, "faces": 0, "people": 0})
        counts["pictures"] += 1
        counts["faces"] += len(p.faces)
        people.setdefault((p.set_name, split), set()).add(p.identity)
        counts["people"] = len(people[p.set_name, split])
    (arguments.out / "data.json").write_text(json.dumps(found, indent=2) + "\n")
    rng = np.random.default_rng(0)
    shown = []
    with_faces = [p for p in pictures if p.faces]
    for k in rng.choice(len(with_faces), min(48, len(with_faces)), replace=False):
        face = with_faces[k].faces[0]
        crop = face_crop(face.points)
        canvas = cv2.resize(crop.sample(with_faces[k].grey), (192, 192))
        shown.append(draw_face(canvas, crop.points_from_source(face.points) * 192 - 0.5))
    cv2.imwrite(str(arguments.out / "data.png"), tile(shown))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
