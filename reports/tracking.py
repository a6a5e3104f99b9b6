"""What a tracking server is told of an audit: numbers, short texts and a list of figures, under names that stay the same from run to run.

A pure function of record and verdict. It knows no tracker, opens no connection and decides nothing. What has no value is a
text with its reason, never a number. Evidence, tracebacks and the messages of errors, which may quote a row, are not told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from probes.evidence import AnyMeasurement, Measurement, Slice, slice_name
from reports.decision import headline
from reports.errors import RecordError
from reports.instances import probe_views
from reports.manifests import policy_digest
from reports.record import AuditRecord, Outcome, Rule, Verdict, canonical_json
from reports.wording import shortened, visible

PREFIX = "plumbline"
FIGURES = "figures.json"
LONGEST_NAME = 180
LONGEST_TEXT = 400
_LONGEST_PART = 60
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_PLAIN = re.compile(r"[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*")


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What a tracker is told.

    Attributes:
        metrics: finite numbers by name.
        params: what the run was made of, by name.
        tags: digests, the state of every probe, the ruling on every check, and why a figure has no value.
        verdict: the tags to write last, once everything else has arrived, so that what was cut off shows no verdict.
        figures: what each name stands for, in full: the content of ``figures.json``.
        undefined: how many figures have no value.

    No name is in two of ``params``, ``tags`` and ``verdict``, nor twice in one, whatever the case of its letters.
    """

    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    verdict: dict[str, str]
    figures: str
    undefined: int

    @property
    def texts(self) -> dict[str, str]:
        """Params and tags in one, without the verdict."""
        return {**self.params, **self.tags}

    @property
    def headline(self) -> str:
        """The decision in one sentence."""
        return self.verdict[f"{PREFIX}.headline"]


class _Named(NamedTuple):
    """A value with the name it should have, and what it is the value of, which no other has."""

    name: str
    identity: str
    value: Any


def entries(record: AuditRecord, verdict: Verdict, *, bundle_sha256: str, left_out: Sequence[str] = ()) -> Entries:
    """Everything that a tracker is told.

    Args:
        bundle_sha256: of the bundle's ``MANIFEST.json``, which lists the hashes of all its files.
        left_out: files of the bundle that do not go with it.

    Raises:
        RecordError: the record holds two values of the same figure.
    """
    figures = [(f.instance, m) for f in record.findings if f.reading is not None for m in f.reading.measurements]
    metrics = [named for instance, m in figures for named in _numbers(instance, m)] + _tallies(verdict)
    told = {named.identity: name for name, named in _distinct(metrics)}
    params = [*_facts(record, verdict), *_rules(verdict)]
    tags = [
        *_digests(record, verdict, bundle_sha256),
        _own("left_out", ", ".join(left_out) or "nothing"),
        *_states(record),
        *_rulings(verdict),
        *_missing(figures),
    ]
    last = _last(record, verdict)
    texts = _distinct([*params, *tags, *last])
    named_as = {named.identity: name for name, named in texts}

    def part(of: Iterable[_Named]) -> dict[str, str]:
        return {named_as[n.identity]: shortened(visible(n.value), LONGEST_TEXT) for n in of}

    return Entries(
        metrics={told[n.identity]: n.value for n in metrics},
        params=part(params),
        tags=part(tags),
        verdict=part(last),
        figures=canonical_json([_figure(i, m, told, named_as) for i, m in figures]),
        undefined=sum(not isinstance(m, Measurement) for _, m in figures),
    )


# Names -------------------------------------------------------------------------------------------------------------


def figure_name(instance: str, measure: str, where: Slice) -> str:
    """``groups/recall/group.gender.female``; ``performance/accuracy/all`` for the whole; axes are joined by ``--``.

    Letters, digits, ``_``, ``-``, ``.`` and ``/`` alone, which every tracker takes. The last part is always there, so that no
    name is a folder of another. Spaces and decimal points become ``_``; a part that holds anything else ends in a piece of its hash.
    """
    axes = [".".join(_part(p) for p in (a.kind, a.name, a.value) if p or p == a.name) for a in where]
    return _short(f"{_part(instance)}/{_part(measure)}/{'--'.join(axes) or 'all'}")


def _part(text: str) -> str:
    spaced = text if "_" in text else _POINT.sub("_", text.replace(" ", "_"))
    if _PLAIN.fullmatch(spaced) and len(spaced) <= _LONGEST_PART:
        return spaced
    cleaned = re.sub(r"[^A-Za-z0-9_]+", "_", text)[: _LONGEST_PART - 10]
    return f"{cleaned or '_'}-{_piece(text)}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 9]}-{_piece(name)}"


def _piece(text: str, length: int = 8) -> str:
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:length]


def _distinct(wanted: Sequence[_Named]) -> list[tuple[str, _Named]]:
    """Every value under a name of its own. Of several that want the same, each gets a piece of its identity's hash, so that none
    passes for the only one and the order does not matter. Databases may not tell ``A`` from ``a``; nor does this.

    Raises:
        RecordError: two values are of the same thing.
    """
    twice = [identity for identity, times in Counter(n.identity for n in wanted).items() if times > 1]
    if twice:
        name = next(n.name for n in wanted if n.identity == twice[0])
        raise RecordError(f"the record holds two values of {name}", expected="one figure or ruling a slice")
    often = Counter(n.name.casefold() for n in wanted)
    for length in (8, 16, 64):
        names = [n.name if often[n.name.casefold()] == 1 else f"{n.name}-{_piece(n.identity, length)}" for n in wanted]
        if len({name.casefold() for name in names}) == len(names):
            break
    return list(zip(names, wanted, strict=True))


# Numbers -----------------------------------------------------------------------------------------------------------


def _numbers(instance: str, m: AnyMeasurement) -> list[_Named]:
    """The value, the ends that its interval has, and its counts. What has no value gives no number at all."""
    if not isinstance(m, Measurement):
        return []
    name, identity = figure_name(instance, m.name, m.slice), _identity(instance, m)
    ends = {} if m.interval is None else {"low": m.interval.low, "high": m.interval.high}
    parts = {**ends, "n": m.counts.n, "denominator": m.counts.denominator}
    return [
        _Named(name, identity, m.value),
        *(_Named(f"{name}.{end}", f"{identity}\0{end}", float(v)) for end, v in parts.items() if v is not None),
    ]


def _tallies(verdict: Verdict) -> list[_Named]:
    """Checks by outcome, and the exit code; without one where the verdict was not enforced, since its 0 is no pass."""
    outcomes: tuple[Outcome, ...] = ("pass", "fail", "inconclusive", "waived", "error")
    counts = [_own(f"checks/{o}", float(verdict.count(o)), "/") for o in outcomes]
    return [*counts, _own("exit_code", float(verdict.exit_code), "/")] if verdict.enforced else counts


def _identity(instance: str, m: AnyMeasurement) -> str:
    axes = (part for a in m.slice for part in (a.kind, a.name, a.value))
    return "\0".join((instance, m.name, *axes))


# Texts -------------------------------------------------------------------------------------------------------------


def _own(name: str, value: Any, joint: str = ".") -> _Named:
    full = f"{PREFIX}{joint}{name}"
    return _Named(full, full, value)


def _facts(record: AuditRecord, verdict: Verdict) -> list[_Named]:
    policy = verdict.policy
    facts: dict[str, str] = {
        "name": record.name,
        "version": record.plumbline,
        "seed": str(record.seed),
        "level": repr(record.level),
        "subject.name": record.subject.name,
        "subject.kind": record.subject.kind,
        "task": record.subject.task,
        "data.name": record.data.name,
        "data.rows": str(record.data.rows),
        "decided_on": verdict.decided_on.isoformat(),
        "policy.name": policy.name if policy else "none",
        **({"policy.version": str(policy.version)} if policy else {}),
    }
    return [_own(name, text) for name, text in facts.items()]


def _rules(verdict: Verdict) -> list[_Named]:
    return [_own(f"rule.{rule.id}", _demand(rule)) for rule in (verdict.policy.rules if verdict.policy else ())]


def _demand(rule: Rule) -> str:
    """``groups:recall min 0.7, blocking``, in the policy's own words."""
    limits = {"max": rule.max, "min": rule.min, f"max_drop from {rule.baseline}": rule.max_drop}
    said = ", ".join(f"{word} {limit!r}" for word, limit in limits.items() if limit is not None)
    return f"{rule.measure} {said}, {rule.severity}"


def _digests(record: AuditRecord, verdict: Verdict, bundle_sha256: str) -> list[_Named]:
    digests = {
        "subject": record.subject.digest,
        "data": record.data.digest,
        "policy": policy_digest(verdict.policy) if verdict.policy else "none",
        "record": verdict.record_sha256,
        "bundle": bundle_sha256,
    }
    return [_own(f"{name}.sha256", digest) for name, digest in digests.items()]


def _states(record: AuditRecord) -> list[_Named]:
    """Measured or not, by instance. The reason stays in the bundle: an error's text may quote a row."""
    return [
        _Named(f"{PREFIX}.probe.{_part(v.instance)}", f"probe\0{v.instance}", v.status) for v in probe_views(record)
    ]


def _rulings(verdict: Verdict) -> list[_Named]:
    out = []
    for ruling in verdict.rulings:
        rule, where = ruling.check.rule.id, ruling.check.slice
        place = f"/{figure_name('x', 'x', where).split('/')[-1]}" if where else ""
        out.append(
            _Named(_short(f"{PREFIX}.ruling.{rule}{place}"), f"ruling\0{rule}\0{slice_name(where)}", ruling.outcome)
        )
    return out


def _missing(figures: Iterable[tuple[str, AnyMeasurement]]) -> list[_Named]:
    return [
        _Named(
            f"{PREFIX}.undefined.{figure_name(instance, m.name, m.slice)}",
            f"undefined\0{_identity(instance, m)}",
            str(m.reason),
        )
        for instance, m in figures
        if not isinstance(m, Measurement)
    ]


def _last(record: AuditRecord, verdict: Verdict) -> list[_Named]:
    return [
        _own("verdict", verdict.outcome),
        _own("enforced", "true" if verdict.enforced else "false"),
        _own("headline", str(headline(record, verdict))),
    ]


def _figure(instance: str, m: AnyMeasurement, told: dict[str, str], named_as: dict[str, str]) -> dict[str, Any]:
    identity = _identity(instance, m)
    seen = {"instance": instance, "measure": m.name, "slice": slice_name(m.slice)}
    counts = m.counts.model_dump(mode="json")
    if not isinstance(m, Measurement):
        return {"tag": named_as[f"undefined\0{identity}"], **seen, "reason": str(m.reason), "counts": counts}
    interval: dict[str, str | float | None] | None = None
    if m.interval is not None:
        ends = {"low": m.interval.low, "high": m.interval.high, "level": m.interval.level}
        interval = {**ends, "method": str(m.interval.method)}
    return {"metric": told[identity], **seen, "value": m.value, "interval": interval, "counts": counts}
