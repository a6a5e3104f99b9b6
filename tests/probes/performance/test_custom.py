"""A measure of one's own: both kinds of function, their intervals, and what cannot be measured."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

import audit
from probes import registry
from probes.errors import ProbeError
from probes.evidence import Measurement, ProbeInfo, Undefined
from probes.intervals import mean_interval, wilson
from probes.probe import Context
from probes.registry import create, find, source_digest


@pytest.fixture(autouse=True)
def registered():
    """What a test registers goes when it ends."""
    registry.discover()
    before = dict(registry._PROBES)
    yield
    registry._PROBES.clear()
    registry._PROBES.update(before)


def measured(name, rows, ctx):
    reading = create(f"performance.{name}", {}).summarise(rows, ctx)
    return reading.measurements[0], reading


def answers_of(seed: int = 0, n: int = 200, classes=("no", "yes")):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n)
    said = np.where(rng.random(n) < 0.75, labels, rng.choice(classes, n))
    return labels, said, rng


def test_numbers_by_row_give_their_mean_with_a_t_interval(table, ctx):
    @audit.metric("cost", better="lower", low=0, unit="euro")
    def cost(labels, predictions, scores):
        """5 for a wrong yes, 20 for a wrong no."""
        return np.where(labels == predictions, 0, np.where(predictions == "yes", 5, 20))

    labels, said, _rng = answers_of()
    cluster = [f"c{i // 5}" for i in range(200)]
    m, _reading = measured("cost", table(labels.tolist(), said.tolist(), cluster=cluster), ctx)
    values = np.where(labels == said, 0.0, np.where(said == "yes", 5.0, 20.0))
    expected = mean_interval(values, 0.95, np.arange(200) // 5, (0, np.inf))
    assert m.value == values.mean()
    assert (m.interval.low, m.interval.high) == pytest.approx((expected.low, expected.high))
    assert (m.unit, m.better, m.counts.denominator, m.counts.clusters) == ("euro", "lower", 200, 40)
    assert find("performance.cost").info.defines[0].formula.fill() == "5 for a wrong yes, 20 for a wrong no."


def test_yes_or_no_by_row_is_a_proportion(table, ctx):
    audit.metric("hit", better="higher")(lambda labels, predictions, scores: labels == predictions)
    labels, said, _ = answers_of()
    m, _ = measured("hit", table(labels.tolist(), said.tolist()), ctx)
    low, high = wilson((labels == said).mean(), 200, 1.959964)
    assert (m.interval.low, m.interval.high) == pytest.approx((float(low), float(high)), abs=1e-6)


def test_one_number_has_a_bootstrap_that_agrees_with_the_t_interval_of_a_mean(table, ctx):
    """The same quantity twice: by row, and as one number."""
    audit.metric("by_row", better="higher")(lambda labels, predictions, scores: scores["yes"])
    audit.metric("at_once", better="higher")(lambda labels, predictions, scores: float(np.mean(scores["yes"])))
    labels, said, rng = answers_of(n=300)
    top = rng.beta(2, 3, 300)
    for cluster in (None, [f"c{i // 6}" for i in range(300)]):
        rows = table(labels.tolist(), said.tolist(), scores=np.column_stack([1 - top, top]), cluster=cluster)
        (a, _), (b, _) = measured("by_row", rows, ctx), measured("at_once", rows, ctx)
        assert a.value == pytest.approx(b.value)
        assert b.interval.monte_carlo_error > 0
        # Clusters here are no alike; the t interval never goes below that of independent rows, the bootstrap may.
        slack = 6 * b.interval.monte_carlo_error + 0.15 * (a.interval.high - a.interval.low)
        assert b.interval.low == pytest.approx(a.interval.low, abs=slack)
        assert b.interval.high == pytest.approx(a.interval.high, abs=slack)


def test_order_of_rows_does_not_matter_and_the_seed_does(table, ctx):
    audit.metric("kappa", better="higher", low=-1, high=1)(
        lambda labels, predictions, scores: cohen_kappa_score(labels, predictions)
    )
    labels, said, _ = answers_of()
    rows = table(labels.tolist(), said.tolist())
    m, reading = measured("kappa", rows, ctx)
    assert m.value == pytest.approx(cohen_kappa_score(labels, said))
    assert m.interval.low < m.value < m.interval.high
    shuffled = rows.take(np.random.default_rng(1).permutation(len(rows)))
    assert measured("kappa", shuffled, ctx)[1] == reading
    assert measured("kappa", rows, Context(instance="other", seed=7))[0].interval != m.interval


def test_coverage_of_the_bootstrap(table):
    """The share of wrong answers among those said yes, in 60 tables of 80 rows."""
    audit.metric("false_discovery", better="lower")(
        lambda labels, predictions, scores: float(np.mean(labels[predictions == "yes"] == "no"))
    )
    registry_probe = create("performance.false_discovery", {})
    covered, tables = 0, 60
    for seed in range(tables):
        rng = np.random.default_rng(seed)
        labels = np.where(rng.random(80) < 0.6, "yes", "no")
        m = registry_probe.summarise(
            table(labels.tolist(), ["yes"] * 80), Context(instance="c", seed=seed)
        ).measurements[0]
        covered += m.interval.low <= 0.4 <= m.interval.high
    assert covered >= 51  # fewer than 1 in 1,000 where coverage is 95 %


def test_what_has_no_value_is_undefined_and_said(table, ctx):
    def some(labels, predictions, scores):
        return np.where(labels == "yes", 0.5, np.nan)

    audit.metric("some", better="neither")(some)
    m, reading = measured("some", table(["yes", "no", "yes", None], ["no"] * 4), ctx)
    assert (m.value, m.counts.n, m.counts.denominator) == (0.5, 3, 2)
    assert any("1 rows have no value of some" in str(r) for r in reading.remarks)
    assert isinstance(measured("some", table(["no", "no"], ["no"] * 2), ctx)[0], Undefined)
    assert isinstance(measured("some", table([None, None], ["no"] * 2), ctx)[0], Undefined)
    audit.metric("never", better="neither")(lambda labels, predictions, scores: float("nan"))
    assert isinstance(measured("never", table(["no", "no"], ["no"] * 2), ctx)[0], Undefined)

    audit.metric("fragile", better="neither")(
        lambda labels, predictions, scores: 1.0 if "yes" in labels else float("nan")
    )
    m, _ = measured("fragile", table(["yes", *["no"] * 9], ["no"] * 10), ctx)
    assert isinstance(m, Undefined)
    assert "of 1000 samples" in str(m.reason)


@pytest.mark.parametrize("said", ["text", [1.0, 2.0], float("inf"), None])
def test_what_is_no_number_is_refused_by_name(table, ctx, said):
    audit.metric("odd", better="neither")(lambda labels, predictions, scores: said)
    with pytest.raises(ProbeError, match="function of odd returned"):
        measured("odd", table(["no", "yes", "no"], ["no"] * 3), ctx)


def test_a_changed_function_replaces_the_old_one_and_changes_the_digest(table, ctx):
    def define(factor):
        if factor == 1:

            @audit.metric("draft", better="neither")
            def draft(labels, predictions, scores):
                return 1.0
        else:

            @audit.metric("draft", better="neither")
            def draft(labels, predictions, scores):
                return 2.0

        return find("performance.draft")

    first, second = define(1), define(2)
    assert source_digest(first) != source_digest(second)
    assert measured("draft", table(["no", "yes"], ["no"] * 2), ctx)[0].value == 2.0
    info = second.info
    assert info.asks.text.endswith("?")
    assert info.limits
    assert ProbeInfo.model_validate_json(info.model_dump_json()) == info
    assert find("performance.draft").own_source[:8] in str(info.method)


def test_a_taken_or_malformed_name_is_refused():
    with pytest.raises(ProbeError, match=r"performance\.calibration"):
        audit.metric("calibration", better="lower")(lambda labels, predictions, scores: 0.0)
    with pytest.raises(ProbeError, match="Not This"):
        audit.metric("Not This", better="lower")(lambda labels, predictions, scores: 0.0)


def test_from_function_to_verified_bundle(tmp_path):
    import pandas as pd

    from audit.verify import verify

    @audit.metric("kappa_here", better="higher")
    def kappa(labels, predictions, scores):
        return cohen_kappa_score(labels, predictions)

    labels, said, _ = answers_of()
    frame = pd.DataFrame({"label": labels, "prediction": said})
    result = audit.run(
        frame, probes={"kappa": {"probe": "performance.kappa_here"}}, out=tmp_path / "run", progress=False
    )
    figure = result.record.finding("kappa").reading.measurements[0]
    assert isinstance(figure, Measurement)
    assert verify(tmp_path / "run").ok
    del registry._PROBES["performance.kappa_here"]
    report = verify(tmp_path / "run")
    assert any("performance.kappa_here" in p for p in report.problems)
