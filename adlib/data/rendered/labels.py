"""Built-in object: a printed label on a carton, whole or with a defect; ours."""

import numpy as np
from jaxtyping import Float

from adlib.data.rendered.fields import Place, Plane, Rng, fractal, noise, pixels, step, turn
from adlib.data.rendered.lettering import bars, fill, frame, print_at, write
from adlib.data.rendered.marks import blotch, grains, line, outside, stroke
from adlib.data.rendered.optics import Colour, blur, lambert, moved, paint, tint

HIGH, WIDE = 0.60, 0.84  # of the label
ROWS = ("TYPE 6204 2RS", "BORE   20 MM", "OUTER  47 MM", "WIDTH  14 MM")  # their order is normal
FIRST, PITCH = 0.170, 0.054  # of the rows, from the upper edge
CODE = "111312311132111112311141113211111123112112311122131111312111131"  # an invented one


def _inks(
    size: int, rows: list[str], lot: str
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Black and coloured ink of the whole label, upright."""
    black, colour, bare = (np.zeros((size, size)) for _ in range(3))
    fill(colour, 0.0, 0.0, 0.132, WIDE)
    write(bare, "ADLIB", (0.036, 0.045), 0.062, 0.21)
    write(bare, "BALL BEARINGS", (0.054, 0.440), 0.027, 0.16)
    colour = np.maximum(colour - bare, 0)
    for k, row in enumerate(rows):
        write(black, row, (FIRST + k * PITCH, 0.045), 0.030)
    frame(black, 0.165, 0.565, 0.365, 0.795, 0.005)
    write(black, "QTY", (0.185, 0.585), 0.025)
    write(black, "10", (0.225, 0.600), 0.110, 0.15)
    bars(black, CODE, (0.410, 0.050), 0.115, 0.0044)
    write(black, "2 001234 567893", (0.540, 0.075), 0.024)
    write(black, f"LOT {lot[:6]}", (0.415, 0.565), 0.025)
    write(black, f"DATE {lot[6:]}", (0.462, 0.565), 0.025)
    write(black, "MADE IN EU", (0.540, 0.565), 0.024)
    return black, colour


def label(scene: Rng, size: int, defect: str, flaw: Rng) -> Colour:
    """A white label with a coloured head, rows of text and a bar code; its lot number varies.

    Defects: misprint (ink is missing), scratch, smear (wet ink dragged along), swapped (two rows
    have changed places: each is right, their order is not), torn (a corner is off).
    """
    y, x = pixels(size)
    angle = scene.normal(0, 0.028)
    centre = (0.5 + scene.normal(0, 0.018), 0.5 + scene.normal(0, 0.018))
    v, u = turn(y, x, centre, angle)
    v, u = v + HIGH / 2, u + WIDE / 2  # from the label's upper left corner
    lot = f"{scene.integers(10**6):06d}{scene.integers(1, 13):02d} {scene.integers(20, 27)}"
    slip = scene.normal(0, 0.004, size=2)  # of the print on the paper
    rows: list[str] = list(ROWS)
    first, second = flaw.choice(len(ROWS), size=2, replace=False)
    if defect == "swapped":
        rows[first], rows[second] = rows[second], rows[first]
    black, colour = _inks(size, rows, lot)
    at = (flaw.uniform(0.17, 0.52), flaw.uniform(0.08, 0.74))  # where ink is, mostly
    c, s, dv, du = np.cos(angle), np.sin(angle), at[0] - HIGH / 2, at[1] - WIDE / 2
    seen = (float(centre[0] + c * dv + s * du), float(centre[1] + c * du - s * dv))  # in the image
    smeared = black
    if defect == "smear":
        pull, drop = flaw.choice([-1, 1]) * flaw.uniform(0.7, 1.2), flaw.uniform(-0.4, 0.4)
        for k in range(1, 13):
            trail = moved(black, drop * k * size / 150, pull * k * size / 150)
            smeared = np.maximum(smeared, trail * (1 - k / 16))
    ink = print_at(black, v - slip[0], u - slip[1])
    head = print_at(colour, v - slip[0], u - slip[1])
    if defect == "smear":
        patch = blotch(flaw, y, x, seen, flaw.uniform(0.08, 0.14), 0.25, 0.7)
        wet = print_at(smeared, v - slip[0], u - slip[1]) - ink
        ink = ink + flaw.uniform(0.6, 1.0) * patch * wet * grains(flaw, y, x, 90, -1.2)
    if defect == "misprint":
        dry = blotch(flaw, y, x, seen, flaw.uniform(0.045, 0.090), 0.35, 0.3)
        dry = dry * (0.55 + 0.45 * grains(flaw, y, x, 110, -0.6)) * flaw.uniform(0.75, 1.0)
        ink, head = ink * (1 - dry), head * (1 - dry)

    # paper: creases that catch the light, a sheen, and an edge with round corners
    fibres = fractal(scene, (110, 110), y, x, octaves=2)
    lamp, height = scene.uniform(0, 2 * np.pi), scene.uniform(0.75, 1.0)
    creases = 0.006 * size * fractal(scene, (3, 3), y, x, octaves=3)
    creases = creases + 0.0010 * size * noise(scene, (14, 14), y, x, order=3) + 0.06 * fibres
    light = lambert(creases, lamp, height)
    glare = scene.uniform(0.02, 0.10)
    band = (y * np.sin(lamp) + x * np.cos(lamp) - scene.uniform(-0.6, 1.2)) / 0.25
    sheen = glare * np.exp(-(band**2))
    edge = outside(v - HIGH / 2, u - WIDE / 2, HIGH, WIDE, 0.02)
    edge = edge + 0.0006 * noise(scene, (50, 50), y, x)  # a worn cutting die
    sheet = np.clip(0.5 - edge * size, 0, 1)
    paper = 0.74 * (1 + 0.012 * fibres) * light + sheen
    picture = tint(paper, (1.0, 0.985, 0.95))
    solid = 0.94 + 0.03 * noise(scene, (180, 180), y, x)
    blue = tint(0.9 * light + 0.6 * sheen, (0.025, 0.105, 0.285))
    picture = paint(picture, blue, head * (0.5 + 0.5 * solid))
    picture = paint(picture, tint(0.03 + 0.5 * sheen, (1.0, 1.0, 1.05)), ink * solid)
    if defect == "scratch":
        d, t = stroke(flaw, y, x, seen, flaw.uniform(0, np.pi), flaw.uniform(0.14, 0.34), 0.06)
        width = flaw.uniform(0.0034, 0.0062)
        bare = line(d, t, width) * (0.7 + 0.3 * grains(flaw, y, x, 120, -0.6))
        picture = picture * (1 - 0.45 * line(np.abs(d - 1.7 * width), t, width)[..., None])
        picture = paint(picture, tint(0.84 * light, (1.0, 0.95, 0.86)), bare)
    if defect == "torn":
        sheet, fluffy = _torn(flaw, (y, x), (v, u), sheet, fibres)
        picture = paint(picture, tint(0.72 + 0.10 * fibres, (1.0, 0.97, 0.90)), fluffy)

    carton = _carton(scene, size, u)
    away = (-0.006 * np.sin(lamp) * size, -0.006 * np.cos(lamp) * size)
    cast = blur(moved(sheet, *away), 0.004 * size)
    ground = carton * (1 - 0.28 * cast)[..., None]
    return paint(ground, picture, sheet)


def _torn(
    flaw: Rng, image: tuple[Place, Place], paper: tuple[Plane, Plane], sheet: Plane, fibres: Plane
) -> tuple[Plane, Plane]:
    """What is left of a sheet when a corner is torn off, and the white fibres along the tear."""
    (y, x), (v, u) = image, paper
    lean = flaw.uniform(0.35, 1.2)
    down = v if flaw.random() < 0.5 else HIGH - v
    over = u if flaw.random() < 0.5 else WIDE - u
    inwards = np.sin(lean) * down + np.cos(lean) * over - flaw.uniform(0.045, 0.11)
    ragged = inwards + 0.010 * fractal(flaw, (9, 9), y, x) + 0.0012 * fibres
    rim = flaw.uniform(0.006, 0.014) * (1 + 0.5 * noise(flaw, (25, 25), y, x))
    size = len(sheet)
    return sheet * np.clip(ragged * size + 0.5, 0, 1), 1 - step(ragged - rim, 0.0, 0.004)


def _carton(scene: Rng, size: int, u: Plane) -> Colour:
    """Brown corrugated board: waves below the liner, fibres in it, dark flecks."""
    y, x = pixels(size)
    waves = np.sin(2 * np.pi * (u * scene.uniform(30, 34) + scene.uniform(0, 1)))
    long = noise(scene, (60, 190), y, x)
    cloudy = fractal(scene, (5, 5), y, x)
    fine = fractal(scene, (130, 130), y, x, octaves=2)
    flecks = step(noise(scene, (150, 120), y, x), 1.8, 2.6)
    board = 0.30 * (1 + 0.030 * waves + 0.05 * long + 0.04 * cloudy + 0.05 * fine - 0.25 * flecks)
    brown = np.array([1.0, 0.66, 0.38]) * (1 + scene.normal(0, 0.025, size=3))
    return board[..., None] * brown
