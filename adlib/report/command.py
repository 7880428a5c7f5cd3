"""The command `adlib report`: the records of a folder, as tables beside the published numbers."""

import dataclasses
from pathlib import Path

from tyro.conf import Positional


@dataclasses.dataclass(kw_only=True)
class Report:
    """Show the records of a folder as tables, with what is significant and what is not.

    Reads `*.jsonl` of sweeps, sweeps' folders, and record.json of evaluated runs. Runs under
    another protocol, or on other images, get tables of their own.
    """

    folder: Positional[Path]
    """a folder that holds records, such as book/results or runs"""
    out: Path | None = None
    """write report.txt, report.md, CSV files and figures into this folder"""
    against: str | None = None
    """compare each arm with this one only; up to six arms are compared with each other"""
    published: bool = False
    """also list published means of data sets that nothing was run on"""


def report(command: Report) -> None:
    """Print the report of a folder, and write it if asked to."""
    from adlib.report.composition import compose
    from adlib.report.folder import read_folder

    found = read_folder(command.folder)
    document = compose(found, against=command.against, everywhere=command.published)
    print(document.text())
    if command.out is not None:
        written = document.write(command.out)
        print(f"{len(written)} files written to {command.out}, first of all {written[1].name}")
