"""Trains the scanpath transformer and its references on the same scenes and measures them on others.

``python -m gaze_models.scanpath_compare --config configs/scanpath.toml --data DIR --out RUN``: the test scenes
(a fifth, by a hash of the picture's name) are trained on by none. Every trained model is kept in the run folder, so
that the command goes on after an interruption. Prints a table with 95 % intervals by scene (bootstrap), and writes
``comparison.json`` and ``comparison.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from gaze_models.common import bootstrap_interval, interval_text, load_checkpoint, save_checkpoint, seed_everything
from gaze_models.scanpath_appearance import APPEARANCE
from gaze_models.scanpath_data import TEST_FOLD, Batch, Path_, Scene, make_batch
from gaze_models.scanpath_network import Scanpath, dwell_log_density, unroll
from gaze_models.scanpath_reference import OAT_CROP, ConditionalLogit, Oat
from gaze_models.scanpath_sampling import behavioural_delta, sample_reference, sample_typical, sequence_score
from gaze_models.scanpath_train import (
    LONGEST,
    augment,
    batch_of,
    choice_terms,
    epoch_groups,
    groups,
    load_scenes,
    train,
)

Predict = Callable[[Batch], tuple[torch.Tensor, torch.Tensor]]

BINS = 15
"""Of the expected calibration error."""


class Crops:
    """The objects' crops for OAT, read when they are wanted."""

    def __init__(self) -> None:
        self.known: dict[str, torch.Tensor] = {}

    def of(self, batch: Batch) -> torch.Tensor | None:
        """Return (S, N, 3, 93, 150), blank without a picture; none where no scene has one."""
        if all(scene.image is None for scene in batch.scenes):
            return None
        found = torch.zeros(len(batch.scenes), batch.objects.shape[1], 3, *OAT_CROP)
        for s, scene in enumerate(batch.scenes):
            if scene.image is not None:
                if scene.scene_id not in self.known:
                    self.known[scene.scene_id] = cut(scene)
                found[s, : len(scene.boxes)] = self.known[scene.scene_id].float() / 255
        return found


def cut(scene: Scene) -> torch.Tensor:
    """Return (N, 3, 93, 150) 8-bit crops."""
    picture = cv2.imread(str(scene.image))[..., ::-1]
    rows, columns = picture.shape[:2]
    scale = np.array([columns / scene.raw["width_px"], rows / scene.raw["height_px"]] * 2)
    crops = []
    for item in scene.raw["objects"]:
        x, y, w, h = np.array(item["box"]) * scale
        x0, y0 = min(max(round(x), 0), columns - 1), min(max(round(y), 0), rows - 1)
        part = picture[y0 : max(y0 + 1, round(y + h)), x0 : max(x0 + 1, round(x + w))]
        crops.append(cv2.resize(np.ascontiguousarray(part), OAT_CROP[::-1], interpolation=cv2.INTER_AREA))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def train_reference(
    model: nn.Module, predict: Predict, scenes: list[Scene], settings: dict[str, Any], seed: int, file: Path
) -> None:
    """Train a reference on the choices and the end; go on from `file`, one epoch after the other."""
    optimiser = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"], fused=True)
    epoch = 0
    if file.exists():
        saved = load_checkpoint(file)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        epoch = saved["epoch"]
    began = time.process_time()
    while epoch < settings["epochs"]:
        rng = np.random.default_rng([seed, epoch])
        torch.manual_seed(seed * 1000 + epoch)
        losses = []
        for group in epoch_groups(scenes, rng, settings):
            batch = batch_of(group)
            augment(batch, rng, settings)
            logits, end = predict(batch)
            terms = choice_terms(logits, end, batch)
            loss = terms["nll"].sum() / max(1, len(terms["nll"])) + 0.3 * terms["end"].mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
        epoch += 1
        save_checkpoint(file, model=model.state_dict(), optimiser=optimiser.state_dict(), epoch=epoch)
        spent = time.process_time() - began
        of = f"epoch {epoch}/{settings['epochs']}, {len(losses)} steps"
        print(f"{file.stem} {of}, cpu {spent:.0f} s, loss {np.mean(losses):.4f}", flush=True)


def steps_of(predict: Predict, scenes: list[Scene]) -> dict[str, np.ndarray]:
    """Return one row a step: nll, top1, confidence, and the scene's number."""
    rows: dict[str, list[np.ndarray]] = {"nll": [], "top1": [], "confidence": [], "scene": []}
    number = {scene.scene_id: k for k, scene in enumerate(scenes)}
    for group in groups(scenes, np.random.default_rng(0), 60000, 16):
        batch = batch_of(group)
        with torch.no_grad():
            terms = choice_terms(*predict(batch), batch)
        for key in ("nll", "top1", "confidence"):
            rows[key].append(terms[key].numpy())
        place = torch.tensor([number[scene.scene_id] for scene in batch.scenes])[:, None, None]
        rows["scene"].append(place.expand(batch.chosen.shape)[terms["there"]].numpy())
    return {key: np.concatenate(values) for key, values in rows.items()}


def calibration_error(confidence: np.ndarray, top1: np.ndarray) -> float:
    """Return the expected calibration error of the top choice over `BINS` bins of equal width."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return float(
        sum(
            (place == k).mean() * abs(confidence[place == k].mean() - top1[place == k].mean())
            for k in range(BINS)
            if (place == k).any()
        )
    )


def calibration_error_by_chance(confidence: np.ndarray) -> float:
    """Return the calibration error that so few steps would show of exact probabilities (mean of 50 draws)."""
    rng = np.random.default_rng(0)
    return float(
        np.mean([calibration_error(confidence, rng.random(len(confidence)) < confidence) for _ in range(50)])
    )


def dwells_of(network: Scanpath, scenes: list[Scene], known: list[Scene]) -> dict[str, Any] | None:
    """Return the dwells' mean log likelihood per ms and mean absolute log error, beside a log-normal of `known`."""
    logs = [np.log(p.dwell_ms[np.isfinite(p.dwell_ms)]) for s in known for p in s.paths]
    logs = np.concatenate([*logs, np.zeros(0)])
    if not len(logs):
        return None
    mean, deviation = float(logs.mean()), float(logs.std())
    ours, plain, errors, plain_errors, of_scene = [], [], [], [], []
    for number, scene in enumerate(scenes):
        batch = make_batch([scene], [scene.paths], APPEARANCE, LONGEST)
        with torch.no_grad():
            dwells = unroll(network, batch)[2][:, :, : batch.chosen.shape[2]]
        index = batch.chosen.clamp(min=0)[..., None, None].expand(*batch.chosen.shape, 1, dwells.shape[-1])
        is_known = torch.isfinite(batch.dwell) & (batch.chosen >= 0)
        mixture, log_ms = dwells.gather(3, index).squeeze(3)[is_known], batch.dwell[is_known]
        ours.append(dwell_log_density(mixture, log_ms).numpy())
        z = (log_ms.numpy() - mean) / deviation
        plain.append(-0.5 * z * z - math.log(deviation * math.sqrt(2 * math.pi)) - log_ms.numpy())
        weights, centres, _ = mixture.chunk(3, -1)
        expected = 5.6 + 0.7 * (weights.exp() * centres).sum(-1)
        errors.append((expected - log_ms).abs().numpy())
        plain_errors.append(np.abs(mean - log_ms.numpy()))
        of_scene += [str(number)] * len(log_ms)
    gain = np.concatenate(ours) - np.concatenate(plain)
    return {
        "log_likelihood": float(np.concatenate(ours).mean()),
        "log_normal": float(np.concatenate(plain).mean()),
        "gain": bootstrap_interval(gain, of_scene),
        "absolute_log_error": float(np.concatenate(errors).mean()),
        "log_normal_error": float(np.concatenate(plain_errors).mean()),
    }


def people_among_themselves(scenes: list[Scene]) -> float:
    """Return the mean sequence score of two people, by scene."""
    found = []
    for scene in scenes:
        paths = [p.objects.tolist() for p in scene.paths]
        pairs = [sequence_score(a, b) for k, a in enumerate(paths) for b in paths[:k]]
        found += [np.mean(pairs)] if pairs else []
    return float(np.mean(found))


def measure(
    name: str, predict: Predict, sampler: Callable[..., list[list[int]]], scenes: list[Scene], samples: int
) -> dict[str, Any]:
    """Return one model's figures on one set's test scenes."""
    rows = steps_of(predict, scenes)
    groups_ = [str(k) for k in rows["scene"]]
    random = torch.Generator().manual_seed(1)
    with_paths = [scene for scene in scenes if scene.paths]
    sampled = [sampler(scene, samples, random) for scene in with_paths]
    scores = np.array(
        [
            np.mean([sequence_score(a, p.objects.tolist()) for a in paths for p in scene.paths])
            for scene, paths in zip(with_paths, sampled, strict=True)
        ]
    )
    return {
        "model": name,
        "steps": len(rows["nll"]),
        "nll": bootstrap_interval(rows["nll"], groups_),
        "top1": bootstrap_interval(rows["top1"], groups_),
        "calibration_error": calibration_error(rows["confidence"], rows["top1"]),
        "calibration_error_by_chance": calibration_error_by_chance(rows["confidence"]),
        "sequence_score": bootstrap_interval(scores, [str(k) for k in range(len(scores))]),
        "behavioural_delta": behavioural_delta(with_paths, sampled),
    }


def main() -> None:
    """Train what is missing, measure, print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the transformer")
    parser.add_argument("--data", type=Path, required=True, help="folder with scanpath/<set>/")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--seeds", type=int, default=3, help="transformers, each with a seed of its own")
    parser.add_argument(
        "--models", default="logit,logit-class,oat,transformer", help="which are trained and measured"
    )
    parser.add_argument("--oat-epochs", type=int, default=8)
    parser.add_argument("--oat-seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=6, help="sampled paths a scene")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = tomllib.loads(arguments.config.read_text())
    torch.set_num_threads(config["threads"])
    scenes = load_scenes(arguments.data, config["sets"], arguments.out / "appearance.npz")
    training = [s for s in scenes if s.fold != TEST_FOLD]
    file = arguments.out / "comparison.json"
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in config["sets"]}
    if file.exists():
        found |= json.loads(file.read_text())

    def keep(set_name: str, figures: dict[str, Any]) -> None:
        others = [f for f in found[set_name] if f["model"] != figures["model"]]
        found[set_name] = [*others, figures]
        print(set_name, json.dumps(figures), flush=True)
        file.write_text(json.dumps(found, indent=1))

    plain = {"sampling_temperature": 1.0, "sampling_end_temperature": 1.0}

    def take(name: str, predict: Predict, sampler: Callable[..., list[list[int]]], network: Scanpath | None) -> None:
        for set_name in config["sets"]:
            test = [s for s in scenes if s.set_name == set_name and s.fold == TEST_FOLD]
            figures = measure(name, predict, sampler, test, arguments.samples)
            if network is not None:
                known = [s for s in training if s.set_name == set_name]
                figures["dwell"] = dwells_of(network, test, known)
            figures["people_sequence_score"] = people_among_themselves(test)
            keep(set_name, figures)

    crops = Crops()
    for name in arguments.models.split(","):
        if name == "transformer":
            for seed in range(1, arguments.seeds + 1):
                run = arguments.out / f"transformer-{seed}"
                run.mkdir(exist_ok=True)
                network = train({**config, "seed": seed}, training, [], run).eval()
                settings = {k: v for k, v in config.items() if k.startswith("sampling") or "temperature" in k}

                def predict(batch: Batch, network: Scanpath = network) -> tuple[torch.Tensor, torch.Tensor]:
                    logits, end, _ = unroll(network, batch)
                    return logits / config["choice_temperature"], end / config["end_temperature"]

                def sampler(
                    scene: Scene,
                    count: int,
                    random: torch.Generator,
                    network: Scanpath = network,
                    settings: dict[str, Any] = settings,
                ) -> list[list[int]]:
                    return sample_typical(network, settings, scene, count, random)

                take(f"transformer, seed {seed}", predict, sampler, network)
            continue
        is_oat = name == "oat"
        # A logit is trained on one set; OAT, as the transformer, on all of them, in the transformer's own batches.
        for sets in [config["sets"]] if is_oat else [[n] for n in config["sets"]]:
            for seed in range(1, arguments.oat_seeds + 1 if is_oat else 2):
                seed_everything(seed)
                model: nn.Module = Oat() if is_oat else ConditionalLogit(name == "logit-class")

                def reference(batch: Batch, model: nn.Module = model) -> tuple[torch.Tensor, torch.Tensor]:
                    return model(batch, crops.of(batch)) if isinstance(model, Oat) else model(batch)

                settings = {
                    **(config["training"] if is_oat else {"candidates": 20000, "paths_of_a_scene": 16}),
                    "learning_rate": 1e-4 if is_oat else 0.03,
                    "epochs": arguments.oat_epochs if is_oat else 15,
                    "mirrored": 0.0,
                    "scale_sd": 0.0,
                }
                trained = arguments.out / f"{name}-{seed if is_oat else sets[0]}.pt"
                of_sets = [s for s in training if s.set_name in sets]
                train_reference(model.train(), reference, of_sets, settings, seed, trained)
                model.eval()

                def sampled(
                    scene: Scene, count: int, random: torch.Generator, reference: Predict = reference
                ) -> list[list[int]]:
                    def of_prefixes(scene: Scene, paths: list[Path_]) -> tuple[torch.Tensor, torch.Tensor]:
                        logits, end = reference(make_batch([scene], [paths], APPEARANCE, LONGEST * 2))
                        return logits[0], end[0]

                    return sample_reference(of_prefixes, plain, scene, count, random)

                for set_name in sets:
                    test = [s for s in scenes if s.set_name == set_name and s.fold == TEST_FOLD]
                    label = f"oat, seed {seed}" if is_oat else name
                    keep(set_name, measure(label, reference, sampled, test, 2 if is_oat else arguments.samples))
    (arguments.out / "comparison.md").write_text(table(found))
    print(table(found))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the figures as Markdown."""
    rows = [
        "| set | model | NLL | top-1 | calibration error (by chance) | sequence score (people) | behavioural delta |",
        "|---|---|---|---|---|---|---|",
    ]
    for set_name, models in found.items():
        for f in models:
            people = f.get("people_sequence_score")
            beside = "" if people is None else f" ({people:.3f})"
            rows.append(
                f"| {set_name} | {f['model']} | {interval_text(f['nll'], digits=3)} | "
                f"{interval_text(f['top1'], digits=3)} | {f['calibration_error']:.3f} "
                f"({f['calibration_error_by_chance']:.3f}) | "
                f"{interval_text(f['sequence_score'], digits=3)}{beside} | {f['behavioural_delta']:.2f} |"
            )
    rows += ["", "| set | model | dwell log likelihood per ms | log-normal | gain | log error (log-normal) |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for set_name, models in found.items():
        for f in models:
            d = f.get("dwell")
            if d:
                rows.append(
                    f"| {set_name} | {f['model']} | {d['log_likelihood']:.3f} | {d['log_normal']:.3f} | "
                    f"{interval_text(d['gain'], digits=3)} | {d['absolute_log_error']:.3f} "
                    f"({d['log_normal_error']:.3f}) |"
                )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
