"""One attempt at one point: its notebook, in a process of its own that dies with its parent.

A Dask worker calls `attempt`, which starts `python -P -m adlib.sweep.execution FOLDER`.
"""

import hashlib
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import adlib
from adlib.sweep.plan import Point, SweepError, Values
from adlib.sweep.results import Result, Slot, read_files
from adlib.system.progress import LOG

PAUSE = 0.2  # seconds between two looks at a process
LAST_LINES = 20  # of a traceback
# Pictures inline, nobody who moves a slider or watches a log. The last is Dask's, for its workers:
# memory given back at once cost half the time of training, which asks for it again at each step.
KERNEL_REFUSES = ("MPLBACKEND", "JPY_SESSION_NAME", LOG, "MALLOC_TRIM_THRESHOLD_")
KERNEL_ENVIRONMENT = {
    "TQDM_DISABLE": "1",  # a bar is for a person who waits
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a note of the debugger on stderr
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not the home folder's
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that the points of a sweep share; of plain values, to be sent to other machines."""

    out: str  #: the sweep's folder, which every worker must see under this path
    takes_out: bool  #: whether the notebook is given the point's folder as its parameter `out`
    notebook: dict[str, str]  #: its file's name, and the SHA-256 under which OUT/notebooks has it
    timeout: float | None = None  #: seconds that an attempt may take
    retries: int = 0  #: of a point that failed
    threads: int | None = (
        None  #: of the kernel's libraries; None leaves them as the worker has them
    )
    gpus: tuple[str, ...] = ()  #: CUDA_VISIBLE_DEVICES of each worker of this machine


def attempt(
    job: Job, point: Point, *, wanted: Callable[[], bool] = lambda: True, worker: int = 0
) -> Result:
    """Run a point's notebook once, unless it is finished or somebody else works on it.

    Args:
        job: What is asked of all points.
        point: This one.
        wanted: Asked time and again; False ends the attempt.
        worker: The worker's number on its machine, by which it takes its GPUs.
    Returns:
        The content of point.json, whose status is "finished" or "failed"; or only the id and the
        status "busy" (another process has the lock) or "stopped" (no longer wanted).
    Raises:
        FileNotFoundError: This machine does not see the sweep's folder.
    """
    from adlib.engine.runs import commit  # not above: the notebook's process needs no torch

    slot = Slot(Path(job.out), point.id)
    if not slot.log.parent.is_dir():
        raise FileNotFoundError(
            f"{socket.gethostname()} sees no folder {job.out}; every worker of a cluster needs "
            "the sweep's folder under the same path"
        )
    with slot.lock() as log:
        if slot.finished.is_dir():  # asked after the lock: it may have just been released
            return slot.result()
        if log is None:
            return {"id": point.id, "status": "busy"}
        made = {"adlib": adlib.__version__, "commit": commit(), "notebook": job.notebook}
        result = slot.begin(point, **made)
        started = time.perf_counter()
        outcome = _execute(job, point, slot.work, log, wanted, worker)
        if outcome is None:
            return {"id": point.id, "status": "stopped"}
        result["seconds"] = round(time.perf_counter() - started, 3)
        result["ended"] = datetime.now(UTC).isoformat()
        return slot.settle(result | outcome)


def _execute(
    job: Job, point: Point, work: Path, log: int, wanted: Callable[[], bool], worker: int
) -> Values | None:
    """Execute the notebook in a process of its own; its error, or None if no longer wanted."""
    # The name is the point's own, so that the next attempt removes what a killed one left.
    name = hashlib.sha256(f"{os.getuid()} {work.resolve()}".encode()).hexdigest()[:16]
    runtime = Path(tempfile.gettempdir(), f"adlib-{name}")
    environment = {k: v for k, v in os.environ.items() if k not in KERNEL_REFUSES}
    environment |= KERNEL_ENVIRONMENT | {"IPYTHONDIR": str(runtime)}  # no start-up files of a user
    if job.threads is not None:
        environment |= dict.fromkeys(THREADS, str(job.threads))
    if job.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = job.gpus[worker]
    parameters = point.parameters | ({"out": str(work.resolve())} if job.takes_out else {})
    deadline = time.monotonic() + (job.timeout or math.inf)
    shutil.rmtree(runtime, ignore_errors=True)
    runtime.mkdir(mode=0o700)
    try:
        kept = Path(job.out, "notebooks", f"{job.notebook['sha256']}.ipynb")
        shutil.copyfile(kept, runtime / "notebook.ipynb")
        asked = json.dumps({"parent": os.getpid(), "parameters": parameters})
        (runtime / "asked.json").write_text(asked, encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "adlib.sweep.execution", str(runtime)],
            stdin=subprocess.DEVNULL,
            stdout=log,  # it and its kernel hold the lock as long as they live
            stderr=log,
            cwd=work,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the sweep, which ends this process
        )
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    return _failed(f"it took longer than the timeout of {job.timeout:g} s")
                if not wanted():
                    return None
                time.sleep(PAUSE)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
                time.sleep(2 * PAUSE)  # its kernel ends after it, and then leaves its files alone
        if not (runtime / "outcome.json").is_file():
            return _failed(f"its process ended with {process.returncode}; its log says more")
        outcome = json.loads((runtime / "outcome.json").read_text(encoding="utf-8"))
        if not outcome["error"]:
            read_files(work)
        return outcome
    except SweepError as error:
        return _failed(f"the notebook wrote a file that is no JSON: {error}")
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


def _failed(error: str, text: str = "") -> Values:
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()[-LAST_LINES:]  # without colours
    return {"error": error, "traceback": lines}


def tie(parent: int) -> None:
    """Let this process end soon after `parent`, which started it, however that ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PAUSE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(runtime: Path) -> None:
    """Execute the notebook in `runtime` as executed.ipynb, and leave the outcome there."""
    asked = json.loads((runtime / "asked.json").read_text(encoding="utf-8"))
    tie(asked["parent"])
    # An optional check of jsonschema compiles a grammar of URIs when imported, for a second.
    sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]
    import papermill
    from traitlets.config import Config

    outcome = {"error": None}
    line = f"__import__('adlib.sweep.execution').sweep.execution.tie({os.getpid()})"
    # Sockets are files: no TCP port is open, and none can be taken by another kernel.
    places = {"ip": f"{runtime}/kernel", "connection_file": f"{runtime}/kernel.json"}
    try:
        papermill.execute_notebook(
            str(runtime / "notebook.ipynb"),
            "executed.ipynb",
            parameters=asked["parameters"],
            kernel_name="python3",
            progress_bar=False,
            config=Config(KernelManager={"transport": "ipc", **places}),
            extra_arguments=[f"--IPKernelApp.exec_lines={line}"],
        )
    except papermill.PapermillExecutionError as error:
        name = f"cell [{error.exec_count}]: {error.ename}: {error.evalue}"
        outcome = _failed(name, "\n".join(error.traceback))
    except Exception as error:  # the kernel died, or never started
        outcome = _failed(f"{type(error).__name__}: {error}")
        raise
    finally:
        (runtime / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
