"""The verdict as JUnit XML, for a CI server's test view. Adds no time stamps and no test that was not a check or a probe.

A test is red exactly where the exit code is: a fail or a blocking inconclusive is a ``failure`` (of that type), an error an
``error``, a waived check ``skipped`` with its reason. What stops nothing (advisory, only warned of, not enforced) passes
with its ruling in ``system-out``.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from reports.instances import probe_views
from reports.record import AuditRecord, Ruling, Verdict
from reports.standing import STOPS, standing, told_as, unexplained
from reports.wording import visible

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(record: AuditRecord, verdict: Verdict) -> str:
    """One suite of checks, one of probes; valid XML 1.0 in UTF-8, the same bytes for the same input."""
    root = Xml.Element("testsuites", name=_text(f"plumbline {record.name}"))
    checks = Xml.SubElement(root, "testsuite", name="checks")
    _properties(checks, record, verdict)
    for ruling in verdict.rulings:
        _check(checks, ruling, verdict)
    whole = unexplained(record, verdict)
    if whole is not None:
        case = Xml.SubElement(checks, "testcase", classname="verdict", name="verdict")
        _outcome(case, "error", verdict.outcome, whole)
    probes = Xml.SubElement(root, "testsuite", name="probes")
    for view in probe_views(record):
        case = Xml.SubElement(probes, "testcase", classname=_text(view.info.id), name=_text(view.instance))
        if view.status != "measured":
            _outcome(case, "skipped", view.status, f"{view.status_words}: {view.reason}")
    for suite in (checks, probes):
        _count(suite)
    _count(root)
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def _properties(suite: Xml.Element, record: AuditRecord, verdict: Verdict) -> None:
    properties = Xml.SubElement(suite, "properties")
    policy = f"{verdict.policy.name} {verdict.policy.version}" if verdict.policy else "none"
    facts = {
        "verdict": verdict.outcome,
        "exit_code": str(verdict.exit_code),
        "enforced": str(verdict.enforced).lower(),
        "decided_on": verdict.decided_on.isoformat(),
        "policy": policy,
        "subject": record.subject.name,
        "subject_digest": record.subject.digest,
        "data": record.data.name,
        "data_digest": record.data.digest,
        "record_sha256": verdict.record_sha256,
        "lock": "none" if verdict.lock is None else ("matched" if verdict.lock.matched else "differs"),
    }
    for name, value in facts.items():
        Xml.SubElement(properties, "property", name=name, value=_text(value))


def _check(suite: Xml.Element, ruling: Ruling, verdict: Verdict) -> None:
    reason = str(ruling.reason)
    case = Xml.SubElement(suite, "testcase", classname=_text(ruling.check.rule.measure), name=_text(ruling.check.name))
    stands = standing(ruling, verdict)
    if stands == "excused":
        _outcome(case, "skipped", "waived", reason)
    elif stands == "errored":
        _outcome(case, "error", "error", reason)
    elif stands in STOPS:
        _outcome(case, "failure", ruling.outcome, reason)
    else:
        Xml.SubElement(case, "system-out").text = _text(f"{told_as(ruling, verdict)}: {reason}")


def _outcome(case: Xml.Element, tag: str, kind: str, reason: str) -> None:
    element = Xml.SubElement(case, tag, type=kind, message=_text(reason))
    element.text = _text(reason)


def _count(suite: Xml.Element) -> None:
    cases = list(suite.iter("testcase"))
    suite.set("tests", str(len(cases)))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))


def _text(value: str) -> str:
    return _ILLEGAL.sub("\ufffd", visible(value))
