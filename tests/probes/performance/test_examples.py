"""Examples: which rows are shown, that the order of rows does not matter, and that raw texts stay out of reports."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import audit
from audit.verify import verify
from fine_tune.data import AuditData
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Table, Undefined
from probes.fake_subject import FakeSubject
from probes.performance.examples import Examples
from probes.probe import Context
from probes.subject import PredictionsSubject

CLASSES = ("a", "b", "c")


def subject(order: np.ndarray | None = None) -> FakeSubject:
    """40 rows labelled a, 16 b, 4 c; every fourth answer is wrong; the last row has no label."""
    labels: list[str | None] = ["a"] * 40 + ["b"] * 16 + ["c"] * 4
    said = [CLASSES[(CLASSES.index(y or "a") + (i % 4 == 0)) % 3] for i, y in enumerate(labels)]
    scores = np.array([[0.8 if c == s else 0.1 for c in CLASSES] for s in said])
    labels[-1] = None
    ids, texts = [f"r{i:02d}" for i in range(60)], [f"words of {i}" for i in range(60)]
    at = np.arange(60) if order is None else order
    return FakeSubject(
        scores[at],
        CLASSES,
        labels=[labels[i] for i in at],
        inputs=[texts[i] for i in at],
        roles={"id": [ids[i] for i in at]},
    )


def test_labels_take_turns_on_both_sides(ctx: Context) -> None:
    rows = Examples(wrong=7, right=5).collect(subject(), ctx)
    found = rows.to_pylist()
    assert Counter(row["outcome"] for row in found) == {"wrong": 7, "right": 5}
    assert all((row["label"] == row["prediction"]) == (row["outcome"] == "right") for row in found)
    # Of 10 + 4 + 1 wrong rows: c once, then a and b in turn.
    assert Counter(row["label"] for row in found[:7]) == {"a": 3, "b": 3, "c": 1}
    assert [row["label"] for row in found[7:]] == ["a", "b", "c", "a", "b"]
    assert all(row["text"] == f"words of {int(row['row_id'][1:])}" for row in found)
    assert all(row["score"] == 0.8 for row in found)


def test_counts_are_exact(ctx: Context) -> None:
    probe = Examples(wrong=100, right=2)
    reading = probe.summarise(probe.collect(subject(), ctx), ctx)
    values = {(m.name, m.slice[0].name): m for m in reading.measurements}
    assert all(isinstance(m, Measurement) and m.interval is None and m.counts.n == 59 for m in values.values())
    assert {key: m.value for key, m in values.items()} == {
        ("examples_shown", "wrong"): 15, ("rows_to_choose_from", "wrong"): 15,
        ("examples_shown", "right"): 2, ("rows_to_choose_from", "right"): 44,
    }  # fmt: skip
    assert "2 of 44 rows, drawn at random with seed 7" in reading.evidence[1].title.fill()


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter(ctx: Context, seed: int) -> None:
    shuffled = subject(np.random.default_rng(seed).permutation(60))
    assert Examples().collect(shuffled, ctx).equals(Examples().collect(subject(), ctx))


def test_the_seed_chooses(ctx: Context) -> None:
    first = Examples().collect(subject(), ctx)["row_id"].to_pylist()
    assert first != Examples().collect(subject(), Context(instance="test", seed=8))["row_id"].to_pylist()
    assert len(set(first)) == len(first)


def test_nothing_wrong_is_no_error(ctx: Context) -> None:
    perfect = FakeSubject([[0.9, 0.1], [0.2, 0.8]], ("no", "yes"), labels=["no", "yes"])
    probe = Examples()
    reading = probe.summarise(probe.collect(perfect, ctx), ctx)
    assert [m.value for m in reading.measurements if isinstance(m, Measurement)] == [0, 0, 2, 2]
    assert len(reading.evidence) == 1
    nothing = Examples(wrong=0, right=0)
    reading = nothing.summarise(nothing.collect(perfect, ctx), ctx)
    assert all(isinstance(m, Undefined) for m in reading.measurements)


def test_what_cannot_be_shown_is_declined(ctx: Context) -> None:
    table = subject().predictions(ctx)
    with pytest.raises(Unavailable, match="no inputs to show"):
        Examples().collect(PredictionsSubject.from_table(table), ctx)
    frame = pd.DataFrame({"x": [b"1", b"2"], "y": ["a", "b"]})
    data = AuditData.from_frame(frame, input="x", label="y")
    with pytest.raises(Unavailable, match="cannot be shown as text-classification"):
        Examples().collect(PredictionsSubject.from_frame(pd.DataFrame({"prediction": ["a", "a"]}), data), ctx)
    with pytest.raises(ProbeError, match="from 0 to 200"):
        Examples(wrong=-1)


@pytest.mark.parametrize("shown", [True, False])
def test_raw_texts_appear_only_where_the_plan_allows(tmp_path: Path, shown: bool) -> None:
    frame = pd.DataFrame(
        {
            "text": [f"secret phrase {i}" for i in range(40)],
            "label": ["no", "yes"] * 20,
            "prediction": ["no", "no", "yes", "yes"] * 10,
        }
    )
    frame.to_csv(tmp_path / "scores.csv", index=False)
    (tmp_path / "plan.yaml").write_text(
        "schema: plumbline.plan/v1\nname: texts\nsubject: {predictions: scores.csv}\n"
        "data: {audit: {source: scores.csv, input: text, label: label}}\n"
        f"probes: {{examples: {{probe: performance.examples}}}}\ninclude_text: {str(shown).lower()}\n"
    )
    result = audit.run_plan(tmp_path / "plan.yaml", tmp_path / "run", cache=tmp_path / "cache", progress=False)
    finding = result.record.finding("examples")
    assert finding is not None
    assert finding.reading is not None
    table = finding.reading.evidence[0]
    assert isinstance(table, Table)
    assert [str(row[table.raw[0]])[:13] for row in table.rows] == ["secret phrase"] * 12
    page = (tmp_path / "run" / "report.html").read_text()
    assert ("secret phrase" in page) == shown
    assert ("text, redacted" in page) != shown
    assert verify(tmp_path / "run").ok


def test_rows_survive_as_a_table(ctx: Context) -> None:
    rows = Examples().collect(subject(), ctx)
    assert isinstance(rows, pa.Table)
    assert rows["png"].null_count == rows.num_rows
