"""The verdict as an in-toto Statement with the predicate test-result v0.1: which model, data and policy came out how.

A pure function of record, verdict and provenance. It decides nothing: whoever admits releases by it reads the same outcome as the
report's. Unsigned it proves nothing either; it is what a signature is put on.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

from reports.files import RESULTS, VERDICT
from reports.manifests import Provenance, jcs, policy_digest
from reports.record import AuditRecord, Verdict, canonical_json
from reports.standing import STOPS, as_enforced, standing, stops

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
SUBJECT, TREE, DATA, POLICY = "model", "model files", "data", "policy"

Result = Literal["PASSED", "WARNED", "FAILED"]


def statement(
    record: AuditRecord, verdict: Verdict, provenance: Provenance, also: Mapping[str, str] | None = None
) -> str:
    """The statement as canonical JSON.

    Args:
        record: what was measured.
        verdict: what was decided on it.
        provenance: the lists beside them.
        also: sha256 of further subjects by name, such as the bundle's own list where the statement lies outside of it.
    """
    subjects = {**_subjects(record, verdict, provenance), **(also or {})}
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [_described(name, sha) for name, sha in subjects.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": _predicate(verdict, provenance),
    }
    return jcs(body) + "\n"


def _subjects(record: AuditRecord, verdict: Verdict, provenance: Provenance) -> dict[str, str]:
    files = {TREE: provenance.model.tree} if provenance.model.tree is not None else {}
    policy = {POLICY: policy_digest(verdict.policy)} if verdict.policy is not None else {}
    return {
        SUBJECT: record.subject.digest,
        **files,
        DATA: record.data.digest,
        **policy,
        RESULTS: _sha(record.to_json()),
        VERDICT: _sha(verdict.to_json()),
    }


def _predicate(verdict: Verdict, provenance: Provenance) -> dict[str, Any]:
    configuration = {}
    if verdict.policy is not None:
        configuration[POLICY] = policy_digest(verdict.policy)
    if verdict.waivers:
        waivers = [w.model_dump(mode="json") for w in verdict.waivers]
        configuration["waivers"] = _sha(canonical_json(waivers))
    if provenance.lock is not None:
        configuration["lock"] = _sha(provenance.lock.to_json())
    enforced = as_enforced(verdict)
    told = [(r.check.name, standing(r, enforced)) for r in verdict.rulings]
    return {
        "result": result(verdict),
        "configuration": [_described(name, sha) for name, sha in configuration.items()],
        "passedTests": [name for name, where in told if where == "passed"],
        "warnedTests": [name for name, where in told if where in ("told", "excused")],
        "failedTests": [name for name, where in told if where in STOPS],
    }


def result(verdict: Verdict) -> Result:
    """FAILED for whatever a policy would stop, even where the run was asked to report only; WARNED where it passed under a waiver,
    or beside a check that did not pass and stops nothing by the policy's own terms."""
    if stops(as_enforced(verdict)):
        return "FAILED"
    return "PASSED" if all(r.outcome == "pass" for r in verdict.rulings) else "WARNED"


def _described(name: str, sha: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha}}


def _sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()
