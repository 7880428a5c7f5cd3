"""PRN against the definitions of its parts, and the invariants of the whole."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

import adlib
from adlib.anomalies.training_set import AnomalyConfig
from adlib.data.split import supervise
from adlib.methods import PRN, PRNConfig, prn
from adlib.methods.prn import ALPHA, GAMMA, LAMBDA, NO_CLIP
from adlib.nn.fusion import Fusion
from adlib.nn.patch_attention import SplitBlock
from adlib.nn.prototype_maps import PrototypeMaps, kmeans
from adlib.nn.segmentation_loss import focal_loss
from tests.methods.small import batch, build, cached, fitted, pictures, seeded, show
from tests.nn.tensors import random

VIT = {"encoder": "vit-tiny", "layers": (0, 1, 2, 3), "size": (48, 80)}


# Levels and prototypes


@pytest.mark.parametrize("changes", [{}, VIT])
def test_levels_are_the_encoders(changes: dict[str, Any]) -> None:
    method = build("prn", **changes)
    images = pictures(method, 2)
    features = method.encode(images)
    assert features.shape[1:3] == (1, 1)
    for level, tokens, (c, h, w) in zip(
        method.levels(features), method.encoder(images), method.shapes, strict=True
    ):
        assert torch.equal(level, tokens.mT.unflatten(2, (h, w)))
        assert level.shape[1] == c
        assert level.is_contiguous(memory_format=torch.channels_last)


def test_a_vit_gives_every_second_of_its_eight_levels() -> None:
    method = PRN(PRNConfig(encoder="vit-tiny", weights="random", size=(32, 48), blocks=1))
    assert method.encoder.layers == (3, 5, 7, 9)
    assert method.shapes == [(192, 2, 3)] * 4


def test_prototypes_are_means_of_clusters_of_whole_maps() -> None:
    method = build("prn", prototypes=2)
    features = torch.cat([cached(method, 3), cached(method, 2, seed=8) + 9]).half()  # two groups
    show(method, features)
    for level, part in zip(method.levels(features.float()), method.prototypes, strict=False):
        expected = torch.stack([level[:3].mean(dim=0), level[3:].mean(dim=0)])
        order = [0, 1] if part.p[0].mean() < part.p[1].mean() else [1, 0]
        torch.testing.assert_close(part.p[order].permute(0, 3, 1, 2), expected)
        variance = level.double().var(dim=0, unbiased=False).mean()
        torch.testing.assert_close(part.variance, variance.float(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("changes", "images", "k"),
    [
        ({"prototypes": None, "ratio": 0.5}, 7, 3),  # rounded down
        ({"prototypes": None, "ratio": 0.1}, 7, 1),  # at least one
        ({"prototypes": None, "ratio": 1.0}, 5, 5),
        ({"prototypes": None, "ratio": 0.29}, 100, 29),  # and not 28, as 0.29 * 100 is
        ({"prototypes": 4}, 5, 4),
        ({"prototypes": 9}, 5, 5),  # at most all
    ],
)
def test_as_many_prototypes_as_asked_for(changes: dict, images: int, k: int) -> None:
    method = build("prn", **changes)
    normal = cached(method, min(images, 7)).repeat(-(-images // 7), 1, 1, 1)[:images]
    show(method, normal + torch.arange(images).half().view(-1, 1, 1, 1) / 4)  # no two alike
    assert [len(part.p) for part in method.prototypes] == [k] * 3


def test_an_image_that_is_a_prototype_has_no_residual() -> None:
    method = build("prn", prototypes=None, ratio=1.0)
    features = cached(method)
    show(method, features)
    levels = method.levels(features[[3, 1]].float())
    others = method.levels(cached(method, 2, seed=9).float())
    for level, other, part in zip(levels[:3], others[:3], method.prototypes, strict=True):
        assert torch.equal(part(level), torch.zeros_like(level))
        assert (part(other).flatten(1).amax(dim=1) > 0).all()


# The whole


def test_the_forward_pass_is_fig_3() -> None:
    """From features to logits, stage by stage, on the parts' own modules."""
    method = fitted("prn", blocks=2, enlarge=4).eval()
    features = cached(method, 2, seed=3).float()
    f1, f2, f3, deepest = method.levels(features)
    nearest = [
        part.p[(part.p.permute(0, 3, 1, 2)[None] - f[:, None]).flatten(2).norm(dim=2).argmin(dim=1)]
        for f, part in zip((f1, f2, f3), method.prototypes, strict=True)
    ]
    D = [
        (f - p.permute(0, 3, 1, 2)) ** 2 / part.variance
        for f, p, part in zip((f1, f2, f3), nearest, method.prototypes, strict=True)
    ]
    of_f, of_d = method.fusion
    assert of_f is not of_d
    Z = [torch.cat(pair, 1) for pair in zip(of_f([f1, f2, f3]), of_d(D), strict=True)]
    for j, blocks in enumerate(method.attention):
        assert len(blocks) == 2
        for block in blocks:
            Z[j] = block(Z[j])
    z1, z2, z3 = method.refusion(Z)
    up, merge, x = method.decoder.up, method.decoder.merge, deepest
    for z, j, grid in ((z3, 2, (4, 6)), (z2, 1, (8, 12)), (z1, 0, (16, 24))):
        larger = nn.functional.interpolate(x, grid, mode="bilinear", align_corners=True)
        x = merge[j](torch.cat([up[j](larger), z], dim=1))
    full = nn.functional.interpolate(x, (64, 96), mode="bilinear", align_corners=True)
    expected = method.decoder.mask(method.decoder.head(full)).squeeze(1)
    torch.testing.assert_close(method(features), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(method.maps(features), 1 / (1 + (-expected).exp()))


@pytest.mark.parametrize(
    ("changes", "prototypes", "fusions", "blocks"),
    [
        ({"residuals": "off", "fusion": "off", "patch_attention": "off"}, 0, 0, 0),
        ({"residuals": "off"}, 0, 2, 3),
        ({"patch_attention": "off"}, 3, 3, 0),
        ({"fusion": "off"}, 3, 0, 3),
        ({"blocks": 2}, 3, 3, 6),
    ],
)
def test_an_arm_leaves_out_its_part_and_nothing_else(
    changes: dict[str, Any], prototypes: int, fusions: int, blocks: int
) -> None:
    parts = list(build("prn", **changes).modules())
    found = [
        sum(isinstance(m, kind) for m in parts) for kind in (PrototypeMaps, Fusion, SplitBlock)
    ]
    assert found == [prototypes, fusions, blocks]


def test_the_loss_is_its_two_parts() -> None:
    method = fitted("prn").eval()
    images, truth = batch(method)
    logits = method(method.encode(images))
    p = 1 / (1 + (-logits.double()).exp())
    squared = (p - truth.double()).square().mean() / 2
    focal = focal_loss(logits.double(), truth, ALPHA, GAMMA)
    expected = (squared + LAMBDA * focal).item()
    assert method.loss(images, truth).item() == pytest.approx(expected, rel=1e-5)
    assert (LAMBDA, ALPHA, GAMMA) == (5, 0.5, 4)


def test_training_finds_a_bright_square_wherever_it_lies() -> None:
    method = fitted("prn", lr=3e-3, schedule="constant", enlarge=1, patch_attention="off")

    def squares(seed: int) -> tuple[Tensor, Tensor]:
        """Three images, the last two with a square each."""
        images, truth = batch(method, seed=seed)
        truth = truth.roll((seed % 4 * 8, -(seed % 3) * 9), dims=(1, 2))
        images[truth.unsqueeze(1).expand_as(images)] = 1
        return images, truth

    optimiser, _ = method.configure_optimizer(25)
    method.train()
    losses = []
    for seed in range(25):
        optimiser.zero_grad()
        loss = method.loss(*squares(seed))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    images, truth = squares(23)  # a place that no step had
    heat = method.eval().anomaly_map(images)
    assert heat[truth].mean() > heat[~truth].mean() + 0.2
    scores = method.image_score(heat)
    assert scores[1:].min() > scores[0]


def test_bf16_ties_no_pixels_that_fp32_tells_apart() -> None:
    method = fitted("prn").eval()
    features = cached(method).float()
    with torch.autocast("cpu", torch.bfloat16):
        logits = method(features)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 0.9 * len(method(features).unique())


def test_an_image_scores_the_mean_of_its_top_pixels() -> None:
    method = build("prn", top=4)
    maps = random(2, 5, 7)
    expected = [sum(sorted(heat.flatten().tolist())[-4:]) / 4 for heat in maps]
    assert method.image_score(maps).tolist() == pytest.approx(expected)
    everything = build("prn", top=100).image_score(maps)
    torch.testing.assert_close(everything, maps.mean(dim=(1, 2)))


# The engine's side


def test_the_rate_rises_for_a_twentieth_and_falls_to_a_tenth() -> None:
    optimiser, schedule = build("prn", lr=0.01).configure_optimizer(40)
    rates = []
    for _ in range(41):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[:3] == [0, 0.005, 0.01]
    assert (rates[21], rates[40]) == pytest.approx((0.01 * (1 + 0.1) / 2, 0.001))


def test_the_decay_is_a_part_of_the_gradient() -> None:
    """It passes through Adam's division, so a weight of no other gradient moves by lr, whatever its
    size."""
    method = build("prn", lr=0.01, decay=0.1, schedule="constant")
    optimizer, schedule = method.configure_optimizer(10)
    weights = optimizer.param_groups[0]["params"]
    assert len(weights) == sum(p.requires_grad for p in method.parameters())
    before = weights[0].detach().clone()
    for p in weights:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = before - weights[0].detach()
    for _ in range(5):
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.01
    clear = before.abs() > 1e-3  # where Adam's epsilon does not count
    torch.testing.assert_close(moved[clear], 0.01 * before[clear].sign(), rtol=1e-3, atol=0)


def test_the_default_clips_no_gradient_and_fits_into_json() -> None:
    weights = nn.Parameter(torch.ones(3))
    weights.grad = torch.tensor([3e8, -4e8, 0.0])
    norm = Accelerator(cpu=True).clip_grad_norm_([weights], NO_CLIP)
    assert norm is not None
    assert norm.item() == pytest.approx(5e8)
    assert weights.grad.tolist() == [3e8, -4e8, 0]


def test_what_was_asked_for_and_cannot_be_made_is_told(folder: Callable[..., Path]) -> None:
    data = adlib.load_data(folder(("bolt",)))  # nobody took defects out of its test
    method = build("prn", steps=1, prototypes=2)
    with pytest.warns(RuntimeWarning, match="no seen samples"):
        adlib.fit(method, data, precision="fp32")
    method = build("prn", steps=1, prototypes=2, recipe=AnomalyConfig(seen=False, extended=False))
    adlib.fit(method, data, precision="fp32")  # not asked for; pytest makes a warning an error


def test_made_samples_fit_the_loss(folder: Callable[..., Path]) -> None:
    data = adlib.load_data(folder(("bolt",)))
    method = build("prn", recipe=AnomalyConfig(seen=False, extended=False))
    samples = method.training_set(data.train, None, 0)
    images, truth = (
        torch.stack(part) for part in zip(*(samples[i] for i in range(4)), strict=True)
    )
    assert tuple(images.shape) == (4, 3, 64, 96)
    assert truth.flatten(1).any(dim=1).sum() == 2  # half of a batch is normal
    show(method, method.encode(images[~truth.flatten(1).any(dim=1)]))
    assert method.loss(images, truth).item() > 0


# The papers' size


def test_the_papers_size_has_the_weights_of_its_arithmetic() -> None:
    """Less what a single patch does not need, nor any key: see `adlib.nn.patch_attention`."""

    class Shell(PRN):  # draws no weights
        def reset_parameters(self, generator: torch.Generator) -> None:
            pass

    with torch.device("meta"):
        method = Shell(replace(PRNConfig.paper(), weights="random"))
    found = sum(p.numel() for p in method.attention.parameters())
    # three blocks, in each of which one head needs no queries and keys
    unused = sum(3 * 2 * ((2 * c) ** 2 // 4) for c, _, _ in method.shapes[:3])
    assert (found + unused) / 1e6 == pytest.approx(30.97, rel=0.005)
    normals, batch = 209, PRNConfig.paper().batch  # of `bottle`; half of a batch are normal
    assert PRNConfig.paper().steps == 700 * (2 * normals // batch)


def test_the_training_set_has_the_seen_defects_the_recipe_and_the_seed(
    folder: Callable[..., Path],
) -> None:
    data = supervise(adlib.load_data(folder(("bolt",), bad=6)), seen=2)
    method = build("prn", recipe=AnomalyConfig(simulated=False))

    def plans(seed: int) -> list[Any]:
        made: Any = method.training_set(data.train, data.seen, seed)
        assert (made.size, made.composition.batch) == ((64, 96), 4)
        return [made.plan(i) for i in range(24)]

    assert {plan.kind for plan in plans(0)} == {"normal", "seen", "extended"}
    assert plans(0) == plans(0) != plans(1)


def test_the_seed_of_a_reset_draws_the_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(gram: Tensor, k: int, generator: torch.Generator) -> Tensor:
        seen.append(generator.initial_seed())
        return kmeans(gram, k, generator)

    monkeypatch.setattr(prn, "kmeans", watched)
    method = fitted("prn")
    method.reset_parameters(seeded(5))
    show(method, cached(method))
    assert len(seen) == 6  # three scales, twice
    assert len(set(seen)) == 2
    assert seen[3] == method.seed
