"""The randomisation check against figures worked out by hand, on maps that do or do not follow the model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from probes.engines.captum.explainer import Attribution, Encoded
from probes.errors import ProbeError
from probes.evidence import Curve, IntervalPlot, Need, Table, Undefined, message
from probes.explanation.sanity_reading import rank_correlation
from probes.fake_subject import FakeSubject
from probes.probe import Context
from probes.registry import create

STAGES = ("head", "layer 1", "layer 0", "embeddings")


@dataclass(frozen=True)
class Destroyed:
    """Maps of a model that is whole (``depth`` 0) or drawn anew through some stages.

    integrated_gradients forgets its map at the first stage; input_x_gradient only turns its signs round; saliency weighs all
    units alike, whatever the model is; relevance keeps its map until the embeddings go.
    """

    depth: int = 0
    seed: int = 0
    classes: tuple[str, ...] = ("no", "yes")
    stages: tuple[str, ...] = STAGES
    kind: str = "text"
    absent: object = message("nothing")
    seen: list[tuple[str, int]] = field(default_factory=list)

    def encode(self, inputs):
        return [Encoded(units=tuple(t.split()), spans=(), key=hashlib.sha256(t.encode()).hexdigest()) for t in inputs]

    def check(self, method):
        return None

    def randomised(self, through, seed):
        self.seen.append((through, seed))
        return Destroyed(depth=STAGES.index(through) + 1, seed=seed)

    def attribute(self, encoded, targets, method, ctx):
        out = []
        for one, target in zip(encoded, targets, strict=True):
            plain = _map(one, 0)
            broken = _map(one, self.seed + 1 if self.depth else 0)
            weights = {
                "integrated_gradients": broken,
                "input_x_gradient": -plain if self.depth else plain,
                "saliency": np.ones(len(plain)),
                "relevance": broken if self.depth == len(STAGES) else plain,
            }[method]
            out.append(Attribution(weights=weights, target=target, error=None, evaluations=1, converged=None))
        return out


def _map(one, seed):
    return np.random.default_rng([int(one.key[:8], 16), seed]).normal(size=len(one.units))


def subject_of(count, units=12, clusters=None):
    texts = [" ".join(f"w{i}x{u}" for u in range(units)) for i in range(count)]
    made = FakeSubject(
        np.tile([0.2, 0.8], (count, 1)), ("no", "yes"), labels=["yes"] * count, inputs=texts,
        roles={} if clusters is None else {"cluster": clusters},
    )  # fmt: skip
    made.offers |= {Need.GRADIENTS, Need.WEIGHTS}
    return made


@pytest.fixture
def ask(monkeypatch):
    def run(count=30, options=None, *, subject=None):
        explainer = Destroyed()
        monkeypatch.setattr("probes.engines.captum.explainer.open_explainer", lambda subject, ctx: explainer)
        every = ["integrated_gradients", "input_x_gradient", "saliency", "relevance"]
        probe = create("explanation.sanity", {"methods": every, "examples": 1000, **(options or {})})
        ctx = Context(instance="sane", seed=3)
        rows = probe.collect(subject or subject_of(count), ctx)
        return rows, probe.summarise(rows, ctx), explainer

    return run


def find(reading, name, method, stage=None):
    wanted = [("method", method), *([] if stage is None else [("stage", stage)])]
    return next(m for m in reading.measurements if m.name == name and [(a.name, a.value) for a in m.slice] == wanted)


def test_rank_correlation_by_hand():
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 99.0])) == 1.0
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == -1.0
    # Differences of ranks 1, 1, 2, 0 ... : 1 - 6 * 6 / (4 * 15).
    assert rank_correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.0, 4.0, 3.0])) == pytest.approx(
        1 - 24 / 60
    )
    flat = np.ones(5)
    assert rank_correlation(flat, 7 * flat) == 1.0
    assert rank_correlation(flat, np.arange(5.0)) == 0.0


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=20))
def test_rank_correlation_is_spearmans(pairs):
    one, other = (np.array(values, dtype=np.float64) for values in zip(*pairs, strict=True))
    if np.ptp(one) and np.ptp(other):
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
        order = np.random.default_rng(0).permutation(len(one))
        assert rank_correlation(one[order], other[order]) == pytest.approx(rank_correlation(one, other))


def test_maps_that_follow_the_model_pass_and_those_that_do_not_fail(ask):
    _, reading, _ = ask()
    table = next(e for e in reading.evidence if isinstance(e, Table))
    said = {row[0].fill(): row[1].fill().partition(":")[0] for row in table.rows}
    # Relevance keeps its map until the embeddings go: it changes too late.
    assert list(said.values()) == ["yes", "no", "no", "no"]
    # A map that is only turned round is the same map; its signed correlation shows which.
    assert find(reading, "stage_correlation", "input_x_gradient", "head").value == pytest.approx(1.0)
    assert find(reading, "stage_correlation_signed", "input_x_gradient", "head").value == pytest.approx(-1.0)
    followed = find(reading, "randomised_correlation", "integrated_gradients")
    assert abs(followed.value) < 0.3
    assert followed.interval.high < 0.6
    remarks = [r.fill() for r in reading.remarks if "not to be believed" in r.fill()]
    assert len(remarks) == 3
    assert any("saliency" in r for r in remarks)


def test_the_highest_stop_pays_for_being_picked(ask):
    _, reading, _ = ask(20, {"stages": 4, "methods": ["integrated_gradients"]})
    stops = [find(reading, "stage_correlation", "integrated_gradients", stage) for stage in STAGES]
    highest = find(reading, "randomised_correlation", "integrated_gradients")
    assert highest.value == max(m.value for m in stops)
    assert highest.interval.high == max(m.interval.high for m in stops)
    assert highest.interval.low < max(m.interval.low for m in stops)


def test_a_map_without_order_fails_with_an_interval_that_can_be_ruled_on(ask):
    _, reading, _ = ask(24)
    constant = find(reading, "randomised_correlation", "saliency")
    assert constant.value == 1.0
    assert not constant.interval.degenerate
    assert constant.interval.low > 0.6
    assert constant.better == "lower"


def test_the_cascade_goes_from_the_head_down(ask):
    rows, reading, explainer = ask(12, {"stages": 3, "draws": 2})
    stops = list(dict.fromkeys(stage for stage, _ in explainer.seen))
    assert stops == ["head", "layer 0", "embeddings"] or stops == ["head", "layer 1", "embeddings"]
    assert len({seed for _, seed in explainer.seen}) == 2
    # Relevance stands until the embeddings are drawn anew.
    assert find(reading, "stage_correlation", "relevance", stops[1]).value == 1.0
    assert find(reading, "stage_correlation", "relevance", "embeddings").value < 0.5
    curve = next(e for e in reading.evidence if isinstance(e, Curve))
    assert [p.x for p in curve.series[0].points] == sorted(set(rows["depth"].to_pylist()))
    plot = next(e for e in reading.evidence if isinstance(e, IntervalPlot))
    assert plot.reference == 0.6


def test_one_stop_is_the_whole_model(ask):
    rows, _, _ = ask(4, {"stages": 1, "draws": 1})
    assert set(rows["stage"].to_pylist()) == {"embeddings"}
    assert set(ask(4, {"stages": 99})[0]["stage"].to_pylist()) == set(STAGES)


def test_inputs_are_dealt_evenly_among_the_destroyed_models(ask):
    rows, _, _ = ask(10, {"draws": 2, "stages": 1, "methods": ["saliency"]})
    assert sorted(rows["draw"].to_pylist()) == [0] * 5 + [1] * 5
    again, _, _ = ask(10, {"draws": 2, "stages": 1, "methods": ["saliency"]})
    assert rows.equals(again)


def test_the_order_of_rows_plays_no_part(ask):
    rows, reading, _ = ask(9)
    probe = create("explanation.sanity", {"methods": ["integrated_gradients"]})
    shuffled = rows.take(np.random.default_rng(1).permutation(len(rows)))
    assert probe.summarise(shuffled, Context(instance="sane", seed=3)) == reading


def test_short_inputs_are_left_out_and_counted(ask):
    _, reading, _ = ask(subject=subject_of(5, units=2))
    assert reading.measurements
    assert all(isinstance(m, Undefined) for m in reading.measurements)
    assert any("5 drawn inputs have fewer than 3 units" in r.fill() for r in reading.remarks)


def test_clusters_are_what_counts(ask):
    alone = find(ask(12)[1], "randomised_correlation", "integrated_gradients")
    few = find(
        ask(subject=subject_of(12, clusters=[f"c{i % 3}" for i in range(12)]))[1],
        "randomised_correlation", "integrated_gradients",
    )  # fmt: skip
    assert few.value == pytest.approx(alone.value)
    assert few.counts.clusters == 3
    assert few.interval.high > alone.interval.high


@pytest.mark.parametrize("options", [{"examples": 1}, {"stages": 0}, {"draws": 0}, {"limit": 1.0}, {"limit": 0.0}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ProbeError):
        create("explanation.sanity", options)
