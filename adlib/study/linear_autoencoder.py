r"""The best linear autoencoder, in closed form: no training, and no local minimum to doubt.

Of all linear encoders to k numbers and linear decoders back, none rebuilds the training tokens with
a smaller mean squared error than the projection on their k leading principal components (Eckart and
Young 1936), and gradient descent has no other minimum to end in (Baldi and Hornik 1989). One fit
serves every k. All is computed in fp64.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class LinearAutoencoder(NamedTuple):
    r"""$\hat x = \mu + V_k^\top V_k (x - \mu)$, with $V_k$ the first k rows of `components`.

    The case $D = V_k^\top$, $W = V_k$ of equation :eq:`eq-linear-autoencoder`, chapter 3.
    """

    mean: Float[Tensor, " c"]  #: of the training tokens
    components: Float[Tensor, "c c"]  #: orthonormal rows, in the order in which they come into use
    variances: Float[Tensor, " c"]  #: what each takes off the training tokens' mean squared error

    def rebuild(self, x: Float[Tensor, "*any c"], k: int) -> Float[Tensor, "*any c"]:
        """Return tokens as k numbers each can tell them."""
        v = self._split(k)[0]  # k c
        return self.mean + (x.double() - self.mean) @ v.mT @ v

    def errors(self, x: Float[Tensor, "*any c"], k: int) -> Float[Tensor, "*any"]:
        """Return each token's squared distance from its reconstruction.

        It is summed over the components left out, and so exactly 0 when none is; the difference of
        token and reconstruction would be a rounding error, which can be ranked like any number.
        """
        left_out = self._split(k)[1]  # c-k c
        return ((x.double() - self.mean) @ left_out.mT).square().sum(dim=-1)

    def enough(self, share: float) -> int:
        """Return the smallest k that keeps this share, in (0, 1], of the training variance."""
        if not 0 < share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {share}")
        kept = self.variances.cumsum(dim=0)
        return min(int((kept < share * kept[-1]).sum()) + 1, len(kept))

    def _split(self, k: int) -> tuple[Tensor, Tensor]:
        if not 0 <= k <= len(self.mean):
            raise ValueError(f"k must lie in 0..{len(self.mean)}, the width of a token, got {k}")
        return self.components[:k], self.components[k:]


def principal(tokens: Float[Tensor, "n c"]) -> LinearAutoencoder:
    """Fit to n tokens: the eigenvectors of their covariance, largest eigenvalue first.

    Equation :eq:`eq-eckart-young`, chapter 3.
    """
    x = tokens.double()
    mean = x.mean(dim=0)
    variances, vectors = torch.linalg.eigh((x - mean).mT @ (x - mean) / len(x))  # rising
    return LinearAutoencoder(mean, vectors.mT.flip(0), variances.flip(0).clamp(min=0))


def undirected(tokens: Float[Tensor, "n c"], generator: torch.Generator) -> LinearAutoencoder:
    """The same with drawn directions: as strong at every k, its strength spent on nothing.

    Only the mean is fitted; the directions are uniform over all orthonormal ones.
    """
    x = tokens.double()
    mean, c = x.mean(dim=0), x.shape[1]
    normal = torch.randn(c, c, generator=generator, dtype=torch.float64).to(x.device)
    vectors, triangle = torch.linalg.qr(normal)
    components = (vectors * triangle.diagonal().sign()).mT  # the sign makes them uniform (Stewart)
    variances = ((x - mean) @ components.mT).square().mean(dim=0)
    return LinearAutoencoder(mean, components, variances)


def numbers_to_try(width: int) -> list[int]:
    """Return numbers of components, dense at both ends: 0, 1, 2, 4, ..., width - 1, width.

    Where nothing and where everything is kept, much happens between neighbours.
    """
    ends = {0, width // 2, *(2**i for i in range(width.bit_length()) if 2**i <= width // 2)}
    return sorted(ends | {width - k for k in ends})
