"""The small site, rendered once however many workers test it."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from tests import small_site


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small site's pages, inside one with a space in its name."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    tree = base / "small site"
    with FileLock(base / "small_site.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("JPY_SESSION_NAME", "opened.ipynb")  # as in a terminal of Jupyter
        if not (tree / "_build/html/.nojekyll").is_file():  # which is written last
            small_site.rendered(tree)
    return tree / "_build/html"
