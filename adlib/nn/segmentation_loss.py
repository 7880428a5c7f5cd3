"""Losses between maps of logits and masks, in fp32 whatever precision computes the logits."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def focal_loss(
    logits: Float[Tensor, "b h w"], masks: Bool[Tensor, "b h w"], alpha: float, gamma: float
) -> Float[Tensor, ""]:
    r"""$\mathrm{mean}[-\alpha (1 - p_t)^\gamma \log p_t]$: what is right already hardly matters.

    $p_t$ is the probability of the true class, and $\alpha$ one factor for both classes. With m the
    logit of the true class, $\log p_t = \log\sigma(m)$ and $\log(1 - p_t) = \log\sigma(-m)$, so no
    logit is too large: neither the value nor the gradient ever needs a probability near 0 or 1.

    Source: Lin et al. 2017, there with $1 - \alpha$ for the second class.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        m = torch.where(masks, logits, -logits)
        return -alpha * ((gamma * F.logsigmoid(-m)).exp() * F.logsigmoid(m)).mean()


def smooth_l1_loss(
    logits: Float[Tensor, "b h w"], masks: Bool[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    r"""Smooth L1 with $\beta = 1$ between probabilities and masks.

    They differ by at most 1, so it is half the squared error everywhere. Source: Girshick 2015;
    $\beta$ is the unofficial code's.
    """
    with torch.autocast(logits.device.type, enabled=False):
        p = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
        return F.smooth_l1_loss(p, masks.to(p.dtype), beta=1.0)
