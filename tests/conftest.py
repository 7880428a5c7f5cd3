"""What every test stands on: annotations are checked, no network, a cache of its own."""

import os

os.environ |= {"ADLIB_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}

from jaxtyping import install_import_hook

install_import_hook("adlib", "beartype.beartype")  # before adlib is imported anywhere

from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

from adlib.methods import ProAD, ProADConfig  # noqa: E402


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the feature cache of a test away from the user's and from other tests'."""
    monkeypatch.setenv("ADLIB_CACHE", str(tmp_path / "cache"))


def tiny_config(**changes: Any) -> ProADConfig:
    """A Pro-AD of 2 x 3 tokens with random encoder weights: milliseconds a step."""
    values: dict[str, Any] = {
        "encoder": "vit-tiny",
        "weights": Path("random"),
        "layers": (0, 1),
        "size": (32, 48),
        "blocks": 2,
        "mlp_ratio": 1.0,
        "batch": 3,
        "steps": 4,
    }
    return ProADConfig(**(values | changes))


@pytest.fixture
def tiny() -> ProAD:
    """A fresh tiny Pro-AD."""
    return ProAD(tiny_config())


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of data sets in the MVTec AD layout, with a bright square as the defect."""

    def make(
        categories: tuple[str, ...] = ("bolt", "nut"),
        good: int = 7,
        bad: int = 3,
        masks: bool = True,
    ) -> Path:
        root = tmp_path / "parts"
        rng = np.random.default_rng(0)
        for category in categories:
            for split, defect, n in (
                ("train", "good", good),
                ("test", "good", 4),
                ("test", "dent", bad),
            ):
                for i in range(n):
                    pixels = rng.integers(90, 120, size=(40, 50, 3), dtype=np.uint8)
                    truth = np.zeros((40, 50), dtype=np.uint8)
                    if defect != "good":
                        truth[10:22, 14 + i : 30 + i] = 255
                        pixels[truth > 0] = 240
                    path = root / category / split / defect / f"{i:03}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(path)
                    if defect != "good" and masks:
                        mask = root / category / "ground_truth" / defect / f"{i:03}_mask.png"
                        mask.parent.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(truth).save(mask)
        return root

    return make
