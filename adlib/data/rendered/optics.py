"""Light and camera of the built-in images: diffuse light, metal, lens, film and grain; all ours."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from adlib.data.rendered.fields import Plane, Rng, pixels

Colour = Float[np.ndarray, "h w 3"]

# that metal mirrors: how far they are turned, their height, power and how sharp they are
LAMPS = ((0, 0.55, 1.0, 9), (2.3, 0.3, 0.5, 6), (4, 0.8, 0.4, 14))


def blur(picture: Float[np.ndarray, "h w *c"], sigma: float) -> Float[np.ndarray, "h w *c"]:
    """Gaussian blur by `sigma` pixels, cut off at three of them."""
    from scipy import ndimage  # here, since it takes longer to import than the rest of adlib

    sigmas = (sigma, sigma, 0)[: picture.ndim]
    return ndimage.gaussian_filter(picture, sigmas, mode="nearest", truncate=3)


def moved(plane: Plane, dy: float, dx: float) -> Plane:
    """A plane moved by whole pixels, to the nearest; what leaves comes in on the other side."""
    return np.roll(plane, (round(dy), round(dx)), axis=(0, 1))


def lambert(height: Plane, azimuth: float, elevation: float) -> Plane:
    """Diffuse light on a relief given in pixels; 1 on a level surface."""
    dy, dx = np.gradient(height)  # in pixels
    facing = np.sin(azimuth) * dy + np.cos(azimuth) * dx
    lit = (1.0 + facing / np.tan(elevation)) / np.sqrt(1.0 + dy * dy + dx * dx)
    return np.maximum(lit, 0.0)


def metal(ny: Plane, nx: Plane, nz: Plane, azimuth: float) -> Plane:
    """What a polished surface of the given unit normals mirrors: a dim room with three lamps."""
    ry, rx, rz = 2 * nz * ny, 2 * nz * nx, 2 * nz * nz - 1  # viewed from straight above
    light = 0.16 + 0.12 * rz
    for turned, height, power, tightness in LAMPS:
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
    def draw(cls, rng: Rng) -> "Camera":
        """A camera in the hand of a tired operator."""
        return cls(
            gain=rng.uniform(0.85, 1.15),
            balance=(rng.uniform(0.96, 1.04), 1.0, rng.uniform(0.96, 1.04)),
            falloff=(rng.normal(0, 0.12), rng.normal(0, 0.12)),
            vignette=rng.uniform(0.05, 0.3),
            blur=rng.uniform(0.45, 0.9),
            grain=rng.uniform(1.0, 2.4),
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

    def speckle(self, rng: Rng, levels: Colour) -> Colour:
        """Grain in levels for a developed image, coarser and stronger in the light."""
        h, w, _ = levels.shape
        # the sum of four bytes is close to normal, many times faster, and the same everywhere
        dice = np.frombuffer(rng.bytes((h + 1) * (w + 1) * 16), np.uint8)
        sums = dice.reshape(4, h + 1, w + 1, 4).sum(axis=0, dtype=np.int32)  # h+1 w+1 4
        soft = 2 * sums[:-1, :-1, :3] + sums[1:, :-1, :3] + sums[:-1, 1:, :3]  # h w 3
        mixed = soft + (2 * sums[1:, 1:, 3:] - 6 * 510)  # one part common to the channels
        # variance: (4 + 1 + 1 + 4) times that of four bytes, 4 * (256**2 - 1) / 12
        return mixed * (self.grain / 467.4) * (0.6 + 0.0031 * levels)


def quantise(levels: Colour) -> UInt8[np.ndarray, "h w 3"]:
    """Levels to bytes."""
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
