"""One arm of an experiment: train it, score it, and look at its mechanism; one record comes out."""

from pathlib import Path
from typing import Any

import adlib
from adlib.data import DataSplits
from adlib.engine.runs import config_from
from adlib.methods import METHODS
from adlib.study import mechanism
from adlib.study.cost import cost
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
    out: str | Path = "",
) -> dict[str, Any]:
    """Train, evaluate and measure one arm.

    Args:
        arm: As in `arm_method`.
        data: To train and to test on.
        steps: Optimiser steps; 0 for a method that trains nothing.
        seed: Of everything that is drawn.
        precision: As in `fit`. fp32 by default: records of several machines are compared.
        protocol: As in `evaluate`.
        intervals: As in `evaluate`.
        out: A folder. A run that stands in it is taken up or, when finished, only scored; the
            record is written there as record.json. Empty keeps all in memory.
    Returns:
        The record of `evaluate` with three more keys: "arm", "mechanism" and "cost" (None for a
        method that trains nothing).
    """
    folder = Path(out) / "run" if out else None
    if folder is not None and (folder / "run.json").is_file():
        method = adlib.load_run(folder).method.to(choose_device())
    else:
        method = arm_method(arm)
        method = adlib.fit(
            method, data, steps=steps, seed=seed, out=folder, precision=precision
        ).method
    record = adlib.evaluate(
        method, data, protocol=protocol, precision=precision, intervals=intervals
    )
    record["arm"] = arm
    record["mechanism"] = mechanism.measure(method, data, precision=precision)
    record["cost"] = cost(method.config) if steps else None
    if out:
        write_json(Path(out) / "record.json", record)
    return record
