"""The parameters cell of a notebook, and whether a plan's values fit it, before anything runs.

The cell is parsed as Python. Papermill's own inspection reads it by a pattern, which passes over a
line with a second `=`, be it in a comment.
"""

import ast
import json
import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from adlib.sweep.plan import Plan, Site
from adlib.sweep.point import SweepError

OUT = "out"  # a parameter of this name is set to the point's own folder
UNKNOWN = object()  # the default is an expression, so nothing is known of its type
SHOWN = 12  # problems shown at once
NAMES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A line of the cell.

    Args:
        name: What it assigns to.
        default: Its value, or UNKNOWN.
        kinds: Types that a value may have; empty if nothing is known of them.
        optional: Whether null is a value, since the default is None, or the line's annotation or
            comment says None.
    """

    name: str
    default: Any
    kinds: tuple[type, ...]
    optional: bool


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Read the cell tagged `parameters`, in the order of its lines.

    Raises:
        SweepError: The file is no notebook, it has no such cell, or the cell is not Python.
    """
    try:
        raw = json.loads(notebook.read_text(encoding="utf-8"))
        cells = [c for c in raw["cells"] if "parameters" in c["metadata"].get("tags", [])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SweepError(f"{notebook} is no notebook of format 4: {error!r}") from error
    if not cells:
        raise SweepError(f"{notebook} has no cell tagged `parameters`, so nothing can be swept")
    source = cells[0]["source"]
    source = source if isinstance(source, str) else "".join(source)
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise SweepError(f"{notebook}: the parameters cell is not Python: {error}") from error
    found = {}
    for node in statements:
        pairs = [(node.target, node.value)] if isinstance(node, ast.AnnAssign) else []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
        line = source.splitlines()[(node.end_lineno or 1) - 1]
        comment = line.partition("#")[2]
        for target, value in pairs:
            if isinstance(target, ast.Name):
                default = _literal(value)
                found[target.id] = Parameter(
                    name=target.id,
                    default=default,
                    kinds=_kinds(default, annotation),
                    optional=default is None
                    or re.search(r"\b(None|null|Optional)\b", annotation + " " + comment)
                    is not None,
                )
    return found


def check(plan: Plan) -> dict[str, Parameter]:
    """Compare names and types of a plan's values with its notebook, and return the latter's.

    Raises:
        SweepError: Some do not fit; says which, what was expected and in which line it stands.
    """
    known = read_parameters(plan.notebook)
    problems = [p for p in (_problem(site, known, plan.notebook.name) for site in plan.sites) if p]
    if problems:
        rest = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise SweepError("\n".join([*problems[:SHOWN], *rest]))
    return known


def _problem(site: Site, known: dict[str, Parameter], notebook: str) -> str | None:
    if site.name == OUT:
        return f"{site.place}: {OUT} is set by the sweep, to the folder of each point"
    if site.name not in known:
        near = get_close_matches(site.name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        names = ", ".join(name for name in known if name != OUT) or "none"
        return f"{site.place}: {notebook} has no parameter {site.name!r}{hint} It has: {names}"
    parameter, value = known[site.name], site.value
    if fits(parameter, value):
        return None
    words = " or ".join(kind.__name__ for kind in parameter.kinds)
    words += " or null" if parameter.optional else ""
    default = "" if parameter.default is UNKNOWN else f" (its default is {parameter.default!r})"
    hint = ""
    if isinstance(value, str) and float in parameter.kinds and _is_number(value):
        hint = f"; YAML takes {value} for text, write it with a point and a sign, such as 1.0e-3"
    came = "null" if value is None else f"{type(value).__name__} {value!r}"
    return f"{site.place}: {site.name} must be {words}{default}, got {came}{hint}"


def fits(parameter: Parameter, value: Any) -> bool:
    """Whether a value has a type that the parameter may have; an int is a float, a bool neither."""
    if value is None:
        return parameter.optional or not parameter.kinds
    if not parameter.kinds:
        return True
    if type(value) in parameter.kinds or (type(value) is int and float in parameter.kinds):
        inner = parameter.default
        if isinstance(value, list) and isinstance(inner, list | tuple) and inner:
            kinds = tuple({type(item) for item in inner} & set(NAMES.values()))
            item = Parameter(name="", default=inner[0], kinds=kinds, optional=None in inner)
            return all(fits(item, each) for each in value)
        return True
    return False


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _literal(node: ast.expr | None) -> Any:
    try:
        return UNKNOWN if node is None else ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN


def _kinds(default: Any, annotation: str) -> tuple[type, ...]:
    """What the annotation names, if nothing else is in it; else the default's type."""
    words = set(re.findall(r"\w+", re.sub(r"\[.*\]", "", annotation))) - {"None"}
    if words and words <= set(NAMES):
        return tuple(kind for name, kind in NAMES.items() if name in words)
    if default is None or default is UNKNOWN or annotation:
        return ()
    kind = list if isinstance(default, tuple) else type(default)  # YAML has no tuples
    return (kind,) if kind in NAMES.values() else ()
