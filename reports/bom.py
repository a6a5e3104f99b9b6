"""The bill of materials of an audited model: CycloneDX 1.6, with a model card inside it.

A pure function of record, verdict and provenance: no clock, and a serial number that is made of the content, so that the same audit
gives the same bytes. Everything in it is said elsewhere in the bundle; here it stands where tools for supply chains look for it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from probes.evidence import Measurement, Slice, slice_name
from reports.manifests import Provenance, SplitCounts, jcs
from reports.record import AuditRecord, Ruling, Verdict
from reports.wording import slice_words

_MODEL, _DATA = "model", "data"


def bill_of_materials(record: AuditRecord, verdict: Verdict, provenance: Provenance) -> str:
    """The document as canonical JSON.

    The model is the subject, its files lie inside it, the audited rows and every installed package are components. The model card
    holds each measurement with its interval, what limits them, and one fairness assessment for each group that was measured.
    """
    body = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "plumbline-audit", "version": record.plumbline}]},
            "component": _model(record, verdict, provenance),
        },
        "components": [_data(record, provenance), *_libraries(provenance.environment.packages)],
        "dependencies": [{"ref": _MODEL, "dependsOn": [_DATA]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, sha256(jcs(body).encode()).hexdigest())
    return jcs({**body, "serialNumber": f"urn:uuid:{serial}"}) + "\n"


def _model(record: AuditRecord, verdict: Verdict, provenance: Provenance) -> dict[str, Any]:
    subject, manifest = record.subject, provenance.model
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": subject.name,
        "modelCard": _card(record, verdict),
        "properties": _properties(
            {
                "kind": subject.kind,
                "subject": subject.digest,
                **{f"attestation:{k}": v for k, v in record.attestations.items()},
                **{f"details:{k}": v for k, v in subject.details.items()},
            }
        ),
    }
    if manifest.tree is not None:
        component["hashes"] = _hashes(manifest.tree)
        component["components"] = [
            {"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": _hashes(sha)}
            for path, sha in sorted(manifest.files.items())
        ]
    return component


def _data(record: AuditRecord, provenance: Provenance) -> dict[str, Any]:
    facts: dict[str, Any] = {f"source:{k}": v for k, v in provenance.data.source.items()}
    for split in provenance.data.splits:
        facts |= dict(_split_facts(split))
    return {
        "type": "data",
        "bom-ref": _DATA,
        "name": record.data.name,
        "hashes": _hashes(record.data.digest),
        "data": [{"type": "dataset", "name": record.data.name, "contents": {"properties": _properties(facts)}}],
    }


def _split_facts(split: SplitCounts) -> Iterator[tuple[str, str | int]]:
    yield f"{split.split}:rows", split.rows
    if split.digest is not None:
        yield f"{split.split}:digest", split.digest
    for label, n in (split.labels or {}).items():
        yield f"{split.split}:label:{label}", n
    for feature, values in (split.groups or {}).items():
        for value, n in values.items():
            yield f"{split.split}:group:{feature}={value}", n


def _libraries(packages: dict[str, str]) -> list[dict[str, Any]]:
    found = []
    for name, version in sorted(packages.items()):
        purl = f"pkg:pypi/{quote(name, safe='')}@{quote(version, safe='')}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return found


def _card(record: AuditRecord, verdict: Verdict) -> dict[str, Any]:
    subject = record.subject
    parameters: dict[str, Any] = {"task": subject.task, "datasets": [{"ref": _DATA}]}
    if "architecture" in subject.details:
        parameters["modelArchitecture"] = str(subject.details["architecture"])
    parameters["outputs"] = [{"format": name} for name in subject.classes]
    considerations: dict[str, Any] = {
        "technicalLimitations": list(dict.fromkeys(_limits(record))),
        "fairnessAssessments": [_assessment(where, verdict) for where in _groups(record)],
    }
    if "intended_purpose" in record.attestations:
        considerations["useCases"] = [record.attestations["intended_purpose"]]
    told = {
        "outcome": verdict.outcome,
        "enforced": str(verdict.enforced).lower(),
        "decided_on": verdict.decided_on.isoformat(),
        "record_sha256": verdict.record_sha256,
        "policy": f"{verdict.policy.name} version {verdict.policy.version}" if verdict.policy else "none",
    }
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(record))},
        "considerations": {k: v for k, v in considerations.items() if v},
        "properties": _properties(told),
    }


def _metrics(record: AuditRecord) -> Iterator[dict[str, Any]]:
    for finding in record.findings:
        for m in finding.reading.measurements if finding.reading else ():
            if not isinstance(m, Measurement):
                continue
            metric: dict[str, Any] = {
                "type": f"{finding.instance}:{m.name}",
                "value": repr(m.value),
                "slice": slice_name(m.slice),
            }
            if m.interval is not None:
                ends = {"lowerBound": m.interval.low, "upperBound": m.interval.high}
                metric["confidenceInterval"] = {k: repr(v) for k, v in ends.items() if v is not None}
            yield metric


def _limits(record: AuditRecord) -> Iterator[str]:
    """What the probes say of themselves, and everything that was asked and has no answer."""
    for finding in record.findings:
        if finding.reading is None:
            yield f"{finding.instance}: {finding.status}: {finding.reason}"
            continue
        yield from (f"{finding.instance}: {limit}" for limit in finding.info.limits)
        for m in finding.reading.measurements:
            if not isinstance(m, Measurement):
                yield f"{finding.instance}:{m.name} on {slice_name(m.slice)} has no value: {m.reason}"
    ran = {f.instance for f in record.findings}
    yield from (f"{p.instance}: did not run" for p in record.planned if p.instance not in ran)


def _groups(record: AuditRecord) -> list[Slice]:
    """Every group that something was measured on, once, in the record's order."""
    found: dict[str, Slice] = {}
    for finding in record.findings:
        for m in finding.reading.measurements if finding.reading else ():
            group = tuple(a for a in m.slice if a.kind == "group")
            if group:
                found.setdefault(slice_name(group), group)
    return list(found.values())


def _assessment(group: Slice, verdict: Verdict) -> dict[str, str]:
    """What the policy found for one group. Nothing is called a benefit: no figure shows one."""
    ruled = [r for r in verdict.rulings if tuple(a for a in r.check.slice if a.kind == "group") == group]
    out = {"groupAtRisk": slice_words(group), "harms": _harms(ruled)}
    excuses = [w.statement for w in verdict.waivers if any(r.waiver == w.id for r in ruled)]
    if excuses:
        out["mitigationStrategy"] = " ".join(excuses)
    return out


def _harms(ruled: list[Ruling]) -> str:
    if not ruled:
        return "No rule of the policy looks at this group."
    return " ".join(f"{r.check.rule.id}: {r.outcome}. {r.reason}" for r in ruled)


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(facts: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"plumbline:{name}", "value": str(value)} for name, value in facts.items()]
