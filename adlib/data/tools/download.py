"""Downloading a benchmark's archive: it continues where it stopped, and its hash is checked."""

import hashlib
import os
from pathlib import Path

from tqdm import tqdm

from adlib.data.tools.catalogue import BENCHMARKS, Benchmark

TIMEOUT = (10, 60)  # seconds to connect, and without a byte; ours


def by_hand(name: str) -> str:
    """Say how to get a benchmark that adlib cannot download."""
    known = BENCHMARKS[name]
    return (
        f"no stable address of {known.title} is known to adlib: get it from {known.home} (needs "
        f"{known.needs}), then run: adlib data get {name} --archive FILE --to DIR"
    )


def fetch(name: str, folder: Path) -> Path:
    """Download the archive of a benchmark into a folder, or the rest of it, unless it is there.

    Raises:
        ValueError: It has no stable address, the network is forbidden, or the hash is another.
        OSError: The connection failed, or the disk is full; the part that came is kept beside it
            in `*.part`, and the next call continues it.
    """
    benchmark = BENCHMARKS[name]
    address = benchmark.address
    if address is None or benchmark.known_hash is None:
        raise ValueError(by_hand(name))
    if os.environ.get("ADLIB_OFFLINE", "") not in ("", "0"):
        raise ValueError(
            f"ADLIB_OFFLINE is set, so nothing is downloaded; get {address} by other means, then "
            f"run: adlib data get {name} --archive FILE --to DIR"
        )
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / address.rpartition("/")[2]
    if archive.is_file() and agrees(archive, benchmark):
        return archive
    part = archive.with_name(f"{archive.name}.part")
    try:
        _receive(address, part)
    except OSError as error:  # of the connection or of the disk
        so_far = part.stat().st_size / 2**20 if part.is_file() else 0
        raise OSError(
            f"{address} stopped after {so_far:,.0f} MiB, which are kept in {part}: {error}; run "
            "the same command again, and it goes on from there"
        ) from error
    if not agrees(part, benchmark):
        part.unlink()
        raise ValueError(
            f"{address} does not hold the file that adlib knows, by its hash; it was removed. "
            f"{benchmark.title} may have moved or changed: see {benchmark.home}"
        )
    part.replace(archive)
    return archive


def _receive(address: str, part: Path) -> None:
    """Append to a file what it lacks, or fill it anew where the server cannot continue."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    # bytes as they lie there: compressed on the way, lengths would not fit
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416 and have:  # nothing is left to ask for
            return
        answer.raise_for_status()
        have = have if answer.status_code == 206 else 0
        left = int(answer.headers.get("content-length", 0))
        total = have + left if left else None
        bar = tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True)
        with bar, part.open("ab" if have else "wb") as file:
            for chunk in answer.iter_content(2**20):
                bar.update(file.write(chunk))
    if total and part.stat().st_size < total:
        raise OSError("the connection ended early")


def agrees(archive: Path, benchmark: Benchmark) -> bool | None:
    """Whether an archive has the known hash; None where none is known."""
    if benchmark.known_hash is None:
        return None
    kind, _, expected = benchmark.known_hash.partition(":")
    with archive.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() == expected
