"""What every network's stages share: configs, seeds, checkpoints, the training loop, ONNX export.

The manifest and the goldens are written here too.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib
import math
import random
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import numpy as np
import onnx
import torch
from torch import nn

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  the backend has to be chosen first

OPSET = 17
GOLDEN_CASES = 8
MODELS = Path(__file__).resolve().parents[2]
"""The folder ``models`` of the repository, where exports go unless ``--models`` says otherwise."""


@dataclass
class ModelContract:
    """What the exporter needs to know of a network beside its weights.

    Attributes
    ----------
    name
        File stem and key in the manifest.
    inputs, outputs
        Name -> fixed shape, in the order of ``forward``.
    thresholds
        Copied into the manifest.
    tolerance
        For the goldens: ``|found - expected| <= tolerance * max(1, |expected|)``.
    card
        The model card, relative to the manifest; by default ``cards/<name>.md``.
    """

    name: str
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    thresholds: dict[str, float] = field(default_factory=dict)
    tolerance: float = 1e-3
    card: str = ""


class Task(Protocol):
    """One network's part of the stages; ``gaze_models.<module>.task(config, data)`` makes it.

    `data` is the folder given by ``--data`` or None where a stage does not need one (export).
    """

    contract: ModelContract

    def network(self) -> nn.Module:
        """Return a fresh network; in eval mode its forward obeys the contract."""

    def batches(self, first_step: int, steps: int, smoke: bool) -> Iterator[Any]:
        """Yield the batches of the steps from `first_step` on, the same ones after a resume."""

    def loss(self, network: nn.Module, batch: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
        """Return the loss terms of one batch on the network's device; ``total`` is what is minimised."""

    def validate(self, network: nn.Module, page: Path, smoke: bool) -> dict[str, float]:
        """Return the figures of the validation people and write a page of example predictions."""

    def golden_inputs(self) -> dict[str, np.ndarray]:
        """Return `GOLDEN_CASES` inputs per name, stacked in a new first axis; no real person's picture."""

    def evaluate(self, onnx_file: Path, out: Path, smoke: bool) -> dict[str, Any]:
        """Measure the exported file on held-out people; write pictures and return the figures."""


def stage_arguments(description: str) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Parse the command line that all stages share and read the config."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, help="TOML file, one per network")
    parser.add_argument("--data", type=Path, help="folder with the data sets (see models/README.md)")
    parser.add_argument("--out", type=Path, required=True, help="run folder: checkpoint, curves, pages")
    parser.add_argument("--models", type=Path, default=MODELS, help="where export writes (default: models/)")
    parser.add_argument("--smoke", action="store_true", help="a few steps on a few pictures, to see it run")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments, tomllib.loads(arguments.config.read_text())


def thresholds(models: Path, name: str) -> dict[str, float]:
    """Return the thresholds that the manifest states for a network."""
    return tomllib.loads((models / "manifest.toml").read_text())[name]["thresholds"]


def load_task(config: dict[str, Any], data: Path | None) -> Task:
    """Import the config's ``module`` and let it make its task."""
    return importlib.import_module(f"gaze_models.{config['module']}").task(config, data)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy's old generator and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  for libraries that still use it
    torch.manual_seed(seed)


def device() -> torch.device:
    """Return the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def moved(batch: Any, to: torch.device) -> Any:  # noqa: ANN401
    """Return a batch, a tensor or dictionaries and sequences of such, on a device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(to)
    if isinstance(batch, dict):
        return {name: moved(value, to) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(moved(value, to) for value in batch)
    return batch


class Average:
    """Exponential moving average of weights and buffers; it is what gets validated and exported."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def step(self, network: nn.Module, step: int) -> None:
        """Take in the network after an optimiser step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own = self.network.state_dict()
        for key, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                own[key].lerp_(value, 1 - decay)
            else:
                own[key].copy_(value)


def save_checkpoint(path: Path, **state: Any) -> None:  # noqa: ANN401
    """Write a checkpoint whole or not at all."""
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU."""
    return torch.load(path, map_location="cpu", weights_only=True)


def learning_rate(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Return a linear warm-up followed by half a cosine down to 1 % of `peak`."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))))


def plot_curves(history: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Draw one small panel per figure over the steps."""
    names = sorted(history)
    columns = min(4, max(1, len(names)))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.4 * rows), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes.flat, names, strict=False):
        steps, values = zip(*history[name], strict=True)
        axis.plot(steps, values, linewidth=1)
        axis.set_title(name, fontsize=8)
        axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def parameter_count(network: nn.Module) -> int:
    """Return the number of learnt values, batch normalisation folded away or not."""
    return sum(p.numel() for p in network.parameters())


def mac_count(model: onnx.ModelProto) -> int:
    """Return multiply-accumulates of the Conv, Gemm and MatMul nodes of a model with fixed shapes."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    }
    shapes |= {t.name: list(t.dims) for t in inferred.graph.initializer}
    total = 0
    for node in inferred.graph.node:
        if node.op_type == "Conv":
            total += math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            rows = math.prod(shapes[node.output[0]])
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            total += rows * shapes[node.input[0]][0 if transposed else -1]
    return total


def export_onnx(network: nn.Module, contract: ModelContract, path: Path) -> onnx.ModelProto:
    """Write the network with fixed shapes and batch normalisation folded, and check the file."""
    network = network.eval().cpu()
    examples = tuple(torch.zeros(shape) for shape in contract.inputs.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, but the other one is opset 18
        torch.onnx.export(
            network,
            examples,
            str(path),
            input_names=list(contract.inputs),
            output_names=list(contract.outputs),
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )
    model = onnx.load(path)
    inline_identities(model)
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
    onnx.save(model, path)
    onnx.checker.check_model(model, full_check=True)
    for value, shape in (
        *zip(model.graph.input, contract.inputs.values(), strict=True),
        *zip(model.graph.output, contract.outputs.values(), strict=True),
    ):
        found = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        if found != tuple(shape):
            raise ValueError(f"{contract.name}: {value.name} is {found}, the contract says {tuple(shape)}")
    return model


def inline_identities(model: onnx.ModelProto) -> None:
    """Drop Identity nodes: the tracer makes them where two weights are equal."""
    names = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Identity"}
    outputs = {o.name for o in model.graph.output}
    kept = [n for n in model.graph.node if n.op_type != "Identity" or n.output[0] in outputs]
    for node in kept:
        for k, name in enumerate(node.input):
            while name in names and name not in outputs:
                name = names[name]
            node.input[k] = name
    del model.graph.node[:]
    model.graph.node.extend(kept)


def write_goldens(network: nn.Module, contract: ModelContract, inputs: dict[str, np.ndarray], models: Path) -> None:
    """Write the golden cases, little-endian f32, cases one after the other; the outputs are PyTorch's."""
    folder = models / "golden"
    folder.mkdir(parents=True, exist_ok=True)
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in contract.outputs}
    for case in range(GOLDEN_CASES):
        arguments = [torch.from_numpy(np.ascontiguousarray(inputs[n][case], np.float32)) for n in contract.inputs]
        with torch.no_grad():
            found = network(*arguments)
        found = found if isinstance(found, tuple | list) else (found,)
        for name, value in zip(contract.outputs, found, strict=True):
            outputs[name].append(value.numpy())
    for kind, arrays in (("in", inputs), ("out", outputs)):
        for name, cases in arrays.items():
            raw = np.ascontiguousarray(np.stack([np.asarray(c) for c in cases]), "<f4")
            (folder / f"{contract.name}.{kind}.{name}.f32").write_bytes(raw.tobytes())


def golden_error(onnx_file: Path, contract: ModelContract, models: Path) -> float:
    """Return the largest ``|found - expected| / max(1, |expected|)`` of ONNX Runtime on the goldens."""
    session = onnx_session(onnx_file)

    def cases(kind: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
        raw = (models / "golden" / f"{contract.name}.{kind}.{name}.f32").read_bytes()
        return np.frombuffer(raw, "<f4").reshape(GOLDEN_CASES, *shape)

    inputs = {n: cases("in", n, s) for n, s in contract.inputs.items()}
    expected = [cases("out", n, s) for n, s in contract.outputs.items()]
    worst = 0.0
    for case in range(GOLDEN_CASES):
        found = session.run(None, {n: v[case] for n, v in inputs.items()})
        for f, e in zip(found, expected, strict=True):
            worst = max(worst, float(np.max(np.abs(f - e[case]) / np.maximum(1, np.abs(e[case])))))
    return worst


def onnx_session(path: Path) -> Any:  # noqa: ANN401
    """Open a model in ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def write_manifest_entry(
    models: Path, contract: ModelContract, onnx_file: Path, model: onnx.ModelProto, parameters: int
) -> None:
    """Replace this network's table in ``manifest.toml`` and leave the others as they are."""
    path = models / "manifest.toml"
    entries = tomllib.loads(path.read_text()) if path.exists() else {}
    name = contract.name
    entries[name] = {
        "name": name,
        "file": f"onnx/{name}.onnx",
        "sha256": hashlib.sha256(onnx_file.read_bytes()).hexdigest(),
        "parameters": parameters,
        "macs": mac_count(model),
        "card": contract.card or f"cards/{name}.md",
        "golden_cases": GOLDEN_CASES,
        "golden_tolerance": contract.tolerance,
        "inputs": {n: list(s) for n, s in contract.inputs.items()},
        "outputs": {n: list(s) for n, s in contract.outputs.items()},
        "thresholds": contract.thresholds,
    }
    lines = [
        "# The networks of gazed; written by `python -m gaze_models.export`.",
        "# Goldens: golden/<name>.in.<input>.f32 and golden/<name>.out.<output>.f32, little-endian f32, the cases",
        "# one after the other; |found - expected| <= golden_tolerance * max(1, |expected|).",
    ]
    for key in sorted(entries):
        lines += ["", f"[{key}]"]
        tables = {k: v for k, v in entries[key].items() if isinstance(v, dict)}
        lines += [f"{k} = {toml_value(v)}" for k, v in entries[key].items() if k not in tables]
        for table, values in tables.items():
            lines += ["", f"[{key}.{table}]"] + [f"{k} = {toml_value(v)}" for k, v in values.items()]
    path.write_text("\n".join(lines) + "\n")


def toml_value(value: str | bool | int | float | list) -> str:
    """Return a scalar or a list of scalars as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return repr(value)


def smooth_noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return a picture of blurred noise over four octaves, 0..1 float32, for goldens and backgrounds."""
    import cv2

    total = np.zeros((rows, columns), np.float32)
    for octave in range(4):
        grid = rng.random((3 * 2**octave, 4 * 2**octave), np.float32)
        total += cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    low, high = float(total.min()), float(total.max())
    return np.clip((total - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def bootstrap_interval(
    values: np.ndarray, groups: list[str], statistic: str = "mean", draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Return a statistic and its 95 % interval, people drawn with replacement.

    Parameters
    ----------
    values
        (n,) one value a case.
    groups
        Person of each case.
    statistic
        ``mean`` or ``median``.
    """
    function = getattr(np, statistic)
    rng = np.random.default_rng(seed)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    cases = [np.flatnonzero(member == k) for k in range(len(names))]
    found = [
        function(values[np.concatenate([cases[k] for k in rng.integers(0, len(names), len(names))])])
        for _ in range(draws)
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(function(values)), float(low), float(high)


FIGURES_BEGIN, FIGURES_END = "<!-- figures: written by gaze_models.evaluate -->", "<!-- end of figures -->"


def write_card_figures(models: Path, name: str, markdown: str) -> None:
    """Replace what stands between the two figure marks of a model card; a card without them is left alone."""
    path = models / "cards" / f"{name}.md"
    if not path.exists():
        return
    text = path.read_text()
    if FIGURES_BEGIN not in text:
        return
    before, rest = text.split(FIGURES_BEGIN, 1)
    _, after = rest.split(FIGURES_END, 1)
    sha = hashlib.sha256((models / "onnx" / f"{name}.onnx").read_bytes()).hexdigest()
    body = f"{FIGURES_BEGIN}\n\nsha256 `{sha}`\n\n{markdown.strip()}\n\n{FIGURES_END}"
    path.write_text(before + body + after)


def interval_text(value: tuple[float, float, float], scale: float = 1.0, digits: int = 2) -> str:
    """Return ``value (low to high)``."""
    middle, low, high = (f"{scale * v:.{digits}f}" for v in value)
    return f"{middle} ({low} to {high})"
