"""What is written reaches the disk whole."""

import os
from pathlib import Path

import pytest

from adlib.system import disk


def test_a_file_is_synced_by_a_handle_that_may_write_as_windows_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "sync_folder", lambda folder: None)  # which Windows cannot
    monkeypatch.setattr(os, "fsync", lambda handle: os.write(handle, b""))
    disk.write_text(tmp_path / "x.txt", "whole")
    assert (tmp_path / "x.txt").read_text() == "whole"
