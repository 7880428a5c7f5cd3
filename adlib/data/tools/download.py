"""Fetching a benchmark's archive: by pooch, against a hash, going on where it stopped."""

import hashlib
import os
from pathlib import Path
from typing import Any

from tqdm import tqdm

from adlib.data.tools.catalogue import BENCHMARKS, Benchmark

CHUNK = 2**20  # bytes
TIMEOUT = (10, 60)  # seconds to connect, and without a byte; ours


def by_hand(name: str) -> str:
    """How to come by a benchmark that cannot be fetched, in words."""
    benchmark = BENCHMARKS[name]
    return (
        f"no stable address of {benchmark.title} is known to adlib: get it from {benchmark.home} "
        f"(needs {benchmark.needs}), then run: adlib data get {name} --archive FILE --to DIR"
    )


def fetch(name: str, folder: Path) -> Path:
    """Download the archive of a benchmark, or go on with it; what is there already is not fetched.

    Args:
        name: Of the benchmark.
        folder: Where the archive is kept.
    Returns:
        The archive, whose hash is the known one.
    Raises:
        ValueError: It has no stable address, the network is forbidden, or the hash is another.
        OSError: The connection failed; what came so far is kept beside it and is gone on with.
    """
    import pooch

    benchmark = BENCHMARKS[name]
    if benchmark.address is None or benchmark.known_hash is None:
        raise ValueError(by_hand(name))
    if os.environ.get("ADLIB_OFFLINE", "") not in ("", "0"):
        raise ValueError(
            f"ADLIB_OFFLINE is set, so nothing is downloaded; get {benchmark.address} by other "
            f"means, then run: adlib data get {name} --archive FILE --to DIR"
        )
    folder.mkdir(parents=True, exist_ok=True)
    file = benchmark.address.rpartition("/")[2]
    try:
        found = pooch.retrieve(
            benchmark.address,
            known_hash=benchmark.known_hash,
            fname=file,
            path=folder,
            # its own stub calls the arguments of a downloader by other names than its documentation
            downloader=Resuming(folder / f"{file}.part"),  # pyright: ignore[reportArgumentType]
        )
    except ValueError as error:
        raise ValueError(
            f"{benchmark.address} does not hold the file that adlib knows ({error}); it was "
            f"removed. {benchmark.title} may have moved or changed: see {benchmark.home}"
        ) from error
    return Path(found)


class Resuming:
    """A downloader for pooch that keeps what came so far, and asks for the rest of it.

    Args:
        part: The file in which an unfinished download waits.
    """

    def __init__(self, part: Path) -> None:
        self.part = part

    def __call__(
        self, url: str, output_file: str | os.PathLike[str], pooch: Any, check_only: bool = False
    ) -> None:
        """Fetch `url` into `output_file`; what pooch does with it then is to check its hash."""
        import requests

        have = self.part.stat().st_size if self.part.is_file() else 0
        # bytes as they lie there: compressed on the way, lengths would not fit
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
                if answer.status_code == 416 and have:  # nothing is left to ask for
                    answer.close()
                else:
                    answer.raise_for_status()
                    self._receive(answer, have if answer.status_code == 206 else 0)
        except requests.RequestException as error:
            so_far = self.part.stat().st_size / 2**20 if self.part.is_file() else 0
            raise OSError(
                f"{url} stopped after {so_far:,.0f} MiB: {error}; run the same command again, and "
                "it goes on from there"
            ) from error
        self.part.replace(output_file)

    def _receive(self, answer: Any, have: int) -> None:
        left = int(answer.headers.get("content-length", 0))
        bar = tqdm(
            desc=self.part.stem,
            initial=have,
            total=have + left if left else None,
            unit="B",
            unit_scale=True,
        )
        with bar, self.part.open("ab" if have else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if left and self.part.stat().st_size < have + left:
            raise OSError(f"{self.part} is shorter than announced; run the same command again")


def agrees(archive: Path, benchmark: Benchmark) -> bool | None:
    """Whether an archive has the known hash; None where none is known."""
    if benchmark.known_hash is None:
        return None
    kind, _, expected = benchmark.known_hash.partition(":")
    with archive.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() == expected
