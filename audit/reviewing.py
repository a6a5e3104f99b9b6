"""A person decides about a finished run: the decision is written beside the bundle, bound to it, and changes no verdict."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from audit.errors import ReviewError
from audit.sound import require_sound
from reports.bundle import Bundle
from reports.reviews import Review, ReviewDecision, add_review, bundle_digest

if TYPE_CHECKING:
    from audit.result import Result

DECISIONS: tuple[ReviewDecision, ...] = ("accept", "reject", "accept-with-conditions")


def review(
    run: Path | str | Result,
    *,
    decision: ReviewDecision,
    by: str,
    text: str,
    conditions: Sequence[str] = (),
    on: date | None = None,
) -> Path:
    """Record a decision about a finished run; returns the file.

    Args:
        run: a bundle, or a result.
        decision: accept, reject, or accept-with-conditions.
        by, text: who decides, and why.
        conditions: what it is accepted under, for accept-with-conditions.
        on: the day of the decision; today by default, never later.

    Raises:
        VerificationError: the bundle does not agree with its own hashes, so nobody knows what is decided about.
        ReviewError: the decision is incomplete, of no known kind, or of a day to come.
    """
    bundle = Bundle.open(run if isinstance(run, str | Path) else run.path)
    require_sound(bundle, expected="a bundle that verifies, because a review is bound to it")
    if decision not in DECISIONS:
        raise ReviewError(f"the decision is {decision!r}", expected=f"one of {', '.join(DECISIONS)}")
    day, today = on or date.today(), date.today()
    if day > today:
        raise ReviewError(f"the day of the decision is {day}", expected=f"today, {today}, or earlier")
    if bool(conditions) != (decision == "accept-with-conditions"):
        raise ReviewError(
            f"the decision is {decision} and {len(conditions)} conditions are given",
            expected="conditions with accept-with-conditions, and only with that",
            fix="give --condition, or another --decision",
        )
    try:
        made = Review(bundle=bundle_digest(bundle.folder), decision=decision, by=by, on=day, text=text,
                      conditions=tuple(conditions))  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ReviewError(f"{field}: {first['msg']}", expected="who decides, and why, in words") from None
    return add_review(bundle.folder, made)
