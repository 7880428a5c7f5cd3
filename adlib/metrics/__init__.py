"""Metrics that are exact, fast, and say what they mean."""

from adlib.metrics.pixels import score_maps
from adlib.metrics.protocol import (
    PROTOCOLS,
    EvaluationProtocol,
    image_scores,
    prepare_maps,
    prepare_mask,
)
from adlib.metrics.ranking import auroc, average_precision, best_f1, mean_over, score_images
from adlib.metrics.regions import aupro, pro_curve
from adlib.metrics.streaming import EXACT_PIXELS, StreamingScores
from adlib.metrics.uncertainty import Interval, image_intervals, pixel_intervals

__all__ = [
    "EXACT_PIXELS",
    "PROTOCOLS",
    "EvaluationProtocol",
    "Interval",
    "StreamingScores",
    "aupro",
    "auroc",
    "average_precision",
    "best_f1",
    "image_intervals",
    "image_scores",
    "mean_over",
    "pixel_intervals",
    "prepare_maps",
    "prepare_mask",
    "pro_curve",
    "score_images",
    "score_maps",
]
