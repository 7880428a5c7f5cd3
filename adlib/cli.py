"""The command line, made from the config dataclasses: `adlib info | train | evaluate | predict`.

Exit status: 0 done, 1 the run failed, 2 the request was wrong.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from adlib.data import load_data
from adlib.data.sample import Data
from adlib.runs import check_new

Precision = Literal["auto", "fp32", "bf16"]


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
    """Train one model for all categories of a data set, on its normal images only."""

    data: str
    """solar, builtin, or a folder (MVTec AD layout, or good/ and bad/)"""
    categories: tuple[str, ...] = ()
    """only these; all by default"""
    out: Path | None = None
    """a new folder for the run; runs/METHOD-DATA-SEED by default"""
    seed: int = 0
    """draws weights, order, noise and the held-out images"""
    holdout: float = 0.1
    """share of the normal images that sets the threshold instead of training"""


@dataclasses.dataclass(kw_only=True)
class Evaluate(Where):
    """Score a run on the test images of a data set; writes RUN/record.json."""

    run: Positional[Path]
    """a folder that `adlib train` wrote"""
    data: str
    """as for train"""
    categories: tuple[str, ...] = ()
    """only these; all by default"""
    protocol: str = "ours"
    """how maps and masks become numbers: ours, dinomaly, inp-former, mvtec, anomalib"""
    out: Path | None = None
    """write the record here instead"""


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


COMMANDS = {"info": Info, "train": Train, "evaluate": Evaluate, "predict": Predict}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["train"]:
            train(*parse_train(words[1:]))
        else:
            command = tyro.extras.subcommand_cli_from_dict(
                COMMANDS, prog="adlib", description=__doc__, args=words
            )
            {Info: info, Evaluate: evaluate, Predict: predict}[type(command)](command)
    except SystemExit as stop:  # help, or words that tyro has already complained about
        return stop.code if isinstance(stop.code, int) else 2
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        return _complain(error, 2)
    except (OSError, RuntimeError, ArithmeticError, MemoryError, ImportError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("interrupted; nothing was written", 1)
    return 0


def parse_train(words: list[str]) -> tuple[Train, str, Any]:
    """Return the command, the method's name and its config; flags come from the config's class."""
    from adlib.methods import METHODS

    name = words[0] if words else ""
    if name not in METHODS:
        usage = (
            f"usage: adlib train METHOD --data DATA [...]\nMETHOD is one of {', '.join(METHODS)}"
        )
        if name in ("-h", "--help"):
            print(f"{Train.__doc__}\n\n{usage}\nadlib train METHOD --help lists its options")
            raise SystemExit(0)
        raise ValueError(f"unknown method {name!r}\n{usage}" if name else usage)
    config = METHODS[name][1]
    fields = [("config", OmitArgPrefixes[config], dataclasses.field(default_factory=config))]
    command = dataclasses.make_dataclass("Train", fields, bases=(Train,), kw_only=True)
    parsed = tyro.cli(
        command, prog=f"adlib train {name}", description=Train.__doc__, args=words[1:]
    )
    return parsed, name, parsed.config


def train(command: Train, name: str, config: Any) -> None:
    """Fit a method and write the run."""
    from adlib.engine import fit
    from adlib.methods import METHODS

    data = _load(command.data, command.categories)
    out = command.out or Path("runs") / f"{name}-{data.name}-{command.seed}"
    check_new(out)
    method = METHODS[name][0](config)
    print(f"{name} on {data.name}: {', '.join(data.categories)}; {len(data.train)} normal images")
    print(f"encoder {method.encoder.name} from {method.encoder.source}")
    run = fit(
        method,
        data,
        seed=command.seed,
        out=out,
        holdout=command.holdout,
        device=command.device,
        precision=command.precision,
    )
    seen = run.provenance
    print(
        f"{seen['steps']} steps in {seen['seconds']:.0f} s on {seen['device']}; "
        f"loss {run.losses[0]:.4f} -> {run.losses[-1]:.4f}; run written to {out}"
    )
    print(f"next: adlib evaluate {out} --data {command.data}")


def evaluate(command: Evaluate) -> None:
    """Score a run and write its record."""
    from adlib import engine
    from adlib.hardware import choose_device
    from adlib.metrics.protocol import PROTOCOLS
    from adlib.report import table
    from adlib.runs import write_json

    if command.protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {command.protocol!r}; known are {', '.join(PROTOCOLS)}")
    run = engine.load_run(command.run)
    data = _load(command.data, command.categories)
    run.method.to(choose_device(command.device))
    record = engine.evaluate(
        run.method, data, protocol=PROTOCOLS[command.protocol], precision=command.precision
    )
    out = command.out or command.run / "record.json"
    write_json(out, record)
    print(table(record).to_string())
    print(f"record written to {out}")


def predict(command: Predict) -> None:
    """Decide for each image of a folder."""
    from adlib import engine
    from adlib.data.pictures import list_pictures
    from adlib.gallery import write_gallery
    from adlib.hardware import choose_device

    check_new(command.out)
    pictures = list_pictures(command.images)
    method = engine.load_run(command.run).method
    calibration = method.calibration
    if calibration is None:
        raise ValueError(f"{command.run} has no threshold: it was trained with holdout 0")
    method.to(choose_device(command.device))
    rate, category = command.false_alarms, command.category
    expected = calibration.expected_rate(rate, category)
    promise = (
        f"About {expected:.1%} of normal images are expected above it, judged by "
        f"{len(calibration.pool(category))} held-out normal images"
        + (f"; too few to promise {rate:.1%}." if expected > rate else ".")
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


def info(command: Info) -> None:
    """Print what is found here and what is missing."""
    import torch

    from adlib.data import solar
    from adlib.features import cache_folder
    from adlib.hardware import choose_device, choose_dtype, describe
    from adlib.nn.weights import PRESETS, packaged_path
    from adlib.runs import commit, versions

    device = choose_device()
    dtype = str(choose_dtype("auto", device)).removeprefix("torch.")
    print("versions   " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    print(f"commit     {commit() or 'not a git checkout'}")
    print(f"device     {describe(device)}, computes in {dtype}")
    if not torch.cuda.is_available():
        print("           no CUDA GPU found: training at the papers' size is not practical here")
    cache = cache_folder()
    size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) if cache.is_dir() else 0
    print(f"cache      {cache} ({size / 2**20:,.0f} MiB; ADLIB_CACHE names another)")
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
    print("  FOLDER             MVTec AD layout, or good/ and bad/")


def _load(name: str, categories: tuple[str, ...]) -> Data:
    data = load_data(name, **({"categories": list(categories)} if categories else {}))
    if data.notice:
        print(data.notice)
    return data


def _complain(error: BaseException | str, status: int) -> int:
    print(f"adlib: error: {error}", file=sys.stderr)
    return status
