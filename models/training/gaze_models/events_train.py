"""Trains the event network: ``python -m gaze_models.events_train --config configs/events.toml --data DIR --out DIR``.

``--data`` holds ``gazecom/`` and ``lookatpoint/``. Resumes from ``checkpoint.pt`` in the run folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gaze_models.common import Average, load_checkpoint, save_checkpoint, seed_everything, stage_arguments
from gaze_models.events_data import BLINK, LABELS, OSCILLATION, Recording, features, load, row_labels
from gaze_models.events_score import score, summary

CLASSES = 5
PROGRAM = Path("event_features")


class EventNetwork(nn.Module):
    """Standardised features, one dense layer, one GRU, one dense layer: logits of F, S, P, B, O for each tick."""

    def __init__(self, inputs: int, width: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.dense = nn.Linear(inputs, width)
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self.out = nn.Linear(hidden + width, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(batch, ticks, inputs) to (batch, ticks, classes)."""
        inner = torch.relu(self.dense((rows - self.mean) * self.scale))
        state, _ = self.gru(inner)
        return self.out(torch.cat([state, inner], -1))


def variants(recordings: list[Recording], settings: dict, rng: np.random.Generator) -> list[Recording]:
    """One pass over the recordings: each at one of the rates, with or without noise."""
    factors = [int(factor) for factor in settings["every"]]
    shares = np.array(list(settings["every"].values()))
    out = []
    for recording in recordings:
        factor = int(rng.choice(factors, p=shares / shares.sum()))
        is_fast = np.diff(recording.t_us[:2])[0] < 4000
        if is_fast:
            # A fast tracker has rates of its own: 1000, 500 and 250 Hz.
            times = int(rng.choice([1, 2, 4])) if factor == 1 else 4
            parts = [recording.every(factor * times, phase * times) for phase in range(factor)]
        elif factor == 1 and rng.random() < settings["twice_as_fast_share"]:
            parts = [recording.twice_as_fast()]
        else:
            parts = [recording.every(factor, phase) for phase in range(factor)]
        for part in parts:
            low, high = settings["scale"]
            place = part.place_deg * np.float32(np.exp(rng.uniform(np.log(low), np.log(high))))
            label = part.label
            if np.diff(part.t_us[:2])[0] >= 4000:
                # Here the coders of most recordings knew no oscillations.
                label = np.where(label == OSCILLATION, -1, label).astype(np.int8)
            part = Recording(part.name, part.group, part.t_us, place, label)
            if rng.random() < settings["noise_share"][int(factor > 1)]:
                low, high = settings["noise_deg"]
                part = part.with_noise(float(np.exp(rng.uniform(np.log(low), np.log(high)))), rng)
            out.append(part)
    return out


def windows(rows: list[np.ndarray], labels: list[np.ndarray], length: int, rng: np.random.Generator) -> Iterator:
    """Windows of ``length`` ticks, in random order; short recordings are padded with label -1."""
    cuts = []
    for i, row in enumerate(rows):
        start = -int(rng.integers(0, length // 2))
        while start < len(row) - 20:
            cuts.append((i, max(0, start)))
            start += length - 64
    rng.shuffle(cuts)
    for i, start in cuts:
        x, y = rows[i][start : start + length], labels[i][start : start + length]
        if len(x) < length:
            pad = length - len(x)
            x = np.concatenate([x, np.repeat(x[-1:], pad, 0)])
            y = np.concatenate([y, np.full(pad, -1, y.dtype)])
        yield x, y, start == 0


def posteriors(network: nn.Module, rows: list[np.ndarray]) -> list[np.ndarray]:
    """Log-probabilities of the classes for each row of each recording."""
    whole = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    with torch.no_grad():
        out = torch.log_softmax(network(whole), -1).numpy()
    return [out[i, : len(row)] for i, row in enumerate(rows)]


def evaluate(network: nn.Module, recordings: list[Recording], program: Path) -> dict:
    """Scores of the most probable class, without anything after it."""
    told = features(recordings, program)
    number, true, found = [], [], []
    guesses = posteriors(network, [rows for rows, _, _ in told])
    for i, (recording, (_, samples, _), guess) in enumerate(zip(recordings, told, guesses, strict=True)):
        label = np.repeat(guess.argmax(1), samples)
        label[np.isnan(recording.place_deg[:, 0])] = BLINK
        number.append(np.full(len(label), i))
        true.append(recording.label)
        found.append(label)
    letters = np.array(list(LABELS))
    return score(np.concatenate(number), letters[np.concatenate(true)], letters[np.concatenate(found)])


def main() -> None:
    """Train; write ``checkpoint.pt`` and ``history.json``."""
    arguments, config = stage_arguments(main.__doc__)
    settings = config["train"]
    torch.set_num_threads(1)
    seed_everything(config["seed"])
    program = arguments.out / PROGRAM
    held = set(config["data"]["test"]) | set(config["data"]["val"]) | set(config["data"]["test_people"])
    gazecom, people = load(arguments.data / "gazecom"), load(arguments.data / "lookatpoint")
    train = [r for r in gazecom + people * settings["people_times"] if r.group not in held]
    val = [r for r in gazecom if r.group in config["data"]["val"]][:: 8 if arguments.smoke else 2]
    if arguments.smoke:
        train = train[::60]
    rng = np.random.default_rng(config["seed"])
    first = np.concatenate([rows for rows, _, _ in features(variants(train, settings, rng), program)])
    network = EventNetwork(first.shape[1], **config["network"])
    network.mean.copy_(torch.from_numpy(first.mean(0)))
    network.scale.copy_(torch.from_numpy(1 / (first.std(0) + 0.05)))
    average = Average(network, settings["average_decay"])
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    epochs = 1 if arguments.smoke else settings["epochs"]
    weights = torch.tensor(settings["weights"])
    print(sum(p.numel() for p in network.parameters()), "parameters", len(train), "recordings", flush=True)
    done, step, history = 0, 0, {}
    checkpoint = arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        network.load_state_dict(state["network"])
        average.network.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        done, step, history = state["epoch"], state["step"], state["history"]
    for epoch in range(done, epochs):
        started, total = time.process_time(), 0.0
        rng = np.random.default_rng([config["seed"], epoch])
        passes = variants(train, settings, rng)
        told = features(passes, program)
        rows = [rows for rows, _, _ in told]
        labels = [row_labels(r, samples).astype(np.int64) for r, (_, samples, _) in zip(passes, told, strict=True)]
        batch, steps = [], 0
        expected = sum(len(row) for row in rows) // (settings["window"] - 64) // settings["batch"]
        for window in windows(rows, labels, settings["window"], rng):
            batch.append(window)
            if len(batch) < settings["batch"]:
                continue
            part = min(1.0, (epoch + steps / max(1, expected)) / epochs)
            rate = settings["learning_rate"] * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * (1 - part) ** 1.2)
            for group in optimiser.param_groups:
                group["lr"] = rate
            x = torch.from_numpy(np.stack([x for x, _, _ in batch]))
            y = torch.from_numpy(np.stack([y for _, y, _ in batch]))
            for i, (_, _, is_first) in enumerate(batch):
                if not is_first:
                    y[i, : settings["burn_in"]] = -1
            logits = network(x)
            loss = nn.functional.cross_entropy(
                logits.reshape(-1, CLASSES),
                y.reshape(-1),
                weight=weights,
                ignore_index=-1,
                label_smoothing=settings["smoothing"],
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), settings["clip"])
            optimiser.step()
            average.step(network, step)
            total, step, steps, batch = total + loss.item(), step + 1, steps + 1, []
        line = {"loss": total / max(1, steps), "cpu_s": time.process_time() - started, "steps": steps}
        print(epoch, {k: round(v, 4) for k, v in line.items()}, flush=True)
        if epoch % 2 == 1 or epoch == epochs - 1:
            for factor in (1, 8):
                scores = evaluate(average.network, [r.every(factor) for r in val], program)
                print(" every", factor, summary(scores), flush=True)
                line[f"every_{factor}"] = scores
        history[str(epoch)] = line
        save_checkpoint(
            checkpoint,
            network=network.state_dict(),
            average=average.network.state_dict(),
            optimiser=optimiser.state_dict(),
            epoch=epoch + 1,
            step=step,
            history=history,
            config=config,
        )
    (arguments.out / "history.json").write_text(json.dumps(history, indent=1))


if __name__ == "__main__":
    main()
