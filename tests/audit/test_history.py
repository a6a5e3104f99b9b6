"""Every run below a folder has its line: sound ones with figures, broken and altered ones with the reason."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

import audit
from audit.cli import app
from audit.errors import HistoryError
from probes.evidence import Measurement
from reports.bundle import Bundle
from reports.history import History
from reports.schema_files import FOLDER

HOSTILE = "<script>alert(1)<"
SCHEME = "javascript:alert(1)"


@pytest.fixture(scope="module")
def releases(finished, tmp_path_factory) -> Path:
    """Three sound runs at different depths, one altered, one cut off, one half written, a link, and things that are no runs."""
    top = tmp_path_factory.mktemp("releases")
    for place, day in (("2026/b", (2026, 2, 1)), ("a", (2026, 3, 1)), ("2026/deep/er/c", (2026, 1, 1))):
        audit.gate(finished, on=datetime.date(*day), out=top / place)
    audit.review(top / "a", decision="reject", by="Dana", text="No.", on=datetime.date(2026, 3, 2))
    audit.review(top / "a", decision="accept", by="Kim", text="Yes.", on=datetime.date(2026, 3, 3))
    shutil.copytree(top / "a", top / "altered")
    verdict = (top / "altered" / "verdict.json").read_text()
    (top / "altered" / "verdict.json").write_text(verdict.replace('"outcome": "fail"', '"outcome": "pass"', 1))
    shutil.copytree(top / "a", top / "cut")
    (top / "cut" / "results.json").write_text((top / "cut" / "results.json").read_text()[:500])
    (top / "half").mkdir()
    (top / "half" / "MANIFEST.json").write_text('{"schema": "plumbline.bundle/v1", "complete": false, "files": []}')
    (top / "linked").symlink_to(top / "a")
    (top / "notes").mkdir()
    (top / "notes" / "readme.txt").write_text("x")
    return top


@pytest.fixture(scope="module")
def found(releases) -> History:
    return audit.history(releases)


def command(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def test_every_run_stands_in_the_order_of_its_decision(found):
    assert [r.folder for r in found.runs] == ["2026/deep/er/c", "2026/b", "a", "altered"]
    assert [r.decided_on.month for r in found.runs] == [1, 2, 3, 3]


def test_nothing_is_dropped_in_silence(found):
    told = {b.folder: str(b.reason) for b in found.broken}
    assert set(told) == {"cut", "half", "linked"}
    assert "is cut off" in told["cut"]
    assert "results.json is missing" in told["half"]
    assert told["linked"] == "is a link, and was not followed"


def test_an_altered_bundle_is_listed_as_such_and_gives_no_figures_and_no_sign_off(found):
    altered = found.runs[3]
    assert "hashes do not check" in str(altered.problem)
    assert altered.outcome == "pass"  # what the altered file says, shown as the word of a run that does not verify
    assert (altered.review, altered.reviews) == (None, 2)
    assert all(p.run != 3 for t in found.trends for p in t.points)
    assert "not shown: 1." in str(found.remarks[0])


def test_points_are_those_of_the_records_with_the_rulings_on_them(found, finished):
    record, verdict = Bundle.open(finished).record(), Bundle.open(finished).verdict()
    assert {t.name for t in found.trends} == {
        "performance:accuracy", "groups:demographic_parity_difference [feature:gender]", "groups:recall [group:gender=f]",
        "groups:recall [group:gender=m]",
    }  # fmt: skip
    for trend in found.trends:
        (m,) = [m for m in record.finding(trend.instance).measurements(trend.measure) if m.slice == trend.slice]
        assert isinstance(m, Measurement)
        (outcome,) = [
            r.outcome
            for r in verdict.rulings
            if r.check.slice == trend.slice and r.check.rule.measure_name == trend.measure
        ]
        assert [p.run for p in trend.points] == [0, 1, 2]
        for p in trend.points:
            assert (p.value, p.low, p.high, p.n) == (m.value, m.interval.low, m.interval.high, m.counts.denominator)
            assert p.outcomes == (outcome,)


def test_the_review_that_counts_is_the_newest(found):
    assert found.runs[2].review.model_dump(mode="json") == {
        "decision": "accept",
        "by": "Kim",
        "on": "2026-03-03",
        "of": 2,
    }
    assert found.runs[0].review is None
    assert {r.signed for r in found.runs} == {"unsigned"}


def test_a_signature_is_told_and_not_believed(releases, tmp_path):
    place = tmp_path / "signed"
    shutil.copytree(releases / "a", place)
    (place / "signature.dsse.json").write_text("{}")
    (line,) = audit.history(place).runs
    assert (line.folder, line.problem, line.signed) == (".", None, "signature beside, not checked")


def test_measures_are_picked_by_name_and_unknown_ones_refused(releases):
    picked = audit.history(releases, measures=["groups:precision", "brier_score_loss"])
    assert {(t.instance, t.measure) for t in picked.trends} == {
        ("groups", "precision"),
        ("calibration", "brier_score_loss"),
    }
    with pytest.raises(HistoryError, match=r"(?s)has the measure 'groups:nothing'.*performance:accuracy"):
        audit.history(releases, measures=["accuracy", "groups:nothing"])


def test_the_depth_is_kept_and_what_lies_deeper_is_told(releases):
    shallow = audit.history(releases, depth=1)
    assert [r.folder for r in shallow.runs] == ["a", "altered"]
    assert str(shallow.remarks[0]) == "Folders that lie deeper than 1 and were not looked into: 2."


def test_a_folder_without_runs_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    code, output = command("history", tmp_path)
    assert code == 2
    assert "no run lies below" in output
    assert command("history", tmp_path / "nowhere")[0] == 2


def test_a_figure_that_one_run_lacks_has_a_gap_and_a_reason(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "whole")
    frame = {"label": ["a", "b"] * 100, "prediction": ["a", "b"] * 100}
    import pandas as pd

    audit.run(pd.DataFrame(frame), probes={"performance": {"probe": "performance.classification"}}, out=tmp_path / "part",
              progress=False)  # fmt: skip
    trends = audit.history(tmp_path, measures=["groups:recall"]).trends
    for trend in trends:
        assert sorted((p.value is None, str(p.note)) for p in trend.points) == [
            (False, "None"), (True, "not measured in this run"),
        ]  # fmt: skip


def test_the_page_links_to_each_run_as_seen_from_where_it_lies(releases, tmp_path):
    page = tmp_path / "pages" / "history.html"
    code, output = command("history", releases, "--out", page)
    assert code == 0
    assert f"Page: {page}" in output
    text = page.read_text(encoding="utf-8")
    links = re.findall(r'href="([^"#]+)"', text)
    assert len(links) == 4
    assert all((page.parent / link).resolve().is_file() for link in links)
    for words in ("Does not verify", "is a link, and was not followed", "accepted, Kim", "newest of 2", "is cut off"):
        assert words in text
    assert command("history", releases, "--out", releases / "a" / "x.html")[0] == 2


def test_json_is_the_model(releases, found):
    done = CliRunner().invoke(app, ["history", str(releases), "--json"])
    assert json.loads(done.stdout)["schema"] == "plumbline.history/v1"
    jsonschema.validate(json.loads(done.stdout), json.loads((FOLDER / "history.json").read_text()))
    assert History.model_validate_json(done.stdout) == found
    frame = found.to_frame()
    assert len(frame) == 3 * len(found.trends)
    assert set(frame.outcomes) <= {"pass", "fail", "inconclusive"}


def test_hostile_folders_are_text_and_never_addresses(finished, tmp_path):
    top = tmp_path / "top"
    for name in (HOSTILE, SCHEME, "\u202egnp", "new\nline"):
        shutil.copytree(finished, top / name)
    (top / "\x1b[31m").mkdir()
    (top / "\x1b[31m" / "verdict.json").write_text("{}")
    page = top / "history.html"
    code, output = command("history", top, "--out", page)
    assert code == 0
    assert "\x1b" not in output
    assert "\u202e" not in output
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "\u202e" not in text
    links = re.findall(r'href="([^"#]+)"', text)
    assert len(links) == 4
    assert not any(":" in link for link in links)
    assert command("history", top, "--json")[0] == 0
