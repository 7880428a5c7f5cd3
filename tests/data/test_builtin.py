"""Built-in images: exact masks, seeded to the byte, each independent of the others."""

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest

from adlib.data.rendered.builtin import RECIPE, SCENES, load_builtin, render

SIZE = 96
# of RECIPE 1; the same with numpy's AVX2 and AVX-512 code switched off (NPY_DISABLE_CPU_FEATURES)
DIGESTS = {
    "blister": "3c42252de353ba56",
    "board": "82e03cc36e4316bf",
    "bottle": "1a4d11e60b7226db",
    "denim": "3d051714d3a7b173",
    "header": "729e168a2ad4f69a",
    "label": "7fc612fc6e9980af",
    "screw": "5f341c6ec2705640",
    "steel": "29f90ec21b730a51",
    "tile": "e70a0cff9ca35e2b",
}
DEFECTS = [(category, defect) for category, (_, kinds) in SCENES.items() for defect in kinds]


@pytest.mark.parametrize(("category", "defect"), DEFECTS)
def test_masks_are_exact(category: str, defect: str) -> None:
    data = load_builtin(SIZE, train=1, test=4 * len(SCENES[category][1]), categories=[category])
    references = [r for r in data.test.references if r.defect == defect]
    assert len(references) == 2
    for reference in references:
        clean, image, mask = render(reference, SIZE, seed=0)
        assert np.array_equal(image[~mask], clean[~mask])
        assert (image[mask] != clean[mask]).any(axis=1).all()
        assert 4e-4 <= mask.mean() < 0.2  # seen, but a defect and not another scene
    assert data.test[2 * SCENES[category][1].index(defect) + 1].defect == defect


def test_the_clean_twin_is_the_scene_without_a_defect() -> None:
    flawed = load_builtin(SIZE, train=1, test=2, categories=["screw"]).test.references[1]
    good = replace(flawed, path=flawed.path.replace(flawed.defect, "good"), defect="good")
    clean, _, _ = render(flawed, SIZE, seed=0)
    assert np.array_equal(render(good, SIZE, seed=0)[1], clean)


def test_seeds_give_equal_bytes_and_other_seeds_others() -> None:
    first, again = (load_builtin(SIZE, train=1, test=2, seed=3) for _ in range(2))
    other = load_builtin(SIZE, train=1, test=2, seed=4)
    for a, b, c in zip(first.test, again.test, other.test, strict=True):
        assert a.image.tobytes() == b.image.tobytes() != c.image.tobytes()
    assert first.hash == again.hash != other.hash
    assert first.hash != load_builtin(SIZE + 1, train=1, test=2, seed=3).hash


@pytest.mark.parametrize("category", SCENES)
def test_the_bytes_are_those_of_the_recipe(category: str) -> None:
    kinds = SCENES[category][1]
    data = load_builtin(48, train=1, test=2 * len(kinds), categories=[category])
    found = hashlib.sha256()
    for sample in (data.train[0], *data.test.select(data.test.labels)):
        assert sample.mask is not None
        found.update(sample.image.tobytes())
        found.update(np.packbits(sample.mask).tobytes())
    # if another: raise RECIPE, and every record is of old images
    assert (RECIPE, found.hexdigest()[:16]) == (1, DIGESTS[category])


def test_more_images_leave_the_first_as_they_are() -> None:
    few = load_builtin(SIZE, train=2, test=3, categories=["steel"])
    more = load_builtin(SIZE, train=5, test=9, categories=["denim", "steel"])
    for split in ("train", "test"):
        a, b = getattr(few, split), getattr(more, split).of("steel")
        assert a.references == b.references[: len(a)]
        assert np.array_equal(a[1].image, b[1].image)


def test_half_of_the_test_is_good_and_every_defect_comes() -> None:
    data = load_builtin(SIZE)
    for category in data.categories:
        test = data.test.of(category)
        assert (len(data.train.of(category)), len(test)) == (60, 40)
        assert test.labels.sum() == 20
        assert {r.defect for r in test.references} == {"good", *SCENES[category][1]}
    assert not data.train.labels.any()
    data = load_builtin(48, train=6, test=6)
    contents = [sample.image.tobytes() for split in (data.train, data.test) for sample in split]
    assert len(set(contents)) == len(contents)  # no image both trains and tests


@pytest.mark.parametrize("category", ["blister", "label", "tile"])
def test_a_swap_adds_nothing_and_takes_nothing_away(category: str) -> None:
    data = load_builtin(SIZE, train=1, test=24, categories=[category])
    references = [r for r in data.test.references if r.defect == "swapped"]
    for reference in references:
        clean, image, _ = render(reference, SIZE, seed=0)
        change = image.astype(float) - clean
        assert abs(change.sum()) < 0.25 * np.abs(change).sum()
    assert len(references) > 1


@pytest.mark.parametrize("size", [32, 75])
def test_the_smallest_and_an_odd_size_can_be_had(size: int) -> None:
    for sample in load_builtin(size, train=1, test=2).test:
        assert sample.image.shape == (size, size, 3)
        assert sample.mask is not None
        assert sample.mask.any() == sample.label


def test_samples_are_complete_and_pickle() -> None:
    data = load_builtin(SIZE, train=1, test=2, categories=["board"])
    good, crack = pickle.loads(pickle.dumps(data.test))  # noqa: S301
    assert good.path == "builtin/board/test/good/000"
    assert crack.path == "builtin/board/test/crack/001"
    assert good.mask is not None
    assert not good.mask.any()
    assert np.array_equal(crack.image, data.test[1].image)


def test_brightness_alone_finds_no_defect() -> None:
    # the mean moves by less than a tenth of what lighting makes it vary between good images
    for category in SCENES:
        data = load_builtin(64, train=10, test=12, categories=[category])
        spread = np.std([s.image.mean() for s in data.train])
        pairs = [render(r, 64, 0) for r in data.test.references if r.label]
        shift = np.mean([np.abs(image.mean() - clean.mean()) for clean, image, _ in pairs])
        assert shift < 0.25 * spread, category


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 16}, "size .* got 16"),
        ({"train": 0}, "got train 0, test 40"),
        ({"test": 1}, "got train 60, test 1"),
        ({"seed": -1}, "seed .* got -1"),
        ({"categories": ["screws"]}, r"no built-in category 'screws'; .*did you mean 'screw'\?"),
    ],
)
def test_bad_requests_are_explained(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_builtin(**options)
