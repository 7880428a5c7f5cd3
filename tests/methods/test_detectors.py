"""What holds for every method, and what every one of them refuses."""

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file

import adlib
from adlib.data import load_builtin
from adlib.data.split import supervise
from adlib.engine.runs import trained_state
from adlib.methods import METHODS
from adlib.methods.detector import Detector, TokenDetector
from tests.methods.small import SMALL, build, cached, copies, fitted, pictures, seeded, show, step
from tests.nn.tensors import random

NAMES = list(SMALL)
LEARNING = [name for name in NAMES if name != "patchcore"]
VIT = {"encoder": "vit-tiny", "layers": (0, 1, 2, 3), "size": (48, 80)}
ARMS: dict[str, tuple[dict[str, Any], ...]] = {
    "pro-ad": (
        {},
        {"constraint": "none"},
        {"constraint": "nores", "prototypes": 4, "attention": "relu"},
        {"constraint": "project", "prototypes": 4, "update": "never"},
        {"constraint": "none", "context": False, "attention": "softmax"},
        {"prototype_lr": 0.5, "shortcut": False},
        *({"dictionary": 9, "nearest": 3, "entry": e} for e in ("span", "mean", "leading", "gate")),
    ),
    "dinomaly": ({}, {"attention": "softmax"}, {"encoder": "timm:test_vit", "layers": None}),
    "inp-former": ({},),
    "patchcore": ({},),
    "prn": (
        {},
        {"residuals": "off", "fusion": "off", "patch_attention": "off"},
        {"fusion": "off", "patch_attention": "off"},
        {"patch_attention": "off"},
        {"fusion": "off"},
        {"residuals": "square"},
        {"residuals": "absolute"},
        {"enlarge": 4},
        {"encoder": "timm:test_convnext"},
        VIT,
    ),
}
EVERY = [(name, arm) for name in NAMES for arm in ARMS[name]]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_implements_what_is_abstract_and_overrides_nothing_else(name: str) -> None:
    kind, settings = METHODS[name]
    assert issubclass(kind, Detector)
    assert kind.name == name
    assert not inspect.isabstract(kind)
    for base in (Detector, TokenDetector):
        if issubclass(kind, base):
            functions = {n: f for n, f in vars(base).items() if inspect.isfunction(f)}
            done = {n for n, f in functions.items() if not hasattr(f, "__isabstractmethod__")}
            assert not done & {*vars(kind)} - {"__init__", "training_set"}
    assert kind.__init__.__annotations__["config"] == settings | None


def test_only_prn_learns_from_defects() -> None:
    assert [n for n, (kind, _) in METHODS.items() if kind.learns_from_defects] == ["prn"]
    with pytest.raises(TypeError, match=r"dinomaly .* cached features"):
        build("dinomaly").training_set(load_builtin(train=1, test=2).train, None, 0)


def check_learning(method: Any) -> None:
    """Every weight gets a gradient and moves; nothing of the encoder does, nor what is data."""
    before, weights = copies(method), dict(method.named_parameters())
    losses = step(method, 8)
    assert losses[-1] < losses[0]
    for name, p in weights.items():
        frozen = name.startswith("encoder.")
        assert p.requires_grad != frozen, name
        assert (p.grad is None) == frozen, name
        assert frozen or (p.grad.isfinite().all() and p.grad.any()), name
    for name, value in method.state_dict().items():
        data = method.name == "prn" and name.startswith(("prototypes.", "deepest."))
        still = name.startswith("encoder.") or (data and name not in weights)
        assert torch.equal(value, before[name]) == still, name
    norms = [m for m in method.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(m.training for m in norms)


def check_maps(method: Any) -> None:
    """A map knows nothing of the rest of its batch."""
    images, order = pictures(method, 4), torch.tensor([2, 0, 3, 1])
    close: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-4}
    with torch.no_grad():
        together = method.anomaly_map(images)
        torch.testing.assert_close(method.anomaly_map(images[order]), together[order], **close)
        torch.testing.assert_close(method.anomaly_map(images[1:2]), together[1:2], **close)
    assert not torch.allclose(together[0], together[1], **close)


def check_saving(method: Any, path: Path, **changes: Any) -> None:
    """Weights and data are saved and loaded bit for bit, whatever the length of the data."""
    other = build(method.name, **changes)
    other.reset_parameters(seeded(9))
    save_file(trained_state(method), path)
    missing, unexpected = other.load_state_dict(load_file(path), strict=False)
    assert all(name.startswith("encoder.") for name in missing)
    assert not unexpected
    features = cached(method).float()
    assert torch.equal(other.eval().maps(features), method.maps(features))


@pytest.mark.parametrize(("name", "arm"), EVERY, ids=str)
def test_each_arm_trains_every_weight_maps_images_alone_and_is_saved(
    name: str, arm: dict[str, Any], tmp_path: Path
) -> None:
    method = fitted(name, **arm)
    if name in LEARNING:
        check_learning(method)
    method.eval()
    check_maps(method)
    length = {"prn": {"prototypes": 1}, "patchcore": {"memory": 500}}.get(name, {})
    check_saving(method, tmp_path / "weights.safetensors", **(arm | length))


@pytest.mark.parametrize("name", LEARNING)
def test_a_seed_decides_the_weights(name: str) -> None:
    method = fitted(name)

    def weights(seed: int) -> dict[str, torch.Tensor]:
        method.reset_parameters(seeded(seed))
        return {n: p.detach().clone() for n, p in method.named_parameters() if p.requires_grad}

    first, again, other = weights(3), weights(3), weights(4)
    for weight, value in first.items():
        assert torch.equal(value, again[weight]), weight
        constant = value.numel() > 1 and len(value.unique()) == 1  # a norm's, or a scale's
        assert torch.equal(value, other[weight]) == constant, weight


@pytest.mark.parametrize("name", NAMES)
def test_bf16_keeps_map_and_loss(name: str) -> None:
    method = fitted(name)
    features = cached(method, 2, seed=9).float()
    method.eval()
    with torch.no_grad():
        exact = method.maps(features)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = method.maps(features)
    near = 0 if name == "patchcore" else 0.02  # distances are no matter of precision
    torch.testing.assert_close(coarse, exact, atol=near, rtol=near)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_fitted_written_and_read_back(name: str, folder: Callable[..., Path]) -> None:
    root = folder(bad=6)
    data = adlib.load_data(root)
    data = supervise(data, seen=2) if name == "prn" else data
    method, steps = build(name), 6 if name in LEARNING else 0
    before = copies(method.encoder)
    run = adlib.fit(method, data, steps=steps, out=root.parent / "run", precision="fp32")
    assert len(run.losses) == run.provenance["steps"] == steps
    assert name in ("patchcore", "prn") or run.losses[-1] < run.losses[0]
    assert all(torch.equal(v, before[k]) for k, v in method.encoder.state_dict().items())
    again = adlib.load_run(root.parent / "run").method
    assert again.config == replace(method.config)
    features = cached(method).float()
    assert torch.equal(again.eval().maps(features), method.eval().maps(features))
    record = adlib.evaluate(again, data)
    assert 0 <= record["mean"]["pixel_ap"] <= 1
    assert name != "patchcore" or record["mean"]["image_auroc"] == 1  # a bright square on noise


@pytest.mark.parametrize("name", ["pro-ad", "prn"])
def test_the_papers_size_takes_a_step(name: str) -> None:
    kind, config = METHODS[name]
    method = cast(Any, kind)(replace(config.paper(), weights="random"))  # pyright: ignore[reportAttributeAccessIssue]
    if name == "prn":
        assert method.shapes == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8)]
        show(method, random(3, 1, 1, sum(c * h * w for c, h, w in method.shapes)).half())
        masks = torch.zeros(1, 256, 256, dtype=torch.bool)
        masks[0, 10:30, 20:50] = True
        seen = (pictures(method, 1), masks)
    else:
        seen = (random(1, 2, 784, 768),)
    optimiser, _ = method.configure_optimizer(5)  # too few to warm up
    before = [p.detach().clone() for p in method.trained()]
    loss = method.loss(*seen)
    loss.backward()
    optimiser.step()
    assert 0 < loss.item() < 2
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.trained())
    assert not any(map(torch.equal, before, method.trained()))


# What is refused, by the field and the value that the message names.

DECODERS = ("pro-ad", "dinomaly", "inp-former")


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        *((name, field, value) for name in DECODERS for field, value in (
            ("blocks", 3), ("dropout", 1.0), ("steps", 0), ("steps", 2.5), ("heads", 0),
            ("mlp_ratio", 0.0), ("clip", 0.0), ("lr", -1.0), ("lr", nan), ("warmup", -5),
            ("top", 1.0),
        )),
        ("pro-ad", "prototypes", 0),
        ("dinomaly", "ramp", 0),
        ("dinomaly", "easy", 1.0),
        ("dinomaly", "easy_gradient", 1.5),
        ("inp-former", "prototypes", 0),
        ("inp-former", "coherence", -0.1),
        ("inp-former", "hardness", -1.0),
        ("patchcore", "steps", 5),
        ("patchcore", "memory", 0),
        ("patchcore", "patch", 2),
        ("patchcore", "candidates", 100),
        ("patchcore", "top", 1.0),
        ("prn", "ratio", 0.0),
        ("prn", "prototypes", 0),
        ("prn", "blocks", 0),
        ("prn", "patches", ()),
        ("prn", "clip", inf),
        ("prn", "decay", -1.0),
        ("prn", "top", 0),
        # A mistyped switch is no other arm.
        ("pro-ad", "update", "every_block"),
        ("pro-ad", "start", "feature"),
        ("pro-ad", "attention", "topk"),
        ("pro-ad", "entry", "spam"),
        ("pro-ad", "constraint", "ankor"),
        ("prn", "fusion", "Own"),
        ("prn", "schedule", "cos"),
        ("prn", "residuals", "squared"),
        ("prn", "patch_attention", "G"),
        ("dinomaly", "attention", "relu"),
    ],
)  # fmt: skip
def test_a_config_refuses_nonsense_by_field_and_value(name: str, field: str, value: Any) -> None:
    config = METHODS[name][1]()  # jaxtyping, on in tests only, would refuse most of it before
    object.__setattr__(config, field, value)
    with pytest.raises(ValueError, match=rf"\b{field}\b.*{re.escape(str(value))}"):
        config.__post_init__()


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        *((name, {"layers": (0, 1, 2)}, "layers .*even") for name in DECODERS),
        ("pro-ad", {"reading": False}, "reading=False"),
        ("pro-ad", {"weights": Path("nowhere.pth")}, "nowhere.pth"),
        ("dinomaly", {"heads": 5}, "192 .* 5 heads"),
        ("inp-former", {"heads": 5}, "192 .* 5 heads"),
        *((name, {"encoder": "resnet18", "layers": (1, 2), "size": (32, 64)},
           r"one grid.* \(64, 128\)") for name in ("pro-ad", "patchcore")),
        ("patchcore", {"encoder": "timm:test_convnext", "layers": None, "size": (64, 96)},
           r"timm:test_convnext.r160_in1k' has widths \(24, 32, 48, 64\) .* layers=\(0, 0\)"),
        ("prn", {"encoder": "wide_resnet50"}, r"4 levels.* layers=\(2, 3\) .*wide_res"),
        ("prn", {"layers": (1, 2, 3)}, r"4 levels.* layers=\(1, 2, 3\)"),
        ("prn", {"layers": (3, 2, 1, 0)}, r"finest .* layers=\(3, 2, 1, 0\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(name: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(name, **changes)


@pytest.mark.parametrize("name", ["patchcore", "prn"])
def test_a_method_that_saw_no_normal_image_gives_no_map(name: str) -> None:
    method = fitted(name)
    method.reset_parameters(seeded(5))
    with pytest.raises(ValueError, match=r"fit .*load a run"):
        method.maps(cached(method).float())
