"""One notebook in a process of its own: `python -P -m adlib.sweep.execution`, JSON on stdin.

Neither this process nor its kernel outlives its parent, not even one that is killed.
"""

import ctypes
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
PAUSE = 0.2  # seconds between two looks at the parent where the system does not tell; ours
LAST_LINES = 20  # of a traceback; ours


def tie(parent: int) -> None:
    """Let this process be killed when `parent` ends, which must be its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PAUSE)
    os._exit(1)


def execute(notebook: str, parameters: dict[str, Any], runtime: str) -> dict[str, Any] | None:
    """Execute a notebook here, as `executed.ipynb`; None, or what went wrong.

    Args:
        notebook: The source, which is not touched.
        parameters: Values to set below its `parameters` cell.
        runtime: A folder of a short name, for the sockets of the kernel.
    """
    # An optional check of jsonschema compiles a grammar of URIs when imported, for a second.
    sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]
    import papermill
    from traitlets.config import Config

    line = f"__import__('adlib.sweep.execution').sweep.execution.tie({os.getpid()})"
    try:
        papermill.execute_notebook(
            notebook,
            "executed.ipynb",
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            # Sockets are files: no TCP port is open, and none can be taken by another kernel.
            config=Config(
                KernelManager={
                    "transport": "ipc",
                    "ip": f"{runtime}/kernel",
                    "connection_file": f"{runtime}/kernel.json",
                }
            ),
            extra_arguments=[f"--IPKernelApp.exec_lines={line}"],
        )
    except papermill.PapermillExecutionError as error:
        return {
            "error": f"cell [{error.exec_count}]: {error.ename}: {error.evalue}",
            "traceback": _plain("\n".join(error.traceback)),
        }
    except Exception as error:  # the kernel died, or never started
        return {
            "error": f"{type(error).__name__}: {error}",
            "traceback": _plain(traceback.format_exc()),
        }
    return None


def _plain(text: str) -> list[str]:
    """The last lines, without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()[-LAST_LINES:]


def main() -> int:
    """Do as the JSON on stdin says; 1, and the outcome in a file, if the notebook failed."""
    order = json.load(sys.stdin)
    tie(order["parent"])
    outcome = execute(order["notebook"], order["parameters"], order["runtime"])
    if outcome is None:
        return 0
    Path(order["outcome"]).write_text(json.dumps(outcome), encoding="utf-8")
    return 1


if __name__ == "__main__":
    sys.exit(main())
