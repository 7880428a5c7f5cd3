"""Records of runs, compared: what `adlib report` prints.

```text
folder.py        a folder -> records
records.py       records -> sections of runs that may be averaged, and arms with a name each
tables.py        a section -> tables: metrics with spread, categories, seeds, cost
paired.py        two arms on the same seeds, categories and images: differences, intervals, tests
images.py        draws of the test images, where records hold their scores
ranks.py         average ranks over categories, and how far they must lie apart
reproduction.py  beside the published numbers: within, below, above, not run
papers.py        the papers' own runs: command lines, what they need, what to expect
robustness.py    the order of methods under other protocols, encoders and numbers of steps
trainings.py     the same method trained on few images, or on several data sets
findings.py      what is significant and what is not, in sentences
plots.py         the same as a forest plot and a rank diagram
composition.py   all of it in order
document.py      ... as text, Markdown, CSV, PNG and SVG
```
"""
