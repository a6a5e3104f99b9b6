"""What changed between two policies is told in full, once, and never as rounded figures that look alike."""

from __future__ import annotations

from typing import Any

import pytest

from reports.policy_changes import policy_changes
from reports.record import Defaults, Policy, Rule

RECALL = Rule(id="recall", measure="groups:recall", each={"group": "gender"}, min=0.7)
GAP = Rule(id="gap", measure="groups:gap", where={"feature": ("age", "gender")}, max=0.1)


def policy(*rules: Rule, **changed: Any) -> Policy:
    return Policy(**{"name": "release", "version": 3, "owner": "risk@example.org", "rules": rules, **changed})


def told(before: Policy | None, after: Policy | None) -> list[str]:
    return [str(m) for m in policy_changes(before, after)]


def test_the_same_demands_in_another_order_are_no_change() -> None:
    assert told(policy(RECALL, GAP), policy(GAP, RECALL)) == []
    assert told(None, None) == []


def test_a_policy_that_came_or_went_says_how_much_it_demands() -> None:
    assert told(None, policy(RECALL)) == ["There was no policy before; now release, version 3, makes 1 demands."]
    assert told(policy(RECALL, GAP), None) == ["There is no policy any more; release, version 3, made 2 demands."]


def test_added_and_removed_rules_say_what_they_demand() -> None:
    assert told(policy(RECALL), policy(GAP, version=4)) == [
        "The policy's version changed from 3 to 4.",
        "Rule gap was added: groups:gap (feature:age+gender): at most 0.1.",
        "Rule recall was removed: groups:recall (each group:gender): at least 0.7.",
    ]


@pytest.mark.parametrize(
    ("rule", "limit", "word"),
    [
        (RECALL, {"min": 0.6}, "looser: min was 0.7, now 0.6"),
        (RECALL, {"min": 0.7000001}, "stricter: min was 0.7, now 0.7000001"),
        (GAP, {"max": 0.0}, "stricter: max was 0.1, now 0"),
        (GAP, {"max": 0.2}, "looser: max was 0.1, now 0.2"),
    ],
)
def test_a_limit_that_moved_says_which_way(rule: Rule, limit: dict[str, float], word: str) -> None:
    after = policy(rule.model_copy(update=limit), version=4)
    assert told(policy(rule), after)[1:] == [f"Rule {rule.id} became {word}."]


def test_a_rule_that_turns_round_is_another_demand_not_a_looser_one() -> None:
    turned = Rule(id="recall", measure="groups:recall", each={"group": "gender"}, max=0.7)
    assert told(policy(RECALL), policy(turned, version=4))[1:] == [
        "Rule recall demands something else: groups:recall (each group:gender): at least 0.7;"
        " now groups:recall (each group:gender): at most 0.7."
    ]


def test_a_default_is_told_once_and_a_rule_that_only_spells_it_out_not_at_all() -> None:
    before = policy(RECALL, GAP)
    after = policy(RECALL, GAP.model_copy(update={"level": 0.95}), defaults=Defaults(level=0.9), version=4)
    assert told(before, after)[1:] == ["The default level changed from 0.95 to 0.9."]


def test_settings_of_a_rule_are_told_with_old_and_new() -> None:
    after = RECALL.model_copy(update={"severity": "advisory", "min_n": 20, "waivable": False, "source": "Standard 4"})
    assert told(policy(RECALL), policy(after, version=4))[1:] == [
        "Rule recall: severity changed from blocking to advisory.",
        "Rule recall: waivable changed from true to false.",
        "Rule recall: source changed from – to Standard 4.",
        "Rule recall: min_n changed from 50 to 20.",
    ]


def test_every_field_of_a_rule_and_of_a_policy_is_compared() -> None:
    """A field that is added to the models later must not go unmentioned."""
    other: dict[str, Any] = {
        "measure": "groups:fnr", "where": {"class": "x"}, "each": {"group": "age"}, "max": 0.2, "min": 0.2,
        "max_drop": 0.2, "baseline": "main", "baseline_missing": "skip", "unpaired": "allow", "severity": "advisory",
        "decision": "point", "level": 0.9, "min_n": 5, "waivable": False, "source": "s", "title": "t",
    }  # fmt: skip
    drop = Rule(id="recall", measure="groups:recall", max_drop=0.1, baseline="old")
    for field in set(Rule.model_fields) - {"id"}:
        start = drop if field in ("max_drop", "baseline") else GAP if field == "max" else RECALL
        alone = {"max": None, "min": None, "max_drop": None} if field in ("max", "min", "max_drop") else {}
        changed = start.model_copy(update={**alone, field: other[field]})
        assert told(policy(start), policy(changed)), field
    for field in set(Policy.model_fields) - {"schema_", "rules"}:
        value = Defaults(min_n=1) if field == "defaults" else "other"
        assert told(policy(RECALL), policy(RECALL, **{field: value})), field


def test_changed_demands_under_one_version_are_pointed_out() -> None:
    first = told(policy(RECALL), policy(RECALL.model_copy(update={"min": 0.6})))[0]
    assert first == "Both policies are called release, version 3, and they demand different things."
