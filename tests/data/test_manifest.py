"""A table in place of folders: what it means, and what is said of a wrong line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlib.data import load_data
from adlib.data.readers.manifest import load_manifest
from adlib.data.readers.pictures import list_pictures
from tests import made_benchmarks as made


def table(root: Path, *lines: str, name: str = "parts.csv") -> Path:
    path = root / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten images 0.png to 9.png, and masks of 5 and 6."""
    for k in range(10):
        made.image(tmp_path / f"shots/{k}.png", k)
    for k in (5, 6):
        made.mask(tmp_path / f"marks/{k}.png", k)
    return tmp_path


def test_every_column(root: Path) -> None:
    path = table(
        root,
        "path,split,label,mask,category,defect,operator",
        "shots/0.png,train,good,,nut,,Ann",
        "shots/1.png,train,OK,,bolt,,Ann",
        "shots/2.png,test,normal,,nut,,Bob",
        "shots/5.png,test,bad,marks/5.png,nut,dent,Bob",
        "shots/6.png,train,NG,marks/6.png,bolt,,Bob",
        "shots/7.png,test,1,,bolt,scratch,",
        "",
        f"{root / 'shots/3.png'},train,0,,nut,good,",
    )
    data = load_data(path)
    assert data.name == "parts"
    assert data.categories == ("bolt", "nut")
    assert [(r.name, r.category, r.defect) for r in data.train.references] == [
        ("0.png", "nut", "good"), ("1.png", "bolt", "good"), ("3.png", "nut", "good"),
    ]  # fmt: skip
    assert [(r.name, r.defect) for r in data.test.references] == [
        ("2.png", "good"), ("5.png", "dent"), ("7.png", "scratch"),
    ]  # fmt: skip
    assert data.seen is not None
    assert [(r.name, r.defect) for r in data.seen.references] == [("6.png", "bad")]
    five, seven = data.test[1], data.test[2]
    assert five.mask is not None
    assert np.argwhere(five.mask).tolist() == [[3, 5]]
    assert seven.mask is None
    one = load_manifest(path, categories=["nut"])
    assert one.categories == ("nut",)
    assert one.seen is None
    with pytest.raises(ValueError, match=r"no category 'nuts' in .*bolt, nut; did you mean 'nut'"):
        load_manifest(path, categories=["nuts"])


def test_without_a_split_some_normal_ones_are_held_out(root: Path) -> None:
    lines = [f"shots/{k}.png;{'bad' if k > 7 else 'good'}" for k in range(10)]
    data = load_data(table(root, "path;label", *lines), holdout=0.25)
    assert data.categories == ("parts",)
    assert (len(data.train), len(data.test)) == (6, 4)
    assert data.test.labels.sum() == 2
    moved = root / "elsewhere"
    moved.mkdir()
    (root / "shots").rename(moved / "shots")
    again = load_data(table(moved, "path;label", *reversed(lines)), holdout=0.25)
    assert {r.name for r in again.test.references} == {r.name for r in data.test.references}


def test_what_spreadsheets_write(root: Path) -> None:
    path = root / "parts.csv"
    path.write_bytes('\ufeffPath\tLabel \r\n shots/0.png\tGood\r\n"shots/1.png"\tok\r\n'.encode())
    assert len(load_data(path).train) == 1
    path.write_bytes("path,label\nshots/0.png,güt\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"parts\.csv: expected UTF-8, but .*; save it as UTF-8"):
        load_data(path)


@pytest.mark.parametrize(
    ("head", "line", "words"),
    [
        ("path,label", "shots/0.png,goood", r"parts\.csv, line 3: expected a label good or bad .*"
         r"got 'goood'; the kind of defect has a column of its own, 'defect'"),
        ("path,label", "shots/0.png,scratch", r"line 3: expected a label"),
        ("path,label", "shots/0.png", r"line 3: expected 2 values as in the head, got 1"),
        ("path,label", ",good", r"line 3: expected the path of an image, got nothing"),
        ("path,label", "./shots/1.png,good", r"3: \./shots/1\.png is named already, in .*line 2"),
        ("path,label,split", "shots/0.png,good,val", r"'val'; there are no validation images: say"),
        *(("path,label", f"shots/0.png,{word}", rf"line 3: .*pass and fail, .*got '{word}'")
          for word in ("-1", "yes", "no", "2", "255", "positive")),
        ("path,label", "shots/0.png,nan", r"line 3: expected a label good or bad .*got 'nan'"),
        ("path,label,mask", "shots/5.png,bad,shots/1.png", r"1\.png is an image here, and a mas"),
        ("path,label,mask", "shots/0.png,good,marks/5.png", r"0\.png is called good, but .*marks"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named(root: Path, head: str, line: str, words: str) -> None:
    first = "shots/1.png,good" + "," * (head.count(",") - 1)
    with pytest.raises(ValueError, match=words):
        load_data(table(root, head, first, line))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), r"expected a column 'path'; the first line holds: -"),
        (("fil,label",), r"expected a column 'path'; the first line holds: fil, label"),
        (("image,filename,label",), r"columns image and filename; call the one to be read 'path'"),
        ((",".join(["path,label", *map(str, range(20_000))]),), r"got 20,002 columns"),
        (("path,labels", "shots/0.png,good"), r"a column 'label'; .*is 'labels' a slip of it\?"),
        (("path,label,catgory", "shots/0.png,good,a"), r"'catgory'; did you mean 'category'"),
        (("path,label,label", "shots/0.png,good,bad"), r"the column 'label' twice"),
        (("path label", "shots/0.png good"), r"holds: path label; columns are separated by commas"),
        (("path,label",), r"names no image; expected a line for each below the head"),
        (
            ("path,label", "shots/0.png,bad"),
            r"no normal image to train on: label good, split train",
        ),
        (("path,label", '"shots/0.png,good'), r"line 2: expected a table, but unexpected end"),
    ],
)
def test_a_wrong_table_is_explained(root: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_data(table(root, *lines))


def test_files_that_are_not_there_are_counted_and_the_line_is_named(root: Path) -> None:
    path = table(root, "path,label,mask", "shots/0.png,good,", "shots/5.png,bad,marks/7.png",
                 "shots/77.png,good,")  # fmt: skip
    words = r"2 files that .*parts\.csv names are not there, the first is .*marks/7\.png \(.*line 3"
    with pytest.raises(FileNotFoundError, match=words):
        load_data(path)
    table(root, "path,label", "shots/0.png,good", "shots/77.png,good")
    words = r"1 file that .*parts\.csv names is not there, the first is .*77\.png \(.*line 3"
    with pytest.raises(FileNotFoundError, match=words):
        load_data(path)
    with pytest.raises(FileNotFoundError, match=r"no manifest .*nowhere\.csv"):
        load_manifest(root / "nowhere.csv")


@pytest.mark.parametrize("path", ["y" * 5000, "~nobody-of-this-name/0.png", "../" * 3000 + "0.png"])
def test_paths_that_no_system_has_are_not_there(root: Path, path: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"1 file that .*parts\.csv names.*, line 3\)"):
        load_data(table(root, "path,label", "shots/0.png,good", f"{path},bad"))


def test_more_bad_labels_than_good_ones_are_told(root: Path) -> None:
    lines = [f"shots/{k}.png,{int(k > 5)}" for k in range(10)]
    assert load_data(table(root, "path,label", *lines)).notes == ()
    exchanged = [f"shots/{k}.png,{int(k < 6)}" for k in range(10)]
    (note,) = load_data(table(root, "path,label", *exchanged)).notes
    assert "names more defective than good images, 6 and 4: 0 and false mean good" in note


def test_a_mask_of_several_images_is_told(root: Path) -> None:
    lines = ["shots/0.png,good,", "shots/5.png,bad,marks/5.png", "shots/6.png,bad,marks/5.png",
             "shots/1.png,good,"]  # fmt: skip
    (note,) = load_data(table(root, "path,label,mask", *lines)).notes
    assert note.startswith("1 of the masks in ")
    assert f"{root / 'marks/5.png'}: make sure" in note


def test_predict_takes_the_paths_of_a_table_and_nothing_else(root: Path) -> None:
    lines = ["who knows,shots\\1.png", "7,shots/0.png", ",shots/77.png", ",shots/0.png"]
    expected = [root / f"shots/{k}.png" for k in (1, 0, 77)]
    assert list_pictures(table(root, "label,file", *lines)) == expected
    with pytest.raises(ValueError, match=r"parts\.csv: expected a column 'path'; .*holds: a, b"):
        list_pictures(table(root, "a,b", "1,2"))
    with pytest.raises(ValueError, match=r"parts\.csv names no image"):
        list_pictures(table(root, "path"))


def test_images_and_masks_are_opened_when_the_set_is_built(root: Path) -> None:
    path = table(root, "path,label,mask", "shots/0.png,good,", "shots/5.png,bad,marks/5.png")
    Image.new("L", (41, 32)).save(root / "marks/5.png")
    with pytest.raises(ValueError, match=r"marks/5\.png: expected a mask of the size of its image"):
        load_data(path)


def test_parquet_is_read_as_csv_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the frame that a Parquet file would give; what reads such files is not required."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "Path": [f"shots/{k}.png" for k in (0, 1, 5)],
            "label": [0, 0, 1],
            "split": ["train", None, "test"],
            "mask": [None, float("nan"), "marks/5.png"],
        }
    )
    (root / "parts.parquet").touch()
    monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
    data = load_data(root / "parts.parquet")
    assert [r.name for r in data.train.references] == ["0.png", "1.png"]
    assert [(r.name, r.defect) for r in data.test.references] == [("5.png", "bad")]
    frame.loc[1, "label"] = 7
    with pytest.raises(ValueError, match=r"parts\.parquet, row 1: expected a label .*got '7'"):
        load_data(root / "parts.parquet")


def test_parquet_without_its_reader_says_what_to_install(root: Path) -> None:
    (root / "parts.parquet").write_bytes(b"PAR1")
    code = (
        "import sys; sys.modules['pyarrow'] = sys.modules['fastparquet'] = None\n"
        "from adlib.data import load_data\n"
        "try: load_data(sys.argv[1])\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    words = [sys.executable, "-c", code, str(root / "parts.parquet")]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "needs pyarrow: pip install pyarrow; or save the table as CSV" in shown


@pytest.mark.parametrize(
    ("head", "good", "bad", "nothing"),
    [
        ("image_path,target,mask_path", "False", "True", ""),
        ("file,label,mask", "0.0", "1.0", "nan"),
        ("Filename,is_anomaly,ground_truth", "0", "1", "None"),
        ("img,class,gt", "OK", "abnormal", "NULL"),
        ("image,label,mask", "normal", "Not OK", "<NA>"),
        ("Image Path,Is-Anomaly,Mask File", "0.00", "1.00", "-"),
        ("imagePath,classification,maskPath", "no defect", "defect", "[]"),
        ("image_name;result;gt", "i.O.", "n.i.O.", "n.a."),
        ("uri|label|mask", "defect-free", "defective", "nil"),
        ("path\tlabel\tmask", "non_anomalous", "anomalous", "NA"),
    ],
)
def test_what_other_programs_write(
    root: Path, head: str, good: str, bad: str, nothing: str
) -> None:
    lines = [f"shots\\{k}.png,{good},{nothing}" for k in range(4)]
    lines += [rf"shots\5.png,{bad},marks\5.png", f"shots/6.png,{bad},{nothing}"]
    separator = next(c for c in "|;\t," if c in head)
    lines = [head, *(line.replace(",", separator) for line in lines)]
    data = load_data(table(root, *lines, name="parts.tsv" if separator == "\t" else "parts.csv"))
    assert {r.name for r in data.train.references} <= {f"{k}.png" for k in range(4)}
    assert (len(data.train), len(data.test)) == (3, 3)
    masks = {Path(s.path).name: s.mask for s in data.test if s.label}
    assert masks["6.png"] is None
    assert masks["5.png"] is not None
    assert np.argwhere(masks["5.png"]).tolist() == [[3, 5]]


def test_a_mask_is_no_image_and_that_of_a_normal_one_is_black(root: Path) -> None:
    Image.new("L", made.SIZE).save(root / "marks/0.png")
    lines = ["shots/0.png,good,marks/0.png", "shots/5.png,bad,marks/5.png"]
    data = load_data(table(root, "path,label,mask", *lines))
    assert [r.mask for r in data.references] == [None, str(root / "marks/5.png")]
    for name in ("shots/5_mask.png", "shots/5_roi.png", "shots/masks/5.png"):
        made.mask(root / name, 5)
        path = table(root, "path,label", "shots/0.png,good", "shots/5.png,bad", f"{name},bad")
        for read in (load_data, list_pictures):
            words = rf"line 4: .*{name} is the mask of .*shots/5\.png"
            with pytest.raises(ValueError, match=words):
                read(path)
