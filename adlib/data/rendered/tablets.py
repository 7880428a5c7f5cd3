"""Built-in object: a blister of tablets, whole or with a defect; ours."""

import numpy as np

from adlib.data.rendered.fields import Place, Plane, Rng, fractal, noise, pixels, step, turn
from adlib.data.rendered.marks import blotch, outside
from adlib.data.rendered.optics import Colour, blur, lambert, metal, moved, paint, tint

ROWS, COLUMNS = 3, 4
NIGHT = 3  # the last column holds tablets of another colour
PITCH = 0.205  # from pocket to pocket
POCKET, TABLET = 0.088, 0.066  # radii
HIGH, WIDE = 0.68, 0.89  # of the card
WHITE, BLUE, YELLOW = (0.80, 0.79, 0.76), (0.30, 0.46, 0.62), (0.82, 0.70, 0.42)


def blister(scene: Rng, size: int, defect: str, flaw: Rng) -> Colour:
    """Nine white tablets and a column of three blue ones under clear film, on a bench.

    Defects: broken (a piece is off), missing (a tablet), specks (small and dark, on a tablet),
    swapped (a white and a blue tablet have changed places), wrong (a tablet of another colour,
    without a score line; sometimes faint).
    """
    y, x = pixels(size)
    centre = (0.5 + scene.normal(0, 0.015), 0.5 + scene.normal(0, 0.015))
    v, u = turn(y, x, centre, scene.normal(0, 0.035))
    i = np.clip(np.rint(v / PITCH + (ROWS - 1) / 2), 0, ROWS - 1).astype(np.int64)
    j = np.clip(np.rint(u / PITCH + (COLUMNS - 1) / 2), 0, COLUMNS - 1).astype(np.int64)
    k = i * COLUMNS + j  # the pocket of each pixel
    dv, du = v - (i - (ROWS - 1) / 2) * PITCH, u - (j - (COLUMNS - 1) / 2) * PITCH
    lies = scene.normal(0, 0.005, size=(2, ROWS * COLUMNS))  # of each tablet in its pocket
    score = scene.uniform(0, np.pi, size=ROWS * COLUMNS)
    lamp = scene.uniform(0, 2 * np.pi)

    column = np.arange(ROWS * COLUMNS) % COLUMNS
    colours = np.where((column == NIGHT)[:, None], BLUE, WHITE)
    colours = colours * (1 + scene.normal(0, 0.015, size=(ROWS * COLUMNS, 1)))
    scored = np.ones(ROWS * COLUMNS)
    victim = int(flaw.integers(ROWS * COLUMNS))
    if defect == "swapped":
        day, night = int(flaw.choice(np.flatnonzero(column != NIGHT))), int(flaw.integers(ROWS))
        night = night * COLUMNS + NIGHT
        colours[[day, night]] = colours[[night, day]]
    if defect == "wrong":
        colours[victim] += flaw.uniform(0.35, 1.0) * (np.array(YELLOW) - colours[victim])
        scored[victim] = 0.0

    # tablets: flat discs with a bevel and a score line at any angle
    ty, tx = dv - lies[0][k], du - lies[1][k]
    inside = (TABLET - np.hypot(ty, tx)) * size  # pixels from the rim
    if defect == "broken":
        inside = np.where(k == victim, np.minimum(inside, _break(flaw, ty, tx, size)), inside)
    if defect == "missing":
        inside = np.where(k == victim, -size, inside)
    whole = np.clip(inside + 0.5, 0, 1)
    groove = np.abs(np.cos(score[k]) * ty - np.sin(score[k]) * tx) * size
    powder = fractal(scene, (120, 120), y, x, octaves=2)
    height = 0.016 * size * step(inside, 0.0, 0.020 * size)
    height = height - 0.009 * size * scored[k] * np.exp(-((groove / (0.0055 * size)) ** 2)) * whole
    light = lambert(height + 0.10 * powder, lamp, scene.uniform(0.95, 1.15))
    tops = colours[k] * (np.clip(light, 0.25, 1.6) * (1 + 0.010 * powder))[..., None]
    if defect == "specks":
        specks = _specks(flaw, ty, tx) * (k == victim)
        tops = paint(tops, tint(0.10 + 0.02 * powder, (1.15, 0.95, 0.75)), specks)

    card = _card(scene, y, x, v, u, lamp)
    thrown = moved(whole, -0.016 * np.sin(lamp) * size, -0.016 * np.cos(lamp) * size)
    under = card * (1 - 0.55 * blur(thrown, 0.010 * size))[..., None]
    picture = paint(under, tops, whole)

    # the clear film: a dome over each pocket that shades its rim and mirrors the lamps
    dent = 0.0020 * noise(scene, (14, 14), y, x, order=3)
    r = np.hypot(dv, du) + dent
    rim = np.exp(-(((r - POCKET) / 0.0060) ** 2))
    wall = np.exp(-(((r - POCKET + 0.013) / 0.0070) ** 2))
    away = (dv * np.sin(lamp) + du * np.cos(lamp)) / POCKET
    picture = picture * (1 - 0.22 * wall - 0.10 * rim)[..., None]
    slope = 0.75 * step(r, 0.45 * POCKET, POCKET) * (1 - step(r, POCKET, POCKET + 0.008))
    wobble = 0.10 * noise(scene, (30, 30), y, x, order=3), 0.10 * noise(scene, (30, 30), y, x, 3)
    ny, nx = slope * dv / POCKET + wobble[0] * slope, slope * du / POCKET + wobble[1] * slope
    mirror = metal(ny, nx, np.sqrt(np.maximum(1 - ny * ny - nx * nx, 0.05)), lamp)
    film = np.maximum(mirror - 0.28, 0) * 0.55 * step(slope, 0.02, 0.2) + 0.20 * rim * (0.6 + away)
    picture = picture + np.maximum(film, 0)[..., None]

    edge = outside(v, u, HIGH, WIDE, 0.04)
    cover = np.clip(0.5 - edge * size, 0, 1)
    fall = moved(cover, -0.012 * np.sin(lamp) * size, -0.012 * np.cos(lamp) * size)
    bench = 0.20 * (1 + 0.05 * fractal(scene, (140, 140), y, x, octaves=2))
    bench = bench * (1 + 0.04 * fractal(scene, (4, 4), y, x)) * (1 - 0.55 * blur(fall, 0.01 * size))
    picture = picture + (0.25 * np.exp(-((edge / 0.004) ** 2)))[..., None]  # the cut film shines
    return paint(tint(bench, (0.92, 1.0, 1.06)), picture, cover)


def _card(scene: Rng, y: Place, x: Place, v: Plane, u: Plane, lamp: float) -> Colour:
    """Aluminium foil with the fine knurls that sealed it, slightly crumpled."""
    size = len(y)
    knurls = np.sin(2 * np.pi * 62 * (u + v)) * np.sin(2 * np.pi * 62 * (u - v))
    crumple = noise(scene, (6, 6), y, x, order=3) + 0.4 * noise(scene, (17, 17), y, x, order=3)
    dy, dx = np.gradient(0.014 * size * crumple)
    fine = noise(scene, (170, 170), y, x)
    ny, nx = 0.9 * dy + 0.05 * knurls + 0.02 * fine, 0.9 * dx + 0.05 * knurls - 0.02 * fine
    shine = metal(ny, nx, np.sqrt(np.maximum(1 - ny * ny - nx * nx, 0.1)), lamp)
    foil = 0.10 + 0.72 * shine + 0.035 * knurls
    return tint(foil, (0.97, 0.99, 1.0)) * (1 + scene.normal(0, 0.01, size=3))


def _break(flaw: Rng, ty: Plane, tx: Plane, size: int) -> Plane:
    """Pixels from a ragged break, positive on the side that is left."""
    angle, left = flaw.uniform(0, 2 * np.pi), flaw.uniform(-0.1, 0.75) * TABLET
    ragged = 0.006 * fractal(flaw, (16, 16), ty + 0.5, tx + 0.5, octaves=3)
    return (left - (np.sin(angle) * ty + np.cos(angle) * tx) + ragged) * size


def _specks(flaw: Rng, ty: Plane, tx: Plane) -> Plane:
    """One to four dark specks on a tablet, in its own coordinates."""
    cover = np.zeros(ty.shape)
    for _ in range(int(flaw.integers(1, 5))):
        far, angle = TABLET * flaw.uniform(0, 0.75), flaw.uniform(0, 2 * np.pi)
        at = (float(far * np.sin(angle)), float(far * np.cos(angle)))
        speck = blotch(flaw, ty, tx, at, flaw.uniform(0.005, 0.011), 0.4, 0.5)
        cover = np.maximum(cover, flaw.uniform(0.45, 0.9) * speck)
    return cover
