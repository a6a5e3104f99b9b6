"""When a gap is said to be shown, and what stands beside the intervals where rows have clusters."""

from __future__ import annotations

import csv
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from probes.evidence import Counts, Interval, Measurement, Method, Note, Table, slice_name
from probes.fairness.claims import claims
from probes.fairness.gap_measures import ComparedGap
from probes.fairness.groups import Groups

PROBE = Groups(positive="yes", permutations=400)


def compared(p: float, low: float) -> ComparedGap:
    interval = Interval(low=low, high=0.5, level=0.95, method=Method(name="x"))
    counts = Counts(n=1, denominator=1, smallest=1)
    return ComparedGap(difference=Measurement(name="a_difference", value=0.4, interval=interval, counts=counts), p=p)


def sheet(reading, title: str) -> Table:
    return next(e for e in reading.evidence if isinstance(e, Table) and str(e.title).startswith(title))


def notes(reading) -> list[str]:
    return [str(e.text) for e in reading.evidence if isinstance(e, Note)]


def planted(rng, n: int = 900, gap: float = 0.3):
    names = rng.choice(["a", "b", "c"], n)
    gold = np.where(rng.random(n) < 0.5, "yes", "no")
    said = np.where(rng.random(n) < np.where(names == "c", 0.5 - gap, 0.5), "yes", "no")
    return gold.tolist(), said.tolist(), names.tolist()


def test_both_have_to_agree():
    found = claims([compared(0.001, 0.1), compared(0.001, 0.0), compared(0.04, 0.1), compared(0.02, 0.1)], 0.95)
    assert [c.shown for c in found] == [True, False, True, True]
    assert [c.adjusted for c in found] == pytest.approx([0.004, 0.004, 0.04, 0.04])
    found = claims([compared(0.03, 0.1), compared(0.02, 0.1), compared(0.6, 0.1)], 0.95)
    assert not any(c.shown for c in found)
    assert claims([], 0.95) == ()
    assert claims([compared(0.05, 0.1)], 0.95)[0].shown
    assert claims([compared(0.1, 0.1)], 0.9)[0].shown


def test_a_planted_gap_is_shown_and_counted(table, ctx):
    labels, said, names = planted(np.random.default_rng(0))
    reading = PROBE.summarise(table(labels, said, groups={"g": names}), ctx)
    gaps = sheet(reading, "Gaps between groups of g")
    by_metric = {row[0]: row for row in gaps.rows}
    assert len(by_metric) == 7
    m = {(x.name, slice_name(x.slice)): x for x in reading.measurements}
    adjusted = multipletests([row[4] for row in gaps.rows], method="holm")[1]
    for row, holm in zip(gaps.rows, adjusted, strict=True):
        difference, p = m[row[0], "feature:g"], m[f"{row[0]}_p_value", "feature:g"]
        assert row[1:5] == (difference.value, difference.interval.low, difference.interval.high, p.value)
        assert row[5] == pytest.approx(holm)
        assert (str(row[6]) == "yes") == (holm <= 0.05 and difference.interval.low > 0)
    assert str(by_metric["demographic_parity_difference"][6]) == "yes"
    assert str(by_metric["predictive_parity_difference"][6]) == "no"
    said_so = next(str(r) for r in reading.remarks if "are shown in" in str(r))
    assert "of 7 comparisons" in said_so
    assert "demographic_parity_difference" in said_so
    assert "predictive_parity_difference" not in said_so
    assert any("corrected for 7 gaps (Holm)" in n for n in notes(reading))


def test_nothing_is_claimed_of_equal_groups(table, ctx):
    claimed = 0
    for seed in range(25):
        labels, said, names = planted(np.random.default_rng(seed), 300, gap=0.0)
        reading = PROBE.summarise(table(labels, said, groups={"g": names}), ctx)
        claimed += any("are shown in" in str(r) for r in reading.remarks)
        if claimed == 0:
            assert any("does not show that there is none" in str(r) for r in reading.remarks)
    assert claimed <= 3


def test_classes_are_corrected_together_and_few_draws_are_mentioned(table, ctx):
    rng = np.random.default_rng(1)
    labels, said = rng.choice(list("xyz"), (2, 300)).tolist()
    rows = table(labels, said, classes="xyz", groups={"g": rng.choice(["a", "b"], 300).tolist()})
    reading = Groups(permutations=50).summarise(rows, ctx)
    gaps = sheet(reading, "Gaps between groups of g")
    assert len(gaps.rows) == 3 * 6 + 1
    assert [row[1] for row in gaps.rows].count("y") == 6
    assert [row for row in gaps.rows if row[1] is None] == [gaps.rows[6]]
    assert gaps.rows[6][0] == "accuracy_equality_difference"
    assert any("set `permutations` to 379 or more" in str(r) for r in reading.remarks)
    enough = Groups(permutations=379).summarise(rows, ctx)
    assert not any("permutations" in str(r) for r in enough.remarks)


def test_nothing_compared_claims_nothing(table, ctx):
    reading = PROBE.summarise(table(["yes", "no"], ["yes", "no"], groups={"g": ["a", "a"]}), ctx)
    assert not any("Gaps" in str(e.title) for e in reading.evidence if isinstance(e, Table))
    assert not any("comparisons" in str(r) for r in reading.remarks)


def test_the_ranking_aid_marks_small_groups_and_measures_nothing(table, ctx):
    rng = np.random.default_rng(0)
    names = [*rng.choice(["a", "b", "c"], 900).tolist(), "tiny", "tiny"]
    likely = {"a": 0.3, "b": 0.5, "c": 0.7, "tiny": 0.0}
    said = ["yes" if rng.random() < likely[n] else "no" for n in names]
    labels = rng.choice(["yes", "no"], len(names)).tolist()
    reading = Groups(positive="yes", permutations=20, min_group=30).summarise(
        table(labels, said, groups={"g": names}), ctx
    )
    aid = sheet(reading, "Ranking aid for g")
    lines = {row[0]: row for row in aid.rows}
    assert [row[2] for row in aid.rows] == sorted(row[2] for row in aid.rows)
    assert lines["tiny"][2] > 0.2
    assert str(lines["tiny"][-1]) == "below the minimum size"
    assert lines["a"][-1] is None
    assert any("no measurement" in n for n in notes(reading))
    assert not any("shr" in d.name or "rank" in d.name for d in PROBE.info.defines)
    two = PROBE.summarise(table(["yes", "no"], ["yes", "no"], groups={"g": ["a", "b"]}), ctx)
    assert not any("Ranking aid" in str(e.title) for e in two.evidence if isinstance(e, Table))


def test_deep_intersections_have_all_of_it(table, ctx):
    rng = np.random.default_rng(4)
    labels, said = rng.choice(["yes", "no"], (2, 800)).tolist()
    features = {f: rng.choice([f"{f}0", f"{f}1"], 800).tolist() for f in "abc"}
    probe = Groups(positive="yes", features=("a",), intersections=(("a", "b", "c"),), min_group=98, permutations=50)
    reading = probe.summarise(table(labels, said, groups=features), ctx)
    title = "a × b × c"
    for start in ("Gaps between groups of", "Ranking aid for", "Groups of"):
        assert sheet(reading, f"{start} {title}")
    assert len(sheet(reading, f"Ranking aid for {title}").rows) == 8
    assert any(row[-1] is not None for row in sheet(reading, f"Ranking aid for {title}").rows)
    assert any(f"No gap between groups of {title} is shown in 7 comparisons" in str(r) for r in reading.remarks)


def test_independent_rows_have_one_standard_error(table, ctx):
    labels, said, names = planted(np.random.default_rng(0))
    reading = PROBE.summarise(table(labels, said, groups={"g": names}), ctx)
    assert not any("Standard errors" in str(e.title) for e in reading.evidence if isinstance(e, Table))
    assert any("taken as independent" in str(r) for r in reading.remarks)


@pytest.mark.parametrize("spans", [True, False])
def test_both_standard_errors_and_why_they_differ(table, ctx, spans):
    """Four copies of every answer in a cluster: over two groups of two copies each, or in one group."""
    rng = np.random.default_rng(0)
    answers = rng.choice(["yes", "no"], 200)
    said, cluster = np.repeat(answers, 4), np.repeat(np.arange(200), 4)
    names = np.tile(["a", "a", "b", "b"], 200) if spans else np.repeat(np.tile(["a", "b"], 100), 4)
    rows = table(said.tolist(), said.tolist(), groups={"g": names.tolist()}, cluster=cluster.astype(str).tolist())
    reading = PROBE.summarise(rows, ctx)
    lines = [row for row in sheet(reading, "Standard errors in g").rows if str(row[0]) == "selection rate"]
    everyone, _, _, apart = lines
    share = float(np.mean(answers == "yes"))
    assert everyone[3] == pytest.approx(np.sqrt(share * (1 - share) / 800))
    assert everyone[4] == pytest.approx(np.sqrt(share * (1 - share) / 199))
    assert everyone[5] == pytest.approx(4 * 200 / 199)
    said_so = notes(reading)
    assert any(n.startswith("The standard error of the selection rate") and "are alike" in n for n in said_so)
    if spans:
        assert apart[4] == pytest.approx(0, abs=1e-9)
        assert any("200 clusters hold rows of both groups" in n and "cancels in the difference" in n for n in said_so)
        assert any("exchange rows within the 200 clusters" in str(r) for r in reading.remarks)
    else:
        assert apart[4] == pytest.approx(2 * apart[3], rel=0.02)
        assert any("0 clusters hold rows of both groups" in n and "does not cancel" in n for n in said_so)
        assert any("exchange whole clusters (200)" in str(r) for r in reading.remarks)


def test_hatecheck_shows_both_standard_errors(table, ctx):
    """A rule of a few words answers; the same template gets nearly the same answer for every identity."""
    if not os.environ.get("PLUMBLINE_DATA"):
        pytest.skip("set PLUMBLINE_DATA to the folder of datasets")
    with (Path(os.environ["PLUMBLINE_DATA"]) / "hatecheck/test_suite_cases.csv").open(encoding="utf-8") as file:
        cases = list(csv.DictReader(file))
    rude = re.compile(r"hate|kill|disgust|scum|die|vermin|despise|loathe|deserve|burn", re.IGNORECASE)
    rng = np.random.default_rng(0)
    said = ["hateful" if bool(rude.search(c["test_case"])) != (rng.random() < 0.1) else "non-hateful" for c in cases]
    data = table(
        [c["label_gold"] for c in cases], said, classes=("hateful", "non-hateful"),
        groups={"target_ident": [c["target_ident"] or None for c in cases]}, cluster=[c["templ_id"] for c in cases],
    )  # fmt: skip
    started = time.process_time()
    reading = Groups(positive="hateful").summarise(data, ctx)
    assert time.process_time() - started < 3
    lines = [row for row in sheet(reading, "Standard errors in target_ident").rows if str(row[0]) == "selection rate"]
    everyone, apart = lines[0], lines[-1]
    assert len(lines) == 1 + 7 + 1
    assert everyone[4] > 1.4 * everyone[3]
    assert apart[4] < 0.95 * apart[3]
    said_so = notes(reading)
    assert any("rows of one cluster are alike" in n for n in said_so)
    assert any("clusters hold rows of both groups, and what they have in common cancels" in n for n in said_so)
    assert any("rows within the 442 clusters that hold several groups" in str(r) for r in reading.remarks)
