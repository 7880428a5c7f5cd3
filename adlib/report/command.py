"""The command `adlib report`: the records of a folder on one screen, or all of it in a folder."""

import dataclasses
from pathlib import Path

from tyro.conf import Positional

from adlib.system.printable import printable


@dataclasses.dataclass(kw_only=True)
class Report:
    """Show the records of a folder on one screen: who leads, and whom the seeds tell apart.

    Reads `*.jsonl` of sweeps, sweeps' folders, and record.json of evaluated runs. Runs under
    another protocol, or on other images, stand in sections of their own.
    """

    folder: Positional[Path]
    """a folder that holds records, such as book/results or runs"""
    section: str | None = None
    """print all tables of this section, by its title, or of all sections of this source"""
    out: Path | None = None
    """write everything into this folder: report.md, CSV files and figures"""


def report(command: Report) -> None:
    """Print a folder's records on one screen, or a section; write all of it if asked to.

    Raises:
        ValueError: No section or source has the name.
    """
    from adlib.report.records import Found, read_folder
    from adlib.report.screen import LINES, screen

    found = chosen = read_folder(command.folder)
    if (name := command.section) is not None:
        chosen = Found([s for s in found.sections if name in (s.title, s.source)], [])
        if not chosen.sections:
            names = [*dict.fromkeys(s.source for s in found.sections)]
            names += [s.title for s in found.sections if len(found.sections) <= LINES // 2]
            known = printable("; ".join(names))
            raise ValueError(f"no section {printable(name)!r}; there are {known}")
    if command.section is None:
        print(screen(found))
    if command.section is not None or command.out is not None:
        from adlib.report.document import compose

        document = compose(chosen)
        if command.section is not None:
            print(document.text())
        if command.out is not None:
            written = document.write(command.out)
            print(f"{len(written)} files written to {command.out}, first of all {written[0].name}")
