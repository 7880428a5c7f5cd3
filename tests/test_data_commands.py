"""`adlib data list | check | get | cache`: what is printed, what is asked, and the exit status."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adlib.cli import main
from adlib.data import load_data
from adlib.data.tools.archives import unpack
from adlib.data.tools.catalogue import BENCHMARKS
from tests import made_benchmarks as made

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def no_home(monkeypatch: Patch) -> None:
    monkeypatch.delenv("ADLIB_BENCHMARKS", raising=False)


def test_list_names_licence_citation_and_place(
    tmp_path: Path, monkeypatch: Patch, capsys: Capture
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


def test_check_ends_with_1_where_something_is_wrong(tmp_path: Path, capsys: Capture) -> None:
    made.mpdd(tmp_path)
    for words, status, text in (
        (["mpdd", str(tmp_path)], 1, "4 of 6 categories missing: bracket_black"),
        ([str(tmp_path), "--decode"], 0, "no problem; it will be used as 2 categories"),
        (["mpdd"], 1, "name its folder (`adlib data check mpdd FOLDER`"),
    ):
        assert main(["data", "check", *words]) == status
        shown = capsys.readouterr().out
        assert text in shown
        assert ("every image and mask was decoded" in shown) == ("--decode" in words)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("check mvtecad", "no file, folder or benchmark 'mvtecad'; did you mean 'mvtec-ad'?"),
        ("check parst", "no file, folder or benchmark 'parst'; benchmarks: mvtec-ad, visa"),
        ("check . .", "'.' is no benchmark, so a second path has no use"),
        ("list nothing", "no benchmark 'nothing'; benchmarks: mvtec-ad, visa, real-iad, btad"),
        ("get mpdd --to x", "no stable address of MPDD is known to adlib: get it from https://git"),
        ("get visa", "say where to: --to DIR, or set ADLIB_BENCHMARKS"),
        ("get visa --to x --archive no.tar", "no archive no.tar"),
        ("cache --days 3", "--days belongs to --prune"),
        ("chekc mpdd", "chekc"),
    ],
)
def test_a_wrong_request_ends_with_2_and_says_why(
    words: str, error: str, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *words.split()]) == 2
    captured = capsys.readouterr()
    assert error in captured.err + captured.out
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_names_in_a_report_cannot_steer_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    made.image(tmp_path / "good/0.png")
    (tmp_path / "good/\x1b[2J\u202e.png").write_bytes(b"no picture")
    assert main(["data", "check", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert r"\x1b[2J\u202e.png" in shown
    assert shown.replace("\n", "").isprintable()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """BTAD as one archive, with the folder that it brings."""
    made.btad(tmp_path / "made")
    path = tmp_path / "btad.tar.xz"
    with tarfile.open(path, "w:xz", preset=0) as file:
        file.add(tmp_path / "made", ".")
    shutil.rmtree(tmp_path / "made")
    return path


def request(archive: Path, target: Path) -> list[str]:
    return ["data", "get", "btad", "--archive", str(archive), "--to", str(target)]


def test_get_unpacks_an_archive_that_one_has(
    archive: Path, tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / "sets/btad"
    words = [*request(archive, target), "--accept-licence"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "licence    CC BY-SA 4.0" in shown
    assert "the archive is NOT the one that is known of BTAD" in shown
    assert f"next: adlib data check btad {target}" in shown
    assert load_data("btad", root=target).categories == ("01", "02", "03")
    assert main(words) == 2
    assert "btad exists already" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("Yes", 0), ("n", 2), ("", 2), (None, 2)])
def test_get_asks_for_the_licence_after_it_was_shown(
    archive: Path,
    tmp_path: Path,
    monkeypatch: Patch,
    capsys: Capture,
    answer: str | None,
    status: int,
) -> None:
    def ask(question: str) -> str:
        assert "BTAD" in question
        assert "CC BY-SA 4.0" in capsys.readouterr().out
        if answer is None:  # nobody is there
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setenv("ADLIB_BENCHMARKS", str(tmp_path / "sets"))
    assert main(["data", "get", "btad", "--archive", str(archive)]) == status
    assert (tmp_path / "sets/btad").exists() == (status == 0)
    error = "say --accept-licence" if answer is None else "was not accepted; nothing was done"
    assert (error in capsys.readouterr().err) == (status == 2)


def test_get_refuses_an_archive_that_grows_too_large(
    archive: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = [*request(archive, tmp_path / "x"), "--accept-licence"]
    for option, limit in (("--max-gib", "0.00001"), ("--max-files", "3")):
        assert main([*words, option, limit]) == 2
        assert f"raise {option}" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["btad.tar.xz"]


def test_get_downloads_where_an_address_is_known(
    archive: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    asked = []

    def fetch(name: str, folder: Path) -> Path:
        asked.append((name, folder))
        return archive

    monkeypatch.setattr("adlib.commands.data.fetch", fetch)
    assert main(["data", "get", "btad", "--to", str(tmp_path / "x"), "--accept-licence"]) == 0
    assert asked == [("btad", tmp_path)]
    assert f"the archive stays at {archive}; remove it when you like" in capsys.readouterr().out


# a process of the command line that stops in the middle of unpacking, or meets a full disk
SLOW = """
import sys, time
from adlib import cli
from tarfile import TarFile
extract = TarFile.extract
def slow(*args):
    extract(*args)
    print("at work", flush=True)
    time.sleep(100)
TarFile.extract = slow
sys.exit(cli.main())
"""
FULL = """
import resource, sys
from adlib import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.exit(cli.main())
"""


@contextmanager
def process(code: str, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *words, "--accept-licence"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env=os.environ | {"OMP_NUM_THREADS": "1"}) as child:
        assert child.stdout is not None
        assert code != SLOW or "at work\n" in iter(child.stdout.readline, "")
        yield child
        child.kill()


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(
    archive: Path, tmp_path: Path
) -> None:
    target = tmp_path / "sets/x"
    with process(SLOW, request(archive, target)) as child:
        unpack([archive], target)
        assert len(hidden(target.parent)) == 1
        child.kill()
        child.wait()
    shutil.rmtree(target)
    unpack([archive], target)
    assert hidden(target.parent) == []


def test_sigterm_cleans_up_as_an_interrupt_does(archive: Path, tmp_path: Path) -> None:
    with process(SLOW, request(archive, tmp_path / "sets/x")) as child:
        assert len(hidden(tmp_path / "sets")) == 1
        child.send_signal(signal.SIGTERM)
        _, error = child.communicate(timeout=60)
    assert "interrupted" in error
    assert "Traceback" not in error
    assert not (tmp_path / "sets").exists()


def test_a_full_disk_is_named(archive: Path, tmp_path: Path) -> None:
    with process(FULL, request(archive, tmp_path / "sets/x")) as child:
        _, error = child.communicate(timeout=60)
    assert child.returncode == 1
    assert f"{tmp_path / 'sets/x'} could not be written" in error
    assert "Traceback" not in error
    assert not (tmp_path / "sets").exists()


def test_cache_shows_and_prunes(capsys: Capture) -> None:
    assert main(["data", "cache"]) == 0
    assert "in 0 files of" in capsys.readouterr().out
    assert main(["data", "cache", "--prune"]) == 0
    assert "0.0 MiB  removed; 0.0 MiB left" in capsys.readouterr().out
