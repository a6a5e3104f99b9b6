"""What trackers are told: every figure under a legal name of its own, nothing invented, nothing that should stay at home."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.evidence import (
    AnyMeasurement,
    Axis,
    Counts,
    Interval,
    Measurement,
    Method,
    Slice,
    Undefined,
    group_axes,
    slice_name,
)
from reports.errors import RecordError
from reports.record import AuditRecord, Verdict
from reports.tracking import Entries, entries, figure_name

LEGAL = re.compile(r"[A-Za-z0-9_./-]{1,250}")  # what MLflow and W&B both take without a warning
SHA = "f" * 64


def told(record: AuditRecord, verdict: Verdict, **more: Any) -> Entries:
    return entries(record, verdict, bundle_sha256=SHA, **more)


def figures(record: AuditRecord) -> list[tuple[str, AnyMeasurement]]:
    return [(f.instance, m) for f in record.findings if f.reading for m in f.reading.measurements]


def with_groups(record: AuditRecord, *slices: Slice) -> AuditRecord:
    """The record with one finding, which measures 0.5, 0.25, 0.125 ... on the slices in turn."""
    finding = next(f for f in record.findings if f.instance == "groups")
    assert finding.reading
    count = Counts(n=9, denominator=7, smallest=7)
    ms = tuple(
        Measurement(name="recall", value=0.5 ** (i + 1), interval=None, counts=count, slice=s)
        for i, s in enumerate(slices)
    )
    reading = finding.reading.model_copy(update={"measurements": ms})
    return record.model_copy(update={"findings": (finding.model_copy(update={"reading": reading}),)})


def values(entries_: Entries) -> dict[str, float]:
    """Metrics that are neither counts nor the verdict's."""
    return {k: v for k, v in entries_.metrics.items() if k.startswith("groups/") and v < 1}


def test_names_by_hand() -> None:
    assert figure_name("performance", "accuracy", ()) == "performance/accuracy/all"
    assert figure_name("groups", "recall", group_axes({"gender": "female"})) == "groups/recall/group.gender.female"
    crossed = (Axis(kind="group", name="gender", value="non binary"), Axis(kind="class", name="hired"))
    assert figure_name("groups", "recall", crossed) == "groups/recall/group.gender.non_binary--class.hired"
    rate = (Axis(kind="setting", name="rate", value="0.1"),)
    assert figure_name("noise", "unchanged", rate) == "noise/unchanged/setting.rate.0_1"
    # Where more than a space is lost, a piece of the hash stands for it.
    assert re.fullmatch(
        r"groups/recall/group\.gender\._-[0-9a-f]{8}", figure_name("groups", "recall", group_axes({"gender": "女"}))
    )


def test_every_figure_arrives_with_its_ends_and_counts(record: AuditRecord, verdict: Verdict) -> None:
    out = told(record, verdict)
    assert out.metrics["performance/accuracy/all"] == 0.8471
    assert out.metrics["performance/accuracy/all.low"] == 0.83
    assert out.metrics["performance/accuracy/all.high"] == 0.862
    assert out.metrics["performance/accuracy/all.n"] == 2000
    assert out.metrics["groups/recall/group.gender.female.denominator"] == 212
    assert out.metrics["budget/epsilon/all"] == 3.2
    assert "budget/epsilon/all.low" not in out.metrics  # exact: there is no interval
    measured = [m for _, m in figures(record) if isinstance(m, Measurement)]
    ends = sum(2 for m in measured if m.interval)
    tallies = 6
    assert len(out.metrics) == 3 * len(measured) + ends + tallies
    assert all(math.isfinite(v) for v in out.metrics.values())


def test_a_bound_has_one_end(record: AuditRecord, verdict: Verdict) -> None:
    bound = Interval(low=None, high=0.4, level=0.95, method=Method(name="x"))
    one = with_groups(record, ())
    reading = one.findings[0].reading
    assert reading
    m = reading.measurements[0].model_copy(update={"interval": bound})
    one = one.model_copy(
        update={
            "findings": (
                one.findings[0].model_copy(update={"reading": reading.model_copy(update={"measurements": (m,)})}),
            )
        }
    )
    out = told(one, verdict)
    assert out.metrics["groups/recall/all.high"] == 0.4
    assert "groups/recall/all.low" not in out.metrics


def test_what_has_no_value_is_a_reason_and_no_number(record: AuditRecord, verdict: Verdict) -> None:
    missing = [(i, m) for i, m in figures(record) if isinstance(m, Undefined)]
    assert missing
    out = told(record, verdict)
    assert out.undefined == len(missing)
    for instance, m in missing:
        name = figure_name(instance, m.name, m.slice)
        assert out.tags[f"plumbline.undefined.{name}"] == "No positives in this group."
        assert not [k for k in out.metrics if k.startswith(name)]


def test_the_verdict_is_told_apart_from_everything_else(record: AuditRecord, verdict: Verdict) -> None:
    out = told(record, verdict)
    assert out.verdict["plumbline.verdict"] == "fail"
    assert out.verdict["plumbline.enforced"] == "true"
    assert out.metrics["plumbline/exit_code"] == 10
    assert out.metrics["plumbline/checks/fail"] == 2  # the advisory one too
    assert out.metrics["plumbline/checks/waived"] == 1
    assert "plumbline.verdict" not in out.texts


def test_the_0_of_a_report_only_run_is_not_logged_as_an_exit_code(
    record: AuditRecord, make_verdict: Callable[..., Verdict]
) -> None:
    relaxed = make_verdict(record, enforced=False)
    assert relaxed.exit_code == 0
    out = told(record, relaxed)
    assert "plumbline/exit_code" not in out.metrics
    assert out.verdict["plumbline.verdict"] == "fail"
    assert out.verdict["plumbline.enforced"] == "false"


def test_rulings_digests_and_the_state_of_every_probe(record: AuditRecord, verdict: Verdict) -> None:
    tags = told(record, verdict, left_out=("evidence/predictions.parquet",)).tags
    assert tags["plumbline.ruling.accurate"] == "pass"
    assert tags["plumbline.ruling.every-group-is-protected/group.gender.female"] == "waived"
    assert tags["plumbline.ruling.membership"] == "error"
    assert sum(k.startswith("plumbline.ruling.") for k in tags) == len(verdict.rulings)
    assert tags["plumbline.subject.sha256"] == record.subject.digest
    assert tags["plumbline.data.sha256"] == record.data.digest
    assert tags["plumbline.record.sha256"] == verdict.record_sha256
    assert tags["plumbline.bundle.sha256"] == SHA
    assert re.fullmatch("[0-9a-f]{64}", tags["plumbline.policy.sha256"])
    assert tags["plumbline.left_out"] == "evidence/predictions.parquet"
    states = {k.rpartition(".")[2]: v for k, v in tags.items() if k.startswith("plumbline.probe.")}
    assert states == {
        "performance": "measured", "groups": "measured", "words": "measured", "budget": "measured",
        "attack-typos": "not_applicable", "membership": "errored", "attack-synonyms": "not_run",
    }  # fmt: skip


def test_no_raw_input_goes_out(
    record: AuditRecord, open_record: AuditRecord, make_verdict: Callable[..., Verdict], secret: str
) -> None:
    for one in (record, open_record):
        out = told(one, make_verdict(one))
        everything = json.dumps([out.metrics, out.texts, out.verdict]) + out.figures
        assert secret not in everything
        assert secret[:20] not in everything


def test_names_are_legal_whatever_the_data_is_called(record: AuditRecord, verdict: Verdict) -> None:
    out = told(record, verdict)  # its groups, owner and classes are hostile
    for name in (*out.metrics, *out.texts, *out.verdict):
        assert LEGAL.fullmatch(name), name
        assert "//" not in name
        assert not name.startswith("/")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a b", "a_b"),
        ("F", "f"),
        ("女", "男"),
        ("x" * 300, "x" * 299 + "y"),
        ("a/b", "a:b"),
        ("0.1", "0_1"),
        ("1.2", "1 2"),
        ("", "_"),
        ("a ", "a"),
    ],
)
def test_names_that_cleaning_makes_alike_stay_apart(
    record: AuditRecord, verdict: Verdict, one: str, other: str
) -> None:
    slices = [group_axes({"g": one}), group_axes({"g": other})]
    forth, back = told(with_groups(record, *slices), verdict), told(with_groups(record, *slices[::-1]), verdict)
    assert sorted(values(forth).values()) == [0.25, 0.5]
    assert len({name.casefold() for name in values(forth)}) == 2
    # The same slice has the same name in whatever order they come.
    assert values(forth) == {k: 0.75 - v for k, v in values(back).items()}


def test_neither_of_two_alike_names_passes_for_the_only_one(record: AuditRecord, verdict: Verdict) -> None:
    plain = "groups/recall/group.g.a_b"
    assert plain in values(told(with_groups(record, group_axes({"g": "a b"})), verdict))
    both = told(with_groups(record, group_axes({"g": "a b"}), group_axes({"g": "a_b"})), verdict)
    assert plain not in both.metrics
    assert all(re.fullmatch(re.escape(plain) + "-[0-9a-f]{8}", name) for name in values(both))


def test_a_group_called_low_is_not_the_low_end_of_another(record: AuditRecord, verdict: Verdict) -> None:
    whole, low = (Axis(kind="class", name="g"),), (Axis(kind="class", name="g", value="n"),)
    out = told(with_groups(record, whole, low), verdict)
    assert sorted(values(out).values()) == [0.25, 0.5]
    assert len([v for v in out.metrics.values() if v == 9]) == 2  # both counts are there too


def test_two_values_of_one_figure_are_an_error(record: AuditRecord, verdict: Verdict) -> None:
    with pytest.raises(RecordError, match="two values of groups/recall/all"):
        told(with_groups(record, (), ()), verdict)


def test_the_list_of_figures_gives_every_name_its_meaning(record: AuditRecord, verdict: Verdict) -> None:
    out = told(record, verdict)
    listed = json.loads(out.figures)
    assert len(listed) == len(figures(record))
    for entry, (instance, m) in zip(listed, figures(record), strict=True):
        assert (entry["instance"], entry["measure"], entry["slice"]) == (instance, m.name, slice_name(m.slice))
        if isinstance(m, Measurement):
            assert out.metrics[entry["metric"]] == entry["value"] == m.value
        else:
            assert out.tags[entry["tag"]] == entry["reason"]
            assert "value" not in entry


texts = st.text(max_size=80)
axes = st.builds(
    Axis, kind=st.sampled_from(["feature", "group", "class", "output", "setting"]), name=texts, value=texts
)


@settings(max_examples=40, deadline=None)
@given(slices=st.lists(st.lists(axes, max_size=4).map(tuple), min_size=1, max_size=6, unique=True))
def test_any_slices_get_legal_names_of_their_own(record: AuditRecord, verdict: Verdict, slices: list[Slice]) -> None:
    out = told(with_groups(record, *slices), verdict)
    assert sorted(values(out).values()) == sorted(0.5 ** (i + 1) for i in range(len(slices)))
    assert len({name.casefold() for name in out.metrics}) == len(out.metrics)
    assert all(LEGAL.fullmatch(name) and "//" not in name for name in out.metrics)
