"""The search for badly served slices: its statistics by hand, its silence where there is nothing, what it finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from probes.evidence import Axis, Measurement, Undefined, slice_name
from probes.fake_subject import FakeSubject
from probes.multiplicity import holm
from probes.performance.cues import length_bins, read_cues
from probes.performance.slices import Slices
from probes.performance.slicing import Compared, Trait, p_value, search, split
from probes.probe import Context
from probes.registry import create

ROWS = 1600
FILLER = ["plain", "words", "that", "say", "nothing", "about", "it"]


def subject(
    seed: int = 0, *, error: float = 0.15, planted: float | None = None, per_cluster: int = 1, rows: int = ROWS
):
    """Answers that are wrong at random; ``planted`` is the error rate of women's texts with the word rowing."""
    rng = np.random.default_rng(seed)
    clusters = np.arange(rows) // per_cluster
    gender = rng.choice(["f", "m"], rows)
    age = rng.choice(["old", "mid", "young"], rows)
    rowing = rng.random(rows) < 0.4
    texts = [
        " ".join([*rng.choice(FILLER, 3 + i % 7), *(["Rowing"] if r else []), f"n{i}"]) for i, r in enumerate(rowing)
    ]
    truth = rng.integers(0, 2, rows)
    rate = np.full(rows, error)
    if planted is not None:
        rate[(gender == "f") & rowing] = planted
    luck = rng.beta(0.5, 0.5, rows)[clusters] if per_cluster > 1 else rng.random(rows)
    wrong = luck < rate
    said = np.where(wrong, 1 - truth, truth)
    top = np.where(said == 1, 0.8, 0.2)
    return FakeSubject(
        np.column_stack([1 - top, top]),
        ("no", "yes"),
        labels=np.array(["no", "yes"])[truth].tolist(),
        inputs=texts,
        groups={"gender": gender.tolist(), "age": age.tolist()},
        roles={
            "id": [f"r{i}" for i in range(rows)],
            **({"cluster": clusters.astype(str).tolist()} if per_cluster > 1 else {}),
        },
    )


def read(given: FakeSubject, ctx: Context, **options):
    probe = create("performance.slices", options)
    rows = probe.collect(given, ctx)
    return probe.summarise(rows, ctx), rows


def value(reading, name: str) -> float:
    return next(m.value for m in reading.measurements if m.name == name)


def test_cues_by_hand():
    cues = read_cues(["Old Boat!", "the old BOAT", "a tent", 7, {"a": "old", "b": "x"}], most=2, least_rows=2)
    assert cues.lengths.tolist() == [9, 12, 6, -1, 5]
    assert {w: f.tolist() for w, f in cues.words.items()} == {"boat": [True, True, False, False, False]}
    bins = length_bins(np.array([1, 2, 3, 4, 5, 6, 7, 8, -1]))
    assert [(low, high, int(rows.sum())) for low, high, rows in bins] == [(1, 2, 2), (3, 4, 2), (5, 6, 2), (7, 8, 2)]
    assert length_bins(np.array([4, 4, 4])) == []


def test_p_value_is_fishers_and_holm_is_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rows = np.array([True] * 6 + [False] * 14)
    wrong = np.array([True] * 4 + [False] * 2 + [True] * 2 + [False] * 12)
    assert p_value(rows, wrong, None) == pytest.approx(stats.fisher_exact([[4, 2], [2, 12]], "greater").pvalue)
    assert p_value(np.zeros(20, dtype=bool), wrong, None) == 1.0
    given = [0.04, 0.001, 0.03, 0.2]
    assert holm(given) == pytest.approx(multipletests(given, method="holm")[1])
    assert holm([]).tolist() == []


def test_copies_of_rows_in_clusters_are_no_further_evidence():
    rng = np.random.default_rng(1)
    rows, wrong = rng.random(200) < 0.3, rng.random(200) < 0.3
    wrong[rows] |= rng.random(int(rows.sum())) < 0.25
    copied = p_value(np.repeat(rows, 5), np.repeat(wrong, 5), np.repeat(np.arange(200), 5))
    assert p_value(np.repeat(rows, 5), np.repeat(wrong, 5), None) < copied / 10
    assert copied == pytest.approx(p_value(rows, wrong, None), rel=0.5)


def test_search_by_hand():
    """Ten rows: trait b holds every error, so it is proposed and its subset is not."""
    wrong = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], dtype=bool)
    masks = {"a": [0, 1, 5, 6, 7], "b": [0, 1, 2, 3], "c": [8, 9]}
    traits = []
    for name, at in masks.items():
        rows = np.zeros(10, dtype=bool)
        rows[at] = True
        traits.append(Trait(axis=Axis(kind="setting", name=name), rows=rows, dimension=name))
    found = search(traits, wrong, None, min_rows=2, most=5, alpha=0.05)
    assert found.tried == 4  # a, b, c, and a with b; the other pairs hold no row
    assert [c.traits for c in found.candidates] == [(1,), (0,)]
    assert (found.candidates[0].n, found.candidates[0].errors) == (4, 3)


def test_figures_are_those_of_the_held_out_half(ctx):
    reading, rows = read(subject(planted=0.6), ctx)
    ids = np.array(rows.column("content").to_pylist())
    first = split(np.unique(ids, return_inverse=True)[1], ctx.rng("halves"))
    assert abs(int(first.sum()) - ROWS / 2) <= 1
    wrong = np.array(rows.column("label").to_pylist()) != np.array(rows.column("prediction").to_pylist())
    women = np.array(rows.column("group_gender").to_pylist()) == "f"
    rowing = np.array(rows.column("word_rowing").to_pylist(), dtype=bool)
    worst = next(m for m in reading.measurements if m.name == "worst_slice_error")
    inside = (women & rowing)[~first]
    assert worst.value == pytest.approx(wrong[~first][inside].mean())
    assert worst.counts.denominator == int(inside.sum())
    gap = next(m for m in reading.measurements if m.name == "worst_slice_gap")
    assert gap.value == pytest.approx(wrong[~first][inside].mean() - wrong[~first][~inside].mean())
    compared = Compared.of(inside, wrong[~first], None)
    together = len(reading.evidence[0].rows)
    confirmed = next(m for m in reading.measurements if m.name == "slice_gap")
    assert confirmed.interval.high - confirmed.interval.low > gap.interval.high - gap.interval.low
    assert confirmed.interval.low == pytest.approx(compared.gap(1 - 0.05 / together).low)


def test_a_planted_slice_is_found_named_and_confirmed(ctx):
    reading, rows = read(subject(planted=0.5), ctx)
    assert value(reading, "slices_confirmed") >= 1
    names = [slice_name(m.slice) for m in reading.measurements if m.name == "slice_error"]
    assert "group:gender=f, setting:word=rowing" in names
    assert any("group:gender=f, setting:word=rowing" in str(r) for r in reading.remarks)
    assert value(reading, "slices_tried") > 50
    assert not {"input", "text"} & set(rows.column_names)


def test_shuffled_rows_give_the_same_reading(ctx):
    for per_cluster in (1, 4):
        reading, rows = read(subject(planted=0.5, per_cluster=per_cluster), ctx)
        shuffled = rows.take(np.random.default_rng(5).permutation(len(rows)))
        again = Slices().summarise(shuffled, ctx)
        for a, b in zip(reading.measurements, again.measurements, strict=True):
            assert (a.name, a.slice, a.counts) == (b.name, b.slice, b.counts)
            if isinstance(a, Measurement) and a.interval is not None:
                assert a.value == pytest.approx(b.value, abs=1e-12)
                assert a.interval.low == pytest.approx(b.interval.low, abs=1e-9)


@pytest.mark.parametrize("per_cluster", [1, 8])
def test_where_nothing_is_planted_false_confirmations_stay_within_alpha(per_cluster):
    """Family-wise: at most 5 % of audits confirm anything. 300 of them; 26 are beyond what chance allows at 5 %."""
    tries, false, covered = 300, 0, 0
    probe = Slices(min_rows=20)
    given = subject(7, per_cluster=per_cluster, rows=600)
    table = probe.collect(given, Context(instance="null", seed=0))
    labels = np.array(table.column("label").to_pylist())
    other = np.where(labels == "no", "yes", "no")
    clusters = np.arange(600) // per_cluster
    at = table.column_names.index("prediction")
    for seed in range(tries):
        rng = np.random.default_rng(seed)
        luck = rng.random(600) if per_cluster == 1 else rng.beta(0.5, 0.5, 600)[clusters]
        wrong = rng.random(600) < (0.2 if per_cluster == 1 else luck * 0.4)
        said = np.where(wrong, other, labels)
        rows = table.set_column(at, "prediction", [said.tolist()]).replace_schema_metadata(table.schema.metadata)
        reading = probe.summarise(rows, Context(instance="null", seed=seed))
        false += value(reading, "slices_confirmed") > 0
        gap = next(m for m in reading.measurements if m.name == "worst_slice_gap")
        covered += isinstance(gap, Undefined) or gap.interval.low <= 0 <= gap.interval.high
    assert false <= stats.binom.isf(0.001, tries, 0.05)
    assert covered >= stats.binom.ppf(0.001, tries, 0.95)


def test_without_inputs_it_looks_at_groups_and_labels(table, ctx):
    rng = np.random.default_rng(3)
    labels = rng.choice(["no", "yes"], 600)
    gender = rng.choice(["f", "m"], 600)
    wrong = rng.random(600) < np.where(gender == "f", 0.45, 0.1)
    rows = table(
        labels.tolist(),
        np.where(wrong, np.where(labels == "no", "yes", "no"), labels).tolist(),
        groups={"gender": gender.tolist()},
    )
    reading = Slices().summarise(rows, ctx)
    assert value(reading, "slices_tried") == 8  # f, m, no, yes, and four pairs
    assert next(slice_name(m.slice) for m in reading.measurements if m.name == "slice_error").startswith(
        "group:gender=f"
    )


def test_what_cannot_be_said_is_undefined(table, ctx):
    few = Slices().summarise(table(["no", "yes"] * 20, ["no"] * 40), ctx)
    named = {m.name: m for m in few.measurements}
    assert named["slices_tried"].value == 0
    for name in ("slices_confirmed", "worst_slice_error", "worst_slice_gap"):
        assert isinstance(named[name], Undefined)
    none = Slices().summarise(table([None] * 40, ["no"] * 40), ctx)
    assert none.measurements
    assert all(isinstance(m, Undefined) for m in none.measurements)
