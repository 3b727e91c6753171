"""Scenes with objects and people's paths over them: reading, splits, tensors.

The files are ``scenes.jsonl`` and ``paths.jsonl.gz``, one JSON object a line. A scene has ``scene_id, width_px,
height_px, task, target, objects [{id, box [x, y, w, h], class, score}], image``, a path ``scene_id, observer,
fixations [{object, x_px, y_px, duration_ms}]``. Lengths inside are screen diagonals from the screen's centre.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gaze_models.scanpath_appearance import appearance, read_reduced

OBJECT_LIMIT = 128
"""Most objects of a scene."""

CLASS_FILE = Path(__file__).resolve().parents[2] / "scanpath_classes.txt"
"""One class a line, its names separated by ``|``; the line's number is the class's, 0 is any other or none."""
CLASS_NUMBER = {name: k + 1 for k, line in enumerate(CLASS_FILE.read_text().splitlines()) for name in line.split("|")}
CLASSES = max(CLASS_NUMBER.values()) + 1

SETS = ("osie", "coco-search18", "interiors", "objarr", "amazon-covers")
SHIPPED_SETS = ("osie", "coco-search18")
FOLDS = 5
TEST_FOLD, VALIDATION_FOLD = 0, 1
"""The measured networks are neither trained nor tuned on the first; the second is what settings are chosen on."""


@dataclass
class Path_:
    """One observer's path over one scene, as the network sees it.

    Attributes
    ----------
    objects
        (T,) index in the scene of each dwell's object.
    dwell_ms
        (T,) summed fixation durations of the dwell, NaN where unknown.
    gaze
        (T, 2) last fixation of the dwell, screen diagonals from the centre.
    start
        (2,) where the gaze was when the scene came up, if that was on no object; else NaN.
    """

    observer: str
    objects: np.ndarray
    dwell_ms: np.ndarray
    gaze: np.ndarray
    start: np.ndarray


@dataclass
class Scene:
    """One scene. `boxes`: (N, 4) centre x, y, width, height in screen diagonals from the screen's centre."""

    scene_id: str
    set_name: str
    boxes: np.ndarray
    class_number: np.ndarray
    class_name: list[str | None]
    score: np.ndarray
    target: int | None
    is_search: bool
    image: Path | None
    raw: dict[str, Any]
    appearance: np.ndarray | None = None
    paths: list[Path_] = field(default_factory=list)

    @property
    def group(self) -> str:
        """Return what must stay on one side of a split: the picture."""
        found = re.match(r"coco-(\d+)-", self.scene_id)
        return found.group(1) if found else self.scene_id

    @property
    def fold(self) -> int:
        """Return the scene's part of the cross-validation."""
        return int.from_bytes(hashlib.sha256(self.group.encode()).digest()[:4], "little") % FOLDS


def class_number(name: str | None) -> int:
    """Return the number of a class name; 0 for none and for names that are not known."""
    return CLASS_NUMBER.get(name or "", 0)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file, compressed or not."""
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as lines:
        for line in lines:
            yield json.loads(line)


def load_set(folder: Path) -> list[Scene]:
    """Read one set; scenes keep the order of the file."""
    scenes: dict[str, Scene] = {}
    for raw in read_lines(folder / "scenes.jsonl"):
        diagonal = math.hypot(raw["width_px"], raw["height_px"])
        box = np.asarray([o["box"] for o in raw["objects"]], np.float64)
        centre = box[:, :2] + box[:, 2:] / 2 - np.array([raw["width_px"], raw["height_px"]]) / 2
        ids = [o["id"] for o in raw["objects"]]
        scenes[raw["scene_id"]] = Scene(
            scene_id=raw["scene_id"],
            set_name=folder.name,
            boxes=np.concatenate([centre, box[:, 2:]], 1).astype(np.float32) / np.float32(diagonal),
            class_number=np.array([class_number(o["class"]) for o in raw["objects"]], np.int64),
            class_name=[o["class"] for o in raw["objects"]],
            score=np.array([o["score"] for o in raw["objects"]], np.float32),
            target=None if raw["target"] is None else ids.index(raw["target"]),
            is_search=raw["task"] == "search",
            image=folder / raw["image"] if raw["image"] else None,
            raw=raw,
        )
    for raw in read_lines(folder / "paths.jsonl.gz"):
        scene = scenes[raw["scene_id"]]
        scene.paths.append(read_path(raw, scene))
    return list(scenes.values())


def read_path(raw: dict[str, Any], scene: Scene) -> Path_:
    """Reduce fixations to dwells on objects."""
    size = np.array([scene.raw["width_px"], scene.raw["height_px"]])
    diagonal = math.hypot(*size)
    place = {o["id"]: k for k, o in enumerate(scene.raw["objects"])}
    objects: list[int] = []
    dwell: list[float] = []
    gaze: list[np.ndarray] = []
    start = np.full(2, np.nan)
    for k, fixation in enumerate(raw["fixations"]):
        at = (np.array([fixation["x_px"], fixation["y_px"]], np.float64) - size / 2) / diagonal
        duration = math.nan if fixation["duration_ms"] is None else float(fixation["duration_ms"])
        if fixation["object"] is None:
            if k == 0:
                start = at
            continue
        index = place[fixation["object"]]
        if objects and objects[-1] == index:
            dwell[-1] += duration
            gaze[-1] = at
        else:
            objects.append(index)
            dwell.append(duration)
            gaze.append(at)
    return Path_(
        raw["observer"],
        np.array(objects, np.int64),
        np.array(dwell),
        np.array(gaze).reshape(-1, 2).astype(np.float32),
        start.astype(np.float32),
    )


OBJECT_INPUTS = 9
"""centre x, y, width, height, class number, score, is target, is there, place in the list."""


def object_inputs(scene: Scene, slots: int) -> np.ndarray:
    """Return the (slots, `OBJECT_INPUTS`) array of a scene; empty slots have their place alone."""
    found = np.zeros((slots, OBJECT_INPUTS), np.float32)
    n = len(scene.boxes)
    found[:n, :4] = scene.boxes
    found[:n, 4] = scene.class_number
    found[:n, 5] = scene.score
    if scene.target is not None:
        found[scene.target, 6] = 1
    found[:n, 7] = 1
    found[:, 8] = np.arange(slots)
    return found


@dataclass
class Batch:
    """Some scenes of similar size with some of their paths.

    Attributes
    ----------
    objects
        (S, N, `OBJECT_INPUTS`).
    appearance
        (S, N, A), zero where there is no picture.
    task
        (S, 2): is search, has a picture.
    chosen
        (S, P, T) index of each dwell's object, -1 after the end.
    dwell
        (S, P, T) ln of the dwell in ms, NaN where unknown.
    gaze
        (S, P, T, 2).
    start
        (S, P, 2).
    length
        (S, P) number of dwells, -1 for no path.
    """

    scenes: list[Scene]
    objects: torch.Tensor
    appearance: torch.Tensor
    task: torch.Tensor
    chosen: torch.Tensor
    dwell: torch.Tensor
    gaze: torch.Tensor
    start: torch.Tensor
    length: torch.Tensor

    def real_steps(self) -> torch.Tensor:
        """Return (S, L) places in P x (T + 1) of the steps that there are, scene by scene; then some there are not.

        A network that works on these alone need not fill every path up to the longest.
        """
        steps = self.chosen.shape[2] + 1
        is_real = (torch.arange(steps) <= self.length.unsqueeze(-1)).flatten(1)
        return torch.argsort((~is_real).int(), stable=True)[:, : max(1, int(is_real.sum(1).max()))]


def make_batch(scenes: list[Scene], paths: list[list[Path_]], appearance_size: int, longest: int = 48) -> Batch:
    """Stack scenes and the given paths of each; paths are cut after `longest` dwells."""
    slots = max(len(s.boxes) for s in scenes)
    many = max(1, *(len(p) for p in paths)) if len(paths) > 1 else max(1, len(paths[0]))
    steps = max(1, min(longest, max((len(q.objects) for p in paths for q in p), default=1)))
    shape = (len(scenes), many, steps)
    appearance = np.zeros((len(scenes), slots, appearance_size), np.float32)
    task = np.zeros((len(scenes), 2), np.float32)
    chosen = np.full(shape, -1, np.int64)
    dwell = np.full(shape, np.nan, np.float32)
    gaze = np.zeros((*shape, 2), np.float32)
    start = np.full((len(scenes), many, 2), np.nan, np.float32)
    length = np.full(shape[:2], -1, np.int64)
    for s, (scene, of_scene) in enumerate(zip(scenes, paths, strict=True)):
        task[s, 0] = scene.is_search
        if scene.appearance is not None:
            task[s, 1] = 1
            appearance[s, : len(scene.boxes)] = scene.appearance
        for p, path in enumerate(of_scene):
            t = min(steps, len(path.objects))
            chosen[s, p, :t] = path.objects[:t]
            dwell[s, p, :t] = np.log(np.maximum(path.dwell_ms[:t], 1.0))
            gaze[s, p, :t] = path.gaze[:t]
            start[s, p] = path.start
            length[s, p] = len(path.objects)
    return Batch(
        scenes,
        torch.from_numpy(np.stack([object_inputs(s, slots) for s in scenes])),
        *(torch.from_numpy(a) for a in (appearance, task, chosen, dwell, gaze, start, length)),
    )


def with_appearance(scenes: list[Scene], cache: Path | None = None) -> list[Scene]:
    """Return the scenes with what their objects look like, where they have a picture; `cache` (.npz) keeps it."""
    known = dict(np.load(cache)) if cache and cache.exists() else {}
    is_new = False
    for scene in scenes:
        if scene.image is None:
            continue
        if scene.scene_id not in known:
            size = np.array([scene.raw["width_px"], scene.raw["height_px"]] * 2)
            boxes = np.array([o["box"] for o in scene.raw["objects"]]) / size
            known[scene.scene_id] = appearance(read_reduced(scene.image), boxes)
            is_new = True
        scene.appearance = known[scene.scene_id]
    if cache and is_new:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, **known)
    return scenes
