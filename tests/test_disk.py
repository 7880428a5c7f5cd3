"""What is written reaches the disk whole."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from adlib.system import disk
from adlib.system.printable import printable


def test_a_file_is_synced_by_a_handle_that_may_write_as_windows_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "sync_folder", lambda folder: None)  # which Windows cannot
    monkeypatch.setattr(os, "fsync", lambda handle: os.write(handle, b""))
    disk.write_text(tmp_path / "x.txt", "whole")
    assert (tmp_path / "x.txt").read_text() == "whole"


def test_only_leftovers_of_a_process_that_has_ended_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine, node = disk.temporary_prefix(tmp_path / "x"), platform.node()
    kept = [
        f"{mine}abc",
        f".x-elsewhere-{ended.pid}-1-abc",  # of a process of another machine
        f".y-{node}-{ended.pid}-1-abc",  # beside another file
        ".x-abc",
        "x",
    ]
    gone = [
        f".x-{node}-{ended.pid}-1-abc",
        f".x-{node}-{os.getpid()}-1-abc",
    ]  # a number comes again
    for name in [*kept, *gone]:
        (tmp_path / name).mkdir()
    (tmp_path / gone[0] / "deep").write_text("8 GiB")
    (tmp_path / f".x-{node}-{ended.pid}-1-file").write_text("")
    disk.remove_abandoned(tmp_path / "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)
    disk.remove_abandoned(tmp_path / "no/where")


def test_characters_that_steer_a_terminal_are_escaped() -> None:
    assert printable("Prüfling 表 é.png") == "Prüfling 表 é.png"
    assert printable("a\x1b[2J\n\u202eb\udc80") == r"a\x1b[2J\n\u202eb\udc80"
    assert printable("a\x1b\nb", keep="\n") == "a\\x1b\nb"
