"""Asks one probe of a finished run again, from nothing, and says which of its figures come out the same.

The rows are collected anew: neither cache nor journal is looked at, and the run is only read. Options, seed and level are
the record's; model and data are whatever the caller opens, and are refused unless their digests are the record's. It takes
no plan from the bundle, because a plan says whose code to run and which server to ask, and a bundle may be anybody's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from audit.errors import GateError
from audit.restate import context_of, probe_of
from audit.runner import unmet
from audit.sound import require_sound
from audit.surroundings import EXACT, FLOATING, MONTE_CARLO_ERRORS, tolerance_here
from fine_tune.errors import PlumblineError
from probes.errors import Unavailable
from probes.evidence import AnyMeasurement, Measurement, Message, Need, Reading, Slice
from probes.probe import Progress, silent
from reports.errors import VerificationError
from reports.files import parquet_bytes
from reports.record import AuditRecord, Finding, PlannedProbe, RowsRef, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.subject import Subject
    from reports.bundle import Bundle

Part = Literal["value", "low", "high", "n", "denominator", "smallest", "clusters", "exists"]
_COUNTS: tuple[Part, ...] = ("n", "denominator", "smallest", "clusters")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a measurement, as the record has it and as it came out again.

    Attributes:
        measure, slice: of the measurement.
        part: which of its figures; ``exists`` tells a measurement that only one of the two has.
        stored, again: both values; None is no value, such as an end that an interval does not have.
        tolerance: how far apart they may lie, absolutely or relative to the larger; 0 for counts.
    """

    measure: str
    slice: Slice
    part: Part
    stored: float | None
    again: float | None
    tolerance: float

    @property
    def same(self) -> bool:
        """Whether both agree within the tolerance."""
        if self.stored is None or self.again is None:
            return self.stored is self.again
        return math.isclose(self.stored, self.again, rel_tol=self.tolerance, abs_tol=self.tolerance)


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What one probe said the second time.

    Attributes:
        instance: the probe instance.
        figures: every figure of both readings, in the record's order.
        exact: every figure has to agree to 1e-12.
        basis: what the tolerance is and why, one sentence each.
        rows_same: the rows that were collected are those of the run, value by value; None where the run keeps none.
    """

    instance: str
    figures: tuple[Figure, ...]
    exact: bool
    basis: tuple[Message, ...]
    rows_same: bool | None

    @property
    def differing(self) -> tuple[Figure, ...]:
        """The figures that do not agree."""
        return tuple(f for f in self.figures if not f.same)

    @property
    def ok(self) -> bool:
        """Every figure agrees; where there are none, the rows do."""
        return not self.differing and (bool(self.figures) or self.rows_same is True)


def instance_of(verdict: Verdict, record: AuditRecord, *, check: str | None, instance: str | None) -> str:
    """The probe instance that a rule rests on, or the one that was named.

    Raises:
        GateError: neither or both are given, or the run has none of that name.
    """
    if (check is None) == (instance is None):
        raise GateError(
            "one probe is asked again at a time",
            expected="a rule or a probe instance",
            fix="give --check or --instance",
        )
    if instance is None:
        rules = {r.id: r for r in verdict.policy.rules} if verdict.policy else {}
        if check not in rules:
            raise GateError(
                f"the run was held to no rule called {check!r}",
                expected=f"one of {', '.join(rules)}" if rules else "a run with a policy",
                fix="see its report, or give --instance",
            )
        instance = rules[check].instance
    if record.finding(instance) is None:
        names = ", ".join(f.instance for f in record.findings)
        raise GateError(f"the run has nothing measured by {instance!r}", expected=f"one of {names}")
    return instance


def stored_finding(bundle: Bundle, record: AuditRecord, instance: str) -> Finding:
    """The measured finding of an instance, in a bundle that agrees with its own hashes.

    Raises:
        GateError: nothing was measured, so there is nothing to compare with.
        VerificationError: the bundle does not agree with its own hashes.
    """
    require_sound(bundle)
    finding = record.finding(instance)
    if finding is None or finding.status != "measured":
        said = f": {finding.reason}" if finding is not None else ""
        raise GateError(
            f"{instance} measured nothing in this run{said}", expected="a probe instance with figures to compare"
        )
    return finding


def ask_again(
    bundle: Bundle, finding: Finding, subject: Subject, *, device: str = "cpu", progress: Progress = silent
) -> Reproduction:
    """Collect a finding's rows anew and compare what is read off them with the record.

    Args:
        bundle: the run; nothing is written to it.
        finding: a measured one of it, from `stored_finding`.
        subject: model and data.
        device: torch's name of the device.
        progress: wraps long loops.

    Raises:
        VerificationError: model or data are others than the run's, or the probe broke.
        GateError: the probe cannot ask this subject here.
    """
    record = bundle.record()
    refuse_others(record, finding, subject)
    planned = PlannedProbe(instance=finding.instance, info=finding.info, params=finding.params)
    why = unmet(planned, subject)
    if why is not None:
        raise GateError(f"{finding.instance} cannot be asked here: {why}")
    probe = probe_of(finding)
    # A context of its own: its journal is empty and ends with this call.
    ctx = replace(context_of(finding, record.level), device=device, progress=progress)
    try:
        rows = probe.collect(subject, ctx)
        again = probe.summarise(rows, ctx)
    except Unavailable as error:
        raise GateError(f"{finding.instance} cannot be asked here: {error}") from error
    except Exception as error:
        said = str(error) if isinstance(error, PlumblineError) else f"{type(error).__name__}: {error}"
        raise VerificationError(
            f"{finding.instance} measured something in the run and broke here: {said}",
            fix="set PLUMBLINE_DEBUG=1 to see the traceback",
        ) from error
    exact, basis = tolerance_here(bundle, record, subject, device)
    stored = finding.reading or Reading(measurements=())
    return Reproduction(
        instance=finding.instance,
        figures=tuple(_figures(stored, again, exact=exact)),
        exact=exact,
        basis=basis,
        rows_same=_same_rows(bundle, finding.rows, rows) if finding.rows is not None else None,
    )


def refuse_others(record: AuditRecord, finding: Finding, subject: Subject) -> None:
    """Check that a subject is the one that was examined, on the same rows.

    Raises:
        VerificationError: it is not; every difference is named.
    """
    asked = {*finding.info.needs, *finding.info.uses}
    wrong = []
    if subject.digest != record.subject.digest:
        wrong.append(
            f"the model {subject.name} has the digest {subject.digest}; the run examined {record.subject.name} with"
            f" {record.subject.digest}"
        )
    if subject.data.digest != record.data.digest:
        wrong.append(
            f"the data {subject.data.name} has the digest {subject.data.digest}; the run used {record.data.name} with"
            f" {record.data.digest}"
        )
    if asked & {Need.TRAINING_DATA, Need.TRAINING_RECORD} and subject.training != record.training:
        wrong.append(f"the training record of {subject.name} is not the run's")
    if wrong:
        raise VerificationError(
            "; ".join(wrong),
            expected="what the run examined, byte by byte",
            fix="open the same model and the same data",
        )


def _same_rows(bundle: Bundle, ref: RowsRef, rows: pa.Table) -> bool:
    """By their values, both read from a file, which may rename what is inside of a list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return bool(bundle.rows(ref).equals(pq.read_table(pa.BufferReader(parquet_bytes(rows)))))


def _figures(stored: Reading, again: Reading, *, exact: bool) -> Iterator[Figure]:
    found = {(m.name, m.slice): m for m in again.measurements}
    for m in stored.measurements:
        yield from _compared(m, found.pop((m.name, m.slice), None), exact=exact)
    for m in found.values():
        yield from _compared(None, m, exact=exact)


def _compared(stored: AnyMeasurement | None, again: AnyMeasurement | None, *, exact: bool) -> Iterator[Figure]:
    m = stored if stored is not None else again
    if m is None:
        return
    tolerance = EXACT if exact else max(FLOATING, MONTE_CARLO_ERRORS * max(_error(stored), _error(again)))

    def figure(part: Part, a: float | None, b: float | None, within: float = tolerance) -> Figure:
        return Figure(measure=m.name, slice=m.slice, part=part, stored=a, again=b, tolerance=within)

    if stored is None or again is None:
        yield figure("exists", None if stored is None else 1, None if again is None else 1, 0)
        return
    one, other = _values(stored), _values(again)
    for part in ("value", "low", "high"):
        # An undefined value is compared as such; an end that neither interval has is no figure.
        if part == "value" or one[part] is not None or other[part] is not None:
            yield figure(part, one[part], other[part])
    for part in _COUNTS:
        a, b = getattr(stored.counts, part), getattr(again.counts, part)
        if a is not None or b is not None:
            yield figure(part, a, b, 0)


def _values(m: AnyMeasurement) -> dict[Part, float | None]:
    if not isinstance(m, Measurement):
        return {"value": None, "low": None, "high": None}
    ends = m.interval
    return {"value": m.value, "low": ends.low if ends else None, "high": ends.high if ends else None}


def _error(m: AnyMeasurement | None) -> float:
    if not isinstance(m, Measurement):
        return 0.0
    return max(m.monte_carlo_error or 0.0, (m.interval.monte_carlo_error if m.interval else None) or 0.0)
