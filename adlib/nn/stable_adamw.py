"""StableAdamW, the optimiser that Dinomaly and INP-Former train with, and its schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class StableAdamW(Optimizer):
    r"""AdamW with AMSGrad whose step is shortened where a gradient surprises its own history.

    With gradient g, first moment m, second moment v and their decays $\beta_1, \beta_2$:

    $$d_t = \sqrt{\frac{\max_{s \le t} v_s}{1 - \beta_2^t}} + \epsilon,\qquad
      \eta_t = \frac{\eta}{\max(1, \mathrm{RMS}(g_t / d_t))},\qquad
      \theta_t = (1 - \eta\lambda)\,\theta_{t-1} - \frac{\eta_t}{1 - \beta_1^t} \frac{m_t}{d_t}$$

    The root mean square runs over one tensor. The decay uses the whole step $\eta$.

    Source: Wortsman et al. 2023, Algorithm 2; AMSGrad and the defaults are Dinomaly's.

    Args:
        params: Tensors or groups of them.
        lr: The step $\eta$ before shortening.
        betas: Decays of the two moments.
        eps: $\epsilon$; raise it if the loss spikes.
        weight_decay: $\lambda$, decoupled.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-10,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; `closure` recomputes the loss when given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)
        return loss

    def _update(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[p], group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            state["m"], state["v"], state["v_max"] = (torch.zeros_like(p) for _ in range(3))
        state["step"] += 1
        t, m, v, v_max = state["step"].item(), state["m"], state["v"], state["v_max"]
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        torch.maximum(v_max, v, out=v_max)
        d = (v_max / (1 - beta2**t)).sqrt_().add_(group["eps"])
        surprise = (g / d).square_().mean().sqrt_().clamp_(min=1)  # a tensor: no wait for a GPU
        p.mul_(1 - group["lr"] * group["decay"])
        p.addcdiv_(m / surprise, d, value=-group["lr"] / (1 - beta1**t))


def warmup_cosine(step: int, steps: int, warmup: int, final: float = 0.1) -> float:
    """Factor on the learning rate: linear from 0 to 1 in `warmup` steps, then a cosine to `final`.

    Args:
        step: The step about to be taken, from 0.
        steps: All steps of the run.
        warmup: Steps of the linear part; 100 in Dinomaly.
        final: The factor at the end.
    Source: Dinomaly and INP-Former, per iteration.
    """
    if step < warmup:
        return step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
