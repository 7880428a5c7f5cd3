"""Average ranks over categories, and how far apart two of them must lie to mean something.

In each category the arms are ranked, 1 for the best; an arm's average rank is over the categories.
If the arms were equally good, each category would be a random order. Drawing such orders gives the
p-value of the Friedman test and the critical difference at any number of categories; with many
they agree with the chi-square and with Nemenyi's table, which are approximations.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from adlib.report.records import Section
from adlib.report.summary import LEVEL

ORDERS = 20_000  # random orders drawn; ours: an error of p below 0.002 at 0.05
CHUNK = 1_000  # of them at a time, which bounds memory


@dataclass(frozen=True)
class Ranks:
    """Average ranks of k arms over n categories.

    Args:
        metric: What was ranked.
        arms: k names, best first.
        average: Their average ranks.
        categories: n.
        p: Of the Friedman test: that all arms are alike.
        critical: Two arms whose average ranks differ by this or more differ significantly, all
            pairs together at 0.05; None where no difference can be that rare.
        left_out: Arms without a value in every category.
    """

    metric: str
    arms: tuple[str, ...]
    average: tuple[float, ...]
    categories: int
    p: float
    critical: float | None
    left_out: tuple[str, ...] = ()

    def groups(self) -> list[tuple[str, ...]]:
        """Longest runs of arms, in order, that the critical difference does not tell apart."""
        if self.critical is None:
            return [self.arms]
        found: list[tuple[str, ...]] = []
        for i, low in enumerate(self.average):
            alike = sum(low <= r < low + self.critical - 1e-9 for r in self.average[i:])
            group = self.arms[i : i + alike]
            if alike > 1 and not any(set(group) <= set(other) for other in found):
                found.append(group)
        return found


def rank(values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Rank k arms in each of n categories, the largest value first; ties share their mean."""
    from scipy.stats import rankdata

    return rankdata(-values, axis=1)


def friedman(
    ranks: Float[np.ndarray, "n k"], *, orders: int = ORDERS, seed: int = 0
) -> tuple[float, float | None]:
    """Test whether k arms are alike, and how far two average ranks must lie apart.

    Returns:
        The p-value, and the critical difference of average ranks at 0.05 for all pairs together,
        or None where even the largest possible difference is more frequent than that.
    Source: Friedman, JASA 32 (1937), by drawing orders; Demsar, JMLR 7 (2006), for comparing
        methods over data sets. Drawing in place of Nemenyi's studentised range is ours.
    """
    n, k = ranks.shape
    rng = np.random.default_rng(seed)
    spread, widest = [], []
    for start in range(0, orders, CHUNK):
        count = min(CHUNK, orders - start)
        drawn = rng.permuted(np.broadcast_to(ranks, (count, n, k)), axis=2).mean(axis=1)  # count k
        spread.append(((drawn - (k + 1) / 2) ** 2).sum(axis=1))
        widest.append(np.ptp(drawn, axis=1))
    observed = ((ranks.mean(axis=0) - (k + 1) / 2) ** 2).sum()
    p = (1 + int((np.concatenate(spread) >= observed - 1e-9).sum())) / (1 + orders)
    values, counts = np.unique(np.concatenate(widest).round(9), return_counts=True)
    share = counts[::-1].cumsum()[::-1] / orders  # of orders at least this wide
    rare = values[share <= 1 - LEVEL]
    return p, float(rare.min()) if len(rare) else None


def average_ranks(section: Section, metric: str) -> Ranks | None:
    """Rank the arms of a section over its categories, by their means over seeds.

    Returns:
        None with fewer than two categories, or two arms that have the metric in all of them.
    """
    arms = [arm for arm in section.ran() if not np.isnan(section.values(arm, metric)).any()]
    if len(arms) < 2 or len(section.categories) < 2:
        return None
    table = np.stack([section.values(arm, metric).mean(axis=0) for arm in arms], axis=1)  # c k
    ranks = rank(table)
    p, critical = friedman(ranks)
    average = ranks.mean(axis=0)
    order = np.argsort(average, kind="stable")
    return Ranks(
        metric,
        tuple(arms[i] for i in order),
        tuple(float(average[i]) for i in order),
        len(table),
        p,
        critical,
        tuple(arm for arm in section.arms if arm not in arms),
    )
