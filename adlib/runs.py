"""A run on disk: config, provenance, weights and record; written whole or not at all.

```text
RUN/run.json             format, method, config, provenance, calibration, losses
RUN/weights.safetensors  what was trained; the frozen encoder is named by its hash
RUN/record.json          what `evaluate` found, when it was asked
```
"""

import dataclasses
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

FORMAT = 1  # of the run folder; raised when an old one can no longer be read
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
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"unknown config key {key!r} for {cls.__name__}{hint} Known: {', '.join(known)}"
            )
    fitted = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for name, value in fitted.items():
        if isinstance(value, str) and "Path" in str(known[name].type):
            fitted[name] = Path(value)
    return cls(**fitted)


def to_json(value: Any) -> Any:
    """Turn dataclasses, tuples and paths into what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def write_text(path: Path, text: str) -> None:
    """Write a file whole: a temporary file beside it, fsync, rename."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole; numbers that JSON does not have (NaN, infinity) are refused."""
    write_text(path, json.dumps(to_json(value), indent=1, allow_nan=False) + "\n")


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


def check_new(out: Path) -> None:
    """Raise RunError unless a run may be written to `out`."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists already; name another folder, or remove it first")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to fill that becomes `out` by one rename when all went well, else vanishes.

    Raises:
        RunError: `out` exists and is not an empty folder; nothing was touched.
    """
    check_new(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        yield work
        work.chmod(0o755)
        if out.exists():
            out.rmdir()  # empty, or check_new would have refused it
        work.replace(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def save_run(run: Run, out: Path) -> None:
    """Write a run to a new folder, whole or not at all."""
    from safetensors.torch import save_file

    method = run.method
    state = {k: v for k, v in method.state_dict().items() if not k.startswith("encoder.")}
    encoder = method.encoder
    with new_folder(out) as work:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in state.items()},
            work / "weights.safetensors",
        )
        description = {
            "format": FORMAT,
            "method": method.name,
            "config": method.config,
            "encoder": {"name": encoder.name, "source": encoder.source, "sha256": encoder.digest},
            "calibration": method.calibration,
            "provenance": run.provenance,
            "losses": run.losses,
        }
        write_json(work / "run.json", description)
    run.path = out


def read_run(path: Path) -> tuple[Record, dict[str, Any]]:
    """Read a run's description and its trained weights; `adlib.load_run` makes the method of them.

    Raises:
        RunError: No run there, a run of another format, or damaged weights.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (path / "run.json").is_file():
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
