"""One call for names and folders; every wrong word is answered."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from adlib.data import load_data


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_data("builtin", size=48, train=1, test=2).name == "builtin"
    for k in range(3):
        path = tmp_path / "solar" / "good" / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (k, 0, 0)).save(path)
    for name in (tmp_path / "solar", str(tmp_path / "solar")):
        assert load_data(name, holdout=0.5).train.categories == ("solar",)
    monkeypatch.chdir(tmp_path)
    assert len(load_data("./solar").train) == 2  # the folder, not the data set of that name
    (tmp_path / "solar").rename(tmp_path / "parts")
    assert load_data("parts").name == "parts"


def test_unknown_names_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = (
        r"no data set is called 'solr'; did you mean 'solar'\?; names: builtin, solar, mvtec-ad,"
    )
    with pytest.raises(ValueError, match=words):
        load_data("solr")
    for path in (Path("solr"), "./solr", "a/b"):
        with pytest.raises(FileNotFoundError, match="no folder"):
            load_data(path)


def test_unknown_options_name_the_known_ones(tmp_path: Path) -> None:
    words = r"the data set 'builtin' takes no option 'sise'; it takes: size, train, test, seed, cat"
    with pytest.raises(TypeError, match=words):
        load_data("builtin", sise=64)
    with pytest.raises(TypeError, match=r"takes no option 'limit'; it takes: categories, holdout"):
        load_data(tmp_path, limit=3)


def test_importing_is_light() -> None:
    code = (
        "import sys, adlib.data; "
        "print([m for m in ('torch', 'timm', 'scipy', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
