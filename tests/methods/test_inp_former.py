"""INP-Former against a slow version of its defining equations."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adlib
from adlib.methods import INPFormer, INPFormerConfig
from adlib.nn.attention import Attention
from adlib.nn.reconstruction import coherence_loss


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny_config(**changes: Any) -> INPFormerConfig:
    """INP-Former on 2 x 3 tokens of width 192 with random encoder weights."""
    values: dict[str, Any] = {
        "encoder": "vit-tiny",
        "weights": Path("random"),
        "layers": (0, 1),
        "size": (32, 48),
        "prototypes": 4,
        "blocks": 4,
        "mlp_ratio": 0.25,
        "batch": 3,
        "steps": 4,
    }
    return INPFormerConfig(**(values | changes))


@pytest.fixture
def tiny() -> INPFormer:
    method = INPFormer(tiny_config())
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():  # away from the start, where biases and the branches are next to nothing
        for p in method.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=generator))
        for block in method.decoder:
            block.attention.scale[1] *= -0.5  # pyright: ignore  # a head that reads what is unlike
    return method.eval()


# The slow version: one token at a time, float64, no algebra done in advance.


def linear(part: nn.Module, x: Tensor) -> Tensor:
    return part.weight.double() @ x + part.bias.double()  # pyright: ignore


def norm(part: nn.Module, x: Tensor) -> Tensor:
    centred = x - x.mean()
    spread = (centred.square().mean() + 1e-8).sqrt()
    return centred / spread * part.weight.double() + part.bias.double()  # pyright: ignore


def mlp(part: nn.Module, x: Tensor) -> Tensor:
    first, last = (m for m in part.children() if isinstance(m, nn.Linear))
    hidden = linear(first, x)
    return linear(last, hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def attention(part: Any, queries: list[Tensor], keys: list[Tensor]) -> list[Tensor]:
    """Softmax, or sharpened by ReLU where the part has a scale, with each weight written out."""
    c = len(queries[0])
    width = c // part.heads
    k, v = ([linear(layer, x) for x in keys] for layer in (part.k, part.v))
    outs = []
    for query in queries:
        q, mixed = linear(part.q, query), []
        for h in range(part.heads):
            at = slice(h * width, (h + 1) * width)
            if isinstance(part, Attention) and part.scale is not None:
                s = part.scale[h].item()
                weights = [max(0.0, s * cosine(q[at], x[at])) for x in k]
            else:
                exps = [math.exp(float(q[at] @ x[at]) / math.sqrt(width)) for x in k]
                weights = [e / sum(exps) for e in exps]
            pairs = zip(weights, v, strict=True)
            mixed.append(torch.stack([w * x[at] for w, x in pairs]).sum(0))
        outs.append(linear(part.out, torch.cat(mixed)))
    return outs


@torch.no_grad()
def rebuild(method: INPFormer, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Both groups (2 n c) and the prototypes (m c) of one image, by the equations."""
    f_i = [(a + b) / 2 for a, b in groups.double().unbind(1)]
    extractor, tokens = method.extractor, list(method.tokens.double())
    gathered = attention(
        extractor.attention,
        [norm(extractor.ln, t) for t in tokens],
        [norm(extractor.ln, x) for x in f_i],
    )
    p = [t + g for t, g in zip(tokens, gathered, strict=True)]
    p = [x + mlp(extractor.mlp, norm(extractor.ln_p, x)) for x in p]
    tokens, outputs = [mlp(method.bottleneck, x) for x in f_i], []
    blocks: list[Any] = list(method.decoder)
    for block in blocks:
        y = attention(
            block.attention, [norm(block.ln, x) for x in tokens], [norm(block.ln, x) for x in p]
        )
        tokens = [x + mlp(block.mlp, norm(block.ln_y, x)) for x in y]
        outputs.append(torch.stack(tokens))
    half = len(outputs) // 2
    late, early = sum(outputs[half:]) / half, sum(outputs[:half]) / half
    return torch.stack([torch.as_tensor(late), torch.as_tensor(early)]), torch.stack(p)


def test_prototypes_and_decoder_are_their_equations(tiny: INPFormer) -> None:
    groups = random(2, 2, 6, 192)
    rebuilt, prototypes = tiny(groups)
    for image in range(2):
        expected, p = rebuild(tiny, groups[image])
        torch.testing.assert_close(prototypes[image].double(), p, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(rebuilt[image].double(), expected, atol=2e-5, rtol=1e-4)


def test_the_loss_is_the_cosine_distance_and_a_fifth_of_the_coherence(tiny: INPFormer) -> None:
    groups = random(2, 2, 6, 192)
    distance, coherence = 0.0, 0.0
    for image in groups.double():
        rebuilt, p = rebuild(tiny, image)
        for target, output in zip(image, rebuilt, strict=True):
            distance += (1 - cosine(target, output)) / 4
        for token in image.mean(dim=0):
            coherence += min(1 - cosine(token, x) for x in p) / 12
    assert tiny.loss(groups).item() == pytest.approx(distance + 0.2 * coherence, abs=1e-6)


def test_coherence_is_zero_where_every_token_has_its_prototype() -> None:
    p = random(2, 3, 8)
    tokens = torch.cat([2 * p[:, 2:], 5 * p, p[:, :1]], dim=1)  # 2 5 8, in lengths of their own
    assert coherence_loss(tokens, p).item() == pytest.approx(0, abs=1e-6)
    assert coherence_loss(-p[:, :1], p[:, :1]).item() == pytest.approx(2)


def test_maps_enlarge_the_mean_of_the_groups_distances(tiny: INPFormer) -> None:
    groups = random(1, 2, 6, 192)
    rebuilt, _ = rebuild(tiny, groups[0])
    d = [
        sum(1 - cosine(groups[0, g, i].double(), rebuilt[g, i]) for g in range(2)) / 2
        for i in range(6)
    ]
    heat = tiny.maps(groups)[0]
    for i, (row, column) in {0: (0, 0), 2: (0, 47), 3: (31, 0), 5: (31, 47)}.items():
        assert heat[row, column].item() == pytest.approx(d[i], abs=1e-5)  # aligned corners


# What the prototypes bound


def test_attention_reads_combinations_of_the_prototypes_only() -> None:
    part = Attention(width=12, heads=2, kind="relu").double()
    values = []
    with torch.no_grad():
        part.out.weight.copy_(torch.eye(12))
        part.out.bias.zero_()
        for tokens in (random(1, 40, 12), 50 * random(1, 40, 12, seed=1)):
            values.append(part(tokens.double(), random(1, 3, 12, seed=2).double())[0])
    out = torch.cat(values)  # 80 12, of two images that share their prototypes
    for head in out.split(6, dim=1):
        assert torch.linalg.matrix_rank(head).item() == 3  # the prototypes', below the width's 6


def test_what_points_away_from_all_prototypes_reads_nothing() -> None:
    part = Attention(width=6, heads=1, kind="relu")
    assert part.scale is not None
    p = random(1, 1, 6)
    with torch.no_grad():
        for layer in (part.q, part.k, part.v):
            layer.weight.copy_(torch.eye(6))
            layer.bias.zero_()
        tokens = torch.cat([p, 7 * p, -p], dim=1)
        read = part(tokens, p)[0]
        torch.testing.assert_close(read[0], read[1])  # however long the token is
        torch.testing.assert_close(read[0], part.out(p[0, 0]))  # cosine 1, scale 1: the value
        assert torch.equal(read[2], part.out.bias)
        part.scale.fill_(2.5)  # weights sum to what the scale says, not to one
        torch.testing.assert_close(part(tokens, p)[0, 0], part.out(2.5 * p[0, 0]))


def test_no_residual_leads_around_the_attention(tiny: INPFormer) -> None:
    block: Any = tiny.decoder[0]
    with torch.no_grad():
        block.attention.out.weight.zero_()
        out = block(random(2, 5, 192), random(2, 4, 192, seed=1))
    assert out.std(dim=(0, 1)).max().item() < 1e-6  # all tokens are rebuilt alike
    assert out.std(dim=2).min().item() > 1e-3


# Soft mining


def test_gradients_are_those_of_the_loss_times_the_weights(
    tiny: INPFormer, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = random(3, 2, 6, 192)
    rebuilt = (groups + 0.5 * random(*groups.shape, seed=1)).requires_grad_()
    prototypes = random(3, 4, 192, seed=2)
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "forward", lambda groups: (rebuilt * 1.0, prototypes))
        tiny.loss(groups).backward()
    assert rebuilt.grad is not None
    target, free = groups.double(), rebuilt.detach().double()

    def loss() -> float:
        pairs = [(target[i, g], free[i, g]) for i in range(3) for g in range(2)]
        return sum(1 - cosine(a, b) for a, b in pairs) / 6

    d = torch.tensor(
        [[[1 - cosine(target[i, g, t], free[i, g, t]) for t in range(6)] for g in range(2)]
         for i in range(3)]
    )  # fmt: skip
    for i, g, t in torch.cartesian_prod(
        torch.arange(3), torch.arange(2), torch.arange(0, 6, 2)
    ).tolist():
        value, slopes = free[i, g, t, 5].item(), []
        for side in (1, -1):
            free[i, g, t, 5] = value + side * 1e-4
            slopes.append(side * loss() / 2e-4)
        free[i, g, t, 5] = value
        weight = (d[i, g, t] / d[:, g].mean()).item() ** 3
        expected = weight * sum(slopes)
        assert rebuilt.grad[i, g, t, 5].item() == pytest.approx(expected, rel=2e-3, abs=1e-8)


def test_every_trainable_weight_learns_and_the_encoder_does_not(tiny: INPFormer) -> None:
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    optimiser, schedule = tiny.configure_optimizer(steps=5)
    tiny.train()
    for k in range(2):
        groups = tiny.encode(torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(k)))
        optimiser.zero_grad()
        tiny.loss(groups).backward()
        optimiser.step()
        schedule.step()
    for name, p in tiny.named_parameters():
        assert (p.grad is None) == name.startswith("encoder."), name
    for name, value in tiny.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved != name.startswith("encoder."), name
    assert (tiny.tokens != before["tokens"]).any(dim=1).all()  # each of them


def test_a_map_knows_nothing_of_the_rest_of_its_batch(tiny: INPFormer) -> None:
    images = torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = tiny.anomaly_map(images)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(tiny.anomaly_map(images[order]), together[order])
        torch.testing.assert_close(tiny.anomaly_map(images[1:2]), together[1:2])
        assert not torch.allclose(together[0], together[1])


def test_the_order_of_the_tokens_learnt_is_of_no_matter(tiny: INPFormer) -> None:
    groups = random(2, 2, 6, 192)
    with torch.no_grad():
        expected, p = tiny(groups)
        tiny.tokens.copy_(tiny.tokens[[3, 1, 0, 2]].clone())
        rebuilt, again = tiny(groups)
    torch.testing.assert_close(again, p[:, [3, 1, 0, 2]])
    torch.testing.assert_close(rebuilt, expected)


def test_a_seed_decides_the_start(tiny: INPFormer) -> None:
    other = INPFormer(tiny.config)
    for method, seed in ((tiny, 3), (other, 3)):
        method.reset_parameters(torch.Generator().manual_seed(seed))
    for (name, a), b in zip(tiny.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert tiny.tokens.std().item() == pytest.approx(1, abs=0.1)
    block: Any = tiny.decoder[2]
    assert torch.equal(block.attention.scale, torch.ones(3, 1, 1))


def test_bf16_keeps_the_map(tiny: INPFormer) -> None:
    groups = random(2, 2, 6, 192)
    with torch.no_grad():
        exact, loss = tiny.maps(groups), tiny.loss(groups)
        with torch.autocast("cpu", torch.bfloat16):
            coarse, rough = tiny.maps(groups), tiny.loss(groups)
    torch.testing.assert_close(coarse, exact, atol=0.02, rtol=0.02)
    torch.testing.assert_close(rough, loss, atol=0.02, rtol=0.02)


def test_a_run_is_trained_written_and_read_back(folder: Callable[..., Path]) -> None:
    data = adlib.load_data(folder())
    method = adlib.INPFormer(tiny_config(blocks=2))
    run = adlib.fit(method, data, steps=6, out=folder().parent / "run", precision="fp32")
    again = adlib.load_run(folder().parent / "run").method
    groups = random(2, 2, 6, 192)
    assert torch.equal(again.eval().maps(groups), method.eval().maps(groups))
    assert run.losses[-1] < run.losses[0]


def test_the_papers_size_has_the_papers_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    config = INPFormerConfig.paper()
    assert (config.encoder, config.size, config.resize) == ("dinov2-b", (392, 392), (448, 448))
    assert (config.batch, config.steps, config.lr) == (16, 45_200, 1e-3)
    with torch.device("meta"):  # no weights are made or read
        monkeypatch.setattr(INPFormer, "reset_parameters", lambda self, generator: None)
        method = INPFormer(replace(config, weights=Path("random")))
    trainable = sum(p.numel() for p in method.parameters() if p.requires_grad)
    c, heads = 768, 12
    an_mlp = 2 * 4 * c * c + 4 * c + c  # two matrices and their biases
    a_block = 4 * c * c + 4 * c + an_mlp + 2 * 2 * c  # attention, MLP, two norms
    assert trainable == 6 * c + an_mlp + 9 * a_block + 8 * heads  # one block extracts, 8 decode
    assert trainable == pytest.approx(68.5e6, rel=0.001)  # counted in the authors' code
    assert method.grid == (28, 28)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": 3}, "blocks must be even"),
        ({"prototypes": 0}, "prototypes must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"coherence": -0.1}, "coherence must not be negative, got -0.1"),
        ({"hardness": -1.0}, "hardness must not be negative, got -1.0"),
    ],
)
def test_a_config_refuses_nonsense(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        INPFormerConfig(**changes)


def test_what_does_not_fit_the_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match=r"layers must be even \(two groups\)"):
        INPFormer(tiny_config(layers=(0, 1, 2)))
    with pytest.raises(ValueError, match="width 192 is not divisible by 5 heads"):
        INPFormer(tiny_config(heads=5))
