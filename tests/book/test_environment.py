"""What `make` says when the machine does not fit, and when an environment counts as whole."""

import ast
import sys
from pathlib import Path

import pytest

from book import environment
from book.environment import SetupError


def test_script_is_readable_by_an_old_python() -> None:
    source = Path(environment.__file__).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= set(sys.stdlib_module_names)


def test_running_python_is_taken_if_it_fits() -> None:
    assert environment.choose_python(ask=lambda _: None, running=(3, 12, 1)) == sys.executable


def test_another_python_on_path_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"python3.12": (3, 12, 4), "python3.13": (3, 13, 0)}
    assert environment.choose_python(ask=found.get, running=(3, 14, 0)) == "python3.12"
    assert "is 3.14.0: using" in capsys.readouterr().out


@pytest.mark.parametrize("running", [(3, 10, 13), (3, 14, 0)])
def test_unfit_python_is_refused_with_what_was_found(running: tuple[int, int, int]) -> None:
    with pytest.raises(SetupError, match=r"needs Python 3\.11 to 3\.13") as refusal:
        environment.choose_python(ask=lambda _: None, running=running)
    message = str(refusal.value)
    assert f"{sys.executable} is {'.'.join(map(str, running))}" in message
    assert "python3.13 is not on PATH" in message
    assert "make PYTHON=" in message


def test_small_disk_is_refused_with_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADLIB_DISK_GB", raising=False)
    with pytest.raises(SetupError, match=r"needs 8\.0 GB .* has 2\.5 GB free") as refusal:
        environment.check_disk(2_500_000_000)
    assert "ADLIB_DISK_GB=0" in str(refusal.value)
    monkeypatch.setenv("ADLIB_DISK_GB", "0")
    environment.check_disk(2_500_000_000)
    monkeypatch.setenv("ADLIB_DISK_GB", "much")
    with pytest.raises(SetupError, match="must be a number of gigabytes, got 'much'"):
        environment.check_disk(2_500_000_000)


def test_missing_interpreter_has_no_version(tmp_path: Path) -> None:
    assert environment.ask_version(str(tmp_path / "python")) is None
    assert environment.ask_version(sys.executable) == sys.version_info[:3]


def made(venv: Path, home: Path) -> Path:
    """Something like an environment: an interpreter that starts, and a script that names it."""
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / "bin/pip").write_text(f"#!{home}/bin/python\n")
    return venv


def test_environment_begins_anew_only_when_it_must(tmp_path: Path) -> None:
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
    for name in environment.INPUTS:
        (tmp_path / name).write_text("a")
    marks = {environment.fingerprint(tmp_path)}
    for name in environment.INPUTS:
        (tmp_path / name).write_text("b")
        marks.add(environment.fingerprint(tmp_path))
    assert len(marks) == 3
    assert environment.fingerprint(tmp_path) in marks
