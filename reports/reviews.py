"""What people decided about a finished run, kept beside its bundle: a numbered file each, bound to the bundle's digest.

A review never changes a verdict, and is never counted for another bundle than the one that it names. Each one carries the
hash of the one before, so that one that was altered or taken away from between shows. One that cannot be read is listed as
such, and while it is newer than what can be read no decision counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from fine_tune.untrusted import MOST_RECORD, read_file
from probes.evidence import Message, Plain, message
from reports.errors import RecordError, VerificationError
from reports.files import MANIFEST, REVIEWS, digest
from reports.lock import Sha256
from reports.reading import parse
from reports.record import Outcome, canonical_json
from reports.showing import NOTHING_BESIDE, Fact
from reports.wording import OUTCOME_WORDS

ReviewDecision = Literal["accept", "reject", "accept-with-conditions"]
Written = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
MOST_BYTES = 1_000_000
_NAME = re.compile(r"([0-9]{3}|[1-9][0-9]{3,5})\.json")

DECISION_WORDS: dict[ReviewDecision, Message] = {
    "accept": message("accepted"),
    "reject": message("rejected"),
    "accept-with-conditions": message("accepted with conditions"),
}


class Review(Plain):
    """One decision of one person: ``reviews/NNN.json``.

    Attributes:
        bundle: sha256 of the bundle's ``MANIFEST.json``, which lists every file with its hash.
        by, on, text: who, when and why.
        conditions: what it is accepted under; there are some exactly if the decision says so.
        previous: sha256 of the review before this one; None for the first.
    """

    schema_: Literal["plumbline.review/v1"] = Field(default="plumbline.review/v1", alias="schema")
    bundle: Sha256
    decision: ReviewDecision
    by: Written
    on: date
    text: Written
    conditions: tuple[Written, ...] = ()
    previous: Sha256 | None = None

    @model_validator(mode="after")
    def _conditions(self) -> Self:
        if bool(self.conditions) != (self.decision == "accept-with-conditions"):
            raise ValueError("conditions belong to accept-with-conditions, and only to that")
        return self

    def to_json(self) -> str:
        """The bytes of the file, as text."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One file of the reviews' folder.

    Attributes:
        name: of the file, such as ``001.json``.
        review: what it says; None where it cannot be read.
        binds: it speaks of this bundle.
        problem: what is wrong with it: unreadable, of another bundle, or not following on the one before.
    """

    name: str
    review: Review | None
    binds: bool
    problem: Message | None = None


@dataclass(frozen=True, kw_only=True)
class Reviews:
    """Every review beside a bundle, the oldest first, and the one that counts, if any."""

    every: tuple[Kept, ...]
    problems: tuple[Message, ...] = ()

    @property
    def counts(self) -> Review | None:
        """The newest one that binds; None where a newer one cannot be read."""
        for kept in reversed(self.every):
            if kept.review is None:
                return None
            if kept.binds:
                return kept.review
        return None


def bundle_digest(folder: Path) -> str:
    """What a review binds to: sha256 of ``MANIFEST.json``.

    Raises:
        VerificationError: there is none.
        RecordError: it is too large to be one.
    """
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise VerificationError(f"{MANIFEST} is missing from {folder}", fix="take the bundle from its source again")
    return digest(read_file(path, MOST_RECORD, error=RecordError))


def reviews_of(folder: Path) -> Reviews:
    """What lies beside a bundle; nothing is left out, and nothing that is no review counts.

    Where the bundle has no ``MANIFEST.json`` that can be read, none binds.
    """
    place = folder / REVIEWS
    try:
        bound = bundle_digest(folder)
    except (RecordError, VerificationError):
        bound = ""
    if place.is_symlink():
        return Reviews(every=(), problems=(message("{name} is a link, so no review in it counts.", name=REVIEWS),))
    names = _listed(place)
    numbered = sorted((int(m.group(1)), name) for name in names if (m := _NAME.fullmatch(name)))
    problems = [message("{name} is no review and does not count.", name=f"{REVIEWS}/{n}")
                for n in names if not _NAME.fullmatch(n)]  # fmt: skip
    missing = sorted(set(range(1, numbered[-1][0] + 1)) - {n for n, _ in numbered}) if numbered else []
    problems += [message("Review {number} is missing.", number=f"{n:03}") for n in missing[:20]]
    every, before = [], None
    for _, name in numbered:
        kept, before = _kept(place / name, bound, before)
        every.append(kept)
    return Reviews(every=tuple(every), problems=tuple(problems))


def add_review(folder: Path, review: Review) -> Path:
    """Write one more review beside a bundle; those that are there are never touched.

    Raises:
        RecordError: the reviews' folder is a link, or its newest file is no review to follow on.
    """
    place = folder / REVIEWS
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise RecordError(f"{place} is no folder", expected="a folder for reviews, or none yet", fix="move it away")
    place.mkdir(exist_ok=True)
    names = sorted((int(m.group(1)), name) for name in _listed(place) if (m := _NAME.fullmatch(name)))
    number, previous = 1, None
    if names:
        number, newest = names[-1][0] + 1, place / names[-1][1]
        if newest.is_symlink() or not newest.is_file():
            raise RecordError(f"{newest} is no plain file", expected="a review to follow on", fix="move it away")
        previous = digest(read_file(newest, MOST_RECORD, error=RecordError))
    path = place / f"{number:03}.json"
    content = review.model_copy(update={"previous": previous}).to_json().encode("utf-8", "replace")
    # Whoever comes second finds the file there: two reviews at once never become one.
    with path.open("xb") as stream:
        stream.write(content)
    return path


def reviews_beside(folder: Path, outcome: Outcome) -> tuple[Fact, ...]:
    """The first screen's lines: who decided what about this bundle, the newest first, together with the verdict.

    Args:
        folder: of the bundle.
        outcome: of its verdict, which no review changes.
    """
    found = reviews_of(folder)
    if not found.every and not found.problems:
        return NOTHING_BESIDE[
            1:
        ]  # the bundle's own words, so that a copy has the same bytes as long as nothing lies beside
    facts: list[Fact] = [(message("Human review"), _standing(found, outcome))]
    facts += [
        (message("Review {name}", name=k.name.removesuffix(".json")), kept_words(k)) for k in reversed(found.every)
    ]
    return (*facts, *((message("Reviews"), p) for p in found.problems))


def kept_words(kept: Kept) -> Message:
    """One review in a sentence, and what is wrong with it."""
    if kept.review is None:
        return kept.problem or message("cannot be read")
    said = _said(kept.review)
    if not kept.binds:
        return message("NOT of this bundle, so it decides nothing here: {said}", said=said)
    return said if kept.problem is None else message("{said} {problem}", said=said, problem=kept.problem)


def _listed(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def _standing(found: Reviews, outcome: Outcome) -> Message:
    review = found.counts
    if review is None:
        if found.every and found.every[-1].review is None:
            return message("the newest one cannot be read, so no decision counts")
        return message("none of this bundle")
    words, verdict = DECISION_WORDS[review.decision], OUTCOME_WORDS[outcome]
    if review.decision != "reject" and outcome not in ("pass", "waived"):
        return message("{decision} by {by} on {on}, although the verdict is {verdict}, which stays as it is",
                       decision=words, by=review.by, on=review.on.isoformat(), verdict=verdict)  # fmt: skip
    return message("{decision} by {by} on {on}; the verdict is {verdict}",
                   decision=words, by=review.by, on=review.on.isoformat(), verdict=verdict)  # fmt: skip


def _said(review: Review) -> Message:
    words = DECISION_WORDS[review.decision]
    if review.conditions:
        return message(
            "{decision} by {by} on {on}: {text} Conditions: {conditions}",
            decision=words, by=review.by, on=review.on.isoformat(), text=review.text, conditions="; ".join(review.conditions),
        )  # fmt: skip
    return message("{decision} by {by} on {on}: {text}",
                   decision=words, by=review.by, on=review.on.isoformat(), text=review.text)  # fmt: skip


def _kept(path: Path, bound: str, before: str | None) -> tuple[Kept, str | None]:
    """One file as it is kept, and its own hash for the next one."""
    if path.is_symlink() or not path.is_file():
        return Kept(
            name=path.name, review=None, binds=False, problem=message("is no plain file, and does not count")
        ), None
    with path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    own = digest(content)
    try:
        if len(content) > MOST_BYTES:
            raise RecordError(f"it has more than {MOST_BYTES} bytes", expected="a review")
        review = parse(content, Review, where=path.name)
    except RecordError as error:
        return Kept(
            name=path.name, review=None, binds=False, problem=message("cannot be read: {why}", why=error.seen)
        ), own
    problem = None
    if review.previous != before:
        problem = message(
            "It does not follow on the one before: that one was altered, removed, or written at another place."
        )
    return Kept(name=path.name, review=review, binds=review.bundle == bound, problem=problem), own
