"""Calibration as the training sees it: a few views of a person fit a ridge map, the others say how good it is.

The map is solved in closed form, so that the gradient goes through it into the network (Bertinetto et al. 2019,
R2-D2): what is learnt are angles and features from which few targets calibrate well.
"""

from __future__ import annotations

import torch

SUPPORT = 9
"""Views that calibrate: as many as a calibration has targets."""

ANGLE_RIDGE, FEATURE_RIDGE = 0.02, 0.3
"""Pull on the standardised angles and features, in units of the views' weight; about what leaving targets out
chooses on real people."""


def calibrated_miss(
    gaze: torch.Tensor, features: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor, wide: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the calibrated gaze misses by in the views that did not calibrate.

    Parameters
    ----------
    gaze, truth
        (g, n, 2) rad; the first `SUPPORT` views of each of g people calibrate.
    features
        (g, n, k).
    weight
        (g, n) how much each view is worth.
    wide
        Whether the features are mapped too; else an affine map of the two angles.

    Returns
    -------
    tuple
        (g, n - SUPPORT, 2) rad and the (g, n - SUPPORT) weights.
    """
    inputs = torch.cat([gaze, features], -1) if wide else gaze
    ridge = inputs.new_full((inputs.shape[-1],), FEATURE_RIDGE)
    ridge[:2] = ANGLE_RIDGE
    share = weight[:, :SUPPORT, None]
    share = share / share.sum(1, keepdim=True).clamp_min(1e-6)
    mean = (share * inputs[:, :SUPPORT]).sum(1, keepdim=True)
    variance = (share * (inputs[:, :SUPPORT] - mean) ** 2).sum(1, keepdim=True)
    z = (inputs - mean) / torch.sqrt(variance + 1e-6)
    # pulled towards what the network says, not towards nothing
    wanted = truth[:, :SUPPORT] - gaze[:, :SUPPORT]
    offset = (share * wanted).sum(1, keepdim=True)
    support = z[:, :SUPPORT]
    gram = (share * support).transpose(1, 2) @ support + torch.diag(ridge)
    moment = (share * support).transpose(1, 2) @ (wanted - offset)
    gain = torch.linalg.solve(gram, moment)
    calibrated = gaze[:, SUPPORT:] + offset + z[:, SUPPORT:] @ gain
    return calibrated - truth[:, SUPPORT:], weight[:, SUPPORT:]
