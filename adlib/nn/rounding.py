"""Keep a frozen ViT's features when half precision computes them.

Under autocast each matrix product takes and gives bf16, which keeps eight binary digits. Most of
what that costs a ViT comes from three places where it can be had back for next to nothing. On real
images it lowers the error of the fused levels by a third (`tests/benchmarks/encoder.py` measures
it; DINOv2 ViT-S/14). In fp32 nothing changes, to the last bit.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class PatchProjection(nn.Module):
    """A ViT's first convolution, always in fp32.

    It is one hundredth of the work, and every level carries its error along.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.patch = (convolution.stride[0], convolution.stride[1])

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c rows columns"]:
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.float(), self.weight, self.bias, self.patch)


class QueryKeyValue(nn.Module):
    """Queries, keys and values by one matrix; in half precision without the keys' bias.

    It adds the same number to all scores of a query, which softmax takes out again. DINOv2's is as
    large as 37 (block 3 of ViT-S), and keys of that size have no digits left for what differs.
    """

    kept: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        kept = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(linear.in_features)
        self.register_buffer("kept", kept, persistent=False)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n qkv"]:
        if not torch.is_autocast_enabled(x.device.type):
            return F.linear(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias * self.kept)


class BiasLast(nn.Module):
    """A linear layer whose output joins the fp32 residual; its bias is added there, unrounded.

    Autocast would round the bias itself, alike for all tokens, so no averaging removes it.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n d"]:
        if not torch.is_autocast_enabled(x.device.type):
            return F.linear(x, self.weight, self.bias)
        return F.linear(x, self.weight) + self.bias


def guard_rounding(model: Any) -> None:
    """Put the three into a plain timm ViT; the names of its weights stay.

    Other models stay as they are. Where keys are normalised, or rotated as in DINOv3, their bias
    does not cancel.
    """
    from timm.layers import Attention, Mlp, PatchEmbed  # pyright: ignore[reportPrivateImportUsage]
    from timm.models.vision_transformer import Block

    def plain(block: Any) -> bool:
        if (type(block), type(block.attn), type(block.mlp)) != (Block, Attention, Mlp):
            return False
        qkv, biased = block.attn.qkv, (block.attn.qkv, block.attn.proj, block.mlp.fc2)
        square = qkv.out_features == 3 * qkv.in_features
        normal = not isinstance(block.attn.k_norm, nn.Identity)
        return square and not normal and all(layer.bias is not None for layer in biased)

    blocks = getattr(model, "blocks", ())
    if type(getattr(model, "patch_embed", None)) is not PatchEmbed or not all(map(plain, blocks)):
        return
    model.patch_embed.proj = PatchProjection(model.patch_embed.proj)
    for block in blocks:
        block.attn.qkv = QueryKeyValue(block.attn.qkv)
        block.attn.proj = BiasLast(block.attn.proj)
        block.mlp.fc2 = BiasLast(block.mlp.fc2)
