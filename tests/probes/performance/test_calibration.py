"""performance.calibration: by hand, against scikit-learn, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from probes.binning import calibration_error, equal_mass, noise_quantile
from probes.evidence import Curve, Undefined
from probes.performance.calibration import Calibration


def by_name(reading):
    return {m.name: m for m in reading.measurements}


def test_by_hand(table, ctx):
    """Two bins: confidence .6 with 2 of 4 right, .9 with 4 of 4 right; plain error (.1 + .1) / 2."""
    labels = ["no", "no", "yes", "yes", "yes", "yes", "yes", "yes"]
    scores = np.array([[0.4, 0.6]] * 4 + [[0.1, 0.9]] * 4)
    m = by_name(Calibration(bins=2).summarise(table(labels, ["yes"] * 8, scores=scores), ctx))
    ece = m["expected_calibration_error"]
    assert ece.interval.method.params["plain"] == pytest.approx(0.1)
    s = np.sqrt(np.array([0.5 * 0.5, 5 / 6 / 6]) / 4)
    folded = [stats.foldnorm(0.1 / x, scale=x).mean() for x in s]
    assert ece.interval.method.params["bias"] == pytest.approx(np.mean(folded) - 0.1)
    assert ece.value == pytest.approx(max(0, 0.2 - np.mean(folded)))
    assert m["overconfidence"].value == pytest.approx(0.75 - 6 / 8)
    assert m["brier_score_loss"].value == pytest.approx((2 * 0.36 + 2 * 0.16 + 4 * 0.01) / 8)
    assert m["log_loss"].value == pytest.approx(-(2 * np.log(0.4) + 2 * np.log(0.6) + 4 * np.log(0.9)) / 8)


@pytest.mark.parametrize("classes", ["ab", "abcd"])
def test_losses_are_scikit_learns(table, ctx, classes):
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(len(classes)), 300)
    scores[0] = np.eye(len(classes))[0]
    labels = rng.choice(list(classes), 300).tolist()
    labels[0] = classes[1]
    said = [classes[k] for k in scores.argmax(axis=1)]
    m = by_name(Calibration().summarise(table(labels, said, classes=classes, scores=scores), ctx))
    assert m["log_loss"].value == pytest.approx(metrics.log_loss(labels, scores, labels=list(classes)), rel=1e-9)
    truth = np.array(labels)
    if len(classes) == 2:
        expected = metrics.brier_score_loss(truth == "b", scores[:, 1])
    else:
        expected = ((scores - (truth[:, None] == np.array(list(classes)))) ** 2).sum(axis=1).mean()
    assert m["brier_score_loss"].value == pytest.approx(expected, abs=1e-12)
    for x in m.values():
        assert x.interval.low <= x.value <= x.interval.high


def test_order_of_rows_does_not_matter_even_with_ties(table, ctx):
    rng = np.random.default_rng(1)
    top = rng.choice([0.5, 0.6, 0.9, 1.0], 200, p=[0.1, 0.2, 0.2, 0.5])
    rows = table(rng.choice(["no", "yes"], 200).tolist(), ["yes"] * 200, scores=np.column_stack([1 - top, top]))
    one = by_name(Calibration().summarise(rows, ctx))
    two = by_name(Calibration().summarise(rows.take(rng.permutation(200)), ctx))
    for name, m in one.items():
        found = two[name]
        assert (m.value, m.interval.low, m.interval.high) == pytest.approx(
            (found.value, found.interval.low, found.interval.high)
        )


def test_bins_hold_equal_numbers_and_never_split_ties():
    right = np.ones(300, dtype=bool)
    even = equal_mass(np.linspace(0.5, 1, 300), right, 15)
    assert even.right.denominators.tolist() == [20] * 15
    tied = equal_mass(np.repeat([0.5, 0.8, 1.0], 100), right, 15)
    assert tied.right.denominators.tolist() == [100, 100, 100]
    assert tied.confidence == pytest.approx([0.5, 0.8, 1.0])


def test_without_labels_or_scores_undefined(table, ctx):
    for rows in (
        table(["no", "yes"], ["no", "yes"], scores=None),
        table([None, None], ["no", "yes"]),
        table(["no", "yes"], ["no", "yes"], scores=np.full((2, 2), np.nan)),
    ):
        found = Calibration().summarise(rows, ctx).measurements
        assert len(found) == 4
        assert all(isinstance(m, Undefined) for m in found)


def test_rows_without_a_score_are_counted(table, ctx):
    scores = np.array([[0.2, 0.8]] * 5 + [[np.nan, 0.5]])
    reading = Calibration().summarise(table(["yes"] * 6, ["yes"] * 6, scores=scores), ctx)
    assert by_name(reading)["log_loss"].counts.denominator == 5
    assert any("1 labelled rows have no score" in str(r) for r in reading.remarks)


def test_curve_shows_every_bin(table, ctx):
    rng = np.random.default_rng(2)
    top = rng.uniform(0.5, 1, 300)
    labels = np.where(rng.random(300) < top, "yes", "no").tolist()
    reading = Calibration(bins=10).summarise(table(labels, ["yes"] * 300, scores=np.column_stack([1 - top, top])), ctx)
    curve = next(e for e in reading.evidence if isinstance(e, Curve))
    assert curve.diagonal
    assert [p.n for p in curve.series[0].points] == [30] * 10


def test_bins_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        Calibration(bins=0)


@pytest.mark.parametrize("size", [1, 2, 15])
def test_noise_quantile_against_draws(size):
    rng = np.random.default_rng(3)
    scales = rng.uniform(0.2, 1, size)
    drawn = np.abs(rng.normal(size=(200_000, size)) * scales).sum(axis=1)
    for tail in (0.05, 0.025, 0.005):
        assert noise_quantile(scales, tail) == pytest.approx(np.quantile(drawn, 1 - tail), rel=0.025)


TRUTHS = {
    "calibrated": lambda c: c,
    "over-confident": lambda c: c - 0.1,
    "only when sure": lambda c: np.where(c > 0.75, c - 0.15, c),
}


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize("n", [150, 2000])
def test_calibration_error_covers(name, n):
    """Against the error of the very bins used; debiasing brings the mean nearer, most where the bias is."""
    rng, reps = np.random.default_rng(len(name) + n), 300
    low = high = 0
    plain, debiased = [], []
    for _ in range(reps):
        confidence = rng.uniform(0.5, 1, n)
        chance = TRUTHS[name](confidence)
        sheet = equal_mass(confidence, rng.random(n) < chance, 15)
        edges = np.unique(np.quantile(confidence, np.arange(1, 15) / 15, method="inverted_cdf"))
        place = np.searchsorted(edges, confidence)
        truth = np.abs(np.bincount(place, weights=confidence - chance)).sum() / n
        e = calibration_error(sheet, 0.025)
        low += e.low > truth + 1e-9
        high += e.high < truth - 1e-9
        plain.append(float(e.params["plain"]) - truth)
        debiased.append(e.value - truth)
    assert max(low, high) / reps <= 0.05
    assert abs(np.mean(debiased)) < abs(np.mean(plain)) + 3e-3
    # A normal interval around the plain figure claims miscalibration where there is none.
    if name == "calibrated":
        assert np.mean(debiased) < 0.7 * np.mean(plain)
        assert np.mean(np.array(plain) - 1.96 * np.std(plain) > 0) > 0.5
