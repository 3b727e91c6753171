"""Trains the scanpath transformer: ``python -m gaze_models.scanpath_train --config X.toml --data DIR --out RUN``.

`DIR` holds ``scanpath/<set>/`` (see models/scanpath.md). The run folder gets ``checkpoint.pt`` after every epoch,
from which the same command goes on after an interruption, and at the end ``onnx/`` and ``manifest.toml``: it can be
given to ``gazed scanpath … --models RUN``. ``--hold-out`` leaves out the test scenes, ``--validate`` the validation
scenes too and measures on them after every epoch; without either everything is trained on, as what is shipped.
"""

from __future__ import annotations

import argparse
import math
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gaze_models.common import Average, learning_rate, load_checkpoint, save_checkpoint, seed_everything
from gaze_models.scanpath_appearance import APPEARANCE
from gaze_models.scanpath_data import (
    TEST_FOLD,
    VALIDATION_FOLD,
    Batch,
    Path_,
    Scene,
    load_set,
    make_batch,
    with_appearance,
)
from gaze_models.scanpath_export import export
from gaze_models.scanpath_network import Scanpath, Size, dwell_log_density, unroll

LONGEST = 48
"""Dwells of a path that training looks at."""


def load_scenes(data: Path, sets: list[str], cache: Path | None = None) -> list[Scene]:
    """Read the sets and what their pictures look like; `cache` keeps the latter (an .npz)."""
    scenes = [scene for name in sets for scene in load_set(data / "scanpath" / name)]
    return with_appearance(scenes, cache)


def choice_terms(logits: torch.Tensor, end: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
    """Return what every model is measured by, one value a step, and the (S, P, T) mask `there` of real dwells.

    ``nll`` of the next object, whether it is the most probable (``top1``), the probability of the most probable
    (``confidence``), and ``end``: the negative log probability of ending or going on.
    """
    t = batch.chosen.shape[2]
    there = batch.chosen >= 0
    index = batch.chosen.clamp(min=0).unsqueeze(-1)
    log_probability = torch.log_softmax(logits[:, :, :t], -1)
    number = torch.arange(t + 1)
    is_alive = number <= batch.length.unsqueeze(-1)
    is_end = (number == batch.length.unsqueeze(-1)).float()
    best = log_probability.max(-1)
    return {
        "there": there,
        "nll": -log_probability.gather(-1, index).squeeze(-1)[there],
        "top1": (best.indices.unsqueeze(-1) == index).squeeze(-1)[there].float(),
        "confidence": best.values.exp()[there],
        "end": nn.functional.binary_cross_entropy_with_logits(end[is_alive], is_end[is_alive], reduction="none"),
    }


def dwell_terms(dwells: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the negative log density per ms of every known dwell, and the mask (S, P, T) of known ones."""
    t = batch.chosen.shape[2]
    index = batch.chosen.clamp(min=0)[..., None, None].expand(*batch.chosen.shape, 1, dwells.shape[-1])
    chosen = dwells[:, :, :t].gather(3, index).squeeze(3)
    known = torch.isfinite(batch.dwell) & (batch.chosen >= 0)
    return -dwell_log_density(chosen[known], batch.dwell[known]), known


Group = list[tuple[Scene, list[Path_]]]


def groups(
    scenes: list[Scene],
    rng: np.random.Generator,
    budget: int,
    paths_of_a_scene: int = 16,
    choices: int = 10**9,
    paths_of_a_set: dict[str, int] | None = None,
) -> list[Group]:
    """Put scenes of similar size together.

    Parameters
    ----------
    budget
        Most candidates (scenes x paths x steps x objects) of a group's tensors.
    paths_of_a_scene
        Most paths of a scene in one group.
    choices
        Most steps (scenes x paths x steps) of a group's tensors.
    paths_of_a_set
        For some sets, how many of a scene's paths are drawn; the others are left out this time.
    """
    items: Group = []
    for scene in scenes:
        order = rng.permutation(len(scene.paths))[: (paths_of_a_set or {}).get(scene.set_name)]
        for k in range(0, len(order), paths_of_a_scene):
            items.append((scene, [scene.paths[i] for i in order[k : k + paths_of_a_scene]]))
    size = np.array([len(scene.boxes) for scene, _ in items]) + 4 * rng.random(len(items))
    found: list[Group] = []
    for i in np.argsort(size):
        bigger = [*(found[-1] if found else []), items[i]]
        slots, steps = room(bigger)
        if found and slots * steps <= budget and steps <= choices:
            found[-1] = bigger
        else:
            found.append([items[i]])
    return [found[i] for i in rng.permutation(len(found))]


def room(group: Group) -> tuple[int, int]:
    """Return the objects and the steps (scenes x paths x steps) that a group's tensors have room for."""
    slots = max(len(scene.boxes) for scene, _ in group)
    paths = max(len(paths) for _, paths in group)
    steps = max((min(LONGEST, len(path.objects)) for _, paths in group for path in paths), default=0)
    return slots, len(group) * paths * (steps + 1)


def batch_of(group: Group) -> Batch:
    """Stack a group."""
    return make_batch([scene for scene, _ in group], [paths for _, paths in group], APPEARANCE, LONGEST)


def augment(batch: Batch, rng: np.random.Generator, settings: dict[str, Any]) -> None:
    """Mirror some batches left to right, and make every scene a little larger or smaller."""
    if rng.random() < settings["mirrored"]:
        for values in (batch.objects, batch.gaze, batch.start):
            values[..., 0] *= -1
    scale = torch.exp(settings["scale_sd"] * torch.from_numpy(rng.standard_normal((len(batch.scenes), 1, 1))).float())
    batch.objects[..., :4] *= scale
    batch.gaze *= scale.unsqueeze(-1)
    batch.start *= scale


def measured(scenes: list[Scene], terms: Callable[[Batch], dict[str, torch.Tensor]]) -> dict[str, dict[str, float]]:
    """Return the means of the terms by set."""
    found: dict[str, dict[str, float]] = {}
    for name in sorted({scene.set_name for scene in scenes}):
        sums: dict[str, list[torch.Tensor]] = {}
        of_set = [scene for scene in scenes if scene.set_name == name]
        for group in groups(of_set, np.random.default_rng(0), 60000, 16):
            for key, values in terms(batch_of(group)).items():
                if key != "there":
                    sums.setdefault(key, []).append(values.float())
        found[name] = {key: float(torch.cat(values).mean()) for key, values in sums.items()}
    return found


def network_terms(network: Scanpath, batch: Batch) -> dict[str, torch.Tensor]:
    """Return `choice_terms` and the dwells' of the network."""
    with torch.no_grad():
        logits, end, dwells = unroll(network, batch)
        return choice_terms(logits, end, batch) | {"dwell": dwell_terms(dwells, batch)[0]}


def train(
    config: dict[str, Any], scenes: list[Scene], validation: list[Scene], out: Path | None, smoke: bool = False
) -> Scanpath:
    """Train on `scenes`; go on from `out`/checkpoint.pt where there is one. Returns the averaged network."""
    settings = config["training"]
    seed_everything(config["seed"])
    torch.set_num_threads(config["threads"])
    network = Scanpath(Size(**config["size"]))
    average = Average(network, settings["average_decay"])
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings["weight_decay"]}, {"params": vectors, "weight_decay": 0}],
        lr=settings["learning_rate"],
    )
    epochs = 1 if smoke else settings["epochs"]
    epoch = step = 0
    file = out / "checkpoint.pt" if out else None
    if file and file.exists():
        saved = load_checkpoint(file)
        network.load_state_dict(saved["network"])
        average.network.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        epoch, step = saved["epoch"], saved["step"]
    per_epoch = len(epoch_groups(scenes, np.random.default_rng(0), settings))
    total = per_epoch * epochs
    began = time.process_time()
    while epoch < epochs:
        # An epoch depends on the seed and its number alone, so that a resumed run sees what an unbroken one sees.
        rng = np.random.default_rng([config["seed"], epoch])
        torch.manual_seed(config["seed"] * 1000 + epoch)
        losses = []
        for group in epoch_groups(scenes, rng, settings)[: 3 if smoke else None]:
            batch = batch_of(group)
            augment(batch, rng, settings)
            for part in optimiser.param_groups:
                part["lr"] = learning_rate(step, total, settings["learning_rate"], min(100, total // 10))
            loss, choice = training_loss(network.train(), batch, settings)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            step += 1
            average.step(network, step)
            losses.append(choice)
        epoch += 1
        if file:
            state = {"network": network.state_dict(), "average": average.network.state_dict()}
            save_checkpoint(file, **state, optimiser=optimiser.state_dict(), epoch=epoch, step=step)
        line = f"epoch {epoch}/{epochs} cpu {time.process_time() - began:.0f} s, training nll {np.mean(losses):.4f}"
        if validation:
            for name, figures in measured(validation, lambda b: network_terms(average.network, b)).items():
                line += f" | {name} " + " ".join(f"{key} {value:.4f}" for key, value in figures.items())
        print(line, flush=True)
    return average.network


def epoch_groups(scenes: list[Scene], rng: np.random.Generator, settings: dict[str, Any]) -> list[Group]:
    """Return the groups of an epoch."""
    return groups(
        scenes,
        rng,
        settings["candidates"],
        settings["paths_of_a_scene"],
        settings.get("choices", 10**9),
        settings.get("paths_of_a_set"),
    )


def training_loss(network: Scanpath, batch: Batch, settings: dict[str, Any]) -> tuple[torch.Tensor, float]:
    """Return the loss of a batch, and the mean nll of its choices alone."""
    shape = batch.length.shape
    keeps_gaze = torch.rand(shape) >= settings["without_gaze"]
    keeps_dwell = torch.rand(shape) >= settings["without_dwell"]
    logits, end, dwells = unroll(network, batch, keeps_gaze, keeps_dwell)
    terms = choice_terms(logits, end, batch)
    dwell, _ = dwell_terms(dwells, batch)
    loss = terms["nll"].sum() / max(1, len(terms["nll"])) + settings["end_weight"] * terms["end"].mean()
    if len(dwell):
        loss = loss + settings["dwell_weight"] * dwell.mean()
    return loss, float(terms["nll"].detach().mean()) if len(terms["nll"]) else math.nan


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file")
    parser.add_argument("--data", type=Path, required=True, help="folder with scanpath/<set>/")
    parser.add_argument("--out", type=Path, required=True, help="run folder; becomes a models folder")
    parser.add_argument("--hold-out", action="store_true", help="leave out the test scenes")
    parser.add_argument(
        "--validate", action="store_true", help="leave out the validation scenes too, and measure them"
    )
    parser.add_argument("--smoke", action="store_true", help="a few steps, to see it run")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = tomllib.loads(arguments.config.read_text())
    scenes = load_scenes(arguments.data, config["sets"], arguments.out / "appearance.npz")
    held_out = {TEST_FOLD} if arguments.hold_out or arguments.validate else set()
    validation = [s for s in scenes if s.fold == VALIDATION_FOLD] if arguments.validate else []
    if arguments.validate:
        held_out.add(VALIDATION_FOLD)
    network = train(config, [s for s in scenes if s.fold not in held_out], validation, arguments.out, arguments.smoke)
    export(network, config, arguments.out)


if __name__ == "__main__":
    main()
