"""How much eyes differ between photographed people: ``python -m gaze_models.anatomy --config configs/eyes.toml``.

Reads ``real.npz`` of `gaze_models.eyes_prepare`. What people look at and how they turn their heads is regressed out
(the teacher's gaze, both estimates of the head), so what is left is anatomy and the landmarks' own error: an upper
bound of the anatomy. The spreads of the observer's eyes (models/observer/src/appearance.rs) are set by it.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import numpy as np

EYE_DISTANCE_MM = 63.0
"""Mean of adults (Dodgson 2004)."""
PATCH_MM = 0.85 * 1.05 * EYE_DISTANCE_MM
"""Width of a patch on a face whose mouth is 1.05 eye distances below its eyes (median)."""


def residual(values: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Return what a quadratic of the columns of `told` leaves of `values`."""
    terms = np.column_stack([np.ones(len(told)), told, told**2])
    fitted, *_ = np.linalg.lstsq(terms, values, rcond=None)
    return values - terms @ fitted


def main() -> None:
    """Print means and standard deviations, mm, by size of the face."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    folder = Path(tomllib.loads(parser.parse_args().config.read_text())["prepare"]["folder"])
    with np.load(folder / "real.npz") as arrays:
        eyes, lids, scale = arrays["eyes"], arrays["lids"], arrays["s"]
        gaze, head, posed = arrays["gaze"], arrays["head"], arrays["posed"]
    up = -(np.stack([eyes[..., 1], lids[:, :, 4, 1], lids[:, :, 12, 1]]) - 0.5) * 0.75 * PATCH_MM
    iris, upper, lower = up.mean(2)
    measures = {
        "iris above the corners": iris,
        "upper margin above the iris": upper - iris,
        "iris above the lower margin": iris - lower,
    }
    told = np.column_stack([gaze, head, posed[:, 1]])
    straight = (eyes[..., 3].min(1) > 0.5) & (np.abs(head[:, 0]) < 0.35) & (np.abs(gaze[:, 0]) < 0.45)
    for low, high in ((35, 50), (50, np.inf), (35, np.inf)):
        rows = straight & (scale >= low) & (scale < high)
        print(f"{rows.sum()} faces, scale {low} to {high} px")
        for name, values in measures.items():
            left = residual(values[rows], told[rows])
            spread = 1.4826 * np.median(np.abs(left - np.median(left)))
            print(f"  {name}: mean {values[rows].mean():.2f}, SD {left.std():.2f}, from the MAD {spread:.2f} mm")


if __name__ == "__main__":
    main()
