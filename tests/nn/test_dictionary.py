"""Each form against its definition, and that its strength does not hang on how many there are."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import adlib
from adlib.engine.features import cached_features, transform_of
from adlib.nn.constraint import project
from adlib.nn.dictionary import RIDGE, TEMPERATURE, Gate, leading, nearest_mean, nearest_span
from adlib.study.mechanism import patch_classes
from tests.nn.tensors import random

K = 4


def normal_tokens(count: int, seed: int) -> Tensor:
    """Tokens of 24 channels that lie near a curved surface of 6 dimensions; count 24."""
    mixing = random(6, 24, seed=99)
    return torch.tanh(random(count, 6, seed=seed) @ mixing) + 0.02 * random(
        count, 24, seed=seed + 1
    )


def slow_span(f: Tensor, p: Tensor, k: int) -> Tensor:
    """One token at a time, differentiable: the equation of `nearest_span`."""
    out = []
    for token in f.flatten(0, 1):
        unit = p / p.norm(dim=1, keepdim=True)
        cosines = unit @ token / token.norm()
        b = unit[cosines.argsort(descending=True)[:k]]
        weights = (b @ token.detach() / token.detach().norm() / TEMPERATURE).softmax(dim=0).detach()
        c = sum(w * torch.outer(row, row) for w, row in zip(weights, b, strict=True))
        out.append(c @ torch.linalg.solve(c + RIDGE * torch.eye(len(token)), token))
    return torch.stack(out).view_as(f)


def test_nearest_span_and_its_gradients_are_the_definitions() -> None:
    results = []
    for span in (nearest_span, slow_span):
        f = random(2, 5, 24).requires_grad_()
        p = random(11, 24, seed=1).requires_grad_()
        y = span(f, p, K)
        (y * random(2, 5, 24, seed=2)).sum().backward()
        results.append((y, f.grad, p.grad))
    for ours, slow in zip(*results, strict=True):
        torch.testing.assert_close(ours, slow, atol=1e-4, rtol=1e-3)


def test_nearest_mean_lies_between_its_prototypes() -> None:
    f, p = random(2, 5, 24), random(11, 24, seed=1)
    y = nearest_mean(f, p, K)
    for token, mean in zip(f.flatten(0, 1), y.flatten(0, 1), strict=True):
        cosines = F.cosine_similarity(token[None], p, dim=1)
        best = cosines.argsort(descending=True)[:K]
        weights = (10 * cosines[best]).softmax(dim=0)
        torch.testing.assert_close(mean, weights @ p[best], atol=1e-5, rtol=1e-4)


def test_leading_passes_as_many_directions_as_asked_for() -> None:
    p = normal_tokens(500, seed=1)
    pi = leading(torch.eye(24)[None], p, 0.25)[0]
    torch.testing.assert_close(pi, pi.T, atol=1e-5, rtol=0)
    assert pi.trace().item() == pytest.approx(6, abs=1e-3)
    values = torch.linalg.eigvalsh(pi)
    assert values.min() >= -1e-5
    assert values.max() <= 1 + 1e-5
    few = leading(torch.eye(24)[None], p[:3], 0.25)[0]  # three prototypes have three directions
    assert few.trace().item() == pytest.approx(3, abs=0.05)


def kept(form: Callable[[Tensor, Tensor], Tensor], p: Tensor) -> float:
    """Return the share of the length of foreign tokens that passes."""
    foreign = random(1, 200, 24, seed=7)
    return (form(foreign, p).norm() / foreign.norm()).item()


FORMS = {
    "span": lambda f, p: nearest_span(f, p, K),
    "mean": lambda f, p: nearest_mean(f, F.normalize(p, dim=-1), K),
    "leading": lambda f, p: leading(f, p, 0.25),
}


@pytest.mark.parametrize("name", FORMS)
def test_more_prototypes_do_not_weaken_it(name: str) -> None:
    form = FORMS[name]
    few, many = (kept(form, normal_tokens(m, seed=3)) for m in (64, 4096))
    assert many < few + 0.12  # all prototypes together span every direction


def test_repeating_every_prototype_changes_nothing_but_places() -> None:
    f, p = random(1, 40, 24), normal_tokens(30, seed=5)
    twice = p.repeat(2, 1)
    torch.testing.assert_close(leading(f, twice, 0.25), leading(f, p, 0.25), atol=1e-5, rtol=0)
    torch.testing.assert_close(nearest_mean(f, twice, 2 * K), nearest_mean(f, p, K))
    torch.testing.assert_close(
        nearest_span(f, twice, 2 * K), nearest_span(f, p, K), atol=1e-4, rtol=0
    )


def test_the_gate_lets_typical_tokens_pass_and_learns_what_that_is() -> None:
    gate, p = Gate(), normal_tokens(64, seed=1)
    for step in range(3):
        gate.train()(normal_tokens(400, seed=10 + step)[None], p, K)
    typical, foreign = normal_tokens(300, seed=2)[None], random(1, 300, 24, seed=3)
    tau = gate.tau.clone()
    gate.eval()
    moved = [(gate(f, p, K) - f).norm() / f.norm() for f in (typical, foreign)]
    span = (nearest_span(foreign, p, K) - foreign).norm() / foreign.norm()
    assert moved[0] < 0.5 * moved[1]
    assert moved[1] > 0.8 * span
    assert torch.equal(gate.tau, tau)


def test_it_binds_with_more_vectors_than_channels_on_real_tokens() -> None:
    """Twice as many vectors as channels cut defects as selectively as two thirds.

    Of 384 channels; `project` on so many cuts next to nothing of either.
    """
    data = adlib.load_data("builtin", categories=["board", "screw"], train=8, test=8)
    method = adlib.ProAD(adlib.ProADConfig(constraint="none", prototypes=1))
    place = {"device": torch.device("cpu"), "dtype": torch.float32}
    fused = [
        cached_features(method, s, **place).float().mean(dim=1) for s in (data.train, data.test)
    ]
    normal, anomalous = patch_classes(data.test, transform_of(method), method.grid)
    pool = fused[0].flatten(0, 1)
    pool = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))]

    def lost(form: Callable[[Tensor, Tensor], Tensor], count: int, which: Tensor) -> float:
        tokens = fused[1][which][None]
        return 1 - (form(tokens, pool[:count]).norm(dim=-1) / tokens.norm(dim=-1)).mean().item()

    forms = {"span": lambda f, p: nearest_span(f, p, 32), "leading": leading}
    for form in forms.values():
        few, many = (
            [lost(form, count, which) for which in (anomalous, normal)] for count in (256, 768)
        )
        assert many[0] / many[1] > 0.9 * few[0] / few[1]
        assert many[0] > 0.75 * few[0]
    whole = lost(lambda f, p: project(f, p[None], 0 * f), 768, anomalous)
    assert whole < 0.25 * lost(forms["span"], 768, anomalous)
