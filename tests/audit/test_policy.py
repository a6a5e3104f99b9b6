from __future__ import annotations

from pathlib import Path

import pytest

from audit.errors import PolicyError, UnknownMeasure
from audit.policy import check_measures, load_policy, read_policy
from probes.evidence import MeasureDefinition, ProbeInfo, message
from reports.record import PlannedProbe

HEAD = "schema: plumbline.policy/v1\nname: release\nversion: 3\nowner: risk@example.org\nrules:\n"


def write(tmp_path: Path, rules: str, head: str = HEAD) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(head + rules, encoding="utf-8")
    return path


def planned(instance: str, *measures: str) -> PlannedProbe:
    defines = tuple(MeasureDefinition(name=m, formula=message("a figure")) for m in measures)
    return PlannedProbe(instance=instance, info=ProbeInfo(id="fairness.groups", asks=message("?"), defines=defines))


PLANNED = (planned("groups", "recall", "selection_rate"), planned("performance", "accuracy"))


def test_the_policy_of_the_design_reads(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            """
  - id: equal-opportunity
    measure: groups:equal_opportunity_difference
    where: {feature: target_ident}
    max: 0.10
    severity: blocking            # or advisory
    source: "Model risk standard 4.2"
  - {id: every-group-is-protected, measure: "groups:recall", each: {group: target_ident}, min: 0.70}
  - {id: no-regression, measure: "performance:accuracy", baseline: main, max_drop: 0.01}
  - {id: budget, measure: "ledger:epsilon", max: 8, decision: exact, waivable: false}
""",
            HEAD.replace(
                "rules:", "defaults: {level: 0.95, decision: interval, min_n: 50, on_inconclusive: block}\nrules:"
            ),
        )
    )
    assert [r.id for r in policy.rules] == ["equal-opportunity", "every-group-is-protected", "no-regression", "budget"]
    assert policy.rules[3].max == 8
    assert not policy.rules[3].waivable


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("0.0", 0.0), ("-1", -1.0), ("1e-3", 0.001)])
def test_numbers_are_thresholds_zero_too(tmp_path: Path, text: str, value: float) -> None:
    assert load_policy(write(tmp_path, f"- {{id: a, measure: 'g:m', max: {text}}}\n")).rules[0].max == value


@pytest.mark.parametrize(
    "threshold", ["ten", ".nan", ".inf", "-.inf", "true", "'0.1'", "0,1", "1e999", "[1]", "10%", "0.1.2"]
)
@pytest.mark.parametrize("key", ["max", "min"])
def test_unreadable_thresholds_are_refused_with_their_line(tmp_path: Path, key: str, threshold: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(write(tmp_path, f"- id: a\n  measure: g:m\n  {key}: {threshold}\n"))
    assert caught.value.where.endswith("policy.yaml:8")
    assert f"rules[0].{key} is" in caught.value.seen
    assert "number" in caught.value.expected
    assert caught.value.exit_code == 2


def test_an_absent_threshold_is_refused(tmp_path: Path) -> None:
    for threshold in ("", "max:", "max: ~", "{max: 1, min: 0}"):
        rest = "".join(f"  {line}\n" for line in threshold.strip("{}").split(", "))
        with pytest.raises(PolicyError, match="exactly one of max, min and max_drop") as caught:
            load_policy(write(tmp_path, f"- id: a\n  measure: g:m\n{rest}"))
        assert caught.value.where.endswith(":6")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{id: a, measure: 'g:m', max: 1, treshold: 2}", "unknown key 'treshold'"),
        ("{id: a, measure: 'g:m', max: 1, severty: advisory}", "did you mean 'severity'?"),
        ("{id: a, measure: 'g:m', max: 1, severity: blocker}", "did you mean 'blocking'?"),
        ("{id: a, measure: recall, max: 1}", "instance:measure"),
        ("{id: a, measure: 'g:m', max: 1, where: {grop: x}}", "did you mean 'group'?"),
        ("{id: a, measure: 'g:m', max: 1, level: 95}", "less than 1"),
        ("{id: a, measure: 'g:m', max: 1, min_n: 0}", "greater than or equal to 1"),
        ("{id: a, measure: 'g:m', max: 1, waivable: no}", "true or false"),
        ("{id: a, measure: 'g:m', max_drop: 0.1}", "baseline and max_drop belong together"),
        ("{id: a, measure: 'g:m', baseline: b, max_drop: -0.1}", "greater than or equal to 0"),
        ("{id: 'a b', measure: 'g:m', max: 1}", "text that matches"),
        ("{measure: 'g:m', max: 1}", "has no 'id'"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, rule: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(write(tmp_path, f"- {{id: fine, measure: 'g:m', max: 1}}\n- {rule}\n"))
    assert caught.value.where.endswith("policy.yaml:7")
    assert said in str(caught.value)


def test_two_rules_with_one_id(tmp_path: Path) -> None:
    rules = "- {id: a, measure: 'g:m', max: 1}\n- {id: b, measure: 'g:m', max: 1}\n- {id: a, measure: 'g:m', min: 1}\n"
    with pytest.raises(PolicyError, match="first in line 6") as caught:
        load_policy(write(tmp_path, rules))
    assert caught.value.where.endswith(":8")


def test_another_kind_of_file_is_one_problem(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(write(tmp_path, "", "schema: plumbline.plan/v1\nname: x\nprobes: {}\n"))
    assert caught.value.expected == "plumbline.policy/v1"


def test_rules_on_what_is_measured_are_accepted(tmp_path: Path) -> None:
    rules = "- {id: a, measure: 'groups:recall', max: 1}\n- {id: b, measure: 'performance:accuracy', max: 1}\n"
    check_measures(load_policy(write(tmp_path, rules)), PLANNED)


def test_unknown_measures_are_all_listed_with_lines(tmp_path: Path) -> None:
    document = read_policy(
        write(tmp_path, "- id: a\n  max: 1\n  measure: groups:recal\n- {id: b, measure: 'group:recall', max: 1}\n")
    )
    with pytest.raises(UnknownMeasure) as caught:
        check_measures(document.value, PLANNED, document)
    first, second = str(caught.value).splitlines()[1:]
    assert "policy.yaml:8: rule a asks for groups:recal, which fairness.groups does not measure" in first
    assert "did you mean 'recall'?" in first
    assert "one of recall, selection_rate" in first
    assert "policy.yaml:9: rule b asks for group:recall, and the plan has no instance 'group'" in second
    assert "did you mean 'groups:recall'?" in second
    assert caught.value.exit_code == 2


def test_an_unknown_measure_without_a_file(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, "- {id: a, measure: 'groups:accuracy', max: 1}\n"))
    with pytest.raises(UnknownMeasure, match="did you mean 'performance:accuracy'") as caught:
        check_measures(policy, PLANNED)
    assert caught.value.where == "policy release"
    with pytest.raises(UnknownMeasure, match="the plan has no probes"):
        check_measures(policy, ())
