"""What detectors that rebuild a frozen encoder's tokens share, around decoders of their own.

Two groups of levels, the cosine distance of each token from its reconstruction, a loss whose
gradient is weighted token by token, and from distances to a map and a score. Dinomaly and
INP-Former do all of it alike; what Pro-AD does is inferred from them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Subset

from adlib.nn.attention import Attention
from adlib.nn.encoder import Encoder


def one_grid(encoder: Encoder) -> tuple[int, tuple[int, int]]:
    """Return the width and grid that all levels of an encoder share.

    Raises:
        ValueError: They share none, or their number is odd.
    """
    widths, grids = set(encoder.widths), set(encoder.grids)
    if len(widths) > 1 or len(grids) > 1:
        raise ValueError(
            "levels that are averaged must share one width and one grid; the encoder "
            f"{encoder.name!r} has widths {encoder.widths} on grids {encoder.grids}. Choose a ViT, "
            f"or one layer twice, such as layers={(encoder.layers[0],) * 2}"
        )
    if len(encoder.layers) % 2:
        raise ValueError(f"layers must be even (two groups), got {encoder.layers}")
    return widths.pop(), grids.pop()


def two_groups(levels: Sequence[Float[Tensor, "b n c"]]) -> Float[Tensor, "b 2 n c"]:
    """Return the means of the first and of the second half of the levels ("loose" groups).

    Equation :eq:`eq-groups`, chapter 5.
    """
    half = len(levels) // 2
    first, second = torch.stack(list(levels[:half])), torch.stack(list(levels[half:]))
    return torch.stack([first.mean(dim=0), second.mean(dim=0)], dim=1)


def cosine_distances(
    target: Float[Tensor, "b g n c"], rebuilt: Float[Tensor, "b g n c"]
) -> Float[Tensor, "b g n"]:
    """Return 1 - cos of each token and its reconstruction, in [0, 2] up to rounding, in fp32.

    The distance in equation :eq:`eq-map`, chapter 5.
    """
    return 1 - F.cosine_similarity(target.float(), rebuilt.float(), dim=-1)


def weighted_cosine_loss(
    target: Float[Tensor, "b g n c"],
    rebuilt: Float[Tensor, "b g n c"],
    weight: Float[Tensor, "b g n"],
) -> Float[Tensor, ""]:
    """Return the mean over images and groups of 1 - cos of the flattened maps.

    Its value knows no weights; its gradient at each rebuilt token is multiplied by the token's.
    Equation :eq:`eq-loss`, chapter 5.
    """
    if rebuilt.requires_grad:
        rebuilt.register_hook(lambda gradient: gradient * weight.unsqueeze(-1))
    product, a, b = (  # over all tokens and channels of a group, b g
        (x * y).sum(dim=(2, 3))
        for x, y in ((target, rebuilt), (target, target), (rebuilt, rebuilt))
    )
    return (1 - product / (a * b).clamp(min=1e-16).sqrt()).mean()


def distance_weights(d: Float[Tensor, "b g n"], hardness: float) -> Float[Tensor, "b g n"]:
    """Return (d / mean d)^hardness, the mean running over a group in the batch.

    The weights of equation :eq:`eq-loss`, chapter 5. A distance that rounding took below 0 counts
    as 0, and where all are 0, so is each weight.

    Source: INP-Former's soft mining, with an exponent of 3.
    """
    d = d.clamp(min=0)
    mean = d.mean(dim=(0, 2), keepdim=True).clamp(min=torch.finfo(d.dtype).tiny)
    return (d / mean) ** hardness


def easy_point_weights(
    d: Float[Tensor, "b g n"], share: Tensor, factor: float
) -> Float[Tensor, "b g n"]:
    """Return `factor` for easy points and 1 for the rest.

    Easy are those nearer to their reconstruction than the quantile `share` of their group over the
    batch. With a share of 0 none is.

    Source: Dinomaly's hard mining; the quantile is one of the distances, never between two.
    """
    of_group = d.transpose(0, 1).flatten(1)  # g b*n
    threshold = torch.quantile(of_group, share.to(d.dtype), dim=1, interpolation="higher")  # g
    return torch.where(d < threshold.unsqueeze(-1), factor, 1.0)


def coherence_loss(f_i: Float[Tensor, "b n c"], p: Float[Tensor, "b m c"]) -> Float[Tensor, ""]:
    r"""$\mathrm{mean}_i \min_j (1 - \cos(f_i, p_j))$: each token has a prototype near it.

    In fp32. Source: INP-Former's coherence loss.
    """
    with torch.autocast(f_i.device.type, enabled=False):
        cosines = F.normalize(f_i.float(), dim=-1) @ F.normalize(p.float(), dim=-1).mT  # b n m
    return (1 - cosines.max(dim=-1).values).mean()


def distance_maps(
    d: Float[Tensor, "b g n"], grid: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "b h w"]:
    """Lay distances out on their grid, enlarge each group bilinearly, and average the groups.

    The centres of the corner tokens fall on the corner pixels (aligned corners). Equation
    :eq:`eq-map`, chapter 5.
    """
    spread = d.unflatten(2, grid)  # b g rows columns
    return F.interpolate(spread, size, mode="bilinear", align_corners=True).mean(dim=1)


def top_mean(maps: Float[Tensor, "b h w"], top: float) -> Float[Tensor, " b"]:
    """Return the mean of each map's top share of pixels, of one pixel at least."""
    flat = maps.flatten(1)
    k = max(1, int(flat.shape[1] * top))
    return flat.topk(k, dim=1).values.mean(dim=1)


def draw_decoder(part: nn.Module, width: int, generator: torch.Generator) -> None:
    """Draw the weights of all linear layers and layer norms inside.

    Linear weights: normal of deviation 0.01 at width 768, cut at three deviations (Dinomaly), times
    sqrt(768 / width) for other widths (ours: at 0.01 narrow decoders start too close to silence).
    Biases are 0; norms start as 1 and 0, learnt scales as 1.
    """
    std = 0.01 * (768 / width) ** 0.5
    for module in part.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, 0.0, std, -3 * std, 3 * std, generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, Attention) and module.scale is not None:
            nn.init.ones_(module.scale)


def draw_tokens(
    normal: Subset[Tensor], count: int, generator: torch.Generator
) -> Float[Tensor, "count c"]:
    """Draw tokens of normal images: of each the mean over groups, at one place in one image.

    No image gives a second token before all have given one; ours.

    Args:
        normal: Cached features, g n c each.
        count: How many.
        generator: Draws images and places.
    """
    turns = -(-count // len(normal))
    order = [torch.randperm(len(normal), generator=generator) for _ in range(turns)]
    tokens = []
    for i in torch.cat(order)[:count].tolist():
        fused = normal[i].float().mean(dim=0)  # n c
        tokens.append(fused[int(torch.randint(len(fused), (), generator=generator))])
    return torch.stack(tokens)
