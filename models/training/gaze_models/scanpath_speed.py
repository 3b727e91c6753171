"""How long the references take for one step with 32 objects, one thread; for ``cargo xtask bench scanpath``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import torch

from gaze_models.common import parameter_count
from gaze_models.scanpath_data import OBJECT_INPUTS, Batch
from gaze_models.scanpath_reference import ConditionalLogit, Oat

OBJECTS, DWELLS, ROUNDS = 32, 5, 50


def drawn() -> Batch:
    """Return one scene with one path of `DWELLS` dwells."""
    rng = np.random.default_rng(0)
    objects = np.zeros((1, OBJECTS, OBJECT_INPUTS), np.float32)
    objects[0, :, :2] = rng.uniform(-0.3, 0.3, (OBJECTS, 2))
    objects[0, :, 2:4] = rng.uniform(0.02, 0.2, (OBJECTS, 2))
    objects[0, :, 5] = objects[0, :, 7] = 1
    objects[0, 3, 6] = 1
    chosen = torch.from_numpy(rng.permutation(OBJECTS)[:DWELLS]).reshape(1, 1, DWELLS)
    nothing = torch.full((1, 1, DWELLS), float("nan"))
    gaze, start = torch.zeros(1, 1, DWELLS, 2), torch.full((1, 1, 2), float("nan"))
    appearance, task = torch.zeros(1, OBJECTS, 20), torch.tensor([[1.0, 0.0]])
    length = torch.tensor([[DWELLS]])
    return Batch([], torch.from_numpy(objects), appearance, task, chosen, nothing, gaze, start, length)


def median_ms(run: Callable[[], object]) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times))


def main() -> None:
    """Print the times as JSON."""
    torch.set_num_threads(1)
    batch = drawn()
    logit, oat = ConditionalLogit(True).eval(), Oat().eval()
    with torch.no_grad():
        found = {
            "logit_ms": median_ms(lambda: logit(batch)),
            "oat_ms": median_ms(lambda: oat(batch, None)),
            "oat_parameters": parameter_count(oat),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
