"""Asks every twin the same questions, and lays the answers into one table. It summarises nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.errors import DataError
from probes.errors import Unavailable
from probes.privacy.lira import confidence
from probes.privacy.membership_rows import material

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.twins_subject import Twin

KEY = b"plumbline.frontier"
AUDIT, MEMBER, OTHER = "audit", "member", "other"


def gather(twins: Sequence[Twin], most: tuple[int, int], ctx: Context) -> pa.Table:
    """One row a twin and prediction, and one a twin and member or non-member.

    Columns: ``twin`` (its place), ``kind`` (audit, member, other); of audit rows all columns of the table of predictions; of the
    others ``row_id``, ``score`` (logit of the label's probability) and ``kin`` (cluster). The metadata describes the
    predictions and the twins.
    """
    import pyarrow as pa

    tables, facts, meta = [], [], dict[bytes, bytes]()
    for place, twin in enumerate(twins):
        predictions = twin.subject.predictions(ctx)
        meta = dict(predictions.schema.metadata or {})
        tables.append(_placed(predictions.replace_schema_metadata(None), place, AUDIT))
        why = None
        try:
            tables += _asked(twin, place, most, ctx)
        except Unavailable as error:
            why = str(error)
        facts.append({**_facts(twin), "no_membership": why})
    whole = pa.concat_tables(tables, promote_options="default")
    return whole.replace_schema_metadata({**meta, KEY: json.dumps(facts, sort_keys=True).encode()})


def _placed(table: pa.Table, place: int, kind: str) -> pa.Table:
    import pyarrow as pa

    count = table.num_rows
    return table.append_column("twin", pa.array([place] * count, pa.int32())).append_column(
        "kind", pa.array([kind] * count, pa.string())
    )


def _asked(twin: Twin, place: int, most: tuple[int, int], ctx: Context) -> list[pa.Table]:
    """Members and non-members of a twin, which are the same rows for all twins, with its confidence in their labels.

    Raises:
        Unavailable: no rows were kept out at random, or the training rows are not at hand.
    """
    import pyarrow as pa

    found = material(twin.subject, "holdout", most, ctx)
    columns = found.columns()
    codes = {name: k for k, name in enumerate(twin.subject.classes)}
    labels = np.array([codes[label] for label in columns["label"]], dtype=np.int64)
    try:
        said = np.asarray(twin.subject.predict(found.inputs, ctx), dtype=np.float64)
    except DataError as error:
        raise Unavailable(f"the model gives no single answer an input ({twin.subject.task}): {error.seen}") from error
    scores = confidence(said, labels)
    table = pa.table(
        {
            "row_id": pa.array(columns["row_id"], pa.string()), "score": pa.array(scores, pa.float64()),
            "kin": pa.array(columns["cluster"], pa.string()),
        }
    )  # fmt: skip
    inside = np.asarray(columns["member"], dtype=np.bool_)
    return [
        _placed(table.filter(pa.array(chosen)), place, kind) for chosen, kind in ((inside, MEMBER), (~inside, OTHER))
    ]


def _facts(twin: Twin) -> dict[str, Any]:
    """What the twin's record says, as JSON values."""
    record = twin.subject.checkpoint.training_record
    ledger = None if record is None else record.ledger
    out: dict[str, Any] = {
        "name": twin.name, "asked": twin.epsilon, "epsilon": None, "why": "", "delta": None, "noise_multiplier": None,
        "steps": None if record is None else record.steps, "batch": None if record is None else record.recipe.batch_size,
    }  # fmt: skip
    if ledger is not None:
        out |= {
            "epsilon": ledger.epsilon, "why": " ".join(map(str, ledger.refusals)), "delta": ledger.facts.delta,
            "noise_multiplier": ledger.facts.noise_multiplier, "batch": ledger.facts.expected_batch,
        }  # fmt: skip
    return out
