"""fairness.counterfactual and fairness.identity_swaps: by hand, planted, unbiased, relabelled, clustered, and on HateCheck."""

from __future__ import annotations

import os
import zlib
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune.data import AuditData
from fine_tune.predictions import PredictionsMeta
from probes.callable_subject import CallableSpec, CallableSubject
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, TextPairs, Undefined, slice_name
from probes.fairness.counterfactual import Counterfactual
from probes.fairness.counterfactual_figures import chance, largest_gap, shifts
from probes.fairness.identity_swaps import IdentitySwaps
from probes.fairness.wordlists import digest
from probes.fake_subject import FakeSubject
from probes.intervals import critical, wilson
from probes.probe import Context
from probes.registry import source_digest

DATA = os.environ.get("PLUMBLINE_DATA", "")
HATECHECK = Path(DATA) / "hatecheck" / "test_suite_cases.csv"
PROBE = Counterfactual(positive="yes", min_templates=2, permutations=200)


def by_name(reading):
    return {(m.name, slice_name(m.slice)): m for m in reading.measurements}


def twins(table, rows, *, labels=None, cluster=None, scores=True, threshold=None):
    """A table of predictions from (template, identity, score of yes)."""
    top = np.array([s for _, _, s in rows], dtype=float)
    said = ["yes" if s >= 0.5 else "no" for s in top]
    made = table(
        [None] * len(rows) if labels is None else labels,
        said,
        scores=np.column_stack([1 - top, top]) if scores else None,
        groups={"who": [g for _, g, _ in rows]},
        cluster=cluster,
    )
    return made.append_column("counterpart", pa.array([t for t, _, _ in rows], pa.string()))


HAND = [
    ("t1", "a", 0.9), ("t1", "b", 0.4), ("t1", "c", 0.8),
    ("t2", "a", 0.7), ("t2", "b", 0.6), ("t2", "c", 0.8),
    ("t3", "a", 0.3), ("t3", "b", 0.1), ("t3", "b", 0.3), ("t3", "c", 0.4),
    ("t4", "a", 0.6), ("t4", "b", 0.2),
    ("t5", "a", 0.9), (None, "a", 0.9), ("t1", None, 0.1),
]  # fmt: skip


def test_by_hand(table, ctx):
    reading = PROBE.summarise(twins(table, HAND), ctx)
    m = by_name(reading)
    # t1 and t4 flip; t2 and t3 do not; t5 has one identity. Pairs: t1 ab, bc of 3; t2 0 of 3; t3 0 of 3; t4 1 of 1.
    assert m["templates_compared", "feature:who"].value == 4
    assert m["templates_left_out", "feature:who"].value == 0
    assert m["coverage", "feature:who"].value == 12 / 15
    assert m["flip_rate", "feature:who"].value == 0.5
    low, high = wilson(0.5, 4, critical(0.025))
    assert (m["flip_rate", "feature:who"].interval.low, m["flip_rate", "feature:who"].interval.high) == (low, high)
    assert m["pair_flip_rate", "feature:who"].value == 3 / 10
    assert m["pair_flip_rate", "feature:who"].counts.clusters == 4
    # Means of the templates: t1 .7, t2 .7, t3 (.3, .2, .4) .3, t4 .4.
    assert m["score_shift", "group:who=a"].value == pytest.approx((0.2 + 0 + 0 + 0.2) / 4, abs=1e-15)
    assert m["score_shift", "group:who=b"].value == pytest.approx((-0.3 - 0.1 - 0.1 - 0.2) / 4, abs=1e-15)
    assert m["score_shift", "group:who=c"].value == pytest.approx((0.1 + 0.1 + 0.1) / 3, abs=1e-15)
    assert m["score_shift", "group:who=c"].counts.denominator == 3
    # Paired: a-b (.5 + .1 + .1 + .4) / 4 = .275; c-b (.4 + .2 + .2) / 3 = .267; c-a (-.1 + .1 + .1) / 3.
    gap = m["largest_shift_gap", "feature:who"]
    assert gap.value == pytest.approx(0.275, abs=1e-15)
    assert gap.interval.low <= gap.value <= gap.interval.high
    said = " ".join(str(r) for r in reading.remarks)
    assert "1 rows have no counterpart" in said
    assert "1 rows have no who" in said


def test_p_values_are_those_of_all_exchanges():
    """Against every one of the (3!)^3 exchanges of three templates."""
    scores = np.random.default_rng(3).random((3, 3))
    moved = shifts(scores)
    every = [
        np.mean([moved[0, list(a)], moved[1, list(b)], moved[2, list(c)]], axis=0)
        for a in permutations(range(3)) for b in permutations(range(3)) for c in permutations(range(3))
    ]  # fmt: skip
    observed = moved.mean(axis=0)
    exact = np.mean(np.abs(every) >= np.abs(observed) - 1e-12, axis=0)
    spread = np.mean(np.ptp(every, axis=1) >= np.ptp(observed) - 1e-12)
    found = chance(moved, None, np.random.default_rng(0), 40_000)
    assert found.raw == pytest.approx(exact, abs=0.01)
    assert found.spread == pytest.approx(spread, abs=0.01)
    assert (found.adjusted >= found.raw).all()
    # One unit: only the 3! exchanges that treat all templates alike are left.
    alike = np.array([moved[:, list(a)].mean(axis=0) for a in permutations(range(3))])
    found = chance(moved, np.zeros(3, dtype=np.int64), np.random.default_rng(0), 20_000)
    assert found.raw == pytest.approx(np.mean(np.abs(alike) >= np.abs(observed) - 1e-12, axis=0), abs=0.02)


def test_exchanges_stay_among_the_identities_of_a_template():
    moved = np.array([[0.2, -0.2, np.nan], [0.1, -0.1, np.nan], [np.nan, 0.3, -0.3]])
    found = chance(moved, None, np.random.default_rng(0), 4000)
    # a is +.3 or +.1 or -.1 or -.3 in two templates: as extreme in 2 of 4; c in 2 of 2.
    assert found.raw == pytest.approx([0.5, found.raw[1], 1.0], abs=0.03)


def test_labels_that_differ_leave_a_template_out(table, ctx):
    labels = ["yes", "no", "yes", *["yes"] * 9, *[None] * 3]
    reading = PROBE.summarise(twins(table, HAND, labels=labels), ctx)
    m = by_name(reading)
    assert m["templates_compared", "feature:who"].value == 3
    assert m["templates_left_out", "feature:who"].value == 1
    assert m["flip_rate", "feature:who"].value == pytest.approx(1 / 3)
    assert any("have different labels" in str(r) for r in reading.remarks)


def test_without_scores_answers_are_still_compared(table, ctx):
    m = by_name(PROBE.summarise(twins(table, HAND, scores=False), ctx))
    assert m["flip_rate", "feature:who"].value == 0.5
    assert isinstance(m["score_shift", "group:who=a"], Undefined)
    assert isinstance(m["largest_shift_gap", "feature:who"], Undefined)


def test_rows_of_one_identity_that_disagree_are_averaged_and_told(table, ctx):
    rows = [("t1", "a", 0.9), ("t1", "a", 0.3), ("t1", "b", 0.7), ("t2", "a", 0.1), ("t2", "b", 0.2)]
    reading = PROBE.summarise(twins(table, rows), ctx)
    assert by_name(reading)["flip_rate", "feature:who"].value == 0
    assert any("1 answers of who stand for several rows" in str(r) for r in reading.remarks)
    m = by_name(PROBE.summarise(twins(table, rows, scores=False), ctx))
    assert m["flip_rate", "feature:who"].value == 0.5, "without scores the first class of equals counts: no"


def test_one_column_as_counterpart_and_cluster_is_one_unit_a_template(table, ctx):
    rows = HAND[:10]
    alone = PROBE.summarise(twins(table, rows), ctx)
    both = PROBE.summarise(twins(table, rows, cluster=[t for t, _, _ in rows]), ctx)
    assert alone == both


def test_clusters_that_join_templates_widen(table, ctx):
    rng = np.random.default_rng(0)
    rows, cluster = [], []
    for t in range(40):
        flip = rng.random() < 0.5
        for copy in range(4):
            rows += [(f"t{t}.{copy}", "a", 0.8), (f"t{t}.{copy}", "b", 0.2 if flip else 0.8)]
            cluster += [f"c{t}"] * 2
    alone = by_name(PROBE.summarise(twins(table, rows), ctx))["flip_rate", "feature:who"]
    joined = by_name(PROBE.summarise(twins(table, rows, cluster=cluster), ctx))["flip_rate", "feature:who"]
    assert joined.value == alone.value
    assert joined.counts.clusters == 40
    assert joined.interval.high - joined.interval.low > 1.8 * (alone.interval.high - alone.interval.low)


def test_rare_identities_are_listed_and_not_compared(table, ctx):
    probe = Counterfactual(positive="yes", min_templates=4, permutations=50)
    reading = probe.summarise(twins(table, HAND), ctx)
    m = by_name(reading)
    assert ("score_shift", "group:who=c") not in m
    assert m["flip_rate", "feature:who"].value == 0.5
    assert any("Too few templates to compare in who: c (3)" in str(r) for r in reading.remarks)
    none = by_name(Counterfactual(positive="yes").summarise(twins(table, HAND), ctx))
    assert none["templates_compared", "feature:who"].value == 0
    assert isinstance(none["flip_rate", "feature:who"], Undefined)


grids = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc"), st.floats(0, 1)), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None)
@given(grids, st.permutations(["a", "b", "c"]), st.randoms())
def test_relabelled_identities_and_shuffled_rows_give_the_same(table, rows, names, shuffle):
    ctx = Context(instance="test", seed=7)
    named = [(f"t{t}", g, s) for t, g, s in rows]
    other = [(t, dict(zip("abc", names, strict=True))[g], s) for t, g, s in named]
    shuffle.shuffle(other)
    a, b = (by_name(PROBE.summarise(twins(table, r), ctx)) for r in (named, other))
    for name in ("flip_rate", "pair_flip_rate", "templates_compared", "largest_shift_gap"):
        one, two = (next((m for (n, _), m in found.items() if n == name), None) for found in (a, b))
        assert (one is None) == (two is None)
        if isinstance(one, Measurement) and isinstance(two, Measurement):
            assert one.value == pytest.approx(two.value, abs=1e-12)
            if one.interval is not None:
                assert one.interval.high == pytest.approx(two.interval.high, abs=1e-9)
        else:
            assert type(one) is type(two)


@settings(max_examples=100, deadline=None)
@given(grids)
def test_flip_rate_is_that_of_a_slow_obvious_count(table, rows):
    named = [(f"t{t}", g, s) for t, g, s in rows]
    frame = pd.DataFrame(named, columns=["t", "g", "s"])
    cells = frame.groupby(["t", "g"]).s.agg(["mean", "min", "max"])
    # Cells whose rows agree keep their class; others take that of the mean score, of which .5 is "no" (the first of equals).
    cells["yes"] = np.where(
        cells["min"] >= 0.5, True, np.where(cells["max"] < 0.5, False, cells["mean"] > 1 - cells["mean"])
    )
    sizes = cells.groupby("t").size()
    kept = cells[cells.index.get_level_values("t").isin(sizes[sizes >= 2].index)]
    while len(kept):
        rare = kept.groupby("g").size()
        kept = kept[kept.index.get_level_values("g").isin(rare[rare >= 2].index)]
        sizes = kept.groupby("t").size()
        good = kept[kept.index.get_level_values("t").isin(sizes[sizes >= 2].index)]
        if len(good) == len(kept) and not (rare < 2).any():
            break
        kept = good
    m = by_name(PROBE.summarise(twins(table, named), Context(instance="test")))
    found = m.get(("flip_rate", "feature:who"))
    if not len(kept):
        assert not isinstance(found, Measurement)
        return
    assert m["templates_compared", "feature:who"].value == kept.index.get_level_values("t").nunique()
    if isinstance(found, Measurement):
        assert found.value == pytest.approx((kept.groupby("t").yes.nunique() > 1).mean())


def test_largest_gap_covers_where_nothing_differs_and_where_something_does():
    """Misses at each end at most 2.5 %, by simulation; the lower end is 0 unless there is a gap."""
    rng = np.random.default_rng(5)
    codes = np.arange(60)
    for true in (0.0, 0.1):
        below = above = 0
        for _ in range(400):
            base = rng.beta(2, 2, size=(60, 1))
            scores = np.clip(base * 0.6 + 0.1 + rng.normal(0, 0.1, (60, 5)) + true * np.array([1, 0, 0, 0, 0]), -1, 2)
            gap = largest_gap(scores, codes, 0.95)
            below += gap.estimate.high < true - 1e-12
            above += gap.estimate.low > true + 1e-12
        # Binomial(400, .025) exceeds 18 with probability .008.
        assert below <= 18
        assert above <= 18


def subject_of(texts, score, **roles):
    frame = pd.DataFrame({"text": texts, **roles})
    data = AuditData.from_frame(frame, input="text", **{name: name for name in roles if name != "groups"})
    return CallableSubject(
        lambda asked: np.array([[1 - s, s] for s in map(score, asked)]),
        data,
        CallableSpec(classes=("no", "yes")),
    )


def noise(text: str) -> float:
    return 0.2 + 0.4 * (zlib.crc32(text.encode()) % 1000) / 1000


TEXTS = [f"{who} {did} {what} {n}." for n, (who, did, what) in enumerate(
    (who, did, what)
    for who in ("The woman", "A man", "She", "He", "My brother", "A Muslim teacher", "Two Christians", "An Asian man")
    for did in ("bought", "sold") for what in ("a house", "bread", "an old car")
)]  # fmt: skip
SWAPS = IdentitySwaps(positive="yes", permutations=400, examples=None)


def test_planted_bias_is_found(ctx):
    subject = subject_of(
        TEXTS, lambda t: noise(t) + 0.3 * any(w in t.split() for w in ("woman", "Woman", "She", "sister", "Sister"))
    )
    rows = SWAPS.collect(subject, ctx)
    reading = SWAPS.summarise(rows, ctx)
    m = by_name(reading)
    # 30 texts of the first five and 6 of the last name a woman or a man.
    assert m["templates_compared", "feature:gender"].value == 36
    assert m["coverage", "feature:gender"].value == 36 / 48
    assert m["score_shift", "group:gender=female"].value == pytest.approx(0.15, abs=0.05)
    assert m["score_shift", "group:gender=female"].interval.low > 0
    assert m["score_shift_p_value", "group:gender=female"].value < 0.01
    assert m["largest_shift_gap", "feature:gender"].interval.low > 0.1
    assert m["largest_shift_gap_p_value", "feature:religion"].value > 0.01
    pairs = next(e for e in reading.evidence if isinstance(e, TextPairs))
    assert pairs.pairs[0].before_label == "yes"
    shown = {t for p in pairs.pairs for t in (p.before, p.after)}
    assert shown <= set(rows["text"].to_pylist())


def test_chance_is_rarely_taken_for_bias(table):
    """The smallest adjusted p-value is at most .05 in about 5 % of unbiased data, and never much oftener."""
    rng = np.random.default_rng(11)
    probe = Counterfactual(positive="yes", permutations=199)
    wrong = gaps = 0
    for i in range(200):
        rows = [(f"t{t}", g, s) for t in range(20) for g, s in zip("abcd", rng.random(4), strict=True)]
        m = by_name(probe.summarise(twins(table, rows), Context(instance="test", seed=i)))
        wrong += min(x.value for (n, _), x in m.items() if n == "score_shift_p_value") <= 0.05
        gaps += m["largest_shift_gap_p_value", "feature:who"].value <= 0.05
    # Binomial(200, .05) exceeds 18 with probability .006.
    assert wrong <= 18
    assert gaps <= 18


def test_an_answer_that_ignores_who_is_meant_has_no_flips(ctx):
    reading = SWAPS.summarise(SWAPS.collect(subject_of(TEXTS, lambda t: 0.9 if t.endswith("7.") else 0.1), ctx), ctx)
    m = by_name(reading)
    assert m["flip_rate", "feature:gender"].value == 0
    gap = m["largest_shift_gap", "feature:gender"]
    assert gap.value == 0
    assert 0 < gap.interval.high < 0.25, "equal scores are not certainty about other texts"
    assert m["score_shift_p_value", "group:gender=female"].value == 1


def test_rows_hold_the_text_as_it_is_and_its_twins(ctx):
    texts = ["She left.", "He met her.", "They left.", "他走了。", "A German teacher"]
    subject = subject_of(texts, noise, label=["yes", "no", "no", "yes", None])
    probe = IdentitySwaps(positive="yes", min_templates=2, attributes=("gender",), permutations=50)
    rows = probe.collect(subject, ctx)
    got = {(r["row_id"], r["identity"], r["original"]): r["text"] for r in rows.to_pylist()}
    assert got == {
        ("0", "female", True): "She left.", ("0", "male", False): "He left.",
        ("3", "male", True): "他走了。", ("3", "female", False): "她走了。",
    }  # fmt: skip
    for r in rows.to_pylist():
        assert r["score_yes"] == pytest.approx(noise(r["text"]))
    reading = probe.summarise(rows, ctx)
    said = " ".join(map(str, reading.remarks))
    assert "2 of 5 texts hold no word of the lists" in said
    assert "two identities of one attribute are left out: gender 1" in said
    assert by_name(reading)["coverage", "feature:gender"].value == 2 / 5


def test_sampling_is_seeded_said_and_does_not_depend_on_order(ctx):
    probe = IdentitySwaps(positive="yes", min_templates=2, examples=10, attributes=("gender",), permutations=50)
    ids = [f"r{i}" for i in range(len(TEXTS))]
    a = probe.collect(subject_of(TEXTS, noise, id=ids), ctx)
    b = probe.collect(subject_of(TEXTS[::-1], noise, id=ids[::-1]), ctx)
    assert a["text"].to_pylist() == b["text"].to_pylist()
    assert len(set(a["row_id"].to_pylist())) == 10
    assert any("10 texts each were drawn" in str(r) for r in probe.summarise(a, ctx).remarks)
    assert by_name(probe.summarise(a, ctx))["coverage", "feature:gender"].value == 36 / 48


def test_terms_of_the_plan_are_swapped(ctx):
    probe = IdentitySwaps(
        positive="yes", lexicon="none", min_templates=2, permutations=50,
        terms={"region": {"north": ("northerner",), "south": ("southerner",)}, "pet": {"dog": ("dog",), "cat": ("cat",)}},
    )  # fmt: skip
    rows = probe.collect(subject_of(["A northerner she met.", "The Southerner left."], noise), ctx)
    assert [r["text"] for r in rows.to_pylist() if not r["original"]] == [
        "A southerner she met.",
        "The Northerner left.",
    ]
    m = by_name(probe.summarise(rows, ctx))
    assert m["coverage", "feature:region"].value == 1
    assert isinstance(m["flip_rate", "feature:pet"], Undefined), "what the plan asks for is never silent"


def test_answers_are_kept_for_the_lists_that_rewrote_the_texts(monkeypatch):
    before = source_digest(IdentitySwaps)
    assert IdentitySwaps.own_source == digest()
    monkeypatch.setattr(IdentitySwaps, "own_source", "other lists")
    source_digest.cache_clear()
    assert source_digest(IdentitySwaps) != before
    source_digest.cache_clear()


def test_nothing_to_swap_is_undefined(ctx):
    reading = SWAPS.summarise(SWAPS.collect(subject_of(["one", "two"], noise), ctx), ctx)
    assert reading.measurements
    assert all(isinstance(m, Undefined) for m in reading.measurements)


def test_three_classes_are_read_one_by_one(table, ctx):
    scores = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    made = table([None] * 12, [("x", "y", "z")[i] for i in scores.argmax(axis=1)], classes=("x", "y", "z"), scores=scores,
                 groups={"who": ["a", "b"] * 6}).append_column("counterpart", pa.array([str(i // 2) for i in range(12)]))  # fmt: skip
    m = by_name(Counterfactual(min_templates=2, permutations=50).summarise(made, ctx))
    for k, name in enumerate("xyz"):
        expected = (scores[::2, k] - scores[1::2, k]).mean() / 2
        assert m["score_shift", f"group:who=a, class:{name}"].value == pytest.approx(expected)
    assert ("flip_rate", "feature:who") in m


def test_a_threshold_decides_answers_of_several_rows(table, ctx):
    rows = [("t1", "a", 0.6), ("t1", "a", 0.2), ("t1", "b", 0.2), ("t2", "a", 0.1), ("t2", "b", 0.1)]
    made = twins(table, rows)
    meta = PredictionsMeta(task="text-classification", classes=("no", "yes"), threshold=0.35, positive="yes")
    strict = made.replace_schema_metadata(meta.encode())
    assert by_name(PROBE.summarise(made, ctx))["flip_rate", "feature:who"].value == 0
    assert by_name(PROBE.summarise(strict, ctx))["flip_rate", "feature:who"].value == 0.5


def test_what_cannot_be_asked_is_refused(ctx):
    for options in ({"min_templates": 1}, {"permutations": 0}, {"features": ()}, {"features": ("a", "a")}):
        with pytest.raises(ProbeError):
            Counterfactual(**options)
    for options in (
        {"min_templates": 1}, {"permutations": 0}, {"examples": 0}, {"attributes": ("colour",)}, {"attributes": ()},
        {"lexicon": "none"}, {"terms": {"a": {"x": ("one",)}}},
    ):  # fmt: skip
        with pytest.raises(ProbeError):
            IdentitySwaps(**options)
    with pytest.raises(ProbeError, match="which class is positive"):
        IdentitySwaps().collect(subject_of(TEXTS, noise), ctx)
    with pytest.raises(ProbeError, match="no class of the subject"):
        Counterfactual(positive="maybe").collect(subject_of(TEXTS, noise), ctx)
    images = CallableSubject(
        lambda asked: np.array([[0.5, 0.5]] * len(asked)),
        AuditData.from_frame(pd.DataFrame({"i": [{"x": 1}, {"x": 2}]}), input="i"), CallableSpec(classes=("no", "yes")),
    )  # fmt: skip
    with pytest.raises(Unavailable):
        IdentitySwaps(positive="yes").collect(images, ctx)


def test_a_fake_subject_with_twins_gives_pairs_of_texts(ctx):
    top = [0.9, 0.2, 0.8, 0.7]
    subject = FakeSubject(
        [[1 - s, s] for s in top], ("no", "yes"), inputs=["a x", "b x", "a y", "b y"], groups={"who": ["a", "b", "a", "b"]},
        roles={"counterpart": ["x", "x", "y", "y"]},
    )  # fmt: skip
    reading = PROBE.summarise(PROBE.collect(subject, ctx), ctx)
    (pairs,) = (e for e in reading.evidence if isinstance(e, TextPairs))
    (pair,) = pairs.pairs
    assert (pair.before, pair.after, pair.before_label, pair.after_label) == ("a x", "b x", "yes", "no")


@pytest.mark.skipif(not HATECHECK.is_file(), reason="PLUMBLINE_DATA has no HateCheck")
def test_hatecheck(ctx):
    frame = pd.read_csv(HATECHECK)
    data = AuditData.from_frame(
        frame, input="test_case", label="label_gold", groups=["target_ident", "functionality"], id="case_id",
        cluster="templ_id", counterpart="templ_id",
    )  # fmt: skip

    def score(text: str) -> float:
        return min(0.25 + noise(text) + 0.15 * ("Muslim" in text), 1.0)

    subject = CallableSubject(
        lambda asked: np.array([[1 - s, s] for s in map(score, asked)]), data,
        CallableSpec(classes=("non-hateful", "hateful")),
    )  # fmt: skip
    probe = Counterfactual(positive="hateful", permutations=200)
    reading = probe.summarise(probe.collect(subject, ctx), ctx)
    m = by_name(reading)
    frame["s"] = frame.test_case.map(score)
    frame["yes"] = frame.s > 1 - frame.s
    named = frame[frame.target_ident.notna()]
    cells = named.groupby(["templ_id", "target_ident"]).agg(s=("s", "mean"), low=("yes", "min"), high=("yes", "max"))
    cells["yes"] = np.where(cells.low == cells.high, cells.low, cells.s > 1 - cells.s)
    wide = cells.s.unstack().dropna(how="any")
    assert wide.shape == (442, 7)
    whole = cells[cells.index.get_level_values("templ_id").isin(wide.index)]
    at = "feature:target_ident"
    assert m["templates_compared", at].value == 442
    assert m["templates_left_out", at].value == 0
    assert m["flip_rate", at].value == pytest.approx((whole.groupby("templ_id").yes.nunique() > 1).mean())
    assert m["flip_rate", at].counts.clusters is None, "a cluster that is the template itself is no further price"
    for who, shift in wide.sub(wide.mean(axis=1), axis=0).mean().items():
        assert m["score_shift", f"group:target_ident={who}"].value == pytest.approx(shift, abs=1e-12)
    assert m["score_shift_p_value", "group:target_ident=Muslims"].value < 0.05
    assert m["largest_shift_gap", at].value == pytest.approx(wide.mean().max() - wide.mean().min(), abs=1e-12)
    assert any("Twins do not differ in functionality" in str(r) for r in reading.remarks)
