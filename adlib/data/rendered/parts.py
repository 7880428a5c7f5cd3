"""Built-in objects: a pin header on a bench and a screw, whole or with a defect; ours."""

import numpy as np
from jaxtyping import Int

from adlib.data.rendered.fields import Plane, Rng, fractal, noise, pixels, step, turn
from adlib.data.rendered.marks import blotch, grains, line, stroke
from adlib.data.rendered.optics import Colour, blur, metal, moved, paint, tint

PINS = 8
HEAD = 0.11  # of the length of a screw


def screw(scene: Rng, size: int, defect: str, flaw: Rng) -> Colour:
    """A countersunk screw of zinc-plated steel on gray card.

    Defects: thread (worn flat over a few turns), scratch (on the head or shank), tip (broken off),
    rust (faint patches).
    """
    y, x = pixels(size)
    angle = scene.uniform(0, 2 * np.pi)
    centre = (0.5 + scene.normal(0, 0.025), 0.5 + scene.normal(0, 0.025))
    length, radius = scene.uniform(0.72, 0.80), scene.uniform(0.056, 0.063)
    across, along = turn(y, x, centre, angle)
    u = along / length + 0.5  # 0 at the head, 1 at the tip
    pitch, phase = scene.uniform(0.050, 0.056), scene.uniform(0, 1)
    worn_at, worn = flaw.uniform(0.45, 0.8), flaw.uniform(0.035, 0.09)

    def profile(u: Plane, v: Plane) -> Plane:
        """Radius of the screw at length u, at the side v across it."""
        head = 2.2 - 1.2 * np.clip(u / HEAD, 0, 1) ** 0.9
        core = 1.0 - 0.17 * step(u, 0.36, 0.40)
        lean = np.arcsin(np.clip(v / radius, -1, 1)) / (2 * np.pi)  # half a turn is in sight
        turns = (u / pitch + lean + phase) % 1
        crest = np.clip(1.35 - 3.2 * np.abs(turns - 0.5), 0, 1) * 0.36
        crest = crest * step(u, 0.345, 0.40) * (1 - step(u, 0.93, 1.0))
        if defect == "thread":
            crest = crest * (1 - 0.85 * (1 - step(np.abs(u - worn_at), 0.7 * worn, worn)))
        cone = np.clip((1.0 - u) / 0.14, 0, 1)
        shaft = (core + crest) * cone**0.8
        return radius * np.where(u < HEAD, np.maximum(head, core), shaft)

    roughness = fractal(scene, (120, 120), y, x, octaves=2)
    polish = fractal(scene, (50, 50), y, x, octaves=2)
    ragged = 2.0 + np.zeros((size, size))  # the length at which a broken screw ends
    if defect == "tip":
        ragged = flaw.uniform(0.80, 0.93) + 0.010 * noise(flaw, (40, 40), y, x, order=3)
    lamp = scene.uniform(0, 2 * np.pi)
    near = (np.abs(across) < 2.4 * radius) & (np.abs(u - 0.5) < 0.52)  # a tenth of the image
    u, v, end = u[near][:, None], across[near][:, None], ragged[near][:, None]  # n 1
    r = profile(u, v)
    pixel = 1.0 / size
    strip = np.clip((r - np.abs(v)) / pixel + 0.5, 0, 1)
    strip = strip * step(u, -0.004, 0.004) * (1 - step(u - end, -0.004, 0.004))
    e = 0.002
    slope = (profile(u + e, v) - profile(u - e, v)) / (2 * e * length)
    swing = (profile(u, v + e / 4) - profile(u, v - e / 4)) / (e / 2)
    facet = 0.05 * step(u - end, -0.02, 0.0)  # the broken face catches other light
    rough = 0.05 * radius * roughness[near][:, None]
    n_across, n_along = v - r * swing + rough, facet - r * slope + 0.6 * rough
    n_up = np.sqrt(np.maximum(r * r - v * v, 1e-8))
    norm = np.sqrt(n_across**2 + n_along**2 + n_up**2)
    n_across, n_along, n_up = n_across / norm, n_along / norm, n_up / norm
    c, s = np.cos(angle), np.sin(angle)
    mirrored = metal(c * n_across + s * n_along, c * n_along - s * n_across, n_up, lamp)
    mirrored = mirrored * (0.35 + 0.65 * step(r, 0.78 * radius, radius))  # thread valleys are dim
    cover, shine = np.zeros((size, size)), np.zeros((size, size))
    cover[near], shine[near] = strip[:, 0], mirrored[:, 0]
    plating = np.array([0.93, 0.92, 0.86]) + scene.normal(0, 0.03, size=3)
    body = (shine * (1 + 0.05 * polish))[..., None] * plating * 1.15
    card = 0.30 * (1 + 0.07 * fractal(scene, (90, 90), y, x, octaves=2))
    card = card * (1 + 0.03 * fractal(scene, (4, 4), y, x))
    shadow_at = (0.016 * np.sin(lamp), 0.016 * np.cos(lamp))
    fall = blur(moved(cover, -shadow_at[0] * size, -shadow_at[1] * size), 0.012 * size)
    contact = blur(cover, 0.006 * size)
    ground = tint(card * (1 - 0.50 * fall) * (1 - 0.30 * contact), (1.0, 1.0, 1.02))
    if defect == "scratch":
        place = flaw.uniform(0.05, 0.32)
        on = (flaw.uniform(-0.4, 0.4) * radius, (place - 0.5) * length)
        lean, long = flaw.uniform(-0.9, 0.9), flaw.uniform(0.06, 0.14)
        d, t = stroke(flaw, across, along, on, lean, long, 0.10)
        width = flaw.uniform(0.0026, 0.0042)
        body = body * (1 - 0.55 * line(np.abs(d - 1.5 * width), t, width)[..., None])
        body = paint(body, body * 0.4 + 0.55, line(d, t, width))
    if defect == "rust":
        place = flaw.uniform(0.08, 0.85)
        on = (flaw.uniform(-0.5, 0.5) * radius, (place - 0.5) * length)
        patch = blotch(flaw, across, along, on, flaw.uniform(0.035, 0.060), 0.5, 0.6)
        patch = patch * (0.45 + 0.55 * grains(flaw, y, x, 70, -0.4)) * flaw.uniform(0.6, 1.0)
        brown = tint(0.5 + 0.5 * np.clip(shine, 0, 1), (0.30, 0.125, 0.045))
        body = paint(body, brown, patch)
    return paint(ground, body, cover)


def header(scene: Rng, size: int, defect: str, flaw: Rng) -> Colour:
    """A row of gold pins in a black plastic body, lying on a pale bench.

    Defects: bent (a pin leans over), missing (a pin), wrong (one pin is tinned, not gilded), bridge
    (solder between two pins), chip (out of the body).
    """
    y, x = pixels(size)
    angle = scene.normal(0, 0.10) + np.pi * scene.integers(0, 2)
    centre = (0.5 + scene.normal(0, 0.03), 0.5 + scene.normal(0, 0.03))
    v, u = turn(y, x, centre, angle)
    gap = scene.uniform(0.092, 0.098)  # from pin to pin
    bottom, top, half = -0.30, 0.17, scene.uniform(0.0125, 0.0140)
    victim = int(flaw.integers(0, PINS))
    lamp = scene.uniform(0, 2 * np.pi)
    pixel = 1.0 / size
    heights = scene.normal(0, 0.004, size=PINS)
    leans = scene.normal(0, 0.010, size=PINS)
    glints = scene.normal(0, 0.10, size=(PINS, 3))
    scuffs = noise(scene, (30, 240), v + 0.5, u + 0.5)
    smooth = fractal(scene, (6, 6), y, x)

    gold = np.array([1.0, 0.74, 0.34]) * (1 + scene.normal(0, 0.02, size=3))
    colour = np.tile(gold, (PINS, 1))
    if defect == "wrong":
        colour[victim] = (0.60, 0.60, 0.60)
    bend = flaw.choice([-1, 1]) * flaw.uniform(0.10, 0.42) if defect == "bent" else 0.0
    hinge = flaw.uniform(-0.16, -0.09)
    c, s = np.cos(angle), np.sin(angle)

    def pin(k: Int[np.ndarray, "h w"], bend: float) -> tuple[Plane, Plane]:
        """Cover and brightness of pin number k at each place."""
        low, high = bottom + heights[k] + 0.05 * bend * bend, top + heights[k]
        middle = (k - (PINS - 1) / 2) * gap + leans[k] * v + bend * np.minimum(v - hinge, 0)
        w = (u - middle) / half  # -1 and 1 at the edges
        end = np.minimum(v - low, high - v)
        taper = np.clip(end / 0.022, 0, 1)  # the ends are coined to a point
        edge = (0.45 + 0.55 * taper) - np.abs(w)
        cover = np.clip(edge * half / pixel + 0.5, 0, 1) * np.clip(end / pixel + 0.5, 0, 1)
        facet = np.sign(w) * step(np.abs(w), 0.45, 0.75) * 0.55  # a flat top between two bevels
        tip = (1 - taper) * np.sign(v - (low + high) / 2) * 0.5
        n_u, n_v = facet + 0.10 * glints[k, 0] + 0.02 * scuffs, tip + 0.10 * glints[k, 1]
        n_up = np.sqrt(np.maximum(1 - n_u**2 - n_v**2, 0.05))
        mirrored = metal(c * n_v + s * n_u, c * n_u - s * n_v, n_up, lamp)
        return cover, (0.22 + 0.9 * mirrored) * (1 + 0.06 * scuffs + 0.10 * glints[k, 2])

    nearest = np.clip(np.rint(u / gap + (PINS - 1) / 2), 0, PINS - 1).astype(np.int64)
    pins, shine = pin(nearest, 0.0)
    metal_part = shine[..., None] * colour[nearest]
    if defect in ("missing", "bent"):
        pins = np.where(nearest == victim, 0.0, pins)
    if defect == "bent":
        cover, shine = pin(np.full_like(nearest, victim), bend)
        metal_part = np.where((cover > pins)[..., None], shine[..., None] * gold, metal_part)
        pins = np.maximum(pins, cover)
    if defect == "bridge":
        side = victim if victim < PINS - 1 else victim - 1
        at = (flaw.uniform(-0.26, -0.08), (side + 0.5 - (PINS - 1) / 2) * gap)
        long, thick = 0.5 * gap + half, flaw.uniform(0.012, 0.022)
        waist = 1 - 0.45 * (1 - ((u - at[1]) / long) ** 2) + 0.15 * noise(flaw, (20, 20), y, x, 3)
        bead = thick * waist - np.abs(v - at[0])
        blob = np.clip(bead / pixel + 0.5, 0, 1) * step(long - np.abs(u - at[1]), 0.0, 0.006)
        rise = np.clip((v - at[0]) / thick, -0.9, 0.9)
        tilt = 0.8 * rise * np.cos(angle), -0.8 * rise * np.sin(angle)
        tin = metal(*tilt, np.sqrt(1 - 0.6 * rise**2), lamp)
        metal_part = paint(metal_part, tint(0.15 + 0.8 * tin, (0.86, 0.87, 0.88)), blob)
        pins = np.maximum(pins, blob)

    # the body: one eight-cornered block around each pin
    low, high = -0.045, 0.048
    inside = np.abs(v - (low + high) / 2) - (high - low) / 2
    cell = np.abs((u / gap + PINS / 2) % 1 - 0.5)  # 0 at a pin, 0.5 between two
    notch = 0.014 * step(cell, 0.34, 0.5)
    sides = np.abs(u) - (PINS / 2 * gap)
    depth = -np.maximum(inside + notch, sides)  # inside the body, from its outline
    if defect == "chip":
        at = (flaw.choice([low, high]), flaw.uniform(-0.42, 0.42) * PINS * gap)
        broken = blotch(flaw, v, u, at, flaw.uniform(0.026, 0.040), 0.45, 0.12)
        depth = np.where(broken > 0.5, np.minimum(depth, -0.5 * pixel), depth)
    plastic = np.clip(depth / pixel + 0.5, 0, 1)
    bevel = 1 - step(depth, 0.0, 0.012)
    tops = 0.030 * (1 + 0.16 * fractal(scene, (150, 150), y, x, octaves=2) + 0.15 * smooth)
    facing = np.sin(lamp) * np.sign(v * np.cos(angle)) * 0.5 + 0.5
    tops = tops + 0.05 * bevel * facing + 0.02 * step(0.5 - cell, 0.0, 0.1) * (1 - bevel)
    tops = tops * (1 - 0.5 * step(cell, 0.46, 0.5))
    body = tint(tops, (1.0, 1.0, 1.06))

    bench = 0.50 * (1 + 0.035 * fractal(scene, (140, 140), y, x, octaves=3) + 0.03 * smooth)
    whole = np.maximum(pins, plastic)
    away = (-0.013 * np.sin(lamp) * size, -0.013 * np.cos(lamp) * size)
    fall = blur(moved(whole, *away), 0.006 * size)
    thick = blur(moved(plastic, 2 * away[0], 2 * away[1]), 0.013 * size)
    warm = scene.normal(0, 0.02)
    ground = tint(bench * (1 - 0.42 * fall) * (1 - 0.45 * thick), (1.0 + warm, 1.0, 0.97 - warm))
    close = blur(plastic, 0.006 * size)
    metal_part = metal_part * (1 - 0.45 * close)[..., None]
    return paint(paint(ground, metal_part, pins), body, plastic)
