"""The command `adlib train`, whose options depend on the method."""

import dataclasses
import inspect
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from adlib.commands.options import TRAIN, Machine, load, parse
from adlib.data import NAMES
from adlib.data.dataset import DataSplits
from adlib.data.split import SEEN, supervise
from adlib.data.tools.checks import scorable, unscored
from adlib.data.tools.duplicates import contradictions
from adlib.system.printable import closest, printable

C = TypeVar("C")


@dataclasses.dataclass(kw_only=True)
class Train(Machine, Generic[C]):
    """Train one model for all categories of a data set, on its normal images only.

    Interrupted? Repeat the command, and it resumes. Afterwards: adlib predict RUN PHOTOS --out
    FOLDER. For several GPUs or machines: accelerate launch -m adlib train ...
    """

    method: Annotated[str, tyro.conf.Fixed, tyro.conf.Suppress]
    data: str = tyro.MISSING
    """Images: a name that `adlib data list` shows, a folder (in MVTec AD's layout, or with good/
    and bad/ in it), or a table of paths."""
    categories: tuple[str, ...] = ()
    """Train on these categories (kinds of product or part) only. Defaults to all."""
    holdout: float = 0.1
    """Share of the good images (0.1 is 10 %) that is kept out of training and sets the threshold
    between good and defective. A larger share allows a lower false-alarm rate; with 0 there is no
    threshold, and predict refuses the run."""
    folds: int = 0
    """Set the threshold without holding images out: train on all, and once more for each of so
    many parts, which the others score. Try 5 if you have fewer than 100 good images; it takes
    that much longer."""
    roi: Path | None = None
    """Image that is white where the part is and black elsewhere, the same for all photographs.
    What lies outside is ignored, also by predict and evaluate."""
    seen: int | None = None
    """For prn: how many defects of each category leave the test set and are trained on. Defaults
    to 10."""
    preset: Literal["cpu", "paper"] = "cpu"
    """cpu: a small model for two CPU cores. paper: the size of the published experiments, for a
    GPU. Your other options override the preset."""
    out: Path | None = None
    """Folder for the run: a new one, or that of an interrupted run. Defaults to
    runs/METHOD-DATA-SEED."""
    seed: int = 0
    """Start of all random numbers. Repeat with other seeds to see how much results vary."""
    config: Annotated[C, tyro.conf.arg(name="")]
    options: Annotated[Any, tyro.conf.arg(name="")] = None


def parse_train(words: Sequence[str]) -> Train[Any]:
    """Return the command that the words after `adlib train` make; errors as in `parse`."""
    from adlib.engine import TrainOptions
    from adlib.methods import METHODS

    name = words[0] if words else ""
    usage = f"adlib train METHOD --data DATA ..., where METHOD is one of {', '.join(METHODS)}"
    if name in ("-h", "--help"):
        about = inspect.getdoc(Train)
        print(f"usage: {usage}\n\n{about}\n\nadlib train METHOD --help lists its options.")
        raise SystemExit(0)
    if name not in METHODS:
        unknown = f"unknown method {name!r}{closest(name, METHODS)}; " if name[:1] != "-" else ""
        raise ValueError(f"{unknown * bool(name)}expected {usage}")
    config = METHODS[name][1]
    paper = "--preset=paper" in words or ("--preset", "paper") in pairwise(words)
    default = Train(
        method=name,
        config=config.paper() if paper else config(),
        options=TrainOptions(),
    )
    command: Any = Train[config]  # pyright: ignore[reportInvalidTypeArguments]  # known here only
    return parse(f"train {name}", command, words[1:], default, TRAIN)


def train(command: Train[Any]) -> None:
    """Fit a method and write the run."""
    from adlib.engine import fit
    from adlib.engine.features import cache_folder, cache_mib
    from adlib.engine.runs import check_free, is_finished
    from adlib.engine.train import read_roi
    from adlib.methods import METHODS
    from adlib.system.hardware import first_process

    build, name = METHODS[command.method][0], command.method
    learns = build.learns_from_defects
    if command.seen is not None and not learns:
        raise ValueError(
            f"--seen is for methods that learn from defects, such as prn, and {name} does not; to "
            "compare it with prn, use adlib evaluate --seen, which tests on the same images"
        )
    log = print if first_process() else lambda text: None
    data, count = load(command.data, command.categories), command.seen
    for sentence in contradictions(data) if command.data not in NAMES else ():
        log(f"note: {printable(sentence)}")
    if count is None and data.seen is None and learns:
        count = SEEN
    data = data if count is None else supervise(data, count, command.seed)
    out = command.out or Path("runs") / f"{name}-{data.name}-{command.seed}"
    asked: dict[str, Any] = {"seed": command.seed, "holdout": command.holdout}
    asked |= {"folds": command.folds}
    roi = command.roi and read_roi(command.roi, data.train)
    if is_finished(out, method=name, config=command.config, data=data.hash, roi=roi, **asked):
        log(f"{out} is already complete; nothing to do\n{_next(command, data, out)}")
        return
    check_free(out)
    method = build(command.config)
    log(f"{name} on {data.name}: {', '.join(data.categories)}; {len(data.train)} normal images")
    if learns and data.seen is not None:
        source = "the data set's own" if count is None else f"out of the test set ({count} each)"
        log(f"{len(data.seen)} defects to learn from, {source}")
    layers = " ".join(map(str, method.encoder.layers))
    log(f"encoder {method.encoder.name} from {method.encoder.source}, layers {layers}")
    before = cache_mib()
    run = fit(
        method,
        data,
        **asked,
        roi=command.roi,
        out=out,
        device=command.device,
        precision=command.precision,
        options=command.options,
    )
    facts = run.provenance
    log(f"feature cache {before:,.0f} MiB before, {cache_mib():,.0f} MiB after, {cache_folder()}")
    for step in facts["resumed_at"]:
        log(f"resumed at step {step}")
    pace = f", {rate:.1f} images/s" if (rate := facts.get("images_per_second")) else ""
    fell = f"; loss {run.losses[0]:.4f} -> {run.losses[-1]:.4f}" if run.losses else ""
    log(
        f"{facts['steps']} steps in {facts['seconds']:.0f} s on {facts['device']}{pace}{fell}; "
        f"run written to {out}"
    )
    if held := facts["images"]["held_out"]:
        kind = "cross-fitted" if command.folds else "held-out"
        log(
            f"{held} {kind} normal images set the threshold: a false-alarm rate of "
            f"{1 / (held + 1):.1%} or more can be promised; a larger --holdout promises a lower one"
        )
    log(_next(command, data, out))


def _next(command: Train[Any], data: DataSplits, out: Path) -> str:
    """The command that comes after training: evaluate what can be scored, or else predict."""
    able = scorable(data.test.references)
    if not able:
        bad = data.test.labels.any()
        lack = "no category has normal and defective images" if bad else "there is no defect"
        words = ["adlib", "predict", str(out), "FOLDER", "--out", "NEW_FOLDER"]
        return f"{lack} to evaluate on; next: {shlex.join(words)}"
    words = ["adlib", "evaluate", str(out), "--data", command.data]
    if command.categories or len(able) < len(data.categories):
        words += ["--categories", *able]
    lacking = unscored(data.categories, able)
    return f"{lacking}\n" * bool(lacking) + f"next: {shlex.join(words)}"
