"""The landmark network: 49 points, presence and opening from a 96x96 face crop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

from gaze_models.augment import close_eyes, cover, draw_glasses, webcam
from gaze_models.common import (
    GOLDEN_CASES,
    MODELS,
    ModelContract,
    bootstrap_interval,
    interval_text,
    onnx_session,
    smooth_noise,
)
from gaze_models.data import (
    FACE_CROP,
    POINTS,
    Crop,
    Face,
    Picture,
    draw_face,
    eye_distance,
    face_crop,
    flip_points,
    openness,
    read_backgrounds,
    read_faces,
    read_rendered,
    rendered_folder,
    tile,
)
from gaze_models.layers import conv, separable

CONTRACT = ModelContract(
    "landmarks",
    {"face": (1, 1, FACE_CROP, FACE_CROP)},
    {"points": (1, 2 * POINTS), "presence": (1, 1), "openness": (1, 2)},
    {"presence": 0.5},
)

WELL_INSIDE = 0.75
"""A crop counts as showing a face when its overlap (IoU) with the right crop is at least this ..."""
NOT_INSIDE = 0.4
"""... and as missing it below this; between the two nothing is asked."""


class LandmarkNetwork(nn.Module):
    """Convolutions down to 6x6, then one hidden layer for everything.

    Plain 3x3 convolutions while there are few channels, separable ones after. The hidden layer is a convolution
    over the whole 6x6 so that its normalisation, without which most of its units die early, folds away at export.
    """

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(1, 10, 3, 2),
            conv(10, 16, 3, 2),
            conv(16, 32, 3, 2),
            separable(32, 64, 3, 1),
            separable(64, 96, 3, 2),
            separable(96, 96, 3, 1),
            conv(96, 32, 1, 1),
        )
        self.hidden = nn.Sequential(
            nn.Conv2d(32, hidden, 6, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)
        )
        self.points = nn.Linear(hidden, 2 * POINTS)
        self.presence = nn.Linear(hidden, 1)
        self.openness = nn.Linear(hidden, 2)

    def forward(self, face: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return points (crop units), presence (logit), openness (0..1)."""
        hidden = torch.flatten(self.hidden(self.features(face - 0.5)), 1)
        return (
            self.points(hidden) + 0.5,
            self.presence(hidden),
            torch.sigmoid(self.openness(hidden)),
        )


def crop_overlap(a: Crop, b: Crop) -> float:
    """Return the IoU of two square crops."""

    def corners(crop: Crop) -> np.ndarray:
        return crop.points_to_source(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])).astype(np.float32)

    shared, _ = cv2.intersectConvexConvex(corners(a), corners(b))
    return float(shared / (a.width**2 + b.width**2 - shared))


def jittered(crop: Crop, rng: np.random.Generator, shift: float, scale: float, roll: float) -> Crop:
    """Move a crop: `shift` in shares of its width, `scale` as a log range, `roll` in radians (uniform)."""
    angle = float(rng.uniform(-roll, roll))
    c, s = np.cos(angle), np.sin(angle)
    return Crop(
        crop.centre + rng.uniform(-shift, shift, 2) * crop.width,
        np.array([c * crop.u[0] - s * crop.u[1], s * crop.u[0] + c * crop.u[1]]),
        crop.width * float(np.exp(rng.uniform(-scale, scale))),
        crop.columns,
        crop.rows,
    )


SET_WEIGHTS = {"helen": 3.0, "ytfaces": 1.5, "lfw": 1.0, "net7876": 0.5, "caltech": 1.0, "renders": 0.5}
"""How often a face of each set is drawn, relative to one of LFW."""


class LandmarkSamples(Dataset):
    """Sample `i` depends on the seed and `i` alone, so a resumed run sees what an unbroken one would."""

    def __init__(
        self,
        pictures: list[Picture],
        backgrounds: list[Picture],
        false_finds: list[tuple[Picture, Crop]],
        seed: int,
        first: int,
        count: int,
    ) -> None:
        self.faces = [(p, f) for p in pictures for f in p.faces]
        self.backgrounds, self.false_finds = backgrounds, false_finds
        self.seed, self.first, self.count = seed, first, count
        names = [p.set_name for p, _ in self.faces]
        weights = np.array([SET_WEIGHTS[n] for n in names])
        self.cumulative = np.cumsum(weights / weights.sum())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Return face (1, 96, 96), points (98), openness (2), presence, and weights of the two labels."""
        rng = np.random.default_rng((self.seed, self.first + index))
        kind = rng.random()
        if kind < 0.18:
            return self._without_face(rng)
        picture, face = self.faces[min(int(np.searchsorted(self.cumulative, rng.random())), len(self.faces) - 1)]
        right = face_crop(face.points)
        if kind < 0.23:
            return self._jumbled(picture, right, rng)
        if kind < 0.31:
            return self._astray(picture, face, right, rng)
        wide = rng.random() < 0.15
        crop = jittered(right, rng, 0.14 if wide else 0.08, 0.3 if wide else 0.15, 0.5 if wide else 0.26)
        return self._with_face(picture, face, crop, rng)

    def _with_face(
        self, picture: Picture, face: Face, crop: Crop, rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        fine = crop.sample(picture.grey, oversample=2)
        if rng.random() < 0.25:
            fine = self._behind(fine, picture, crop, rng)
        points = crop.points_from_source(face.points) * (2 * FACE_CROP) - 0.5
        if rng.random() < 0.3:
            both = float(rng.choice([1.0, rng.uniform(0.2, 1.0)]))
            one = rng.random()
            fine, points = close_eyes(fine, points, (both if one > 0.15 else 0.0, both if one < 0.85 else 0.0))
        if rng.random() < 0.12:
            fine = draw_glasses(fine, points, rng)
        if rng.random() < 0.15:
            fine = cover(fine, points, rng)
        if rng.random() < 0.5:
            fine = fine[:, ::-1]
            points = flip_points(points, 2 * FACE_CROP - 1)
        face_pixels = webcam(cv2.resize(fine, (FACE_CROP, FACE_CROP), interpolation=cv2.INTER_AREA), rng)
        target = (points + 0.5) / (2 * FACE_CROP)
        return self._sample(face_pixels, target, openness(points), 1.0, 1.0)

    def _behind(self, fine: np.ndarray, picture: Picture, crop: Crop, rng: np.random.Generator) -> np.ndarray:
        """Fill what lies outside the picture, mostly black otherwise, with grey or another picture."""
        inside = crop.sample(np.full(picture.grey.shape, 255, np.float32), oversample=2) > 250
        if rng.random() < 0.5 or not self.backgrounds:
            return np.where(inside, fine, np.float32(rng.uniform(0, 255)))
        other = self.backgrounds[rng.integers(len(self.backgrounds))].grey
        return np.where(inside, fine, cv2.resize(other, fine.shape[::-1]).astype(np.float32))

    def _astray(self, picture: Picture, face: Face, right: Crop, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return a crop that misses its face by a lot: no presence, no points asked."""
        for _ in range(8):
            crop = jittered(right, rng, 0.9, 1.1, 1.2)
            if (
                crop_overlap(crop, right) < NOT_INSIDE
                and max((crop_overlap(crop, face_crop(f.points)) for f in picture.faces), default=0.0) < NOT_INSIDE
            ):
                return self._nobody(crop.sample(picture.grey), rng)
        return self._without_face(rng)

    def _without_face(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        if rng.random() < 0.5 and self.false_finds:
            picture, found = self.false_finds[rng.integers(len(self.false_finds))]
            pixels = jittered(found, rng, 0.12, 0.2, 0.3).sample(picture.grey)
            return self._nobody(pixels[:, ::-1] if rng.random() < 0.5 else pixels, rng)
        if rng.random() < 0.15 or not self.backgrounds:
            plain = (
                smooth_noise(rng, FACE_CROP, FACE_CROP) * 255
                if rng.random() < 0.5
                else np.full((FACE_CROP, FACE_CROP), rng.uniform(0, 255), np.float32)
            )
            return self._nobody(plain, rng)
        grey = self.backgrounds[rng.integers(len(self.backgrounds))].grey
        rows, columns = grey.shape
        angle = rng.uniform(-0.5, 0.5)
        crop = Crop(
            rng.random(2) * [columns, rows],
            np.array([np.cos(angle), np.sin(angle)]),
            float(np.exp(rng.uniform(np.log(40), np.log(300)))),
            FACE_CROP,
            FACE_CROP,
        )
        return self._nobody(crop.sample(grey), rng)

    def _jumbled(self, picture: Picture, right: Crop, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return a face crop whose ninths have changed places: skin, hair and eyes, but no face."""
        pixels = jittered(right, rng, 0.08, 0.15, 0.26).sample(picture.grey)
        side = FACE_CROP // 3
        order = rng.permutation(9)
        while (order == np.arange(9)).sum() > 2:
            order = rng.permutation(9)
        tiles = [pixels[side * (k // 3) :][:side, side * (k % 3) :][:, :side] for k in order]
        return self._nobody(np.vstack([np.hstack(tiles[k : k + 3]) for k in (0, 3, 6)]), rng)

    def _nobody(self, pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return a sample without a face: no presence, no points asked."""
        return self._sample(
            webcam(np.ascontiguousarray(pixels, np.float32), rng), np.full((POINTS, 2), 0.5), np.zeros(2), 0.0, 0.0
        )

    @staticmethod
    def _sample(
        pixels: np.ndarray, points: np.ndarray, opened: np.ndarray, presence: float, weight: float
    ) -> tuple[np.ndarray, ...]:
        return (
            (pixels / 255).astype(np.float32)[None],
            points.astype(np.float32).reshape(-1),
            opened.astype(np.float32),
            np.float32([presence]),
            np.float32([weight]),
        )


def find_in_vain(backgrounds: list[Picture], finder: Path, least: float = 0.1) -> list[tuple[Picture, Crop]]:
    """Return where a finder sees faces in pictures that have none, at several zooms, with scores from `least` on.

    These are the crops whose presence the daemon asks about.
    """
    from gaze_models.chain import crop_of_five
    from gaze_models.face import find_faces, letterbox

    if not finder.exists():
        return []
    session = onnx_session(finder)
    rng = np.random.default_rng(3)
    crops = []
    for picture in backgrounds:
        rows, columns = picture.grey.shape
        for share in (1.0, 0.7, 0.7, 0.45, 0.45):
            height, width = round(share * rows), round(share * columns)
            y, x = int(rng.integers(0, rows - height + 1)), int(rng.integers(0, columns - width + 1))
            image, scale = letterbox(np.ascontiguousarray(picture.grey[y : y + height, x : x + width]))
            cells = session.run(None, {"image": (image / 255)[None, None].astype(np.float32)})[0][0]
            for found in find_faces(cells, least)[:3]:
                five = (found[5:].reshape(5, 2) + 0.5) / scale - 0.5 + [x, y]
                crop = crop_of_five(five)
                if 12 < crop.width < 4 * max(rows, columns):
                    crops.append((picture, crop))
    return crops


POINT_WEIGHTS = np.ones(POINTS, np.float32)
POINT_WEIGHTS[[0, 8, 16, 24]] = 3.0
POINT_WEIGHTS[[32, 37]] = 5.0
POINT_WEIGHTS[[43, 44]] = 2.0
POINT_WEIGHTS[45:] = 0.5


def wing(error: torch.Tensor, width: float = 0.06, curve: float = 0.008) -> torch.Tensor:
    """Return the wing loss of absolute errors (Feng et al. 2018): logarithmic near 0, linear beyond `width`."""
    offset = width - width * np.log(1 + width / curve)
    return torch.where(error < width, width * torch.log1p(error / curve), error - offset)


class LandmarkTask:
    """See `gaze_models.common.Task`."""

    contract = CONTRACT

    def __init__(self, config: dict[str, Any], data: Path | None) -> None:
        self.config, self.data = config, data
        self.weights = torch.from_numpy(POINT_WEIGHTS / POINT_WEIGHTS.mean()).repeat_interleave(2)

    def network(self) -> nn.Module:
        """Return a fresh network."""
        return LandmarkNetwork(self.config["network"]["hidden"])

    def batches(self, first_step: int, steps: int, smoke: bool) -> Iterator[Any]:
        """Yield training batches; what the present finder takes for faces comes more often."""
        limit = 24 if smoke else None
        settings = self.config["train"]
        pictures = read_faces(self.data, "train", limit)
        pictures += read_rendered(rendered_folder(self.config, smoke), limit or settings["most_renders"])
        backgrounds = read_backgrounds(self.data, "train", limit)
        false_finds = find_in_vain(backgrounds, MODELS / "onnx" / "face.onnx")
        size = settings["batch"]
        samples = LandmarkSamples(
            pictures, backgrounds, false_finds, self.config["seed"], first_step * size, (steps - first_step) * size
        )
        workers = 0 if smoke else self.config["train"]["workers"]
        yield from DataLoader(samples, size, num_workers=workers, drop_last=True)

    def loss(self, network: nn.Module, batch: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
        """Return wing loss on points, cross-entropy on opening and presence."""
        face, points, opened, presence, weight = batch
        found_points, found_presence, found_open = network(face)
        share = weight / weight.sum().clamp(min=1)
        terms = {
            "points": (share * wing((found_points - points).abs()) * self.weights.to(face.device)).sum(0).mean() * 20,
            "open": (share * F.binary_cross_entropy(found_open, opened, reduction="none")).sum(0).mean(),
            "presence": F.binary_cross_entropy_with_logits(found_presence, presence),
        }
        return {"total": terms["points"] + terms["open"] + 0.5 * terms["presence"]} | terms

    @torch.no_grad()
    def validate(self, network: nn.Module, page: Path, smoke: bool) -> dict[str, float]:
        """Return errors in percent of the eye distance on the validation people."""
        pictures = read_faces(self.data, "val", 24 if smoke else None)
        rng = np.random.default_rng(5)
        errors, irises, opened, shown = [], [], [], []
        network = network.eval()
        where = next(network.parameters()).device
        for picture in pictures:
            for face in picture.faces:
                crop = jittered(face_crop(face.points), rng, 0.05, 0.1, 0.1)
                pixels = crop.sample(picture.grey)
                found, _, found_open = network(torch.from_numpy(pixels / 255)[None, None].float().to(where))
                points = found.cpu().numpy().reshape(POINTS, 2)
                truth = crop.points_from_source(face.points)
                distance = eye_distance(truth)
                off = np.hypot(*(points - truth).T) / distance
                errors.append(off.mean())
                irises.append(off[[32, 37]].max())
                opened.append(np.abs(found_open.cpu().numpy()[0] - openness(face.points)).mean())
                if len(shown) < 40:
                    shown.append(draw_face(cv2.resize(pixels, (192, 192)), points * 192 - 0.5))
        cv2.imwrite(str(page), tile(shown))
        return {
            "points % of eye distance": 100 * float(np.mean(errors)),
            "worse iris % of eye distance": 100 * float(np.median(irises)),
            "opening error": float(np.mean(opened)),
        }

    def golden_inputs(self) -> dict[str, np.ndarray]:
        """Return noise and drawn faces."""
        rng = np.random.default_rng(self.config["seed"])
        cases = []
        for case in range(GOLDEN_CASES):
            pixels = smooth_noise(rng, FACE_CROP, FACE_CROP)
            if case % 2:
                draw_cartoon(pixels, (48 + rng.uniform(-6, 6), 50 + rng.uniform(-6, 6)), 36, rng)
            cases.append(pixels[None, None])
        return {"face": np.stack(cases)}

    def evaluate(self, onnx_file: Path, out: Path, smoke: bool) -> dict[str, Any]:
        """Measure on test people: crops as a running tracker or the finder would give them."""
        return evaluate(onnx_file, self.data, out, smoke)

    def card_figures(self, figures: dict[str, Any]) -> str:
        """Return the evaluation as the tables of the model card."""
        lines = [
            "| set | faces | all points, mean | eye corners, mean | worse iris, median | worse iris ≤ 5 % / ≤ 10 % "
            "| opening error, mean |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, row in figures.items():
            if not isinstance(row, dict) or "points_mean" not in row:
                continue
            texts = [interval_text(row[k], 100) for k in ("points_mean", "eye_corners_mean", "worse_iris_median")]
            within = [100 * row[f"worse_iris_within_{k}_percent"] for k in (5, 10)]
            opened = interval_text(row["openness_mean"], 1)
            lines.append(
                f"| {name} | {row['n']} | {' | '.join(texts)} | {within[0]:.1f} % / {within[1]:.1f} % | {opened} |"
            )
        seen = figures["presence"]
        lines += [
            "",
            f"Presence above 0.5: {100 * seen['faces_said_present']:.1f} % of {seen['faces']} face crops, "
            f"{100 * seen['backgrounds_said_present']:.1f} % of {seen['backgrounds']} crops without one.",
            "",
            f"ONNX Runtime, one thread: {figures['ort_ms_one_thread']:.2f} ms.",
        ]
        return "\n".join(lines)


def draw_cartoon(pixels: np.ndarray, centre: tuple[float, float], radius: float, rng: np.random.Generator) -> None:
    """Draw a face of ellipses into a picture of 0..1."""
    x, y = centre

    def ellipse(dx: float, dy: float, width: float, height: float, level: float) -> None:
        middle = (float(x + dx * radius), float(y + dy * radius))
        cv2.ellipse(pixels, (middle, (width * radius, height * radius), 0.0), level, -1)

    ellipse(0, 0, 1.6, 2.1, float(rng.uniform(0.5, 0.8)))
    for side in (-0.38, 0.38):
        ellipse(side, -0.2, 0.42, 0.2, 0.95)
        ellipse(side + float(rng.uniform(-0.08, 0.08)), -0.2, 0.18, 0.18, 0.1)
        ellipse(side, -0.42, 0.45, 0.06, 0.2)
    ellipse(0, 0.2, 0.15, 0.35, 0.45)
    ellipse(0, 0.6, 0.6, 0.14, 0.25)


def evaluate(onnx_file: Path, data: Path, out: Path, smoke: bool) -> dict[str, Any]:
    """Return errors on the test people, by set, with 95 % intervals by person."""
    session = onnx_session(onnx_file)
    limit = 24 if smoke else None
    rng = np.random.default_rng(77)
    rows: dict[str, list[tuple[float, float, float, float, str]]] = {}
    shown = []
    logits = []
    for picture in read_faces(data, "test", limit):
        for face in picture.faces:
            crop = jittered(face_crop(face.points), rng, 0.06, 0.1, 0.1)
            for refined in (False, True):
                pixels = crop.sample(picture.grey)
                found, presence, opened = session.run(None, {"face": (pixels / 255)[None, None].astype(np.float32)})
                points = crop.points_to_source(found.reshape(POINTS, 2))
                if not refined:
                    crop = face_crop(points)
            distance = eye_distance(face.points)
            off = np.hypot(*(points - face.points).T) / distance
            corners = off[[0, 8, 16, 24]].mean()
            rows.setdefault(picture.set_name, []).append(
                (
                    off.mean(),
                    corners,
                    off[[32, 37]].max(),
                    np.abs(opened[0] - openness(face.points)).mean(),
                    picture.identity if picture.identity != picture.set_name else picture.file,
                )
            )
            logits.append(float(presence[0, 0]))
            if len(shown) < 80 and rng.random() < 0.12:
                shown.append(draw_face(cv2.resize(pixels, (192, 192)), crop.points_from_source(points) * 192 - 0.5))
    if shown:
        cv2.imwrite(str(out / "landmarks_test.png"), tile(shown))
    figures: dict[str, Any] = {}
    for name, cases in [*rows.items(), ("all", [c for r in rows.values() for c in r])]:
        people = [c[4] for c in cases]
        table = {"n": len(cases), "people": len(set(people))}
        for k, (key, statistic) in enumerate(
            (("points", "mean"), ("eye_corners", "mean"), ("worse_iris", "median"), ("openness", "mean"))
        ):
            table[f"{key}_{statistic}"] = bootstrap_interval(np.array([c[k] for c in cases]), people, statistic)
        worse = np.array([c[2] for c in cases])
        table["worse_iris_within_5_percent"] = float((worse <= 0.05).mean())
        table["worse_iris_within_10_percent"] = float((worse <= 0.10).mean())
        figures[name] = table
    absent = []
    for picture in read_backgrounds(data, "test", limit):
        side = min(picture.grey.shape)
        for width in (side, side / 2):
            crop = Crop(
                np.array(picture.grey.shape[::-1]) / 2 - 0.5, np.array([1.0, 0.0]), float(width), FACE_CROP, FACE_CROP
            )
            pixels = (crop.sample(picture.grey) / 255)[None, None].astype(np.float32)
            absent.append(float(session.run(None, {"face": pixels})[1][0, 0]))
    figures["presence"] = {
        "faces_said_present": float((np.array(logits) > 0).mean()),
        "faces": len(logits),
        "backgrounds_said_present": float((np.array(absent) > 0).mean()),
        "backgrounds": len(absent),
    }
    pixels = np.zeros((1, 1, FACE_CROP, FACE_CROP), np.float32)
    started = time.perf_counter()
    for _ in range(200):
        session.run(None, {"face": pixels})
    figures["ort_ms_one_thread"] = (time.perf_counter() - started) / 200 * 1000
    return figures


def task(config: dict[str, Any], data: Path | None) -> LandmarkTask:
    """Make the task; called by the stages."""
    return LandmarkTask(config, data)
