"""Built-in object: the mouth of an amber glass bottle from above, whole or with a defect; ours."""

import numpy as np

from adlib.data.rendered.fields import Place, Plane, Rng, Spot, fractal, noise, pixels, step
from adlib.data.rendered.marks import blotch, grains, line, stroke
from adlib.data.rendered.optics import Colour, blur, metal, paint, tint

# Along a radius, in radii of the bottle: how much light of the table below comes through, and how
# far the surface leans outwards (the sine of its angle); from the base over lip and thread to the
# shoulder. Drawn after no particular bottle.
AT = (0.0, 0.20, 0.25, 0.29, 0.32, 0.36, 0.385, 0.41, 0.46, 0.51, 0.545, 0.57, 0.61, 0.66, 0.70,
      0.73, 0.80, 0.90, 0.96, 1.0)  # fmt: skip
THROUGH = (0.86, 0.80, 0.42, 0.84, 0.58, 0.26, 0.04, 0.15, 0.24, 0.13, 0.03, 0.08, 0.12, 0.08, 0.02,
           0.06, 0.11, 0.07, 0.03, 0.01)  # fmt: skip
LEAN = (0.0, 0.02, 0.35, -0.25, 0.0, 0.0, -0.75, -0.65, 0.0, 0.65, 0.90, 0.25, 0.05, 0.25, 0.75,
        0.35, 0.42, 0.62, 0.82, 0.97)  # fmt: skip
THREAD = 0.018  # half the width of the thread
# two square lamps: turned by, from and to along their way, half as wide as, power
WINDOWS = ((0.0, 0.42, 0.80, 0.42, 1.0), (2.6, 0.30, 0.48, 0.30, 0.6))


def bottle(scene: Rng, size: int, defect: str, flaw: Rng) -> Colour:
    """An open bottle on a light table, with lamps above; thread and seams stand at any angle.

    Defects: bubble (small and clear, in the glass), chip (off the lip), crack (from the lip
    outwards), dirt (a particle or a fibre).
    """
    y, x = pixels(size)
    centre = (0.5 + scene.normal(0, 0.012), 0.5 + scene.normal(0, 0.012))
    radius = scene.uniform(0.405, 0.425)
    dy, dx = y - centre[0], x - centre[1]
    far = np.hypot(dy, dx) / radius
    around = np.arctan2(dy, dx)
    uneven = 0.006 * noise(scene, (3, 3), y, x, order=3) + 0.002 * noise(scene, (11, 11), y, x, 3)
    place = far + uneven * step(far, 0.05, 0.3)
    at = _spot(flaw, defect, centre, radius)
    through = np.interp(place, AT, THROUGH)
    lean = np.interp(place, AT, LEAN)

    # one turn of thread, that rises from nothing and runs out again
    turned = ((around + scene.uniform(0, 2 * np.pi)) / (2 * np.pi)) % 1
    across = (place - 0.595 - 0.060 * turned) / THREAD
    ridge = np.exp(-across * across) * step(turned, 0.0, 0.06) * (1 - step(turned, 0.94, 1.0))
    lean = lean + 1.1 * across * ridge
    through = through * (1 - 0.35 * ridge * np.abs(across)) + 0.06 * ridge
    seam = scene.uniform(0, np.pi)
    off = np.abs(np.cos(seam) * dy - np.sin(seam) * dx)  # the mould's two halves meet here
    seams = np.exp(-((off / 0.0030) ** 2)) * step(far, 0.42, 0.50)
    through = through * (1 + 0.30 * seams)
    knurls = np.sin(around * 40 + scene.uniform(0, 6)) * step(far, 0.19, 0.21)
    through = through * (1 + 0.22 * knurls * (1 - step(far, 0.25, 0.27)))
    ripple = fractal(scene, (16, 16), y, x, octaves=3)
    through = through * (1 + 0.05 * ripple + 0.10 * noise(scene, (4, 4), y, x, order=3))

    out_y, out_x = np.sin(around), np.cos(around)
    tilt = 0.020 * noise(scene, (7, 7), y, x, order=3), 0.020 * noise(scene, (7, 7), y, x, order=3)
    lean = np.clip(lean + 0.008 * ripple, -0.97, 0.97)
    broken, shells = _chip(flaw, y, x, at) if defect == "chip" else (0 * far, 0 * far)
    if defect == "bubble":
        through = through * (1 + _bubble(flaw, y, x, at))
    ny, nx = lean * out_y + tilt[0] + 0.9 * shells, lean * out_x + tilt[1] + 0.7 * shells
    nz = np.sqrt(np.maximum(1 - ny * ny - nx * nx, 0.02))
    lamp = scene.normal(0.9, 0.10)  # the lamps hang where they hang
    mirrored = metal(ny, nx, nz, lamp)
    shiny = 0.10 + 0.34 * step(far, 0.36, 0.42) - 0.12 * step(far, 0.70, 0.80)
    deep = scene.normal(1, 0.06)
    light = np.maximum(through * (1 - 0.4 * broken), 0.002)
    dyes = ((0.95, 0.62), (0.86, 1.25), (0.72, 2.6))  # strength and depth of red, green and blue
    amber = np.stack([share * light ** (power * deep) for share, power in dyes], axis=2)
    reflected = np.maximum(mirrored - 0.22, 0) * shiny + 0.42 * _windows(ny, nx, nz, lamp)
    glass = amber + tint(reflected + 0.010, (1.0, 0.99, 0.96))
    glass = paint(glass, tint(0.14 + 1.10 * mirrored, (1.0, 0.86, 0.62)), 0.90 * broken)
    if defect == "crack":
        angle = np.arctan2(at[0] - centre[0], at[1] - centre[1]) + flaw.normal(0, 0.5)
        d, t = stroke(flaw, y, x, at, float(angle), flaw.uniform(0.10, 0.24), 0.16)
        width = flaw.uniform(0.0028, 0.0048)
        glass = glass * (1 - 0.55 * line(np.abs(d - 1.6 * width), t, 1.2 * width)[..., None])
        bright = line(d, t, width) * (0.55 + 0.45 * grains(flaw, y, x, 60, -0.8))
        glass = paint(glass, glass * 0.6 + np.array([0.48, 0.40, 0.28]), bright)
    table = 0.86 * (1 + 0.010 * fractal(scene, (5, 5), y, x) + 0.006 * ripple)
    body = np.clip((1.0 - place) * radius * size + 0.5, 0, 1)
    dim = blur(body, 0.035 * size)
    picture = paint(tint(table * (1 - 0.30 * dim), (1.0, 1.0, 0.985)), glass, body)
    if defect == "dirt":
        picture = _dirt(flaw, y, x, at, picture)
    return picture


def _windows(ny: Plane, nx: Plane, nz: Plane, lamp: float) -> Plane:
    """The sharp mirror images of two square lamps beside the bottle."""
    light = np.zeros(ny.shape)
    for turned, low, high, half, power in WINDOWS:
        ly, lx = np.sin(lamp + turned), np.cos(lamp + turned)
        along, across = 2 * nz * (ny * ly + nx * lx), 2 * nz * (nx * ly - ny * lx)
        lit = step(along, low, low + 0.05) * (1 - step(along, high - 0.05, high))
        light += power * lit * (1 - step(np.abs(across), half - 0.05, half))
    return light


def _spot(flaw: Rng, defect: str, centre: Spot, radius: float) -> Spot:
    """Where a defect of this kind may be: chips and cracks at the lip, the others anywhere."""
    ranges = {"chip": (0.52, 0.57), "crack": (0.48, 0.66), "dirt": (0.05, 0.85)}
    low, high = ranges.get(defect, (0.42, 0.92))
    if defect == "chip" and flaw.random() < 0.35:
        low, high = 0.38, 0.42  # the inner edge
    far, angle = radius * flaw.uniform(low, high), flaw.uniform(0, 2 * np.pi)
    return centre[0] + far * float(np.sin(angle)), centre[1] + far * float(np.cos(angle))


def _chip(flaw: Rng, y: Place, x: Place, at: Spot) -> tuple[Plane, Plane]:
    """Where glass broke off, and how the shell-like waves of the break lean."""
    radius = flaw.uniform(0.030, 0.065)
    gone = blotch(flaw, y, x, at, radius, 0.35, 0.10)
    origin = (at[0] + flaw.normal(0, radius), at[1] + flaw.normal(0, radius))
    away = np.hypot(y - origin[0], x - origin[1]) / radius
    waves = np.sin(9 * away + 1.5 * noise(flaw, (30, 30), y, x, order=3))
    return gone, gone * (0.30 * waves + 0.20 * noise(flaw, (45, 45), y, x, order=3))


def _bubble(flaw: Rng, y: Place, x: Place, at: Spot) -> Plane:
    """Relative change of the light through one to three blown bubbles: bright core, dark rim."""
    change = np.zeros(np.broadcast_shapes(y.shape, x.shape))
    for k in range(int(flaw.integers(1, 4))):
        radius = flaw.uniform(0.010, 0.022) * (1.0 if k == 0 else 0.6)
        py, px = at[0] + k * flaw.normal(0, 0.025), at[1] + k * flaw.normal(0, 0.025)
        angle, long = flaw.uniform(0, np.pi), flaw.uniform(1.0, 1.6)
        a = (np.cos(angle) * (y - py) - np.sin(angle) * (x - px)) / radius
        b = (np.cos(angle) * (x - px) + np.sin(angle) * (y - py)) / (radius * long)
        r = np.hypot(a, b)
        change += 1.6 * np.exp(-((r / 0.5) ** 2)) - 0.75 * np.exp(-(((r - 0.95) / 0.28) ** 2))
    return np.maximum(change, -0.8)


def _dirt(flaw: Rng, y: Place, x: Place, at: Spot, picture: Colour) -> Colour:
    """A dark crumb, or a fibre, that lies in or on the bottle."""
    if flaw.random() < 0.4:
        d, t = stroke(flaw, y, x, at, flaw.uniform(0, np.pi), flaw.uniform(0.12, 0.26), 0.40, 14)
        fibre = line(d, t, flaw.uniform(0.0028, 0.0044))
        gray = flaw.choice([0.05, 0.45])
        return paint(picture, tint(gray + 0.0 * d, (1.0, 0.97, 0.92)), 0.85 * fibre)
    crumb = blotch(flaw, y, x, at, flaw.uniform(0.016, 0.042), 0.45, 0.35)
    dark = 0.045 * (1 + 0.5 * noise(flaw, (70, 70), y, x, order=3))
    return paint(picture, tint(np.maximum(dark, 0.01), (1.15, 1.0, 0.85)), 0.93 * crumb)
