"""fairness.groups: by hand, against fairlearn, with empty denominators, clusters, intersections, and on HateCheck."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import fairlearn.metrics as fl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep

from fine_tune.errors import DataError
from probes.errors import ProbeError
from probes.evidence import Axis, IntervalPlot, Measurement, Note, Table, Undefined, slice_name
from probes.fairness.definitions import CRITERIA, DEFINES
from probes.fairness.groups import Groups
from probes.heterogeneity import heterogeneity
from probes.rates import independent

PROBE = Groups(positive="yes", permutations=200)
GAPS = [f"{c.name}_{end}" for c in CRITERIA for end in ("difference", "ratio", "difference_p_value")]


def by_name(reading):
    return {(m.name, slice_name(m.slice)): m for m in reading.measurements}


def counted(**groups):
    """Labels, answers and groups from (TP, FN, FP, TN) by group."""
    labels, said, names = [], [], []
    for g, (tp, fn, fp, tn) in groups.items():
        labels += ["yes"] * (tp + fn) + ["no"] * (fp + tn)
        said += ["yes"] * tp + ["no"] * fn + ["yes"] * fp + ["no"] * tn
        names += [g] * (tp + fn + fp + tn)
    return labels, said, names


def test_by_hand(table, ctx):
    labels, said, names = counted(a=(30, 10, 20, 40), b=(15, 25, 10, 50))
    m = by_name(PROBE.summarise(table(labels, said, groups={"g": names}), ctx))
    expected = {
        ("selection_rate", "a"): 0.5, ("selection_rate", "b"): 0.25, ("recall", "a"): 0.75, ("recall", "b"): 0.375,
        ("false_positive_rate", "a"): 1 / 3, ("false_positive_rate", "b"): 1 / 6, ("precision", "a"): 0.6,
        ("precision", "b"): 0.6, ("accuracy", "a"): 0.7, ("accuracy", "b"): 0.65, ("impact_ratio", "b"): 0.5,
        ("impact_ratio", "a"): 1.0, ("count", "a"): 100,
    }  # fmt: skip
    for (name, g), value in expected.items():
        assert m[name, f"group:g={g}"].value == pytest.approx(value, abs=1e-15)
    gaps = {
        "demographic_parity_difference": 0.25, "demographic_parity_ratio": 0.5, "equalized_odds_difference": 0.375,
        "equalized_odds_ratio": 0.5, "equal_opportunity_difference": 0.375, "equal_opportunity_ratio": 0.5,
        "predictive_parity_difference": 0.0, "predictive_parity_ratio": 1.0,
    }  # fmt: skip
    for name, value in gaps.items():
        assert m[name, "feature:g"].value == pytest.approx(value, abs=1e-15)
    assert m["recall", "group:g=a"].counts.denominator == 40
    assert m["demographic_parity_difference", "feature:g"].counts.model_dump() == {
        "n": 200, "denominator": 200, "smallest": 100, "clusters": None,
    }  # fmt: skip
    assert m["equalized_odds_difference", "feature:g"].counts.smallest == 40
    p = m["demographic_parity_difference_p_value", "feature:g"]
    assert p.value < 0.02
    assert p.monte_carlo_error > 0
    assert m["predictive_parity_difference_p_value", "feature:g"].value == 1
    newcombe = confint_proportions_2indep(50, 100, 25, 100, method="newcomb")
    assert m["demographic_parity_difference", "feature:g"].interval.high == pytest.approx(newcombe[1], abs=1e-9)
    assert 0 < m["demographic_parity_difference", "feature:g"].interval.low < newcombe[0]
    assert m["count", "group:g=a"].interval is None


rows_of = st.lists(
    st.tuples(st.sampled_from(["yes", "no"]), st.sampled_from(["yes", "no"]), st.sampled_from("abcd")),
    min_size=4,
    max_size=120,
)


@given(rows_of, st.permutations("abcd"))
@settings(max_examples=30, deadline=None)
def test_renamed_groups_and_shuffled_rows_give_the_same_gaps(table, ctx, rows, other):
    labels, said, names = map(list, zip(*rows, strict=True))
    renamed = [dict(zip("abcd", other, strict=True))[n] for n in names]
    one = by_name(PROBE.summarise(table(labels, said, groups={"g": names}), ctx))
    whole = table(labels, said, groups={"g": renamed})
    two = by_name(PROBE.summarise(whole.take(np.random.default_rng(0).permutation(len(rows))), ctx))
    for name in GAPS:
        a, b = one[name, "feature:g"], two[name, "feature:g"]
        assert type(a) is type(b)
        assert a.counts == b.counts
        if isinstance(a, Measurement) and a.interval:
            assert (a.value, a.interval) == (b.value, b.interval)
        elif isinstance(a, Measurement):
            assert a.value == pytest.approx(b.value, abs=0.15)


def test_the_same_seed_gives_the_same_p_value_and_another_purpose_does_not_change_it(table, ctx):
    labels, said, names = counted(a=(30, 10, 20, 40), b=(26, 14, 15, 45))
    one = by_name(PROBE.summarise(table(labels, said, groups={"g": names}), ctx))
    two = by_name(PROBE.summarise(table(labels, said, groups={"f": names, "g": names}), ctx))
    key = ("demographic_parity_difference_p_value", "feature:g")
    assert one[key] == two[key]
    assert 0.05 < one[key].value < 0.9


def test_empty_denominators_name_the_groups(table, ctx):
    parts = {f"g{i}": (0, 0, 3, 4) for i in range(6)} | {"x": (3, 2, 1, 1)}
    labels, said, names = counted(**parts)
    m = by_name(PROBE.summarise(table(labels, said, groups={"g": names}), ctx))
    gap = m["equal_opportunity_difference", "feature:g"]
    assert str(gap.reason) == "No row in g0, g1, g2, g3 and 2 more groups has the positive label."
    assert str(m["recall", "group:g=g0"].reason) == "No row in g0 has the positive label."
    assert m["recall", "group:g=x"].value == 0.6
    assert isinstance(m["equalized_odds_difference", "feature:g"], Undefined)
    assert isinstance(m["demographic_parity_difference", "feature:g"], Measurement)


def test_nobody_is_selected(table, ctx):
    labels, said, names = counted(a=(0, 5, 0, 5), b=(0, 4, 0, 6))
    m = by_name(PROBE.summarise(table(labels, said, groups={"g": names}), ctx))
    assert m["demographic_parity_difference", "feature:g"].value == 0
    assert "nothing to divide by" in str(m["demographic_parity_ratio", "feature:g"].reason)
    assert isinstance(m["impact_ratio", "group:g=a"], Undefined)
    assert isinstance(m["predictive_parity_difference", "feature:g"], Undefined)


def test_small_groups_are_listed_and_not_compared(table, ctx):
    labels, said, names = counted(a=(10, 10, 10, 10), b=(12, 8, 10, 10), tiny=(2, 0, 1, 0))
    reading = Groups(positive="yes", min_group=10, permutations=50).summarise(
        table(labels, said, groups={"g": names}), ctx
    )
    m = by_name(reading)
    assert m["count", "group:g=tiny"].value == 3
    assert (
        str(m["selection_rate", "group:g=tiny"].reason)
        == "The group has 3 rows, fewer than the 10 that are shown as a rate."
    )
    assert isinstance(m["impact_ratio", "group:g=tiny"], Undefined)
    assert m["demographic_parity_difference", "feature:g"].value == pytest.approx(0.05)
    assert m["demographic_parity_difference", "feature:g"].counts.n == 80
    assert any("tiny" in str(r) for r in reading.remarks)


def test_one_group_has_no_gap(table, ctx):
    labels, said, names = counted(a=(3, 3, 3, 3))
    m = by_name(PROBE.summarise(table(labels, said, groups={"g": names}), ctx))
    assert all(isinstance(m[name, "feature:g"], Undefined) for name in GAPS)
    assert m["recall", "group:g=a"].value == 0.5


def test_rows_without_group_or_label(table, ctx):
    labels, said, names = counted(a=(3, 1, 2, 4), b=(2, 2, 1, 5))
    labels, said, names = [*labels, "yes", None, None], [*said, "yes", "yes", "no"], [*names, None, "a", "a"]
    reading = PROBE.summarise(table(labels, said, groups={"g": names}), ctx)
    m = by_name(reading)
    assert m["selection_rate", "group:g=a"].value == 6 / 12
    assert m["recall", "group:g=a"].counts.denominator == 4
    assert m["precision", "group:g=a"].value == 3 / 5
    remarks = [str(r) for r in reading.remarks]
    assert "1 rows have no g; they are left out of it." in remarks
    assert any("2 rows have no label" in r for r in remarks)


def test_missing_as_a_group_of_its_own(table, ctx):
    labels, said, names = counted(a=(3, 1, 2, 4), b=(2, 2, 1, 5))
    names = ["(missing)" if n == "b" else n for n in names]
    m = by_name(PROBE.summarise(table(labels, said, groups={"g": names}), ctx))
    assert m["recall", "group:g=(missing)"].value == 0.5


def test_intersections(table, ctx):
    rng = np.random.default_rng(0)
    labels, said = rng.choice(["yes", "no"], (2, 400)).tolist()
    one, two = rng.choice(["f", "m"], 400).tolist(), rng.choice(["old", "young", None], 400).tolist()
    probe = Groups(positive="yes", features=("sex",), intersections=(("sex", "age"),), permutations=50)
    reading = probe.summarise(table(labels, said, groups={"sex": one, "age": two}), ctx)
    m = by_name(reading)
    said_yes = np.array(said) == "yes"
    for a in ("f", "m"):
        for b in ("old", "young"):
            inside = (np.array(one) == a) & (np.array(two, dtype=object) == b)
            found = m["selection_rate", f"group:sex={a}, group:age={b}"]
            assert found.value == pytest.approx(said_yes[inside].mean(), abs=1e-12)
            assert found.slice == (Axis(kind="group", name="sex", value=a), Axis(kind="group", name="age", value=b))
    assert ("demographic_parity_difference", "feature:sex, feature:age") in m
    assert ("demographic_parity_difference", "feature:age") not in m
    assert any(str(r).endswith("rows have no sex × age; they are left out of it.") for r in reading.remarks)


def test_more_classes_one_against_the_rest(table, ctx):
    rng = np.random.default_rng(1)
    labels, said = rng.choice(list("xyz"), (2, 300)).tolist()
    names = rng.choice(["a", "b"], 300).tolist()
    rows = table(labels, said, classes="xyz", groups={"g": names})
    reading = Groups(permutations=50).summarise(rows, ctx)
    m = by_name(reading)
    args = {"sensitive_features": np.array(names)}
    for c in "xyz":
        y, p = np.array(labels) == c, np.array(said) == c
        found = m["equalized_odds_difference", f"feature:g, class:{c}"]
        assert found.value == pytest.approx(fl.equalized_odds_difference(y, p, **args), abs=1e-12)
        assert ("recall", f"group:g=a, class:{c}") in m
    assert ("equalized_odds_difference", "feature:g") not in m
    keep = np.array(names) == "a"
    assert m["accuracy", "group:g=a"].value == pytest.approx((np.array(labels) == np.array(said))[keep].mean())
    assert len([k for k in m if k[0] == "accuracy"]) == 2
    named = by_name(Groups(positive="y", permutations=50).summarise(rows, ctx))
    assert named["recall", "group:g=a"].value == m["recall", "group:g=a, class:y"].value
    assert ("recall", "group:g=a, class:y") not in named


def test_every_measurement_is_unique_and_defined(table, ctx):
    labels, said, names = counted(a=(3, 1, 2, 4), b=(2, 2, 1, 5))
    reading = PROBE.summarise(table(labels, said, groups={"g": names, "h": names[::-1]}), ctx)
    keys = [(m.name, m.slice) for m in reading.measurements]
    assert len(keys) == len(set(keys))
    assert {m.name for m in reading.measurements} == {d.name for d in DEFINES}


def test_evidence(table, ctx):
    labels, said, names = counted(a=(3, 1, 2, 4), b=(0, 0, 1, 5))
    reading = PROBE.summarise(table(labels, said, groups={"g": names}), ctx)
    plots = [e for e in reading.evidence if isinstance(e, IntervalPlot)]
    assert [str(e.title) for e in plots] == ["Selection rate by g", "Recall by g", "False positive rate by g"]
    assert plots[1].points[1].value is None
    assert plots[1].points[1].note is not None
    assert plots[0].reference == pytest.approx(6 / 16)
    sheet = next(e for e in reading.evidence if isinstance(e, Table))
    assert sheet.rows[0] == ("a", 10, 0.5, 0.75, 2 / 6, 0.6, 0.7)
    assert sheet.rows[1][3] is None
    assert any(isinstance(e, Note) and "2 groups of g" in str(e.text) for e in reading.evidence)
    assert any("taken as independent" in str(r) for r in reading.remarks)


def test_copies_in_clusters_do_not_narrow(table, ctx):
    labels, said, names = counted(a=(20, 12, 8, 20), b=(10, 22, 9, 19))
    n = len(labels)
    one = by_name(PROBE.summarise(table(labels, said, groups={"g": names}), ctx))
    copied = table(labels * 6, said * 6, groups={"g": names * 6}, cluster=[str(i % n) for i in range(6 * n)])
    six = by_name(PROBE.summarise(copied, ctx))
    for name in GAPS:
        a, b = one[name, "feature:g"], six[name, "feature:g"]
        assert a.value == pytest.approx(b.value, abs=0.1)
        if a.interval:
            assert b.interval.high - b.interval.low >= 0.98 * (a.interval.high - a.interval.low)
    assert six["demographic_parity_difference", "feature:g"].counts.clusters == n
    plain = by_name(PROBE.summarise(copied.drop_columns("cluster"), ctx))
    key = ("demographic_parity_difference", "feature:g")
    assert plain[key].interval.high - plain[key].interval.low < 0.6 * (six[key].interval.high - six[key].interval.low)


def test_options_are_checked(table, ctx):
    rows = table(["yes", "no"], ["yes", "no"], groups={"g": ["a", "b"]})
    with pytest.raises(ProbeError, match="which class is positive"):
        Groups().summarise(rows, ctx)
    with pytest.raises(ProbeError, match="'hired' is no class"):
        Groups(positive="hired").summarise(rows, ctx)
    with pytest.raises(DataError, match="no sensitive feature 'age'"):
        Groups(positive="yes", features=("age",)).summarise(rows, ctx)
    with pytest.raises(ProbeError, match="no sensitive feature"):
        Groups(positive="yes").summarise(table(["yes", "no"], ["yes", "no"]), ctx)
    for bad in (
        {"min_group": 0},
        {"permutations": 0},
        {"intersections": (("g",),)},
        {"intersections": (("g", "g"),)},
        {"features": ("g", "g")},
    ):
        with pytest.raises(ValueError):
            Groups(positive="yes", **bad)
    decided = table(["yes", "no"], ["yes", "no"], groups={"g": ["a", "b"]}, positive="yes", threshold=0.4)
    assert by_name(Groups().summarise(decided, ctx))["selection_rate", "group:g=a"].value == 1


def test_equal_groups_are_rarely_called_different(table, ctx):
    """No planted gap: the low end of the largest gap is 0 but for the level's tail; a planted gap is found."""
    rng = np.random.default_rng(3)
    claimed = 0
    for _ in range(60):
        names = rng.choice(list("abcdefgh"), 600)
        said = np.where(rng.random(600) < 0.4, "yes", "no").tolist()
        m = by_name(
            Groups(positive="yes", permutations=1).summarise(table(said, said, groups={"g": names.tolist()}), ctx)
        )
        claimed += m["demographic_parity_difference", "feature:g"].interval.low > 0
    assert claimed <= 5
    said = np.where(rng.random(600) < np.where(names == "c", 0.1, 0.6), "yes", "no").tolist()
    m = by_name(Groups(positive="yes").summarise(table(said, said, groups={"g": names.tolist()}), ctx))
    assert m["demographic_parity_difference", "feature:g"].interval.low > 0.1
    assert m["demographic_parity_difference_p_value", "feature:g"].value < 0.001


def test_hatecheck(table, ctx):
    """The real groups with fabricated answers: rows without a target, and functionalities with one label each."""
    if not os.environ.get("PLUMBLINE_DATA"):
        pytest.skip("set PLUMBLINE_DATA to the folder of datasets")
    with (Path(os.environ["PLUMBLINE_DATA"]) / "hatecheck/test_suite_cases.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    labels = [r["label_gold"] for r in rows]
    said = np.where(rng.random(len(rows)) < 0.8, labels, "hateful").tolist()
    groups = {
        "target_ident": [r["target_ident"] or None for r in rows],
        "functionality": [r["functionality"] for r in rows],
    }
    data = table(labels, said, classes=("hateful", "non-hateful"), groups=groups, cluster=[r["templ_id"] for r in rows])
    probe = Groups(positive="hateful")
    started = time.process_time()
    reading = probe.summarise(data, ctx)
    assert time.process_time() - started < 3
    m = by_name(reading)
    assert "292 rows have no target_ident; they are left out of it." in [str(r) for r in reading.remarks]
    assert len(set(groups["functionality"])) == 29
    targets = sorted({t for t in groups["target_ident"] if t})
    kept = np.array([t is not None for t in groups["target_ident"]])
    y, p = np.array(labels)[kept] == "hateful", np.array(said)[kept] == "hateful"
    t = np.array([x for x in groups["target_ident"] if x])
    for name in ("demographic_parity", "equalized_odds", "equal_opportunity"):
        for end in ("difference", "ratio"):
            theirs = getattr(fl, f"{name}_{end}")(y, p, sensitive_features=t)
            assert m[f"{name}_{end}", "feature:target_ident"].value == pytest.approx(theirs, abs=1e-12)
    assert sum(m["count", f"group:target_ident={x}"].value for x in targets) == len(rows) - 292
    for f in set(groups["functionality"]):
        gold = {lab for lab, g in zip(labels, groups["functionality"], strict=True) if g == f}
        assert len(gold) == 1
        recall, fpr = (m[r, f"group:functionality={f}"] for r in ("recall", "false_positive_rate"))
        assert isinstance(recall, Measurement) == (gold == {"hateful"})
        assert isinstance(fpr, Measurement) == (gold == {"non-hateful"})
    for name in ("equal_opportunity_difference", "equalized_odds_difference", "equalized_odds_ratio"):
        gap = m[name, "feature:functionality"]
        assert isinstance(gap, Undefined)
        assert "more groups" in str(gap.reason)
    assert isinstance(m["demographic_parity_difference", "feature:functionality"], Measurement)


@pytest.mark.slow
def test_a_million_rows_take_seconds(table, ctx):
    import pyarrow as pa

    rng = np.random.default_rng(0)
    small = table(["yes", "no"], ["yes", "no"], groups={"g": ["a", "b"]})
    n = 1_000_000
    said, gold = rng.integers(0, 2, (2, n))
    text = pa.array(["no", "yes"])
    columns = {
        "row_id": pa.array(np.arange(n)).cast(pa.string()),
        "label": text.take(pa.array(gold)),
        "prediction": text.take(pa.array(said)),
        "group_g": pa.array([f"g{i}" for i in range(30)]).take(pa.array(rng.integers(0, 30, n))),
        "cluster": pa.array(rng.integers(0, 50_000, n)).cast(pa.string()),
    }
    rows = pa.table(columns).replace_schema_metadata(small.schema.metadata)
    started = time.process_time()
    reading = Groups(positive="yes").summarise(rows, ctx)
    assert time.process_time() - started < 20
    assert by_name(reading)["count", "group:g=g7"].value > 30_000


def test_heterogeneity_stands_beside_every_rate(table, ctx):
    """Three groups of 100 at .2, .5 and .8; the tau is that of `probes.heterogeneity`, about their standard deviation."""
    labels, said, names = counted(a=(10, 40, 10, 40), b=(25, 25, 25, 25), c=(40, 10, 40, 10), d=(0, 0, 20, 80))
    m = by_name(PROBE.summarise(table(labels, said, groups={"g": names}), ctx))
    found = m["recall_heterogeneity", "feature:g"]
    expected = heterogeneity(independent(np.array([10, 25, 40]), np.array([50, 50, 50])), ctx.level)
    assert (found.value, found.interval.high) == (expected.value, expected.high)
    assert found.value == pytest.approx(0.3, abs=0.02)
    # Group d has no positive label: no recall to differ in, and so the gap has no value.
    assert (found.counts.denominator, found.counts.smallest, found.interval.method.params["groups"]) == (150, 50, 3)
    assert isinstance(m["equal_opportunity_difference", "feature:g"], Undefined)
    alike = by_name(PROBE.summarise(table(labels[:100] * 3, said[:100] * 3, groups={"g": list("abc") * 100}), ctx))
    assert alike["selection_rate_heterogeneity", "feature:g"].value == 0
    one = by_name(PROBE.summarise(table(labels, said, groups={"g": ["a"] * len(said)}), ctx))
    assert "Fewer than two groups" in str(one["recall_heterogeneity", "feature:g"].reason)


def test_mean_odds_average_two_rates_and_trust_no_independence_of_clusters(table, ctx):
    labels, said, names = counted(a=(80, 20, 20, 80), b=(50, 50, 30, 70))
    rows = table(labels, said, groups={"g": names}, cluster=[str(i % 50) for i in range(len(said))])
    clustered = by_name(PROBE.summarise(rows, ctx))["equalized_odds_mean_difference", "feature:g"]
    plain = by_name(PROBE.summarise(rows.drop_columns("cluster"), ctx))["equalized_odds_mean_difference", "feature:g"]
    assert plain.value == clustered.value == pytest.approx((0.3 + 0.1) / 2)
    assert plain.interval.method.name == "mean of largest gaps: Bonferroni low, MOVER high"
    assert clustered.interval.method.name == "mean of joint intervals (Bonferroni)"
    assert clustered.interval.low <= plain.interval.low < plain.interval.high < clustered.interval.high
