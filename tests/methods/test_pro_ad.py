"""Pro-AD against the equations of its chapter."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.methods import ProAD, ProADConfig
from adlib.methods.pro_ad import CONSTRAINTS, BidirectionalBlock
from adlib.nn.attention import LinearAttention
from tests.conftest import tiny_config


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_attention(part: LinearAttention, a: Tensor, b: Tensor) -> Tensor:
    """LCA(a, b) with its n by m weights written out."""
    q, (k, v) = part.q(a), part.kv(b).chunk(2, dim=-1)
    phi_q, phi_k = F.elu(q) + 1, F.elu(k) + 1
    outs = []
    for qh, kh, vh in zip(*(x.chunk(part.heads, dim=-1) for x in (phi_q, phi_k, v)), strict=True):
        weights = torch.einsum("bnd,bmd->bnm", qh, kh)
        outs.append(weights / weights.sum(dim=-1, keepdim=True) @ vh)
    return part.out(torch.cat(outs, dim=-1))


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_a_block_is_its_three_equations(constraint: str) -> None:
    block = BidirectionalBlock(12, 3, 2.0, CONSTRAINTS[constraint])
    x, p0 = random(2, 5, 12), random(2, 5, 12, seed=1)
    p = p0 + slow_attention(block.gather, block.ln_p(p0), block.ln_x(x))
    p = p + block.mlp_p(block.ln_p2(p))
    u = x + slow_attention(block.context, block.ln_x(x), block.ln_x(x))
    read = slow_attention(block.read, block.ln_u(u), block.ln_p3(p))
    y = {"anchor": p + read, "none": u + read, "nores": read}[constraint]
    expected = y + block.mlp_x(block.ln_y(y))
    x_new, p_new = block(x, p0)
    torch.testing.assert_close(p_new, p, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x_new, expected, atol=1e-5, rtol=1e-5)


def test_the_last_blocks_rebuild_the_first_levels(tiny: ProAD) -> None:
    class Fixed(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
            return torch.full_like(x, self.value), p

    tiny.decoder = nn.ModuleList(Fixed(v) for v in (1.0, 2.0, 4.0, 8.0))
    rebuilt = tiny(random(3, 2, 6, 192))
    assert rebuilt[:, 0].unique().item() == (4 + 8) / 2
    assert rebuilt[:, 1].unique().item() == (1 + 2) / 2


def test_extract_averages_each_half_of_the_levels() -> None:
    method = ProAD(tiny_config(layers=(0, 2, 3, 5)))
    images = torch.rand(2, 3, 32, 48)
    levels = method.encoder(images)
    groups = method.extract(images)
    torch.testing.assert_close(groups[:, 0], (levels[0] + levels[1]) / 2)
    torch.testing.assert_close(groups[:, 1], (levels[2] + levels[3]) / 2)


def test_loss_is_the_cosine_distance_of_flattened_maps(
    tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, rebuilt = random(3, 2, 6, 192), random(3, 2, 6, 192, seed=1)
    monkeypatch.setattr(tiny, "forward", lambda groups: rebuilt)
    expected = 0.0
    for image in range(3):
        for g in range(2):
            a, b = groups[image, g].flatten(), rebuilt[image, g].flatten()
            expected += (1 - a @ b / (a.norm() * b.norm())).item() / 6
    assert tiny.loss(groups).item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_weighted_by_the_cube_of_relative_distance(
    tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = random(3, 2, 6, 192)
    rebuilt = (groups + 0.5 * random(3, 2, 6, 192, seed=1)).requires_grad_()
    monkeypatch.setattr(
        tiny, "forward", lambda groups: rebuilt * 1.0
    )  # the hook sits on the decoder's output
    tiny.loss(groups).backward()

    free = rebuilt.detach().clone().requires_grad_()
    plain = sum(
        (1 - F.cosine_similarity(groups[i, g].flatten(), free[i, g].flatten(), dim=0)) / 6
        for i in range(3)
        for g in range(2)
    )
    assert isinstance(plain, Tensor)
    plain.backward()
    assert free.grad is not None
    assert rebuilt.grad is not None
    for g in range(2):
        d = 1 - F.cosine_similarity(groups[:, g], free[:, g], dim=-1).detach()  # b n
        weight = (d / d.mean()) ** 3
        torch.testing.assert_close(rebuilt.grad[:, g], weight[..., None] * free.grad[:, g])


def test_a_perfect_decoder_maps_to_zero_and_an_opposite_one_to_two(
    tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = random(2, 2, 6, 192)
    monkeypatch.setattr(tiny, "forward", lambda groups: groups)
    torch.testing.assert_close(tiny.maps(groups), torch.zeros(2, 32, 48), atol=1e-5, rtol=0)
    monkeypatch.setattr(tiny, "forward", lambda groups: -groups)
    torch.testing.assert_close(tiny.maps(groups), torch.full((2, 32, 48), 2.0))


def test_a_map_lies_over_its_tokens(tiny: ProAD, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = random(1, 2, 6, 192)
    wrong = groups.clone()
    wrong[:, :, 4] *= -1  # second row, second column of the 2 x 3 grid
    monkeypatch.setattr(tiny, "forward", lambda groups: wrong)
    heat = tiny.maps(groups)[0]
    corners = heat[[0, 0, 0, -1, -1, -1], [0, 23, 47, 0, 23, 47]]  # token centres, aligned corners
    assert heat.argmax().item() // 48 == 31
    assert corners.argmax() == 4
    assert heat[-1, 23:25].min() > 1.9
    assert heat[0].max() < 1e-5


def test_image_score_is_the_mean_of_the_top_share() -> None:
    method = ProAD(tiny_config(top=0.05))
    maps = random(3, 10, 30)
    expected = [sorted(m.flatten().tolist())[-15:] for m in maps]
    got = method.image_score(maps)
    torch.testing.assert_close(got, torch.tensor(expected).mean(dim=1))


def test_every_trainable_weight_learns_and_the_encoder_does_not(tiny: ProAD) -> None:
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    optimiser, schedule = tiny.optimiser(steps=5)
    tiny.train()
    for k in range(2):
        groups = tiny.extract(torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(k)))
        optimiser.zero_grad()
        tiny.loss(groups).backward()
        optimiser.step()
        schedule.step()
    gradient = tiny.prototypes.grad
    assert gradient is not None
    assert (gradient.abs().sum(dim=1) > 0).all()  # every prototype
    for name, value in tiny.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved != name.startswith("encoder."), name


def test_a_map_knows_nothing_of_the_rest_of_its_batch(tiny: ProAD) -> None:
    tiny.eval()
    images = torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = tiny.anomaly_map(images)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(tiny.anomaly_map(images[order]), together[order])
        torch.testing.assert_close(tiny.anomaly_map(images[1:2]), together[1:2])


def test_anchor_ignores_the_targets_own_residual() -> None:
    block = BidirectionalBlock(8, 2, 2.0, CONSTRAINTS["anchor"])
    silenced = ("read.out.weight", "read.out.bias", "mlp_x.4.weight", "mlp_x.4.bias")
    for name in silenced:  # the read-out, and the target's MLP
        nn.init.zeros_(dict(block.named_parameters())[name])
    x, p = random(2, 5, 8), random(2, 5, 8, seed=1)
    out, p_new = block(x, p)
    assert torch.equal(out, p_new)  # what is left is the prototype stream, and no u


def test_seeds_decide_the_weights(tiny: ProAD) -> None:
    def weights(seed: int) -> list[Tensor]:
        tiny.reset(torch.Generator().manual_seed(seed))
        return [p.clone() for p in tiny.parameters() if p.requires_grad]

    first, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    linear = dict(tiny.named_parameters())["decoder.0.gather.q.weight"]
    assert linear.std().item() == pytest.approx(0.01 * (768 / 192) ** 0.5, rel=0.03)
    assert tiny.prototypes.std().item() == pytest.approx(0.02, rel=0.05)


def test_bf16_keeps_the_map(tiny: ProAD) -> None:
    tiny.eval()
    groups = random(2, 2, 6, 192)
    with torch.no_grad():
        exact = tiny.maps(groups)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = tiny.maps(groups)
    torch.testing.assert_close(coarse, exact, atol=0.02, rtol=0.02)


def test_the_papers_size_has_the_papers_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ProADConfig.paper()
    assert (config.encoder, config.size, config.resize) == ("dinov2-b", (392, 392), (448, 448))
    with torch.device("meta"):  # no weights are made or read
        monkeypatch.setattr(ProAD, "reset", lambda self, generator: None)
        method = ProAD(replace(config, weights=Path("random")))
    trainable = sum(p.numel() for p in method.parameters() if p.requires_grad)
    assert tuple(method.prototypes.shape) == (784, 768)
    assert trainable == pytest.approx(137.7e6 + 784 * 768, rel=0.01)  # counted by hand in the notes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": 3}, "blocks must be even"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"prototypes": 0}, "prototypes must be at least 1"),
    ],
)
def test_a_config_refuses_nonsense(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ProADConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prototypes": 5}, "'anchor' needs one prototype a token, 6 at size .* got prototypes=5"),
        ({"layers": (0, 1, 2)}, r"layers must be even \(two groups\)"),
        (
            {"encoder": "resnet18", "layers": (1, 2), "size": (32, 64)},
            r"must share one width and one grid; .* widths \(64, 128\)",
        ),
        ({"weights": Path("nowhere.pth")}, "no weights file at nowhere.pth"),
    ],
)
def test_what_does_not_fit_the_encoder_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ProAD(tiny_config(**changes))
