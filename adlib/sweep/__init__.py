"""A notebook run over a grid of its parameters, by papermill as Dask tasks.

```text
plan.py       a YAML file -> points, each with an id, checked against the notebook's parameters
execution.py  one attempt at one point, in a process that dies with its parent
run.py        all points, on Dask: what `adlib sweep` does
results.py    where a point lies on disk; finished points -> records.jsonl, table.csv; merging
```
"""
