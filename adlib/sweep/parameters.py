"""The parameters cell of a notebook, and whether a plan's values fit it, before anything runs.

The cell is parsed as Python. Papermill's own inspection reads it by a pattern, which passes over a
line with a second `=`, be it in a comment.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from adlib.sweep.plan import Plan, Site, SweepError
from adlib.system.printable import closest

OUT = "out"  # a parameter of this name is set to the point's own folder
UNKNOWN = object()  # the default is an expression, so nothing is known of its type
SHOWN = 12  # problems shown at once
KINDS = {kind.__name__: kind for kind in (int, float, str, bool, list, dict)}


class Parameter(NamedTuple):
    """A line of the cell.

    Args:
        default: Its value, or UNKNOWN.
        kind: The type that a value must have; None if nothing is known of it.
        optional: Whether null is a value: the default is None, or the line's annotation or comment
            says None.
    """

    default: Any
    kind: type | None
    optional: bool


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Read the cell tagged `parameters`, in the order of its lines.

    Raises:
        SweepError: The file is no notebook, it has no such cell, or the cell is not Python.
    """
    try:
        raw = json.loads(notebook.read_text(encoding="utf-8"))
        cells = [c for c in raw["cells"] if "parameters" in c["metadata"].get("tags", [])]
        sources = ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SweepError(f"{notebook} is no notebook of format 4: {error!r}") from error
    if not sources:
        raise SweepError(f"{notebook} has no cell tagged `parameters`, so nothing can be swept")
    try:
        statements = ast.parse(sources[0]).body
    except (SyntaxError, ValueError) as error:
        raise SweepError(f"{notebook}: the parameters cell is not Python: {error}") from error
    found = {}
    for node in statements:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
        comment = sources[0].splitlines()[(node.end_lineno or 1) - 1].partition("#")[2]
        try:
            default = ast.literal_eval(node.value) if node.value else UNKNOWN
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            default = UNKNOWN
        kind = list if isinstance(default, tuple) else type(default)  # YAML has no tuples
        kind = KINDS.get(annotation or kind.__name__)
        said = re.search(r"\b(None|null|Optional)\b", f"{annotation} {comment}")
        parameter = Parameter(default, kind, default is None or kind is None or bool(said))
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        found |= {t.id: parameter for t in targets if isinstance(t, ast.Name)}
    return found


def check(plan: Plan) -> dict[str, Parameter]:
    """Compare names and types of a plan's values with its notebook, and return the notebook's.

    Raises:
        SweepError: Some do not fit; says which, what was expected and in which line it stands.
    """
    known = read_parameters(plan.notebook)
    problems = [p for p in (_problem(site, known, plan.notebook.name) for site in plan.sites) if p]
    if problems:
        rest = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise SweepError("\n".join([*problems[:SHOWN], *rest]))
    return known


def fits(parameter: Parameter, value: Any) -> bool:
    """Whether a value has a type that the parameter may have; an int is a float, a bool neither."""
    if value is None:
        return parameter.optional
    if parameter.kind is None:
        return True
    if type(value) is not parameter.kind:
        return type(value) is int and parameter.kind is float
    inner = parameter.default
    if isinstance(value, list) and isinstance(inner, list | tuple) and inner:
        kinds = {type(item) for item in inner}
        return all(type(v) in kinds or (type(v) is int and float in kinds) for v in value)
    return True


def _problem(site: Site, known: dict[str, Parameter], notebook: str) -> str | None:
    name, value, place = site
    if name == OUT:
        return f"{place}: {OUT} is set by the sweep, to the folder of each point"
    if name not in known:
        names = ", ".join(n for n in known if n != OUT) or "none"
        near = closest(name, known)
        return f"{place}: {notebook} has no parameter {name!r}{near}; it has: {names}"
    parameter = known[name]
    if fits(parameter, value):
        return None
    assert parameter.kind is not None
    words = parameter.kind.__name__ + (" or null" if parameter.optional else "")
    default = "" if parameter.default is UNKNOWN else f" (its default is {parameter.default!r})"
    came = "null" if value is None else f"{type(value).__name__} {value!r}"
    hint = ""
    if parameter.kind is float and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", str(value)):
        hint = f"; YAML takes {value} for text, write it with a point and a sign, such as 1.0e-3"
    return f"{place}: {name} must be {words}{default}, got {came}{hint}"
