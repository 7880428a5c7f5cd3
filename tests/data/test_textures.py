"""Textures come from where they are said to come from, and distorting them keeps them visible."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adlib.anomalies.textures import CHANGES, PACKAGED, Textures, distort, shuffled
from adlib.data.image_io import read_image

PICTURE = np.random.default_rng(0).integers(100, 200, (24, 40, 3), dtype=np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def test_the_packaged_ones_lie_in_the_installed_scikit_image() -> None:
    files = Textures().files
    assert [file.stem for file in files] == list(PACKAGED)
    assert {file.parent.parts[-2:] for file in files} == {("skimage", "data")}
    for file in files:
        assert read_image(file).std() > 10  # a picture, not a blank


def test_a_folder_is_searched_with_all_in_it(tmp_path: Path) -> None:
    save(tmp_path / "banded/a.png", np.full((20, 30, 3), 70, dtype=np.uint8))
    save(tmp_path / "b.jpg", np.full((20, 30, 3), 70, dtype=np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    textures = Textures(tmp_path)
    assert [file.name for file in textures.files] == ["b.jpg", "a.png"]
    drawn = textures.draw(rng(), (37, 251))
    assert drawn.shape == (37, 251, 3)
    assert (drawn == 70).all()
    first, again, other = (Textures().draw(rng(seed), (37, 51)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_folders_that_cannot_serve_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path}.* found none"):
        Textures(tmp_path)
    with pytest.raises(FileNotFoundError, match="none is none"):
        Textures(tmp_path / "none")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"broken\.png: expected a whole image file"):
        Textures(tmp_path)


@pytest.mark.parametrize("name", list(CHANGES))
def test_every_change_keeps_the_picture_in_sight(name: str) -> None:
    for picture in (PICTURE, read_image(Textures().files[4])[:37, :251]):
        for seed in range(8):
            changed = CHANGES[name](picture, rng(seed))
            assert changed.shape == picture.shape
            assert changed.dtype == np.uint8
            assert np.array_equal(changed, CHANGES[name](picture, rng(seed)))
    assert len(CHANGES) == 10


def test_turning_brings_in_no_black_corners() -> None:
    for seed in range(10):
        assert CHANGES["turn"](PICTURE, rng(seed)).min() >= 100
        wide = np.random.default_rng(1).integers(100, 200, (9, 80, 3), dtype=np.uint8)
        assert CHANGES["turn"](wide, rng(seed)).min() >= 100


def test_changes_do_what_they_are_called() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    assert np.array_equal(CHANGES["invert"](CHANGES["invert"](ramp, rng()), rng()), ramp)
    gamma = CHANGES["gamma"](ramp, rng())[0].astype(int)
    assert (np.diff(gamma, axis=0) >= 0).all()
    assert not gamma[0].any()
    assert (gamma[-1] == 255).all()
    assert np.ptp(gamma[128]) > 5  # each channel its own, so that gray gets a colour
    few = {len(np.unique(CHANGES["posterize"](ramp, rng(seed)))) for seed in range(20)}
    assert few <= {2, 4, 8, 16, 32, 64, 128, 256}
    assert len(few) > 3
    brighter = CHANGES["brightness"](ramp, rng()).astype(float)[0, 60:200, 0]
    slope, start = np.polyfit(np.arange(140), brighter, 1)
    assert np.abs(brighter - start - slope * np.arange(140)).max() < 1  # a straight line
    assert 0.8 <= slope <= 1.2
    sun = CHANGES["solarize"](ramp, rng())[0, :, 0].astype(int)
    assert set(np.unique(np.abs(np.diff(sun[:30])))) == {1}
    assert np.array_equal(sun[128:], 255 - np.arange(128, 256))
    flat = CHANGES["equalize"](np.sort(PICTURE, axis=None).reshape(PICTURE.shape), rng())
    assert (flat.min(), flat.max()) == (0, 255)
    gray = np.full((4, 5, 3), 128, dtype=np.uint8)
    colours = [CHANGES["hue and saturation"](gray, rng(seed)) for seed in range(8)]
    assert max(np.ptp(c[0, 0].astype(int)) for c in colours) > 10


def test_three_different_changes_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    three = [distort(PICTURE, rng(seed)) for seed in range(20)]
    assert len({picture.tobytes() for picture in three}) == 20
    assert np.array_equal(three[5], distort(PICTURE, rng(5)))
    applied: list[int] = []
    noting = {str(k): lambda picture, rng, k=k: (applied.append(k), picture)[1] for k in range(10)}
    monkeypatch.setattr("adlib.anomalies.textures.CHANGES", noting)
    distort(PICTURE, rng())
    assert len(applied) == len(set(applied)) == 3


def test_shuffling_moves_tiles_and_nothing_else() -> None:
    mixed = shuffled(PICTURE, rng())  # tiles of 3 x 5

    def tiles(picture: np.ndarray) -> list[bytes]:
        return [
            picture[y : y + 3, x : x + 5].tobytes()
            for y in range(0, 24, 3)
            for x in range(0, 40, 5)
        ]

    assert sorted(tiles(mixed)) == sorted(tiles(PICTURE))
    assert tiles(mixed) != tiles(PICTURE)


@pytest.mark.parametrize("size", [(37, 251), (5, 3), (64, 64)])
def test_shuffling_serves_any_size(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8)
    mixed = shuffled(picture, rng())
    assert mixed.shape == picture.shape
    colours = {colour.tobytes() for colour in picture.reshape(-1, 3)}
    assert {colour.tobytes() for colour in mixed.reshape(-1, 3)} <= colours
    assert not np.array_equal(mixed, picture)
