"""The command line: `adlib info | data | train | evaluate | predict | sweep | report | export`.

Exit status: 0 done, 1 the run failed, 2 the request was wrong.
"""

import dataclasses
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from adlib.command_line import Machine, load, parse
from adlib.data.split import supervise
from adlib.data.tools.checks import scorable, unscored
from adlib.data_commands import about_data
from adlib.info import Info, info
from adlib.report.command import Report, report
from adlib.sweep.command import Sweep, sweep
from adlib.system.disk import check_new
from adlib.system.printable import closest, printable
from adlib.system.progress import LOG
from adlib.train_command import Train, parse_train, train


@dataclasses.dataclass(kw_only=True)
class Evaluate(Machine):
    """Score a run on the test images of a data set, and write RUN/record.json.

    Says how many good images the threshold of `adlib predict` calls defective, and which defects
    it misses. A record of the same images and protocol is replaced. Any other record makes the
    command stop.
    """

    run: Positional[Path]
    """Folder that `adlib train` wrote."""
    data: str
    """Images, as for train. They must include defective ones."""
    categories: tuple[str, ...] = ()
    """Score these categories only. Defaults to all."""
    seen: int | None = None
    """Leave as many defects of each category out of the test as a run of prn with this --seen
    trains on, to compare with it. A run that trained on defects leaves them out by itself."""
    seed: int = 0
    """The --seed of that run of prn."""
    protocol: str = "ours"
    """Rules by which maps and masks become numbers: ours, dinomaly, inp-former, mvtec or anomalib.
    Take that of the paper whose numbers you compare with."""
    intervals: bool = False
    """Also keep the scores of single images and confidence intervals, for `adlib report`."""
    out: Path | None = None
    """Write the record to this file instead, and replace a record that is there."""


@dataclasses.dataclass(kw_only=True)
class Predict(Machine):
    """Tell defective from good in a folder of images; writes a table, overlays and a page."""

    run: Positional[Path]
    """Folder that `adlib train` wrote."""
    images: Positional[Path]
    """An image, a folder of images, or a table with a column `path`."""
    out: Path
    """New folder for predictions.csv, regions.csv, overlays/ and index.html."""
    false_alarms: float = 0.01
    """Share of normal images that may be called defective. Raise it to miss fewer defects."""
    category: str | None = None
    """Take the threshold of this category. Defaults to one for all together."""
    maps: bool = False
    """Also write the anomaly maps, as 32-bit TIFF at the images' sizes."""
    masks: bool = False
    """Also write masks of the defects found, as PNG at the images' sizes."""
    skip_unreadable: bool = False
    """Skip files that cannot be read, and list them at the end."""


@dataclasses.dataclass(kw_only=True)
class Export:
    """Write a run as one ONNX file, which needs neither torch nor adlib; checked against torch."""

    run: Positional[Path]
    """Folder that `adlib train` wrote."""
    out: Path | None = None
    """New file. Defaults to RUN/model.onnx."""
    false_alarms: float = 0.01
    """Share of normal images that may be called defective; sets the threshold in the file."""
    category: str | None = None
    """Take the threshold of this category. Defaults to one for all together."""
    opset: int = 18
    """Version of ONNX's operators. Raise it if a program asks for a newer one."""


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


def evaluate(command: Evaluate) -> None:
    """Score a run and write its record."""
    from adlib import engine
    from adlib.engine.evaluation import as_in_training
    from adlib.engine.record import RECORD
    from adlib.metrics.protocol import protocol_named
    from adlib.report.tables import decision_sentences, table
    from adlib.system.hardware import choose_device

    protocol = protocol_named(command.protocol)
    method = engine.load_run(command.run).method
    whole = load(command.data, command.categories)
    data = as_in_training(method, whole)
    if data is whole and command.seen is not None:
        data = supervise(data, command.seen, command.seed)
    if data is not whole:
        left = len(whole.test) - len(data.test)
        print(f"{left} defects are excluded from the test set, because they are training data")
    if lacking := unscored(data.test.categories, scorable(data.test.references)):
        raise ValueError(f"{data.name}: {lacking}")
    out = command.out or command.run / RECORD
    record = engine.evaluate(
        method.to(choose_device(command.device)),
        data,
        protocol=protocol,
        precision=command.precision,
        intervals=command.intervals,
        out=out,
        replace=command.out is not None,
    )
    print(table(record).to_string())
    if told := decision_sentences(record):
        print(printable(told, keep="\n"))
    print(f"record written to {out}")


def predict(command: Predict) -> None:
    """Decide for each image of a folder."""
    from adlib import engine
    from adlib.data.readers.pictures import list_pictures, notes_on
    from adlib.engine.gallery import write_gallery
    from adlib.system.hardware import choose_device

    check_new(command.out)
    for note in notes_on(command.images):
        print(f"note: {note}")
    refused: list[str] | None = [] if command.skip_unreadable else None
    pictures = list_pictures(command.images)
    method = engine.load_run(command.run).method
    calibration = method.calibration
    if calibration is None:
        raise ValueError(
            f"{command.run} has no threshold: it was trained with holdout 0, or on one image"
        )
    method.to(choose_device(command.device))
    promise = _false_alarm_note(calibration, command.false_alarms, command.category)
    verdicts = write_gallery(
        command.out,
        engine.predict_each(
            method,
            pictures,
            precision=command.precision,
            enlarge=command.maps,
            unreadable=refused,
        ),
        threshold=calibration.threshold(command.false_alarms, command.category),
        scale=(calibration.low, calibration.high),
        promise=promise,
        keep_maps=command.maps,
        pixel_threshold=calibration.pixel_threshold(command.false_alarms, command.category),
        keep_masks=command.masks,
    )
    if command.masks and not calibration.peaks:
        print("note: no masks, since an older adlib trained this run; train it again to have them")
    bad = sum(v.defective for v in verdicts)
    print(f"{bad} of {len(verdicts)} images called defective. {promise}")
    for reason in refused or ():
        print(f"left out: {reason}")
    print(f"see {command.out / 'index.html'}")


def _false_alarm_note(calibration: Any, rate: float, category: str | None) -> str:
    """Say how many false alarms a threshold makes."""
    expected = calibration.expected_rate(rate, category)
    low, high = calibration.rate_interval(rate, category)
    short = f"; too few to promise {rate:.1%}" if expected > rate else ""
    text = (
        f"About {expected:.1%} of normal images are expected above it, judged by "
        f"{len(calibration.pool(category))} held-out normal images{short}. The rate of this "
        f"threshold lies, with 90 % confidence, between {low:.1%} and {high:.1%}."
    )
    if category is None and len(calibration.scores) > 1:
        text += (
            f" They are of {len(calibration.scores)} categories, whose scores differ: if you know "
            f"which it is, --category takes its own threshold ({', '.join(calibration.scores)})."
        )
    return text


def export(command: Export) -> None:
    """Write the ONNX file and say how far it is from torch."""
    from adlib.engine import load_run
    from adlib.engine.export import BATCHES, check_request, export_onnx

    rate, category = command.false_alarms, command.category
    out = command.out or command.run / "model.onnx"
    check_request(out, command.opset)
    method = load_run(command.run).method
    done = export_onnx(method, out, rate=rate, category=category, opset=command.opset)
    print(
        f"written to {out}, {out.stat().st_size / 2**20:,.1f} MiB; it differs from torch by at "
        f"most {done.map_gap:.1e} in a map and {done.score_gap:.1e} in a score, tried on batches "
        f"of {', '.join(map(str, BATCHES))}"
    )
    expected = method.calibration.expected_rate(rate, category)
    print(
        f"threshold {done.threshold:.4f} inside: about {expected:.1%} of normal images are "
        "expected above it"
    )


COMMANDS: dict[str, tuple[str | None, Callable[[list[str]], None]]] = {
    "info": (Info.__doc__, lambda words: info(parse("info", Info, words))),
    "data": ("List, check and download data sets; clear the feature cache.", about_data),
    "train": (Train.__doc__, lambda words: train(parse_train(words))),
    "evaluate": (Evaluate.__doc__, lambda words: evaluate(parse("evaluate", Evaluate, words))),
    "predict": (Predict.__doc__, lambda words: predict(parse("predict", Predict, words))),
    "sweep": (Sweep.__doc__, lambda words: sweep(parse("sweep", Sweep, words))),
    "report": (Report.__doc__, lambda words: report(parse("report", Report, words))),
    "export": (Export.__doc__, lambda words: export(parse("export", Export, words))),
}


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
