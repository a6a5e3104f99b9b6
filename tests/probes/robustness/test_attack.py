"""`robustness.attack`: counted by hand, whatever the order of rows and the names of groups; nothing that broke or is missing
goes unsaid. The engine is replaced here but for one test; it has tests of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probes.engines.textattack import attacks
from probes.engines.textattack.attacks import Outcome
from probes.errors import ProbeError, Unavailable
from probes.evidence import Curve, IntervalPlot, Measurement, Need, Note, Reading, Table, TextPairs, Undefined
from probes.fake_subject import FakeSubject
from probes.probe import Context
from probes.registry import create
from probes.robustness.attack_rows import Facts, Sample, attack_rows

Z = 1.959963984540054


def wilson(hits: int, n: int, z: float = Z) -> tuple[float, float]:
    centre, half = hits + z * z / 2, z * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return (centre - half) / (n + z * z), (centre + half) / (n + z * z)


def outcome(
    status: str,
    queries: int = 1,
    changed: int = 0,
    *,
    words: int = 4,
    label: str = "yes",
    after: str = "no",
    **more: Any,
) -> Outcome:
    """What an engine says of one example whose true class is ``label``."""
    said = {
        "succeeded": (label, after, f"text {changed} changed"),
        "failed": (label, label, "text"),
        "skipped": (after, None, None),
        "error": (None, None, None),
    }[status]
    base: dict[str, Any] = {
        "status": status, "queries": queries, "perturbed": said[2], "prediction": said[0], "prediction_after": said[1],
        "score_before": None if status == "error" else 0.75, "score_after": 0.25 if status == "succeeded" else None,
        "words": words, "words_changed": changed, "close_calls": 0, "error": "ValueError: odd" if status == "error" else None,
    }  # fmt: skip
    return Outcome(**base | more)


def rows_of(
    table: Any,
    outcomes: Sequence[Outcome],
    labels: Sequence[str] | None = None,
    similarity: Sequence[float | None] | None = None,
    facts: Facts | None = None,
    **more: Any,
) -> pa.Table:
    """Rows as `collect` makes them of these outcomes; texts are ``text 0``, ..."""
    labels = ["yes"] * len(outcomes) if labels is None else labels
    sample = Sample.of(table(labels, ["no"] * len(outcomes), **more), None, np.random.default_rng(0))
    order = [int(i) for i in sample.rows["row_id"].to_pylist()]
    found = [None] * len(outcomes) if similarity is None else similarity
    return attack_rows(
        sample,
        [f"text {i}" for i in order],
        [outcomes[i] for i in order],
        [found[i] for i in order],
        facts or sample.facts,
    )


def figures(reading: Reading) -> dict[tuple[str, str], Measurement | Undefined]:
    return {(m.name, ", ".join(map(str, m.slice))): m for m in reading.measurements}


MIXED = [
    outcome("succeeded", 5, 1),
    outcome("succeeded", 9, 2),
    outcome("succeeded", 20, 4),
    outcome("failed", 30),
    outcome("failed", 12),
    outcome("skipped", label="yes"),
    outcome("error"),
]


@pytest.fixture
def read(table, ctx):
    def reading(rows: pa.Table, ctx: Context = ctx, **options: Any) -> Reading:
        return create("robustness.attack", {"min_group": 1, "most_errors": 0.5, **options}).summarise(rows, ctx)

    return reading


def test_oracle(table, read):
    reading = read(rows_of(table, MIXED, similarity=[0.9, 0.8, 0.4, None, None, None, None]))
    found = figures(reading)
    expected = {"clean_accuracy": (5, 6), "accuracy_under_attack": (2, 6), "attack_success_rate": (3, 5)}
    for name, (hits, n) in expected.items():
        m = found[name, ""]
        assert m.value == hits / n
        assert (m.interval.low, m.interval.high) == pytest.approx(wilson(hits, n))
        assert (m.counts.n, m.counts.denominator) == (7, n)
    queries = found["median_queries", ""]
    assert queries.value == 12
    assert (queries.interval.low, queries.interval.high) == (0, None), "five values hold no 95 % interval of a median"
    words = found["words_changed_share", ""]
    half = 4.302652729911275 * np.std([0.25, 0.5, 1], ddof=1) / math.sqrt(3)
    assert words.value == pytest.approx(7 / 12)
    assert (words.interval.low, words.interval.high) == pytest.approx((max(0, 7 / 12 - half), 1))
    assert words.counts.denominator == 3
    similar = found["semantic_similarity", ""]
    assert similar.value == pytest.approx(0.7)
    assert similar.interval.low == pytest.approx(
        0.7 - 4.302652729911275 * np.std([0.9, 0.8, 0.4], ddof=1) / math.sqrt(3)
    )
    assert found["attack_success_rate", "class:yes"].value == 3 / 5
    plots = {e.title.fill(): e for e in reading.evidence if isinstance(e, IntervalPlot)}
    before, after = plots["Accuracy before any change and under attack"].points
    assert (before.value, after.value) == (5 / 6, 2 / 6)
    assert [p.label for p in plots["Attack success rate by true class"].points] == ["yes"]


def test_the_curve_counts_successes_within_each_budget(table, read):
    reading = read(rows_of(table, MIXED))
    (curve,) = [e for e in reading.evidence if isinstance(e, Curve)]
    points = {p.x: p for p in curve.series[0].points}
    assert max(points) == 30
    for budget, hits in ((4, 0), (5, 1), (8, 1), (9, 2), (19, 2), (20, 3), (30, 3)):
        assert points[budget].y == hits / 5
        assert (points[budget].low, points[budget].high) == pytest.approx(wilson(hits, 5))
        assert points[budget].n == 5


def test_groups_and_their_largest_gap(table, read):
    outcomes = [outcome("succeeded", 3, 1)] * 9 + [outcome("failed", 3)] * 3 + [outcome("succeeded", 3, 1)] * 2
    outcomes += [outcome("failed", 3)] * 10 + [outcome("skipped")] * 4 + [outcome("succeeded", 3, 1)] * 2
    groups = {"gender": ["f"] * 12 + ["m"] * 12 + ["f"] * 4 + ["x", None]}
    reading = read(rows_of(table, outcomes, groups=groups), min_group=5)
    found = figures(reading)
    women, men = found["attack_success_rate", "group:gender=f"], found["attack_success_rate", "group:gender=m"]
    assert (women.value, men.value) == (9 / 12, 2 / 12)
    assert (women.counts.n, women.counts.denominator) == (16, 12)
    few = found["attack_success_rate", "group:gender=x"]
    assert isinstance(few, Undefined)
    assert "fewer than the 5" in few.reason.fill()
    gap = found["attack_success_rate_difference", "feature:gender"]
    assert gap.value == pytest.approx(7 / 12)
    # Which of two groups is the higher one is sure enough here that the low end pays for one order, at nine tenths of its tail.
    ends = []
    for z in (2.0046544617651, 2.241402727604947):
        (low_f, _), (_, high_m) = wilson(9, 12, z), wilson(2, 12, z)
        ends.append(7 / 12 - math.hypot(9 / 12 - low_f, high_m - 2 / 12))
    assert ends[1] < gap.interval.low <= ends[0] + 1e-4
    (_, high_f), (low_m, _) = wilson(9, 12), wilson(2, 12)
    assert gap.interval.high == pytest.approx(7 / 12 + math.hypot(high_f - 9 / 12, 2 / 12 - low_m))
    assert (gap.counts.denominator, gap.counts.smallest) == (24, 12)
    p = found["attack_success_rate_difference_p_value", "feature:gender"]
    exact = stats.fisher_exact([[9, 3], [2, 10]]).pvalue
    assert p.value == pytest.approx(exact, abs=5 * p.monte_carlo_error)
    assert 0 < p.monte_carlo_error < 0.005
    notes = " ".join(e.text.fill() for e in reading.evidence if isinstance(e, Note))
    assert "between two of 2 groups of gender is 0.583" in notes
    assert "1 drawn examples have no gender" in " ".join(r.fill() for r in reading.remarks)


def test_groups_that_were_not_drawn_are_listed(table, read):
    facts = Facts(labelled=90, unlabelled=0, groups={"gender": {"f": 40, "m": 40, "rare": 10}})
    rows = rows_of(table, MIXED, groups={"gender": list("ffffmmm")}, facts=facts)
    rare = figures(read(rows))["attack_success_rate", "group:gender=rare"]
    assert isinstance(rare, Undefined)
    assert rare.counts.n == 0


def test_one_group_has_no_gap(table, read):
    found = figures(read(rows_of(table, MIXED, groups={"gender": ["f"] * 7})))
    assert isinstance(found["attack_success_rate_difference", "feature:gender"], Undefined)


def test_only_the_features_that_were_named(table, read):
    rows = rows_of(table, MIXED, groups={"gender": ["f"] * 7, "age": ["old"] * 7})
    slices = {s for _, s in figures(read(rows, features=["age"]))}
    assert "feature:age" in slices
    assert "feature:gender" not in slices


@given(
    st.permutations(range(12)), st.lists(st.sampled_from(["succeeded", "failed", "skipped"]), min_size=12, max_size=12)
)
def test_order_and_names_of_groups_change_nothing(table, ctx, order, statuses):
    probe = create("robustness.attack", {"min_group": 1, "permutations": 50})
    outcomes = [outcome(s, 2 + i, 1 if s == "succeeded" else 0) for i, s in enumerate(statuses)]
    one = rows_of(table, outcomes, groups={"g": ["a", "b", "c"] * 4})
    other = rows_of(table, outcomes, groups={"g": ["z", "y", "x"] * 4}).take(order)
    a, b = probe.summarise(one, ctx), probe.summarise(other, ctx)
    renamed = {"group:g=a": "group:g=z", "group:g=b": "group:g=y", "group:g=c": "group:g=x"}
    left, right = figures(a), figures(b)
    for (name, at), m in left.items():
        if name.endswith("p_value"):
            continue
        n = right[name, renamed.get(at, at)]
        assert (m.kind, m.counts) == (n.kind, n.counts)
        if isinstance(m, Measurement):
            assert m.value == pytest.approx(n.value)
            assert (m.interval is None) == (n.interval is None)
            if m.interval is not None:
                assert m.interval.low == pytest.approx(n.interval.low)
    texts = [[p.before for e in r.evidence if isinstance(e, TextPairs) for p in e.pairs] for r in (a, b)]
    assert texts[0] == texts[1]


def test_clusters_widen_every_interval(table, read):
    outcomes = [outcome("succeeded", 5 + i, 1) if i % 20 < 10 else outcome("failed", 200 + i) for i in range(80)]
    alone = figures(read(rows_of(table, outcomes)))
    together = figures(read(rows_of(table, outcomes, cluster=[f"c{i // 10}" for i in range(80)])))
    for name in ("attack_success_rate", "accuracy_under_attack", "median_queries"):
        a, b = alone[name, ""], together[name, ""]
        assert a.value == b.value
        assert b.interval.low < a.interval.low
        assert b.interval.high > a.interval.high
        assert b.counts.clusters == 8


def test_a_goal_that_keeps_the_answer_costs_no_accuracy(table, read):
    outcomes = [outcome("succeeded", 4, 3, after="yes")] * 3 + [outcome("failed", 4)]
    reading = read(rows_of(table, outcomes), recipe="input-reduction")
    found = figures(reading)
    assert found["attack_success_rate", ""].value == 0.75
    assert found["accuracy_under_attack", ""].value == 1.0
    assert "3 successful attacks keep the answer" in " ".join(r.fill() for r in reading.remarks)


def test_errors_are_counted_shown_and_too_many_raise(table, ctx, read):
    outcomes = [outcome("succeeded", 3, 1)] * 8 + [outcome("error"), outcome("error", error="KeyError: <b>'x'</b>")]
    rows = rows_of(table, outcomes)
    reading = read(rows, most_errors=0.2)
    (shown,) = [e for e in reading.evidence if isinstance(e, Table) and "Errors" in e.title.text]
    assert shown.rows == (("KeyError", 1, "KeyError: <b>'x'</b>"), ("ValueError", 1, "ValueError: odd"))
    assert shown.raw == (2,)
    assert "2 of 10 examples ended in an error" in " ".join(r.fill() for r in reading.remarks)
    assert figures(reading)["clean_accuracy", ""].counts.denominator == 8
    with pytest.raises(ProbeError, match=r"2 of 10 examples ended in an error, most often in \w+Error"):
        create("robustness.attack", {"most_errors": 0.19}).summarise(rows, ctx)


def test_what_has_no_value_says_why(table, read):
    for outcomes, words in (
        ([outcome("skipped")] * 3, "nothing to attack"),
        ([outcome("failed", 3)] * 3, "No attack succeeded"),
        ([outcome("succeeded", 3, 1)], "one independent example"),
    ):
        found = figures(read(rows_of(table, outcomes)))
        assert words in found["words_changed_share", ""].reason.fill()
    assert isinstance(figures(read(rows_of(table, [outcome("skipped")])))["attack_success_rate", ""], Undefined)
    empty = rows_of(table, MIXED).slice(0, 0)
    assert all(isinstance(m, Undefined) for m in read(empty).measurements)


def test_a_budget_that_was_spent_is_said(table, read):
    reading = read(rows_of(table, [*MIXED, outcome("failed", 40)]), query_budget=30)
    assert "30 texts at most; 2 attacks failed with that spent" in " ".join(r.fill() for r in reading.remarks)
    assert figures(reading)["median_queries", ""].interval.high is not None


def test_close_calls_are_said(table, read):
    reading = read(rows_of(table, [*MIXED, outcome("failed", 4, close_calls=2)]))
    assert "In 1 examples some decision hung" in " ".join(r.fill() for r in reading.remarks)


def test_pairs_take_turns_by_label_and_show_the_smallest_changes_first(table, read):
    outcomes = [outcome("succeeded", 3, c) for c in (4, 1, 2)] + [outcome("succeeded", 3, 3, label="no", after="yes")]
    labels = ["yes"] * 3 + ["no"]
    (pairs,) = [e for e in read(rows_of(table, outcomes, labels), shown=3).evidence if isinstance(e, TextPairs)]
    assert [p.before for p in pairs.pairs] == ["text 3", "text 1", "text 2"]
    assert (pairs.pairs[0].before_label, pairs.pairs[0].after_label) == ("no", "yes")
    assert "1 of 4 words changed, 3 queries; score of yes from 0.750 to 0.250" in pairs.pairs[1].note.fill()
    assert "3 of 4 successful attacks" in pairs.chosen_by.fill()
    assert "seed 7" in pairs.chosen_by.fill()
    assert not [e for e in read(rows_of(table, outcomes, labels), shown=0).evidence if isinstance(e, TextPairs)]


# --- collecting


@pytest.fixture
def engine(monkeypatch):
    """Stands in for the engine: flips every text with an even number, and notes what it was asked."""
    asked: dict[str, Any] = {}

    def attack(subject, examples, campaign, ctx):
        asked.update(examples=list(examples), campaign=campaign)
        return [
            outcome("succeeded", 3, 1, label=e.label, after="no", perturbed=f"{e.text}!")
            if int(e.text.split()[-1]) % 2 == 0
            else outcome("failed", 4, label=e.label)
            for e in examples
        ]

    monkeypatch.setattr(attacks, "attack_examples", attack)
    return asked


def fake(n: int = 40, **more: Any) -> FakeSubject:
    labels = [None if i % 10 == 9 else ("yes" if i % 2 else "no") for i in range(n)]
    return FakeSubject(np.tile([0.3, 0.7], (n, 1)), ("no", "yes"), labels=labels, **more)


def test_collecting_draws_labelled_rows_and_keeps_what_the_engine_says(engine, ctx):
    subject = fake(groups={"g": ["a", "b"] * 20}, roles={"cluster": [str(i // 4) for i in range(40)]})
    rows = create("robustness.attack", {"examples": 9, "query_budget": 50, "pool": 4}).collect(subject, ctx)
    drawn = rows.to_pylist()
    assert len(drawn) == 9
    assert [(e.row_id, e.text, e.label) for e in engine["examples"]] == [
        (r["row_id"], f"text {r['row_id']}", r["label"]) for r in drawn
    ]
    assert (engine["campaign"].recipe, engine["campaign"].query_budget, engine["campaign"].pool) == (
        "deepwordbug",
        50,
        4,
    )
    for row in drawn:
        flipped = int(row["row_id"]) % 2 == 0
        assert row["label"] is not None
        assert row["status"] == ("succeeded" if flipped else "failed")
        assert row["perturbed"] == (f"text {row['row_id']}!" if flipped else "text")
        assert row["stratum"] == f"label={row['label']}, g={row['group_g']}"
        assert row["cluster"] == str(int(row["row_id"]) // 4)
    facts = Facts.of(rows)
    assert (facts.labelled, facts.unlabelled) == (36, 4)
    assert facts.groups == {"g": {"a": 20, "b": 16}}
    remarks = " ".join(r.fill() for r in create("robustness.attack", {}).summarise(rows, ctx).remarks)
    assert "9 of 36 rows with a label were drawn at random with seed 7" in remarks
    assert "4 rows have no label" in remarks


def test_two_models_are_attacked_on_the_same_rows(engine, ctx):
    probe = create("robustness.attack", {"examples": 9})
    labels = ["no", "yes"] * 20
    one = FakeSubject(np.tile([0.3, 0.7], (40, 1)), ("no", "yes"), labels=labels)
    other = FakeSubject(np.tile([0.9, 0.1], (40, 1)), ("no", "yes"), labels=labels)
    assert probe.collect(one, ctx)["row_id"] == probe.collect(other, ctx)["row_id"]


def test_all_rows_are_taken_where_no_number_is_given(engine, ctx):
    probe = create("robustness.attack", {"examples": None})
    rows = probe.collect(fake(), ctx)
    assert len(rows) == 36
    assert "All 36 rows" in " ".join(r.fill() for r in probe.summarise(rows, ctx).remarks)


def test_another_task_is_not_applicable(engine, ctx):
    subject = fake()
    subject.task = "image-classification"
    with pytest.raises(Unavailable, match="image-classification"):
        create("robustness.attack", {}).collect(subject, ctx)


def test_a_recipe_that_cannot_run_here_says_why_before_anything_is_asked(monkeypatch, engine, ctx):
    from probes.evidence import message
    from probes.robustness import attack

    probe = create("robustness.attack", {})
    monkeypatch.setattr(attack, "standing", lambda *_, **__: message("there is no WordNet here"))
    subject = fake()
    with pytest.raises(Unavailable, match="no WordNet"):
        probe.collect(subject, ctx)
    assert subject.asked == 0
    assert not engine


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "deepwordbgu"}, "deepwordbgu"),
        ({"arguments": {"speed": 3}}, "speed"),
        ({"examples": 0}, "examples is 0"),
        ({"query_budget": 0}, "query_budget is 0"),
        ({"most_errors": 1.5}, "most_errors is 1.5"),
        ({"features": ["a", "a"]}, "each name once"),
    ],
)
def test_wrong_options_are_refused_when_the_plan_is_read(options, words):
    with pytest.raises(ProbeError, match=words):
        create("robustness.attack", options)


def test_needs():
    assert set(create("robustness.attack", {}).info.needs) == {Need.PREDICTIONS, Need.LABELS, Need.QUERIES}
    assert create("robustness.attack", {}).info.requires == ("textattack",)


# --- similarity


def similarity_of(probe_options: dict[str, Any], subject: Any, ctx: Context) -> tuple[pa.Table, Any]:
    probe = create("robustness.attack", {"min_group": 1, **probe_options})
    rows = probe.collect(subject, ctx)
    return rows, figures(probe.summarise(rows, ctx))["semantic_similarity", ""]


def test_without_an_encoder_similarity_says_so(engine, ctx):
    rows, found = similarity_of({}, fake(), ctx)
    assert rows["similarity"].null_count == len(rows)
    assert "option `encoder`" in found.reason.fill()


def test_an_encoder_that_is_not_here_costs_one_figure(engine, ctx, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, words in (("nobody/such-encoder", "no download was allowed"), (str(tmp_path), "config.json")):
        rows, found = similarity_of({"encoder": name}, fake(), ctx)
        assert len(rows) == 36
        assert words in found.reason.fill()


def test_the_encoder_measures_successful_attacks_alone(engine, ctx, tiny_base):
    rows, found = similarity_of({"encoder": str(tiny_base)}, fake(), ctx)
    for row in rows.to_pylist():
        assert (row["similarity"] is not None) == (row["status"] == "succeeded")
    assert found.counts.denominator == sum(s == "succeeded" for s in rows["status"].to_pylist())
    assert -1 <= found.value <= 1


def test_the_subjects_own_encoder_is_refused(engine, ctx, tiny_checkpoint, review_data):
    from fine_tune.checkpoint import Checkpoint
    from probes.subject import CheckpointSubject

    subject = CheckpointSubject(Checkpoint.open(tiny_checkpoint), review_data)

    def attack(subject, examples, campaign, ctx):
        return [outcome("succeeded", 3, 1, label=e.label, after="x", perturbed=f"{e.text} a") for e in examples]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attacks, "attack_examples", attack)
        _, found = similarity_of({"encoder": str(tiny_checkpoint)}, subject, ctx)
    assert "same weights as the subject's own" in found.reason.fill()
