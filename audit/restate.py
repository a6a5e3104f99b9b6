"""The second step again: readings from stored rows, at any confidence level, without the model.

Gating at another level, verification and comparison all come here. Nothing is written and no subject is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from probes.evidence import Reading
from probes.probe import Context, Probe
from probes.registry import create
from reports.record import AuditRecord, Finding, RowsRef

if TYPE_CHECKING:
    import pyarrow as pa

RowsSource = Callable[[RowsRef], "pa.Table"]


def probe_of(finding: Finding) -> Probe:
    """The probe that a finding came from, with its recorded options.

    Raises:
        ProbeError: it is not installed here, or its options changed.
    """
    return create(finding.info.id, finding.params)


def context_of(finding: Finding, level: float) -> Context:
    """The context in which a finding was summarised, at ``level``."""
    return Context(instance=finding.instance, seed=finding.seed, level=level)


def reread(finding: Finding, rows: pa.Table, level: float) -> Reading:
    """Summarise a finding's rows once more."""
    return probe_of(finding).summarise(rows, context_of(finding, level))


def restate(record: AuditRecord, level: float, rows_of: RowsSource, instances: Iterable[str]) -> AuditRecord:
    """The record at another level, for the ``instances`` that have rows; the others are left out.

    A finding that is left out is an error at the gate, never a pass.
    """
    wanted = set(instances)
    findings = tuple(
        f.model_copy(update={"reading": reread(f, rows_of(f.rows), level)})
        for f in record.findings
        if f.instance in wanted and f.status == "measured" and f.rows is not None
    )
    return record.model_copy(update={"level": level, "findings": findings})
