"""Each choice that a paper does not settle has a row, and each row names what there is."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import pytest
import yaml

from adlib.methods import METHODS
from adlib.report.records import name_of, read_results
from adlib.settings import Origin, help_texts, origins
from adlib.study.guesses import guesses

ROOT = Path(__file__).resolve().parent.parent
PLACES = {
    "weights",
    "offline",
    "resize",
    "tile",
    "overlap",
}  # where weights are, what is cut: no guess
PARTS = {  # the modules that each method is made of
    "pro-ad": "methods/pro_ad nn/attention nn/constraint nn/coreset nn/dictionary "
    "nn/reconstruction nn/stable_adamw",
    "prn": "methods/prn nn/fusion nn/patch_attention nn/prototype_maps nn/segmentation_loss "
    "nn/convolution anomalies/training_set anomalies/extended anomalies/foreground "
    "anomalies/perlin anomalies/composition anomalies/simulated data/split anomalies/textures",
}
MARKED = re.compile(r"ours|inferred|unofficial|DiffusionAD|DRAEM|Dinomaly|INP-Former|PyDeepFakeDet")
FREE = {"textures.KEPT"}  # bounds memory, changes no result


def constants_of(method: str) -> dict[str, str]:
    """Constants of the method's modules, `module.NAME`, with the rest of their line."""
    found = {}
    for part in PARTS[method].split():
        source = (ROOT / "adlib" / f"{part}.py").read_text(encoding="utf-8")
        for names, line in re.findall(r"^([A-Z_]+(?:, [A-Z_]+)*) = (.*)$", source, re.MULTILINE):
            for name in names.split(", "):
                found[f"{Path(part).name}.{name}"] = line
    return found


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_has_an_origin_and_a_text_for_everybody(method: str) -> None:
    config = METHODS[method][1]
    names = {f.name for f in fields(config)} - {"recipe"}
    known, texts = origins(config), help_texts(config)
    assert names - PLACES == {name for name in known if "." not in name}
    assert names == set(texts)
    if method == "prn":
        recipe = fields(config().recipe)
        assert {f"recipe.{f.name}" for f in recipe} == {name for name in known if "." in name}
        assert {f.name for f in recipe} == set(help_texts(type(config().recipe)))
    for text in texts.values():
        assert text[0].isupper()
        assert text[-1] == "."


@pytest.mark.parametrize("method", ["pro-ad", "prn"])
def test_every_origin_stands_in_one_row_and_every_marked_constant_has_one(method: str) -> None:
    rows = guesses(method).to_dict("records")
    named = [name for row in rows for name in row["names"]]
    assert len(named) == len(set(named))
    known, constants = origins(METHODS[method][1]), constants_of(method)
    for name, origin in known.items():
        (here,) = [row["here"] for row in rows if name in row["names"]]
        assert str(origin) in here
    marked = {name for name, line in constants.items() if MARKED.search(line)}
    assert marked - FREE <= set(named)
    assert set(named) <= set(known) | set(constants)  # and no row names what is gone


@dataclass(frozen=True)
class Inner:
    low: Annotated[float, Origin("inferred", "a code")] = 0.2
    """Least."""


@dataclass
class Outer:
    steps: Annotated[int, "else", Origin("ours")] = 8
    """How long
    it trains."""
    plain: int = 0
    batch: Annotated[int, Origin("read", "Fig. 3; 4 is ours")] = 4
    within: Inner = field(default_factory=Inner)


def test_origins_and_texts_are_read_from_beside_the_fields() -> None:
    found = {name: str(origin) for name, origin in origins(Outer).items()}
    assert found == {
        "steps": "ours",
        "batch": "read in Fig. 3; 4 is ours",
        "within.low": "inferred from a code",
    }
    texts = help_texts(Outer)
    assert texts["steps"] == "How long it trains."
    assert texts["batch"].startswith("Images in a training step.")  # as of every config
    assert "plain" not in texts


def test_an_origin_needs_its_source_unless_it_is_ours() -> None:
    with pytest.raises(ValueError, match="inferred needs its source"):
        Origin("inferred")


@pytest.mark.parametrize("method", ["pro-ad", "prn"])
def test_every_alternative_is_an_arm_that_was_run_or_is_to_be(method: str) -> None:
    if method == "pro-ad":
        rows = read_results("choices") + read_results("constraints")
        arms = {name_of(row["files"]["record.json"]).split(",")[0] for row in rows}
    else:
        sweeps = (ROOT / "notebooks/sweeps").glob("prn*.yml")
        grids = [yaml.safe_load(path.read_text(encoding="utf-8"))["grid"] for path in sweeps]
        arms = {arm["name"] for grid in grids for arm in grid.get("arm", [])} | {"simulated alone"}
    assert {arm for row in guesses(method)["instead"] for arm in row} <= arms


def test_every_choice_says_what_is_known_and_where_ours_is_from() -> None:
    for row in [*guesses("pro-ad").itertuples(), *guesses("prn").itertuples()]:
        assert re.search(r"abstract|second-hand|Fig\. 3|unknown|not mentioned", row[2]), row
        assert row[3], row


def test_only_the_two_reconstructions_are_guessed() -> None:
    with pytest.raises(ValueError, match="expected pro-ad or prn, got 'dinomaly'"):
        guesses("dinomaly")
