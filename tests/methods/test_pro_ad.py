"""Pro-AD against the equations of its chapter."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adlib.methods import ProAD
from adlib.methods.pro_ad import Aggregation, Context, DecoderBlock, Reconstruction
from tests.conftest import tiny_config
from tests.methods.small import seeded, show
from tests.nn.tensors import random
from tests.nn.test_constraint import projected


def slow_attention(part: Any, a: Tensor, b: Tensor) -> Tensor:
    """A(a, b), linear, with its n by m weights written out."""
    q, k, v = part.q(a), part.k(b), part.v(b)
    phi_q, phi_k = F.elu(q) + 1, F.elu(k) + 1
    outs = []
    for qh, kh, vh in zip(*(x.chunk(part.heads, dim=-1) for x in (phi_q, phi_k, v)), strict=True):
        weights = torch.einsum("bnd,bmd->bnm", qh, kh)
        outs.append(weights / weights.sum(dim=-1, keepdim=True) @ vh)
    return part.out(torch.cat(outs, dim=-1))


def small_block(constraint: str = "none") -> Any:
    """A decoder block of 3 heads on tokens of width 12."""
    return DecoderBlock(
        Aggregation(12, 3, 2.0, "linear"),
        Context(12, 3, "linear"),
        Reconstruction(12, 3, 2.0, "linear", constraint),
    )


@pytest.mark.parametrize("form", ["project", "none", "nores"])
def test_a_block_is_its_equations(form: str) -> None:
    block = small_block(constraint=form)
    gather, look, rebuild = block.aggregation, block.context, block.reconstruction
    x, p0 = random(2, 5, 12), random(2, 5, 12, seed=1)
    p = p0 + slow_attention(gather.attention, gather.ln_p(p0), gather.ln_x(x))
    p = p + gather.mlp(gather.ln_p2(p))
    u = x + slow_attention(look.attention, look.ln_x(x), look.ln_x(x))
    r = slow_attention(rebuild.attention, rebuild.ln_u(u), rebuild.ln_p(p))
    kept = {"project": projected(u, p), "none": u, "nores": 0 * u}[form]
    y = kept + r
    expected = y + rebuild.mlp(rebuild.ln_y(y))
    x_new, p_new = block(x, p0)
    torch.testing.assert_close(p_new, p, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x_new, expected, atol=1e-5, rtol=1e-5)


def test_static_prototypes_stay_and_no_context_is_no_context() -> None:
    block = DecoderBlock(None, None, Reconstruction(12, 3, 2.0, "linear", "none"))
    part: Any = block.reconstruction
    x, p = random(2, 5, 12), random(2, 7, 12, seed=1)
    x_new, p_new = block(x, p)
    assert torch.equal(p_new, p)
    y = x + slow_attention(part.attention, part.ln_u(x), part.ln_p(p))
    expected = y + part.mlp(part.ln_y(y))
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


def test_encode_averages_each_half_of_the_levels() -> None:
    method = ProAD(tiny_config(layers=(0, 2, 3, 5)))
    images = torch.rand(2, 3, 32, 48)
    a, b, c, d = method.encoder(images)
    expected = torch.stack([(a + b) / 2, (c + d) / 2], dim=1)
    torch.testing.assert_close(method.encode(images), expected)


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


def test_what_noise_may_become_lies_near_the_prototypes() -> None:
    """Under `project`, whatever comes in, y is a combination of prototypes and of what is read.

    The values that attention reads span 5 dimensions around one of them, for 6 prototypes in a
    width of 192.
    """
    method: Any = ProAD(tiny_config(heads=1, update="never", constraint="project")).eval()
    x, p = method.decoder_input(30 * random(3, 2, 6, 192))
    for block in method.decoder:
        part, u = block.reconstruction, block.context(x)
        y = part.constraint(u, p, part.attention(part.ln_u(u), part.ln_p(p)))
        points = part.attention.out(part.attention.v(part.ln_p(p)))  # b 6 c
        directions = torch.cat([points[:, 1:] - points[:, :1], p], dim=1).double().mT
        away = (y - points[:, :1]).double().mT  # b c n
        left = away - directions @ torch.linalg.lstsq(directions, away).solution
        assert left.norm() < 1e-4 * away.norm()
        x, p = block(x, p)


def test_without_constraint_noise_passes() -> None:
    block = small_block(constraint="none")
    x, p = 30 * random(1, 5, 12), random(1, 5, 12, seed=1)
    x_new, _ = block(x, p)
    assert F.cosine_similarity(x_new, x, dim=-1).min() > 0.9


def test_a_reset_draws_by_the_stated_laws(tiny: ProAD) -> None:
    tiny.reset_parameters(seeded(3))
    linear = dict(tiny.named_parameters())["decoder.0.aggregation.attention.q.weight"]
    assert linear.std().item() == pytest.approx(0.01 * (768 / 192) ** 0.5, rel=0.03)
    assert tiny.prototypes.std().item() == pytest.approx(0.02, rel=0.05)


def test_preparing_warns_of_a_constraint_that_holds_nothing_back() -> None:
    normal = random(4, 2, 60, 192)
    with pytest.warns(RuntimeWarning, match=r"200 prototypes .* 192 channels"):
        show(ProAD(tiny_config(prototypes=200)), normal)
    show(ProAD(tiny_config(prototypes=191)), normal)
    show(ProAD(tiny_config(prototypes=200, constraint="none")), normal)


def test_prototypes_start_as_tokens_of_different_images() -> None:
    method = ProAD(tiny_config(prototypes=5, constraint="none"))
    normal = random(7, 2, 6, 192)
    show(method, normal)
    fused = normal.mean(dim=1)  # 7 6 c
    same = (method.prototypes.detach()[:, None, None] == fused).all(dim=-1)  # 5 7 6
    assert same.flatten(1).sum(dim=1).tolist() == [1] * 5
    assert same.any(dim=2).any(dim=0).sum() == 5  # five images


def test_a_shortcut_lets_the_input_itself_into_the_decoder(tiny: ProAD) -> None:
    without = ProAD(tiny_config(shortcut=False)).eval()
    without.load_state_dict(tiny.state_dict())
    groups = random(2, 2, 6, 192)
    (x, p), (plain, same) = tiny.eval().decoder_input(groups), without.decoder_input(groups)
    torch.testing.assert_close(x, plain + groups.mean(dim=1))
    assert torch.equal(p, same)


def test_prototypes_know_no_decay_and_have_a_rate_of_their_own() -> None:
    """Without a gradient a weight moves by its decay alone; a first step is as long as its rate."""
    method: Any = ProAD(tiny_config(lr=100.0, prototype_lr=0.25))
    weight, prototypes = method.bottleneck[1].weight, method.prototypes
    for gradient in (0.0, 1.0):
        method.reset_parameters(seeded(0))
        optimiser, _ = method.configure_optimizer(steps=5)  # too few to warm up
        before = weight.detach().clone(), prototypes.detach().clone()
        for p in (weight, prototypes):
            p.grad = torch.full_like(p, gradient)
        optimiser.step()
        decayed = before[0] * (1 - 100 * 1e-4)
        torch.testing.assert_close(weight.detach(), decayed - 100 * gradient)
        torch.testing.assert_close(prototypes.detach(), before[1] - 25 * gradient)


def test_each_seed_draws_tokens_of_its_own() -> None:
    method, normal = ProAD(tiny_config(prototypes=5)), random(7, 2, 6, 192)

    def start(seed: int) -> Tensor:
        method.reset_parameters(seeded(seed))
        show(method, normal)
        return method.prototypes.detach().clone()

    first, again, other = start(3), start(3), start(4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("entry", ["span", "mean", "leading", "gate"])
def test_a_dictionary_is_all_that_the_decoder_sees_of_the_input(entry: str) -> None:
    config = tiny_config(
        dictionary=9, nearest=3, entry=entry, reading=False, update="never", constraint="none"
    )
    method = ProAD(config).train()
    show(method, random(5, 2, 6, 192).half())
    groups = random(3, 2, 6, 192, seed=1)
    loss = method.loss(groups)
    loss.backward()
    assert method.dictionary is not None
    gradient = method.dictionary.vectors.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    assert method.prototypes.grad is None  # nothing reads them
    method.eval()
    f_i = groups.mean(dim=1)
    seen = method.dictionary(f_i)
    assert not torch.allclose(seen, f_i)
    plain = ProAD(tiny_config(reading=False, update="never", constraint="none")).eval()
    kept = {k: v for k, v in method.state_dict().items() if k in plain.state_dict()}
    plain.load_state_dict(kept)
    again = plain(torch.stack([seen, seen], dim=1))  # the same decoder on the rebuilt input
    torch.testing.assert_close(method(groups), again)
