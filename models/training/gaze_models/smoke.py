"""Every stage once, on a handful of rendered people: ``python -m gaze_models.smoke --out DIR``.

Nothing is needed but this package and cargo: the face sets are drawn by the observer crate and packed as the real
ones are, the teacher is left out, and what is exported stays in `DIR`. It shows that the stages run, no more.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np

from gaze_models.common import MODELS, smooth_noise
from gaze_models.data import FACE_SETS, POINTS, split_of

PEOPLE = {"train": 14, "val": 4, "test": 6}
TRAINING = Path(__file__).resolve().parents[1]


def names(prefix: str, suffix: str = "") -> list[str]:
    """Return names that fall into the splits as `PEOPLE` wants them."""
    found: dict[str, list[str]] = {split: [] for split in PEOPLE}
    k = 0
    while any(len(found[split]) < count for split, count in PEOPLE.items()):
        name = f"{prefix}{k}{suffix}"
        if len(found[split_of(name)]) < PEOPLE[split_of(name)]:
            found[split_of(name)].append(name)
        k += 1
    return [name for split in PEOPLE for name in found[split]]


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Put a file into a tar."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def pack_faces(frames: Path, folder: Path) -> None:
    """Write one tar a set, all of the same rendered frames."""
    truths = [json.loads(line) for line in (frames / "truth.jsonl").read_text().splitlines()]
    points = np.zeros((len(truths), POINTS, 3), np.float32)
    points[..., :2] = [truth["landmarks_px"] for truth in truths]
    boxes = np.array([truth["face_box_px"] for truth in truths], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    landmarks = io.BytesIO()
    np.savez(landmarks, img_idx=np.arange(len(truths)), box=boxes, lm=points)
    for name in FACE_SETS:
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["img_idx", "file", "identity"])
        people = names("person") if name not in ("helen", "caltech") else [""] * len(truths)
        with tarfile.open(folder / f"{name}.tar", "w") as tar:
            for k, (truth, person) in enumerate(zip(truths, people, strict=True)):
                writer.writerow([k, f"img/{truth['file']}", person])
                add(tar, f"img/{truth['file']}", (frames / truth["file"]).read_bytes())
            add(tar, "labels.csv", table.getvalue().encode())
            add(tar, "landmarks.npz", landmarks.getvalue())


def pack_negatives(folder: Path) -> None:
    """Write the set without faces: soft noise."""
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "negatives.tar", "w") as tar:
        for name in names("negatives/img/", ".png"):
            picture = np.round(255 * smooth_noise(rng, 120, 160)).astype(np.uint8)
            add(tar, name.removeprefix("negatives/"), cv2.imencode(".png", picture)[1].tobytes())


def main() -> None:
    """Run the stages; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out.resolve()
    faces, models, began = out / "data" / "faces", out / "models", time.monotonic()
    faces.mkdir(parents=True, exist_ok=True)
    models.mkdir(exist_ok=True)
    for name in ("onnx", "golden"):
        shutil.copytree(MODELS / name, models / name, dirs_exist_ok=True)
    shutil.copy(MODELS / "manifest.toml", models)
    frames = out / "frames"
    draw = ["cargo", "run", "--release", "-p", "gaze-observer", "--example", "render", "--", "--kind", "frames"]
    draw += ["--out", str(frames), "--count", str(sum(PEOPLE.values())), "--seed", "900000"]
    subprocess.run(draw, cwd=MODELS.parent, check=True)
    pack_faces(frames, faces)
    pack_negatives(faces)
    dft = out / "dft.toml"
    dft.write_text((TRAINING / "configs" / "dft.toml").read_text().replace("eyes-prepared", "eyes-smoke-prepared"))
    configs = {name: TRAINING / "configs" / f"{name}.toml" for name in ("eyes_smoke", "face", "landmarks")}
    configs = {"eyes": configs["eyes_smoke"], "dft": dft, "face": configs["face"], "landmarks": configs["landmarks"]}

    def stage(module: str, config: str | None, *options: str) -> None:
        started = time.monotonic()
        command = [sys.executable, "-m", f"gaze_models.{module}", "--smoke", *options]
        if config is not None:
            command += ["--config", str(configs[config])]
        environment = os.environ | {"PYTHONPATH": str(TRAINING)}
        subprocess.run(command, cwd=out, check=True, stdout=subprocess.DEVNULL, env=environment)
        print(f"{module} {config or ''}: {time.monotonic() - started:.0f} s", flush=True)

    data = ("--data", str(out / "data"))
    stage("data", None, *data, "--out", "runs/data")
    stage("eyes_prepare", "eyes", *data)
    stage("render", "eyes")
    stage("eyes_seen", "eyes", *data, "--models", str(models))
    for name in configs:
        where = (*data, "--out", f"runs/{name}", "--models", str(models))
        for module in ("train", "export", "evaluate"):
            stage(module, name, *where)
    stage("unfold", "landmarks", *data, "--out", "runs/landmarks_before", "--models", str(models))
    stage("quantise", "eyes", "--out", "runs/eyes", "--models", str(models))
    stage("table", None, *data, "--models", str(models))
    print(f"all stages: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
