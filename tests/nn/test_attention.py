"""Each kind of attention gives the numbers of its quadratic definition."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adlib.nn.attention import (
    KINDS,
    MLP,
    Attention,
    linear_attention,
    linear_weights,
)
from tests.nn.tensors import random


def by_definition(kind: str, q: Tensor, k: Tensor) -> Tensor:
    """Weights of each pair, one by one, with no algebra done in advance; b h n m."""

    def phi(x: Tensor) -> Tensor:
        return torch.where(x > 0, x + 1, x.exp())  # elu(x) + 1

    b, h, n, d = q.shape
    out = torch.zeros(b, h, n, k.shape[2], dtype=torch.float64)
    for i in range(b):
        for t in range(n):
            scores = [(k[i, j].double() @ q[i, j, t].double()) / d**0.5 for j in range(h)]  # m
            for j in range(h):
                if kind == "linear":
                    w = (phi(k[i, j].double()) * phi(q[i, j, t].double())).sum(dim=1)
                elif kind == "relu":
                    out[i, j, t] = (scores[j] * d**0.5).clamp(min=0)
                    continue
                else:
                    w = (scores[j] - scores[j].max()).exp()
                out[i, j, t] = w / w.sum()
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_equals_its_quadratic_definition(kind: str) -> None:
    q, k, v = random(2, 3, 5, 4), random(2, 3, 19, 4, seed=1), random(2, 3, 19, 4, seed=2)
    read, weigh = KINDS[kind]
    weights = by_definition(kind, q, k)
    torch.testing.assert_close(weigh(q, k).double(), weights, atol=1e-5, rtol=0)
    torch.testing.assert_close(read(q, k, v).double(), weights @ v.double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_module_mixes_values_by_its_weights(kind: str) -> None:
    part = Attention(12, 3, kind)
    a, b = random(2, 5, 12), random(2, 7, 12, seed=1)
    if part.scale is not None:
        torch.nn.init.constant_(part.scale, 3.0)
    values = part.split(part.v(b))
    mixed = part.weights(a, b) @ values  # b h n d
    together = torch.cat(mixed.unbind(dim=1), dim=-1)
    torch.testing.assert_close(part(a, b), part.out(together), atol=1e-5, rtol=1e-4)


def test_linear_attention_reads_all_prototypes_through_one_small_matrix() -> None:
    q, k = random(1, 1, 40, 4), random(1, 1, 60, 4, seed=1)
    assert torch.linalg.matrix_rank(linear_weights(q, k).double(), rtol=1e-5).item() == 4


def test_relu_weights_are_cosines_times_a_scale() -> None:
    part = Attention(12, 3, "relu")
    assert part.scale is not None
    torch.nn.init.constant_(part.scale, 3.0)
    a, b = random(2, 5, 12), random(2, 7, 12, seed=1)
    q, k = part.split(part.q(a)), part.split(part.k(b))
    cosine = F.cosine_similarity(q.unsqueeze(3), k.unsqueeze(2), dim=-1)  # b h n m
    torch.testing.assert_close(part.weights(a, b), 3 * cosine.clamp(min=0))


def test_vanishing_keys_in_bf16_stay_finite() -> None:
    q = torch.zeros(1, 2, 3, 4, dtype=torch.bfloat16)
    k = torch.full((1, 2, 5, 4), -1e4, dtype=torch.bfloat16)  # phi(k) underflows to zero
    v = torch.ones(1, 2, 5, 4, dtype=torch.bfloat16)
    out = linear_attention(q, k, v)
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


@pytest.mark.parametrize(
    ("heads", "kind", "words"),
    [
        (3, "linear", "width 10 is not divisible by 3 heads"),
        (2, "cubic", "unknown attention 'cubic'; known are linear, softmax, relu"),
    ],
)
def test_what_cannot_be_is_refused(heads: int, kind: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Attention(10, heads, kind)


def test_an_mlp_drops_before_between_and_after() -> None:
    part, drop, x = MLP(6, 2.0, dropout=0.5), torch.nn.Dropout(0.5), random(2, 5, 6)
    first, last = (m for m in part if isinstance(m, torch.nn.Linear))
    torch.manual_seed(3)
    found = part(x)
    torch.manual_seed(3)
    assert torch.equal(found, drop(last(drop(F.gelu(first(drop(x)))))))
    assert torch.equal(part.eval()(x), last(F.gelu(first(x))))


def test_linear_attentions_gradient_is_that_of_its_definition() -> None:
    inputs = [random(2, 3, n, 4, seed=n).double().requires_grad_() for n in (5, 7, 6)]
    q, k, v = inputs[0], inputs[1][:, :, :6], inputs[2]
    factors = random(2, 3, 5, 4, seed=9)
    weights = (F.elu(q) + 1) @ (F.elu(k) + 1).mT
    ((weights / weights.sum(dim=-1, keepdim=True)) @ v * factors).sum().backward()
    expected = [x.grad.clone() for x in inputs if x.grad is not None]
    for x in inputs:
        x.grad = None
    (linear_attention(q, k, v) * factors).sum().backward()
    for x, gradient in zip(inputs, expected, strict=True):
        torch.testing.assert_close(x.grad, gradient, atol=1e-5, rtol=1e-4)
