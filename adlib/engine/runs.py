"""A run on disk: config, provenance, weights and record; finished once `run.json` is there.

```text
RUN/run.json             format, method, config, provenance, calibration, losses; written last
RUN/weights.safetensors  what was trained; the frozen encoder is named by its hash
RUN/record.json          what `evaluate` found, when it was asked
RUN/checkpoints/         while it trains, where an interrupted run goes on
RUN/logs/                what a tracker wrote, when one was asked for
```
"""

import dataclasses
import json
import platform
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from adlib.system.disk import (
    TENSORS_HALF_WRITTEN,
    BusyError,
    locked,
    remove_leftovers,
    to_json,
    write_json,
    write_tensors,
)

FORMAT = 1  # of the run folder; raised when an old one can no longer be read
STEPS = "step-*.safetensors"  # the checkpoints
IN_CHECKPOINTS = (STEPS, "lock", f".{STEPS}-*", TENSORS_HALF_WRITTEN)  # all that is ours there
IN_RUN = ("checkpoints", "logs", ".weights.safetensors-*", ".run.json-*", TENSORS_HALF_WRITTEN)
C = TypeVar("C")
Record = dict[str, Any]


class RunError(ValueError):
    """A run folder that cannot be read, or must not be written."""


@dataclass(kw_only=True)
class Run:
    """A trained method and where it came from.

    Args:
        method: The method, calibrated.
        losses: The loss of every step.
        provenance: Seed, steps, seconds, data, device, versions, commit.
        path: The folder it was written to, None when it was not.
    """

    method: Any
    losses: list[float] = field(default_factory=list)
    provenance: Record = field(default_factory=dict)
    path: Path | None = None


def config_from(cls: type[C], values: dict[str, Any]) -> C:
    """Build a config; raise ValueError that names an unknown key and the nearest known one."""
    known = {f.name: f for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(
                f"unknown config key {key!r} for {cls.__name__}{hint} Known: {', '.join(known)}"
            )
    fitted = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for name, value in fitted.items():
        if isinstance(value, dict):  # a config within the config
            inner: Any = known[name].default_factory
            fitted[name] = config_from(inner, value)
    for name, value in fitted.items():
        if isinstance(value, str) and "Path" in str(known[name].type):
            fitted[name] = Path(value)
    return cls(**fitted)


def versions() -> dict[str, str]:
    """Versions of what a number can depend on."""
    found = {"python": platform.python_version()}
    for name in ("adlib", "torch", "torchvision", "timm", "numpy", "scipy", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
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
    """The folder of an unfinished run's checkpoints."""
    return out / "checkpoints"


def check_free(out: Path) -> None:
    """Raise RunError unless a run may be written to `out`, or an unfinished one goes on there."""
    if (out / "run.json").exists():
        raise RunError(
            f"{out} exists already; name another folder, or remove it: its run is finished"
        )
    if foreign := _foreign(out):
        raise RunError(
            f"{out} exists already and is no run: expected a new folder, found {foreign[0]}; "
            "name another folder"
        )


def is_finished(
    out: Path, *, method: str, config: Any, data: str, seed: int, holdout: float
) -> bool:
    """Whether a finished run stands at `out` that the same request made.

    Args:
        out: Its folder.
        method: Name of the method.
        config: Its config.
        data: Hash of the data.
        seed: As `fit` took it.
        holdout: As `fit` took it.
    """
    try:
        saved = json.loads((out / "run.json").read_text(encoding="utf-8"))
        facts, settings = saved["provenance"], saved["config"]
        there = (saved["method"], facts["data"]["hash"], facts["seed"], facts["holdout"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    places = dict.fromkeys(("weights", "offline"))  # of the encoder's file, whose path may be short
    same = {**settings, **places} == {**to_json(config), **places}
    return there == (method, data, seed, holdout) and same and facts["steps"] == config.steps


def _foreign(out: Path) -> list[str]:
    """What stands at `out` that no unfinished run has left there, sorted."""
    if not out.is_dir():
        return ["a file"] if out.exists() else []
    folder = checkpoints_of(out)
    inside = list(folder.iterdir()) if folder.is_dir() else []
    ours = (*IN_RUN, "weights.safetensors") if inside else IN_RUN  # written beside a lock only
    found = [p.name for p in out.iterdir() if not any(map(p.match, ours))]
    found += [f"checkpoints/{p.name}" for p in inside if not any(map(p.match, IN_CHECKPOINTS))]
    return sorted(found)


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold a run's folder against other processes, and leave none behind that says nothing.

    Raises:
        RunError: It is finished, or something else stands there, or another process writes to it.
        OSError: It cannot be written to.
    """
    folder = checkpoints_of(out)
    if (out / "run.json").exists():  # who finished it may have been killed before it tidied
        _remove_checkpoints(out)
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
            remove_leftovers(out)
            remove_leftovers(folder)
            yield
        finally:
            _tidy(out)


def _tidy(out: Path) -> None:
    """Remove the checkpoints of a finished run, and the folder of one that never got to any."""
    finished = (out / "run.json").exists()
    if finished or not any(checkpoints_of(out).glob(STEPS)):
        if not finished:  # before the checkpoints, without which they would be another's
            (out / "weights.safetensors").unlink(missing_ok=True)
        _remove_checkpoints(out)
        if not any(out.iterdir()):
            out.rmdir()


def _remove_checkpoints(out: Path) -> None:
    """Remove what training writes into RUN/checkpoints/, and the folder where no more is there."""
    folder = checkpoints_of(out)
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
    write_tensors(out / "weights.safetensors", trained_state(method))
    description = {
        "format": FORMAT,
        "method": method.name,
        "config": config,
        "encoder": {"name": encoder.name, "source": encoder.source, "sha256": encoder.digest},
        "calibration": method.calibration,
        "provenance": run.provenance,
        "losses": run.losses,
    }
    write_json(out / "run.json", description)
    run.path = out


def read_run(path: Path) -> tuple[Record, dict[str, Any]]:
    """Read a run's description and its trained weights; `adlib.load_run` makes the method of them.

    Raises:
        RunError: No run there, a run of another format, or damaged weights.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (path / "run.json").is_file():
        steps = sorted(checkpoints_of(path).glob("step-*"))
        if steps:
            raise RunError(
                f"the run {path} is unfinished, its last checkpoint is {steps[-1].name}; "
                "the command that began it goes on from there"
            )
        raise RunError(f"no run at {path}; expected {path}/run.json, as `adlib train` writes it")
    try:
        saved = json.loads((path / "run.json").read_text(encoding="utf-8"))
        found = saved["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}/run.json is not a run's description: {error!r}") from error
    if found != FORMAT:
        raise RunError(
            f"{path} is a run of format {found}, this adlib reads format {FORMAT}; "
            f"it was written with adlib {saved.get('provenance', {}).get('versions')}"
        )
    try:
        return saved, load_file(path / "weights.safetensors")
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}/weights.safetensors cannot be read: {error}") from error
