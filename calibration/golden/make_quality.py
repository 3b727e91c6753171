"""Writes quality.json: random gaze samples and what ETDQualitizer 1.2.0 says of them.

    pip install ETDQualitizer==1.2.0 && python calibration/golden/make_quality.py

`cargo test -p gaze-calibration` holds calibration/src/quality.rs against it.
"""

import importlib.metadata
import json
from pathlib import Path

import ETDQualitizer as etdq
import numpy as np

VERSION = "1.2.0"


def case(rng: np.random.Generator) -> dict:
    """One target's samples, and the measures of them."""
    n = int(rng.integers(6, 90))
    target = rng.uniform(-20, 20, 2)
    spread = rng.uniform(0.1, 3.0)
    azimuth, elevation = (target[:, None] + rng.normal(0, 2, (2, 1)) + rng.normal(0, spread, (2, n))).tolist()
    lost = rng.random(n) < rng.uniform(0, 0.3)
    lost[:2] = False
    azi = np.where(lost, np.nan, azimuth)
    ele = np.where(lost, np.nan, elevation)
    offset, off_azi, off_ele = etdq.accuracy(azi, ele, *target)
    return {
        "target": target.tolist(),
        "samples": [None if gone else [a, e] for a, e, gone in zip(azimuth, elevation, lost, strict=True)],
        "accuracy": [float(offset), float(off_azi), float(off_ele)],
        "sd": float(etdq.std(azi, ele)[0]),
        "rms_s2s": float(etdq.rms_s2s(azi, ele)[0]),
        "bcea": float(etdq.bcea(azi, ele)[0]),
        "data_loss_percent": float(etdq.data_loss_from_invalid(azi, ele)),
    }


def main() -> None:
    """Write the file beside this one."""
    found = importlib.metadata.version("ETDQualitizer")
    if found != VERSION:
        raise SystemExit(f"ETDQualitizer {found} is installed, not {VERSION}")
    rng = np.random.default_rng(7)
    cases = [case(rng) for _ in range(24)]
    Path(__file__).with_name("quality.json").write_text(json.dumps({"version": VERSION, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
