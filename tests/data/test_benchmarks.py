"""Each benchmark is read as it lies on the disk; masks go to images by name, never by order."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adlib.data import load_data
from adlib.data.dataset import ImageDataset
from adlib.data.readers.benchmarks import locate, recognise
from adlib.data.tools.catalogue import BENCHMARKS
from tests import made_benchmarks as made


def counts(images: ImageDataset) -> dict[str, tuple[int, int]]:
    """Normal and defective images of each category."""
    return {
        c: (int((~images.of(c).labels).sum()), int(images.of(c).labels.sum()))
        for c in images.categories
    }


def check_pairs(images: ImageDataset) -> int:
    """Every defective image has the mask with its own number; returns how many there are."""
    bad = [sample for sample in images if sample.label]
    for sample in bad:
        assert sample.mask is not None
        assert np.argwhere(sample.mask).tolist() == [[3, made.number(sample)]], sample.path
    for sample in images:
        if not sample.label:
            assert sample.mask is not None
            assert not sample.mask.any()
    return len(bad)


EXPECTED: dict[
    str, tuple[Any, ...]
] = {  # categories, then normal and defective images of train, test and seen in each
    "mvtec-ad": ("bottle cable", (3, 0), (2, 4), None),
    "mpdd": ("connector tubes", (3, 0), (2, 2), None),
    "visa": ("candle pcb1", (3, 0), (2, 3), None),
    "real-iad": ("toy usb", (3, 0), (4, 2), None),
    "btad": ("01 02 03", (3, 0), (3, 3), None),
    "dagm": ("Class1 Class10", (4, 0), (4, 2), (0, 2)),
    "ksdd2": ("ksdd2", (3, 0), (3, 2), (0, 2)),
    "dtd": ("banded woven", (3, 0), None, None),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_layout(tmp_path: Path, name: str) -> None:
    data = load_data(name, root=made.MAKERS[name](tmp_path / "set"))
    assert data.name == name
    assert BENCHMARKS[name].licence in data.notice
    categories, *expected = EXPECTED[name]
    for k, images in enumerate((data.train, data.test, data.seen)):
        wanted = {c: expected[k] for c in categories.split() if expected[k]}
        assert (counts(images) if images else {}) == wanted
        if images:
            assert check_pairs(images) == sum(bad for _, bad in wanted.values())
    again = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert again.hash == data.hash


def test_masks_do_not_follow_the_order_of_files(tmp_path: Path) -> None:
    root = made.mvtec_ad(tmp_path)
    for k, name in ((14, "9"), (15, "10"), (16, "b.2"), (17, "B")):
        made.image(root / "bottle/test/broken" / f"{name}.JPG", k)
        made.mask(root / "bottle/ground_truth/broken" / f"{name}_mask.PNG", k)
    assert check_pairs(load_data("mvtec-ad", root=root).test.of("bottle")) == 8


def test_visa_is_the_same_before_and_after_its_authors_script(tmp_path: Path) -> None:
    raw = load_data("visa", root=made.visa(tmp_path / "raw"))
    prepared = load_data("visa", root=made.visa_prepared(tmp_path / "VisA_pytorch/1cls").parent)
    assert raw.categories == prepared.categories == ("candle", "pcb1")
    assert check_pairs(prepared.test) == 4
    masks = [sample.mask for sample in raw.test if sample.label]
    assert all(m is not None and m.sum() == 1 for m in masks)  # of values 1, 2 and 3, not 255


def test_real_iad_views_and_its_single_view_split(tmp_path: Path) -> None:
    root = made.real_iad(tmp_path)
    whole = load_data("real-iad", root=root)
    digest = whole.test.digest
    hidden = [r for r in whole.test.references if "S0003" in r.path and "_C2_" in r.path]
    assert [r.defect for r in hidden] == ["good", "good"]  # one in each category
    assert {r.defect for r in whole.test.references} == {"good", "BX"}
    single = load_data("real-iad", root=root, listing="realiad_jsons_sv").test
    assert counts(single) == {"toy": (1, 1), "usb": (1, 1)}
    assert all("_C1_" in r.path for r in single.references)
    (root / "realiad_1024").rename(root / "realiad_256")
    assert load_data("real-iad", root=root).test.digest == digest
    for category in ("toy", "usb"):  # one archive an object, unpacked beside the listings
        (root / "realiad_256" / category).rename(root / category)
    (root / "realiad_256").rmdir()
    assert load_data("real-iad", root=root).test.digest == digest
    with pytest.raises(FileNotFoundError, match=r"realiad_512/toy \(the images that .*toy.json"):
        load_data("real-iad", root=root, images="realiad_512", categories=["toy"])


def test_unknown_categories_and_options(tmp_path: Path) -> None:
    root = made.mvtec_ad(tmp_path)
    with pytest.raises(ValueError, match=r"no category 'botle' in MVTec AD.*did you mean 'bottle'"):
        load_data("mvtec-ad", root=root, categories=["botle"])
    with pytest.raises(FileNotFoundError, match=r"no images of zipper in .*there are: bottle"):
        load_data("mvtec-ad", root=root, categories=["zipper", "bottle"])
    with pytest.raises(
        TypeError, match=r"'mvtec-ad' takes no option 'images'; it takes: root, cat"
    ):
        load_data("mvtec-ad", root=root, images="C1")
    assert load_data("mvtec-ad", root=root, categories="cable").categories == ("cable",)


def test_folders_of_other_names_are_passed_over(tmp_path: Path) -> None:
    root = made.mvtec_ad(tmp_path)
    made.mvtec_like(root, ("my_own",))
    assert load_data("mvtec-ad", root=root).categories == ("bottle", "cable")


def test_where_benchmarks_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADLIB_BENCHMARKS", raising=False)
    with pytest.raises(FileNotFoundError, match=r"VisA was not found: ADLIB_BENCHMARKS is not set"):
        load_data("visa")
    monkeypatch.setenv("ADLIB_BENCHMARKS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"it is not in .*, as visa or VisA_20220922; name"):
        load_data("visa")
    made.visa(tmp_path / "VisA_20220922")
    assert load_data("visa").categories == ("candle", "pcb1")
    made.btad(tmp_path / "btad")
    assert locate("btad") == tmp_path / "btad/BTech_Dataset_transformed"
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; expected VisA there"):
        load_data("visa", root=tmp_path / "nowhere")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_is_recognised_at_its_root_and_from_above(tmp_path: Path, name: str) -> None:
    made.MAKERS[name](tmp_path / "a/b" if name in ("mvtec-ad", "ksdd2") else tmp_path / "a")
    assert next(iter(recognise(tmp_path))) == name
    assert list(recognise(tmp_path)) == [name]


def test_another_benchmark_is_named(tmp_path: Path) -> None:
    root = made.visa(tmp_path / "downloads")
    words = r"downloads does not look like BTAD: expected .*01/train/ok; it looks like VisA, whose"
    with pytest.raises(FileNotFoundError, match=words):
        load_data("btad", root=root)
    with pytest.raises(FileNotFoundError, match=r"no folder 'good' .*; it looks like VisA, whose"):
        load_data(root)


def test_a_cut_image_is_found_when_the_set_is_built(tmp_path: Path) -> None:
    root = made.dagm(tmp_path)
    path = root / "Class10/Train/0577.PNG"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"Class10/Train/0577\.PNG: expected a whole image file"):
        load_data("dagm", root=root)


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    made.mvtec_ad(tmp_path / "store")
    (tmp_path / "set").mkdir()
    for category in ("bottle", "cable"):
        (tmp_path / "set" / category).symlink_to(tmp_path / "store" / category)
    assert len(load_data("mvtec-ad", root=tmp_path / "set").train) == 6


def test_the_table_is_consistent() -> None:
    for benchmark in BENCHMARKS.values():
        assert benchmark.categories == tuple(sorted(benchmark.categories))
        assert (benchmark.address is None) or (benchmark.known_hash is not None)
        total = benchmark.counts
        for word in ("train", "good", "bad"):
            if benchmark.each:
                assert set(benchmark.each) == set(benchmark.categories)
                parts = sum(getattr(c, word) for c in benchmark.each.values())
                assert parts == getattr(total, word)
        known = (total.train, total.good, total.bad, total.seen)
        if total.images is not None and None not in known:
            assert sum(n for n in known if n) == total.images
