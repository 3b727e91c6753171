"""What a webcam does to a picture: light, blur, noise, compression, things in front of the face."""

from __future__ import annotations

import cv2
import numpy as np

_NOISE = np.random.default_rng(20).standard_normal((512, 512)).astype(np.float32)
"""One field of noise; samples take windows of it, which is ten times faster than drawing anew."""

LEAST_SPREAD = 7.0
"""Standard deviation, in grey levels, that relighting leaves a picture at the least."""


def relight(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change exposure, contrast and gamma, and lay an uneven light or a back light over (float32, 0..255)."""
    if rng.random() < 0.3:
        rows, columns = picture.shape
        grid = rng.uniform(0.35, 1.3, (int(rng.integers(2, 4)), int(rng.integers(2, 4)))).astype(np.float32)
        picture = picture * cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_LINEAR)
    levels = np.arange(256, dtype=np.float32) / 255
    if rng.random() < 0.8:
        levels = levels ** float(np.exp(rng.normal(0, 0.3)))
        middle = float(rng.uniform(0.3, 0.7))
        levels = (levels - middle) * float(np.exp(rng.normal(0, 0.25))) + middle + float(rng.normal(0, 0.08))
    dark = rng.random() < 0.12
    if dark:
        levels = levels * float(rng.uniform(0.08, 0.4))
    table = np.clip(levels * 255, 0, 255).astype(np.float32)
    picture = cv2.LUT(np.clip(picture, 0, 255).astype(np.uint8), table)
    spread = float(picture.std())
    if 0.1 < spread < LEAST_SPREAD:  # darker than this nothing is left to be seen
        picture = np.clip(
            (picture - picture.mean()) * (LEAST_SPREAD / spread) + max(12.0, float(picture.mean())), 0, 255
        )
    if dark:
        picture = add_noise(picture, rng, float(rng.uniform(1, 6)))
    return picture


def add_noise(picture: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Add sensor noise of `sigma` grey levels."""
    rows, columns = picture.shape
    y, x = int(rng.integers(0, 513 - rows)), int(rng.integers(0, 513 - columns))
    return picture + sigma * _NOISE[y : y + rows, x : x + columns]


def motion_blur(picture: np.ndarray, length: int, angle: float) -> np.ndarray:
    """Smear along `angle` (radians) over `length` pixels."""
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * middle
    start = tuple(int(v) for v in np.rint(middle - reach))
    end = tuple(int(v) for v in np.rint(middle + reach))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def soften(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take away detail: out of focus, moving, or from a camera of fewer pixels."""
    kind = rng.random()
    if kind < 0.2:
        return cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.8)))
    if kind < 0.3:
        return motion_blur(picture, int(rng.integers(3, 8)), float(rng.uniform(0, np.pi)))
    if kind < 0.42:
        rows, columns = picture.shape
        share = float(rng.uniform(0.35, 0.8))
        small = cv2.resize(picture, (round(columns * share), round(rows * share)), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return picture


def compress(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pass through JPEG."""
    _, encoded = cv2.imencode(
        ".jpg", np.clip(picture, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 75))]
    )
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE).astype(np.float32)


def webcam(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the picture as a webcam might have taken it, float32, 0..255."""
    picture = soften(relight(picture, rng), rng)
    if rng.random() < 0.6:
        picture = add_noise(picture, rng, float(rng.exponential(4)))
    if rng.random() < 0.2:
        picture = compress(picture, rng)
    return np.clip(picture, 0, 255)


def cover(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put something over a part of a face: a mask, dark glasses, a hat, a hand or a plain patch.

    Parameters
    ----------
    picture
        Grey, float32; a changed copy is returned.
    points
        (49, 2) pixels in `picture`.
    """
    picture = picture.copy()
    eyes = (points[[0, 8]].mean(0), points[[16, 24]].mean(0))
    across = eyes[1] - eyes[0]
    distance = float(np.hypot(*across))
    level = float(rng.choice([rng.uniform(0, 60), rng.uniform(60, 255)]))
    kind = rng.random()

    def fill(polygon: np.ndarray, shade: float) -> None:
        mask = np.zeros(picture.shape, np.uint8)
        cv2.fillPoly(mask, [np.rint(polygon).astype(np.int32)], 255)
        rows, columns = picture.shape
        y, x = int(rng.integers(0, 513 - rows)), int(rng.integers(0, 513 - columns))
        texture = shade + float(rng.uniform(0, 20)) * cv2.GaussianBlur(
            _NOISE[y : y + rows, x : x + columns], (0, 0), 2
        )
        picture[mask > 0] = texture[mask > 0]

    if kind < 0.25:
        top = points[42] * 0.6 + (eyes[0] + eyes[1]) / 2 * 0.4
        fill(
            np.stack(
                [points[47] * 0.6 + top * 0.4, top, points[48] * 0.6 + top * 0.4]
                + [points[48] * 0.5 + points[46] * 0.5 + (points[46] - points[42]) * 0.1]
                + [points[46] + (points[46] - points[42]) * 0.1]
                + [points[47] * 0.5 + points[46] * 0.5 + (points[46] - points[42]) * 0.1]
            ),
            level,
        )
    elif kind < 0.4:
        tint = float(rng.uniform(0.1, 0.7))
        mask = np.zeros(picture.shape, np.float32)
        tilt = float(np.degrees(np.arctan2(across[1], across[0])))
        for eye in eyes:
            axes = (distance * float(rng.uniform(0.3, 0.42)), distance * float(rng.uniform(0.22, 0.36)))
            cv2.ellipse(mask, (tuple(map(float, eye)), (2 * axes[0], 2 * axes[1]), tilt), 1.0, -1)
        picture = picture * (1 - mask * (1 - tint)) + mask * tint * float(rng.uniform(0, 30))
    elif kind < 0.55:
        down = points[45] - points[46]
        brow = points[45] * 0.7 + (eyes[0] + eyes[1]) / 2 * 0.3
        fill(
            np.stack(
                [brow - across * 1.3, brow + across * 1.3, brow + across * 1.3 + down, brow - across * 1.3 + down]
            ),
            level,
        )
    else:
        centre = points[rng.integers(0, len(points))] + rng.normal(0, 0.3, 2) * distance
        angle = rng.uniform(0, np.pi)
        half = rng.uniform(0.15, 0.7, 2) * distance
        u = np.array([np.cos(angle), np.sin(angle)])
        v = np.array([-u[1], u[0]])
        fill(
            np.stack([centre + a * half[0] * u + b * half[1] * v for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]),
            level,
        )
    return picture


def draw_glasses(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a frame round both eyes, with or without a reflection."""
    picture = picture.copy()
    eyes = (points[[0, 8]].mean(0), points[[16, 24]].mean(0))
    across = eyes[1] - eyes[0]
    distance = float(np.hypot(*across))
    tilt = float(np.degrees(np.arctan2(across[1], across[0])))
    size = (2 * distance * float(rng.uniform(0.3, 0.42)), 2 * distance * float(rng.uniform(0.2, 0.36)))
    thickness = max(1, round(distance * float(rng.uniform(0.01, 0.08))))
    level = float(rng.choice([rng.uniform(0, 70), rng.uniform(70, 230)]))
    for eye in eyes:
        cv2.ellipse(picture, (tuple(map(float, eye)), size, tilt), level, thickness, cv2.LINE_AA)
    inner = [eyes[0] + across * size[0] / 2 / distance, eyes[1] - across * size[0] / 2 / distance]
    ends = [tuple(int(v) for v in np.rint(p)) for p in inner]
    cv2.line(picture, ends[0], ends[1], level, thickness, cv2.LINE_AA)
    if rng.random() < 0.3:
        shine = np.zeros_like(picture)
        for eye in eyes:
            centre = eye + rng.normal(0, 0.12, 2) * distance
            spot = (float(rng.uniform(0.1, 0.35)) * distance, float(rng.uniform(0.05, 0.2)) * distance)
            cv2.ellipse(shine, (tuple(map(float, centre)), spot, float(rng.uniform(0, 180))), 1.0, -1)
        shine = cv2.GaussianBlur(shine, (0, 0), max(0.5, 0.03 * distance))
        picture = picture + shine * float(rng.uniform(40, 160))
    return picture


def close_eyes(picture: np.ndarray, points: np.ndarray, share: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Pull the upper lids down by a share of the opening, over the iris, which stays where it is.

    The skin between lid and brow is stretched with the lid, so lashes and the line of the lid come along.

    Parameters
    ----------
    picture
        Grey, float32, eyes roughly level.
    points
        (49, 2) pixels in `picture`.
    share
        0 as it is, 1 shut; [right, left].

    Returns
    -------
    tuple
        The picture and the points, both changed copies.
    """
    rows, columns = picture.shape
    picture, points = picture.copy(), points.copy()
    for first, closed in zip((0, 16), share, strict=True):
        if closed <= 0:
            continue
        upper = points[first : first + 9]
        lower = points[[first] + list(range(first + 15, first + 7, -1))]
        order = np.argsort(upper[:, 0])
        x0, x1 = float(upper[:, 0].min()), float(upper[:, 0].max())
        width = x1 - x0
        left, right = max(0, int(x0 - 1)), min(columns, int(x1 + 2))
        if width < 3 or right - left < 3:
            continue
        x = np.arange(left, right, dtype=np.float32)
        lid = np.interp(x, upper[order, 0], upper[order, 1])
        order_lower = np.argsort(lower[:, 0])
        floor = np.interp(x, lower[order_lower, 0], lower[order_lower, 1])
        drop = np.clip(floor - lid, 0, None) * closed
        reach = 0.45 * width
        top = max(0, int(lid.min() - reach))
        bottom = min(rows, int(floor.max() + 2))
        if bottom - top < 3:
            continue
        y = np.arange(top, bottom, dtype=np.float32)[:, None]
        ceiling, new_lid = lid - reach, lid + drop
        stretched = ceiling + (y - ceiling) * reach / (reach + drop)
        source = np.where((y > ceiling) & (y < new_lid), stretched, y).astype(np.float32)
        picture[top:bottom, left:right] = cv2.remap(
            picture,
            np.broadcast_to(x, source.shape).astype(np.float32),
            source,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        points[first + 1 : first + 8, 1] += closed * np.clip(
            np.interp(points[first + 1 : first + 8, 0], lower[order_lower, 0], lower[order_lower, 1])
            - points[first + 1 : first + 8, 1],
            0,
            None,
        )
    return picture, points
