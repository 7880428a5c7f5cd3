"""Data sets are joined without mixing them up, and a few normal images are drawn by the seed."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from adlib.data import load_builtin, load_folder
from adlib.data.dataset import DataSplits
from adlib.data.split import join, keep_few
from tests.made_benchmarks import mvtec_like


def test_a_joined_data_set_has_every_image_once_under_a_name_of_its_own(tmp_path: Path) -> None:
    made = load_builtin(size=32, train=3, test=4, categories=("screw", "denim"))
    photographed = load_folder(mvtec_like(tmp_path / "shop", ("screw", "nut", "ring")))
    whole = join([made, photographed])
    assert whole.name == "builtin+shop"
    assert whole.categories == (
        "builtin/denim", "builtin/screw", "shop/nut", "shop/ring", "shop/screw",
    )  # fmt: skip
    for split in ("train", "test"):
        parts = [getattr(made, split), getattr(photographed, split)]
        ours = getattr(whole, split)
        singles = [sample for images in parts for sample in images]
        assert len(ours) == len(singles)
        assert ours.labels.tolist() == [sample.label for sample in singles]
        for one, other in zip(ours, singles, strict=True):
            assert one.path == other.path
            assert one.category.split("/")[1] == other.category
            assert np.array_equal(one.image, other.image)
            assert (one.mask is None) == (other.mask is None)
        assert ours.fingerprints == parts[0].fingerprints + parts[1].fingerprints
    screws = whole.train.of("shop/screw")
    assert [s.path for s in screws] == [s.path for s in photographed.train.of("screw")]
    again = pickle.loads(pickle.dumps(whole.test.select([0, 7])))  # noqa: S301  # as a worker does
    assert [s.path for s in again] == [whole.test[i].path for i in (0, 7)]


def test_a_joined_data_set_is_told_from_its_parts() -> None:
    one, other = (load_builtin(size=32, train=2, test=2, seed=seed) for seed in (0, 1))
    other = DataSplits("second", other.train, other.test)
    assert len({one.hash, other.hash, join([one, other]).hash}) == 3
    assert join([one, other]).hash == join([one, other]).hash
    for wrong in ([one], [one, one]):
        with pytest.raises(ValueError, match="expected two data sets of different names, got bui"):
            join(wrong)


def test_fewer_normal_images_are_among_the_more() -> None:
    data = load_builtin(size=32, train=9, test=2, categories=("denim", "steel"))
    few = {k: keep_few(data, k, seed=4) for k in (2, 5, 30)}
    paths = {k: {r.path for r in kept.train.references} for k, kept in few.items()}
    assert paths[2] < paths[5] < paths[30]
    assert paths[30] == {r.path for r in data.train.references}
    for k, kept in few.items():
        for category in data.categories:
            assert len(kept.train.of(category)) == min(k, 9)
        assert kept.test is data.test
    alone = keep_few(load_builtin(size=32, train=9, test=2, categories=("steel",)), 5, seed=4)
    assert {r.path for r in alone.train.references} == {p for p in paths[5] if "steel" in p}
    draws = {frozenset(r.path for r in keep_few(data, 2, s).train.references) for s in range(6)}
    assert len(draws) > 3
    with pytest.raises(ValueError, match="few counts normal images of each category, from 1 on"):
        keep_few(data, 0)
