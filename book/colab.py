"""Runs the notebooks under Colab's versions: `make colab PYTHON=python3.13`.

Makes `_build/colab/venv` of book/colab.txt, installs adlib there by the commands of the notebooks'
own set-up cells, with this tree in place of the tag, refuses if one of them replaced a version of
Colab's, and executes the notebooks at the smoke profile.

It starts under any Python that adlib supports: 3.13 stands for Colab's present runtime, 3.12 for
the last one before. It imports only the standard library; `--inside` runs in what it made.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from book.environment import ROOT, SetupError, check_disk, fits, run_logged

PINS = ROOT / "book/colab.txt"
FOLDER = ROOT / "_build/colab"
PYTHON = FOLDER / "venv/bin/python"
RUNNER = ("papermill>=2.6", "pyyaml")  # what Colab lacks, to execute notebooks without a browser


def commands(notebook: Path, source: str) -> list[list[str]]:
    """Arguments for pip of each line `%pip ...` of a notebook, with `source` for `$SOURCE`."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = "".join(f"{''.join(c['source'])}\n" for c in cells if c["cell_type"] == "code")
    pips = [line.strip() for line in lines.splitlines() if line.strip().startswith("%pip ")]
    return [shlex.split(line.removeprefix("%pip ").replace("$SOURCE", source)) for line in pips]


def replaced(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """`NAME OLD -> NEW` of each package of `before` whose version `after` has not."""
    return [
        f"{name} {version} -> {after.get(name, 'nothing')}"
        for name, version in sorted(before.items())
        if after.get(name) != version
    ]


def installed() -> dict[str, str]:
    """Version of each package of the environment, by name."""
    command = [str(PYTHON), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return {package["name"].lower(): package["version"] for package in json.loads(answer.stdout)}


def make(notebooks: list[Path]) -> None:
    """Make the environment anew and install adlib as the notebooks' set-up cells do."""
    if not fits(sys.version_info):
        raise SetupError(f"adlib does not support this Python, {sys.version.split()[0]}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    check_disk(shutil.disk_usage(str(ROOT)).free)
    log = FOLDER / "install.log"
    pip = [str(PYTHON), "-m", "pip"]
    run_logged([sys.executable, "-m", "venv", str(FOLDER / "venv")], log, "empty environment")
    run_logged([*pip, "install", "-r", str(PINS)], log, "Colab's versions")
    before = installed()
    wanted = [command for path in notebooks for command in commands(path, ROOT.as_uri())]
    for command in dict.fromkeys(map(tuple, wanted)):  # most cells say the same
        run_logged([*pip, *command], log, told := f"pip {shlex.join(command)}")
        if moved := replaced(before, installed()):
            raise SetupError(f"{told}: replaces what Colab has: {', '.join(moved)}")
    run_logged([*pip, "install", "-c", str(PINS), *RUNNER], log, "papermill")


def run(notebooks: list[Path]) -> int:
    """Execute the notebooks at the smoke profile; the number of those that failed."""
    from book.execute import NotebookError, execute, read_profile  # needs what `make` installed

    values, failed = read_profile(ROOT / "notebooks/profiles/smoke.yml"), 0
    for path in notebooks:
        with tempfile.TemporaryDirectory() as cwd:
            cache = FOLDER / "executed"
            try:
                done = execute(path, values[path.stem], root=ROOT, cache=cache, cwd=Path(cwd))
                print(f"{done.seconds:8.1f} s  {path.name}", flush=True)
            except NotebookError as error:
                failed += 1
                print(f"  FAILED    {path.name}: {error}", flush=True)
    return failed


def main(arguments: list[str] | None = None) -> None:
    """Make the environment, then start this module inside it."""
    parser = argparse.ArgumentParser(prog="python -m book.colab", description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of notebooks' names; all if none")
    parser.add_argument("--inside", action="store_true", help="execute only, in what stands")
    options = parser.parse_args(arguments)
    found = sorted((ROOT / "notebooks").glob("*.ipynb"))
    chosen = [p for p in found if not options.names or p.name.startswith(tuple(options.names))]
    if not chosen:
        sys.exit(f"make colab: no notebook begins with {', '.join(options.names)}")
    if options.inside:
        sys.exit(f"make colab: {count} failed" if (count := run(chosen)) else 0)
    try:
        make(found)
    except SetupError as error:
        sys.exit(f"make colab: {error}")
    command = [str(PYTHON), "-m", "book.colab", "--inside", *options.names]
    sys.exit(subprocess.call(command, cwd=ROOT))


if __name__ == "__main__":
    main()
