"""Where we differ, where we guess: every choice that the two papers do not settle for us.

`guesses.csv` beside this file has a row for each. Its columns:

- `what`, `paper`, `here`: the choice, what is known of it in the paper, what this library does;
  each with its mark (abstract, Fig. 3, second-hand, inferred, unofficial code, ours).
- `names`: the fields of the config that hold it (`recipe.` for those of PRN's recipe) and the
  constants of modules, such as `perlin.TURN`. A choice that is written out in code has none.
- `instead`: arms of the book's records that chose otherwise and changed nothing else.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One choice; its columns are explained above."""

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
    path = Path(__file__).with_name("guesses.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == method]
    if not rows:
        raise ValueError(f"expected pro-ad or prn, got {method!r}")
    found = []
    for row in rows:
        lists = {
            key: tuple(part.strip() for part in row.pop(key).split(mark) if part.strip())
            for key, mark in (("names", ","), ("instead", ";"))
        }
        found.append(Guess(**row, names=lists["names"], instead=lists["instead"]))
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

    rows = []
    for guess in chosen:
        for number, other in enumerate(guess.instead or ("",)):
            known = [guess.what, guess.paper, guess.here] if number == 0 else [""] * 3
            effect = effects.get(other, [NOT_MEASURED] + [""] * (len(columns) - 1))
            rows.append([*known, other, *effect])
    return DataFrame(rows, columns=["what", "the paper", "here", "instead", *columns])
