"""`adlib data list | check | get | cache`: what is printed, what is asked, and the exit status."""

import shutil
import tarfile
from pathlib import Path

import pytest

from adlib.cli import main
from adlib.data import load_data
from adlib.data.tools.catalogue import BENCHMARKS
from tests import made_benchmarks as made


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADLIB_BENCHMARKS", raising=False)


def test_list_names_licence_citation_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.mpdd(tmp_path / "MPDD")
    monkeypatch.setenv("ADLIB_BENCHMARKS", str(tmp_path))
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    for name, benchmark in BENCHMARKS.items():
        assert f"\n{name}: {benchmark.title}\n" in shown
        for words in (benchmark.licence, benchmark.cite, benchmark.home, benchmark.needs):
            assert words in shown
    assert "15 categories, 3,629 normal images to train on, 467 normal ones to test on" in shown
    assert "47 categories, 5,640 images\n" in shown  # textures: none is a normal product
    assert "builtin: 9 categories, made in memory" in shown
    assert "1 category, 2,085 normal images to train on, 246 defective ones beside them" in shown
    assert f"here       {tmp_path / 'MPDD'}" in shown
    assert "here       no\n" in shown
    assert "None" not in shown
    assert main(["data", "list", "btad"]) == 0
    shown = capsys.readouterr().out
    assert "categories 01, 02, 03" in shown
    assert "visa" not in shown


def test_check_ends_with_1_where_something_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.mpdd(tmp_path)
    assert main(["data", "check", "mpdd", str(tmp_path)]) == 1
    assert "4 of 6 categories missing: bracket_black" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path), "--decode"]) == 0
    shown = capsys.readouterr().out
    assert "every image and mask was decoded" in shown
    assert "no problem; it will be used as 2 categories" in shown
    assert main(["data", "check", "mpdd"]) == 1
    shown = capsys.readouterr().out
    assert "MPDD was not found: ADLIB_BENCHMARKS is not set" in shown
    assert "name its folder (`adlib data check mpdd FOLDER`" in shown


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            "check mvtecad",
            "'mvtecad' is no file or folder here, and no benchmark; did you mean 'mvtec-ad'?; ben",
        ),
        ("check parst", "'parst' is no file or folder here, and no benchmark; benchmarks are: mvt"),
        ("list nothing", "no benchmark 'nothing'; there are: mvtec-ad, visa, real-iad, btad, dagm"),
        ("get mpdd --to x", "no stable address of MPDD is known to adlib: get it from https://git"),
        ("get visa", "say where to: --to DIR, or set ADLIB_BENCHMARKS"),
        ("get visa --to x --archive no.tar", "no archive no.tar"),
        ("cache --days 3", "--days belongs to --prune"),
        ("chekc mpdd", "chekc"),
    ],
)
def test_a_wrong_request_ends_with_2_and_says_why(
    words: str,
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *words.split()]) == 2
    captured = capsys.readouterr()
    assert error in captured.err + captured.out
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_checked_by_its_name_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made.image(tmp_path / "parts/good/0.png")
    assert main(["data", "check", "parts", "parts"]) == 2
    assert (
        "'parts' is no benchmark, so a second path has no use; for photographs of your own: "
        "adlib data check parts\n"
    ) in capsys.readouterr().err
    assert main(["data", "check", "parts"]) == 0


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """BTAD as one archive, with the folder that it brings."""
    made.btad(tmp_path / "made")
    path = tmp_path / "btad.tar.xz"
    with tarfile.open(path, "w:xz", preset=0) as file:
        file.add(tmp_path / "made", ".")
    shutil.rmtree(tmp_path / "made")
    return path


def test_get_unpacks_an_archive_that_one_has(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "sets/btad"
    words = ["data", "get", "btad", "--archive", str(archive), "--to", str(target)]
    assert main([*words, "--accept-licence"]) == 0
    shown = capsys.readouterr().out
    assert "licence    CC BY-SA 4.0" in shown
    assert "the archive is NOT the one that is known of BTAD" in shown
    assert f"unpacked into {target}" in shown
    assert f"next: adlib data check btad {target}" in shown
    assert load_data("btad", root=target).categories == ("01", "02", "03")
    assert main([*words, "--accept-licence"]) == 2
    assert "btad exists already" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("Yes", 0), ("n", 2), ("", 2)])
def test_get_asks_for_the_licence_after_it_was_shown(
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    status: int,
) -> None:
    def ask(question: str) -> str:
        assert question == "Do you accept the licence of BTAD? [y/N] "
        assert "CC BY-SA 4.0" in capsys.readouterr().out
        return answer

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setenv("ADLIB_BENCHMARKS", str(tmp_path / "sets"))
    assert main(["data", "get", "btad", "--archive", str(archive)]) == status
    assert (tmp_path / "sets/btad").exists() == (status == 0)
    if status == 0:
        assert len(load_data("btad").train) == 9
    else:
        assert "the licence of BTAD was not accepted; nothing was done" in capsys.readouterr().err


def test_get_without_anybody_to_ask(
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ask(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ask)
    words = ["data", "get", "btad", "--archive", str(archive), "--to", str(tmp_path / "x")]
    assert main(words) == 2
    assert "nobody is there to accept the licence; if you do, say --accept-li" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "x").exists()


def test_get_refuses_what_grows_too_large(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "get", "btad", "--archive", str(archive), "--to", str(tmp_path / "x")]
    assert main([*words, "--accept-licence", "--max-gib", "0.00001"]) == 2
    assert "grows past 1e-05 GiB when it is unpacked; nothing was kept" in capsys.readouterr().err
    assert main([*words, "--accept-licence", "--max-files", "3"]) == 2
    assert "holds more than 3 files" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["btad.tar.xz"]


def test_get_downloads_where_an_address_is_known(
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def fetch(name: str, folder: Path) -> Path:
        asked.append((name, folder))
        return archive

    monkeypatch.setattr("adlib.data_commands.fetch", fetch)
    words = ["data", "get", "btad", "--to", str(tmp_path / "x"), "--accept-licence"]
    assert main(words) == 0
    assert asked == [("btad", tmp_path)]
    assert f"the archive stays at {archive}; remove it when you like" in capsys.readouterr().out


def test_cache_shows_and_prunes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "cache"]) == 0
    assert "in 0 files of" in capsys.readouterr().out
    assert main(["data", "cache", "--prune"]) == 0
    assert "0.0 MiB  removed; 0.0 MiB left" in capsys.readouterr().out
