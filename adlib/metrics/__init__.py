"""Metrics that are exact, fast, and say what they mean."""

from adlib.metrics.categories import mean_over, score_categories
from adlib.metrics.pixels import score_maps
from adlib.metrics.protocol import (
    PROTOCOLS,
    EvaluationProtocol,
    image_scores,
    prepare_maps,
    prepare_mask,
)
from adlib.metrics.ranking import (
    auroc,
    average_precision,
    best_f1,
    precision_recall_curve,
    score_images,
)
from adlib.metrics.regions import aupro, pro_curve
from adlib.metrics.streaming import EXACT_PIXELS, StreamingScores
from adlib.metrics.uncertainty import (
    Comparison,
    Interval,
    compare_images,
    compare_maps,
    image_intervals,
    pixel_intervals,
)

__all__ = [
    "EXACT_PIXELS",
    "PROTOCOLS",
    "Comparison",
    "EvaluationProtocol",
    "Interval",
    "StreamingScores",
    "aupro",
    "auroc",
    "average_precision",
    "best_f1",
    "compare_images",
    "compare_maps",
    "image_intervals",
    "image_scores",
    "mean_over",
    "pixel_intervals",
    "precision_recall_curve",
    "prepare_maps",
    "prepare_mask",
    "pro_curve",
    "score_categories",
    "score_images",
    "score_maps",
]
