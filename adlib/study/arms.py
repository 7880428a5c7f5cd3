"""One arm of an experiment: train it, score it, and look at its mechanism; one record comes out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import adlib
from adlib.data import DataSplits
from adlib.engine.record import Record
from adlib.engine.runs import config_from
from adlib.engine.train import TrainOptions
from adlib.methods import METHODS
from adlib.metrics import mean_over
from adlib.study import mechanism
from adlib.study.cost import cost
from adlib.study.made_anomalies import MadeAnomalies
from adlib.system.disk import write_json
from adlib.system.hardware import choose_device

NAMES = {"name", "method"}  # of an arm, beside what its config changes


def arm_method(arm: dict[str, Any]) -> Any:
    """Return the untrained method of an arm: {"method": NAME, "name": ..., FIELD: VALUE, ...}.

    Raises:
        ValueError: An unknown method or field.
    """
    if arm.get("method") not in METHODS:
        raise ValueError(
            f"an arm names one of the methods {', '.join(METHODS)}, got {arm.get('method')!r}"
        )
    build, settings = METHODS[arm["method"]]
    return build(config_from(settings, {k: v for k, v in arm.items() if k not in NAMES}))


def run_arm(
    arm: dict[str, Any],
    data: DataSplits,
    *,
    steps: int,
    seed: int,
    precision: str = "fp32",
    protocol: str = "ours",
    intervals: bool = True,
    trace: Sequence[int] = (),
    also: Sequence[str] = (),
    reduced: DataSplits | None = None,
    workers: int = 0,
    out: str | Path = "",
) -> Record:
    """Train, evaluate and measure one arm.

    Args:
        arm: As in `arm_method`.
        data: To train and to test on.
        steps: Optimiser steps; 0 for a method that trains nothing.
        seed: Of everything that is drawn.
        precision: As in `fit`. fp32 by default: records of several machines are compared.
        protocol, intervals: As in `evaluate`.
        trace: After how many steps the method is looked at on the way.
        also: Further protocols to score by.
        reduced: The same data with defects taken out of the test, to be scored on as well.
        workers: Processes that make training images.
        out: A folder. A run that stands in it is taken up or, when finished, only scored; the
            record is written there as record.json. Empty keeps all in memory.
    Returns:
        The record of `evaluate` with more keys: "arm"; "mechanism" (None where a method has no
        distances of tokens); "cost" (None for a method that trains nothing); with `trace` also
        "trace", a row for each number of steps (`Tracer`); with `also` and `reduced` the further
        records.
    """
    folder = Path(out) / "run" if out else None
    tracer = Tracer(trace, seed, precision, Path(out) / "trace.jsonl" if out else None)
    if folder is not None and (folder / "run.json").is_file():
        method = adlib.load_run(folder).method.to(choose_device())
    else:
        method = arm_method(arm).to(choose_device())
        on_step = tracer.begin(method, data) if trace else None
        method = adlib.fit(
            method,
            data,
            steps=steps,
            seed=seed,
            out=folder,
            precision=precision,
            options=TrainOptions(workers=workers),
            on_step=on_step,
        ).method

    def scored(on: DataSplits, by: str) -> Record:
        return adlib.evaluate(method, on, protocol=by, precision=precision, intervals=intervals)

    record = scored(data, protocol)
    if trace:
        record |= {"trace": tracer.rows()}
    measurable = hasattr(method, "distances")
    record |= {
        "arm": arm,
        "also": {name: scored(data, name) for name in also},
        "reduced": reduced and scored(reduced, protocol),
        "mechanism": mechanism.measure(method, data, precision=precision) if measurable else None,
        "cost": cost(method.config) if steps else None,
    }
    if out:
        write_json(Path(out) / "record.json", record)
    return record


class Tracer:
    """Looks at a method while it trains.

    At its mechanism where it has distances of tokens, at made anomalies where it learns from such.

    Args:
        steps: After how many it looks.
        seed: Of the fit.
        precision: As in `fit`.
        path: Rows are appended here as they come, so that a run that is taken up keeps them.
    """

    def __init__(self, steps: Sequence[int], seed: int, precision: str, path: Path | None) -> None:
        self.steps, self.seed, self.precision, self.path = set(steps), seed, precision, path
        self.found: dict[int, dict[str, Any]] = {}
        if path is not None and path.is_file():
            self.found = {
                row["step"]: row for row in map(json.loads, path.read_text().splitlines())
            }

    def begin(self, method: Any, data: DataSplits) -> Callable[[int], None]:
        """Return what `fit` calls after each step."""
        if method.learns_from_defects:
            figures = MadeAnomalies(method, data, precision=self.precision, fit_seed=self.seed).look
        else:
            probes = mechanism.Probes(method, data, precision=self.precision, fit_seed=self.seed)

            def figures() -> dict[str, Any]:
                return mechanism.without_counts(mean_over(probes.look()))

        def look(step: int) -> None:
            if step not in self.steps or step in self.found:
                return
            self.found[step] = {"step": step, **figures()}
            method.train()
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps(self.found[step]) + "\n")

        return look

    def rows(self) -> list[dict[str, Any]]:
        """Return the figures, as means over categories, with "step", in the order of steps."""
        return [self.found[step] for step in sorted(self.found)]
