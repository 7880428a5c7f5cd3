"""What is missing or wrong in a benchmark is named when the set is built."""

import json
from pathlib import Path

import pytest

from adlib.data import load_data
from adlib.data.tools.check import check_benchmark
from tests import made_benchmarks as made


@pytest.mark.parametrize(
    ("name", "lost", "words"),
    [
        ("mvtec-ad", "bottle/ground_truth/broken/001_mask.png",
         r"^.*bottle/ground_truth/broken/001_mask\.png \(the mask of .*test/broken/001\.png\)$"),
        ("visa", "candle/Data/Masks/Anomaly/009.png",
         r"^.*Masks/Anomaly/009\.png \(the mask of .*Images/Anomaly/009\.JPG\)$"),
        ("visa", "split_csv/1cls.csv", r"split_csv/1cls\.csv \(which images train and which test"),
        ("btad", "BTech_Dataset_transformed/03/ground_truth/ko/0002.bmp", r"/ko/0002\.\* \(the"),
        ("dagm", "Class1/Test/Label/0005_label.PNG", r"^.*Class1/Test/Label/0005_label\.PNG$"),
        ("ksdd2", "test/20001_GT.png", r"^.*test/20001_GT\.png \(the mask of .*test/20001\.png\)$"),
        ("real-iad", "realiad_1024/toy/NG/BX/S0003/toy_0003_BX_C3_20230921.png",
         r"toy_0003_BX_C3_20230921\.png \(the mask of .*toy_0003_BX_C3_20230921\.jpg\)$"),
    ],
)  # fmt: skip
def test_a_missing_mask_is_named(tmp_path: Path, name: str, lost: str, words: str) -> None:
    root = made.MAKERS[name](tmp_path)
    (root / lost).unlink()
    with pytest.raises(FileNotFoundError, match=words):
        load_data(name, root=root)


def test_several_missing_files_are_counted(tmp_path: Path) -> None:
    root = made.mvtec_ad(tmp_path)
    for path in (root / "cable/ground_truth/broken").iterdir():
        path.unlink()
    words = r"2 files of MVTec AD are missing; the first: .*cable/ground_truth/broken/000_mask"
    with pytest.raises(FileNotFoundError, match=words):
        load_data("mvtec-ad", root=root)
    assert load_data("mvtec-ad", root=root, categories=["bottle"]).categories == ("bottle",)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("mvtec-ad", "bottle/train/good/000.png"),
        ("mvtec-ad", "bottle/ground_truth/broken/001_mask.png"),
        ("ksdd2", "test/20001_GT.png"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, name: str, lost: str) -> None:
    root = made.MAKERS[name](tmp_path)
    (root / lost).unlink()
    (root / lost).symlink_to(tmp_path / "not mounted.png")
    with pytest.raises((FileNotFoundError, ValueError), match=Path(lost).name):
        load_data(name, root=root)
    assert any(Path(lost).name in problem for problem in check_benchmark(name, root).problems)


def test_dagm_without_any_label_is_not_taken_for_flawless(tmp_path: Path) -> None:
    root = made.dagm(tmp_path)
    for path in root.glob("Class10/Train/Label/*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"Class10/Train/Label/\*_label\.\* \(they tell"):
        load_data("dagm", root=root)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("ground_truth/broken/000.png", r"broken/000.png has two masks, .*000_mask.* and .*/000\."),
        ("ground_truth/broken/000_mask.bmp", r"000_mask\.bmp and .*000_mask\.png are masks of one"),
        ("test/broken/000.bmp", r"000\.bmp and .*000\.png have one name, so the mask"),
    ],
)
def test_names_that_fit_twice_are_refused(tmp_path: Path, more: str, words: str) -> None:
    made.mask(made.mvtec_ad(tmp_path) / "bottle" / more, 5)
    with pytest.raises(ValueError, match=words):
        load_data("mvtec-ad", root=tmp_path)


@pytest.mark.parametrize("path", ["../../secret.png", "/etc/hostname"])
def test_a_listing_cannot_point_outside(tmp_path: Path, path: str) -> None:
    root = made.real_iad(tmp_path)
    file = root / "realiad_jsons/realiad_jsons/toy.json"
    content = json.loads(file.read_text())
    content["train"][1]["image_path"] = path
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"a listed file lies outside of .*toy: {path}"):
        load_data("real-iad", root=root)
    del content["train"][1]["image_path"]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"toy\.json: train\[1\] lacks 'image_path'"):
        load_data("real-iad", root=root)
    file.write_text("[1]")
    with pytest.raises(ValueError, match=r"toy\.json: expected lists 'train' and 'test', but"):
        load_data("real-iad", root=root)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n", r"expected the columns \['object', .*\], got \['a', 'b'\]"),
        ("object,split,label,image,mask\ncandle,train\n", r"line 2: expected 5 values, got 2"),
        ("object,split,label,image,mask\ncandle,val,normal,a.JPG,\n", r"train or test, got 'val'"),
        ("object,split,label,image,mask\ncandle,test,normal,../a.JPG,\n", r"outside of .*: \.\./a"),
    ],
)
def test_a_wrong_csv_of_visa_is_explained(tmp_path: Path, text: str, words: str) -> None:
    root = made.visa(tmp_path)
    (root / "split_csv/1cls.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        load_data("visa", root=root)
