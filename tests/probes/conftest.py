"""Tables of predictions for the probes' tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fine_tune.predictions import PredictionsMeta
from probes.probe import Context

Build = Callable[..., pa.Table]


def build(
    labels: Sequence[str | None],
    predictions: Sequence[str],
    *,
    classes: Sequence[str] = ("no", "yes"),
    scores: Any = "certain",
    groups: Mapping[str, Sequence[str | None]] | None = None,
    cluster: Sequence[str] | None = None,
    positive: str | None = None,
    threshold: float | None = None,
    weight: Sequence[float] | None = None,
) -> pa.Table:
    """A table of predictions; ``scores`` is an array (n, classes), None, or "certain" for 0.9 on the prediction."""
    n = len(predictions)
    if isinstance(scores, str):
        rest = 0.1 / max(len(classes) - 1, 1)
        scores = np.array([[0.9 if c == p else rest for c in classes] for p in predictions]).reshape(n, len(classes))
    columns: dict[str, Any] = {
        "row_id": pa.array([str(i) for i in range(n)], pa.string()),
        "unit_id": pa.array([0] * n, pa.int32()),
        "label": pa.array(list(labels), pa.string()),
        "prediction": pa.array(list(predictions), pa.string()),
    }
    if scores is not None:
        columns |= {f"score_{c}": pa.array(scores[:, k], pa.float64()) for k, c in enumerate(classes)}
    columns |= {f"group_{g}": pa.array(list(v), pa.string()) for g, v in (groups or {}).items()}
    if cluster is not None:
        columns["cluster"] = pa.array(list(cluster), pa.string())
    if weight is not None:
        columns["weight"] = pa.array(list(weight), pa.float64())
    columns["content"] = pa.array([hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)], pa.string())
    meta = PredictionsMeta(task="text-classification", classes=tuple(classes), threshold=threshold, positive=positive)
    return pa.table(columns).replace_schema_metadata(meta.encode())


@pytest.fixture(scope="session")
def table() -> Build:
    return build


@pytest.fixture(scope="session")
def ctx() -> Context:
    return Context(instance="test", seed=7)
