"""A download continues where it stopped, and nothing is kept whose hash is another."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adlib.data.tools import catalogue
from adlib.data.tools.catalogue import BENCHMARKS
from adlib.data.tools.download import agrees, by_hand, fetch

CONTENT = bytes(range(256)) * 5_000  # 1.28 MB, more than one chunk


class Server(ThreadingHTTPServer):
    """On this machine only; notes what it is asked for, and may hang up early."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.hang_up_after: int | None = None
        self.resumes = True


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.split("=")[1][:-1]) if wanted and self.server.resumes else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = self.server.hang_up_after or len(CONTENT)
        self.wfile.write(CONTENT[start:end])
        if end < len(CONTENT):
            self.connection.close()

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("ADLIB_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}/set.tar"
        known_hash = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
        here = replace(BENCHMARKS["visa"], address=address, known_hash=known_hash)
        monkeypatch.setitem(catalogue.BENCHMARKS, "visa", here)
        yield running
        running.shutdown()
        thread.join()


def test_it_is_fetched_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        assert fetch("visa", tmp_path / "new") == tmp_path / "new/set.tar"
    assert (tmp_path / "new/set.tar").read_bytes() == CONTENT
    assert server.asked == [None]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["set.tar"]


def test_a_broken_connection_is_continued(server: Server, tmp_path: Path) -> None:
    server.hang_up_after = 1_100_000
    with pytest.raises(OSError, match=r"set\.tar stopped after 1 MiB.*set\.tar\.part.*again"):
        fetch("visa", tmp_path)
    part = tmp_path / "set.tar.part"
    have = part.stat().st_size
    assert 0 < have < len(CONTENT)
    assert part.read_bytes() == CONTENT[:have]
    server.hang_up_after = None
    assert fetch("visa", tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={have}-"]
    assert [p.name for p in tmp_path.iterdir()] == ["set.tar"]


@pytest.mark.parametrize("have", [1000, len(CONTENT)])  # the server starts again; nothing is left
def test_a_part_is_completed(server: Server, tmp_path: Path, have: int) -> None:
    (tmp_path / "set.tar.part").write_bytes(CONTENT[:have])
    server.resumes = have == len(CONTENT)
    assert fetch("visa", tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={have}-"]


def test_another_content_is_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar").write_bytes(b"an older version")
    (tmp_path / "set.tar.part").write_bytes(b"?" * 1000)  # the rest is right, the whole is not
    with pytest.raises(ValueError, match=r"127\.0\.0\.1.* by its hash.*see https://g"):
        fetch("visa", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["set.tar"]
    assert fetch("visa", tmp_path).read_bytes() == CONTENT


def test_nothing_is_fetched_where_the_network_is_forbidden(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADLIB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"ADLIB_OFFLINE.*adlib data get visa --archive"):
        fetch("visa", tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("name", [n for n, b in BENCHMARKS.items() if b.address is None])
def test_where_no_address_is_known_it_says_how(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"adlib data get {name} --archive FILE") as caught:
        fetch(name, tmp_path)
    assert str(caught.value) == by_hand(name)
    assert BENCHMARKS[name].home in by_hand(name)


def test_hashes_are_compared(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"x")
    assert agrees(file, BENCHMARKS["mpdd"]) is None
    assert agrees(file, BENCHMARKS["dtd"]) is False
    md5 = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    assert agrees(file, replace(BENCHMARKS["dtd"], known_hash=f"md5:{md5}")) is True
