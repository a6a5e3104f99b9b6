"""performance.classification: by hand, against scikit-learn, and where there is nothing to divide by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from probes.evidence import Measurement, Table, Undefined, slice_name
from probes.performance.classification import Classification

PROBE = Classification()


def by_name(reading):
    return {(m.name, slice_name(m.slice)): m for m in reading.measurements}


def test_by_hand(table, ctx):
    """TP 3, FN 1, FP 2, TN 4."""
    labels = ["yes"] * 4 + ["no"] * 6
    said = ["yes", "yes", "yes", "no", "yes", "yes", "no", "no", "no", "no"]
    reading = PROBE.summarise(table(labels, said), ctx)
    m = by_name(reading)
    assert m["accuracy", "all"].value == 0.7
    assert m["recall", "class:yes"].value == 0.75
    assert m["precision", "class:yes"].value == 0.6
    assert m["f1", "class:yes"].value == pytest.approx(6 / 9)
    assert m["balanced_accuracy", "all"].value == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert m["precision_macro", "all"].value == pytest.approx((3 / 5 + 4 / 5) / 2)
    assert m["recall", "class:yes"].counts.denominator == 4
    # Wilson for 7 of 10, as in Newcombe's papers: 0.3968 to 0.8922.
    assert m["accuracy", "all"].interval.low == pytest.approx(0.3968, abs=5e-5)
    assert m["accuracy", "all"].interval.high == pytest.approx(0.8922, abs=5e-5)
    confusion = next(e for e in reading.evidence if isinstance(e, Table))
    assert confusion.rows == (("no", 4, 2), ("yes", 1, 3))


@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 2), min_size=1, max_size=60), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_values_are_scikit_learns(table, ctx, pairs, seed):
    labels, said = [a for a, _ in pairs], [b for _, b in pairs]
    scores = np.random.default_rng(seed).dirichlet([1, 1, 1], len(pairs)).round(1)
    m = by_name(PROBE.summarise(table(labels, said, classes="abc", scores=scores), ctx))
    assert m["accuracy", "all"].value == pytest.approx(metrics.accuracy_score(labels, said), abs=1e-12)
    for name, function in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        values = function(labels, said, labels=list("abc"), average=None, zero_division=np.nan)
        for c, value in zip("abc", values, strict=True):
            found = m[name, f"class:{c}"]
            if isinstance(found, Undefined):
                assert np.isnan(value)
            else:
                assert found.value == pytest.approx(value, abs=1e-12)
                assert found.interval.low <= found.value <= found.interval.high
        macro = m[f"{name}_macro", "all"]
        assert isinstance(macro, Undefined) == bool(np.isnan(values).any())
        if isinstance(macro, Measurement):
            assert macro.value == pytest.approx(values.mean(), abs=1e-12)
            assert macro.interval.low <= macro.value <= macro.interval.high
    for k, c in enumerate("abc"):
        truth = np.array(labels) == c
        found = m["roc_auc", f"class:{c}"]
        assert isinstance(found, Undefined) == (truth.all() or not truth.any())
        if isinstance(found, Measurement):
            assert found.value == pytest.approx(metrics.roc_auc_score(truth, scores[:, k]), abs=1e-12)


def test_shuffled_rows_give_the_same_reading(table, ctx):
    rng = np.random.default_rng(0)
    labels, said = rng.choice(["no", "yes"], (2, 200)).tolist()
    whole = table(labels, said, cluster=rng.integers(0, 30, 200).astype(str).tolist())
    one, two = PROBE.summarise(whole, ctx), PROBE.summarise(whole.take(rng.permutation(200)), ctx)
    for a, b in zip(one.measurements, two.measurements, strict=True):
        assert (a.name, a.slice, a.counts) == (b.name, b.slice, b.counts)
        assert (a.value, a.interval.low, a.interval.high) == pytest.approx((b.value, b.interval.low, b.interval.high))
    assert (one.evidence[0], one.remarks) == (two.evidence[0], two.remarks)


def test_binary_roc_auc_once_for_the_positive_class(table, ctx):
    labels, said = ["yes", "no", "yes", "no"], ["yes"] * 4
    scores = np.array([[0.1, 0.9], [0.3, 0.7], [0.4, 0.6], [0.2, 0.6]])
    found = [m for m in PROBE.summarise(table(labels, said, scores=scores), ctx).measurements if m.name == "roc_auc"]
    assert [(m.slice, m.value) for m in found] == [((), 0.625)]
    turned = PROBE.summarise(table(labels, said, scores=scores, positive="no", threshold=0.5), ctx)
    assert by_name(turned)["roc_auc", "all"].value == 0.5


def test_nothing_to_divide_by_is_undefined(table, ctx):
    m = by_name(PROBE.summarise(table(["no", "no", "yes"], ["no", "no", "no"]), ctx))
    assert str(m["precision", "class:yes"].reason) == "No row is predicted as yes."
    assert isinstance(m["precision_macro", "all"], Undefined)
    assert m["recall", "class:yes"].value == 0
    assert m["f1", "class:yes"].value == 0
    one = by_name(PROBE.summarise(table(["no", "no"], ["no", "yes"]), ctx))
    assert str(one["recall", "class:yes"].reason) == "No row has the label yes."
    assert isinstance(one["balanced_accuracy", "all"], Undefined)
    assert isinstance(one["roc_auc", "all"], Undefined)


def test_unlabelled_rows_are_left_out_and_counted(table, ctx):
    reading = PROBE.summarise(table(["no", None, "yes", None], ["no", "no", "yes", "yes"]), ctx)
    m = by_name(reading)
    assert (m["accuracy", "all"].value, m["accuracy", "all"].counts.denominator) == (1, 2)
    assert any("2 rows have no label" in str(r) for r in reading.remarks)
    none = PROBE.summarise(table([None, None], ["no", "yes"]), ctx)
    assert none.measurements
    assert all(isinstance(x, Undefined) for x in none.measurements)


@pytest.mark.parametrize("scores", [None, np.array([[0.5, 0.5], [np.nan, 0.5], [0.1, np.nan], [0.2, 0.8]])])
def test_without_scores_no_roc_auc(table, ctx, scores):
    reading = PROBE.summarise(table(["no", "yes", "no", "yes"], ["no", "yes", "no", "no"], scores=scores), ctx)
    assert isinstance(by_name(reading)["roc_auc", "all"], Undefined)
    assert by_name(reading)["accuracy", "all"].value == 0.75


def test_perfect_separation_is_said(table, ctx):
    reading = PROBE.summarise(table(["no", "yes"] * 5, ["no", "yes"] * 5), ctx)
    assert by_name(reading)["roc_auc", "all"].interval.degenerate
    assert any("not certainty" in str(r) for r in reading.remarks)


def test_copies_in_clusters_do_not_narrow(table, ctx):
    rng = np.random.default_rng(1)
    labels, said = rng.choice(["no", "yes"], (2, 60)).tolist()
    one = by_name(PROBE.summarise(table(labels, said), ctx))
    copied = table(labels * 5, said * 5, cluster=[str(i % 60) for i in range(300)])
    five = by_name(PROBE.summarise(copied, ctx))
    for key, m in one.items():
        wide, copy = m.interval, five[key].interval
        assert copy.high - copy.low >= 0.97 * (wide.high - wide.low)
        assert five[key].value == pytest.approx(m.value)
    assert five["accuracy", "all"].counts.clusters == 60


def test_units_of_one_row_are_a_cluster(table, ctx):
    import pyarrow as pa

    rows = table(["no", "yes"] * 20, ["no", "no"] * 20)
    rows = rows.set_column(0, "row_id", pa.array([str(i // 4) for i in range(40)]))
    assert by_name(PROBE.summarise(rows, ctx))["accuracy", "all"].counts.clusters == 10


def test_unknown_label_is_one_clear_error(table, ctx):
    from fine_tune.errors import DataError

    with pytest.raises(DataError, match="'maybe', which is no class"):
        PROBE.summarise(table(["maybe", "yes"], ["no", "yes"]), ctx)


def test_weights_are_not_ignored_in_silence(table, ctx):
    reading = PROBE.summarise(table(["no", "yes"], ["no", "yes"], weight=[1.0, 2.0]), ctx)
    assert any("do not use them" in str(r) for r in reading.remarks)


def _mean(table, ctx, labels, right, clusters):
    names = np.array(["no", "yes"])
    rows = table(
        names[labels].tolist(),
        names[np.where(right, labels, 1 - labels)].tolist(),
        cluster=clusters.astype(str).tolist(),
    )
    return by_name(PROBE.summarise(rows, ctx))["balanced_accuracy", "all"].interval


def test_classes_that_share_clusters_err_together(table, ctx):
    """Each cluster is answered wholly right or wholly wrong and holds both classes: the mean knows no more than one of them."""
    rng = np.random.default_rng(5)
    clusters, right, labels = np.repeat(np.arange(60), 4), np.repeat(rng.random(60) < 0.7, 4), np.tile([0, 0, 1, 1], 60)
    together = _mean(table, ctx, labels, right, clusters)
    apart = _mean(table, ctx, labels, right, clusters * 2 + labels)
    assert together.method.params["shared_clusters"] == pytest.approx(np.sqrt(2), rel=1e-9)
    assert "shared_clusters" not in apart.method.params
    assert together.high - together.low == pytest.approx(np.sqrt(2) * (apart.high - apart.low), rel=1e-6)


def test_the_mean_over_classes_covers_where_clusters_span_them(table, ctx):
    rng, misses, naive = np.random.default_rng(6), 0, 0
    labels, clusters = np.tile([0, 0, 1, 1], 50), np.repeat(np.arange(50), 4)
    for _ in range(200):
        right = np.repeat(rng.random(50) < 0.6, 4)
        found = _mean(table, ctx, labels, right, clusters)
        centre, half = right.mean(), np.sqrt(0.5)
        misses += not found.low <= 0.6 <= found.high
        naive += not centre - half * (centre - found.low) <= 0.6 <= centre + half * (found.high - centre)
    assert misses / 200 <= 0.085 < naive / 200
