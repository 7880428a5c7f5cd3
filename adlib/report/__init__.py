"""Records of runs, compared: what `adlib report` prints.

```text
records.py       a folder -> records -> sections of runs that may be averaged, and named arms
paired.py        two arms on the same seeds, categories and images: differences, intervals, tests
tables.py        a section -> tables: metrics with spread, categories, seeds, pairs, cost
reproduction.py  beside the published numbers: within, below, above, not run
figures.py       sections as a forest plot; what figures of records share
document.py      all of it in order, as text, Markdown, CSV, PNG and SVG
screen.py        what a folder holds, on one screen
command.py       the command
published/       numbers that others published, each with its source
```
"""
