"""What a ruling means for a pipeline: does it stop anything, is it excused, or is it only told?

The one place that says so. Every output for machines (JUnit, GitHub, GitLab, SARIF, pytest) asks here, so that none is
green where another is red. It repeats the policy's own terms and decides nothing.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from probes.evidence import slice_name
from reports.decision import headline
from reports.record import AuditRecord, Ruling, Verdict
from reports.wording import shortened, visible

Standing = Literal["passed", "told", "excused", "inconclusive", "failed", "errored"]

STOPS: frozenset[Standing] = frozenset({"inconclusive", "failed", "errored"})


def standing(ruling: Ruling, verdict: Verdict) -> Standing:
    """Where a ruling stands in its verdict.

    Returns:
        ``told`` for what did not pass and stops nothing all the same: an advisory check, an inconclusive one under a
        policy that only warns, or any under ``--report-only``. ``excused`` for a waived one. ``failed``, ``errored`` and
        ``inconclusive`` stop.
    """
    outcome = ruling.outcome
    if outcome == "pass":
        return "passed"
    if outcome == "waived":
        return "excused"
    told = ruling.check.rule.severity == "advisory" or not verdict.enforced
    if told or (outcome == "inconclusive" and _warns(verdict)):
        return "told"
    if outcome == "inconclusive":
        return "inconclusive"
    return "failed" if outcome == "fail" else "errored"


def stops(verdict: Verdict) -> bool:
    """The verdict ends with another exit code than 0."""
    blocks = verdict.outcome in ("fail", "error") or (verdict.outcome == "inconclusive" and not _warns(verdict))
    return verdict.enforced and blocks


def _warns(verdict: Verdict) -> bool:
    return verdict.policy is not None and verdict.policy.defaults.on_inconclusive == "warn"


def as_enforced(verdict: Verdict) -> Verdict:
    """The same verdict as if nobody had asked to report only: for outputs that outlive the pipeline that asked."""
    return verdict if verdict.enforced else verdict.model_copy(update={"enforced": True})


def unexplained(record: AuditRecord, verdict: Verdict) -> str | None:
    """Why the verdict stops where no single ruling does: no policy, no check, or nothing but errors. Else None."""
    if not stops(verdict) or any(standing(r, verdict) in STOPS for r in verdict.rulings):
        return None
    return " ".join(str(r) for r in verdict.reasons) or str(headline(record, verdict))


def told_as(ruling: Ruling, verdict: Verdict) -> str:
    """The outcome as a word: ``fail``, ``advisory fail``, ``fail, not enforced``."""
    word = ruling.outcome if ruling.check.rule.severity == "blocking" else f"advisory {ruling.outcome}"
    return word if verdict.enforced else f"{word}, not enforced"


def one_line(text: str, longest: int = 1000) -> str:
    """``text`` without line breaks and characters that nobody sees, and cut where it is longer than ``longest``."""
    return shortened(" ".join(visible(text).split()), longest)


def fingerprint(record: AuditRecord, verdict: Verdict, ruling: Ruling | None) -> str:
    """A name for one check of one audit that stays the same when figures, wording and lines change: sha256 in hex.

    None stands for the verdict as a whole.
    """
    parts = [record.name, verdict.policy.name if verdict.policy else ""]
    parts += [ruling.check.rule.id, slice_name(ruling.check.slice)] if ruling else ["verdict"]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
