"""How fine can this data decide? For each check, the values at which a run of this size would mostly be decided.

Pure arithmetic on rulings: the half-widths that were seen stand for those of another run of the same size, so the figures
are for planning and not for deciding.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy import special

from audit.weighing import Terms
from probes.intervals import tail_of
from reports.record import AuditRecord, Ruling, Verdict

POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What one check can tell apart.

    A run of this size is decided with probability ``POWER`` (0.8) where the true value lies at or beyond these.

    Attributes:
        ruling: the check as it was decided.
        passes: the true value, on the good side of the limit, from which it passes; None where none in the measure's
            range would, or the check has no interval.
        fails: the same on the bad side.
        effect: distance from the limit to the farther one of the two, before the measure's range cuts them; None without
            an interval.
    """

    ruling: Ruling
    passes: float | None
    fails: float | None
    effect: float | None


def resolutions(record: AuditRecord, verdict: Verdict) -> tuple[Resolution, ...]:
    """One a ruling, in the verdict's order."""
    return tuple(_resolution(record, r) for r in verdict.rulings)


def _resolution(record: AuditRecord, ruling: Ruling) -> Resolution:
    interval, value = ruling.interval, ruling.value
    if interval is None or value is None or interval.low is None or interval.high is None or interval.degenerate:
        return Resolution(ruling=ruling, passes=None, fails=None, effect=None)
    crit = -float(special.ndtri(tail_of(interval.level)))
    # An end lies crit standard errors from the value; power asks for that many more.
    stretch = (crit + float(special.ndtri(POWER))) / crit
    terms = Terms(rule=ruling.check.rule, level=ruling.level, decision=ruling.decision, min_n=ruling.min_n)
    above, below = (interval.high - value) * stretch, (value - interval.low) * stretch
    far, near = (above, below) if terms.sign > 0 else (below, above)
    enough = ruling.counts is None or min(ruling.counts.denominator, ruling.counts.smallest) >= ruling.min_n
    return Resolution(
        ruling=ruling,
        passes=_inside(record, ruling, ruling.limit - terms.sign * far) if enough else None,
        fails=_inside(record, ruling, ruling.limit + terms.sign * near) if enough else None,
        effect=max(far, near),
    )


def _inside(record: AuditRecord, ruling: Ruling, value: float) -> float | None:
    if ruling.comparison is not None:
        return value
    finding = record.finding(ruling.check.rule.instance)
    definition = finding.info.definition(ruling.check.rule.measure_name) if finding else None
    if definition is None:
        return value
    low = value if definition.low is None else definition.low
    high = value if definition.high is None else definition.high
    return value if low <= value <= high else None
