"""Finds every run below a folder and reads it as history: which runs there are, what was decided, how each measure went.

Reading is light: no rows, no torch, no model. Nothing is dropped in silence: a bundle that is broken, altered or out of reach is
listed with the reason, and an altered one gives no figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audit.errors import HistoryError
from fine_tune.errors import PlumblineError
from probes.evidence import AnyMeasurement, Measurement, Message, Slice, message
from reports.bundle import Bundle
from reports.files import MANIFEST, RESULTS, SIGNATURE, SIGSTORE, VERDICT
from reports.history import Broken, History, Point, ReviewLine, RunLine, Trend
from reports.record import AuditRecord, Ruling, Verdict
from reports.reviews import Reviews, bundle_digest, reviews_of

DEPTH = 4
_SIGNS = (RESULTS, MANIFEST, VERDICT)
Figure = tuple[str, str, Slice]


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A run as it was read; ``record`` is kept for its figures."""

    line: RunLine
    record: AuditRecord
    verdict: Verdict


def history(folder: Path | str, *, measures: Sequence[str] = (), depth: int = DEPTH) -> History:
    """Every run below a folder, the oldest decision first.

    Args:
        folder: a folder of runs, at any depth down to ``depth``; a run itself counts too.
        measures: ``instance:measure`` or ``measure``; by default those that some run has a rule on, or where none has
            one, those over all rows.
        depth: how many folders deep to look; 0 is the folder alone.

    Raises:
        HistoryError: there is no such folder, no run below it, or no run has a measure that was asked for.
    """
    top = Path(folder)
    if not top.is_dir():
        raise HistoryError(f"{top} is no folder", expected="a folder with runs below it")
    read: list[_Read] = []
    walk = _Walk(top=top)
    for place in walk.places(top, depth):
        found = _read(top, place)
        if isinstance(found, Broken):
            walk.broken.append(found)
        else:
            read.append(found)
    if not read and not walk.broken:
        raise HistoryError(
            f"no run lies below {top}, down to {depth} folders deep",
            expected="folders that `plumbline run --out` wrote",
            fix="name another folder, or look deeper with --depth",
        )
    read.sort(key=lambda r: (r.line.decided_on, r.line.folder))
    trends = tuple(_trends(read, measures))
    asked_and_missing = [m for m in measures if not any(_asked(t.instance, t.measure, (m,)) for t in trends)]
    if asked_and_missing:
        raise HistoryError(
            f"no run below {top} has the measure {', '.join(map(repr, asked_and_missing))}",
            expected=f"one of {', '.join(_known(read)) or 'none: no sound run was measured'}",
        )
    return History(
        folder=top.resolve().name,
        depth=depth,
        runs=tuple(r.line for r in read),
        broken=tuple(sorted(walk.broken, key=lambda b: b.folder)),
        asked=tuple(measures),
        trends=trends,
        remarks=tuple(_remarks(read, walk.deeper, depth)),
    )


@dataclass(kw_only=True)
class _Walk:
    """Folders below ``top``: what could not be looked into, and how many lie deeper than was asked for."""

    top: Path
    broken: list[Broken] = field(default_factory=list)
    deeper: int = 0

    def places(self, here: Path, depth: int) -> Iterator[Path]:
        """Folders that look like runs, in order; what lies inside a run is its own, and is not looked into."""
        if any((here / name).exists() for name in _SIGNS):
            yield here
            return
        try:
            inside = sorted(p for p in here.iterdir() if p.is_dir())
        except OSError as error:
            self._unseen(here, message("cannot be looked into: {why}", why=str(error.strerror)))
            return
        for place in inside:
            if place.is_symlink():
                self._unseen(place, message("is a link, and was not followed"))
            elif depth > 0:
                yield from self.places(place, depth - 1)
            else:
                self.deeper += 1

    def _unseen(self, place: Path, reason: Message) -> None:
        self.broken.append(Broken(folder=_name(self.top, place), reason=reason))


def _name(top: Path, place: Path) -> str:
    return place.relative_to(top).as_posix().encode("utf-8", "replace").decode()


def _read(top: Path, place: Path) -> _Read | Broken:
    name = _name(top, place)
    try:
        bundle = Bundle.open(place)
        record, verdict = bundle.record(), bundle.verdict()
        problems = bundle.check()
        line = _line(name, bundle, record, verdict, problems)
    except PlumblineError as error:
        return Broken(folder=name, reason=message("{why}", why=error.seen))
    except OSError as error:
        return Broken(folder=name, reason=message("cannot be read: {why}", why=str(error.strerror)))
    return _Read(line=line, record=record, verdict=verdict)


def _line(name: str, bundle: Bundle, record: AuditRecord, verdict: Verdict, problems: list[str]) -> RunLine:
    problem = None
    if problems:
        problem = message("its hashes do not check ({count}): {first}", count=len(problems), first=problems[0])
    elif verdict.record_sha256 != _sha256(record):
        problem = message("its verdict was decided on another record")
    kept = reviews_of(bundle.folder)
    signed = any((bundle.folder / s).is_file() for s in (SIGNATURE, SIGSTORE))
    return RunLine(
        folder=name,
        problem=problem,
        bundle=bundle_digest(bundle.folder),
        name=record.name,
        subject=record.subject.name,
        subject_digest=record.subject.digest,
        data=record.data.name,
        data_digest=record.data.digest,
        rows=record.data.rows,
        policy=verdict.policy.name if verdict.policy else None,
        policy_version=str(verdict.policy.version) if verdict.policy else None,
        decided_on=verdict.decided_on,
        outcome=verdict.outcome,
        enforced=verdict.enforced,
        signed="signature beside, not checked" if signed else "unsigned",
        reviews=len(kept.every),
        # What nobody can tell to be this bundle, nobody has signed off.
        review=_review(kept) if problem is None else None,
    )


def _sha256(record: AuditRecord) -> str:
    from reports.files import digest

    return digest(record.to_json().encode())


def _review(kept: Reviews) -> ReviewLine | None:
    found = kept.counts
    return None if found is None else ReviewLine(decision=found.decision, by=found.by, on=found.on, of=len(kept.every))


def _trends(read: Sequence[_Read], measures: Sequence[str]) -> Iterator[Trend]:
    sound = [(i, r) for i, r in enumerate(read) if r.line.problem is None]
    figures = {i: _figures(r.record) for i, r in sound}
    rulings = {i: _rulings(r.verdict) for i, r in sound}
    every = dict.fromkeys(f for i, _ in sound for f in figures[i])
    ruled = {f for i, _ in sound for f in rulings[i]}
    for figure in every:
        instance, measure, where = figure
        wanted = _asked(instance, measure, measures) if measures else figure in ruled if ruled else not where
        if not wanted:
            continue
        found = [m for i, _ in sound if isinstance(m := figures[i].get(figure), Measurement)]
        yield Trend(
            instance=instance,
            measure=measure,
            slice=where,
            unit=found[-1].unit if found else "",
            better=found[-1].better if found else "neither",
            points=tuple(_point(i, figures[i].get(figure), rulings[i].get(figure, ())) for i, _ in sound),
        )


def _point(run: int, m: AnyMeasurement | None, rulings: Sequence[Ruling]) -> Point:
    outcomes, limits = tuple(r.outcome for r in rulings), tuple(r.limit for r in rulings)
    if m is None:
        return Point(run=run, value=None, note=message("not measured in this run"), outcomes=outcomes, limits=limits)
    if not isinstance(m, Measurement):
        return Point(run=run, value=None, n=m.counts.denominator, note=m.reason, outcomes=outcomes, limits=limits)
    low, high = (m.interval.low, m.interval.high) if m.interval else (None, None)
    return Point(run=run, value=m.value, low=low, high=high, n=m.counts.denominator, outcomes=outcomes, limits=limits)


def _figures(record: AuditRecord) -> dict[Figure, AnyMeasurement]:
    return {
        (f.instance, m.name, m.slice): m
        for f in record.findings
        for m in (f.reading.measurements if f.reading else ())
    }  # fmt: skip


def _rulings(verdict: Verdict) -> dict[Figure, tuple[Ruling, ...]]:
    """Rulings on figures themselves; one on a drop from a baseline speaks of another figure."""
    out: dict[Figure, tuple[Ruling, ...]] = {}
    for r in verdict.rulings:
        if r.check.rule.max_drop is None:
            key = (r.check.rule.instance, r.check.rule.measure_name, r.check.slice)
            out[key] = (*out.get(key, ()), r)
    return out


def _asked(instance: str, measure: str, measures: Sequence[str]) -> bool:
    return measure in measures or f"{instance}:{measure}" in measures


def _known(read: Sequence[_Read]) -> list[str]:
    sound = [r.record for r in read if r.line.problem is None]
    return sorted(
        {
            f"{f.instance}:{m.name}"
            for r in sound
            for f in r.findings
            for m in (f.reading.measurements if f.reading else ())
        }
    )


def _remarks(read: Sequence[_Read], deeper: int, depth: int) -> Iterator[Message]:
    if deeper:
        yield message(
            "Folders that lie deeper than {depth} and were not looked into: {count}.", depth=depth, count=deeper
        )
    unsound = sum(r.line.problem is not None for r in read)
    if unsound:
        yield message(
            "Runs whose hashes do not check, and whose figures are therefore not shown: {count}.", count=unsound
        )
    if len({r.line.data_digest for r in read}) > 1:
        yield message("Not all runs examined the same rows, so part of a difference may be one of the data.")
    levels = {r.record.level for r in read}
    if len(levels) > 1:
        yield message("Not all intervals are of the same confidence level.")
