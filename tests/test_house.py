"""The files that hold the project together say the same thing, and say it validly."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import adlib
from book import environment

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins() -> dict[str, str]:
    """Version of each package in constraints.txt, by canonical name."""
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    split = [line.split("==") for line in lines]
    return {canonicalize_name(name): version for name, version in split}


def tracked() -> list[Path]:
    """Files of the repository; all of them but what is made, where there is no git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    made = {".venv", "_build", "__pycache__", ".git"}
    files = [ROOT / name for name in listed.stdout.split("\0") if name] or [
        path for path in ROOT.rglob("*") if not made & set(path.relative_to(ROOT).parts)
    ]
    return [path for path in files if path.is_file()]


def test_every_requirement_is_pinned_exactly_and_its_pin_fits() -> None:
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=str.lower)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    known = pins()
    assert {"pip", environment.BARE} <= set(known)
    named = [*PROJECT["dependencies"], *itertools.chain.from_iterable(EXTRAS.values())]
    wanted = [(r, canonicalize_name(r.name)) for r in map(Requirement, named)]
    assert [name for _, name in wanted if name not in known] == []
    assert [str(r) for r, name in wanted if not r.specifier.contains(known[name])] == []


def test_extras_and_supported_pythons_are_the_same_everywhere() -> None:
    conda = yaml.safe_load(text("environment.yml"))
    (pip,) = [d["pip"] for d in conda["dependencies"] if isinstance(d, dict)]
    assert pip[0] == "-c constraints.txt"
    assert set(pip[1].split("[")[1].strip("]").split(",")) == set(EXTRAS)
    assert set(environment.EXTRAS.split(",")) == set(EXTRAS)
    (oldest, newest) = (environment.OLDEST[1], environment.NEWEST[1])
    assert PROJECT["requires-python"] == f">=3.{oldest},<3.{newest + 1}"
    named = {c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if "Python :: 3." in c}
    assert named == {f"3.{minor}" for minor in range(oldest, newest + 1)}


def test_version_and_address_are_the_same_everywhere() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert "version" in PROJECT["dynamic"]
    assert citation["version"] == adlib.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", adlib.__version__)
    url = yaml.safe_load(text("_config.yml"))["repository"]["url"]
    assert PROJECT["urls"]["Repository"] == citation["repository-code"] == url
    assert url in text("CONTRIBUTING.md")


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("vendor.citation-file-format", "CITATION.cff"),
    ],
)
def test_files_for_other_programs_fit_their_schema(schema: str, files: str) -> None:
    found = sorted(str(path) for path in ROOT.glob(files))
    assert found
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *found]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_names_two_commands_that_ci_runs_and_badges_of_workflows_that_exist() -> None:
    readme = text("README.md")
    assert text(".ci/run").splitlines()[-1] == "make test"
    for command, name in (("make test", "tests.yml"), ("make book", "book.yml")):
        assert command in readme
        assert f"run: {command}" in text(f".github/workflows/{name}")
    badges = re.findall(r"\[!\[(\w+)\]\(\S+/(\S+)/badge\.svg\?branch=main\)\]\(\S+/(\S+)\)", readme)
    assert badges
    for words, shown, linked in badges:
        assert Path(shown).stem == words
        assert shown == linked
        assert "branches: [main]" in text(f".github/workflows/{shown}")  # else it says nothing


def test_no_file_names_a_place_of_one_machine_or_an_index() -> None:
    # Put together here, so that this file does not match itself.
    machine = re.compile(r"(?<![\w.}\])*-])/(?:wo" r"rk|ro" r"ot|ho" r"me)/")
    beside = re.compile(r"\.\." + "/shared")
    index = re.compile("py" r"pi\.org|python" r"hosted|registry\.np" r"mjs|extra-index" "-url")
    wrong = []
    for path in tracked():
        if path.suffix not in {".py", ".md", ".yml", ".toml", ".txt", ".cff", ".ipynb", ".css", ""}:
            continue
        name, content = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        patterns = [machine, index] if name == ".ci/run" else [machine, beside, index]
        wrong += [f"{name}: {hit[0]}" for pattern in patterns for hit in pattern.finditer(content)]
    assert not wrong


def test_no_large_file_is_committed() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > 1_000_000] == []


def test_nobody_is_told_to_install_the_other_project_of_this_name() -> None:
    """`adlib` on the package index is not ours; with an extra or an address, pip would refuse."""
    other = re.compile(r"(?<![\w-])adlib(?=\[| @ )|pip install[^\n`]*[ '\"]adlib(?![\w-])")
    said = [p for p in tracked() if p.suffix in {".py", ".md", ".ipynb", ".yml"}]
    texts = {p.name: p.read_text(encoding="utf-8") for p in said if p != Path(__file__)}
    assert {name for name, words in texts.items() if other.search(words)} == set()
    assert PROJECT["name"] == "adlib-anomaly"


def hollow(source: str) -> list[int]:
    """Lines of asserts that cannot fail or hide a comparison in their message, and of comparisons
    that nothing looks at."""
    displays = (ast.Constant, ast.JoinedStr, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Lambda)
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (
            isinstance(node, ast.Assert)
            and (isinstance(node.test, displays) or isinstance(node.msg, ast.Compare | ast.BoolOp))
        )
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Compare | ast.BoolOp))
    ]


@pytest.mark.parametrize(
    "line",
    ["assert a, b == c", "assert (a, b)", "assert True", "assert 'a'", "assert [a]", "a == b"],
)
def test_a_hollow_assert_is_found(line: str) -> None:
    fine = "assert a == b, 'words'\nassert f(a)\nassert not b\nassert a in (b, c)\n"
    assert hollow(fine) == []
    assert hollow(fine + line) == [5]


def test_no_assert_is_hollow() -> None:
    found = {str(path.relative_to(ROOT)): hollow(path.read_text(encoding="utf-8"))
             for path in (ROOT / "tests").rglob("*.py")}  # fmt: skip
    assert {name: lines for name, lines in found.items() if lines} == {}
