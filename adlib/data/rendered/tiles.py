"""Built-in texture: a wall of small glazed tiles, whole or with a defect; ours."""

import numpy as np

from adlib.data.rendered.fields import Plane, Rng, fractal, noise, pixels, step, turn
from adlib.data.rendered.marks import blotch, grains, line, outside, spot, stroke
from adlib.data.rendered.optics import Colour, blur, lambert, metal, paint, tint

HALF, ROUND = 0.455, 0.07  # of a tile, and the radius of its corners, in tiles
GREEN, CREAM = (0.050, 0.185, 0.165), (0.66, 0.62, 0.52)


def tile(scene: Rng, size: int, defect: str, flaw: Rng) -> Colour:
    """A chequer of green and cream mosaic tiles in sanded grout, set and glazed by hand.

    Defects: chip (glaze is off at an edge), crack (a hairline), grout (some has fallen out),
    scratch (faint, on the glaze), swapped (two neighbours have changed places).
    """
    y, x = pixels(size)
    v, u = turn(y, x, (0.5, 0.5), scene.normal(0, 0.025))
    count = scene.uniform(5.3, 6.0)  # tiles across the image
    offset = scene.uniform(0, 32, size=2)
    v, u = v * count + offset[0] + 32, u * count + offset[1] + 32
    i, j = np.floor(v).astype(np.int64), np.floor(u).astype(np.int64)
    k = (i % 32) * 32 + j % 32  # a number of its own for each tile in sight
    lies = scene.normal(0, 1, size=(6, 32 * 32))
    at = spot(flaw, 0.2)
    row, column = (int(p * (size - 1)) for p in at)
    i0, j0 = int(i[row, column]), int(j[row, column])

    # the face of each tile in its own coordinates, a little shifted and turned
    fv, fu = v - i - 0.5 - 0.012 * lies[0][k], u - j - 0.5 - 0.012 * lies[1][k]
    fv, fu = fv - 0.012 * lies[2][k] * fu, fu + 0.012 * lies[2][k] * fv
    rim = 0.006 * noise(scene, (50, 50), y, x) - outside(fv, fu, 2 * HALF, 2 * HALF, ROUND)
    pixel = count / size
    face = np.clip(rim / pixel + 0.5, 0, 1)  # rim: tiles from the edge, positive on the face

    green = (i + j) % 2 == 0
    if defect == "swapped":
        down = int(flaw.integers(2))
        swapped = (k == k[row, column]) | ((i == i0 + down) & (j == j0 + 1 - down))
        green = green ^ swapped
    cloudy, fine = fractal(scene, (9, 9), y, x), fractal(scene, (70, 70), y, x, octaves=2)
    pooled = 1 - step(rim, 0.0, 0.05)  # glaze runs thin at the edges
    glaze = np.where(green[..., None], GREEN, CREAM)
    tone = 1 + 0.13 * lies[3][k] * (0.4 + 0.6 * green) + 0.06 * cloudy
    tone = tone + 0.02 * fine + np.where(green, 0.30, -0.12) * pooled
    glaze = glaze * np.maximum(tone, 0.2)[..., None]
    lamp = scene.normal(0.9, 0.15)  # the wall is lit from one side

    # a pillow with an uneven surface, set slightly askew, that mirrors the lamps
    swell = 0.045 * step(rim, 0.0, 0.09) - 0.05 * (fv * fv + fu * fu)
    swell = swell + 0.0025 * noise(scene, (11, 11), y, x, order=3)
    swell = swell + 0.0003 * noise(scene, (40, 40), y, x, order=3)
    dy, dx = np.gradient(swell / pixel)
    ny, nx = dy + 0.018 * lies[4][k], dx + 0.018 * lies[5][k]
    norm = np.sqrt(1 + ny * ny + nx * nx)
    shine = metal(-ny / norm, -nx / norm, 1 / norm, lamp)
    light = lambert(swell / pixel, lamp, 0.9)
    across = -np.sin(lamp) * ny - np.cos(lamp) * nx  # a window's mirror image, cut up by the tiles
    pane = 5.0 * across + np.sin(lamp) * (y - 0.5) + np.cos(lamp) * (x - 0.5)
    pane = pane - scene.uniform(-0.35, 0.35)
    window = step(pane, -0.06, 0.06) * (1 - step(pane, 0.20, 0.36))

    gloss = 0.16 * np.maximum(shine - 0.20, 0) + scene.uniform(0.03, 0.06) * window
    body = glaze * (0.62 + 0.38 * np.clip(light, 0, 1.8))[..., None]
    if defect == "chip":
        body, gloss = _chip(flaw, (v, u), (i0, j0), body, gloss, fine)
    picture = body + gloss[..., None]
    if defect == "crack":
        d, t = stroke(flaw, y, x, at, flaw.uniform(0, np.pi), flaw.uniform(0.20, 0.42), 0.16, 14)
        hair = line(d + 0.0005 * fine, t, flaw.uniform(0.0028, 0.0048)) * face
        picture = paint(picture, picture * 0.15 + 0.008, hair)
        picture = picture * (1 + 0.12 * line(np.abs(d - 0.004), t, 0.003) * face)[..., None]
    if defect == "scratch":
        d, t = stroke(flaw, y, x, at, flaw.uniform(0, np.pi), flaw.uniform(0.14, 0.34), 0.05)
        dull = line(d, t, flaw.uniform(0.0030, 0.0052)) * (0.6 + 0.4 * grains(flaw, y, x, 90, -0.8))
        picture = paint(picture, picture * 0.7 + flaw.uniform(0.16, 0.30), dull * face)

    sand = fractal(scene, (130, 130), y, x, octaves=2)
    sandy = 0.36 * (1 + 0.10 * sand + 0.05 * cloudy) * lambert(0.28 * sand, lamp, 1.0)
    joint = tint(sandy * (1 - 0.45 * blur(face, 0.006 * size)), (1.0, 0.96, 0.90))
    joint = joint * (1 + scene.normal(0, 0.015, size=3))
    if defect == "grout":
        joint = _fallen(flaw, (v, u), (i0, j0), joint, sand)
    return paint(joint, picture, face)


def _chip(
    flaw: Rng,
    places: tuple[Plane, Plane],
    chosen: tuple[int, int],
    body: Colour,
    gloss: Plane,
    fine: Plane,
) -> tuple[Colour, Plane]:
    """Pale clay where glaze broke away at the edge of the chosen tile, with a paler rim around."""
    v, u = places
    along, side = flaw.uniform(-0.38, 0.38), flaw.choice([-1, 1]) * HALF
    way = (along, side) if flaw.random() < 0.5 else (side, along)
    at = (float(chosen[0] + 0.5 + way[0]), float(chosen[1] + 0.5 + way[1]))
    own = (np.floor(v) == chosen[0]) & (np.floor(u) == chosen[1])
    radius = flaw.uniform(0.16, 0.36)
    gone = blotch(flaw, v, u, at, radius, 0.35, 0.10) * own
    wider = blotch(flaw, v, u, at, 1.15 * radius, 0.30, 0.15) * own
    clay = tint(0.44 * (1 + 0.10 * fine), (1.0, 0.76, 0.56))
    body = paint(body, body * 1.25 + 0.05, 0.8 * wider)
    return paint(body, clay, gone), gloss * (1 - gone)


def _fallen(
    flaw: Rng, places: tuple[Plane, Plane], chosen: tuple[int, int], joint: Colour, sand: Plane
) -> Colour:
    """Grout with a piece fallen out beside the chosen tile, dark and crumbly inside."""
    v, u = places
    long = flaw.uniform(0.35, 0.85)
    across, along = (v - chosen[0], u - chosen[1] - flaw.uniform(0.3, 0.7))
    if flaw.random() < 0.5:
        across, along = u - chosen[1], v - chosen[0] - flaw.uniform(0.3, 0.7)
    ragged = long - np.abs(along) + 0.06 * noise(flaw, (40, 40), v / 40, u / 40, order=3)
    empty = step(ragged, 0.0, 0.05) * (np.abs(across) < 0.3)
    return paint(joint, tint(0.055 * (1 + 0.4 * sand), (1.1, 1.0, 0.85)), 0.92 * empty)
