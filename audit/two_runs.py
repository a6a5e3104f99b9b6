"""Two finished runs, compared whole: every measure that both have, rows that went from right to wrong, and what is demanded.

Nothing is measured again and nothing decided: figures are summarised once more from the rows that both bundles keep. A
bundle that does not agree with its own hashes is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audit.moving import Figure, Moved, by_bounds, by_jackknife, figures_of, p_value
from audit.pairing import Both, Incomparable, Run
from audit.progress import chosen
from audit.sound import open_sound
from fine_tune.errors import PlumblineError
from probes.evidence import AnyMeasurement, MeasureDefinition, Measurement, Message, message
from probes.probe import Progress
from reports.bundle import Bundle
from reports.comparison import Difference, NotCompared, RunComparison, RunFacts, Way
from reports.files import MANIFEST, file_digest
from reports.policy_changes import policy_changes
from reports.record import Defaults, Finding, Outcome, Verdict
from reports.run_changes import changes, check_changes, rule_changes

if TYPE_CHECKING:
    from audit.result import Result

OUTCOMES: tuple[Outcome, ...] = ("fail", "error", "inconclusive", "waived", "pass")


def compare(before: Path | str | Result, after: Path | str | Result, *, progress: bool = True) -> RunComparison:
    """What changed from one finished run to another.

    Args:
        before, after: bundles, or results; the earlier one first.
        progress: show a bar on standard error for each probe instance.

    Raises:
        RecordError: one of them is no bundle.
        VerificationError: one of them does not agree with its own hashes.
    """
    older, newer = _opened(before), _opened(after)
    return compare_bundles(older, newer, chosen(progress))


def compare_bundles(before: Bundle, after: Bundle, progress: Progress) -> RunComparison:
    """As `compare`, of two bundles whose hashes were checked."""
    older = Run(record=before.record(), rows_of=before.rows)
    newer = Run(record=after.record(), rows_of=after.rows)
    then, now = before.verdict(), after.verdict()
    # Late, because it loads numpy and pyarrow.
    from audit.harmed_rows import harmed_rows

    min_n = (now.policy.defaults if now.policy else Defaults()).min_n
    two = _Two(older, newer, min_n)
    differences, not_compared = two.every(progress)
    corrected, compared = _corrected(differences)
    rows, why = harmed_rows(older, newer)
    return RunComparison(
        before=_facts(before, older, then),
        after=_facts(after, newer, now),
        level=newer.record.level,
        min_n=min_n,
        differences=corrected,
        not_compared=tuple(not_compared),
        groups_compared=compared,
        harmed_rows=rows,
        no_harmed_rows=why,
        checks=check_changes(then, now),
        changes=(*changes(older.record, newer.record), *rule_changes(then, now)),
        policy=policy_changes(then.policy, now.policy),
        remarks=(*two.remarks(), *_order(then, now)),
    )


def _opened(given: Path | str | Result) -> Bundle:
    folder = given if isinstance(given, str | Path) else given.path
    return open_sound(folder)


def _order(then: Verdict, now: Verdict) -> Iterator[Message]:
    if then.decided_on > now.decided_on:
        yield message("The run that is taken as the later one was decided on {later}, before the other on {earlier}; perhaps they"
                      " should be swapped.", later=now.decided_on.isoformat(), earlier=then.decided_on.isoformat())  # fmt: skip


class _Two:
    """Both runs, instance by instance."""

    def __init__(self, older: Run, newer: Run, min_n: int) -> None:
        self._older, self._newer, self._min_n = older, newer, min_n
        self._level = newer.record.level
        a, b = older.record, newer.record
        self._same = (a.subject.digest, a.data.digest) == (b.subject.digest, b.data.digest)

    def every(self, progress: Progress) -> tuple[list[Difference], list[NotCompared]]:
        found: list[Difference] = []
        without: list[NotCompared] = []
        for finding in self._newer.record.findings:
            older = self._older.record.finding(finding.instance)
            if older is None or finding.reading is None or older.reading is None:
                continue  # told among what appeared, disappeared or has another status
            for one in self._instance(finding, older, progress):
                (found if isinstance(one, Difference) else without).append(one)  # type: ignore[arg-type]
        return found, without

    def remarks(self) -> tuple[Message, ...]:
        if self._same:
            return (
                message("Both runs examined the same model on the same rows, so a figure differs only where it was measured otherwise."),
            )  # fmt: skip
        return ()

    def _instance(self, finding: Finding, older: Finding, progress: Progress) -> Iterator[Difference | NotCompared]:
        if finding.info.id != older.info.id or finding.params != older.params:
            yield _without(finding, message("{instance} was measured with other options", instance=finding.instance))
            return
        now, then = (figures_of(f.reading.measurements if f.reading else ()) for f in (finding, older))
        shared = [figure for figure in now if figure in then]
        exact: list[Figure] = []
        sampled: list[Figure] = []
        for figure in shared:
            a, b = now[figure], then[figure]
            if isinstance(a, Measurement) and isinstance(b, Measurement):
                (exact if a.interval is None or b.interval is None or self._unmoved(a, b) else sampled).append(figure)
            else:
                yield _without(finding, _no_value(a, b), figure)
        moved: dict[Figure, tuple[Moved | Message, Way]] = {
            figure: (Moved(now=a, then=b, interval=None), "exact")
            for figure in exact
            if isinstance(a := now[figure], Measurement) and isinstance(b := then[figure], Measurement)
        }
        try:
            moved |= self._sampled(finding, older, sampled, progress)
        except Incomparable as error:
            yield _without(finding, error.reason)
        except PlumblineError as error:
            yield _without(finding, message("it cannot be summarised again here: {why}", why=str(error)))
        except Exception as error:
            # A probe's own fault takes its own figures away, and no others; it is told, and never looks like no change.
            what = f"{type(error).__name__}: {error}"
            yield _without(finding, message("{probe} stopped with an error on the stored rows: {why}",
                                            probe=finding.info.id, why=what))  # fmt: skip
        for figure in (f for f in shared if f in moved):
            found, way = moved[figure]
            yield (
                _without(finding, found, figure)
                if isinstance(found, Message)
                else self._difference(finding, figure, found, way)
            )

    def _unmoved(self, a: Measurement, b: Measurement) -> bool:
        """The same figure of the same model on the same rows: that difference is 0, and no sample of one."""
        return self._same and a.value == b.value

    def _sampled(
        self, finding: Finding, older: Finding, figures: Sequence[Figure], progress: Progress
    ) -> Mapping[Figure, tuple[Moved | Message, Way]]:
        if not figures:
            return {}
        rows, older_rows = self._newer.rows(finding), self._older.rows(older)
        if rows is None or older_rows is None:
            raise Incomparable(message("no rows are kept for {instance}", instance=finding.instance))
        both = Both.of(finding, older, rows, older_rows)
        if both.pairs is None:
            return {f: (m, "unpaired") for f, m in by_bounds(both, figures, self._level).items()}
        smooth = [f for f in figures if (d := finding.info.definition(f[0])) is not None and d.smooth]
        try:
            found: dict[Figure, Moved | Message] = by_jackknife(both, smooth, self._level, progress) if smooth else {}
        except Incomparable as error:
            found = dict.fromkeys(smooth, error.reason)
        except PlumblineError as error:
            found = dict.fromkeys(smooth, message("{why}", why=str(error)))
        # What resampling cannot give, both runs' own intervals on the common rows may.
        rest = [f for f in figures if found.get(f) is None or isinstance(found[f], Message)]
        found |= by_bounds(both, rest, self._level) if rest else {}
        return {f: (m, "paired") for f, m in found.items()}

    def _difference(self, finding: Finding, figure: Figure, moved: Moved, way: Way) -> Difference:
        definition: MeasureDefinition | None = finding.info.definition(figure[0])
        counts = moved.counts
        return Difference(
            instance=finding.instance,
            measure=figure[0],
            slice=figure[1],
            better=definition.better if definition else moved.now.better,
            unit=moved.now.unit or (definition.unit if definition else ""),
            before=moved.then.value,
            after=moved.now.value,
            difference=moved.difference,
            interval=moved.interval,
            counts=counts,
            way=way,
            enough=counts.denominator >= self._min_n,
            p_value=p_value(moved.difference, moved.interval),
        )


def _without(finding: Finding, reason: Message, figure: Figure = ("", ())) -> NotCompared:
    return NotCompared(instance=finding.instance, measure=figure[0], slice=figure[1], reason=reason)


def _no_value(now: AnyMeasurement, then: AnyMeasurement) -> Message:
    if not isinstance(now, Measurement):
        if not isinstance(then, Measurement):
            return message("no value in either run: {why}", why=now.reason)
        return message("no value in the later run: {why}", why=now.reason)
    return message("no value in the earlier run: {why}", why="" if isinstance(then, Measurement) else then.reason)


def _corrected(differences: Sequence[Difference]) -> tuple[tuple[Difference, ...], int]:
    """The same, with p-values corrected over every figure of a group from which something could be claimed."""
    from probes.multiplicity import holm

    asked = [i for i, d in enumerate(differences)
             if d.of_group and d.better != "neither" and d.enough and d.p_value is not None]  # fmt: skip
    adjusted = holm([differences[i].p_value or 0.0 for i in asked]) if asked else ()
    by_place = {i: float(p) for i, p in zip(asked, adjusted, strict=True)}
    return tuple(
        d.model_copy(update={"p_holm": by_place[i]}) if i in by_place else d for i, d in enumerate(differences)
    ), len(asked)


def _facts(bundle: Bundle, run: Run, verdict: Verdict) -> RunFacts:
    record, policy = run.record, verdict.policy
    return RunFacts(
        folder=bundle.folder.resolve().name,
        bundle=file_digest(bundle.folder / MANIFEST),
        record_sha256=verdict.record_sha256,
        name=record.name,
        plumbline=record.plumbline,
        level=record.level,
        subject=record.subject.name,
        subject_digest=record.subject.digest,
        data=record.data.name,
        data_digest=record.data.digest,
        rows=record.data.rows,
        policy=policy.name if policy else None,
        policy_version=str(policy.version) if policy else None,
        decided_on=verdict.decided_on,
        outcome=verdict.outcome,
        enforced=verdict.enforced,
        checks={o: verdict.count(o) for o in OUTCOMES},
    )
