"""Where we differ, where we guess: every choice that the two papers do not settle for us.

`guesses.csv` beside this file has a row for each. Its columns:

- `what`, `paper`, `here`: the choice, what is known of it in the paper, what this library does.
- `names`: the fields of the config that hold it (`recipe.` for those of PRN's recipe) and the
  constants of modules, such as `perlin.TURN`. A choice that is written out in code has none.
- `instead`: arms of the book's records that chose otherwise and changed nothing else.

Where a choice is a field of the config, its origin is read from there (`adlib.settings.Origin`).
Only of a choice that is no field does `here` state the origin itself.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame, read_csv

from adlib.methods import METHODS
from adlib.settings import Origin, origins


def guesses(method: str) -> DataFrame:
    """Return the choices in a method's reconstruction, "pro-ad" or "prn", a row each.

    Returns:
        Columns "choice", "the paper", "here" (which ends with the origin), "names" and "instead",
        whose cells are lists.
    Raises:
        ValueError: No choice is on record for that method.
    """
    rows: Any = read_csv(Path(__file__).with_name("guesses.csv"), keep_default_na=False)
    rows = rows[rows["method"] == method].drop(columns="method").reset_index(drop=True)
    if rows.empty:
        raise ValueError(f"expected pro-ad or prn, got {method!r}")
    for column, mark in (("names", ","), ("instead", ";")):
        rows[column] = [[part.strip() for part in cell.split(mark) if part.strip()]
                        for cell in rows[column]]  # fmt: skip
    known = origins(METHODS[method][1])
    each = zip(rows["here"], rows["names"], strict=True)
    rows["here"] = [_with_origins(here, names, known) for here, names in each]
    return rows.rename(columns={"what": "choice", "paper": "the paper"})


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
