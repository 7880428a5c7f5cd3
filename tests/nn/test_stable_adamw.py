"""StableAdamW against its equations, worked scalar by scalar in float64."""

import math

import pytest
import torch

from adlib.nn.stable_adamw import StableAdamW, warmed_up, warmup_cosine


def test_three_steps_equal_the_equations() -> None:
    lr, b1, b2, eps, decay = 0.05, 0.9, 0.99, 1e-10, 0.1
    start = [0.4, -1.2, 2.0]
    gradients = [[0.1, -0.2, 0.05], [3.0, 0.4, -0.3], [0.01, 0.02, 0.5]]  # the second one spikes
    p = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimiser = StableAdamW([p], lr=lr, betas=(b1, b2), eps=eps, weight_decay=decay)

    theta, m, v, v_max = list(start), [0.0] * 3, [0.0] * 3, [0.0] * 3
    shortened = []
    for t, g in enumerate(gradients, start=1):
        m = [b1 * a + (1 - b1) * x for a, x in zip(m, g, strict=True)]
        v = [b2 * a + (1 - b2) * x * x for a, x in zip(v, g, strict=True)]
        v_max = [max(a, b) for a, b in zip(v_max, v, strict=True)]
        d = [math.sqrt(a / (1 - b2**t)) + eps for a in v_max]
        rms = math.sqrt(sum((x / y) ** 2 for x, y in zip(g, d, strict=True)) / 3)
        shortened.append(rms > 1)
        step = lr / max(1, rms) / (1 - b1**t)
        theta = [(1 - lr * decay) * x - step * a / y for x, a, y in zip(theta, m, d, strict=True)]

        p.grad = torch.tensor(g, dtype=torch.float64)
        optimiser.step()
        torch.testing.assert_close(p.detach(), torch.tensor(theta, dtype=torch.float64))
    assert any(shortened)  # the clipping was exercised
    assert not all(shortened)


def test_tensors_do_not_touch_each_other() -> None:
    """Each has its own surprise and its own count of steps; one without gradient stays."""
    g = torch.Generator().manual_seed(1)
    shapes = [(3, 5), (7,), (2, 2, 2)]
    starts = [torch.randn(s, generator=g) for s in shapes]
    gradients = [[torch.randn(s, generator=g) * 4**k for s in shapes] for k in range(4)]
    together = [torch.nn.Parameter(x.clone()) for x in starts]
    apart = [torch.nn.Parameter(x.clone()) for x in starts]
    optimiser = StableAdamW(together, lr=0.1)
    others = [StableAdamW([p], lr=0.1) for p in apart]
    for k, of_step in enumerate(gradients):
        for i, grad in enumerate(of_step):
            given = None if (k, i) == (1, 2) else grad
            together[i].grad = apart[i].grad = given
        kept = together[2].detach().clone()
        optimiser.step()
        for other in others:
            other.step()
        assert torch.equal(together[2], kept) == (k == 1)
    for p, q in zip(together, apart, strict=True):
        torch.testing.assert_close(p, q)


def test_schedule_rises_to_one_and_falls_to_a_tenth() -> None:
    factors = [warmup_cosine(k, steps=50, warmup=10) for k in range(51)]
    assert factors[0] == 0
    assert factors[10] == pytest.approx(1)
    assert factors[30] == pytest.approx((1 + 0.1) / 2)  # half-way down the cosine
    assert factors[50] == pytest.approx(0.1)
    assert warmup_cosine(0, steps=1, warmup=0) == pytest.approx(1)


def test_a_run_warms_up_for_a_tenth_of_it_at_most_and_each_group_keeps_its_rate() -> None:
    def rates(steps: int, warmup: int) -> list[list[float]]:
        p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
        groups = [{"params": [p]}, {"params": [q], "lr": 0.5}]
        optimiser, schedule = warmed_up(groups, 2.0, warmup, steps)
        found = []
        for _ in range(steps + 1):
            found.append([group["lr"] for group in optimiser.param_groups])
            optimiser.step()
            schedule.step()
        return found

    long = rates(steps=40, warmup=100)
    assert [lr for lr, _ in long[:5]] == pytest.approx([0, 0.5, 1, 1.5, 2])  # in four steps
    assert long[22][0] == pytest.approx(2 * (1 + 0.1) / 2)  # half-way down the cosine
    assert long[40][0] == pytest.approx(0.2)
    assert [lr for _, lr in long] == pytest.approx([lr / 4 for lr, _ in long])
    assert rates(steps=40, warmup=2)[1:3] == [[1.0, 0.25], [2.0, 0.5]]  # shorter, if asked for
