"""The editions of one record: each says which it is, none changes a digest, and the public one gives no small count away."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.evidence import (
    Bar,
    Bars,
    Counts,
    Curve,
    CurvePoint,
    Interval,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Method,
    Note,
    Reading,
    Series,
    Table,
    Undefined,
    group_axes,
    message,
)
from reports.editions import edition_of, edition_words
from reports.page import render
from reports.public import public
from reports.record import AuditRecord, Check, DataCard, FeatureCard, Verdict
from reports.showing import Edition, Showing
from reports.suppression import hidden

EDITIONS: tuple[Edition, ...] = ("internal", "regulator", "public")


def words(page: str) -> str:
    body = page[page.index("<body") :]
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", body)).split())


@pytest.mark.parametrize("edition", EDITIONS)
def test_each_edition_says_which_it_is_and_carries_the_same_digests(
    open_record: AuditRecord, make_verdict: Callable[..., Verdict], edition: Edition
) -> None:
    verdict = make_verdict(open_record)
    page = render(open_record, verdict, Showing(edition=edition))
    first = page[: page.index('id="action"')]
    name = {"internal": "Internal edition.", "regulator": "Regulator&#39;s edition.", "public": "Public edition."}
    assert name[edition] in first
    assert not any(other in page for key, other in name.items() if key != edition)
    for digest in (open_record.subject.digest, open_record.data.digest, verdict.record_sha256):
        assert digest in page
    assert f"{verdict.outcome.capitalize()}</span>" in first


def test_the_internal_edition_is_the_record_itself(record: AuditRecord, verdict: Verdict) -> None:
    assert edition_of(record, verdict, Showing()) == (record, verdict)
    assert "redacted" in str(edition_words(record, Showing())[1])


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_the_regulators_edition_has_every_number_and_no_raw_input(
    open_record: AuditRecord, make_verdict: Callable[..., Verdict], secret: str
) -> None:
    verdict = make_verdict(open_record)
    shown, decided = edition_of(open_record, verdict, Showing(edition="regulator"))
    assert list(numbers(shown.model_dump(mode="json"))) == list(numbers(open_record.model_dump(mode="json")))
    assert decided == verdict
    # What is redacted is gone from the record that is rendered, not only from the page.
    for word in (*secret.split()[1:3], "iVBORw0KGgoAAAANSUhEUgAAAAIAAAAC"):
        assert word not in shown.to_json()
    page = render(open_record, verdict, Showing(edition="regulator"))
    assert secret not in words(page)
    assert "data:image" not in page
    assert "Raw inputs are redacted in this edition." in page
    assert "does not set include_text" not in page


def test_the_public_edition_has_no_example_no_person_and_no_traceback(
    open_record: AuditRecord, make_verdict: Callable[..., Verdict], secret: str
) -> None:
    verdict = make_verdict(open_record)
    said = words(render(open_record, verdict, Showing(edition="public")))
    for gone in (secret, "risk@example.org", "d.osei@example.org", "Traceback", "bad row", "Answers that changed"):
        assert gone not in said, gone
    for kept in ("RISK-311", "until 2026-05-01", "Examples, and tables that name rows, are left out of this edition."):
        assert kept in said, kept
    assert "Figures on fewer than 10 rows are suppressed" in said


# Counts that stand nowhere else on the page, so that finding one is finding the leak.
SMALL, NEXT, THIRD, LARGE = 613, 2357, 3119, 9241
TOTAL = SMALL + NEXT + THIRD + LARGE
LEAST = 1009
SIZES = {"amber": SMALL, "birch": NEXT, "cedar": THIRD, "delta": LARGE}


def figure(group: str, n: int, d: int) -> Measurement:
    span = Interval(low=0.2, high=0.6, level=0.95, method=Method(name="wilson"))
    return Measurement(
        name="recall",
        value=0.4,
        interval=span,
        slice=group_axes({"wood": group}),
        counts=Counts(n=n, denominator=d, smallest=d),
    )


def told_everywhere(record: AuditRecord, verdict: Verdict, sizes: dict[str, int]) -> tuple[AuditRecord, Verdict]:
    """A record that tells the groups' sizes in every way that a record can."""
    total = sum(sizes.values())
    evidence = (
        Table(title=message("Groups"), columns=(message("group"), message("rows"), message("rest")),
              rows=tuple((g, n, total - n) for g, n in sizes.items())),
        Table(title=message("In words"), columns=(message("group"), message("said")),
              rows=tuple((g, f"{n} of {total}") for g, n in sizes.items())),
        Bars(title=message("Sizes"), bars=tuple(Bar(label=g, value=n, n=n) for g, n in sizes.items())),
        IntervalPlot(title=message("Recall"),
                     points=tuple(IntervalPoint(label=g, value=0.4, low=0.2, high=0.6, n=n) for g, n in sizes.items())),
        Curve(title=message("Bins"), x_label=message("x"), y_label=message("y"),
              series=tuple(Series(label=f"wood = {g}", points=(CurvePoint(x=0.1, y=0.2, n=n), CurvePoint(x=0.3, y=0.4, n=n)))
                           for g, n in sizes.items())),
        *(Note(text=message("{group} has {n} rows, the others {rest}.", group=g, n=n, rest=total - n)) for g, n in sizes.items()),
    )  # fmt: skip
    found = record.findings[1]
    reading = Reading(
        measurements=tuple(figure(g, n, n) for g, n in sizes.items()),
        evidence=evidence,
        remarks=tuple(message("{n} rows are {group}.", n=n, group=g) for g, n in sizes.items()),
    )
    data = DataCard(name="rows.csv", digest="d" * 64, rows=total, roles={"groups": ("wood",)}, labels={},
                    features=(FeatureCard(name="wood", values=sizes),))  # fmt: skip
    template = verdict.rulings[3]
    rulings = tuple(
        template.model_copy(
            update={
                "check": Check(rule=template.check.rule, slice=group_axes({"wood": g})),
                "outcome": "fail",
                "counts": Counts(n=n, denominator=n, smallest=n),
                "reason": message("recall on {group} rests on {n} of {all} rows", group=g, n=n, all=total),
            }
        )
        for g, n in sizes.items()
    )
    return (
        record.model_copy(update={"data": data, "findings": (found.model_copy(update={"reading": reading}),)}),
        verdict.model_copy(
            update={
                "rulings": rulings,
                "waivers": (),
                "comparisons": (),
                "reasons": tuple(r.reason for r in rulings),
                "warnings": tuple(message("{group}: {n}", group=g, n=n) for g, n in sizes.items()),
            }
        ),
    )


def test_no_suppressed_count_and_no_complement_stands_anywhere(record: AuditRecord, verdict: Verdict) -> None:
    everything = told_everywhere(record, verdict, SIZES)
    whole, page = (
        words(render(*everything, Showing(edition=e, least=LEAST))) for e in ("internal", "public")
    )  # fmt: skip
    # One group is too small; the next one goes with it, or the first would be the total less the rest.
    for count in (SMALL, TOTAL - SMALL, NEXT, TOTAL - NEXT):
        assert re.search(rf"\b{count}\b", whole), "the test looks for what is there without suppression"
        assert not re.search(rf"\b{count}\b", page), count
    for count in (THIRD, LARGE, TOTAL):
        assert re.search(rf"\b{count}\b", page), "what is large enough stays"
    for group in ("amber", "birch"):
        assert re.search(rf"{group} Suppressed in this edition|{group} suppressed", page)
    assert "Groups of wood that are not told: 2." in page


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(min_value=0, max_value=400), min_size=1, max_size=7), least=st.integers(2, 60))
def test_what_is_hidden_can_not_be_computed_back(
    record: AuditRecord, verdict: Verdict, sizes: list[int], least: int
) -> None:
    named = {f"g{i}x": n for i, n in enumerate(sizes)}
    everything, decided = told_everywhere(record, verdict, named)
    out, after = public(everything, decided, least)
    kept = out.data.features[0].values
    gone = {g: n for g, n in named.items() if g not in kept}
    assert {g for g, n in named.items() if 0 < n < least} <= set(gone), "no small group is told"
    some = [n for n in named.values() if n]
    if gone and len(gone) < len(some):
        assert len(gone) >= 2, "one alone is the total less the others"
        assert sum(gone.values()) >= least, "nor is their sum a small count"
    finding = out.findings[0]
    assert finding.reading is not None
    told = {m.slice for m in finding.reading.measurements if not isinstance(m, Undefined)}
    for group, size in named.items():
        axes = group_axes({"wood": group})
        assert (axes in told) == (group not in gone)
        ruling = next(r for r in after.rulings if r.check.slice == axes)
        assert (ruling.counts is None) == (group in gone)
        if group in gone:
            assert str(size) not in re.findall(r"\d+", str(ruling.reason))


def test_a_small_complement_hides_the_slice(record: AuditRecord, verdict: Verdict) -> None:
    """95 of 100 rows tell that 5 are of the other class."""
    sizes = {"amber": 100, "birch": 200, "cedar": 300}
    everything, decided = told_everywhere(record, verdict, sizes)
    reading = everything.findings[0].reading
    assert reading is not None
    first = figure("amber", 100, 95)
    changed = reading.model_copy(update={"measurements": (first, *reading.measurements[1:])})
    finding = everything.findings[0].model_copy(update={"reading": changed})
    out, _ = public(everything.model_copy(update={"findings": (finding,)}), decided, 10)
    assert out.findings[0].reading is not None
    gone = [m.slice for m in out.findings[0].reading.measurements if isinstance(m, Undefined)]
    assert gone == [group_axes({"wood": "amber"}), group_axes({"wood": "birch"})]


def test_rows_without_a_value_are_a_cell_like_any_other(record: AuditRecord) -> None:
    card = FeatureCard(name="wood", values={"amber": 500, "birch": 400}, missing=3)
    data = record.data.model_copy(update={"features": (card,), "labels": {}})
    found = hidden(record.model_copy(update={"data": data, "findings": ()}), 10)
    assert found.missing("wood")
    assert found.hides("", group_axes({"wood": "birch"}))
    assert not found.hides("", group_axes({"wood": "amber"}))


def test_tables_that_name_rows_are_left_out(record: AuditRecord, verdict: Verdict) -> None:
    everything, decided = told_everywhere(record, verdict, {"amber": 100, "birch": 200})
    ids = Table(title=message("Copies"), columns=(message("rows"), message("row ids")), rows=((12, "r-771, r-772"),))
    raw = Table(title=message("Texts"), columns=(message("text"),), rows=(("hello there",),), raw=(0,))
    finding = everything.findings[0].model_copy(update={"reading": Reading(measurements=(), evidence=(ids, raw))})
    page = render(everything.model_copy(update={"findings": (finding,)}), decided, Showing(edition="public"))
    assert "r-771" not in page
    assert "hello" not in page
    assert "Examples, and tables that name rows, are left out of this edition." in page


def test_an_owner_who_changed_is_not_named(record: AuditRecord, verdict: Verdict) -> None:
    change = message(
        "The policy's {field} changed from {before} to {after}.", field="owner", before="old@x", after="new@x"
    )
    nested = message("Since {baseline}: {change}", baseline="main", change=change)
    _, after = public(record, verdict.model_copy(update={"policy_changes": (change, nested)}), 10)
    assert after.policy_changes is not None
    assert not any("@x" in str(m) for m in after.policy_changes)
    assert all(isinstance(m, Message) for m in after.policy_changes)
