"""The mechanism on cases whose answer is known."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import adlib
from adlib.data.order import hold_out
from adlib.data.transform import ImageTransform
from adlib.engine.features import cached_features
from adlib.methods import ProAD
from adlib.study.mechanism import (
    distances_of,
    measure,
    measurement,
    patch_classes,
    separation,
)
from adlib.study.mechanism.measurement import held_out_distances, noise_probe
from adlib.study.mechanism.separation import defect_shares
from tests.methods.small import build

Folder = Callable[..., Path]
CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Patches


def test_defect_shares_are_areas_row_by_row() -> None:
    masks = np.zeros((2, 8, 15), dtype=bool)  # patches of 4 x 5 pixels on 2 x 3
    masks[0, 3:6, 4:6] = True  # one row in the upper patches, two in the lower; one column each
    masks[1, 4:, 10:] = True
    first, second = (defect_shares(mask, ImageTransform(size=(8, 15)), (2, 3)) for mask in masks)
    assert (first * 20).round(9).tolist() == [1, 1, 0, 2, 2, 0]
    assert second.round(9).tolist() == [0, 0, 0, 0, 0, 1]


def test_a_resized_and_cropped_mask_keeps_its_areas() -> None:
    mask = np.zeros((9, 14), dtype=bool)
    mask[2:5, 3:9] = True
    pixels = defect_shares(mask, ImageTransform(size=(6, 8)), (6, 8)).reshape(6, 8)
    assert pixels.mean() == pytest.approx(mask.mean(), abs=1e-12)
    assert pixels[1, 2] == pytest.approx(1 / 1.5 * (5.25 - 3.5) / 1.75)  # rows 1.5..3, from 2 on
    cropped = ImageTransform(size=(4, 4), resize=(6, 8))
    middle = defect_shares(mask, cropped, (4, 4)).reshape(4, 4)
    np.testing.assert_allclose(middle, pixels[1:5, 2:6], atol=1e-12)
    patches = middle.reshape(2, 2, 2, 2).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(defect_shares(mask, cropped, (2, 2)), patches, atol=1e-12)
    own = defect_shares(mask, ImageTransform(size=(9, 14)), (9, 14))
    np.testing.assert_array_equal(own, mask.ravel())


def test_patches_with_a_little_defect_count_for_neither(folder: Folder) -> None:
    images = adlib.load_data(folder()).test.of("bolt")
    normal, anomalous = patch_classes(images, ImageTransform(size=(32, 48)), (2, 3))
    assert (images.labels.sum(), len(images)) == (3, 7)
    good = torch.from_numpy(~images.labels)
    assert normal[good].all()
    assert not anomalous[good].any()
    # Image i's defect has rows 10 to 22 of 40 and columns 14 + i to 30 + i of 50, so patches of
    # 20 x 50/3 pixels are covered by half and by a tenth of their height.
    for i, row in enumerate(np.flatnonzero(images.labels).tolist()):
        left, middle = 50 / 3 - 14 - i, 30 + i - 50 / 3  # columns of the defect in each
        shares = [left * 3 / 50 / 2, middle * 3 / 50 / 2, 0, left * 3 / 500, middle * 3 / 500, 0]
        assert normal[row].tolist() == [s == 0 for s in shares]
        assert anomalous[row].tolist() == [s >= 0.1 for s in shares]
        assert sum(0 < s < 0.1 for s in shares) == 3
    bare = adlib.load_data(folder(("washer",), masks=False)).test.of("washer")
    normal, anomalous = patch_classes(bare, ImageTransform(size=(32, 48)), (2, 3))
    assert normal.sum(dim=1).tolist() == [0 if bad else 6 for bad in bare.labels]
    assert not anomalous.any()


def test_separation_of_numbers() -> None:
    normal, anomalous = np.array([0.1, 0.3, 0.1, 0.3]), np.array([0.2, 0.6, 1.0])
    found = separation(normal, anomalous)
    assert found._asdict() == pytest.approx(
        {
            "d_normal": 0.2,
            "d_anomalous": 0.6,
            "ratio": 3.0,
            "gap": 0.4,
            "z": 4.0,  # the deviation is 0.1
            "auroc": (2 + 4 + 4) / 12,
            "normal_patches": 4,
            "anomalous_patches": 3,
        }
    )
    alone = separation(normal, np.array([]))
    assert (alone.d_normal, alone.normal_patches) == (pytest.approx(0.2), 4)
    assert {alone.d_anomalous, alone.ratio, alone.gap, alone.z, alone.auroc} == {None}
    flat = separation(np.zeros(3), np.ones(2))
    assert (flat.ratio, flat.z, flat.gap) == (None, None, 1.0)  # nothing to divide by


# Measurement


def test_patchcores_distance_is_a_cosine_too() -> None:
    method, groups = build("patchcore", patch=1), random(2, 2, 15, 192)
    method.memory = method.patches(random(1, 2, 15, 192, seed=1))[0, :1]
    known = random(1, 2, 15, 192, seed=1)[:, :, :1]
    expected = (1 - F.cosine_similarity(groups, known, dim=-1)).mean(dim=1)
    torch.testing.assert_close(distances_of(method, groups), expected)
    six = distances_of(method, groups.repeat(3, 1, 1, 1))  # in two batches
    torch.testing.assert_close(six, expected.repeat(3, 1))
    with pytest.raises(ValueError, match="normalise=True only, got False"):
        distances_of(build("patchcore", normalise=False), groups)


def constant(method: Any, monkeypatch: pytest.MonkeyPatch, token: Tensor) -> None:
    """Let a Pro-AD rebuild one token a group, whatever comes in."""

    monkeypatch.setattr(method, "forward", lambda groups: token[:, None].expand_as(groups))


def identity(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "forward", lambda groups: groups)


def test_the_noise_probe_knows_copying_from_remembering(
    tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All tokens alike: what rebuilds the normal only misses a changed token by the angle between t
    # and t + 0.7 |t| e, and a random e in 192 dimensions is nearly at a right angle to t.
    token = random(2, 192)
    features = token[:, None].repeat(5, 1, 1, 1).expand(-1, -1, 30, -1).half()
    before = features.clone()
    constant(tiny, monkeypatch, token.half().float())
    changed, same = noise_probe(tiny, features, torch.Generator().manual_seed(0))
    assert changed == pytest.approx(1 - 1 / math.sqrt(1 + 0.7**2), abs=0.02)
    assert same == pytest.approx(0, abs=1e-6)
    assert torch.equal(features, before)
    monkeypatch.setattr(measurement, "BATCH", 2)
    again = noise_probe(tiny, features, torch.Generator().manual_seed(0))
    assert again == pytest.approx((changed, same), abs=1e-6)  # batches draw the same
    assert noise_probe(tiny, features, torch.Generator().manual_seed(1))[0] != changed
    identity(tiny, monkeypatch)
    copied = noise_probe(tiny, features, torch.Generator().manual_seed(0))
    assert copied == pytest.approx((0, 0), abs=1e-6)


def test_the_noise_probe_changes_a_tenth_and_in_both_groups_alike(
    tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, seen = random(4, 2, 30, 192), []

    def distances(groups: Tensor) -> Tensor:
        seen.append(groups)
        return groups.new_zeros(len(groups), 2, 30)

    monkeypatch.setattr(tiny, "distances", distances)
    noise_probe(tiny, features, torch.Generator().manual_seed(0))
    added = torch.cat(seen) - features
    size = added.norm(dim=-1)
    assert ((size > 0).sum(dim=2) == 3).all()
    torch.testing.assert_close(size[size > 0], 0.7 * features.norm(dim=-1)[size > 0])
    unit = F.normalize(added, dim=-1)
    torch.testing.assert_close(unit[:, 0], unit[:, 1])


def test_held_out_images_are_those_that_calibrated(
    folder: Folder, tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = adlib.load_data(folder(good=9))
    adlib.fit(tiny, data, seed=3, holdout=0.3, precision="fp32")
    features = cached_features(tiny, data.train, device=CPU, dtype=torch.float32).float()
    held = hold_out(data.train, 0.3, seed=3)[1]
    tiny.eval()
    with torch.no_grad():
        d = tiny.distances(features).mean(dim=(1, 2))
    expected = {
        c: d[[i for i in held if data.train.references[i].category == c]].mean().item()
        for c in ("bolt", "nut")
    }
    assert held_out_distances(tiny, data, seed=1) == pytest.approx(expected)  # not that seed
    tiny.provenance |= {"holdout": 0.0}
    assert held_out_distances(tiny, data) == {}
    tiny.provenance = {}  # while it trains: a tenth, by the fit's seed
    held = hold_out(data.train, 0.1, seed=5)[1]
    assert held_out_distances(tiny, data, seed=5)["bolt"] == pytest.approx(
        d[[i for i in held if data.train.references[i].category == "bolt"]].mean().item()
    )


def test_an_identity_has_no_distance_and_no_ratio(
    folder: Folder, tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity(tiny, monkeypatch)
    found = measure(tiny, adlib.load_data(folder()))
    for row in (*found["categories"].values(), found["mean"]):
        names = ("d_normal", "d_anomalous", "gap", "noise_changed", "noise_unchanged", "d_held_out")
        assert [row[name] for name in names] == pytest.approx([0] * 6, abs=1e-6)
        assert row["ratio"] is None
        assert row["z"] is None


def test_a_constant_decoder_has_the_ratio_worked_out_by_hand(
    folder: Folder, tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = adlib.load_data(folder())
    train = cached_features(tiny, data.train, device=CPU, dtype=torch.float32).float()
    token = train.mean(dim=(0, 2))  # 2 c
    constant(tiny, monkeypatch, token)
    test = cached_features(tiny, data.test, device=CPU, dtype=torch.float32).double()
    d = 1 - F.cosine_similarity(test, token[:, None].double(), dim=-1).mean(dim=1)  # n 6
    found, ratios = measure(tiny, data), []
    for category in data.categories:
        normal, anomalous = [], []
        for reference, distance in zip(data.test.references, d.tolist(), strict=True):
            if reference.category != category:
                continue
            # The defect touches the four left patches; of these it covers the upper middle one by
            # two fifths, and no other by a tenth.
            normal += distance if not reference.label else [distance[2], distance[5]]
            anomalous += [distance[1]] if reference.label else []
        row = found["categories"][category]
        assert (row["normal_patches"], row["anomalous_patches"]) == (4 * 6 + 3 * 2, 3)
        # the library's distance is 1 - cosine in fp32, whose roundings are of numbers near 1
        assert row["d_normal"] == pytest.approx(np.mean(normal), abs=3e-7)
        assert row["d_anomalous"] == pytest.approx(np.mean(anomalous), abs=3e-7)
        ratios.append(np.mean(anomalous) / np.mean(normal))
        assert row["ratio"] == pytest.approx(ratios[-1], rel=2e-5)
        gap = np.mean(anomalous) - np.mean(normal)
        assert row["z"] == pytest.approx(gap / np.std(normal), rel=1e-4)
    assert found["mean"]["ratio"] == pytest.approx(np.mean(ratios), rel=2e-5)
    assert ratios[0] != pytest.approx(ratios[1], rel=1e-3)
    assert "normal_patches" not in found["mean"]


@pytest.mark.parametrize("name", ["dinomaly", "inp-former", "patchcore"])
def test_the_yardsticks_are_measured_alike(folder: Folder, name: str) -> None:
    data, fitted = adlib.load_data(folder()), build(name)
    adlib.fit(fitted, data, steps=0 if name == "patchcore" else 2, precision="fp32")
    found = measure(fitted, data)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["method"] == name
    mean = found["mean"]
    assert mean["gap"] == pytest.approx(mean["d_anomalous"] - mean["d_normal"])
    assert mean["d_held_out"] == pytest.approx(mean["noise_unchanged"], rel=0.5)  # both are normal


def test_what_is_not_there_is_none(folder: Folder, tiny: ProAD) -> None:
    folder(("bolt",))
    root = folder(("nut",), masks=False)
    found = measure(tiny, adlib.load_data(root))
    bolt, nut, mean = (*(found["categories"][c] for c in ("bolt", "nut")), found["mean"])
    for name in ("d_anomalous", "ratio", "gap", "z", "auroc"):
        assert isinstance(bolt[name], float)
        assert nut[name] is None
        assert mean[name] is None
    assert nut["anomalous_patches"] == 0
    assert nut["normal_patches"] == 4 * 6
    assert isinstance(mean["d_normal"], float)


def test_a_method_without_distances_is_refused(folder: Folder) -> None:
    with pytest.raises(TypeError, match="only methods with `distances` of tokens"):
        measure(torch.nn.Identity(), adlib.load_data(folder()))


def test_noise_is_added_to_normal_images_only(
    folder: Folder, tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, seen = adlib.load_data(folder()), []

    def watched(method: Any, features: Tensor, *rest: Any, **options: Any) -> tuple[float, float]:
        seen.append(features)
        return 0.25, 0.125

    monkeypatch.setattr(measurement, "noise_probe", watched)
    rows = measure(tiny, data)["categories"]
    for category, features in zip(data.categories, seen, strict=True):
        mine = data.test.of(category)
        good = cached_features(tiny, mine, device=CPU, dtype=torch.float32)[
            torch.from_numpy(~mine.labels)
        ]
        assert torch.equal(features, good)
        assert (rows[category]["noise_changed"], rows[category]["noise_unchanged"]) == (0.25, 0.125)
