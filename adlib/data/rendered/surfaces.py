"""Built-in textures: denim, brushed steel and a wooden board, whole or with a defect; all ours."""

import numpy as np

from adlib.data.rendered.fields import Rng, fractal, noise, pixels, step, turn
from adlib.data.rendered.marks import blotch, line, spot, stroke
from adlib.data.rendered.optics import Colour, lambert, paint, tint


def denim(scene: Rng, size: int, defect: str, flaw: Rng) -> Colour:
    """A 3/1 twill, blue warp over pale weft.

    Defects: cut (threads parted), pull (a warp thread drawn tight), mispick (a weft thread that
    floats over where it should dive), stain (faint).
    """
    y, x = pixels(size)
    count = scene.uniform(25, 31)  # threads across the image
    v, u = turn(y, x, (0.5, 0.5), scene.normal(0, 0.06))
    offset = scene.uniform(0, 64, size=2)
    v = v * count + 0.35 * noise(scene, (4, 5), y, x, order=3) + offset[0] + 100
    u = u * count + 0.35 * noise(scene, (5, 4), y, x, order=3) + offset[1] + 100
    at = spot(flaw, 0.2)
    row, column = (int(p * (size - 1)) for p in at)
    v0, u0 = np.floor(v[row, column]) + 0.5, np.floor(u[row, column]) + 0.5
    reach = flaw.uniform(2.5, 6)
    tight = np.zeros((size, size))
    if defect == "pull":
        tight = 1 - step(np.abs(v - v0), 0.8 * reach, 1.2 * reach)
        pucker = flaw.uniform(0.25, 0.45) * tight * np.exp(-(((u - u0) / 1.5) ** 2))
        u = u + pucker * np.clip(u - u0, -1, 1)  # its neighbours are drawn in
    i, j = np.floor(u), np.floor(v)  # warp and weft thread of each pixel
    fu, fv = u - i - 0.5, v - j - 0.5
    tones = scene.normal(0, 1, size=(4, 64))
    ii, jj = i.astype(int) % 64, j.astype(int) % 64
    warp_tone, weft_tone = tones[0][ii], tones[1][jj]
    warp_bulge = np.sqrt(np.clip(1 - (fu / (0.52 + 0.03 * tones[2][ii])) ** 2, 0, 1))
    weft_bulge = np.sqrt(np.clip(1 - (fv / (0.50 + 0.03 * tones[3][jj])) ** 2, 0, 1))
    dive = np.abs((v - 0.5 - i + 2) % 4 - 2)  # distance to where the warp goes under, in threads
    rise = np.abs((u - 0.5 - j + 2) % 4 - 2)
    up = 1 - step(rise, 0.35, 0.95)
    if defect == "mispick":
        hop = (np.abs(v - v0) < 0.5) & (np.abs(u - u0) < reach)
        up = np.where(hop, np.maximum(up, 1.2 * step(reach - np.abs(u - u0), 0.0, 0.6)), up)
    taut = tight * (i == u0 - 0.5)
    warp_z = 0.6 * warp_bulge + np.maximum(step(dive, 0.35, 0.95), 1.4 * taut)
    weft_z = 0.6 * weft_bulge + up
    top = np.clip((warp_z - weft_z) * 4 + 0.5, 0, 1)
    height = np.maximum(warp_z, weft_z)
    fibre = noise(scene, (40, 170), (v + 0.9 * fu) / 32, u / 32)  # twisted along the warp
    weft_fibre = noise(scene, (150, 44), v / 32, (u + 0.9 * fv) / 32)
    fuzz = fractal(scene, (60, 60), y, x, octaves=2)
    wear = 0.5 + 0.5 * np.clip(0.6 * fractal(scene, (6, 6), y, x), -1, 1)
    faded = 0.12 + 0.16 * warp_bulge**3 + 0.10 * fibre + 0.10 * wear + 0.06 * warp_tone
    white = np.ones((size, size))
    dark, light_blue = tint(white, (0.030, 0.058, 0.155)), tint(white, (0.42, 0.50, 0.62))
    blue = paint(dark, light_blue, np.clip(faded + 0.22 * taut, 0, 0.9))
    pale = tint(0.50 + 0.07 * weft_fibre + 0.05 * weft_tone, (1.0, 0.98, 0.92))
    cloth = paint(pale, blue, top)
    relief = (height + 0.10 * fuzz + 0.08 * fibre) * (0.32 * size / count)
    light = lambert(relief, scene.uniform(0, 2 * np.pi), scene.uniform(0.9, 1.15))
    shade = (0.40 + 0.60 * step(height, 0.5, 1.5)) * (0.35 + 0.65 * light)
    cloth = cloth * shade[..., None] * 1.15
    if defect == "cut":
        d, t = stroke(flaw, y, x, at, flaw.uniform(0, np.pi), flaw.uniform(0.10, 0.26), 0.12)
        frayed = d * count + 0.22 * fuzz + 0.20 * fibre
        width = flaw.uniform(0.35, 0.75) * np.sqrt(np.clip(4 * t * (1 - t), 0, 1))
        loose = np.clip(0.5 + 0.5 * fibre, 0, 1)
        ends, gap = 0.8 * step(frayed, width + 0.7, width), step(frayed - width, 0.25, -0.15)
        cloth = paint(cloth, tint(0.22 + 0.2 * loose, (0.95, 1.0, 1.1)), ends)
        cloth = paint(cloth, tint(0.012 + 0.02 * loose, (1.0, 1.0, 1.1)), gap)
    if defect == "stain":
        wet = blotch(flaw, y, x, at, flaw.uniform(0.05, 0.13), 0.25, 0.5)
        wet = wet[..., None] * flaw.uniform(0.22, 0.4)
        cloth = cloth * (1 - wet * np.array([0.85, 0.95, 1.15]))
    return cloth


def steel(scene: Rng, size: int, defect: str, flaw: Rng) -> Colour:
    """A brushed sheet under a lamp.

    Defects: scratch (across the brushing), dent (the mirrored light bends), pits (small rusty
    holes), fingerprint (faint ridges of grease).
    """
    y, x = pixels(size)
    v, u = turn(y, x, (0.5, 0.5), scene.normal(0, 0.12))
    at = spot(flaw)
    slope = np.zeros((size, size))
    if defect == "dent":
        radius = flaw.uniform(0.035, 0.075)
        by, bx = turn(y, x, at, flaw.uniform(0, np.pi))
        bump = np.exp(-((by / radius) ** 2 + (bx / (radius * flaw.uniform(1, 1.5))) ** 2))
        slope = 1.8 * bump * (np.cos(0.6) * (y - at[0]) + np.sin(0.6) * (x - at[1])) / radius
        v = v + 0.10 * radius * slope
    coarse = noise(scene, (90, 2), v, u + 0.5, order=3)
    middle = noise(scene, (240, 3), v, u + 0.5)
    fine = noise(scene, (460, 7), v, u + 0.5)
    short = noise(scene, (380, 24), v, u + 0.5)
    streaks = 0.35 * coarse + 0.45 * middle + 0.5 * fine + 0.4 * short
    middle_of_lamp, breadth = scene.uniform(-0.35, 0.35), scene.uniform(0.25, 0.45)
    lean = scene.normal(0, 0.25)
    beam = (v - middle_of_lamp + lean * u + 0.010 * streaks - 0.25 * slope) / breadth
    lamp = np.exp(-(beam**2))
    body = 0.20 + 0.30 * lamp + 0.02 * fractal(scene, (3, 3), y, x)
    body = body * (1 + 0.13 * streaks) * (1 - 0.22 * slope)
    colour = np.array([0.97, 1.0, 1.03]) + scene.normal(0, 0.012, size=3)
    sheet = body[..., None] * colour
    if defect == "scratch":
        angle = flaw.uniform(0.5, np.pi - 0.5)
        d, t = stroke(flaw, y, x, at, angle, flaw.uniform(0.10, 0.35), 0.05)
        width = flaw.uniform(0.0022, 0.0040)
        lit = line(d, t, width) * (0.75 + 0.25 * noise(flaw, (60, 60), y, x))
        groove = line(np.abs(d - 1.6 * width), t, 0.8 * width)
        sheet = sheet * (1 - 0.35 * groove[..., None])
        sheet = paint(sheet, sheet * 0.6 + flaw.uniform(0.22, 0.40), np.clip(lit, 0, 1))
    if defect == "pits":
        for _ in range(int(flaw.integers(2, 6))):
            py, px = at[0] + flaw.normal(0, 0.04), at[1] + flaw.normal(0, 0.04)
            radius = flaw.uniform(0.006, 0.014)
            halo = blotch(flaw, y, x, (py, px), 2.0 * radius, 0.35, 1.0)
            hole = blotch(flaw, y, x, (py, px), radius, 0.35, 0.5)
            sheet = sheet * (1 - halo[..., None] * np.array([0.18, 0.34, 0.48]))
            sheet = paint(sheet, tint(0.05 + 0.02 * middle, (1.5, 0.9, 0.6)), 0.85 * hole)
    if defect == "fingerprint":
        a, b = turn(y, x, at, flaw.uniform(0, np.pi))
        core = np.hypot(a + 0.05, 0.8 * b) + 0.010 * noise(flaw, (7, 7), y, x, order=3)
        ridges = 0.5 + 0.5 * np.sin(core * (2 * np.pi / flaw.uniform(0.016, 0.020)))
        press = blotch(flaw, y, x, at, flaw.uniform(0.11, 0.16), 0.12, 0.6)
        patchy = np.clip(0.75 + 0.25 * noise(flaw, (24, 24), y, x, order=3), 0, 1)
        grease = flaw.uniform(0.16, 0.26) * (press * patchy * step(ridges, 0.2, 0.8))
        sheet = sheet * (1 - grease)[..., None]
    return sheet


def board(scene: Rng, size: int, defect: str, flaw: Rng) -> Colour:
    """A planed board of a softwood with its rings cut lengthwise.

    Defects: crack (along the grain), hole (of a beetle), scratch (across the grain), stain (faint,
    of water).
    """
    y, x = pixels(size)
    angle = np.pi / 2 + scene.normal(0, 0.05)  # the grain runs upright
    v, u = turn(y, x, (0.5, 0.5), angle)
    wander = 0.035 * noise(scene, (2, 2), y * 0.6, x, order=3)
    wander = wander + 0.008 * noise(scene, (4, 9), y, x, order=3)
    depth = scene.uniform(0.05, 0.5) + scene.normal(0, 0.10) * u
    heart = np.hypot(v + wander - scene.uniform(-0.6, 0.6), depth)  # distance to the pith
    rings = heart * scene.uniform(14, 22) + 0.10 * noise(scene, (3, 40), u + 0.5, v + 0.5)
    year = np.floor(rings).astype(int) % 64
    part = rings - np.floor(rings)  # 0 in spring, 1 in autumn
    dark = part ** scene.uniform(2.0, 3.5) * (1 - step(part, 0.93, 1.0)) * 1.15
    dark = dark * (0.75 + 0.18 * scene.normal(0, 1, size=64)[year])
    fibre = noise(scene, (7, 260), u + 0.5, v + 0.5)
    fibre = fibre + 0.7 * noise(scene, (16, 420), u + 0.5, v + 0.5)
    flecks = step(noise(scene, (26, 330), u + 0.5, v + 0.5), 1.5, 2.4)
    cloudy = fractal(scene, (3, 5), y, x)
    early = np.array([0.63, 0.41, 0.20]) * (1 + scene.normal(0, 0.03, size=3))
    late = np.array([0.34, 0.155, 0.050]) * (1 + scene.normal(0, 0.04, size=3))
    wood = early + np.clip(0.9 * dark, 0, 1)[..., None] * (late - early)
    wood = wood * (1 + 0.075 * fibre + 0.06 * cloudy - 0.30 * flecks)[..., None]
    gloss = scene.uniform(0.0, 0.06) * np.exp(-(((y + x - scene.uniform(0.6, 1.4)) / 0.3) ** 2))
    wood = wood + (gloss * (1 + 0.5 * fibre))[..., None]
    at = spot(flaw)
    if defect == "crack":
        along, long = angle + flaw.normal(0, 0.04), flaw.uniform(0.15, 0.45)
        d, t = stroke(flaw, y, x, at, along, long, 0.05, 16)
        d = np.abs(d + 0.0018 * fibre * (d > 0.001))
        open_ = line(d, t, flaw.uniform(0.0025, 0.0055))
        wood = wood * (1 - 0.3 * line(d, t, 0.010)[..., None])
        wood = paint(wood, wood * np.array([0.16, 0.12, 0.10]), open_)
    if defect == "hole":
        radius = flaw.uniform(0.010, 0.020)
        hole = blotch(flaw, y, x, at, radius, 0.10, 0.25)
        below = (at[0] + 0.2 * radius, at[1] + 0.25 * radius)
        rim = blotch(flaw, y, x, below, 1.35 * radius, 0.15, 0.3)
        wood = paint(wood, wood * 1.25 + 0.04, 0.8 * rim)
        wood = paint(wood, tint(0.03 + 0.012 * fibre, (1.2, 0.8, 0.5)), hole)
    if defect == "scratch":
        across, long = angle + flaw.uniform(0.5, 2.6), flaw.uniform(0.10, 0.30)
        d, t = stroke(flaw, y, x, at, across, long, 0.06)
        torn = line(np.abs(d + 0.0006 * fibre), t, flaw.uniform(0.0024, 0.0042))
        wood = wood * (1 - 0.25 * line(np.abs(d - 0.006), t, 0.004)[..., None])
        wood = paint(wood, wood * 0.55 + np.array([0.36, 0.27, 0.16]), 0.85 * torn)
    if defect == "stain":
        radius = flaw.uniform(0.06, 0.13)
        wet = blotch(flaw, y, x, at, radius, 0.22, 0.12)
        dry = blotch(flaw, y, x, at, 0.8 * radius, 0.22, 0.5)
        strength = flaw.uniform(0.16, 0.30) * (wet - 0.55 * np.minimum(wet, dry))
        wood = wood * (1 - strength[..., None] * np.array([0.8, 0.95, 1.1]))
    return wood
