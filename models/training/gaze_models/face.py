"""The face finder: boxes and five points from a 192x144 picture of the whole frame."""

from __future__ import annotations

import functools
import math
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

from gaze_models.augment import cover, draw_glasses, webcam
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
    Crop,
    Face,
    Picture,
    flip_points,
    read_backgrounds,
    read_faces,
    read_rendered,
    rendered_folder,
    tile,
)
from gaze_models.landmarks import draw_cartoon, find_in_vain
from gaze_models.layers import conv, separable

ROWS, COLUMNS = 144, 192
LEVELS = ((8, 6.0, 42.0), (16, 30.0, 400.0))
"""Stride of a level, and the sizes (root of the box's area, input pixels) that it answers for."""
CELLS = sum((ROWS // s) * (COLUMNS // s) for s, _, _ in LEVELS)
SLACK = 1.3
"""Beyond its sizes by this factor a level is neither asked for a face nor punished for one."""
CORE, RIM = 0.4, 0.75
"""Cells within the inner share of a box's half-axes have to find it, those out to the rim may."""
SMALLEST = 8.0
"""Faces narrower than this many input pixels are left out of the loss."""
NMS_IOU = 0.3

CONTRACT = ModelContract(
    "face",
    {"image": (1, 1, ROWS, COLUMNS)},
    {"cells": (1, CELLS, 15)},
    {"score": 0.5, "nms_iou": NMS_IOU},
    2e-3,
)


@functools.cache
def cell_grid() -> np.ndarray:
    """Return (CELLS, 3): x and y of each cell's middle and its stride, in input pixels."""
    rows = []
    for stride, _, _ in LEVELS:
        y, x = np.mgrid[0 : ROWS // stride, 0 : COLUMNS // stride]
        middle = (stride - 1) / 2
        rows.append(np.stack([x * stride + middle, y * stride + middle, np.full(x.shape, stride)], -1).reshape(-1, 3))
    return np.concatenate(rows).astype(np.float32)


class FaceNetwork(nn.Module):
    """A stem of plain convolutions, separable blocks at strides 8 and 16, one 1x1 head each."""

    def __init__(self, fine: int = 40, coarse: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, 8, 3, 2), conv(8, 12, 3, 2), conv(12, 28, 3, 2))
        self.fine = nn.Sequential(separable(28, fine, 5, 1), separable(fine, fine, 5, 1))
        self.fine_last = separable(fine, fine, 3, 1)
        self.coarse = nn.Sequential(
            separable(fine, coarse, 3, 2), separable(coarse, coarse, 5, 1), separable(coarse, coarse, 5, 1)
        )
        self.heads = nn.ModuleList([nn.Conv2d(fine, 15, 1), nn.Conv2d(coarse, 15, 1)])
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
            head.bias.data[0] = -math.log(99)
        grid = torch.from_numpy(cell_grid()).T
        size = torch.where(grid[2:] == 8, 18.0, 60.0)
        self.register_buffer("middle", grid[:2].contiguous(), persistent=False)
        self.register_buffer("middles", grid[:2].repeat(5, 1), persistent=False)
        self.register_buffer("size", size, persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (batch, CELLS, 15): score logit, box centre and size, five points, in input pixels."""
        fine = self.fine(self.stem(image - 0.5))
        levels = (self.heads[0](self.fine_last(fine)), self.heads[1](self.coarse(fine)))
        batch = int(image.shape[0])
        raw = torch.cat([level.reshape(batch, 15, int(level.shape[2] * level.shape[3])) for level in levels], 2)
        centre = raw[:, 1:3] * (self.size / 2) + self.middle
        extent = torch.exp(raw[:, 3:5].clamp(-3, 3)) * self.size
        points = raw[:, 5:] * (self.size / 2) + self.middles
        return torch.cat([raw[:, :1], centre, extent, points], 1).transpose(1, 2)


def five_points(points: np.ndarray) -> np.ndarray:
    """Return eye at image left, eye at image right, nose tip, mouth corners, of 49 points; (5, 2)."""
    return np.stack([points[[0, 8]].mean(0), points[[16, 24]].mean(0), points[42], points[43], points[44]])


def share_inside(box: np.ndarray, region: np.ndarray) -> float:
    """Return how much of a box (x0, y0, x1, y1) lies in a region."""
    low, high = np.maximum(box[:2], region[:2]), np.minimum(box[2:], region[2:])
    return float(np.prod(np.clip(high - low, 0, None)) / max(np.prod(box[2:] - box[:2]), 1e-6))


def letterbox(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the network's input picture (float32, 0..255) and the scale, as the contract has it."""
    rows, columns = grey.shape
    scale = min(COLUMNS / columns, ROWS / rows)
    size = (min(COLUMNS, round(columns * scale)), min(ROWS, round(rows * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((ROWS, COLUMNS), np.float32)
    canvas[: size[1], : size[0]] = cv2.resize(grey.astype(np.float32), size, interpolation=method)
    return canvas, scale


class Scene:
    """A picture of the input's size that is being composed, with what the loss has to know of it."""

    def __init__(self, rng: np.random.Generator, backgrounds: list[Picture]) -> None:
        self.rng, self.backgrounds = rng, backgrounds
        shape = rng.random()
        if shape < 0.6:
            self.columns, self.rows = COLUMNS, ROWS
        elif shape < 0.8:
            self.columns, self.rows = COLUMNS, 108
        elif shape < 0.9:
            self.columns, self.rows = ROWS, ROWS
        else:
            self.columns, self.rows = int(rng.integers(80, COLUMNS + 1)), ROWS
        self.canvas = np.zeros((ROWS, COLUMNS), np.float32)
        self.boxes: list[np.ndarray] = []
        self.points: list[np.ndarray] = []
        self.ignored: list[np.ndarray] = []

    @property
    def frame(self) -> np.ndarray:
        """Return the part of the canvas that the camera's picture fills, x0, y0, x1, y1."""
        return np.array([0, 0, self.columns, self.rows], np.float32)

    def paint_background(self, kind: float) -> None:
        """Fill the frame with a part of a picture without faces, flat grey or soft noise, by `kind` 0..1."""
        rng, size = self.rng, (self.columns, self.rows)
        if kind < 0.62 and self.backgrounds:
            other = self.backgrounds[rng.integers(len(self.backgrounds))].grey
            rows, columns = other.shape
            share = float(rng.uniform(0.25, 1.0))
            height, width = max(16, round(rows * share)), max(16, round(columns * share))
            y, x = int(rng.integers(0, rows - height + 1)), int(rng.integers(0, columns - width + 1))
            part = other[y : y + height, x : x + width]
            part = part[:, ::-1] if rng.random() < 0.5 else part
            method = cv2.INTER_AREA if width > size[0] else cv2.INTER_LINEAR
            filled = cv2.resize(np.ascontiguousarray(part), size, interpolation=method).astype(np.float32)
        elif kind < 0.88:
            filled = np.full((size[1], size[0]), rng.uniform(0, 255), np.float32)
        else:
            filled = smooth_noise(rng, size[1], size[0]) * float(rng.uniform(60, 255))
        self.canvas[: self.rows, : self.columns] = filled

    def paint_around(self, grey: np.ndarray, crop: Crop) -> None:
        """Fill the frame with what lies around a false find: the same place, another cut of the picture."""
        rng = self.rng
        rows, columns = grey.shape
        width = min(columns, rows * self.columns / self.rows, crop.width * float(rng.uniform(0.9, 4.0)))
        size = np.array([width, width * self.rows / self.columns])
        middle = crop.centre + rng.uniform(-0.25, 0.25, 2) * size
        x, y = np.clip(middle - size / 2, 0, np.array([columns, rows]) - size)
        part = grey[int(y) : int(y + size[1]) + 1, int(x) : int(x + size[0]) + 1]
        part = np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)
        method = cv2.INTER_AREA if part.shape[1] > self.columns else cv2.INTER_LINEAR
        filled = cv2.resize(part, (self.columns, self.rows), interpolation=method)
        self.canvas[: self.rows, : self.columns] = filled

    def place(
        self,
        picture: Picture,
        face: Face,
        width: float,
        angle: float,
        mirrored: bool,
        crop: float | None,
        centre: np.ndarray | None = None,
    ) -> bool:
        """Paste a picture so that `face` is `width` input pixels wide; False if it would hide another face.

        Parameters
        ----------
        angle
            Radians, positive clockwise.
        crop
            Cut a square of so many box sides round the face out of the picture, or None for all of it.
        centre
            Where the face's middle goes; random if None.
        """
        rng = self.rng
        grey = picture.grey
        rows, columns = grey.shape
        scale = min(width / (face.box[2] - face.box[0]), 2.2)
        region = np.array([0, 0, columns, rows], np.float32)
        middle = (face.box[:2] + face.box[2:]) / 2
        if crop is not None:
            half = crop * float(np.max(face.box[2:] - face.box[:2])) / 2
            region = np.concatenate([np.maximum(middle - half, 0), np.minimum(middle + half, [columns, rows])])
            region = np.rint(region).astype(np.float32)
        reduced = 1.0
        while scale / reduced < 0.6:
            reduced /= 2
        if reduced < 1:
            grey = cv2.resize(
                grey, (max(1, round(columns * reduced)), max(1, round(rows * reduced))), interpolation=cv2.INTER_AREA
            )
        shrink = np.array(grey.shape[::-1]) / [columns, rows]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = scale * turn @ np.diag([-1.0 if mirrored else 1.0, 1.0])
        if centre is None:
            size = width * 1.2
            if rng.random() < 0.12:
                low, high = np.array([0.0, 0.0]), np.array([self.columns, self.rows], float)
            else:
                low = np.minimum([size / 2, size / 2], [self.columns / 2, self.rows / 2])
                high = np.array([self.columns, self.rows]) - low
            centre = rng.uniform(low, high)
        shift = centre - linear @ middle
        corners = np.array([[region[i], region[j]] for i, j in ((0, 1), (2, 1), (2, 3), (0, 3))]) - 0.5
        outline = corners @ linear.T + shift
        mask = np.zeros((ROWS, COLUMNS), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(outline * 16).astype(np.int32), 255, shift=4)
        for box in self.boxes + self.ignored:
            x0, y0 = (int(max(0, v)) for v in box[:2])
            x1, y1 = (int(max(0, v)) for v in box[2:])
            if mask[y0 : y1 + 1, x0 : x1 + 1].any():
                return False
        to_small = np.diag(shrink)
        small_linear = linear @ np.linalg.inv(to_small)
        small_shift = shift - small_linear @ ((shrink - 1) / 2)
        pasted = cv2.warpAffine(
            grey,
            np.column_stack([small_linear, small_shift]),
            (COLUMNS, ROWS),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        weight = mask.astype(np.float32) / 255
        if rng.random() < 0.3:
            weight = weight * cv2.GaussianBlur(weight, (0, 0), float(rng.uniform(0.5, 4)))
        self.canvas += weight * (pasted - self.canvas)
        for other in picture.faces:
            seen = share_inside(other.box, region)
            self._label(other, linear, shift, seen, mirrored)
        return True

    def _label(self, face: Face, linear: np.ndarray, shift: np.ndarray, seen: float, mirrored: bool) -> None:
        points = face.points @ linear.T + shift
        if mirrored:
            points = flip_points(points * [-1, 1], 0)
        # The box encloses a face that is about an ellipse; turned, the ellipse's bounds are the new box.
        half = (face.box[2:] - face.box[:2]) / 2
        reach = np.sqrt((linear * linear) @ (half * half))
        middle = (face.box[:2] + face.box[2:]) / 2 @ linear.T + shift
        box = np.concatenate([middle - reach, middle + reach])
        seen = min(seen, share_inside(box, self.frame))
        if seen < 0.2:
            return
        if seen < 0.6 or 2 * reach[0] < SMALLEST:
            self.ignored.append(box)
            return
        self.boxes.append(box)
        self.points.append(points)
        if 2 * reach[0] > 22 and self.rng.random() < 0.2:
            change = draw_glasses if self.rng.random() < 0.4 else cover
            self.canvas = change(self.canvas, points, self.rng)

    def finish(self) -> np.ndarray:
        """Return the input, 0..255, as a webcam and the letterbox would have made it."""
        picture = webcam(self.canvas[: self.rows, : self.columns], self.rng)
        self.canvas[:] = 0
        self.canvas[: self.rows, : self.columns] = picture
        return self.canvas


def targets(boxes: list[np.ndarray], points: list[np.ndarray], ignored: list[np.ndarray]) -> np.ndarray:
    """Return (CELLS, 15): 1 face, 0 none, -1 not asked; then box centre and size and five points."""
    grid = cell_grid()
    target = np.zeros((CELLS, 15), np.float32)
    for box in ignored:
        middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        target[np.all(np.abs(grid[:, :2] - middle) <= half, axis=1), 0] = -1
    best = np.full(CELLS, np.inf, np.float32)
    for box, all_points in zip(boxes, points, strict=True):
        middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        radius = np.sqrt((((grid[:, :2] - middle) / half) ** 2).sum(1))
        size = float(2 * np.sqrt(half[0] * half[1]))
        answer = np.concatenate([[1], middle, 2 * half, five_points(all_points).reshape(-1)])
        for stride, smallest, largest in LEVELS:
            level = grid[:, 2] == stride
            if smallest <= size <= largest:
                near = np.where(level, radius, np.inf)
                core = near <= CORE
                core[int(np.argmin(near))] = True
                around = level & (radius <= RIM) & (target[:, 0] == 0)
                target[around & ~core, 0] = -1
                core &= radius < best
                target[core] = answer
                best[core] = radius[core]
            elif smallest / SLACK <= size <= largest * SLACK:
                target[level & (radius <= RIM) & (target[:, 0] == 0), 0] = -1
    return target


class SceneSamples(Dataset):
    """Composed scenes; sample `i` depends on the seed and `i` alone."""

    def __init__(
        self,
        pictures: list[Picture],
        backgrounds: list[Picture],
        seed: int,
        first: int,
        count: int,
        false_finds: list[tuple[Picture, Crop]] | None = None,
    ) -> None:
        self.pictures, self.backgrounds, self.false_finds = pictures, backgrounds, false_finds or []
        self.seed, self.first, self.count = seed, first, count
        weights = np.array([{"helen": 3.0, "net7876": 0.4, "renders": 0.3}.get(p.set_name, 1.0) for p in pictures])
        self.cumulative = np.cumsum(weights / weights.sum())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image (1, 144, 192) and targets (CELLS, 15)."""
        scene = self.compose(np.random.default_rng((self.seed, self.first + index)))
        image = scene.finish() / 255
        return image.astype(np.float32)[None], targets(scene.boxes, scene.points, scene.ignored)

    def compose(self, rng: np.random.Generator) -> Scene:
        """Return a scene with no face, one, or up to three."""
        scene = Scene(rng, self.backgrounds)
        kind = rng.random()
        if kind < 0.3:
            how = rng.random()
            if how < 0.15:
                self._paint_body(scene)
            elif how < 0.6 and self.false_finds:
                picture, crop = self.false_finds[rng.integers(len(self.false_finds))]
                scene.paint_around(picture.grey, crop)
            else:
                scene.paint_background(float(rng.random()) ** 1.5)
            return scene
        scene.paint_background(float(rng.random()))
        if kind < 0.45:
            picture = self._pick(rng)
            rows, columns = picture.grey.shape
            scale = min(COLUMNS / columns, ROWS / rows)
            scene.columns, scene.rows = round(columns * scale), round(rows * scale)
            face = picture.faces[0]
            middle = (face.box[:2] + face.box[2:]) / 2
            mirrored = rng.random() < 0.5
            centre = middle * scale
            if mirrored:
                centre = np.array([columns * scale - 1 - centre[0], centre[1]])
            scene.place(picture, face, scale * (face.box[2] - face.box[0]), 0.0, mirrored, None, centre)
            return scene
        for _ in range(1 if kind < 0.8 else 2 if kind < 0.93 else 3):
            picture = self._pick(rng)
            face = picture.faces[rng.integers(len(picture.faces))]
            largest = 0.8 * scene.rows / 1.2
            width = float(np.exp(rng.uniform(np.log(9), np.log(largest))))
            angle = float(rng.uniform(-0.55, 0.55)) if rng.random() < 0.6 else float(rng.normal(0, 0.06))
            crop = float(rng.uniform(1.0, 2.0)) if rng.random() < 0.35 else None
            centre = None
            if kind < 0.8 and rng.random() < 0.12:
                centre = np.array([scene.columns, scene.rows]) / 2
            for _ in range(4):
                if scene.place(picture, face, width, angle, rng.random() < 0.5, crop, centre):
                    break
        return scene

    def _pick(self, rng: np.random.Generator) -> Picture:
        return self.pictures[min(int(np.searchsorted(self.cumulative, rng.random())), len(self.pictures) - 1)]

    def _paint_body(self, scene: Scene) -> None:
        """Fill the frame with a part of a picture of people that shows none of their faces."""
        rng = scene.rng
        scene.paint_background(0.7)
        for _ in range(8):
            picture = self._pick(rng)
            rows, columns = picture.grey.shape
            size = rng.uniform(0.15, 0.6) * np.array([columns, rows])
            low = rng.uniform(0, np.array([columns, rows]) - size)
            region = np.concatenate([low, low + size])
            if min(size) < 12 or any(share_inside(f.box, region) > 0.02 for f in picture.faces):
                continue
            x0, y0, x1, y1 = region.astype(int)
            part = cv2.resize(picture.grey[y0:y1, x0:x1], (scene.columns, scene.rows))
            scene.canvas[: scene.rows, : scene.columns] = part
            return


def box_overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the generalised IoU (Rezatofighi 2019) of boxes given as cx, cy, w, h."""
    a0, a1 = a[..., :2] - a[..., 2:] / 2, a[..., :2] + a[..., 2:] / 2
    b0, b1 = b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2
    shared = (torch.minimum(a1, b1) - torch.maximum(a0, b0)).clamp(min=0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared
    hull = (torch.maximum(a1, b1) - torch.minimum(a0, b0)).prod(-1)
    return shared / union - (hull - union) / hull


def find_faces(cells: np.ndarray, threshold: float) -> np.ndarray:
    """Return the cells (k, 15) above `threshold` that survive non-maximum suppression, score 0..1 first."""
    score = 1 / (1 + np.exp(-cells[:, 0]))
    order = [i for i in np.argsort(-score) if score[i] >= threshold]
    kept: list[np.ndarray] = []
    for i in order:
        cell = cells[i].copy()
        cell[0] = score[i]
        if all(plain_overlap(cell[1:5], k[1:5]) <= NMS_IOU for k in kept):
            kept.append(cell)
    return np.array(kept).reshape(-1, 15)


def plain_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the IoU of two boxes given as cx, cy, w, h."""
    low = np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2)
    high = np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / float(a[2] * a[3] + b[2] * b[3] - shared)


class FaceTask:
    """See `gaze_models.common.Task`."""

    def __init__(self, config: dict[str, Any], data: Path | None) -> None:
        self.config, self.data = config, data
        threshold = config["network"]["threshold"]
        self.contract = ModelContract(
            CONTRACT.name,
            CONTRACT.inputs,
            CONTRACT.outputs,
            {"score": threshold, "nms_iou": NMS_IOU},
            CONTRACT.tolerance,
        )

    def network(self) -> nn.Module:
        """Return a fresh network."""
        return FaceNetwork(self.config["network"]["fine"], self.config["network"]["coarse"])

    def batches(self, first_step: int, steps: int, smoke: bool) -> Iterator[Any]:
        """Yield training batches; backgrounds that the present finder takes for faces come more often."""
        limit = 24 if smoke else None
        size = self.config["train"]["batch"]
        most = limit or self.config["train"]["most_renders"]
        backgrounds = read_backgrounds(self.data, "train", limit)
        samples = SceneSamples(
            read_faces(self.data, "train", limit) + read_rendered(rendered_folder(self.config, smoke), most),
            backgrounds,
            self.config["seed"],
            first_step * size,
            (steps - first_step) * size,
            find_in_vain(backgrounds, MODELS / "onnx" / "face.onnx"),
        )
        workers = 0 if smoke else self.config["train"]["workers"]
        yield from DataLoader(samples, size, num_workers=workers, drop_last=True)

    def loss(self, network: nn.Module, batch: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
        """Return focal loss on scores, GIoU on boxes and L1 on the five points."""
        image, target = batch
        cells = network(image)
        state = target[..., 0]
        asked, faces = state >= 0, state > 0
        logit, wanted = cells[..., 0][asked], state[asked]
        plain = F.binary_cross_entropy_with_logits(logit, wanted, reduction="none")
        sure = torch.exp(-plain)
        weight = torch.where(wanted > 0, 1.0, 0.5)
        count = faces.sum().clamp(min=1)
        found, truth = cells[faces], target[faces]
        size = truth[:, 3:5].prod(1, keepdim=True).sqrt()
        terms = {
            "score": (weight * (1 - sure) ** 2 * plain).sum() / count,
            "box": (1 - box_overlap(found[:, 1:5], truth[:, 1:5])).sum() / count,
            "points": F.smooth_l1_loss(found[:, 5:] / size, truth[:, 5:] / size, reduction="sum", beta=0.05)
            / count
            / 10,
        }
        return {"total": 2 * terms["score"] + terms["box"] + 5 * terms["points"]} | terms

    @torch.no_grad()
    def validate(self, network: nn.Module, page: Path, smoke: bool) -> dict[str, float]:
        """Return recall and false positives on composed scenes of the validation people."""
        limit = 24 if smoke else None
        pictures = read_faces(self.data, "val", limit)
        backgrounds = read_backgrounds(self.data, "val", limit)
        samples = SceneSamples(pictures, backgrounds, 3, 0, 60 if smoke else 500)
        network = network.eval()
        where = next(network.parameters()).device
        threshold = self.contract.thresholds["score"]
        found_count = face_count = wrong = pictures_without = fired = 0
        offs, shown = [], []
        for index in range(len(samples)):
            scene = samples.compose(np.random.default_rng((samples.seed, index)))
            image = scene.finish()
            cells = network(torch.from_numpy(image / 255)[None, None].float().to(where))[0].cpu().numpy()
            found = find_faces(cells, threshold)
            used = set()
            for box, points in zip(scene.boxes, scene.points, strict=True):
                wanted = np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])
                face_count += 1
                overlaps = [plain_overlap(f[1:5], wanted) for f in found]
                if overlaps and max(overlaps) > 0.4:
                    found_count += 1
                    best = int(np.argmax(overlaps))
                    used.add(best)
                    truth = five_points(points)
                    off = np.hypot(*(found[best][5:].reshape(5, 2) - truth).T).mean()
                    offs.append(off / max(float(np.hypot(*(truth[1] - truth[0]))), 1.0))
            wrong += sum(
                k not in used
                and all(
                    plain_overlap(f[1:5], np.concatenate([(b[:2] + b[2:]) / 2, b[2:] - b[:2]])) < 0.2
                    for b in scene.ignored
                )
                for k, f in enumerate(found)
            )
            if not scene.boxes and not scene.ignored:
                pictures_without += 1
                fired += len(found) > 0
            if len(shown) < 40:
                shown.append(draw_found(image, found, scene.boxes))
        cv2.imwrite(str(page), tile(shown, 5))
        return {
            "recall": found_count / max(1, face_count),
            "wrong per picture": wrong / len(samples),
            "fired without a face": fired / max(1, pictures_without),
            "five points % of eye distance": 100 * float(np.mean(offs)) if offs else 100.0,
        }

    def golden_inputs(self) -> dict[str, np.ndarray]:
        """Return noise and drawn faces."""
        rng = np.random.default_rng(self.config["seed"])
        cases = []
        for case in range(GOLDEN_CASES):
            pixels = smooth_noise(rng, ROWS, COLUMNS)
            for _ in range(case % 4):
                draw_cartoon(
                    pixels, (float(rng.uniform(30, 160)), float(rng.uniform(30, 110))), float(rng.uniform(8, 40)), rng
                )
            cases.append(pixels[None, None])
        return {"image": np.stack(cases)}

    def evaluate(self, onnx_file: Path, out: Path, smoke: bool) -> dict[str, Any]:
        """Measure on test people, as they are and at webcam sizes, and on pictures without a face."""
        return evaluate(onnx_file, self.data, out, self.contract.thresholds["score"], smoke)

    def card_figures(self, figures: dict[str, Any]) -> str:
        """Return the evaluation as the tables of the model card."""
        lines = [
            "| test people, pictures as they are | n | recall % (95 % by person) | five points, % of eye distance |"
        ]
        lines.append("|---|---|---|---|")
        for name, row in figures["as_they_are"].items():
            off = 100 * row["five_points_by_eye_distance"]
            lines.append(f"| {name} | {row['n']} | {interval_text(row['recall'], 100, 1)} | {off:.1f} |")
        lines += ["", "| face width in a 640x480 picture, px | n | recall % (95 % by person) |", "|---|---|---|"]
        for width, row in figures["face_width_in_640x480"].items():
            lines.append(f"| {width} | {row['n']} | {interval_text(row['recall'], 100, 1)} |")
        none = figures["pictures_without_a_face"]
        lines += ["", f"| threshold | of {none['n']} test pictures without a face, fired on |", "|---|---|"]
        lines += [f"| {level} | {count} |" for level, count in none["fired_at"].items()]
        lines += ["", f"ONNX Runtime, one thread: {figures['ort_ms_one_thread']:.2f} ms."]
        return "\n".join(lines)


def draw_found(image: np.ndarray, found: np.ndarray, boxes: list[np.ndarray]) -> np.ndarray:
    """Return the input enlarged with found faces in colour and true boxes in white."""
    zoom = 2
    canvas = cv2.resize(cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_GRAY2BGR), None, fx=zoom, fy=zoom)
    for x0, y0, x1, y1 in boxes:
        cv2.rectangle(canvas, (int(x0 * zoom), int(y0 * zoom)), (int(x1 * zoom), int(y1 * zoom)), (255, 255, 255), 1)
    for cell in found:
        cx, cy, w, h = cell[1:5] * zoom
        cv2.rectangle(canvas, (int(cx - w / 2), int(cy - h / 2)), (int(cx + w / 2), int(cy + h / 2)), (0, 255, 0), 1)
        cv2.putText(canvas, f"{cell[0]:.2f}", (int(cx - w / 2), int(cy - h / 2) - 2), 0, 0.35, (0, 255, 255))
        for x, y in cell[5:].reshape(5, 2) * zoom:
            cv2.circle(canvas, (int(x), int(y)), 1, (0, 0, 255), -1)
    return canvas


def evaluate(onnx_file: Path, data: Path, out: Path, threshold: float, smoke: bool) -> dict[str, Any]:
    """Return recall by set and by size with intervals by person, and false positives."""
    session = onnx_session(onnx_file)
    limit = 24 if smoke else None

    def run(image: np.ndarray, level: float = threshold) -> np.ndarray:
        return find_faces(session.run(None, {"image": (image / 255)[None, None].astype(np.float32)})[0][0], level)

    figures: dict[str, Any] = {"threshold": threshold, "as_they_are": {}, "face_width_in_640x480": {}}
    pictures = read_faces(data, "test", limit)
    shown = []
    for name in sorted({p.set_name for p in pictures}):
        hits, offs, people, extra = [], [], [], 0
        for p in (p for p in pictures if p.set_name == name):
            image, scale = letterbox(p.grey)
            found = run(image)
            extra += max(0, len(found) - len(p.faces))
            hit, off = match(found, p.faces[0], scale, (scale - 1) / 2)
            hits.append(hit)
            offs.append(off)
            people.append(p.identity if p.identity != name else p.file)
            if not hit and len(shown) < 40:
                shown.append(draw_found(image, found, [p.faces[0].box * scale]))
        offs_found = np.array([o for o in offs if np.isfinite(o)])
        figures["as_they_are"][name] = {
            "n": len(hits),
            "recall": bootstrap_interval(np.array(hits, float), people),
            "five_points_by_eye_distance": float(np.mean(offs_found)),
            "found_beyond_the_labels_per_picture": extra / len(hits),
        }
    rng = np.random.default_rng(9)
    single = [p for p in pictures if len(p.faces) == 1 and p.set_name != "net7876"]
    for width in (36, 50, 70, 100, 140, 190, 260):
        hits, people = [], []
        for p in single[:: 2 if width < 260 else 3]:
            face = p.faces[0]
            zoom = width / (face.box[2] - face.box[0])
            if zoom > 2.5:
                continue
            method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
            small = cv2.resize(p.grey, None, fx=zoom, fy=zoom, interpolation=method)
            middle = (face.box[:2] + face.box[2:]) / 2 * zoom
            place = np.array([rng.uniform(0.3, 0.7) * 640, rng.uniform(0.4, 0.6) * 480])
            move = np.rint(place - middle).astype(int)
            frame = np.full((480, 640), 128, np.uint8)
            x0, y0 = np.maximum(move, 0)
            x1, y1 = np.minimum(move + small.shape[::-1], [640, 480])
            frame[y0:y1, x0:x1] = small[y0 - move[1] : y1 - move[1], x0 - move[0] : x1 - move[0]]
            image, scale = letterbox(frame)
            moved = Face(face.box * zoom + np.tile(move, 2), face.points * zoom + move, face.depth)
            hits.append(match(run(image), moved, scale, 0)[0])
            people.append(p.identity if p.identity != p.set_name else p.file)
        figures["face_width_in_640x480"][str(width)] = {
            "n": len(hits),
            "recall": bootstrap_interval(np.array(hits, float), people),
        }
    fired = {0.3: 0, 0.4: 0, threshold: 0, 0.6: 0, 0.7: 0}
    backgrounds = read_backgrounds(data, "test", limit)
    for p in backgrounds:
        image, _ = letterbox(p.grey)
        best = run(image, 0.05)
        top = float(best[0, 0]) if len(best) else 0.0
        for level in fired:
            fired[level] += top >= level
        if top >= threshold:
            shown.append(draw_found(image, best[best[:, 0] >= threshold], []))
    figures["pictures_without_a_face"] = {
        "n": len(backgrounds),
        "fired_at": {f"{k:.2f}": v for k, v in sorted(fired.items())},
    }
    if shown:
        cv2.imwrite(str(out / "face_mistakes.png"), tile(shown, 5))
    image = np.zeros((1, 1, ROWS, COLUMNS), np.float32)
    started = time.perf_counter()
    for _ in range(200):
        session.run(None, {"image": image})
    figures["ort_ms_one_thread"] = (time.perf_counter() - started) / 200 * 1000
    return figures


def match(found: np.ndarray, face: Face, scale: float, shift: float) -> tuple[bool, float]:
    """Return whether a face was found (IoU > 0.4) and the five points' mean error by the eye distance."""
    box = face.box * scale + shift
    wanted = np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])
    overlaps = [plain_overlap(f[1:5], wanted) for f in found]
    if not overlaps or max(overlaps) <= 0.4:
        return False, float("nan")
    truth = five_points(face.points) * scale + shift
    off = np.hypot(*(found[int(np.argmax(overlaps))][5:].reshape(5, 2) - truth).T).mean()
    return True, float(off / np.hypot(*(truth[1] - truth[0])))


def task(config: dict[str, Any], data: Path | None) -> FaceTask:
    """Make the task; called by the stages."""
    return FaceTask(config, data)
