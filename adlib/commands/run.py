"""The commands about a run: `adlib calibrate | evaluate | predict | export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from adlib.commands.options import Machine, load
from adlib.data.split import supervise
from adlib.data.tools.checks import scorable, unscored
from adlib.metrics.threshold import DEFAULT_RATE
from adlib.system.disk import check_new
from adlib.system.printable import printable


@dataclass(kw_only=True)
class Calibrate(Machine):
    """Let labelled defects set a run's thresholds, so that few defects like them are missed.

    Each category gets its own threshold, which predict, evaluate and export take from then on;
    their --false-alarms goes back to a rate of false alarms. evaluate leaves these defects out.
    """

    run: Positional[Path]
    """Folder that `adlib train` wrote."""
    data: str
    """Images, as for train, with defects. Give others than those to evaluate on."""
    categories: tuple[str, ...] = ()
    """Take the defects of these categories only. Defaults to all."""
    miss: float = 0.05
    """Share of defects like the labelled ones that may be missed. With m of them it cannot be
    promised below 1 / (m + 1)."""


@dataclass(kw_only=True)
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
    trains on, to compare with it. A run that trained on defects leaves them out by itself, as it
    does those that set its threshold."""
    seed: int = 0
    """The --seed of that run of prn."""
    protocol: str = "ours"
    """Rules by which maps and masks become numbers: ours, dinomaly, inp-former, mvtec or anomalib.
    Take that of the paper whose numbers you compare with."""
    intervals: bool = False
    """Also keep the scores of single images and confidence intervals, for `adlib report`."""
    out: Path | None = None
    """Write the record to this file instead, and replace a record that is there."""


@dataclass(kw_only=True)
class Predict(Machine):
    """Tell defective from good in a folder of images; writes a table, overlays and a page."""

    run: Positional[Path]
    """Folder that `adlib train` wrote."""
    images: Positional[Path]
    """An image, a folder of images, or a table with a column `path`."""
    out: Path
    """New folder for predictions.csv, regions.csv, overlays/ and index.html."""
    false_alarms: float | None = None
    """Share of normal images that may be called defective. Raise it to miss fewer defects.
    Defaults to the threshold that `adlib calibrate` set, or else to 0.01."""
    category: str | None = None
    """Take the threshold of this category for all images. Defaults to each image's own, where a
    column `category` or folders in IMAGES name it, else to one for all together."""
    maps: bool = False
    """Also write the anomaly maps, as 32-bit TIFF at the images' sizes."""
    masks: bool = False
    """Also write masks of the defects found, as PNG at the images' sizes."""
    skip_unreadable: bool = False
    """Skip files that cannot be read, and list them at the end."""


@dataclass(kw_only=True)
class Export:
    """Write a run as one ONNX file, which needs neither torch nor adlib; checked against torch."""

    run: Positional[Path]
    """Folder that `adlib train` wrote."""
    out: Path | None = None
    """New file. Defaults to RUN/model.onnx."""
    false_alarms: float | None = None
    """Share of normal images that may be called defective; sets the threshold in the file.
    Defaults to the threshold that `adlib calibrate` set, or else to 0.01."""
    category: str | None = None
    """Take the threshold of this category. Defaults to one for all together."""
    opset: int = 18
    """Version of ONNX's operators. Raise it if a program asks for a newer one."""


def calibrate(command: Calibrate) -> None:
    """Set a run's thresholds by labelled defects."""
    from adlib import engine
    from adlib.engine.calibration import calibrate_by_defects
    from adlib.engine.runs import save_calibration
    from adlib.system.hardware import choose_device

    method = engine.load_run(command.run).method.to(choose_device(command.device))
    data = load(command.data, command.categories)
    new = calibrate_by_defects(method, data, command.miss, precision=command.precision)
    save_calibration(command.run, new)
    for category in (*new.scores, *[None] * (len(new.scores) > 1)):
        about = f"threshold {new.threshold(category=category):.4f}. {_promise(new, None, category)}"
        print(printable(f"{category or 'one for all'}: {about}"))
    print(f"{command.run} calibrated; --false-alarms goes back to a rate of false alarms")


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
    if command.seen is not None and (data is whole or data.seen is None):
        data = supervise(data, command.seen, command.seed)
    if data is not whole:
        left = len(whole.test) - len(data.test)
        why = "they are training data, or set the threshold"
        print(f"{left} defects are excluded from the test set, because {why}")
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
    from adlib.data.readers.pictures import categories_of, list_pictures, notes_on
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
    rate, category = command.false_alarms, command.category
    known = calibration.scores if category is None else ()
    named = categories_of(command.images, pictures, known)
    own = {name: calibration.levels(rate, name) for name in sorted({*named.values()})}
    others = calibration.levels(rate, category)
    each = [*own, *[category] * (len(named) < len(pictures))]
    heads = {n: f"{n or 'others'}: " if len(each) > 1 else "" for n in each}
    promise = " ".join(heads[n] + _promise(calibration, rate, n) for n in each)
    verdicts = write_gallery(
        command.out,
        engine.predict_each(
            method,
            pictures,
            precision=command.precision,
            enlarge=command.maps,
            unreadable=refused,
        ),
        levels=others,
        promise=promise,
        keep_maps=command.maps,
        keep_masks=command.masks,
        own={path: own[name] for path, name in named.items()},
    )
    if command.masks and not calibration.peaks:
        print("note: no masks, since an older adlib trained this run; train it again to have them")
    bad = sum(v.defective for v in verdicts)
    print(f"{bad} of {len(verdicts)} images called defective. {promise}")
    for reason in refused or ():
        print(f"left out: {reason}")
    print(f"see {command.out / 'index.html'}")


def _promise(calibration: Any, rate: float | None, category: str | None) -> str:
    """Say how many false alarms a threshold makes, or how many defects it misses."""
    if mirrored := calibration.mirrored(rate, category):
        miss, count = calibration.defects.miss, len(mirrored.pool(category))
        expected, (low, high) = (
            f(miss, category) for f in (mirrored.expected_rate, mirrored.rate_interval)
        )
        limit, held = calibration.threshold(rate, category), calibration.pool(category)
        short = f"; too few to promise {miss:.1%}" if expected > miss else ""
        return (
            f"It misses at most {expected:.1%} of defects like the {count} labelled ones that set "
            f"it{short}. The rate of this threshold lies, with 90 % confidence, between {low:.1%} "
            f"and {high:.1%}. It calls {sum(s > limit for s in held)} of {len(held)} held-out "
            "normal images defective."
        )
    rate = DEFAULT_RATE if rate is None else rate
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
            f"which it is, --category takes its own threshold ({', '.join(calibration.scores)}); "
            "so do folders of these names."
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
    promise = _promise(method.calibration, rate, category)
    print(f"threshold {done.threshold:.4f} inside. {promise}")
