"""What the records say about who is ahead, and what they cannot say: sentences made from them."""

from collections.abc import Sequence

from adlib.report.paired import ALPHA, Gap, Pair
from adlib.report.ranks import Ranks
from adlib.report.records import Section
from adlib.report.summary import LEVEL, TITLES
from adlib.report.tables import metrics_table

LISTED = 4  # differences named one by one in a sentence; the rest is in pairs.csv; ours
TESTS = {
    "seeds": "paired t-test",
    "categories": "sign flips",
    "images": "bootstrap",
}


def finding(section: Section, metric: str, pairs: Sequence[Pair], ranks: Ranks | None) -> str:
    """One paragraph about one metric: the order, what is significant, what cannot be told.

    Args:
        section: Runs under one protocol on the same images.
        metric: Its name.
        pairs: Of this metric, as `adlib.report.paired.compare` returns them.
        ranks: Of this metric, if there are any.
    """
    best = section.order(metric)
    title = TITLES[metric]
    if not best:
        return f"No run has {title}: there were no masks."
    means = metrics_table(section)[title]
    leaders = "; ".join(f"{arm} ({means[arm]})" for arm in best[:LISTED])
    more = f"; and {len(best) - LISTED} more" if len(best) > LISTED else ""
    first, *others = section.categories
    where = f"in the mean of {1 + len(others)} categories" if others else f"on {first}"
    said = [f"By {title}, {where}: {leaders}{more}."]
    if len(best) < 2:
        return f"{said[0]} Only one arm ran, so there is nothing to compare."
    firsts = {pair.first for pair in pairs}
    if len(firsts) == 1 and len(pairs) > 1:
        said.append(f"Each arm is compared with one, {firsts.pop()}.")
    said += [_about(kind, pairs, section) for kind in TESTS]
    if ranks is not None:
        said.append(_about_ranks(ranks))
    return " ".join(said)


def in_short(section: Section, metric: str, pairs: Sequence[Pair]) -> str:
    """One clause about one metric: who has the highest mean, and whom the seeds tell it from.

    Args:
        section: Runs under one protocol on the same images.
        metric: Its name.
        pairs: Of this metric, as `adlib.report.paired.compare` returns them.
    """
    best = section.order(metric)
    if len(best) < 2:
        return f"nothing to compare by {TITLES[metric]}"
    first, others = best[0], best[1:]
    sure = [
        pair.second if pair.first == first else pair.first
        for pair in pairs
        if first in (pair.first, pair.second) and pair.seeds is not None and pair.seeds.significant
    ]
    mean = metrics_table(section)[TITLES[metric]][first]
    named = f"{' and '.join(sure)}, {len(sure)}" if sure else "none"
    return (
        f"by {TITLES[metric]} {first} ({mean}); the seeds tell it from {named} of {len(others)} "
        "others"
    )


def _about(kind: str, pairs: Sequence[Pair], section: Section) -> str:
    tested = [(pair, gap) for pair in pairs if (gap := getattr(pair, kind)) is not None]
    if not tested:
        return {
            "seeds": "Over seeds nothing can be said: no two arms have two seeds in common.",
            "categories": "Over categories nothing can be said: there is one.",
            "images": (
                "Over test images nothing is tested: the records hold no image scores."
                if not any(run.record.get("images") for run in section.runs)
                else "Over test images this metric is not tested: records hold image scores only."
            ),
        }[kind]
    sure = [(pair, gap) for pair, gap in tested if gap.significant]
    sure.sort(key=lambda item: -abs(item[1].mean))
    fewest = min(gap.n for _, gap in tested)
    adjusted = ", Holm" if len(tested) > 1 else ""
    head = f"Over {kind} ({TESTS[kind]}{adjusted})"
    limit = ""
    if kind == "categories" and 2 / 2**fewest > ALPHA:
        limit = f", nor can it be: with {fewest} no p-value lies below {2 / 2**fewest:g}"
    if not sure:
        widest = max((gap for _, gap in tested), key=lambda gap: abs(gap.mean))
        return (
            f"{head} no difference of {len(tested)} is significant{limit}; the largest is "
            f"{100 * abs(widest.mean):.1f} points."
        )
    named = "; ".join(_say(pair, gap, kind) for pair, gap in sure[:LISTED])
    rest = f"; and {len(sure) - LISTED} more" if len(sure) > LISTED else ""
    verb = "is" if len(sure) == 1 else "are"
    tail = "; the others are not" if len(tested) > len(sure) else ""
    return (
        f"{head} {len(sure)} of {len(tested)} differences {verb} significant: {named}{rest}{tail}."
    )


def _say(pair: Pair, gap: Gap, kind: str) -> str:
    sign = 1 if gap.mean >= 0 else -1
    ahead, behind = (pair.first, pair.second)[::sign]
    low, high = sorted((sign * gap.low, sign * gap.high))
    return (
        f"{ahead} over {behind} by {100 * abs(gap.mean):.1f} points ({100 * LEVEL:.0f} % interval "
        f"{100 * low:+.1f} to {100 * high:+.1f}, {gap.n} {kind}, p = {gap.p:.2g})"
    )


def _about_ranks(ranks: Ranks) -> str:
    each = [f"{a} ({r:.2f})" for a, r in zip(ranks.arms, ranks.average, strict=True)]
    said = "; ".join(each) if len(each) <= LISTED else f"{each[0]} to {each[-1]}"
    alike = "differ" if ranks.p <= ALPHA else "cannot be told apart"
    critical = (
        "with so few categories no difference of ranks could be significant"
        if ranks.critical is None
        else f"significant from a difference of {ranks.critical:.2f}"
    )
    return (
        f"Average ranks over {ranks.categories} categories: {said}; {critical}. As a whole "
        f"the arms {alike} (Friedman by drawn orders, p = {ranks.p:.2g})."
    )


def changes_of_order(sections: Sequence[Section], metric: str) -> str:
    """Say in which sections of a source the arms stand in another order than in the first.

    Only arms that ran in both count.
    """
    first, *others = sections
    reference = first.order(metric)
    changed = []
    for section in others:
        common = [arm for arm in section.order(metric) if arm in reference]
        if common != [arm for arm in reference if arm in common]:
            name = section.title.removeprefix(f"{section.source}: ")
            changed.append(f"{name} ({' > '.join(common)})")
    start = f"By {TITLES[metric]} the order in {first.title.removeprefix(f'{first.source}: ')}"
    if not changed:
        rest = f"the other {len(others)}" if len(others) > 1 else "the other one"
        return f"{start} ({' > '.join(reference)}) holds in {rest}."
    return f"{start} is {' > '.join(reference)}; it is another one in {'; '.join(changed)}."
