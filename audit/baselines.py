"""What a policy's rules ask of a baseline: is a measure worse than there, and how sure is that?

How far two runs lie apart is `audit.moving`'s to say. Here a rule's slices are looked up, and what cannot be compared
gets a sentence that says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.matching import matching_slices
from audit.moving import Moved, by_bounds, by_jackknife, figures_of
from audit.pairing import Both, Incomparable, Run
from probes.evidence import Interval, MeasureDefinition, Message, Slice, Undefined, message, slice_name
from reports.record import Comparison, Finding, NoComparison, Policy, Rule


def compare_for(policy: Policy, run: Run, baselines: Mapping[str, Run]) -> tuple[Comparison | NoComparison, ...]:
    """Every comparison that the policy's rules ask for."""
    out: list[Comparison | NoComparison] = []
    for rule in policy.rules:
        if rule.baseline is None:
            continue
        base = baselines.get(rule.baseline)
        if base is None:
            reason = message("no baseline called {name} was given, or no run there has passed yet", name=rule.baseline)
            out.append(NoComparison(rule=rule.id, baseline=rule.baseline, missing=True, reason=reason))
            continue
        try:
            out += _Asked(rule=rule, level=policy.level(rule), run=run, base=base).comparisons()
        except Incomparable as error:
            out.append(NoComparison(rule=rule.id, baseline=rule.baseline, missing=False, reason=error.reason))
    return tuple(out)


@dataclass(frozen=True, kw_only=True)
class _Asked:
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
        if _same(self.run, self.base):
            return [self._unchanged(finding, s) for s in slices]
        return self._compared(finding, older, definition, slices)

    def _compared(
        self, finding: Finding, older: Finding, definition: MeasureDefinition, slices: Sequence[Slice]
    ) -> list[Comparison]:
        rows, older_rows = self.run.rows(finding), self.base.rows(older)
        if rows is None or older_rows is None:
            raise Incomparable(message("no rows are kept for {instance}", instance=self.rule.instance))
        both = Both.of(finding, older, rows, older_rows)
        paired = both.pairs is not None
        if not paired and self.rule.unpaired == "error":
            raise Incomparable(message("the two runs have no rows in common, and the policy asks for paired ones"))
        wanted = [(definition.name, s) for s in slices]
        by = by_jackknife if paired and definition.smooth else by_bounds
        sign = -1.0 if definition.better == "higher" else 1.0
        out = []
        for (_, slice_), moved in by(both, wanted, self.level).items():
            if isinstance(moved, Message):
                raise Incomparable(moved)
            out.append(self._comparison(slice_, moved, paired=paired, sign=sign))
        return out

    def _finding(self, run: Run) -> Finding | None:
        found = run.record.finding(self.rule.instance)
        return found if found is not None and found.status == "measured" else None

    def _unchanged(self, finding: Finding, slice_: Slice) -> Comparison:
        m = figures_of(finding.measurements(self.rule.measure_name))[self.rule.measure_name, slice_]
        if isinstance(m, Undefined):
            raise Incomparable(message("{measure} on {slice} has no value: {why}",
                                       measure=m.name, slice=slice_name(m.slice), why=m.reason))  # fmt: skip
        return self._comparison(slice_, Moved(now=m, then=m, interval=None), paired=True, sign=1.0)

    def _comparison(self, slice_: Slice, moved: Moved, *, paired: bool, sign: float) -> Comparison:
        return Comparison(
            baseline=self.rule.baseline or "",
            baseline_digest=self.base.record.subject.digest,
            instance=self.rule.instance,
            measure=self.rule.measure_name,
            slice=slice_,
            value=moved.now.value,
            baseline_value=moved.then.value,
            difference=moved.difference,
            drop=sign * moved.difference,
            drop_interval=_turned(moved.interval) if sign < 0 else moved.interval,
            counts=moved.counts,
            paired=paired,
            level=self.level,
        )


def _same(run: Run, base: Run) -> bool:
    return (run.record.subject.digest, run.record.data.digest) == (base.record.subject.digest, base.record.data.digest)


def _turned(interval: Interval | None) -> Interval | None:
    """The interval of the drop, where a drop is the difference with its sign turned."""
    if interval is None:
        return None
    low, high = (None if end is None else -end for end in (interval.high, interval.low))
    return interval.model_copy(update={"low": low, "high": high})
