"""What `adlib predict` leaves behind, for photographs of any size."""

import csv
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlib.engine.gallery import LONGEST, write_gallery
from adlib.metrics.threshold import Levels

ONE = (np.zeros((16, 18, 3), dtype=np.uint8), np.zeros((16, 18), dtype=np.float32))
LEVELS = Levels(threshold=0.5, scale=(0.0, 1.0))


def test_a_large_photograph_is_drawn_in_bounded_memory_and_with_the_heat_in_its_place(
    tmp_path: Path,
) -> None:
    height, width = 1500, 2100
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    heat = np.zeros((height, width), dtype=np.float32)
    heat[1200:, :300] = 1.0  # the lower left corner
    tracemalloc.start()
    write_gallery(
        tmp_path / "found",
        [("my part.JPG", image, heat, 0.8)],
        levels=LEVELS,
        promise="",
        keep_maps=True,
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * height * width  # bytes; an overlay at full size takes a hundred a pixel
    with Image.open(tmp_path / "found/overlays/00000-my-part-heat.jpg") as picture:
        drawn = np.asarray(picture).astype(int)
    assert max(drawn.shape) <= LONGEST
    colour = np.ptp(drawn, axis=2)  # gray where it is cold
    h, w = colour.shape
    assert colour[-h // 10 :, : w // 10].min() > 50
    assert colour[: h // 2, w // 2 :].max() < 10
    with Image.open(tmp_path / "found/maps/00000-my-part.tiff") as picture:
        assert picture.size == (width, height)


def test_each_row_names_its_files(tmp_path: Path) -> None:
    out = tmp_path / "found"
    rows = [
        (path, np.full((16, 18, 3), gray, dtype=np.uint8), np.full((16, 18), heat), heat)
        for path, gray, heat in (("größe.png", 40, 0.2), ("photos/größe.jpg", 200, 0.7))
    ]
    write_gallery(out, rows, levels=LEVELS, promise="", keep_maps=True)
    table = list(csv.DictReader((out / "predictions.csv").read_text("utf-8").splitlines()))
    assert list(table[0]) == ["path", "score", "threshold", "verdict", "name"]
    assert [row["path"] for row in table] == ["photos/größe.jpg", "größe.png"]  # by score
    for row, gray in zip(table, (200, 40), strict=True):
        with Image.open(out / "maps" / f"{row['name']}.tiff") as heat:
            assert np.asarray(heat).mean() == pytest.approx(float(row["score"]))
        with Image.open(out / "overlays" / f"{row['name']}-photo.jpg") as photo:
            assert np.asarray(photo).mean() == pytest.approx(gray, abs=2)
        assert (out / "overlays" / f"{row['name']}-heat.jpg").is_file()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_name_is_a_formula_in_the_table(tmp_path: Path, start: str) -> None:
    rows = [(f"{start}1+1.png", *ONE, -0.5), ("a=1.png", *ONE, -1.5)]
    write_gallery(tmp_path / "found", rows, levels=LEVELS, promise="")
    with (tmp_path / "found/predictions.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["path"], second["path"]) == (f"'{start}1+1.png", "a=1.png")
    assert [float(row["score"]) for row in (first, second)] == [-0.5, -1.5]  # still numbers


def test_no_name_is_markup_or_turns_the_text_of_the_page(tmp_path: Path) -> None:
    rows = [("<b onclick='x'>&\u202egpj\n\x1b.png", *ONE, 0.8)]
    write_gallery(tmp_path / "found", rows, levels=LEVELS, promise="")
    page = (tmp_path / "found/index.html").read_text("utf-8")
    assert page.count(r"&lt;b onclick=&#x27;x&#x27;&gt;&amp;\u202egpj\n\x1b.png") == 3
    assert not [word for word in ("<b onclick", "\u202e", "\x1b") if word in page]


def test_a_name_that_is_no_utf_8_is_shown_by_its_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")  # Latin-1
    write_gallery(
        tmp_path / "found",
        [(name, *ONE, 0.8)],
        levels=LEVELS,
        promise="",
    )
    for file in ("predictions.csv", "index.html"):
        assert r"caf\udce9.png" in (tmp_path / "found" / file).read_text(encoding="utf-8")
