"""The reference network has the published size."""

import numpy as np
import torch

from gaze_models.dft import PARAMETERS, SIDE, TUNABLE, DftNetwork, enlarge


def test_the_reference_has_the_published_numbers_of_parameters() -> None:
    network = DftNetwork()
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS == 281_012
    assert sum(p.numel() for p in network.tunable()) == TUNABLE == 14_432


def test_a_patch_becomes_a_picture_with_the_eye_in_the_middle() -> None:
    patch = np.zeros((48, 64), np.float32)
    patch[20:28, 28:36] = 1
    picture = enlarge(patch)
    assert picture.shape == (3, SIDE, SIDE)
    rows, columns = np.nonzero(picture[0] > 0.5)
    assert abs(rows.mean() - 111.5) < 1 and abs(columns.mean() - 111.5) < 1
    with torch.no_grad():
        assert DftNetwork().eval()(torch.from_numpy(picture[None])).shape == (1, 2)
