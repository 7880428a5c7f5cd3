"""A sweep's YAML file, as book/sweeps.md describes it: its points, checked against its notebook.

The notebook's cell of parameters is parsed as Python. Papermill's own inspection reads it by a
pattern, which passes over a line with a second `=`, be it in a comment.
"""

import ast
import hashlib
import itertools
import json
import math
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from adlib.system.disk import is_file
from adlib.system.printable import closest

KEYS = {  # what each key must hold
    "notebook": (str, "the path of a notebook, seen from this file"),
    "profile": (str, "the name of a file in the folder profiles beside the notebook"),
    "fixed": (dict, "a mapping of parameters to values"),
    "grid": (dict, "a mapping of parameters to lists of values"),
    "include": (list, "a list of points, each a mapping of parameters to values"),
    "exclude": (list, "a list of mappings of grid parameters to values"),
    "resources": (dict, "a mapping such as {GPU: 1}"),
    "timeout": (int | float, "a number of seconds above 0"),
}
MOST_POINTS = 10_000
MOST_VALUES = 100_000  # in a file; an anchor counts wherever it is used
DEEPEST = 20  # lists and mappings inside one another
SLUG = 60  # characters of an id that show values; the hash tells apart what is cut off
DIGITS = 8  # of the hash; a plan in which two points had one id would be refused
OUT = "out"  # a parameter of this name is set to the point's own folder
UNKNOWN = object()  # the default is an expression, so nothing is known of its type
SHOWN = 12  # problems shown at once
KINDS = {kind.__name__: kind for kind in (int, float, str, bool, list, dict)}
Values = dict[str, Any]
Lines = dict[tuple[Any, ...], int]
Site = tuple[Any, Any, str]  # a parameter's name, a value for it, the file and line of the value


class SweepError(ValueError):
    """A sweep that cannot be run as it was asked for."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of the notebook.

    Args:
        id: Readable, and the same on every machine: a slug of `values` and a hash of `parameters`.
        values: Its place in the grid.
        parameters: All that the notebook is given, but `out`, which is the point's own folder.
    """

    id: str
    values: Values
    parameters: Values


class Parameter(NamedTuple):
    """A line of the notebook's cell of parameters."""

    default: Any  # or UNKNOWN
    kind: type | None  # of its values; None if nothing is known of it
    optional: bool  # whether null is a value: the default, annotation or comment says None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep's file, read and checked; `takes_out` if the notebook has a parameter `out`."""

    notebook: Path
    points: tuple[Point, ...]
    takes_out: bool
    resources: dict[str, float]
    timeout: float | None


def read_plan(path: Path) -> Plan:
    """Read a sweep's YAML file, and check names and types of all values against its notebook.

    Raises:
        SweepError: The file, an entry or a value does not fit; says what was expected and where.
    """
    raw, lines = read_mapping(path)

    def at(*where: Any) -> str:
        return f"{path}, line {lines.get(where, lines.get(where[:1], 1))}"

    def refuse(problem: str, *where: Any) -> NoReturn:
        raise SweepError(f"{at(*where)}: {problem}")

    for key, value in raw.items():
        if key not in KEYS:
            near = closest(str(key), KEYS)
            refuse(f"unknown key {key!r}{near}; known: {', '.join(KEYS)}", str(key))
        kind, words = KEYS[key]
        wrong = not isinstance(value, kind) or isinstance(value, bool) or not value
        if wrong or (key == "timeout" and not 0 < value < math.inf):
            refuse(f"{key} must be {words}, got {reprlib.repr(value)}", key)
    if "notebook" not in raw:
        raise SweepError(f"{path} names no notebook; expected a line `notebook: PATH`")
    notebook = path.parent / raw["notebook"]
    if not is_file(notebook):
        refuse(f"no notebook at {notebook}", "notebook")
    resources = raw.get("resources", {})
    for name, amount in resources.items():
        if type(amount) not in (int, float) or not 0 < amount < math.inf:
            refuse(f"resource {name} must be a number above 0, got {amount!r}", "resources")
        if name == "GPU" and amount > 1 and amount % 1:
            refuse(f"GPU must be whole, or a share below 1, got {amount}", "resources")

    profile = _read_profile(notebook, raw["profile"], at("profile")) if "profile" in raw else []
    fixed, grid = raw.get("fixed", {}), raw.get("grid", {})
    sites = [*profile, *((name, value, at("fixed", name)) for name, value in fixed.items())]
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            refuse(f"{name} must be a list of values, got {reprlib.repr(values)}", "grid", name)
        if name in fixed:
            refuse(f"{name} is fixed already, in {at('fixed', name)}", "grid", name)
        sites += [(name, value, at("grid", name, i)) for i, value in enumerate(values)]
    for key in ("include", "exclude"):
        for i, entry in enumerate(raw.get(key, [])):
            if not isinstance(entry, dict) or not entry:
                refuse(f"expected parameters and values, got {reprlib.repr(entry)}", key, i)
            sites += [(name, value, at(key, i, name)) for name, value in entry.items()]
    known = read_parameters(notebook)
    problems = [p for p in (_problem(site, known, notebook.name) for site in sites) if p]
    if problems:
        rest = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise SweepError("\n".join([*problems[:SHOWN], *rest]))

    include = raw.get("include", [])
    count = math.prod(map(len, grid.values())) + len(include)
    if count > MOST_POINTS:
        key = "grid" if grid else "include"
        refuse(f"{key} asks for {count:,} points; at most {MOST_POINTS:,} are taken", key)
    chosen = [dict(zip(grid, c, strict=True)) for c in itertools.product(*grid.values()) if grid]
    for i, entry in enumerate(raw.get("exclude", [])):
        wanted = {(name, as_json(value)) for name, value in entry.items()}
        kept = [v for v in chosen if wanted - {(name, as_json(v[name])) for name in v}]
        if len(kept) == len(chosen):
            refuse(f"no combination of the grid has {reprlib.repr(entry)}", "exclude", i)
        chosen = kept
    base = {name: value for name, value, _ in profile} | fixed
    points: dict[str, Point] = {}
    for values in [*chosen, *include]:
        point = point_of(notebook, values, base)
        if point.id in points:
            raise SweepError(f"{path} asks twice for the point {reprlib.repr(values)}")
        points[point.id] = point
    if not points:
        raise SweepError(f"{path} asks for no point; expected `grid:` or `include:`")
    return Plan(
        notebook=notebook,
        points=tuple(points.values()),
        takes_out=OUT in known,
        resources={str(name): float(amount) for name, amount in resources.items()},
        timeout=float(raw["timeout"]) if "timeout" in raw else None,
    )


def read_mapping(path: Path) -> tuple[Values, Lines]:
    """Read a mapping in YAML, and the line of each entry by the keys that lead to it.

    Raises:
        SweepError: There is no such file, it is no mapping in YAML, a key stands in it twice, or
            it unfolds to more values than a sweep can have.
    """
    if not path.is_file():
        raise SweepError(f"no file {path}; expected a sweep in YAML")
    lines: Lines = {}

    def walk(node: yaml.Node | None, where: tuple[Any, ...]) -> None:
        entries = []
        if isinstance(node, yaml.MappingNode):
            entries = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            entries = [(i, item, item) for i, item in enumerate(node.value)]
        for name, marked, value in entries:
            here, line = (*where, name), marked.start_mark.line + 1
            if here in lines:  # YAML itself would take the last one and say nothing
                again = f"{name!r} again; it stands in line {lines[here]} already"
                raise SweepError(f"{path}, line {line}: {again}")
            lines[here] = line
            if len(lines) > MOST_VALUES or len(here) > DEEPEST:
                raise SweepError(
                    f"{path}, line {line}: expected at most {MOST_VALUES:,} values, nested at most "
                    f"{DEEPEST} deep; anchors that use one another unfold to more"
                )
            walk(value, here)

    loader = None
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        walk(node, ())  # before the values are built: merged anchors would grow there
        raw = None if node is None else loader.construct_document(node)
    except SweepError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", loader), "line", 0) + 1
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise SweepError(f"{path}, line {line}: it is not YAML: {problem}") from error
    if not isinstance(raw, dict):
        raise SweepError(f"{path} must hold a mapping, got {type(raw).__name__}")
    return raw, lines


def _read_profile(notebook: Path, name: str, place: str) -> list[Site]:
    """Values of profiles/NAME.yml beside the notebook, the files that the book is built from."""
    path = notebook.parent / "profiles" / f"{name}.yml"
    raw, lines = read_mapping(path) if path.is_file() else ({}, {})
    values = raw.get(notebook.stem)
    if not values or not isinstance(values, dict):
        raise SweepError(f"{place}: expected values for {notebook.stem} in {path}, found none")
    where = f"{path}, line {lines[(notebook.stem,)]}"
    return [(n, value, where) for n, value in values.items()]


def point_of(notebook: Path, values: Values, base: Values) -> Point:
    """Name a point by its values and by a hash of all parameters and the notebook's file name."""
    parameters = base | values
    digest = hashlib.sha256(as_json([notebook.name, parameters]).encode()).hexdigest()[:DIGITS]
    shown = {n: v if isinstance(v, str) else json.dumps(v) for n, v in sorted(values.items())}
    slug = "_".join(f"{n}={re.sub(r'[^A-Za-z0-9.+-]+', '-', v)}" for n, v in shown.items())[:SLUG]
    return Point(id=f"{slug or 'point'}_{digest}", values=values, parameters=parameters)


def as_finished(points: Iterable[Point], finished: Iterable[str]) -> list[Point]:
    """The points under the ids that they were finished under, when the grid was another.

    The hash is over all parameters, so it stays when one of them moves from `fixed` to `grid`.
    """
    ids = set(finished)
    same = {name[-DIGITS:]: name for name in ids}
    return [p if p.id in ids else replace(p, id=same.get(p.id[-DIGITS:], p.id)) for p in points]


def is_id(name: str) -> bool:
    """Whether a folder's name is a point's id; `ID.work` and the like are not."""
    return re.fullmatch(rf"[^/\\]+_[0-9a-f]{{{DIGITS}}}", name) is not None


def take_shard(points: tuple[Point, ...], shard: str) -> tuple[Point, ...]:
    """Every n-th point from the k-th on, for `k/n`; SweepError unless 1 <= k <= n."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    k, n = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= k <= n:
        raise SweepError(f"--shard: expected k/n with 1 <= k <= n, such as 2/3; got {shard!r}")
    return points[k - 1 :: n]


def as_json(value: Any) -> str:
    """A value as JSON with sorted keys, by which 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Read a notebook's cell tagged `parameters`, in the order of its lines.

    Raises:
        SweepError: The file is no notebook, it has no such cell, or the cell is not Python.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        source = "".join(tagged[0]["source"]) if tagged else None
        statements = ast.parse(source or "").body
    except (SyntaxError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise SweepError(f"{notebook} is no notebook with parameters in Python: {why}") from error
    except (RecursionError, MemoryError) as error:
        raise SweepError(f"{notebook} is nested too deeply") from error
    if source is None:
        raise SweepError(f"{notebook} has no cell tagged `parameters`, so nothing can be swept")
    found = {}
    for node in statements:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
        comment = source.splitlines()[(node.end_lineno or 1) - 1].partition("#")[2]
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


def _problem(site: Site, known: dict[str, Parameter], notebook: str) -> str | None:
    """What is wrong with a value: what was expected, what came, and where."""
    name, value, place = site
    if name == OUT:
        return f"{place}: {OUT} is set by the sweep, to the folder of each point"
    if name not in known:
        names = ", ".join(n for n in known if n != OUT) or "none"
        near = closest(str(name), known)
        return f"{place}: {notebook} has no parameter {name!r}{near}; it has: {names}"
    default, kind, optional = known[name]
    came = "null" if value is None else f"{type(value).__name__} {value!r}"
    right = kind is None or type(value) is kind or (type(value) is int and kind is float)
    if isinstance(value, list) and isinstance(default, list | tuple) and default:
        kinds = {type(item) for item in default}
        right &= all(type(v) in kinds or (type(v) is int and float in kinds) for v in value)
    if kind is not None and not (optional if value is None else right):
        words = kind.__name__ + " or null" * optional
        known_as = "" if default is UNKNOWN else f" (its default is {default!r})"
        number = kind is float and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", str(value))
        hint = f"; YAML takes {value} for text, write it as 1.0e-3 is written" if number else ""
        return f"{place}: {name} must be {words}{known_as}, got {came}{hint}"
    try:
        as_json(value)
    except (ValueError, TypeError):  # infinity, a date
        return f"{place}: {name} must be of finite numbers, text and the like, got {came}"
    return None
