"""A rendered book of four pages: the real one's settings and styles, and each device that it uses.

A chapter that is executed (formulas, a table, a figure, a slider, an exercise with its solution, a
quiz), a page of the reference, the page "Try it", and the bibliography. It takes seconds, where the
book takes half an hour.
"""

import re
import shutil
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import try_it
from book.build import render
from book.execute import as_page, execute

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "chapter.html",
    "book/reference.html",
    "book/try_it.html",
    "book/bibliography.html",
    "genindex.html",
    "py-modindex.html",
    "search.html",
    "_modules/index.html",
    "_modules/adlib/metrics/pixels.html",
)
CONTENTS = """format: jb-book
root: chapter
parts:
  - caption: Back matter
    chapters: [{file: book/reference}, {file: book/try_it}, {file: book/bibliography}]
"""
TEXT = r"""# A prototype in every page

{numref}`fig-slide` moves, {eq}`eq-residual` is PRN's {cite}`prn`, and {doc}`book/reference` has
{py:func}`adlib.metrics.pixels.strips`. In the line stands $r = (f - p_j)^2$.

$$
r_j = (f - p_j)^2, \qquad j = \arg\min_k \lVert f - p_k \rVert, \qquad
f = f_1 + f_2 + f_3 + f_4 + f_5 + f_6 + f_7 + f_8 + f_9 + f_{10} + f_{11} + f_{12} + f_{13}
$$ (eq-residual)

| a column | another column | a third column | a fourth column | a fifth column | a sixth one |
| --- | --- | --- | --- | --- | --- |
| 0.123456789 | 0.123456789 | 0.123456789 | 0.123456789 | 0.123456789 | 0.123456789 |
"""
END = r"""## Exercises

```{exercise}
:label: ex-half
What is half of $x$?
```

```{solution} ex-half
:class: dropdown
It is $\tfrac12 x$, see {ref}`the exercise <ex-half>`.
```

<div class="quiz">
<p>1. Which is odd?</p>
<details><summary>two</summary>No. It is twice one.</details>
<details data-right><summary>three</summary>Right. It is not.</details>
<p>2. Which is even?</p>
<details data-right><summary>four</summary>Right. It is twice two.</details>
<details><summary>five</summary>No. It is not.</details>
</div>
"""
FIGURE = """import matplotlib.pyplot as plt
import pandas as pd

figure, axes = plt.subplots(figsize=(9, 2))
axes.plot([0, 1, 0])
plt.show()
pd.DataFrame({f"column number {i}": [0.123456789] for i in range(9)})"""
SLIDER = """from adlib.study import explore

def draw(number, colour):
    return plt.figure(figsize=(8, 2), facecolor=colour)

explore.slide(
    draw,
    {"number": [6, 64], "colour": ["red", "lime", "blue"]},
    alt=lambda number, colour: f"{number} in {colour}",
    start={"colour": "lime"},
)"""
REFERENCE = """# Reference

```{eval-rst}
.. automodule:: adlib.metrics.pixels
   :members:
```
"""


def executed(tree: Path) -> nbformat.NotebookNode:
    """Execute the chapter as the build would, and return its page."""
    source = tree / "chapter.ipynb"
    tree.mkdir(parents=True)
    (tree / "constraints.txt").touch()
    figure = {"figure": {"caption": "Moves.", "name": "fig-slide"}}
    cells = [
        new_markdown_cell(TEXT),
        new_code_cell("seed = 0", metadata={"tags": ["parameters"]}),
        new_code_cell(FIGURE, metadata={"mystnb": {"image": {"alt": "A line, up and down."}}}),
        new_code_cell(SLIDER, metadata={"mystnb": figure}),
        new_markdown_cell(END),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), source)
    done = execute(source, {}, root=tree, cache=tree / "executed", cwd=tree)
    return as_page(nbformat.read(done.path, as_version=4), "book", {})


def rendered(tree: Path) -> Path:
    """Make the site below `tree`, which must not exist yet; return its folder of pages."""
    page, stage = executed(tree), tree / "_build/stage"
    shutil.copytree(ROOT / "book/_static", stage / "book/_static")
    for name in ("_config.yml", "book/references.bib", "book/bibliography.md"):
        shutil.copy2(ROOT / name, stage / name)
    (stage / "_toc.yml").write_text(CONTENTS)
    (stage / "book/reference.md").write_text(REFERENCE)
    text = (ROOT / "book/try_it.md").read_text(encoding="utf-8")
    links = re.sub(
        r"\{doc\}`\.\./notebooks/\w+`", "the book", text
    )  # to chapters that are not here
    (stage / "book/try_it.md").write_text(links, encoding="utf-8")
    (stage / try_it.SCRIPT).write_text(try_it.script(), encoding="utf-8")
    nbformat.write(page, stage / "chapter.ipynb")
    return render(stage, tree / "_build")
