"""Places, planes and seeded noise: what the built-in images are drawn with.

Arrays are float64 and no step uses BLAS or a Fourier transform, so that bytes agree between
platforms as far as their sines do: values are rounded once, at the end.
"""

import numpy as np
from jaxtyping import Float, Int

Rng = np.random.Generator
Spot = tuple[float, float]  # (y, x)
Plane = Float[np.ndarray, "h w"]
Place = Float[np.ndarray, "#h #w"]  # a coordinate; one that varies along one axis may be thin


def pixels(size: int) -> tuple[Float[np.ndarray, "h 1"], Float[np.ndarray, "1 w"]]:
    """Rows y and columns x of the pixel centres of a square image, in (0, 1)."""
    axis = (np.arange(size) + 0.5) / size
    return axis[:, None], axis[None, :]


def turn(y: Place, x: Place, centre: Spot, angle: float) -> tuple[Plane, Plane]:
    """Coordinates (across, along) of an axis through `centre` (y, x) at `angle` radians to x."""
    c, s = np.cos(angle), np.sin(angle)
    dy, dx = y - centre[0], x - centre[1]
    return c * dy - s * dx, c * dx + s * dy


def step(value: Plane, low: float | Plane, high: float | Plane) -> Plane:
    """0 below low, 1 above high, a smooth cubic between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def noise(rng: Rng, cells: tuple[int, int], y: Place, x: Place, order: int = 1) -> Plane:
    """Smooth random field of about unit variance with so many cells in a unit of y and x.

    Interpolates a periodic lattice of standard normal values; order 3 is smoother and slower.
    """
    lattice = np.pad(rng.standard_normal(cells), (1, 2), mode="wrap")
    rows, columns = _taps(y, cells[0], order), _taps(x, cells[1], order)
    field = np.zeros(np.broadcast_shapes(y.shape, x.shape))
    if y.shape[1] == 1 and x.shape[0] == 1:  # one axis after the other is ten times faster
        thin = np.zeros((y.shape[0], lattice.shape[1]))
        for i, weight in rows:
            thin += weight * lattice[i[:, 0]]  # h cells
        for j, weight in columns:
            field += weight * thin[:, j[0]]  # h w
    else:
        flat, width = lattice.ravel(), lattice.shape[1]
        for i, down in rows:
            start = i * width
            for j, right in columns:
                field += down * right * flat.take(start + j)  # h w
    # mean square of the interpolation weights: 2/3 an axis for lines, 0.479 for cubic B-splines
    return field * (1.5 if order == 1 else 2.09)


def _taps(
    place: Place, cells: int, order: int
) -> list[tuple[Int[np.ndarray, "#h #w"], Float[np.ndarray, "#h #w"]]]:
    """Index, in a lattice padded by 1 before, and weight of the lattice points around a place."""
    place = place * cells
    whole = np.floor(place)
    t = place - whole
    i = whole.astype(np.int64) % cells + 1
    if order == 1:
        return [(i, 1 - t), (i + 1, t)]
    s, tt = 1 - t, t * t
    return [
        (i - 1, s * s * s / 6),
        (i, (4 - 6 * tt + 3 * tt * t) / 6),
        (i + 1, (1 + 3 * t + 3 * tt - 3 * tt * t) / 6),
        (i + 2, tt * t / 6),
    ]


def fractal(rng: Rng, cells: tuple[int, int], y: Place, x: Place, octaves: int = 4) -> Plane:
    """Sum of noise fields, each twice as fine and half as strong; about unit variance."""
    total, power = np.zeros(np.broadcast_shapes(y.shape, x.shape)), 0.0
    for k in range(octaves):
        scaled = (cells[0] << k, cells[1] << k)
        total += 0.5**k * noise(rng, scaled, y, x, order=3 if k == 0 else 1)
        power += 0.25**k
    return total / np.sqrt(power)
