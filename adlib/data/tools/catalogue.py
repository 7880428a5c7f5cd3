"""What is known of each benchmark, read from `catalogue.toml`, which says where it comes from."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Images of a benchmark or a category; None where the number is not sure."""

    train: int | None = None  # normal images to train on
    good: int | None = None  # normal images to test on
    bad: int | None = None  # defective images to test on
    seen: int | None = 0  # defective images of the training split
    images: int | None = None  # all of them together


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One data set."""

    title: str  # as its authors call it
    categories: tuple[str, ...]  # in alphabetical order, as its folders are called
    counts: Counts  # of all categories together
    each: Mapping[str, Counts]  # of single categories, where they are sure
    licence: str  # in a few words
    cite: str  # what to cite, with DOI or arXiv number
    home: str  # its home page
    needs: str  # what a download asks for
    folders: tuple[str, ...]  # what its archive unpacks to; looked for beside its short name
    address: str | None = None  # of the archive, where it is stable and its hash is known
    known_hash: str | None = None  # of the archive: "sha256:..." or "md5:..."

    @property
    def notice(self) -> str:
        """Licence and citation, as they are shown before use."""
        return f"{self.title}: licensed {self.licence}. Please cite {self.cite}."


def _benchmark(entry: dict[str, Any]) -> Benchmark:
    each = {
        category: Counts(train=train, good=good, bad=bad)
        for category, (train, good, bad) in entry.get("each", {}).items()
    }
    counts = {word: None if n == "unknown" else n for word, n in entry["counts"].items()}
    known: dict[str, Any] = {
        "folders": tuple(entry["folders"]),
        "counts": Counts(**counts),
        "each": each,
    }
    known["categories"] = tuple(entry.get("categories", each))
    return Benchmark(**entry | known)


_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
BENCHMARKS: dict[str, Benchmark] = {name: _benchmark(entry) for name, entry in _TABLE.items()}
