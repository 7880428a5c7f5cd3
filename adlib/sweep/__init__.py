"""A notebook run over a grid of its parameters, by papermill as Dask tasks.

```text
plan.py        a YAML file -> points, each with an id
parameters.py  the points against the notebook's parameters cell, before anything runs
folder.py      where a point lies on disk: its lock, its work, its result
execution.py   one notebook in a process of its own, which dies with its parent
attempt.py     one attempt at one point, as a worker makes it
cluster.py     all points, on Dask
ledger.py      finished points -> records.jsonl, table.csv; merging the folders of shards
session.py     the whole: what `adlib sweep` does
```
"""
