"""An int8 variant of the eye network, measured: ``python -m gaze_models.quantise --config X --out DIR``.

Static quantisation (weights int8 by channel, activations uint8, QDQ nodes) on validation people and renders. Writes
``eyes-int8.onnx`` and ``int8.json`` with errors and times beside the shipped network's; ships nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from gaze_models.common import bootstrap_interval, load_task, onnx_session, stage_arguments
from gaze_models.dft import held_out
from gaze_models.eyes import angular_error
from gaze_models.eyes_evaluate import EyeNet
from gaze_models.eyes_sets import EyeSet, plain_batch


class EyesReader(CalibrationDataReader):
    """Feeds the quantiser with the inputs of some faces."""

    def __init__(self, chosen: list[EyeSet]) -> None:
        self._inputs = self._feed(chosen)

    @staticmethod
    def _feed(chosen: list[EyeSet]) -> Iterator[dict[str, np.ndarray]]:
        for part in chosen:
            for patches, head in zip(plain_batch(part)["patches"].numpy(), part.seen_head, strict=True):
                both = np.ones((1, 2), np.float32)
                yield {"patches": patches[:, None], "head": head[None].astype(np.float32), "present": both}

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next inputs, None at the end."""
        return next(self._inputs, None)


def milliseconds(files: list[Path], repeats: int) -> list[float]:
    """Return the median time of one run of each file, taken in turns, one thread."""
    sessions = [onnx_session(file) for file in files]
    inputs = {"patches": (2, 1, 48, 64), "head": (1, 2), "present": (1, 2)}
    zeros = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
    times: list[list[float]] = [[] for _ in files]
    for _ in range(repeats):
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(None, zeros)
            taken.append(time.perf_counter() - start)
    return [1e3 * float(np.median(taken)) for taken in times]


def main() -> None:
    """Write ``eyes-int8.onnx`` and ``int8.json``."""
    arguments, config = stage_arguments(main.__doc__)
    folder = load_task(config, arguments.data).folder
    plain, int8 = arguments.models / "onnx" / "eyes.onnx", arguments.out / "eyes-int8.onnx"
    inferred = arguments.out / "eyes-inferred.onnx"
    quant_pre_process(str(plain), str(inferred), skip_symbolic_shape=True)
    quantize_static(
        str(inferred),
        str(int8),
        EyesReader(list(held_out(folder, "val", 8 if arguments.smoke else 150).values())),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    results: dict[str, object] = {"bytes": [plain.stat().st_size, int8.stat().st_size]}
    for name, chosen in held_out(folder, "test", 8 if arguments.smoke else 500).items():
        batch = plain_batch(chosen)
        patches, truth = batch["patches"].numpy(), batch["gaze"].numpy()
        for label, file in (("float", plain), ("int8", int8)):
            net = EyeNet(file)
            gaze = np.stack([net(p[:, None], h)["gaze"] for p, h in zip(patches, chosen.seen_head, strict=True)])
            error = angular_error(gaze, truth)
            results[f"{name}, {label}"] = bootstrap_interval(error, [str(k) for k in range(len(error))], "median")
    results["ms_float"], results["ms_int8"] = milliseconds([plain, int8], 20 if arguments.smoke else 400)
    (arguments.out / "int8.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
