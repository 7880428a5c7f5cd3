"""What the book's guide to sweeps and the workflow print is what the tree holds, and it runs."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import adlib
from adlib.sweep.results import finished_ids, metrics_of
from adlib.system.disk import write_json
from tests.conftest import tiny_config
from tests.small_notebook import wait_for, write_notebook

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = "notebooks/sweeps/first_detection.yml"
GUIDE = (ROOT / "book/sweeps.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The guide's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def test_the_guide_shows_the_file_as_it_is() -> None:
    assert blocks("yaml") == [(ROOT / EXAMPLE).read_text(encoding="utf-8")]


def test_the_workflow_runs_the_commands_of_the_guide_on_a_file_that_is_there() -> None:
    text = (ROOT / ".github/workflows/sweep.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert set(re.findall(r"notebooks/\S+?\.yml", text)) == {EXAMPLE}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    told = [step["run"] for step in steps if "adlib sweep" in step.get("run", "")]
    options = [set(re.findall(r"--\w+", command)) for command in told]
    assert options == [{"--check"}, {"--out", "--shard"}, {"--out", "--merge"}]
    shard = next(s["env"]["SHARD"] for s in steps if "SHARD" in s.get("env", {}))
    assert shard == "${{ matrix.shard }}/${{ strategy.job-total }}"
    shards = workflow["jobs"]["shard"]["strategy"]["matrix"]["shard"]
    assert shards == list(range(1, len(shards) + 1))


@pytest.mark.timeout(900)
def test_the_commands_of_the_guide_run(tmp_path: Path) -> None:
    plan = yaml.safe_load((ROOT / EXAMPLE).read_text())
    names = [*plan["fixed"], *plan["grid"], "out"]
    cells = ["open(out + '/record.json', 'w').write(str(seed))"]
    parameters = "\n".join(f"{name} = {0 if name != 'out' else None}  # x" for name in names)
    write_notebook(tmp_path / "notebooks/01_first_detection.ipynb", parameters, *cells)
    (tmp_path / "notebooks/sweeps").mkdir()
    plan["grid"]["steps"] = plan["grid"]["steps"][:1]  # two points in all
    (tmp_path / EXAMPLE).write_text(yaml.safe_dump(plan, sort_keys=False))

    check, run, shards, scheduler, worker, cluster, gpu = blocks("sh")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = {"node1:8786": f"127.0.0.1:{port}", "--port 8786": f"--host 127.0.0.1 --port {port}"}
    words |= {"/net": str(tmp_path / "net")}
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def start(commands: str) -> subprocess.Popen[str]:
        for old, new in words.items():
            commands = commands.replace(old, new)
        return subprocess.Popen(
            ["bash", "-ec", commands], cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def finish(commands: str) -> str:
        process = start(commands)
        told = process.communicate()[0]
        assert process.returncode == 0, told
        return told

    assert "2 points over steps, seed" in finish(check)
    assert "2/2 seed=" in finish(run)
    assert "2 points copied into merged" in finish(shards)
    daemons = []
    try:
        daemons.append(start(scheduler))
        wait_for(answers, "scheduler")
        daemons += [start(worker), start(gpu)]
        assert "2/2 seed=" in finish(cluster)
    finally:
        for process in reversed(daemons):
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate()
    found = [finished_ids(tmp_path / out) for out in ("runs/sweep-first_detection", "merged")]
    assert len(found[0]) == 2
    assert found[0] == found[1] == finished_ids(tmp_path / "net/sweeps/first")


def test_the_notebooks_lines_train_once_and_record_alike(
    folder: Callable[..., Path], tmp_path: Path
) -> None:
    (lines,) = (block for block in blocks("python") if "adlib.fit" in block)
    names = {"adlib": adlib, "Path": Path, "write_json": write_json, "out": str(tmp_path)}
    names |= {"config": tiny_config(), "data": adlib.load_data(folder()), "seed": 3}
    exec(compile(lines, "sweeps.md", "exec"), names)
    trained = (tmp_path / "run/run.json").read_bytes()
    first = json.loads((tmp_path / "record.json").read_text())
    exec(compile(lines, "sweeps.md", "exec"), names)  # as by the next attempt
    assert (tmp_path / "run/run.json").read_bytes() == trained
    second = json.loads((tmp_path / "record.json").read_text())
    assert first["categories"] == second["categories"]
    assert first["seed"] == second["seed"] == 3
    assert metrics_of(first) == first["mean"]
    assert 0 <= metrics_of(first)["image_auroc"] <= 1
