"""Exports one trained network: ``python -m gaze_models.export --config configs/X.toml --out DIR``.

`--out` is the run folder that holds ``checkpoint.pt``; ``--models`` is where the files go. With ``keep_of_start`` the
weights are a mean of those trained and those that the training started from: a compromise between what a network had
learnt of real faces and what it has learnt since (Wortsman et al. 2022).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gaze_models.common import (
    export_onnx,
    golden_error,
    load_checkpoint,
    load_task,
    parameter_count,
    seed_everything,
    stage_arguments,
    write_goldens,
    write_manifest_entry,
)


def trained(run: Path, settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights of a run, mixed with those that it started from where the settings say so."""
    weights = load_checkpoint(run / "checkpoint.pt")["average"]
    share = settings.get("keep_of_start", 0.0)
    if share:
        start = load_checkpoint(run / settings["start_from"])["average"]
        for name, values in weights.items():
            if values.is_floating_point():
                weights[name] = share * start[name] + (1 - share) * values
    return weights


def main() -> None:
    """Write ``onnx/<name>.onnx``, its goldens and its entry in ``manifest.toml``."""
    arguments, config = stage_arguments(main.__doc__)
    seed_everything(config["seed"])
    task = load_task(config, None)
    network = task.network()
    network.load_state_dict(trained(arguments.out, {} if arguments.smoke else config["train"]))
    network.eval()
    if hasattr(task, "settle"):
        task.settle(network)
    contract = task.contract
    file = arguments.models / "onnx" / f"{contract.name}.onnx"
    model = export_onnx(network, contract, file)
    write_goldens(network, contract, task.golden_inputs(), arguments.models)
    worst = golden_error(file, contract, arguments.models)
    if worst > contract.tolerance:
        raise SystemExit(f"{contract.name}: ONNX Runtime is {worst:.2e} away from PyTorch on the goldens")
    write_manifest_entry(arguments.models, contract, file, model, parameter_count(network))
    print(f"{file}: {file.stat().st_size} bytes, {parameter_count(network)} parameters, golden error {worst:.1e}")


if __name__ == "__main__":
    main()
