"""Sampled scanpaths and what they are compared by, for the transformer and for the references alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from gaze_models.scanpath_appearance import APPEARANCE
from gaze_models.scanpath_data import Path_, Scene, make_batch
from gaze_models.scanpath_network import DWELL_CENTRE, DWELL_SCALE, Scanpath

FEWEST_DRAWS, JUDGES = 24, 64
"""Paths drawn at least when typical ones are picked, and paths that all are compared with."""
LONGEST = 60
"""Dwells after which a sampled path is cut."""

Sampler = Callable[[Scene, int, torch.Generator], list[list[int]]]


def draw_next(
    logits: torch.Tensor, end: torch.Tensor, is_first: bool, settings: dict[str, float], random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whether each of P paths ends, and the next object of each; `logits` (P, N), `end` (P,)."""
    ends = torch.rand(len(end), generator=random) < torch.sigmoid(end / settings["sampling_end_temperature"])
    chances = torch.softmax(logits / settings["sampling_temperature"], -1)
    return ends & (not is_first), torch.multinomial(chances, 1, generator=random)[:, 0]


@torch.no_grad()
def sample_network(
    network: Scanpath, settings: dict[str, float], scene: Scene, count: int, random: torch.Generator
) -> list[list[int]]:
    """Sample paths as ``gazed scanpath predict`` does."""
    batch = make_batch([scene], [[empty_path()] * count], APPEARANCE)
    objects, n = batch.objects, len(scene.boxes)
    codes = network.encode(objects, batch.appearance, batch.task)
    chosen, dwell = torch.zeros(1, count, n), torch.zeros(1, count, 2)
    memory = network.nothing(1, count, n)
    paths: list[list[int]] = [[] for _ in range(count)]
    alive = torch.ones(count, dtype=torch.bool)
    for step in range(LONGEST):
        memory = network.advance(memory, objects, codes, chosen, dwell, torch.zeros(1, count, 3))
        logits, end, dwells = network.predict(memory, objects, codes)
        if n == 1 and step:
            break
        logits = logits[0] / settings["choice_temperature"]
        ends, index = draw_next(logits, end[0, :, 0] / settings["end_temperature"], step == 0, settings, random)
        alive &= ~ends
        if not alive.any():
            break
        for k in torch.nonzero(alive)[:, 0].tolist():
            paths[k].append(int(index[k]))
        weights, mean, spread = dwells[0, torch.arange(count), index].chunk(3, -1)
        component = torch.multinomial(weights.exp(), 1, generator=random)
        normal = torch.randn(count, generator=random) * settings["sampling_dwell_spread"]
        z = mean.gather(1, component)[:, 0] + spread.gather(1, component)[:, 0].exp() * normal
        z = z.clamp(max=(15 - DWELL_CENTRE) / DWELL_SCALE)
        dwell = torch.stack([z, torch.ones(count)], -1)[None]
        chosen = torch.nn.functional.one_hot(index, n).float()[None]
    return paths


def sample_typical(
    network: Scanpath, settings: dict[str, float], scene: Scene, count: int, random: torch.Generator
) -> list[list[int]]:
    """Draw several times as many paths and keep those that agree most with the others, as the daemon does."""
    draws = int(settings["sampling_draws_per_path"])
    if draws == 1:
        return sample_network(network, settings, scene, count, random)
    drawn = sample_network(network, settings, scene, max(FEWEST_DRAWS, draws * count), random)
    agreement = [
        np.mean([sequence_score(a, b) for j, b in enumerate(drawn[:JUDGES]) if j != k]) for k, a in enumerate(drawn)
    ]
    return [drawn[k] for k in np.argsort(-np.array(agreement), kind="stable")[:count]]


@torch.no_grad()
def sample_reference(
    predict: Callable[[Scene, list[Path_]], tuple[torch.Tensor, torch.Tensor]],
    settings: dict[str, float],
    scene: Scene,
    count: int,
    random: torch.Generator,
) -> list[list[int]]:
    """Sample paths of a model that reads whole prefixes: `predict` gives (P, T + 1, N) and (P, T + 1)."""
    paths: list[list[int]] = [[] for _ in range(count)]
    alive = torch.ones(count, dtype=torch.bool)
    n = len(scene.boxes)
    for step in range(LONGEST):
        if (n == 1 and step) or not alive.any():
            break
        logits, end = predict(scene, [prefix(scene, path) for path in paths])
        at = torch.tensor([len(path) for path in paths])
        rows = torch.arange(count)
        ends, index = draw_next(logits[rows, at], end[rows, at], step == 0, settings, random)
        alive &= ~ends
        for k in torch.nonzero(alive)[:, 0].tolist():
            paths[k].append(int(index[k]))
    return paths


def empty_path() -> Path_:
    """Return a path without dwells."""
    return Path_("", np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 2), np.float32), np.full(2, np.nan, np.float32))


def prefix(scene: Scene, objects: list[int]) -> Path_:
    """Return a path over the middles of these objects, its times unknown."""
    place = np.array(objects, np.int64)
    return Path_("", place, np.full(len(place), np.nan), scene.boxes[place, :2], np.full(2, np.nan, np.float32))


def common_length(a: list[int], b: list[int]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for j, y in enumerate(b):
            new.append(row[j] + 1 if x == y else max(row[j + 1], new[-1]))
        row = new
    return row[-1]


def sequence_score(a: list[int], b: list[int]) -> float:
    """Return the longest common subsequence as share of the longer path."""
    longer = max(len(a), len(b))
    return common_length(a, b) / longer if longer else 1.0


def behaviour(path: list[int], scene: Scene) -> np.ndarray:
    """Return OAT's five: ends on the target, length, share of objects searched, refixations, revisits.

    Immediate repeats are merged in object-level paths, so that a refixation is a return after one other object, and a
    revisit one after more.
    """
    last: dict[int, int] = {}
    refixations = revisits = 0
    for t, index in enumerate(path):
        if index in last:
            refixations += t - last[index] == 2
            revisits += t - last[index] > 2
        last[index] = t
    ends = float(bool(path) and path[-1] == scene.target)
    return np.array([ends, len(path), len(last) / len(scene.boxes), refixations, revisits], np.float64)


def behavioural_delta(scenes: list[Scene], sampled: list[list[list[int]]]) -> float:
    """Return the mean of |model - people| / people over the five, each averaged over all paths."""
    people = np.mean([behaviour(p.objects.tolist(), s) for s in scenes for p in s.paths], 0)
    model = np.mean([behaviour(p, s) for s, paths in zip(scenes, sampled, strict=True) for p in paths], 0)
    is_there = people > 0
    return float(np.mean(np.abs(model - people)[is_there] / people[is_there]))
