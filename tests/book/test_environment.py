"""What `make` says when the machine does not fit, and when an environment counts as whole."""

import ast
import sys
from pathlib import Path

import pytest

from book import environment
from book.environment import SetupError


def test_script_is_readable_by_an_old_python_and_needs_nothing_installed() -> None:
    tree = ast.parse(Path(environment.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names)


def test_running_python_is_taken_if_it_fits_else_the_first_on_path_that_does() -> None:
    assert environment.choose_python(ask=lambda _: None, running=(3, 12, 1)) == sys.executable
    found = {"python3.12": (3, 12, 4), "python3.13": (3, 13, 0)}
    assert environment.choose_python(ask=found.get, running=(3, 14, 0)) == "python3.12"


@pytest.mark.parametrize("running", [(3, 10, 13), (3, 14, 0)])
def test_unfit_python_is_refused_with_what_was_found(running: tuple[int, int, int]) -> None:
    with pytest.raises(SetupError, match=r"needs Python 3\.11 to 3\.13") as refusal:
        environment.choose_python(ask=lambda _: None, running=running)
    for told in (f"is {'.'.join(map(str, running))}", "python3.13 is not on PATH", "make PYTHON="):
        assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (None, r"needs 8\.0 GB .* has 2\.5 GB free\.\n.*ADLIB_DISK_GB=0"),
        ("much", "ADLIB_DISK_GB must be a number of gigabytes, got 'much'"),
        ("0", None),
    ],
)
def test_small_disk_is_refused_with_both_sizes(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, told: str | None
) -> None:
    monkeypatch.delenv("ADLIB_DISK_GB", raising=False)
    if wanted is not None:
        monkeypatch.setenv("ADLIB_DISK_GB", wanted)
    if told is None:
        environment.check_disk(2_500_000_000)
        return
    with pytest.raises(SetupError, match=told):
        environment.check_disk(2_500_000_000)


def test_environment_begins_anew_only_when_it_must(tmp_path: Path) -> None:
    def made(venv: Path, home: Path) -> Path:
        """Something like an environment: an interpreter, and a script that names it."""
        (venv / "bin").mkdir(parents=True)
        (venv / "bin/python").symlink_to(sys.executable)
        (venv / "bin/pip").write_text(f"#!{home}/bin/python\n")
        return venv

    assert environment.must_begin_anew(tmp_path / "absent")
    whole = made(tmp_path / "a b/whole", tmp_path / "a b/whole")
    assert not environment.must_begin_anew(whole)
    assert environment.must_begin_anew(made(tmp_path / "copied", tmp_path / "elsewhere"))
    (whole / environment.UNFINISHED).touch()  # its first installation was cut off
    assert environment.must_begin_anew(whole)


def test_failed_stage_shows_the_log_and_its_end(tmp_path: Path) -> None:
    log = tmp_path / "install.log"
    code = "import sys; print('no matching distribution'); sys.exit(3)"
    with pytest.raises(SetupError, match=r"pip itself failed \(exit 3\)") as refusal:
        environment.run_logged([sys.executable, "-c", code], log, "pip itself")
    assert str(log) in str(refusal.value)
    assert "no matching distribution" in str(refusal.value)
    assert "no matching distribution" in log.read_text()


def test_fingerprint_moves_with_each_pin_file(tmp_path: Path) -> None:
    marks = set()
    for text in ("a", "b"):
        for name in environment.INPUTS:
            for other in environment.INPUTS:
                (tmp_path / other).touch()
            (tmp_path / name).write_text(text)
            marks.add(environment.fingerprint(tmp_path))
    assert len(marks) == 4
