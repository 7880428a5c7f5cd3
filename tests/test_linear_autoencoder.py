"""The closed form is the best there is, nested in k, and the identity at full width."""

from itertools import pairwise

import pytest
import torch

from adlib.study.linear_autoencoder import LinearAutoencoder, numbers_to_try, principal, undirected

C = 6


@pytest.fixture
def tokens() -> torch.Tensor:
    """40 tokens of width 6, of unequal variance along directions that are not the axes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, C, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(C, C, generator=generator, dtype=torch.float64))[0]
    return (x * torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.1])) @ turn + 7


def both(tokens: torch.Tensor) -> list[LinearAutoencoder]:
    return [principal(tokens), undirected(tokens, torch.Generator().manual_seed(1))]


def test_errors_are_the_squared_distances_from_what_is_rebuilt(tokens: torch.Tensor) -> None:
    for model in both(tokens):
        x = tokens.reshape(5, 8, C) + 0.3  # tokens it was not fitted to
        for k in range(C + 1):
            slow = (x - model.rebuild(x, k)).square().sum(dim=-1)
            torch.testing.assert_close(model.errors(x, k), slow, atol=1e-10, rtol=0)


def test_mean_training_error_is_the_sum_of_the_variances_left_out(tokens: torch.Tensor) -> None:
    for model in both(tokens):
        for k in range(C + 1):
            expected = model.variances[k:].sum()
            torch.testing.assert_close(model.errors(tokens, k).mean(), expected)
    svd = torch.linalg.svdvals(tokens - tokens.mean(dim=0)).square() / len(tokens)
    torch.testing.assert_close(principal(tokens).variances, svd)


def test_no_other_projection_has_a_smaller_error_on_the_training_tokens(
    tokens: torch.Tensor,
) -> None:
    best = principal(tokens)
    for seed in range(20):
        other = undirected(tokens, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(other.mean, best.mean)
        for k in range(1, C):
            assert other.errors(tokens, k).mean() > best.errors(tokens, k).mean()


def test_all_components_are_the_identity_and_none_the_mean(tokens: torch.Tensor) -> None:
    for model in both(tokens):
        strange = 100 * torch.ones(3, C)  # fp32, and far from all that was seen
        assert (model.errors(strange, C) == 0).all()
        torch.testing.assert_close(model.rebuild(strange, C), strange.double())
        torch.testing.assert_close(model.rebuild(strange, 0), model.mean.expand(3, C))
        torch.testing.assert_close(
            model.components @ model.components.mT, torch.eye(C, dtype=torch.float64)
        )


def test_one_more_component_never_raises_any_tokens_error(tokens: torch.Tensor) -> None:
    for model in both(tokens):
        x = tokens + 2.0
        errors = [model.errors(x, k) for k in range(C + 1)]
        assert all((b <= a + 1e-12).all() for a, b in pairwise(errors))


def test_fewer_tokens_than_channels_leave_directions_without_variance() -> None:
    x = torch.randn(3, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = principal(x)
    assert (model.variances >= 0).all()
    assert model.enough(1 - 1e-9) == 2  # three points span a plane
    torch.testing.assert_close(model.rebuild(x, 2), x)


def test_enough_keeps_the_share_and_one_less_does_not(tokens: torch.Tensor) -> None:
    model = principal(tokens)
    for share in (0.3, 0.9, 0.99):
        k = model.enough(share)
        total = model.variances.sum()
        assert model.variances[:k].sum() >= share * total > model.variances[: k - 1].sum()
    assert model.enough(1.0) <= C
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got 95"):
        model.enough(95.0)


def test_drawn_directions_follow_from_the_generator(tokens: torch.Tensor) -> None:
    a, b, c = (undirected(tokens, torch.Generator().manual_seed(s)).components for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.allclose(a, c)


def test_numbers_to_try_are_dense_at_both_ends() -> None:
    assert numbers_to_try(10) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert numbers_to_try(2) == [0, 1, 2]
    for width in (3, 7, 64, 384):
        numbers = numbers_to_try(width)
        assert numbers == sorted({width - k for k in numbers})  # the same from both ends
        assert {0, 1, width - 1, width} <= set(numbers)


def test_too_many_components_are_refused(tokens: torch.Tensor) -> None:
    model = principal(tokens)
    for call in (model.errors, model.rebuild):
        with pytest.raises(ValueError, match=r"k must lie in 0\.\.6, the width of a token, got 7"):
            call(tokens, 7)
    with pytest.raises(ValueError, match="got -1"):
        model.errors(tokens, -1)
