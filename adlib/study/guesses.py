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
from dataclasses import dataclass
from pathlib import Path

from pandas import DataFrame

from adlib.methods import METHODS
from adlib.settings import Origin, origins


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One choice; its columns are explained above, and `here` ends with the origin."""

    method: str
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
    known = origins(METHODS[method][1]) if method in METHODS else {}
    path = Path(__file__).with_name("guesses.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == method]
    if not rows:
        raise ValueError(f"expected pro-ad or prn, got {method!r}")
    found = []
    for row in rows:
        names, instead = _listed(row["names"], ","), _listed(row["instead"], ";")
        held = {"names": names, "instead": instead}
        held |= {"here": _with_origins(row["here"], names, known)}
        found.append(Guess(**{**row, **held}))
    return found


def choices_table(chosen: Sequence[Guess]) -> DataFrame:
    """Return a row for each choice: what it is, what is known of it, what this library does."""
    rows = [(guess.what, guess.paper, guess.here) for guess in chosen]
    return DataFrame(rows, columns=["choice", "the paper", "here"])


def effects_table(
    chosen: Sequence[Guess], effects: Mapping[str, Sequence[object]], columns: Sequence[str]
) -> DataFrame:
    """Return a row for each alternative that was measured, with what it does.

    Args:
        chosen: From `guesses`.
        effects: Of each measured arm the values of `columns`.
        columns: What was measured, such as "image AUROC".
    Returns:
        Columns choice, instead, and `columns`. An alternative without a record has no row.
    """
    rows = [
        (guess.what, other, *effects[other])
        for guess in chosen for other in guess.instead if other in effects
    ]  # fmt: skip
    return DataFrame(rows, columns=["choice", "instead", *columns])


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


def _listed(cell: str, mark: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(mark) if part.strip())
