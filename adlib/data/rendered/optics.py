"""Light and camera of the built-in images: noise fields, metal, shadows, lens, film and grain.

All of it is ours. Arrays are float64 and no step uses BLAS or a Fourier transform, so that bytes
agree between platforms as far as their sines do: values are rounded once, at the end.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

Plane = Float[np.ndarray, "h w"]
Place = Float[np.ndarray, "#h #w"]  # a coordinate; one that varies along one axis may be thin
Colour = Float[np.ndarray, "h w 3"]


def pixels(size: int) -> tuple[Float[np.ndarray, "h 1"], Float[np.ndarray, "1 w"]]:
    """Rows y and columns x of the pixel centres of a square image, in (0, 1)."""
    axis = (np.arange(size) + 0.5) / size
    return axis[:, None], axis[None, :]


def turn(y: Place, x: Place, centre: tuple[float, float], angle: float) -> tuple[Plane, Plane]:
    """Coordinates (across, along) of an axis through `centre` (y, x) at `angle` radians to x."""
    c, s = np.cos(angle), np.sin(angle)
    dy, dx = y - centre[0], x - centre[1]
    return c * dy - s * dx, c * dx + s * dy


def step(value: Plane, low: float | Plane, high: float | Plane) -> Plane:
    """0 below low, 1 above high, a smooth cubic between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def noise(
    rng: np.random.Generator, cells: tuple[int, int], y: Place, x: Place, order: int = 1
) -> Plane:
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


def fractal(
    rng: np.random.Generator, cells: tuple[int, int], y: Place, x: Place, octaves: int = 4
) -> Plane:
    """Sum of noise fields, each twice as fine and half as strong; about unit variance."""
    total, power = np.zeros(np.broadcast_shapes(y.shape, x.shape)), 0.0
    for k in range(octaves):
        scaled = (cells[0] << k, cells[1] << k)
        total += 0.5**k * noise(rng, scaled, y, x, order=3 if k == 0 else 1)
        power += 0.25**k
    return total / np.sqrt(power)


def blur(picture: Float[np.ndarray, "h w *c"], sigma: float) -> Float[np.ndarray, "h w *c"]:
    """Gaussian blur by `sigma` pixels, cut off at three of them."""
    from scipy import ndimage  # here, since it takes longer to import than the rest of adlib

    sigmas = (sigma, sigma, 0)[: picture.ndim]
    return ndimage.gaussian_filter(picture, sigmas, mode="nearest", truncate=3)


def moved(plane: Plane, dy: float, dx: float) -> Plane:
    """A plane moved by whole pixels, to the nearest; what leaves comes in on the other side."""
    return np.roll(plane, (round(dy), round(dx)), axis=(0, 1))


def slopes(height: Plane) -> tuple[Plane, Plane]:
    """Slope of a height in pixels, along y and x."""
    dy, dx = np.gradient(height)
    return dy, dx


def lambert(height: Plane, azimuth: float, elevation: float) -> Plane:
    """Diffuse light on a relief given in pixels; 1 on a level surface."""
    dy, dx = slopes(height)
    facing = np.sin(azimuth) * dy + np.cos(azimuth) * dx
    lit = (1.0 + facing / np.tan(elevation)) / np.sqrt(1.0 + dy * dy + dx * dx)
    return np.maximum(lit, 0.0)


def metal(ny: Plane, nx: Plane, nz: Plane, azimuth: float) -> Plane:
    """What a polished surface of the given unit normals mirrors: a dim room with three lamps."""
    ry, rx, rz = 2 * nz * ny, 2 * nz * nx, 2 * nz * nz - 1  # viewed from straight above
    light = 0.16 + 0.12 * rz
    for turned, height, power, tightness in (
        (0, 0.55, 1.0, 9),
        (2.3, 0.3, 0.5, 6),
        (4, 0.8, 0.4, 14),
    ):
        flat = np.sqrt(1 - height * height)
        ly, lx = flat * np.sin(azimuth + turned), flat * np.cos(azimuth + turned)
        lobe = 1 / (1 + tightness * (1 - ry * ly - rx * lx - rz * height))
        light += power * lobe * lobe
    return np.maximum(light, 0.02)


def paint(under: Colour, over: Colour, cover: Plane) -> Colour:
    """One picture over another where `cover` is 1."""
    return under + cover[..., None] * (over - under)


def tint(plane: Plane, colour: tuple[float, float, float]) -> Colour:
    """A plane of brightness in one linear RGB colour."""
    return plane[..., None] * np.asarray(colour)


@dataclass(frozen=True)
class Camera:
    """Light, lens and sensor of one photograph; drawn anew for every image."""

    gain: float
    balance: tuple[float, float, float]
    falloff: tuple[float, float]  # relative change of the light over the image, along y and x
    vignette: float
    blur: float  # standard deviation in pixels of a 256-pixel image
    grain: float  # standard deviation in levels of 255, at mid gray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Camera":
        """A camera in the hand of a tired operator."""
        return cls(
            gain=float(rng.uniform(0.85, 1.15)),
            balance=(float(rng.uniform(0.96, 1.04)), 1.0, float(rng.uniform(0.96, 1.04))),
            falloff=(float(rng.normal(0, 0.12)), float(rng.normal(0, 0.12))),
            vignette=float(rng.uniform(0.05, 0.3)),
            blur=float(rng.uniform(0.45, 0.9)),
            grain=float(rng.uniform(1.0, 2.4)),
        )

    def develop(self, radiance: Colour) -> Colour:
        """Linear light to display levels in (0, 255), without grain."""
        size = radiance.shape[0]
        y, x = pixels(size)
        y, x = y - 0.5, x - 0.5
        light = 1 + self.falloff[0] * y + self.falloff[1] * x - self.vignette * (y * y + x * x)
        linear = radiance * light[..., None] * (self.gain * np.asarray(self.balance))
        linear = np.maximum(blur(linear, self.blur * size / 256), 0.0)
        # a film's shoulder: above 0.7 highlights are compressed instead of clipped
        over = np.maximum(linear - 0.7, 0) / 0.3
        # gamma 2 instead of sRGB's 2.2: unlike a power, a square root has the same bits everywhere
        return 4.0 + 246.0 * np.sqrt(np.minimum(linear, 0.7) + 0.3 * over / (1 + over))

    def speckle(self, rng: np.random.Generator, levels: Colour) -> Colour:
        """Grain in levels for a developed image, coarser and stronger in the light."""
        h, w, _ = levels.shape
        # the sum of four bytes is close to normal, many times faster, and the same everywhere
        dice = np.frombuffer(rng.bytes((h + 1) * (w + 1) * 16), np.uint8)
        dice = dice.reshape(4, h + 1, w + 1, 4)
        sums = dice[0].astype(np.int32)  # h+1 w+1 4
        for k in (1, 2, 3):
            sums += dice[k]
        soft = 2 * sums[:-1, :-1, :3] + sums[1:, :-1, :3] + sums[:-1, 1:, :3]  # h w 3
        mixed = soft + (2 * sums[1:, 1:, 3:] - 6 * 510)  # one part common to the channels
        # variance: (4 + 1 + 1 + 4) times that of four bytes, 4 * (256**2 - 1) / 12
        return mixed * (self.grain / 467.4) * (0.6 + 0.0031 * levels)


def quantise(levels: Colour) -> UInt8[np.ndarray, "h w 3"]:
    """Levels to bytes."""
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
