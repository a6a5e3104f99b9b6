"""Every rate, difference and ratio is fairlearn's to 1e-12, over random tables; it differs on purpose only here:

* A group without a denominator (no positive label for recall, ...) has no rate, and the gaps that need it have no value.
  fairlearn takes the rate as 0.
* Of fewer than two groups there is no difference and no ratio. fairlearn gives 0 and 1.
* Where the highest rate is 0 there is no ratio. fairlearn gives NaN.
* Rows without a group are left out and counted, and groups below `min_group` are not compared. fairlearn refuses the former
  and knows no such size.
* Differences and ratios of false and true negative rates are not measured: the differences are those of recall and of the
  false positive rate, whose complements they are.
"""

from __future__ import annotations

import fairlearn.metrics as fl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_score

from probes.evidence import Measurement, Undefined, slice_name
from probes.fairness.definitions import CRITERIA, RATES
from probes.fairness.groups import Groups

NEEDS = {
    "recall": "label", "false_negative_rate": "label", "false_positive_rate": "no label", "true_negative_rate": "no label",
    "precision": "prediction",
}  # fmt: skip


def precision(y_true, y_pred) -> float:
    return precision_score(y_true, y_pred, zero_division=0)


METRICS = {
    "selection_rate": fl.selection_rate, "recall": fl.true_positive_rate, "false_negative_rate": fl.false_negative_rate,
    "false_positive_rate": fl.false_positive_rate, "true_negative_rate": fl.true_negative_rate, "precision": precision,
    "accuracy": accuracy_score, "count": fl.count,
}  # fmt: skip


def theirs(y, p, g) -> dict[str, float]:
    """Differences and ratios by the functions that users of fairlearn call."""
    args = {"y_true": y, "y_pred": p, "sensitive_features": g}
    frame = fl.MetricFrame(metrics=precision, **args)
    return {
        "demographic_parity_difference": fl.demographic_parity_difference(**args),
        "demographic_parity_ratio": fl.demographic_parity_ratio(**args),
        "equalized_odds_difference": fl.equalized_odds_difference(**args, agg="worst_case"),
        "equalized_odds_ratio": fl.equalized_odds_ratio(**args, agg="worst_case"),
        "equalized_odds_mean_difference": fl.equalized_odds_difference(**args, agg="mean"),
        "equalized_odds_mean_ratio": fl.equalized_odds_ratio(**args, agg="mean"),
        "equal_opportunity_difference": fl.equal_opportunity_difference(**args),
        "equal_opportunity_ratio": fl.equal_opportunity_ratio(**args),
        "predictive_equality_difference": fl.false_positive_rate_difference(**args),
        "predictive_equality_ratio": fl.false_positive_rate_ratio(**args),
        "predictive_parity_difference": frame.difference(),
        "predictive_parity_ratio": frame.ratio(),
        "accuracy_equality_difference": fl.accuracy_score_difference(**args),
        "accuracy_equality_ratio": fl.accuracy_score_ratio(**args),
    }


def found_in(table, ctx, y, p, g, **others):
    labels, said = np.where(y, "yes", "no").tolist(), np.where(p, "yes", "no").tolist()
    rows = table(labels, said, groups={"g": g.tolist()}, **others)
    reading = Groups(positive="yes", permutations=20).summarise(rows, ctx)
    return {(m.name, slice_name(m.slice)): m for m in reading.measurements}


tables = st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcd")), min_size=4, max_size=120)


@given(tables, st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_value_is_the_metric_frames(table, ctx, rows, clustered):
    y, p, g = (np.array(c) for c in zip(*rows, strict=True))
    others = {"cluster": [str(i // 3) for i in range(len(rows))]} if clustered else {}
    found = found_in(table, ctx, y, p, g, **others)
    groups = sorted(set(g.tolist()))
    inside = {"label": y, "no label": ~y, "prediction": p}
    empty = {rate: [a for a in groups if not inside[need][g == a].any()] for rate, need in NEEDS.items()}
    frame = fl.MetricFrame(metrics=METRICS, y_true=y, y_pred=p, sensitive_features=g)
    for name in METRICS:
        for a in groups:
            m = found[name, f"group:g={a}"]
            if a in empty.get(name, []):
                assert isinstance(m, Undefined)
                assert f"No row in {a}" in str(m.reason)
            else:
                assert m.value == pytest.approx(frame.by_group[name][a], abs=1e-12)
    differences, ratios = frame.difference(), frame.ratio()
    for criterion in CRITERIA:
        names = [f"{criterion.name}_{end}" for end in ("difference", "ratio", "difference_p_value")]
        difference, ratio, chance = (found[n, "feature:g"] for n in names)
        if len(groups) < 2 or any(empty.get(r) for r in criterion.rates):
            assert all(isinstance(m, Undefined) for m in (difference, ratio, chance))
            continue
        over = np.mean if criterion.mean else np.max
        assert difference.value == pytest.approx(over([differences[r] for r in criterion.rates]), abs=1e-12)
        assert difference.interval.low <= difference.value <= difference.interval.high
        assert 0 < chance.value <= 1
        if any(frame.by_group[r].max() == 0 for r in criterion.rates):
            assert isinstance(ratio, Undefined)
            assert "nothing to divide by" in str(ratio.reason)
        else:
            over = np.mean if criterion.mean else np.min
            assert ratio.value == pytest.approx(over([ratios[r] for r in criterion.rates]), abs=1e-12)
            assert ratio.interval.low <= ratio.value <= ratio.interval.high


@given(tables)
@settings(max_examples=5, deadline=None)
def test_every_gap_is_what_fairlearns_functions_give(table, ctx, rows):
    y, p, g = (np.array(c) for c in zip(*rows, strict=True))
    found = found_in(table, ctx, y, p, g)
    values = theirs(y, p, g)
    assert len(values) == 2 * len(CRITERIA)
    for name, value in values.items():
        m = found[name, "feature:g"]
        assert isinstance(m, Undefined) or m.value == pytest.approx(value, abs=1e-12)


def test_what_differs_on_purpose_does_differ(table, ctx):
    """The list above, so that it stays true of fairlearn too."""
    y, p, g = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool), np.array(list("aabb"))
    found = found_in(table, ctx, y, p, g)
    assert theirs(y, p, g)["equal_opportunity_difference"] == 0.5
    assert isinstance(found["equal_opportunity_difference", "feature:g"], Undefined)
    one = np.array(list("aaaa"))
    assert theirs(y, p, one)["demographic_parity_difference"] == 0
    assert isinstance(found_in(table, ctx, y, p, one)["demographic_parity_difference", "feature:g"], Undefined)
    nobody = np.zeros(4, bool)
    assert np.isnan(theirs(y, nobody, g)["demographic_parity_ratio"])
    assert isinstance(found_in(table, ctx, y, nobody, g)["demographic_parity_ratio", "feature:g"], Undefined)
    both = np.array(list("abab"))
    for theirs_name, ours in (("false_negative_rate", "recall"), ("true_negative_rate", "false_positive_rate")):
        other = getattr(fl, f"{theirs_name}_difference")(y, p, sensitive_features=both)
        criterion = next(c for c in CRITERIA if c.rates == (ours,))
        m = found_in(table, ctx, y, p, both)[f"{criterion.name}_difference", "feature:g"]
        assert isinstance(m, Measurement)
        assert m.value == pytest.approx(other, abs=1e-12)
    assert set(RATES) | {"count"} == set(METRICS)
