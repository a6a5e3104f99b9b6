"""A record and a verdict with everything in them: every outcome, every kind of evidence, and text that attacks the page."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from datetime import date
from hashlib import sha256
from typing import Any

import pytest

from probes.evidence import (
    Bar,
    Bars,
    Counts,
    Curve,
    CurvePoint,
    Evidence,
    ImageGrid,
    Interval,
    IntervalPlot,
    IntervalPoint,
    MeasureDefinition,
    Measurement,
    Method,
    Need,
    Note,
    ProbeInfo,
    Reading,
    Series,
    Slice,
    Table,
    TextPair,
    TextPairs,
    Tile,
    TokenWeights,
    Undefined,
    WeightedText,
    feature_axes,
    group_axes,
    message,
)
from reports.record import (
    AuditRecord,
    Check,
    Comparison,
    DataCard,
    FeatureCard,
    Finding,
    NoComparison,
    PlannedProbe,
    Policy,
    RowsRef,
    Rule,
    Ruling,
    SubjectCard,
    Verdict,
    Waiver,
)

HOSTILE = "<img src=x onerror=alert(1)>"
SUBJECT, DATA = "a" * 64, "d" * 64
SECRET = "the candidate wrote this sentence"


def counts(n: int = 2000, denominator: int = 812, smallest: int = 212, clusters: int | None = 60) -> Counts:
    return Counts(n=n, denominator=denominator, smallest=smallest, clusters=clusters)


def interval(low: float | None, high: float | None, level: float = 0.95) -> Interval:
    return Interval(low=low, high=high, level=level, method=Method(name="wilson", params={"alpha": 1 - level}))


def measured(name: str, value: float, span: tuple[float, float] | None, where: Slice = (), **more: Any) -> Measurement:
    return Measurement(
        name=name,
        value=value,
        interval=interval(*span) if span else None,
        slice=where,
        counts=more.pop("counts", counts()),
        **more,
    )


def definition(name: str, formula: str, better: Any = "higher") -> MeasureDefinition:
    return MeasureDefinition(
        name=name,
        formula=message(formula),
        zero=message("Nobody."),
        one=message("Everybody."),
        source="Hardt et al. 2016",
        better=better,
    )


def png() -> str:
    """A 2 x 2 grey image, as base64."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"\0\x40\xc0\0\xc0\x40"
    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    return base64.b64encode(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    ).decode()


GROUPS = ProbeInfo(
    id="fairness.groups",
    asks=message("Do groups receive the positive label, and the errors, equally often?"),
    defines=(
        definition("recall", "True positives among the group's positives."),
        definition("equal_opportunity_difference", "Largest difference in recall between two groups.", "lower"),
        definition("selection_rate", "Share of the group's rows that received the positive label.", "neither"),
    ),
    limits=(
        message("Groups are as recorded; who is missing from the data is missing here."),
        message("A small gap on these rows says nothing about rows drawn in another way."),
    ),
    needs=(Need.PREDICTIONS, Need.GROUPS, Need.LABELS),
    method=message("Rates per group with Wilson intervals; largest gaps with two-ended Newcombe limits."),
    version="0.1.0",
)
PERFORMANCE = ProbeInfo(
    id="performance.classification",
    asks=message("How often is the answer right, overall and class by class?"),
    defines=(definition("accuracy", "Share of rows whose predicted class is the true one."),),
    limits=(message("Labels are taken as true."),),
    needs=(Need.PREDICTIONS, Need.LABELS),
    method=message("Counted on the stored predictions."),
    version="0.1.0",
)
ATTACK = ProbeInfo(
    id="robustness.attack",
    asks=message("How many answers survive small typing mistakes?"),
    defines=(definition("attack_success_rate", "Share of attacked rows whose answer changed.", "lower"),),
    limits=(message("Only this attack was tried."),),
    requires=("textattack",),
    version="0.1.0",
)
INFLUENCE = ProbeInfo(
    id="explanation.tokens",
    asks=message("Which words decide?"),
    defines=(definition("faithfulness", "Area between curves."),),
)
MEMBERSHIP = ProbeInfo(
    id="privacy.membership",
    asks=message("Can one tell who was in the training data?"),
    defines=(definition("auc", "Area."),),
)
BUDGET = ProbeInfo(
    id="privacy.ledger", asks=message("What was spent?"), defines=(definition("epsilon", "Spent budget.", "lower"),)
)


def evidence() -> tuple[Evidence, ...]:
    """One of each kind, with hostile text in it."""
    return (
        IntervalPlot(
            title=message("Recall by gender"),
            points=(
                IntervalPoint(label="female", value=0.61, low=0.55, high=0.67, n=212),
                IntervalPoint(label="male", value=0.753, low=0.72, high=0.785, n=600),
                IntervalPoint(label=HOSTILE, value=0.70, low=0.5, high=0.86, n=31),
                IntervalPoint(label="unstated", value=None, n=0, note=message("No positives in this group.")),
            ),
            reference=0.70,
            reference_label=message("the policy's minimum"),
        ),
        Table(
            title=message("Rates by gender"),
            columns=(message("group"), message("rows"), message("selection rate")),
            rows=(("female", 900, 0.31), ("male", 1069, 0.44), (HOSTILE, 31, None)),
        ),
        Bars(
            title=message("Rows by class"),
            unit="rows",
            bars=(Bar(label="hired", value=812, n=812), Bar(label=HOSTILE, value=1188)),
        ),
        Curve(
            title=message("Reliability"),
            x_label=message("predicted probability"),
            y_label=message("observed share"),
            series=(
                Series(
                    label="all rows",
                    points=tuple(
                        CurvePoint(x=i / 10, y=(i / 10) ** 1.4, low=(i / 10) ** 1.6, high=(i / 10) ** 1.2, n=200)
                        for i in range(1, 10)
                    ),
                ),
                Series(
                    label="gender = female", points=tuple(CurvePoint(x=i / 10, y=(i / 10) ** 1.9) for i in range(1, 10))
                ),
            ),
            diagonal=True,
        ),
        Note(text=message("One group holds fewer rows than the policy rules on: {group}.", group=HOSTILE)),
    )


def raw_evidence() -> tuple[Evidence, ...]:
    """The kinds that show raw inputs."""
    return (
        TokenWeights(
            title=message("What decided"),
            chosen_by=message("five rows drawn with seed {seed}", seed=7),
            texts=(
                WeightedText(
                    tokens=(*SECRET.split(), HOSTILE), weights=(0.0, 0.2, -0.4, 0.7, -1.0, 0.1), label="hired"
                ),
            ),
        ),
        TextPairs(
            title=message("Answers that changed"),
            chosen_by=message("the first two flips in row order"),
            pairs=(
                TextPair(
                    before=SECRET, after=SECRET.replace("wrote", "wroet"), before_label="hired", after_label="rejected"
                ),
                TextPair(
                    before=HOSTILE,
                    after=HOSTILE + "!",
                    before_label=HOSTILE,
                    after_label="x",
                    note=message("similarity {s}", s=0.93),
                ),
            ),
        ),
        ImageGrid(title=message("Tiles"), chosen_by=message("all"), tiles=(Tile(png_base64=png(), label=HOSTILE),)),
    )


def finding(instance: str, info: ProbeInfo, **more: Any) -> Finding:
    return Finding(instance=instance, info=info, seed=7, status=more.pop("status", "measured"), **more)


FEMALE, MALE = group_axes({"gender": "female"}), group_axes({"gender": "male"})
THIRD = group_axes({"gender": HOSTILE})


def a_record(include_text: bool = False) -> AuditRecord:
    groups = Reading(
        measurements=(
            measured("recall", 0.61, (0.55, 0.67), FEMALE, counts=counts(900, 212, 212)),
            measured("recall", 0.753, (0.72, 0.785), MALE, counts=counts(1069, 600, 600)),
            Undefined(
                name="recall", slice=THIRD, counts=counts(31, 0, 0), reason=message("No positives in this group.")
            ),
            measured("equal_opportunity_difference", 0.143, (0.101, 0.189), feature_axes("gender"), better="lower"),
            measured("selection_rate", 0.31, (0.28, 0.341), FEMALE, counts=counts(900, 900, 900)),
        ),
        evidence=evidence(),
        remarks=(message("{n} rows without a gender were left out.", n=31),),
    )
    plain = Reading(measurements=(measured("accuracy", 0.8471, (0.83, 0.862), counts=counts(2000, 2000, 2000)),))
    ledger = Reading(measurements=(measured("epsilon", 3.2, None, counts=counts(2000, 2000, 2000)),))
    words = Reading(measurements=(measured("faithfulness", 0.4, (0.31, 0.48)),), evidence=raw_evidence())
    findings = (
        finding(
            "performance",
            PERFORMANCE,
            reading=plain,
            rows=RowsRef(path="evidence/performance/rows.parquet", sha256="b" * 64, rows=2000),
        ),
        finding("groups", GROUPS, reading=groups, params={"positive": "hired", "intersections": ["gender", "age"]}),
        finding("words", INFLUENCE, reading=words),
        finding("budget", BUDGET, reading=ledger),
        finding(
            "attack-typos",
            ATTACK,
            status="not_applicable",
            reason=message("textattack is not installed; {line}", line="pip install 'plumbline-audit[robustness]'"),
        ),
        finding(
            "membership",
            MEMBERSHIP,
            status="errored",
            reason=message("ValueError: {what}", what=f"bad row {HOSTILE}"),
            traceback=f"Traceback (most recent call last):\n  File x, line 1\nValueError: {SECRET}",
        ),
    )
    planned = tuple(PlannedProbe(instance=f.instance, info=f.info, params=f.params) for f in findings)
    return AuditRecord(
        plumbline="0.1.0",
        name="Hiring screen, spring release",
        seed=7,
        level=0.95,
        subject=SubjectCard(
            kind="checkpoint",
            name="out/hiring",
            digest=SUBJECT,
            task="text-classification",
            classes=("rejected", "hired"),
            threshold=0.5,
            positive="hired",
            offers=(Need.PREDICTIONS, Need.LABELS, Need.GROUPS, Need.QUERIES),
            details={"architecture": "BertForSequenceClassification", "parameters": 22713986, "note": HOSTILE},
        ),
        data=DataCard(
            name="screening-audit.csv",
            digest=DATA,
            rows=2000,
            roles={"input": "text", "label": "decision", "groups": ("gender", "age"), "cluster": "template"},
            labels={"rejected": 1188, "hired": 812},
            features=(
                FeatureCard(name="gender", values={"female": 900, "male": 1069, HOSTILE: 31}, missing=12),
                FeatureCard(name="age", values={"under 40": 1400, "40 and over": 600}),
            ),
            clusters=60,
            truncated=3,
            include_text=include_text,
        ),
        training={"method": "lora", "epochs": 3, "held_out": {"rows": 400}, "ids": list(range(5000)), "early": True},
        environment={"python": "3.11.9", "torch": "2.13.0", "transformers": "4.57.6"},
        planned=(*planned, PlannedProbe(instance="attack-synonyms", info=ATTACK)),
        findings=findings,
        predictions=RowsRef(path="evidence/predictions.parquet", sha256="c" * 64, rows=2000),
        attestations={"intended_purpose": "First screening of applications; a person decides.", "owner": HOSTILE},
        regulations=("eu-ai-act",),
        remarks=(message("{n} inputs were cut at {max} tokens.", n=3, max=256),),
    )


def ruling(rule: Rule, outcome: Any, reason: str, where: Slice = (), **more: Any) -> Ruling:
    limit = next(t for t in (rule.max, rule.min, rule.max_drop) if t is not None)
    return Ruling(
        check=Check(rule=rule, slice=where),
        outcome=outcome,
        reason=more.pop("said", message(reason)),
        limit=limit,
        level=0.95,
        decision=rule.decision or "interval",
        min_n=50,
        **more,
    )


WAIVER = Waiver(
    id="W-17",
    rule="every-group-is-protected",
    slice="group:gender=female",
    subject=SUBJECT,
    allow_up_to=0.55,
    justification="The next training round adds rows for this group.",
    statement=f"Recruiters see every rejected application until then. {HOSTILE}",
    requested_by="d.osei@example.org",
    approved_by="risk@example.org",
    approved_on=date(2026, 3, 2),
    expires=date(2026, 5, 1),
    ticket="RISK-311",
)


def a_verdict(record: AuditRecord, enforced: bool = True) -> Verdict:
    gap = Rule(id="equal-opportunity", measure="groups:equal_opportunity_difference", where={"feature": "gender"}, max=0.10,
               source="Model risk standard 4.2")  # fmt: skip
    each = Rule(id="every-group-is-protected", measure="groups:recall", each={"group": "gender"}, min=0.70,
                title="No group is missed", source="Model risk standard 4.3")  # fmt: skip
    accuracy = Rule(id="accurate", measure="performance:accuracy", min=0.80)
    drop = Rule(id="no-regression", measure="performance:accuracy", baseline="main", max_drop=0.01)
    old = Rule(id="no-old-regression", measure="performance:accuracy", baseline="2024", max_drop=0.01)
    spent = Rule(id="budget", measure="budget:epsilon", max=8, decision="exact", waivable=False)
    member = Rule(id="membership", measure="membership:auc", max=0.6)
    advisory = Rule(id="faithful", measure="words:faithfulness", min=0.5, severity="advisory")
    comparison = Comparison(
        baseline="main", baseline_digest="e" * 64, instance="performance", measure="accuracy", value=0.8471, baseline_value=0.852,
        difference=-0.0049, drop=0.0049, drop_interval=interval(-0.004, 0.0138), counts=counts(2000, 2000, 2000), paired=True,
        level=0.95,
    )  # fmt: skip
    gone = message("no comparison was made")
    rulings = (
        ruling(accuracy, "pass", "performance:accuracy is 0.847 [0.830, 0.862]; the policy allows at least 0.800, and the whole interval"
               " lies within.", value=0.8471, interval=interval(0.83, 0.862), counts=counts(2000, 2000, 2000)),
        ruling(gap, "fail", "groups:equal_opportunity_difference on feature:gender is 0.143 [0.101, 0.189]; the policy allows at most"
               " 0.100, and the whole interval lies beyond.", feature_axes("gender"), value=0.143, interval=interval(0.101, 0.189),
               counts=counts()),
        ruling(each, "waived", "Recall is too low. Waived as W-17 until 2026-05-01.", FEMALE, value=0.61, interval=interval(0.55, 0.67),
               counts=counts(900, 212, 212), original="fail", waiver="W-17"),
        ruling(each, "pass", "The whole interval lies within.", MALE, value=0.753, interval=interval(0.72, 0.785),
               counts=counts(1069, 600, 600)),
        ruling(each, "inconclusive", "", THIRD, counts=counts(31, 0, 0), said=message("{figure} has no value: no positives.", figure=HOSTILE)),
        ruling(drop, "inconclusive", "The drop of performance:accuracy since main is 0.005 [-0.004, 0.014]; the policy allows at most"
               " 0.010, which lies inside the interval. About 6094 rows would decide it.", value=0.0049, interval=interval(-0.004, 0.0138),
               counts=counts(2000, 2000, 2000), comparison=comparison, needed_n=6094),
        ruling(old, "error", "performance:accuracy cannot be compared with 2024: no comparison was made"),
        ruling(spent, "pass", "budget:epsilon is 3.200, exactly; the policy allows at most 8.", value=3.2, counts=counts(2000, 2000, 2000)),
        ruling(member, "error", "membership stopped with an error, so membership:auc is unknown."),
        ruling(advisory, "fail", "Faithfulness is below 0.5.", value=0.4, interval=interval(0.31, 0.48), counts=counts()),
    )  # fmt: skip
    policy = Policy(name="hiring-release", version=3, owner="risk@example.org",
                    rules=(accuracy, gap, each, drop, old, spent, member, advisory))  # fmt: skip
    return Verdict(
        outcome="fail",
        exit_code=10 if enforced else 0,
        enforced=enforced,
        decided_on=date(2026, 3, 14),
        record_sha256=sha256(record.to_json().encode()).hexdigest(),
        reasons=(rulings[1].reason,),
        rulings=rulings,
        policy=policy,
        waivers=(
            WAIVER,
            WAIVER.model_copy(update={"id": "W-9", "expires": date(2026, 3, 1), "slice": "group:gender=male"}),
        ),
        comparisons=(comparison, NoComparison(rule="no-old-regression", baseline="2024", missing=True, reason=gone)),
        warnings=(message("Waiver {waiver} expired on {day}.", waiver="W-9", day="2026-03-01"),),
    )


def passing(record: AuditRecord, verdict: Verdict) -> Verdict:
    """The same verdict with its passing checks alone."""
    kept = tuple(r for r in verdict.rulings if r.outcome == "pass")
    return verdict.model_copy(update={"outcome": "pass", "exit_code": 0, "rulings": kept, "waivers": (), "comparisons": (), "warnings": (),
                                      "reasons": (message("3 of 3 blocking checks passed."),)})  # fmt: skip


@pytest.fixture(scope="session")
def record() -> AuditRecord:
    return a_record()


@pytest.fixture(scope="session")
def verdict(record: AuditRecord) -> Verdict:
    return a_verdict(record)


@pytest.fixture(scope="session")
def page(record: AuditRecord, verdict: Verdict) -> str:
    from reports.page import render

    return render(record, verdict)


@pytest.fixture(scope="session")
def open_record() -> AuditRecord:
    """The same record with ``include_text``."""
    return a_record(include_text=True)


@pytest.fixture(scope="session")
def make_verdict() -> Callable[..., Verdict]:
    return a_verdict


@pytest.fixture(scope="session")
def make_passing() -> Callable[[AuditRecord, Verdict], Verdict]:
    return passing


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE


@pytest.fixture(scope="session")
def secret() -> str:
    """Raw input text that stands in evidence and in a traceback."""
    return SECRET
