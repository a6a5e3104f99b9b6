"""Many rows: memory grows by little and steadily, digests keep their bytes, a killed audit is resumed; and every benchmark
runs and ends in its figures."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.cards import recount
from fine_tune.data import AuditData, Roles
from fine_tune.predictions import PredictionsMeta
from fine_tune.roles import canonical
from fine_tune.sources import read_path
from probes.answers import answers
from probes.predictions_subject import PredictionsSubject, _digest
from reports.record import DataCard, FeatureCard

ROOT = Path(__file__).parents[2]
TEXTS = st.text(max_size=6)


def benchmark(name: str, *words: str) -> dict[str, Any]:
    """The figures in a benchmark's last line."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *words],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert figures["benchmark"] == name
    return figures


def test_memory_grows_by_little_and_verification_copes():
    few, many = benchmark("scale", "--rows", "4000", "80000")["sizes"]
    for what in ("audit", "verify"):
        grown = (many[what]["peak_mb"] - few[what]["peak_mb"]) * 1e6 / (many["rows"] - few["rows"])
        assert grown < 1200, f"{what}: {grown:.0f} bytes a row"


def test_a_killed_audit_computes_no_batch_twice_but_the_one_it_died_in(tiny_checkpoint):
    found = benchmark("resume", "--rows", "4000", "--model", str(tiny_checkpoint))
    assert found["rows_missed"] == 0
    assert found["batches"] > 50
    assert found["batches_computed_twice"] <= 1
    assert found["journal_entries"] == found["batches"]
    assert found["same_bytes"]


def test_the_benchmark_of_predictions_agrees_with_the_pipeline():
    found = benchmark("predictions", "--quick")
    assert found["max_logit_difference"] < 1e-5
    assert found["ratio_vs_pipeline_default"] > 0
    assert found["ratio_vs_pipeline_batched"] > 0


def test_the_benchmark_of_intervals_ends_in_the_same_interval():
    found = benchmark("fairness_intervals", "--quick")
    assert found["max_endpoint_difference_in_mc_sd"] < 5
    assert found["speedup_rows_3436"] > 100
    assert found["speedup_rows_1000000"] > 100


@given(
    st.lists(st.tuples(TEXTS, TEXTS, st.one_of(st.none(), TEXTS), st.floats(0, 9)), min_size=1, max_size=8),
    st.booleans(),
)
def test_the_digest_of_data_is_that_of_its_rows_as_json(rows, known):
    columns = {
        "text": [r[0] for r in rows],
        "label": [r[1] for r in rows],
        "group": [r[2] for r in rows],
        "weight": [r[3] for r in rows],
    }
    roles = Roles(
        input="text" if known and all(columns["text"]) else None, label="label", groups=("group",), weight="weight"
    )
    data = AuditData.from_columns(columns, roles)
    parts = {k: v for k, v in data.columns.items() if k != "input"}
    if data.content_digests is not None:
        parts["content"] = data.content_digests
    names = sorted(parts)
    slow = hashlib.sha256(canonical({"columns": names, "missing_group": "exclude", "rows": len(rows)}).encode())
    for row in zip(*(parts[name] for name in names), strict=True):
        slow.update(b"\n" + canonical(row).encode())
    assert data.digest == slow.hexdigest()


@given(st.lists(TEXTS, max_size=9), st.integers(1, 4))
def test_the_digest_of_predictions_is_that_of_one_json_text(texts, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probes.predictions_subject._PIECE", piece)
        in_pieces = _digest(texts, texts[::-1], None)
    assert in_pieces == hashlib.sha256(canonical([texts, texts[::-1]]).encode()).hexdigest()


def test_parquet_columns_hold_the_values_and_share_texts(tmp_path, monkeypatch):
    monkeypatch.setattr("fine_tune.sources._PIECE", 3)
    table = pa.table(
        {
            "few": ["a", None, "b", "a", "b", None, "a"],
            "many": [f"x{i}" for i in range(7)],
            "whole": np.arange(7) / 7,
            "gaps": pa.array([0.5, None, 1.0, 2.0, None, 0.0, 3.0]),
            "count": list(range(7)),
            "lists": [[i] for i in range(7)],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    found = read_path(tmp_path / "rows.parquet")
    assert {name: list(values) for name, values in found.items()} == table.to_pydict()
    assert found["few"][0] is found["few"][3]


def test_the_table_may_come_in_another_order_and_in_the_same():
    ids = [f"r{i}" for i in range(20)]
    label = ["yes", "no"] * 10
    data = AuditData.from_columns({"id": ids, "label": label}, Roles(id="id", label="label"))
    score = np.linspace(0.1, 0.9, 20)
    table = pa.table({"id": ids, "score_no": 1 - score, "score_yes": score})
    order = np.random.default_rng(0).permutation(20)
    same, other = (PredictionsSubject.from_table(t, data) for t in (table, table.take(order)))
    assert same.digest == other.digest
    assert same._table.equals(other._table)


def test_counting_in_arrow_is_counting_by_hand():
    meta = PredictionsMeta(task="text-classification", classes=("no", "yes", "never"))
    group, cluster = ["a", None, "b", "a", "(missing)"], ["t", "t", None, None, "u"]
    columns = {"row_id": ["1", "2", "2", "3", "4"], "label": ["no", "yes", None, "no", "no"], "prediction": ["no"] * 5}
    table = pa.table(columns | {"group_g": group, "cluster": cluster}).replace_schema_metadata(meta.encode())
    for missing_is, missing in (("exclude", 1), ("own", 2)):
        feature = FeatureCard(name="g", values={}, missing_is=missing_is)
        card = recount(DataCard(name="d", digest="0" * 64, rows=0, roles={}, labels={}, features=(feature,)), table)
        assert card.features[0].missing == missing
        assert card.features[0].values == {"a": 2, "(missing)": 1, "b": 1}
        assert next(iter(card.features[0].values)) == "a"
    assert (card.rows, card.clusters, card.labels) == (4, 3, {"no": 3, "yes": 1, "never": 0})


@pytest.mark.parametrize(
    ("names", "clusters"),
    [(["a", "b", "c", "d"], None), (["a", None, "c", None], None), (["a", "a", None, "d"], 3), ([None] * 4, None)],
)
def test_rows_that_stand_alone_are_no_clusters(names, clusters):
    meta = PredictionsMeta(task="text-classification", classes=("no", "yes"))
    columns = {"row_id": list("1234"), "label": ["no"] * 4, "prediction": ["no"] * 4, "cluster": names}
    table = pa.table(columns).replace_schema_metadata(meta.encode())
    found = answers(table).clusters
    assert (None if found is None else len(set(found.tolist()))) == clusters
