"""The verdict as SARIF 2.1.0 (OASIS standard, errata 01), for code scanning views. Results point at the policy's lines.

A result stands for every check that did not pass: level ``error`` where it stops the pipeline, ``warning`` where it is only
told; a waived one carries its waiver as a suppression. What passed is among the rules and no result, because viewers show
each result as a finding. No clock times, so the same verdict gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from reports.checks import check_views
from reports.origin import Origin
from reports.record import AuditRecord, Rule, Ruling, Verdict, canonical_json
from reports.standing import STOPS, Standing, fingerprint, one_line, standing, stops, told_as, unexplained

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
BASE = "%SRCROOT%"
WHOLE = "plumbline:verdict"  # no rule of a policy can be called so: their ids have no colon

Level = Literal["error", "warning"]
Json = dict[str, Any]


def sarif(record: AuditRecord, verdict: Verdict, origin: Origin, root: Path) -> str:
    """The log's text. Paths start from ``root``, the checkout; nothing outside it is made relative."""
    rules = [_rule(rule) for rule in verdict.policy.rules] if verdict.policy else []
    results = []
    whole = unexplained(record, verdict)
    if whole is not None:
        rules.append(_VERDICT_RULE)
        results.append(_result(WHOLE, whole, "error", fingerprint(record, verdict, None), _place(origin, None, root)))
    for ruling in (view.ruling for view in check_views(record, verdict)):
        stands = standing(ruling, verdict)
        if stands != "passed":
            results.append(_ruled(record, verdict, ruling, stands, _place(origin, ruling.check.rule.id, root)))
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    for result in results:
        result["ruleIndex"] = index[result["ruleId"]]
    invocation: Json = {
        "executionSuccessful": True,
        "exitCode": verdict.exit_code,
        "exitCodeDescription": verdict.outcome if verdict.enforced else f"{verdict.outcome}, not enforced",
    }
    if verdict.warnings:
        told = [{"level": "warning", "message": _message(str(w))} for w in verdict.warnings]
        invocation["toolExecutionNotifications"] = told
    properties = {
        "verdict": verdict.outcome,
        "stops": stops(verdict),
        "decided_on": verdict.decided_on.isoformat(),
        "subject_digest": record.subject.digest,
        "data_digest": record.data.digest,
        "record_sha256": verdict.record_sha256,
    }
    run = {
        "tool": {"driver": {"name": "Plumbline", "semanticVersion": record.plumbline, "rules": rules}},
        "automationDetails": {"id": f"plumbline/{one_line(record.name, 200).replace('/', '-')}/"},
        "invocations": [invocation],
        "results": results,
        "properties": properties,
    }
    return _log(run)


def unusable(text: str, code: int, version: str) -> str:
    """The log of a run that could not even begin, such as with an unreadable policy: no result, and not successful."""
    invocation = {
        "executionSuccessful": False,
        "exitCode": code,
        "toolExecutionNotifications": [{"level": "error", "message": _message(text)}],
    }
    return _log({"tool": {"driver": {"name": "Plumbline", "semanticVersion": version}}, "invocations": [invocation],
                 "results": []})  # fmt: skip


def _log(run: Json) -> str:
    return canonical_json({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


_VERDICT_RULE: Json = {
    "id": WHOLE,
    "shortDescription": {"text": "The policy decides something"},
    "defaultConfiguration": {"level": "error"},
}


def _rule(rule: Rule) -> Json:
    kind = next(k for k in ("max", "min", "max_drop") if getattr(rule, k) is not None)
    demand = f"{rule.measure} has {kind} {getattr(rule, kind)}"
    demand += f" from {rule.baseline}" if rule.baseline else ""
    out: Json = {
        "id": rule.id,
        "shortDescription": _message(rule.title or demand),
        "fullDescription": _message(demand),
        "defaultConfiguration": {"level": "error" if rule.severity == "blocking" else "warning"},
        "properties": {"measure": rule.measure, "severity": rule.severity},
    }
    if rule.source:
        out["help"] = _message(rule.source)
    return out


def _ruled(record: AuditRecord, verdict: Verdict, ruling: Ruling, stands: Standing, place: Json) -> Json:
    original = ruling.original or ruling.outcome
    blocking = ruling.check.rule.severity == "blocking"
    level: Level = "error" if stands in STOPS or (stands == "excused" and blocking) else "warning"
    text = f"{ruling.check.name}: {told_as(ruling, verdict)}: {ruling.reason}"
    result = _result(ruling.check.rule.id, text, level, fingerprint(record, verdict, ruling), place)
    result["properties"] = {"outcome": ruling.outcome, "original": original, "limit": ruling.limit}
    if ruling.value is not None:
        result["properties"]["value"] = ruling.value
    if ruling.interval is not None:
        result["properties"]["interval"] = [ruling.interval.low, ruling.interval.high]
    if stands == "excused":
        waiver = next(w for w in verdict.waivers if w.id == ruling.waiver)
        why = f"{waiver.justification} ({waiver.id}, {waiver.ticket}, approved by {waiver.approved_by}, expires {waiver.expires})"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": one_line(why)}]
    return result


def _result(rule: str, text: str, level: Level, mark: str, place: Json) -> Json:
    return {
        "ruleId": rule,
        "level": level,
        "message": _message(text),
        "locations": [place],
        "partialFingerprints": {"plumblineCheck/v1": mark},
    }


def _place(origin: Origin, rule: str | None, root: Path) -> Json:
    shown = origin.shown(root)
    relative = not Path(shown).is_absolute()
    where: Json = {"uri": quote(shown), "uriBaseId": BASE} if relative else {"uri": Path(shown).as_uri()}
    return {"physicalLocation": {"artifactLocation": where, "region": {"startLine": origin.line(rule)}}}


def _message(text: str) -> Json:
    """Plain text; what SARIF would read as a link ``[text](target)`` is parted by a space."""
    return {"text": one_line(text).replace("](", "] (")}
