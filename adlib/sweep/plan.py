"""A sweep's YAML file and the points that it asks for.

```yaml
notebook: ../01_first_detection.ipynb  # seen from this file
profile: smoke                         # optional: values of profiles/smoke.yml beside the notebook
fixed: {parts_steps: 40}               # the same at every point
grid: {steps: [40, 80], seed: [0, 1]}  # every combination; the last name varies fastest
include: [{steps: 160, seed: 0}]       # optional: further points
exclude: [{steps: 80, seed: 1}]        # optional: combinations to leave out
resources: {GPU: 1}                    # optional: what a point occupies of its worker
timeout: 3600                          # optional: seconds that an attempt at a point may take
```
"""

import itertools
import math
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from adlib.sweep.point import Point, SweepError, Values, as_json, point_of

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
Lines = dict[tuple[Any, ...], int]


@dataclass(frozen=True, kw_only=True)
class Site:
    """A value that the file gives a parameter, and where it stands."""

    name: str
    value: Any
    place: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a YAML file asks for.

    Args:
        path: The file.
        notebook: The notebook that it names.
        points: In the order of the file.
        sites: Every value in the file, for the check against the notebook.
        resources: Dask worker resources that a point occupies.
        timeout: Seconds an attempt at a point may take; None for no limit.
    """

    path: Path
    notebook: Path
    points: tuple[Point, ...]
    sites: tuple[Site, ...]
    resources: dict[str, float]
    timeout: float | None


def read_plan(path: Path) -> Plan:
    """Read a sweep's YAML file.

    Raises:
        SweepError: There is no such file, a key is unknown, or what it asks for contradicts itself.
    """
    raw, lines = read_mapping(path)

    def at(*where: Any) -> str:
        return f"{path.name}, line {lines.get(where, lines.get(where[:1], 1))}"

    for key, value in raw.items():
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise SweepError(f"{at(str(key))}: unknown key {key!r}{hint} Known: {', '.join(KEYS)}")
        kind, words = KEYS[key]
        if not isinstance(value, kind) or isinstance(value, bool) or not value:
            raise SweepError(f"{at(key)}: {key} must be {words}, got {value!r}")
    if "notebook" not in raw:
        raise SweepError(f"{path.name} names no notebook; expected a line `notebook: PATH`")
    notebook = path.parent / raw["notebook"]
    if not notebook.is_file():
        raise SweepError(f"{at('notebook')}: no notebook at {notebook}")
    fixed, grid = raw.get("fixed", {}), raw.get("grid", {})
    include, exclude = raw.get("include", []), raw.get("exclude", [])
    profile = _read_profile(notebook, raw["profile"], at("profile")) if "profile" in raw else []

    sites = [*profile, *(Site(name=n, value=v, place=at("fixed", n)) for n, v in fixed.items())]
    for n, values in grid.items():
        if not isinstance(values, list) or not values:
            raise SweepError(f"{at('grid', n)}: {n} must be a list of values, got {values!r}")
        if n in fixed:
            raise SweepError(f"{at('grid', n)}: {n} is fixed already, in {at('fixed', n)}")
        sites += [Site(name=n, value=v, place=at("grid", n, i)) for i, v in enumerate(values)]
    for key, entries in (("include", include), ("exclude", exclude)):
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict) or not entry:
                raise SweepError(f"{at(key, i)}: expected parameters and values, got {entry!r}")
            sites += [Site(name=n, value=v, place=at(key, i, n)) for n, v in entry.items()]
    for site in sites:
        if not isinstance(site.name, str) or not site.name.isidentifier():
            raise SweepError(f"{site.place}: {site.name!r} is no name of a parameter")
        if not is_plain(site.value):
            raise SweepError(
                f"{site.place}: {site.name} must be made of finite numbers, text, true, false, "
                f"null, lists and mappings, got {site.value!r}; quote what is meant as text"
            )

    combinations = [dict(zip(grid, c, strict=True)) for c in itertools.product(*grid.values())]
    for i, entry in enumerate(exclude):
        if not any(_has(c, entry) for c in combinations):
            raise SweepError(f"{at('exclude', i)}: no combination of the grid has {entry}")
    chosen = [c for c in combinations if grid and not any(_has(c, e) for e in exclude)]
    base = {site.name: site.value for site in profile} | fixed
    points: dict[str, Point] = {}
    for values in [*chosen, *include]:
        point = point_of(notebook, values, base)
        if point.id in points:
            raise SweepError(f"{path.name} asks twice for the point {values}")
        points[point.id] = point
    if not points:
        raise SweepError(f"{path.name} asks for no point; expected `grid:` or `include:`")
    timeout = raw.get("timeout")
    if timeout is not None and not 0 < timeout < math.inf:
        raise SweepError(f"{at('timeout')}: timeout must be {KEYS['timeout'][1]}, got {timeout}")
    return Plan(
        path=path,
        notebook=notebook,
        points=tuple(points.values()),
        sites=tuple(sites),
        resources=_read_resources(raw.get("resources", {}), at("resources")),
        timeout=None if timeout is None else float(timeout),
    )


def read_mapping(path: Path) -> tuple[Values, Lines]:
    """Read a mapping in YAML, and the line of each entry by the keys that lead to it.

    Raises:
        SweepError: There is no such file, it is not a mapping in YAML, or a key stands in it twice.
    """
    if not path.is_file():
        raise SweepError(f"no file {path}; expected a sweep in YAML")
    text = path.read_text(encoding="utf-8")
    lines: Lines = {}

    def walk(node: yaml.Node | None, where: tuple[Any, ...]) -> None:
        entries = []
        if isinstance(node, yaml.MappingNode):
            entries = [(key.value, key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            entries = [(i, item, item) for i, item in enumerate(node.value)]
        for name, marked, value in entries:
            here, line = (*where, name), marked.start_mark.line + 1
            if here in lines:  # YAML itself would take the last one and say nothing
                first = f"it stands in line {lines[here]} already"
                raise SweepError(f"{path.name}, line {line}: {name!r} again; {first}")
            lines[here] = line
            walk(value, here)

    try:
        walk(yaml.compose(text, Loader=yaml.SafeLoader), ())
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SweepError(f"{path.name} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise SweepError(f"{path.name} must hold a mapping, got {type(raw).__name__}")
    return raw, lines


def _read_profile(notebook: Path, name: str, place: str) -> list[Site]:
    """Values of profiles/NAME.yml beside the notebook, the files that the book is built from."""
    path = notebook.parent / "profiles" / f"{name}.yml"
    raw, lines = read_mapping(path) if path.is_file() else ({}, {})
    values = raw.get(notebook.stem, {}) or {}
    if notebook.stem not in raw or not isinstance(values, dict):
        raise SweepError(f"{place}: expected values for {notebook.stem} in {path}, found none")
    where = f"{path.name}, line {lines[(notebook.stem,)]}"
    return [Site(name=n, value=v, place=where) for n, v in values.items()]


def _read_resources(raw: Values, place: str) -> dict[str, float]:
    for name, amount in raw.items():
        number = isinstance(amount, int | float) and not isinstance(amount, bool)
        if not number or not 0 < amount < math.inf:
            raise SweepError(f"{place}: resource {name} must be a number above 0, got {amount!r}")
        if name == "GPU" and amount > 1 and amount % 1:
            raise SweepError(f"{place}: GPU must be whole, or a share below 1, got {amount}")
    return {str(name): float(amount) for name, amount in raw.items()}


def is_plain(value: Any) -> bool:
    """Whether JSON has it, and so a notebook's parameter can be it; a date, say, cannot."""
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | bool | int)


def _has(values: Values, pattern: Values) -> bool:
    """Whether a combination has all that `pattern` names."""
    return all(n in values and as_json(values[n]) == as_json(v) for n, v in pattern.items())
