"""What changed since the baseline, in sentences: which figures got worse or better beyond noise. Pure; compares nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from probes.evidence import Message, message
from reports.record import Comparison, NoComparison, Verdict
from reports.wording import listed, measure_said, slice_said

_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The comparisons of a verdict by what they show. ``level`` intervals that touch 0 show no change."""

    worse: tuple[Comparison, ...]
    better: tuple[Comparison, ...]
    neither: tuple[Comparison, ...]
    failed: tuple[NoComparison, ...]

    @property
    def compared(self) -> int:
        """Figures that were compared at all."""
        return len(self.worse) + len(self.better) + len(self.neither)


def changes(verdict: Verdict) -> Changes:
    """The verdict's comparisons, sorted by what they show."""
    made = _once([c for c in verdict.comparisons if isinstance(c, Comparison)])
    return Changes(
        worse=tuple(c for c in made if direction(c) == "worse"),
        better=tuple(c for c in made if direction(c) == "better"),
        neither=tuple(c for c in made if direction(c) == "neither"),
        failed=tuple(c for c in verdict.comparisons if isinstance(c, NoComparison)),
    )


def direction(c: Comparison) -> str:
    """``worse`` or ``better`` where the whole interval of the drop lies on one side of 0, else ``neither``."""
    if c.drop_interval is None:
        return "neither"
    if c.drop_interval.low is not None and c.drop_interval.low > 0:
        return "worse"
    if c.drop_interval.high is not None and c.drop_interval.high < 0:
        return "better"
    return "neither"


def change_words(verdict: Verdict) -> tuple[Message, ...]:
    """The change in one sentence a direction; says so where nothing was compared."""
    found = changes(verdict)
    out = []
    if found.worse:
        out.append(message("Worse than the baseline beyond noise: {names}.", names=_names(found.worse)))
    if found.better:
        out.append(message("Better than the baseline beyond noise: {names}.", names=_names(found.better)))
    if found.neither:
        out.append(message("Compared figures without a change beyond noise: {n}.", n=len(found.neither)))
    names = sorted({c.baseline for c in found.failed})
    if names:
        out.append(message("No comparison was possible with: {names}.", names=listed(names)))
    if not out:
        out.append(message("No baseline was given, so nothing is known about change."))
    return tuple(out)


def policy_change_words(verdict: Verdict) -> Message | None:
    """Whether the policy changed since the baseline, or None where no baseline was compared with."""
    if verdict.policy_changes:
        return message("Points in which the policy changed since the baseline: {n}.", n=len(verdict.policy_changes))
    if verdict.policy_changes is not None:
        return message("The policy is the one that the baseline was decided by.")
    if changes(verdict).compared:
        return message("Whether the policy changed since the baseline is not known: the baseline carries no policy.")
    return None


def _names(found: tuple[Comparison, ...]) -> Message:
    return listed([_figure(c.measure, slice_said(c.slice)) for c in found], _NAMED)


def _figure(measure: str, where: Message | None) -> Message:
    said = measure_said(measure)
    return said if where is None else message("{measure} ({where})", measure=said, where=where)


def _once(made: list[Comparison]) -> list[Comparison]:
    """Two rules on the same figure compare it twice; told once."""
    return list({(c.baseline, c.instance, c.measure, c.slice): c for c in made}.values())
