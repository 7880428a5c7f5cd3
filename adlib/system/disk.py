"""What reaches the disk whole or not at all, and who may write where.

A file appears under its name by one rename, after its bytes are on the disk; a reader sees the old
one or the new one, whatever moment the power goes.
"""

import dataclasses
import errno
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

TENSORS_HALF_WRITTEN = ".tmp??????"  # beside the file that safetensors writes, from 0.8 on


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, or this user's share of it


class BusyError(OSError):
    """Another process holds the lock."""


def free_mib(folder: Path) -> float:
    """Free space in MiB on the disk of a folder, or of its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 2**20


def _start_of(process: int) -> str:
    """When a process began: "" if it has ended, "0" where the system does not say (not Linux)."""
    try:
        if os.name == "posix":  # on Windows this would end the process
            os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except ProcessLookupError:
        return ""
    except OSError:
        return "0"


def temporary_prefix(path: Path) -> str:
    """Begin the name of a temporary file or folder beside `path` that this process owns."""
    return f".{path.name}-{platform.node()}-{os.getpid()}-{_start_of(os.getpid())}-"


def remove_abandoned(path: Path) -> None:
    """Remove temporary files and folders beside `path` whose owner, on this machine, has ended."""
    if not path.parent.is_dir():
        return
    ours = re.compile(re.escape(f".{path.name}-{platform.node()}-") + r"(\d+)-(\d+)-[^-]+")
    for left in path.parent.iterdir():
        if (found := ours.fullmatch(left.name)) and _start_of(int(found[1])) not in (found[2], "0"):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file to fill, which then takes the place of `path`.

    Raises:
        OSError: It could not be written (full, read-only); says what, where and how much is free.
            What stood at `path` stands there still.
    """
    from safetensors import SafetensorError

    work = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path))
        os.close(handle)
        work = Path(name)
        yield work
        with work.open("r+b") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
        work.chmod(0o644)
        work.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        if work is not None:
            work.unlink(missing_ok=True)
        missing = isinstance(error, FileNotFoundError)  # an image that went, not what is written
        if isinstance(error, OSError | SafetensorError) and not missing:
            raise OSError(
                f"{path} could not be written: {error} "
                f"({free_mib(path.parent):,.1f} MiB free there); what stood there is unchanged"
            ) from error
        raise


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path, prefix: str = "") -> None:
    """Remove temporary files of a killed writer; only for who holds the lock of the folder.

    With a prefix only those of the file of that name, whose lock is enough then.
    """
    for pattern in (f".{prefix}*-*",) if prefix else (".*-*", TENSORS_HALF_WRITTEN):
        for left in folder.glob(pattern):
            if left.is_file():
                left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole."""
    with replacing(path) as work:
        work.write_text(text, encoding="utf-8")


def to_json(value: Any) -> Any:
    """Turn dataclasses, tuples and paths into what JSON has."""
    if isinstance(value, Mapping):  # a record is one, too
        return {k: to_json(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(dataclasses.asdict(value))
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole; numbers that JSON does not have (NaN, infinity) are refused."""
    write_text(path, json.dumps(to_json(value), indent=1, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Any], about: Any = None) -> None:
    """Write torch tensors as safetensors, whole.

    Args:
        path: The file.
        tensors: By name.
        about: JSON for the file's header.
    """
    from safetensors.torch import save_file

    metadata = None if about is None else {"adlib": json.dumps(to_json(about), allow_nan=False)}
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with replacing(path) as work:
        save_file(plain, work, metadata)


def check_new(out: Path) -> None:
    """Raise FileExistsError unless `out` is free: not there, or an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists already; name another folder, or remove it first")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to fill that becomes `out` by one rename when all went well, else vanishes.

    With it vanish the folders above it that had to be made and hold nothing else. The folder of an
    earlier process that was killed is removed first.

    Raises:
        FileExistsError: `out` exists and is not an empty folder; nothing was touched.
        OSError: The disk is full; says where and how much is free.
    """
    check_new(out)
    remove_abandoned(out)
    made = [above for above in out.parents if not above.exists()]  # nearest first
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=temporary_prefix(out)))
    try:
        yield work
        work.chmod(0o755)
        if out.exists():
            out.rmdir()  # empty, or check_new would have refused it
        work.replace(out)
    except BaseException as error:
        free = free_mib(out.parent)
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):  # one of them holds something by now
            for above in made:
                above.rmdir()
        if isinstance(error, OSError) and error.errno in FULL:
            raise OSError(
                f"{out} could not be written: {error} ({free:,.1f} MiB free there); nothing is left"
            ) from error
        raise


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock file, which the system lets go when its holder dies, however it dies.

    Args:
        path: The lock file; it stays when the lock is let go.
        wait: For another holder to finish; otherwise raise.
    Raises:
        BusyError: Another process holds it, and `wait` is False.
    """
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"another process holds {path}") from error
    try:
        yield
    finally:
        lock.release()
