"""Each choice that a paper does not settle has a row, and each row names what there is."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from adlib.anomalies.composition import AnomalyConfig
from adlib.methods.prn import PRNConfig
from adlib.methods.pro_ad import ProADConfig
from adlib.report.records import name_of, read_results
from adlib.study.guesses import NOT_MEASURED, Guess, guesses, guesses_table

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"weights", "offline", "resize"}  # where weights are, what is cut: no guess
PARTS = {  # the modules that each method is made of
    "pro-ad": "methods/pro_ad nn/attention nn/constraint nn/dictionary nn/reconstruction "
    "nn/stable_adamw",
    "prn": "methods/prn nn/fusion nn/patch_attention nn/prototype_maps nn/segmentation_loss "
    "nn/convolution anomalies/training_set anomalies/extended anomalies/foreground "
    "anomalies/perlin anomalies/composition anomalies/simulated data/split anomalies/textures",
}
MARKED = re.compile(r"ours|inferred|unofficial|DiffusionAD|DRAEM|Dinomaly|INP-Former|PyDeepFakeDet")
FREE = {"textures.KEPT"}  # bounds memory, changes no result


def fields_of(method: str) -> set[str]:
    if method == "pro-ad":
        return {f.name for f in fields(ProADConfig)}
    own = {f.name for f in fields(PRNConfig)} - {"recipe"}
    return own | {f"recipe.{f.name}" for f in fields(AnomalyConfig)}


def constants_of(method: str) -> dict[str, str]:
    """Constants of the method's modules, `module.NAME`, with the rest of their line."""
    found = {}
    for part in PARTS[method].split():
        source = (ROOT / "adlib" / f"{part}.py").read_text(encoding="utf-8")
        for names, line in re.findall(r"^([A-Z_]+(?:, [A-Z_]+)*) = (.*)$", source, re.MULTILINE):
            for name in names.split(", "):
                found[f"{Path(part).name}.{name}"] = line
    return found


@pytest.mark.parametrize("method", ["pro-ad", "prn"])
def test_every_field_and_every_marked_constant_has_a_row(method: str) -> None:
    named = [name for guess in guesses(method) for name in guess.names]
    assert len(named) == len(set(named))
    assert fields_of(method) - PLACES <= set(named)
    constants = constants_of(method)
    marked = {name for name, line in constants.items() if MARKED.search(line)}
    assert marked - FREE <= set(named)
    assert set(named) <= fields_of(method) | set(constants)  # and no row names what is gone


@pytest.mark.parametrize("method", ["pro-ad", "prn"])
def test_every_alternative_is_an_arm_that_was_run_or_is_to_be(method: str) -> None:
    if method == "pro-ad":
        rows = read_results("choices") + read_results("constraints")
        arms = {name_of(row["files"]["record.json"]).split(",")[0] for row in rows}
    else:
        sweeps = (ROOT / "notebooks/sweeps").glob("prn*.yml")
        grids = [yaml.safe_load(path.read_text(encoding="utf-8"))["grid"] for path in sweeps]
        arms = {arm["name"] for grid in grids for arm in grid.get("arm", [])} | {"simulated alone"}
    assert {arm for guess in guesses(method) for arm in guess.instead} <= arms


def test_every_choice_says_what_is_known_and_where_ours_is_from() -> None:
    for guess in guesses("pro-ad") + guesses("prn"):
        assert re.search(r"abstract|second-hand|Fig\. 3|unknown|not mentioned", guess.paper), guess
        assert guess.here, guess


def test_what_has_no_record_is_not_measured() -> None:
    one = Guess(method="prn", what="norm", paper="unknown", here="a", names=(), instead=("b", "c"))
    none = Guess(method="prn", what="top", paper="unknown", here="d", names=(), instead=())
    table = guesses_table([one, none], {"c": ["+1.0", "-2.0"]}, ["AUROC", "AP"])
    assert table["instead"].tolist() == ["b", "c", ""]
    assert table["what"].tolist() == ["norm", "", "top"]
    assert table["AUROC"].tolist() == [NOT_MEASURED, "+1.0", NOT_MEASURED]
    assert table["AP"].tolist() == ["", "-2.0", ""]


def test_only_the_two_reconstructions_are_guessed() -> None:
    with pytest.raises(ValueError, match="expected pro-ad or prn, got 'dinomaly'"):
        guesses("dinomaly")
