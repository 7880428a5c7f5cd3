"""The training set: every sample follows from seed and index, and holds what it says."""

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from adlib.anomalies.training_set import ORDER, PIXELS, PLAN, AnomalyConfig, TrainingSet
from adlib.anomalies.transformed_images import transform_mask, transform_pixels
from adlib.data import load_builtin
from adlib.data.dataset import DataSplits, ImageDataset, ImageRef, Sample
from adlib.data.transform import ImageTransform

FRAME = ImageTransform(size=(37, 51))
DATA = load_builtin(size=64, train=7, test=12, categories=["screw", "steel"])
SEEN = DATA.test.select(DATA.test.labels)


def training_set(
    data: DataSplits = DATA,
    seen: ImageDataset | None = SEEN,
    batch: int = 8,
    seed: int = 0,
    **changes: Any,
) -> TrainingSet:
    changes = {"frame": FRAME, "recipe": AnomalyConfig()} | changes
    return TrainingSet(data.train, seen, batch=batch, seed=seed, **changes)


MADE = training_set()


def of_kind(made: TrainingSet, kind: str, count: int) -> list[int]:
    return [i for i in range(8 * count) if made.plan(i).kind == kind][:count]


def content(made: TrainingSet, index: int) -> bytes:
    image, mask = made[index]
    return image.numpy().tobytes() + mask.numpy().tobytes()


def test_normal_samples_are_the_framed_images() -> None:
    for i in of_kind(MADE, "normal", 20):
        image, mask = MADE[i]
        sample = DATA.train[MADE.plan(i).normal or 0]
        assert torch.equal(image, torch.from_numpy(FRAME.image(sample.image)))
        assert not mask.any()
        assert MADE.source(i) == f"normal: {sample.path}"


def test_without_a_seen_defect_all_anomalies_are_simulated_as_with_the_others_off() -> None:
    """So one run stands for both arms of an ablation: no defect seen, and none of its kinds on."""
    off = training_set(recipe=AnomalyConfig(seen=False, extended=False))
    for seen in (None, SEEN.select([])):
        none = training_set(seen=seen)
        for i in range(32):
            assert off.plan(i).kind in ("normal", "simulated")
            assert content(off, i) == content(none, i)
        assert Counter(none.plan(i).kind for i in range(8)) == {"normal": 4, "simulated": 4}
        assert "no defect was seen" in "".join(none.missing)
        assert off.missing == ()
    with pytest.raises(ValueError, match=r"no defect was seen"):
        training_set(seen=None, recipe=AnomalyConfig(simulated=False))


def test_every_normal_image_comes_once_before_one_comes_again() -> None:
    order = [MADE.plan(i).normal for i in of_kind(MADE, "normal", 14 * 3)]
    laps = [order[start : start + 14] for start in (0, 14, 28)]
    laps.append([MADE.plan(i).normal for i in of_kind(MADE, "simulated", 14)])
    assert all(sorted(map(int, lap)) == list(range(14)) for lap in laps)  # pyright: ignore[reportArgumentType]
    assert len(set(map(tuple, laps))) == 4  # kinds do not share their draws either
    assert len({ORDER, PLAN, PIXELS}) == 3


def test_seen_samples_are_the_framed_defects_each_as_often() -> None:
    indices = of_kind(MADE, "seen", 12)
    assert sorted(MADE.plan(i).seen or 0 for i in indices) == list(range(12))
    for i in indices:
        image, mask = MADE[i]
        sample = SEEN[MADE.plan(i).seen or 0]
        assert sample.mask is not None
        assert torch.equal(image, torch.from_numpy(FRAME.image(sample.image)))
        assert np.array_equal(mask.numpy(), transform_mask(sample.mask, FRAME))
        assert mask.any()


@pytest.mark.parametrize("kind", ["extended", "simulated"])
def test_made_samples_differ_from_their_image_exactly_inside_the_mask(kind: str) -> None:
    for i in of_kind(MADE, kind, 30):
        plan, (image, mask) = MADE.plan(i), MADE.make(i)
        assert plan.normal is not None
        before = transform_pixels(DATA.train[plan.normal].image, FRAME)
        assert np.array_equal((image != before).any(axis=2), mask)
        assert mask.any()
        scaled, flags = MADE[i]
        assert torch.equal(scaled, torch.from_numpy(image.transpose(2, 0, 1).copy()) / 255)
        assert np.array_equal(flags.numpy(), mask)
        if plan.seen is not None:
            assert SEEN.references[plan.seen].category == DATA.train[plan.normal].category
        if kind == "simulated":
            assert not (mask & ~MADE.foreground(plan.normal)).any()


def test_a_sample_follows_from_seed_and_index_alone() -> None:
    indices = list(range(40))
    first = [content(MADE, i) for i in indices]
    backwards = training_set()
    assert [content(backwards, i) for i in reversed(indices)] == first[::-1]
    assert content(MADE, np.int64(9)) == first[9]  # pyright: ignore[reportArgumentType]
    made = [i for i in indices if MADE.plan(i).kind in ("extended", "simulated")]
    assert len({first[i] for i in made}) == len(made)
    other = training_set(seed=1)
    assert not {content(other, i) for i in made} & {first[i] for i in made}


def test_workers_change_no_byte() -> None:
    batches = [[3, 17, 30], [7, 6, 5], [12, 13, 14], [39, 40, 0]]
    here = DataLoader(MADE, batch_sampler=batches)
    there = DataLoader(MADE, batch_sampler=batches, num_workers=2, multiprocessing_context="spawn")
    for (a, m), (b, n) in zip(here, there, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(m, n)
        assert a.dtype == torch.float32
        assert m.dtype == torch.bool


def test_it_travels_without_its_pictures() -> None:
    copy = pickle.dumps(MADE)
    assert len(copy) < 50_000
    assert content(pickle.loads(copy), 21) == content(MADE, 21)  # noqa: S301


def test_one_normal_image_gets_all_kinds_each_drawn_for_itself() -> None:
    few = replace(DATA, train=DATA.train.of("steel").select([0]))
    made = training_set(few, SEEN.of("steel"))
    kinds = Counter(made.plan(i).kind for i in range(160))
    assert kinds == {"normal": 80, "seen": 20, "extended": 20, "simulated": 40}
    assert len({made.make(i)[1].tobytes() for i in of_kind(made, "simulated", 15)}) == 15


def test_foregrounds_are_estimated_and_can_be_switched_off() -> None:
    kinds = {name: rule.kind for name, rule in MADE.foregrounds.items()}
    assert kinds == {"screw": "object", "steel": "texture"}
    assert 0.02 < MADE.foreground(0).mean() < 0.3  # a screw
    assert MADE.foreground(13).all()  # steel
    without = training_set(recipe=AnomalyConfig(foreground=False))
    assert without.foreground(0).all()


def test_textures_of_a_folder_are_used(folder: Any) -> None:
    textures = folder(categories=("cloth",), good=3, bad=0) / "cloth/train"
    made = training_set(recipe=AnomalyConfig(textures=textures))
    assert made.textures is not None
    assert len(made.textures) == 3
    with pytest.raises(FileNotFoundError, match="expected a folder of images"):
        training_set(recipe=AnomalyConfig(textures=Path("nowhere")))


def marked(where: tuple[slice, slice], mask: bool = True, category: str = "steel") -> ImageDataset:
    """A seen defect with a mask at one place, or without one."""

    def read(reference: ImageRef) -> Sample:
        truth = np.zeros((64, 64), dtype=bool)
        truth[where] = True
        return replace(SEEN[-1], mask=truth if mask else None, path=reference.path)

    reference = ImageRef(path="made", category=category, defect="scratch")
    return ImageDataset([reference], read, lambda r: b"")


def test_a_defect_beside_the_frames_cut_is_left_out_and_it_says_so() -> None:
    frame = ImageTransform(size=(32, 32), resize=(64, 64))
    corner = marked((slice(0, 5), slice(0, 5)))
    made = training_set(seen=corner, frame=frame)
    assert {made.plan(i).kind for i in range(40)} == {"normal", "simulated"}
    assert made.missing[0] == "1 seen defects lie outside the frame's cut, such as made"
    kept = training_set(seen=marked((slice(30, 35), slice(30, 35))), frame=frame)
    assert not kept.missing
    assert kept[of_kind(kept, "seen", 1)[0]][1].sum() == 25


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (marked((slice(5), slice(5)), mask=False), "made: to train on a defect takes a mask"),
        (marked((slice(0), slice(0))), "made: expected a mask with a defect, got an empty one"),
        (marked((slice(5), slice(5)), category="nut"), "no normal image of its category 'nut'"),
        (DATA.train, "expected seen defects, but builtin/screw/train/good/000 is normal"),
    ],
)
def test_seen_images_that_cannot_serve_are_named(seen: ImageDataset, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        training_set(seen=seen)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="needs normal images, got none"):
        training_set(replace(DATA, train=DATA.train.select([])))
    with pytest.raises(ValueError, match=r"expected normal images, but builtin/screw/test/.* is a"):
        training_set(replace(DATA, train=DATA.test))
    for batch, seed in ((0, 0), (8, -1)):
        with pytest.raises(ValueError, match="expected batch >= 1 and seed >= 0, got batch"):
            training_set(batch=batch, seed=seed)
    for index in (-1, len(MADE)):
        with pytest.raises(IndexError, match="samples are numbered from 0"):
            MADE[index]


@pytest.mark.parametrize("own", [True, False])
def test_made_samples_get_the_foreground_of_their_image_and_the_configs_options(
    monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    seen: list[tuple[Any, ...]] = []

    def paste(image: np.ndarray, defect: Any, mask: Any, foreground: np.ndarray, rng: Any) -> Any:
        seen.append((foreground, None, None))
        return image, mask

    def fill(image: np.ndarray, foreground: np.ndarray, *rest: Any, beta: Any, own: float) -> Any:
        seen.append((foreground, beta, own))
        return image, foreground

    monkeypatch.setattr("adlib.anomalies.training_set.extended", paste)
    monkeypatch.setattr("adlib.anomalies.training_set.simulated", fill)
    made = training_set(recipe=AnomalyConfig(beta=(0.1, 0.5), self_augmentation=own))
    chances: set[tuple[str, float]] = set()  # of the image's own tiles
    for kind, wanted in (("extended", None), ("simulated", (0.1, 0.5))):
        for i in of_kind(made, kind, 14):
            made.make(i)
            foreground, beta, chance = seen.pop()
            normal = made.plan(i).normal or 0
            assert beta == wanted
            assert np.array_equal(foreground, made.foreground(normal))
            if chance is not None:
                chances.add((DATA.train.references[normal].category, chance))
    assert chances == {("screw", 0.5 if own else 0.0), ("steel", 0.0)}  # objects only
    assert not made.foreground(0).all()
