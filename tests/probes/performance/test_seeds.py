"""Accuracy over seeds against figures worked out by hand, and what few members leave untold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from probes.errors import ProbeError
from probes.evidence import IntervalPlot, Measurement, Need, Undefined
from probes.fake_subject import FakeSubject
from probes.probe import Context
from probes.registry import create

LABELS = ["yes"] * 5 + ["no"] * 5


class Several(FakeSubject):
    """The shipped fake with members; ``wrong`` says how many rows each answers wrongly."""

    def __init__(self, wrong: list[int], labels: list[str | None] | None = None) -> None:
        truth = np.array([[0.0, 1.0]] * 5 + [[1.0, 0.0]] * 5)
        known = LABELS if labels is None else labels
        alone = []
        for count in wrong:
            scores = truth.copy()
            scores[:count] = scores[:count, ::-1]
            alone.append(scores)
        super().__init__(np.mean(alone, axis=0), ("no", "yes"), labels=known)
        self.members = {f"seed-{i}": FakeSubject(s, ("no", "yes"), labels=known) for i, s in enumerate(alone)}
        self.offers |= {Need.MEMBERS}


def read(subject: Several, level: float = 0.95):
    ctx = Context(instance="seeds", level=level)
    probe = create("performance.seeds", {})
    reading = probe.summarise(probe.collect(subject, ctx), ctx)
    return {(m.name, m.slice[0].value if m.slice else ""): m for m in reading.measurements}, reading


def test_by_hand():
    found, reading = read(Several([1, 2, 6]))
    shares = [0.9, 0.8, 0.4]
    mean = found["mean_accuracy", ""]
    assert mean.value == pytest.approx(0.7)
    half = stats.t.ppf(0.975, 2) * math.sqrt(((0.2) ** 2 + 0.1**2 + 0.3**2) / 2 / 3)
    assert half > 0.3
    assert mean.interval.low == pytest.approx(0.7 - half)
    assert mean.interval.high == 1.0
    assert mean.interval.method.params == {"members": 3}
    assert found["lowest_accuracy", ""].value == 0.4
    assert found["highest_accuracy", ""].value == 0.9
    # Two of three are right in row 1, one of three in rows 2 to 5 of the first six: the mean names the majority.
    assert found["ensemble_accuracy", ""].value == 0.8
    assert [found["member_accuracy", f"seed-{i}"].value for i in range(3)] == shares
    plot = reading.evidence[0]
    assert isinstance(plot, IntervalPlot)
    assert [str(p.label) for p in plot.points] == ["seed-0", "seed-1", "seed-2", "ensemble"]
    assert "0.265" in reading.remarks[-1].fill()


def test_the_extremes_pay_for_being_picked():
    found, _ = read(Several([1, 2, 6]))
    at_once, _ = read(Several([1, 2, 6]), level=1 - 0.05 / 3)
    lowest, alone = found["lowest_accuracy", ""], at_once["member_accuracy", "seed-2"]
    assert lowest.interval.low == pytest.approx(alone.interval.low)
    assert lowest.interval.high == pytest.approx(alone.interval.high)
    assert lowest.interval.level == 0.95
    assert lowest.interval.low < found["member_accuracy", "seed-2"].interval.low


def test_two_members_have_no_mean():
    found, _ = read(Several([1, 2]))
    assert isinstance(found["mean_accuracy", ""], Undefined)
    assert "2 members" in found["mean_accuracy", ""].reason.fill()
    assert isinstance(found["lowest_accuracy", ""], Measurement)


def test_members_that_agree_leave_an_interval_without_width():
    found, reading = read(Several([2, 2, 2]))
    assert found["mean_accuracy", ""].interval.degenerate
    assert "not certainty" in reading.remarks[-1].fill()


def test_rows_without_a_label_do_not_count():
    found, _ = read(Several([1, 2, 6], [None, *LABELS[1:]]))
    assert [found["member_accuracy", f"seed-{i}"].value for i in range(3)] == pytest.approx([1, 8 / 9, 4 / 9])
    assert found["mean_accuracy", ""].counts.denominator == 9
    nothing, _ = read(Several([1, 2, 6], [None] * 10))
    assert len(nothing) == 4
    assert all(isinstance(m, Undefined) for m in nothing.values())


def test_the_order_of_members_does_not_matter():
    first, _ = read(Several([1, 2, 6]))
    second, _ = read(Several([6, 1, 2]))
    for name in ("mean_accuracy", "lowest_accuracy", "highest_accuracy", "ensemble_accuracy"):
        assert first[name, ""].value == pytest.approx(second[name, ""].value)
        assert first[name, ""].interval.low == pytest.approx(second[name, ""].interval.low)


def test_takes_no_options():
    with pytest.raises(ProbeError):
        create("performance.seeds", {"members": 3})
