"""The reference: DFT Gaze rebuilt to its 281,012 parameters, trained on the same data (``configs/dft.toml``).

The published network (ConvNeXt V2 Atto reduced to widths 40, 20, 40, 80, an adapter in each of its twelve blocks;
only the adapters and the head, 14,432 parameters, are tuned to a person) sees one picture of one eye, 224 x 224 RGB,
and says yaw and pitch. It is here to be compared with: ``export --models DIR`` keeps it out of the shipped models.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from gaze_models.common import GOLDEN_CASES, MODELS, ModelContract, bootstrap_interval, interval_text, onnx_session
from gaze_models.eyes import EyeTask, angular_error, looks_share, robust
from gaze_models.eyes_patches import PATCH_H, PATCH_W
from gaze_models.eyes_sets import EyeSet, plain_batch, read_real, read_rendered

SIDE = 224
DEPTHS, WIDTHS = (2, 2, 6, 2), (40, 20, 40, 80)
PARAMETERS, TUNABLE = 281_012, 14_432
"""As published: 281 K and 14.43 K."""


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (n, c, h, w)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation (Woo et al. 2023), channels last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        strength = torch.sqrt((x * x).sum((1, 2), keepdim=True) + 1e-12)
        return x + x * (strength / (strength.mean(-1, keepdim=True) + 1e-6)) * self.gain + self.bias


class Block(nn.Module):
    """A ConvNeXt V2 block, and the adapter behind it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen, self.response, self.narrow = (
            nn.Linear(width, 4 * width),
            ResponseNorm(4 * width),
            nn.Linear(4 * width, width),
        )
        self.adapter = nn.Sequential(
            nn.Conv2d(width, width // 4, 1), nn.BatchNorm2d(width // 4), nn.GELU(), nn.Conv2d(width // 4, width, 1)
        )
        nn.init.zeros_(self.adapter[3].weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        y = self.norm(self.around(x).permute(0, 2, 3, 1))
        y = self.narrow(self.response(functional.gelu(self.widen(y)))).permute(0, 3, 1, 2)
        y = x + y
        return y + self.adapter(y)


class DftNetwork(nn.Module):
    """(n, 3, 224, 224) luma 0..1 in three planes to yaw, pitch (n, 2) of the eye as it is seen."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for k, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
            if k == 0:
                stages += [nn.Conv2d(3, width, 4, 4), ChannelNorm(width, eps=1e-6)]
            else:
                stages += [ChannelNorm(WIDTHS[k - 1], eps=1e-6), nn.Conv2d(WIDTHS[k - 1], width, 2, 2)]
            stages += [Block(width) for _ in range(depth)]
        self.stages = nn.Sequential(*stages)
        self.norm, self.gaze = nn.LayerNorm(WIDTHS[-1], eps=1e-6), nn.Linear(WIDTHS[-1], 2)

    def forward(self, eye: torch.Tensor) -> torch.Tensor:
        """Return yaw, pitch in radians."""
        return 0.3 * self.gaze(self.norm(self.stages((eye - 0.5) * 4).mean((2, 3))))

    def tunable(self) -> list[nn.Parameter]:
        """Return what is tuned to a person: the adapters and the head."""
        own = [p for m in self.modules() if isinstance(m, Block) for p in m.adapter.parameters()]
        return own + [*self.norm.parameters(), *self.gaze.parameters()]


def enlarge(patches: torch.Tensor) -> torch.Tensor:
    """Return the (n, 3, 224, 224) pictures of (n, 48, 64) patches, 0..1; their edges are drawn out up and down."""
    rows = SIDE * PATCH_H // PATCH_W
    large = functional.interpolate(patches[:, None], (rows, SIDE), mode="bilinear")
    square = functional.pad(large, (0, 0, *((SIDE - rows) // 2,) * 2), mode="replicate")
    return square.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


class DftTask(EyeTask):
    """See `gaze_models.common.Task`; the data are the eye network's."""

    def __init__(self, config: dict[str, Any], data: Path | None) -> None:
        super().__init__(config, data)
        self.contract = ModelContract("dft", {"eye": (1, 3, SIDE, SIDE)}, {"gaze": (1, 2)}, tolerance=2e-3)

    def network(self) -> DftNetwork:
        """Return a fresh network."""
        return DftNetwork()

    def batches(self, first_step: int, steps: int, smoke: bool) -> Iterator[dict[str, torch.Tensor]]:
        """Yield one eye of each face of the eye network's batches."""
        for step, batch in enumerate(super().batches(first_step, steps, smoke), first_step):
            rng = np.random.default_rng([self.config["seed"], step, 1])
            side = rng.integers(0, 2, len(batch["gaze"]))
            row = np.arange(len(side))
            side = np.where(batch["visible"].numpy()[row, side] > 0, side, 1 - side)
            gaze = batch["gaze"].numpy() * np.stack([np.where(side == 1, -1, 1), np.ones(len(side))], 1)
            openness = batch["eyes"][row, side, 3] * batch["visible"][row, side]
            yield {
                "patch": batch["patches"][row, side],
                "gaze": torch.from_numpy(gaze.astype(np.float32)),
                "weight": batch["weight"] * looks_share(openness),
            }

    def loss(self, network: DftNetwork, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the eye network's gaze loss."""
        found = network(enlarge(batch["patch"]))
        return {"total": (robust(found - batch["gaze"]) * batch["weight"]).mean()}

    @torch.no_grad()
    def validate(self, network: DftNetwork, page: Path, smoke: bool) -> dict[str, float]:
        """Return the median error on a few held-out people and renders; the page is the eyes shown."""
        figures, shown = {}, []
        where = next(network.parameters()).device
        for name, chosen in held_out(self.folder, "val", 8 if smoke else 48).items():

            def run(eye: torch.Tensor) -> np.ndarray:
                return network(eye.to(where)).cpu().numpy()

            figures[f"{name} gaze median"] = float(np.median(errors(run, chosen)))
            shown += [np.hstack([*pair]) for pair in plain_batch(chosen)["patches"].numpy()[:12]]
        cv2.imwrite(str(page), np.round(np.vstack(shown) * 255).astype(np.uint8))
        return figures

    def settle(self, network: DftNetwork) -> None:
        """Do nothing: it states no sigma."""

    def golden_inputs(self) -> dict[str, np.ndarray]:
        """Return the eye network's golden eyes, enlarged."""
        patches = torch.from_numpy(super().golden_inputs()["patches"][:GOLDEN_CASES, 0, 0])
        return {"eye": enlarge(patches).numpy()[:, None].astype(np.float32)}

    def evaluate(self, onnx_file: Path, out: Path, smoke: bool) -> dict[str, Any]:
        """Return errors on test people and renders and the time, beside the shipped eye network's in one run."""
        from gaze_models.eyes_evaluate import EyeNet, run_set  # SciPy, which training does without

        shipped = EyeNet(MODELS / "onnx" / "eyes.onnx")
        session, ours = onnx_session(onnx_file), shipped.session

        def run(eye: torch.Tensor) -> np.ndarray:
            return session.run(None, {"eye": eye.numpy()})[0]

        results: dict[str, Any] = {"parameters": PARAMETERS, "tunable": TUNABLE}
        for name, chosen in held_out(self.folder, "test", 16 if smoke else 400).items():
            found = errors(run, chosen)
            of_ours = run_set(shipped, chosen)
            beside = angular_error(of_ours["gaze"], of_ours["true_gaze"])
            rows = [str(k) for k in range(len(found))]
            results[name] = bootstrap_interval(found, rows, "median")
            results[f"{name}, eyes"] = bootstrap_interval(beside, rows, "median")
            results[f"{name}, n"] = len(found)
        theirs = {"eye": np.zeros((1, 3, SIDE, SIDE), np.float32)}
        eyes = {"patches": (2, 1, PATCH_H, PATCH_W), "head": (1, 2), "present": (1, 2)}
        zeros = {name: np.zeros(shape, np.float32) for name, shape in eyes.items()}
        times: dict[str, list[float]] = {"dft": [], "eyes": []}
        for _ in range(5 if smoke else 60):
            for name, network, inputs in (("dft", session, theirs), ("eyes", ours, zeros)):
                start = time.perf_counter()
                network.run(None, inputs)
                times[name].append(time.perf_counter() - start)
        results["ms_dft"], results["ms_eyes"] = (1e3 * float(np.median(times[k])) for k in ("dft", "eyes"))
        return results

    def card_figures(self, figures: dict[str, Any]) -> str:
        """Return one line; there is no card to put it in."""
        text = [
            f"{k} {interval_text(figures[k], 1, 1)}, ours {interval_text(figures[f'{k}, eyes'], 1, 1)} degrees"
            for k in ("real", "render")
            if k in figures
        ]
        share = figures["ms_dft"] / figures["ms_eyes"]
        return "; ".join([*text, f"{figures['ms_dft']:.2f} ms, {share:.1f} times ours"])


def held_out(folder: Path, split: str, most: int) -> dict[str, EyeSet]:
    """Return evenly drawn faces of a split, eyes open and seen: ``real`` and, where there are any, ``render``."""
    found = {}
    for name, chosen in (
        ("real", read_real(folder, split)),
        ("render", read_rendered(folder / f"renders-{split}")),
    ):
        if chosen is not None:
            seen = np.flatnonzero((chosen.visible > 0.5).all(1) & (chosen.eyes[..., 3] > 0.35).all(1))
            keep = seen[np.linspace(0, len(seen) - 1, min(most, len(seen))).astype(int)]
            found[name] = EyeSet(*(getattr(chosen, f)[keep] for f in EyeSet.__dataclass_fields__))
    return found


def errors(run: Callable[[torch.Tensor], np.ndarray], chosen: EyeSet) -> np.ndarray:
    """Return the angle between the mean of both eyes' answers and the truth, degrees, per face."""
    answers, batch = [], plain_batch(chosen)
    for face in batch["patches"]:
        right, left = (run(enlarge(patch[None]))[0] for patch in face)
        # the left eye is mirrored
        answers.append((right + left * [-1, 1]) / 2)
    return angular_error(np.array(answers), batch["gaze"].numpy())


def task(config: dict[str, Any], data: Path | None) -> DftTask:
    """Return the task of ``configs/dft.toml``."""
    return DftTask(config, data)
