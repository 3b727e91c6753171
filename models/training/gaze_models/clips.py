"""Frames of a video clip, decoded by ``ffmpeg``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def frames(clip: Path, pixels: str) -> Iterator[np.ndarray]:
    """Yield every frame of a clip once: (rows, columns) for ``gray``, (rows, columns, 3) for ``rgb24``."""
    depth = {"gray": 1, "rgb24": 3}[pixels]
    probe = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height"]
    shown = subprocess.run([*probe, "-of", "json", str(clip)], check=True, capture_output=True).stdout
    stream = json.loads(shown)["streams"][0]
    columns, rows = stream["width"], stream["height"]
    shape = (rows, columns) if depth == 1 else (rows, columns, depth)
    decode = ["ffmpeg", "-v", "error", "-i", str(clip), "-fps_mode", "passthrough", "-f", "rawvideo"]
    decoder = subprocess.Popen([*decode, "-pix_fmt", pixels, "-"], stdout=subprocess.PIPE)
    size = rows * columns * depth
    while len(raw := decoder.stdout.read(size)) == size:
        yield np.frombuffer(raw, np.uint8).reshape(shape)
    decoder.wait()
