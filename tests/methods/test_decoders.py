"""Dinomaly and INP-Former against slow versions of their defining equations."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.methods import METHODS, Dinomaly
from adlib.nn.attention import Attention
from tests.methods.small import build, seeded
from tests.nn.tensors import random

BOTH = pytest.mark.parametrize("name", ["dinomaly", "inp-former"])


def moved(name: str, **changes: Any) -> Any:
    """A method away from its start, where biases and branches are next to nothing."""
    method, generator = build(name, **changes), seeded(7)
    with torch.no_grad():
        for p in method.trained():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
        for block in method.decoder if name == "inp-former" else ():
            block.attention.scale[1] *= -0.5  # a head that reads what is unlike
    return method.eval()


# The slow version: one token at a time, float64, no algebra done in advance.


def linear(part: nn.Module, x: Tensor) -> Tensor:
    return part.weight.double() @ x + part.bias.double()  # pyright: ignore


def norm(part: Any, tokens: list[Tensor]) -> list[Tensor]:
    weight, bias = part.weight.double(), part.bias.double()  # pyright: ignore
    centred = [x - x.mean() for x in tokens]
    return [x / (x.square().mean() + 1e-8).sqrt() * weight + bias for x in centred]


def mlp(part: nn.Module, x: Tensor) -> Tensor:
    first, last = (m for m in part.children() if isinstance(m, nn.Linear))
    hidden = linear(first, x)
    return linear(last, hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def attention(part: Any, kind: str, queries: list[Tensor], keys: list[Tensor]) -> list[Tensor]:
    """The weight of each pair of tokens in each head, written out."""
    width = len(queries[0]) // part.heads
    k, v = ([linear(layer, x) for x in keys] for layer in (part.k, part.v))
    outs = []
    for query in queries:
        q, mixed = linear(part.q, query), []
        for h in range(part.heads):
            at = slice(h * width, (h + 1) * width)
            if kind == "linear":
                phi = [torch.where(x[at] > 0, x[at] + 1, x[at].exp()) for x in (q, *k)]
                weights = [float(phi[0] @ p) for p in phi[1:]]
            elif kind == "relu":
                weights = [max(0.0, part.scale[h].item() * cosine(q[at], x[at])) for x in k]
            else:
                weights = [math.exp(float(q[at] @ x[at]) / math.sqrt(width)) for x in k]
            total = 1 if kind == "relu" else sum(weights)
            pairs = zip(weights, v, strict=True)
            mixed.append(torch.stack([w * x[at] for w, x in pairs]).sum(0) / total)
        outs.append(linear(part.out, torch.cat(mixed)))
    return outs


def prototypes(method: Any, f_i: list[Tensor]) -> list[Tensor]:
    """INP-Former's prototypes (m of c) of one image."""
    part, tokens = method.extractor, list(method.tokens.double())
    found = attention(part.attention, "softmax", norm(part.ln, tokens), norm(part.ln, f_i))
    p = [t + g for t, g in zip(tokens, found, strict=True)]
    return [x + mlp(part.mlp, y) for x, y in zip(p, norm(part.ln_p, p), strict=True)]


@torch.no_grad()
def rebuild(method: Any, groups: Tensor) -> tuple[Tensor, Tensor | None]:
    """Both groups (2 n c) of one image, and INP-Former's prototypes (m c), by the equations."""
    f_i = [(a + b) / 2 for a, b in groups.double().unbind(1)]
    p = prototypes(method, f_i) if method.name == "inp-former" else None
    tokens, outputs = [mlp(method.bottleneck, x) for x in f_i], []
    for block in method.decoder:
        if p is None:
            x = norm(block.ln_x, tokens)
            read = attention(block.attention, method.config.attention, x, x)
            y = [x + m for x, m in zip(tokens, read, strict=True)]
            normed = norm(block.ln_u, y)
        else:  # no residual leads around this attention
            y = attention(block.attention, "relu", norm(block.ln, tokens), norm(block.ln, p))
            normed = norm(block.ln_y, y)
        tokens = [x + mlp(block.mlp, z) for x, z in zip(y, normed, strict=True)]
        outputs.append(torch.stack(tokens))
    half = len(outputs) // 2
    late, early = torch.stack(outputs[half:]).mean(dim=0), torch.stack(outputs[:half]).mean(dim=0)
    return torch.stack([late, early]), None if p is None else torch.stack(p)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("dinomaly", {}), ("dinomaly", {"attention": "softmax"}), ("inp-former", {})],
)
def test_the_decoder_is_its_equations(name: str, changes: dict[str, Any]) -> None:
    method, groups = moved(name, **changes), random(2, 2, 6, 192)
    with torch.no_grad():
        found = method(groups)
    rebuilt, p = found if name == "inp-former" else (found, None)
    for image in range(2):
        expected, expected_p = rebuild(method, groups[image])
        torch.testing.assert_close(rebuilt[image].double(), expected, atol=2e-5, rtol=1e-4)
        if p is not None:
            torch.testing.assert_close(p[image].double(), expected_p, atol=2e-5, rtol=1e-4)


@BOTH
def test_the_loss_is_the_cosine_distance_and_inp_formers_a_fifth_of_the_coherence(
    name: str,
) -> None:
    method, groups = moved(name), random(2, 2, 6, 192)
    expected = 0.0
    for image in groups.double():
        rebuilt, p = rebuild(method, image)
        for target, output in zip(image, rebuilt, strict=True):
            expected += (1 - cosine(target, output)) / 4
        for token in image.mean(dim=0) if p is not None else ():
            expected += 0.2 * min(1 - cosine(token, x) for x in p) / 12  # pyright: ignore
    assert method.loss(groups).item() == pytest.approx(expected, abs=1e-6)


@BOTH
def test_maps_enlarge_the_mean_of_the_groups_distances(name: str) -> None:
    method, groups = moved(name), random(1, 2, 6, 192)
    rebuilt, _ = rebuild(method, groups[0])
    heat = method.maps(groups)[0]
    for i, (row, column) in {0: (0, 0), 2: (0, 47), 3: (31, 0), 5: (31, 47)}.items():
        d = sum(1 - cosine(groups[0, g, i].double(), rebuilt[g, i]) for g in range(2)) / 2
        assert heat[row, column].item() == pytest.approx(d, abs=1e-5)  # aligned corners


def slow_weights(method: Any, d: Tensor, share: float) -> Tensor:
    """Of each point (b g n): the cube of its relative distance, or 0.1 if it is an easy one."""
    weights = torch.ones_like(d)
    for g in range(d.shape[1]):
        values = sorted(d[:, g].flatten().tolist())
        threshold = values[math.ceil(share * (len(values) - 1) - 1e-6)]
        for image in range(d.shape[0]):
            for i in range(d.shape[2]):
                point = d[image, g, i].item()
                if method.name != "dinomaly":
                    weights[image, g, i] = (point / (sum(values) / len(values))) ** 3
                elif point < threshold:
                    weights[image, g, i] = 0.1
    return weights


@pytest.mark.parametrize(
    ("name", "step", "share"),
    [
        ("dinomaly", 0, 0.0),
        ("dinomaly", 5, 0.45),
        ("dinomaly", 99, 0.9),
        ("inp-former", 0, 0.0),
        ("pro-ad", 0, 0.0),
    ],
)
def test_gradients_are_those_of_the_loss_times_the_weights(
    name: str, step: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, groups = moved(name), random(3, 2, 6, 192)
    rebuilt = (groups + 0.5 * random(*groups.shape, seed=1)).requires_grad_()
    p = random(3, 4, 192, seed=2)
    if name == "dinomaly":
        method.step.fill_(step)
    out = (lambda _: (rebuilt * 1.0, p)) if name == "inp-former" else (lambda _: rebuilt * 1.0)
    monkeypatch.setattr(method, "forward", out)
    method.loss(groups).backward()
    assert rebuilt.grad is not None

    free = rebuilt.detach().double().requires_grad_()
    target = groups.double()
    flat = F.cosine_similarity(target.flatten(2), free.flatten(2), dim=-1)
    (1 - flat).mean().backward()
    assert free.grad is not None
    d = 1 - F.cosine_similarity(target, free.detach(), dim=-1)
    weights = slow_weights(method, d, share)
    assert name != "dinomaly" or len(weights.unique()) == (1 if share == 0 else 2)
    expected = weights[..., None] * free.grad
    torch.testing.assert_close(rebuilt.grad.double(), expected, rtol=1e-3, atol=1e-8)


def test_dinomaly_counts_steps_in_training_only_and_keeps_them_with_the_weights() -> None:
    method, groups, shares = moved("dinomaly"), random(3, 2, 6, 192), []
    for _ in range(12):
        shares.append(method.train().easy_share().item())
        method.loss(groups)
        method.eval().loss(groups)
    assert shares == pytest.approx([0.09 * k for k in range(10)] + [0.9, 0.9])
    again = Dinomaly(method.config)
    again.load_state_dict(method.state_dict())
    assert again.step.item() == 12
    again.reset_parameters(seeded(0))
    assert again.step.item() == 0


@pytest.mark.parametrize("name", ["dinomaly", "pro-ad"])
def test_noise_enters_in_training_only(name: str) -> None:
    method, groups = build(name).eval(), random(2, 2, 6, 192)
    first = [torch.stack([method.loss(groups) for _ in range(2)])]
    first.append(torch.stack([method.train().loss(groups) for _ in range(2)]))
    assert [len(losses.unique()) for losses in first] == [1, 2]


def test_no_residual_leads_around_inp_formers_attention() -> None:
    block = moved("inp-former").decoder[0]
    assert isinstance(block.attention, Attention)
    with torch.no_grad():
        block.attention.out.weight.zero_()
        out = block(random(2, 5, 192), random(2, 4, 192, seed=1))
    assert out.std(dim=(0, 1)).max().item() < 1e-6  # all tokens are rebuilt alike
    assert out.std(dim=2).min().item() > 1e-3


@torch.no_grad()
def test_the_order_of_inp_formers_tokens_is_of_no_matter() -> None:
    method, groups, order = moved("inp-former"), random(2, 2, 6, 192), [3, 1, 0, 2]
    expected, p = method(groups)
    method.tokens.copy_(method.tokens[order].clone())
    rebuilt, again = method(groups)
    torch.testing.assert_close(again, p[:, order])
    torch.testing.assert_close(rebuilt, expected)


def test_a_reset_of_inp_former_draws_unit_tokens_and_scales_of_one() -> None:
    method = moved("inp-former")
    method.reset_parameters(seeded(3))
    assert method.tokens.std().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(method.decoder[2].attention.scale, torch.ones(3, 1, 1))


@pytest.mark.parametrize(
    ("name", "steps", "millions"),
    [("dinomaly", 10_000, 61.4), ("inp-former", 45_200, 68.5), ("pro-ad", None, 138.3)],
)
def test_the_papers_size_has_the_papers_weights(
    name: str, steps: int | None, millions: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = METHODS[name][0]
    config: Any = METHODS[name][1].paper()  # pyright: ignore[reportAttributeAccessIssue]
    assert (config.encoder, config.size, config.resize) == ("dinov2-b", (392, 392), (448, 448))
    with torch.device("meta"):  # no weights are made or read
        monkeypatch.setattr(kind, "reset_parameters", lambda self, generator: None)
        method = kind(replace(config, weights="random"))
    trained = sum(p.numel() for p in method.trained())
    assert trained == pytest.approx(1e6 * millions, rel=0.001 if steps else 0.01)
    assert method.grid == (28, 28)
    if name == "pro-ad":  # counted by hand in the notes
        assert tuple(method.prototypes.shape) == (784, 768)
        return
    c, heads = 768, 12
    an_mlp = 2 * 4 * c * c + 4 * c + c  # two matrices and their biases
    a_block = 4 * c * c + 4 * c + an_mlp + 2 * 2 * c  # attention, MLP, two norms
    extra = 6 * c + a_block + 8 * heads if name == "inp-former" else 0  # tokens, extractor, scales
    assert trained == an_mlp + 8 * a_block + extra
    assert (config.batch, config.steps) == (16, steps)
    assert {block.attention.heads for block in method.decoder} == {heads}
