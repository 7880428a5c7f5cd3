"""Fit, evaluate and predict on data small enough to work out by hand."""

import importlib
import inspect
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

import adlib
from adlib import engine, metrics
from adlib.anomalies.composition import AnomalyConfig
from adlib.data.dataset import DataSplits, ImageDataset, ImageRef
from adlib.data.order import batch_order, hold_out, noise_seed
from adlib.engine import evaluation, runs, scoring
from adlib.engine.features import cached_features
from adlib.engine.record import Record
from adlib.engine.runs import trained_state
from adlib.methods import PRN, PatchCore, ProAD
from adlib.metrics import score_images
from adlib.nn.stable_adamw import StableAdamW
from adlib.report.paired import draw
from adlib.report.records import Run, divide
from adlib.system.hardware import choose_dtype
from tests.conftest import tiny_config
from tests.methods.small import config_of

Folder = Callable[..., Path]
UNSEEN = AnomalyConfig(seen=False, extended=False)
prediction = importlib.import_module("adlib.engine.predict")  # whose name the function took


def fitted(data: DataSplits, steps: int = 10, **how: Any) -> Any:
    return adlib.fit(ProAD(tiny_config()), data, steps=steps, **how).method


def test_every_image_is_drawn_equally_often() -> None:
    drawn = torch.cat(list(batch_order(7, 3, 21, torch.Generator().manual_seed(0))))
    assert drawn.bincount().tolist() == [9] * 7  # 21 steps of 3 are 9 rounds of 7
    first_round = drawn[:7].tolist()
    assert sorted(first_round) == list(range(7))
    small = list(batch_order(2, 5, 2, torch.Generator().manual_seed(0)))
    assert torch.cat(small).bincount().tolist() == [5, 5]  # a batch larger than the data


def test_held_out_images_are_a_share_of_each_category(folder: Folder) -> None:
    images = adlib.load_data(folder(("bolt", "nut"), good=9)).train
    kept, held = hold_out(images, 0.3, seed=1)
    assert sorted(kept + held) == list(range(18))
    names = [images.references[i].category for i in held]
    assert (names.count("bolt"), names.count("nut")) == (3, 3)
    assert held == hold_out(images, 0.3, seed=1)[1] != hold_out(images, 0.3, seed=2)[1]
    assert hold_out(images, 0.01, seed=1)[1] != []  # at least one of each
    assert hold_out(images, 0.0, seed=1)[1] == []
    assert len(hold_out(images, 0.99, seed=1)[0]) == 2  # one of each is left to fit on
    assert hold_out(images.select([0]), 0.5, seed=1) == ([0], [])
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), got 1.0"):
        hold_out(images, 1.0, seed=1)


def test_a_seed_decides_a_fit_to_the_last_bit_and_leaves_the_global_generator_alone(
    folder: Folder,
) -> None:
    data, methods = adlib.load_data(folder()), [ProAD(tiny_config()) for _ in range(3)]
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    seeded = zip(methods, (5, 5, 6), strict=True)
    runs = [adlib.fit(method, data, seed=seed, steps=30) for method, seed in seeded]
    assert torch.equal(torch.rand(3), expected)
    assert runs[0].losses == runs[1].losses != runs[2].losses
    assert len(runs[0].losses) == 30
    assert np.mean(runs[0].losses[-5:]) < 0.5 * runs[0].losses[0]
    first, second = (trained_state(run.method) for run in runs[:2])
    assert all(torch.equal(second[name], value) for name, value in first.items())


def test_fit_on_a_cpu_leaves_the_gpus_alone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: 1 / 0)
    run = adlib.fit(ProAD(tiny_config()), adlib.load_data(folder()), steps=1, device="cpu")
    assert len(run.losses) == 1


def test_a_fit_that_holds_nothing_out_forgets_the_threshold_of_the_one_before(
    folder: Folder, tiny: ProAD
) -> None:
    data = adlib.load_data(folder())
    assert adlib.fit(tiny, data, steps=1).method.calibration is not None
    assert adlib.fit(tiny, data, steps=1, holdout=0.0).method.calibration is None


def test_fit_never_reads_a_test_image(folder: Folder) -> None:
    data = adlib.load_data(folder())

    def refuse(reference: ImageRef) -> NoReturn:
        raise AssertionError(f"a test image was read: {reference}")

    blind = ImageDataset(data.test.references, refuse, lambda r: b"content")
    method = fitted(DataSplits(name="x", train=data.train, test=blind), steps=4)
    assert method.provenance["steps"] == 4


def test_defects_among_the_training_images_are_refused(folder: Folder) -> None:
    data = adlib.load_data(folder())
    with pytest.raises(ValueError, match=r"training images must be normal, got a defect: .*dent"):
        fitted(replace(data, train=data.test))


def test_a_loss_that_is_not_finite_stops_with_step_and_images(
    folder: Folder, tiny: ProAD, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter((1.0, float("nan")))
    monkeypatch.setattr(tiny, "loss", lambda features: tiny.prototypes.sum() * next(calls))
    with pytest.raises(FloatingPointError, match=r"loss is nan .* at step 1, on \[.*train.good"):
        adlib.fit(tiny, adlib.load_data(folder()))


def test_a_record_holds_seven_metrics_a_category_and_their_mean(folder: Folder) -> None:
    data = adlib.load_data(folder())
    method = fitted(data, steps=30, seed=2, holdout=0.3)
    record = adlib.evaluate(method, data)
    assert set(record["categories"]) == {"bolt", "nut"}
    for row in [*record["categories"].values(), record["mean"]]:
        assert list(row) == list(scoring.METRICS)
        assert all(0 <= value <= 1 for value in row.values())
    for name in scoring.METRICS:
        both = [record["categories"][c][name] for c in ("bolt", "nut")]
        assert record["mean"][name] == pytest.approx(sum(both) / 2)
    assert record["mean"]["pixel_auroc"] > 0.8  # bright squares on noise are not hard
    assert (record["seed"], record["steps"], record["method"]) == (2, 30, "pro-ad")
    assert record["data"]["hash"] == data.hash
    assert record["protocol"]["name"] == "ours"
    assert record["holdout"] == 0.3
    del method.provenance["holdout"]  # as older runs have it
    assert adlib.evaluate(method, data)["holdout"] is None


def test_the_records_image_auroc_is_that_of_the_predicted_scores(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = adlib.load_data(folder(("bolt",)))
    method = fitted(data)
    predicted = adlib.predict(method, data.test)
    expected = score_images(predicted.scores, data.test.labels)["auroc"]
    record = adlib.evaluate(method, data)
    assert record["categories"]["bolt"]["image_auroc"] == pytest.approx(expected)
    monkeypatch.setattr(evaluation, "SPAN", 3)  # 7 images in spans of 3, 3 and 1
    np.testing.assert_allclose(engine.scores_of(method, data.test), predicted.scores, atol=1e-6)


def test_a_record_may_keep_image_scores_and_intervals(folder: Folder) -> None:
    data = adlib.load_data(folder(good=9, bad=5))
    method = fitted(data)
    record = adlib.evaluate(method, data, intervals=True)
    scores = engine.scores_of(method, data.test)
    names = np.array([r.category for r in data.test.references])
    assert record["images"].keys() == {*names}
    for category, row in record["categories"].items():
        kept = record["images"][category]
        assert kept["labels"] == data.test.labels[names == category].tolist()
        np.testing.assert_allclose(kept["scores"], scores[names == category], rtol=1e-5)
        assert list(record["intervals"][category]) == list(scoring.METRICS)
        for metric, (low, high) in record["intervals"][category].items():
            assert low - 1e-9 <= row[metric] <= high + 1e-9
    assert scoring.named({"ap": 1}, {"ap": 2, "aupro": 3}) == {
        "image_ap": 1, "pixel_ap": 2, "aupro": 3,
    }  # fmt: skip
    (section,) = divide([Run("made", "one", json.loads(json.dumps(record.to_json())))])
    assert draw(section)["pro-ad"].exact["image_auroc"] == record["mean"]["image_auroc"]
    assert not {"images", "intervals"} & adlib.evaluate(method, data).keys()


def test_intervals_need_two_images_of_a_kind_and_leave_out_what_has_no_mask(
    folder: Folder,
) -> None:
    data = adlib.load_data(folder(masks=False))
    method = fitted(data, steps=2)
    record = adlib.evaluate(method, data, intervals=True)
    assert list(record["intervals"]["nut"]) == ["image_auroc", "image_ap", "image_f1_max"]
    assert {record["mean"][k] for k in scoring.METRICS[3:]} == {None}
    one = np.flatnonzero(data.test.labels)[1:]
    left = DataSplits("one", data.train, data.test.select(np.setdiff1d(range(len(data.test)), one)))
    with pytest.raises(ValueError, match=r"one/bolt: intervals need two normal and two anom.* got"):
        adlib.evaluate(method, DataSplits("one", left.train, left.test.of("bolt")), intervals=True)


def test_a_defect_whose_mask_is_black_is_told(folder: Folder, tiny: ProAD) -> None:
    root = folder()
    black = root / "nut" / "ground_truth" / "dent" / "001_mask.png"
    Image.new("L", (50, 40)).save(black)
    with pytest.warns(RuntimeWarning, match=r"on 1 defective image of 'nut', .*001\.png"):
        record = adlib.evaluate(tiny, adlib.load_data(root))
    assert record["categories"]["nut"]["pixel_ap"] is not None


def test_a_defect_that_the_protocol_takes_away_is_told(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, method = folder(), ProAD(tiny_config())
    rule = replace(scoring.OURS, name="coarse", size=(8, 10), smoothing=None)  # 5 x 5 to a pixel
    speck = np.zeros((40, 50), np.uint8)
    speck[1:4, 1:4] = 255  # covers 9 of the 25, less than half
    folder_of = root / "nut" / "ground_truth" / "dent"

    def score(*lost: int, intervals: bool = False) -> tuple[Record, str]:
        for i in lost:
            Image.fromarray(speck).save(folder_of / f"00{i}_mask.png")
        data = adlib.load_data(root)
        with pytest.warns(RuntimeWarning) as told:
            record = adlib.evaluate(method, data, protocol=rule, intervals=intervals)
        (message,) = [str(w.message) for w in told]  # once
        return record, message

    record, message = score(1)
    words = "under protocol 'coarse' no defective pixel is left of the masks of"
    assert message.startswith(f"{words} 1 image, ")
    assert message.endswith("001.png")
    assert record["categories"]["nut"]["aupro"] is not None
    record, message = score(2, intervals=True)  # one defect is left: too few to draw from
    assert record["categories"]["nut"]["aupro"] is not None
    assert "aupro" in record["intervals"]["bolt"]
    assert list(record["intervals"]["nut"]) == ["image_auroc", "image_ap", "image_f1_max"]
    for pixels in (scoring.EXACT_PIXELS, 1):  # at once, and streamed
        monkeypatch.setattr(scoring, "EXACT_PIXELS", pixels)
        record, message = score(0)
        assert message.startswith(f"{words} 3 images, ")
        assert message.endswith("000.png; no pixel metrics for 'nut'")
        assert record["categories"]["nut"]["image_auroc"] is not None
        assert {record["categories"]["nut"][k] for k in scoring.METRICS[3:]} == {None}
        assert None not in record["categories"]["bolt"].values()
        assert "nut" not in record["pixel_error_bounds"]


def test_a_protocol_may_be_named(folder: Folder, tiny: ProAD) -> None:
    data = adlib.load_data(folder(("bolt",)))
    record = adlib.evaluate(tiny, data, protocol="anomalib")
    assert record["protocol"] == scoring.PROTOCOLS["anomalib"].to_json()
    with pytest.raises(ValueError, match=r"unknown protocol 'mvtek'; known are ours, .*, anomalib"):
        adlib.evaluate(tiny, data, protocol="mvtek")


@pytest.mark.parametrize(
    "use",
    [
        adlib.predict,
        adlib.evaluate,
        engine.scores_of,
        lambda run, data: next(inspect.unwrap(engine.predict_each)(run, data)),
    ],
)
def test_a_run_is_not_its_method(folder: Folder, tiny: ProAD, use: Callable[..., Any]) -> None:
    data = adlib.load_data(folder(("bolt",)))
    with pytest.raises(TypeError, match=r"expected a method, got the Run .*: pass run.method"):
        inspect.unwrap(use)(runs.Run(method=tiny), data)  # unwrapped: no annotation is checked


def test_a_method_that_trains_needs_a_step_and_a_memory_none(folder: Folder, tiny: ProAD) -> None:
    data, memory = adlib.load_data(folder(("bolt",))), PatchCore(config_of("patchcore"))
    for method, steps, least in ((tiny, -1, 1), (tiny, 0, 1), (memory, -1, 0)):
        with pytest.raises(ValueError, match=rf"must be at least {least}, got {steps}"):
            adlib.fit(method, data, steps=steps)
    run = adlib.fit(memory, data, steps=0)
    assert run.method.calibration is not None
    assert run.losses == []


def test_a_category_without_defects_cannot_be_scored(folder: Folder, tiny: ProAD) -> None:
    data = adlib.load_data(folder(bad=0))
    with pytest.raises(ValueError, match=r"parts/bolt: metrics need .* 4 normal and 0 anomalous"):
        adlib.evaluate(tiny, data)


def test_maps_come_back_at_the_size_of_each_image(folder: Folder, tmp_path: Path) -> None:
    data = adlib.load_data(folder())
    method = fitted(data)
    wide = np.full((31, 90, 3), 128, dtype=np.uint8)
    tall = np.full((77, 20, 3), 128, dtype=np.uint8)
    predicted = adlib.predict(method, [wide, tall])
    assert [m.shape for m in predicted.maps] == [(31, 90), (77, 20)]
    assert predicted.paths == ["image 0", "image 1"]
    path = Path(data.test.references[0].path)
    one, same = adlib.predict(method, path), adlib.predict(method, data.test[0].image)
    assert np.array_equal(one.maps[0], same.maps[0])
    assert predicted.decisions is not None
    assert predicted.threshold is not None
    assert (predicted.decisions == (predicted.scores > predicted.threshold)).all()


def test_images_are_computed_in_batches_and_their_grouping_moves_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = fitted(adlib.load_data(folder()))
    rng, sizes, encode = np.random.default_rng(0), [], ProAD.encode
    images = [rng.integers(0, 256, (20 + 5 * i, 40, 3), dtype=np.uint8) for i in range(7)]

    def counted(self: ProAD, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(ProAD, "encode", counted)
    alone = adlib.predict(method, images, precision="fp32", batch=1)
    for pixels, expected in ((10**6, [3, 3, 1]), (2500, [3, 2, 2])):
        monkeypatch.setattr(prediction, "PIXELS", pixels)
        sizes.clear()
        grouped = adlib.predict(method, images, precision="fp32", batch=3)
        assert sizes == expected
        assert grouped.paths == [f"image {i}" for i in range(7)]
        np.testing.assert_allclose(grouped.scores, alone.scores, rtol=0, atol=1e-5)
        for a, b, image in zip(grouped.maps, alone.maps, images, strict=True):
            assert a.shape == image.shape[:2]
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    small = list(engine.predict_each(method, images, precision="fp32", enlarge=False))
    assert {heat.shape for _, _, heat, _ in small} == {scoring.OURS.size}
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        adlib.predict(method, images, batch=0)


def test_a_cut_frame_scores_nothing_outside_the_cut() -> None:
    method = ProAD(tiny_config(resize=(48, 64)))
    heat = adlib.predict(method, np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    border = np.concatenate([heat.maps[0][0], heat.maps[0][:, 0]])
    assert np.ptp(border) < 1e-6
    assert border.max() == pytest.approx(heat.maps[0].min(), abs=1e-6)
    assert np.ptp(heat.maps[0][10:-10, 10:-10]) > 0


@pytest.mark.parametrize(
    ("dtype", "cure"), [(torch.bfloat16, "try precision fp32"), (torch.float32, "range of fp16")]
)
@pytest.mark.parametrize("part", ["maps", "image_score"])
def test_a_map_or_score_that_is_not_finite_stops_with_the_image(
    tiny: ProAD, monkeypatch: pytest.MonkeyPatch, part: str, dtype: torch.dtype, cure: str
) -> None:
    compute, second = getattr(tiny, part), torch.tensor([1.0, float("nan")])
    shape = (2, 1, 1) if part == "maps" else (2,)
    monkeypatch.setattr(tiny, part, lambda x: compute(x) * second.view(shape))
    monkeypatch.setattr(prediction, "choose_dtype", lambda precision, device: dtype)
    picture = np.full((31, 90, 3), 128, dtype=np.uint8)
    with pytest.raises(FloatingPointError, match=f"image 1: .* is not finite; .*{cure}"):
        adlib.predict(tiny, [picture, picture])


def test_all_bad_files_are_named_before_anything_is_computed(
    tiny: ProAD, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(5):
        Image.new("RGB", (50, 40)).save(tmp_path / f"{i}.png")
    Image.new("I;16", (50, 40)).save(tmp_path / "deep.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:50])
    monkeypatch.setattr(tiny, "encode", lambda pixels: 1 / 0)
    words = r"(?s)^2 of 7 files cannot be used:\n.*cut\.png: expected.*\n.*deep\.png: .*16-bit"
    with pytest.raises(ValueError, match=words):
        adlib.predict(tiny, tmp_path)


def test_what_is_not_there_or_no_image_is_named(folder: Folder, tmp_path: Path) -> None:
    method = fitted(adlib.load_data(folder()))
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*nowhere"):
        adlib.predict(method, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images in .*empty"):
        adlib.predict(method, tmp_path / "empty")
    with pytest.raises(ValueError, match=r"no threshold for category 'screw'; .* bolt, nut"):
        adlib.predict(method, tmp_path / "parts" / "bolt" / "test", category="screw")


def test_bf16_is_chosen_where_a_cpu_gains_by_it_and_its_price_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    with pytest.raises(ValueError, match="one of auto, fp32, bf16, fp16, got 'fp8'"):
        choose_dtype("fp8", cpu)
    intel = {"avx512_bf16": True, "cpu_name": "Intel Xeon"}
    for known, auto in (
        ({"avx2": True}, torch.float32),
        (intel, torch.float32),
        (intel | {"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known)
        assert choose_dtype("auto", cpu) == auto
        slow = "avx2" in known
        with pytest.warns(RuntimeWarning, match="no bf16 of its own") if slow else nullcontext():
            assert choose_dtype("bf16", cpu) == torch.bfloat16


def test_a_protocol_at_the_images_own_size_needs_one_size(folder: Folder) -> None:
    data = adlib.load_data(folder(("bolt",)))
    method = fitted(data)
    record = adlib.evaluate(method, data, protocol=scoring.PROTOCOLS["mvtec"])
    assert record["protocol"]["size"] is None
    assert 0 < record["mean"]["aupro"] < 1
    with pytest.raises(ValueError, match=r"in 2 sizes, such as \(4, 5\) and \(6, 7\)"):
        scoring.at_one_size(scoring.PROTOCOLS["mvtec"], [(4, 5), (6, 7)])


def test_one_size_is_asked_of_all_images_not_of_those_scored_together(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, rule = folder(("bolt",), masks=False), scoring.PROTOCOLS["mvtec"]
    method, sizes, score = ProAD(tiny_config()), [], scoring.score_features

    def watched(*arguments: Any) -> Any:
        sizes.append(arguments[-1].size)
        return score(*arguments)

    monkeypatch.setattr(scoring, "score_features", watched)
    monkeypatch.setattr(scoring, "SPAN", 3)  # three defects without a mask, then the normal images
    adlib.evaluate(method, adlib.load_data(root), protocol=rule)
    assert sizes == [(40, 50)] * 3
    Image.new("RGB", (64, 48), "gray").save(root / "bolt/test/good/003.png")
    with pytest.raises(ValueError, match=r"in 2 sizes, such as \(40, 50\) and \(48, 64\)"):
        adlib.evaluate(method, adlib.load_data(root), protocol=rule)


def test_pixel_metrics_are_those_of_the_maps_that_predict_gives(folder: Folder) -> None:
    data = adlib.load_data(folder(("bolt",)))
    method = fitted(data)
    rule = scoring.at_one_size(scoring.PROTOCOLS["mvtec"], [(40, 50)])  # no smoothing twice
    features = cached_features(
        method,
        data.test,
        device=torch.device("cpu"),
        dtype=choose_dtype("auto", torch.device("cpu")),
    )
    with torch.no_grad():
        raw = method.maps(features.float()).numpy()
    by_hand = metrics.score_maps(
        metrics.prepare_maps(raw, rule),
        np.stack([s.mask for s in data.test if s.mask is not None]),
    )
    record = adlib.evaluate(method, data, protocol=rule, precision="fp32")
    assert record["mean"]["pixel_auroc"] == pytest.approx(by_hand["auroc"], abs=2e-3)


def test_a_category_too_large_for_memory_is_streamed_and_the_record_says_so(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = adlib.load_data(folder())
    method = fitted(data)
    exact = adlib.evaluate(method, data)
    monkeypatch.setattr(scoring, "EXACT_PIXELS", 1000)
    monkeypatch.setattr(scoring, "SPAN", 3)
    streamed = adlib.evaluate(method, data)
    assert exact["pixel_error_bounds"] == {}
    assert set(streamed["pixel_error_bounds"]) == {"bolt", "nut"}
    for category, row in exact["categories"].items():
        for name, value in row.items():
            assert streamed["categories"][category][name] == pytest.approx(value, abs=1e-4)


def test_a_protocol_may_choose_the_image_score(tiny: ProAD) -> None:
    features, highest = torch.ones(2, 2, 6, 192), replace(scoring.OURS, image_score="max")
    maps, scores = scoring.score_features(tiny, features, torch.float32, highest)
    assert np.array_equal(scores, maps.max(axis=(1, 2)))
    own = scoring.score_features(tiny, features, torch.float32)[1]
    assert np.array_equal(own, tiny.image_score(torch.from_numpy(maps)).numpy())


@pytest.mark.parametrize(
    "build",
    [
        lambda: ProAD(tiny_config(dropout=0.0)),
        lambda: PatchCore(config_of("patchcore", memory=40)),
        lambda: PRN(config_of("prn", steps=2, prototypes=None, ratio=1.0, recipe=UNSEEN)),
    ],
    ids=["pro-ad", "patchcore", "prn"],
)
def test_what_is_held_out_moves_the_threshold_and_no_weight(
    folder: Folder, build: Callable[[], Any]
) -> None:
    root = folder(("bolt",), good=9)
    data = adlib.load_data(root)
    first = adlib.fit(build(), data, holdout=0.3, precision="fp32").method
    for i in hold_out(data.train, 0.3, seed=0)[1]:
        pixels = 255 - data.train[i].image
        Image.fromarray(pixels).save(data.train.references[i].path)
    again = adlib.fit(build(), adlib.load_data(root), holdout=0.3, precision="fp32").method
    before = trained_state(first)
    for name, value in trained_state(again).items():
        assert torch.equal(value, before[name]), name
    assert first.calibration != again.calibration


def test_gradients_are_clipped_to_the_configs_norm(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms, step = [], StableAdamW.step

    def watched(self: StableAdamW, *arguments: Any) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(torch.stack([g.norm() for g in gradients if g is not None]).norm().item())
        return step(self, *arguments)

    monkeypatch.setattr(StableAdamW, "step", watched)
    adlib.fit(ProAD(tiny_config(clip=1e-3)), adlib.load_data(folder()), steps=3, precision="fp32")
    assert norms == pytest.approx([1e-3] * 3, rel=1e-3)


def test_each_step_and_each_seed_has_noise_of_its_own() -> None:
    seeds = [noise_seed(seed, step) for seed in range(20) for step in range(20)]
    assert len(set(seeds)) == 400
    assert seeds == [noise_seed(seed, step) for seed in range(20) for step in range(20)]
