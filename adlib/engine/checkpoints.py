"""Where a training run stands, so that an interrupted one goes on to the same end, bit for bit.

One safetensors file holds it all: tensors of the method and of the optimizer, the losses, and as
JSON in its header the schedule, the rest of the optimizer, and what the run is. Noise and order of
the data need no place: both are functions of the seed and the step.
"""

import json
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adlib.engine.runs import RunError, trained_state
from adlib.system.disk import to_json, write_tensors
from adlib.system.hardware import gathered

FORMAT = 2  # of a checkpoint; raised when an old one can no longer be gone on from
KEPT = 2  # checkpoints: should the last be damaged, the one before it is there; ours


@dataclass(kw_only=True)
class TrainingState:
    """All that a step changes.

    Attributes:
        method: Its trainable weights and buffers.
        optimizer: And its moments.
        schedule: Of the learning rate.
        scaler: Of an fp16 loss; None otherwise.
        losses: One a step, so their number is the step.
        seconds: Spent on these steps.
        resumed_at: Steps from which interrupted runs went on.
    """

    method: Any
    optimizer: torch.optim.Optimizer
    schedule: Any
    scaler: Any = None
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    resumed_at: list[int] = field(default_factory=list)

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state as tensors by name and as JSON."""
        tensors = {f"method.{k}": v for k, v in trained_state(self.method).items()}
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        optimizer = self.optimizer.state_dict()
        numbers: dict[str, dict[str, Any]] = {}
        for index, moments in optimizer["state"].items():
            for name, value in moments.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{name}"] = value
                else:
                    numbers.setdefault(str(index), {})[name] = value
        return tensors, {
            "groups": optimizer["param_groups"],
            "numbers": numbers,
            "schedule": self.schedule.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "seconds": self.seconds,
            "resumed_at": self.resumed_at,
        }

    def unpack(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take the state that `pack` gave of a run of the same config."""
        parts: dict[str, dict[str, Tensor]] = {"method": {}, "optimizer": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition(".")
            if name:
                parts[part][name] = tensor
        self.method.load_state_dict(parts["method"], strict=False)  # without the frozen encoder
        moments: dict[int, dict[str, Any]] = {int(i): v for i, v in values["numbers"].items()}
        for key, tensor in parts["optimizer"].items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict({"state": moments, "param_groups": values["groups"]})
        self.schedule.load_state_dict(values["schedule"])
        if self.scaler is not None:
            self.scaler.load_state_dict(values["scaler"])
        self.losses = tensors["losses"].tolist()
        self.seconds = values["seconds"]
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
    def last(self) -> Path | None:
        """The last checkpoint; by its step, not by the time that the file carries."""
        found = self._found()
        return found[-1] if found else None

    def _found(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob("step-*.safetensors"))

    def save(self, state: TrainingState) -> None:
        """Write where the run stands, whole, and keep the last two.

        Raises:
            OSError: It could not be written, such as on a full disk; the one before is there still.
        """
        if self.folder is None or not self.writes:
            return
        tensors, values = state.pack()
        path = self.folder / f"step-{len(state.losses):08}.safetensors"
        try:
            write_tensors(path, tensors, {"about": self.about, **values})
        except OSError as error:
            raise OSError(f"{error}. Last good checkpoint: {self.last or 'none'}") from error
        for old in self._found()[:-KEPT]:
            old.unlink(missing_ok=True)

    def resume(self, state: TrainingState) -> None:
        """Take the last checkpoint that can be read; nothing happens where there is none.

        Warns:
            RuntimeWarning: The last one is damaged, and the one before is taken.
        Raises:
            RunError: The checkpoint is of another run, and how that differs; or of another format,
                or its tensors do not fit; or none can be read; or the processes of a training
                found different ones.
        """
        damaged = []
        for path in reversed(self._found()):
            try:
                tensors, values = read_checkpoint(path)
            except RunError as error:
                damaged.append(f"{error}")
                continue
            self._compare(path, values["about"])
            _check_names(path, state, tensors)
            if damaged:
                words = f"{damaged[0]}; going on from {path.name}, the one before"
                warnings.warn(words, RuntimeWarning, stacklevel=3)
            state.unpack(tensors, values)
            break
        else:
            if damaged:
                raise RunError(
                    f"{damaged[0]}; no other is there, remove {self.folder} to begin anew"
                )
        self._agree(state)

    def _agree(self, state: TrainingState) -> None:
        """Refuse processes that would go on from different steps, which would wait for ever."""
        steps = gathered(len(state.losses))
        if len(set(steps)) > 1:
            raise RunError(
                f"the processes would go on from steps {', '.join(map(str, steps))}, by rank; "
                f"every one must see the same checkpoints in {self.folder}"
            )

    def _compare(self, path: Path, theirs: dict[str, Any]) -> None:
        if theirs.get("format") != FORMAT:
            raise RunError(
                f"{path} is a checkpoint of format {theirs.get('format')}, this adlib goes on from "
                f"format {FORMAT}; use the one that wrote it, or remove {self.folder} to begin anew"
            )
        mine = {**self.about["config"], **self.about}
        theirs = {**theirs["config"], **theirs}
        differ = [
            f"{key} was {theirs.get(key)!r} and is {mine.get(key)!r}"
            for key in sorted((mine.keys() | theirs.keys()) - {"config"})
            if mine.get(key) != theirs.get(key)
        ]
        if differ:
            raise RunError(
                f"{path} is a checkpoint of another run: {'; '.join(differ)}. Go on with the "
                "settings it began with, or name another folder; nothing was changed"
            )

    @contextmanager
    def stop_requests(self) -> Iterator[None]:
        """Let a step end before SIGTERM or SIGINT stop the run, where there is a folder to save to.

        Python gives signals to the main thread only; in another, they act as they always do.
        """
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            self._stop = number

        before = {n: signal.signal(n, ask) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

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


def _check_names(path: Path, state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint that lacks what the run trains, or has more; moments come with steps."""
    mine, theirs = (
        {name for name in names if not name.startswith("optimizer.")}
        for names in (state.pack()[0], tensors)
    )
    if mine != theirs:
        raise RunError(
            f"{path}: tensors do not fit: missing {sorted(mine - theirs)}, unexpected "
            f"{sorted(theirs - mine)}"
        )


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and JSON of a checkpoint; raise RunError if it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads(file.metadata()["adlib"])
            return {key: file.get_tensor(key) for key in file.keys()}, values  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"the checkpoint {path} is damaged: {error}") from error
