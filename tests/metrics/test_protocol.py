"""Each preset against a slow version of its project's rule, written from that rule alone."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter

from adlib.metrics import (
    PROTOCOLS,
    EvaluationProtocol,
    image_scores,
    prepare_maps,
    prepare_mask,
    score_maps,
)
from tests.metrics import slow

NEAR = 1e-5  # the projects work in float32 and so do we, in another order


@pytest.fixture(scope="module")
def fixed() -> tuple[np.ndarray, np.ndarray]:
    """Three maps of 90 x 70 with thin and border defects, where the rules differ most."""
    rng = np.random.default_rng(7)
    masks = np.zeros((3, 90, 70), bool)
    masks[0, 20:50, 10:12] = masks[0, 70:73, 30:60] = True
    masks[1, :4, 5:40] = masks[1, 40:62, 33:55] = masks[1, 62, 55] = True
    maps = gaussian_filter(rng.random((3, 90, 70)), (0, 3, 3)) + 0.08 * gaussian_filter(
        masks.astype(float), (0, 2, 2)
    )
    return maps.astype(np.float32), masks


def to_tensor(stack: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(stack.astype(np.float32))[:, None]


GRID = (torch.arange(5.0) - 2) ** 2
GAUSSIAN = torch.exp(-(GRID[:, None] + GRID) / (2 * 4.0**2))
KERNEL = (GAUSSIAN / GAUSSIAN.sum())[None, None]


def dinomaly_inputs(maps: np.ndarray, masks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """448, centre crop 392, then 256: masks as 8-bit images, Gaussian as a 5 x 5 convolution."""
    images = (Image.fromarray(mask.astype(np.uint8) * 255) for mask in masks)
    large = [np.asarray(i.resize((448, 448), Image.Resampling.BILINEAR)) for i in images]
    truth = to_tensor(np.stack(large))[..., 28:420, 28:420] / 255
    gt = F.interpolate(truth, size=256, mode="nearest")
    seen = F.interpolate(to_tensor(maps), size=448, mode="bilinear", align_corners=False)
    seen = F.interpolate(seen[..., 28:420, 28:420], size=256, mode="bilinear", align_corners=False)
    return F.conv2d(seen, KERNEL, padding=2)[:, 0], gt[:, 0]


def coverage(old: int, new: int) -> np.ndarray:
    """Share of each of `new` equal cells that each of `old` pixels covers."""
    edge, pixel = np.arange(new + 1) * old / new, np.arange(old)
    inside = np.minimum(edge[1:, None], pixel + 1) - np.maximum(edge[:-1, None], pixel)
    return np.clip(inside, 0, None) * new / old


def overlaps(maps: np.ndarray, parts: list[np.ndarray], threshold: float, strict: bool) -> float:
    return float(
        np.mean([(maps[p] > threshold if strict else maps[p] >= threshold).mean() for p in parts])
    )


def ranking(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """AUROC, AP and best F1 by scikit-learn."""
    truth, scores = truth.ravel(), scores.ravel()
    precision, recall, _ = sk.precision_recall_curve(truth, scores)
    return {
        "auroc": float(sk.roc_auc_score(truth, scores)),
        "ap": float(sk.average_precision_score(truth, scores)),
        "f1_max": float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))),
    }


def test_dinomaly(fixed: tuple[np.ndarray, np.ndarray]) -> None:
    maps, gt = (x.numpy() for x in dinomaly_inputs(*fixed))
    truth = gt > 0
    parts, fprs, pros = slow.regions(truth), [], []
    step = (maps.max() - maps.min()) / 200
    for i in range(200):
        threshold = maps.min() + i * step
        fpr = float((maps[~truth] > threshold).mean())
        if fpr < 0.3:
            fprs.append(fpr)
            pros.append(overlaps(maps, parts, threshold, strict=True))
    expected = ranking(truth, maps) | {"aupro": sk.auc(np.array(fprs) / max(fprs), pros)}
    found = score_maps(*fixed, protocol=PROTOCOLS["dinomaly"])
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=NEAR)
    top = np.sort(maps.reshape(3, -1), axis=1)[:, ::-1][:, : int(65536 * 0.01)].mean(axis=1)
    prepared = prepare_maps(fixed[0], PROTOCOLS["dinomaly"])
    np.testing.assert_allclose(image_scores(prepared, PROTOCOLS["dinomaly"]), top, atol=1e-6)


def test_inp_former(fixed: tuple[np.ndarray, np.ndarray]) -> None:
    maps, gt = (x.numpy() for x in dinomaly_inputs(*fixed))
    truth = gt > 0.5
    parts = slow.regions(truth)
    rows = []
    for threshold in (
        np.linspace(0, 1, 201, dtype=np.float32) * (maps.max() - maps.min()) + maps.min()
    ):
        called = maps >= threshold
        fpr, recall = called[~truth].mean(), called[truth].mean()
        precision = truth[called].mean() if called.any() else 1.0
        rows.append((fpr, recall, precision, overlaps(maps, parts, float(threshold), strict=False)))
    fpr, recall, precision, pro = np.array(rows[::-1]).T
    inside = fpr <= 0.3
    at = int(inside.sum())
    share = (0.3 - fpr[at - 1]) / (fpr[at] - fpr[at - 1])
    end = pro[at - 1] + share * (pro[at] - pro[at - 1])
    area = sk.auc(np.append(fpr[inside], 0.3), np.append(pro[inside], end))
    binned = {"auroc": sk.auc(fpr, recall), "ap": sk.auc(recall, precision), "aupro": area / 0.3}
    expected = ranking(truth, maps) | binned
    found = score_maps(*fixed, protocol=PROTOCOLS["inp-former"])
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=NEAR)


def test_mvtec(fixed: tuple[np.ndarray, np.ndarray]) -> None:
    maps, truth = fixed
    parts = slow.regions(truth)
    normal = np.sort(maps[~truth])
    fprs, pros = [1.0], [1.0]
    for place in np.linspace(0, len(normal) - 1, num=100, dtype=int):
        fprs.append(1 - (place + 1) / len(normal))
        pros.append(overlaps(maps, parts, float(normal[place]), strict=True))
    fprs, pros = np.array(fprs[::-1]), np.array(pros[::-1])
    inside = fprs <= 0.3
    end = np.interp(0.3, fprs, pros)
    area = sk.auc(np.append(fprs[inside], 0.3), np.append(pros[inside], end)) / 0.3
    found = score_maps(maps, truth, protocol=PROTOCOLS["mvtec"])
    expected = ranking(truth, maps) | {"aupro": area}
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=1e-9)


def test_anomalib(fixed: tuple[np.ndarray, np.ndarray]) -> None:
    maps = F.interpolate(to_tensor(fixed[0]), size=64, mode="bilinear", align_corners=False)
    truth = F.interpolate(to_tensor(fixed[1]), size=64, mode="nearest")[:, 0].numpy() > 0
    maps = maps[:, 0].numpy()
    protocol = replace(PROTOCOLS["anomalib"], size=(64, 64))  # the explicit curve is slow at 256
    expected = ranking(truth, maps) | {"aupro": slow.aupro(maps, truth)}
    found = score_maps(*fixed, protocol=protocol)
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=NEAR)
    np.testing.assert_allclose(image_scores(maps, protocol), maps.max(axis=(1, 2)))


def test_ours(fixed: tuple[np.ndarray, np.ndarray]) -> None:
    """Coverage of each of 256 x 256 cells by numbers, replicated border, exact curve."""
    protocol = PROTOCOLS["ours"]
    row, column = (coverage(n, 256) for n in (90, 70))
    for mask in fixed[1]:
        share = row @ mask @ column.T
        sure = abs(share - 0.5) > 1e-9
        np.testing.assert_array_equal(prepare_mask(mask, protocol)[sure], (share > 0.5)[sure])
    maps = F.interpolate(to_tensor(fixed[0]), size=256, mode="bilinear", align_corners=False)
    smooth = F.conv2d(F.pad(maps, (2, 2, 2, 2), mode="replicate"), KERNEL)
    np.testing.assert_allclose(prepare_maps(fixed[0], protocol), smooth[:, 0], atol=1e-6)
    truth = np.stack([prepare_mask(mask, protocol) for mask in fixed[1]])
    found = score_maps(*fixed, protocol=protocol)
    expected = ranking(truth, smooth.numpy())
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=NEAR)


def test_presets_tell_the_same_maps_apart(fixed: tuple[np.ndarray, np.ndarray]) -> None:
    numbers = {name: score_maps(*fixed, protocol=p)["aupro"] for name, p in PROTOCOLS.items()}
    assert len({round(v, 4) for v in numbers.values()}) == len(PROTOCOLS)


def test_prepared_maps_are_not_prepared_twice(fixed: tuple[np.ndarray, np.ndarray]) -> None:
    protocol = PROTOCOLS["ours"]
    maps = prepare_maps(fixed[0], protocol)
    masks = np.stack([prepare_mask(mask, protocol) for mask in fixed[1]])
    assert score_maps(maps, masks, protocol=protocol, prepared=True) == score_maps(
        *fixed, protocol=protocol
    )


@pytest.mark.parametrize("old", [1, 2, 3, 7, 14])
@pytest.mark.parametrize("new", [1, 2, 5, 7, 28])
def test_maps_are_resized_as_torch_does(old: int, new: int) -> None:
    maps = np.random.default_rng(0).random((2, old, old + 3))
    expected = F.interpolate(torch.from_numpy(maps)[:, None], size=(new, 9), mode="bilinear")
    protocol = EvaluationProtocol(size=(new, 9))
    np.testing.assert_allclose(prepare_maps(maps, protocol), expected[:, 0], atol=1e-12)
    nearest = EvaluationProtocol(size=(new, 9), mask_filter="nearest")
    expected = F.interpolate(torch.from_numpy(maps)[:, None], size=(new, 9), mode="nearest")[0, 0]
    np.testing.assert_array_equal(prepare_mask(maps[0] > 0.5, nearest), expected > 0.5)


def test_any_keeps_what_half_drops() -> None:
    mask = np.zeros((8, 12), bool)
    mask[0, 0] = mask[4:, 6:] = True  # one corner pixel, and a quarter
    half = prepare_mask(mask, EvaluationProtocol(size=(2, 4)))
    any_ = prepare_mask(mask, EvaluationProtocol(size=(2, 4), mask_rule="any"))
    assert half.tolist() == [[False] * 4, [False, False, True, True]]
    assert any_.tolist() == [[True, False, False, False], [False, False, True, True]]


def test_image_score_takes_a_share_or_a_number_of_pixels() -> None:
    maps = np.arange(70.0).reshape(2, 5, 7)
    for top, expected in (
        (0.1, [33.0, 68.0]),
        (3, [33.0, 68.0]),
        (0.001, [34.0, 69.0]),
        (99, [17.0, 52.0]),
    ):
        scores = image_scores(maps, EvaluationProtocol(top=top))
        assert scores.tolist() == expected
    assert image_scores(maps, EvaluationProtocol(image_score="max")).tolist() == [34.0, 69.0]
    with pytest.raises(ValueError, match=r"'ours' .* method"):
        image_scores(maps, PROTOCOLS["ours"])


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_a_protocol_is_stored_whole(name: str) -> None:
    record = json.loads(json.dumps(PROTOCOLS[name].to_json()))
    again: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    assert EvaluationProtocol(**again) == PROTOCOLS[name]
    assert record["name"] == name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"smoothing": (4.0, 4)}, r"smoothing .* \(4.0, 4\)"),
        ({"crop": (100, 200)}, r"crop .* \(100, 200\)"),
        ({"aupro_limit": 0.0}, "aupro_limit .* 0.0"),
        ({"top": 1.5}, "top .* 1.5"),
        ({"thresholds": "score"}, r"0 steps .*score"),
        ({"steps": 5}, r"5 steps .*all"),
        ({"binned_ranking": True}, "binned_ranking"),
    ],
)
def test_nonsense_is_refused(values: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EvaluationProtocol(**values)


def test_trapezoids_make_ap_optimistic_where_scores_are_few() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((2, 20, 30)) < 0.2
    maps = (rng.integers(0, 3, masks.shape) + masks).astype(np.float32)
    found = score_maps(maps, masks, protocol=EvaluationProtocol(ap_form="trapezoid"))
    precision, recall, _ = sk.precision_recall_curve(masks.ravel(), maps.ravel())
    assert found["ap"] == pytest.approx(sk.auc(recall, precision))
    assert found["ap"] > score_maps(maps, masks)["ap"] + 0.05


def test_too_few_steps_below_the_limit_are_refused() -> None:
    masks = np.zeros((1, 5, 7), bool)
    masks[0, 0, :3] = True
    maps = np.where(masks, 0.0, 1.0)  # every normal pixel outscores every defect
    with pytest.raises(ValueError, match="too few of 10 thresholds by score"):
        score_maps(maps, masks, protocol=EvaluationProtocol(thresholds="score", steps=10))
