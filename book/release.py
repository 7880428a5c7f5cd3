"""`make release`: checks all that a release needs, then prints the commands that make it.

Nothing is tagged, pushed or uploaded here. `python -m book.release --quick` stops after the checks
that take no time.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from book.offline import NAME

ROOT = Path(__file__).resolve().parent.parent
NAMING = ("adlib/__init__.py", "CITATION.cff", "CHANGELOG.md")
ENTRY = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", re.MULTILINE)
TAGGED = re.compile(r"adlib-project/adlib(?:@|/(?:blob|tree|raw|releases/tag)/)v(\d+\.\d+\.\d+)")


class ReleaseError(Exception):
    """The tree cannot be released as it stands; the message says why."""


def wrong_versions(root: Path) -> tuple[str, list[str]]:
    """The version of the code, and each place that says another one or lacks a day or a tag."""
    text = {name: (root / name).read_text(encoding="utf-8") for name in NAMING}
    version = re.findall(r'^__version__ = "(.+)"', text["adlib/__init__.py"], re.MULTILINE)[0]
    cited = re.findall(r"^version: (.+)", text["CITATION.cff"], re.MULTILINE)
    said = [("CITATION.cff", words) for words in cited]
    top = ENTRY.search(text["CHANGELOG.md"])
    said.append(("CHANGELOG.md", top[1] if top else "no entry '## [VERSION] - DAY'"))
    pages = [*root.glob("README.md"), *root.glob("book/**/*.md"), *root.glob("notebooks/*.ipynb")]
    for path in sorted(pages):
        tags = TAGGED.findall(path.read_text(encoding="utf-8"))
        tags = tags or ["no tag"] * (path.suffix == ".ipynb")  # which Colab needs
        said += [(str(path.relative_to(root)), tag) for tag in dict.fromkeys(tags)]
    found = [f"{place} says {words}, adlib {version}" for place, words in said if words != version]
    if top and not re.fullmatch(r"\d{4}-\d\d-\d\d", top[2]):
        found.append(f"CHANGELOG.md says '{top[2]}' where the day of {top[1]} belongs")
    return version, found


def git(root: Path, *arguments: str) -> str:
    """What git prints; ReleaseError if it fails."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def wrong_state(root: Path, version: str) -> list[str]:
    """What keeps the tree from being tagged: another branch, changes, or a tag that exists."""
    found = []
    if (branch := git(root, "rev-parse", "--abbrev-ref", "HEAD")) != "main":
        found.append(f"the branch is {branch}, not main")
    if changed := git(root, "status", "--porcelain"):
        found.append(f"the tree is not clean:\n{changed}")
    if git(root, "tag", "--list", f"v{version}"):
        found.append(f"the tag v{version} exists already")
    return found


def call(name: str, command: list[str], cwd: Path) -> None:
    """Run one step, with its output on the terminal; ReleaseError if it fails."""
    print(f"== {name}", flush=True)
    start = time.monotonic()
    if code := subprocess.call(command, cwd=cwd):
        raise ReleaseError(f"{name} failed ({code}): {shlex.join(command)}")
    print(f"{time.monotonic() - start:8.1f} s  {name}", flush=True)


def build_packages(root: Path, folder: Path) -> list[Path]:
    """Build sdist and wheel in `folder`/dist, and use the wheel in an environment of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    (dist := folder / "dist").mkdir(parents=True)
    python, pins = str(folder / "venv/bin/python"), ["-c", str(root / "constraints.txt")]
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    call("fresh environment", [sys.executable, "-m", "venv", str(folder / "venv")], root)
    call("build backend", [*pip, "install", "hatchling"], root)
    call("sdist", [python, "-m", "hatchling", "build", "-t", "sdist", "-d", str(dist)], root)
    (sdist,) = dist.glob("*.tar.gz")
    call("wheel", [*pip, "wheel", "--no-deps", "-w", str(dist), str(sdist)], folder)
    (wheel,) = dist.glob("*.whl")
    call("wheel installed", [*pip, "install", *pins, str(wheel)], folder)
    call("import adlib", [python, "-c", "import adlib; print(adlib.__file__)"], folder)
    call("adlib info", [str(folder / "venv/bin/adlib"), "info"], folder)
    return [sdist, wheel]


def notes(root: Path, version: str) -> str:
    """The changelog's lines on a version, without its heading."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    after = text.partition(f"## [{version}]")[2].partition("\n")[2]
    return re.split(r"^## |^\[", after, maxsplit=1, flags=re.MULTILINE)[0].strip() + "\n"


def publishing(version: str, files: list[Path], text: Path) -> list[str]:
    """The commands that publish, for a person to run."""
    tag, attached = f"v{version}", shlex.join(map(str, files))
    return [
        f"git tag -a {tag} -m 'adlib {version}'",
        f"git push origin main {tag}",
        f"gh release create {tag} --verify-tag --title 'adlib {version}' "
        f"--notes-file {shlex.quote(str(text))} {attached}",
    ]


def release(root: Path, quick: bool) -> None:
    """Check everything, or with `quick` what takes no time; print the commands that publish.

    Raises:
        ReleaseError: Something is missing; all quick findings come together.
    """
    version, found = wrong_versions(root)
    if found := [*found, *wrong_state(root, version)]:
        raise ReleaseError("not ready\n" + "\n".join(f"- {line}" for line in found))
    print(f"adlib {version}: versions, changelog and tree agree")
    if quick:
        return
    python, build = sys.executable, root / "_build"
    call("lint, types, tests", [python, "tests/run.py"], root)
    call("book and its zip", [python, "-m", "book.build", "--profile", "book"], root)
    call("PDF", [python, "-m", "book.pdf"], root)
    packages = build_packages(root, build / "release")
    (text := build / "release/notes.md").write_text(notes(root, version), encoding="utf-8")
    if again := wrong_state(root, version):
        raise ReleaseError("a step changed the tree:\n" + "\n".join(again))
    files = [build / "html" / NAME, build / "adlib.pdf", *packages]
    *named, told = (Path(os.path.relpath(path, root)) for path in (*files, text))
    print("\nAll checks passed. To publish, run in the tree:\n")
    print("\n".join(publishing(version, named, told)))


if __name__ == "__main__":
    try:
        release(ROOT, quick="--quick" in sys.argv[1:])
    except ReleaseError as error:
        sys.exit(f"make release: {error}")
