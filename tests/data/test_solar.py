"""The solar cells: splits by hash, nothing unsure, the licence said."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlib.data.readers import solar
from adlib.data.readers.solar import load_solar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty sound, six defective and four unsure cells of either kind."""
    (tmp_path / "images").mkdir()
    lines, k = [], 0
    for category in ("mono", "poly"):
        for probability, count in ((0.0, 20), (1.0, 6), (1 / 3, 2), (2 / 3, 2)):
            for _ in range(count):
                name = f"images/cell{k:04}.png"
                Image.fromarray(np.full((20, 20), k, dtype=np.uint8)).save(tmp_path / name)
                lines.append(f"{name}  {probability!r:20} {category}")
                k += 1
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_train_is_sound_and_test_is_held_out_or_surely_defective(folder: Path) -> None:
    data = load_solar(folder=folder)
    assert data.categories == ("mono", "poly")
    assert (len(data.train), len(data.test)) == (32, 20)
    assert not data.train.labels.any()
    assert data.test.labels.sum() == 12
    mono = [f"cell{k:04}.png" for k in range(20)]
    ranked = sorted(mono, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    held = {r.name for r in data.test.of("mono").references if not r.label}
    assert held == set(ranked[:4])
    names = [r.name for split in (data.train, data.test) for r in split.references]
    assert len(names) == len(set(names)) == 52  # the 8 unsure cells are in neither
    sample = data.test.select(data.test.labels)[0]
    assert sample.mask is None
    assert sample.defect == "defective"


def test_limit_takes_the_first_by_hash_and_halves_the_test(folder: Path) -> None:
    whole, few = load_solar(folder=folder), load_solar(folder=folder, limit=5)
    for category in few.categories:
        assert len(few.train.of(category)) == len(few.test.of(category)) == 5
        assert few.test.of(category).labels.sum() == 2
        assert few.train.of(category).references == whole.train.of(category).references[:5]
    assert load_solar(folder=folder, limit=5).hash == few.hash
    one = load_solar(folder=folder, categories=["poly"], limit=1000)
    assert one.categories == ("poly",)
    assert one.hash == load_solar(folder=folder, categories=["poly"]).hash


def test_the_licence_and_all_three_papers_are_in_the_notice(folder: Path) -> None:
    notice = load_solar(folder=folder).notice
    for words in ("CC BY-NC-SA 4.0", "non-commercial", "EU PVSEC 2018", "10.1016/", "10.1007/"):
        assert words in notice


def test_bad_requests_and_files_are_explained(folder: Path) -> None:
    with pytest.raises(
        ValueError, match="no category 'mon' in the solar cells; there are: mono, poly"
    ):
        load_solar(["mon"], folder=folder)
    with pytest.raises(ValueError, match=r"limit must be at least 2, .*got 1"):
        load_solar(limit=1, folder=folder)
    (folder / "images/cell0003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 60 solar cells are missing.*cell0003.png"):
        load_solar(folder=folder)
    for line in ("images/a.png 1.0 multi", "images/a.png high mono"):
        (folder / "labels.csv").write_text(line)
        with pytest.raises(ValueError, match="line 1: expected an image, a probability and mono"):
            load_solar(folder=folder)
    (folder / "labels.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*labels.csv; install elpv-dataset again"):
        load_solar(folder=folder)


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solar, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="run `pip install elpv-dataset`"):
        load_solar()


@pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason="elpv-dataset is not installed"
)
def test_the_real_cells() -> None:
    data = load_solar()
    counts = {c: (len(data.train.of(c)), len(data.test.of(c))) for c in data.categories}
    # 588 and 920 sound cells, a fifth of them held out; 313 and 402 surely defective ones
    assert counts == {"mono": (470, 118 + 313), "poly": (736, 184 + 402)}
    contents = [set(map(_content, s.references)) for s in (data.train, data.test)]
    assert contents[0].isdisjoint(contents[1])
    assert data.test[0].image.shape == (300, 300, 3)


def _content(reference: solar.ImageRef) -> bytes:
    return hashlib.sha256(Path(reference.path).read_bytes()).digest()
