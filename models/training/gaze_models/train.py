"""Trains one network: ``python -m gaze_models.train --config configs/X.toml --data DIR --out DIR``.

Resumes by itself from ``checkpoint.pt`` in the run folder.
"""

from __future__ import annotations

import json
import time

import cv2
import torch
from torch import nn
from tqdm import tqdm

from gaze_models.common import (
    Average,
    device,
    learning_rate,
    load_checkpoint,
    load_task,
    moved,
    plot_curves,
    save_checkpoint,
    seed_everything,
    stage_arguments,
)

SMOKE_STEPS = 6


def hold(network: nn.Module, names: list[str]) -> None:
    """Put the network into training mode, but for the modules of these names, which stay as they are."""
    network.train()
    for name in names:
        network.get_submodule(name).eval().requires_grad_(False)


def main() -> None:
    """Train; write ``checkpoint.pt``, ``curves.png``, ``examples.png`` and ``history.json``."""
    arguments, config = stage_arguments(main.__doc__)
    settings = config["train"]
    torch.set_num_threads(settings.get("threads", torch.get_num_threads()))
    cv2.setNumThreads(1)  # the loading workers inherit this; their number is what the config says
    if device().type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as convolutions have it there
    seed_everything(config["seed"])
    task = load_task(config, arguments.data)
    network = task.network().to(device())
    network = network.to(memory_format=torch.channels_last)
    if "start_from" in settings and not arguments.smoke:
        network.load_state_dict(load_checkpoint(arguments.out / settings["start_from"])["average"])
    average = Average(network, settings["average_decay"])
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings["weight_decay"]},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=settings["learning_rate"],
    )
    steps = SMOKE_STEPS if arguments.smoke else settings["steps"]
    every = max(1, steps // 2) if arguments.smoke else settings["validate_every"]
    first, history = 0, {}
    checkpoint = arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        network.load_state_dict(state["network"])
        average.network.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first, history = state["step"], state["history"]
        print(f"resumed at step {first} of {steps}")
    held = settings.get("held", [])
    started = time.monotonic()
    seconds = history.pop("seconds", 0.0)
    progress = tqdm(total=steps, initial=first, desc=task.contract.name, mininterval=5)
    running: dict[str, float] = {}
    hold(network, held)
    for step, batch in zip(range(first, steps), task.batches(first, steps, arguments.smoke), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, settings["learning_rate"], settings["warm_up"])
        terms = task.loss(network, moved(batch, device()))
        optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings["clip"])
        optimiser.step()
        average.step(network, step)
        for name, value in terms.items():
            running[name] = 0.98 * running.get(name, value.item()) + 0.02 * value.item()
        progress.update()
        if step % 50 == 0:
            progress.set_postfix({k: f"{v:.4g}" for k, v in running.items()}, refresh=False)
            for name, value in running.items():
                history.setdefault(f"train {name}", []).append((step, value))
        if (step + 1) % every == 0 or step + 1 == steps:
            figures = task.validate(average.network, arguments.out / "examples.png", arguments.smoke)
            hold(network, held)
            for name, value in figures.items():
                history.setdefault(f"val {name}", []).append((step + 1, value))
            tqdm.write(f"step {step + 1}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
            save_checkpoint(
                checkpoint,
                network=network.state_dict(),
                average=average.network.state_dict(),
                optimiser=optimiser.state_dict(),
                step=step + 1,
                history=history | {"seconds": seconds + time.monotonic() - started},
            )
            plot_curves(history, arguments.out / "curves.png")
    progress.close()
    total = seconds + time.monotonic() - started
    (arguments.out / "history.json").write_text(json.dumps(history | {"seconds": total}) + "\n")
    print(f"{task.contract.name}: {steps} steps, {total / 60:.1f} min in all")


if __name__ == "__main__":
    main()
