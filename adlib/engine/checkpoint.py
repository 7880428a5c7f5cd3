"""Where a training run stands, so that an interrupted one goes on to the same end, bit for bit.

One safetensors file holds it all: tensors of the method and of the optimizer, the losses, and as
JSON in its header the schedule, the rest of the optimizer, and what the run is. Noise and order of
the data need no place: both are functions of the seed and the step.
"""

import signal
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adlib.engine.runs import STEPS, RunError, trained_state
from adlib.system.disk import on_signals, read_tensors, to_json, write_tensors
from adlib.system.hardware import gathered

FORMAT = 2  # of a checkpoint; raised when an old one can no longer be gone on from
KEPT = 2  # checkpoints: should the last be damaged, the one before it is there


@dataclass(kw_only=True)
class TrainingState:
    """All that a step changes."""

    method: Any  # its trainable weights and buffers
    optimizer: torch.optim.Optimizer  # its moments
    schedule: Any  # of the learning rate
    scaler: Any = None  # of an fp16 loss
    losses: list[float] = field(default_factory=list)  # one a step, so their number is the step
    seconds: float = 0.0  # spent on these steps
    resumed_at: list[int] = field(default_factory=list)  # steps from which runs went on

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state as tensors by name and as JSON."""
        optimizer = self.optimizer.state_dict()
        tensors = {f"method.{k}": v for k, v in trained_state(self.method).items()}
        for index, moments in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        return tensors, {
            "groups": optimizer["param_groups"],
            "schedule": self.schedule.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "seconds": self.seconds,
            "resumed_at": self.resumed_at,
        }

    def unpack(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take the state that `pack` gave of a run of the same config."""
        weights: dict[str, Tensor] = {}
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            part, _, name = key.partition(".")
            if part == "method":
                weights[name] = tensor
            elif part == "optimizer":
                index, _, name = name.partition(".")
                moments.setdefault(int(index), {})[name] = tensor
        self.method.load_state_dict(weights, strict=False)  # without the frozen encoder
        self.optimizer.load_state_dict({"state": moments, "param_groups": values["groups"]})
        self.schedule.load_state_dict(values["schedule"])
        if self.scaler is not None:
            self.scaler.load_state_dict(values["scaler"])
        self.losses, self.seconds = tensors["losses"].tolist(), values["seconds"]
        self.resumed_at = [*values["resumed_at"], len(self.losses)]


class Checkpointer:
    """Keeps the checkpoints of one run.

    Args:
        folder: Where; None keeps nothing.
        about: JSON: what must be the same for another process to go on.
        every: Steps between checkpoints.
        writes: Whether this process is the one that writes.
    """

    def __init__(self, folder: Path | None, about: Any, every: int, writes: bool) -> None:
        self.folder, self.every, self.writes = folder, every, writes
        self.about = to_json(about) | {"format": FORMAT}
        self._stop: int | None = None

    @property
    def found(self) -> list[Path]:
        """The checkpoints, by their steps, not by the times that their files carry."""
        return [] if self.folder is None else sorted(self.folder.glob(STEPS))

    @property
    def last(self) -> Path | None:
        """The last checkpoint."""
        return max(self.found, default=None)

    def save(self, state: TrainingState) -> None:
        """Write where the run stands, whole, and keep the last two.

        Raises:
            OSError: It could not be written; names the last one that was.
        """
        if self.folder is None or not self.writes:
            return
        tensors, values = state.pack()
        path = self.folder / f"step-{len(state.losses):08d}.safetensors"
        try:
            write_tensors(path, tensors, {"about": self.about, **values})
        except OSError as error:
            raise OSError(f"{error}. Last good checkpoint: {self.last or 'none'}") from error
        for old in self.found[:-KEPT]:
            old.unlink(missing_ok=True)

    def resume(self, state: TrainingState) -> None:
        """Take the last checkpoint that can be read; nothing happens where there is none.

        Warns:
            RuntimeWarning: The last one is damaged, and the one before is taken.
        Raises:
            RunError: It is of another run or format, or its tensors do not fit; none can be read;
                or the processes of a training found different ones.
        """
        damaged = ""
        for path in reversed(self.found):
            try:
                tensors, values = read_checkpoint(path)
            except RunError as error:
                damaged = damaged or str(error)
                continue
            self._compare(path, values["about"], state.pack()[0].keys(), tensors.keys())
            if damaged:
                words = f"{damaged}; going on from {path.name}, the one before"
                warnings.warn(words, RuntimeWarning, stacklevel=3)
            state.unpack(tensors, values)
            break
        else:
            if damaged:
                raise RunError(f"{damaged}; no other is there, remove {self.folder} to begin anew")
        steps = gathered(len(state.losses))
        if len(set(steps)) > 1:  # the processes would wait for each other for ever
            raise RunError(
                f"the processes would go on from steps {', '.join(map(str, steps))}, by rank; "
                f"every one must see the same checkpoints in {self.folder}"
            )

    def _compare(self, path: Path, theirs: dict[str, Any], wanted: Any, there: Any) -> None:
        """Refuse a checkpoint of another run, or whose tensors are not those that a run trains."""
        if theirs.get("format") != FORMAT:
            raise RunError(
                f"{path} is a checkpoint of format {theirs.get('format')}, this adlib goes on from "
                f"format {FORMAT}; use the one that wrote it, or remove {self.folder} to begin anew"
            )
        mine, theirs = ({**about["config"], **about} for about in (self.about, theirs))
        if differ := [
            f"{key} was {theirs.get(key)!r} and is {mine.get(key)!r}"
            for key in sorted((mine.keys() | theirs.keys()) - {"config"})
            if mine.get(key) != theirs.get(key)
        ]:
            raise RunError(
                f"{path} is a checkpoint of another run: {'; '.join(differ)}. Go on with the "
                "settings it began with, or name another folder; nothing was changed"
            )
        strange = {k for k in wanted ^ there if not k.startswith("optimizer.")}  # made by a step
        if strange:
            raise RunError(
                f"{path}: tensors do not fit: missing {sorted(strange & wanted)}, unexpected "
                f"{sorted(strange & there)}"
            )

    def stop_requests(self) -> AbstractContextManager[None]:
        """Let a step end before SIGTERM or SIGINT stop a run that has a folder to save to."""

        def ask(number: int, frame: Any) -> None:
            self._stop = number

        numbers = () if self.folder is None else (signal.SIGTERM, signal.SIGINT)
        return on_signals(ask, *numbers)

    def after_step(self, state: TrainingState) -> None:
        """Save when it is time to; save and stop when a signal asked for it.

        The last step of a longer run is saved, too: a disk that is full by then costs no step.

        Raises:
            KeyboardInterrupt: A signal asked to stop.
        """
        step = len(state.losses)
        end = step == self.about["steps"] and step > self.every
        if step % self.every == 0 or end or self._stop is not None:
            self.save(state)
        if self._stop is not None:
            raise KeyboardInterrupt(
                f"stopped by {signal.Signals(self._stop).name} after step {step}, which is saved "
                f"in {self.folder}; the same command goes on from there"
            )


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and JSON of a checkpoint; raise RunError if it is damaged."""
    try:
        tensors, values, _ = read_tensors(path)
        if not {"about", "groups"} <= values.keys():
            raise ValueError("its header is not a checkpoint's")
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"the checkpoint {path} is damaged: {error}") from error
    return tensors, values
