"""The public edition of a record: no figure on few rows, no example, no row id, no error message, no person's name.

Pure: it takes `suppression`'s decision and applies it to findings, evidence, sentences and rulings. Outcomes stay: that a check on
a small group passed or failed is told, its figures are not.
"""

from __future__ import annotations

from collections.abc import Iterable

from probes.evidence import AnyMeasurement, Axis, Counts, Message, Reading, Scalar, Undefined, group_axes, message
from reports.public_evidence import told_evidence
from reports.record import AuditRecord, Comparison, DataCard, FeatureCard, Finding, NoComparison, Ruling, Verdict
from reports.suppression import Hidden, hidden, small

SUPPRESSED = message("Suppressed in this edition: it rests on too few rows, or would give such a figure away.")
WITHHELD = "[…]"
_NO_REASON = message("It stopped with an error; the message may hold raw inputs and is left out of this edition.")
_PERSONAL = ("owner", "reviewer", "contact", "author")


def public(record: AuditRecord, verdict: Verdict, least: int) -> tuple[AuditRecord, Verdict]:
    """Record and verdict as the public may read them. ``verdict.record_sha256`` stays that of the whole record."""
    edition = _Edition(hidden(record, least), _persons(record, verdict))
    return edition.record(record), edition.verdict(verdict)


def is_suppressed(measured: AnyMeasurement) -> bool:
    """The figure stands in this record only by its name."""
    return isinstance(measured, Undefined) and measured.reason == SUPPRESSED


def _persons(record: AuditRecord, verdict: Verdict) -> frozenset[str]:
    """Names that are withheld: of the policy's owner, of those who asked for and granted waivers, of attested owners."""
    names = {w.requested_by for w in verdict.waivers} | {w.approved_by for w in verdict.waivers}
    names |= {verdict.policy.owner} if verdict.policy else set()
    return frozenset(names | {v for k, v in record.attestations.items() if k in _PERSONAL})


class _Edition:
    """One record's suppression, applied."""

    def __init__(self, hidden_: Hidden, persons: frozenset[str]) -> None:
        self.hidden = hidden_
        self.persons = persons

    def record(self, record: AuditRecord) -> AuditRecord:
        data, said = self._data(record.data)
        return record.model_copy(
            update={
                "data": data,
                "training": _without_lists(record.training),
                "findings": tuple(self._finding(f) for f in record.findings),
                "attestations": {k: v for k, v in record.attestations.items() if k not in _PERSONAL},
                "remarks": (*self._remarks("", record.remarks), *said),
            }
        )

    def verdict(self, verdict: Verdict) -> Verdict:
        rulings = tuple(self._ruling(r) for r in verdict.rulings)
        # A reason of the verdict is the reason of one of its rulings; it must not say what the ruling no longer does.
        replaced = {str(old.reason): new.reason for old, new in zip(verdict.rulings, rulings, strict=True)}
        reasons = tuple(replaced.get(str(r)) or self._message("", r) for r in verdict.reasons)
        withheld = {"requested_by": WITHHELD, "approved_by": WITHHELD}
        return verdict.model_copy(
            update={
                "rulings": rulings,
                "reasons": tuple({str(r): r for r in reasons}.values()),
                "policy": verdict.policy and verdict.policy.model_copy(update={"owner": WITHHELD}),
                "waivers": tuple(w.model_copy(update=withheld) for w in verdict.waivers),
                "comparisons": tuple(c for c in map(self._comparison, verdict.comparisons) if c is not None),
                "warnings": self._remarks("", verdict.warnings),
                "policy_changes": None
                if verdict.policy_changes is None
                else tuple(_nameless(m, self.persons) for m in verdict.policy_changes),
            }
        )

    def _data(self, data: DataCard) -> tuple[DataCard, list[Message]]:
        """Sizes of the groups that may be told, and how many may not."""
        features, said = [], []
        for feature in data.features:
            kept = {v: c for v, c in feature.values.items() if not self.hidden.hides("", group_axes({feature.name: v}))}
            gone = len(feature.values) - len(kept)
            missing = 0 if self.hidden.missing(feature.name) else feature.missing
            if gone:
                said.append(message("Groups of {feature} that are not told: {n}. They are too small, or would tell the size of one that is.",
                                    n=gone, feature=feature.name))  # fmt: skip
            if missing != feature.missing:
                said.append(message("How many rows have no {feature} is not told.", feature=feature.name))
            features.append(FeatureCard(name=feature.name, values=kept, missing=missing, missing_is=feature.missing_is))
        labels = {n: c for n, c in data.labels.items() if not self.hidden.hides("", (Axis(kind="class", name=n),))}
        if len(labels) < len(data.labels):
            said.append(message("Classes that are not told: {n}. They are too small, or would tell the size of one that is.",
                                n=len(data.labels) - len(labels)))  # fmt: skip
        return data.model_copy(update={"features": tuple(features), "labels": labels, "include_text": False}), said

    def _finding(self, finding: Finding) -> Finding:
        instance, reading, reason = finding.instance, finding.reading, finding.reason
        if reading is not None:
            reading = Reading(
                measurements=tuple(self._measurement(instance, m) for m in reading.measurements),
                evidence=told_evidence(
                    reading.evidence, self.hidden, instance, lambda m: self._message(instance, m), SUPPRESSED
                ),
                remarks=self._remarks(instance, reading.remarks),
            )
        if finding.status == "errored":
            reason = _NO_REASON
        elif reason is not None:
            reason = self._message(instance, reason)
        return finding.model_copy(update={"reading": reading, "reason": reason, "traceback": None})

    def _measurement(self, instance: str, m: AnyMeasurement) -> AnyMeasurement:
        if self.hidden.hides(instance, m.slice, m.counts):
            return Undefined(
                name=m.name, slice=m.slice, counts=Counts(n=0, denominator=0, smallest=0), reason=SUPPRESSED
            )
        if isinstance(m, Undefined):
            return m.model_copy(update={"counts": _alone(m.counts), "reason": self._message(instance, m.reason)})
        return m.model_copy(update={"counts": _alone(m.counts)})

    def _ruling(self, ruling: Ruling) -> Ruling:
        instance = ruling.check.rule.instance
        if self.hidden.hides(instance, ruling.check.slice, ruling.counts):
            nothing = dict.fromkeys(("value", "interval", "counts", "needed_n", "comparison"))
            return ruling.model_copy(update={**nothing, "reason": SUPPRESSED})
        return ruling.model_copy(
            update={
                "counts": _alone(ruling.counts) if ruling.counts else None,
                "reason": self._message(instance, ruling.reason),
                "comparison": self._comparison(ruling.comparison) if ruling.comparison else None,
            }
        )

    def _comparison(self, c: Comparison | NoComparison) -> Comparison | NoComparison | None:
        if isinstance(c, NoComparison):
            return c.model_copy(update={"reason": self._message("", c.reason)})
        if self.hidden.hides(c.instance, c.slice, c.counts):
            return None
        return c.model_copy(update={"counts": _alone(c.counts)})

    def _remarks(self, instance: str, remarks: Iterable[Message]) -> tuple[Message, ...]:
        """Sentences, without those that speak of a hidden slice."""
        return tuple(self._message(instance, m) for m in remarks if not self.hidden.names(instance, str(m)))

    def _message(self, instance: str, m: Message) -> Message:
        """The sentence without counts and names that may not be told; seeds are no counts."""
        return m.model_copy(update={"params": {k: self._told(instance, k, v) for k, v in m.params.items()}})

    def _told(self, instance: str, key: str, value: Scalar | Message) -> Scalar | Message:
        if isinstance(value, Message):
            return self._message(instance, value)
        if isinstance(value, str):
            return WITHHELD if value in self.persons else value
        if key == "seed" or not float(value).is_integer():
            return value
        if small(int(value), self.hidden.least):
            return f"<{self.hidden.least}"
        return WITHHELD if self.hidden.untold(instance, int(value)) else value


def _alone(counts: Counts) -> Counts:
    """Counts without the size of the smallest group and the number of clusters, which this edition does not tell."""
    return Counts(n=counts.n, denominator=counts.denominator, smallest=counts.denominator)


def _nameless(m: Message, persons: frozenset[str]) -> Message:
    """A change of the policy without the names of its owners, old or new."""
    owner = m.params.get("field") == "owner"
    kept = {
        k: _nameless(v, persons)
        if isinstance(v, Message)
        else WITHHELD
        if (owner and k in ("before", "after")) or v in persons
        else v
        for k, v in m.params.items()
    }
    return m.model_copy(update={"params": kept})


def _without_lists(value: object) -> object:
    """A training record without its lists, which may be ids of rows."""
    if isinstance(value, dict):
        return {k: _without_lists(v) for k, v in value.items() if not isinstance(v, list | tuple)}
    return value
