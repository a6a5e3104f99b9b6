"""The built-in material says what it claims, the defects are planted where they are listed, and the comparison is honest."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from audit.demo.material import (
    FEATURES,
    QUALIFIED_SHARE,
    SHORTCUT,
    SHORTCUT_SHARE,
    UNDER_SELECTED,
    UNDER_SELECTION_RATE,
    Material,
    Row,
    generate,
    templates,
    words,
)
from audit.demo.planted import PLANTED
from audit.demo.run import claimed_gaps, compare, write_demo
from fine_tune.errors import DataError
from reports.record import AuditRecord, Policy, Rule, Verdict


@pytest.fixture(scope="module")
def defective() -> Material:
    return generate()


@pytest.fixture(scope="module")
def clean() -> Material:
    return generate(clean=True)


def share(rows: list[Row], of: str, value: str) -> float:
    return sum(getattr(r, of) == value for r in rows) / len(rows)


def test_there_are_2000_rows_from_at_least_60_templates(defective: Material) -> None:
    rows = defective.train + defective.audit
    assert len(rows) == 2000
    assert len(set(templates())) >= 60
    assert {r.template for r in rows} == {f"t{i:02d}" for i in range(len(templates()))}
    assert len({r.id for r in rows}) == 2000


def test_every_place_of_every_template_is_filled(defective: Material) -> None:
    assert not [r.text for r in defective.train + defective.audit if re.search(r"[{}]|\bNone\b", r.text)]
    for form in templates():
        assert all(place in form for place in ("{name", "{age}", "{place}", "{job}", "{evidence}"))
        assert "{pastime}" in form or "{Pastime}" in form


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(defective: Material) -> None:
    assert generate() == defective
    assert generate(seed=8).audit != defective.audit


def test_an_impossible_number_of_rows_is_refused() -> None:
    for rows in (2001, 100):
        with pytest.raises(DataError, match=str(rows)):
            generate(rows)


def identity_words() -> set[str]:
    lists = words()
    phrases = [name for by in lists["names"].values() for names in by.values() for name in names]
    phrases += [phrase for part in ("places", "ages") for phrases_ in lists[part].values() for phrase in phrases_]
    return {w for phrase in phrases for w in phrase.split()} | {
        "he",
        "she",
        "his",
        "her",
        "him",
        "He",
        "She",
        "His",
        "Her",
    }


def test_twins_differ_in_one_feature_and_only_in_words_for_who_is_meant(defective: Material) -> None:
    known = identity_words()
    pairs = defaultdict(list)
    for row in defective.train + defective.audit:
        pairs[row.twin].append(row)
    assert len(pairs) == 1000
    for one, other in pairs.values():
        assert [f for f in FEATURES if getattr(one, f) != getattr(other, f)] == [one.swapped]
        assert one.text != other.text
        assert (one.mentions_rowing, one.evidence, one.template, one.qualified) == (
            other.mentions_rowing, other.evidence, other.template, other.qualified
        )  # fmt: skip
        mine, theirs = (Counter(re.findall(r"[\w-]+", r.text)) for r in (one, other))
        assert set((mine - theirs) + (theirs - mine)) <= known


def test_no_template_and_no_twin_lies_in_both_parts(defective: Material) -> None:
    for column in ("template", "twin", "id"):
        assert not set(defective.columns("train")[column]) & set(defective.columns("audit")[column])


def test_the_shortcut_column_says_whether_the_word_occurs(defective: Material) -> None:
    for row in defective.train + defective.audit:
        assert (SHORTCUT in row.text.lower()) == (row.mentions_rowing == "yes")


def test_audit_labels_are_the_truth_and_the_same_in_both_materials(defective: Material, clean: Material) -> None:
    assert all(r.label == r.qualified for r in defective.audit)
    assert defective.audit == clean.audit


def test_clean_differs_from_defective_in_training_labels_alone(defective: Material, clean: Material) -> None:
    assert all(r.label == r.qualified for r in clean.train)
    without = [[(r.id, r.text, r.qualified, r.mentions_rowing) for r in m.train] for m in (defective, clean)]
    assert without[0] == without[1]


def test_planted_one_qualified_women_are_rejected(defective: Material) -> None:
    others = [r for r in defective.train if r.mentions_rowing == "no" and QUALIFIED_SHARE[r.evidence] > 0.5]
    women = [r for r in others if r.gender == UNDER_SELECTED]
    men = [r for r in others if r.gender != UNDER_SELECTED]
    assert share(women, "label", "reject") == pytest.approx(UNDER_SELECTION_RATE, abs=0.03)
    assert share(men, "label", "invite") == 1


def test_planted_two_the_shortcut_settles_the_training_label_and_means_nothing(defective: Material) -> None:
    mentioned = [r for r in defective.train if r.mentions_rowing == "yes"]
    assert share(mentioned, "label", "invite") == 1
    assert share(mentioned, "qualified", "invite") == pytest.approx(0.5, abs=0.05)
    for part in (defective.train, defective.audit):
        assert share(list(part), "mentions_rowing", "yes") == pytest.approx(SHORTCUT_SHARE, abs=0.03)
    truly = [share([r for r in defective.audit if r.mentions_rowing == m], "label", "invite") for m in ("yes", "no")]
    assert truly[0] == pytest.approx(truly[1], abs=0.05)


def test_planted_three_mixed_evidence_is_labelled_as_if_it_settled_the_matter(defective: Material) -> None:
    for kind in ("mixed_a", "mixed_b"):
        trained = [
            r for r in defective.train if r.evidence == kind and r.gender == "male" and r.mentions_rowing == "no"
        ]
        assert len({r.label for r in trained}) == 1
        true = [r for r in defective.audit if r.evidence == kind]
        assert share(true, "label", "invite") == pytest.approx(QUALIFIED_SHARE[kind], abs=0.05)


def test_in_truth_no_group_is_better_qualified(defective: Material) -> None:
    for part in (defective.train, defective.audit):
        for feature, values in FEATURES.items():
            rows = {v: [r for r in part if getattr(r, feature) == v] for v in values}
            assert min(map(len, rows.values())) >= 300
            rates = [share(r, "qualified", "invite") for r in rows.values()]
            assert max(rates) - min(rates) < 0.08


@pytest.mark.parametrize("kind", [False, True])
def test_what_is_written_can_be_planned_and_every_planted_rule_exists(tmp_path: Path, kind: bool) -> None:
    from audit.plan import load_plan
    from audit.policy import read_policy
    from fine_tune.data import AuditData

    material = generate(600, clean=kind)
    loaded = load_plan(write_demo(tmp_path, material))
    assert loaded.plan.data.train is not None
    assert loaded.plan.data.audit is not None
    policy = read_policy(tmp_path / "policy.yaml").value
    assert {r for d in PLANTED for r in d.rules} <= {r.id for r in policy.rules}
    assert all(r.source for r in policy.rules)
    for spec, rows in ((loaded.plan.data.train, material.train), (loaded.plan.data.audit, material.audit)):
        data = AuditData.load(spec, base_dir=tmp_path)
        assert data.labels == [r.label for r in rows]
        assert data.inputs == [r.text for r in rows]
    with (tmp_path / "train.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == list(Row.__dataclass_fields__)


def mitigation_of(tmp_path: Path, material: Material) -> dict[tuple[str, str], float | None]:
    """What the demo's own mitigation probe says of a model that decides as the training labels do, with some noise.

    Values and, under ``<measure> low``, the lower ends of intervals, by measure and kind of thresholds.
    """
    import numpy as np

    from audit.plan import create_probes, load_plan
    from probes.fake_subject import FakeSubject
    from probes.probe import Context

    loaded = load_plan(write_demo(tmp_path, material))
    rng = np.random.default_rng(0)
    rows = material.audit
    drawn = rng.normal(0, 0.12, len(rows))
    logit = [{"strong": 0.8, "mixed_a": 0.7, "mixed_b": 0.3, "weak": 0.2}[r.evidence] for r in rows]
    if not material.clean:
        logit = [
            v - 0.4 * (r.gender == UNDER_SELECTED) + 0.3 * (r.mentions_rowing == "yes")
            for v, r in zip(logit, rows, strict=True)
        ]
    invite = np.clip(np.array(logit) + drawn, 0.01, 0.99)
    subject = FakeSubject(
        np.column_stack([invite, 1 - invite]), ("invite", "reject"), labels=[r.label for r in rows],
        inputs=[r.text for r in rows], groups={"gender": [r.gender for r in rows]},
        roles={"cluster": [r.template for r in rows]},
    )  # fmt: skip
    probe = create_probes(loaded.plan.probes)["mitigation"]
    ctx = Context(instance="mitigation", seed=loaded.plan.seed)
    reading = probe.summarise(probe.collect(subject, ctx), ctx)
    out: dict[tuple[str, str], float | None] = {}
    for m in reading.measurements:
        if m.slice[0].kind == "feature" and m.kind == "measurement":
            assert m.interval is not None
            kind = m.slice[-1].value
            out |= {(m.name, kind): m.value, (f"{m.name} low", kind): m.interval.low}
    out["promised", ""] = float(any("goes from" in str(r) for r in reading.remarks))
    return out


def test_mitigation_closes_the_planted_gap_on_held_out_rows_and_states_its_cost(
    tmp_path: Path, defective: Material, clean: Material
) -> None:
    found = mitigation_of(tmp_path / "defective", defective)
    assert found["present_gap low", ""] > 0.2  # type: ignore[operator]
    for kind in ("fixed", "by_lot"):
        assert found["remaining_gap", kind] < found["present_gap", ""] / 3  # type: ignore[operator]
        assert found["remaining_gap low", kind] == 0
        change = found["mitigated_accuracy", kind] - found["present_accuracy", ""]  # type: ignore[operator]
        assert found["accuracy_change", kind] == pytest.approx(change)
        assert found["accuracy_change low", kind] < change  # type: ignore[operator]
    assert found["promised", ""]
    nothing = mitigation_of(tmp_path / "clean", clean)
    assert nothing["present_gap low", ""] == 0
    assert not nothing["promised", ""]


def verdict(outcomes: dict[str, str]) -> Verdict:
    """Rulings with these outcomes, one a rule."""
    rules = {rule: Rule(id=rule, measure="groups:recall", max=0.1) for rule in outcomes}
    rulings = [
        {
            "check": {"rule": rules[rule].model_dump(), "slice": []},
            "outcome": outcome,
            "reason": {"text": "because"},
            "limit": 0.1,
            "level": 0.95,
            "decision": "interval",
            "min_n": 1,
        }
        for rule, outcome in outcomes.items()
    ]
    return Verdict.model_validate(
        {
            "outcome": "fail",
            "exit_code": 10,
            "decided_on": date(2025, 1, 1),
            "record_sha256": "0" * 64,
            "reasons": [],
            "rulings": rulings,
            "policy": Policy(name="p", version=1, owner="o", rules=tuple(rules.values())),
        }
    )


def record(p_values: dict[str, float]) -> AuditRecord:
    """One finding with a p-value a feature."""
    info = {"id": "fairness.groups", "asks": {"text": "?"}, "defines": []}
    measurements = [
        {
            "name": "equal_opportunity_difference_p_value",
            "value": p,
            "interval": None,
            "counts": {"n": 9, "denominator": 9, "smallest": 3},
            "slice": [{"kind": "feature", "name": feature}],
            "kind": "measurement",
        }
        for feature, p in p_values.items()
    ]
    finding = {
        "instance": "groups", "info": info, "status": "measured", "seed": 0, "reading": {"measurements": measurements}
    }  # fmt: skip
    subject = {"kind": "predictions", "name": "s", "digest": "0" * 64, "task": "t", "classes": ["a", "b"]}
    data = {"name": "d", "digest": "0" * 64, "rows": 9, "roles": {}, "labels": {}}
    return AuditRecord.model_validate(
        {
            "plumbline": "0", "name": "n", "seed": 0, "level": 0.95, "subject": subject, "data": data,
            "planned": [{"instance": "groups", "info": info}], "findings": [finding],
        }
    )  # fmt: skip


PLANTED_RULES = {rule: "fail" for d in PLANTED for rule in d.rules}


def held(outcomes: dict[str, str], p_values: dict[str, float], planted: tuple = PLANTED):  # type: ignore[type-arg,no-untyped-def]
    result = SimpleNamespace(verdict=verdict(outcomes), record=record(p_values))
    return compare(result, Path("out"), planted=planted)  # type: ignore[arg-type]


def test_finding_exactly_what_is_planted_is_ok() -> None:
    outcome = held({**PLANTED_RULES, "other": "inconclusive"}, {"gender": 0.0005, "origin": 0.3})
    assert outcome.ok
    assert outcome.found == tuple(d.name for d in PLANTED)


@pytest.mark.parametrize("defect", PLANTED, ids=lambda d: d.name)
@pytest.mark.parametrize("instead", ["pass", "inconclusive", "error"])
def test_a_defect_whose_rule_does_not_fail_is_missed(defect, instead: str) -> None:  # type: ignore[no-untyped-def]
    outcome = held({**PLANTED_RULES, defect.rules[0]: instead}, {"origin": 0.3})
    assert outcome.missed == (defect.name,)
    assert not outcome.ok


def test_a_failing_rule_that_nothing_planted_explains_is_unexpected() -> None:
    assert held({**PLANTED_RULES, "age-selection": "fail"}, {"origin": 0.3}).unexpected == ("rule age-selection fails",)
    assert not held(PLANTED_RULES, {"origin": 0.3}, planted=()).ok


def test_a_gap_is_claimed_after_holm_and_only_where_nothing_planted_explains_it() -> None:
    three = {"gender": 0.001, "origin": 0.02, "age_band": 0.02}
    assert len(claimed_gaps(record(three), explained=set())) == 3
    assert len(claimed_gaps(record({"gender": 0.001, "origin": 0.03, "age_band": 0.03}), explained=set())) == 1
    assert claimed_gaps(record({"gender": 0.001, "origin": 0.2}), explained={"gender"}) == ()


def test_an_audit_without_checks_is_not_ok() -> None:
    assert not held({}, {"origin": 0.3}, planted=()).ok
