"""What Python and Rust both state, because neither can read the other's: the copies are the same."""

import re
from pathlib import Path

import numpy as np

from gaze_models import data, head_pose

ROOT = Path(__file__).parents[3]

NUMBER = r"(-?\d+(?:\.\d+)?)"


def constant(file: str, name: str) -> float:
    """Return a number that a Rust file declares as a constant."""
    found = re.search(rf"const {name}: f\d\d = {NUMBER};", (ROOT / file).read_text())
    assert found, f"{file} has no {name}"
    return float(found[1])


def test_the_crops_are_the_daemons_and_the_observers() -> None:
    landmarks, truth = "host/src/vision/landmarks.rs", "models/observer/src/truth.rs"
    crops = "models/observer/examples/render/crops.rs"
    sides = [constant(landmarks, "CROP_SIDE"), constant(crops, "FACE_SIDES")]
    shifts = [constant(landmarks, "CROP_SHIFT"), constant(truth, "TOWARDS_MOUTH")]
    widths = [constant("host/src/vision/eyes.rs", "PATCH_WIDTH"), constant(crops, "EYE_WIDTHS")]
    assert sides == [data.FACE_SIDE] * 2
    assert shifts == [data.FACE_SHIFT] * 2
    assert widths == [data.EYE_WIDTH] * 2


def test_the_generic_head_is_the_daemons() -> None:
    source = (ROOT / "host/src/vision/head_pose.rs").read_text()
    rows = re.findall(rf"point\((\d+), \[{NUMBER}, {NUMBER}, {NUMBER}\], {NUMBER}\)", source)
    table = np.array(rows, float)
    assert len(table) == len(head_pose.RIGID)
    np.testing.assert_array_equal(table[:, 0], head_pose.RIGID)
    np.testing.assert_array_equal(table[:, 1:4], head_pose.HEAD_MM)
    np.testing.assert_array_equal(table[:, 4], head_pose.WEIGHTS)
