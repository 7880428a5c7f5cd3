"""What a run computes on: devices and processes, their precision, and the memory it took."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, else the GPU if there is one, else the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def check_device(name: str) -> None:
    """Raise ValueError for a device that is not here; torch finds out only by computing on it."""
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            "--device: expected cpu, or a GPU that torch finds here (cuda, cuda:1, ...), of which "
            f"there are {torch.cuda.device_count()}; got {name!r}"
        ) from error


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """bf16 where the device gains by it, else fp32; or what `precision` names.

    Of CPUs, those with AMX gain, and AMD's with AVX-512 for bf16. Intel's AVX-512 alone takes twice
    as long as for fp32. A CPU that has to imitate bf16 takes many times as long: a
    `RuntimeWarning` says so.

    Raises:
        ValueError: `precision` is not one of auto, fp32, bf16, fp16; or fp16 on a CPU, whose loss
            would need scaling that torch has for GPUs only.
    """
    if precision not in ("auto", *PRECISIONS):
        known = ", ".join(PRECISIONS)
        raise ValueError(f"precision must be one of auto, {known}, got {precision!r}")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs a GPU, got a CPU; bf16 and fp32 run on it")
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        cpu = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        native = bool(cpu.get("amx_bf16"))
        native |= bool(cpu.get("avx512_bf16")) and "Intel" not in str(cpu.get("cpu_name", ""))
        own = native or cpu.get("avx512_bf16") or cpu.get("bf16")  # the last: ARM's
        if precision == "bf16" and cpu and not own:
            warnings.warn(
                "this CPU has no bf16 of its own and takes many times as long for it as for fp32, "
                'which precision "auto" would choose',
                RuntimeWarning,
                stacklevel=3,
            )
    if precision != "auto":
        return PRECISIONS[precision]
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which matrix products take `dtype`; with fp32, one that changes nothing."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def launched() -> bool:
    """Whether a launcher (accelerate, torchrun, mpirun, a notebook's) started several processes."""
    sizes = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
    return any(int(os.environ.get(name, "1")) > 1 for name in sizes)


def first_process() -> bool:
    """Whether this is the process that speaks and writes; true where it is alone."""
    ranks = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
    return not any(int(os.environ.get(name, "0")) for name in ranks)


def gathered(value: int) -> list[int]:
    """Return this number as every process has it, by rank."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def make_accelerator(
    device: torch.device, dtype: torch.dtype, tracker: Any = None, folder: Path | None = None
) -> Any:
    """Return Accelerate's view of the processes at hand.

    Args:
        device: Where one process computes; of several, each takes its own.
        dtype: Of matrix products.
        tracker: A name that Accelerate knows, such as "tensorboard", or a tracker of its kind.
        folder: For a tracker's files.
    Raises:
        ValueError: An unknown tracker, or one that needs a folder.
        ModuleNotFoundError: A tracker whose package is not installed.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import ProjectConfiguration

    if isinstance(tracker, str):  # Accelerate would leave it out without a word
        if tracker not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(LOGGER_TYPE_TO_CLASS)
            raise ValueError(f"unknown tracker {tracker!r}; known are {known}")
        if tracker not in map(str, get_available_trackers()):
            package = tracker.replace("_", "-")
            raise ModuleNotFoundError(
                f"the tracker {tracker!r} is not installed: pip install {package}"
            )
    # Accelerate settles device and precision once a process; a notebook fits with both.
    AcceleratorState._reset_state(reset_partial_state=not launched())
    names = {value: name for name, value in PRECISIONS.items()} | {torch.float32: "no"}
    logs = None if folder is None else str(folder / "logs")
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=names[dtype],
        device_placement=False,
        log_with=tracker,
        project_config=ProjectConfiguration(logging_dir=logs),  # pyright: ignore[reportArgumentType]
    )


def describe(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def forget_peak_memory() -> None:
    """Let `peak_memory_mib` begin anew on a GPU; the system's count of a process never falls."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mib() -> float | None:
    """Peak memory of this process in MiB: the GPU's where one was used, else resident memory."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
