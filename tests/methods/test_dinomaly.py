"""Dinomaly against a slow version of its defining equations."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adlib
from adlib.methods import Dinomaly, DinomalyConfig
from adlib.nn.reconstruction import easy_point_weights

Vector = list[float]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny_config(**changes: Any) -> DinomalyConfig:
    """Dinomaly on 2 x 3 tokens of width 192 with random encoder weights."""
    values: dict[str, Any] = {
        "encoder": "vit-tiny",
        "weights": Path("random"),
        "layers": (0, 1),
        "size": (32, 48),
        "blocks": 4,
        "mlp_ratio": 0.25,
        "batch": 3,
        "steps": 4,
        "ramp": 10,
    }
    return DinomalyConfig(**(values | changes))


@pytest.fixture
def tiny() -> Dinomaly:
    method = Dinomaly(tiny_config())
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():  # away from the start, where biases and the branches are next to nothing
        for p in method.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=generator))
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


def attention(part: Any, tokens: list[Tensor], kind: str) -> list[Tensor]:
    """Self-attention with the weight of each pair of tokens in each head."""
    c = len(tokens[0])
    width = c // part.heads
    q = [linear(part.q, t) for t in tokens]
    k, v = ([linear(layer, t) for t in tokens] for layer in (part.k, part.v))
    out = []
    for i in range(len(tokens)):
        mixed = []
        for h in range(part.heads):
            at = slice(h * width, (h + 1) * width)
            if kind == "linear":
                phi = [torch.where(x[at] > 0, x[at] + 1, x[at].exp()) for x in (q[i], *k)]
                weights = [(phi[0] * p).sum() for p in phi[1:]]
            else:
                weights = [((q[i][at] * x[at]).sum() / math.sqrt(width)).exp() for x in k]
            pairs = zip(weights, v, strict=True)
            mixed.append(torch.stack([w * x[at] for w, x in pairs]).sum(0) / sum(weights))
        out.append(linear(part.out, torch.cat(mixed)))
    return out


@torch.no_grad()
def rebuild(method: Dinomaly, groups: Tensor) -> Tensor:
    """Both groups of one image (2 n c), by the equations."""
    tokens = [mlp(method.bottleneck, (a + b) / 2) for a, b in groups.double().unbind(1)]
    outputs = []
    blocks: list[Any] = list(method.decoder)
    for block in blocks:
        mixed = attention(
            block.attention, [norm(block.ln_x, x) for x in tokens], method.config.attention
        )
        u = [x + m for x, m in zip(tokens, mixed, strict=True)]
        tokens = [x + mlp(block.mlp, norm(block.ln_u, x)) for x in u]
        outputs.append(torch.stack(tokens))
    half = len(outputs) // 2
    late, early = sum(outputs[half:]) / half, sum(outputs[:half]) / half
    return torch.stack([torch.as_tensor(late), torch.as_tensor(early)])


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


@pytest.mark.parametrize("kind", ["linear", "softmax"])
def test_the_decoder_is_its_equations(kind: Any, tiny: Dinomaly) -> None:
    method = Dinomaly(tiny_config(attention=kind)).eval()
    method.load_state_dict(tiny.state_dict())  # the two attentions share their weights' names
    groups = random(2, 2, 6, 192)
    rebuilt = method(groups)
    for image in range(2):
        expected = rebuild(method, groups[image])
        torch.testing.assert_close(rebuilt[image].double(), expected, atol=2e-5, rtol=1e-4)


def test_the_loss_is_the_cosine_distance_of_flattened_groups(tiny: Dinomaly) -> None:
    groups = random(2, 2, 6, 192)
    expected = 0.0
    for image in groups:
        for target, rebuilt in zip(image.double(), rebuild(tiny, image), strict=True):
            expected += (1 - cosine(target, rebuilt)) / 4
    assert tiny.loss(groups).item() == pytest.approx(expected, abs=1e-6)


def test_maps_enlarge_the_mean_of_the_groups_distances(tiny: Dinomaly) -> None:
    groups = random(1, 2, 6, 192)
    rebuilt = rebuild(tiny, groups[0])
    d = [
        sum(1 - cosine(groups[0, g, i].double(), rebuilt[g, i]) for g in range(2)) / 2
        for i in range(6)
    ]
    heat = tiny.maps(groups)[0]
    rows, columns = [0, 0, 0, 31, 31, 31], [0, 23.5, 47, 0, 23.5, 47]  # tokens, aligned corners
    for value, row, column in zip(d, rows, columns, strict=True):
        seen = (heat[row, math.floor(column)] + heat[row, math.ceil(column)]).item() / 2
        middle = column == 23.5  # the ridge lies between two pixels
        assert seen == pytest.approx(value, abs=0.02 if middle else 1e-5)


# Hard points


def slow_weights(d: Tensor, share: float) -> Tensor:
    """0.1 for a point below the quantile of its group, by counting."""
    weights = torch.ones_like(d)
    for g in range(d.shape[1]):
        values = sorted(d[:, g].flatten().tolist())
        threshold = values[math.ceil(share * (len(values) - 1) - 1e-6)]
        for image in range(d.shape[0]):
            for i in range(d.shape[2]):
                if d[image, g, i].item() < threshold:
                    weights[image, g, i] = 0.1
    return weights


@pytest.mark.parametrize("share", [0.0, 0.35, 0.9])
def test_easy_points_are_those_below_the_quantile_of_their_group(share: float) -> None:
    d = random(3, 2, 7).abs()
    d[:, 1] += 5  # were the groups ranked together, all of the first would be easy
    weights = easy_point_weights(d, torch.tensor(share), 0.1)
    assert torch.equal(weights, slow_weights(d, share))
    easy = (weights < 1).sum(dim=(0, 2)).tolist()
    assert easy == [math.ceil(share * 20)] * 2  # of 21 points in each group


def test_points_of_one_distance_are_all_hard() -> None:
    d = torch.full((2, 2, 5), 0.3)
    assert torch.equal(easy_point_weights(d, torch.tensor(0.9), 0.1), torch.ones(2, 2, 5))


def gradients(method: Dinomaly, groups: Tensor, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the loss sends back into the decoder's output, and that output."""
    rebuilt = (groups + 0.5 * random(*groups.shape, seed=1)).requires_grad_()
    with monkeypatch.context() as patch:
        patch.setattr(method, "forward", lambda groups: rebuilt * 1.0)
        method.loss(groups).backward()
    return rebuilt.grad, rebuilt.detach()


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (5, 0.45), (10, 0.9), (99, 0.9)])
def test_gradients_are_those_of_the_loss_times_the_weights(
    step: int, share: float, tiny: Dinomaly, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = random(3, 2, 6, 192)
    tiny.step.fill_(step)
    gradient, rebuilt = gradients(tiny, groups, monkeypatch)
    target, free = groups.double(), rebuilt.double()

    def loss() -> float:
        pairs = [(target[i, g], free[i, g]) for i in range(3) for g in range(2)]
        return sum(1 - cosine(a, b) for a, b in pairs) / 6

    d = torch.tensor(
        [[[1 - cosine(target[i, g, t], free[i, g, t]) for t in range(6)] for g in range(2)]
         for i in range(3)]
    )  # fmt: skip
    weights = slow_weights(d, share)
    assert len(weights.unique()) == (1 if share == 0 else 2)
    for i, g, t, c in torch.cartesian_prod(
        torch.arange(3), torch.arange(2), torch.arange(6), torch.tensor([0, 100])
    ).tolist():
        value, slopes = free[i, g, t, c].item(), []
        for side in (1, -1):
            free[i, g, t, c] = value + side * 1e-4
            slopes.append(side * loss() / 2e-4)
        free[i, g, t, c] = value
        expected = weights[i, g, t].item() * sum(slopes)
        assert gradient[i, g, t, c].item() == pytest.approx(expected, rel=1e-3, abs=1e-8)


def test_steps_are_counted_in_training_only_and_kept_with_the_weights(tiny: Dinomaly) -> None:
    groups = random(3, 2, 6, 192)
    shares = []
    for _ in range(12):
        shares.append(tiny.train().easy_share().item())
        tiny.loss(groups)
        tiny.eval().loss(groups)
    assert shares == pytest.approx([0.09 * k for k in range(10)] + [0.9, 0.9])
    again = Dinomaly(tiny.config)
    again.load_state_dict(tiny.state_dict())
    assert again.step.item() == 12
    again.reset_parameters(torch.Generator().manual_seed(0))
    assert again.step.item() == 0


# The whole


def test_every_trainable_weight_learns_and_the_encoder_does_not(tiny: Dinomaly) -> None:
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


def test_a_map_knows_nothing_of_the_rest_of_its_batch(tiny: Dinomaly) -> None:
    images = torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = tiny.anomaly_map(images)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(tiny.anomaly_map(images[order]), together[order])
        torch.testing.assert_close(tiny.anomaly_map(images[1:2]), together[1:2])
        assert not torch.allclose(together[0], together[1])


def test_noise_enters_in_training_only(tiny: Dinomaly) -> None:
    groups = random(2, 2, 6, 192)
    assert torch.equal(tiny(groups), tiny(groups))
    tiny.train()
    assert not torch.equal(tiny(groups), tiny(groups))


def test_bf16_keeps_the_map(tiny: Dinomaly) -> None:
    groups = random(2, 2, 6, 192)
    with torch.no_grad():
        exact = tiny.maps(groups)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = tiny.maps(groups)
    torch.testing.assert_close(coarse, exact, atol=0.02, rtol=0.02)


def test_a_run_is_trained_written_and_read_back(folder: Callable[..., Path]) -> None:
    data = adlib.load_data(folder())
    method = adlib.Dinomaly(tiny_config(blocks=2))
    run = adlib.fit(method, data, steps=4, out=folder().parent / "run", precision="fp32")
    again = adlib.load_run(folder().parent / "run").method
    assert again.step.item() == 4
    groups = random(2, 2, 6, 192)
    assert torch.equal(again.eval().maps(groups), method.eval().maps(groups))
    assert run.losses[-1] < run.losses[0]


def test_the_papers_size_has_the_papers_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DinomalyConfig.paper()
    assert (config.encoder, config.size, config.resize) == ("dinov2-b", (392, 392), (448, 448))
    assert (config.batch, config.steps, config.ramp) == (16, 10_000, 1_000)
    with torch.device("meta"):  # no weights are made or read
        monkeypatch.setattr(Dinomaly, "reset_parameters", lambda self, generator: None)
        method = Dinomaly(replace(config, weights=Path("random")))
    trainable = sum(p.numel() for p in method.parameters() if p.requires_grad)
    c = 768
    an_mlp = 2 * 4 * c * c + 4 * c + c  # two matrices and their biases
    a_block = 4 * c * c + 4 * c + an_mlp + 2 * 2 * c  # attention, MLP, two norms
    assert trainable == an_mlp + 8 * a_block
    assert trainable == pytest.approx(61.4e6, rel=0.001)  # counted in the authors' code
    assert method.grid == (28, 28)
    blocks: list[Any] = list(method.decoder)
    assert {block.attention.heads for block in blocks} == {12}  # no weight tells


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": 3}, "blocks must be even"),
        ({"ramp": 0}, "ramp must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"easy": 1.0}, r"easy must lie in \[0, 1\), got 1.0"),
        ({"easy_gradient": 1.5}, r"easy_gradient must lie in \[0, 1\], got 1.5"),
    ],
)
def test_a_config_refuses_nonsense(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DinomalyConfig(**changes)


def test_what_does_not_fit_the_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match=r"layers must be even \(two groups\)"):
        Dinomaly(tiny_config(layers=(0, 1, 2)))
    with pytest.raises(ValueError, match="width 192 is not divisible by 5 heads"):
        Dinomaly(tiny_config(heads=5))
