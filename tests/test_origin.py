"""The list of the public files behind the four development categories is whole and well formed."""

import csv
import os
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

from adlib.data.tools.catalogue import BENCHMARKS
from adlib.report.records import results_folder

COLUMNS = ("image", "data_set", "original", "mask")
COUNTS = {  # normal to train on, normal to test on, defective
    "ball_screw": ("BSData", 100, 30, 50),
    "cookie": ("cookie", 31, 14, 32),
    "deeppcb": ("DeepPCB", 100, 30, 50),
    "screw": ("MVTec AD", 100, 30, 50),
}


def rows() -> list[dict[str, str]]:
    with (results_folder() / "origin.csv").open(newline="", encoding="utf-8") as file:
        lines = csv.DictReader(file, strict=True)
        assert tuple(lines.fieldnames or ()) == COLUMNS
        return list(lines)


def test_each_category_and_split_is_listed_to_the_last_image() -> None:
    found = Counter()
    for row in rows():
        category, split, kind, _ = row["image"].split("/")
        found[category, row["data_set"], split, kind == "good"] += 1
    wanted = Counter()
    for category, (name, train, good, bad) in COUNTS.items():
        wanted[category, name, "train", True] = train
        wanted[category, name, "test", True] = good
        wanted[category, name, "test", False] = bad
    assert found == wanted


def test_a_row_names_one_image_one_original_and_the_mask_of_a_defect() -> None:
    listed = rows()
    for row in listed:
        assert re.fullmatch(r"\w+/(train/good|test/\w+)/\d{3}\.jpg", row["image"]), row
        assert PurePosixPath(row["original"]).suffix in {".jpg", ".png"}
        assert not row["original"].startswith("/")
        assert bool(row["mask"]) == ("/good/" not in row["image"]), row
        assert all(cell == cell.strip() and None not in row for cell in row.values())
    for column in ("image", "original"):  # nothing twice, so no image both trains and tests
        assert len({(row["data_set"], row[column]) for row in listed}) == len(listed)
    parts = [row["image"].rsplit("/", 1) for row in listed]
    for folder in {folder for folder, _ in parts}:  # numbered from 000 without a gap
        names = sorted(name for other, name in parts if other == folder)
        assert names == [f"{i:03d}.jpg" for i in range(len(names))]


def test_originals_of_mvtec_ad_are_where_its_layout_has_them() -> None:
    screws = [row for row in rows() if row["data_set"] == "MVTec AD"]
    assert "screw" in BENCHMARKS["mvtec-ad"].categories
    for row in screws:
        _, split, kind, _ = row["image"].split("/")
        assert re.fullmatch(rf"screw/{split}/{kind}/\d{{3}}\.png", row["original"])


@pytest.mark.skipif("ADLIB_DATA" not in os.environ, reason="ADLIB_DATA names no folder")
def test_the_list_is_that_of_the_images_there() -> None:
    root = Path(os.environ["ADLIB_DATA"])
    there = {path.relative_to(root).as_posix() for path in root.glob("*/*/*/*.jpg")}
    assert there == {row["image"] for row in rows()}
    masks = {path.relative_to(root).as_posix() for path in root.glob("*/ground_truth/*/*.png")}
    expected = {
        row["image"].replace("/test/", "/ground_truth/").replace(".jpg", "_mask.png")
        for row in rows()
        if row["mask"]
    }
    assert masks == expected
