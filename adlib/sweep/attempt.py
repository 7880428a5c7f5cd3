"""One attempt at one point, as a Dask worker makes it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import adlib
from adlib.engine.runs import commit
from adlib.sweep.folder import Result, Slot, read_json_files
from adlib.sweep.point import Values
from adlib.system.progress import LOG

PAUSE = 0.2  # seconds between two looks at whether the point is still wanted; ours
KERNEL_REFUSES = (
    "MPLBACKEND",  # pictures inline
    "JPY_SESSION_NAME",
    LOG,  # nobody watches
    # Dask's, for its workers: memory is given back at once, and training, which asks for it again
    # at each step, spent half of its time on that.
    "MALLOC_TRIM_THRESHOLD_",
)
KERNEL_ENVIRONMENT = {
    "TQDM_DISABLE": "1",  # a bar is for a person who waits
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a note of the debugger on stderr
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not the home folder's
}
Problem = dict[str, Any]  # error and traceback, as point.json has them
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker is told; of plain values, so that it can be sent to another machine.

    Args:
        out: The sweep's folder, which every worker must see under this path.
        id: The point's.
        parameters: All that the notebook is given, but its folder.
        takes_out: Whether the notebook has a parameter `out`, to be told its folder.
        notebook: The notebook's SHA-256; it lies in OUT/notebooks.
        name: The notebook's file name.
        timeout: Seconds that this attempt may take.
        threads: CPU threads of the kernel's libraries; None leaves them as the worker has them.
        devices: GPUs of this machine to be shared out among its workers; None leaves them alone.
        share: GPUs that a point gets of them.
    """

    out: str
    id: str
    parameters: Values
    takes_out: bool
    notebook: str
    name: str
    timeout: float | None = None
    threads: int | None = None
    devices: list[str] | None = None
    share: float = 1.0


class UnwantedError(Exception):
    """Nobody waits for this attempt any more."""


def always() -> bool:
    """A point that nobody calls back."""
    return True


def attempt(order: Order, *, wanted: Callable[[], bool] = always, worker: int = 0) -> Result:
    """Run a point's notebook once, unless it is finished or somebody else works on it.

    Args:
        order: The point.
        wanted: Asked time and again; False ends the attempt.
        worker: The worker's number on its machine, by which it takes its GPUs.
    Returns:
        The content of point.json, whose status is "finished" or "failed"; or only the id and the
        status "busy" (another process has the lock) or "stopped" (no longer wanted).
    Raises:
        FileNotFoundError: This machine does not see the sweep's folder.
    """
    slot = Slot(Path(order.out), order.id)
    if not slot.log.parent.is_dir():
        raise FileNotFoundError(
            f"{socket.gethostname()} sees no folder {order.out}; every worker of a cluster needs "
            "the sweep's folder under the same path"
        )
    with slot.lock() as log:
        if slot.finished.is_dir():  # asked after the lock: it may have just been released
            return slot.result() or {}
        if log is None:
            return {"id": order.id, "status": "busy"}
        result: Result = {
            "id": order.id,
            "parameters": order.parameters,
            "status": "begun",
            "attempts": slot.begun() + 1,
            "adlib": adlib.__version__,
            "commit": commit(),
            "notebook": {"name": order.name, "sha256": order.notebook},
        }
        slot.begin(result)
        started = time.perf_counter()
        try:
            problem = _execute(order, slot.work, log, wanted, worker) or _unreadable(slot.work)
        except UnwantedError:
            return {"id": order.id, "status": "stopped"}
        result |= {
            "status": "failed" if problem else "finished",
            "seconds": round(time.perf_counter() - started, 3),
            "ended": datetime.now(UTC).isoformat(),
            **(problem or {"error": None}),
        }
        (slot.fail if problem else slot.finish)(result)
        return result


def _execute(
    order: Order, work: Path, log: int, wanted: Callable[[], bool], worker: int
) -> Problem | None:
    """Execute the notebook in a process of its own and wait for it; None if all went well."""
    deadline = None if order.timeout is None else time.monotonic() + order.timeout
    with tempfile.TemporaryDirectory(prefix="adlib-", ignore_cleanup_errors=True) as runtime:
        notebook, outcome = Path(runtime) / "notebook.ipynb", Path(runtime) / "outcome.json"
        shutil.copyfile(Path(order.out) / "notebooks" / f"{order.notebook}.ipynb", notebook)
        own = {"out": str(work.resolve())} if order.takes_out else {}
        told = {"notebook": str(notebook), "outcome": str(outcome), "runtime": runtime}
        told |= {"parent": os.getpid(), "parameters": order.parameters | own}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "adlib.sweep.execution"],
            stdin=subprocess.PIPE,
            stdout=log,  # it and its kernel hold the lock as long as they live
            stderr=log,
            cwd=work,
            env=_environment(order, runtime, worker),
            start_new_session=True,  # Ctrl-C is for the sweep, which ends this process
        )
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # ended at once
                pipe.write(json.dumps(told).encode())
            while not _ended(process):
                if deadline is not None and time.monotonic() > deadline:
                    return _problem(f"it took longer than the timeout of {order.timeout:g} s")
                if not wanted():
                    raise UnwantedError
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
                time.sleep(PAUSE)  # its kernel dies with it, and then leaves its files alone
        if process.returncode and outcome.is_file():
            return json.loads(outcome.read_text(encoding="utf-8"))
    if process.returncode:
        return _problem(f"its process ended with status {process.returncode}; its log says more")
    return None


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended, after a short wait for it."""
    try:
        return process.wait(timeout=PAUSE) is not None
    except subprocess.TimeoutExpired:
        return False


def _environment(order: Order, runtime: str, worker: int) -> dict[str, str]:
    """The environment of the notebook's processes."""
    own = {k: v for k, v in os.environ.items() if k not in KERNEL_REFUSES} | KERNEL_ENVIRONMENT
    own["IPYTHONDIR"] = runtime  # no start-up files of the user
    if order.threads is not None:
        own |= dict.fromkeys(THREADS, str(order.threads))
    if order.devices is not None:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(take_devices(order.devices, order.share, worker))
    return own


def take_devices(devices: list[str], share: float, worker: int) -> list[str]:
    """The GPUs of the worker with this number, each of which gets `share` of them.

    Below 1, several workers share a GPU; a share lies on one.
    """
    if share < 1:
        return [devices[worker // workers_per_device(share)]]
    first = int(worker * share)
    return devices[first : max(first + 1, int((worker + 1) * share))]


def workers_per_device(share: float) -> int:
    """How many whole shares below 1 a GPU has room for."""
    return int(1 / share + 1e-9)  # 1 / (1 / 49) is a little less than 49


def _unreadable(work: Path) -> Problem | None:
    """Refuse a record that could not be read back."""
    try:
        read_json_files(work)
    except ValueError as error:
        return _problem(f"the notebook wrote JSON that is none: {error}")
    return None


def _problem(error: str) -> Problem:
    return {"error": error, "traceback": []}
