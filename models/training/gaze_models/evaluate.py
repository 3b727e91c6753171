"""Measures one exported network: ``python -m gaze_models.evaluate --config configs/X.toml --data DIR --out DIR``."""

from __future__ import annotations

import json

from gaze_models.common import load_task, seed_everything, stage_arguments, write_card_figures


def main() -> None:
    """Write ``evaluation.json`` and example pictures into the run folder and print the figures."""
    arguments, config = stage_arguments(main.__doc__)
    seed_everything(config["seed"])
    task = load_task(config, arguments.data)
    file = arguments.models / "onnx" / f"{task.contract.name}.onnx"
    figures = task.evaluate(file, arguments.out, arguments.smoke)
    (arguments.out / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    if hasattr(task, "card_figures") and not arguments.smoke:
        write_card_figures(arguments.models, task.contract.name, task.card_figures(figures))


if __name__ == "__main__":
    main()
