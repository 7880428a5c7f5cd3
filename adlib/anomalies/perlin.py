"""Perlin noise: where a simulated anomaly lies and what shape it has.

At each point of a lattice stands a unit vector. A place between four of them gets, from each, the
dot product of its vector with the way from its point to the place, and the four are mixed smoothly.
The noise is zero at every lattice point, and continuous with its first two derivatives.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

STEEPNESS = 2**0.5  # noise of unit vectors stays below 1 / sqrt 2; DRAEM's code scales it so
EXPONENTS = (0, 5)  # cells an axis: 1, 2, 4, ..., 32; unofficial code and DiffusionAD (as in DRAEM)
TURN = 90.0  # degrees, drawn from both signs; unofficial code and DiffusionAD
THRESHOLD = 0.5  # of the scaled noise; unofficial code and DiffusionAD


def gradients(rng: np.random.Generator, shape: tuple[int, int]) -> Float[np.ndarray, "r c 2"]:
    """Unit vectors (along y, along x) of evenly drawn directions at r x c lattice points."""
    angle = rng.uniform(0, 2 * np.pi, shape)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def noise(
    lattice: Float[np.ndarray, "r c 2"], v: Float[np.ndarray, "h w"], u: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Perlin noise at places given in cells of the lattice, between -1 and 1.

    With the cell's corners $a, b \\in \\{0, 1\\}$, the place $(s, t)$ in the cell, the vectors $g$
    and $f(t) = 6t^5 - 15t^4 + 10t^3$:
    $$n = \\sqrt2 \\sum_{a,b} f(1 - |s - a|)\\, f(1 - |t - b|)\\; g_{ab} \\cdot (s - a, t - b)$$

    Equation :eq:`eq-perlin`, chapter 8.

    Args:
        lattice: Unit vectors as from `gradients`.
        v: Along y, in [0, r - 1].
        u: Along x, in [0, c - 1].
    Source: Perlin, Improving noise, SIGGRAPH 2002; the factor is DRAEM's (ICCV 2021).
    """
    rows, columns = lattice.shape[:2]
    kind = np.result_type(v, np.complex64)
    flat = (lattice[..., 0] + 1j * lattice[..., 1]).ravel().astype(kind)  # one look-up a corner
    i = np.minimum(v.astype(np.int64), rows - 2)
    j = np.minimum(u.astype(np.int64), columns - 2)
    s, t = (v - i).astype(v.dtype), (u - j).astype(v.dtype)
    down, right = (x * x * x * (x * (x * 6 - 15) + 10) for x in (s, t))  # f, in both directions
    at = i * columns + j
    sides = []  # the upper and the lower side of each cell, from its left and its right corner
    for a in (0, 1):
        g0, g1 = flat.take(at + a * columns), flat.take(at + a * columns + 1)
        left = np.real(g0) * (s - a) + np.imag(g0) * t
        sides.append(left + right * (np.real(g1) * (s - a) + np.imag(g1) * (t - 1) - left))
    return STEEPNESS * (sides[0] + down * (sides[1] - sides[0]))


def field(
    rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int], degrees: float
) -> Float[np.ndarray, "h w"]:
    """Perlin noise over an image of any size, on a lattice turned about the image's middle.

    Args:
        rng: Draws the vectors.
        size: Height and width.
        cells: How many cells the image would be high and wide if the lattice were not turned.
        degrees: By how much it is turned. The noise goes on beyond the image, so that no corner
            of a turned one stays empty; ours.
    """
    h, w = size
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    y = np.arange(h, dtype=np.float32)[:, None] - h / 2  # single precision: half the time
    x = np.arange(w, dtype=np.float32)[None, :] - w / 2
    v = ((c * y - s * x) / h + 0.5) * cells[0]  # h w
    u = ((s * y + c * x) / w + 0.5) * cells[1]
    v -= np.floor(v.min())  # whole cells, so that the lattice stays where it is
    u -= np.floor(u.min())
    shape = int(np.floor(v.max())) + 2, int(np.floor(u.max())) + 2
    return noise(gradients(rng, shape), v, u)


def perlin_mask(
    rng: np.random.Generator, size: tuple[int, int], exponents: tuple[int, int] = EXPONENTS
) -> Bool[np.ndarray, "h w"]:
    """Where a noise of drawn coarseness and direction exceeds `THRESHOLD`; may be empty.

    Args:
        rng: Draws both numbers of cells, the angle and the noise.
        size: Height and width.
        exponents: Cells along y and x are 2 to the power of a whole number from this range.
    """
    a, b = rng.integers(exponents[0], exponents[1], size=2, endpoint=True)
    return field(rng, size, (2 ** int(a), 2 ** int(b)), rng.uniform(-TURN, TURN)) > THRESHOLD
