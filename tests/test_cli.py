"""The command line end to end, on a tiny model, and its exit statuses."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adlib
from adlib.anomalies.composition import AnomalyConfig
from adlib.cli import COMMANDS, main, parse_train
from adlib.commands.options import TRAIN
from adlib.commands.train import Train
from adlib.data.split import supervise
from adlib.engine import TrainOptions
from adlib.engine.runs import sealed
from adlib.methods import METHODS
from adlib.settings import help_texts
from tests import made_benchmarks as made

TINY = [
    *("--encoder", "vit-tiny", "--weights", "random", "--layers", "0", "1", "--size", "32", "48"),
    *("--blocks", "2", "--mlp-ratio", "1", "--batch", "3", "--steps", "6"),
]


@pytest.fixture
def trained(
    folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[Path, Path]:
    data, run = folder(), tmp_path / "run"
    assert main(["train", "pro-ad", "--data", str(data), "--out", str(run), *TINY]) == 0
    assert f"next: adlib evaluate {run}" in capsys.readouterr().out
    return data, run


def test_train_evaluate_predict(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = trained
    assert main(["evaluate", str(run), "--data", str(data)]) == 0
    shown = capsys.readouterr().out
    record = json.loads((run / "record.json").read_text())
    assert set(record["categories"]) == {"bolt", "nut"}
    assert f"{100 * record['mean']['image_auroc']:.1f}" in shown
    nut = record["decisions"]["categories"]["nut"]
    said = f"threshold, nut (50.0% promised): {nut['false_alarms']} of 4 good images called def"
    assert said in shown

    out = tmp_path / "found"
    photos = data / "nut" / "test"
    assert main(["predict", str(run), str(photos), "--out", str(out), "--maps"]) == 0
    assert "--category takes its own threshold (bolt, nut)" in capsys.readouterr().out
    own = ["--out", str(tmp_path / "own"), "--category", "nut"]
    assert main(["predict", str(run), str(photos), *own]) == 0
    assert "--category" not in capsys.readouterr().out
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 7
    scores = [float(r["score"]) for r in rows]
    assert scores == sorted(scores, reverse=True)
    for row in rows:
        above = float(row["score"]) > float(row["threshold"])
        assert row["verdict"] == ("defective" if above else "good")
    page = (out / "index.html").read_text()
    assert page.count("<figure") == 7
    assert "http" not in page
    assert len(list((out / "overlays").iterdir())) == 14
    heat = np.asarray(Image.open(next((out / "maps").iterdir())))
    assert heat.shape == (40, 50)
    assert heat.dtype == np.float32


def test_train_says_what_its_threshold_can_promise_and_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven good photographs: one is the test's, three of the others set the threshold."""
    monkeypatch.setenv("ADLIB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "nut/good").mkdir(parents=True)
    for k in range(7):
        pixels = np.random.default_rng(k).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"nut/good/{k}.png")
    (tmp_path / "nut/good/IMG_1.HEIC").write_bytes(b"x")
    passed = "1 .heic"
    words = ["--data", str(tmp_path / "nut"), "--out", str(tmp_path / "run"), "--holdout", "0.5"]
    assert main(["train", "pro-ad", *words, *TINY]) == 0
    shown = capsys.readouterr().out
    assert passed in shown
    assert (
        "3 held-out normal images set the threshold: a false-alarm rate of 25.0% or more" in shown
    )
    assert "there is no defect to evaluate on; next: adlib predict" in shown
    photos, out = tmp_path / "nut/good", tmp_path / "found"
    assert main(["predict", str(tmp_path / "run"), str(photos), "--out", str(out)]) == 0
    assert passed in capsys.readouterr().out
    low, high = (f"{1 - q ** (1 / 3):.1%}" for q in (0.95, 0.05))  # P(largest of 3 < q) = q^3
    assert f"between {low} and {high}." in (out / "index.html").read_text()


def next_words(shown: str) -> list[str]:
    """The command that training printed last, without `adlib`."""
    (line,) = [line for line in shown.splitlines() if line.startswith("next: adlib ")]
    return shlex.split(line.removeprefix("next: adlib "))


def test_the_next_command_scores_what_was_trained(
    folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = folder().rename(tmp_path / "my parts"), tmp_path / "my run"
    words = ["--data", str(data), "--out", str(run), "--categories", "nut"]
    assert main(["train", "pro-ad", *words, *TINY]) == 0
    assert main(next_words(capsys.readouterr().out)) == 0
    assert set(json.loads((run / "record.json").read_text())["categories"]) == {"nut"}
    every = ["evaluate", str(run), "--data", str(data), "--out", str(tmp_path / "all.json")]
    with pytest.warns(RuntimeWarning, match="the run knows no category bolt, only nut: unless"):
        assert main(every) == 0


def test_what_cannot_be_scored_is_said_before_and_left_out_of_the_next_command(
    folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = folder(), tmp_path / "run"
    for part in ("test", "ground_truth"):
        shutil.rmtree(data / "bolt" / part / "dent")
    shutil.rmtree(data / "bolt/ground_truth")
    lacking = (
        "bolt cannot be scored, for want of normal or of defective test images; adlib evaluate "
        "scores the others with --categories nut\n"
    )
    assert main(["train", "pro-ad", "--data", str(data), "--out", str(run), *TINY]) == 0
    assert f"\n{lacking}" in (shown := capsys.readouterr().out)
    assert main(["evaluate", str(run), "--data", str(data)]) == 2
    assert lacking in capsys.readouterr().err
    assert main(next_words(shown)) == 0
    assert set(json.loads((run / "record.json").read_text())["categories"]) == {"nut"}


def test_one_good_photograph_is_not_sent_on_to_evaluate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k, kind in enumerate(("good", "bad")):
        made.image(tmp_path / f"nut/{kind}/0.png", k)
    words = ["--data", str(tmp_path / "nut"), "--out", str(tmp_path / "run")]
    assert main(["train", "pro-ad", *words, *TINY]) == 0
    shown = capsys.readouterr().out
    assert "no category has normal and defective images to evaluate on; next: adlib pre" in shown


def test_warnings_are_one_line_each_and_only_while_a_command_runs() -> None:
    code = """
import warnings
from adlib import cli
cli.COMMANDS["info"] = "", lambda words: warnings.warn("two of\\nthem", RuntimeWarning)
before = warnings.formatwarning
assert cli.main(["info"]) == 0
assert warnings.formatwarning is before
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "warning: two of them\n")


def test_false_alarms_move_the_threshold(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = trained
    found = []
    for rate in ("0.01", "0.6"):
        out = tmp_path / rate
        words = ["predict", str(run), str(data / "nut" / "test"), "--out", str(out)]
        assert main([*words, "--false-alarms", rate]) == 0
        rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
        found.append(sum(r["verdict"] == "defective" for r in rows))
    assert found[0] <= found[1]


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        ("train pro-ad --data /nowhere/parts", 2, "no folder /nowhere/parts"),
        ("train pro-add --data builtin", 2, "METHOD is one of pro-ad"),
        ("train --size -224", 2, "expected adlib train METHOD --data DATA ..., where METHOD is"),
        ("train pro-ad --data builtin --size -224", 2, "option '--size'. Expected 2 values; see"),
        ("train pro-ad --data builtin --size -224 -224", 2, "size must be a height and a width"),
        ("train pro-ad --data builtin --preset gpu", 2, "invalid choice 'gpu' for option '--pre"),
        ("train pro-ad", 2, "Missing from adlib train pro-ad: --data STR; see adlib train pro-ad"),
        ("train pro-ad --data builtin --sise 3", 2, "--sise, 3; did you mean --size?; see adlib"),
        ("train proad --data builtin", 2, "unknown method 'proad'; did you mean 'pro-ad'?"),
        ("train", 2, "error: expected adlib train METHOD"),
        ("train pro-ad --data builtin --seen 3", 2, "such as prn, and pro-ad does not"),
        ("train pro-ad --data builtin --seed -1", 2, "--seed: expected a whole number from 0 to"),
        ("train pro-ad --data builtin --device gpu", 2, "--device: expected cpu, or a GPU that"),
        ("train pro-ad --data builtin --device meta", 2, "got 'meta'"),
        ("evaluate /nowhere/run --data builtin --seed -1", 2, "--seed: expected a whole number"),
        ("evaluate /nowhere/run --data builtin --device gpu", 2, "--device: expected cpu, or a"),
        ("predict /nowhere/run /nowhere --out x --device cuda:99", 2, "got 'cuda:99'"),
        ("train pro-ad --data builtin --stepz 3", 2, "--stepz"),
        ("train pro-ad --data builtin --steps 0", 2, "steps must be at least 1, got 0"),
        ("train pro-ad --data builtin --size 30 30 --weights random", 2, "nearest that work are"),
        ("train pro-ad --data builtin --constraint ankor", 2, "ankor"),
        ("evaluate run --data ", 2, "one of the words is empty; is a variable of your shell not"),
        ("evaluate /nowhere/run --data builtin", 2, "no run at /nowhere/run"),
        ("predict /nowhere/run /nowhere/photos --out x", 2, "no file or folder /nowhere/photos"),
        ("data", 2, "Expected one of {list, check, suspects, get, cache}; see adlib data --help"),
        ("data check", 2, "Missing from adlib data check: "),
        ("data chek parts", 2, "Unrecognized options: chek, parts"),
        ("data get mvtec-ad --max-gib x", 2, "'x'; did you mean --max-gib?"),
        (
            "evaluate pyproject.toml --data builtin",
            2,
            "no run at pyproject.toml; expected its",
        ),
        ("predikt", 2, "unknown command 'predikt'; did you mean 'predict'?"),
    ],
)
def test_a_wrong_request_ends_with_2_and_says_why(
    words: str, status: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split(" ")) == status
    captured = capsys.readouterr()
    assert error in captured.err
    assert captured.err.startswith("adlib: error: ")
    assert captured.err.count("\n") == 1


def test_a_finished_run_given_again_is_finished_and_another_one_is_refused(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = trained
    words = ["train", "pro-ad", "--data", str(data), "--out", str(run), *TINY]
    before = (run / "run.json").read_bytes()
    monkeypatch.setattr("adlib.engine.fit", None)  # nothing is trained
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"{run} is already complete" in shown
    assert f"next: adlib evaluate {run}" in shown
    for other in (["--seed", "1"], ["--steps", "7"], ["--holdout", "0.2"], ["--lr", "0.1"]):
        assert main([*words, *other]) == 2
        assert "exists already" in capsys.readouterr().err
    assert main([*words, "--categories", "nut"]) == 2
    assert (run / "run.json").read_bytes() == before


def test_evaluate_replaces_a_record_of_others_only_where_it_is_named(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = trained
    words = ["evaluate", str(run), "--data", str(data)]
    assert main([*words, "--protocol", "mine"]) == 2
    assert "known are ours, dinomaly" in capsys.readouterr().err
    record = run / "record.json"
    assert main([*words, "--intervals"]) == 0
    before = record.read_bytes()
    assert "intervals" in json.loads(before)
    for other in (["--protocol", "dinomaly"], ["--categories", "nut"]):
        assert main([*words, *other]) == 2
        assert "another file with --out" in capsys.readouterr().err
        assert record.read_bytes() == before
    assert main([*words, "--protocol", "dinomaly", "--out", str(record)]) == 0
    assert json.loads(record.read_text())["protocol"]["name"] == "dinomaly"


def test_seen_defects_leave_the_test_set_of_their_own_data_only(
    trained: tuple[Path, Path],
    folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Known by their content, they leave it under other names of folders, too."""
    data, run = trained
    seen = supervise(adlib.load_data(data), 1, 0).seen
    assert seen is not None
    saved = json.loads((run / "run.json").read_text())
    saved["provenance"] |= {"drawn": [1, 0], "seen": [mark.hex() for mark in seen.fingerprints]}
    saved["calibration"]["scores"] |= {"gear": [0.1], "bolt-2": [0.1], "nut-2": [0.1]}  # known
    (run / "run.json").write_text(json.dumps(sealed(saved)))
    folder(("gear",), good=5)  # other images than bolt's
    for name in ("bolt", "nut"):
        shutil.copytree(data / name, tmp_path / "renamed" / f"{name}-2")
    out = tmp_path / "record.json"
    for root, category, left in (
        (data, ["nut"], 1),
        (data, ["gear"], 0),
        (tmp_path / "renamed", ["bolt-2", "nut-2"], 2),
    ):
        words = ["evaluate", str(run), "--data", str(root), "--categories", *category]
        assert main([*words, "--out", str(out)]) == 0
        shown = capsys.readouterr().out
        assert (f"{left} defects are excluded from the test set" in shown) == (left > 0)
        assert json.loads(out.read_text())["drawn"] == ([1, 0] if left else None)


def test_predict_refuses_an_existing_folder_before_it_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adlib.engine.load_run", None)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "mine.txt").touch()
    assert main(["predict", "run", str(tmp_path), "--out", str(tmp_path / "found")]) == 2
    assert "found exists already" in capsys.readouterr().err


def test_a_failing_run_ends_with_1(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*args: object, **options: object) -> None:
        raise FloatingPointError("the loss is nan at step 3")

    monkeypatch.setattr("adlib.engine.fit", diverge)
    words = ["train", "pro-ad", "--data", str(trained[0]), "--out", str(trained[1]) + "2", *TINY]
    assert main(words) == 1
    assert "loss is nan at step 3" in capsys.readouterr().err


def test_an_encoder_by_timms_name_is_trained_on_and_its_layers_are_shown(
    folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = folder(), tmp_path / "run"
    words = ["train", "patchcore", "--data", str(data), "--weights", "random", "--size", "32", "48"]
    words += ["--out", str(run), "--encoder"]
    assert main([*words, "timm:test_vit2"]) == 0
    layers = [1, 2, 2, 3, 4, 4, 5, 6]
    said = (
        f"timm:test_vit2.r160_in1k from random weights, seed 0, layers {' '.join(map(str, layers))}"
    )
    assert f"encoder {said}\n" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--data", str(data)]) == 0
    record = json.loads((run / "record.json").read_text())
    assert record["config"]["layers"] == layers
    assert record["encoder"]["name"] == "timm:test_vit2.r160_in1k"

    words[words.index(str(run))] = str(tmp_path / "other")
    for name, message in (("tset_vit2", "did you mean test_vit2"), ("test_convnext", "48 is not")):
        capsys.readouterr()
        assert main([*words, f"timm:{name}"]) == 2
        shown = capsys.readouterr()
        assert message in shown.err
        assert "Traceback" not in shown.err
    assert not (tmp_path / "other").exists()


def test_info_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    for word in ("torch", "device", "dinov2-b", "efficientnet-lite0", "builtin", "solar", "cache"):
        assert word in shown
    assert re.search(r"dinov3-s .*hub.*timm:NAME ", shown, re.DOTALL)


def test_info_says_which_benchmarks_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ADLIB_BENCHMARKS", raising=False)
    assert main(["info"]) == 0
    assert "  benchmarks         not looked for: ADLIB_BENCHMARKS is not set" in (
        capsys.readouterr().out
    )
    monkeypatch.setenv("ADLIB_BENCHMARKS", str(tmp_path))
    assert main(["info"]) == 0
    assert f"  benchmarks         none in {tmp_path}" in capsys.readouterr().out
    made.mpdd(tmp_path / "MPDD")
    made.btad(tmp_path / "btad")
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert f"  mpdd               {tmp_path}/MPDD\n" in shown
    assert f"  btad               {tmp_path}/btad/BTech_Dataset_transformed\n" in shown
    assert "visa" not in shown
    assert "benchmarks  " not in shown


def test_importing_adlib_is_light() -> None:
    code = (
        "import adlib, sys; "
        "print([m for m in ('torch', 'timm', 'matplotlib', 'scipy', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_there_when_asked_for_and_others_are_not() -> None:
    for name in adlib.__all__:
        assert getattr(adlib, name) is not None
    assert set(adlib.__all__) <= set(dir(adlib))
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        _ = adlib.fitt


def test_seen_defects_and_the_recipe_s_seen_kind_are_two_options() -> None:
    command = parse_train(["prn", "--data", "builtin", "--seen", "3", "--recipe.no-seen"])
    assert (command.method, command.seen, command.config.recipe.seen) == ("prn", 3, False)


@pytest.mark.parametrize("name", METHODS)
def test_a_preset_is_the_config_that_other_options_change(name: str) -> None:
    config = METHODS[name][1]
    words = [name, "--data", "builtin"]
    assert parse_train(words).config == parse_train([*words, "--preset=cpu"]).config == config()
    assert parse_train([*words, "--preset", "paper"]).config == config.paper()
    own = parse_train([*words, "--batch", "4", "--preset", "paper"])
    assert own.config == replace(config.paper(), batch=4)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", METHODS)
def test_each_option_is_explained_in_one_group_and_ablations_come_last(
    name: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["train", name, "--preset", "paper", "--help-all"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    titles = [line for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert [t[:5] for t in titles] == ["Data:", "Model", "Train", "Machi", "Resea"]
    assert main(["train", name, "--help"]) == 0
    short = capsys.readouterr().out
    assert "listed by adlib train" in short
    assert short.count("  --") < shown.count("  --")
    config = METHODS[name][1].paper()
    for field in fields(config):
        if field.name != "recipe":
            assert len(re.findall(rf"^  --{field.name.replace('_', '-')}\b(?!-)", shown, re.M)) == 1
    assert f"(default: {' '.join(map(str, config.size))})" in shown
    assert not re.search(r"\bours\b|inferred|Dinomaly|F_I|second-hand|abstract", shown)


def test_groups_name_options_that_there_are() -> None:
    known = set(help_texts(Train))
    for _, config in METHODS.values():
        known |= set(help_texts(config))
    known |= {f"recipe.{name}" for name in help_texts(AnomalyConfig)}
    known |= set(help_texts(TrainOptions))
    grouped = [name for _, names in TRAIN for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= known


def test_help_lists_each_command_and_each_command_its_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == main([]) == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in shown
        assert main([name, "--help"]) == 0
        assert f"usage: adlib {name}" in capsys.readouterr().out
    assert main(["predict", "-h"]) == 0
    assert "usage: adlib predict RUN IMAGES --out PATH [OPTIONS]" in capsys.readouterr().out


def test_a_preset_without_a_value_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "pro-ad", "--data", "builtin", "--preset"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("adlib: error: ")
    assert "--preset" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", ["info", "data list", "train pro-ad --help", "frobnicate"])
def test_commands_end_quietly_when_nobody_reads_them(words: str) -> None:
    for out, said in (("closed", ""), ("/dev/full", "standard output: [Errno 28]")):
        reader, writer = os.pipe() if out == "closed" else (None, os.open(out, os.O_WRONLY))
        if reader is not None:
            os.close(reader)
        command = [sys.executable, "-m", "adlib", *words.split()]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        if words == "frobnicate":
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        else:
            assert done.returncode == 1
            assert said in done.stderr
            assert done.stderr.count("\n") == (1 if said else 0)
