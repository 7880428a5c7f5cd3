"""StableAdamW, the optimiser that Dinomaly and INP-Former train with, and its schedule."""

# torch documents `_foreach` functions, and exports them under these names only.
# pyright: reportPrivateImportUsage=false

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class StableAdamW(Optimizer):
    r"""AdamW with AMSGrad whose step is shortened where a gradient surprises its own history.

    With gradient g, first moment m, second moment v and their decays $\beta_1, \beta_2$:

    $$d_t = \sqrt{\frac{\max_{s \le t} v_s}{1 - \beta_2^t}} + \epsilon,\qquad
      \eta_t = \frac{\eta}{\max(1, \mathrm{RMS}(g_t / d_t))},\qquad
      \theta_t = (1 - \eta\lambda)\,\theta_{t-1} - \frac{\eta_t}{1 - \beta_1^t} \frac{m_t}{d_t}$$

    The root mean square runs over one tensor. The decay uses the whole step $\eta$.

    Source: Wortsman et al. 2023, Algorithm 2; AMSGrad and the defaults are Dinomaly's.

    `lr` is $\eta$ before shortening; `weight_decay` is $\lambda$, decoupled. Raise `eps` if
    the loss spikes.
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
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for t, params in self._by_age(group["params"]).items():
                on_cpu = params[0].device.type == "cpu"
                for part in [[p] for p in params] if on_cpu else [params]:
                    self._update(part, t, group)
        return loss

    def _by_age(self, params: list[Tensor]) -> dict[int, list[Tensor]]:
        """Count a step of those that have a gradient, and return them by its number."""
        found: dict[int, list[Tensor]] = {}
        for p in params:
            if p.grad is None:
                continue
            if not (state := self.state[p]):
                state["step"] = torch.zeros(())
                state["m"], state["v"], state["v_max"] = (torch.zeros_like(p) for _ in range(3))
            state["step"] += 1
            found.setdefault(int(state["step"].item()), []).append(p)
        return found

    def _update(self, params: list[Tensor], t: int, group: dict[str, Any]) -> None:
        """Take step t.

        On a GPU all tensors go through torch's `_foreach` at once, which spares thousands of
        launches; on a CPU one at a time, so that it stays in the processor's cache.
        """
        beta1, beta2 = group["betas"]
        g: list[Any] = [p.grad for p in params]
        m, v, v_max = ([self.state[p][name] for p in params] for name in ("m", "v", "v_max"))
        torch._foreach_lerp_(m, g, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, g, g, 1 - beta2)
        torch._foreach_maximum_(v_max, v)
        d = torch._foreach_div(v_max, 1 - beta2**t)
        torch._foreach_sqrt_(d)
        torch._foreach_add_(d, group["eps"])
        surprise = torch._foreach_norm(torch._foreach_div(g, d))
        torch._foreach_div_(surprise, [p.numel() ** 0.5 for p in params])
        torch._foreach_clamp_min_(surprise, 1)  # stays a tensor: no wait for a GPU
        torch._foreach_mul_(params, 1 - group["lr"] * group["decay"])
        torch._foreach_addcdiv_(
            params, torch._foreach_div(m, surprise), d, -group["lr"] / (1 - beta1**t)
        )


def warmup_cosine(step: int, steps: int, warmup: int, final: float = 0.1) -> float:
    """Factor on the learning rate: linear from 0 to 1 in `warmup` steps, then a cosine to `final`.

    `step` is about to be taken, of `steps` from 0. Source: Dinomaly and INP-Former, per iteration,
    with a warm-up of 100.
    """
    if step < warmup:
        return step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def warmed_up(
    groups: list[dict[str, Any]], lr: float, warmup: int, steps: int
) -> tuple[StableAdamW, LambdaLR]:
    """Return the optimiser of groups of weights, and the schedule of a run of `steps`.

    A group may name a learning rate of its own. The warm-up takes at most a tenth of the run; ours.
    """
    optimiser = StableAdamW(groups, lr=lr)
    warmup = min(warmup, steps // 10)
    return optimiser, LambdaLR(optimiser, lambda step: warmup_cosine(step, steps, warmup))
