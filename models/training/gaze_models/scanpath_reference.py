"""What the scanpath transformer is compared with, trained on the same scenes and measured by the same code.

`ConditionalLogit` is linear in a few numbers per candidate. `Oat` is the configuration of the Object-level Attention
Transformer (Fang et al. 2024, arXiv 2407.13335): crops, a fixed position table whose similarity falls with distance,
4 + 4 layers of 512, a pointer whose end is the target's own token. It knows grids only, so that a box stands in the
cell of its centre; where there is no target a blank token ends the path; it has no times.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from gaze_models.scanpath_data import CLASSES, Batch

OAT_WIDTH, OAT_HEADS, OAT_LAYERS, OAT_POINTERS = 512, 4, 4, 2
OAT_CROP = (93, 150)
OAT_TABLE, OAT_SPREAD = 86, 2.0
OAT_CELLS = 32
"""Rows and columns of the grid that free boxes are put into."""


class ConditionalLogit(nn.Module):
    """Multinomial logit on distance, direction, revisits, size, target, and class where `with_class`.

    The end has its own linear logit on the step's number, on being at the target, and on the task.
    """

    def __init__(self, with_class: bool) -> None:
        super().__init__()
        self.with_class = with_class
        self.first = nn.Linear(8, 1, bias=False)
        self.later = nn.Linear(16, 1, bias=False)
        self.classes = nn.Embedding(CLASSES, 1)
        self.end = nn.Linear(6, 1)
        for weights in self.parameters():
            nn.init.zeros_(weights)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (S, P, T + 1, N) of the next object and (S, P, T + 1) of the end."""
        box, score, target, there = (batch.objects[..., k] for k in (slice(0, 4), 5, 6, 7))
        n = box.shape[1]
        onehot = (batch.chosen.unsqueeze(-1) == torch.arange(n)).float()
        area = torch.log(box[..., 2] * box[..., 3] + 1e-4)
        radius = torch.sqrt((box[..., :2] ** 2).sum(-1) + 1e-6)
        search = batch.task[:, :1] * torch.ones_like(score)
        own = torch.stack([radius, radius**2, box[..., 0], box[..., 1], area, score, target, area * search], -1)
        first = self.first(own).squeeze(-1)[:, None, None]
        at = onehot @ box[:, None, :, :2]
        step = box[:, None, None, :, :2] - at.unsqueeze(-2)
        distance = torch.sqrt((step**2).sum(-1) + 1e-6)
        count = onehot.cumsum(2)
        before = torch.cat([torch.zeros_like(onehot[:, :, :1]), onehot[:, :, :-1]], 2)
        wide = lambda values: values[:, None, None].expand(count.shape)  # noqa: E731
        later = self.later(
            torch.stack(
                [
                    distance,
                    distance**2,
                    torch.log(distance + 0.02),
                    step[..., 0] / distance,
                    step[..., 1] / distance,
                    step[..., 0].abs() / distance,
                    count.clamp(max=1),
                    count,
                    before,
                    wide(area),
                    wide(score),
                    wide(target),
                    wide(target * search),
                    wide(radius),
                    wide(area * search),
                    distance * wide(search),
                ],
                -1,
            )
        ).squeeze(-1)
        logits = torch.cat([first.expand(*count.shape[:2], 1, n), later], 2)
        if self.with_class:
            logits = logits + self.classes(batch.objects[..., 4].long()).squeeze(-1)[:, None, None]
        current = torch.cat([torch.zeros_like(onehot[:, :, :1]), onehot], 2)
        logits = logits - 1e4 * current + ((there - 1) * 1e4)[:, None, None]
        number = torch.arange(current.shape[2], dtype=torch.float32).expand(current.shape[:3])
        at_target = (current * wide(target)[:, :, :1]).sum(-1)
        task = batch.task[:, None, :1].expand(number.shape)
        end = self.end(
            torch.stack([number, number**2 / 10, torch.log1p(number), at_target, task, task * number], -1)
        ).squeeze(-1)
        return logits, end


def position_table(rows: int) -> torch.Tensor:
    """Return (rows, `OAT_TABLE`) equal-norm codes whose cosine is exp(-(i - j)^2 / (2 `OAT_SPREAD`^2))."""
    place = np.arange(rows)
    similarity = np.exp(-((place[:, None] - place) ** 2) / (2 * OAT_SPREAD**2))
    values, vectors = np.linalg.eigh(similarity)
    codes = vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))
    table = np.zeros((rows, OAT_TABLE))
    table[:, : min(rows, OAT_TABLE)] = codes[:, :OAT_TABLE]
    return torch.from_numpy(table * math.sqrt(OAT_TABLE)).float()


def order_code(steps: int, width: int) -> torch.Tensor:
    """Return the (steps, width) sinusoidal code of Vaswani et al."""
    place = torch.arange(steps).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    code = torch.zeros(steps, width)
    code[:, 0::2], code[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
    return code


class Oat(nn.Module):
    """See the module's text. `crops` of a scene are (N, 3, 93, 150), 0..1; without a picture they are blank."""

    def __init__(self) -> None:
        super().__init__()
        half = OAT_WIDTH // 2
        self.look = nn.Sequential(
            nn.Conv2d(3, 16, 5), nn.ReLU(), nn.MaxPool2d(5), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(3),
            nn.Flatten(), nn.Linear(1440, half),
        )  # fmt: skip
        self.register_buffer("table", position_table(OAT_CELLS))
        kinds = {"dim_feedforward": OAT_WIDTH, "dropout": 0.1, "batch_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(OAT_WIDTH, OAT_HEADS, **kinds), OAT_LAYERS, enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(OAT_WIDTH, OAT_HEADS, **kinds), OAT_LAYERS)
        self.of_object = nn.Linear(OAT_WIDTH, OAT_POINTERS * OAT_WIDTH)
        self.of_step = nn.Linear(OAT_WIDTH, OAT_POINTERS * OAT_WIDTH)
        self.merge = nn.Linear(OAT_POINTERS, 1)

    def tokens(self, centre: torch.Tensor, is_target: torch.Tensor, look: torch.Tensor) -> torch.Tensor:
        """Return (…, 512) tokens of places (…, 2) in diagonals from the centre."""
        cell = ((centre + 0.5) * OAT_CELLS).long().clamp(0, OAT_CELLS - 1)
        place = torch.cat([self.table[cell[..., 1]], self.table[cell[..., 0]], self.table[is_target.long()]], -1)
        return torch.cat([look, place[..., : OAT_WIDTH // 2]], -1)

    def forward(self, batch: Batch, crops: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (S, P, T + 1, N) of the next object and (S, P, T + 1) of the end.

        `crops`: (S, N, 3, 93, 150), none where no scene of the batch has a picture.
        """
        objects, chosen = batch.objects, batch.chosen
        s, n = objects.shape[:2]
        p, t = chosen.shape[1:]
        blank = self.look(torch.zeros(1, 3, *OAT_CROP))
        look = blank.expand(s, n, -1) if crops is None else self.look(crops.flatten(0, 1)).reshape(s, n, -1)
        target, there = objects[..., 6], objects[..., 7]
        has_target = target.sum(1, keepdim=True)
        own = self.tokens(objects[..., :2], torch.zeros_like(target), look)
        target_centre = (target.unsqueeze(-1) * objects[..., :2]).sum(1, keepdim=True)
        target_look = (target.unsqueeze(-1) * look).sum(1, keepdim=True) + (1 - has_target.unsqueeze(-1)) * blank
        end_token = self.tokens(target_centre, torch.ones(s, 1), target_look)
        absent = torch.cat([there < 0.5, torch.zeros(s, 1, dtype=torch.bool)], 1)
        memory = self.encoder(torch.cat([own, end_token], 1), src_key_padding_mask=absent)
        start = self.tokens(torch.zeros(s, 1, 2), torch.zeros(s, 1), blank.expand(s, 1, -1))
        index = chosen.clamp(min=0)[..., None].expand(s, p, t, OAT_WIDTH)
        visited = torch.gather(own.unsqueeze(1).expand(s, p, n, OAT_WIDTH), 2, index)
        inputs = torch.cat([start.unsqueeze(1).expand(s, p, 1, -1), visited], 2) + order_code(t + 1, OAT_WIDTH)
        # The paths of a scene stand in one row, each blind to the others.
        row = batch.real_steps()
        of_path, place = row // (t + 1), row % (t + 1)
        sees = (of_path.unsqueeze(2) == of_path.unsqueeze(1)) & (place.unsqueeze(2) >= place.unsqueeze(1))
        index = row.unsqueeze(-1).expand(-1, -1, OAT_WIDTH)
        found = self.decoder(
            inputs.flatten(1, 2).gather(1, index),
            memory,
            tgt_mask=~sees.repeat_interleave(OAT_HEADS, 0),
            memory_key_padding_mask=absent,
        )
        found = torch.zeros(s, p * (t + 1), OAT_WIDTH).scatter(1, index, found)
        keys = self.of_object(memory).reshape(s, 1, n + 1, OAT_POINTERS, OAT_WIDTH)
        queries = self.of_step(found).reshape(s, p, t + 1, OAT_POINTERS, OAT_WIDTH)
        logits = torch.einsum("sxnhc,spthc->sptnh", keys, queries) / math.sqrt(OAT_WIDTH)
        logits = self.merge(logits).squeeze(-1)
        current = (chosen.unsqueeze(-1) == torch.arange(n)).float()
        current = torch.cat([torch.zeros(s, p, 1, n), current], 2)
        of_objects = logits[..., :n] - 1e4 * current + ((there - 1) * 1e4)[:, None, None]
        return of_objects, logits[..., n] - torch.logsumexp(of_objects, -1)
