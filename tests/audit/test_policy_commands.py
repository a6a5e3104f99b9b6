"""``plumbline policy lint`` and ``explain``, and ``plumbline schema``: what they say without a model."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint
from typer.testing import CliRunner, Result

from audit.cli import app
from audit.explain import Requirement, requirements
from audit.lint import lint
from probes.registry import find
from reports.record import Defaults, PlannedProbe, Policy, Rule

ROOT = Path(__file__).parents[2]
HEAD = "schema: plumbline.policy/v1\nname: release\nversion: 3\nowner: risk@example.org\n"
PLANNED = (
    PlannedProbe(instance="performance", info=find("performance.classification").info),
    PlannedProbe(instance="groups", info=find("fairness.groups").info),
    PlannedProbe(instance="budget", info=find("privacy.ledger").info),
)


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words], prog_name="plumbline")


def required(margin: float = 0.05, **rule: object) -> Requirement:
    defaults = Defaults(min_n=10)
    policy = Policy(name="p", version=1, owner="o", defaults=defaults, rules=(Rule(id="r", **rule),))  # type: ignore[arg-type]
    (only,) = requirements(policy, PLANNED, margin)
    return only


# Lint --------------------------------------------------------------------------------------------------------------


def test_good_files_are_said_to_be_good(tmp_path: Path) -> None:
    day = date.today()
    (tmp_path / "policy.yaml").write_text(f'{HEAD}rules:\n  - {{id: a, measure: "x:y", max: 1}}\n')
    (tmp_path / "waivers.yaml").write_text(
        "schema: plumbline.waivers/v1\nwaivers:\n  - {id: W-1, rule: a, slice: all, subject: "
        + "a" * 64
        + ", allow_up_to: 2,"
        " justification: j, statement: s, requested_by: a, approved_by: b, ticket: t,"
        f" approved_on: {day - timedelta(days=40)}, expires: {day - timedelta(days=1)}}}\n"
    )
    done = call("policy", "lint", tmp_path / "policy.yaml", tmp_path / "waivers.yaml")
    assert done.exit_code == 0
    assert "policy.yaml: policy release, version 3, 1 rules" in done.stdout
    assert f"waivers.yaml: note: Waiver W-1 expired on {day - timedelta(days=1)}." in done.stdout
    assert lint(tmp_path / "waivers.yaml", on=day - timedelta(days=1)).notes == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{HEAD}rules:\n  - {{id: a, measure: "x:y", max: high}}\n', ":6: rules[0].max is 'high'"),
        (f'{HEAD}rules:\n  - {{id: a, measure: "x:y", max: .nan}}\n', ":6: "),
        ("schema: plumbline.plan/v1\nname: x\n", ":1: schema is 'plumbline.plan/v1'"),
        ("name: x\n", ": the file has no schema"),
        ("- a\n", ": the file has no schema"),
        ("", "the file is empty"),
        ("a: [\n", "not readable as YAML"),
        ("schema: plumbline.waivers/v1\nwaivers: [{id: x}]\n", ":2: waivers[0] has no 'rule'"),
    ],
)
def test_bad_files_are_named_by_line(tmp_path: Path, text: str, said: str) -> None:
    bad, good = tmp_path / "policy.yaml", tmp_path / "good.yaml"
    bad.write_text(text)
    good.write_text(f"{HEAD}rules: []\n")
    done = call("policy", "lint", bad, good, tmp_path / "nowhere.yaml")
    assert done.exit_code == 2
    assert said in done.stderr
    assert str(bad) in done.stderr
    assert "nowhere.yaml: the file cannot be read" in done.stderr
    assert f"{good}: note: It has no rule, so nothing can pass." in done.stdout


def test_measures_are_checked_against_a_plan(material, tmp_path: Path) -> None:
    plan = material.write(tmp_path, policy=material.POLICY.replace("groups:recall", "groups:recal"))
    assert call("policy", "lint", tmp_path / "policy.yaml").exit_code == 0
    done = call("policy", "lint", tmp_path / "policy.yaml", "--plan", plan)
    assert done.exit_code == 2
    assert "policy.yaml:9: rule each-group asks for groups:recal" in done.stderr


def test_a_policy_that_blocks_nothing_is_noted(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(f'{HEAD}rules:\n  - {{id: a, measure: "x:y", max: 1, severity: advisory}}\n')
    assert [str(n) for n in lint(tmp_path / "p.yaml", on=date.today()).notes] == ["No rule of it blocks."]


# Explain -----------------------------------------------------------------------------------------------------------


@given(st.floats(0.06, 0.94), st.floats(0.02, 0.05), st.sampled_from(["min", "max"]))
def test_rows_for_a_share_are_where_wilson_s_limit_meets_the_threshold(limit: float, margin: float, kind: str) -> None:
    found = required(margin, measure="performance:accuracy", **{kind: limit}).rows
    assert found is not None
    value = limit + margin if kind == "min" else limit - margin

    def passes(n: int) -> bool:
        low, high = proportion_confint(value * n, n, alpha=0.05, method="wilson")
        return low >= limit if kind == "min" else high <= limit

    assert passes(found + 1)
    assert found == 10 or not passes(found - 1)


def test_rows_for_a_share_by_hand() -> None:
    # Wilson's lower limit of 0.65 on n rows, z = 1.95996: 0.59995 for 368 and 0.60002 for 369.
    assert required(measure="performance:accuracy", min=0.6).rows == 369


@pytest.mark.parametrize(("limit", "margin"), [(0.1, 0.05), (0.1, 0.1), (0.2, 0.02)])
def test_rows_for_a_gap_are_where_newcombe_s_limit_meets_the_threshold(limit: float, margin: float) -> None:
    found = required(margin, measure="groups:demographic_parity_difference", max=limit).rows
    assert found is not None
    gap = limit - margin

    def high(n: int) -> float:
        return confint_proportions_2indep((1 + gap) / 2 * n, n, (1 - gap) / 2 * n, n, method="newcomb")[1]

    assert high(found + 1) <= limit < high(found - 1)


def test_what_cannot_be_said_is_not_guessed() -> None:
    def basis(margin: float = 0.05, **rule: object) -> tuple[int | None, str]:
        found = required(margin, **rule)
        return found.rows, str(found.basis)

    assert basis(measure="performance:roc_auc", min=0.8) == (None, "not known before measuring")
    assert basis(measure="groups:equalized_odds_ratio", min=0.8) == (None, "not known before measuring")
    drop = {"baseline": "main", "max_drop": 0.01}
    assert basis(measure="performance:accuracy", **drop) == (None, "depends on how often both models agree")
    assert basis(measure="budget:epsilon", max=8, decision="exact") == (None, "decided on the exact figure: no sample")
    assert basis(measure="performance:accuracy", min=0.9, decision="point") == (
        10,
        "decided on the point value: min_n alone",
    )
    assert basis(measure="performance:accuracy", min=0.98) == (None, "1.030 is no share: choose a smaller --margin")
    assert basis(1e-5, measure="performance:accuracy", min=0.5) == (None, "no practical number of rows")
    assert basis(measure="elsewhere:accuracy", min=0.5) == (None, "depends on the probe: give the plan")


def test_a_plan_is_explained_with_its_probes(material, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    plan = material.write(tmp_path)
    (tmp_path / "scores.csv").unlink()  # neither the model nor the data is opened
    done = call("policy", "explain", plan)
    assert done.exit_code == 0, done.output
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "369: of the figure's own denominator (Wilson)" in rows["accurate"]
    assert "fairness.groups (groups, predictions)" in rows["parity"]
    assert "one prediction a row, shared with other probes" in rows["parity"]
    assert "(advisory)" in rows["each-group"]
    alone = call("policy", "explain", tmp_path / "policy.yaml")
    assert alone.exit_code == 0
    assert "depends on the probe: give the plan" in alone.stdout


def test_what_explain_refuses(material, tmp_path: Path) -> None:
    plan = material.write(tmp_path, plan=material.PLAN.replace("policy: policy.yaml", ""))
    done = call("policy", "explain", plan)
    assert done.exit_code == 2
    assert "the plan names no policy" in done.stderr
    assert call("policy", "explain", tmp_path / "policy.yaml", "--margin", "0").exit_code == 2
    assert call("policy", "explain", tmp_path / "gone.yaml").exit_code == 2
    assert call("policy").exit_code == 2


# Schemas -----------------------------------------------------------------------------------------------------------


def test_schemas_are_printed_as_they_lie_in_the_package() -> None:
    from jsonschema import Draft202012Validator

    for name in ("plan", "policy", "waivers", "fine-tune"):
        done = call("schema", name)
        assert done.stdout == (ROOT / "audit" / "schemas" / f"{name}.json").read_text(encoding="utf-8")
        Draft202012Validator.check_schema(json.loads(done.stdout))
    wrong = call("schema", "../schemas/plan")
    assert wrong.exit_code == 2
    assert "there are fine-tune, plan, policy, waivers" in wrong.stderr


@pytest.mark.parametrize("name", ["hatecheck", "digits", "private-hate"])
def test_the_examples_agree_with_the_printed_schemas(name: str) -> None:
    from jsonschema import Draft202012Validator

    yaml = YAML(typ="safe")
    for kind, file in (("plan", f"{name}.yaml"), ("policy", f"{name}-policy.yaml")):
        value = yaml.load((ROOT / "examples" / file).read_text(encoding="utf-8"))
        Draft202012Validator(json.loads(call("schema", kind).stdout)).validate(value)
