"""Shapes: strokes and blotches that defects are made of, and plates with round corners; ours."""

import numpy as np

from adlib.data.rendered.fields import Place, Plane, Rng, Spot, fractal, noise, step


def spot(rng: Rng, margin: float = 0.15) -> Spot:
    """A place (y, x) at least `margin` away from the border."""
    y, x = rng.uniform(margin, 1 - margin, size=2)
    return float(y), float(x)


def stroke(
    rng: Rng,
    y: Place,
    x: Place,
    start: Spot,
    angle: float,
    length: float,
    jitter: float,
    pieces: int = 10,
) -> tuple[Plane, Plane]:
    """Distance to a wandering line, and the place 0..1 along it of the nearest point.

    Args:
        start: Its middle (y, x).
        angle: Mean direction in radians to the x axis.
        jitter: Standard deviation in radians by which each piece turns away.
    """
    turns = angle + np.cumsum(rng.normal(0, jitter, pieces))
    dy, dx = np.sin(turns), np.cos(turns)
    py = np.concatenate([[0.0], np.cumsum(dy)]) * (length / pieces)
    px = np.concatenate([[0.0], np.cumsum(dx)]) * (length / pieces)
    py, px = py - py[pieces // 2] + start[0], px - px[pieces // 2] + start[1]
    shape = np.broadcast_shapes(y.shape, x.shape)
    best, along = np.full(shape, np.inf), np.zeros(shape)
    for k in range(pieces):
        ry, rx = y - py[k], x - px[k]
        t = np.clip((ry * dy[k] + rx * dx[k]) * (pieces / length), 0, 1)
        gap = (ry - t * (py[k + 1] - py[k])) ** 2 + (rx - t * (px[k + 1] - px[k])) ** 2
        along = np.where(gap < best, (k + t) / pieces, along)
        best = np.minimum(best, gap)
    return np.sqrt(best), along


def line(distance: Plane, along: Plane, width: float) -> Plane:
    """Strength 0..1 of a line that is `width` wide in the middle and thins out to its ends."""
    taper = width * (0.35 + 0.65 * np.sqrt(np.clip(4 * along * (1 - along), 0, 1)))
    return np.clip(1.5 - distance / taper, 0, 1)


def blotch(
    rng: Rng,
    y: Place,
    x: Place,
    centre: Spot,
    radius: float,
    roughness: float = 0.3,
    soft: float = 0.25,
) -> Plane:
    """An uneven spot: 1 inside, 0 outside, with an edge of `soft` radii."""
    stretch, angle = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
    dy, dx = (y - centre[0]) / radius, (x - centre[1]) / radius
    a, b = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    edge = 1 + roughness * fractal(rng, (7, 7), y, x, octaves=4)
    return step(edge - np.sqrt(a * a + (b / stretch) ** 2), 0.0, soft)


def grains(rng: Rng, y: Place, x: Place, cells: int, level: float) -> Plane:
    """Small grains, 1 where a noise field of so many cells is well above `level`."""
    return step(noise(rng, (cells, cells), y, x, order=3), level, level + 0.8)


def outside(v: Place, u: Place, high: float, wide: float, corner: float) -> Plane:
    """Distance from a rectangle around 0 with round corners; negative inside it."""
    near, far = np.abs(v) - high / 2 + corner, np.abs(u) - wide / 2 + corner
    beyond = np.hypot(np.maximum(near, 0), np.maximum(far, 0))
    return beyond + np.minimum(np.maximum(near, far), 0) - corner
