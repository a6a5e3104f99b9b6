"""fairness.impact_ratio: by hand, against other libraries' tests, over random tables, and where the rules ask for more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportions_ztest

from fine_tune.errors import DataError
from fine_tune.predictions import MISSING
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Table, Undefined, slice_name
from probes.fairness.adverse_impact import against_highest, highest, shortfalls
from probes.fairness.impact_ratio import ImpactRatio
from probes.rates import independent

PROBE = ImpactRatio(sex="sex", race_ethnicity="race", positive="yes")


def by_name(reading):
    return {(m.name, slice_name(m.slice)): m for m in reading.measurements}


def pool(table, cells, *, labels=None, scores="certain", cluster=None):
    """Rows from {(sex, race): (applicants, selected)}."""
    said, sex, race = [], [], []
    for (s, r), (n, k) in cells.items():
        said += ["yes"] * k + ["no"] * (n - k)
        sex += [s] * n
        race += [r] * n
    known = [None] * len(said) if labels is None else labels
    return table(known, said, groups={"sex": sex, "race": race}, scores=scores, cluster=cluster)


CELLS = {("F", "A"): (40, 10), ("F", "B"): (60, 20), ("M", "A"): (80, 40), ("M", "B"): (20, 8), (None, "B"): (10, 5)}


def test_by_hand_and_without_labels(table, ctx):
    reading = PROBE.summarise(pool(table, CELLS), ctx)
    m = by_name(reading)
    expected = {
        ("applicants", "group:sex=F"): 100, ("selection_rate", "group:sex=F"): 0.3, ("impact_ratio", "group:sex=F"): 0.625,
        ("selection_rate", "group:sex=M"): 0.48, ("impact_ratio", "group:sex=M"): 1.0,
        ("unknown", "feature:sex"): 10, ("unknown", "feature:race"): 0, ("unknown", "feature:sex, feature:race"): 10,
        ("selection_rate", "group:race=A"): 50 / 120, ("selection_rate", "group:race=B"): 33 / 90,
        ("impact_ratio", "group:race=B"): 33 / 90 * 120 / 50,
        ("impact_ratio", "group:sex=F, group:race=A"): 0.5, ("impact_ratio", "group:sex=M, group:race=A"): 1.0,
        ("impact_ratio", "group:sex=M, group:race=B"): 0.8,
        ("four_fifths_ratio", "feature:sex"): 0.625, ("four_fifths_ratio", "feature:race"): 33 / 90 * 120 / 50,
        ("shortfall_to_parity", "group:sex=F"): 18, ("shortfall_to_four_fifths", "group:sex=F"): 9,
        ("shortfall_to_parity", "group:sex=M"): 0,
    }  # fmt: skip
    for key, value in expected.items():
        assert m[key].value == pytest.approx(value, abs=1e-12), key
    for key in ("impact_ratio", "selection_rate"):
        x = m[key, "group:sex=F"]
        assert x.interval.low < x.value < x.interval.high
    assert m["four_fifths_ratio", "feature:sex"].interval.high < 1
    # The guidelines name sexes, races and ethnic groups, and not the crossed categories.
    assert ("four_fifths_ratio", "feature:sex, feature:race") not in m
    tables = [e for e in reading.evidence if isinstance(e, Table)]
    assert [str(c) for c in tables[0].columns] == ["sex", "applicants", "selected", "selection rate", "impact ratio"]
    assert tables[0].rows == (("F", 100, 30, 0.3, 0.625), ("M", 100, 48, 0.48, 1.0))
    crossed = tables[-1]
    assert [str(c) for c in crossed.columns[:3]] == ["sex", "race", "applicants"]
    assert crossed.rows[0] == ("F", "A", 40, 10, 0.25, 0.5)
    assert any("10 rows are of unknown sex;" in str(r) for r in reading.remarks)
    assert not any("no label" in str(r) for r in reading.remarks)


def test_no_threshold_is_assumed():
    for d in ImpactRatio.info.defines:
        if d.name in ("impact_ratio", "scoring_impact_ratio"):
            assert "0.8" not in d.formula.text
            assert "four" not in d.formula.text
            assert "Local Law 144" in d.source


def test_unknown_is_what_is_missing_or_said_to_be(table, ctx):
    cells = {
        ("F", "A"): (30, 10),
        ("M", "A"): (30, 15),
        (MISSING, "A"): (7, 1),
        ("Declined", "A"): (5, 1),
        (None, "A"): (3, 3),
    }
    probe = ImpactRatio(sex="sex", race_ethnicity=None, positive="yes", unknown=("Declined",))
    m = by_name(probe.summarise(pool(table, cells), ctx))
    assert m["unknown", "feature:sex"].value == 15
    assert m["unknown", "feature:sex"].counts.n == 75
    assert {s for n, s in m if n == "selection_rate"} == {"group:sex=F", "group:sex=M"}


def test_scoring_rate_is_the_share_above_the_median_of_all_rows(table, ctx):
    """Ten rows, one of unknown sex; its score counts in the median, which is 5.5 tenths."""
    top = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.4, 0.5, 0.8, 0.9, 1.0])
    sex = ["F", "F", "F", "F", "F", "M", "M", "M", "M", None]
    rows = table([None] * 10, ["yes"] * 10, groups={"sex": sex}, scores=np.column_stack([1 - top, top]))
    reading = ImpactRatio(sex="sex", race_ethnicity=None, positive="yes", measure="scoring").summarise(rows, ctx)
    m = by_name(reading)
    assert m["scoring_rate", "group:sex=F"].value == 0.4
    assert m["scoring_rate", "group:sex=M"].value == 0.5
    assert m["scoring_impact_ratio", "group:sex=F"].value == pytest.approx(0.8)
    assert "impact_ratio" not in {n for n, _ in m}
    assert not any(n.startswith("four_fifths") for n, _ in m)
    published = next(e for e in reading.evidence if isinstance(e, Table))
    assert [str(c) for c in published.columns] == ["sex", "applicants", "scoring rate", "impact ratio"]
    with pytest.raises(Unavailable, match="without scores"):
        ImpactRatio(sex="sex", race_ethnicity=None, positive="yes", measure="scoring").summarise(
            pool(table, CELLS, scores=None), ctx
        )


def test_small_categories_are_left_out_only_by_an_auditor_who_says_why(table, ctx):
    cells = {("F", "A"): (300, 90), ("F", "B"): (190, 60), ("F", "C"): (5, 5), ("M", "A"): (5, 2)}
    kept = by_name(PROBE.summarise(pool(table, cells), ctx))
    assert kept["impact_ratio", "group:race=A"].value == pytest.approx(92 / 305)
    why = "five applicants say nothing"
    probe = ImpactRatio(sex="sex", race_ethnicity="race", positive="yes", exclude_below=0.02, justification=why)
    reading = probe.summarise(pool(table, cells), ctx)
    m = by_name(reading)
    out = m["impact_ratio", "group:race=C"]
    assert isinstance(out, Undefined)
    assert why in str(out.reason)
    assert m["selection_rate", "group:race=C"].value == 1.0
    assert m["applicants", "group:race=C"].value == 5
    # The highest is now that of the categories that are left.
    assert m["impact_ratio", "group:race=B"].value == 1.0
    assert m["impact_ratio", "group:race=A"].value == pytest.approx(92 / 305 * 190 / 60)
    assert any(why in str(r) and "C" in str(r) for r in reading.remarks)
    # The four-fifths rule is another rule, which leaves nobody out.
    assert m["four_fifths_ratio", "feature:race"].value == pytest.approx(92 / 305)
    assert any("Below 2 %" in str(r) for r in reading.remarks)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"exclude_below": 0.03, "justification": "x"}, "at most 0.02"),
        ({"exclude_below": 0.0, "justification": "x"}, "above 0"),
        ({"exclude_below": 0.01}, "without a justification"),
        ({"exclude_below": 0.01, "justification": " "}, "without a justification"),
        ({"justification": "x"}, "nothing is left out"),
        ({"race_ethnicity": "sex"}, "two different features"),
    ],
)
def test_options_that_the_rules_do_not_allow(options, said):
    with pytest.raises(ValueError, match=said):
        ImpactRatio(**{"sex": "sex", "race_ethnicity": None, "positive": "yes", **options})


def test_what_must_be_named(table, ctx):
    rows = pool(table, CELLS)
    with pytest.raises(ProbeError, match="which feature holds sex"):
        ImpactRatio(sex=None, race_ethnicity=None, positive="yes").summarise(rows, ctx)
    with pytest.raises(ProbeError, match="which class counts as selected"):
        ImpactRatio(sex="sex", race_ethnicity=None).summarise(rows, ctx)
    with pytest.raises(ProbeError, match="no class of the subject"):
        ImpactRatio(sex="sex", race_ethnicity=None, positive="hired").summarise(rows, ctx)
    with pytest.raises(DataError, match="no sensitive feature 'gender'"):
        ImpactRatio(sex="gender", race_ethnicity=None, positive="yes").summarise(rows, ctx)


def test_nobody_selected_or_one_category_alone(table, ctx):
    nobody = by_name(PROBE.summarise(pool(table, {("F", "A"): (20, 0), ("M", "B"): (20, 0)}), ctx))
    assert "nobody" not in str(nobody["impact_ratio", "group:sex=F"].reason)
    assert "No category has anyone selected" in str(nobody["impact_ratio", "group:sex=F"].reason)
    assert isinstance(nobody["four_fifths_ratio", "feature:sex"], Undefined)
    assert nobody["selection_rate", "group:sex=F"].value == 0
    alone = by_name(PROBE.summarise(pool(table, {("F", "A"): (20, 5), ("F", "B"): (20, 5)}), ctx))
    assert "Fewer than two" in str(alone["impact_ratio", "group:sex=F"].reason)


def test_p_values_are_other_libraries_with_holm():
    hits, rows = [48, 12, 30, 1], [80, 40, 60, 6]
    found = against_highest(independent(np.array(hits), np.array(rows)))
    assert highest(independent(np.array(hits), np.array(rows))) == 0
    raw = [
        proportions_ztest([12, 48], [40, 80])[1],
        proportions_ztest([30, 48], [60, 80])[1],
        fisher_exact([[1, 48], [5, 32]]).pvalue,
    ]
    # Four groups make six pairs; what is not at hand counts as 1.
    expected = multipletests([*raw, 1, 1, 1], method="holm")[1][:3]
    assert [found[g].p_value for g in (1, 2, 3)] == pytest.approx(expected)
    assert [found[g].exact for g in (1, 2, 3)] == [False, False, True]


def test_clusters_weaken_the_evidence(table, ctx):
    cells = {("F", "A"): (60, 18), ("M", "A"): (60, 32)}
    probe = ImpactRatio(sex="sex", race_ethnicity=None, positive="yes")
    alone = by_name(probe.summarise(pool(table, cells), ctx))
    # Rows in pairs that answer alike.
    reading = probe.summarise(pool(table, cells, cluster=[str(i // 2) for i in range(120)]), ctx)
    assert any("60 clusters" in str(r) for r in reading.remarks)
    pairs = by_name(reading)
    p = "four_fifths_p_value", "group:sex=F"
    assert pairs[p].value > alone[p].value
    ratio = "impact_ratio", "group:sex=F"
    assert pairs[ratio].value == alone[ratio].value
    assert pairs[ratio].interval.high > alone[ratio].interval.high
    assert pairs[ratio].counts.clusters == 30


counts = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=2, max_size=5)


@given(counts)
@settings(max_examples=80, deadline=None)
def test_shortfalls_are_what_trying_finds(pairs):
    rows = np.array([n for n, _ in pairs])
    hits = np.array([min(n, k) for n, k in pairs])
    if not hits.any():
        return
    rates = independent(hits, rows)
    top = highest(rates)
    for g, found in enumerate(shortfalls(rates)):
        n, k = int(rows[g]), int(hits[g])
        more = range(n + 1)
        # Whole numbers: k / n >= t * K / N is k N >= t K n.
        assert found.to_parity == next(x for x in more if (k + x) * rows[top] >= hits[top] * n)
        assert found.to_four_fifths == next(x for x in more if 5 * (k + x) * rows[top] >= 4 * hits[top] * n)
        reversed_ = g != top and k < n and (k + 1) * rows[top] > (hits[top] - 1) * n
        assert found.one_person == reversed_


@given(counts)
@settings(max_examples=40, deadline=None)
def test_values_are_the_ratios_and_names_do_not_matter(table, ctx, pairs):
    names = "vwxyz"[: len(pairs)]
    cells = {(s, "A"): (n, min(n, k)) for s, (n, k) in zip(names, pairs, strict=True)}
    probe = ImpactRatio(sex="sex", race_ethnicity=None, positive="yes")
    m = by_name(probe.summarise(pool(table, cells), ctx))
    best = max(k / n for n, k in cells.values())
    other = by_name(probe.summarise(pool(table, {(f"q{s}", r): c for (s, r), c in reversed(cells.items())}), ctx))
    for (s, _), (n, k) in cells.items():
        found = m["impact_ratio", f"group:sex={s}"]
        again = other["impact_ratio", f"group:sex=q{s}"]
        if best == 0:
            assert isinstance(found, Undefined)
            assert isinstance(again, Undefined)
            continue
        assert isinstance(found, Measurement)
        assert found.value == pytest.approx(k / n / best)
        assert (again.value, again.interval.low, again.interval.high) == pytest.approx(
            (found.value, found.interval.low, found.interval.high)
        )
