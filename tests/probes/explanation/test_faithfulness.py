"""Faithfulness against figures worked out by hand, on models that add up and so have one right ranking."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.engines.captum.explainer import Attribution, Encoded
from probes.errors import ProbeError, Unavailable
from probes.evidence import Curve, IntervalPlot, Measurement, Need, Table, Undefined, message
from probes.explanation.erasure_figures import figures
from probes.fake_subject import FakeSubject
from probes.probe import Context
from probes.registry import create

GAINS = (0.3, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
BASE = 0.2


@dataclass
class Additive:
    """The probability of "yes" is a base and what each unit that is left adds; methods are named after what they do here.

    integrated_gradients knows the gains, input_x_gradient turns them round, saliency weighs all units alike, random draws.
    """

    gains: dict[str, tuple[float, ...]]
    classes: tuple[str, ...] = ("no", "yes")
    stages: tuple[str, ...] = ("head", "embeddings")
    kind: str = "text"
    absent: object = message("nothing")
    refuses: tuple[str, ...] = ()
    scored: list[int] = field(default_factory=list)

    def encode(self, inputs):
        return [
            Encoded(units=tuple(text.split()), spans=(), key=hashlib.sha256(text.encode()).hexdigest(), body=text)
            for text in inputs
        ]

    def check(self, method):
        return message("it is refused") if method in self.refuses else None

    def attribute(self, encoded, targets, method, ctx):
        out = []
        for one, target in zip(encoded, targets, strict=True):
            gains = np.array(self.gains[one.body], dtype=np.float64)[: len(one.units)]
            sign = 1 if target == 1 else -1
            weights = {
                "integrated_gradients": sign * gains,
                "input_x_gradient": -sign * gains,
                "saliency": np.ones(len(gains)),
                "random": np.random.default_rng(int(one.key[:8], 16)).normal(size=len(gains)),
            }[method]
            out.append(Attribution(weights=weights, target=target, error=None, evaluations=1, converged=None))
        return out

    def scores(self, encoded, keeps, ctx=None):
        out = []
        for one, keep in zip(encoded, keeps, strict=True):
            self.scored.append(len(keep))
            yes = BASE + keep @ np.array(self.gains[one.body], dtype=np.float64)[: len(one.units)]
            out.append(np.column_stack([1 - yes, yes]))
        return out


def subject_of(gains, *, labels=None, clusters=None, yes=None):
    """A subject whose texts are the keys of ``gains``."""
    texts = list(gains)
    sure = np.array([0.9] * len(texts) if yes is None else yes)
    roles = {} if clusters is None else {"cluster": clusters}
    made = FakeSubject(
        np.column_stack([1 - sure, sure]),
        ("no", "yes"),
        labels=labels or ["yes"] * len(texts),
        inputs=texts,
        roles=roles,
    )
    made.offers |= {Need.GRADIENTS, Need.WEIGHTS}
    return made


@pytest.fixture
def ask(monkeypatch):
    """Collects and summarises with a fake explainer in place of captum's."""

    def run(gains, options=None, *, subject=None, ctx=None, refuses=()):
        explainer = Additive(gains, refuses=refuses)
        monkeypatch.setattr("probes.engines.captum.explainer.open_explainer", lambda subject, ctx: explainer)
        probe = create("explanation.faithfulness", {"methods": ["integrated_gradients"], **(options or {})})
        held = ctx or Context(instance="faithful", seed=3)
        rows = probe.collect(subject or subject_of(gains), held)
        return rows, probe.summarise(rows, held), explainer

    return run


def texts_of(count, gains=GAINS, start=0):
    return {" ".join(f"w{i}x{u}" for u in range(len(gains))): tuple(gains) for i in range(start, start + count)}


def find(reading, name, method="integrated_gradients", **more):
    wanted = [("baseline", "random")] if method is None else [("method", method)]
    return next(
        m for m in reading.measurements
        if m.name == name and [(a.name, a.value) for a in m.slice if a.kind == "setting"] == wanted
        and all(a.name == more["target"] for a in m.slice if a.kind == "class")
    )  # fmt: skip


def test_by_hand(ask):
    rows, reading, _ = ask(texts_of(6), {"orders": 400, "methods": ["integrated_gradients", "input_x_gradient"]})
    # The best order loses .3 with its first unit (1, 5, 10 %), .5 with two (20 %), .6 with five (50 %).
    assert find(reading, "comprehensiveness").value == pytest.approx((0.3 * 3 + 0.5 + 0.6) / 5)
    # Its first unit alone lacks .3, two lack .1, five lack nothing.
    assert find(reading, "sufficiency").value == pytest.approx((0.3 * 3 + 0.1 + 0.0) / 5)
    # Fifths: 2, 4, 6, 8 and 10 units, and the whole input as the sixth step.
    assert find(reading, "aopc").value == pytest.approx((0.0 + 0.5 + 0.6 * 4) / 6)
    # Turned round, the five units that add nothing go before the others are reached.
    assert find(reading, "comprehensiveness", "input_x_gradient").value == pytest.approx(0.0)
    assert find(reading, "sufficiency", "input_x_gradient").value == pytest.approx(0.6)
    assert find(reading, "aopc", "input_x_gradient").value == pytest.approx((0.1 + 0.6 + 0.0) / 6, abs=0.2)
    # By chance each unit goes early as often as any other: a share k / 10 of .6 on average.
    assert find(reading, "comprehensiveness", None).value == pytest.approx(0.6 * (0.1 * 3 + 0.2 + 0.5) / 5, abs=0.01)
    assert find(reading, "sufficiency", None).value == pytest.approx(0.6 * (0.9 * 3 + 0.8 + 0.5) / 5, abs=0.01)
    assert find(reading, "aopc", None).value == pytest.approx(0.6 * (0.2 + 0.4 + 0.6 + 0.8 + 1.0) / 6, abs=0.01)
    over = find(reading, "comprehensiveness_over_random")
    gap = find(reading, "comprehensiveness").value - find(reading, "comprehensiveness", None).value
    assert over.value == pytest.approx(gap)
    assert over.interval.low > 0
    assert over.better == "higher"
    assert find(reading, "sufficiency_over_random").interval.high < 0
    assert find(reading, "sufficiency_over_random").better == "lower"
    assert rows["plain"].to_pylist() == pytest.approx([0.8] * len(rows))


def test_what_is_said_of_each_method(ask):
    _, reading, _ = ask(
        texts_of(8), {"methods": ["integrated_gradients", "input_x_gradient", "saliency"], "orders": 20}
    )
    table = next(e for e in reading.evidence if isinstance(e, Table))
    said = {row[0].fill(): row[1].fill() for row in table.rows[:-1]}
    assert [text.partition(":")[0] for text in said.values()] == ["yes", "no", "not shown"]
    assert table.rows[-1][0].fill() == "random rankings"
    remarks = " ".join(r.fill() for r in reading.remarks)
    assert "worse than chance: its maps are not to be believed" in remarks
    assert "not shown to rank units better than chance" in remarks
    plots = [e for e in reading.evidence if isinstance(e, IntervalPlot)]
    assert [p.reference for p in plots] == [0.0, 0.0]
    assert [p.label for p in plots[0].points] == ["integrated_gradients", "input_x_gradient", "saliency"]
    without, only = (e for e in reading.evidence if isinstance(e, Curve))
    assert [str(s.label) for s in without.series] == ["integrated_gradients", "input_x_gradient", "saliency", "random"]
    first = without.series[0].points
    assert (first[0].x, first[0].y) == (0.0, pytest.approx(0.8))
    assert (first[-1].x, first[-1].y) == (1.0, pytest.approx(BASE))
    assert (only.series[0].points[-1].x, only.series[0].points[-1].y) == (1.0, pytest.approx(0.8))


def test_a_random_method_is_no_better_than_random(ask):
    _, reading, _ = ask(texts_of(150), {"methods": ["random"]})
    for name in ("comprehensiveness_over_random", "sufficiency_over_random", "aopc_over_random"):
        interval = find(reading, name, "random").interval
        assert interval.low < 0 < interval.high


def test_the_target_is_the_predicted_class(ask):
    gains = {**texts_of(4), **texts_of(4, tuple(-g for g in GAINS), start=4)}
    subject = subject_of(gains, yes=[0.9] * 4 + [0.1] * 4)
    rows, reading, _ = ask(gains, {"orders": 50}, subject=subject)
    assert set(rows["target"].to_pylist()) == {"no", "yes"}
    # Both kinds lose as much of the class that is predicted.
    assert find(reading, "comprehensiveness").value == pytest.approx(0.4)
    for target in ("no", "yes"):
        part = find(reading, "class_comprehensiveness_over_random", target=target)
        assert part.counts.denominator == 4
        assert part.interval.low > 0


def test_clusters_are_what_counts(ask):
    gains = {}
    for i in range(12):
        gains |= texts_of(1, tuple(g * (1 + (i // 4)) / 3 for g in GAINS), start=i)
    alone = find(ask(gains)[1], "comprehensiveness")
    together = find(
        ask(gains, subject=subject_of(gains, clusters=[f"c{i // 4}" for i in range(12)]))[1], "comprehensiveness"
    )
    assert together.value == pytest.approx(alone.value)
    assert together.counts.clusters == 3
    assert together.interval.high - together.interval.low > 2 * (alone.interval.high - alone.interval.low)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**16))
def test_the_order_of_rows_and_of_units_plays_no_part(ask, seed):
    rng = np.random.default_rng(seed)
    gains = {}
    for i in range(5):
        gains |= texts_of(1, tuple(np.round(rng.permutation(12)[:7] / 100, 3)), start=i)
    rows, reading, _ = ask(gains, {"orders": 2})
    probe = create("explanation.faithfulness", {"methods": ["integrated_gradients"], "orders": 2})
    shuffled = rows.take(rng.permutation(len(rows)))
    assert probe.summarise(shuffled, Context(instance="faithful", seed=3)) == reading
    turned = {}
    for text, given_ in gains.items():
        order = rng.permutation(len(given_))
        turned[" ".join(text.split()[u] for u in order)] = tuple(given_[u] for u in order)
    other = ask(turned, {"orders": 2})[1]
    for name in ("comprehensiveness", "sufficiency", "aopc"):
        assert find(other, name).value == pytest.approx(find(reading, name).value)
        assert find(other, name).interval.low == pytest.approx(find(reading, name).interval.low)


def test_the_averages_against_a_loop(ask):
    rng = np.random.default_rng(5)
    gains = {}
    for i in range(6):
        gains |= texts_of(1, tuple(rng.uniform(0, 0.05, 9)), start=i)
    rows, _, _ = ask(gains, {"methods": ["integrated_gradients", "random"]})
    found = figures(rows, ("integrated_gradients", "random"))
    ids = sorted(set(rows["row_id"].to_pylist()))
    for t, row_id in enumerate(ids):
        for m, method in enumerate(("integrated_gradients", "random", "baseline")):
            mine = [r for r in rows.to_pylist() if r["row_id"] == row_id and r["method"] == method]
            orders = sorted({r["order"] for r in mine})
            slow = []
            for order in orders:
                bins = [r for r in mine if r["order"] == order and r["kind"] == "without" and r["bin"]]
                assert len(bins) == 5
                slow.append(np.mean([r["plain"] - r["probability"] for r in bins]))
            assert found.means["comprehensiveness"][t, m] == pytest.approx(np.mean(slow))


def test_inputs_without_units_are_left_out_and_counted(ask):
    gains = {**texts_of(4), " ": ()}
    rows, reading, _ = ask(gains)
    assert len(set(rows["row_id"].to_pylist())) == 4
    assert any("1 drawn inputs have no unit" in r.fill() for r in reading.remarks)
    assert find(reading, "comprehensiveness").counts.denominator == 4
    assert find(reading, "comprehensiveness").counts.n == 5


def test_a_method_that_is_asked_for_and_refused_has_no_figure(ask):
    _, reading, _ = ask(texts_of(4), {"methods": ["integrated_gradients", "relevance"]}, refuses=("relevance",))
    missing = find(reading, "comprehensiveness_over_random", "relevance")
    assert isinstance(missing, Undefined)
    assert missing.reason.fill() == "it is refused"
    assert isinstance(find(reading, "comprehensiveness_over_random"), Measurement)
    with pytest.raises(Unavailable, match="it is refused"):
        ask(texts_of(4), {"methods": ["relevance"]}, refuses=("relevance",))


def test_one_cluster_leaves_every_figure_undefined(ask):
    gains = texts_of(3)
    _, reading, _ = ask(gains, subject=subject_of(gains, clusters=["a", "a", "a"]))
    assert reading.measurements
    assert all(isinstance(m, Undefined) for m in reading.measurements)


def test_the_same_mask_is_asked_once(ask):
    _, _, explainer = ask({"one": (0.3,), "two words": (0.3, 0.1)}, {"methods": ["integrated_gradients", "saliency"]})
    # All units, none of them; and for two units each of them alone.
    assert sorted(explainer.scored) == [2, 4]


@pytest.mark.parametrize(
    "options", [{"examples": 1}, {"shares": []}, {"shares": [0.0]}, {"shares": [1.2]}, {"orders": 0}, {"steps": 1}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ProbeError):
        create("explanation.faithfulness", options)
