"""Comparing two runs: pairing, an interval that covers, and refusals with a reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from audit.baselines import compare_for
from audit.moving import BOUNDS, JACKKNIFE, p_value
from audit.pairing import Run, pair
from probes import registry
from probes.evidence import (
    Counts,
    Interval,
    MeasureDefinition,
    Measurement,
    Method,
    Need,
    Reading,
    message,
)
from probes.registry import probe
from reports.record import (
    AuditRecord,
    Comparison,
    DataCard,
    Finding,
    NoComparison,
    PlannedProbe,
    Policy,
    RowsRef,
    SubjectCard,
)

DEFINES = (
    MeasureDefinition(name="share_right", formula=message("f"), better="higher", unit="share"),
    MeasureDefinition(name="worst", formula=message("f"), better="higher", unit="share", smooth=False),
    MeasureDefinition(name="plain", formula=message("f")),
)


ID = "performance.share_right_for_tests"


@dataclass(frozen=True, kw_only=True)
class ShareRight:
    """How many are right?"""

    def collect(self, subject, ctx):
        raise NotImplementedError

    def summarise(self, rows, ctx):
        right = rows["right"].to_numpy()
        n, value = len(right), float(right.mean())
        half = stats.norm.ppf((1 + ctx.level) / 2) * np.sqrt(value * (1 - value) / n)
        interval = Interval(low=value - half, high=value + half, level=ctx.level, method=Method(name="wald"))
        counts = Counts(n=n, denominator=n, smallest=n)
        return Reading(
            measurements=tuple(
                Measurement(name=d.name, value=value, interval=interval, counts=counts, better=d.better, unit=d.unit)
                for d in DEFINES
            )
        )


@pytest.fixture(autouse=True, scope="module")
def _registered():
    probe(ID, needs={Need.PREDICTIONS}, defines=DEFINES)(ShareRight)
    yield
    registry._PROBES.pop(ID)


def run_of(rows, digest="a", data="d"):
    info = registry.find(ID).info
    finding = Finding(
        instance="p",
        info=info,
        status="measured",
        seed=1,
        reading=ShareRight().summarise(rows, type("C", (), {"level": 0.95})),
        rows=RowsRef(path="evidence/p/rows.parquet", sha256="0" * 64, rows=rows.num_rows),
    )
    record = AuditRecord(
        plumbline="0",
        name="t",
        seed=1,
        level=0.95,
        subject=SubjectCard(kind="k", name="m", digest=digest * 64, task="t", classes=("a", "b")),
        data=DataCard(name="d", digest=data * 64, rows=rows.num_rows, roles={}, labels={}),
        planned=(PlannedProbe(instance="p", info=info),),
        findings=(finding,),
    )
    return Run(record=record, rows_of=lambda _: rows)


def table(right, *, start=0, cluster=None, label="x"):
    n = len(right)
    columns = {
        "row_id": [f"r{i + start}" for i in range(n)],
        "label": [label] * n,
        "right": [bool(r) for r in right],
        "content": [f"c{i + start}" for i in range(n)],
    }
    if cluster is not None:
        columns["cluster"] = [str(c) for c in cluster]
    return pa.table(columns)


def policy(**rule):
    body = {"id": "r", "measure": "p:share_right", "baseline": "main", "max_drop": 0.01, **rule}
    return Policy.model_validate({"name": "p", "version": 1, "owner": "o", "rules": [body]})


def compared(now, then, **rule):
    (out,) = compare_for(policy(**rule), now, {"main": then})
    return out


def test_the_value_is_the_paired_difference_and_drop_is_in_the_worse_direction():
    rng = np.random.default_rng(0)
    then, now = rng.random(500) < 0.9, rng.random(500) < 0.8
    shuffled = table(then).take(rng.permutation(500))
    found = compared(run_of(table(now), "b"), run_of(shuffled))
    assert isinstance(found, Comparison)
    assert found.paired
    assert found.difference == pytest.approx(now.mean() - then.mean())
    assert found.drop == -found.difference
    assert found.drop_interval.low < found.drop < found.drop_interval.high


def test_only_common_rows_count():
    now, then = table([True] * 60 + [False] * 40), table([True] * 100, start=50)
    found = compared(run_of(now, "b"), run_of(then))
    assert found.counts.n == 50
    assert (found.value, found.baseline_value) == (0.2, 1.0)


def test_the_interval_covers_and_would_show_one_that_is_too_narrow():
    rng = np.random.default_rng(3)
    hits, narrow, reps, n = 0, 0, 150, 300
    for _ in range(reps):
        easy = rng.random(n) < 0.5
        then = rng.random(n) < np.where(easy, 0.95, 0.6)
        now = np.where(rng.random(n) < 0.7, then, rng.random(n) < np.where(easy, 0.9, 0.5))
        true = 0.3 * ((0.95 + 0.6) / 2 - (0.9 + 0.5) / 2)
        found = compared(run_of(table(now), "b"), run_of(table(then)))
        interval = found.drop_interval
        hits += interval.low <= true <= interval.high
        narrow += abs(found.drop - true) <= (interval.high - interval.low) / 4
    assert hits / reps >= 0.90
    assert narrow / reps < 0.85


def test_clusters_widen_the_interval():
    rng = np.random.default_rng(5)
    kinds = np.repeat(np.arange(40), 10)
    then = np.ones(400, bool)
    now = np.repeat(rng.random(40) < 0.8, 10)
    loose = compared(run_of(table(now), "b"), run_of(table(then))).drop_interval
    tied = compared(run_of(table(now, cluster=kinds), "b"), run_of(table(then, cluster=kinds))).drop_interval
    assert tied.high - tied.low > 2 * (loose.high - loose.low)


def test_no_discordant_pair_still_leaves_doubt_unless_the_subject_is_the_same():
    rows = table([True] * 90 + [False] * 10)
    found = compared(run_of(rows, "b"), run_of(rows, "a"))
    z2 = stats.norm.ppf(0.975) ** 2
    assert found.drop == 0
    assert found.drop_interval.high == pytest.approx(z2 / (100 + z2))
    assert compared(run_of(rows, "a"), run_of(rows, "a")).drop_interval is None


def test_extremes_are_compared_by_both_intervals():
    now, then = run_of(table([True] * 80 + [False] * 20), "b"), run_of(table([True] * 90 + [False] * 10))
    found = compared(now, then, measure="p:worst")
    assert "bonferroni" in found.drop_interval.method.name
    assert found.drop_interval.low < 0.1 < found.drop_interval.high


@pytest.mark.parametrize(
    ("now", "then", "rule", "words"),
    [
        (table([True] * 9), table([True] * 9, start=100), {}, "no rows in common"),
        (table([True] * 9), table([True] * 9, label="y"), {}, "other labels"),
        (table([True] * 9), table([True] * 9), {"measure": "p:plain"}, "no better or worse"),
    ],
)
def test_what_cannot_be_compared_says_why(now, then, rule, words):
    found = compared(run_of(now, "b"), run_of(then), **rule)
    assert isinstance(found, NoComparison)
    assert not found.missing
    assert words in str(found.reason)


def test_unpaired_is_possible_where_the_policy_allows_it():
    now, then = run_of(table([True, False] * 50), "b"), run_of(table([True, False] * 50, start=500))
    found = compared(now, then, unpaired="allow")
    assert not found.paired
    assert found.drop == 0


def test_a_baseline_nobody_gave_is_missing():
    (found,) = compare_for(policy(), run_of(table([True] * 9)), {})
    assert found.missing


def test_pairing_falls_back_to_content_and_uses_each_row_once():
    mine = pa.table({"content": ["x", "y", "x"], "label": ["a", "b", "a"]})
    theirs = pa.table({"content": ["x", "z", "y"], "label": ["a", "a", "b"]})
    found = pair(mine, theirs)
    assert (found.first.tolist(), found.second.tolist()) == ([0, 1], [0, 2])


def test_every_row_that_a_probe_keeps_of_an_input_is_compared():
    """A probe that looks at each input twice keeps two rows of it; none of them may be dropped in silence."""
    rng = np.random.default_rng(0)
    then, now = rng.random(200) < 0.9, rng.random(200) < 0.7
    twice = [f"r{i // 2}" for i in range(200)]
    rows, older = (pa.table({"row_id": twice, "right": [bool(r) for r in right]}) for right in (now, then))
    found = compared(run_of(rows, "b"), run_of(older.take(rng.permutation(200))))
    assert found.counts.n == 200
    assert found.difference == pytest.approx(now.mean() - then.mean())


def test_rows_of_one_input_may_differ_in_number():
    rows = pa.table({"row_id": ["a", "a", "b", "c"], "right": [True, True, False, True]})
    older = pa.table({"row_id": ["b", "c", "c", "z"], "right": [True, True, False, True]})
    pairs = pair(rows, older)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([2, 3], [0, 1, 2])
    assert (pairs.units.tolist(), pairs.older_units.tolist()) == ([0, 1], [0, 1, 1])


def test_a_p_value_agrees_with_its_interval():
    """At the level at which the interval just touches 0 the p-value is the error of that level, for both methods."""
    for method in (Method(name=JACKKNIFE, params={"groups": 50}), Method(name=BOUNDS, params={})):
        touching = Interval(low=0.0, high=0.2, level=0.95, method=method)
        assert p_value(0.1, touching) == pytest.approx(0.05)
        assert p_value(-0.1, touching.model_copy(update={"low": -0.2, "high": 0.0})) == pytest.approx(0.05)
        assert p_value(0.1, touching.model_copy(update={"low": 0.01, "high": 0.19})) < 0.05
        assert p_value(0.1, touching.model_copy(update={"low": -0.01, "high": 0.21})) > 0.05
    assert p_value(0.1, None) is None
    assert p_value(0.1, touching.model_copy(update={"low": None})) is None
    assert p_value(0.0, touching.model_copy(update={"low": 0.0, "high": 0.0})) is None
