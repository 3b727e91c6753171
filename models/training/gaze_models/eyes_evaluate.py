"""How good the eye network is where truth exists: calibration protocol, errors with intervals, AUC."""

from __future__ import annotations

import numpy as np

BLOCK = 430
"""File numbers per block of g01: one block is calibrated and tested by itself."""

CALIBRATION_POINTS = 5
"""Frames nearest to each of the nine calibration positions."""


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
        blocks.append(
            {"n": len(tested), "error": e.mean(), "constant": c.mean(), "ratio": e.mean() / c.mean()}
        )
    error, constant = np.concatenate(errors), np.concatenate(constants)
    return {
        "error": error.mean(),
        "constant": constant.mean(),
        "ratio": error.mean() / constant.mean(),
        "blocks": blocks,
        "errors": error,
    }
