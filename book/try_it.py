"""The network and the sample photographs of the page "Try it", in one script that works from disk.

The page fits a PatchCore like `method()` in the reader's browser: nothing is trained, so that the
photographs that a reader drops are its memory. From disk, a page may not read the files beside it,
but it may run a script; so weights and photographs are text in one.
"""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

import adlib
from adlib.data.dataset import ImageDataset
from adlib.figures import HEAT
from adlib.nn.encoder import Encoder

SCRIPT = "book/_static/try_it_model.js"  # made by each build, never committed
CATEGORY = "poly"
LEARNT, LOOKED_AT = 12, 3  # cells to learn from, and defective ones to look at; ours
COLOURS = 32  # steps of the heat map's colours; ours
KINDS = (nn.Conv2d, nn.BatchNorm2d)


def method() -> adlib.PatchCore:
    """The method that the page computes: one stage of the small CNN, all patches kept."""
    config = adlib.PatchCoreConfig(encoder="efficientnet-lite0", layers=(3, 3), size=(256, 256))
    return adlib.PatchCore(config)


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does its batch normalisation's work as well."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = convolution.weight * factor[:, None, None, None]
    return weight, norm.bias - norm.running_mean * factor


def layers(encoder: Encoder) -> list[dict[str, Any]]:
    """Each convolution up to the encoder's level: sizes, weights, and what follows it.

    `skip` counts the convolutions back to where a block began whose input is added; 0: nothing is.
    """
    model = encoder.model
    last = int(model.feature_info[encoder.layers[0]]["module"].removeprefix("blocks."))
    blocks = [block for stage in model.blocks[: last + 1] for block in stage]
    found = []
    for block in (None, *blocks):
        parts = [model.conv_stem, model.bn1] if block is None else list(block.children())
        pairs = list(zip(*([p for p in parts if isinstance(p, t)] for t in KINDS), strict=True))
        for convolution, norm in pairs:
            weight, bias = folded(convolution, norm)
            layer = {"weight": weight, "bias": bias, "stride": convolution.stride[0], "skip": 0}
            found.append(layer | {"relu6": isinstance(norm.act, nn.ReLU6)})
        if block is not None and block.has_skip:
            found[-1]["skip"] = len(pairs)
    return found


def first(images: ImageDataset, count: int, *, good: bool) -> list[tuple[str, str]]:
    """What experts call the first cells by file number, and their photographs as addresses.

    No score has a say in the choice.
    """
    numbers = [int(re.sub(r"\D", "", Path(r.path).stem)) for r in images.references]
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    mine = [i for i in order if images.labels[i] != good]
    found = []
    for sample in images.select(mine[:count]):
        file = io.BytesIO()
        Image.fromarray(sample.image).convert("L").save(file, format="webp", quality=90)
        address = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
        found.append((sample.defect, address))
    return found


def script() -> str:
    """The script: the network in fp16, the sample cells, the colours of a heat map."""
    encoder = method().encoder
    values, shapes = [], []
    for layer in layers(encoder):
        weight = layer.pop("weight")
        values += [weight.flatten(), layer.pop("bias")]
        out, each, side, _ = weight.shape
        shapes.append({"out": out, "each": each, "side": side, **layer})
    weights = torch.cat(values).half().numpy().astype("<f2").tobytes()
    data = adlib.load_data("solar", categories=(CATEGORY,))
    model = {
        "size": encoder.size[0],
        "mean": encoder.mean.tolist(),
        "std": encoder.std.tolist(),
        "layers": shapes,
        "weights": base64.b64encode(weights).decode(),
        "colours": (255 * colormaps[HEAT](np.linspace(0, 1, COLOURS))[:, :3]).round().tolist(),
        "good": [source for _, source in first(data.train, LEARNT, good=True)],
        "new": first(data.test, 1, good=True) + first(data.test, LOOKED_AT, good=False),
    }
    return f"window.adlibNetwork = {json.dumps(model, separators=(',', ':'))};\n"
