"""Measures calibration on real eyes: ``python -m gaze_models.calibration --gazed PROGRAM --data DIR --out DIR``.

Runs the networks over g01 (face crops, by the whole program), g03 and g04 (crops of one eye, by the eye network
alone), writes what calibration gets of each frame to ``samples.csv``, and has the Rust crate fit and judge it
(``cargo run --release -p gaze-calibration --example measure``): the table of ``calibration/README.md``.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gaze_models.data import on_canvas
from gaze_models.eyes_evaluate import EyeNet, single_eye
from gaze_models.program import BLOCK, SCREEN_MM, SMALLEST_BLOCK, Program, unpack

ROOT = Path(__file__).parents[3]

MM_PER_PX = 531.0 / 1920.0
"""The sets do not say how large their screens are; ratios of errors hardly depend on it."""

DISTANCE_MM = 600.0
"""Crops of one eye do not say how far it is."""

HEADER = ["set", "session", "seq", "x_mm", "y_mm", "yaw", "pitch", "origin_x", "origin_y", "origin_z"] + [
    "head_yaw",
    "head_pitch",
    "head_roll",
    "sigma",
]


def g01_rows(program: Program, tar: Path) -> list[list[Any]]:
    """Return a row for each face crop, cut short where it has no gaze; a session is a block of numbers."""
    folder = unpack(tar, program.folder / "g01")
    with (folder / "labels.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int("".join(filter(str.isdigit, row["file"]))))
    numbers = [int("".join(filter(str.isdigit, row["file"]))) for row in rows]
    pictures = program.folder / "pictures"
    pictures.mkdir()
    for number, row in zip(numbers, rows, strict=True):
        grey = cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(pictures / f"{number:06}.png"), on_canvas(grey))
    samples = program.process(pictures, "--independent").samples
    found = {int(Path(sample["frame"]).stem): sample for sample in samples}
    blocks = [(number - numbers[0]) // BLOCK for number in numbers]
    out = []
    for number, row, block in zip(numbers, rows, blocks, strict=True):
        gaze, head = found[number]["gaze"], found[number]["head"]
        if blocks.count(block) < SMALLEST_BLOCK:
            continue
        x = float(row["x_px"]) / float(row["screen_w_px"]) * SCREEN_MM[0]
        y = float(row["y_px"]) / float(row["screen_h_px"]) * SCREEN_MM[1]
        if gaze is None:
            # no answer: the judge charges it
            out.append(["g01", block, number, x, y])
            continue
        angles = [head["yaw_rad"], head["pitch_rad"], head["roll_rad"]]
        sight = [gaze["yaw_rad"], gaze["pitch_rad"], *gaze["origin_mm"], *angles, gaze["sigma_rad"]]
        out.append(["g01", block, number, x, y, *sight, *found[number]["features"]])
    return out


def single_eye_rows(net: EyeNet, name: str, tar: Path, mirrored: bool) -> list[list[Any]]:
    """Return a row for each crop of one eye; a session is a part of the recording."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = unpack(tar, Path(scratch))
        with (folder / "labels.csv").open() as file:
            rows = list(csv.DictReader(file))
        out = []
        for seq, row in enumerate(rows):
            grey = cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE)
            patch = single_eye(grey, 0.85, mirrored)
            found = net(np.stack([patch, patch])[:, None], np.zeros(2), (1.0, 0.0))
            place = [float(row["x_px"]) * MM_PER_PX, float(row["y_px"]) * MM_PER_PX]
            sight = [*found["gaze"], 0.0, 0.0, DISTANCE_MM, 0.0, 0.0, 0.0, found["sigma"]]
            out.append([name, row["part"], seq, *place, *sight, *found["features"]])
    return out


def main() -> None:
    """Write the samples and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gazed", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    gaze = arguments.data / "gaze"
    net = EyeNet(ROOT / "models/onnx/eyes.onnx")
    with tempfile.TemporaryDirectory() as scratch:
        rows = g01_rows(Program(arguments.gazed.resolve(), Path(scratch)), gaze / "g01.tar")
    for name in ("g03", "g04"):
        rows += single_eye_rows(net, name, gaze / f"{name}.tar", mirrored=False)
    samples = arguments.out / "samples.csv"
    with samples.open("w", newline="") as file:
        writer = csv.writer(file)
        longest = max(len(row) for row in rows)
        writer.writerow(HEADER + [f"f{k}" for k in range(longest - len(HEADER))])
        writer.writerows(rows)
    command = ["cargo", "run", "--release", "--quiet", "-p", "gaze-calibration", "--example", "measure", "--"]
    ran = subprocess.run([*command, samples.resolve()], cwd=ROOT, capture_output=True, text=True, check=True)
    (arguments.out / "calibration.md").write_text(ran.stdout)
    print(ran.stdout)


if __name__ == "__main__":
    main()
