"""The reference network has the published size."""

import numpy as np
import torch

from gaze_models.dft import PARAMETERS, SIDE, TUNABLE, DftNetwork, enlarge


def test_the_reference_has_the_published_numbers_of_parameters() -> None:
    network = DftNetwork()
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS == 281_012
    assert sum(p.numel() for p in network.tunable()) == TUNABLE == 14_432


def test_a_patch_becomes_a_picture_with_the_eye_in_the_middle() -> None:
    patch = torch.zeros(1, 48, 64)
    patch[:, 20:28, 28:36] = 1
    patch[:, :, 0] = 0.5
    picture = enlarge(patch)
    assert picture.shape == (1, 3, SIDE, SIDE)
    rows, columns = np.nonzero(picture[0, 0].numpy() > 0.7)
    assert abs(rows.mean() - 111.5) < 1 and abs(columns.mean() - 111.5) < 1
    # the left edge is drawn out above and below
    assert (picture[0, :, :, 0] == 0.5).all()
    with torch.no_grad():
        assert DftNetwork().eval()(picture).shape == (1, 2)
