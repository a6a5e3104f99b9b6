"""Reads waivers, and refuses those that excuse nothing properly: self-approved, blank, or too long.

An expired waiver is valid here; whether it still counts on a given day is the gate's to say.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from audit.documents import read_document
from audit.errors import WaiverError
from audit.faults import Loc, Problem
from audit.yaml_files import refuse
from reports.record import Waiver, Waivers

LONGEST_DAYS = 90

_TEXTS = ("rule", "slice", "justification", "statement", "requested_by", "approved_by", "ticket")


def load_waivers(path: Path | str) -> tuple[Waiver, ...]:
    """The waivers in a YAML file.

    Raises:
        WaiverError: a field is missing or blank, two waivers have one id, requester and approver are the same
            person, or the time from approval to expiry is negative or more than 90 days; all problems are
            listed with their lines.
    """
    document = read_document(Path(path), Waivers, error=WaiverError, unique={"waivers": "id"})
    problems = []
    for i, waiver in enumerate(document.value.waivers):
        for key, problem in _problems(waiver):
            place: Loc = ("waivers", i, key)
            problems.append(Problem(document.line(place), problem.seen, problem.expected, problem.fix))
    refuse(document.path, problems, WaiverError)
    return document.value.waivers


def unfit(waiver: Waiver) -> str | None:
    """Why a waiver can never count, whatever the day, in a sentence; None where nothing is wrong with it."""
    problems = [str(problem) for _, problem in _problems(waiver)]
    return "; ".join(problems) if problems else None


def _problems(waiver: Waiver) -> list[tuple[str, Problem]]:
    """What is wrong with one waiver: the key it shows at, and the problem."""
    out = []
    for key in _TEXTS:
        if not getattr(waiver, key).strip():
            out.append((key, Problem(None, f"waiver {waiver.id}: {key} is blank", "text that is not empty")))
    if _person(waiver.requested_by) == _person(waiver.approved_by):
        seen = f"waiver {waiver.id}: {waiver.approved_by!r} approves what they requested themselves"
        out.append(("approved_by", Problem(None, seen, "another person as approver")))
    days = (waiver.expires - waiver.approved_on).days
    if days < 0:
        seen = f"waiver {waiver.id}: it expires on {waiver.expires}, before its approval on {waiver.approved_on}"
        out.append(("expires", Problem(None, seen, "a day on or after approved_on")))
    if days > LONGEST_DAYS:
        seen = f"waiver {waiver.id}: it lasts {days} days, from {waiver.approved_on} to {waiver.expires}"
        out.append(("expires", Problem(None, seen, f"at most {LONGEST_DAYS} days")))
    return out


def _person(name: str) -> str:
    """A name without case, spaces or look-alike forms of the same letters."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())
