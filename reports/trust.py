"""What a record says about each method of attribution: whether its maps beat random ones and depend on the model, so that every
map in the report stands beside the answer. Pure; it measures nothing, and a method that nothing examined gets no entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from probes.evidence import AnyMeasurement, Message, message
from reports.record import AuditRecord, Finding

METHOD = "method"
FAITHFULNESS, SANITY = "explanation.faithfulness", "explanation.sanity"
TOOK = "comprehensiveness_over_random"
KEPT = "sufficiency_over_random"
STAYED = "randomised_correlation"
LIMIT = "limit"

_PASSED = message("This method passed the faithfulness check on this model: its maps beat random ones.")
_PASSED_BOTH = message(
    "This method passed both checks on this model: its maps beat random ones, and change when what the model has learned is "
    "destroyed."
)
_CHANGES = message(
    "Its maps change when what this model has learned is destroyed; whether they beat random ones was not checked."
)
_NOT_FAITHFUL = message(
    "This method did not pass the faithfulness check on this model: its maps are not shown to beat random ones."
)
_STAYS = message(
    "This method failed the randomisation check: its maps stay much the same when what the model has learned is destroyed."
)
_NOT_CLEAR = message("The randomisation check of this method decided nothing.")
_NO_REASON = message("Do not read this map as a reason.")


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whether a method's maps may be believed on this model, in a word and in a sentence."""

    state: Literal["passed", "failed", "unchecked"]
    said: Message


def trust_in_methods(record: AuditRecord) -> dict[str, Trust]:
    """By the method's name in a plan; methods that no probe of this record examined are absent.

    A method passes the faithfulness check where taking away what it ranks first costs more than random units do and keeping
    only that costs less, both by whole intervals. It fails the randomisation check where the whole interval of the
    correlation with maps of models that have lost their task lies above the limit of that probe. Several instances of a
    probe must all agree.
    """
    faithful: dict[str, list[bool]] = {}
    changes: dict[str, list[bool | None]] = {}
    for finding in record.findings:
        if finding.reading is None:
            continue
        for measured in finding.reading.measurements:
            method = _method(measured)
            if method is None:
                continue
            if finding.info.id == FAITHFULNESS and measured.name in (TOOK, KEPT):
                faithful.setdefault(method, []).append(_beats(measured, 1 if measured.name == TOOK else -1))
            if finding.info.id == SANITY and measured.name == STAYED:
                changes.setdefault(method, []).append(_changes(measured, _limit(finding)))
    return {m: _judged(faithful.get(m), changes.get(m)) for m in sorted({*faithful, *changes})}


def _judged(faithful: list[bool] | None, changes: list[bool | None] | None) -> Trust:
    stays = changes is not None and any(c is False for c in changes)
    unclear = changes is not None and any(c is None for c in changes)
    failed = [said for said, there in ((_NOT_FAITHFUL, faithful and not all(faithful)), (_STAYS, stays)) if there]
    if failed:
        said = message("{what} {so}", what=failed[0], so=_NO_REASON)
        if len(failed) == 2:
            said = message("{what} {more} {so}", what=failed[0], more=failed[1], so=_NO_REASON)
        return Trust(state="failed", said=said)
    if faithful:
        if unclear:
            return Trust(state="passed", said=message("{what} {more}", what=_PASSED, more=_NOT_CLEAR))
        return Trust(state="passed", said=_PASSED_BOTH if changes else _PASSED)
    return Trust(state="unchecked", said=_NOT_CLEAR if unclear else _CHANGES)


def _method(measured: AnyMeasurement) -> str | None:
    """The method that a figure is about, where it is about nothing else."""
    axes = measured.slice
    return axes[0].value if len(axes) == 1 and axes[0].kind == "setting" and axes[0].name == METHOD else None


def _beats(measured: AnyMeasurement, sign: int) -> bool:
    """Whether the whole interval lies beyond zero in the direction of ``sign``."""
    if measured.kind == "undefined" or measured.interval is None:
        return False
    end = measured.interval.low if sign > 0 else measured.interval.high
    return end is not None and sign * end > 0


def _changes(measured: AnyMeasurement, limit: float | None) -> bool | None:
    """Whether the whole interval lies within the limit; False where all of it lies above, None where neither."""
    if measured.kind == "undefined" or measured.interval is None or limit is None:
        return None
    low, high = measured.interval.low, measured.interval.high
    if high is not None and high <= limit:
        return True
    return False if low is not None and low > limit else None


def _limit(finding: Finding) -> float | None:
    """The limit that the probe judged by: the plan's, or its default."""
    given = finding.params.get(LIMIT)
    if given is None:
        given = next((p.default for p in finding.info.parameters if p.name == LIMIT), None)
    try:
        return float(str(given))
    except ValueError:
        return None
