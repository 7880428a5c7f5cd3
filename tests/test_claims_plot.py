"""The figure of what was published shows every claim where it stands."""

from pathlib import Path

import numpy as np
import pytest

from adlib.report.published import CATEGORIES, MEAN, drifts, published
from adlib.study.claims_plot import DATA, _missed, _reached, claims_figure
from tests.made_records import record, section_of


def test_every_claim_and_rerun_stands_at_its_number() -> None:
    figure = claims_figure(("image_auroc", "pixel_ap"))
    panels = np.array(figure.axes).reshape(2, 3)
    assert [axes.get_title() for axes in panels[0]] == list(DATA.values())
    methods = [label.get_text() for label in panels[0, 0].get_yticklabels()]
    for line, metric in zip(panels, ("image_auroc", "pixel_ap"), strict=True):
        for axes, data in zip(line, DATA, strict=True):
            drawn = {
                (round(float(x), 2), round(float(y)))
                for points in axes.lines
                for x, y in zip(points.get_xdata(), points.get_ydata(), strict=True)
            }
            rows = published(data=data, metric=metric, setting="multi-class", category=MEAN)
            claims = [r for r in rows if r.run == "paper" and r.variant in ("", "ViT-B")]
            assert len(claims) > 10
            again = [d.rerun for d in drifts(data=data, metric=metric, category=MEAN)]
            for row in [*claims, *again]:
                assert (row.per_cent, methods.index(row.method)) in drawn
            low, high = axes.get_xlim()
            assert all(low < x < high for x, _ in drawn)
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels >= {"claim, primary", "claim, second-hand", "run again, same protocol"}
    assert "run here" not in labels


def test_a_run_of_ones_own_is_shown(tmp_path: Path) -> None:
    names = tuple(f"c{i}" for i in range(CATEGORIES["visa"]))
    made = record("dinomaly", names=names, data={"name": "visa", "hash": "aa"}, level=0.75)
    figure = claims_figure(("image_auroc",), [section_of(tmp_path, made)])
    (own,) = [p for axes in figure.axes for p in axes.lines if p.get_label() == "run here"]
    at = np.asarray(own.get_xdata(), float)
    assert at == pytest.approx([100 * made["mean"]["image_auroc"]], abs=0.01)
    assert own.axes is figure.axes[1]


def test_the_axis_is_read_backwards() -> None:
    values = np.array([50.0, 90.0, 99.0, 99.9])
    assert _reached(_missed(values)) == pytest.approx(values)
    assert np.diff(_missed(values))[1:] == pytest.approx([1, 1])  # a tenth of the misses is a step
