"""What is written reaches the disk whole; what a killed process left goes, and nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from adlib.engine.gallery import write_gallery
from adlib.metrics.threshold import Levels
from adlib.system import disk
from adlib.system.printable import printable

ONE = (np.zeros((16, 18, 3), np.uint8), np.zeros((16, 18), np.float32), 0.8)
LEVELS = Levels(threshold=0.5, scale=(0.0, 1.0))


def test_a_file_is_synced_by_a_handle_that_may_write_as_windows_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "sync_folder", lambda folder: None)  # which Windows cannot
    monkeypatch.setattr(os, "fsync", lambda handle: os.write(handle, b""))
    disk.write_text(tmp_path / "x.txt", "whole")
    assert (tmp_path / "x.txt").read_text() == "whole"


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    me, host = psutil.Process(), disk.HOST
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    born = int(me.create_time())
    stay = [
        f".found-{host}.{me.pid}.{born}-abc",  # mine
        f".found-{'0' * 8}.{ended.pid}.{born}-abc",  # of another machine
        f".other-{host}.{ended.pid}.{born}-abc",  # of another path
        ".found-notes",
    ]
    gone = [
        f".found-{host}.{ended.pid}.{born}-abc",
        f".found-{host}.{me.pid}.{born - 100}-abc",  # its number was given out again
    ]
    for name in stay + gone:
        (tmp_path / name / "overlays").mkdir(parents=True)
    with disk.new_folder(tmp_path / "found"):
        assert {p.name for p in tmp_path.iterdir()} >= set(stay)
        assert not {p.name for p in tmp_path.iterdir()} & set(gone)
    (tmp_path / f".x.txt-{host}.{ended.pid}.{born}-abc").touch()
    disk.write_text(tmp_path / "x.txt", "whole")
    assert not list(tmp_path.glob(".x.txt-*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from adlib.system.disk import new_folder
with new_folder(Path(sys.argv[1])) as work:
    (work / "half").touch()
    os.kill(os.getpid(), int(sys.argv[2]))
"""


def test_sigterm_leaves_nothing_and_sigkill_only_until_the_next_run(tmp_path: Path) -> None:
    def run(number: int) -> int:
        words = [sys.executable, "-c", KILLED, str(tmp_path / "new" / "found"), str(number)]
        return subprocess.run(words, capture_output=True, check=False).returncode

    assert run(signal.SIGTERM) == -signal.SIGINT  # as Ctrl-C
    assert list(tmp_path.iterdir()) == []
    assert run(signal.SIGKILL) == -signal.SIGKILL
    (left,) = (tmp_path / "new").iterdir()
    write_gallery(
        tmp_path / "new" / "found",
        [("a.png", *ONE)],
        levels=LEVELS,
        promise="",
    )
    assert not left.exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["found"]


def test_sigterm_is_left_to_who_handles_it(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, handler := lambda *_: None)
    try:
        with disk.new_folder(tmp_path / "found"):
            assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    with disk.new_folder(tmp_path / "two"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_told_with_the_folder(tmp_path: Path) -> None:
    def images() -> Iterator[tuple[str, Any, Any, float]]:
        yield "a.png", *ONE
        raise OSError(28, "No space left on device")  # as Pillow says it, without a path

    words = r"found could not be written: the disk is full \([\d.,]+ MiB free there\)"
    with pytest.raises(OSError, match=words):
        write_gallery(tmp_path / "found", images(), levels=LEVELS, promise="")  # pyright: ignore
    assert list(tmp_path.iterdir()) == []


def test_any_bit_of_a_file_of_tensors_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.int64)}
    digest = disk.write_tensors(path, tensors, {"note": ['"sha256":"', "0" * 64]})
    found, about, again = disk.read_tensors(path)
    assert all(torch.equal(found[k], v) for k, v in tensors.items())
    assert (about, again) == ({"note": ['"sha256":"', "0" * 64]}, digest)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert disk.read_tensors(path)[2] is None  # the digest's own name is hit
        except (ValueError, OSError):
            continue
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"."):
            disk.read_tensors(path)


def test_characters_that_steer_a_terminal_are_escaped() -> None:
    assert printable("Prüfling 表 é.png") == "Prüfling 表 é.png"
    assert printable("a\x1b[2J\n\u202eb\udc80") == r"a\x1b[2J\n\u202eb\udc80"
    name = "größe \x1b[2J\n\u202egpj.exe\udce9.png"
    assert printable(name) == r"größe \x1b[2J\n\u202egpj.exe\udce9.png"
    assert printable("a\x1b\nb", keep="\n") == "a\\x1b\nb"
