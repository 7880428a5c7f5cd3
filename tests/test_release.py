"""A release is refused, with every reason, until the tree says one version and is clean."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from book import release
from book.release import ReleaseError

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = (
    "# Changelog\n\n## [0.2.0] - 2026-11-30\n\n### Added\n\n- b\n\n## [0.1.0] - 2026-01-02\n"
)


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree, in a folder with a space, that is ready for 0.2.0."""
    root = tmp_path / "a tree"
    cell = {"source": ['SOURCE = "git+https://github.com/adlib-project/adlib@v0.2.0"\n']}
    for name, text in {
        "adlib/__init__.py": '"""t"""\n\n__version__ = "0.2.0"\n',
        "CITATION.cff": "version: 0.2.0\n",
        "CHANGELOG.md": CHANGELOG,
        "README.md": "see github.com/adlib-project/adlib/blob/main/CHANGELOG.md\n",
        "book/api/index.md": "github.com/adlib-project/adlib/blob/v0.2.0/adlib\n",
        "notebooks/01_a.ipynb": json.dumps({"cells": [cell]}),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "-b", "main")
    git(root, "add", "--all")
    git(root, "commit", "-m", "Begin")
    return root


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_ready_tree_passes_and_its_notes_are_those_of_its_version(tree: Path) -> None:
    release.release(tree, quick=True)
    assert release.notes(tree, "0.2.0") == "### Added\n\n- b\n"


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("CITATION.cff", "0.2.0", "0.1.0", "CITATION.cff says 0.1.0, adlib 0.2.0"),
        ("CHANGELOG.md", "[0.2.0]", "[0.3.0]", "CHANGELOG.md says 0.3.0, adlib 0.2.0"),
        ("CHANGELOG.md", "## [", "## ", "CHANGELOG.md says no entry"),
        ("README.md", "blob/main", "blob/v0.1.0", "README.md says 0.1.0"),
        ("book/api/index.md", "v0.2.0", "v0.1.9", "book/api/index.md says 0.1.9"),
        ("notebooks/01_a.ipynb", "@v0.2.0", "@v0.1.0", "notebooks/01_a.ipynb says 0.1.0"),
        ("notebooks/01_a.ipynb", "@v0.2.0", "@main", "notebooks/01_a.ipynb says no tag"),
        ("CHANGELOG.md", "2026-11-30", "unreleased", "says 'unreleased' where the day of 0.2.0"),
    ],
)
def test_each_place_that_says_another_version_is_named(
    tree: Path, name: str, old: str, new: str, told: str
) -> None:
    edit(tree / name, old, new)
    git(tree, "commit", "-am", "Differ")
    with pytest.raises(ReleaseError, match=re.escape(told)) as refusal:
        release.release(tree, quick=True)
    assert str(refusal.value).count("\n- ") == 1  # and nothing else is


def test_version_branch_changes_and_an_old_tag_are_told_together(tree: Path) -> None:
    git(tree, "tag", "v0.2.0")
    git(tree, "switch", "-c", "other")
    (tree / "new.txt").touch()
    edit(tree / "CITATION.cff", "0.2.0", "0.1.0")
    with pytest.raises(ReleaseError) as refusal:
        release.release(tree, quick=True)
    for told in ("CITATION.cff says 0.1.0", "branch is other", "?? new.txt", "tag v0.2.0 exists"):
        assert told in str(refusal.value)
    (tree / ".git").rename(tree / "git")
    with pytest.raises(ReleaseError, match="not a git repository"):
        release.release(tree, quick=True)


def test_a_failed_step_is_named_and_publishing_is_said_and_not_done(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"fails failed \(3\): .*'raise SystemExit\(3\)'"):
        release.call("fails", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path)
    told = release.publishing("0.2.0", [Path("a b.pdf"), Path("c.whl")], Path("notes.md"))
    words = [shlex.split(line) for line in told]
    assert words[1] == ["git", "push", "origin", "main", "v0.2.0"]
    assert words[2][-2:] == ["a b.pdf", "c.whl"]
    assert all("v0.2.0" in line for line in words)


def test_this_tree_says_one_version_and_each_notebook_its_tag() -> None:
    version, found = release.wrong_versions(ROOT)
    assert [words for words in found if "unreleased" not in words] == []
    assert release.notes(ROOT, version).startswith("### Added")
