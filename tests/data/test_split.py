"""The supervised split: no image both trains and tests, and what is drawn follows the seed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlib.data import load_builtin, load_folder
from adlib.data.dataset import DataSplits, ImageDataset
from adlib.data.split import refuse_seen, show_first, supervise, without_seen


def made_folder(root: Path, kinds: Sequence[tuple[str, int]], masked: bool = True) -> DataSplits:
    """One category in the MVTec AD layout: two normal images each, and so many of each kind."""
    rng = np.random.default_rng(0)
    groups = [("train/good", 2), ("test/good", 2), *((f"test/{kind}", n) for kind, n in kinds)]
    for group, count in groups:
        for i in range(count):
            path = root / "nut" / group / f"{i}.png"
            truth = root / "nut/ground_truth" / path.parent.name / f"{i}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (18, 21, 3), dtype=np.uint8)).save(path)
            if masked and path.parent.name != "good":
                truth.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.eye(18, 21, dtype=np.uint8) * 255).save(truth)
    return load_folder(root)


def paths(images: ImageDataset | None) -> list[str]:
    assert images is not None
    return [r.path for r in images.references]


def marks(images: ImageDataset | None) -> list[str]:
    assert images is not None
    return [mark.hex() for mark in images.fingerprints]


def test_no_image_both_trains_and_tests(tmp_path: Path) -> None:
    data = made_folder(tmp_path, [("bent", 4), ("cut", 7), ("dent", 1)])
    split = supervise(data, seen=5, seed=3)
    assert split.seen is not None
    assert len(split.seen) == 5
    assert split.seen.labels.all()
    assert not {*paths(split.seen)} & {*paths(split.test)}
    assert {*paths(split.seen)} | {*paths(split.test)} == {*paths(data.test)}
    assert not {*split.seen.fingerprints} & {*split.test.fingerprints}
    assert split.train is data.train
    assert split.drawn == (5, 3)
    assert split.hash != data.hash


def test_kinds_take_turns(tmp_path: Path) -> None:
    data = made_folder(tmp_path, [("bent", 4), ("cut", 7), ("dent", 1)])
    for seed in range(5):
        seen = supervise(data, seen=6, seed=seed).seen
        assert seen is not None
        counts = Counter(r.defect for r in seen.references)
        assert counts["dent"] == 1
        assert {counts["bent"], counts["cut"]} <= {2, 3}


def test_the_seed_draws_and_other_categories_change_nothing() -> None:
    alone = load_builtin(48, train=1, test=24, categories=["screw"])
    beside = load_builtin(48, train=1, test=24, categories=["board", "screw"])
    drawn = [supervise(alone, 3, seed).seen for seed in (0, 0, 1, 2)]
    names = [paths(seen) for seen in drawn]
    assert names[0] == names[1]
    assert len({tuple(sorted(n)) for n in names}) > 1
    both = supervise(beside, 3, 0).seen
    assert both is not None
    assert [p for p in paths(both) if "screw" in p] == names[0]


def test_a_copy_of_a_drawn_defect_leaves_the_test_set(tmp_path: Path) -> None:
    made_folder(tmp_path, [("bent", 6)])
    folder, truth = tmp_path / "nut" / "test" / "bent", tmp_path / "nut" / "ground_truth" / "bent"
    for i in range(6):  # each defect once more, under another name
        (folder / f"copy{i}.png").write_bytes((folder / f"{i}.png").read_bytes())
        (truth / f"copy{i}_mask.png").write_bytes((truth / f"{i}_mask.png").read_bytes())
    split = supervise(load_folder(tmp_path), seen=2)
    assert split.seen is not None
    assert not {*split.seen.fingerprints} & {*split.test.fingerprints}


def test_too_few_defects_are_halved_and_said(tmp_path: Path) -> None:
    data = made_folder(tmp_path, [("bent", 3), ("cut", 2)])
    with pytest.warns(RuntimeWarning, match=r"nut has 5 defects .* too few to take 5 .*: 2 are"):
        split = supervise(data, seen=5)
    assert len(paths(split.seen)) == 2
    assert split.test.labels.sum() == 3


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    bare = made_folder(tmp_path / "bare", [("bent", 3)], masked=False)
    with pytest.raises(ValueError, match=r"nut: learning from defects needs their masks, and none"):
        supervise(bare, seen=1)
    data = made_folder(tmp_path / "parts", [("bent", 4)])
    split = supervise(data, seen=2)
    with pytest.raises(ValueError, match="is split already: it has 2 seen"):
        supervise(split, seen=1)
    with pytest.raises(ValueError, match="from 0 on; got -1"):
        supervise(data, seen=-1)
    with pytest.raises(ValueError, match="is not split: supervise"):
        show_first(data, 1)
    for k in (-1, 3):
        with pytest.raises(ValueError, match=rf"from 0 to the 2 defects drawn, got {k}"):
            show_first(split, k)
    refuse_seen(marks(split.seen), split.test, split.name)
    refuse_seen([], data.test, data.name)
    with pytest.raises(ValueError, match=r"2 test images of .* were trained on, the first is "):
        refuse_seen(marks(split.seen), data.test, data.name)
    assert without_seen(data, ["00"], (2, 0)) is data


def test_the_first_of_many_are_the_draw_of_few_and_the_test_set_stays() -> None:
    data = load_builtin(48, train=1, test=24, categories=["board", "screw"])
    ten = supervise(data, seen=10, seed=2)
    for k in (0, 1, 5, 10):
        split, alone = show_first(ten, k), supervise(data, seen=k, seed=2)
        assert paths(split.seen) == paths(alone.seen)
        assert len(paths(split.seen)) == 2 * k
        assert split.test is ten.test
        assert split.drawn == (10, 2)  # which makes the same test set again


def test_what_was_trained_on_leaves_a_test_set_that_has_changed(tmp_path: Path) -> None:
    root = tmp_path / "parts"
    split = supervise(made_folder(root, [("bent", 5), ("cut", 4)]), seen=3, seed=1)
    seen = marks(split.seen)
    (root / "nut").rename(root / "bolt")
    for part, name in (("test", "0.png"), ("ground_truth", "0_mask.png")):  # one defect more
        (root / "bolt" / part / "dent").mkdir()
        content = (root / "bolt" / part / "bent" / name).read_bytes()
        (root / "bolt" / part / "dent" / name).write_bytes(content + b"other" * (part == "test"))
    data = load_folder(root)
    assert not {*seen} <= {*marks(supervise(data, 3, 1).seen)}  # a new draw would miss some
    left = without_seen(data, seen, split.drawn)
    refuse_seen(seen, left.test, left.name)
    assert len(left.test) == len(data.test) - 3
    assert sorted(marks(left.seen)) == sorted(seen)
    assert left.drawn == (3, 1)


def test_what_was_drawn_and_not_shown_stays_out_where_the_folder_is_as_it_was() -> None:
    data = load_builtin(48, train=1, test=24, categories=["board", "screw"])
    ten = supervise(data, seen=10, seed=2)
    shown = show_first(ten, 1)
    left = without_seen(data, marks(shown.seen), shown.drawn)
    assert left.hash == ten.hash
    screws = load_builtin(48, train=1, test=24, categories=["screw"])
    alone = without_seen(screws, marks(shown.seen), shown.drawn)
    assert paths(alone.test) == [p for p in paths(ten.test) if "screw" in p]
