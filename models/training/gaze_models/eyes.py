"""The eye network's task: what the stages train, validate, export and measure (``configs/eyes.toml``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from gaze_models.common import GOLDEN_CASES, ModelContract, moved, smooth_noise
from gaze_models.data import tile
from gaze_models.eyes_batches import Batches
from gaze_models.eyes_network import FEATURES, EyeNetwork
from gaze_models.eyes_patches import PATCH_H, PATCH_W
from gaze_models.eyes_sets import EyeSet, plain_batch, read_real, read_rendered
from gaze_models.few_shot import calibrated_miss

SIGMA_SHARE = 0.68
"""Share of the angular errors that lie within the stated sigma."""


FINE = 0.01
"""Where the loss of calibrated gaze bends, rad: its errors are small."""


def robust(miss: torch.Tensor, bend: float = 0.03) -> torch.Tensor:
    """Return the length of (n, 2) angles, quadratic within `bend` radians, in units of it."""
    return functional.huber_loss(miss, torch.zeros_like(miss), delta=bend, reduction="none").sum(1) / bend


def shape_of(eyes: torch.Tensor, lids: torch.Tensor) -> torch.Tensor:
    """Return what a calibration wants to know of eyes, wherever the patch was cut: (..., 6).

    Iris x, y from the middle of the corners, radius, openness, heights of the upper and the lower lid above that
    middle; in widths of the patch.
    """
    middle = (lids[..., 0, :] + lids[..., 8, :]) / 2
    square = eyes.new_tensor([1.0, PATCH_H / PATCH_W])
    iris = (eyes[..., :2] - middle) * square
    heights = (torch.stack([lids[..., 2:7, 1].mean(-1), lids[..., 10:15, 1].mean(-1)], -1) - middle[..., 1:]) * 0.75
    return torch.cat([iris, eyes[..., 2:], heights], -1)


def looks_share(openness: torch.Tensor) -> torch.Tensor:
    """Return how much the gaze of an eye counts that is so far open: a closed or hidden one looks nowhere."""
    return ((openness - 0.15) / 0.3).clamp(0.02, 1)


class EyeTask:
    """See `gaze_models.common.Task`."""

    def __init__(self, config: dict[str, Any], data: Path | None) -> None:
        self.config = config
        self.data = data
        self.folder = Path(config["prepare"]["folder"])
        self.contract = ModelContract(
            name="eyes",
            inputs={"patches": (2, 1, PATCH_H, PATCH_W), "head": (1, 2), "present": (1, 2)},
            outputs={"gaze": (1, 2), "log_sigma": (1, 1), "eye": (2, 6), "features": (1, FEATURES)},
            thresholds=dict(config["thresholds"]),
            tolerance=1e-3,
        )

    def network(self) -> EyeNetwork:
        """Return a fresh network."""
        shape = self.config["network"]
        return EyeNetwork(tuple(shape["channels"]), shape["width"], shape["hidden"])

    def batches(self, first_step: int, steps: int, smoke: bool) -> Iterator[dict[str, torch.Tensor]]:
        """Yield augmented batches; the draws depend on the seed and the step alone."""
        settings = self.config["train"]
        sets: dict[str, EyeSet | None] = {"real": read_real(self.folder, "train")}
        if settings["render_share"] > 0:
            sets["views"] = read_rendered(self.folder / "renders-train")
            sets["sessions"] = read_rendered(self.folder / "sessions-train")
        there = {name: chosen for name, chosen in sets.items() if chosen is not None}
        strangers = np.load(self.folder / "strangers.npy")
        size = 8 if smoke else settings["batch"]
        drawn = Batches(there, strangers, settings, self.config["seed"], range(first_step, steps), size)
        # the workers take turns, so the batches come in their order
        yield from DataLoader(drawn, batch_size=None, num_workers=0 if smoke else settings["workers"])

    def loss(self, network: EyeNetwork, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the loss terms of one batch."""
        w = self.config["loss"]
        b = len(batch["gaze"])
        encoded = network.encode(batch["patches"].reshape(2 * b, 1, PATCH_H, PATCH_W))
        gaze, log_sigma, eye, features = network.answer(encoded, batch["head"], batch["present"])
        eye = eye.reshape(b, 2, -1)
        truth, visible = batch["eyes"], batch["visible"]
        openness = (truth[..., 3] * visible * batch["present"]).amax(1)
        seen = looks_share(openness) * batch["weight"]
        miss = gaze - batch["gaze"]
        # without the head there is no telling where the eyes look, only how that changes
        terms = {"gaze": (robust(miss) * seen * torch.where(batch["headless"], 0.2, 1.0)).mean()}
        # people differ by a constant; two views of one person must not
        first = torch.nonzero(batch["partner"] >= 0)[:, 0]
        second = batch["partner"][first]
        both_seen = seen[first] * seen[second]
        terms["pair"] = (robust(miss[first] - miss[second]) * both_seen).sum() / b
        terms |= self.few_shot(gaze, features, batch, seen)
        # sigma is the angle within which SIGMA_SHARE of the errors lie: that quantile of ln(angle)
        angle = torch.hypot(miss[:, 0] * torch.cos(batch["gaze"][:, 1]), miss[:, 1]).detach().clamp_min(1e-4)
        beyond = torch.log(angle)[:, None] - log_sigma
        terms["sigma"] = torch.maximum(SIGMA_SHARE * beyond, (SIGMA_SHARE - 1) * beyond).mean()
        error = eye[..., :3] - truth[..., :3]
        error = error * error.new_tensor([1.0, PATCH_H / PATCH_W, 1.0])
        iris_seen = visible * ((truth[..., 3] - 0.1) / 0.25).clamp(0.1, 1)
        nothing = torch.zeros_like(error[..., :2])
        position = functional.huber_loss(error[..., :2], nothing, delta=0.02, reduction="none")
        terms["iris"] = (position.sum(-1) / 0.02 * iris_seen).mean()
        terms["radius"] = (error[..., 2].abs() * iris_seen).mean()
        spread = 0.5 * (error[..., :2].detach() ** 2).sum(-1)
        spread = visible * spread + (1 - visible) * 0.04
        terms["iris_sigma"] = (eye[..., 5] + 0.5 * spread * torch.exp(-2 * eye[..., 5])).mean()
        lids = functional.binary_cross_entropy_with_logits(eye[..., 3], truth[..., 3], reduction="none")
        terms["openness"] = (lids * visible).mean()
        terms["visible"] = functional.binary_cross_entropy_with_logits(eye[..., 4], visible)
        contour = network.contour(encoded).reshape(b, 2, 16, 2) + 0.5
        off = functional.huber_loss(contour, batch["lids"], delta=0.02, reduction="none").sum(-1).mean(-1)
        terms["contour"] = (off / 0.02 * visible * batch["true_lids"]).mean()
        asked = torch.cat([shape_of(truth, batch["lids"]).flatten(1), batch["head"]], 1)
        known = (visible * batch["present"] * batch["true_lids"])[..., None].expand(b, 2, 6).flatten(1)
        mask = torch.cat([known, known.new_ones(b, 2)], 1)
        terms["auxiliary"] = ((network.auxiliary(features) - asked).abs() * mask).mean()
        terms["total"] = sum(w[name] * value for name, value in terms.items())
        return terms

    def few_shot(
        self, gaze: torch.Tensor, features: torch.Tensor, batch: dict[str, torch.Tensor], seen: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return what calibrated gaze misses by in the sessions of a batch: by the angles, and with the features."""
        rows = torch.nonzero(batch["session"] >= 0)[:, 0]
        if len(rows) == 0:
            return {"affine": gaze.new_zeros(()), "features": gaze.new_zeros(())}
        each = self.config["train"]["session_views"]
        parts = [x[rows].unflatten(0, (-1, each)) for x in (gaze, features, batch["gaze"], seen)]
        terms = {}
        for name, wide in (("affine", False), ("features", True)):
            miss, weight = calibrated_miss(*parts, wide)
            terms[name] = (robust(miss.flatten(0, 1), FINE) * weight.flatten()).mean()
        return terms

    @torch.no_grad()
    def validate(self, network: nn.Module, page: Path, smoke: bool) -> dict[str, float]:
        """Return errors on held-out people and held-out renders, without augmentation."""
        figures: dict[str, float] = {}
        pictures = []
        for name, chosen in (
            ("real", read_real(self.folder, "val")),
            ("render", read_rendered(self.folder / "renders-val")),
        ):
            if chosen is None:
                continue
            found = predict(network, chosen, 16 if smoke else None)
            figures |= {f"{name} {k}": v for k, v in errors_of(found, chosen).items()}
            for k in np.linspace(0, len(found["gaze"]) - 1, 12).astype(int):
                pictures.append(draw_prediction(found, k, name))
        cv2.imwrite(str(page), tile(pictures, 4))
        sessions = read_rendered(self.folder / "sessions-val")
        if sessions is not None:
            figures |= session_errors(predict(network, sessions), sessions)
        return figures

    @torch.no_grad()
    def settle(self, network: EyeNetwork) -> None:
        """Shift the stated sigma so that it holds on the validation renders, whose truth is exact.

        Training sees harder pictures than cameras send, so that what is learnt there is too large.
        """
        chosen = read_rendered(self.folder / "renders-val")
        if chosen is None:
            return
        found = predict(network, chosen)
        looks = ((found["truth"][..., 3] > 0.35) & (chosen.visible > 0.5)).any(1)
        beyond = np.log(np.deg2rad(angular_error(found["gaze"], found["true_gaze"])) / found["sigma"])[looks]
        network.side_log_sigma.bias.add_(float(np.quantile(beyond, SIGMA_SHARE)))

    def golden_inputs(self) -> dict[str, np.ndarray]:
        """Return rendered eyes where there are any (else drawn ones), every presence pattern among them."""
        rng = np.random.default_rng(self.config["seed"])
        rendered = read_rendered(self.folder / "renders-val")
        if rendered is None:
            patches = np.stack(
                [[[smooth_noise(rng, PATCH_H, PATCH_W)] for _ in range(2)] for _ in range(GOLDEN_CASES)]
            )
            head = rng.normal(0, 0.2, (GOLDEN_CASES, 1, 2))
        else:
            few = EyeSet(*(getattr(rendered, f)[:GOLDEN_CASES] for f in EyeSet.__dataclass_fields__))
            patches = plain_batch(few)["patches"].numpy()[:, :, None]
            head = few.seen_head[:, None]
        present = np.ones((GOLDEN_CASES, 1, 2))
        present[2, 0, 0] = present[5, 0, 1] = 0
        return {
            "patches": patches.astype(np.float32),
            "head": head.astype(np.float32),
            "present": present.astype(np.float32),
        }

    def evaluate(self, onnx_file: Path, out: Path, smoke: bool) -> dict[str, Any]:
        """Measure the exported file; see `gaze_models.eyes_evaluate`."""
        from gaze_models.eyes_evaluate import evaluate_eyes

        return evaluate_eyes(self, onnx_file, out, smoke)

    def card_figures(self, figures: dict[str, Any]) -> str:
        """Return the evaluation as the tables of the model card."""
        from gaze_models.eyes_evaluate import card_tables

        return card_tables(figures)


@torch.no_grad()
def predict(network: nn.Module, chosen: EyeSet, limit: int | None = None) -> dict[str, np.ndarray]:
    """Run the network over a set; ``eyes`` and ``truth`` are (n, 2, 4) as the network sees them (left mirrored)."""
    network.eval()
    where = next(network.parameters()).device
    batch = plain_batch(chosen)
    n = min(limit or len(chosen.gaze), len(chosen.gaze))
    outputs: list[tuple[torch.Tensor, ...]] = []
    for start in range(0, n, 256):
        rows = slice(start, min(start + 256, n))
        patches = batch["patches"][rows].reshape(-1, 1, PATCH_H, PATCH_W)
        head = batch["head"][rows]
        outputs.append(network(*moved((patches, head, torch.ones_like(head)), where)))
    gaze, log_sigma, eye, features = (torch.cat(part).cpu().numpy() for part in zip(*outputs, strict=True))
    eye = eye.reshape(n, 2, -1).astype(np.float64)
    eyes = np.concatenate([eye[..., :3], 1 / (1 + np.exp(-eye[..., 3:4]))], -1)
    return {
        "gaze": gaze,
        "sigma": np.exp(log_sigma[:, 0]),
        "eyes": eyes,
        "truth": batch["eyes"].numpy()[:n],
        "true_gaze": batch["gaze"].numpy()[:n],
        "patches": batch["patches"].numpy()[:n],
        "features": features,
        "visible": eye[..., 4],
        "iris_sigma": np.exp(eye[..., 5]),
    }


def draw_prediction(found: dict[str, np.ndarray], k: int, caption: str) -> np.ndarray:
    """Draw both contract patches of a face with the predicted iris, opening and gaze."""
    zoom, shown = 4, []
    for eye in range(2):
        patch = np.round(found["patches"][k, eye] * 255).astype(np.uint8)
        canvas = cv2.cvtColor(cv2.resize(patch, None, fx=zoom, fy=zoom), cv2.COLOR_GRAY2BGR)
        x, y, radius, openness = (float(v) for v in found["eyes"][k, eye])
        centre = np.array([x * PATCH_W, y * PATCH_H]) * zoom
        yaw, pitch = found["gaze"][k] * ([1, 1] if eye == 0 else [-1, 1])
        tip = centre + 90 * np.array([np.cos(pitch) * np.sin(yaw), -np.sin(pitch)])
        start = np.round(centre).astype(int).tolist()
        cv2.circle(canvas, start, max(1, round(abs(radius) * PATCH_W * zoom)), (0, 0, 255), 1)
        cv2.arrowedLine(canvas, start, np.round(tip).astype(int).tolist(), (0, 255, 0), 1)
        cv2.putText(canvas, f"open {openness:.2f}", (3, PATCH_H * zoom - 5), 0, 0.4, (0, 255, 255), 1)
        shown.append(canvas)
    page = np.hstack(shown)
    cv2.putText(page, caption, (3, 12), 0, 0.4, (0, 255, 255), 1)
    return page


def angular_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angle in degrees between two gaze directions given as (n, 2) yaw, pitch in radians."""
    cosine = np.sin(a[:, 1]) * np.sin(b[:, 1]) + np.cos(a[:, 1]) * np.cos(b[:, 1]) * np.cos(a[:, 0] - b[:, 0])
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def errors_of(found: dict[str, np.ndarray], chosen: EyeSet) -> dict[str, float]:
    """Return the figures that validation follows; gaze and iris over open, visible eyes only."""
    n = len(found["gaze"])
    truth, visible = found["truth"], chosen.visible[:n] > 0.5
    open_eye = (truth[..., 3] > 0.35) & visible
    looks = open_eye.any(1)
    error = angular_error(found["gaze"], found["true_gaze"])[looks]
    delta = (found["eyes"][..., :2] - truth[..., :2]) * [1, PATCH_H / PATCH_W]
    # a patch is 0.85 s wide and s is about the eye distance of a frontal face
    iris = 0.85 * np.linalg.norm(delta, axis=-1)[open_eye]
    return {
        "gaze median": float(np.median(error)),
        "yaw r": float(np.corrcoef(found["gaze"][looks, 0], found["true_gaze"][looks, 0])[0, 1]),
        "pitch r": float(np.corrcoef(found["gaze"][looks, 1], found["true_gaze"][looks, 1])[0, 1]),
        "within sigma": float((np.deg2rad(error) < found["sigma"][looks]).mean()),
        "iris share of s": float(np.median(iris)),
        "openness": float(np.abs(found["eyes"][..., 3] - truth[..., 3])[visible].mean()),
    }


def session_errors(found: dict[str, np.ndarray], chosen: EyeSet) -> dict[str, float]:
    """Return the mean errors in degrees in sessions whose first `SUPPORT` views calibrate."""
    each = int(np.bincount(np.unique(chosen.person, return_inverse=True)[1]).min())
    n = len(chosen.person) // each * each
    seen = (found["truth"][:n, :, 3] * chosen.visible[:n]).max(1) > 0.35
    arrays = (found["gaze"], found["features"], found["true_gaze"], seen.astype(np.float32))
    parts = [torch.from_numpy(x[:n]).unflatten(0, (-1, each)) for x in arrays]
    errors = {}
    for name, wide in (("affine", False), ("features", True)):
        miss, weight = calibrated_miss(*parts, wide)
        angle = torch.rad2deg(torch.linalg.norm(miss, dim=-1))
        errors[f"session {name}"] = float((angle * weight).sum() / weight.sum())
    return errors


def task(config: dict[str, Any], data: Path | None) -> EyeTask:
    """Return the task of ``configs/eyes.toml``."""
    return EyeTask(config, data)
