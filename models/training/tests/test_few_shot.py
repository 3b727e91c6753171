"""The calibration that the training looks through."""

import torch

from gaze_models.few_shot import SUPPORT, calibrated_miss


def person(n: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return gaze, features and truth of one person whose angles are turned, shrunk and moved."""
    torch.manual_seed(0)
    truth = 0.3 * torch.randn(1, n, 2)
    gaze = truth @ torch.tensor([[0.9, 0.05], [-0.04, 0.85]]) + torch.tensor([0.05, -0.08])
    return gaze, torch.randn(1, n, 5), truth


def test_an_affine_fault_is_calibrated_away() -> None:
    gaze, features, truth = person()
    miss, weight = calibrated_miss(gaze, features, truth, torch.ones(1, 40), wide=False)
    before = (gaze - truth)[:, SUPPORT:].norm(dim=-1).mean()
    assert miss.shape == (1, 40 - SUPPORT, 2) and weight.shape == (1, 40 - SUPPORT)
    assert miss.norm(dim=-1).mean() < 0.05 * before


def test_what_only_a_feature_tells_needs_the_features() -> None:
    gaze, features, truth = person()
    bent = gaze + 0.1 * features[..., :1]
    affine, _ = calibrated_miss(bent, features, truth, torch.ones(1, 40), wide=False)
    wide, _ = calibrated_miss(bent, features, truth, torch.ones(1, 40), wide=True)
    assert wide.norm(dim=-1).mean() < 0.5 * affine.norm(dim=-1).mean()


def test_views_without_weight_do_not_calibrate() -> None:
    gaze, features, truth = person()
    spoilt = gaze.clone()
    spoilt[:, 3] += 1.0
    weight = torch.ones(1, 40)
    weight[:, 3] = 0
    clean, _ = calibrated_miss(gaze, features, truth, weight, wide=False)
    again, _ = calibrated_miss(spoilt, features, truth, weight, wide=False)
    assert torch.allclose(clean, again, atol=1e-5)


def test_the_gradient_reaches_the_features() -> None:
    gaze, features, truth = person()
    features.requires_grad_()
    miss, _ = calibrated_miss(gaze + 0.1 * features[..., :1].detach(), features, truth, torch.ones(1, 40), wide=True)
    miss.square().sum().backward()
    assert torch.isfinite(features.grad).all() and features.grad.abs().sum() > 0
