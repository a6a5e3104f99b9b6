"""The audit as plain data: what was measured, what was demanded, and what was decided.

Everything a report, a gate or an outsider needs lies in these models; reading them takes no model, no GPU and no torch.
They hold no clock times, so that a resumed run writes the same bytes. Nothing here decides or renders.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from probes.evidence import (
    AnyMeasurement,
    Counts,
    Interval,
    Message,
    Need,
    Plain,
    ProbeInfo,
    Reading,
    Slice,
    slice_name,
)
from reports.lock import LockCheck, Sha256

Json = Any


def canonical_json(value: Json) -> str:
    """The one way records are written: UTF-8, two spaces, keys in the order of the model, a newline at the end."""
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


# What was measured -------------------------------------------------------------------------------------------------


class RowsRef(Plain):
    """Where a finding's rows lie in the bundle, and their hash."""

    path: str
    sha256: Sha256
    rows: int = Field(ge=0)


class SubjectCard(Plain):
    """What was examined.

    Attributes:
        kind: checkpoint, model, callable, predictions.
        name: what the user called it: a folder, a hub id, a file.
        digest: hash over weights, label names, decision threshold and decoding.
        threshold: score above which ``positive`` is predicted; None is the largest score.
        offers: the needs it can serve, with its data.
        details: further facts by name (architecture, parameters, library), shown as they are.
    """

    kind: str
    name: str
    digest: Sha256
    task: str
    classes: tuple[str, ...]
    threshold: float | None = None
    positive: str | None = None
    offers: tuple[Need, ...] = ()
    details: dict[str, str | int | float] = Field(default_factory=dict)


class FeatureCard(Plain):
    """One sensitive feature: how many rows each value has, and how many have none."""

    name: str
    values: dict[str, int]
    missing: int = 0
    missing_is: Literal["exclude", "own"] = "exclude"


class DataCard(Plain):
    """What it was examined on."""

    name: str
    digest: Sha256
    rows: int
    roles: dict[str, str | tuple[str, ...]]
    labels: dict[str, int]
    features: tuple[FeatureCard, ...] = ()
    clusters: int | None = None
    truncated: int = 0
    include_text: bool = False


class PlannedProbe(Plain):
    """One probe instance as the plan names it, whether or not it ran."""

    instance: str
    info: ProbeInfo
    params: dict[str, Json] = Field(default_factory=dict)


Status = Literal["measured", "not_applicable", "errored"]


class Finding(Plain):
    """What came of one probe instance. ``reading`` is present exactly when it was measured."""

    instance: str
    info: ProbeInfo
    params: dict[str, Json] = Field(default_factory=dict)
    status: Status
    reading: Reading | None = None
    reason: Message | None = None
    seed: int
    rows: RowsRef | None = None
    traceback: str | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if (self.status == "measured") != (self.reading is not None):
            raise ValueError(f"{self.instance}: a reading belongs to a measured finding, and only to one")
        if self.status != "measured" and self.reason is None:
            raise ValueError(f"{self.instance}: {self.status} needs a reason")
        return self

    def measurements(self, name: str) -> tuple[AnyMeasurement, ...]:
        """Every measurement called ``name``, one a slice."""
        return tuple(m for m in self.reading.measurements if m.name == name) if self.reading else ()


class AuditRecord(Plain):
    """A whole audit: ``results.json``.

    ``planned`` lists every instance of the plan; those without a finding did not run (``--only``), and a rule on one is
    an error rather than a pass. ``regulations`` are the frameworks that the plan says matter: the report's regulatory index
    shows these in full.
    """

    schema_: Literal["plumbline.record/v1"] = Field(default="plumbline.record/v1", alias="schema")
    plumbline: str
    name: str
    seed: int
    level: float = Field(gt=0, lt=1)
    subject: SubjectCard
    data: DataCard
    training: dict[str, Json] | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    planned: tuple[PlannedProbe, ...]
    findings: tuple[Finding, ...]
    predictions: RowsRef | None = None
    attestations: dict[str, str] = Field(default_factory=dict)
    regulations: tuple[str, ...] = ()
    remarks: tuple[Message, ...] = ()

    def finding(self, instance: str) -> Finding | None:
        """The finding of one instance, or None where it did not run."""
        return next((f for f in self.findings if f.instance == instance), None)

    def plan(self, instance: str) -> PlannedProbe | None:
        """The planned instance, or None where the plan has none of that name."""
        return next((p for p in self.planned if p.instance == instance), None)

    def to_json(self) -> str:
        """The bytes of ``results.json``, as text."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


# What is demanded --------------------------------------------------------------------------------------------------

Decision = Literal["interval", "point", "exact"]
Severity = Literal["blocking", "advisory"]


def _measure_name(value: str) -> str:
    instance, colon, measure = value.partition(":")
    if not (instance and colon and measure):
        raise ValueError("expected instance:measure, such as groups:recall")
    return value


class Defaults(Plain):
    """What a policy's rules inherit."""

    level: float = Field(default=0.95, gt=0, lt=1)
    decision: Decision = "interval"
    min_n: int = Field(default=50, ge=1)
    on_inconclusive: Literal["block", "warn"] = "block"


Selector = str | tuple[str, ...]
Where = dict[Literal["feature", "group", "class", "output", "setting"], Selector]


class Rule(Plain):
    """One demand on a measure of a probe instance.

    Exactly one of ``max``, ``min`` or ``max_drop`` (with ``baseline``). ``where`` picks a slice, ``each`` makes one check
    for every slice of the named axes. Options left out come from the policy's defaults.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)
    measure: Annotated[str, AfterValidator(_measure_name)]
    where: Where = Field(default_factory=dict)
    each: Where = Field(default_factory=dict)
    max: float | None = None
    min: float | None = None
    baseline: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)
    max_drop: float | None = Field(default=None, ge=0)
    baseline_missing: Literal["error", "skip"] = "error"
    unpaired: Literal["error", "allow"] = "error"
    severity: Severity = "blocking"
    decision: Decision | None = None
    level: float | None = Field(default=None, gt=0, lt=1)
    min_n: int | None = Field(default=None, ge=1)
    waivable: bool = True
    source: str = ""
    title: str = ""

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        given = [n for n in ("max", "min", "max_drop") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"a rule needs exactly one of max, min and max_drop; found {', '.join(given) or 'none'}")
        if (self.max_drop is None) != (self.baseline is None):
            raise ValueError("baseline and max_drop belong together")
        return self

    @property
    def instance(self) -> str:
        """The probe instance that the measure belongs to."""
        return self.measure.partition(":")[0]

    @property
    def measure_name(self) -> str:
        """The measure without its instance."""
        return self.measure.partition(":")[2]


class Policy(Plain):
    """What is demanded of a model: ``policy.yaml``."""

    schema_: Literal["plumbline.policy/v1"] = Field(default="plumbline.policy/v1", alias="schema")
    name: str
    version: int | str
    owner: str
    defaults: Defaults = Defaults()
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        seen: set[str] = set()
        for rule in self.rules:
            if rule.id in seen:
                raise ValueError(f"two rules are called {rule.id}")
            seen.add(rule.id)
        return self

    def level(self, rule: Rule) -> float:
        return self.defaults.level if rule.level is None else rule.level

    def decision(self, rule: Rule) -> Decision:
        return rule.decision or self.defaults.decision

    def min_n(self, rule: Rule) -> int:
        return self.defaults.min_n if rule.min_n is None else rule.min_n

    def levels(self) -> tuple[float, ...]:
        """Every confidence level that some rule decides at."""
        return tuple(sorted({self.level(r) for r in self.rules}))


class Waiver(Plain):
    """One excuse: which check, for which subject, up to which value, by whom, until when. All fields are required.

    ``slice`` is the check's slice as printed (``group:gender=female``), or ``all`` for a check on everything.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)
    rule: str
    slice: str
    subject: Sha256
    allow_up_to: float
    justification: str = Field(min_length=1)
    statement: str = Field(min_length=1)
    requested_by: str = Field(min_length=1)
    approved_by: str = Field(min_length=1)
    approved_on: date
    expires: date
    ticket: str = Field(min_length=1)


class Waivers(Plain):
    """``waivers.yaml``."""

    schema_: Literal["plumbline.waivers/v1"] = Field(default="plumbline.waivers/v1", alias="schema")
    waivers: tuple[Waiver, ...]


# What was decided --------------------------------------------------------------------------------------------------

Outcome = Literal["pass", "fail", "inconclusive", "waived", "error"]


class Comparison(Plain):
    """The change of one measure on one slice from a baseline to the record, in the measure's own units.

    ``difference`` is this record minus the baseline; ``drop`` turns it so that positive is worse. ``drop_interval``
    is None where both runs are of the same subject, whose difference is exactly 0.
    """

    baseline: str
    baseline_digest: Sha256
    instance: str
    measure: str
    slice: Slice = ()
    value: float
    baseline_value: float
    difference: float
    drop: float
    drop_interval: Interval | None
    counts: Counts
    paired: bool
    level: float


class NoComparison(Plain):
    """A comparison that a rule asks for and that cannot be made.

    ``missing`` is True where there is no baseline at all, which a policy may skip for a first release.
    """

    rule: str
    baseline: str
    missing: bool
    reason: Message


class Check(Plain):
    """One rule on one slice."""

    rule: Rule
    slice: Slice

    @property
    def name(self) -> str:
        """``rule`` or ``rule [slice]``."""
        return f"{self.rule.id} [{slice_name(self.slice)}]" if self.slice else self.rule.id


class Ruling(Plain):
    """The decision on one check, with everything it rested on.

    Attributes:
        outcome: pass, fail, inconclusive, waived or error.
        original: what it was before a waiver, else None.
        limit: the threshold in force: ``max``, ``min`` or ``max_drop``.
        level, decision, min_n: as applied, defaults filled in.
        needed_n: for inconclusive: rows that would decide it at the same shares; None where no practical sample would.
        waiver: id of the waiver in force.
        comparison: with the baseline, for ``max_drop``; then ``value`` and ``interval`` are those of the drop.
    """

    check: Check
    outcome: Outcome
    original: Outcome | None = None
    reason: Message
    limit: float
    value: float | None = None
    interval: Interval | None = None
    counts: Counts | None = None
    level: float
    decision: Decision
    min_n: int
    needed_n: int | None = None
    waiver: str | None = None
    comparison: Comparison | None = None


class Verdict(Plain):
    """The decision on the whole: ``verdict.json``. Carries policy and waivers as they were evaluated.

    ``lock`` says whether the run kept to what was locked before it; None where no lock was given.
    """

    schema_: Literal["plumbline.verdict/v1"] = Field(default="plumbline.verdict/v1", alias="schema")
    outcome: Outcome
    exit_code: int
    enforced: bool = True
    decided_on: date
    record_sha256: Sha256
    reasons: tuple[Message, ...]
    rulings: tuple[Ruling, ...]
    policy: Policy | None
    waivers: tuple[Waiver, ...] = ()
    comparisons: tuple[Comparison | NoComparison, ...] = ()
    warnings: tuple[Message, ...] = ()
    lock: LockCheck | None = None

    def to_json(self) -> str:
        """The bytes of ``verdict.json``, as text."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    def count(self, outcome: Outcome) -> int:
        """How many checks came out so."""
        return sum(r.outcome == outcome for r in self.rulings)
