"""Renders of the observer crate as training material (not yet available)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Renders:
    """Rendered eyes with exact truth, in the form of `gaze_models.eyes.EyeSet`."""

    patches: np.ndarray
    eyes: np.ndarray
    head: np.ndarray
    gaze: np.ndarray
    visible: np.ndarray


def read_renders(folder: Path) -> Renders | None:
    """Read the renders of a folder, or None where there are none."""
    if not (folder / "eyes.u8").exists():
        return None
    raise NotImplementedError
