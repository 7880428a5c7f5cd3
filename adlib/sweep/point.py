"""A point of a sweep: one run of the notebook, named so that everybody names it alike."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

SLUG = 60  # characters of an id that show values; the hash tells apart what is cut off; ours
DIGITS = 8  # of the hash; ours. A plan in which two points had one id would be refused
Values = dict[str, Any]


class SweepError(ValueError):
    """A sweep that cannot be run as it was asked for."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of the notebook.

    Args:
        id: Readable, and the same on every machine: a slug of `values` and a hash of `parameters`.
        values: What sets it apart from the other points: its place in the grid.
        parameters: All that the notebook is given, but `out`, which is the point's own folder.
    """

    id: str
    values: Values
    parameters: Values


def point_of(notebook: Path, values: Values, base: Values) -> Point:
    """Name a point by its values and by a hash of all parameters and the notebook's file name."""
    parameters = base | values
    text = as_json([notebook.name, parameters])
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
    slug = "_".join(f"{name}={_short(value)}" for name, value in sorted(values.items()))[:SLUG]
    return Point(id=f"{slug or 'point'}_{digest}", values=values, parameters=parameters)


def as_finished(point: Point, finished: Iterable[str]) -> Point:
    """The point under the id that it was finished under, when the grid was smaller or larger.

    The hash is over all parameters, so it stays when one of them moves from `fixed` to `grid`.
    """
    digest = point.id[-DIGITS:]
    same = [name for name in finished if name[-DIGITS:] == digest]
    return point if not same or point.id in same else replace(point, id=same[0])


def is_id(name: str) -> bool:
    """Whether a folder's name is a point's id; `ID.work` and the like are not."""
    return re.fullmatch(rf".+_[0-9a-f]{{{DIGITS}}}", name) is not None


def take_shard(points: tuple[Point, ...], shard: str) -> tuple[Point, ...]:
    """Every n-th point from the k-th on, for `k/n`; the n shards together are all points, once.

    Raises:
        SweepError: `shard` is not k/n with 1 <= k <= n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    k, n = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= k <= n:
        raise SweepError(f"a shard is k/n with 1 <= k <= n, such as 2/3; got {shard!r}")
    return points[k - 1 :: n]


def as_json(value: Any) -> str:
    """A value as JSON with sorted keys, by which 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text)
