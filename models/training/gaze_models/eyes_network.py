"""The eye network: one encoder for single eyes, one small head that joins both.

Each patch is brought to zero mean and unit contrast inside the graph. Five convolutions and a linear layer turn
it into 64 features; the eye's own outputs (iris, radius, opening, visibility) hang on these. The joining head
sees every face twice, once from the right eye's side (own = right, other = left) and once from the left eye's,
with yaws mirrored, and runs the same weights on both: a mirrored face therefore gets exactly the mirrored gaze.
Gaze is linear in the 12 exported features.
"""

from __future__ import annotations

import torch
from torch import nn

CONTRAST_FLOOR = 0.02
"""Added to the patch's contrast (standard deviation of luma), so that noise in a flat patch stays small."""

EYE_OUTPUTS = ("iris_x", "iris_y", "iris_radius", "openness_logit", "visible_logit", "iris_log_sigma")
FEATURES = 12
AUXILIARY = 14
"""Of each eye: iris x, y from the middle of the corners, radius, openness, heights of both lids; and the head
angles. Read off the features while training only."""
CONTOUR = 32
"""x, y of the 16 points around an eye, read off its encoding while training only."""


def convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return 3x3 convolution, batch normalisation (folded at export) and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class EyeNetwork(nn.Module):
    """Both eye patches, head angles and presence in; gaze, its uncertainty, eyes and features out.

    Parameters
    ----------
    channels
        Of the five convolutions (strides 2, 2, 2, 1, 2).
    width
        Features per eye.
    hidden
        Width of the joining head.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 28, 48, 48, 64), width: int = 64, hidden: int = 64) -> None:
        super().__init__()
        strides = (2, 2, 2, 1, 2)
        layers = [convolution(a, b, s) for a, b, s in zip((1, *channels[:-1]), channels, strides, strict=True)]
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * 3 * 4, width), nn.ReLU())
        self.eye = nn.Linear(width, len(EYE_OUTPUTS))
        self.join = nn.Sequential(
            nn.Linear(2 * width + 4, hidden), nn.ReLU(), nn.Linear(hidden, hidden // 2), nn.ReLU()
        )
        self.side_features = nn.Linear(hidden // 2, FEATURES // 2)
        self.side_gaze = nn.Linear(FEATURES // 2, 2)
        self.side_log_sigma = nn.Linear(hidden // 2, 1)
        self.auxiliary = nn.Linear(FEATURES, AUXILIARY)
        self.contour = nn.Linear(width, CONTOUR)
        self.register_buffer("mirror", torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), persistent=False)
        with torch.no_grad():
            self.eye.bias.copy_(torch.tensor([0.5, 0.5, 0.09, 1.0, 2.0, -3.0]))
            self.eye.weight.mul_(0.3)
            self.side_log_sigma.bias.fill_(-2.0)

    def encode(self, patches: torch.Tensor) -> torch.Tensor:
        """Return (n, width) features of (n, 1, 48, 64) patches."""
        centred = patches - patches.mean((2, 3), keepdim=True)
        contrast = (centred * centred).mean((2, 3), keepdim=True)
        return self.encoder(centred / torch.sqrt(contrast + CONTRAST_FLOOR**2))

    def join_eyes(
        self, features: torch.Tensor, head: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return gaze (b, 2), log_sigma (b, 1) and features (b, 12) of (b, 2, width), (b, 2), (b, 2)."""
        own = features * present[:, :, None]
        other = torch.cat([own[:, 1:2], own[:, 0:1]], 1)
        own_present = present[:, :, None]
        other_present = torch.cat([own_present[:, 1:2], own_present[:, 0:1]], 1)
        heads = head[:, None, :] * self.mirror[None]
        side = self.join(torch.cat([own, other, heads, own_present, other_present], 2))
        side_features = self.side_features(side)
        gaze = (self.side_gaze(side_features) * self.mirror[None]).mean(1)
        return gaze, self.side_log_sigma(side).mean(1), side_features.flatten(1)

    def forward(
        self, patches: torch.Tensor, head: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Map (2b, 1, 48, 64), (b, 2), (b, 2) to gaze, log_sigma, eye (2b, 6), features; b is 1 at export."""
        return self.answer(self.encode(patches), head, present)

    def answer(
        self, encoded: torch.Tensor, head: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what `forward` does, of (2b, width) encodings."""
        pairs = encoded.reshape(head.shape[0], 2, encoded.shape[1])
        gaze, log_sigma, features = self.join_eyes(pairs, head, present)
        return gaze, log_sigma, self.eye(encoded), features
