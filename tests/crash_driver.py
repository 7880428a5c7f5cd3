"""Runs one fit in child after child, each killed at a random moment, then once to the end.

A process of its own, with one thread: children are forked from it when torch is already loaded, so
that a kill costs milliseconds and can fall into any part of the work.

    python -m tests.crash_driver DATA OUT PHASE KILLS SEED
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from safetensors import safe_open

import adlib
from adlib.engine.checkpoint import read_checkpoint
from adlib.engine.features import cache_folder
from adlib.methods import ProAD, ProADConfig
from adlib.system.hardware import make_accelerator

STEPS = 20
CONFIG = ProADConfig(
    encoder="vit-tiny",
    weights="random",
    layers=(0, 1),
    size=(32, 48),
    mlp_ratio=1.0,
    batch=3,
)


def fit(data: adlib.data.dataset.DataSplits, out: Path, every: int) -> None:  # pyright: ignore[reportAttributeAccessIssue]
    """One fit, as the command line would do it."""
    options = adlib.TrainOptions(checkpoint_every=every)
    adlib.fit(ProAD(CONFIG), data, steps=STEPS, out=out, device="cpu", options=options)


def child(data: object, out: Path, every: int) -> int:
    """Fork a process that fits."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            fit(data, out, every)  # pyright: ignore[reportArgumentType]
            status = 0
        except Exception:
            traceback.print_exc()  # which the exit below would keep from being printed
        finally:
            os._exit(status)
    return pid


def check_what_is_there(out: Path) -> None:
    """Whatever has its name is whole."""
    for path in (out / "checkpoints").glob("step-*"):
        read_checkpoint(path)
    for path in (cache_folder() / "features").glob("[!.]*.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert file.get_tensor("features").isfinite().all()
    if (out / "run.json").exists():
        json.loads((out / "run.json").read_text())


def main() -> None:
    torch.set_num_threads(1)
    data, out = adlib.load_data(Path(sys.argv[1])), Path(sys.argv[2])
    phase, kills, rng = sys.argv[3], int(sys.argv[4]), random.Random(int(sys.argv[5]))
    assert len(data.hash) == 64  # hashed once, here; and what a child would import, loaded
    ProAD(CONFIG).encoder.digest.startswith(" ")
    make_accelerator(torch.device("cpu"), torch.float32)
    every = 1 if phase == "checkpoint" else 3
    caches, begun = os.environ["ADLIB_CACHE"], time.monotonic()
    os.environ["ADLIB_CACHE"] = caches + "-quiet"
    assert os.waitpid(child(data, out.with_name("quiet"), every), 0)[1] == 0
    whole = time.monotonic() - begun
    if phase != "cache":
        caches = os.environ["ADLIB_CACHE"]
    os.environ["ADLIB_CACHE"] = caches
    seen = {"seconds": whole, "at_work": 0, "resumable": 0}
    for killed in range(10 * kills):  # all of them only where the machine is not as fast as it was
        met = seen["at_work"] >= kills // 2 and (phase == "cache" or seen["resumable"])
        if (out / "run.json").exists():
            if met:
                break
            shutil.rmtree(out)  # at its end before it was disturbed enough: again, and sooner
            whole *= 0.8
        elif killed >= kills:
            if met:
                break
            whole *= 1.25  # no kill came late enough to leave a checkpoint
        pid = child(data, out, every)
        # Encoding comes first and takes its share of the time; later kills need what went before.
        time.sleep(whole * rng.uniform(0.02, 0.25 if phase == "cache" else 0.6))
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            seen["at_work"] += 1
        check_what_is_there(out)
        seen["resumable"] += any((out / "checkpoints").glob("step-*"))
    if not (out / "run.json").exists():
        assert os.waitpid(child(data, out, every), 0)[1] == 0
    elif (out / "checkpoints").exists():  # killed between its last file and its tidying
        assert os.waitpid(child(data, out, every), 0)[1] != 0  # refused, and tidied
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
