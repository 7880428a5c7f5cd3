"""A sweep that is killed again and again ends with the records of one that was left alone."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import LocalCluster

from adlib.sweep.results import finished_ids, write_records
from tests.small_notebook import wait_for, write_notebook

PARAMETERS = "a = 1  # a\nb = 1  # b\nlog = ''  # a folder beside all points\nout = None  # f"
# Goes on where it was killed; notes if a second kernel is in its folder; writes its record in two
# parts, so that one that is read too early is no JSON.
CODE = """\
import fcntl, json, os, time
from pathlib import Path
folder = Path(out)
alone = open(folder / "alone", "w")
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    Path(log, "overlap").touch()
    raise
state = folder / "state"
done = json.loads(state.read_text()) if state.exists() else []
for step in range(len(done), 5):
    time.sleep(0.1)
    done.append(a * 10 + b * step)
    (folder / "state.new").write_text(json.dumps(done))
    os.replace(folder / "state.new", state)
with open(folder / "record.json", "w") as file:
    file.write('{"mean": {"total": ')
    file.flush()
    time.sleep(0.1)
    file.write(f'{sum(done)}}}, "steps": {done}}}')
"""


def start(path: Path, out: Path, *on: str) -> subprocess.Popen[bytes]:
    """A sweep on two workers, in a process group and with temporary files of its own."""
    command = [sys.executable, "-m", "adlib", "sweep", str(path), "--out", str(out)]
    (path.parent / "t").mkdir(exist_ok=True)
    return subprocess.Popen(
        [*command, *(on or ("--workers", "2"))], start_new_session=True, stdout=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(path.parent / "t")},
    )  # fmt: skip


def records(out: Path) -> dict[str, Any]:
    """What the notebooks recorded, by point; and that no id comes twice."""
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    found = {line["id"]: (line["parameters"], line["files"]) for line in lines}
    assert len(found) == len(lines)
    assert [line["status"] for line in lines] == ["finished"] * len(lines)
    return found


def files(out: Path) -> dict[Path, bytes]:
    """All files of the finished points."""
    folders = [out / "points" / name for name in finished_ids(out)]
    return {p: p.read_bytes() for folder in folders for p in folder.rglob("*") if p.is_file()}


@pytest.mark.timeout(900)
def test_records_are_those_of_an_undisturbed_sweep_whatever_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_notebook(tmp_path / "n.ipynb", PARAMETERS, CODE)
    path = tmp_path / "s.yml"
    path.write_text(
        f"notebook: n.ipynb\nfixed: {{log: {str(tmp_path)!r}}}\n"
        "grid: {a: [1, 2, 3, 4], b: [5, 6]}\n"
    )
    calm, out = tmp_path / "calm", tmp_path / "out"
    assert start(path, calm).wait() == 0
    expected = records(calm)
    assert len(expected) == 8

    rng = random.Random(0)
    kept: dict[Path, bytes] = {}
    for _ in range(3):  # all of its processes at once, at any moment
        sweep = start(path, out)
        try:
            wait_for(lambda: list((out / "points").glob("*.work")), "point begun")
            time.sleep(rng.uniform(0, 4))
        finally:
            os.killpg(sweep.pid, signal.SIGKILL)
            sweep.wait()
        assert kept.items() <= files(out).items()  # nothing is lost, nothing is made again
        kept = files(out)
        if kept:
            write_records(out)
            assert records(out).items() <= expected.items()

    def busy_worker() -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess):  # one has just ended
            for child in psutil.Process().children(recursive=True):
                if "adlib.sweep.execution" in child.cmdline():
                    return child.parent()
        return None

    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))  # of the cluster's workers
    made: Any = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with made as cluster:
        sweep = start(path, out, "--scheduler", cluster.scheduler_address)
        try:
            if len(finished_ids(out)) < 8:  # one worker, while it holds a point
                wait_for(busy_worker, "worker at work").kill()
            assert sweep.wait(timeout=300) == 0
        finally:
            if sweep.poll() is None:
                os.killpg(sweep.pid, signal.SIGKILL)
                sweep.wait()
    assert records(out) == expected
    assert kept.items() <= files(out).items()
    assert not (tmp_path / "overlap").exists()
    assert not list((out / "failed").iterdir())
    assert not list((out / "points").glob("*.work"))
    assert not [*out.rglob(".*-*"), *(tmp_path / "t").glob("adlib-*")]  # nothing is left behind
    attempts = [json.loads(p.read_text())["attempts"] for p in out.glob("points/*/point.json")]
    assert max(attempts) > 1  # something was killed indeed
