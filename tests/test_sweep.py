"""Runs of sweeps on a local cluster, single attempts, shards and their merging."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adlib.cli import main
from adlib.report.records import read_results
from adlib.sweep import execution, run
from adlib.sweep.execution import Job, attempt
from adlib.sweep.plan import Point, SweepError, read_plan
from adlib.sweep.results import Slot, finished_ids, open_folder, write_records
from adlib.system.disk import locked
from tests.small_notebook import wait_for, write_notebook, write_sweep

STEPS = "notebook: n.ipynb\ngrid: {steps: [1, 2, 3]}\n"
COUNTING = """\
import json
from pathlib import Path
with open(Path(log) / "runs.txt", "a") as file:
    file.write(f"{steps}\\n")
assert steps != 3 or (Path(log) / "allowed").exists(), "three is not allowed"
record = {"mean": {"image_auroc": steps / 10}, "log": log}
Path(out, "record.json").write_text(json.dumps(record))
"""


def counting(log: Path, pause: str = "") -> Path:
    """A sweep of three points that note each run in a file; the third fails until it is allowed."""
    parameters = "steps = 1  # s\nlog = ''  # folder\nout = None  # folder"
    text = f"{STEPS}fixed: {{log: {str(log)!r}}}\n"
    return write_sweep(log, text, COUNTING + pause, parameters=parameters)


def rows_of(out: Path, metric: str) -> list[tuple[str, str, str]]:
    rows = csv.DictReader((out / "table.csv").read_text().splitlines())
    return [(row["steps"], row["status"], row[metric]) for row in rows]


@pytest.mark.timeout(900)
def test_a_sweep_skips_what_is_finished_and_tries_again_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = counting(tmp_path), tmp_path / "an {out}"
    words = ["sweep", str(path), "--out", str(out), "--workers", "2"]
    assert main([*words, "--retries", "1"]) == 1
    told = capsys.readouterr()
    assert "1 of 3 points failed" in told.err
    assert "AssertionError: three is not allowed" in told.out
    assert sorted((tmp_path / "runs.txt").read_text().split()) == ["1", "2", "3", "3"]
    ids = {point.values["steps"]: point.id for point in read_plan(path).points}
    assert finished_ids(out) == [ids[1], ids[2]]
    failed = json.loads((out / f"failed/{ids[3]}.json").read_text())
    assert (failed["status"], failed["attempts"]) == ("failed", 2)
    assert failed["error"] == "cell [3]: AssertionError: three is not allowed"
    assert "AssertionError" in failed["traceback"][-1]
    assert rows_of(out, "image_auroc") == [
        ("1", "finished", "0.1"), ("2", "finished", "0.2"), ("3", "failed", ""),
    ]  # fmt: skip

    # Temporary files of a sweep that was killed while it wrote, which the next one removes.
    left = [out / ".table.csv-x", out / "failed" / f".{ids[3]}.json-x"]
    left += [out / "points" / f"{ids[3]}.work/.point.json-x"]
    left += [out / "notebooks" / f".{path.name}-of-somebody"]
    for each in left:
        each.touch()
    (tmp_path / "allowed").touch()
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "3 points, 2 of them finished before" in told
    assert f"1/1 {ids[3]} finished" in told
    assert "attempt 3" in told
    assert [each.exists() for each in left] == [False, False, False, True]
    assert sorted((tmp_path / "runs.txt").read_text().split()) == ["1", "2", "3", "3", "3"]
    assert not list((out / "failed").glob("*.json"))
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == sorted(ids.values())
    for line in lines:
        steps, folder = line["parameters"]["steps"], out / "points" / line["id"]
        assert line["files"]["record.json"]["mean"]["image_auroc"] == steps / 10
        assert {p.name for p in folder.iterdir()} == {"executed.ipynb", "point.json", "record.json"}
        cells = json.loads((folder / "executed.ipynb").read_text())["cells"]
        assert f"steps = {steps}\n" in cells[1]["source"]

    # Other notebook, same grid: what is finished stays, and that is said.
    write_notebook(path.parent / "n.ipynb", "steps = 1  # s\nlog = ''  # f", "1 / 0")
    assert main(words) == 0
    assert "3 finished points were made by another version of n.ipynb" in capsys.readouterr().out

    # A grid that grows keeps its points, though their ids would now name one value more.
    path.write_text(f"{STEPS[:-2]}, log: [{str(tmp_path)!r}]}}\n")
    assert main(words) == 0
    assert "3 points, 3 of them finished before" in capsys.readouterr().out


@pytest.mark.timeout(900)
def test_two_sweeps_at_once_run_no_point_twice(tmp_path: Path) -> None:
    (tmp_path / "allowed").touch()
    path, out = counting(tmp_path, "import time; time.sleep(0.5)"), tmp_path / "out"
    command = [sys.executable, "-m", "adlib", "sweep", str(path), "--out", str(out)]
    both = [
        subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted((tmp_path / "runs.txt").read_text().split()) == ["1", "2", "3"]
    assert all(text.count(" finished in ") == 3 for text in told)  # each tells of all


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_what_is_finished_and_leaves_nobody_behind(
    number: signal.Signals, tmp_path: Path
) -> None:
    path, out = counting(tmp_path, "import time; time.sleep(100)"), tmp_path / "out"
    command = [sys.executable, "-m", "adlib", "sweep", str(path), "--out", str(out)]
    sweep = subprocess.Popen(
        [*command, "--workers", "2"], start_new_session=True, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for((tmp_path / "runs.txt").exists, "point begun")
    if number == signal.SIGINT:
        os.killpg(sweep.pid, number)  # as a terminal does: its workers get it, too
    else:
        sweep.send_signal(number)
    told = sweep.communicate(timeout=120)[1]
    assert sweep.returncode == 1
    assert "Traceback" not in told
    assert f"adlib: error: stopped; 0 of 3 points are finished in {out}. " in told
    assert (out / "table.csv").read_text().startswith("id,")
    assert not any(Slot(out, point.id).is_busy() for point in read_plan(path).points)


POINT = Point(id="point_00000000", values={}, parameters={})


def job_for(folder: Path, code: str, **changes: Any) -> tuple[Job, Slot]:
    """A job of a notebook without values of its own, and the place of its only point."""
    out = folder / "out"
    open_folder(out)
    shutil.copy(write_notebook(folder / "n.ipynb", "out = None", code), out / "notebooks/0.ipynb")
    job = Job(out=str(out), takes_out=True, notebook={"name": "n.ipynb", "sha256": "0"}, **changes)
    return job, Slot(out, POINT.id)


def test_an_attempt_ends_at_its_timeout_and_the_next_goes_on_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import time\nfrom pathlib import Path\nstate = Path(out, 'state')\n"
        "again = state.exists()\nstate.touch()\ntime.sleep(0 if again else 60)"
    )
    job, slot = job_for(tmp_path, code, timeout=15.0)
    clock = SimpleNamespace(perf_counter=time.perf_counter, sleep=time.sleep)
    clock.monotonic = lambda: 15.1 * (slot.work / "state").exists()  # however slow the machine is
    monkeypatch.setattr(execution, "time", clock)
    result = attempt(job, POINT)
    assert (result["status"], result["attempts"]) == ("failed", 1)
    assert result["error"] == "it took longer than the timeout of 15 s"
    assert slot.failed.exists()
    assert not slot.finished.exists()
    monkeypatch.undo()
    wait_for(lambda: attempt(job, POINT)["status"] != "busy", "free lock", 10)
    result = slot.result()
    assert (result["status"], result["attempts"]) == ("finished", 2)
    assert (slot.finished / "state").exists()
    assert not slot.work.exists()
    assert not slot.failed.exists()


def test_the_kernel_takes_its_threads_and_not_what_dask_sets_for_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MPLBACKEND", "KEPT"):
        monkeypatch.setenv(name, "65536" if name != "MPLBACKEND" else "agg")
    code = "import json, os\njson.dump(dict(os.environ), open(out + '/seen.json', 'w'))"
    job, slot = job_for(tmp_path, code, threads=3, gpus=("GPU-a", "GPU-b,GPU-c"))
    attempt(job, POINT, worker=1)
    seen = json.loads((slot.finished / "seen.json").read_text())
    assert seen["OMP_NUM_THREADS"] == "3"
    assert seen["CUDA_VISIBLE_DEVICES"] == "GPU-b,GPU-c"
    assert "KEPT" in seen
    assert "MALLOC_TRIM_THRESHOLD_" not in seen
    assert "inline" in seen["MPLBACKEND"]  # the kernel's own, for pictures in the notebook


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os._exit(7)", "Kernel died"),
        ("open(out + '/record.json', 'w').write('{\"auroc\": NaN}')",
         "record.json cannot be read: it holds NaN"),
    ],
)  # fmt: skip
def test_a_kernel_that_dies_or_leaves_no_json_has_failed(
    code: str, words: str, tmp_path: Path
) -> None:
    job, slot = job_for(tmp_path, code)
    result = attempt(job, POINT)
    assert result["status"] == "failed"
    assert words in result["error"]
    assert not slot.finished.exists()


def test_an_attempt_nobody_wants_stops(tmp_path: Path) -> None:
    job, _ = job_for(tmp_path, "import time; time.sleep(60)")
    asked = iter([True, False])
    assert attempt(job, POINT, wanted=lambda: next(asked)) == {"id": POINT.id, "status": "stopped"}
    with pytest.raises(FileNotFoundError, match="no folder /nowhere"):
        attempt(Job(out="/nowhere", takes_out=False, notebook={}), POINT)


def test_no_process_of_a_killed_worker_lives_on_or_shares_the_work_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    code = (
        "import time\nfrom pathlib import Path\n"
        "for i in range(0 if Path(out, 'enough').exists() else 1200):\n"
        "    with open(out + '/beat', 'a') as file:\n"
        "        file.write('.')\n"
        "    time.sleep(0.05)\n"
    )
    job, slot = job_for(tmp_path, code)
    script = (
        "import json, sys\nfrom adlib.sweep.execution import Job, attempt\n"
        "from adlib.sweep.plan import Point\n"
        "job, point = json.loads(sys.argv[1])\nattempt(Job(**job), Point(**point))"
    )
    told = json.dumps([vars(job), vars(POINT)])
    worker = subprocess.Popen([sys.executable, "-c", script, told])
    beat = slot.work / "beat"
    try:
        wait_for(beat.exists, "kernel at work", 60)
        assert attempt(job, POINT)["status"] == "busy"
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()

    wait_for(lambda: not slot.is_busy(), "free lock", 10)
    size = beat.stat().st_size
    time.sleep(0.5)
    assert beat.stat().st_size == size
    # What was left of it for the kernel's sockets, the next attempt takes away.
    assert len(list((tmp_path / "t").glob("adlib-*"))) == 1
    (slot.work / "enough").touch()
    assert attempt(job, POINT)["status"] == "finished"
    assert not list((tmp_path / "t").glob("adlib-*"))


def test_the_lock_is_held_until_the_last_who_could_write_is_gone(tmp_path: Path) -> None:
    open_folder(tmp_path)
    slot = Slot(tmp_path, POINT.id)
    with slot.lock() as log:
        assert slot.is_busy()
        # As a kernel that is left behind: started with the log, and by somebody who is gone.
        command = [sys.executable, "-c", "input()"]
        left = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
    assert slot.is_busy()
    left.communicate(b"go\n")
    assert not slot.is_busy()


def finish_by_hand(out: Path, point: Point, **about: Any) -> Slot:
    """Lay down a finished point, as `attempt` would."""
    open_folder(out)
    slot = Slot(out, point.id)
    result = slot.begin(point, **{"seconds": 1.5} | about)
    (slot.work / "record.json").write_text('{"mean": {"aupro": 0.5}}')
    slot.settle(result | {"error": None})
    return slot


def test_merge_joins_shards_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_sweep(tmp_path, STEPS), tmp_path / "all"
    points = read_plan(path).points
    for i, point in enumerate(points[:2]):
        finish_by_hand(tmp_path / f"shard-{i}", point)
    failed = {"parameters": points[2].parameters, "error": "E: no luck"}
    Slot(tmp_path / "shard-1", points[2].id).settle(failed)
    words = ["sweep", str(path), "--out", str(out), "--merge"]
    shards = [str(tmp_path / "shard-0"), str(tmp_path / "shard-1")]
    assert main([*words, shards[0]]) == 1
    assert "2 of 3 points have not been run" in capsys.readouterr().err
    assert main([*words, *shards]) == 1
    told = capsys.readouterr()
    assert "1 points copied" in told.out
    assert "E: no luck" in told.out
    assert "1 of 3 points failed" in told.err
    assert rows_of(out, "aupro") == [
        ("1", "finished", "0.5"), ("2", "finished", "0.5"), ("3", "failed", ""),
    ]  # fmt: skip

    finish_by_hand(tmp_path / "shard-2", points[2])
    (out / "points" / f"{points[2].id}.merge").mkdir()  # of a merge that was killed
    assert main([*words, str(tmp_path / "shard-2"), *shards]) == 0
    assert "1 points copied" in capsys.readouterr().out
    lines = (out / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == sorted(p.id for p in points)
    assert not list((out / "failed").iterdir())
    assert not list((out / "points").glob("*.merge"))

    before = (out / "records.jsonl").read_bytes()
    again = finish_by_hand(tmp_path / "again", points[0], seconds=2.5)
    for source, words_told in (
        (tmp_path / "again", "two results of one point"),
        (tmp_path / "nothing", "nothing is no sweep's folder"),
        (tmp_path / "again", "point.json cannot be read"),
    ):
        assert main([*words, str(source)]) == 2
        assert words_told in capsys.readouterr().err
        (again.finished / "point.json").unlink(missing_ok=True)
    assert (out / "records.jsonl").read_bytes() == before


def test_a_sweep_goes_on_from_kept_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_sweep(tmp_path, STEPS), tmp_path / "two"
    points = read_plan(path).points
    first = finish_by_hand(tmp_path / "one", points[0], note="one line\u2028and one more")
    command = ["sweep", str(path), "--out"]
    assert main([*command, str(tmp_path / "one"), "--merge", str(tmp_path / "one")]) == 1
    kept = tmp_path / "kept.jsonl"
    (tmp_path / "one/records.jsonl").rename(kept)
    words = [*command, str(out), "--merge", str(kept)]
    assert main(words) == 1
    assert "2 of 3 points have not been run" in capsys.readouterr().err
    assert (out / "records.jsonl").read_bytes() == kept.read_bytes()
    assert main([*words, str(tmp_path / "one")]) == 1  # the folder says the same
    assert "0 points copied" in capsys.readouterr().out

    # Lines of a wrong shape, and one with U+2028 as it is, are told; the points around them count.
    line = json.dumps(json.loads(kept.read_text()), ensure_ascii=False)
    kept.write_text(line + "\n")
    assert read_results(kept)[0]["note"] == "one line\u2028and one more"
    second = json.loads(line) | {"id": points[1].id, "parameters": points[1].parameters}
    outside = json.dumps(second | {"id": "../x_12345678"})
    strange = json.dumps(second | {"files": {"../x": 1}})
    wrong = ["{", "[]", '{"id": "x"}', outside, strange, '{"a": NaN}', "[" * 9999, "\udcff"]
    text = "\n".join([line, *wrong, json.dumps(second)]) + "\n"
    kept.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.warns(UserWarning, match="passed over") as told:
        assert main(words) == 1
    assert len(told) == len(wrong)
    for number, warning in enumerate(told, 2):
        assert f"{kept}, line {number}" in str(warning.message)
        assert len(str(warning.message)) < 300
    assert finished_ids(out) == sorted(p.id for p in points[:2])
    assert (Slot(out, points[1].id).finished / "record.json").is_file()
    assert first.finished.is_dir()


def test_tables_wait_for_another_sweep_that_writes_them(tmp_path: Path) -> None:
    open_folder(tmp_path)
    left = tmp_path / ".table.csv-of-another"
    left.touch()
    with ThreadPoolExecutor() as pool:
        with locked(tmp_path / ".lock", wait=True):
            writing = pool.submit(write_records, tmp_path)
            with pytest.raises(TimeoutError):
                writing.result(timeout=1)
            assert left.exists()
        writing.result()
    assert not left.exists()


def test_the_crew_fits_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def crew(share: float, count: int, **asked: Any) -> Any:
        monkeypatch.setattr(run, "find_gpus", lambda: [str(i) for i in range(count)])
        settings = {"workers": None, "threads": None, "scheduler": None} | asked
        return run.choose_crew(share=share, **settings)

    assert crew(2.0, 5)[::2] == (2, ("0,1", "2,3"))
    assert crew(0.5, 3)[0] == 6
    for share, each in ((0.25, 4), (0.6, 1), (0.3, 3), (0.1, 10), (1 / 49, 49)):
        assert crew(share, 2)[2] == ("0",) * each + ("1",) * each  # a share lies on one GPU
    assert crew(0.0, 8)[2] == ()
    assert crew(0.0, 0, workers=3, threads=2) == (3, 2, ())
    assert crew(0.0, 0, scheduler="tcp://a:1") == (0, None, ())
    for share, count, asked, words in (
        (1.0, 0, {}, "GPU 1 for each of 1 .* 0"),
        (2.0, 5, {"workers": 3}, "GPU 2 for each of 3 .* 2"),
        (0.6, 2, {"workers": 3}, "GPU 0.6 for each of 3 .* 2"),
        (0.0, 0, {"workers": 0}, "--workers: .* got 0"),
        (0.0, 0, {"threads": 0}, "--threads-per-worker: .* got 0"),
        (0.0, 0, {"workers": 2, "scheduler": "tcp://a:1"}, "tcp://a:1 has its own"),
    ):
        with pytest.raises(SweepError, match=words):
            crew(share, count, **asked)


def test_no_scheduler_at_the_address_is_said() -> None:
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at tcp:/x"):
        run.connect("tcp:/x", 0, {}).__enter__()


def test_progress_tells_count_time_and_error() -> None:
    result = {"id": "a", "status": "failed", "seconds": 2.0, "attempts": 2, "error": "E: x"}
    assert run.progress(result, "1/2") == "1/2 a failed in 2.0 s, attempt 2: E: x"
    result |= {"status": "finished", "seconds": None, "attempts": 1, "error": None}
    assert run.progress(result, "1/2") == "1/2 a finished"


def test_a_sweep_does_not_write_into_a_folder_of_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path, STEPS)
    for out in (path.parent, path):
        assert main(["sweep", str(path), "--out", str(out)]) == 2
        assert f"{out} is a file or holds something else" in capsys.readouterr().err
