"""What survives of a foreign patch: all of it in an identity, nothing in a constant."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adlib.data.dataset import ImageDataset, ImageRef, Sample
from adlib.methods import ProAD
from adlib.study.mechanism.measurement import made_features, pasted, survival


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Rebuilds(nn.Module):
    """Stands for a method: its call is the function given."""

    def __init__(self, rebuild: Any) -> None:
        super().__init__()
        self.rebuild = rebuild

    def forward(self, groups: Tensor) -> Tensor:
        return self.rebuild(groups)


NORMAL = random(4, 2, 30, 7)
FOREIGN = random(3, 2, 30, 7, seed=1)
MADE, CHANGED = pasted(NORMAL, FOREIGN, (5, 6), torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("rebuild", "share"),
    [
        (lambda x: x, 1.0),
        (lambda x: 0.2 * x, 1.0),  # the loss knows no length
        (lambda x: (3 * x, x[:, 0]), 1.0),  # with prototypes beside it
        (lambda x: torch.ones_like(x), 0.0),
    ],
)
def test_an_identity_hands_all_on_and_a_constant_nothing(rebuild: Any, share: float) -> None:
    found = survival(Rebuilds(rebuild), NORMAL, MADE, CHANGED)
    assert found == pytest.approx(share, abs=1e-5)


def test_half_of_the_difference_survives_where_half_is_handed_on() -> None:
    rebuild = Rebuilds(lambda x: NORMAL + 0.5 * (x - NORMAL))
    assert survival(rebuild, NORMAL, MADE, CHANGED) == pytest.approx(0.5, abs=1e-5)


def test_only_the_changed_tokens_count() -> None:
    assert survival(Rebuilds(lambda x: x), NORMAL, MADE, ~CHANGED) is None  # nothing changed there
    lost = Rebuilds(lambda x: torch.where(CHANGED[:, None, :, None], NORMAL, x))
    assert survival(lost, NORMAL, MADE, CHANGED) == pytest.approx(0.0, abs=1e-6)


def test_a_square_of_one_foreign_image_is_pasted_into_each() -> None:
    assert CHANGED.sum(dim=1).tolist() == [4] * 4  # 0.3 of 5 rows and of 6 columns: 2 by 2
    assert torch.equal(MADE.transpose(1, 2)[~CHANGED], NORMAL.transpose(1, 2)[~CHANGED])
    for image, flags in zip(MADE, CHANGED, strict=True):
        assert any(torch.equal(image[:, flags], donor[:, flags]) for donor in FOREIGN)


def test_made_anomalies_change_the_patches_that_they_cover(tiny: ProAD) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    reference = ImageRef(path="a.png", category="nut", defect="good")

    def read(r: ImageRef) -> Sample:
        return Sample(
            image=picture, mask=None, label=False, category="nut", defect="good", path=r.path
        )

    images = ImageDataset([reference] * 60, read, lambda r: b"")
    before, after, covered = made_features(tiny.eval(), images, seed=0)
    assert before.shape == after.shape == (60, 2, 6, 192)
    assert covered.any()
    moved = (after - before).norm(dim=-1).mean(dim=1)  # b n
    assert (moved[covered] > 0).all()
