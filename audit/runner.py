"""Asks the subject every question of the plan and keeps what came of each.

The only place where a probe's exception is caught. A probe that cannot run, or breaks, leaves a finding that says so;
nothing here decides whether that is acceptable, and a rule on such a finding never passes.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from audit.budget import Clock, TimeIsUp, within
from audit.cards import data_card, environment, plumbline_version, subject_card
from audit.store import Store, key_of
from fine_tune.errors import PlumblineError
from probes.errors import Unavailable
from probes.evidence import Message, Need, message
from probes.probe import Context, Probe, Progress, silent
from probes.registry import create, find, missing_requirements, source_digest
from probes.training_data import training_rows
from reports.bundle import BundleWriter
from reports.record import AuditRecord, Finding, PlannedProbe, RowsRef, canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.evidence import Reading
    from probes.subject import Subject

PREDICTIONS = "evidence/predictions.parquet"
_EXTRAS = {
    "captum": "explain", "textattack": "robustness", "greenlet": "robustness", "opacus": "privacy", "ray": "ray", "datasketch": "quality",
    "phonenumbers": "quality",
}  # fmt: skip
Announce = Callable[[str], None]
_UNDER = message("It was run under the plan's profile {profile}.")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a run is asked to do, apart from the subject.

    Attributes:
        name, seed, level: the plan's.
        planned: every probe instance, in the plan's order.
        only: run these instances alone; empty runs all.
        attestations: what only people can say.
        regulations: frameworks that the report's regulatory index shows in full.
        include_text: whether the report may show texts from the data.
        device: torch's name of the device.
        clock: how long the run and each probe may take.
        remarks: what the record says of the run as a whole.
    """

    name: str
    seed: int
    level: float
    planned: tuple[PlannedProbe, ...]
    only: frozenset[str] = frozenset()
    attestations: Mapping[str, str] = field(default_factory=dict)
    regulations: tuple[str, ...] = ()
    include_text: bool = False
    device: str = "cpu"
    clock: Clock = field(default_factory=Clock)
    remarks: tuple[Message, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a run works with: where it remembers, where it writes, how it shows progress."""

    store: Store
    writer: BundleWriter
    progress: Progress = field(default=silent)
    announce: Announce = field(default=lambda _: None)


def planned_probes(probes: Mapping[str, tuple[str, Mapping[str, Any]]]) -> tuple[PlannedProbe, ...]:
    """Instances from name to (probe id, options), their options checked.

    Raises:
        ProbeError: a probe is unknown or an option is wrong.
    """
    out = []
    for instance, (id_, params) in probes.items():
        create(id_, params)
        out.append(PlannedProbe(instance=instance, info=find(id_).info, params=dict(params)))
    return tuple(out)


def run(job: Job, subject: Subject, desk: Desk) -> AuditRecord:
    """Measure everything that the job asks for; rows and tracebacks go to the bundle, the rest into the record."""
    session = _Session(job, subject, desk)
    findings = tuple(session.finding(p) for p in job.planned if not job.only or p.instance in job.only)
    predictions, reference = session.kept_predictions()
    record = AuditRecord(
        plumbline=plumbline_version(),
        name=job.name,
        seed=job.seed,
        level=job.level,
        subject=subject_card(subject),
        data=data_card(subject.data, predictions, include_text=job.include_text),
        training=subject.training,
        environment=environment(),
        planned=job.planned,
        findings=findings,
        predictions=reference,
        attestations=dict(job.attestations),
        regulations=job.regulations,
        remarks=job.remarks,
    )
    timings = canonical_json({"seconds": session.seconds})
    desk.writer.write_text("provenance/timings.json", timings, "application/json")
    return record


def said_of_profile(profile: str) -> Message:
    """What the record says of a run under a profile."""
    return _UNDER.model_copy(update={"params": {"profile": profile}})


def profile_of(record: AuditRecord) -> str | None:
    """The profile that a run was made under, as its record says."""
    return next((str(m.params["profile"]) for m in record.remarks if m.text == _UNDER.text), None)


def unmet(planned: PlannedProbe, subject: Subject) -> Message | None:
    """Why a probe does not apply to a subject here, or None."""
    absent = missing_requirements(planned.info)
    if absent:
        extras = sorted({_EXTRAS.get(a, "") for a in absent} - {""})
        line = f'pip install "plumbline-audit[{",".join(extras)}]"' if extras else f"pip install {' '.join(absent)}"
        return message("{packages} is not installed. To install it: {line}", packages=", ".join(absent), line=line)
    if planned.info.tasks and subject.task not in planned.info.tasks:
        return message(
            "It is made for {tasks}, and this subject's task is {task}.",
            tasks=", ".join(planned.info.tasks),
            task=subject.task,
        )
    needs = [n for n in planned.info.needs if n not in subject.offers]
    if needs:
        return message(
            "It needs {needs}, which this subject ({kind}) with this data does not offer.",
            needs=", ".join(needs),
            kind=subject.kind,
        )
    return None


def cost_key(planned: PlannedProbe) -> str:
    """The key of what a probe instance took: its options alone, as it is to foretell other models and data too."""
    return key_of("seconds/1", planned.info.id, planned.params)


def rows_key(planned: PlannedProbe, subject: Subject, job: Job) -> str:
    """The cache key of a probe's rows: everything that they depend on."""
    return key_of(
        "rows/1",
        planned.info.id,
        planned.instance,
        planned.params,
        source_digest(find(planned.info.id)),
        environment(),
        subject.digest,
        subject.data.digest,
        job.seed,
        job.device.partition(":")[0],
        # The record lies beside the weights and is no part of the subject's digest.
        subject.training if Need.TRAINING_RECORD in planned.info.needs else None,
        _training_key(subject) if Need.TRAINING_DATA in planned.info.uses else None,
    )


def _training_key(subject: Subject) -> tuple[str, bool] | str:
    """What a probe sees that makes use of training rows where there are any."""
    found = training_rows(subject)
    return str(found) if isinstance(found, Message) else (found.data.digest, found.proven)


class _Session:
    """One run: the subject's predictions are made once and shared by every probe that returns them."""

    def __init__(self, job: Job, subject: Subject, desk: Desk) -> None:
        self._job, self._subject, self._desk = job, subject, desk
        self._shared: pa.Table | None = None
        self._reference: RowsRef | None = None
        self.seconds: dict[str, float] = {}

    def finding(self, planned: PlannedProbe) -> Finding:
        why = unmet(planned, self._subject)
        if why is not None:
            return self._not_measured(planned, "not_applicable", why)
        start = time.perf_counter()
        self._desk.announce(planned.instance)
        allowed = self._job.clock.allowance(planned.instance)
        try:
            probe = create(planned.info.id, planned.params)
            with within(allowed.seconds):
                rows = self._rows(planned, probe)
            reading = probe.summarise(rows, self._context(planned.instance))
            _check(planned, reading)
        except TimeIsUp:
            return self._not_measured(planned, "errored", allowed.reason)
        except Unavailable as error:
            return self._not_measured(planned, "not_applicable", message("{why}", why=str(error)))
        except Exception as error:
            return self._errored(planned, error)
        finally:
            self.seconds[planned.instance] = round(time.perf_counter() - start, 3)
        return Finding(
            instance=planned.instance,
            info=planned.info,
            params=planned.params,
            status="measured",
            reading=reading,
            seed=self._job.seed,
            rows=self._write(planned, rows),
        )

    def kept_predictions(self) -> tuple[pa.Table | None, RowsRef | None]:
        """The subject's predictions and where they lie in the bundle; None where they could not be made."""
        if self._shared is None:
            try:
                with within(self._job.clock.allowance("predictions").seconds):
                    self._shared = self._predictions(self._context("predictions"))
            except TimeIsUp:
                return None, None
            except Exception as error:
                self._traceback("predictions", error)
                return None, None
        if self._reference is None:
            self._reference = self._desk.writer.write_table(PREDICTIONS, self._shared, personal=True)
        return self._shared, self._reference

    def _context(self, instance: str) -> Context:
        return Context(
            instance=instance,
            seed=self._job.seed,
            level=self._job.level,
            journal=self._desk.store.journal(key_of("journal/1", self._subject.digest)[:32]),
            progress=self._desk.progress,
            device=self._job.device,
        )

    def _predictions(self, ctx: Context) -> pa.Table:
        key = key_of(
            "predictions/1",
            environment(),
            self._subject.digest,
            self._subject.data.digest,
            ctx.device.partition(":")[0],
        )
        kept = self._desk.store.rows(key)
        if kept is None:
            # As a later run finds them, so that both write the same bytes.
            kept = self._desk.store.keep_rows(key, self._subject.predictions(ctx))
        return kept

    def _rows(self, planned: PlannedProbe, probe: Probe) -> pa.Table:
        """The probe's rows, from the cache if they were collected before."""
        key = rows_key(planned, self._subject, self._job)
        ctx = self._context(planned.instance)
        if self._desk.store.is_shared(key):
            return self._share(ctx)
        kept = self._desk.store.rows(key)
        if kept is not None:
            return kept
        lent = _Lent(self._subject, self._share)
        start = time.perf_counter()
        rows = probe.collect(lent, ctx)
        self._desk.store.keep_seconds(cost_key(planned), time.perf_counter() - start)
        if rows is self._shared:
            self._desk.store.mark_shared(key)
            return rows
        return self._desk.store.keep_rows(key, rows)

    def _share(self, ctx: Context) -> pa.Table:
        if self._shared is None:
            self._shared = self._predictions(ctx)
        return self._shared

    def _write(self, planned: PlannedProbe, rows: pa.Table) -> RowsRef:
        if rows is self._shared:
            _, reference = self.kept_predictions()
            if reference is not None:
                return reference
        return self._desk.writer.write_table(f"evidence/{planned.instance}/rows.parquet", rows, personal=True)

    def _not_measured(self, planned: PlannedProbe, status: Any, why: Message, trace: str | None = None) -> Finding:
        return Finding(
            instance=planned.instance,
            info=planned.info,
            params=planned.params,
            status=status,
            reason=why,
            seed=self._job.seed,
            traceback=trace,
        )

    def _errored(self, planned: PlannedProbe, error: Exception) -> Finding:
        path = self._traceback(planned.instance, error)
        said = str(error) if isinstance(error, PlumblineError) else f"{type(error).__name__}: {error}"
        return self._not_measured(planned, "errored", message("{error}", error=said), path)

    def _traceback(self, instance: str, error: Exception) -> str:
        path = f"evidence/{instance}/traceback.txt"
        text = "".join(traceback.format_exception(error))
        self._desk.writer.write_text(path, text, "text/plain", personal=True)
        return path


class _Lent:
    """The subject as a probe sees it: its predictions are the run's, made once."""

    def __init__(self, subject: Subject, predictions: Callable[[Context], pa.Table]) -> None:
        self._subject, self._predictions = subject, predictions

    def predictions(self, ctx: Context) -> pa.Table:
        return self._predictions(ctx)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._subject, name)


def _check(planned: PlannedProbe, reading: Reading) -> None:
    """A reading may hold only what its probe defines, once per slice."""
    defined = {d.name for d in planned.info.defines}
    seen: set[tuple[str, object]] = set()
    for m in reading.measurements:
        if m.name not in defined:
            raise ValueError(f"{planned.info.id} returned {m.name!r}, which it does not define")
        if (m.name, m.slice) in seen:
            raise ValueError(f"{planned.info.id} returned {m.name!r} twice for one slice")
        seen.add((m.name, m.slice))


def steps(job: Job, subject: Subject, store: Store) -> Sequence[tuple[PlannedProbe, str, Message | None]]:
    """What a run would do, without doing it: each instance with ``cached``, ``to do``, ``not applicable`` or ``left out``."""
    out: list[tuple[PlannedProbe, str, Message | None]] = []
    for p in job.planned:
        if job.only and p.instance not in job.only:
            out.append((p, "left out", None))
            continue
        why = unmet(p, subject)
        if why is not None:
            out.append((p, "not applicable", why))
            continue
        key = rows_key(p, subject, job)
        out.append((p, "cached" if store.has_rows(key) or store.is_shared(key) else "to do", None))
    return out
