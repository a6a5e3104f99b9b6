"""fairness.scores: by hand, against scikit-learn, its power mean against a jackknife and by simulation, and where it has no value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from fine_tune.errors import DataError
from probes.binning import calibration_error, equal_mass
from probes.errors import ProbeError, Unavailable
from probes.evidence import Curve, Measurement, Note, Table, Undefined, slice_name
from probes.fairness.scores import Scores
from probes.fairness.subgroup_ranking import AREAS, Ranked, mean_area, power_mean, taken

PROBE = Scores(positive="yes")


def by_name(reading):
    return {(m.name, slice_name(m.slice)): m for m in reading.measurements}


def scored(table, labels, scores, groups, **more):
    top = np.asarray(scores, dtype=float)
    said = ["yes" if s >= 0.5 else "no" for s in top]
    return table(labels, said, scores=np.column_stack([1 - top, top]), groups=groups, **more)


def drawn(rng, groups, rows, shift=0.0):
    """Labels, scores and group codes; positives score higher, and each group's scores are shifted by its number."""
    code = np.repeat(np.arange(groups), rows)
    positive = rng.random(len(code)) < 0.4
    raw = 1.2 * positive + shift * code + rng.standard_normal(len(code))
    return positive, 1 / (1 + np.exp(-raw)), code


HAND_LABELS = ["yes", "yes", "no", "no", "yes", "yes", "no", "no"]
HAND_SCORES = [0.9, 0.4, 0.5, 0.1, 0.8, 0.7, 0.6, 0.2]
HAND_GROUPS = ["a"] * 4 + ["b"] * 4


def test_by_hand(table, ctx):
    rows = scored(table, HAND_LABELS, HAND_SCORES, {"g": HAND_GROUPS})
    reading = Scores(positive="yes", thresholds=1).summarise(rows, ctx)
    m = by_name(reading)
    expected = {
        ("roc_auc", "all"): 14 / 16,
        ("subgroup_auc", "group:g=a"): 3 / 4, ("subgroup_auc", "group:g=b"): 1.0,
        ("bpsn_auc", "group:g=a"): 1.0, ("bpsn_auc", "group:g=b"): 3 / 4,
        ("bnsp_auc", "group:g=a"): 3 / 4, ("bnsp_auc", "group:g=b"): 1.0,
        ("calibration_in_the_large", "group:g=a"): -0.025, ("calibration_in_the_large", "group:g=b"): 0.075,
        ("calibration_in_the_large_gap", "feature:g"): 0.1,
        ("selection_rate_threshold_gap", "feature:g"): 0.25, ("recall_threshold_gap", "feature:g"): 0.5,
        ("false_positive_rate_threshold_gap", "feature:g"): 0.0,
    }  # fmt: skip
    mean = ((0.75**-5 + 1) / 2) ** (-1 / 5)
    expected |= {(f"{name}_mean", "feature:g"): mean for name in AREAS}
    for key, value in expected.items():
        assert m[key].value == pytest.approx(value, abs=1e-12), key
        assert m[key].interval.low <= m[key].value <= m[key].interval.high
    assert m["bpsn_auc", "group:g=b"].counts.denominator == 4
    assert any(isinstance(e, Note) and "no variation" in str(e.text) for e in reading.evidence)
    # Nothing combines the areas into one score.
    assert not any("final" in name or "combined" in name for name, _ in m)


tables = st.lists(
    st.tuples(st.booleans(), st.integers(0, 10), st.sampled_from(["a", "b", "c", None])), min_size=4, max_size=80
)


@given(tables)
@settings(max_examples=60, deadline=None)
def test_areas_are_scikit_learns(table, ctx, rows):
    truth = np.array([t for t, _, _ in rows])
    scores = np.array([s / 10 for _, s, _ in rows])
    names = [g for _, _, g in rows]
    labels = ["yes" if t else "no" for t in truth]
    found = by_name(PROBE.summarise(scored(table, labels, scores, {"g": names}), ctx))
    group = np.array([g or "" for g in names])
    areas = {name: [] for name in AREAS}
    for g in sorted(set(names) - {None}):
        inside, outside = group == g, (group != g) & (group != "")
        for name, kept in {
            "subgroup_auc": inside,
            "bpsn_auc": (outside & truth) | (inside & ~truth),
            "bnsp_auc": (outside & ~truth) | (inside & truth),
        }.items():
            m = found[name, f"group:g={g}"]
            if min(truth[kept].sum(), (~truth[kept]).sum()) < 2:
                assert isinstance(m, Undefined)
                areas[name].append(None)
            else:
                assert m.value == pytest.approx(roc_auc_score(truth[kept], scores[kept]), abs=1e-12)
                areas[name].append(m.value)
    for name, values in areas.items():
        m = found.get((f"{name}_mean", "feature:g"))
        if len(values) < 2 or None in values:
            assert isinstance(m, Undefined)
        elif min(values) > 0:
            assert m.value == pytest.approx(stats.pmean(values, -5), abs=1e-9)
        else:
            assert m.value == 0


def test_names_and_order_do_not_matter(table, ctx):
    rng = np.random.default_rng(3)
    positive, scores, code = drawn(rng, 3, 40, shift=0.3)
    labels = np.where(positive, "yes", "no")
    one = by_name(PROBE.summarise(scored(table, labels.tolist(), scores, {"g": [f"g{c}" for c in code]}), ctx))
    order = rng.permutation(len(code))
    renamed = [f"z{2 - c}" for c in code[order]]
    two = by_name(PROBE.summarise(scored(table, labels[order].tolist(), scores[order], {"g": renamed}), ctx))
    for (name, where), m in one.items():
        other = two[name, where if "group" not in where else f"group:g=z{2 - int(where[-1])}"]
        assert (other.value, other.interval.low, other.interval.high) == pytest.approx(
            (m.value, m.interval.low, m.interval.high), abs=1e-9
        )


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.sampled_from([-50.0, -5.0, -1.0, 0.0, 0.5]))
def test_power_mean_is_scipys_and_lies_between_least_and_mean(values, power):
    found = power_mean(np.array(values), power)
    assert found == pytest.approx(stats.pmean(values, power), rel=1e-9)
    assert min(values) - 1e-12 <= found <= np.mean(values) + 1e-12


def test_power_mean_of_a_worst_area_is_zero():
    assert power_mean(np.array([0.0, 1.0]), -5) == 0
    assert power_mean(np.array([0.0, 0.0]), 0.5) == 0


def every(rows, code, name):
    return [taken(name, code == g, code != g, rows.positive) for g in range(code.max() + 1)]


def half_width(estimate):
    """On the logit scale, where the interval is symmetric."""
    return (np.log(estimate.high / (1 - estimate.high)) - np.log(estimate.low / (1 - estimate.low))) / 2


@pytest.mark.parametrize("name", AREAS)
@pytest.mark.parametrize("clustered", [False, True])
def test_spread_of_the_power_mean_is_the_jackknifes(name, clustered):
    """The slow way: leave one row, or one cluster, out at a time."""
    rng = np.random.default_rng(11)
    positive, scores, code = drawn(rng, 3, 60, shift=0.4)
    unit = np.arange(len(code))
    if clustered:
        # Pairs of alike rows, one cluster each, some of them over two groups.
        twice = np.repeat(unit, 2)
        positive, code = positive[twice], np.where(rng.random(len(twice)) < 0.3, (code[twice] + 1) % 3, code[twice])
        scores, unit = np.clip(scores[twice] + rng.normal(0, 0.02, len(twice)), 0.001, 0.999), twice
    rows = Ranked(scores=scores, positive=positive, clusters=unit if clustered else None)
    found = mean_area(rows, every(rows, code, name), -5, 0.95)
    left = []
    for u in range(unit.max() + 1):
        kept = unit != u
        less = Ranked(scores=scores[kept], positive=positive[kept], clusters=None)
        left.append(mean_area(less, every(less, code[kept], name), -5, 0.95).value)
    n = len(left)
    slow = np.sqrt((n - 1) / n * np.sum((np.array(left) - np.mean(left)) ** 2))
    centre, crit = found.params["centre"], stats.t.isf(0.025, n - 1) if clustered else stats.norm.isf(0.025)
    assert half_width(found) * centre * (1 - centre) / crit == pytest.approx(slow, rel=0.08)


@pytest.mark.parametrize("name", AREAS)
def test_interval_of_the_power_mean_covers(name):
    """Six groups of 50 whose scores are equally good: the truth is known, and clusters of two alike rows count as one."""
    rng, truth, hits, naive, runs = np.random.default_rng(5), stats.norm.cdf(1.2 / np.sqrt(2)), 0, 0, 200
    for _ in range(runs):
        positive, scores, code = drawn(rng, 6, 50)
        twice = np.repeat(np.arange(len(code)), 2)
        rows = Ranked(scores=scores[twice], positive=positive[twice], clusters=twice)
        found = mean_area(rows, every(rows, code[twice], name), -5, 0.95)
        hits += found.low <= truth <= found.high
        alone = Ranked(scores=scores[twice], positive=positive[twice], clusters=None)
        blind = mean_area(alone, every(alone, code[twice], name), -5, 0.95)
        naive += blind.low <= truth <= blind.high
    # Three standard errors of 200 runs below .95; rows counted twice cover far less.
    assert hits / runs >= 0.904
    assert naive < hits


def test_gap_over_thresholds_is_the_worst_of_the_grid_and_its_interval_covers(table, ctx):
    rng, inside, runs = np.random.default_rng(2), 0, 60
    grid = np.arange(1, 10) / 10
    truth = max(abs(stats.beta.sf(t, 2, 2) - stats.beta.sf(t, 3, 2)) for t in grid)
    for _ in range(runs):
        scores = np.concatenate([rng.beta(2, 2, 120), rng.beta(3, 2, 120)])
        names = ["a"] * 120 + ["b"] * 120
        labels = ["yes", "no"] * 120
        rows = scored(table, labels, scores, {"g": names})
        m = by_name(Scores(positive="yes", thresholds=9).summarise(rows, ctx))[
            "selection_rate_threshold_gap", "feature:g"
        ]
        shares = np.array([[(s >= t).mean() for t in grid] for s in (scores[:120], scores[120:])])
        assert m.value == pytest.approx(np.abs(shares[0] - shares[1]).max())
        inside += m.interval.low <= truth <= m.interval.high
    assert inside / runs >= 0.93


def test_calibration_is_that_of_the_group_alone(table, ctx):
    rng = np.random.default_rng(8)
    positive, scores, code = drawn(rng, 2, 150, shift=1.0)
    labels = np.where(positive, "yes", "no").tolist()
    m = by_name(PROBE.summarise(scored(table, labels, scores, {"g": [f"g{c}" for c in code]}), ctx))
    for g in (0, 1):
        slow = calibration_error(equal_mass(scores[code == g], positive[code == g], 10), 0.025)
        assert m["calibration_error", f"group:g=g{g}"].value == slow.value
        large = m["calibration_in_the_large", f"group:g=g{g}"]
        off = scores[code == g] - positive[code == g]
        low, high = stats.t.interval(0.95, 149, off.mean(), stats.sem(off))
        assert (large.interval.low, large.interval.high) == pytest.approx((low, high))
    gap = m["calibration_in_the_large_gap", "feature:g"]
    assert gap.interval.low > 0
    assert gap.value == pytest.approx(
        m["calibration_in_the_large", "group:g=g1"].value - m["calibration_in_the_large", "group:g=g0"].value
    )


def test_what_has_no_value_says_why(table, ctx):
    labels = ["yes"] * 6 + ["yes", "no"] * 6 + [None]
    scores = [*np.linspace(0.1, 0.9, 6), *np.linspace(0.15, 0.95, 12), 0.5]
    names = ["pos"] * 6 + ["mix"] * 12 + ["mix"]
    m = by_name(PROBE.summarise(scored(table, labels, scores, {"g": names}), ctx))
    assert "0 rows without the positive label" in str(m["subgroup_auc", "group:g=pos"].reason)
    assert "0 rows without" in str(m["bpsn_auc", "group:g=pos"].reason)
    assert isinstance(m["bnsp_auc", "group:g=pos"], Measurement)
    assert "Outside the group 0 rows lack" in str(m["bnsp_auc", "group:g=mix"].reason)
    assert "pos" in str(m["subgroup_auc_mean", "feature:g"].reason)
    assert "pos" in str(m["false_positive_rate_threshold_gap", "feature:g"].reason)
    assert isinstance(m["recall_threshold_gap", "feature:g"], Measurement)
    assert m["calibration_error", "group:g=mix"].counts.n == 12
    lone = by_name(Scores(positive="yes", min_group=7).summarise(scored(table, labels, scores, {"g": names}), ctx))
    assert "fewer than the 7" in str(lone["calibration_error", "group:g=pos"].reason)
    assert all(isinstance(lone[f"{name}_mean", "feature:g"], Undefined) for name in AREAS)


def test_without_scores_or_features_it_says_what_to_do(table, ctx):
    rows = table(["yes", "no"], ["yes", "no"], scores=None, groups={"g": ["a", "b"]})
    with pytest.raises(Unavailable, match="without scores"):
        PROBE.summarise(rows, ctx)
    with pytest.raises(ProbeError, match="no sensitive feature"):
        PROBE.summarise(table(["yes", "no"], ["yes", "no"]), ctx)
    good = scored(table, HAND_LABELS, HAND_SCORES, {"g": HAND_GROUPS})
    with pytest.raises(ProbeError, match="which class is positive"):
        Scores().summarise(good, ctx)
    with pytest.raises(ProbeError, match="no class of the subject"):
        Scores(positive="maybe").summarise(good, ctx)
    with pytest.raises(DataError, match="no sensitive feature 'age'"):
        Scores(positive="yes", features=("age",)).summarise(good, ctx)


@pytest.mark.parametrize(
    "options", [{"power": 1}, {"bins": 0}, {"thresholds": 0}, {"min_group": 0}, {"intersections": (("g", "g"),)}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=r"at least|below 1|different"):
        Scores(positive="yes", **options)


def test_many_classes_are_taken_one_against_the_rest(table, ctx):
    rng = np.random.default_rng(4)
    scores = rng.dirichlet(np.ones(3), 90)
    labels = rng.choice(list("xyz"), 90)
    names = rng.choice(["a", "b"], 90)
    rows = table(labels.tolist(), list("xyz") * 30, classes="xyz", scores=scores, groups={"g": names.tolist()})
    reading = Scores().summarise(rows, ctx)
    m = by_name(reading)
    for k, c in enumerate("xyz"):
        assert m["roc_auc", f"class:{c}"].value == pytest.approx(roc_auc_score(labels == c, scores[:, k]))
        assert ("bpsn_auc_mean", f"feature:g, class:{c}") in m
    assert not any(isinstance(e, Curve) for e in reading.evidence)
    assert any(isinstance(e, Note) and "positive" in str(e.text) for e in reading.evidence)
    one = Scores(positive="y").summarise(rows, ctx)
    assert by_name(one)["roc_auc", "all"].value == m["roc_auc", "class:y"].value
    assert any(isinstance(e, Curve) for e in one.evidence)


def test_curves_are_those_of_the_largest_groups_and_stay_small(table, ctx):
    rng = np.random.default_rng(6)
    positive, scores, code = drawn(rng, 9, 30)
    sizes = [f"g{c}" for c in code]
    labels = np.where(positive, "yes", "no").tolist()
    cross = {"g": sizes, "h": rng.choice(["p", "q"], len(code)).tolist()}
    reading = Scores(positive="yes", intersections=(("g", "h"),)).summarise(scored(table, labels, scores, cross), ctx)
    curves = [e for e in reading.evidence if isinstance(e, Curve)]
    assert max(len(c.series) for c in curves) == 6
    assert any(isinstance(e, Note) and "6 largest of 9" in str(e.text) for e in reading.evidence)
    for c in curves:
        for series in c.series:
            heights = [p.y for p in series.points]
            if "by threshold and" in c.title.text:
                assert len(heights) <= 10
                assert heights == sorted(heights, reverse=True)
            if c.title.text.startswith("Scores of"):
                assert heights == sorted(heights)
    tables = [e for e in reading.evidence if isinstance(e, Table)]
    assert any(len(t.rows) == 9 for t in tables)
    assert len(reading.model_dump_json(exclude={"measurements"})) < 250_000
