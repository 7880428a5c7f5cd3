"""The command line: `adlib info | data | train | calibrate | evaluate | predict | ...`.

Exit status: 0 done, 1 the run failed, 2 the request was wrong.
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from adlib.commands import run as of_runs
from adlib.commands.data import about_data
from adlib.commands.info import Info, info
from adlib.commands.options import parse
from adlib.commands.train import Train, parse_train, train
from adlib.report.command import Report, report
from adlib.sweep.command import Sweep, sweep
from adlib.system.printable import closest, printable
from adlib.system.progress import LOG

Command = tuple[str | None, Callable[[list[str]], None]]


def _command(options: Any, run: Callable[[Any], None]) -> Command:
    """Return a command's text, and what runs it on the words after its name."""
    return options.__doc__, lambda words: run(parse(run.__name__, options, words))


COMMANDS: dict[str, Command] = {
    "info": _command(Info, info),
    "data": ("List, check and download data sets; clear the feature cache.", about_data),
    "train": (Train.__doc__, lambda words: train(parse_train(words))),
    "calibrate": _command(of_runs.Calibrate, of_runs.calibrate),
    "evaluate": _command(of_runs.Evaluate, of_runs.evaluate),
    "predict": _command(of_runs.Predict, of_runs.predict),
    "sweep": _command(Sweep, sweep),
    "report": _command(Report, report),
    "export": _command(of_runs.Export, of_runs.export),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    if arguments is None:  # run as a program: SIGTERM cleans up as Ctrl-C does
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault(LOG, "log")
    status = _run_told(words)
    try:
        if sys.stdout is not None:  # it was closed before the start
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
        left = isinstance(error, BrokenPipeError)  # the reader, such as `head`, has enough
        return status or (1 if left else _complain(f"standard output: {error}", 1))
    return status


def _run_told(words: list[str]) -> int:
    """Run one command, say in a sentence why it failed, and return its exit status."""
    try:
        with _short_warnings():
            _run(words)
    except SystemExit as stop:  # help, or a check of data that found a problem
        return stop.code if isinstance(stop.code, int) else 2
    except (ValueError, FileNotFoundError, FileExistsError, ModuleNotFoundError) as error:
        return _complain(error, 2)
    except (OSError, RuntimeError, ArithmeticError, MemoryError, ImportError) as error:
        lost = _lost_output() if isinstance(error, OSError) and error.filename is None else None
        if isinstance(error, BrokenPipeError) and isinstance(lost, BrokenPipeError):
            return 1
        return _complain(f"standard output: {lost}" if lost else error, 1)
    except KeyboardInterrupt as stop:
        return _complain(str(stop) or "interrupted; nothing was written", 1)
    return 0


def _run(words: list[str]) -> None:
    """Run the command that the first word names."""
    name, rest = (words or ["--help"])[0], words[1:]
    if name in ("-h", "--help"):
        told = [f"  {n:<10}{(about or '').splitlines()[0]}" for n, (about, _) in COMMANDS.items()]
        print("usage: adlib COMMAND ...", "", *told, "", sep="\n")
        print("adlib COMMAND --help lists the options of a command.")
        return
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise ValueError(f"unknown command {name!r}{closest(name, COMMANDS)}; known are {known}")
    if "" in rest:
        raise ValueError("one of the words is empty; is a variable of your shell not set?")
    COMMANDS[name][1](rest)


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Print each warning as its sentence, without the line of code that it came from."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: (
        f"warning: {printable(' '.join(str(message).split()))}\n"
    )
    try:
        yield
    finally:
        warnings.formatwarning = before


def _lost_output() -> OSError | None:
    """Return why nothing more can be printed, or None; prints an empty line to find out."""
    try:
        print(flush=True)
    except OSError as error:
        return error
    return None


def _complain(error: BaseException | str, status: int) -> int:
    lines = [str(error), *getattr(error, "__notes__", ())]
    print("adlib: error:", "\n".join(map(printable, lines)), file=sys.stderr)
    return status
