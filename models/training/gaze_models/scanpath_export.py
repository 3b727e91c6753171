"""Exports a scanpath transformer: ``python -m gaze_models.scanpath_export --config configs/X.toml --out RUN``.

Writes ``onnx/scanpath_encoder.onnx`` and ``onnx/scanpath_step.onnx``, their goldens and their tables in
``manifest.toml``. The number of objects is free in the files (``N``; 0 in the manifest). `scanpath_train` ends with
this too; by hand it puts the networks of a run into the repository.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tomllib
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from torch import nn

from gaze_models.common import (
    GOLDEN_CASES,
    MODELS,
    OPSET,
    ModelContract,
    export_onnx,
    golden_error,
    inline_identities,
    load_checkpoint,
    parameter_count,
    write_goldens,
    write_manifest_entry,
)
from gaze_models.scanpath_data import OBJECT_INPUTS, class_number, load_set, make_batch, with_appearance
from gaze_models.scanpath_network import (
    CONTEXT,
    KEY_WIDTH,
    MIXTURE,
    TRACES,
    Scanpath,
    Size,
    dwell_log_density,
    unroll,
)

CARD = "cards/scanpath.md"
GOLDEN_SLOTS = 16
"""Objects in the golden cases; the last slots of some are empty."""
MACS_SLOTS = 32
"""Objects for which the manifest states the multiply-accumulates."""


class Encoder(nn.Module):
    """`Scanpath.encode` of one scene."""

    def __init__(self, network: Scanpath) -> None:
        super().__init__()
        self.network = network

    def forward(self, objects: torch.Tensor, appearance: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
        """Return the objects' codes (1, N, width)."""
        return self.network.encode(objects, appearance, task)


class Step(nn.Module):
    """`Scanpath.advance` and `Scanpath.predict` of one path, its memory in two tensors."""

    def __init__(self, network: Scanpath, choice_temperature: float, end_temperature: float) -> None:
        super().__init__()
        self.network = network
        self.choice_temperature, self.end_temperature = choice_temperature, end_temperature

    def forward(
        self,
        objects: torch.Tensor,
        codes: torch.Tensor,
        traces: torch.Tensor,
        path: torch.Tensor,
        chosen: torch.Tensor,
        dwell: torch.Tensor,
        gaze: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Return the new traces and path, logits of objects and of the end, dwells; all 0 in, a path begins."""
        network = self.network
        width, heads = network.size.width, network.size.heads
        sums, at, before, context = path.unsqueeze(1).split([KEY_WIDTH * width, 2, 2, CONTEXT], -1)
        memory = {
            "traces": traces.unsqueeze(1),
            "sums": sums.reshape(1, 1, heads, KEY_WIDTH, width // heads),
            "gaze": at,
            "before": before,
            "context": context,
        }
        new = network.advance(memory, objects, codes, chosen.unsqueeze(1), dwell.unsqueeze(1), gaze.unsqueeze(1))
        logits, end, dwells = network.predict(new, objects, codes)
        sums = new["sums"].reshape(1, 1, KEY_WIDTH * width)
        n = objects.shape[1]
        return (
            new["traces"].reshape(1, n, TRACES),
            torch.cat([sums, new["gaze"], new["before"], new["context"]], -1).reshape(1, network.size.path),
            logits.reshape(1, n) / self.choice_temperature,
            end.reshape(1, 1) / self.end_temperature,
            dwells.reshape(1, n, 3 * MIXTURE),
        )


def contracts(size: Size, slots: int, config: dict[str, Any]) -> tuple[ModelContract, ModelContract]:
    """Return the contracts of encoder and step for `slots` objects."""
    objects, codes, traces = (1, slots, OBJECT_INPUTS), (1, slots, size.width), (1, slots, TRACES)
    encoder = ModelContract(
        "scanpath_encoder",
        {"objects": objects, "appearance": (1, slots, size.appearance), "task": (1, 2)},
        {"codes": codes},
        card=CARD,
    )
    step = ModelContract(
        "scanpath_step",
        {
            "objects": objects,
            "codes": codes,
            "traces": traces,
            "path": (1, size.path),
            "chosen": (1, slots),
            "dwell": (1, 2),
            "gaze": (1, 3),
        },
        {
            "traces_out": traces,
            "path_out": (1, size.path),
            "logits": (1, slots),
            "end": (1, 1),
            "dwells": (1, slots, 3 * MIXTURE),
        },
        {
            "sampling_temperature": config["sampling_temperature"],
            "sampling_end_temperature": config["sampling_end_temperature"],
            "sampling_dwell_spread": config["sampling_dwell_spread"],
            "sampling_draws_per_path": float(config["sampling_draws_per_path"]),
        },
        card=CARD,
    )
    return encoder, step


def export_free(module: nn.Module, contract: ModelContract, path: Path) -> None:
    """Write the file with the second dimension of every tensor that has one object a row free."""
    slots = next(iter(contract.inputs.values()))[1]
    values = {**contract.inputs, **contract.outputs}
    free = {name: {1: "N"} for name, shape in values.items() if shape[1] == slots and len(shape) + slots > 2}
    free = {
        name: axes for name, axes in free.items() if name not in ("task", "path", "dwell", "gaze", "path_out", "end")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, but the other one is opset 18
        torch.onnx.export(
            module.eval(),
            tuple(torch.zeros(shape) for shape in contract.inputs.values()),
            str(path),
            input_names=list(contract.inputs),
            output_names=list(contract.outputs),
            opset_version=OPSET,
            do_constant_folding=True,
            dynamic_axes=free,
            dynamo=False,
        )
    model = onnx.load(path)
    inline_identities(model)
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
    onnx.save(model, path)
    onnx.checker.check_model(model, full_check=True)


def counted(module: nn.Module, contract: ModelContract, folder: Path) -> onnx.ModelProto:
    """Return the module for a fixed number of objects, for counting."""
    file = folder / f"{contract.name}.fixed.onnx"
    try:
        return export_onnx(module, contract, file)
    finally:
        file.unlink(missing_ok=True)


def golden_inputs(network: Scanpath) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return inputs of encoder and step: drawn scenes, and the memory after some dwells on them."""
    rng = np.random.default_rng(5)
    names = ["person", "cup", "tvmonitor", None, "dog", "chair"]
    encoder: dict[str, list[np.ndarray]] = {"objects": [], "appearance": [], "task": []}
    step: dict[str, list[np.ndarray]] = {
        name: [] for name in ("objects", "codes", "traces", "path", "chosen", "dwell", "gaze")
    }
    size = network.size
    for case in range(GOLDEN_CASES):
        n = (2, 3, 5, 8, 11, 14, 16, 16)[case]
        objects = np.zeros((1, GOLDEN_SLOTS, OBJECT_INPUTS), np.float32)
        objects[0, :, 8] = np.arange(GOLDEN_SLOTS)
        objects[0, :n, :2] = rng.uniform(-0.4, 0.4, (n, 2))
        objects[0, :n, 2:4] = rng.uniform(0.02, 0.3, (n, 2))
        objects[0, :n, 4] = [class_number(names[k]) for k in rng.integers(0, len(names), n)]
        objects[0, :n, 5] = rng.uniform(0.1, 1, n)
        objects[0, rng.integers(n), 6] = case % 2
        objects[0, :n, 7] = 1
        has_picture = float(case % 3 == 0)
        looks = rng.normal(0.5, 0.5, (1, GOLDEN_SLOTS, size.appearance)).astype(np.float32) * has_picture
        task = np.array([[case % 2, has_picture]], np.float32)
        for name, value in (("objects", objects), ("appearance", looks), ("task", task)):
            encoder[name].append(value)
        with torch.no_grad():
            seen = torch.from_numpy(objects)
            codes = network.encode(seen, torch.from_numpy(looks), torch.from_numpy(task))
            traces, path = torch.zeros(1, GOLDEN_SLOTS, TRACES), torch.zeros(1, size.path)
            for k in range(case + 1):
                chosen = torch.zeros(1, GOLDEN_SLOTS)
                if k:
                    chosen[0, rng.integers(n)] = 1
                knows = float(k % 3 != 2)
                dwell = torch.tensor([[rng.normal() * knows, knows]]).float() * float(k > 0)
                gaze = torch.tensor([[*rng.uniform(-0.3, 0.3, 2) * knows, knows]]).float()
                inputs = (seen, codes, traces, path, chosen, dwell, gaze)
                traces, path, *_ = Step(network, 1.0, 1.0)(*inputs)
            for name, value in zip(step, inputs, strict=True):
                step[name].append(value.numpy())
    return tuple({k: np.stack(v) for k, v in inputs.items()} for inputs in (encoder, step))


def export(network: Scanpath, config: dict[str, Any], models: Path) -> None:
    """Write files, goldens and manifest into `models`."""
    network = network.eval().cpu()
    contents = golden_inputs(network)
    of_size = [contracts(network.size, slots, config) for slots in (0, GOLDEN_SLOTS, MACS_SLOTS)]
    modules = (Encoder(network), Step(network, config["choice_temperature"], config["end_temperature"]))
    parts = ("classes", "look", "own", "pair_bias", "blocks", "encoded")
    of_encoder = sum(parameter_count(getattr(network, part)) for part in parts)
    numbers = (of_encoder, parameter_count(network) - of_encoder)
    for module, number, inputs, in_manifest, case, of_macs in zip(modules, numbers, contents, *of_size, strict=True):
        file = models / "onnx" / f"{case.name}.onnx"
        export_free(module, case, file)
        write_goldens(module, case, inputs, models)
        worst = golden_error(file, case, models)
        if worst > case.tolerance:
            raise SystemExit(f"{case.name}: ONNX Runtime is {worst:.2e} away from PyTorch on the goldens")
        write_manifest_entry(models, in_manifest, file, counted(module, of_macs, models), number)
        print(f"{file}: {file.stat().st_size} bytes, {number} parameters, golden error {worst:.1e}", flush=True)
    write_golden_scores(network, config, models / "golden" / "scanpath")


def write_golden_scores(network: Scanpath, config: dict[str, Any], folder: Path) -> None:
    """Write drawn scenes, made-up paths over them, and how the network scores each."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    picture = np.full((150, 200, 3), 90, np.uint8)
    for _ in range(12):
        corner, colour = rng.integers(0, 150, 2), rng.integers(0, 255, 3)
        size = rng.integers(10, 60, 2)
        picture[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]] = colour
    cv2.imwrite(str(folder / "drawn.png"), picture)
    names = ["person", "cup", "tvmonitor", None, "something else", "chair"]
    scenes, paths = [], []
    for n in (1, 2, 7, 20, 50, 128):
        objects = [
            {
                "id": k,
                "box": [round(float(v), 1) for v in (*rng.uniform(-50, 700, 2), *rng.uniform(10, 250, 2))],
                "class": names[rng.integers(len(names))],
                "score": round(float(rng.uniform(0.2, 1)), 3),
            }
            for k in range(n)
        ]
        is_search = n in (2, 20)
        scenes.append(
            {
                "scene_id": f"drawn-{n}",
                "width_px": 800,
                "height_px": 600,
                "px_per_deg": None,
                "task": "search" if is_search else "free_viewing",
                "target": n // 2 if is_search else None,
                "objects": objects,
                "image": "drawn.png" if n in (7, 50) else None,
            }
        )
        for observer in range(3):
            fixations = []
            for _ in range(3 * observer + 1):
                x, y = (round(float(v), 1) for v in rng.uniform(0, 600, 2))
                on = int(rng.integers(n)) if rng.random() < 0.85 else None
                duration = None if observer == 2 and rng.random() < 0.5 else int(rng.integers(80, 700))
                fixations.append({"object": on, "x_px": x, "y_px": y, "duration_ms": duration})
            paths.append({"scene_id": f"drawn-{n}", "observer": f"made-up-{observer}", "fixations": fixations})
    lines = lambda rows: "".join(json.dumps(row) + "\n" for row in rows)  # noqa: E731
    (folder / "scenes.jsonl").write_text(lines(scenes))
    (folder / "paths.jsonl.gz").write_bytes(gzip.compress(lines(paths).encode(), mtime=0))
    scored = []
    for scene in with_appearance(load_set(folder)):
        for path in scene.paths:
            batch = make_batch([scene], [[path]], network.size.appearance)
            with torch.no_grad():
                logits, _, dwells = unroll(network, batch)
            logits = torch.log_softmax(logits[0, 0] / config["choice_temperature"], -1)
            steps, times = [], []
            for t, index in enumerate(path.objects):
                steps.append({"logprob": float(logits[t, index]), "top1": bool(logits[t].argmax() == index)})
                known = bool(np.isfinite(path.dwell_ms[t]))
                density = dwell_log_density(dwells[0, 0, t, index], batch.dwell[0, 0, t]) if known else None
                times.append(None if density is None else float(density))
            scored.append(
                {"scene_id": scene.scene_id, "observer": path.observer, "steps": steps, "duration_logprob": times}
            )
    (folder / "scores.jsonl").write_text(lines(scored))


def main() -> None:
    """Export the checkpoint of a run folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the training")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--models", type=Path, default=MODELS, help="where the files go (default: models/)")
    arguments = parser.parse_args()
    config = tomllib.loads(arguments.config.read_text())
    network = Scanpath(Size(**config["size"]))
    network.load_state_dict(load_checkpoint(arguments.out / "checkpoint.pt")["average"])
    export(network, config, arguments.models)


if __name__ == "__main__":
    main()
