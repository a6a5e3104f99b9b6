"""Which rows are drawn: every kind is there, the seed decides, and nothing else does."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import ProbeError
from probes.explanation.sampling import OF_LABEL, draw
from probes.probe import Context


def predictions(table, rows=1000, seed=0):
    """Two classes, 3 % of rows wrong, one group of 0.5 %."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["no", "yes"], rows, p=[0.9, 0.1])
    said = np.where(rng.random(rows) < 0.03, np.where(labels == "no", "yes", "no"), labels)
    groups = rng.choice(["a", "b", "rare"], rows, p=[0.6, 0.395, 0.005])
    return table(labels.tolist(), said.tolist(), groups={"g": groups.tolist()})


def kinds(table, positions):
    rows = table.take(list(positions)).to_pylist()
    outcome = ["right" if row["label"] == row["prediction"] else "wrong" for row in rows]
    return [(row["label"], o) for row, o in zip(rows, outcome, strict=True)], {row["group_g"] for row in rows}


def test_labels_groups_and_outcomes_are_all_there(table):
    whole = predictions(table)
    drawn = draw(whole, 100, Context(instance="x", seed=7))
    assert len(set(drawn.positions)) == len(drawn.positions) == 100
    cells, groups = kinds(whole, drawn.positions)
    there, _ = kinds(whole, range(len(whole)))
    for cell in set(there):
        assert cells.count(cell) >= min(OF_LABEL, there.count(cell))
    assert groups == {"a", "b", "rare"}
    assert drawn.rule.fill().startswith("100 of 1000 rows, drawn with seed 7: ")


def test_the_plans_seed_decides_and_the_instance_does_not(table):
    whole = predictions(table)
    first = draw(whole, 60, Context(instance="attribution", seed=7))
    assert draw(whole, 60, Context(instance="faithfulness", seed=7, level=0.9)) == first
    assert draw(whole, 60, Context(instance="attribution", seed=8)).positions != first.positions


def test_a_small_table_is_taken_whole(table):
    drawn = draw(predictions(table, rows=20), 20, Context(instance="x"))
    assert sorted(drawn.positions) == list(range(20))
    assert drawn.rule.fill() == "All 20 rows are explained."


def test_a_sample_too_small_for_every_kind_says_so(table):
    drawn = draw(predictions(table), 3, Context(instance="x"))
    assert len(drawn.positions) == 3
    assert "too small" in drawn.rule.fill()


def test_rows_without_a_label_are_covered_by_what_was_said(table):
    whole = table([None] * 50, ["no"] * 49 + ["yes"])
    drawn = draw(whole, 10, Context(instance="x"))
    assert 49 in drawn.positions


def test_half_of_the_sample_is_left_to_chance(table):
    """A label's ten rows must not crowd out the rest: with 12 rows, at most the first of each kind goes beyond half."""
    whole = predictions(table)
    drawn = draw(whole, 24, Context(instance="x", seed=3))
    assert int(drawn.rule.params["chosen"]) <= 12


def test_nothing_to_draw_is_an_error(table):
    with pytest.raises(ProbeError, match="at least 1"):
        draw(predictions(table), 0, Context(instance="x"))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 120), size=st.integers(1, 90))
def test_the_order_of_the_table_does_not_matter(table, seed, rows, size):
    whole = predictions(table, rows=rows, seed=seed % 7)
    order = np.random.default_rng(seed).permutation(rows)
    shuffled = whole.take(pa.array(order))
    ctx = Context(instance="x", seed=1)
    ids = whole["row_id"].to_pylist()
    expected = [ids[i] for i in draw(whole, size, ctx).positions]
    found = [shuffled["row_id"][i].as_py() for i in draw(shuffled, size, ctx).positions]
    assert found == expected
    assert len(found) == min(rows, size)
