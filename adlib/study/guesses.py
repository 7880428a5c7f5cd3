"""Where we differ, where we guess: every choice that the two papers do not settle for us.

`guesses.csv` beside this file has a row for each. Its columns:

- `what`, `paper`, `here`: the choice, what is known of it in the paper, what this library does.
- `names`: the fields of the config that hold it (`recipe.` for those of PRN's recipe) and the
  constants of modules, such as `perlin.TURN`. A choice that is written out in code has none.
- `instead`: arms of the book's records that chose otherwise and changed nothing else.

Where a choice is a field of the config, its origin is read from there (`adlib.settings.Origin`).
Only of a choice that is no field does `here` state the origin itself.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adlib.methods import METHODS
from adlib.settings import Origin, origins

if TYPE_CHECKING:
    from pandas import DataFrame

NOT_MEASURED = "not measured"


class Guess(NamedTuple):
    """One choice; its columns are explained above, and `here` ends with the origin."""

    what: str
    paper: str
    here: str
    names: tuple[str, ...]
    instead: tuple[str, ...]


def guesses(method: str) -> list[Guess]:
    """Return the choices in a method's reconstruction, "pro-ad" or "prn".

    Raises:
        ValueError: No choice is on record for that method.
    """
    with Path(__file__).with_name("guesses.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.pop("method") == method]
    if not rows:
        raise ValueError(f"expected pro-ad or prn, got {method!r}")
    known, found = origins(METHODS[method][1]), []
    for row in rows:
        names, instead = (
            tuple(filter(None, map(str.strip, row[column].split(mark))))
            for column, mark in (("names", ","), ("instead", ";"))
        )
        here = _with_origins(row["here"], names, known)
        found.append(Guess(row["what"], row["paper"], here, names, instead))
    return found


def guesses_table(
    chosen: Sequence[Guess], effects: Mapping[str, Sequence[str]], columns: Sequence[str]
) -> "DataFrame":
    """Return a row for each choice and each alternative of it, with what the alternative does.

    Args:
        chosen: From `guesses`.
        effects: Of each measured arm the texts of `columns`.
        columns: What was measured, such as "image AUROC".
    Returns:
        Columns what, the paper, here, instead, and `columns`. What has no record says so; the
        first three are told once a choice.
    """
    from pandas import DataFrame

    nothing, rows = [NOT_MEASURED] + [""] * (len(columns) - 1), []
    for guess in chosen:
        for number, other in enumerate(guess.instead or ("",)):
            known = guess[:3] if number == 0 else [""] * 3
            rows.append([*known, other, *effects.get(other, nothing)])
    return DataFrame(rows, columns=["what", "the paper", "here", "instead", *columns])


def _with_origins(here: str, names: Sequence[str], known: Mapping[str, Origin]) -> str:
    """Add the origins of the fields among names; where they differ, say of which field each is."""
    fields_by_origin: dict[str, list[str]] = {}
    for name in names:
        if name in known:
            fields_by_origin.setdefault(str(known[name]), []).append(name)
    if len(fields_by_origin) < 2:
        return ": ".join([here, *fields_by_origin])
    notes = [f"{', '.join(of)}: {origin}" for origin, of in fields_by_origin.items()]
    return ". ".join([here, *notes])
