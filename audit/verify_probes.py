"""Is what a record says of its probes what these probes say: questions, definitions, limits and options, and which of them ran?

The figures themselves are `audit.verify`'s to compute. A third-party probe that is not installed here has nothing to be compared
with, and that is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from probes.errors import ProbeError
from probes.evidence import ProbeInfo
from probes.registry import find
from reports.bundle import RESULTS
from reports.record import AuditRecord

if TYPE_CHECKING:
    from audit.verify import VerificationReport


def verify_probes(record: AuditRecord, report: VerificationReport) -> None:
    """Add what does not agree to the problems, and what nothing here can be compared with to what was not recomputed."""
    report.problems += [f"{RESULTS}: {said}" for said in (*_unplanned(record), *_twice(record))]
    for planned in record.planned:
        name, finding = planned.instance, record.finding(planned.instance)
        if finding is None:
            report.not_recomputed.append(f"{name}: is in the plan and did not run, so there is nothing to recompute")
        here = _installed(planned.info)
        if here is None:
            report.not_recomputed.append(
                f"{name}: {planned.info.id} is not installed, so what it says of itself is as the run gave it"
            )
        elif (here.distribution, here.version) != (planned.info.distribution, planned.info.version):
            report.not_recomputed.append(
                f"{name}: what {planned.info.id} says of itself is as {planned.info.distribution} {planned.info.version} gave it; "
                f"here is {here.distribution} {here.version}"
            )
        elif here != planned.info:
            report.problems.append(
                f"{RESULTS}: {name}: {planned.info.id} says otherwise of its {_differing(planned.info, here)}"
            )


def _unplanned(record: AuditRecord) -> Iterator[str]:
    for finding in record.findings:
        name, planned = finding.instance, record.plan(finding.instance)
        if planned is None:
            yield f"{name}: was measured and is not in the plan"
        elif planned.info != finding.info:
            yield f"{name}: plan and finding disagree on its {_differing(finding.info, planned.info)}"
        elif planned.params != finding.params:
            yield f"{name}: plan and finding disagree on its options"
        if finding.seed != record.seed:
            yield f"{name}: its seed is {finding.seed}, the run's is {record.seed}"


def _twice(record: AuditRecord) -> Iterator[str]:
    for what, items in (("planned", record.planned), ("found", record.findings)):
        counted = Counter(item.instance for item in items)
        yield from (f"{name}: is {what} {n} times" for name, n in counted.items() if n > 1)


def _installed(info: ProbeInfo) -> ProbeInfo | None:
    try:
        # Through JSON, because the record's has been there.
        return ProbeInfo.model_validate_json(find(info.id).info.model_dump_json())
    except ProbeError:
        return None


def _differing(a: ProbeInfo, b: ProbeInfo) -> str:
    return ", ".join(name for name in ProbeInfo.model_fields if getattr(a, name) != getattr(b, name))
