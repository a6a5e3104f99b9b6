"""Rows are weighted as Kamiran and Calders define it, drawn by group as promised, and a biased set shows the difference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import DataError, RecipeError
from fine_tune.group_balance import BalancedDraws, GroupedRows, group_rows, reweighing
from fine_tune.recipe import Recipe, TrainingRecord
from fine_tune.splits import balanced_draws, row_weights
from fine_tune.train import fine_tune


def rows(cells: dict[tuple[str | None, str], int], weights: list[float] | None = None) -> AuditData:
    """``cells``: rows by group and label."""
    pairs = [pair for pair, n in cells.items() for _ in range(n)]
    frame = pd.DataFrame(pairs, columns=["sex", "label"]).assign(text=[f"text {i}" for i in range(len(pairs))])
    frame["age"] = ["old", "young"] * (len(frame) // 2) + ["old"] * (len(frame) % 2)
    given: dict[str, Any] = {} if weights is None else {"weight": "weight"}
    if weights is not None:
        frame["weight"] = weights
    return AuditData.from_frame(frame, input="text", label="label", groups=["sex", "age"], name="rows", **given)


def record_of(made: Checkpoint) -> TrainingRecord:
    assert made.training_record is not None
    return made.training_record


def test_the_papers_example() -> None:
    """Ten applicants: two of five women and four of five men have the label +."""
    data = rows({("f", "+"): 2, ("f", "-"): 3, ("m", "+"): 4, ("m", "-"): 1})
    found = row_weights(data, range(10), Recipe(base="x", reweigh=("sex",)))
    assert found is not None
    weights, note = found
    assert {(c.group, c.label): (c.rows, pytest.approx(c.weight)) for c in note.cells} == {
        (("f",), "+"): (2, 0.5 * 0.6 / 0.2),
        (("f",), "-"): (3, 0.5 * 0.4 / 0.3),
        (("m",), "+"): (4, 0.5 * 0.6 / 0.4),
        (("m",), "-"): (1, 0.5 * 0.4 / 0.1),
    }
    assert weights == pytest.approx([1.5] * 2 + [2 / 3] * 3 + [0.75] * 4 + [2.0])
    assert note.ungrouped == 0
    assert note.effective_rows == pytest.approx(100 / np.square(weights).sum())


counted = st.lists(st.integers(1, 6), min_size=6, max_size=6)


@given(counts=counted, seed=st.integers(0, 99), by_class=st.sampled_from([None, "balanced", {"+": 3.0, "-": 0.5}]))
def test_label_and_group_are_independent_afterwards(counts: list[int], seed: int, by_class: Any) -> None:
    """By definition, with sample and class weights too: every group has the same weighted share of each label."""
    cells = dict(zip([(g, y) for g in "abc" for y in "+-"], counts, strict=True))
    own = np.random.default_rng(seed).uniform(0.1, 2, sum(counts)).tolist()
    data = rows(cells, own)
    found = row_weights(data, range(len(data)), Recipe(base="x", reweigh=("sex",), class_weights=by_class))
    assert found is not None
    weights, groups, labels = np.array(found[0]), np.array(data.group("sex")), np.array(data.labels)
    shares = [weights[(groups == g) & (labels == "+")].sum() / weights[groups == g].sum() for g in "abc"]
    assert shares == pytest.approx([shares[0]] * 3)
    assert weights.mean() == pytest.approx(1)
    if by_class is None:
        plain = np.array(own)
        for name in "abc":
            assert weights[groups == name].sum() / len(own) == pytest.approx(plain[groups == name].sum() / plain.sum())


@given(counts=counted)
def test_relabelled_groups_give_the_same_weights(counts: list[int]) -> None:
    def weights(names: str) -> list[float]:
        data = rows(dict(zip([(g, y) for g in names for y in "+-"], counts, strict=True)))
        found = row_weights(data, range(len(data)), Recipe(base="x", reweigh=("sex",)))
        assert found is not None
        return found[0]

    assert weights("abc") == pytest.approx(weights("zxy"))


def test_rows_without_a_group_keep_the_weight_one_and_are_counted() -> None:
    data = rows({("f", "+"): 1, ("f", "-"): 3, ("m", "+"): 3, ("m", "-"): 1, (None, "+"): 4})
    grouped = group_rows(data, range(12), ("sex",), "reweigh")
    factors, _ = reweighing(grouped, [str(y) for y in data.labels], np.ones(12))
    assert factors[8:].tolist() == [1.0] * 4
    assert factors[:8].tolist() == pytest.approx([2.0] + [2 / 3] * 3 + [2 / 3] * 3 + [2.0])
    found = row_weights(data, range(12), Recipe(base="x", reweigh=("sex",)))
    assert found is not None
    assert found[1].ungrouped == 4


def test_only_the_rows_given_count() -> None:
    data = rows({("f", "+"): 4, ("f", "-"): 4, ("m", "+"): 4, ("m", "-"): 4})
    kept = [0, 4, 5, 6, 8, 9, 10, 12]
    found = row_weights(data, kept, Recipe(base="x", reweigh=("sex",)))
    assert found is not None
    assert [c.rows for c in found[1].cells] == [1, 3, 3, 1]


def test_features_are_crossed() -> None:
    data = rows({("f", "+"): 4, ("f", "-"): 4, ("m", "+"): 4, ("m", "-"): 4})
    grouped = group_rows(data, range(16), ("sex", "age"), "balance")
    assert grouped.names == (("f", "old"), ("f", "young"), ("m", "old"), ("m", "young"))


def test_what_cannot_be_done_is_named() -> None:
    data = rows({("f", "+"): 2, ("m", "+"): 2, ("m", "-"): 2})
    with pytest.raises(DataError, match=r"no training row counts for f with -"):
        row_weights(data, range(6), Recipe(base="x", reweigh=("sex",)))
    with pytest.raises(DataError, match=r"'race'.* are 'sex', 'age'"):
        row_weights(data, range(6), Recipe(base="x", reweigh=("race",)))
    bare = AuditData.from_frame(pd.DataFrame({"text": ["a", "b"], "label": ["+", "-"]}), input="text", label="label")
    with pytest.raises(DataError, match="sensitive features of data frame are none"):
        balanced_draws(bare, range(2), Recipe(base="x", balance=("sex",)))
    with pytest.raises(DataError, match="fall into 1 group"):
        balanced_draws(data, range(2), Recipe(base="x", balance=("sex",)))
    with pytest.raises(RecipeError, match="reweigh beside balance"):
        Recipe.of({"base": "x", "reweigh": ["sex"], "balance": ["age"]})
    with pytest.raises(RecipeError, match="names a feature twice"):
        Recipe.of({"base": "x", "balance": ["sex", "sex"]})


@given(
    codes=st.lists(st.integers(-1, 3), min_size=8, max_size=60).filter(lambda c: {0, 1, 2, 3} <= set(c)),
    seed=st.integers(0, 2**31),
)
def test_a_pass_draws_every_group_equally_often(codes: list[int], seed: int) -> None:
    grouped = GroupedRows(codes=np.array(codes), names=(("a",), ("b",), ("c",), ("d",)))
    draws = BalancedDraws(grouped=grouped)
    order = draws.order(seed)
    assert len(order) == len(draws) == len(codes)
    assert draws.order(seed) == order
    times = Counter(order)
    assert all(times[i] == 1 for i, c in enumerate(codes) if c < 0)
    by_group = Counter(codes[i] for i in order if codes[i] >= 0)
    assert max(by_group.values()) - min(by_group.values()) <= 1
    for g in range(4):
        own = [times[i] for i, c in enumerate(codes) if c == g]
        assert max(own) - min(own) <= 1


def test_the_trainers_order_is_that_of_the_draws() -> None:
    """From torch's generator, so that a state of it draws the pass again."""
    import torch

    from fine_tune.trainer import DrawnRows, Order

    grouped = GroupedRows(codes=np.array([0] * 30 + [1] * 6), names=(("a",), ("b",)))
    torch.manual_seed(3)
    order = Order(DrawnRows(BalancedDraws(grouped=grouped)), 0, 1)
    first, second = list(order), list(order)
    assert first != second
    assert sum(i >= 30 for i in first) == 18
    torch.manual_seed(3)
    assert list(Order(DrawnRows(BalancedDraws(grouped=grouped)), 0, 1)) == first
    # With several processes, from the seed and the number of the pass, whatever torch's own generator did.
    shared = [list(Order(DrawnRows(BalancedDraws(grouped=grouped)), 5, 2)) for _ in range(2)]
    assert shared[0] == shared[1]


def biased(n: int = 240) -> pd.DataFrame:
    """Good work earns the label; four of five women with good work do not get it."""
    lines = []
    for i in range(n):
        she, good = i % 2 == 0, i // 2 % 2 == 0
        label = "positive" if good and not (she and i // 4 % 5) else "negative"
        adjective = ("great", "fine")[i // 4 % 2] if good else ("awful", "bad")[i // 4 % 2]
        lines.append((f"{'she' if she else 'he'} was {adjective}", label, "woman" if she else "man", good))
    return pd.DataFrame(lines, columns=["text", "label", "gender", "good"])


def test_reweighing_lowers_the_gap_of_a_model_trained_on_biased_labels(tiny_base: Path, tmp_path: Path) -> None:
    from probes.checkpoint_subject import CheckpointSubject
    from probes.probe import Context

    frame = biased()
    data = AuditData.from_frame(frame, input="text", label="label", groups=["gender"], name="biased")
    gaps = {}
    for name, options in {"plain": {}, "reweighed": {"reweigh": ["gender"]}}.items():
        asked = Recipe.of(
            {"base": str(tiny_base), "steps": 120, "batch_size": 24, "learning_rate": 0.003, "seed": 1, **options}
        )
        made = fine_tune(asked, data, tmp_path / name, progress=False)
        table = CheckpointSubject(made, data).predictions(Context(instance="x"))
        scores = np.array(table.column("score_positive").to_pylist())
        good, woman = frame.good.to_numpy(), (frame.gender == "woman").to_numpy()
        gaps[name] = float(scores[good & ~woman].mean() - scores[good & woman].mean())
        if options:
            note = record_of(made).weighting
            assert note is not None
            assert [(c.group, c.label, c.rows) for c in note.cells] == [
                (("man",), "negative", 60), (("man",), "positive", 60),
                (("woman",), "negative", 108), (("woman",), "positive", 12),
            ]  # fmt: skip
            card = (made.folder / "README.md").read_text()
            assert "## Weights by group" in card
            assert "| woman | positive | 12 | 3 |" in card
    assert gaps["plain"] > 0.5
    assert gaps["reweighed"] < gaps["plain"] / 2


def test_balanced_draws_are_recorded(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    asked = Recipe.of({"base": str(tiny_base), "steps": 2, "batch_size": 8, "balance": ["gender"]})
    made = fine_tune(asked, review_data, tmp_path / "out", progress=False)
    note = record_of(made).balancing
    assert note is not None
    assert [(g.group, g.rows, g.draws) for g in note.groups] == [(("man",), 16, 16.0), (("woman",), 16, 16.0)]
    assert note.ungrouped == 16
    assert "## Draws by group" in (made.folder / "README.md").read_text()
    assert Recipe.of(record_of(made).recipe.model_dump(mode="json")) == asked
