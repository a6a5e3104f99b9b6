"""``plumbline regulations``, and the plan's ``regulations`` and ``attestations`` on their way into the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit import api
from audit.cli import app
from audit.errors import PlanError
from audit.first_plan import write_first_plan
from audit.plan import load_plan
from reports.attestations import KNOWN
from reports.bundle import Bundle
from reports.regulations import regulation_ids

PLAN = """\
schema: plumbline.plan/v1
name: screening
subject: {predictions: {source: scores.csv}}
data: {audit: {source: scores.csv, input: text, label: label, groups: [gender]}}
probes:
  performance: {probe: performance.classification}
  groups: {probe: fairness.groups, positive: "yes"}
regulations: [sr-26-2]
attestations: {owner: "the risk team", oversight: "..."}
"""


def plan(folder: Path, text: str = PLAN) -> Path:
    rows = ["text,label,prediction,gender"]
    rows += [
        f"row {i},{'yes' if i % 2 else 'no'},{'yes' if i % 3 else 'no'},{'a' if i % 5 else 'b'}" for i in range(200)
    ]
    (folder / "scores.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regulations")
    return api.run_plan(plan(folder), folder / "run", cache=folder / "cache", progress=False).path


def said(*words: str, code: int = 0) -> str:
    done = CliRunner(env={"COLUMNS": "250"}).invoke(app, ["regulations", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_it_lists_what_is_known() -> None:
    assert all(i in said() for i in regulation_ids())
    assert [f["id"] for f in json.loads(said("--json"))] == list(regulation_ids())


def test_it_shows_one_in_full() -> None:
    text = said("nyc-ll144")
    assert "Not checked:" in text
    assert "fairness.impact_ratio:unknown" in text
    assert json.loads(said("nyc-ll144", "--json"))[0]["citation"].startswith("NYC Administrative Code")


def test_it_says_what_a_run_has_to_show(run: Path) -> None:
    index = json.loads(said("--run", str(run), "--json"))
    assert index["schema"] == "plumbline.regulatory-index/v1"
    assert "does not certify" in index["says"]["text"]
    first = index["frameworks"][0]
    assert (first["id"], first["named"]) == ("sr-26-2", True)
    fields = [(f["title"]["text"], f["standing"]) for r in first["requirements"] for f in r["fields"]]
    assert ("Owner", "attested") in fields
    assert ("How often the model is right", "measured") in fields
    assert ("Monitoring in use", "missing") in fields
    table = said("--run", str(run))
    assert "does not certify" in table
    assert "sr-26-2" in table
    one = said("sr-26-2", "--run", str(run))
    assert "the risk team" in one
    assert "performance" in one
    assert "not stated (monitoring)" in one


def test_the_report_shows_what_the_plan_names(run: Path) -> None:
    assert Bundle.open(run).record().regulations == ("sr-26-2",)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "not stated (oversight)" not in page
    assert "not stated (monitoring)" in page


def test_an_unknown_framework_in_a_plan_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        load_plan(plan(tmp_path, PLAN.replace("[sr-26-2]", "[sr-26-2, sr-11-7]")))
    assert "no regulation is called 'sr-11-7'" in str(caught.value)
    assert "plan.yaml:8" in str(caught.value)


@pytest.mark.parametrize("words", [("sr-11-7",), ("--run", "nowhere")])
def test_what_is_not_there_ends_in_one_sentence(words: tuple[str, ...], tmp_path: Path) -> None:
    done = CliRunner(env={"COLUMNS": "250"}).invoke(app, ["regulations", *words])
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_a_first_plan_offers_the_keys_and_fills_in_none(tmp_path: Path) -> None:
    plan(tmp_path)
    first = write_first_plan(
        str(tmp_path / "scores.csv"), str(tmp_path / "scores.csv"), tmp_path / "first", input="text"
    )
    text = first.plan.read_text(encoding="utf-8")
    assert load_plan(first.plan).plan.attestations == {}
    assert load_plan(first.plan).plan.regulations == ()
    for key in KNOWN:
        assert f'#   {key}: ""' in text
    opened = (
        text.replace("# attestations:", "attestations:").replace("#   ", "  ").replace("# regulations", "regulations")
    )
    first.plan.write_text(opened, encoding="utf-8")
    loaded = load_plan(first.plan).plan
    assert set(loaded.attestations) == set(KNOWN)
    assert set(loaded.attestations.values()) == {""}
    assert set(loaded.regulations) == set(regulation_ids())
