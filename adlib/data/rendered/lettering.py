"""What a label printer puts on paper: letters of straight strokes, bars and boxes; ours.

Ink lies on a square plane that stands for the unit square, row y and column x from its upper left
corner, 0 for bare paper and 1 for full ink. All sizes are shares of that square.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from adlib.data.rendered.fields import Plane

# Strokes through points "xy" of a grid 4 wide and 6 high, from the upper left; drawn for adlib.
STROKES = {
    "A": "06 02 20 42 46,04 44", "B": "00 06 36 45 44 33 03,33 42 41 30 00",
    "C": "41 30 10 01 05 16 36 45", "D": "00 06 26 44 42 20 00", "E": "40 00 06 46,03 33",
    "G": "41 30 10 01 05 16 36 45 43 23", "H": "00 06,40 46,03 43", "I": "20 26",
    "L": "00 06 46", "M": "06 00 23 40 46", "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10", "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10,24 46", "R": "06 00 30 41 42 33 03,23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05", "T": "00 40,20 26", "U": "00 05 16 36 45 40",
    "W": "00 16 23 36 40", "Y": "00 23 40,23 26", "0": "10 30 41 45 36 16 05 01 10",
    "1": "11 20 26", "2": "01 10 30 41 42 06 46", "3": "01 10 30 41 42 33 44 45 36 16 05,33 13",
    "4": "36 30 04 44", "5": "40 00 03 33 44 45 36 16 05", "6": "30 10 01 05 16 36 45 44 33 03",
    "7": "00 40 16", "8": "10 30 41 42 33 13 02 01 10,13 04 05 16 36 45 44 33",
    "9": "16 36 45 41 30 10 01 02 13 43", " ": "",
}  # fmt: skip
ADVANCE = 0.92  # from letter to letter, of their height


@lru_cache(maxsize=512)
def _letter(sign: str, high: float, weight: float) -> Plane:
    """Ink of one letter, `high` pixels high and `weight` pixels bold, with two pixels of margin."""
    grid = high / 6
    rows, columns = np.arange(int(high) + 6) - 2.0, np.arange(int(high * 4 / 6) + 6) - 2.0
    y, x = rows[:, None], columns[None, :]
    nearest = np.full((len(rows), len(columns)), np.inf)
    for stroke in STROKES[sign].split(",") if STROKES[sign] else ():
        points = [(int(p[1]) * grid, int(p[0]) * grid) for p in stroke.split()]
        for (y0, x0), (y1, x1) in pairwise(points):
            dy, dx = y1 - y0, x1 - x0
            t = np.clip(((y - y0) * dy + (x - x0) * dx) / (dy * dy + dx * dx), 0, 1)
            gap = (y - y0 - t * dy) ** 2 + (x - x0 - t * dx) ** 2
            nearest = np.minimum(nearest, gap)
    ink = np.clip(weight / 2 - np.sqrt(nearest) + 0.5, 0, 1)
    ink.flags.writeable = False
    return ink


def write(
    ink: Plane, text: str, place: tuple[float, float], height: float, weight: float = 0.16
) -> None:
    """Adds a line of text to the ink.

    Args:
        ink: Changed in place.
        text: Of the signs in `STROKES`.
        place: Its upper left corner (y, x).
        height: Of its letters.
        weight: Of its strokes, in heights.
    """
    size = len(ink)
    for k, sign in enumerate(text):
        letter = _letter(sign, height * size, height * size * weight)
        top = round(place[0] * size) - 2
        left = round((place[1] + k * ADVANCE * height) * size) - 2
        letter = letter[max(-top, 0) :, max(-left, 0) :]  # what the plane ends before is cut off
        window = ink[max(top, 0) :, max(left, 0) :][: letter.shape[0], : letter.shape[1]]
        np.maximum(window, letter[: window.shape[0], : window.shape[1]], out=window)


def fill(ink: Plane, top: float, left: float, bottom: float, right: float) -> None:
    """Adds a full rectangle to the ink; its edges may cover a pixel in part."""
    at = np.arange(len(ink)) / len(ink)  # upper or left edge of each pixel
    down = np.clip(np.minimum(at + 1 / len(ink), bottom) - np.maximum(at, top), 0, None)
    over = np.clip(np.minimum(at + 1 / len(ink), right) - np.maximum(at, left), 0, None)
    np.maximum(ink, down[:, None] * over * len(ink) ** 2, out=ink)


def frame(ink: Plane, top: float, left: float, bottom: float, right: float, rule: float) -> None:
    """Adds the outline of a rectangle, `rule` thick and inside of it."""
    fill(ink, top, left, top + rule, right)
    fill(ink, bottom - rule, left, bottom, right)
    fill(ink, top, left, bottom, left + rule)
    fill(ink, top, right - rule, bottom, right)


def bars(ink: Plane, runs: str, place: tuple[float, float], high: float, module: float) -> None:
    """Adds a bar code: widths in modules of bar, gap, bar and so on, from `place` to the right."""
    left = place[1]
    for k, digit in enumerate(runs):
        right = left + int(digit) * module
        if k % 2 == 0:
            fill(ink, place[0], left, place[0] + high, right)
        left = right


def print_at(ink: Float[np.ndarray, "s s"], y: Plane, x: Plane) -> Plane:
    """The ink at places y and x of the unit square, pixels blended by area; none outside it."""
    size = len(ink)
    rows, columns = np.clip(y * size - 0.5, -1, size), np.clip(x * size - 0.5, -1, size)
    i, j = np.floor(rows), np.floor(columns)
    down, right = rows - i, columns - j
    padded = np.pad(ink, (1, 2))
    flat, width = padded.ravel(), padded.shape[1]
    start = (i.astype(np.int64) + 1) * width + j.astype(np.int64) + 1
    upper = flat.take(start) * (1 - right) + flat.take(start + 1) * right
    lower = flat.take(start + width) * (1 - right) + flat.take(start + width + 1) * right
    return upper * (1 - down) + lower * down
