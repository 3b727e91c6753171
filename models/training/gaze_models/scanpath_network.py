"""The object-level scanpath transformer.

`Scanpath.encode` reads a scene's objects once. `Scanpath.advance` takes in one dwell (or the beginning) and updates
a memory of constant size: traces of the visits to each object, and the decaying key-value sums of the decoder's
attention over the dwells so far. `Scanpath.predict` gives, from the memory, the next object, the end, and how long a
dwell on each object would be. Training runs `advance` along the dwells of many paths at once and `predict` on all
their steps together; a device runs one of each per dwell.

Lengths are in screen diagonals from the screen's centre; times are ln ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import silu

from gaze_models.scanpath_data import CLASSES, Batch

PAIRS = 18
TRACE_DECAYS = (0.0, 0.5, 0.8, 1.0)
"""Visits to an object fade by these factors at each dwell: the last one, two short memories, and the count."""
TRACES = len(TRACE_DECAYS) + 1
"""The last trace is the summed dwell, s."""
CONTEXT = 16
"""Numbers about the path as a whole, see `Scanpath.advance`."""
MIXTURE = 3
"""Log-normal components of a dwell."""
DWELL_CENTRE, DWELL_SCALE = 5.6, 0.7
"""ln ms; the network's dwells are relative to these."""
KEY_WIDTH = 8
"""Width of a decoder head's keys."""
CATCHMENT = 4
"""Numbers of `catchment`."""
REACH = 0.0375
"""How far beside its box a look counts as on an object where no other box is nearer, screen diagonals."""
LANDING = (0.05, 0.12, 0.25)
"""Spreads, screen diagonals, of where the next look may land around the gaze."""
CATCHES = len(LANDING)
PROBES = 5
"""Points in a row, of a square over each box, that `catchment` looks at."""
NOWHERE = -1e4
"""Logit of what cannot be chosen."""


@dataclass
class Size:
    """Hyper-parameters that change the files."""

    width: int = 64
    catchment: bool = False
    """Whether the codes' last `CATCHMENT` numbers say which looks count as on an object, see `catchment`."""
    heads: int = 4
    layers: int = 2
    step_layers: int = 1
    class_width: int = 16
    appearance: int = 20
    appearance_width: int = 16
    dropout: float = 0.15
    class_dropout: float = 0.05
    appearance_dropout: float = 0.1

    @property
    def path(self) -> int:
        """Return the size of the memory that does not grow with the objects: sums, gaze, gaze before, context."""
        return KEY_WIDTH * self.width + 4 + CONTEXT


def pair_features(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return (…, `PAIRS`) features of going from the boxes `a` to the boxes `b`, (…, 4) centre and size."""
    step = b[..., :2] - a[..., :2]
    square = (step * step).sum(-1, keepdim=True)
    distance = torch.sqrt(square + 1e-6)
    across = step.abs()
    direction = step / distance
    size_a, size_b = a[..., 2:], b[..., 2:]
    area_a, area_b = size_a[..., :1] * size_a[..., 1:], size_b[..., :1] * size_b[..., 1:]
    reach = (size_a + size_b) * 0.5 - across
    gap = torch.relu(-reach)
    both = torch.minimum(torch.relu(reach), torch.minimum(size_a, size_b))
    shared = both[..., :1] * both[..., 1:]
    near = torch.relu(1 - across / (size_b * 0.5 + 1e-3))
    spread = torch.tensor([1 / (2 * 0.05**2), 1 / (2 * 0.12**2), 1 / (2 * 0.25**2)])
    return torch.cat(
        [
            4 * step,
            4 * across,
            4 * distance,
            torch.log(distance + 0.02) + 1.5,
            direction,
            direction[..., :1] * direction[..., :1],
            torch.exp(-square * spread),
            4 * torch.sqrt((gap * gap).sum(-1, keepdim=True) + 1e-8),
            shared / (area_a + 1e-6),
            shared / (area_b + 1e-6),
            shared / (area_a + area_b - shared + 1e-6),
            0.3 * (torch.log(area_b + 1e-4) - torch.log(area_a + 1e-4)),
            near[..., :1] * near[..., 1:],
        ],
        -1,
    )


def catchment(box: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Return (S, N, `CATCHMENT`) of where looks count as on an object: centre (2), spread, ln of the area + 4.

    A look counts as on the smallest box that it is in, else on the nearest within `REACH`; so where boxes are many
    what an object catches is another place than its box.
    """
    s, n = box.shape[:2]
    place = (torch.arange(PROBES) + 0.5) / PROBES - 0.5
    grid = torch.stack([place.repeat_interleave(PROBES), place.repeat(PROBES)], -1)
    wide = box[..., 2:] + 2 * REACH
    offset = grid * wide.unsqueeze(2)
    point = (box[..., None, :2] + offset).reshape(s, n * PROBES**2, 1, 2)
    beside = torch.relu((point - box[:, None, :, :2]).abs() - 0.5 * box[:, None, :, 2:])
    square = (beside * beside).sum(-1)
    outside = 100.0
    rank = torch.where(square > 0, square + outside, (box[..., 2] * box[..., 3]).unsqueeze(1))
    rank = (rank + (1 - there.transpose(1, 2)) * 10 * outside).reshape(s, n, PROBES**2, n)
    own = (rank * torch.eye(n).reshape(1, n, 1, n)).sum(-1)
    gets = ((own <= rank.amin(-1)) & (own < outside + REACH**2)).float().unsqueeze(-1)
    # One look at its centre stands for what is too narrow for the points.
    count = gets.sum(2) + 0.2
    centre = (gets * offset).sum(2) / count
    spread = torch.sqrt((gets * (offset - centre.unsqueeze(2)) ** 2).sum((2, 3)).unsqueeze(-1) / count + 1e-6)
    area = count / PROBES**2 * wide[..., :1] * wide[..., 1:]
    return torch.cat([box[..., :2] + centre, spread, torch.log(area + 1e-4) + 4], -1) * there


SHARED_OF_A, SHARED_OF_B = 13, 14
"""Places in `pair_features`: the overlap as share of the first box and of the second."""
DIRECTION = slice(6, 8)


class Block(nn.Module):
    """Pre-norm self-attention over objects with a bias by pair, then a feed-forward part."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.forward_in, self.forward_out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`x`: (B, N, width); `bias`: (B, heads or 1, N or 1, N), very negative where there is nothing."""
        b, n, width = x.shape
        split = self.query_key_value(self.norm(x)).reshape(b, n, 3 * self.heads, width // self.heads)
        q, k, v = split.permute(0, 2, 1, 3).split(self.heads, 1)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5 + bias, -1)
        x = x + self.dropout(self.out((weights @ v).permute(0, 2, 1, 3).reshape(b, n, width)))
        return x + self.dropout(self.forward_out(silu(self.forward_in(self.norm_forward(x)))))


class Scanpath(nn.Module):
    """See the module's text."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        width, heads = size.width, size.heads
        self.classes = nn.Embedding(CLASSES, size.class_width)
        self.look = nn.Linear(size.appearance, size.appearance_width)
        geometry = 14
        own = geometry + 2 * size.class_width + 2 + size.appearance_width + CATCHMENT * size.catchment
        self.own = nn.Sequential(nn.Linear(own, width), nn.SiLU(), nn.Linear(width, width))
        self.pair_bias = nn.Sequential(nn.Linear(PAIRS + 2, 16), nn.ReLU(), nn.Linear(16, heads * size.layers))
        self.blocks = nn.ModuleList(Block(width, heads, size.dropout) for _ in range(size.layers))
        self.encoded = nn.LayerNorm(width)
        # The decoder: attention over the dwells so far, as sums that decay at each head's own rate.
        self.register_buffer("decays", 1 - 2.0 ** -(torch.arange(heads).float() + 1), persistent=False)
        self.register_buffer("trace_decays", torch.tensor([*TRACE_DECAYS, 1.0]), persistent=False)
        self.token = nn.Linear(2 * width + CONTEXT, width)
        self.key, self.query = nn.Linear(width, heads * KEY_WIDTH), nn.Linear(width, heads * KEY_WIDTH)
        self.value = nn.Linear(width, width)
        self.state = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        # The candidates of a step.
        self.from_object, self.from_state = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        pair = 2 * PAIRS + 2 + 3 + 2 * TRACES + (CATCHES + 2) * size.catchment
        self.from_pair = nn.Linear(pair, width, bias=False)
        self.candidate = nn.Linear(width, width)
        self.step_blocks = nn.ModuleList(Block(width, heads, size.dropout) for _ in range(size.step_layers))
        self.step_norm = nn.LayerNorm(width)
        self.pointer = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.dwell = nn.Sequential(nn.Linear(width, width // 2), nn.SiLU(), nn.Linear(width // 2, 3 * MIXTURE))
        self.end = nn.Sequential(nn.Linear(2 * width, width // 2), nn.SiLU(), nn.Linear(width // 2, 1))
        self.dropout = nn.Dropout(size.dropout)

    @staticmethod
    def landing(codes: torch.Tensor, gaze: torch.Tensor, is_known: torch.Tensor) -> torch.Tensor:
        """Return (S, P, N, `CATCHES` + 2): ln of the share of looks around the gaze that each object catches.

        The last two are of looks around the screen's centre, and ln of the area alone.
        """
        centre, spread, area = codes[:, None, :, -4:-2], codes[:, None, :, -2:-1], codes[:, None, :, -1:]
        square = ((centre - gaze.unsqueeze(-2)) ** 2).sum(-1, keepdim=True)
        wide = torch.tensor(LANDING) ** 2 + spread * spread
        around = torch.clamp(area - square / (2 * wide) - torch.log(wide / LANDING[1] ** 2), min=-8)
        middle = torch.clamp(area - (centre * centre).sum(-1, keepdim=True) / 0.045, min=-8)
        every = torch.ones_like(square)
        return torch.cat([around * is_known.unsqueeze(-2), middle * every, area * every], -1)

    # --- once per scene ---

    def encode(self, objects: torch.Tensor, appearance: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
        """Return (S, N, width) codes of the objects; inputs as in `scanpath_data.Batch`."""
        box, score, target, there = objects[..., :4], objects[..., 5:6], objects[..., 6:7], objects[..., 7:8]
        number, place = objects[..., 4:5], objects[..., 8:9]
        has_picture = task[:, None, 1:]
        if self.training:
            known = (torch.rand(number.shape) >= self.size.class_dropout).float()
            number = number * known
            has_picture = has_picture * (torch.rand(len(task), 1, 1) >= self.size.appearance_dropout).float()
        of_class = self.classes(number[..., 0].long())
        has_target = target.sum(1, keepdim=True)
        of_target = (of_class * target).sum(1, keepdim=True)
        target_number = (number * target).sum(1, keepdim=True)
        same_as_target = ((number - target_number).abs() < 0.5).float() * (target_number > 0.5).float()
        radius = torch.sqrt((box[..., :2] ** 2).sum(-1, keepdim=True) + 1e-6)
        every = torch.ones_like(there)
        pairs = pair_features(box.unsqueeze(2), box.unsqueeze(1))
        other = ((place.unsqueeze(2) - place.unsqueeze(1)).abs() > 0.5).float() * there.unsqueeze(1)
        catches = [catchment(box, there)] if self.size.catchment else []
        crowd = (pairs[..., SHARED_OF_A : SHARED_OF_B + 1] * other).amax(2)
        x = self.own(
            torch.cat(
                [
                    4 * box,
                    4 * radius,
                    0.4 * torch.log(box[..., 2:3] * box[..., 3:4] + 1e-4) + 2,
                    torch.log((box[..., 2:3] + 0.01) / (box[..., 3:4] + 0.01)),
                    score,
                    target,
                    same_as_target,
                    has_target * every,
                    task[:, None, :1] * every,
                    has_picture * every,
                    0.5 * torch.log(there.sum(1, keepdim=True)) * every,
                    of_class,
                    of_target * every,
                    crowd,
                    self.look(appearance) * has_picture,
                    *catches,
                ],
                -1,
            )
        )
        from_number, to_number = number.unsqueeze(2), number.unsqueeze(1)
        same_class = ((from_number - to_number).abs() < 0.5).float() * (to_number > 0.5).float()
        surer = (score.unsqueeze(1) > score.unsqueeze(2)).float()
        bias = self.pair_bias(torch.cat([pairs, same_class, surer], -1)).permute(0, 3, 1, 2)
        bias = bias + ((there.transpose(1, 2) - 1) * -NOWHERE).unsqueeze(1)
        for block, own_bias in zip(self.blocks, bias.split(self.size.heads, 1), strict=True):
            x = block(x, own_bias)
        x = self.encoded(x) * there
        return torch.cat([x[..., :-CATCHMENT], *catches], -1) if catches else x

    # --- once per dwell; the leading dimensions are scenes and paths ---

    def nothing(self, scenes: int, paths: int, slots: int) -> dict[str, torch.Tensor]:
        """Return the memory before a path begins: zeros."""
        heads = self.size.heads
        shapes = {
            "traces": (slots, TRACES),
            "current": (slots,),
            "sums": (heads, KEY_WIDTH, self.size.width // heads),
            "gaze": (2,),
            "before": (2,),
            "context": (CONTEXT,),
        }
        return {name: torch.zeros(scenes, paths, *shape) for name, shape in shapes.items()}

    def advance(
        self,
        memory: dict[str, torch.Tensor],
        objects: torch.Tensor,
        codes: torch.Tensor,
        chosen: torch.Tensor,
        dwell: torch.Tensor,
        gaze: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Take in one dwell, or the beginning.

        Parameters
        ----------
        chosen
            (S, P, N) 1 at the object, 0 elsewhere; all 0 at the beginning.
        dwell
            (S, P, 2): ln ms relative to centre and scale, and whether it is known (else both are 0).
        gaze
            (S, P, 3) where the dwell ended, and whether that is known (else all are 0); at the beginning where the
            gaze was when the scene came up.
        """
        is_dwell = chosen.sum(-1, keepdim=True)
        known = gaze[..., 2:]
        gaze = gaze[..., :2] * known + (chosen @ objects[..., :2]) * (1 - known)
        of_dwell = dwell[..., 1:]
        seconds = torch.exp(dwell[..., :1] * DWELL_SCALE + (DWELL_CENTRE - math.log(1000))) * of_dwell
        old = memory["traces"]
        gain = torch.cat([torch.ones_like(seconds)] * len(TRACE_DECAYS) + [seconds], -1)
        traces = old * self.trace_decays + chosen.unsqueeze(-1) * gain.unsqueeze(-2)
        c = memory["context"]
        steps = c[..., 3:4] * 8 + is_dwell
        n_known_before = c[..., 5:6] * 8
        n_known = n_known_before + of_dwell
        mean = (c[..., 6:7] * n_known_before + dwell[..., :1]) / torch.clamp(n_known, min=1)
        on_target = chosen @ objects[..., 6:7]
        visited = torch.clamp(traces[..., 3], max=1).sum(-1, keepdim=True)
        context = torch.cat(
            [
                1 - is_dwell,  # nothing has been looked at
                is_dwell + (1 - is_dwell) * known,  # the gaze is known
                is_dwell * (steps < 1.5).float(),
                steps / 8,
                dwell[..., :1],
                n_known / 8,
                mean,
                c[..., 7:8] + seconds / 2,
                on_target,
                torch.maximum(c[..., 9:10], on_target),
                4 * (gaze - memory["gaze"]) * c[..., 1:2],
                visited / objects[..., 7].sum(-1)[:, None, None],
                is_dwell / torch.clamp(steps, min=1),
                of_dwell,
                (chosen * (old[..., 3] > 0.5).float()).sum(-1, keepdim=True),  # came back
            ],
            -1,
        )
        now = chosen @ codes
        token = silu(self.token(torch.cat([now, now * on_target, context], -1)))
        s, p = chosen.shape[:2]
        heads = self.size.heads
        key = (self.key(token) * is_dwell).reshape(s, p, heads, KEY_WIDTH, 1)
        value = self.value(token).reshape(s, p, heads, 1, self.size.width // heads)
        sums = memory["sums"] * self.decays[:, None, None] + key * value * KEY_WIDTH**-0.5
        return {
            "traces": traces,
            "current": chosen,
            "sums": sums,
            "gaze": gaze,
            "before": memory["gaze"] * is_dwell + gaze * (1 - is_dwell),
            "context": context,
        }

    def predict(
        self, memory: dict[str, torch.Tensor], objects: torch.Tensor, codes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return logits (S, P, N) of the next object, logit (S, P, 1) of the end, dwell (S, P, N, 3 `MIXTURE`).

        The current object and empty slots have a logit near `NOWHERE`. The end's logit is of its own probability, not
        part of the softmax over objects. The dwell holds the components' log weights, means and log standard
        deviations, relative to `DWELL_CENTRE` and `DWELL_SCALE`.
        """
        current, traces, context, gaze = (memory[k] for k in ("current", "traces", "context", "gaze"))
        s, p, n = current.shape
        box, there, number = objects[:, None, :, :4], objects[:, None, :, 7:8], objects[:, None, :, 4:5]
        point = torch.cat([gaze, torch.zeros_like(gaze)], -1)
        from_box = current @ objects[..., :4] + point * context[..., :1]
        both = pair_features(torch.stack([from_box, point], 2).unsqueeze(-2), box.unsqueeze(2))
        pairs, pairs_gaze = both[:, :, 0], both[:, :, 1]
        back = (gaze - memory["before"]).unsqueeze(-2)
        onward = (pairs_gaze[..., DIRECTION] * back).sum(-1, keepdim=True)
        speed = torch.sqrt((back * back).sum(-1, keepdim=True) + 1e-6)
        now_number = (current @ objects[..., 4:5]).unsqueeze(-2)
        same = ((number - now_number).abs() < 0.5).float() * (now_number > 0.5).float()
        features = torch.cat(
            [
                pairs,
                pairs_gaze * context[..., 1:2].unsqueeze(-2),
                onward / speed,
                4 * onward,
                same,
                same * traces[..., 3:4],
                same * objects[:, None, :, 5:6],
                traces,
                torch.log(traces + 1),
                *([self.landing(codes, gaze, context[..., 1:2])] if self.size.catchment else []),
            ],
            -1,
        )
        now = current @ codes
        token = silu(self.token(torch.cat([now, now * context[..., 8:9], context], -1)))
        query = self.query(token).reshape(s, p, self.size.heads, 1, KEY_WIDTH)
        recalled = (query @ memory["sums"]).reshape(s, p, self.size.width)
        state = self.state(torch.cat([token, recalled], -1))
        x = self.from_object(codes).unsqueeze(1) + self.from_state(state).unsqueeze(-2) + self.from_pair(features)
        x = x + self.candidate(self.dropout(silu(x)))
        x = x.reshape(s * p, n, self.size.width)
        absent = (there - 1) * -NOWHERE
        bias = absent.expand(s, p, n, 1).reshape(s * p, 1, 1, n)
        for block in self.step_blocks:
            x = block(x, bias)
        x = self.step_norm(x).reshape(s, p, n, self.size.width)
        logits = (self.pointer(x) + absent + NOWHERE * current.unsqueeze(-1)).reshape(s, p, n)
        weights, mean, spread = self.dwell(x).split(MIXTURE, -1)
        dwell = torch.cat([torch.log_softmax(weights, -1), mean, torch.clamp(spread, -3, 1.5)], -1)
        pooled = (x * there).sum(2) / there.sum(2)
        end = self.end(torch.cat([state, pooled], -1))
        return logits, end, dwell


def dwell_log_density(dwell: torch.Tensor, log_ms: torch.Tensor) -> torch.Tensor:
    """Return the log density per ms of a dwell of exp(`log_ms`) under the (…, 3 `MIXTURE`) mixture."""
    weights, mean, spread = dwell.split(MIXTURE, -1)
    z = ((log_ms - DWELL_CENTRE) / DWELL_SCALE).unsqueeze(-1)
    normal = -0.5 * ((z - mean) * torch.exp(-spread)) ** 2 - spread - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(weights + normal, -1) - math.log(DWELL_SCALE) - log_ms


def unroll(
    network: Scanpath, batch: Batch, keeps_gaze: torch.Tensor | None = None, keeps_dwell: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run the network along every path with the path's own dwells as input (teacher forcing).

    Returns logits (S, P, T + 1, N) of the next object, (S, P, T + 1) of the end, and dwells (S, P, T + 1, N, 9); all
    are 0 after a path's end.
    `keeps_*`: (S, P) bool; where false, the network is not told the gaze or the dwells of the path.
    """
    s, p, t = batch.chosen.shape
    n = batch.objects.shape[1]
    codes = network.encode(batch.objects, batch.appearance, batch.task)
    gaze = torch.cat([batch.start.unsqueeze(2), batch.gaze], 2)
    is_known = torch.isfinite(gaze[..., :1])
    if keeps_gaze is not None:
        is_known = is_known & keeps_gaze[..., None, None]
    gaze = torch.cat([torch.where(is_known, gaze, torch.zeros(())), is_known.float()], -1)
    is_known = torch.isfinite(batch.dwell)
    if keeps_dwell is not None:
        is_known = is_known & keeps_dwell[..., None]
    relative = torch.where(is_known, (batch.dwell - DWELL_CENTRE) / DWELL_SCALE, torch.zeros(()))
    dwell = torch.stack([relative, is_known.float()], -1)
    dwell = torch.cat([torch.zeros(s, p, 1, 2), dwell], 2)
    chosen = (batch.chosen.unsqueeze(-1) == torch.arange(n)).float()
    chosen = torch.cat([torch.zeros(s, p, 1, n), chosen], 2)
    memory = network.nothing(s, p, n)
    memories = []
    for k in range(t + 1):
        memory = network.advance(memory, batch.objects, codes, chosen[:, :, k], dwell[:, :, k], gaze[:, :, k])
        memories.append(memory)
    together = {key: torch.stack([m[key] for m in memories], 2).flatten(1, 2) for key in memory}
    row = batch.real_steps()

    def at_row(values: torch.Tensor) -> torch.Tensor:
        return row.reshape(*row.shape, *[1] * (values.ndim - 2)).expand(-1, -1, *values.shape[2:])

    real = {key: values.gather(1, at_row(values)) for key, values in together.items()}
    found = network.predict(real, batch.objects, codes)
    logits, end, dwells = (
        values.new_zeros(s, p * (t + 1), *values.shape[2:]).scatter(1, at_row(values), values) for values in found
    )
    return logits.reshape(s, p, t + 1, n), end.reshape(s, p, t + 1), dwells.reshape(s, p, t + 1, n, -1)
