"""The vision chain in Python, finder to landmarks, as the daemon runs it: for checks against real clips.

``python -m gaze_models.chain CLIP... --out DIR`` writes the points of every frame as ``<clip>.npy`` (frames, 49, 2;
NaN without a face), pictures of every n-th frame, and how often the finder had to run. Needs ``ffmpeg``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from gaze_models.clips import frames
from gaze_models.common import MODELS, onnx_session, thresholds
from gaze_models.data import POINTS, Crop, draw_face, face_crop, tile
from gaze_models.face import find_faces, letterbox


class VisionChain:
    """Finder while nobody is tracked, landmarks on every frame; with the manifest's thresholds, or another score."""

    def __init__(self, models: Path, threshold: float | None = None) -> None:
        self.finder = onnx_session(models / "onnx" / "face.onnx")
        self.landmarks = onnx_session(models / "onnx" / "landmarks.onnx")
        self.threshold = thresholds(models, "face")["score"] if threshold is None else threshold
        self.presence = thresholds(models, "landmarks")["presence"]
        self.crop: Crop | None = None
        self.finder_runs = 0

    def step(self, grey: np.ndarray) -> tuple[np.ndarray | None, float, np.ndarray | None]:
        """Return points (49, 2) in pixels or None, presence 0..1 and openness of one frame."""
        if self.crop is not None:
            answer = self._points(grey, self.crop)
            if answer[0] is not None:
                return answer
        self.finder_runs += 1
        start = self._find(grey)
        if start is None:
            self.crop = None
            return None, 0.0, None
        first = self._points(grey, start)
        return self._points(grey, self.crop) if first[0] is not None else first

    def _find(self, grey: np.ndarray) -> Crop | None:
        image, scale = letterbox(grey)
        cells = self.finder.run(None, {"image": (image / 255)[None, None]})[0][0]
        found = find_faces(cells, self.threshold)
        if not len(found):
            return None
        best = found[np.argmax(found[:, 0] * np.sqrt(found[:, 3] * found[:, 4]))]
        return crop_of_five((best[5:].reshape(5, 2) + 0.5) / scale - 0.5)

    def _points(self, grey: np.ndarray, crop: Crop) -> tuple[np.ndarray | None, float, np.ndarray | None]:
        face = (crop.sample(grey) / 255).astype(np.float32)[None, None]
        found, logit, opened = self.landmarks.run(None, {"face": face})
        presence = float(1 / (1 + np.exp(-logit[0, 0])))
        if presence < self.presence:
            self.crop = None
            return None, presence, None
        points = crop.points_to_source(found.reshape(POINTS, 2))
        self.crop = face_crop(points)
        return points, presence, opened[0]


def crop_of_five(five: np.ndarray) -> Crop:
    """Return the face crop of the finder's five points (pixels)."""
    points = np.zeros((POINTS, 2))
    points[[0, 8]], points[[16, 24]], points[43], points[44] = five[0], five[1], five[3], five[4]
    return face_crop(points)


def compare(found: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Compare two tracks of a clip (frames, 49, 2); lengths are in shares of the reference's eye distance."""
    seen, expected = np.isfinite(found[:, 0, 0]), np.isfinite(reference[:, 0, 0])
    both = seen & expected
    if not both.any():
        return {"frames_of_reference": int(expected.sum()), "found_of_those": 0.0, "only_ours": int(seen.sum())}
    ours, theirs = found[both], reference[both]
    distance = np.hypot(*(theirs[:, [0, 8]].mean(1) - theirs[:, [16, 24]].mean(1)).T)
    apart = np.hypot(*(ours - theirs).transpose(2, 0, 1)) / distance[:, None]
    iris = apart[:, [32, 37]].max(1)

    def jitter(track: np.ndarray) -> float:
        return float(np.median(np.abs(np.diff(track[:, [32, 37]], 2, axis=0))) / np.median(distance))

    return {
        "frames_of_reference": int(expected.sum()),
        "found_of_those": float(both.sum() / expected.sum()),
        "found_there_of_those": float((apart.mean(1) < 0.25).sum() / expected.sum()),
        "only_ours": int((seen & ~expected).sum()),
        "points_apart_mean": float(apart.mean()),
        "worse_iris_apart_median": float(np.median(iris)),
        "worse_iris_apart_p95": float(np.percentile(iris, 95)),
        "iris_second_difference_ours": jitter(ours),
        "iris_second_difference_reference": jitter(theirs),
    }


def main() -> None:
    """Run the chain over clips."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--threshold", type=float, help="score of a face; by default the manifest's")
    parser.add_argument("--reference", type=Path, help="folder written by gaze_models.reference, to compare with")
    parser.add_argument("--every", type=int, default=60, help="draw every n-th frame")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for clip in arguments.clips:
        chain = VisionChain(arguments.models, arguments.threshold)
        track, shown = [], []
        for number, grey in enumerate(tqdm(frames(clip, "gray"), desc=clip.stem, mininterval=5)):
            points, presence, opened = chain.step(grey)
            track.append(np.full((POINTS, 2), np.nan) if points is None else points)
            if number % arguments.every == 0:
                zoom = 320 / grey.shape[1]
                small = cv2.resize(grey, (320, 240))
                scaled = [] if points is None else points * [zoom, 240 / grey.shape[0]]
                canvas = draw_face(small, scaled)
                text = f"{number} {presence:.2f}" + ("" if opened is None else f" {opened[0]:.2f} {opened[1]:.2f}")
                cv2.putText(canvas, text, (4, 14), 0, 0.4, (0, 255, 255))
                shown.append(canvas)
        found = np.array(track)
        np.save(arguments.out / f"{clip.stem}.npy", found)
        cv2.imwrite(str(arguments.out / f"{clip.stem}.png"), tile(shown[:36], 6))
        seen = int(np.isfinite(found[:, 0, 0]).sum())
        print(f"{clip.stem}: face in {seen} of {len(found)} frames, finder ran {chain.finder_runs} times")
        if arguments.reference is not None:
            print(json.dumps(compare(found, np.load(arguments.reference / f"{clip.stem}.npy")), indent=2))


if __name__ == "__main__":
    main()
