"""Two runs, one difference: is a measure worse than in a baseline, and how sure is that?

Rows are paired by id (with equal content) or by content. For a smooth measure the interval is the delete-a-group
jackknife over paired rows, in whole clusters, with a t quantile (Shao and Tu 1995, ch. 2); shares get at least the
half-width that no discordant pair at all would still leave, z^2 / (n + z^2). An extreme over groups has no honest
resampling interval, so there both runs' own intervals at half the error are set against each other (Bonferroni), which
holds paired or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.matching import matching_slices
from audit.restate import context_of, probe_of, reread
from probes.evidence import (
    AnyMeasurement,
    Counts,
    Interval,
    MeasureDefinition,
    Measurement,
    Message,
    Method,
    Slice,
    message,
    slice_name,
)
from reports.record import AuditRecord, Comparison, Finding, NoComparison, Policy, RowsRef, Rule

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

BLOCKS = 50
_KEYS = ("row_id", "unit_id")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A record with its rows at hand, and the policy that it was decided by, where that is known."""

    record: AuditRecord
    rows_of: Callable[[RowsRef], pa.Table]
    policy: Policy | None = None

    def rows(self, finding: Finding) -> pa.Table | None:
        return self.rows_of(finding.rows) if finding.rows else None


class Incomparable(Exception):
    """Two runs cannot be compared; carries the sentence that says why."""

    def __init__(self, reason: Message) -> None:
        super().__init__(str(reason))
        self.reason = reason


def compare_for(policy: Policy, run: Run, baselines: Mapping[str, Run]) -> tuple[Comparison | NoComparison, ...]:
    """Every comparison that the policy's rules ask for."""
    out: list[Comparison | NoComparison] = []
    for rule in policy.rules:
        if rule.baseline is None:
            continue
        base = baselines.get(rule.baseline)
        if base is None:
            reason = message("no baseline called {name} was given", name=rule.baseline)
            out.append(NoComparison(rule=rule.id, baseline=rule.baseline, missing=True, reason=reason))
            continue
        try:
            out += _Pairing(rule=rule, level=policy.level(rule), run=run, base=base).comparisons()
        except Incomparable as error:
            out.append(NoComparison(rule=rule.id, baseline=rule.baseline, missing=False, reason=error.reason))
    return tuple(out)


@dataclass(frozen=True, kw_only=True)
class _Both:
    """One probe instance in both runs: what was found, and the rows in question."""

    finding: Finding
    older: Finding
    rows: pa.Table
    older_rows: pa.Table
    definition: MeasureDefinition

    @property
    def sign(self) -> float:
        """Turns a difference into a drop: positive is worse."""
        return -1.0 if self.definition.better == "higher" else 1.0


@dataclass(frozen=True, kw_only=True)
class _Pairing:
    """One rule's measure in both runs."""

    rule: Rule
    level: float
    run: Run
    base: Run

    def comparisons(self) -> list[Comparison]:
        finding, older = self._finding(self.run), self._finding(self.base)
        if finding is None:
            return []
        if older is None:
            raise Incomparable(message("the baseline has no measured {instance}", instance=self.rule.instance))
        if finding.info.id != older.info.id or finding.params != older.params:
            raise Incomparable(message("{instance} was measured with other options", instance=self.rule.instance))
        definition = finding.info.definition(self.rule.measure_name)
        if definition is None or definition.better == "neither":
            raise Incomparable(message("{measure} has no better or worse", measure=self.rule.measure))
        slices = matching_slices(self.rule, tuple(m.slice for m in finding.measurements(self.rule.measure_name)))
        same = (
            self.run.record.subject.digest == self.base.record.subject.digest
            and self.run.record.data.digest == self.base.record.data.digest
        )
        if same:
            return [self._unchanged(finding, s) for s in slices]
        rows, older_rows = self.run.rows(finding), self.base.rows(older)
        if rows is None or older_rows is None:
            raise Incomparable(message("no rows are kept for {instance}", instance=self.rule.instance))
        mine, theirs = pair(rows, older_rows)
        paired = len(mine) > 0
        if paired:
            rows, older_rows = rows.take(mine), older_rows.take(theirs)
        elif self.rule.unpaired == "error":
            raise Incomparable(message("the two runs have no rows in common, and the policy asks for paired ones"))
        both = _Both(finding=finding, older=older, rows=rows, older_rows=older_rows, definition=definition)
        if paired and definition.smooth:
            return self._by_jackknife(both, slices)
        return [self._by_bounds(both, s, paired=paired) for s in slices]

    def _finding(self, run: Run) -> Finding | None:
        found = run.record.finding(self.rule.instance)
        return found if found is not None and found.status == "measured" else None

    def _unchanged(self, finding: Finding, slice_: Slice) -> Comparison:
        m = _value(finding.measurements(self.rule.measure_name), slice_)
        return self._comparison(slice_, m, m, None, paired=True, sign=1.0)

    def _by_bounds(self, both: _Both, slice_: Slice, *, paired: bool) -> Comparison:
        half = 1 - (1 - self.level) / 2
        name = both.definition.name
        now = _value(reread(both.finding, both.rows, half).measurements, slice_, name)
        then = _value(reread(both.older, both.older_rows, half).measurements, slice_, name)
        interval = None
        if now.interval is not None and then.interval is not None:
            ends = [_minus(now.interval.low, then.interval.high), _minus(now.interval.high, then.interval.low)]
            low, high = ends if both.sign > 0 else [None if e is None else -e for e in reversed(ends)]
            method = Method(name="bonferroni of both intervals", params={"each": half})
            interval = Interval(low=low, high=high, level=self.level, method=method)
        return self._comparison(slice_, now, then, interval, paired=paired, sign=both.sign)

    def _by_jackknife(self, both: _Both, slices: Sequence[Slice]) -> list[Comparison]:
        import numpy as np

        name, sign = both.definition.name, both.sign
        ctx, probe, older = context_of(both.finding, self.level), probe_of(both.finding), probe_of(both.older)
        now = probe.summarise(both.rows, ctx).measurements
        then = older.summarise(both.older_rows, ctx).measurements
        blocks = _blocks(both.rows, ctx.rng("comparison"))
        replicates: dict[Slice, list[float]] = {s: [] for s in slices}
        for block in range(int(blocks.max()) + 1):
            keep = np.flatnonzero(blocks != block)
            one = probe.summarise(both.rows.take(keep), ctx).measurements
            two = older.summarise(both.older_rows.take(keep), ctx).measurements
            for s in slices:
                replicates[s].append(sign * (_value(one, s, name).value - _value(two, s, name).value))
        out = []
        for s in slices:
            a, b = _value(now, s, name), _value(then, s, name)
            interval = self._spread(sign * (a.value - b.value), replicates[s], a.counts.denominator, both.definition)
            out.append(self._comparison(s, a, b, interval, paired=True, sign=sign))
        return out

    def _spread(self, drop: float, replicates: Sequence[float], n: int, definition: MeasureDefinition) -> Interval:
        import numpy as np
        from scipy import stats

        count = len(replicates)
        values = np.asarray(replicates)
        error = math.sqrt((count - 1) / count * float(((values - values.mean()) ** 2).sum()))
        half = float(stats.t.ppf((1 + self.level) / 2, count - 1)) * error
        if definition.unit == "share":
            z2 = float(stats.norm.ppf((1 + self.level) / 2)) ** 2
            half = max(half, z2 / (n + z2))
        method = Method(name="delete-a-group jackknife, paired", params={"groups": count})
        return Interval(low=drop - half, high=drop + half, level=self.level, method=method)

    def _comparison(
        self,
        slice_: Slice,
        now: Measurement,
        then: Measurement,
        interval: Interval | None,
        *,
        paired: bool,
        sign: float,
    ) -> Comparison:
        difference = now.value - then.value
        counts = Counts(
            n=min(now.counts.n, then.counts.n),
            denominator=min(now.counts.denominator, then.counts.denominator),
            smallest=min(now.counts.smallest, then.counts.smallest),
            clusters=now.counts.clusters,
        )
        return Comparison(
            baseline=self.rule.baseline or "",
            baseline_digest=self.base.record.subject.digest,
            instance=self.rule.instance,
            measure=self.rule.measure_name,
            slice=slice_,
            value=now.value,
            baseline_value=then.value,
            difference=difference,
            drop=sign * difference,
            drop_interval=interval,
            counts=counts,
            paired=paired,
            level=self.level,
        )


def pair(rows: pa.Table, older: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the common rows in both tables, in the first table's order.

    Rows are common where their ids and contents agree; without common ids, where their contents do, each used once.

    Raises:
        Incomparable: common rows carry different labels.
    """
    import numpy as np

    mine, theirs = _keyed(rows, by_id=True), _keyed(older, by_id=True)
    common = [k for k in mine if k in theirs]
    if not common:
        mine, theirs = _keyed(rows, by_id=False), _keyed(older, by_id=False)
        common = [k for k in mine if k in theirs]
    first = np.asarray([mine[k] for k in common], dtype=np.int64)
    second = np.asarray([theirs[k] for k in common], dtype=np.int64)
    if common and "label" in rows.column_names and "label" in older.column_names:
        labels = zip(rows["label"].take(first).to_pylist(), older["label"].take(second).to_pylist(), strict=True)
        differ = sum(a != b for a, b in labels)
        if differ:
            raise Incomparable(message("{count} of the common rows carry other labels in the baseline", count=differ))
    return first, second


def _keyed(rows: pa.Table, *, by_id: bool) -> dict[tuple[object, ...], int]:
    names = set(rows.column_names)
    if by_id:
        if not names.issuperset({"row_id"}):
            return {}
        columns = [c for c in (*_KEYS, "content") if c in names]
        return dict(zip(zip(*(rows[c].to_pylist() for c in columns), strict=True), range(rows.num_rows), strict=True))
    if "content" not in names:
        return {}
    seen: dict[str, int] = {}
    out: dict[tuple[object, ...], int] = {}
    units = rows["unit_id"].to_pylist() if "unit_id" in names else [0] * rows.num_rows
    for i, (content, unit) in enumerate(zip(rows["content"].to_pylist(), units, strict=True)):
        if content is None:
            continue
        count = seen[content] = seen.get(content, -1) + 1
        out[(content, unit, count)] = i
    return out


def _blocks(rows: pa.Table, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A block number for each row: whole clusters (or input rows), dealt at random into at most ``BLOCKS``."""
    import numpy as np

    for name in ("cluster", "row_id"):
        if name in rows.column_names:
            values = [f"\0{i}" if v is None else v for i, v in enumerate(rows[name].to_pylist())]
            _, units = np.unique(np.asarray(values, dtype=object).astype(str), return_inverse=True)
            break
    else:
        units = np.arange(rows.num_rows)
    count = int(units.max()) + 1
    if count < 2:
        raise Incomparable(message("the common rows form a single cluster"))
    return (rng.permutation(count) % min(count, BLOCKS))[units]


def _value(measurements: Sequence[AnyMeasurement], slice_: Slice, name: str | None = None) -> Measurement:
    for m in measurements:
        if m.slice == slice_ and (name is None or m.name == name):
            if isinstance(m, Measurement):
                return m
            raise Incomparable(message("{measure} on {slice} has no value: {why}",
                                       measure=m.name, slice=slice_name(slice_), why=m.reason))  # fmt: skip
    raise Incomparable(message("{slice} does not occur in both runs", slice=slice_name(slice_)))


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
