"""Writes the event network's weights as Rust tables, and a golden run of it.

``python -m gaze_models.events_export --config configs/events.toml --out DIR`` writes
``firmware/signal/src/network/weights.rs`` and ``firmware/signal/tests/golden/network.txt``. The numbers in the table
are the network's own f32, so what Rust computes differs from PyTorch by rounding alone.
"""

from __future__ import annotations

import numpy as np
import torch

from gaze_models.common import load_checkpoint, stage_arguments
from gaze_models.events_data import REPOSITORY
from gaze_models.events_train import EventNetwork

SIGNAL = REPOSITORY / "firmware" / "signal"
GOLDEN_TICKS = 60


def table(name: str, doc: str, values: np.ndarray, sizes: str) -> str:
    """One const table; rows one a line."""

    def numbers(row: np.ndarray) -> str:
        return "[" + ", ".join(np.format_float_scientific(value, trim="0") for value in row) + "]"

    body = numbers(values) if values.ndim == 1 else "[\n" + "".join(f"    {numbers(row)},\n" for row in values) + "]"
    return f"/// {doc}\n#[rustfmt::skip]\npub static {name}: {sizes} = {body};\n"


def main() -> None:
    """Export the averaged weights of the run folder's checkpoint."""
    arguments, config = stage_arguments(main.__doc__)
    weights = load_checkpoint(arguments.out / "checkpoint.pt")["average"]
    network = EventNetwork(len(weights["mean"]), **config["network"])
    network.load_state_dict(weights)
    network.eval()
    w = {name: value.numpy().astype(np.float32) for name, value in weights.items()}
    hidden = config["network"]["hidden"]
    bias = w["gru.bias_ih_l0"] + w["gru.bias_hh_l0"]
    tables = [
        table("MEAN", "Of each feature.", w["mean"], "[f32; FEATURES]"),
        table("SCALE", "One over the deviation of each feature.", w["scale"], "[f32; FEATURES]"),
        table("DENSE", "A row for each feature.", w["dense.weight"].T, "[[f32; WIDTH]; FEATURES]"),
        table("DENSE_BIAS", "Of the dense layer.", w["dense.bias"], "[f32; WIDTH]"),
        table(
            "INPUT", "A row for each input of the recurrent layer.", w["gru.weight_ih_l0"].T, "[[f32; GATES]; WIDTH]"
        ),
        table("STATE", "A row for each number remembered.", w["gru.weight_hh_l0"].T, "[[f32; GATES]; HIDDEN]"),
        table("GATES_BIAS", "Of reset and update gates.", bias[: 2 * hidden], "[f32; 2 * HIDDEN]"),
        table("CANDIDATE_BIAS", "Of the candidates.", w["gru.bias_ih_l0"][2 * hidden :], "[f32; HIDDEN]"),
        table("CANDIDATE_STATE_BIAS", "Of their state part.", w["gru.bias_hh_l0"][2 * hidden :], "[f32; HIDDEN]"),
        table("OUT", "A row for each number remembered.", w["out.weight"].T[:hidden], "[[f32; CLASSES]; HIDDEN]"),
        table("OUT_INNER", "A row for each input of it.", w["out.weight"].T[hidden:], "[[f32; CLASSES]; WIDTH]"),
        table("OUT_BIAS", "Of the logits.", w["out.bias"], "[f32; CLASSES]"),
    ]
    head = (
        "//! The event network's weights; written by `models/training`, `gaze_models.events_export`.\n\n"
        "use super::features::FEATURES;\nuse super::gru::{CLASSES, GATES, HIDDEN, WIDTH};\n\n"
    )
    (SIGNAL / "src/network/weights.rs").write_text(head + "\n".join(tables))
    rng = np.random.default_rng(config["seed"])
    spread = rng.normal(size=(GOLDEN_TICKS, len(w["mean"]))).astype(np.float32)
    rows = (w["mean"] + spread / w["scale"]).astype(np.float32)
    with torch.no_grad():
        logits = network(torch.from_numpy(rows)[None])[0].numpy()
    lines = [
        " ".join(f"{float(value):.8e}" for value in row) + " | " + " ".join(f"{float(value):.8e}" for value in out)
        for row, out in zip(rows, logits, strict=True)
    ]
    (SIGNAL / "tests/golden/network.txt").write_text("\n".join(lines) + "\n")
    print(sum(value.size for value in w.values()) - 2 * len(w["mean"]), "parameters")


if __name__ == "__main__":
    main()
