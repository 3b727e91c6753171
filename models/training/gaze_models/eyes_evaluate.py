"""How good the eye network is where truth exists: calibration protocol, errors with intervals, AUC."""

from __future__ import annotations

import csv
import re
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from gaze_models.chain import VisionChain
from gaze_models.common import bootstrap_interval, interval_text, onnx_session
from gaze_models.data import Crop
from gaze_models.eyes_network import FEATURES
from gaze_models.eyes_patches import PATCH_H, PATCH_W, cut_contract
from gaze_models.eyes_spoilt import SPOILT, measure_covered, measure_glasses, measure_robustness
from gaze_models.head_pose import head_angles

if TYPE_CHECKING:
    from gaze_models.eyes import EyeTask
    from gaze_models.eyes_sets import EyeSet

BLOCK = 430
"""File numbers per block of g01: one block is calibrated and tested by itself."""

CALIBRATION_POINTS = 5
"""Frames nearest to each of the nine calibration positions."""


EYE_OF_PATCH = 0.47
"""Corner distance of a frontal eye as a share of the patch width (training faces, median)."""


class EyeNet:
    """The exported network in ONNX Runtime, one face at a time."""

    def __init__(self, file: Path) -> None:
        self.session = onnx_session(file)

    def __call__(
        self, patches: np.ndarray, head: np.ndarray, present: tuple[float, float] = (1.0, 1.0)
    ) -> dict[str, np.ndarray]:
        """Return ``gaze`` (2,), ``sigma``, ``eye`` (2, 6) and ``features`` (12,) of (2, 1, 48, 64) patches."""
        gaze, log_sigma, eye, features = self.session.run(
            None,
            {
                "patches": patches.astype(np.float32),
                "head": np.asarray(head, np.float32).reshape(1, 2),
                "present": np.asarray(present, np.float32).reshape(1, 2),
            },
        )
        return {"gaze": gaze[0], "sigma": float(np.exp(log_sigma[0, 0])), "eye": eye, "features": features[0]}

    def microseconds(self, repeats: int = 500) -> float:
        """Return the median time of one run, on one thread."""
        zeros = np.zeros((2, 1, PATCH_H, PATCH_W), np.float32)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            self(zeros, np.zeros(2))
            times.append(time.perf_counter() - start)
        return float(np.median(times) * 1e6)


def roc_auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the chance that a positive scores higher than a negative."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def openness_of(eye: np.ndarray) -> np.ndarray:
    """Return openness 0..1 of (..., 6) eye outputs."""
    return 1 / (1 + np.exp(-eye[..., 3]))


def fit_ridge_affine(inputs: np.ndarray, targets: np.ndarray, strength: float = 1e-2) -> np.ndarray:
    """Fit ``targets = standardised inputs @ A + b`` with a ridge on A only.

    Parameters
    ----------
    inputs
        (n, k) what the method measures.
    targets
        (n, 2) pixels.
    strength
        Ridge in units of n (the inputs are standardised).

    Returns
    -------
    ndarray
        (k + 1, 2); the last row is the offset for raw inputs.
    """
    mean, std = inputs.mean(0), inputs.std(0) + 1e-9
    x = (inputs - mean) / std
    a = np.linalg.solve(x.T @ x + strength * len(x) * np.eye(x.shape[1]), x.T @ (targets - targets.mean(0)))
    a = a / std[:, None]
    return np.vstack([a, targets.mean(0) - mean @ a])


def calibrated_error(
    inputs: np.ndarray,
    targets: np.ndarray,
    numbers: np.ndarray,
    screen: tuple[float, float],
    strength: float = 1e-2,
) -> dict[str, object]:
    """Calibrate each block on frames near nine screen positions and test on its other frames.

    Parameters
    ----------
    inputs
        (n, k) what the method measures in each frame; NaN rows have no answer and count as the constant guess.
    targets
        (n, 2) pixels.
    numbers
        (n,) file numbers.
    screen
        Width and height in pixels.
    strength
        Ridge of the affine map.

    Returns
    -------
    dict
        ``error`` and ``constant`` (mean pixels), ``ratio``, ``blocks`` with the same per block, ``errors`` per
        tested frame.
    """
    grid = np.array([(x * screen[0], y * screen[1]) for y in (0.1, 0.5, 0.9) for x in (0.1, 0.5, 0.9)])
    errors, constants, blocks = [], [], []
    block_of = (numbers - numbers.min()) // BLOCK
    for block in np.unique(block_of):
        rows = np.flatnonzero(block_of == block)
        seen = rows[np.isfinite(inputs[rows]).all(1)]
        if len(rows) < 60:
            continue
        chosen: list[int] = []
        for point in grid:
            order = seen[np.argsort(np.linalg.norm(targets[seen] - point, axis=1))]
            chosen += [k for k in order if k not in chosen][:CALIBRATION_POINTS]
        a = fit_ridge_affine(inputs[chosen], targets[chosen], strength)
        tested = np.setdiff1d(rows, chosen)
        guess = targets[chosen].mean(0)
        predicted = np.hstack([inputs[tested], np.ones((len(tested), 1))]) @ a
        predicted = np.where(np.isfinite(predicted), predicted, guess)
        e = np.linalg.norm(predicted - targets[tested], axis=1)
        c = np.linalg.norm(guess - targets[tested], axis=1)
        errors.append(e)
        constants.append(c)
        blocks.append({"n": len(tested), "error": e.mean(), "constant": c.mean(), "ratio": e.mean() / c.mean()})
    error, constant = np.concatenate(errors), np.concatenate(constants)
    return {
        "error": error.mean(),
        "constant": constant.mean(),
        "ratio": error.mean() / constant.mean(),
        "blocks": blocks,
        "errors": error,
    }


def run_set(net: EyeNet, chosen: EyeSet, present: tuple[float, float] = (1.0, 1.0)) -> dict[str, np.ndarray]:
    """Run the exported network over a set, without jitter; ``eyes`` and ``truth`` with the left eye mirrored."""
    from gaze_models.eyes_sets import plain_batch

    batch = plain_batch(chosen)
    found = [net(p.numpy()[:, None], h, present) for p, h in zip(batch["patches"], chosen.seen_head, strict=True)]
    eye = np.stack([f["eye"] for f in found])
    eyes = np.concatenate([eye[..., :3], openness_of(eye)[..., None]], -1)
    return {
        "gaze": np.stack([f["gaze"] for f in found]),
        "sigma": np.array([f["sigma"] for f in found]),
        "eyes": eyes,
        "truth": batch["eyes"].numpy(),
        "true_gaze": batch["gaze"].numpy(),
    }


def measure_set(found: dict[str, np.ndarray], chosen: EyeSet, people: list[str]) -> dict[str, Any]:
    """Return errors with 95 % intervals by person: gaze (degrees), iris (share of s), openness, calibration."""
    from gaze_models.eyes import angular_error

    visible = chosen.visible > 0.5
    open_eye = (found["truth"][..., 3] > 0.35) & visible
    looks = open_eye.any(1)
    who = np.asarray(people)
    truth = found["true_gaze"]
    error = angular_error(found["gaze"], truth)
    miss = np.abs(found["gaze"] - truth)
    delta = (found["eyes"][..., :2] - found["truth"][..., :2]) * [1, PATCH_H / PATCH_W] * 0.85
    iris = np.where(open_eye, np.linalg.norm(delta, axis=-1), np.nan)
    per_face = np.nanmean(np.where(looks[:, None], iris, 0), 1)
    return {
        "n": int(looks.sum()),
        "people": len(set(who[looks])),
        "gaze_median_deg": bootstrap_interval(error[looks], list(who[looks]), "median"),
        "yaw_median_deg": float(np.median(np.rad2deg(miss[looks, 0]))),
        "pitch_median_deg": float(np.median(np.rad2deg(miss[looks, 1]))),
        "yaw_r": float(np.corrcoef(found["gaze"][looks, 0], truth[looks, 0])[0, 1]),
        "pitch_r": float(np.corrcoef(found["gaze"][looks, 1], truth[looks, 1])[0, 1]),
        "within_sigma_per_axis": float((miss[looks] < found["sigma"][looks, None]).mean()),
        "within_sigma_angle": float((np.deg2rad(error[looks]) < found["sigma"][looks]).mean()),
        "sigma_median_deg": float(np.rad2deg(np.median(found["sigma"][looks]))),
        "iris_median_share_of_s": bootstrap_interval(per_face[looks], list(who[looks]), "median"),
        "openness_mean_error": float(np.abs(found["eyes"][..., 3] - found["truth"][..., 3])[visible].mean()),
    }


def measure_g01(net: EyeNet, folder: Path, models: Path) -> dict[str, Any]:
    """Run the whole chain and the calibration protocol on the face crops of g01, each on a 640x480 canvas."""
    chain = VisionChain(models)
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    numbers = np.array([int(re.findall(r"\d+", r["file"])[0]) for r in rows])
    targets = np.array([[float(r["x_px"]), float(r["y_px"])] for r in rows])
    screen = float(rows[0]["screen_w_px"]), float(rows[0]["screen_h_px"])
    gaze, features = np.full((len(rows), 2), np.nan), np.full((len(rows), FEATURES), np.nan)
    iris, opening = np.full((len(rows), 2), np.nan), np.full(len(rows), np.nan)
    for k, row in enumerate(rows):
        picture = cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE)
        grey = np.full((480, 640), 128, np.uint8)
        top, left = (480 - picture.shape[0]) // 2, (640 - picture.shape[1]) // 2
        grey[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        chain.crop = None
        face, _, _ = chain.step(grey)
        if face is None:
            continue
        found = net(cut_contract(grey, face), head_angles(face))
        gaze[k], features[k] = found["gaze"], found["features"]
        eye = found["eye"]
        iris[k] = (eye[0, 0] + 1 - eye[1, 0]) / 2, eye[:, 1].mean()
        opening[k] = openness_of(eye).mean()
    results: dict[str, Any] = {}
    for name, inputs, strength in (
        ("gaze", gaze, 1e-2),
        ("features", features, 3e-2),
        ("iris", np.column_stack([iris, opening]), 1e-2),
    ):
        r = calibrated_error(inputs, targets, numbers, screen, strength)
        results[name] = {
            "n": len(r["errors"]),
            "error_px": float(r["error"]),
            "constant_px": float(r["constant"]),
            "ratio": float(r["ratio"]),
            "block_ratios": [round(float(b["ratio"]), 3) for b in r["blocks"]],
        }
    ok = np.isfinite(gaze).all(1)
    results["without_answer"] = int((~ok).sum())
    results["r_yaw_x"] = float(np.corrcoef(gaze[ok, 0], targets[ok, 0])[0, 1])
    results["r_pitch_y"] = float(np.corrcoef(gaze[ok, 1], targets[ok, 1])[0, 1])
    return results


STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Ridge strengths that `nine_targets` chooses from."""


def nine_targets(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Calibrate on the nine targets nearest to a 3x3 grid at 10, 50, 90 % of the targets' range, test on the others.

    A ridge affine map; its strength is chosen by leaving calibration targets out.

    Parameters
    ----------
    inputs
        (n, k) what the method measures.
    targets
        (n, 2) in any unit.

    Returns
    -------
    tuple
        Errors and the errors of the constant guess, of the tested frames, in the targets' unit.
    """
    unique, member = np.unique(targets, axis=0, return_inverse=True)
    low, high = unique.min(0), unique.max(0)
    grid = np.array([low + (high - low) * [x, y] for y in (0.1, 0.5, 0.9) for x in (0.1, 0.5, 0.9)])
    nine = sorted({int(np.argmin(np.linalg.norm(unique - g, axis=1))) for g in grid})
    shown = np.isin(member, nine)

    def errors(fitted: np.ndarray, tested: np.ndarray, strength: float) -> np.ndarray:
        a = fit_ridge_affine(inputs[fitted], targets[fitted], strength)
        found = np.hstack([inputs[tested], np.ones((tested.sum(), 1))]) @ a
        return np.linalg.norm(found - targets[tested], axis=1)

    left_out = [
        np.mean([errors(shown & (member != t), member == t, strength).mean() for t in nine]) for strength in STRENGTHS
    ]
    best = STRENGTHS[int(np.argmin(left_out))]
    guess = np.linalg.norm(targets[shown].mean(0) - targets[~shown], axis=1)
    return errors(shown, ~shown, best), guess


def raw_pixels(grey: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Return a shrunk crop as one row, brought to zero mean and unit contrast: the method to beat."""
    small = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA).astype(float).ravel()
    return (small - small.mean()) / (small.std() + 1e-6)


def calibrate_nine(inputs: dict[str, np.ndarray], targets: np.ndarray, person: np.ndarray) -> dict[str, Any]:
    """Run `nine_targets` for each person and method; the mean error with an interval.

    The interval is by person; of one person alone by rows of 25 frames, which are not independent of each other.
    """
    results: dict[str, Any] = {}
    for name, values in inputs.items():
        errors, guesses, groups = [], [], []
        for who in np.unique(person):
            rows = person == who
            e, g = nine_targets(values[rows], targets[rows])
            errors.append(e)
            guesses.append(g)
            groups += [str(who)] * len(e)
        error, guess = np.concatenate(errors), np.concatenate(guesses)
        several = len(set(groups)) > 1
        interval = bootstrap_interval(error, groups if several else [str(k // 25) for k in range(len(error))])
        results[name] = {
            "n": len(error),
            "error_px": float(error.mean()),
            "interval": interval,
            "constant_px": float(guess.mean()),
            "ratio": float(error.mean() / guess.mean()),
        }
    for name in inputs:
        results[name]["of_raw_pixels"] = results[name]["error_px"] / results["raw pixels"]["error_px"]
    return results


def measure_single_eyes(net: EyeNet, folder: Path, mirrored: bool) -> dict[str, Any]:
    """Nine targets calibrate, the others test, on crops of one eye (g03, g04; eye about 85 of 100 px wide)."""
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns: dict[str, list[np.ndarray]] = {"gaze": [], "features": [], "all outputs": [], "raw pixels": []}
    for row in rows:
        grey = cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE)
        patch = single_eye(grey, 0.85, mirrored)
        found = net(np.stack([patch, patch])[:, None], np.zeros(2), (1.0, 0.0))
        columns["gaze"].append(found["gaze"])
        columns["features"].append(found["features"])
        columns["all outputs"].append(np.concatenate([found["features"], found["eye"][0]]))
        columns["raw pixels"].append(raw_pixels(grey, 25, 12))
    targets = np.array([[float(row["x_px"]), float(row["y_px"])] for row in rows])
    inputs = {name: np.array(values) for name, values in columns.items()}
    return calibrate_nine(inputs, targets, np.zeros(len(rows), int))


STRIP_EYES = ((0.23, 0.48), (0.77, 0.48))
"""Where the eyes are in a strip of g08, shares of its width and height (median, by eye) ..."""
STRIP_STRETCH = 1.5
"""... and how much taller than wide everything in it is."""


def measure_strips(net: EyeNet, folder: Path) -> dict[str, Any]:
    """Nine targets calibrate, the others test, for each person of g08 who has 40 strips or more."""
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    who = np.array([row["subject_guess"] for row in rows])
    names, counts = np.unique(who, return_counts=True)
    keep = np.flatnonzero(np.isin(who, names[counts >= 40]))
    columns: dict[str, list[np.ndarray]] = {"gaze": [], "features": [], "all outputs": [], "raw pixels": []}
    for k in keep:
        strip = cv2.imread(str(folder / rows[k]["file"]), cv2.IMREAD_GRAYSCALE)
        height, width = strip.shape
        level = cv2.resize(strip, (4 * width, round(4 * height / STRIP_STRETCH)), interpolation=cv2.INTER_CUBIC)
        border = level.shape[0]
        level = cv2.copyMakeBorder(level, border, border, border, border, cv2.BORDER_REPLICATE)
        scale = 4 * width * (STRIP_EYES[1][0] - STRIP_EYES[0][0])
        patches = []
        for x, y in STRIP_EYES:
            centre = np.array([border + x * 4 * width, border + y * 4 * height / STRIP_STRETCH])
            patches.append(Crop(centre, np.array([1.0, 0.0]), 0.85 * scale, PATCH_W, PATCH_H).sample(level) / 255)
        patches[1] = patches[1][:, ::-1]
        found = net(np.stack(patches)[:, None], np.zeros(2))
        columns["gaze"].append(found["gaze"])
        columns["features"].append(found["features"])
        columns["all outputs"].append(np.concatenate([found["features"], found["eye"].ravel()]))
        columns["raw pixels"].append(raw_pixels(strip, 25, 12))
    targets = np.array([[float(rows[k]["x_norm"]), float(rows[k]["y_norm"])] for k in keep])
    inputs = {name: np.array(values) for name, values in columns.items()}
    return calibrate_nine(inputs, targets, who[keep])


def single_eye(grey: np.ndarray, eye_share: float, mirrored: bool) -> np.ndarray:
    """Place a tight crop of one eye (`eye_share` of its width is eye) in a patch, its edges drawn out."""
    if mirrored:
        grey = grey[:, ::-1]
    border = grey.shape[1]
    wide = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_REPLICATE)
    centre = np.array([wide.shape[1] - 1, wide.shape[0] - 1]) / 2
    crop = Crop(centre, np.array([1.0, 0.0]), eye_share * grey.shape[1] / EYE_OF_PATCH, PATCH_W, PATCH_H)
    return crop.sample(np.ascontiguousarray(wide)) / 255


def measure_closed(net: EyeNet, folder: Path) -> dict[str, Any]:
    """Return how well openness tells open from closed eyes (cew: 24 x 24 crops, eye about 0.75 of the width)."""
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores, states = [], []
    for row in rows:
        grey = cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE)
        patch = single_eye(grey, 0.75, Path(row["file"]).stem.endswith("_L"))
        found = net(np.stack([patch, patch])[:, None], np.zeros(2), (1.0, 0.0))
        scores.append(float(openness_of(found["eye"][0])))
        states.append(row["state"] == "open")
    score, is_open = np.array(scores), np.array(states)
    return {
        "n": len(score),
        "auc": roc_auc(score[is_open], score[~is_open]),
        "open_percentiles": np.percentile(score[is_open], [1, 5, 10, 50]).round(3).tolist(),
        "closed_percentiles": np.percentile(score[~is_open], [50, 90, 95, 99]).round(3).tolist(),
    }


def measure_gaze_sets(net: EyeNet, data: Path, models: Path) -> dict[str, Any]:
    """Measure the sets of ``gaze/``, as far as they are there; they are for comparison only."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("g01", "g03", "g04", "g08", "cew"):
            tar = data / "gaze" / f"{name}.tar"
            if tar.exists():
                with tarfile.open(tar) as archive:
                    archive.extractall(Path(folder) / name, filter="data")
        place = Path(folder)
        if (place / "g01").is_dir() and (models / "onnx" / "face.onnx").exists():
            results["g01"] = measure_g01(net, place / "g01", models)
        for name in ("g03", "g04"):
            if (place / name).is_dir():
                for mirrored in (False, True):
                    key = f"{name}{' mirrored' if mirrored else ''}"
                    results[key] = measure_single_eyes(net, place / name, mirrored)
        if (place / "g08").is_dir():
            results["g08"] = measure_strips(net, place / "g08")
        if (place / "cew").is_dir():
            results["cew"] = measure_closed(net, place / "cew")
    return results


def evaluate_eyes(task: EyeTask, onnx_file: Path, out: Path, smoke: bool) -> dict[str, Any]:
    """Measure the exported eye network wherever truth exists.

    Parameters
    ----------
    task
        Knows the config and the data folder; the sets of ``gaze/`` are only looked at, never learnt from.
    onnx_file
        The exported network.
    out
        Where ``evaluation.json`` goes.
    smoke
        Few faces only.
    """
    from gaze_models.eyes_sets import EyeSet, read_real, read_rendered
    from gaze_models.render import read_renders

    net = EyeNet(onnx_file)
    results: dict[str, Any] = {"microseconds_ort_one_thread": net.microseconds(50 if smoke else 500)}
    with np.load(task.folder / "real.npz") as arrays:
        rows = np.flatnonzero(arrays["split"] == "test")
        sets, people = arrays["set"][rows], arrays["identity"][rows]
    test = read_real(task.folder, "test")
    for name in ("all", *np.unique(sets)):
        keep = np.flatnonzero((sets == name) | (name == "all"))[: 16 if smoke else None]
        part = EyeSet(*(getattr(test, f)[keep] for f in EyeSet.__dataclass_fields__))
        results[f"real {name}"] = measure_set(run_set(net, part), part, list(people[keep]))
        if name == "all":
            limit = task.contract.thresholds["low_confidence_sigma_rad"]
            results["robustness, real"] = measure_robustness(net, part, list(people[keep]), limit)
            results["covered"] = measure_covered(net, part, task.contract.thresholds["visible_logit"])
            for side, present in (("right", (1.0, 0.0)), ("left", (0.0, 1.0))):
                one = measure_set(run_set(net, part, present), part, list(people[keep]))
                results[f"real, {side} eye alone"] = {"gaze_median_deg": one["gaze_median_deg"]}
    rendered = read_rendered(task.folder / "renders-test")
    if rendered is not None:
        keep = np.arange(len(rendered.gaze))[: 16 if smoke else None]
        part = EyeSet(*(getattr(rendered, f)[keep] for f in EyeSet.__dataclass_fields__))
        results["renders"] = measure_set(run_set(net, part), part, [str(k) for k in keep])
        results["robustness, renders"] = measure_robustness(net, part, [str(k) for k in keep], limit)
        worn = read_renders(task.folder / "renders-test").glasses[keep] > 0
        results["robustness, renders"]["glasses"] = measure_glasses(net, part, worn, limit)
    if not smoke and task.data is not None:
        results |= measure_gaze_sets(net, task.data, onnx_file.parents[1])
    return results


def card_tables(figures: dict[str, Any]) -> str:
    """Return the evaluation as the tables of the model card."""
    lines = [
        "| held out | faces (people) | gaze, median ° (95 %) | yaw / pitch, median ° | r yaw / pitch "
        "| errors within σ, per axis / angle | iris, median % of s | openness, mean error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in figures.items():
        if not isinstance(row, dict) or "yaw_median_deg" not in row:
            continue
        low_high = interval_text(row["gaze_median_deg"], 1, 1)
        iris = interval_text(row["iris_median_share_of_s"], 100, 1)
        lines.append(
            f"| {name} | {row['n']} ({row['people']}) | {low_high} "
            f"| {row['yaw_median_deg']:.1f} / {row['pitch_median_deg']:.1f} "
            f"| {row['yaw_r']:.2f} / {row['pitch_r']:.2f} "
            f"| {row['within_sigma_per_axis']:.2f} / {row['within_sigma_angle']:.2f} "
            f"| {iris} | {row['openness_mean_error']:.2f} |"
        )
    for side in ("right", "left"):
        one = figures[f"real, {side} eye alone"]["gaze_median_deg"]
        lines.append(f"| real, {side} eye alone | | {interval_text(one, 1, 1)} | | | | | |")
    calibrated = [(name, figures[name]) for name in ("g01", "g03", "g04", "g08") if name in figures]
    if calibrated:
        lines += [
            "",
            "| calibrated on nine points | n | constant guess | gaze (of constant) | features (of constant) "
            "| features and irises | raw-pixel ridge |",
            "|---|---|---|---|---|---|---|",
        ]
    for name, row in calibrated:
        digits = 3 if name == "g08" else 0
        cells = [f"{row[k]['error_px']:.{digits}f} ({row[k]['ratio']:.2f})" for k in ("gaze", "features")]
        for k in ("all outputs", "raw pixels"):
            cells.append(f"{row[k]['error_px']:.{digits}f}" if k in row else "-")
        n, guess = row["gaze"]["n"], row["gaze"]["constant_px"]
        lines.append(f"| {name} | {n} | {guess:.{digits}f} | {' | '.join(cells)} |")
    lines += ["", "| spoilt patches, error of clean ones (low confidence) | " + " | ".join(SPOILT) + " |"]
    lines.append("|---" * (1 + len(SPOILT)) + "|")
    for name in ("real", "renders"):
        if f"robustness, {name}" in figures:
            row = figures[f"robustness, {name}"]
            cells = [f"{row[k]['of_clean']:.2f} ({100 * row[k]['low_confidence']:.0f} %)" for k in SPOILT]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    covered = figures["covered"]
    lines += [
        "",
        f"One eye of {covered['n']} real faces covered by a drawing as in training: {100 * covered['taken']:.1f} % "
        f"of the covered eyes pass for eyes, {100 * covered['missed']:.1f} % of the bare ones do not; the error with "
        f"one covered is {covered['of_clean']:.2f} times that with none.",
    ]
    if "cew" in figures:
        closed = figures["cew"]
        lines += [
            "",
            f"Open against closed eyes (cew, {closed['n']} crops): area under the curve {closed['auc']:.3f}; "
            f"openness of open eyes at the 1st, 5th, 10th, 50th percentile {closed['open_percentiles']}, "
            f"of closed ones at the 50th, 90th, 95th, 99th {closed['closed_percentiles']}.",
        ]
    lines += ["", f"ONNX Runtime, one thread: {figures['microseconds_ort_one_thread'] / 1000:.2f} ms for both eyes."]
    return "\n".join(lines)
