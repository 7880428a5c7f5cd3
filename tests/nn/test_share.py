"""A batch in shares: cut without overlap, with the noise of the whole."""

import pytest
import torch

from adlib.nn.noise import Dropout
from adlib.nn.share import Share, batch_mean, gather_batch, share, sharing


def test_shares_are_the_batch_cut_in_order() -> None:
    batch = torch.arange(12)
    parts = [Share(index, 3).of(batch) for index in range(3)]
    assert torch.equal(torch.cat(parts), batch)
    assert [len(part) for part in parts] == [4, 4, 4]
    with pytest.raises(ValueError, match="12 images do not divide into 5 equal shares"):
        Share(0, 5).of(batch)


def test_a_share_ends_with_its_block_also_after_an_error() -> None:
    with sharing(Share(1, 2)):
        assert share() == Share(1, 2)
    with pytest.raises(ValueError, match="7 images"), sharing(Share(1, 2)):
        share().of(torch.arange(7))
    assert share() == Share()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_noise_in_shares_is_the_noise_of_the_whole(count: int) -> None:
    dropout, batch = Dropout(0.4), torch.randn(6, 5, 7)
    torch.manual_seed(3)
    whole = dropout(batch)
    parts = []
    for index in range(count):
        torch.manual_seed(3)
        with sharing(part := Share(index, count)):
            parts.append(dropout(part.of(batch)))
    assert torch.equal(torch.cat(parts), whole)


def test_dropout_keeps_the_mean_and_the_gradient_follows_the_mask() -> None:
    torch.manual_seed(0)
    x = torch.ones(50, 60, 40, requires_grad=True)
    out = Dropout(0.25)(x)
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1, abs=0.01)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, out.detach())  # d out / d x is the mask's factor
    assert Dropout(0.25).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert Dropout(0.5)(x.bfloat16()).dtype == torch.bfloat16


def test_statistics_of_one_process_are_its_own() -> None:
    x = torch.randn(3, 2, 5, requires_grad=True)
    mean = batch_mean(x, (0, 2))
    assert torch.equal(mean, x.detach().mean(dim=(0, 2), keepdim=True))
    assert not mean.requires_grad
    assert torch.equal(gather_batch(x), x.detach())
    assert not gather_batch(x).requires_grad
