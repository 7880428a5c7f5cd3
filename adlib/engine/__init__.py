"""The only loops: fit, evaluate, predict.

```text
training.py     fit: the loop, and what stands before and after it
checkpoints.py  where a run stands, so that an interrupted one goes on
meter.py        what is shown and logged of a step
scoring.py      from features to maps, scores and metrics
record.py       Record: its fields, their checks, and what it may replace
evaluation.py   evaluate: the record of a data set
prediction.py   predict: images of any kind; load_run
```
"""

from adlib.engine.evaluation import evaluate, scores_of
from adlib.engine.prediction import Prediction, load_run, predict, predict_each
from adlib.engine.training import TrainOptions, fit

__all__ = [
    "Prediction",
    "TrainOptions",
    "evaluate",
    "fit",
    "load_run",
    "predict",
    "predict_each",
    "scores_of",
]
