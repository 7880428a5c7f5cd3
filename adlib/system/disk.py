"""What reaches the disk whole or not at all, and is read back as it was written or not at all.

A file appears under its name by one rename, after its bytes are on the disk; a reader sees the old
one or the new one, whatever moment the power goes. A file of tensors carries its own SHA-256.
"""

import dataclasses
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

TENSORS_HALF_WRITTEN = ".tmp??????"  # beside the file that safetensors writes, from 0.8 on
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
OWNER = re.compile(rf"-{HOST}\.(\d+)\.(\d+)-[^-]*$")  # process and its start, in a temporary name
UNSEALED = "0" * 64  # in a header, in place of the digest of the file around it
SEAL = re.compile(rb'"sha256":"([0-9a-f]{64})"')
FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))  # or a quota, of Unix


class BusyError(OSError):
    """Another process holds the lock."""


def free_mib(folder: Path) -> float:
    """Free space in MiB on the disk of a folder, or of its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 2**20


def _begin(path: Path) -> str:
    """Remove what killed processes left for a path; how this process's temporary names begin."""
    remove_leftovers(path.parent, f".{glob.escape(path.name)}-*")
    me = psutil.Process()
    return f".{path.name}-{HOST}.{me.pid}.{int(me.create_time())}-"


def remove_leftovers(folder: Path, pattern: str, *, held: bool = False) -> None:
    """Remove temporary files and folders whose process was killed.

    Args:
        folder: The folder that holds them.
        pattern: Of their names, such as `.model.onnx-*`.
        held: The caller holds the lock that every writer of them needs, so that all are leftovers.
            Otherwise only those go whose name tells a process of this machine that has ended.
    """
    for left in folder.glob(pattern):
        owner = OWNER.search(left.name)
        if held or (owner and not _runs(int(owner[1]), int(owner[2]))):
            shutil.rmtree(left, ignore_errors=True)  # does nothing to a file or a link
            with suppress(OSError):
                left.unlink(missing_ok=True)


def _runs(pid: int, start: int) -> bool:
    """Whether the process still runs that began at `start`, in seconds; a number may be reused."""
    try:
        return abs(psutil.Process(pid).create_time() - start) < 3  # the clock may have been set
    except psutil.Error as error:
        return isinstance(error, psutil.AccessDenied)


@contextmanager
def on_signals(handler: Callable[[int, Any], None], *numbers: int) -> Iterator[None]:
    """Let signals call `handler` inside; Python gives signals to the main thread only."""
    main = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, handler) for n in numbers if main}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, where it would kill, end the work inside as Ctrl-C does: it tidies up."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt("stopped by SIGTERM; nothing was written")

    kills = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with on_signals(stop, *[signal.SIGTERM] * kills):
        yield


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
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_begin(path))
        os.close(handle)
        work = Path(name)
        yield work
        with work.open("r+b") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
        work.chmod(0o644)
        work.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        free = free_mib(path.parent)
        if work is not None:
            work.unlink(missing_ok=True)
        # an image that went, not what is written
        missing = isinstance(error, FileNotFoundError) and work is not None
        if isinstance(error, OSError | SafetensorError) and not missing:
            raise OSError(
                f"{path} could not be written: {error} ({free:,.1f} MiB free there); what stood "
                "there is unchanged"
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


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole."""
    with replacing(path) as work:
        work.write_text(text, encoding="utf-8")


def to_json(value: Any) -> Any:
    """Turn dataclasses, tuples and paths into what JSON has."""
    if isinstance(value, Mapping):  # first: a record is a mapping and a dataclass
        return {k: to_json(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(dataclasses.asdict(value))
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole; numbers that JSON does not have (NaN, infinity) are refused."""
    write_text(path, json.dumps(to_json(value), indent=1, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Any], about: Any = None) -> str:
    """Write torch tensors by name as safetensors, whole, with `about` as JSON in the header.

    Returns:
        The file's SHA-256, as in its header.
    """
    from safetensors.torch import save_file

    metadata = {"sha256": UNSEALED}
    if about is not None:
        metadata["adlib"] = json.dumps(to_json(about), allow_nan=False)
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with replacing(path) as work:
        save_file(plain, work, metadata)
        return seal(work)


def read_tensors(path: Path) -> tuple[dict[str, Any], Any, str | None]:
    """Return tensors, the header's JSON and the SHA-256 of a file that `write_tensors` wrote.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged.
    """
    from safetensors import SafetensorError, safe_open

    digest = check_seal(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("adlib", "null"))
            return {key: file.get_tensor(key) for key in file.keys()}, about, digest  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def seal(path: Path) -> str:
    """Write the SHA-256 of a safetensors file, as it is now, over `UNSEALED` in its header."""
    with path.open("r+b") as file:
        found, digest = _digest(file)
        assert found is not None, f"{path} has no place for a digest"
        file.seek(8 + found.start(1))
        file.write(digest.encode())
    return digest


def check_seal(path: Path) -> str | None:
    """Return the SHA-256 in the header of a safetensors file; None where an older adlib wrote none.

    Raises:
        OSError: The file cannot be read.
        ValueError: Its bytes are others than those that were written.
    """
    if not is_file(path):  # reading a pipe or a device would not end
        raise FileNotFoundError(f"no file {path}")
    with path.open("rb") as file:
        found, digest = _digest(file)
    if found is not None and found[1] != digest.encode():
        raise ValueError(f"its SHA-256 is {digest[:16]}, not {found[1].decode()[:16]} as written")
    return None if found is None else digest


def _digest(file: BufferedReader | BufferedRandom) -> tuple[re.Match[bytes] | None, str]:
    """Return the digest's place in the header, and the SHA-256 of the file with zeros there."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(start := file.read(8), "little")
    if length > size:
        raise ValueError(f"{size} bytes are no safetensors file: its header claims {length}")
    header = file.read(length)
    if (found := SEAL.search(header)) is None:
        return None, ""
    blank = header[: found.start(1)] + UNSEALED.encode() + header[found.end(1) :]
    return found, hashlib.file_digest(file, lambda: hashlib.sha256(start + blank)).hexdigest()


def is_file(path: Path) -> bool:
    """Whether a file is there; a path that no system takes, as it is too long, names none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def check_new(out: Path) -> None:
    """Raise FileExistsError unless `out` is free: not there, or an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists already; name another folder, or remove it first")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to fill that becomes `out` by one rename when all went well, else vanishes.

    So do the folders above it that were made for it. Ctrl-C and SIGTERM leave nothing behind; what
    SIGKILL leaves, the next call for the same folder removes.

    Raises:
        FileExistsError: `out` exists and is not an empty folder; nothing was touched.
        OSError: The disk is full; names `out`.
    """
    check_new(out)
    made = [above for above in out.parents if not above.exists()]  # nearest first
    out.parent.mkdir(parents=True, exist_ok=True)
    with interruptible():
        try:
            work = Path(tempfile.mkdtemp(dir=out.parent, prefix=_begin(out)))
        except OSError as error:
            raise OSError(f"{out} could not be made: {error.strerror}") from error
        try:
            yield work
            work.chmod(0o755)
            if out.exists():
                out.rmdir()  # empty, or check_new would have refused it
            work.replace(out)
        except BaseException as error:
            free = free_mib(work)
            shutil.rmtree(work, ignore_errors=True)
            with suppress(OSError):  # one of them holds something by now
                for above in made:
                    above.rmdir()
            cause: BaseException | None = error
            while cause is not None and getattr(cause, "errno", None) not in FULL:
                cause = cause.__cause__
            if cause is not None:
                raise OSError(
                    f"{out} could not be written: the disk is full ({free:,.1f} MiB free there); "
                    "nothing was kept"
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
    try:
        lock = FileLock(path, timeout=-1 if wait else 0).acquire()
    except Timeout as error:
        raise BusyError(f"another process holds {path}") from error
    with lock:
        yield
