"""A trained run as one ONNX file, checked against torch before it is kept.

```text
images        b 3 h w  float32  sRGB in [0, 1], resized and cut as `resize` and `size` say
anomaly_map   b h2 w2  float32  what `predict` enlarges to the image: smoothed, at 256 x 256
image_score   b        float32  larger is more anomalous
threshold     scalar   float32  an image is called defective when its score is above it
decision      b        bool     whether it is
pixel_threshold, scalar float32, and mask, b h2 w2 bool: where the map is above it
```

The batch b is free. With the constraint `project` only ONNX Runtime runs the file: solving a linear
system takes an operator of its own. Normalisation is in the graph; decoding and resizing are not,
since no ONNX operator resizes bytes as Pillow does. What a program needs for it, and where the
model came from, is in the file's metadata. `examples/onnx_predict.py` runs such a file without
adlib and torch.
"""

import copy
import json
import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from adlib import __version__
from adlib.engine import runs
from adlib.engine.features import tiling_of, transform_of
from adlib.engine.scoring import OURS, score_features
from adlib.methods.detector import Detector
from adlib.metrics.threshold import DEFAULT_RATE
from adlib.system.disk import interruptible, replacing, to_json

OPSET = 18  # of ONNX, of 2022: the oldest that torch's exporter writes without converting
TOLERANCE = 1e-4  # largest difference from torch in a pixel or a score; ours
TRACED, BATCHES = 3, (1, 2, 5)  # images in tracing and in the check, where none is like the first
LARGEST = 2**31 - 2**24  # bytes of weights; protobuf ends at 2 GiB, with room for the rest
NEEDED = ("onnx", "onnxruntime", "onnxscript")


class ParityError(RuntimeError):
    """What ONNX Runtime computes is not what torch computes."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file that passed the check, and its largest differences from torch in it."""

    path: Path
    threshold: float  # the score above which an image is called defective
    map_gap: float  # in a pixel of a map
    score_gap: float  # in an image score


def export_onnx(
    method: Detector,
    out: Path | str,
    *,
    rate: float | None = None,
    category: str | None = None,
    opset: int = OPSET,
) -> Exported:
    """Write a trained method as one ONNX file in fp32, provided it computes what torch computes.

    The threshold is the run's own, from the precision that it was trained in; where that was bf16,
    scores of the file differ from those behind the threshold by bf16's rounding.

    Args:
        method: A trained and calibrated method.
        out: A new file; it appears by one rename, when it has passed the check.
        rate: Accepted false alarms among normal images; makes the threshold. Defaults to the
            labelled defects' threshold where there is one, else to 1 %.
        category: Take the threshold of this category; None pools all.
        opset: ONNX operator set.
    Raises:
        ModuleNotFoundError: onnx, onnxruntime or onnxscript is not installed.
        FileExistsError: `out` exists.
        ValueError: The run has no threshold, or cannot be written with this operator set, in one
            file, or with a free batch.
        ParityError: It differs from torch by more than `TOLERANCE`; nothing is kept.
    """
    out = Path(out)
    check_request(out, opset)
    if tiling_of(method) is not None:
        raise ValueError("a run with tiles cannot be exported: one graph takes one size of image")
    if method.calibration is None:
        raise ValueError(
            "this run has no threshold to export: it was trained with holdout 0, or on one image"
        )
    threshold = method.calibration.threshold(rate, category)
    limit = method.calibration.pixel_threshold(rate, category)
    out.parent.mkdir(parents=True, exist_ok=True)
    method = copy.deepcopy(method).to(torch.device("cpu")).eval()
    with interruptible(), replacing(out) as work, torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        example = torch.rand(TRACED, 3, *method.config.size, generator=generator)
        model = _translate(Deployed(method), example, opset)
        _finish(model, threshold, limit, describe(method, rate, category))
        work.write_bytes(model.SerializeToString())
        map_gap, score_gap = _compare(method, work, threshold, generator)
    return Exported(path=out, threshold=threshold, map_gap=map_gap, score_gap=score_gap)


def describe(method: Detector, rate: float | None, category: str | None) -> dict[str, str]:
    """Return the file's metadata: words as they are, everything else as JSON.

    An image is framed by resizing to `resize` (height, width) and cutting `size` from the centre.
    `commit` is the exporting adlib's; `training` holds the run's own.
    """
    frame, seen, calibration = transform_of(method), method.provenance, method.calibration
    assert calibration is not None, "checked by export_onnx"
    name, rule = "false_alarm", calibration
    if (mirrored := calibration.mirrored(rate, category)) and calibration.defects:
        name, rule, rate = "miss", mirrored, calibration.defects.miss
    rate = DEFAULT_RATE if rate is None else rate
    facts = {
        "method": method.name,
        "adlib": __version__,
        "commit": runs.commit(),
        "size": frame.size,
        "resize": frame.resize or frame.size,
        f"{name}_rate": rate,
        f"expected_{name}_rate": rule.expected_rate(rate, category),
        "labelled_defects": len(rule.pool(category)) if rule is mirrored else None,
        "held_out_images": len(calibration.pool(category)),
        "category": category or "all",
        "heat_scale": calibration.levels(rate, category).scale,
        "encoder": {"name": method.encoder.name, "sha256": method.encoder.digest},
        "data": seen.get("data"),
        "training": {k: seen.get(k) for k in ("seed", "steps", "precision", "commit")},
        "notice": (seen.get("data") or {}).get("notice"),
    }
    known = {name: to_json(value) for name, value in facts.items() if value is not None}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in known.items()}


class Deployed(nn.Module):
    """What `predict` does between framed pixels and map and score, in torch's operators only.

    Features are rounded to fp16, as from the cache; without it, scores differ ten times as much.
    """

    def __init__(self, method: Detector) -> None:
        super().__init__()
        self.method = method
        self.frame = transform_of(method)

    def forward(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b h2 w2"], Float[Tensor, " b"]]:
        features = self.method.encode(images).half().float()
        maps = self.prepare(self.method.maps(features).float())
        return maps, self.method.image_score(maps)

    def prepare(self, maps: Float[Tensor, "b h w"]) -> Float[Tensor, "b h2 w2"]:
        """Do what `ImageTransform.restore` and `prepare_maps` do."""
        assert (OURS.crop, OURS.image_score) == (None, "method"), "'ours' asks for more than this"
        x = maps.unsqueeze(1)  # b 1 h w
        if self.frame.resize is not None:
            (top, left), (h, w) = self.frame.corner, self.frame.size
            below, right = self.frame.resize[0] - top - h, self.frame.resize[1] - left - w
            low = x.amin(dim=(2, 3), keepdim=True)
            x = F.pad(x, (left, right, top, below), value=float("-inf")).maximum(low)
        if OURS.size is not None:
            x = F.interpolate(x, OURS.size, mode="bilinear", align_corners=False)  # b 1 h2 w2
        if OURS.smoothing is not None:
            sigma, kernel = OURS.smoothing
            r = kernel // 2
            weight = (-(torch.arange(-r, r + 1).double() ** 2) / (2 * sigma**2)).exp()
            weight = (weight / weight.sum()).float()
            x = F.pad(x, (r, r, r, r), mode="replicate" if OURS.border == "edge" else "constant")
            x = F.conv2d(F.conv2d(x, weight.view(1, 1, -1, 1)), weight.view(1, 1, 1, -1))
        if self.method.roi is not None:
            roi = torch.from_numpy(self.method.roi)
            x = torch.where(roi, x, x.amin(dim=(2, 3), keepdim=True))
        return x.squeeze(1)


def check_request(out: Path, opset: int) -> None:
    """Raise what `export_onnx` says of a request that needs no model to be seen as wrong."""
    if out.exists():
        raise FileExistsError(f"{out} exists already; name another file, or remove it first")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ModuleNotFoundError(
            f"exporting needs {', '.join(missing)}, not found here: "
            "pip install 'adlib-anomaly[export]'"
        )
    from onnx import defs

    newest = defs.onnx_opset_version()
    if not OPSET <= opset <= newest:
        raise ValueError(f"opset must lie in {OPSET}..{newest}, got {opset}")


def _translate(graph: Deployed, example: Float[Tensor, "b 3 h w"], opset: int) -> Any:
    """Return a graph as an ONNX ModelProto whose batch is free."""
    shapes = {"images": {0: torch.export.Dim.AUTO}}  # AUTO: what got fixed is reported below
    traced = torch.export.export(graph, (example,), dynamic_shapes=shapes, strict=False)
    if not traced.range_constraints:
        raise ValueError(
            f"the batch of {graph.method.name} got fixed at {TRACED}: its extract, maps or "
            "image_score makes a Python number of it, as len(x) does and x.shape[0] does not"
        )
    program = torch.onnx.export(
        traced,
        dynamo=True,
        opset_version=opset,
        input_names=["images"],
        output_names=["anomaly_map", "image_score"],
        dynamic_shapes={"images": {0: "b"}},  # only names the axis
        custom_translation_table=_solving(),
        verbose=False,
    )
    assert program is not None, "torch.onnx.export gives a program unless it is given a file"
    weights = [v.const_value for v in program.model.graph.initializers.values()]
    size = sum(weight.nbytes for weight in weights if weight is not None)
    if size > LARGEST:
        raise ValueError(
            f"the model has {size / 2**30:.2f} GiB of weights and one ONNX file holds at most "
            f"{LARGEST / 2**30:.2f} GiB; take a smaller encoder or fewer blocks"
        )
    return program.model_proto


def _solving() -> dict[Any, Any]:
    """Return how linear systems are written, of which ONNX itself knows nothing.

    ONNX Runtime has an operator for the inverse of matrices. So a factor passes on the matrix that
    it was to be a factor of, and solving multiplies by the inverse of that.
    """
    from onnx.defs import OpSchema
    from onnxscript import opset18, values

    domain, name = "com.microsoft", "Inverse"
    ends = [OpSchema.FormalParameter(x, "T") for x in "xy"]
    schema = OpSchema(
        name, domain, 1, inputs=ends[:1], outputs=ends[1:],
        type_constraints=[("T", ["tensor(float)"], "")],
    )  # fmt: skip
    inverse = values.Op(values.Opset(domain, 1), name, schema)

    def factor(a: Any, **_: Any) -> tuple[Any, Any]:
        return opset18.Identity(a), opset18.Constant(value_int=0)

    def solve(b: Any, a: Any, **_: Any) -> Any:
        inverted: Any = inverse(a)
        return opset18.MatMul(inverted, b)

    aten = torch.ops.aten
    return {aten.linalg_cholesky_ex.default: factor, aten.cholesky_solve.default: solve}


def _finish(model: Any, threshold: float, limit: float | None, facts: dict[str, str]) -> None:
    """Add thresholds, decisions and metadata, and drop what the exporter noted of this machine."""
    from onnx import TensorProto, helper

    graph = model.graph
    del graph.value_info[:]  # shapes between nodes, which runtimes infer for themselves
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]  # stack traces with paths among them
    for name, level, of, verdict, shape in (
        ("threshold", threshold, "image_score", "decision", ["b"]),
        ("pixel_threshold", limit, "anomaly_map", "mask", ["b", "h2", "w2"]),
    ):
        if level is None:
            continue
        value = helper.make_tensor(name, TensorProto.FLOAT, (), [level])
        graph.node.append(helper.make_node("Constant", [], [name], value=value))
        graph.node.append(helper.make_node("Greater", [of, name], [verdict]))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ()))
        graph.output.append(helper.make_tensor_value_info(verdict, TensorProto.BOOL, shape))
    helper.set_model_props(model, facts)


def _compare(
    method: Detector, file: Path, threshold: float, generator: torch.Generator
) -> tuple[float, float]:
    """Return the largest differences of maps and scores between ONNX Runtime and the engine."""
    import onnxruntime

    gaps = {"map": 0.0, "score": 0.0}
    for b in BATCHES:
        images = torch.rand(b, 3, *method.config.size, generator=generator)
        expected = score_features(method, method.encode(images).half(), torch.float32)
        try:
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            wanted = ["anomaly_map", "image_score", "threshold", "decision"]
            outputs = session.run(wanted, {"images": images.numpy()})
        except Exception as error:  # of kinds that ONNX Runtime does not publish
            raise ParityError(f"ONNX Runtime cannot run a batch of {b}: {error}") from error
        *found, limit, decision = map(np.asarray, outputs)
        for name, ours, theirs in zip(gaps, expected, found, strict=True):
            gap = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else math.inf
            gaps[name] = max(gaps[name], gap)
            if not gap <= TOLERANCE:  # also where it is not a number
                raise ParityError(
                    f"ONNX Runtime and torch differ by {gap:.2g} in a {name} at a batch of {b}; "
                    f"at most {TOLERANCE:.0e} is accepted. Nothing was written"
                )
        assert limit == np.float32(threshold), limit
        assert (decision == (found[1] > limit)).all()
    return gaps["map"], gaps["score"]
