"""The command line, made from the config dataclasses: `adlib info | train | evaluate | ...`.

Exit status: 0 done, 1 the run failed, 2 the request was wrong.
"""

import dataclasses
import json
import os
import shlex
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from adlib.data import NAMES, load_data
from adlib.data.dataset import DataSplits
from adlib.data.readers.folders import closest
from adlib.data.split import SEEN, supervise, without_seen
from adlib.data.tools.check import pictures_passed_over
from adlib.data.tools.findings import scorable, unscored
from adlib.data_commands import about_data
from adlib.engine.runs import check_free
from adlib.report.command import Report, report
from adlib.system.disk import check_new, write_json
from adlib.system.printable import printable
from adlib.system.progress import LOG

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclasses.dataclass(kw_only=True)
class Info:
    """Say what device, weights and data are found here, and what is missing."""


@dataclasses.dataclass(kw_only=True)
class Where:
    """Options of every command that computes."""

    device: str | None = None
    """cpu, cuda, cuda:1, ...; the GPU if there is one, by default"""
    precision: Precision = "auto"
    """auto takes bf16 where the device computes it natively"""


@dataclasses.dataclass(kw_only=True)
class Train(Where):
    """Train one model for all categories of a data set, on its normal images only.

    Interrupted, it goes on where it stopped when the same command is given again. Several GPUs or
    machines: accelerate launch -m adlib train ..., with as many processes.
    """

    data: str
    """a name of `adlib data list`, a folder (MVTec AD layout, or good/ and bad/), or a manifest"""
    categories: tuple[str, ...] = ()
    """only these; all by default"""
    out: Path | None = None
    """a new folder for the run; runs/METHOD-DATA-SEED by default"""
    seed: int = 0
    """draws weights, order, noise, the held-out images and the seen defects"""
    seen: int | None = None
    """for prn alone: defects of each category that leave the test set to train on; 10 by default"""
    holdout: float = 0.1
    """share of the normal images that sets the threshold instead of training"""


@dataclasses.dataclass(kw_only=True)
class Evaluate(Where):
    """Score a run on the test images of a data set; writes RUN/record.json.

    A record there of the same images under the same protocol is replaced, another one is kept.
    """

    run: Positional[Path]
    """a folder that `adlib train` wrote"""
    data: str
    """as for train"""
    categories: tuple[str, ...] = ()
    """only these; all by default"""
    seen: int | None = None
    """leave out of the test set what a run of prn with so many seen defects would train on;
    a run that trained on some does it by itself"""
    seed: int = 0
    """draws these"""
    protocol: str = "ours"
    """how maps and masks become numbers: ours, dinomaly, inp-former, mvtec, anomalib"""
    intervals: bool = False
    """keep the scores of single images and intervals over them, for adlib report"""
    out: Path | None = None
    """write the record here instead; replaces a record that is there"""


@dataclasses.dataclass(kw_only=True)
class Predict(Where):
    """Tell defective from good in a folder of images; writes a table, overlays and a page."""

    run: Positional[Path]
    """a folder that `adlib train` wrote"""
    images: Positional[Path]
    """an image, or a folder of images"""
    out: Path
    """a new folder for predictions.csv, overlays/ and index.html"""
    false_alarms: float = 0.01
    """share of normal images that may be called defective"""
    category: str | None = None
    """take the threshold of this category; of all together by default"""
    maps: bool = False
    """also write the anomaly maps, as 32-bit TIFF at the images' sizes"""


@dataclasses.dataclass(kw_only=True)
class Sweep:
    """Run a notebook over a grid of its parameters; goes on where it was stopped.

    Each point is a folder below OUT/points; all together make OUT/table.csv and OUT/records.jsonl.
    """

    file: Positional[Path]
    """YAML: notebook, grid, and optionally fixed, include, exclude, profile, resources, timeout"""
    check: bool = False
    """only compare the file with the notebook's parameters, and list the points"""
    out: Path | None = None
    """a folder for the points; runs/sweep-FILE by default"""
    workers: int | None = None
    """points at a time on this machine; as many as it has GPUs for, or one for four cores"""
    threads_per_worker: int | None = None
    """CPU threads of each point; by default the cores are shared among the workers"""
    scheduler: str | None = None
    """address of a Dask scheduler, such as tcp://node1:8786, in place of workers here"""
    shard: str | None = None
    """k/n: only every n-th point, from the k-th on"""
    retries: int = 0
    """how often a point that failed is tried again"""
    merge: tuple[Path, ...] = ()
    """run nothing; copy the finished points of these folders, such as of shards, or of these
    records.jsonl into OUT"""


@dataclasses.dataclass(kw_only=True)
class Export:
    """Write a run as one ONNX file, which needs neither torch nor adlib; checked against torch."""

    run: Positional[Path]
    """a folder that `adlib train` wrote"""
    out: Path | None = None
    """a new file; RUN/model.onnx by default"""
    false_alarms: float = 0.01
    """share of normal images that may be called defective; sets the threshold in the file"""
    category: str | None = None
    """take the threshold of this category; of all together by default"""
    opset: int = 18
    """version of ONNX's operators; raise it where a program asks for a newer one"""


@dataclasses.dataclass(kw_only=True)
class AboutData:
    """List, check and get data sets, see what is kept: adlib data list | check | get | cache."""


COMMANDS = {
    "info": Info,
    "data": AboutData,  # its own commands are read by `adlib.data_commands`
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "sweep": Sweep,
    "report": Report,
    "export": Export,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    if arguments is None:  # a process of its own: SIGTERM cleans up as Ctrl-C does
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault(LOG, "log")
    try:
        with _short_warnings():
            _run(words)
    except SystemExit as stop:  # help, or words that tyro has already complained about
        return stop.code if isinstance(stop.code, int) else 2
    except (ValueError, FileNotFoundError, FileExistsError, ModuleNotFoundError) as error:
        return _complain(error, 2)
    except (OSError, RuntimeError, ArithmeticError, MemoryError, ImportError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt as stop:
        return _complain(str(stop) or "interrupted; nothing was written", 1)
    return 0


def _run(words: list[str]) -> None:
    """Run the command that the words name."""
    if words[:1] == ["train"]:
        train(*parse_train(words[1:]))
    elif words[:1] == ["data"]:
        about_data(words[1:])
    else:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="adlib", description=__doc__, args=words
        )
        run = {
            Info: info,
            Evaluate: evaluate,
            Predict: predict,
            Sweep: sweep,
            Report: report,
            Export: export,
        }
        run[type(command)](command)


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


def parse_train(words: list[str]) -> tuple[Train, str, Any, Any]:
    """Return the command, the method's name, its config and the run's options, all from words."""
    from adlib.engine import TrainOptions
    from adlib.methods import METHODS

    name = words[0] if words else ""
    if name not in METHODS:
        usage = (
            f"usage: adlib train METHOD --data DATA [...]\nMETHOD is one of {', '.join(METHODS)}"
        )
        if name in ("-h", "--help"):
            print(f"{Train.__doc__}\n\n{usage}\nadlib train METHOD --help lists its options")
            raise SystemExit(0)
        unknown = f"unknown method {name!r}{closest(name, METHODS)}"
        raise ValueError(f"{unknown}\n{usage}" if name else usage)
    config = METHODS[name][1]
    fields = [
        (name, Annotated[cls, tyro.conf.arg(name="")], dataclasses.field(default_factory=cls))
        for name, cls in (("config", config), ("options", TrainOptions))
    ]
    command = dataclasses.make_dataclass("Train", fields, bases=(Train,), kw_only=True)
    parsed = tyro.cli(
        command, prog=f"adlib train {name}", description=Train.__doc__, args=words[1:]
    )
    return parsed, name, parsed.config, parsed.options


def train(command: Train, name: str, config: Any, options: Any) -> None:
    """Fit a method and write the run."""
    from adlib.engine import fit
    from adlib.engine.features import cache_folder, cache_mib
    from adlib.methods import METHODS
    from adlib.system.hardware import first_process

    _check_device(command.device)
    _check_seed(command.seed)
    learns = METHODS[name][0].learns_from_defects
    if command.seen is not None and not learns:
        raise ValueError(
            f"--seen is for methods that learn from defects, such as prn; {name} does not, and "
            "adlib evaluate --seen tests it on what is left for prn"
        )
    say = print if first_process() else _silent
    if command.data not in NAMES and (
        told := pictures_passed_over(Path(command.data).expanduser())
    ):
        say(told)
    data, seen = _load(command.data, command.categories), command.seen
    if seen is None and data.seen is None and learns:
        seen = SEEN
    data = data if seen is None else supervise(data, seen, command.seed)
    out = command.out or Path("runs") / f"{name}-{data.name}-{command.seed}"
    check_free(out)
    method = METHODS[name][0](config)
    say(f"{name} on {data.name}: {', '.join(data.categories)}; {len(data.train)} normal images")
    if learns and data.seen is not None:
        whence = (
            "of the data set's own" if seen is None else f"out of the test set, {seen} asked for"
        )
        say(f"{len(data.seen)} defects to learn from, {whence}")
    say(f"encoder {method.encoder.name} from {method.encoder.source}")
    before = cache_mib()
    run = fit(
        method,
        data,
        seed=command.seed,
        out=out,
        holdout=command.holdout,
        device=command.device,
        precision=command.precision,
        options=options,
    )
    seen = run.provenance
    say(f"feature cache {before:,.0f} MiB before, {cache_mib():,.0f} MiB after, {cache_folder()}")
    for step in seen["resumed_at"]:
        say(f"went on from step {step}, where an earlier run had stopped")
    pace = f", {rate:.1f} images/s" if (rate := seen.get("images_per_second")) else ""
    fell = f"; loss {run.losses[0]:.4f} -> {run.losses[-1]:.4f}" if run.losses else ""
    say(
        f"{seen['steps']} steps in {seen['seconds']:.0f} s on {seen['device']}{pace}{fell}; "
        f"run written to {out}"
    )
    if held := seen["images"]["held_out"]:
        say(
            f"{held} held-out normal images set the threshold: a false-alarm rate of "
            f"{1 / (held + 1):.1%} or more can be promised; --holdout takes more"
        )
    say(_next(command, data, out))


def _next(command: Train, data: DataSplits, out: Path) -> str:
    """The command that comes after training: evaluate what can be scored, or else predict."""
    able = scorable(data.test.references)
    if not able:
        bad = data.test.labels.any()
        lack = "no category has normal and defective images" if bad else "there is no defect"
        return (
            f"{lack} to evaluate on; next: adlib predict {shlex.quote(str(out))} FOLDER "
            "--out NEW_FOLDER"
        )
    words = ["adlib", "evaluate", str(out), "--data", command.data]
    if command.categories or len(able) < len(data.categories):
        words += ["--categories", *able]
    lacking = unscored(data.categories, able)
    return f"{lacking}\n" * bool(lacking) + f"next: {shlex.join(words)}"


def evaluate(command: Evaluate) -> None:
    """Score a run and write its record."""
    from adlib import engine
    from adlib.engine.evaluation import RECORD, check_replaceable
    from adlib.metrics.protocol import protocol_named
    from adlib.report.tables import table
    from adlib.system.hardware import choose_device

    protocol = protocol_named(command.protocol)
    _check_device(command.device)
    _check_seed(command.seed)
    run = engine.load_run(command.run)
    out = command.out or command.run / RECORD
    _check_writable(out)
    if command.out is not None:
        check_replaceable(out)
    whole = _load(command.data, command.categories)
    data = _as_in_training(whole, run.provenance)
    if data is whole and command.seen is not None:
        data = supervise(data, command.seen, command.seed)
    if data is not whole:
        left = len(whole.test) - len(data.test)
        print(f"{left} defects left the test set, as in training on them")
    if lacking := unscored(data.test.categories, scorable(data.test.references)):
        raise ValueError(f"{data.name}: {lacking}")
    if strange := _never_seen(run.method.calibration, data):
        print(strange)
    if command.out is None and out.exists():
        _check_record(out, protocol.to_json(), data)
    run.method.to(choose_device(command.device))
    record = engine.evaluate(
        run.method,
        data,
        protocol=protocol,
        precision=command.precision,
        intervals=command.intervals,
    )
    write_json(out, record)
    print(table(record).to_string())
    print(f"record written to {out}")


def _check_writable(out: Path) -> None:
    """Make the folder of a file and try whether one can be written there; raise OSError if not."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise OSError(f"cannot write {out}: {error}; name another file with --out") from error
    if out.is_dir():
        raise FileExistsError(f"{out} is a folder; name a file with --out")


def _as_in_training(data: DataSplits, provenance: dict[str, Any]) -> DataSplits:
    """Leave out of the test set what left it in training; the same data where nothing did.

    The defects that a run trained on tell its data, whatever their folder is called by now, what
    else it holds, and however many categories are asked for; where it trained on none, the name
    tells.
    """
    drawn = provenance.get("drawn")
    if seen := provenance.get("seen"):
        return without_seen(data, seen, drawn)
    return supervise(data, *drawn) if drawn and data.name == provenance["data"]["name"] else data


def _never_seen(calibration: Any, data: DataSplits) -> str:
    """A sentence about categories that a run has no threshold for, or an empty string.

    Training holds out an image of each category that has two, so a category without a threshold was
    not among them. Nothing can be said of one with a single normal image, nor of holdout 0.
    """
    known = calibration.scores if calibration else {}
    normal = Counter(r.category for r in data.train.references)
    strange = [c for c in data.test.categories if c not in known and normal[c] != 1]
    if not (known and strange):
        return ""
    return (
        f"the run knows no category {', '.join(strange)}, only {', '.join(known)}: unless it was "
        "renamed, the model is scored on what it was not trained for"
    )


def _check_record(out: Path, protocol: dict[str, Any], data: DataSplits) -> None:
    """Raise FileExistsError if a file is no record, or one of another protocol or other images."""
    try:
        record = json.loads(out.read_text(encoding="utf-8"))
    except ValueError as error:
        record = error
    if not isinstance(record, dict):
        why = record if isinstance(record, ValueError) else "it holds no JSON object"
        raise FileExistsError(
            f"{out} is not the record that was expected there: {why}; name another file with "
            "--out, or this one to replace it"
        )
    held, images = record.get("protocol", {}), record.get("data", {})
    if held != protocol or images.get("hash") != data.hash:
        raise FileExistsError(
            f"{out} holds a record of other images or another protocol: {images.get('name')} "
            f"({images.get('hash')}) under {held.get('name')!r}, where {data.name} ({data.hash}) "
            f"under {protocol['name']!r} was asked for; name another file with --out, or this one "
            "to replace it"
        )


def predict(command: Predict) -> None:
    """Decide for each image of a folder."""
    from adlib import engine
    from adlib.data.readers.pictures import list_pictures
    from adlib.engine.gallery import write_gallery
    from adlib.system.hardware import choose_device

    _check_device(command.device)
    check_new(command.out)
    if told := pictures_passed_over(command.images):
        print(told)
    pictures = list_pictures(command.images)
    method = engine.load_run(command.run).method
    calibration = method.calibration
    if calibration is None:
        raise ValueError(
            f"{command.run} has no threshold: it was trained with holdout 0, or on one image"
        )
    method.to(choose_device(command.device))
    rate, category = command.false_alarms, command.category
    expected = calibration.expected_rate(rate, category)
    promise = (
        f"About {expected:.1%} of normal images are expected above it, judged by "
        f"{len(calibration.pool(category))} held-out normal images"
        + (f"; too few to promise {rate:.1%}." if expected > rate else ".")
    )
    low, high = calibration.rate_interval(rate, category)
    promise += (
        f" The rate of this one threshold lies, nine times in ten, in {low:.1%} to {high:.1%}."
    )
    if category is None and len(calibration.scores) > 1:
        promise += (
            f" They are of {len(calibration.scores)} categories, whose scores differ: if you know "
            f"which it is, --category takes its own threshold ({', '.join(calibration.scores)})."
        )
    verdicts = write_gallery(
        command.out,
        engine.predict_each(method, pictures, precision=command.precision),
        threshold=calibration.threshold(rate, category),
        scale=(calibration.low, calibration.high),
        promise=promise,
        keep_maps=command.maps,
    )
    bad = sum(v.defective for v in verdicts)
    print(f"{bad} of {len(verdicts)} images called defective. {promise}")
    print(f"see {command.out / 'index.html'}")


def sweep(command: Sweep) -> None:
    """Check, run or merge a sweep."""
    try:
        from adlib.sweep import run as sweeps
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; pip install 'adlib[sweep]' brings it") from error
    out = command.out or Path("runs") / f"sweep-{command.file.stem}"
    if command.check:
        print(sweeps.describe(command.file, out, command.shard))
    elif command.merge:
        sweeps.run_merge(command.file, command.merge, out, command.shard)
    else:
        sweeps.run_sweep(
            command.file,
            out,
            command.shard,
            workers=command.workers,
            threads=command.threads_per_worker,
            scheduler=command.scheduler,
            retries=command.retries,
        )


def export(command: Export) -> None:
    """Write the ONNX file and say how far it is from torch."""
    from adlib.engine import load_run
    from adlib.engine.export import BATCHES, check_request, export_onnx

    out, rate, category = command.out, command.false_alarms, command.category
    out = out or command.run / "model.onnx"
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


def info(command: Info) -> None:
    """Print what is found here and what is missing."""
    import torch

    from adlib.data.readers import solar
    from adlib.data.readers.benchmarks import HOME, at_home
    from adlib.engine.features import cache_folder, cache_mib
    from adlib.engine.runs import commit, versions
    from adlib.nn.weights import PRESETS, packaged_path
    from adlib.system.hardware import choose_device, choose_dtype, describe

    device = choose_device()
    dtype = str(choose_dtype("auto", device)).removeprefix("torch.")
    print("versions   " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    print(f"commit     {commit() or 'not a git checkout'}")
    print(f"device     {describe(device)}, computes in {dtype}")
    if not torch.cuda.is_available():
        print("           no CUDA GPU found: training at the papers' size is not practical here")
    print(f"cache      {cache_folder()} ({cache_mib():,.0f} MiB; ADLIB_CACHE names another)")
    print("weights")
    for name, preset in PRESETS.items():
        if preset.packaged is None:
            state = "from the hub, on first use"
        elif packaged_path(preset.packaged):
            state = f"found in package {preset.packaged.package}"
        else:
            state = f"MISSING: {preset.packaged.install}"
        print(f"  {name:<19}{state}\n  {'':<19}{preset.note}")
    print("data")
    print("  builtin            made in memory")
    try:
        found = f"{len(solar.load_solar().train)} normal cells found in package {solar.PACKAGE}"
    except (ModuleNotFoundError, FileNotFoundError) as error:
        found = f"MISSING: {error}"
    print(f"  solar              {found}\n  {'':<19}CC BY-NC-SA 4.0, non-commercial use only")
    here, home = at_home(), os.environ.get(HOME)
    for name, place in here.items():
        print(f"  {name:<19}{place}")
    if not here:
        state = f"none in {home}" if home else f"not looked for: {HOME} is not set"
        print(f"  benchmarks         {state}; `adlib data list` names them")
    print("  FOLDER             MVTec AD layout, or good/ and bad/")


def _load(name: str, categories: tuple[str, ...]) -> DataSplits:
    data = load_data(name, **({"categories": list(categories)} if categories else {}))
    if data.notice:
        print(data.notice)
    return data


def _check_device(name: str | None) -> None:
    """Refuse a device that is not here; torch tells only by computing on it."""
    if name is None:
        return
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            "--device: expected cpu, or a GPU that torch finds here (cuda, cuda:1, ...), of which "
            f"there are {torch.cuda.device_count()}; got {name!r}"
        ) from error


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed: expected a whole number from 0 to 2^63 - 1, got {seed}")


def _silent(text: str) -> None:
    """Say nothing: another process says it."""


def _complain(error: BaseException | str, status: int) -> int:
    print("adlib: error:", printable(str(error), keep="\n"), file=sys.stderr)
    return status
