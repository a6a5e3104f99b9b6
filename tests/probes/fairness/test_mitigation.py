"""Thresholds that close a gap: by hand, against fairlearn's own predictions, against trying everything, and by halves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.engines.fairlearn import CONSTRAINTS, OBJECTIVES, fit, randomised_rules
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Reading, Undefined
from probes.fairness.halves import halves
from probes.fairness.mitigation import FITTING
from probes.fairness.mitigation_figures import expected
from probes.fairness.mitigation_fit import METADATA_KEY, fits_of
from probes.fairness.threshold_search import Ladder, finest, search
from probes.probe import Context
from probes.rates import count
from probes.registry import create
from probes.threshold_rules import ThresholdRule

CTX = Context(instance="mitigation", seed=5)


def people(n: int = 400, seed: int = 0, gap: float = 0.25) -> dict[str, Any]:
    """Scores that tell the label, and put one of two groups lower by ``gap``."""
    rng = np.random.default_rng(seed)
    truly, woman = rng.random(n) < 0.5, rng.random(n) < 0.5
    score = np.round(np.clip(0.3 + 0.4 * truly - gap * woman + rng.normal(0, 0.15, n), 0, 1), 3)
    return {"truly": truly, "woman": woman, "score": score}


def rows_of(table: Any, who: dict[str, Any], names: tuple[str, str] = ("man", "woman"), **more: Any) -> pa.Table:
    score = who["score"]
    return table(
        np.where(who["truly"], "yes", "no").tolist(),
        np.where(score > 0.5, "yes", "no").tolist(),
        scores=np.column_stack([1 - score, score]),
        groups={"gender": np.where(who["woman"], names[1], names[0]).tolist()},
        **more,
    )


def measure(rows: pa.Table, ctx: Context = CTX, **options: Any) -> tuple[pa.Table, Reading]:
    asked = create("fairness.mitigation", {"positive": "yes", "criterion": "demographic_parity", **options})
    subject = SimpleNamespace(classes=("no", "yes"), positive=None, predictions=lambda _: rows)
    collected = asked.collect(subject, ctx)
    return collected, asked.summarise(collected, ctx)


def figures(reading: Reading) -> dict[tuple[str, str], Measurement | Undefined]:
    return {(m.name, ", ".join(a.selector for a in m.slice)): m for m in reading.measurements}


def with_rules(
    rows: pa.Table, fitting: Sequence[bool], fixed: list[ThresholdRule], lot: list[ThresholdRule]
) -> pa.Table:
    """Rows as if these rules had been fitted for man and woman."""
    from probes.fairness.mitigation_fit import Fit, with_fits

    one = Fit(
        features=("gender",), groups=(("man",), ("woman",)), rows=(2, 2), left_out=(), width=0.5,
        rules={"fixed": tuple(fixed), "by_lot": tuple(lot)}, frontier=((0.5, tuple(fixed)),),
    )  # fmt: skip
    return with_fits(rows.append_column(FITTING, pa.array(list(fitting))), [one])


def test_by_hand(table: Any) -> None:
    """Eight measured rows: men score .9 .8 .6 .2, women .7 .55 .3 .1; the present model takes what is above .5."""
    score = np.array([0.9, 0.8, 0.6, 0.2, 0.7, 0.55, 0.3, 0.1, 0.9, 0.9])
    who = {
        "score": score,
        "truly": np.array([1, 1, 0, 0, 1, 0, 1, 0, 1, 1], dtype=bool),
        "woman": np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 1], dtype=bool),
    }
    fixed = [ThresholdRule.fixed(0.7), ThresholdRule.fixed(0.25)]
    # Half of the time above .7, half of the time above .5: the man at .6 is taken with chance 1/2.
    lot = [ThresholdRule(threshold=0.7, other=0.5, share=0.5), ThresholdRule.fixed(0.25)]
    rows = with_rules(rows_of(table, who), [False] * 8 + [True] * 2, fixed, lot)
    asked = create("fairness.mitigation", {"positive": "yes", "criterion": "demographic_parity"})
    found = figures(asked.summarise(rows, CTX))
    value = {key: m.value for key, m in found.items() if isinstance(m, Measurement)}
    # Present: 3 of 4 men and 2 of 4 women; right are men .9 .8 .2, women .7 .1, that is 5 of 8.
    assert value["present_gap", "gender"] == pytest.approx(3 / 4 - 2 / 4)
    assert value["present_accuracy", "gender"] == pytest.approx(5 / 8)
    # Fixed: 2 of 4 men, 3 of 4 women; all four men are right, and the women at .7 .3 .1.
    assert value["remaining_gap", "gender, thresholds=fixed"] == pytest.approx(1 / 4)
    assert value["mitigated_accuracy", "gender, thresholds=fixed"] == pytest.approx(7 / 8)
    assert value["accuracy_change", "gender, thresholds=fixed"] == pytest.approx(2 / 8)
    assert value["decisions_changed", "gender, thresholds=fixed"] == pytest.approx(2 / 8)
    # By lot: 2.5 of 4 men; the man at .6 is right with chance 1/2.
    assert value["mitigated_selection_rate", "gender=man, thresholds=by_lot"] == pytest.approx(2.5 / 4)
    assert value["remaining_gap", "gender, thresholds=by_lot"] == pytest.approx(3 / 4 - 2.5 / 4)
    assert value["accuracy_change", "gender, thresholds=by_lot"] == pytest.approx(1.5 / 8)
    assert value["decisions_changed", "gender, thresholds=by_lot"] == pytest.approx(1.5 / 8)
    assert found["present_gap", "gender"].counts.n == 8


@pytest.mark.parametrize("criterion", list(CONSTRAINTS))
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_expected_rates_are_those_of_fairlearns_own_predictions(criterion: Any, objective: Any) -> None:
    who = people(120, gap=0.1)
    groups = who["woman"].astype(np.int64)
    rules = randomised_rules(who["score"], who["truly"], groups, criterion, objective)
    optimiser = fit(who["score"], who["truly"], groups, criterion, objective)
    given = {"sensitive_features": groups}
    theirs = optimiser._pmf_predict(who["score"].reshape(-1, 1), **given)[:, 1]
    ours = np.where(groups == 1, rules[1].chances(who["score"]), rules[0].chances(who["score"]))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    # Their draws, many times: the mean rate of each group is the expected one.
    drawn = np.mean(
        [optimiser.predict(who["score"].reshape(-1, 1), random_state=i, **given) for i in range(300)], axis=0
    )
    rates = expected(groups, 2, ours, None)
    for g in (0, 1):
        assert drawn[groups == g].mean() == pytest.approx(rates.values[g], abs=0.02)
    assert [ThresholdRule.decode(r.encode()) for r in rules] == list(rules)


@pytest.mark.parametrize("criterion", list(CONSTRAINTS))
def test_lots_leave_no_gap_where_they_were_fitted(criterion: Any) -> None:
    from probes.fairness.mitigation_fit import EQUALISED

    who = people(200)
    groups = who["woman"].astype(np.int64)
    rules = randomised_rules(who["score"], who["truly"], groups, criterion, "accuracy")
    chance = np.where(groups == 1, rules[1].chances(who["score"]), rules[0].chances(who["score"]))
    inside = {"selection_rate": np.ones(200, bool), "recall": who["truly"], "false_positive_rate": ~who["truly"]}
    for name in EQUALISED[criterion]:
        rates = expected(np.where(inside[name], groups, -1), 2, chance, None).values
        assert rates[0] == pytest.approx(rates[1], abs=2e-3)  # fairlearn's grid is 1/1000 wide


scored = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=9).filter(
    lambda rows: len({y for _, y in rows}) == 2
)


@given(
    groups=st.lists(scored, min_size=2, max_size=3),
    rates=st.sampled_from(
        [("selection_rate",), ("recall",), ("false_positive_rate",), ("recall", "false_positive_rate")]
    ),
    width=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
    balanced=st.booleans(),
)
def test_the_search_finds_what_trying_everything_finds(
    groups: list[list[tuple[int, bool]]], rates: tuple[str, ...], width: float, balanced: bool
) -> None:
    data = [(np.array([s for s, _ in g], float), np.array([y for _, y in g], bool)) for g in groups]
    ladders = [Ladder.of(*g) for g in data]
    positives, others = sum(y.sum() for _, y in data), sum((~y).sum() for _, y in data)
    scale = (1 / positives, 1 / others) if balanced else (1.0, 1.0)

    def worth(thresholds: Sequence[float]) -> float:
        taken = [s > t for (s, _), t in zip(data, thresholds, strict=True)]
        hits = sum((k & y).sum() for k, (_, y) in zip(taken, data, strict=True))
        alarms = sum((k & ~y).sum() for k, (_, y) in zip(taken, data, strict=True))
        return float(hits * scale[0] - alarms * scale[1])

    def gap(thresholds: Sequence[float]) -> float:
        worst = 0.0
        for name in rates:
            found = []
            for (s, y), t in zip(data, thresholds, strict=True):
                inside = {"selection_rate": np.ones(len(y), bool), "recall": y, "false_positive_rate": ~y}[name]
                found.append((s[inside] > t).mean())
            worst = max(worst, max(found) - min(found))
        return worst

    chosen = search(ladders, rates, width, balanced=balanced)
    assert gap(chosen) <= width + 1e-9
    allowed = [
        worth(t) for t in itertools.product(*(ladder.thresholds for ladder in ladders)) if gap(t) <= width + 1e-9
    ]
    assert worth(chosen) == pytest.approx(max(allowed))


def test_thresholds_lie_between_scores() -> None:
    ladder = Ladder.of(np.array([0.2, 0.2, 0.6, 0.9]), np.array([False, True, True, False]))
    assert ladder.thresholds.tolist() == pytest.approx([np.inf, 0.75, 0.4, -np.inf])
    assert ladder.hits.tolist() == [0, 0, 1, 2]
    assert ladder.false_alarms.tolist() == [0, 1, 1, 2]
    assert finest([ladder], ["recall"]) == 0.5
    near = np.nextafter(0.5, 1)
    tight = Ladder.of(np.array([0.5, near]), np.array([False, True]))
    assert (np.array([0.5, near]) > tight.thresholds[1]).tolist() == [False, True]


@given(
    cells=st.lists(st.tuples(st.integers(-1, 2), st.booleans(), st.integers(0, 8)), min_size=1, max_size=60),
    clustered=st.booleans(),
)
def test_certain_chances_are_counted_like_decisions(cells: list[tuple[int, bool, int]], clustered: bool) -> None:
    groups = np.array([g for g, _, _ in cells])
    hit = np.array([h for _, h, _ in cells])
    clusters = np.array([c for _, _, c in cells]) if clustered else None
    ours, theirs = expected(groups, 3, hit.astype(float), clusters), count(groups, 3, hit, clusters)
    np.testing.assert_allclose(ours.values, theirs.values)
    np.testing.assert_allclose(ours.design_effects, theirs.design_effects)
    np.testing.assert_array_equal(ours.denominators, theirs.denominators)
    np.testing.assert_array_equal(ours.successes, theirs.successes)


def test_lots_in_clusters_have_the_variance_that_drawing_shows() -> None:
    """Clusters drawn anew, then the lots: the variance of the rate is the design effect times the binomial one."""
    rng = np.random.default_rng(1)
    size, each, groups = 60, 5, np.zeros(300, dtype=np.int64)
    clusters = np.repeat(np.arange(size), each)
    seen, effects = [], []
    for _ in range(1500):
        chance = np.repeat(rng.beta(1, 1, size), each)
        seen.append((rng.random(300) < chance).mean())
        effects.append(expected(groups, 1, chance, clusters).design_effects[0])
    assert np.mean(effects) * 0.25 / 300 == pytest.approx(np.var(seen), rel=0.12)


@given(
    rows=st.lists(st.tuples(st.integers(0, 25), st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=80),
    seed=st.integers(0, 999),
)
def test_halves_tear_no_unit_and_are_alike(rows: list[tuple[int, int, int]], seed: int) -> None:
    units = np.unique([u for u, _, _ in rows], return_inverse=True)[1]
    columns = [np.array([y for _, y, _ in rows]), np.array([g for _, _, g in rows])]
    first = halves(units, columns, np.random.default_rng(seed))
    sides = {u: {bool(f) for f in first[units == u]} for u in set(units.tolist())}
    assert all(len(s) == 1 for s in sides.values())
    assert abs(sum(True in s for s in sides.values()) * 2 - len(sides)) <= 1


def test_single_rows_are_halved_within_each_stratum() -> None:
    strata = np.repeat(np.arange(4), [10, 20, 30, 41])
    first = halves(np.arange(101), [strata], np.random.default_rng(0))
    assert [abs(2 * first[strata == s].sum() - (strata == s).sum()) <= 1 for s in range(4)] == [True] * 4


def test_a_planted_gap_is_closed_on_rows_that_nothing_was_fitted_on(table: Any) -> None:
    collected, reading = measure(rows_of(table, people(2000)))
    found = figures(reading)
    present = found["present_gap", "gender"]
    assert isinstance(present, Measurement)
    assert present.interval is not None
    assert present.interval.low is not None
    assert present.interval.low > 0.25
    for kind in ("fixed", "by_lot"):
        left, change = (
            found["remaining_gap", f"gender, thresholds={kind}"],
            found["accuracy_change", f"gender, thresholds={kind}"],
        )
        assert isinstance(left, Measurement)
        assert isinstance(change, Measurement)
        assert left.value < 0.08
        assert left.interval is not None
        assert left.interval.low == 0
        assert change.value > 0, "lower scores for one group cost accuracy, which other thresholds give back"
    assert int(np.sum(collected.column(FITTING).to_numpy())) == 1000
    thresholds = next(e for e in reading.evidence if e.kind == "table")
    low, high = sorted(row[2] for row in thresholds.rows)
    assert high - low == pytest.approx(0.25, abs=0.08)
    curve = next(e for e in reading.evidence if e.kind == "curve")
    by_name = {str(s.label): s.points for s in curve.series}
    assert (by_name["present model"][0].x, by_name["present model"][0].y) == (
        pytest.approx(present.value), pytest.approx(found["present_accuracy", "gender"].value)
    )  # fmt: skip
    assert len(by_name["fixed"]) >= 2
    assert any("goes from" in str(r) for r in reading.remarks)


def test_nothing_is_promised_where_the_gap_may_be_chance(table: Any) -> None:
    _, reading = measure(rows_of(table, people(600, gap=0.0)))
    said = " ".join(map(str, reading.remarks))
    assert "may be chance" in said
    assert "goes from" not in said


@pytest.mark.parametrize("criterion", list(CONSTRAINTS))
def test_relabelled_groups_give_the_same_figures(table: Any, criterion: str) -> None:
    """The names of groups play no part, nor how they sort: the halves are the same too."""
    who = people(400)
    one = figures(measure(rows_of(table, who), criterion=criterion)[1])
    other = figures(measure(rows_of(table, who, ("y", "x")), criterion=criterion)[1])
    renamed = {(n, at.replace("=man", "=y").replace("=woman", "=x")): m for (n, at), m in one.items()}
    assert renamed.keys() == other.keys()
    for key, m in other.items():
        assert isinstance(m, Measurement)
        assert m.value == pytest.approx(renamed[key].value)


def test_shuffled_rows_give_the_same_figures(table: Any) -> None:
    rows = rows_of(table, people(300))
    order = np.random.default_rng(3).permutation(300)
    one, other = (figures(measure(r)[1]) for r in (rows, rows.take(order)))
    assert {k: m.value for k, m in one.items() if isinstance(m, Measurement)} == pytest.approx(
        {k: m.value for k, m in other.items() if isinstance(m, Measurement)}
    )


@given(shift=st.integers(1, 5))
def test_the_search_does_not_care_for_the_order_of_groups(shift: int) -> None:
    who = people(60, seed=shift)
    both = [Ladder.of(who["score"][who["woman"] == w], who["truly"][who["woman"] == w]) for w in (False, True)]
    assert search(both, ["recall"], 0.1) == search(both[::-1], ["recall"], 0.1)[::-1]


def test_groups_without_enough_rows_keep_the_present_model(table: Any) -> None:
    who = people(300)
    names = np.where(who["woman"], "woman", "man").astype(object)
    names[:6] = "other"
    rows = rows_of(table, who).drop_columns(["group_gender"]).append_column("group_gender", pa.array(names.tolist()))
    collected, reading = measure(rows)
    (one,) = fits_of(collected)[1]
    assert (one.groups, one.left_out) == ((("man",), ("woman",)), (("other",),))
    assert any("No threshold was fitted for other" in str(r) for r in reading.remarks)
    measured = ~collected.column(FITTING).to_numpy()
    gap = figures(reading)["present_gap", "gender"]
    assert gap.counts.n == int(np.count_nonzero(measured & (names != "other")))


def test_one_group_alone_is_undefined(table: Any) -> None:
    who = people(60)
    who["woman"][:] = True
    _, reading = measure(rows_of(table, who))
    assert all(isinstance(m, Undefined) for m in reading.measurements)
    assert {m.name for m in reading.measurements} >= {"present_gap", "remaining_gap", "accuracy_change"}


def test_clusters_stay_whole_and_widen_intervals(table: Any) -> None:
    who = people(200)
    twice = {name: np.repeat(values, 2) for name, values in who.items()}
    alone = measure(rows_of(table, who))[1]
    pairs, reading = measure(rows_of(table, twice, cluster=[str(i // 2) for i in range(400)]))
    by_cluster: dict[str, set[bool]] = {}
    for cluster, side in zip(pairs.column("cluster").to_pylist(), pairs.column(FITTING).to_pylist(), strict=True):
        by_cluster.setdefault(cluster, set()).add(side)
    assert all(len(s) == 1 for s in by_cluster.values())
    wide, plain = (figures(r)["present_accuracy", "gender"].interval for r in (reading, alone))
    assert wide is not None
    assert plain is not None
    assert wide.high - wide.low > 0.9 * (plain.high - plain.low), "twice the rows, and no more information"


def test_what_was_fitted_travels_with_the_rows(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Summarising fits nothing, so another fairlearn gives the same figures."""
    import probes.fairness.mitigation_fit as module

    collected, reading = measure(rows_of(table, people(300)), intersections=[], features=["gender"])

    def never(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(module, "randomised_rules", never)
    monkeypatch.setattr(module, "search", never)
    asked = create(
        "fairness.mitigation", {"positive": "yes", "criterion": "demographic_parity", "features": ["gender"]}
    )
    assert asked.summarise(collected, CTX) == reading
    kept = {k: v for k, v in collected.schema.metadata.items() if k != METADATA_KEY}
    with pytest.raises(ProbeError, match="carry no thresholds"):
        asked.summarise(collected.replace_schema_metadata(kept), CTX)


def test_what_cannot_be_asked_is_said(table: Any) -> None:
    who = people(40)
    with pytest.raises(ProbeError, match="needs the option 'criterion'"):
        create("fairness.mitigation", {"positive": "yes"})
    for name, value in (("slack", 2), ("points", 1), ("min_group", 1), ("features", ["a", "a"])):
        with pytest.raises(ProbeError, match=name if name != "features" else "twice"):
            create("fairness.mitigation", {"criterion": "equalized_odds", name: value})
    with pytest.raises(ProbeError, match="'perhaps' is no class"):
        measure(rows_of(table, who), positive="perhaps")
    bare = rows_of(table, who).drop_columns(["score_no", "score_yes"])
    with pytest.raises(Unavailable, match="no threshold can be moved"):
        measure(bare)
