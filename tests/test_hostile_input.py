"""Whatever stands in a file or folder, a command ends: with 0, 1 or 2, and a sentence at most."""

import io
import json
import os
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from adlib.cli import main
from tests import made_benchmarks as made
from tests.made_records import record
from tests.small_notebook import write_sweep

TINY = [
    *("--encoder", "vit-tiny", "--weights", "random", "--layers", "0", "1", "--size", "32", "48"),
    *("--blocks", "2", "--mlp-ratio", "1", "--batch", "3", "--steps", "2", "--device", "cpu"),
]
SECONDS, MIB = 30, 1500  # of the processor and of memory that a command may take
TABLE = "path,label,mask\n" + "".join(f"good/{k}.png,good,\n" for k in range(4)) + (
    "bad/8.png,bad,masks/8.png\nbad/9.png,bad,masks/9.png\n"
)  # fmt: skip
PLAN = (
    "notebook: n.ipynb\nfixed: {rate: 0.5}\ngrid:\n  steps: [1, 2]\n  limit: [4, null]\n"
    "exclude: [{steps: 2, limit: 4}]\ninclude: [{steps: 9}]\nresources: {CPU: 1}\ntimeout: 5\n"
)
FORMATS = {
    "a.png": ("PNG", {}), "a.jpg": ("JPEG", {}), "a.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "b.tif": ("TIFF", {"compression": "jpeg"}), "c.tif": ("TIFF", {}), "a.webp": ("WEBP", {}),
    "a.bmp": ("BMP", {}), "a.ppm": ("PPM", {}),
}  # fmt: skip
VALUES: list[Any] = [
    None, True, "", [], {}, -1, 0.5, 1e308, float("nan"), float("inf"), 10**400, 2**63, [[[]]],
    "NaN", "x" * 9999, "../../x", "\u202e\n\x1b[31m", "\ud800", "<script>", {"": {"": 1}},
]  # fmt: skip
TOKENS = [
    b"[", b"{" * 60, b'"', b",", b"\n", b"\0", b"\xff" * 4, b"nan", b"../", b"\\", b"&a [*a]",
    b"!!python/name:os.system ", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"9" * 5000, b"/" * 5000, b"~x/",
]  # fmt: skip
WHOLES = [
    b"", b"null", b"[]", b"{}", b"[" * 99_999, b'{"a":' * 9_999, b"\xff\xfe\0", b"\0" * 999,
    b"9" * 9_999, b"%!PS-Adobe-3.0 EPSF-3.0\n", b"P6 99999999999 9999999999 255\n",
]  # fmt: skip
# where a file is changed (a share of its length), how many bytes go there, and what comes instead
PLACES, COUNTS = st.floats(0, 1, exclude_max=True), st.integers(0, 12) | st.just(10**9)
edit = st.tuples(PLACES, COUNTS, st.binary(max_size=4) | st.sampled_from(TOKENS))
damage = st.lists(edit, min_size=1, max_size=6) | st.sampled_from(WHOLES)
fields = st.tuples(st.integers(0, 10**6), st.sampled_from(VALUES))  # of JSON: which, and its value


def cases(number: int) -> Any:
    """The same examples in every run."""
    checks: Any = list(HealthCheck)
    phases = [Phase.generate]  # a failure is shown as it was found
    return settings(derandomize=True, max_examples=number, phases=phases, deadline=None,
                    database=None, suppress_health_check=checks)  # fmt: skip


def damaged(content: bytes, how: Any) -> bytes:
    """The content with edits, with one field of its JSON changed, or something else."""
    if isinstance(how, bytes):
        return how
    if isinstance(how, list):
        for share, count, new in how:
            at = int(share * len(content))
            content = content[:at] + new + content[at + count :]
        return content
    value = json.loads(content)
    value.pop("sha256", None)  # of a run, as if it was edited on purpose
    places = [(value, key) for key in value]
    for holder, key in places:  # grows while it is read
        inner = holder[key]
        keys = (
            inner
            if isinstance(inner, dict)
            else range(len(inner))
            if isinstance(inner, list)
            else ()
        )
        places += [(inner, k) for k in keys]
    holder, key = places[how[0] % len(places)]
    holder[key] = how[1]
    return json.dumps(value).encode()


def peak() -> float:
    """Most memory that this process has taken, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def run(words: list[Any], *named: str) -> int:
    """Run a command and check how it ends; an error names one of the given files or folders."""
    out, err, begun, before = io.StringIO(), io.StringIO(), time.process_time(), peak()
    with warnings.catch_warnings(record=True), redirect_stdout(out), redirect_stderr(err):
        warnings.simplefilter("always")
        status = main([str(word) for word in words])
    told = [line for line in err.getvalue().splitlines() if "%|" not in line]  # no progress bar
    assert time.process_time() - begun < SECONDS
    assert peak() - before < MIB
    assert status in (0, 1, 2)
    if status:
        assert len(told) <= 1 or "files cannot be used" in told[0]
        assert told or "PROBLEM" in out.getvalue()
        said = told or out.getvalue().splitlines()
        assert any(name in line for line in said for name in named), said
    else:
        assert told == []
    assert not {"\x1b", "\u202e"} & {*out.getvalue(), *err.getvalue()}
    return status


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `parts`, a `run` trained on them with its record, and a copy of the run."""
    root = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    for name in ("good/0", "good/1", "good/2", "good/3", "bad/8", "bad/9"):
        path = root / "parts" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
    (root / "parts/masks").mkdir()
    for k in (8, 9):
        Image.fromarray(np.uint8(np.eye(40, 60) * 255)).save(root / f"parts/masks/{k}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADLIB_CACHE", str(root / "cache"))
        train = ["train", "pro-ad", "--data", root / "parts", "--out", root / "run", *TINY]
        assert run(train) == run(["evaluate", root / "run", "--data", root / "parts"]) == 0
    shutil.copytree(root / "run", root / "copy")
    return root


@contextmanager
def holding(file: Path, content: bytes) -> Iterator[None]:
    """Let a file hold something else, or be there, for a while."""
    before = file.read_bytes() if file.exists() else None
    file.write_bytes(content)
    try:
        yield
    finally:
        file.unlink() if before is None else file.write_bytes(before)


def judge(place: Path, images: Path, *named: str, model: str = "run") -> None:
    more = ["--skip-unreadable"] if images.is_dir() else []
    out = ["--out", place / "found", "--device", "cpu", *more]
    run(["predict", place / model, images, *out], *named, str(images))
    shutil.rmtree(place / "found", ignore_errors=True)


@given(st.sampled_from(list(FORMATS)), st.sampled_from(["good", "bad", "masks"]), damage)
@cases(40)
def test_images_and_masks(place: Path, name: str, where: str, how: Any) -> None:
    form, options = FORMATS[name]
    content = io.BytesIO()
    with Image.open(place / "parts/good/0.png") as picture:
        picture.save(content, form, **options)
    if where == "masks":
        name = "8.png"  # whatever it holds
    with holding(place / "parts" / where / name, damaged(content.getvalue(), how)):
        run(["data", "check", place / "parts", "--decode"], name)
        judge(place, place / "parts", name)


@given(damage)
@cases(50)
def test_tables_of_paths(place: Path, how: Any) -> None:
    with holding(table := place / "parts/parts.csv", damaged(TABLE.encode(), how)):
        run(["data", "check", table], str(place / "parts"))
        judge(place, table, str(place / "parts"))


@given(damage)
@cases(100)
def test_plans_of_sweeps(place: Path, how: Any) -> None:
    plan = write_sweep(place, PLAN, parameters="steps = 1\nrate: float = 1\nlimit = 1\n")
    plan.write_bytes(damaged(PLAN.encode(), how))
    run(["sweep", plan, "--check", "--out", place / "points"], plan.name)


@given(damage | fields)
@cases(100)
def test_records(place: Path, how: Any) -> None:
    folder = place / "records"
    folder.mkdir(exist_ok=True)
    line = {"id": "point_1", "files": {"record.json": record()}}
    text = damaged(json.dumps(line).encode(), how)
    (folder / "a.jsonl").write_bytes(text + b"\n" + json.dumps(line).encode() + b"\n")
    run(["report", folder], str(folder))


@given(st.sampled_from(["run.json", "weights.safetensors", "record.json"]), damage | fields)
@cases(60)
def test_run_folders(place: Path, name: str, how: Any) -> None:
    if name == "weights.safetensors" and isinstance(how, tuple):
        how = WHOLES[how[0] % len(WHOLES)]
    file = place / "copy" / name
    with holding(file, damaged(file.read_bytes(), how)):
        if name == "record.json":
            run(["evaluate", place / "copy", "--data", place / "parts"], name)
        else:
            judge(place, place / "parts/good/0.png", "copy", model="copy")


@pytest.mark.parametrize("name", ["visa", "real-iad"])
@given(how=damage)
@cases(40)
def test_lists_of_benchmarks(place: Path, name: str, how: Any) -> None:
    root = place / name
    if not root.exists():
        (made.visa if name == "visa" else made.real_iad)(root)
    listed = next(p for p in root.rglob("*") if p.suffix in (".csv", ".json"))
    with holding(listed, damaged(listed.read_bytes(), how)):
        run(["data", "check", name, root], str(root))


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "circle", "nowhere", "folder", "bytes"])
@pytest.mark.parametrize(
    "name", ["good/x.png", "masks/8.png", "parts.csv", "x\x1b[31m\u202e\n.png", "run.json",
             "weights.safetensors", "record.json"],
)  # fmt: skip
@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_what_is_no_file(place: Path, tmp_path: Path, kind: str, name: str) -> None:
    folder = "run" if (place / "run" / name).exists() else "parts"
    shutil.copytree(place / folder, tmp_path / folder)
    target = tmp_path / folder / name
    target.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "folder":
        target.mkdir()
    elif kind == "bytes":  # of no text
        shutil.copy(place / "parts/good/0.png", os.fsdecode(os.fsencode(target) + b"\xff.png"))
    else:
        target.symlink_to(target.name if kind == "circle" else kind)
    data = (place if folder == "run" else tmp_path) / "parts"
    data = target if name == "parts.csv" else data
    model, root = (tmp_path if folder == "run" else place) / "run", str(tmp_path)
    run(["evaluate", model, "--data", data], root, str(place))
    run(["predict", model, data, "--out", tmp_path / "found"], root)
    if folder == "run":
        run(["report", model], root)
    else:
        run(["data", "check", data], root)
