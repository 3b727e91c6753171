"""Renders of the observer crate: ``python -m gaze_models.render --config configs/eyes.toml [--smoke]``.

Calls ``cargo run --release -p gaze-observer --example render`` once per split, with seeds that never meet, and
reads what it writes: ``eyes.u8`` (n, 2, 64, 96) upright wide patches, ``truth.f32`` with the columns that
``truth.json`` names.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gaze_models.common import MODELS
from gaze_models.data import POINTS, eye_crops, tile
from gaze_models.eyes_patches import WIDE_H, WIDE_SCALE, WIDE_W, eye_lids, eye_truth
from gaze_models.head_pose import head_angles

RENDERS = {
    "renders-train": "views",
    "renders-val": "views",
    "renders-test": "views",
    "sessions-train": "sessions",
    "sessions-val": "sessions",
}
"""Folders of renders, and what is in them: random views, or people who look about on a screen."""


@dataclass
class Renders:
    """Rendered eyes with exact truth; one row a face.

    Attributes
    ----------
    patches
        (n, 2, 64, 96) uint8, upright in the frame, not turned by the roll of the eye line.
    roll
        (n,) radians: how far the eye line is turned clockwise in the frame.
    eyes
        (n, 2, 4) truth in patch units of the upright patch.
    lids
        (n, 2, 16, 2) contours of the eyes, in the same units.
    person
        (n,) seed of the person: views of one person stand in a row.
    head, posed, gaze
        (n, 2) yaw, pitch in the normalised frame, which is turned by the roll: the head's as it is and as the
        points tell, and where the eyes look.
    visible
        (n, 2) 0 where an eye is out of the picture or covered.
    glasses
        (n,) 1 where glasses are worn.
    """

    patches: np.ndarray
    roll: np.ndarray
    eyes: np.ndarray
    lids: np.ndarray
    person: np.ndarray
    head: np.ndarray
    posed: np.ndarray
    gaze: np.ndarray
    visible: np.ndarray
    glasses: np.ndarray


def render_set(folder: Path, kind: str, count: int, seed: int, views_each: int) -> None:
    """Let the observer crate write `count` views to `folder`."""
    command = ["cargo", "run", "--release", "-p", "gaze-observer", "--example", "render", "--"]
    command += ["--out", str(folder.resolve()), "--kind", kind, "--count", str(count), "--seed", str(seed)]
    command += ["--views-each", str(views_each)]
    subprocess.run(command, cwd=MODELS.parent, check=True)


def read_renders(folder: Path) -> Renders | None:
    """Read the renders of a folder, or None where there are none."""
    if not (folder / "truth.json").exists():
        return None
    header = json.loads((folder / "truth.json").read_text())
    columns = {name: k for k, name in enumerate(header["columns"])}
    table = np.fromfile(folder / "truth.f32", "<f4").reshape(header["count"], len(columns))
    patches = np.fromfile(folder / "eyes.u8", np.uint8).reshape(header["eyes"])
    if patches.shape[1:] != (2, WIDE_H, WIDE_W):
        raise ValueError(f"{folder}: eyes are {patches.shape}, expected (n, 2, {WIDE_H}, {WIDE_W})")

    def take(*names: str) -> np.ndarray:
        return np.stack([table[:, columns[name]] for name in names], -1)

    points = take(*(f"lm{k}_{axis}" for k in range(POINTS) for axis in "xy")).reshape(-1, POINTS, 2)
    widths = take("right_crop_w", "left_crop_w")
    roll, eyes = np.empty(len(table), np.float32), np.empty((len(table), 2, 4), np.float32)
    posed, lids = np.empty((len(table), 2), np.float32), np.empty((len(table), 2, 16, 2), np.float32)
    for k, face in enumerate(points.astype(np.float64)):
        crop = eye_crops(face)[0]
        if abs(crop.width * WIDE_SCALE / widths[k, 0] - 1) > 0.01:
            raise ValueError(f"{folder}: view {k} is cut {widths[k, 0]:.1f} px wide, not {WIDE_SCALE} patches")
        posed[k] = head_angles(face)
        roll[k] = np.arctan2(crop.u[1], crop.u[0])
        cos, sin = np.cos(roll[k]), np.sin(roll[k])
        upright = (face - face[0]) @ np.array([[cos, -sin], [sin, cos]])
        eyes[k] = eye_truth(upright)
        # back to the upright patch: turn iris and lids around the patch's middle
        turn = np.array([[cos, sin], [-sin, cos]])
        eyes[k, :, :2] = 0.5 + ((eyes[k, :, :2] - 0.5) * [1, 0.75]) @ turn / [1, 0.75]
        lids[k] = 0.5 + ((eye_lids(upright) - 0.5) * [1, 0.75]) @ turn / [1, 0.75]
    eyes[..., 3] = take("right_openness", "left_openness")
    return Renders(
        patches,
        roll,
        eyes,
        lids,
        header["seed"] + np.arange(len(table)) // header["views_each"],
        take("head_normalised_yaw", "head_normalised_pitch"),
        posed,
        take("gaze_normalised_yaw", "gaze_normalised_pitch"),
        take("right_visible", "left_visible"),
        take("has_glasses")[:, 0],
    )


def main() -> None:
    """Render all sets and draw a page of each."""
    from gaze_models.eyes_prepare import draw_sample

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    config = tomllib.loads(arguments.config.read_text())
    for name, kind in RENDERS.items():
        folder, settings = Path(config["prepare"]["folder"]) / name, config["render"][name]
        count = min(64, settings["count"]) if arguments.smoke else settings["count"]
        render_set(folder, kind, count, settings["seed"], settings["views_each"])
        renders = read_renders(folder)
        page = [draw_sample(renders.patches[k], renders.eyes[k], renders.gaze[k]) for k in range(min(48, count))]
        cv2.imwrite(str(folder / "renders.png"), tile(page, 4))
        print(f"{name}: {count} views, gaze SD {np.rad2deg(renders.gaze.std(0)).round(1)} degrees")


if __name__ == "__main__":
    main()
