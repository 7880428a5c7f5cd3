"""Linear attention is attention: the same numbers as its quadratic definition."""

import pytest
import torch

from adlib.nn.attention import LinearAttention, linear_attention


def by_definition(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Weights for each pair of tokens, row by row, with no algebra done in advance."""
    b, n, c = q.shape
    d = c // heads
    out = torch.zeros(b, n, c, dtype=torch.float64)

    def phi(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x + 1, x.exp())  # elu(x) + 1

    for i in range(b):
        for h in range(heads):
            part = slice(h * d, (h + 1) * d)
            for t in range(n):
                w = (phi(q[i, t, part].double()) * phi(k[i, :, part].double())).sum(dim=1)  # m
                out[i, t, part] = (w / w.sum()) @ v[i, :, part].double()
    return out


def test_linear_attention_equals_its_quadratic_definition() -> None:
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 12, generator=g) for n in (5, 7, 7))
    torch.testing.assert_close(
        linear_attention(q, k, v, heads=3).double(), by_definition(q, k, v, 3), atol=1e-5, rtol=0
    )


def test_outputs_are_convex_mixtures_of_the_values() -> None:
    g = torch.Generator().manual_seed(1)
    q, k = (torch.randn(2, n, 8, generator=g) for n in (5, 7))
    constant = torch.full((2, 7, 8), 3.25)
    out = linear_attention(q, k, constant, heads=2)
    torch.testing.assert_close(out, torch.full_like(out, 3.25), atol=1e-5, rtol=0)


def test_order_of_keys_does_not_count() -> None:
    g = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(1, n, 8, generator=g) for n in (3, 6, 6))
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(
        linear_attention(q, k, v, 2), linear_attention(q, k[:, order], v[:, order], 2)
    )


def test_vanishing_keys_in_bf16_stay_finite() -> None:
    q = torch.zeros(1, 3, 8, dtype=torch.bfloat16)
    k = torch.full((1, 5, 8), -1e4, dtype=torch.bfloat16)  # phi(k) underflows to zero
    v = torch.ones(1, 5, 8, dtype=torch.bfloat16)
    out = linear_attention(q, k, v, heads=2)
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 10 is not divisible by 3 heads"):
        LinearAttention(10, 3)
