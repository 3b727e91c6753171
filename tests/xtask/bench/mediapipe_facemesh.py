"""Time MediaPipe's FaceMesh with iris on the frames that ``frame_time write`` wrote.

Usage: ``mediapipe_facemesh.py FRAMES.raw`` with mediapipe 0.10.21, pinned to one core by the caller.
Frames are 640x480 grey, one after the other. Prints one JSON line: the median time of a tracked frame,
from RGB pixels to landmarks, in milliseconds; how many frames were timed; in how many there was a face.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import mediapipe
import numpy as np

WIDTH, HEIGHT = 640, 480
WARM_UP_FRAMES = 30
"""Detection, allocation and the first tracked frames are not what is compared."""


def main() -> None:
    """Time the frames of the file named on the command line."""
    raw = np.fromfile(Path(sys.argv[1]), np.uint8).reshape(-1, HEIGHT, WIDTH)
    # MediaPipe takes RGB; making it from grey is not timed.
    frames = [np.repeat(grey[:, :, None], 3, axis=2) for grey in raw]
    times_ms, faces = [], 0
    with mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=False, max_num_faces=1, refine_landmarks=True
    ) as mesh:
        for number, frame in enumerate(frames):
            begun = time.perf_counter()
            found = mesh.process(frame)
            elapsed_ms = 1000 * (time.perf_counter() - begun)
            if number >= WARM_UP_FRAMES:
                times_ms.append(elapsed_ms)
                faces += found.multi_face_landmarks is not None
    print(json.dumps({"frame_ms": statistics.median(times_ms), "frames": len(times_ms), "faces": faces}))


if __name__ == "__main__":
    main()
