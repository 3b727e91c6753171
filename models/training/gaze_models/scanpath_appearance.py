"""What an object looks like: fixed statistics of its crop and of what surrounds it.

The daemon computes the same in ``host/src/scanpath/appearance.rs``; ``tests/test_scanpath.py`` and a golden file keep
the two together. Nothing is learnt here.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

LONGER_SIDE = 160
"""The picture is reduced to this many pixels on its longer side, each the mean of what it covers."""
APPEARANCE = 20
"""Numbers per object."""
SURROUND = 0.35
"""The surround reaches this share of the box's size further on every side."""
RADII = (2, 4, 8)
"""Half sizes of the saliency's centres, px of the reduced picture; the surrounds are three times as large."""


def read_reduced(path: Path) -> np.ndarray:
    """Return a picture as (rows, columns, 3) RGB 0..1, its longer side `LONGER_SIDE`."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: not a picture")
    return reduce(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def reduce(picture: np.ndarray) -> np.ndarray:
    """Average an 8-bit RGB picture down to `LONGER_SIDE`."""
    rows, columns = picture.shape[:2]
    scale = LONGER_SIDE / max(rows, columns)
    new_rows, new_columns = max(1, round(rows * scale)), max(1, round(columns * scale))
    across = axis_weights(columns, new_columns)
    down = axis_weights(rows, new_rows)
    return np.einsum("ab,bcd,ec->aed", down, picture.astype(np.float64) / 255, across, optimize=True)


def axis_weights(old: int, new: int) -> np.ndarray:
    """Return (new, old) weights: each new pixel is the mean of the stretch of old ones that it covers."""
    edges = np.arange(new + 1) * old / new
    place = np.arange(old)
    shared = np.minimum(edges[1:, None], place + 1) - np.maximum(edges[:-1, None], place)
    shared = np.maximum(shared, 0)
    return shared / shared.sum(1, keepdims=True)


class Sums:
    """Sums of a map over any rectangle of whole pixels."""

    def __init__(self, values: np.ndarray) -> None:
        self.total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
        self.total[1:, 1:] = values.cumsum(0).cumsum(1)

    def over(self, x0: int, y0: int, x1: int, y1: int) -> float:
        """Return the sum of the columns x0..x1 and rows y0..y1, the ends not included."""
        t = self.total
        return float(t[y1, x1] - t[y0, x1] - t[y1, x0] + t[y0, x0])


def box_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Return the mean over a square of 2 radius + 1 pixels around each, cut at the border."""
    rows, columns = values.shape
    t = Sums(values).total
    y, x = np.arange(rows), np.arange(columns)
    y0, y1 = np.maximum(y - radius, 0), np.minimum(y + radius + 1, rows)
    x0, x1 = np.maximum(x - radius, 0), np.minimum(x + radius + 1, columns)
    total = t[np.ix_(y1, x1)] - t[np.ix_(y0, x1)] - t[np.ix_(y1, x0)] + t[np.ix_(y0, x0)]
    return total / np.outer(y1 - y0, x1 - x0)


def appearance(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return (N, `APPEARANCE`) numbers.

    Parameters
    ----------
    picture
        (rows, columns, 3) from `reduce`.
    boxes
        (N, 4) x, y, width, height as shares of the picture's width and height.
    """
    rows, columns = picture.shape[:2]
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    luma, red_green, blue_yellow = (red + green + blue) / 3, red - green, blue - (red + green) / 2
    dx = np.zeros_like(luma)
    dy = np.zeros_like(luma)
    dx[:, 1:-1] = (luma[:, 2:] - luma[:, :-2]) / 2
    dy[1:-1] = (luma[2:] - luma[:-2]) / 2
    edge = np.sqrt(dx * dx + dy * dy)
    saliency = np.zeros_like(luma)
    for values in (luma, red_green, blue_yellow):
        for radius in RADII:
            saliency += np.abs(box_mean(values, radius) - box_mean(values, 3 * radius))
    saliency = saliency / (saliency.mean() + 1e-3)
    skin = ((red > 0.37) & (green > 0.16) & (blue > 0.08) & (red - np.minimum(green, blue) > 0.06)
            & (red - green > 0.04) & (red > blue) & (red - green < 0.4)).astype(np.float64)  # fmt: skip
    maps = [
        Sums(m)
        for m in (luma, red_green, blue_yellow, luma * luma, edge, saliency, skin, red_green**2, blue_yellow**2)
    ]
    mean_edge = edge.mean() + 1e-3
    found = np.zeros((len(boxes), APPEARANCE), np.float32)
    for k, (x, y, w, h) in enumerate(np.asarray(boxes, np.float64)):
        inner = rectangle(x, y, x + w, y + h, rows, columns)
        outer = rectangle(
            x - SURROUND * w, y - SURROUND * h, x + (1 + SURROUND) * w, y + (1 + SURROUND) * h, rows, columns
        )
        head = rectangle(x, y, x + w, y + 0.35 * h, rows, columns)
        n_inner, n_outer = size(inner), size(outer)
        inside = np.array([m.over(*inner) for m in maps]) / n_inner
        around = np.array([m.over(*outer) for m in maps])
        ring = (around - inside * n_inner) / max(n_outer - n_inner, 1)
        if n_outer <= n_inner:
            ring = inside
        x0, y0, x1, y1 = inner
        head_skin = maps[6].over(*head) / size(head)
        spread = lambda square, mean: np.sqrt(max(square - mean * mean, 0))  # noqa: E731
        found[k] = [
            inside[0],
            4 * inside[1],
            4 * inside[2],
            4 * abs(inside[0] - ring[0]),
            6 * abs(inside[1] - ring[1]),
            6 * abs(inside[2] - ring[2]),
            4 * spread(inside[3], inside[0]),
            6 * spread(inside[7], inside[1]),
            6 * spread(inside[8], inside[2]),
            20 * inside[4],
            20 * (inside[4] - ring[4]),
            inside[4] / mean_edge,
            inside[5],
            inside[5] - ring[5],
            0.5 * saliency[y0:y1, x0:x1].max(),
            2 * inside[6],
            2 * head_skin,
            2 * (inside[6] - ring[6]),
            2 * (inside[0] - ring[0]),
            2 * luma.mean(),
        ]
    return found


def rectangle(x0: float, y0: float, x1: float, y1: float, rows: int, columns: int) -> tuple[int, int, int, int]:
    """Return whole pixels that a box in shares covers, at least one, inside the picture."""
    left = min(max(int(np.floor(x0 * columns + 0.5)), 0), columns - 1)
    top = min(max(int(np.floor(y0 * rows + 0.5)), 0), rows - 1)
    right = min(max(int(np.floor(x1 * columns + 0.5)), left + 1), columns)
    bottom = min(max(int(np.floor(y1 * rows + 0.5)), top + 1), rows)
    return left, top, right, bottom


def size(area: tuple[int, int, int, int]) -> int:
    """Return the pixels of a rectangle."""
    return (area[2] - area[0]) * (area[3] - area[1])
