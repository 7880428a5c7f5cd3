"""PRN against the definitions of its parts, and the invariants of the whole."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Subset

import adlib
from adlib.anomalies.training_set import AnomalyConfig
from adlib.data.split import supervise
from adlib.engine.runs import trained_state
from adlib.methods import PRN, PRNConfig, prn
from adlib.methods.prn import ALPHA, GAMMA, LAMBDA, NO_CLIP
from adlib.nn.fusion import Fusion
from adlib.nn.prototype_maps import kmeans
from adlib.nn.segmentation_loss import focal_loss

ARMS: dict[str, dict[str, Any]] = {
    "base": {"residuals": "off", "fusion": "off", "patch_attention": "off"},
    "MP": {"fusion": "off", "patch_attention": "off"},
    "MP+MF": {"patch_attention": "off"},
    "MP+MSA": {"fusion": "off"},
    "full": {},
    "form u": {"patch_attention": "u"},
    "shared": {"fusion": "shared"},
    "one fusion": {"refusion": False},
    "group norm": {"norm": "group"},
    "scaled": {"residuals": "scaled"},
    "absolute": {"residuals": "absolute"},
    "deepest": {"train_deepest": True},
    "enlarged": {"enlarge": 4},
    "vit": {"encoder": "vit-tiny", "layers": (0, 1, 2, 3), "size": (48, 80)},
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny_config(**changes: Any) -> PRNConfig:
    """PRN on a small CNN with random weights, its scales 16 x 24, 8 x 12 and 4 x 6."""
    values: dict[str, Any] = {
        "encoder": "efficientnet-lite0",
        "weights": Path("random"),
        "size": (64, 96),
        "blocks": 1,
        "prototypes": 3,
        "batch": 4,
    }
    return PRNConfig(**(values | changes))


def pictures(n: int = 3, seed: int = 0, size: tuple[int, int] = (64, 96)) -> Tensor:
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))


def masks(n: int = 3, size: tuple[int, int] = (64, 96)) -> Tensor:
    truth = torch.zeros(n, *size, dtype=torch.bool)
    truth[1:, 10:30, 20:50] = True
    return truth


def fitted(images: int = 5, **changes: Any) -> PRN:
    """A method whose prototypes were made of some random images."""
    method = PRN(tiny_config(**changes))
    normal = cached(method, images)
    method.fit_prototypes(Subset(normal, range(images)))  # pyright: ignore[reportArgumentType]
    return method


def cached(method: PRN, images: int = 5, seed: int = 7) -> Tensor:
    """Features as the cache holds them."""
    return method.encode(pictures(images, seed, method.config.size)).half()


def moved_weights(method: PRN) -> dict[str, Tensor]:
    """How far one training step moves everything that is saved."""
    before = {name: value.clone() for name, value in method.state_dict().items()}
    optimiser, schedule = method.configure_optimizer(3)
    size = method.config.size
    method.train()
    method.loss(pictures(size=size), masks(size=size)).backward()
    optimiser.step()
    schedule.step()
    return {name: (value - before[name]) for name, value in method.state_dict().items()}


# Levels and prototypes


@pytest.mark.parametrize("arm", ["full", "vit"])
def test_levels_are_the_encoders(arm: str) -> None:
    method = PRN(tiny_config(**ARMS[arm]))
    images = pictures(2, size=method.config.size)
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
    with pytest.raises(ValueError, match=r"prn needs 4 levels.*got layers=\(2, 3\) of 'wide_res"):
        PRN(PRNConfig(encoder="wide_resnet50", weights="random"))
    with pytest.raises(ValueError, match=r"prn needs 4 levels.*got layers=\(1, 2, 3\)"):
        PRN(tiny_config(layers=(1, 2, 3)))
    with pytest.raises(ValueError, match=r"finest to the coarsest; layers=\(3, 2, 1, 0\)"):
        PRN(tiny_config(layers=(3, 2, 1, 0)))


def test_prototypes_are_means_of_clusters_of_whole_maps() -> None:
    method = PRN(tiny_config(prototypes=2))
    features = torch.cat([cached(method, 3), cached(method, 3, seed=8) + 9]).half()  # two groups
    method.fit_prototypes(Subset(features, [0, 1, 2, 4, 5]))  # pyright: ignore[reportArgumentType]
    for level, part in zip(method.levels(features.float()), method.prototypes, strict=False):
        expected = torch.stack([level[:3].mean(dim=0), level[4:].mean(dim=0)])
        order = [0, 1] if part.p[0].mean() < part.p[1].mean() else [1, 0]  # pyright: ignore[reportIndexIssue]
        torch.testing.assert_close(part.p[order].permute(0, 3, 1, 2), expected)  # pyright: ignore[reportIndexIssue]
        variance = level[[0, 1, 2, 4, 5]].double().var(dim=0, unbiased=False).mean()  # of all five
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
    method = PRN(tiny_config(**changes))
    normal = cached(method, min(images, 7)).repeat(-(-images // 7), 1, 1, 1)[:images]
    normal = normal + torch.arange(images).half().view(-1, 1, 1, 1) / 4  # no two alike
    method.fit_prototypes(Subset(normal, range(images)))  # pyright: ignore[reportArgumentType]
    assert [len(part.p) for part in method.prototypes] == [k] * 3  # pyright: ignore[reportArgumentType]


def test_an_image_that_is_a_prototype_has_no_residual() -> None:
    method = PRN(tiny_config(prototypes=None, ratio=1.0))
    features = cached(method)
    method.fit_prototypes(Subset(features, range(5)))  # pyright: ignore[reportArgumentType]
    for level, part in zip(
        method.levels(features[[3, 1]].float()), method.prototypes, strict=False
    ):
        assert torch.equal(part(level), torch.zeros_like(level))
    other = method.levels(cached(method, 2, seed=9).float())
    for level, part in zip(other, method.prototypes, strict=False):
        assert (part(level).flatten(1).amax(dim=1) > 0).all()


def test_a_seed_decides_weights_and_prototypes() -> None:
    method, other = fitted(), fitted()
    for a, b in zip(method.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    before = {name: value.clone() for name, value in trained_state(other).items()}
    other.reset_parameters(torch.Generator().manual_seed(5))
    for name, value in trained_state(other).items():
        if name.startswith("prototypes"):
            assert name.endswith(".variance") or len(value) == 0
        elif value.dim() > 1:  # a convolution's
            assert not torch.equal(value, before[name]), name
    with pytest.raises(ValueError, match="there are no prototypes yet: fit the method, or load"):
        other.maps(cached(other).float())


# The whole


def test_the_forward_pass_is_fig_3() -> None:
    """From features to logits, stage by stage, on the parts' own modules."""
    method: Any = fitted(blocks=2, enlarge=4).eval()
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


def test_arms_leave_out_their_part_and_nothing_else() -> None:
    parts = {arm: PRN(tiny_config(**ARMS[arm])) for arm in ARMS if arm != "vit"}

    def has(arm: str) -> tuple[int, int, int]:
        """Prototypes, fusions and weights of attention."""
        method = parts[arm]
        fusions = sum(isinstance(part, Fusion) for part in method.modules())
        return (
            len(method.prototypes),
            fusions,
            sum(p.numel() for p in method.attention.parameters()),
        )

    attention = has("full")[2]
    assert has("base") == (0, 0, 0)
    assert has("MP") == (3, 0, 0)
    assert has("MP+MF") == (3, 3, 0)
    assert has("MP+MSA") == (3, 0, attention)
    assert has("full") == (3, 3, attention)
    assert has("shared") == (3, 2, attention)
    assert has("one fusion") == (3, 2, attention)
    assert has("form u")[:2] == (3, 3)
    assert has("form u")[2] > attention
    shared: Any = parts["shared"]
    assert shared.fusion[0] is shared.fusion[-1]
    norms = [m for m in parts["group norm"].modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [
        m for m in parts["group norm"].encoder.modules() if isinstance(m, nn.BatchNorm2d)
    ]


def test_without_residuals_there_is_nothing_to_prepare() -> None:
    method = PRN(tiny_config(**ARMS["base"])).eval()
    method.fit_prototypes(Subset(cached(method), range(5)))  # pyright: ignore[reportArgumentType]
    assert not any(name.startswith("prototypes") for name in method.state_dict())
    assert method.maps(cached(method).float()).shape == (5, 64, 96)


@pytest.mark.parametrize("arm", ARMS)
def test_every_trained_weight_gets_a_gradient_and_the_encoder_none(arm: str) -> None:
    method = fitted(**ARMS[arm])
    moved = moved_weights(method)
    trained = dict(method.named_parameters())
    for name, weights in trained.items():
        if name.startswith("encoder."):
            assert not weights.requires_grad
            assert weights.grad is None
        else:
            assert weights.grad is not None, name
            assert weights.grad.abs().max() > 0, name
            assert weights.grad.isfinite().all(), name
            assert moved[name].abs().max() > 0, name
    frozen = ("encoder.", "prototypes.") + (("deepest.",) if arm == "deepest" else ())
    for name, gap in moved.items():
        if name.startswith("encoder.") or (name.startswith(frozen) and name not in trained):
            assert not gap.any(), name  # buffers of BatchNorms among them
        elif name.endswith(("running_mean", "running_var")):
            assert gap.abs().max() > 0, name
    norms = [m for m in method.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.training for m in norms)


@pytest.mark.parametrize("arm", ["full", "form u", "vit", "group norm"])
def test_a_map_knows_nothing_of_the_rest_of_its_batch(arm: str) -> None:
    method = fitted(**ARMS[arm])
    moved_weights(method)  # so that norms have seen something
    method.eval()
    images = pictures(4, size=method.config.size)
    together = method.anomaly_map(images)
    order = torch.tensor([2, 0, 3, 1])
    close: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(method.anomaly_map(images[order]), together[order], **close)
    torch.testing.assert_close(method.anomaly_map(images[1:2]), together[1:2], **close)
    assert not torch.allclose(together[0], together[1], **close)


def test_the_loss_is_its_two_parts() -> None:
    method = fitted().eval()
    images, truth = pictures(), masks()
    logits = method(method.encode(images))
    p = 1 / (1 + (-logits.double()).exp())
    squared = (p - truth.double()).square().mean() / 2
    focal = focal_loss(logits.double(), truth, ALPHA, GAMMA)
    expected = (squared + LAMBDA * focal).item()
    assert method.loss(images, truth).item() == pytest.approx(expected, rel=1e-5)
    assert (LAMBDA, ALPHA, GAMMA) == (5, 0.5, 4)


def test_training_finds_a_bright_square_wherever_it_lies() -> None:
    def squares(seed: int) -> tuple[Tensor, Tensor]:
        """Three images, the last two with a square each."""
        images, truth = pictures(3, seed), masks(3)
        truth = truth.roll((seed % 4 * 8, -(seed % 3) * 9), dims=(1, 2))
        images[truth.unsqueeze(1).expand_as(images)] = 1
        return images, truth

    method = fitted(lr=3e-3, schedule="constant", enlarge=1, patch_attention="off")
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


def test_bf16_maps_are_nearly_those_of_fp32() -> None:
    method = fitted().eval()
    features = cached(method).float()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = method.maps(features)
        loss = method.loss(pictures(), masks())
    assert rounded.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(rounded, method.maps(features), atol=0.02, rtol=0)


def test_bf16_ties_no_pixels_that_fp32_tells_apart() -> None:
    method = fitted().eval()
    features = cached(method).float()
    with torch.autocast("cpu", torch.bfloat16):
        logits = method(features)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 0.9 * len(method(features).unique())


def test_an_image_scores_the_mean_of_its_top_pixels() -> None:
    method = PRN(tiny_config(top=4))
    maps = random(2, 5, 7)
    expected = [sum(sorted(heat.flatten().tolist())[-4:]) / 4 for heat in maps]
    assert method.image_score(maps).tolist() == pytest.approx(expected)
    everything = PRN(tiny_config(top=100)).image_score(maps)
    torch.testing.assert_close(everything, maps.mean(dim=(1, 2)))


def test_the_trained_stage_starts_as_the_encoders_and_keeps_its_statistics() -> None:
    method: Any = fitted(train_deepest=True, decay=0.0)
    f3, deepest = method.levels(method.encode(pictures()))[2:]
    torch.testing.assert_close(method.deepest(f3), deepest, atol=1e-5, rtol=1e-4)
    frozen = {name: value.clone() for name, value in method.encoder.state_dict().items()}
    moved = moved_weights(method)
    assert not any(m.training for m in method.deepest.modules())
    assert any(gap.any() for name, gap in moved.items() if name.startswith("deepest."))
    assert all(torch.equal(frozen[k], v) for k, v in method.encoder.state_dict().items())
    method.reset_parameters(torch.Generator().manual_seed(1))
    torch.testing.assert_close(method.deepest(f3), deepest, atol=1e-5, rtol=1e-4)
    resnet: Any = PRN(tiny_config(encoder="resnet18", train_deepest=True))
    f3, deepest = resnet.levels(resnet.encode(pictures()))[2:]
    torch.testing.assert_close(resnet.deepest(f3), deepest, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="train_deepest needs a CNN whose last stage halves"):
        PRN(tiny_config(**ARMS["vit"], train_deepest=True))


# The engine's side


@pytest.mark.parametrize("arm", ["full", "form u", "shared", "deepest", "base"])
def test_a_method_is_saved_and_loaded_bit_for_bit(arm: str, tmp_path: Path) -> None:
    method = fitted(**ARMS[arm])
    moved_weights(method)
    method.eval()
    save_file(trained_state(method), tmp_path / "weights.safetensors")
    other = PRN(tiny_config(**(ARMS[arm] | {"prototypes": 1})))
    other.reset_parameters(torch.Generator().manual_seed(9))
    missing, unexpected = other.load_state_dict(
        load_file(tmp_path / "weights.safetensors"), strict=False
    )
    assert all(name.startswith("encoder.") for name in missing)
    assert not unexpected
    features = cached(method).float()
    assert torch.equal(other.eval().maps(features), method.maps(features))


def test_the_rate_rises_for_a_twentieth_and_falls_to_a_tenth() -> None:
    optimiser, schedule = PRN(tiny_config(lr=0.01)).configure_optimizer(40)
    rates = []
    for _ in range(41):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[:3] == [0, 0.005, 0.01]
    half = (1 - 0.1) / 2 * 0.01
    for i in (7, 21, 33):
        expected = 0.001 + half * (1 + math.cos((i - 2) / 38 * math.pi))
        assert rates[i] == pytest.approx(expected)
    assert rates[40] == pytest.approx(0.001)


def test_the_optimisers_differ_in_their_decay() -> None:
    """With L2 the decay passes through Adam's division, so a weight of no other gradient moves by
    lr, whatever its size; apart from it, by lr * decay * weight."""
    moved = {}
    for kind in ("adam", "adamw"):
        method = PRN(tiny_config(optimiser=kind, lr=0.01, decay=0.1, schedule="constant"))
        optimiser, schedule = method.configure_optimizer(10)
        weights = optimiser.param_groups[0]["params"]
        assert len(weights) == sum(p.requires_grad for p in method.parameters())
        before = weights[0].detach().clone()
        for p in weights:
            p.grad = torch.zeros_like(p)
        optimiser.step()
        moved[kind] = before - weights[0].detach()
        for _ in range(5):
            schedule.step()
        assert optimiser.param_groups[0]["lr"] == 0.01
    clear = before.abs() > 1e-3  # where Adam's epsilon does not count
    torch.testing.assert_close(moved["adam"][clear], 0.01 * before[clear].sign(), rtol=1e-3, atol=0)
    torch.testing.assert_close(moved["adamw"], 0.001 * before, rtol=1e-3, atol=1e-7)


def test_the_default_clips_no_gradient_and_fits_into_json() -> None:
    weights = nn.Parameter(torch.ones(3))
    weights.grad = torch.tensor([3e8, -4e8, 0.0])
    norm = Accelerator(cpu=True).clip_grad_norm_([weights], NO_CLIP)
    assert norm is not None
    assert norm.item() == pytest.approx(5e8)
    assert weights.grad.tolist() == [3e8, -4e8, 0]


def test_a_run_is_fitted_written_and_read_back(folder: Callable[..., Path]) -> None:
    root = folder(("bolt",), bad=6)
    data = supervise(adlib.load_data(root), seen=2)
    method: Any = PRN(tiny_config(steps=2, prototypes=2))
    run = adlib.fit(method, data, out=root.parent / "run", precision="fp32")
    assert len(run.losses) == 2
    again = adlib.load_run(root.parent / "run").method
    assert again.config == method.config
    features = cached(method).float()
    assert torch.equal(again.eval().maps(features), method.eval().maps(features))
    scores = adlib.evaluate(again, data)["mean"]
    assert 0 <= scores["pixel_ap"] <= 1


def test_what_was_asked_for_and_cannot_be_made_is_told(folder: Callable[..., Path]) -> None:
    data = adlib.load_data(folder(("bolt",)))  # nobody took defects out of its test
    method: Any = PRN(tiny_config(steps=1, prototypes=2))
    with pytest.warns(RuntimeWarning, match=r"no seen samples \(no defect was seen\)"):
        adlib.fit(method, data, precision="fp32")
    method = PRN(
        tiny_config(steps=1, prototypes=2, recipe=AnomalyConfig(seen=False, extended=False))
    )
    adlib.fit(method, data, precision="fp32")  # not asked for; pytest makes a warning an error


def test_made_samples_fit_the_loss(folder: Callable[..., Path]) -> None:
    data = adlib.load_data(folder(("bolt",)))
    method = PRN(tiny_config(recipe=AnomalyConfig(seen=False, extended=False)))
    samples = method.training_set(data.train, None, 0)
    images, truth = (
        torch.stack(part) for part in zip(*(samples[i] for i in range(4)), strict=True)
    )
    assert tuple(images.shape) == (4, 3, 64, 96)
    assert truth.flatten(1).any(dim=1).sum() == 2  # half of a batch is normal
    method.fit_prototypes(Subset(method.encode(images[~truth.flatten(1).any(dim=1)]), range(2)))  # pyright: ignore[reportArgumentType]
    assert method.loss(images, truth).item() > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ratio": 0.0}, r"ratio must lie in \(0, 1\], got 0.0"),
        ({"prototypes": 0}, "prototypes must be at least 1, got 0"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"patches": ()}, r"patches must be numbers of at least 1, got \(\)"),
        ({"clip": float("inf")}, "clip must be positive and finite, got inf; 1e12 clips none"),
        ({"decay": -1.0}, "decay must not be negative, got -1.0"),
        ({"top": 0}, "top must be at least 1, got 0"),
    ],
)
def test_a_config_refuses_nonsense(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PRNConfig(**changes)


# The papers' size


def test_the_papers_size_takes_a_step() -> None:
    method = PRN(replace(PRNConfig.paper(), weights="random"))
    assert method.shapes == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8)]
    normal = random(3, 1, 1, sum(c * h * w for c, h, w in method.shapes)).half()
    method.fit_prototypes(Subset(normal, range(3)))  # pyright: ignore[reportArgumentType]
    optimiser, _ = method.configure_optimizer(5)
    size = (256, 256)
    loss = method.loss(pictures(1, size=size), masks(2, size)[1:])
    loss.backward()
    optimiser.step()
    assert 0 < loss.item() < 2
    assert all(
        p.grad is not None and p.grad.isfinite().all()
        for p in method.parameters()
        if p.requires_grad
    )


@pytest.mark.parametrize(("form", "millions"), [("g", 30.97), ("u", 72.5)])
def test_the_papers_size_has_the_weights_of_its_arithmetic(form: Any, millions: float) -> None:
    """Less what a single patch does not need, nor any key: see `adlib.nn.patch_attention`."""

    class Shell(PRN):  # draws no weights
        def reset_parameters(self, generator: torch.Generator) -> None:
            pass

    with torch.device("meta"):
        method = Shell(replace(PRNConfig.paper(), weights="random", patch_attention=form))
    found = sum(p.numel() for p in method.attention.parameters())
    unused = 0
    for c, h, w in method.shapes[:3]:
        d = 2 * c
        if form == "g":
            unused += 3 * 2 * (d * d // 4)  # one head's queries and keys
        else:
            tokens = [d * (h // r) * (w // r) for r in (1, 2, 4, 8)]
            unused += 3 * (4 * tokens[0] + sum(tokens[1:]))  # of one patch; shifts of keys
    assert (found + unused) / 1e6 == pytest.approx(millions, rel=0.005)
    normals, batch = 209, PRNConfig.paper().batch  # of `bottle`; half of a batch are normal
    assert PRNConfig.paper().steps == 700 * (2 * normals // batch)


def test_the_training_set_has_the_seen_defects_the_recipe_and_the_seed(
    folder: Callable[..., Path],
) -> None:
    data = supervise(adlib.load_data(folder(("bolt",), bad=6)), seen=2)
    method = PRN(tiny_config(recipe=AnomalyConfig(simulated=False)))

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
    method = fitted()
    method.reset_parameters(torch.Generator().manual_seed(5))
    method.fit_prototypes(Subset(cached(method), range(5)))  # pyright: ignore[reportArgumentType]
    assert len(seen) == 6  # three scales, twice
    assert len(set(seen)) == 2
    assert seen[3] == method.seed
