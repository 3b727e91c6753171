"""MediaPipe's FaceMesh on clips, in the order of our 49 points: what `gaze_models.chain --reference` compares with.

``python -m gaze_models.reference CLIP... --out DIR`` writes ``<clip>.npy`` (frames, 49, 2), NaN without a face. Needs
mediapipe 0.10 (the last with ``solutions``), which wants its own environment, and ``ffmpeg``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from gaze_models.clips import frames

FACE_MESH_INDICES = (
    *(33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    *(263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    *(468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
    *(1, 61, 291, 10, 152, 234, 454),
)


def main() -> None:
    """Run FaceMesh, tracking, with iris, one face, over clips."""
    import mediapipe

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for clip in arguments.clips:
        mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=True)
        track = []
        for picture in frames(clip, "rgb24"):
            rows, columns = picture.shape[:2]
            answer = mesh.process(picture).multi_face_landmarks
            points = np.full((len(FACE_MESH_INDICES), 2), np.nan)
            if answer:
                landmark = answer[0].landmark
                points[:] = [(landmark[i].x * columns - 0.5, landmark[i].y * rows - 0.5) for i in FACE_MESH_INDICES]
            track.append(points)
        found = np.array(track)
        np.save(arguments.out / f"{clip.stem}.npy", found)
        print(f"{clip.stem}: face in {int(np.isfinite(found[:, 0, 0]).sum())} of {len(found)} frames")


if __name__ == "__main__":
    main()
