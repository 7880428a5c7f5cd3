"""The metrics once more, slowly, from their definitions: loops over pairs and thresholds."""

import numpy as np
from scipy.ndimage import label


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of rightly ordered pairs, ties one half."""
    gap = scores[truth][:, None].astype(float) - scores[~truth]
    return float(np.mean((gap > 0) + 0.5 * (gap == 0)))


def precision_recall(scores: np.ndarray, truth: np.ndarray) -> list[tuple[float, float, float]]:
    """(threshold, precision, recall) at every distinct score, from the highest down."""
    rows = []
    for t in np.unique(scores)[::-1]:
        called = scores >= t
        rows.append((float(t), truth[called].mean(), truth[called].sum() / truth.sum()))
    return rows


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Sum of (R_n - R_(n-1)) P_n."""
    area, last = 0.0, 0.0
    for _, precision, recall in precision_recall(scores, truth):
        area += (recall - last) * precision
        last = recall
    return area


def best_f1(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Best of all thresholds; of equal ones the highest."""
    best = (-1.0, np.nan)
    for t in np.unique(scores)[::-1]:
        called = scores >= t
        f1 = 2 * (called & truth).sum() / (called.sum() + truth.sum())
        if f1 > best[0] + 1e-12:
            best = (float(f1), float(t))
    return best


def regions(masks: np.ndarray, connectivity: int = 8) -> list[np.ndarray]:
    """One stack of booleans per region of every image."""
    structure = np.ones((3, 3)) if connectivity == 8 else None
    found = []
    for i, mask in enumerate(masks):
        numbers, count = label(mask, structure)  # pyright: ignore[reportGeneralTypeIssues]
        for k in range(1, count + 1):
            region = np.zeros(masks.shape, bool)
            region[i] = numbers == k
            found.append(region)
    return found


def pro_curve(
    maps: np.ndarray, masks: np.ndarray, connectivity: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """(FPR, PRO) at every distinct threshold from the highest down, begun at (0, 0)."""
    parts = regions(masks, connectivity)
    fpr, pro = [0.0], [0.0]
    for t in np.unique(maps)[::-1]:
        called = maps >= t
        fpr.append(float(called[~masks].mean()))
        pro.append(float(np.mean([called[part].mean() for part in parts])))
    return np.array(fpr), np.array(pro)


def aupro(maps: np.ndarray, masks: np.ndarray, limit: float = 0.3, connectivity: int = 8) -> float:
    """Area under the explicit curve, cut at the limit by linear interpolation."""
    fpr, pro = pro_curve(maps, masks, connectivity)
    area = 0.0
    for x0, x1, y0, y1 in zip(fpr[:-1], fpr[1:], pro[:-1], pro[1:], strict=True):
        if x0 >= limit or x1 == x0:
            continue
        x = min(x1, limit)
        y = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        area += (x - x0) * (y0 + y) / 2
    return float(area / limit)
