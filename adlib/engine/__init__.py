"""The only loops: fit, evaluate, predict.

```text
train.py       fit: the loop, what feeds it, and what stands before and after it
checkpoint.py  where a run stands, so that an interrupted one goes on
features.py    the cache of frozen features
scoring.py     from features to maps, scores and metrics
record.py      Record: its fields, their checks, and what it may replace
evaluation.py  evaluate: the record of a data set
calibration.py labelled defects set the threshold
decisions.py   what the shipped threshold does to the test images
predict.py     predict: images of any kind
runs.py        a run on disk, written whole and read back checked: load_run
gallery.py     what the command line writes of predictions, and their regions
suspects.py    training images that are strange to the rest of their category
export.py      a run as one ONNX file
```
"""

from adlib.engine.evaluation import evaluate, scores_of
from adlib.engine.predict import Prediction, predict, predict_each
from adlib.engine.runs import load_run
from adlib.engine.train import TrainOptions, fit

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
