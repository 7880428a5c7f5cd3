"""Our numbers beside the published ones, and whether a rerun landed where it should.

Two numbers are judged only if both are the mean over all categories of the data set and neither is
known to be made under another protocol. What was not run says so.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from pandas import DataFrame

from adlib.metrics import PROTOCOLS
from adlib.report.published import CATEGORIES, MEAN, TITLES, Published, published, tolerance
from adlib.report.records import Row, Run, Section, as_text
from adlib.report.tables import ABSENT, NOT_RUN

OURS = ("pro-ad", "prn", "dinomaly", "inp-former", "patchcore")  # what adlib builds or plans to
PAPERS = ("", "ViT-B")  # variants that the papers' settings mean; others are ablations of theirs
ENCODERS: dict[str, str] = {  # of the papers
    "pro-ad": "dinov2-b",  # inferred
    "dinomaly": "dinov2-b",
    "inp-former": "dinov2-b",
}
ALIASES = {"mvtec": "mvtec-ad", "mvtec-anomaly-detection": "mvtec-ad", "realiad": "real-iad"}


def data_name(name: str) -> str | None:
    """The published data set that a record's data is called by, or None."""
    plain = name.lower().replace("_", "-").replace(" ", "-")
    plain = ALIASES.get(plain, plain)
    return plain if plain in CATEGORIES else None


def setting_of(record: Row) -> str:
    """The setting that a record was made in: its own word, or by its method and categories."""
    if record.get("setting"):
        return record["setting"]
    if record["method"] == "prn":
        return "supervised"
    return "multi-class" if len(record["categories"]) > 1 else "one-per-category"


def claims(data: str, method: str, setting: str | None = None) -> list[Published]:
    """The papers' means of one method on one data set, at the papers' size."""
    rows = published(data=data, category=MEAN, run="paper", setting=setting)
    return [r for r in rows if r.name == method and r.variant in PAPERS]


def judge(row: Published, section: Section, value: float) -> tuple[str, str]:
    """Say whether a mean, a fraction, lies within the tolerance of a published one.

    Returns:
        "within", "above", "below" or "not judged"; and what is to be said against the comparison.
    """
    whole, encoder = CATEGORIES[row.data], section.runs[0].record.get("encoder") or {}
    if len(section.categories) != whole:
        return "not judged", f"{len(section.categories)} of {whole} categories"
    if row.protocol not in ("unknown", section.protocol):
        return "not judged", f"protocol {row.protocol} there, {section.protocol} here"
    if changed := changed_rules(section.runs[0].record["protocol"]):
        return "not judged", f"protocol {section.protocol} with another {', '.join(changed)} here"
    doubts = [] if row.protocol != "unknown" else ["protocol there unknown"]
    theirs = ENCODERS.get(row.name)
    if theirs is not None and encoder.get("name") != theirs:
        doubts.append(f"encoder {theirs} there, {encoder.get('name')} here")
    allowed = tolerance(row)
    if allowed is None:
        return "not judged", "; ".join(["no rerun to judge by", *doubts])
    gap = round(100 * value - row.per_cent, 6)
    state = "within" if abs(gap) <= allowed.points else "above" if gap > 0 else "below"
    return state, "; ".join(doubts)


def changed_rules(protocol: dict[str, Any]) -> list[str]:
    """Rules of a record's protocol that differ from those of the protocol of its name."""
    named = PROTOCOLS.get(str(protocol.get("name")))
    known = {} if named is None else named.to_json()
    return sorted(rule for rule, value in protocol.items() if known.get(rule, value) != value)


def join_categories(sections: Sequence[Section]) -> list[Section]:
    """Join sections that hold one category each, where every category has a model of its own.

    Those of one source, data set and protocol become one section, its runs the means over all of
    its categories, by arm and seed; a run that lacks one is left out. Others stay as they are.
    """
    joined = [section for section in sections if len(section.categories) > 1]
    single: dict[tuple[str, str, str], list[Section]] = defaultdict(list)
    for section in sections:
        if len(section.categories) == 1:
            rules = as_text(section.runs[0].record["protocol"])
            single[section.source, section.data, rules].append(section)
    for parts in single.values():
        runs: dict[tuple[str, int], list[Run]] = defaultdict(list)
        for run in (run for part in parts for run in part.runs):
            runs[run.arm, run.seed].append(run)
        whole = [_mean_run(of_one) for of_one in runs.values() if len(of_one) == len(parts)]
        repeated = len({part.categories[0] for part in parts}) < len(parts)
        apart = len(parts) == 1 or repeated or not whole
        joined += parts if apart else [replace(parts[0], runs=tuple(whole))]
    return joined


def _mean_run(runs: Sequence[Run]) -> Run:
    """One run of several, each of a category of its own."""
    record = runs[0].record
    common = [m for m in record["mean"] if all(run.mean.get(m) is not None for run in runs)]
    whole = {
        "setting": setting_of(record),
        "categories": {k: v for run in runs for k, v in run.record["categories"].items()},
        "mean": {m: float(np.mean([run.mean[m] for run in runs])) for m in common},
    }
    return replace(runs[0], record=record | whole)


def reproduction(sections: Sequence[Section], *, everywhere: bool = False) -> DataFrame:
    """One row for each published mean of our methods and each arm that ran there.

    Args:
        sections: Of all sources.
        everywhere: Also data sets that nothing here was run on.
    """
    here: dict[str | None, list[Section]] = defaultdict(list)
    for section in join_categories(sections):
        here[data_name(section.data)].append(section)
    rows = []
    shown = CATEGORIES if everywhere else [data for data in here if data]
    for data, method in product(shown, OURS):
        for row in claims(data, method):
            allowed = tolerance(row)
            claim = {
                "data": data,
                "method": row.method,
                "setting": row.setting,
                "metric": row.metric,
                "published": row.per_cent,
                "mark": row.mark,
                "tolerance": None if allowed is None else round(allowed.points, 2),
                "reruns_of": "" if allowed is None else allowed.methods,
                "tolerance_from": "" if allowed is None else allowed.why,
                "source": row.source,
            }
            found = [_ours(row, s, arm) for s in here.get(data, []) for arm in s.ran()
                     if all((run.record["method"], setting_of(run.record))
                            == (row.name, row.setting) for run in s.of(arm))]  # fmt: skip
            nothing = {"ours": None, "seeds": 0, "state": NOT_RUN, "but": "", "made_with": ""}
            rows += [claim | each for each in found or [nothing]]
    return DataFrame(rows)


def _ours(row: Published, section: Section, arm: str) -> Row:
    record = section.of(arm)[0].record
    with_ = f"{arm}; {(record.get('encoder') or {}).get('name')}; {record.get('steps')} steps"
    found: Row = {"ours": None, "seeds": len(section.of(arm)), "made_with": with_}
    mean = float(section.means(arm, row.metric).mean())
    if mean != mean:
        return found | {"state": "not judged", "but": "no masks"}
    state, but = judge(row, section, mean)
    return found | {"ours": round(100 * mean, 2), "state": state, "but": but}


def claims_table(frame: DataFrame) -> DataFrame:
    """The same for reading: a row a claim and arm, in each cell ours, the published and verdict."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for line in frame.to_dict("records"):
        claim = f"{line['data']}, {line['setting']}, {line['method']} ({line['mark']})"
        made = f"{line['made_with']}, {line['seeds']} seeds" if line["seeds"] else ""
        ours = ABSENT if line["ours"] != line["ours"] else printed(line["ours"])
        told = f"{ours} here, {printed(line['published'])} there: {line['state']}"
        if line["state"] == NOT_RUN:
            told = f"{printed(line['published'])} there: {NOT_RUN}"
        row = rows.setdefault((claim, made), {})
        row[TITLES[line["metric"]]] = told
        if line["but"] not in row.setdefault("but", ""):
            row["but"] = "; ".join(filter(None, [row["but"], line["but"]]))
    columns = ["made with", *TITLES.values(), "but"]
    table = [row | {"made with": made} for (_, made), row in rows.items()]
    index = [claim for claim, _ in rows]
    return DataFrame(table, columns=columns, index=index).fillna(ABSENT).rename_axis("claim")


def printed(per_cent: float) -> str:
    """A number with the digits that it was printed with: one, or two where the second is no 0."""
    return f"{per_cent:.1f}" if round(per_cent, 1) == per_cent else f"{per_cent:.2f}"


def beside(section: Section) -> DataFrame | None:
    """Published means for the data of a section, all methods; None where nothing was published.

    One row a method: seven metrics in per cent, its mark, and its protocol as far as known.
    """
    data, wanted = data_name(section.data), {setting_of(run.record) for run in section.runs}
    rows: dict[str, Row] = {}
    for row in published(data=data, category=MEAN, run="paper") if data else ():
        if row.setting in wanted:
            name = " ".join(filter(None, (row.method, row.variant)))
            head = {"setting": row.setting, "mark": row.mark, "protocol": row.protocol}
            rows.setdefault(name, head)[TITLES[row.metric]] = printed(row.per_cent)
    columns = [*TITLES.values(), "setting", "mark", "protocol"]
    frame = DataFrame.from_dict(rows, orient="index", columns=columns).fillna(ABSENT)
    return frame.rename_axis("method") if rows else None
