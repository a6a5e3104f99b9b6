"""Noise: a hand-counted reading, units that are examples and not variants, and noise that only the text decides."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune.errors import DataError
from fine_tune.predictions import PredictionsMeta
from probes.errors import ProbeError, Unavailable
from probes.evidence import Curve, Measurement, Reading, Table, TextPairs, Undefined
from probes.fake_subject import FakeSubject
from probes.intervals import critical, wilson
from probes.probe import Context
from probes.robustness.noise import Noise
from probes.robustness.noise_reading import FACTS
from probes.robustness.noise_sheet import drop_in_accuracy

TEXTS = ("I do not like the colour of it.", "They are GREAT people, aren't they?", "ok", "😀")


class Shouting(FakeSubject):
    """Says yes to a text that holds a capital letter, and no to others; so casing flips it, and little else does."""

    def predict(self, inputs: Any, ctx: Context) -> Any:
        self.asked += len(inputs)
        return np.array([[0.1, 0.9] if any(c.isupper() for c in x) else [0.8, 0.2] for x in inputs]).reshape(-1, 2)


def shouting(texts: list[str], order: np.ndarray | None = None, **more: Any) -> Shouting:
    at = np.arange(len(texts)) if order is None else order
    scores = [[0.1, 0.9] if any(c.isupper() for c in x) else [0.8, 0.2] for x in texts]
    roles = {"id": [f"r{i:03d}" for i in at], **{k: [v[i] for i in at] for k, v in more.pop("roles", {}).items()}}
    given_ = {k: [v[i] for i in at] for k, v in more.items() if k == "labels"}
    groups = {k: [v[i] for i in at] for k, v in more.get("groups", {}).items()}
    return Shouting(
        np.array(scores)[at], ("no", "yes"), inputs=[texts[i] for i in at], groups=groups, roles=roles, **given_
    )


def rows(
    lines: list[dict[str, Any]], kinds: tuple[str, ...] = ("typos",), rates: tuple[float, ...] = (0.1,)
) -> pa.Table:
    """A collected table from what matters in a line; the rest is filled in."""
    full = []
    for i, line in enumerate(lines):
        base = {
            "row_id": str(i), "unit_id": 0, "label": "yes", "prediction": "yes", "group_g": None, "kind": kinds[0],
            "rate": rates[0], "text": f"text {i}", "noised": f"tezt {i}", "places": 4, "places_changed": 1,
            "changed": True, "prediction_after": "yes",
        }  # fmt: skip
        full.append({**base, **line})
    meta = PredictionsMeta(task="text-classification", classes=("no", "yes")).encode()
    facts = {"kinds": list(kinds), "rates": list(rates), "examples": len({x["row_id"] for x in full}), "rows": 99}
    table = pa.Table.from_pylist(full)
    position = table.column_names.index("group_g")
    table = table.set_column(position, "group_g", table["group_g"].cast(pa.string()))
    return table.replace_schema_metadata({**meta, FACTS: json.dumps(facts).encode()})


def values(reading: Reading) -> dict[tuple[str, str], Any]:
    """By name and slice, the settings of one kind and rate left out."""
    out = {}
    for m in reading.measurements:
        told = {a.name: a.value for a in m.slice if a.kind == "setting"}
        if told == {"kind": "all", "rate": "all"}:
            out[m.name, ", ".join(str(a) for a in m.slice if a.kind != "setting")] = m
    return out


def test_a_reading_counted_by_hand(ctx: Context) -> None:
    """Ten texts: one without a place, nine changed, three flips of which one is for the better; one has no label."""
    lines: list[dict[str, Any]] = [{} for _ in range(10)]
    lines[0] = {"changed": False, "noised": "text 0"}
    lines[1] = {"prediction_after": "no"}
    lines[2] = {"prediction_after": "no"}
    lines[3] = {"prediction": "no"}
    lines[4] = {"prediction": "no", "prediction_after": "no"}
    lines[5] = {"label": None}
    reading = Noise(kinds=("typos",), rates=(0.1,)).summarise(rows(lines), ctx)
    found = values(reading)
    flips, after, drop = found["flip_rate", ""], found["accuracy_with_noise", ""], found["accuracy_drop", ""]
    assert (flips.value, flips.counts.n, flips.counts.denominator) == (3 / 9, 10, 9)
    low, high = wilson(3 / 9, 9, critical(0.025))
    assert (flips.interval.low, flips.interval.high) == pytest.approx((float(low), float(high)))
    assert (after.value, after.counts.denominator) == (5 / 8, 8)
    # Before 6 of 8 are right, after 5 of 8.
    assert (drop.value, drop.counts.denominator, drop.counts.clusters) == (1 / 8, 8, 8)
    differences = np.array([1, 1, -1, 0, 0, 0, 0, 0])
    half = 2.364624 * differences.std(ddof=1) / np.sqrt(8)
    assert (drop.interval.low, drop.interval.high) == pytest.approx((1 / 8 - half, 1 / 8 + half), abs=1e-6)
    assert (found["unchanged", ""].value, found["unchanged", ""].interval) == (1, None)
    said = " ".join(m.fill() for m in reading.remarks)
    assert "10 of 99 rows were examined, drawn at random with seed 7." in said
    assert "1 examples have no label" in said
    assert "1 examples have no place for typos" in said


def test_unchanged_texts_do_not_dilute(ctx: Context) -> None:
    flipped: list[dict[str, Any]] = [{"prediction_after": "no"}, {}, {}]
    probe = Noise(kinds=("typos",), rates=(0.1,))
    without = values(probe.summarise(rows(flipped), ctx))["flip_rate", ""]
    beside = values(probe.summarise(rows([*flipped, *({"changed": False} for _ in range(50))]), ctx))["flip_rate", ""]
    assert (without.value, without.interval) == (beside.value, beside.interval) == (1 / 3, without.interval)
    none = values(probe.summarise(rows([{"changed": False}]), ctx))
    assert all(isinstance(none[name, ""], Undefined) for name in ("flip_rate", "accuracy_with_noise", "accuracy_drop"))
    assert none["unchanged", ""].value == 1


def test_variants_of_an_example_are_no_new_evidence(ctx: Context) -> None:
    """Twenty copies of each example's one variant: the same figures, and intervals that are no narrower."""
    one: list[dict[str, Any]] = [
        {"row_id": str(i), "prediction_after": "no" if i % 4 == 0 else "yes"} for i in range(40)
    ]
    many = [{**line, "unit_id": k} for line in one for k in range(20)]
    probe = Noise(kinds=("typos",), rates=(0.1,))
    alone, copied = (values(probe.summarise(rows(lines), ctx)) for lines in (one, many))
    for name in ("flip_rate", "accuracy_drop"):
        a, b = alone[name, ""], copied[name, ""]
        assert a.value == b.value
        assert (b.counts.denominator, b.counts.clusters) == (800, 40)
        assert b.interval.high - b.interval.low >= 0.99 * (a.interval.high - a.interval.low)


def test_a_cluster_of_the_data_is_the_unit(ctx: Context) -> None:
    lines = [{"prediction_after": "no" if i < 20 else "yes", "cluster": f"c{i // 10}"} for i in range(40)]
    found = values(Noise(kinds=("typos",), rates=(0.1,)).summarise(rows(lines), ctx))
    for name in ("flip_rate", "accuracy_drop"):
        assert found[name, ""].counts.clusters == 4
        assert found[name, ""].interval.high - found[name, ""].interval.low > 0.7


def test_groups_and_their_largest_gap(ctx: Context) -> None:
    """Group a flips 30 of 40, b 10 of 40, c is too small; every flip of a labelled right answer is a loss."""
    lines = [{"group_g": "a", "prediction_after": "no" if i < 30 else "yes"} for i in range(40)]
    lines += [{"group_g": "b", "prediction_after": "no" if i < 10 else "yes"} for i in range(40)]
    lines += [{"group_g": "c"} for _ in range(9)] + [{"group_g": None}]
    reading = Noise(kinds=("typos",), rates=(0.1,)).summarise(rows(lines), ctx)
    found = values(reading)
    assert found["group_flip_rate", "group:g=a"].value == found["group_accuracy_drop", "group:g=a"].value == 0.75
    assert isinstance(found["group_flip_rate", "group:g=c"], Undefined)
    gap, lost = found["flip_rate_difference", "feature:g"], found["accuracy_drop_difference", "feature:g"]
    assert (gap.value, lost.value) == (0.5, 0.5)
    assert 0.2 < lost.interval.low < 0.5 < lost.interval.high < 0.75
    assert abs(lost.interval.low - gap.interval.low) < 0.06
    assert (gap.counts.denominator, gap.counts.smallest, gap.counts.clusters) == (80, 40, 80)
    assert found["flip_rate_difference_p_value", "feature:g"].value < 0.01
    said = " ".join(m.fill() for m in reading.remarks)
    assert "Too few examples to compare in g: c." in said
    assert "1 examples have no g" in said


def test_a_feature_without_any_value_has_no_groups(ctx: Context) -> None:
    found = values(Noise(kinds=("typos",), rates=(0.1,)).summarise(rows([{}, {}, {}]), ctx))
    assert isinstance(found["flip_rate_difference", "feature:g"], Undefined)
    assert isinstance(found["accuracy_drop_difference", "feature:g"], Undefined)


@pytest.mark.parametrize(("harm", "good", "n"), [(0.05, 0.01, 40), (0.3, 0.1, 40), (0.02, 0.02, 200), (0.0, 0.0, 20)])
def test_the_interval_of_the_drop_covers(harm: float, good: float, n: int) -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(600):
        draw = rng.random(n)
        before = draw < 0.6
        after = before.copy()
        change = rng.random(n)
        after[before & (change < harm / 0.6)] = False
        after[~before & (change < good / 0.4)] = True
        found = drop_in_accuracy(before, after, np.arange(n), 0.95)
        assert found is not None
        hits += found.low <= harm - good <= found.high
    assert hits / 600 >= 0.93


def test_what_is_collected(ctx: Context) -> None:
    subject = shouting(list(TEXTS), labels=["yes", "yes", "no", "no"], roles={"cluster": ["a", "a", "b", "b"]})
    probe = Noise(kinds=("casing", "spelling"), rates=(0.5, 1.0))
    table = probe.collect(subject, ctx)
    assert table.num_rows == 4 * 2 * 2
    lines = table.to_pylist()
    assert all(line["changed"] == (line["text"] != line["noised"]) for line in lines)
    assert all(line["prediction_after"] == line["prediction"] for line in lines if not line["changed"])
    changed = [line for line in lines if line["changed"]]
    assert {line["row_id"] for line in changed if line["kind"] == "casing"} == {"r000", "r001", "r002"}
    assert {line["row_id"] for line in changed if line["kind"] == "spelling"} == {"r000"}
    assert all(line["prediction_after"] == "no" or any(c.isupper() for c in line["noised"]) for line in changed)
    assert subject.asked == len(changed), "an unchanged text is not asked about"
    keys = set(zip(*(table[name].to_pylist() for name in ("row_id", "unit_id")), strict=True))
    assert len(keys) == table.num_rows, "rows of two runs can be paired"


def test_the_threshold_decides(ctx: Context) -> None:
    """The model is 0.9 sure of yes; a threshold above that makes every answer no, so that nothing flips."""
    texts = [f"Word number {i}" for i in range(6)]
    scores = [[0.1, 0.9]] * 6
    strict = Shouting(scores, ("no", "yes"), inputs=texts, threshold=0.95, positive="yes")
    table = Noise(kinds=("casing",), rates=(1.0,)).collect(strict, ctx)
    assert set(table["prediction"].to_pylist()) == set(table["prediction_after"].to_pylist()) == {"no"}


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter(ctx: Context, seed: int) -> None:
    texts = [f"The colour of Thing {i} isn't grey, it is red." for i in range(30)]
    more: dict[str, Any] = {
        "labels": ["yes", "no"] * 15, "groups": {"g": ["a", "b", "c"] * 10}, "roles": {"cluster": ["x", "y"] * 15},
    }  # fmt: skip
    probe = Noise(examples=20, rates=(0.1, 0.5), min_group=2)
    plain = probe.collect(shouting(texts, **more), ctx)
    order = np.random.default_rng(seed).permutation(30)
    again = probe.collect(shouting(texts, order, **more), ctx)
    by = [("row_id", "ascending"), ("unit_id", "ascending")]
    assert again.sort_by(by).equals(plain.sort_by(by))
    assert len(set(plain["row_id"].to_pylist())) == 20
    mixed = plain.take(np.random.default_rng(seed).permutation(plain.num_rows))
    assert probe.summarise(mixed, ctx) == probe.summarise(plain, ctx)


@settings(max_examples=25, deadline=None)
@given(
    flips=st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans()), min_size=2, max_size=60),
)
def test_other_names_for_groups_give_the_same_gap(flips: list[tuple[str, bool, bool]]) -> None:
    ctx = Context(instance="test", seed=7)
    probe = Noise(kinds=("typos",), rates=(0.1,), min_group=1)

    def gaps(names: dict[str, str]) -> list[Any]:
        table = rows([
            {"group_g": names[g], "prediction_after": "no" if f else "yes", "changed": c} for g, f, c in flips
        ])  # fmt: skip
        found = values(probe.summarise(table, ctx))
        both = [found[n, "feature:g"] for n in ("flip_rate_difference", "accuracy_drop_difference")]
        return [m.reason.text if isinstance(m, Undefined) else (m.value, m.interval.low, m.interval.high) for m in both]

    one, other = gaps({"a": "a", "b": "b"}), gaps({"a": "z", "b": "b"})
    assert [isinstance(g, str) for g in one] == [isinstance(g, str) for g in other]
    for a, b in zip(one, other, strict=True):
        assert a == b if isinstance(a, str) else a == pytest.approx(b, abs=1e-12)


def test_evidence_shows_curves_kinds_and_pairs(ctx: Context) -> None:
    texts = [f"some words of number {i} without capitals" for i in range(12)]
    subject = shouting(texts, labels=["no"] * 11 + ["yes"], groups={"g": ["a", "b"] * 6})
    probe = Noise(kinds=("casing", "spelling"), rates=(0.2, 1.0), min_group=2)
    table = probe.collect(subject, ctx)
    reading = probe.summarise(table, ctx)
    curves = [e for e in reading.evidence if isinstance(e, Curve)]
    assert [c.title.fill() for c in curves] == [
        "Answers that change with noise, by kind",
        "Accuracy lost to noise, by kind",
        "Answers that change with noise, by g; all kinds together",
    ]
    assert [s.label for s in curves[0].series] == ["casing"], "a kind that changed nothing has no line"
    assert [p.x for p in curves[0].series[0].points] == [0.2, 1.0]
    assert all(p.low is not None and p.low <= p.y <= (p.high or 0) for p in curves[0].series[0].points)
    kinds = next(e for e in reading.evidence if isinstance(e, Table))
    assert [row[3:5] for row in kinds.rows] == [(12, 0), (12, 0), (0, 12), (0, 12)]
    pairs = next(e for e in reading.evidence if isinstance(e, TextPairs))
    assert len(pairs.pairs) == 2, "of one kind that flips"
    fewest = min(x["places_changed"] for x in table.to_pylist() if x["prediction"] != x["prediction_after"])
    for pair in pairs.pairs:
        assert (pair.before_label, pair.after_label) == ("no", "yes")
        assert sum(a != b for a, b in zip(pair.before.split(), pair.after.split(), strict=True)) == fewest


def test_the_seed_changes_sample_and_noise() -> None:
    texts = [f"The colour of Thing {i} isn't grey, it is red." for i in range(30)]
    probe = Noise(examples=10)
    one, two = (probe.collect(shouting(texts), Context(instance="test", seed=s)) for s in (1, 2))
    assert one["row_id"].to_pylist() != two["row_id"].to_pylist()
    whole = Noise(examples=None, kinds=("typos",), rates=(0.1,))
    a, b = (whole.collect(shouting(texts), Context(instance="test", seed=s))["noised"].to_pylist() for s in (1, 2))
    assert a != b


def test_without_texts_it_is_not_applicable(ctx: Context) -> None:
    subject = shouting(["Some text", "other text"])
    subject.task = "image-classification"
    with pytest.raises(Unavailable, match="image-classification"):
        Noise().collect(subject, ctx)


def test_rows_of_something_else_are_refused(ctx: Context) -> None:
    with pytest.raises(ProbeError, match="which noise"):
        Noise().summarise(rows([{}]).replace_schema_metadata(None), ctx)


@pytest.mark.parametrize(
    "options",
    [{"kinds": ("slang",)}, {"kinds": ()}, {"kinds": ("typos", "typos")}, {"rates": ()}, {"rates": (0.0,)},
     {"rates": (1.5,)}, {"rates": (0.1, 0.1)}, {"features": ("g", "g")}, {"examples": 0}, {"min_group": 0}],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ProbeError):
        Noise(**options)


def test_every_figure_is_for_one_slice(ctx: Context) -> None:
    subject = shouting([f"Some text {i}" for i in range(20)], labels=["yes"] * 20, groups={"g": ["a", "b"] * 10})
    probe = Noise()
    reading = probe.summarise(probe.collect(subject, ctx), ctx)
    totals = [m for m in reading.measurements if m.name == "flip_rate"]
    assert len(totals) == (7 + 1) * (3 + 1)
    assert all(m.slice == () or len(m.slice) == 2 for m in totals)
    assert all(isinstance(m, Measurement | Undefined) for m in totals)


def test_only_the_features_that_are_named_are_looked_at(ctx: Context) -> None:
    subject = shouting([f"Some text {i}" for i in range(20)], groups={"g": ["a", "b"] * 10, "h": ["c", "d"] * 10})
    table = Noise().collect(subject, ctx)

    def features(probe: Noise) -> set[str]:
        slices = [m.slice for m in probe.summarise(table, ctx).measurements]
        return {a.name for at in slices for a in at if a.kind in ("group", "feature")}

    assert features(Noise()) == {"g", "h"}
    assert features(Noise(features=("h",))) == {"h"}
    assert features(Noise(features=())) == set()
    with pytest.raises(DataError, match="no sensitive feature 'other'"):
        Noise(features=("other",)).summarise(table, ctx)
