"""Two finished runs compared whole: what moved on the same rows, whom it harms, and what is not said without reason."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import audit
from audit.cli import app
from fine_tune.predictions import feature_names
from probes import registry
from probes.evidence import Counts, Interval, MeasureDefinition, Measurement, Method, Need, Reading, group_axes, message
from probes.registry import probe
from reports.comparing import compared_sections, comparison_page
from reports.comparison import RunComparison
from reports.errors import VerificationError
from reports.harm import harmed_groups
from reports.record import Policy
from reports.schema_files import FOLDER

ID = "performance.group_share_for_tests"
HOSTILE = "<script>alert(1)</script>\u202e"
DEFINES = (
    MeasureDefinition(name="share", formula=message("f"), better="higher", unit="share"),
    MeasureDefinition(name="rows", formula=message("f"), high=None),
)


@dataclass(frozen=True, kw_only=True)
class GroupShare:
    """How many answers are right, by group? As quick as it gets, because a jackknife asks it a hundred times."""

    def collect(self, subject, ctx):
        return subject.predictions(ctx)

    def summarise(self, rows, ctx):
        right = np.asarray(rows["label"].to_pylist()) == np.asarray(rows["prediction"].to_pylist())
        out = [_measured("share", right, (), ctx.level), _exact(len(right))]
        for name in feature_names(rows):
            values = np.asarray(rows[f"group_{name}"].to_pylist())
            out += [
                _measured("share", right[values == v], group_axes({name: str(v)}), ctx.level) for v in np.unique(values)
            ]
        return Reading(measurements=tuple(out))


def _measured(name, right, where, level):
    n, value = len(right), float(right.mean())
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt(value * (1 - value) / n)
    interval = Interval(low=value - half, high=value + half, level=level, method=Method(name="wald"))
    return Measurement(name=name, value=value, interval=interval, slice=where, better="higher", unit="share",
                       counts=Counts(n=n, denominator=n, smallest=n))  # fmt: skip


def _exact(n):
    return Measurement(name="rows", value=n, interval=None, counts=Counts(n=n, denominator=n, smallest=n))


@pytest.fixture(autouse=True, scope="module")
def _registered():
    probe(ID, needs={Need.PREDICTIONS, Need.GROUPS}, defines=DEFINES)(GroupShare)
    yield
    registry._PROBES.pop(ID)


def frame(rows=800, *, wrong=None, seed=0, groups=("f", "m")) -> pd.DataFrame:
    """A model that is right in nine of ten rows; ``wrong`` says which more it gets wrong."""
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(rows) < 0.5, "yes", "no")
    group = np.asarray(groups, dtype=object)[np.arange(rows) % len(groups)]
    miss = rng.random(rows) < 0.1
    if wrong is not None:
        miss |= wrong(np.arange(rows), group)
    other = np.where(label == "yes", "no", "yes")
    return pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(rows)],
            "label": label,
            "prediction": np.where(miss, other, label),
            "g": group,
        }
    )


def run(place: Path, table: pd.DataFrame, **more) -> Path:
    rules = more.pop("rules", [{"id": "good", "measure": "share:share", "min": 0.85}])
    policy = Policy.model_validate({"name": "p", "version": more.pop("version", 1), "owner": "o", "rules": rules})
    audit.run(table, id="row_id", label="label", groups=["g"], probes=more.pop("probes", {"share": {"probe": ID}}),
              positive="yes", policy=policy, out=place, name=more.pop("name", "n"), progress=False)  # fmt: skip
    return place


def harm_f(index, group):
    return (group == "f") & (index % 5 == 0)


@pytest.fixture(scope="module")
def pair_of_runs(tmp_path_factory, _registered) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    rules = [
        {"id": "good", "measure": "share:share", "min": 0.8},
        {"id": "more", "measure": "share:rows", "min": 10, "decision": "exact"},
    ]
    old = run(folder / "old", frame())
    return old, run(folder / "new", frame(wrong=harm_f).iloc[40:], rules=rules, version=2)


@pytest.fixture(scope="module")
def found(pair_of_runs) -> RunComparison:
    return audit.compare(*pair_of_runs, progress=False)


def test_differences_are_those_of_the_common_rows(found):
    before, after = frame().iloc[40:], frame(wrong=harm_f).iloc[40:]
    share = {d.slice: d for d in found.differences if d.measure == "share"}
    right = [float((f.label == f.prediction).mean()) for f in (before, after)]
    whole = share[()]
    assert (whole.before, whole.after, whole.way) == (*right, "paired")
    assert whole.interval.low < whole.difference < whole.interval.high < 0
    assert whole.movement == "worse"
    of_f = share[group_axes({"g": "f"})]
    assert of_f.after == float((after.label == after.prediction)[after.g == "f"].mean())
    assert share[group_axes({"g": "m"})].movement == "unclear"


def test_an_exact_figure_has_an_exact_difference_and_no_better_side(found):
    (rows,) = [d for d in found.differences if d.measure == "rows"]
    assert (rows.before, rows.after, rows.difference, rows.interval, rows.way) == (800, 760, -40, None, "exact")
    assert (rows.movement, rows.p_value) == ("neutral", None)


def test_only_the_group_that_was_harmed_is_claimed(found):
    assert found.groups_compared == 2
    groups = harmed_groups(found.differences, found.level)
    assert [g.slice for g in groups] == [group_axes({"g": "f"})]
    assert [d.measure for d in groups[0].claimed] == ["share"]
    assert groups[0].claimed[0].p_holm == pytest.approx(2 * groups[0].claimed[0].p_value)


def test_newly_harmed_rows_are_counted_and_named_by_id(found):
    before, after = frame().iloc[40:], frame(wrong=harm_f).iloc[40:]
    right, now = before.label == before.prediction, after.label == after.prediction
    rows = found.harmed_rows
    assert rows.harmed == tuple(before.row_id[right & ~now])
    assert (rows.rows_before, rows.rows_after, rows.common, rows.labelled) == (800, 760, 760, 760)
    assert (rows.right_twice, rows.wrong_twice, rows.mended) == ((right & now).sum(), (~right & ~now).sum(), 0)
    by_group = {g.value: g.harmed for g in rows.groups}
    assert by_group == {"f": len(rows.harmed), "m": 0}


def test_checks_rules_and_demands_that_changed_are_told(found):
    assert {(c.rule, c.before and c.before.outcome, c.after and c.after.outcome) for c in found.checks} == {
        ("good", "pass", "inconclusive"), ("more", None, "pass"),
    }  # fmt: skip
    told = [str(m) for m in found.policy]
    assert "Rule good became looser: min was 0.85, now 0.8." in told
    assert "Rule more was added: share:rows: at least 10." in told
    assert ("rule", "more", None) in {(c.kind, c.name, c.before) for c in found.changes}
    assert {c.name for c in found.changes if c.kind == "data"} == {"digest", "rows"}


def test_the_same_run_twice_moved_nothing(pair_of_runs):
    same = audit.compare(pair_of_runs[0], pair_of_runs[0], progress=False)
    assert {d.movement for d in same.differences} == {"same"}
    assert same.harmed_rows.harmed == ()
    assert (same.changes, same.policy) == ((), ())
    assert not any(c.moved for c in same.checks)
    assert "same model on the same rows" in str(same.remarks[0])


def test_runs_in_the_wrong_order_are_pointed_out(pair_of_runs, tmp_path):
    import datetime

    old = tmp_path / "old"
    audit.gate(pair_of_runs[0], on=datetime.date(2020, 1, 1), out=old)
    told = audit.compare(pair_of_runs[0], old, progress=False).remarks
    assert "was decided on 2020-01-01, before the other" in str(told[-1])
    assert not any("swapped" in str(r) for r in audit.compare(old, pair_of_runs[0], progress=False).remarks)


def test_runs_without_common_rows_are_marked_and_not_called_paired(tmp_path, pair_of_runs):
    other = frame(seed=3)
    other["row_id"] = [f"z{i}" for i in range(len(other))]
    got = audit.compare(pair_of_runs[0], run(tmp_path / "b", other), progress=False)
    assert {d.way for d in got.differences if d.measure == "share"} == {"unpaired"}
    assert got.harmed_rows is None
    assert "no rows in common" in str(got.no_harmed_rows)
    points = [str(p) for p in compared_sections(got).points]
    assert any("NOT paired" in p for p in points)
    assert "NOT paired" in comparison_page(got)


def test_rows_with_other_labels_are_no_pairs(tmp_path, pair_of_runs):
    other = frame()
    other["label"] = np.where(other.label == "yes", "no", "yes")
    got = audit.compare(pair_of_runs[0], run(tmp_path / "b", other), progress=False)
    assert [n.instance for n in got.not_compared] == ["share"]
    assert "carry other labels" in str(got.not_compared[0].reason)
    assert got.harmed_rows is None


def test_what_one_run_alone_has_is_told_once(tmp_path, pair_of_runs):
    probes = {"share": {"probe": ID}, "performance": {"probe": "performance.classification"}}
    table = frame(groups=("f", "x"))
    got = audit.compare(pair_of_runs[0], run(tmp_path / "b", table, probes=probes), progress=False)
    told = {(c.kind, c.name, c.before is None) for c in got.changes}
    assert {("instance", "performance", True), ("group", "g=x", True), ("group", "g=m", False)} <= told
    assert {("slice", "share:share [group:g=x]", True), ("slice", "share:share [group:g=m]", False)} <= told
    assert not any("accuracy" in c.name for c in got.changes)


def test_few_rows_are_shown_and_nothing_is_claimed_of_them(tmp_path):
    few = lambda index, group: group == "f"  # noqa: E731
    tables = [frame(60, wrong=w, groups=("f", "m", "m", "m")) for w in (None, few)]
    got = audit.compare(run(tmp_path / "a", tables[0]), run(tmp_path / "b", tables[1]), progress=False)
    (of_f,) = [d for d in got.differences if d.slice == group_axes({"g": "f"})]
    assert of_f.difference < -0.5
    assert of_f.interval.high < 0
    assert (of_f.enough, of_f.movement, of_f.p_holm) == (False, "unclear", None)
    assert harmed_groups(got.differences, got.level) == ()


def test_two_models_that_differ_by_chance_rarely_harm_anybody(tmp_path):
    """Claims are false in at most one comparison of twenty, all groups of a comparison taken together."""
    from audit.pairing import Run
    from audit.two_runs import _corrected, _Two
    from probes.probe import silent
    from reports.bundle import Bundle

    groups = tuple("abcdef")
    bundle = Bundle.open(run(tmp_path / "a", frame(600, groups=groups)))
    record, rows = bundle.record(), bundle.rows(bundle.record().findings[0].rows)
    other = record.model_copy(update={"subject": record.subject.model_copy(update={"digest": "f" * 64})})
    labels, claims = np.asarray(rows["label"].to_pylist()), 0
    rng = np.random.default_rng(4)

    def answers():
        import pyarrow as pa

        miss = rng.random(len(labels)) < 0.2
        given = np.where(miss, np.where(labels == "yes", "no", "yes"), labels)
        return rows.set_column(rows.column_names.index("prediction"), "prediction", pa.array(given.astype(object)))

    for _ in range(40):
        now, then = answers(), answers()
        findings = []
        for table in (now, then):
            reading = GroupShare().summarise(table, type("C", (), {"level": 0.95}))
            findings.append(record.findings[0].model_copy(update={"reading": reading}))
        newer = Run(record=other.model_copy(update={"findings": (findings[0],)}), rows_of=lambda _, t=now: t)
        older = Run(record=record.model_copy(update={"findings": (findings[1],)}), rows_of=lambda _, t=then: t)
        differences, _ = _Two(older, newer, 50).every(silent)
        corrected, compared = _corrected(differences)
        assert compared == len(groups)
        claims += any(g.claimed for g in harmed_groups(corrected, 0.95))
    assert claims <= 5


def test_a_probe_that_breaks_takes_only_its_own_figures_away(tmp_path, pair_of_runs, monkeypatch):
    probes = {"share": {"probe": ID}, "performance": {"probe": "performance.classification"}}
    runs = [run(tmp_path / n, frame(wrong=w), probes=probes) for n, w in (("a", None), ("b", harm_f))]

    def broken(self, rows, ctx):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(GroupShare, "summarise", broken)
    got = audit.compare(*runs, progress=False)
    (reason,) = [str(n.reason) for n in got.not_compared if n.instance == "share"]
    assert reason == f"{ID} stopped with an error on the stored rows: ZeroDivisionError: by nothing"
    # What is exact needs no second summary.
    assert {d.measure for d in got.differences if d.instance == "share"} == {"rows"}
    assert {d.movement for d in got.differences if d.measure == "accuracy"} == {"worse"}
    assert any("Not compared: 2" in str(p) for p in compared_sections(got).points)


def test_an_altered_bundle_is_refused(tmp_path, pair_of_runs):
    copy = tmp_path / "altered"
    shutil.copytree(pair_of_runs[0], copy)
    (copy / "verdict.json").write_text(
        (copy / "verdict.json").read_text().replace('"outcome": "pass"', '"outcome": "fail"')
    )
    with pytest.raises(VerificationError, match="own hashes"):
        audit.compare(copy, pair_of_runs[1])
    done = CliRunner().invoke(app, ["compare", str(copy), str(pair_of_runs[1])])
    assert (done.exit_code, "Traceback" in done.output) == (13, False)


def test_the_command_prints_writes_a_page_and_speaks_json(tmp_path, pair_of_runs):
    old, new = map(str, pair_of_runs)
    page = tmp_path / "pages" / "compare.html"
    done = CliRunner().invoke(app, ["compare", old, new, "--out", str(page)])
    assert done.exit_code == 0, done.output
    for words in (
        "Newly harmed groups: g=f",
        "claimed",
        "newly harmed row: r",
        "Rule good became looser",
        f"Page: {page}",
    ):
        assert words in done.output
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    as_json = CliRunner().invoke(app, ["compare", old, new, "--json"])
    body = json.loads(as_json.stdout)
    assert body["schema"] == "plumbline.comparison/v1"
    jsonschema.validate(body, json.loads((FOLDER / "comparison.json").read_text()))
    assert RunComparison.model_validate(body).to_json() == as_json.stdout


def test_a_page_is_never_written_into_a_run(pair_of_runs):
    old, new = pair_of_runs
    done = CliRunner().invoke(app, ["compare", str(old), str(new), "--out", str(new / "compare.html")])
    assert done.exit_code == 2
    assert not (new / "compare.html").exists()


def test_hostile_names_are_text(tmp_path):
    table = frame(groups=(HOSTILE, "m"))
    table["row_id"] = [f"{HOSTILE}{i}" for i in range(len(table))]
    hostile = lambda index, group: (group == HOSTILE) & (index % 4 == 0)  # noqa: E731
    worse = frame(groups=(HOSTILE, "m"), wrong=hostile)
    worse["row_id"] = table.row_id
    got = audit.compare(run(tmp_path / "a", table, name=HOSTILE), run(tmp_path / "b", worse), progress=False)
    assert got.harmed_rows.harmed
    page = comparison_page(got)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert done.exit_code == 0
    assert "\u202e" not in done.output
    assert got.to_frame().movement.tolist().count("worse") >= 1
