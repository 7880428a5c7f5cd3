"""Training images that are strange to the rest: ranked by a score that is defined slowly here."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import adlib
from adlib.cli import main
from adlib.data.dataset import ImageDataset
from adlib.engine import suspects
from adlib.engine.features import transform_of
from adlib.engine.suspects import find_suspects
from adlib.methods import PatchCore, PatchCoreConfig
from adlib.metrics import PROTOCOLS, prepare_maps
from adlib.nn.reconstruction import distance_maps

Folder = Callable[..., Path]
TINY = PatchCoreConfig(
    encoder="vit-tiny", weights=Path("random"), layers=(0, 1), size=(32, 48), memory=5
)


def slow_scores(images: ImageDataset) -> list[float]:
    """PatchCore's score of each image of one category by the patches of the others, in loops."""
    method = PatchCore(TINY)
    frame, found = transform_of(method), []
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack([frame.image(sample.image) for sample in images]))
        groups = method.encode(pixels).half().double().numpy()  # n 2 t c, fp16 as from the cache
    units = groups / np.linalg.norm(groups, axis=3, keepdims=True) / 2**0.5
    patches = np.concatenate([units[:, 0], units[:, 1]], axis=2)  # n t 2c
    for i, mine in enumerate(patches):
        others = [patch for j, image in enumerate(patches) if j != i for patch in image]
        d = [min(float(np.linalg.norm(x - y)) for y in others) for x in mine]
        spread = distance_maps(torch.tensor(d)[None, None].float(), method.grid, TINY.size)
        found.append(float(prepare_maps(spread.numpy(), PROTOCOLS["ours"]).max()))
    return found


def test_each_score_is_patchcore_s_from_all_other_images_of_the_category(folder: Folder) -> None:
    images = adlib.load_data(folder(good=5)).train
    ranked = find_suspects(images, TINY)
    assert sorted(s.index for s in ranked) == list(range(10))
    for category in ("bolt", "nut"):
        mine = [s for s in ranked if s.category == category]
        expected = np.array(slow_scores(images.of(category)))
        first = images.references.index(images.of(category).references[0])
        assert [s.score for s in sorted(mine, key=lambda s: s.index)] == pytest.approx(
            expected, abs=1e-5
        )
        assert [s.index - first for s in mine] == np.argsort(-expected).tolist()
        assert [s.rank for s in mine] == [1, 2, 3, 4, 5]
        middle = np.median(expected)
        spread = np.median(abs(expected - middle)) / 0.6744898  # the normal's third quartile
        for s in mine:
            assert s.path == images.references[s.index].path
            assert s.deviations == pytest.approx((s.score - middle) / spread, abs=2e-2)
            assert s.heat is not None
            assert s.heat.max() == pytest.approx(s.score)
            assert s.scale[0] < middle < s.scale[1]


def contaminated(root: Path) -> Path:
    """Twelve noisy good photographs, and three with a defect each that slipped in."""
    rng, folder = np.random.default_rng(0), root / "parts/train/good"
    for place in (folder, root / "parts/test/good", root / "parts/test/cut"):
        place.mkdir(parents=True)
        Image.new("RGB", (50, 40)).save(place / "00.png")  # in `folder` replaced below
    for i in range(15):
        pixels = rng.integers(90, 120, size=(40, 50, 3), dtype=np.uint8)
        if i == 3:
            pixels[:20, :20] = 255
        elif i == 8:
            pixels[22:, 30:] = 0
        elif i == 13:
            pixels[10:30:2, 5:40] = (255, 0, 0)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return root / "parts"


def test_defects_among_good_images_come_first_in_table_page_and_print(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = contaminated(tmp_path), tmp_path / "found"
    monkeypatch.setattr(suspects, "PatchCoreConfig", lambda: TINY)
    monkeypatch.setattr(suspects, "SHOWN", 4)
    words = ["data", "suspects", str(data), "--out", str(out)]
    assert main(words) == 0
    with (out / "suspects.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "category", "rank", "score", "deviations"]
    assert {Path(row["path"]).stem for row in rows[:3]} == {"03", "08", "13"}
    assert [int(row["rank"]) for row in rows] == list(range(1, 16))
    assert float(rows[2]["deviations"]) > 2 * float(rows[3]["deviations"])
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 4
    assert len(list((out / "overlays").iterdir())) == 8
    places = [page.index(row["path"]) for row in rows[:4]]
    assert places == sorted(places)
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if line.endswith(".png")]
    assert [line.split()[-1] for line in lines] == [row["path"] for row in rows[:10]]
    assert "no image is known to be good" in shown
    assert "Good images of the test are not ranked: 1." in shown
    assert "no image is known to be good" in page
    assert main(words) == 2  # nothing is written twice
    assert "found exists already" in capsys.readouterr().err


def test_memory_is_bounded_and_no_image_is_compared_with_itself(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, sizes = adlib.load_data(folder(("nut",), good=6)).train, []

    def spy(method: PatchCore, features: torch.Tensor, dtype: torch.dtype) -> Any:
        sizes.append(len(method.memory))
        assert method.distances(features).min() > 0
        return score(method, features, dtype)

    score = suspects.score_features
    monkeypatch.setattr(suspects, "score_features", spy)
    monkeypatch.setattr(suspects, "MEMORY", 13)  # of 36 patches: two an image
    monkeypatch.setattr(suspects, "SHOWN", 2)
    ranked = find_suspects(images, TINY)
    assert sizes == [10] * 6
    assert [s.heat is not None for s in ranked] == [True, True, False, False, False, False]
    again = find_suspects(images, TINY)  # which patches are drawn is no chance
    assert [s.score for s in again] == [s.score for s in ranked]


def test_too_few_images_are_one_sentence(folder: Folder) -> None:
    images = adlib.load_data(folder(("nut",), good=3)).train
    with pytest.raises(ValueError, match=r"nut: expected at least 2 training images .*, got 1"):
        find_suspects(images.select([0]), TINY)
    with pytest.raises(ValueError, match=r"the data set: expected at least 2 .*, got 0"):
        find_suspects(images.select([]), TINY)


def test_copies_have_no_deviation_and_what_differs_from_them_is_infinitely_far(
    folder: Folder,
) -> None:
    images = adlib.load_data(folder(("nut",), good=3)).train
    copies = images.select([0, 0, 0, 0, 1])
    ranked = find_suspects(copies, replace(TINY, memory=6))
    assert [s.deviations for s in ranked] == [float("inf"), 0, 0, 0, 0]
    assert ranked[0].index == 4
