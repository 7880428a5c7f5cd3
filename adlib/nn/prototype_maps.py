r"""Prototypes that are whole feature maps: k-means on maps, and the residual to the nearest.

k-means needs distances only, and those of n maps from means of maps follow from the n x n products
$G_{ij} = x_i \cdot x_j$ (the Gram matrix). With S a cluster and c its mean,

$$\lVert x_i - c \rVert^2 = G_{ii} - \frac{2}{|S|} \sum_{j \in S} G_{ij}
  + \frac{1}{|S|^2} \sum_{j, l \in S} G_{jl}$$

Equation :eq:`eq-gram`, chapter 7.

So maps of hundreds of thousands of numbers are multiplied once, and each start and round of k-means
handles n² numbers. The clusters are those of k-means on the flattened maps. scikit-learn's needs
the coordinates, and draws from no torch.Generator.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from torch.utils.data import Subset

ROWS = 64  # maps that are multiplied at a time; bounds memory, changes no result
COLUMNS = 16_384  # numbers of each that are in float64 at a time; bounds memory likewise
RESTARTS = 30  # starts of k-means, of which the best is kept; ours, a start costs next to nothing
ROUNDS = 300  # of one start, at most; scikit-learn's default
ROUNDING = 1e-10  # of the squares' sum: less is what float64 leaves of maps that are equal
Residual = Literal["square", "scaled", "absolute"]


def _read(
    normal: Subset[Tensor], rows: range, widths: Sequence[int]
) -> tuple[Float[Tensor, "k _"], ...]:
    """Return cached maps, one matrix a scale, an image a row, in the precision of the cache."""
    features: Tensor = normal[list(rows)]  # pyright: ignore[reportArgumentType]  # takes lists
    return features.flatten(1)[:, : sum(widths)].split(list(widths), dim=1)


def _blocks(n: int) -> list[range]:
    return [range(i, min(i + ROWS, n)) for i in range(0, n, ROWS)]


def gram_matrices(normal: Subset[Tensor], widths: Sequence[int]) -> list[Float64[Tensor, "n n"]]:
    """Return the products of all pairs of maps, one matrix a scale, summed in float64.

    It takes n² d multiplications and additions for maps of d numbers (and half a block each). In
    memory are `ROWS` images twice, as they are cached, and `COLUMNS` numbers of each in float64.

    Args:
        normal: n cached images; each has its scales' flattened maps one behind the other.
        widths: Numbers of each map; what lies behind them is not looked at.
    """
    n, blocks = len(normal), _blocks(len(normal))
    grams = [torch.zeros(n, n, dtype=torch.float64) for _ in widths]
    for i, a in enumerate(blocks):
        x = _read(normal, a, widths)
        for b in blocks[i:]:
            y = x if a == b else _read(normal, b, widths)
            rows, columns = slice(a.start, a.stop), slice(b.start, b.stop)
            for gram, u, v in zip(grams, x, y, strict=True):
                parts = zip(u.split(COLUMNS, 1), v.split(COLUMNS, 1), strict=True)
                products = torch.stack([c.double() @ d.double().mT for c, d in parts]).sum(dim=0)
                gram[rows, columns], gram[columns, rows] = products, products.mT
    return grams


def cluster_means(
    normal: Subset[Tensor], widths: Sequence[int], labels: Sequence[Int[Tensor, " n"]]
) -> list[Float[Tensor, "k d"]]:
    """Return the mean map of each cluster, one matrix a scale; every cluster has a member.

    Args:
        normal: As in `gram_matrices`.
        widths: Numbers of each map.
        labels: Of each scale, the cluster of each image.
    """
    sums = [torch.zeros(int(c.max()) + 1, w) for c, w in zip(labels, widths, strict=True)]
    for rows in _blocks(len(normal)):
        for total, x, cluster in zip(sums, _read(normal, rows, widths), labels, strict=True):
            total.index_add_(0, cluster[rows.start : rows.stop], x.float())
    return [s / c.bincount().unsqueeze(1) for s, c in zip(sums, labels, strict=True)]


def mean_variance(gram: Float64[Tensor, "n n"], width: int) -> Float64[Tensor, ""]:
    r"""Return the variance of a number over n maps, the mean of all d numbers of a map.

    $(\operatorname{tr} G - \tfrac1n \sum_{ij} G_{ij}) / (n d)$, from the products alone. It is 0 if
    all maps are equal, as one alone is. Equation :eq:`eq-variance`, chapter 7.
    """
    n, squares = len(gram), gram.trace()
    deviations = squares - gram.sum() / n
    return torch.where(deviations > ROUNDING * squares, deviations, 0) / (n * width)


def draw_start(
    gram: Float64[Tensor, "n n"], k: int, generator: torch.Generator
) -> Int[Tensor, " n"]:
    """Return clusters around k rows, drawn one after another: k-means++.

    The first is any; each further one is drawn by its squared distance from those before. Fewer
    than k when all rows are at distance 0 from one that is drawn.

    Source: Arthur and Vassilvitskii 2007.
    """
    square, n = gram.diagonal(), len(gram)
    nearest, labels = torch.full_like(square, torch.inf), torch.zeros(n, dtype=torch.int64)
    row = int(torch.randint(n, (), generator=generator))
    for cluster in range(k):
        d = (square + square[row] - 2 * gram[row]).clamp(min=0)
        d[row] = 0
        labels[d < nearest] = cluster
        nearest = torch.minimum(nearest, d)
        if not nearest.any():
            break
        row = int(torch.multinomial(nearest, 1, generator=generator))
    return labels


def distances_from_means(
    gram: Float64[Tensor, "n n"], labels: Int[Tensor, " n"], k: int
) -> Float64[Tensor, "n k"]:
    """Return squared distances of all rows from the means of k clusters; infinite from none."""
    size = labels.bincount(minlength=k).unsqueeze(1)  # k 1
    divisor = size.clamp(min=1)
    # n² additions; as a product with the matrix of members it would be n² k
    cross = gram.new_zeros(k, len(gram)).index_add_(0, labels, gram) / divisor  # k n: c_k . x_i
    own = cross.gather(0, labels.unsqueeze(0)).squeeze(0)  # n: each row with its own mean
    square = gram.new_zeros(k, 1).index_add_(0, labels, own.unsqueeze(1)) / divisor  # k 1
    d = gram.diagonal() - 2 * cross + square  # k n
    return d.clamp(min=0).masked_fill(size == 0, torch.inf).mT


def lloyd(
    gram: Float64[Tensor, "n n"], labels: Int[Tensor, " n"], k: int
) -> tuple[Int[Tensor, " n"], float]:
    """Improve clusters until none changes: each row goes to the nearest mean, again and again.

    A cluster that loses its last row gets the one that is farthest from its own mean.

    Returns:
        The clusters, and the sum of all rows' squared distances from their means.
    """
    total = torch.inf
    for _ in range(ROUNDS):
        own, new = distances_from_means(gram, labels, k).min(dim=1)
        total = own.sum().item()
        for empty in (new.bincount(minlength=k) == 0).nonzero():
            movable = torch.where(new.bincount(minlength=k)[new] > 1, own, 0.0)
            if not movable.any():  # fewer rows differ than there are clusters
                break
            far = movable.argmax()
            new[far], own[far] = empty, 0.0
        if torch.equal(new, labels):
            break
        labels = new
    return labels, total


def kmeans(
    gram: Float64[Tensor, "n n"], k: int, generator: torch.Generator, restarts: int = RESTARTS
) -> Int[Tensor, " n"]:
    """Return the cluster of each row, of k, from the best of several starts.

    There are fewer than k clusters where fewer rows differ.

    Raises:
        ValueError: There are fewer rows than clusters.
    """
    if not 1 <= k <= len(gram):
        raise ValueError(f"cannot make {k} clusters of {len(gram)} maps")
    starts = (draw_start(gram, k, generator) for _ in range(restarts))
    labels, _ = min((lloyd(gram, start, k) for start in starts), key=lambda found: found[1])
    return labels.unique(return_inverse=True)[1]


class PrototypeMaps(nn.Module):
    r"""$D = \rho(F - p_{k^*})$ with $k^* = \arg\min_k \lVert F - p_k \rVert$, rho for each number.

    One prototype an image, the nearest as a whole (Fig. 3 of PRN). Rho is the square
    (inferred), the square over the variance of normal maps, or the absolute value (both ours).
    Equation :eq:`eq-residual`, chapter 7.

    Args:
        shape: Of a map: channels, rows, columns.
        form: Of rho.
    Attributes:
        p: K prototypes, channels last as in memory; data, saved with the weights.
        variance: `mean_variance` of normal maps, likewise; 1 where they do not vary.
    """

    p: Tensor
    variance: Tensor

    def __init__(self, shape: tuple[int, int, int], form: Residual = "square") -> None:
        super().__init__()
        c, h, w = shape
        self.form = form
        self.register_buffer("p", torch.empty(0, h, w, c))
        self.register_buffer("variance", torch.ones(()))

    def learn(self, means: Float[Tensor, "k d"], gram: Float64[Tensor, "n n"]) -> None:
        """Take k flattened prototypes, and the products of the n normal maps they are means of."""
        variance = mean_variance(gram, means.shape[1])
        self.p = means.unflatten(1, self.p.shape[1:]).to(self.p)
        self.variance = torch.where(variance > 0, variance, 1).to(self.variance)

    def nearest(self, f: Float[Tensor, "b h w c"]) -> Int[Tensor, " b"]:
        """Return which prototype is the nearest to each map: b K d products, in fp32 always."""
        with torch.autocast(f.device.type, enabled=False):
            p = self.p.flatten(1)
            closeness = f.flatten(1).to(p.dtype) @ p.mT - p.square().sum(dim=1) / 2  # b K
        return closeness.argmax(dim=1)

    def forward(self, f: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if not len(self.p):
            raise ValueError("there are no prototypes yet: fit the method, or load a run, first")
        x = f.permute(0, 2, 3, 1)  # b h w c
        d = x - self.p[self.nearest(x)]
        d = d.abs() if self.form == "absolute" else d.square()
        return (d / self.variance if self.form == "scaled" else d).permute(0, 3, 1, 2)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kw: Any) -> None:
        """Take any number of prototypes, which torch would refuse."""
        saved = state_dict.get(f"{prefix}p")
        if saved is not None and saved.shape[1:] == self.p.shape[1:]:
            self.p = self.p.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kw)
