"""The page "Try it": its network is the library's, and so is the heat map of a real photograph."""

import base64
import io
import json
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from torch import Tensor

from adlib.data.readers.solar import PACKAGE
from adlib.engine.features import transform_of
from adlib.methods.patchcore import nearest_rows
from book import try_it
from tests.page_faults import CHROMIUM, NO_BROWSER

SPEC = find_spec(PACKAGE)
assert SPEC is not None
assert SPEC.origin is not None
CELL = Path(SPEC.origin).parent / "data/images/cell1215.png"  # of another panel than the samples
BUSY = "() => document.querySelector('#detector').ariaBusy !== 'true'"


def test_its_convolutions_compute_what_the_encoder_does() -> None:
    encoder = try_it.method().encoder
    images = torch.rand(2, 3, *encoder.size, generator=torch.Generator().manual_seed(0))
    mean, std = encoder.mean[:, None, None], encoder.std[:, None, None]
    x, before = (images - mean) / std, []
    for layer in try_it.layers(encoder):
        before.append(x)
        weight, stride = layer["weight"], layer["stride"]
        pad = max((math.ceil(x.shape[2] / stride) - 1) * stride + weight.shape[2] - x.shape[2], 0)
        groups = x.shape[1] // weight.shape[1]
        x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
        x = F.conv2d(x, weight, layer["bias"], stride, groups=groups)
        x = x.clamp(0, 6) if layer["relu6"] else x
        x = x + before[-layer["skip"]] if layer["skip"] else x
    torch.testing.assert_close(x.flatten(2).mT, encoder(images)[0], atol=1e-4, rtol=1e-4)


def look(page: Page) -> dict:
    """What the page found when it is idle again."""
    page.wait_for_function(BUSY)
    return page.evaluate("document.querySelector('#detector').found")


@pytest.mark.timeout(600)
@pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
def test_a_dropped_photograph_gets_the_librarys_heat_map(small: Path, tmp_path: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        page = browser.new_page(offline=True)
        page.set_default_timeout(300_000)
        page.goto((small / "book/try_it.html").as_uri())
        one, two = page.locator("#detector input[type=file]").all()
        said = page.locator("#detector [role=status]")
        one.set_input_files([CELL])
        page.wait_for_function(BUSY)
        assert "At least three" in said.inner_text()
        assert two.is_disabled()
        assert not page.get_by_text("needs JavaScript").is_visible()
        assert page.get_by_text("Show this page a few good parts").is_visible()
        page.get_by_role("button", name="Take twelve").press("Enter")
        page.wait_for_function(BUSY)
        samples = page.locator("#detector .strip button")
        shown = []
        for sample in samples.all():
            sample.press("Enter")
            shown.append(look(page))
        (broken := tmp_path / "broken.png").write_bytes(b"no picture")
        two.set_input_files(broken)
        page.wait_for_function(BUSY)
        assert "no picture" in said.inner_text()
        two.set_input_files(CELL)
        found = look(page)
        assert CELL.name in said.inner_text()
        picture = page.get_by_alt_text("the heat map over your photograph")
        assert picture.evaluate("e => [e.naturalWidth, e.naturalHeight]") == [300, 300]
        learnt = page.evaluate("window.adlibNetwork.good")
        offered = [source for _, source in page.evaluate("window.adlibNetwork.new")]
        browser.close()
    cells, new = (
        [Image.open(io.BytesIO(base64.b64decode(c.partition(",")[2]))) for c in some]
        for some in (learnt, offered)
    )
    with Image.open(CELL) as cell:
        expected = distances(cells, cell)
    # fp16 weights move a distance by less than a hundredth; two decoders, two filters do as well
    torch.testing.assert_close(torch.tensor(found["map"]), expected, atol=0.03, rtol=0)
    scores = [float(distances(cells, cell).max()) for cell in new]
    assert [each["score"] for each in shown] == pytest.approx(scores, abs=0.03)
    others = [float(distances([c for c in cells if c is not one], one).max()) for one in cells]
    assert found["limit"] == pytest.approx(max(others), abs=0.03)  # each by the other good ones


def distances(good: Sequence[Image.Image], new: Image.Image) -> Float[Tensor, " n"]:
    """How far the library finds each patch of a photograph from those of the good ones."""
    method = try_it.method()

    @torch.no_grad()
    def patches(image: Image.Image) -> Float[Tensor, "n c"]:
        pixels = transform_of(method).image(np.asarray(image.convert("RGB")))
        return method.patches(method.encode(torch.from_numpy(pixels)[None]))[0]

    return nearest_rows(patches(new), torch.cat([patches(image) for image in good]))


def test_the_script_is_light_and_the_same_each_time() -> None:
    first = try_it.script()
    assert first == try_it.script()
    assert len(first) < 2_500_000  # with the page's own files below the limit of a page; ours
    model = json.loads(first.removeprefix("window.adlibNetwork = ").removesuffix(";\n"))
    assert [kind for kind, _ in model["new"]] == ["good", *["defective"] * try_it.LOOKED_AT]
    assert len({*model["good"], *(source for _, source in model["new"])}) == 16
