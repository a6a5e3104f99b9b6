"""The frontier's figures by hand, their properties, and what twins must share."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune.errors import DataError
from fine_tune.predictions import PredictionsMeta
from probes.errors import ProbeError, SubjectError
from probes.evidence import Measurement, Reading, Undefined
from probes.fake_subject import FakeSubject
from probes.privacy.frontier import Frontier
from probes.privacy.frontier_definitions import DEFINES
from probes.privacy.frontier_rows import AUDIT, KEY, MEMBER, OTHER
from probes.probe import Context
from probes.registry import create
from probes.twins_subject import UNBOUNDED, Twin, TwinsSubject

CTX = Context(instance="frontier", seed=7)
CLASSES = ("no", "yes")


def facts(name: str, asked: float | None, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "asked": asked, "epsilon": asked, "why": "", "delta": None if asked is None else 1e-5,
        "noise_multiplier": None if asked is None else 1.0, "steps": 10, "batch": 32, "no_membership": None, **more,
    }  # fmt: skip


def twins_table(
    right: dict[str, list[bool]], scores: dict[str, tuple[list[float], list[float]]], **options: Any
) -> pa.Table:
    """Labels alternate yes and no; groups are a, a, b, b, ...; each twin is right where told."""
    said = []
    names = list(right)
    for place, name in enumerate(names):
        count = len(right[name])
        labels = [CLASSES[(i + 1) % 2] for i in range(count)]
        shown = [
            label if ok else CLASSES[1 - CLASSES.index(label)] for label, ok in zip(labels, right[name], strict=True)
        ]
        sure = np.array([0.9 if s == "yes" else 0.1 for s in shown])
        columns: dict[str, Any] = {
            "row_id": [f"r{i}" for i in range(count)], "unit_id": pa.array([0] * count, pa.int32()), "label": labels,
            "prediction": shown, "score_no": 1 - sure, "score_yes": sure, "group_g": [("a", "b")[i // 2 % 2] for i in range(count)],
            "twin": pa.array([place] * count, pa.int32()), "kind": [AUDIT] * count,
        }  # fmt: skip
        said.append(pa.table(columns))
        for kind, values in zip((MEMBER, OTHER), scores.get(name, ((), ())), strict=True):
            asked = {
                "row_id": pa.array([f"{kind}{i}" for i in range(len(values))], pa.string()), "score": pa.array(values, pa.float64()),
                "kin": pa.nulls(len(values), pa.string()), "twin": pa.array([place] * len(values), pa.int32()),
                "kind": pa.array([kind] * len(values), pa.string()),
            }  # fmt: skip
            said.append(pa.table(asked))
    told = [facts(n, None if n == UNBOUNDED else float(n), **options) for n in names]
    meta = PredictionsMeta(task="text-classification", classes=CLASSES, truncated=0).encode()
    whole = pa.concat_tables(said, promote_options="default")
    return whole.replace_schema_metadata({**meta, KEY: json.dumps(told).encode()})


def figures(reading: Reading) -> dict[tuple[str, ...], Measurement | Undefined]:
    return {(m.name, *(axis.value or axis.name for axis in m.slice)): m for m in reading.measurements}


def read(table: pa.Table, **options: Any) -> dict[tuple[str, ...], Measurement | Undefined]:
    probe = create("privacy.frontier", {"min_group": 5, **options})
    return figures(probe.summarise(table, CTX))


def test_by_hand():
    """80 rows: the free twin errs on none, the private one on the 20 rows of group b with label yes."""
    wrong = [not (i // 2 % 2 == 1 and i % 2 == 0) for i in range(80)]
    leaks = {UNBOUNDED: ([3.0, 2.0, 1.0], [0.0, 0.5]), "1": ([3.0, 0.0], [1.0, 2.0])}
    found = read(twins_table({"1": wrong, UNBOUNDED: [True] * 80}, leaks))
    assert found["accuracy", "1"].value == 0.75
    assert found["accuracy", UNBOUNDED].value == 1.0
    assert found["accuracy_cost", "1"].value == 0.25
    assert found["recall", "1", "b", "yes"].value == 0.0
    assert found["recall_cost", "1", "b", "yes"].value == 1.0
    assert found["recall_cost", "1", "b", "yes"].interval.high == 1.0
    assert found["recall_cost", "1", "a", "yes"].value == 0.0
    # No discordant pair among 20 rows leaves z^2 / (n + z^2) on either side.
    z2 = 1.959964**2
    assert found["recall_cost", "1", "a", "yes"].interval.high == pytest.approx(z2 / (20 + z2), abs=1e-6)
    # Right 3 of 4 times at a confidence of 0.9; the free twin is always right.
    assert found["calibration_error", UNBOUNDED].value == pytest.approx(0.1, abs=0.02)
    assert found["membership_auc", UNBOUNDED].value == 1.0
    assert found["membership_auc", "1"].value == 0.5
    assert found["epsilon", "1"].value == 1.0
    assert found["epsilon", "1"].interval is None
    assert "no guarantee" not in str(found["epsilon", UNBOUNDED].reason)
    assert isinstance(found["epsilon", UNBOUNDED], Undefined)
    assert ("accuracy_cost", UNBOUNDED) not in found


def test_whom_it_costs_is_said_only_beyond_chance():
    wrong = [not (i // 2 % 2 == 1 and i % 2 == 0) for i in range(80)]
    hit = Frontier(min_group=5).summarise(twins_table({"1": wrong, UNBOUNDED: [True] * 80}, {}), CTX)
    assert any("g=b, yes, epsilon 1" in str(r) for r in hit.remarks)
    one = [True] * 79 + [False]
    spared = Frontier(min_group=5).summarise(twins_table({"1": one, UNBOUNDED: [True] * 80}, {}), CTX)
    assert not any("beyond chance" in str(r) for r in spared.remarks)


def test_small_groups_are_listed_and_not_measured():
    found = read(twins_table({"1": [True] * 40, "3": [True] * 40}, {}), min_group=11)
    assert isinstance(found["recall", "1", "a", "yes"], Undefined)
    assert "11" in str(found["recall_cost", "1", "a", "yes"].reason)


def test_without_a_free_twin_the_largest_epsilon_is_the_reference():
    found = read(twins_table({"1": [False] * 40, "8": [True] * 40}, {}))
    assert found["accuracy_cost", "1"].value == 1.0
    assert ("accuracy_cost", "8") not in found


def test_no_rows_to_find_is_said_with_its_reason():
    found = read(twins_table({"1": [True] * 40, "8": [True] * 40}, {}, no_membership="the training kept no rows out"))
    assert "kept no rows out" in str(found["membership_auc", "1"].reason)


def test_a_ledger_without_epsilon_passes_its_reason_on():
    table = twins_table({"1": [True] * 40, "8": [True] * 40}, {}, epsilon=None, why="The sampler was not Poisson.")
    assert "not Poisson" in str(read(table)["epsilon", "1"].reason)


@given(seed=st.integers(0, 300))
@settings(max_examples=10)
def test_renamed_groups_and_shuffled_rows_change_nothing(seed):
    rng = np.random.default_rng(seed)
    right = {"1": (rng.random(60) < 0.6).tolist(), UNBOUNDED: (rng.random(60) < 0.9).tolist()}
    leaks = {name: (rng.normal(1, 1, 9).tolist(), rng.normal(0, 1, 9).tolist()) for name in right}
    table = twins_table(right, leaks)
    one = read(table)
    names = [None if v is None else {"a": "zz", "b": "y"}[v] for v in table.column("group_g").to_pylist()]
    renamed = table.set_column(table.column_names.index("group_g"), "group_g", pa.array(names, pa.string()))
    other = read(renamed)
    for key, figure in one.items():
        again = other[tuple({"a": "zz", "b": "y"}.get(part, part) for part in key)]
        assert isinstance(figure, Undefined) or (figure.value, figure.interval) == (again.value, again.interval)
    order = rng.permutation(60)
    rest = np.arange(60, 78)
    both = np.concatenate([order, rest, 78 + order, 78 + rest])
    shuffled = read(table.take(pa.array(both)))
    for key, figure in one.items():
        assert isinstance(figure, Undefined) or shuffled[key].value == pytest.approx(figure.value, abs=1e-12)


def test_stored_rows_say_the_same_and_every_measure_is_defined(tmp_path):
    rng = np.random.default_rng(1)
    right = {"1": (rng.random(60) < 0.6).tolist(), UNBOUNDED: (rng.random(60) < 0.9).tolist()}
    table = twins_table(right, {})
    probe = Frontier(min_group=5)
    reading = probe.summarise(table, CTX)
    pq.write_table(table, tmp_path / "rows.parquet")
    assert probe.summarise(pq.read_table(tmp_path / "rows.parquet"), CTX) == reading
    assert Reading.model_validate_json(reading.model_dump_json()) == reading
    assert {m.name for m in reading.measurements} <= {d.name for d in DEFINES}
    wide = figures(probe.summarise(table, CTX.at(0.99)))
    for key, figure in figures(reading).items():
        if isinstance(figure, Measurement) and figure.interval is not None:
            assert wide[key].value == figure.value
            assert wide[key].interval.low <= figure.interval.low
            assert wide[key].interval.high >= figure.interval.high


def test_no_rows_are_undefined():
    empty = twins_table({"1": [True] * 40, "8": [True] * 40}, {}).slice(0, 0)
    reading = Frontier().summarise(empty, CTX)
    sampled = [m for m in reading.measurements if m.name not in {"epsilon", "noise_multiplier"}]
    assert sampled
    assert all(isinstance(m, Undefined) for m in sampled)


def test_different_rows_are_refused():
    table = twins_table({"1": [True] * 40, "8": [True] * 40}, {})
    with pytest.raises(DataError, match="different rows"):
        Frontier().summarise(table.slice(0, 79), CTX)


def fake(seed: int = 0, count: int = 20) -> FakeSubject:
    top = np.random.default_rng(seed).random(count)
    return FakeSubject(np.column_stack([1 - top, top]), CLASSES, labels=["no", "yes"] * (count // 2))


def test_twins_are_ordered_and_share_their_rows():
    one = TwinsSubject([Twin(epsilon=None, subject=fake(0)), Twin(epsilon=3, subject=fake(1)), Twin(epsilon=0.5, subject=fake(2))], "t")  # type: ignore[arg-type]  # fmt: skip
    assert [t.name for t in one.twins] == ["0.5", "3", UNBOUNDED]
    assert one.predictions(CTX).equals(fake(0).predictions(CTX))
    again = TwinsSubject([Twin(epsilon=3, subject=fake(1)), Twin(epsilon=None, subject=fake(5))], "t")  # type: ignore[arg-type]
    assert again.digest != one.digest
    with pytest.raises(SubjectError, match="each epsilon once"):
        TwinsSubject([Twin(epsilon=1, subject=fake(0)), Twin(epsilon=1.0, subject=fake(1))], "t")  # type: ignore[arg-type]
    with pytest.raises(SubjectError, match="other rows"):
        TwinsSubject([Twin(epsilon=1, subject=fake(0)), Twin(epsilon=2, subject=fake(1, 10))], "t")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["min_group", "bins", "members", "nonmember_rows"])
def test_options_are_checked(name):
    with pytest.raises(ProbeError, match=name):
        create("privacy.frontier", {name: 0})


def test_an_unknown_class_is_refused():
    subject = SimpleNamespace(classes=CLASSES, twins=())
    with pytest.raises(ProbeError, match="maybe"):
        Frontier(positive="maybe").collect(subject, CTX)  # type: ignore[arg-type]
