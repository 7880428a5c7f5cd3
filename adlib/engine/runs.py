"""A run on disk: config, provenance, weights and record; finished once `run.json` is there.

```text
RUN/run.json             what `Description` lists, and the SHA-256 of it all; written last
RUN/weights.safetensors  what was trained; the frozen encoder is named by its hash
RUN/record.json          what `evaluate` found, when it was asked
RUN/checkpoints/         while it trains, where an interrupted run goes on
RUN/logs/                what a tracker wrote, when one was asked for
```
"""

import dataclasses
import hashlib
import json
import platform
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from jaxtyping import Bool

from adlib import __version__
from adlib.methods import METHODS
from adlib.metrics.threshold import Calibration
from adlib.nn.weights import WeightsError
from adlib.system.disk import (
    TENSORS_HALF_WRITTEN,
    BusyError,
    locked,
    read_tensors,
    remove_leftovers,
    to_json,
    write_json,
    write_tensors,
)
from adlib.system.printable import closest

ROI = (256, 256)  # rows and columns of a region of interest
FORMAT = 1  # of the run folder; raised when an old one can no longer be read
STEPS = "step-*.safetensors"  # the checkpoints
IN_CHECKPOINTS = (STEPS, "lock", f".{STEPS}-*", TENSORS_HALF_WRITTEN)  # all that is ours there
IN_RUN = ("checkpoints", "logs", ".weights.safetensors-*", ".run.json-*", TENSORS_HALF_WRITTEN)
SCALARS: dict[Any, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a finite number"),
    str: (str, "a text"),
    Path: ((str, Path), "a path"),
}
C = TypeVar("C")
Record = dict[str, Any]


class RunError(ValueError):
    """A run folder that cannot be read, or must not be written."""


@dataclass(kw_only=True)
class Run:
    """A trained method and where it came from."""

    method: Any  #: calibrated
    losses: list[float] = field(default_factory=list)  #: one a step
    provenance: Record = field(default_factory=dict)  #: seed, steps, seconds, data, versions, ...
    path: Path | None = None  #: the folder that it was written to


@dataclass(frozen=True, kw_only=True)
class EncoderIdentity:
    """The frozen encoder that a run was trained on."""

    name: str
    source: str  #: where it was found
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """The schema of `run.json`."""

    format: int
    method: str
    config: Record
    encoder: EncoderIdentity
    calibration: Calibration | None
    provenance: Record
    losses: list[float]
    weights: str | None = None  # SHA-256 in the header of the weights' file; older runs have none
    roi: list[int] | None = None  # as `to_lengths` writes it

    def __post_init__(self) -> None:
        if self.roi is not None and (min(self.roi) < 0 or sum(self.roi) != ROI[0] * ROI[1]):
            raise ValueError(f"roi must be lengths of at least 0 that add up to {ROI[0] * ROI[1]}")
        for key in PROVENANCE.keys() & self.provenance:
            parse(PROVENANCE[key], self.provenance[key], f"provenance.{key}")
        scale = self.calibration
        if scale is None:
            return
        if not scale.low < scale.high:
            raise ValueError(f"calibration.low {scale.low} is not below its high {scale.high}")
        for name, (low, high) in scale.scales.items():
            if not low < high:
                where = f"calibration.scales.{name}"
                raise ValueError(f"{where} must be a low and a higher end, got {low} and {high}")
        if (known := scale.defects) is None:
            return
        if not 0 < known.miss < 1:
            raise ValueError(f"calibration.defects.miss must lie in (0, 1), got {known.miss}")
        if not all([known.scores, *known.scores.values()]):
            raise ValueError("calibration.defects.scores must hold a score of each category")


PROVENANCE: Record = {  # its parts that adlib reads again, where a run has them
    "seed": int,
    "steps": int,
    "holdout": float,
    "folds": int,
    "seconds": float,
    "data": dict[str, str],
    "drawn": tuple[int, int] | None,
    "seen": list[str],
}


def to_lengths(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """Return how many pixels are False, then True, then False and so on, row after row."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(edges, prepend=0, append=flat.size).tolist()
    return [0, *lengths] if flat[0] else lengths


def from_lengths(lengths: list[int], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return the mask that `to_lengths` wrote."""
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size)


def config_from(cls: type[C], values: Record, where: str = "") -> C:
    """Build a dataclass from JSON.

    Raises:
        ValueError: An unknown key, with the nearest known one; a missing one; or a value of
            another type. Names the field, after `where`.
    """
    known = {f.name: f for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    for key in values:
        if key not in known:
            raise ValueError(
                f"unknown config key {where + key!r} for {cls.__name__}{closest(key, known)}; "
                f"known: {', '.join(known)}"
            )
    hints, unset = get_type_hints(cls), dataclasses.MISSING
    for name, f in known.items():
        if name not in values and f.default is unset and f.default_factory is unset:
            raise ValueError(f"{where}{name} is missing")
    return cls(**{name: parse(hints[name], x, f"{where}{name}") for name, x in values.items()})


def parse(kind: Any, value: Any, name: str) -> Any:
    """Return a JSON value as what a type annotation asks for.

    Raises:
        ValueError: It is of another type, or not finite; says which field, by `name`.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        objections = []
        for option in inner:
            try:
                return parse(option, value, name)
            except ValueError as error:
                objections += [str(error)] if option is not NoneType else []
        raise ValueError("; ".join(dict.fromkeys(objections)))
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return config_from(kind, value, f"{name}.")  # pyright: ignore[reportArgumentType]
    if kind is Any:
        nested = {dict: dict[str, Any], list: list[Any], float: float}.get(type(value))
        return value if nested is None else parse(nested, value, name)
    if origin is dict and isinstance(value, dict):
        return {k: parse(inner[1], v, f"{name}.{k}") for k, v in value.items()}
    if origin is list and isinstance(value, list):
        return [parse(inner[0], v, f"{name}[{i}]") for i, v in enumerate(value)]
    if origin is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        if len(kinds) != len(value):
            raise ValueError(f"{name} must have {len(kinds)} values, got {value!r:.60}")
        return tuple(parse(k, v, name) for k, v in zip(kinds, value, strict=True))
    if origin is Literal and isinstance(value, str) and value not in inner:
        raise ValueError(f"unknown {name} {value!r:.60}; known are {', '.join(inner)}")
    plain: Any = str if origin is Literal else origin or kind
    allowed, words = SCALARS.get(plain, (kind if origin is None else (), f"a {plain.__name__}"))
    fits = isinstance(value, allowed) and (plain is bool or not isinstance(value, bool))
    if not fits or (isinstance(value, float) and not isfinite(value)):  # Python's JSON has NaN
        raise ValueError(f"{name} must be {words}, got {value!r:.60}")
    return Path(str(value)) if kind is Path else value


def versions() -> dict[str, str]:
    """Versions of what a number can depend on."""
    found = {"python": platform.python_version(), "adlib": __version__}
    for name in ("torch", "torchvision", "timm", "numpy", "scipy", "pillow"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def commit() -> str | None:
    """The commit of adlib's source, "+changes" when it has been edited since; None outside git."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def checkpoints_of(out: Path) -> Path:
    """Return the folder of an unfinished run's checkpoints."""
    return out / "checkpoints"


def check_free(out: Path) -> None:
    """Raise RunError unless a run may be written to `out`, or an unfinished one goes on there."""
    cure = "name another folder"
    if (out / "run.json").exists():
        raise RunError(f"{out} exists already; {cure}, or remove it: its run is finished")
    folder, foreign = checkpoints_of(out), list[str]()
    inside = list(folder.iterdir()) if folder.is_dir() else []
    if out.is_dir():
        ours = (*IN_RUN, "weights.safetensors") if inside else IN_RUN  # written beside a lock only
        foreign = [p.name for p in out.iterdir() if not any(map(p.match, ours))]
        foreign += [
            f"checkpoints/{p.name}" for p in inside if not any(map(p.match, IN_CHECKPOINTS))
        ]
    elif out.exists():
        foreign = ["a file"]
    if foreign:
        raise RunError(
            f"{out} exists already and is no run: expected a new folder, found {min(foreign)}; "
            f"{cure}"
        )


def is_finished(
    out: Path,
    *,
    method: str,
    config: Any,
    data: str,
    seed: int,
    holdout: float,
    folds: int = 0,
    roi: Bool[np.ndarray, "h w"] | None = None,
) -> bool:
    """Whether a finished run stands at `out` that the same request made; `data` is its hash."""
    try:
        saved = json.loads((out / "run.json").read_text(encoding="utf-8"))
        facts, settings = saved["provenance"], saved["config"]
        there = saved["method"], facts["data"]["hash"], facts["seed"], facts["steps"]
        threshold = facts["holdout"], facts.get("folds", 0)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    places = dict.fromkeys(("weights", "offline"))  # of the encoder's file, whose path may be short
    same = {**settings, **places} == {**to_json(config), **places}
    same = same and threshold == (0.0 if folds else holdout, folds)
    same = same and saved.get("roi") == (None if roi is None else to_lengths(roi))
    return same and there == (method, data, seed, config.steps)


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold a run's folder against other processes, and leave none behind that says nothing.

    Raises:
        RunError: It is finished, or something else stands there, or another process writes to it.
        OSError: It cannot be written to.
    """
    folder, file = checkpoints_of(out), out / "run.json"
    if file.exists():  # who finished it may have been killed before it tidied
        _remove_checkpoints(folder)
    check_free(out)
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / "lock", wait=False))
        except BusyError as error:
            raise RunError(
                f"another process is writing the run {out}; wait for it, or name another folder"
            ) from error
        except OSError as error:
            raise OSError(f"cannot write the run {out}: {error}; name another folder") from error
        try:
            check_free(out)  # who held it may have finished just now
            for place in (out, folder):
                for pattern in (".*-*", TENSORS_HALF_WRITTEN):
                    remove_leftovers(place, pattern, held=True)
            yield
        finally:
            if file.exists() or not any(folder.glob(STEPS)):  # finished, or never got to any
                if not file.exists():  # before the lock, without which they would be another's
                    (out / "weights.safetensors").unlink(missing_ok=True)
                _remove_checkpoints(folder)
                if not any(out.iterdir()):
                    out.rmdir()


def _remove_checkpoints(folder: Path) -> None:
    """Remove what training writes into RUN/checkpoints/, and the folder where no more is there."""
    for pattern in IN_CHECKPOINTS:
        for path in folder.glob(pattern):
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):  # not empty
        folder.rmdir()


def trained_state(method: Any) -> dict[str, Any]:
    """The tensors of a method that training makes: all but the frozen encoder's."""
    return {k: v for k, v in method.state_dict().items() if not k.startswith("encoder.")}


def save_run(run: Run, out: Path) -> None:
    """Write a run to the folder that is claimed for it; `run.json`, which finishes it, last."""
    method, config = run.method, run.method.config
    encoder = method.encoder
    if str(config.weights) not in ("None", "random"):  # a file, to be found from any folder
        config = dataclasses.replace(config, weights=Path(config.weights).absolute())
    description = {
        "format": FORMAT,
        "method": method.name,
        "config": config,
        "encoder": {"name": encoder.name, "source": encoder.source, "sha256": encoder.digest},
        "calibration": method.calibration,
        "provenance": run.provenance,
        "losses": run.losses,
        "weights": write_tensors(out / "weights.safetensors", trained_state(method)),
        **({} if method.roi is None else {"roi": to_lengths(method.roi)}),
    }
    write_json(out / "run.json", sealed(description))
    run.path = out


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Give a finished run another calibration: `run.json` is sealed anew and replaced whole.

    Raises:
        RunError: As `load_run`.
    """
    saved, _ = read_run(path)
    write_json(path / "run.json", sealed(saved | {"calibration": calibration}))


def sealed(description: Record) -> Record:
    """Return what `run.json` holds, with the SHA-256 of the rest as `sha256`."""
    rest = {k: to_json(v) for k, v in description.items() if k != "sha256"}
    text = json.dumps(rest, sort_keys=True)
    return rest | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def read_run(path: Path) -> tuple[Record, dict[str, torch.Tensor]]:
    """Read a run's description and its trained weights, as `load_run` does; errors are its own."""
    file, weights = path / "run.json", path / "weights.safetensors"
    if not file.is_file():
        steps = sorted(checkpoints_of(path).glob("step-*"))
        if steps:
            raise RunError(
                f"the run {path} is unfinished, its last checkpoint is {steps[-1].name}; "
                "the command that began it goes on from there"
            )
        expected = "its folder" if path.is_file() else file
        raise RunError(f"no run at {path}; expected {expected}, as `adlib train` writes it")
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        found = saved["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{file} is not a run's description: expected JSON with a format, but "
            f"{type(error).__name__}: {error}"
        ) from error
    if found != FORMAT:
        raise RunError(
            f"{path} is a run of format {found!r:.20}, this adlib reads format {FORMAT}; "
            "use the adlib that wrote it"
        )
    digest = saved.pop("sha256", None)
    _parse(file, Description, saved)
    if digest is None:
        warnings.warn(
            f"{path} has no digests, since an older adlib wrote it: damage may go unnoticed",
            RuntimeWarning,
            stacklevel=3,
        )
    elif digest != sealed(saved)["sha256"]:
        raise RunError(
            f"{file} is not as it was written: its SHA-256 differs; take a copy that is whole, or "
            'remove its key "sha256" if you edited it on purpose'
        )
    try:
        state, _, digest = read_tensors(weights)
    except (OSError, ValueError) as error:
        raise RunError(f"{weights} cannot be read: {error}") from error
    if saved.get("weights") not in (None, digest):
        raise RunError(f"{weights} belongs to another run: its SHA-256 is not that in {file.name}")
    return saved, state


def _parse(file: Path, kind: type[C], values: Any, where: str = "") -> C:
    """Build what a part of `run.json` describes, or raise RunError that names the field."""
    try:
        return config_from(kind, values, where)
    except (TypeError, ValueError) as error:
        raise RunError(f"{file}: {error}") from error


def load_run(path: Path | str, *, offline: bool = True) -> Run:
    """Read a run back, with its method ready to evaluate and predict.

    Args:
        path: The folder that `fit` wrote.
        offline: Look for the encoder's weights on this machine only; False may download them.
    Raises:
        RunError: No run there, a run of another format, a damaged one, an encoder that is another
            or is not on this machine, or weights that do not fit.
    Warns:
        RuntimeWarning: An older adlib wrote the run, without digests that could tell damage.
    """
    path = Path(path)
    file = path / "run.json"
    saved, state = read_run(path)
    run = _parse(file, Description, saved)
    if run.method not in METHODS:
        known = ", ".join(METHODS)
        raise RunError(f"{file}: unknown method {run.method!r:.60}; known are {known}")
    cls, config_cls = METHODS[run.method]
    config = _parse(file, config_cls, run.config, "config.")
    try:
        method: Any = cls(dataclasses.replace(config, offline=offline))
    except WeightsError as error:
        cure = f"; adlib.load_run({str(path)!r}, offline=False) downloads them"
        cure = cure if offline and config.weights is None else ""
        raise RunError(f"{path}: {error}{cure}") from error
    except (TypeError, ValueError) as error:
        raise RunError(f"{file}: config: {error}") from error
    method.config = config
    found, meant = method.encoder, run.encoder
    if found.digest != meant.sha256:
        raise RunError(
            f"{path} was trained on the encoder {meant.name} with SHA-256 {meant.sha256[:16]} "
            f"({meant.source}), but found {found.digest[:16]} ({found.source})"
        )
    own = trained_state(method).keys()  # an encoder's tensors among the weights are foreign
    if missing := sorted(own - state.keys()) + sorted(state.keys() - own):
        raise RunError(f"{path}: weights do not fit: missing or unexpected {missing}")
    try:
        method.load_state_dict(state, strict=False)
    except RuntimeError as error:  # of other shapes
        shapes = " ".join(str(error).split())
        raise RunError(f"{path}: weights do not fit: {shapes}") from error
    method.encoder.to(memory_format=torch.channels_last)  # as `fit` left it: it rounds alike
    method.calibration, method.provenance = run.calibration, {**run.provenance}
    method.roi = None if run.roi is None else from_lengths(run.roi, ROI)
    return Run(method=method, losses=run.losses, provenance=run.provenance, path=path)
