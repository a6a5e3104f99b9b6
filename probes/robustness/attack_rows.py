"""The rows that an attack leaves behind: one a drawn example, with what was drawn from written beside them. They hold what
`probes.robustness.outcomes` counts, and count nothing themselves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fine_tune.errors import DataError
from fine_tune.predictions import GROUP, PredictionsMeta, feature_names
from probes.evidence import Message
from probes.robustness.sampling import Stratum, draw, stratum_name

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from probes.engines.textattack.attacks import Outcome

KEY = b"plumbline.attack"
_KEPT = ("row_id", "unit_id", "label", "cluster", "weight", "content")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rows cannot say by themselves; travels as schema metadata.

    Attributes:
        labelled: rows of the data that could have been drawn.
        unlabelled: rows that could not, as they have no label.
        groups: labelled rows of every group, by feature.
        no_similarity: why there are no similarities; None where there are.
        encoder: what the user called the encoder; None without one.
        encoder_cut: texts longer than it reads.
        encoder_is_base: the subject was trained from it.
    """

    labelled: int
    unlabelled: int
    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    no_similarity: Message | None = None
    encoder: str | None = None
    encoder_cut: int = 0
    encoder_is_base: bool = False

    def encode(self) -> dict[bytes, bytes]:
        """As schema metadata."""
        body = asdict(self) | {"no_similarity": self.no_similarity and self.no_similarity.model_dump(mode="json")}
        return {KEY: json.dumps(body, sort_keys=True).encode()}

    @classmethod
    def of(cls, rows: pa.Table) -> Facts:
        """Read back from a table's schema.

        Raises:
            DataError: the table holds no attacked examples.
        """
        raw = (rows.schema.metadata or {}).get(KEY)
        if raw is None:
            raise DataError(
                "the rows do not say what they were drawn from", expected=f"schema metadata {KEY.decode()!r}"
            )
        body = json.loads(raw)
        why = body.pop("no_similarity")
        return cls(**body, no_similarity=None if why is None else Message.model_validate(why))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows drawn from a table of predictions, by their ids.

    Attributes:
        rows: the drawn rows of that table.
        strata: what each was drawn as, in words.
        facts: what they were drawn from.
    """

    rows: pa.Table
    strata: tuple[str, ...]
    facts: Facts

    @classmethod
    def of(cls, table: pa.Table, size: int | None, rng: np.random.Generator) -> Sample:
        """Draw ``size`` labelled rows in proportion to label and groups; all of them where it is None.

        Which rows are drawn does not depend on their order.
        """
        table = table.sort_by([("row_id", "ascending"), ("unit_id", "ascending")])
        features = feature_names(table)
        columns = {name: table.column(name).to_pylist() for name in ("label", *(GROUP + f for f in features))}
        labelled = [i for i, label in enumerate(columns["label"]) if label is not None]
        strata: list[Stratum] = [tuple(values[i] for values in columns.values()) for i in labelled]
        drawn = draw(strata, size, rng).tolist()
        groups = {
            f: Counter(columns[GROUP + f][i] for i in labelled if columns[GROUP + f][i] is not None) for f in features
        }
        facts = Facts(
            labelled=len(labelled),
            unlabelled=len(table) - len(labelled),
            groups={feature: dict(sorted(sizes.items())) for feature, sizes in groups.items()},
        )
        names = ("label", *features)
        return cls(
            rows=table.take([labelled[i] for i in drawn]),
            strata=tuple(stratum_name(names, strata[i]) for i in drawn),
            facts=facts,
        )


def attack_rows(
    sample: Sample,
    texts: Sequence[str],
    outcomes: Sequence[Outcome],
    similarity: Sequence[float | None],
    facts: Facts,
) -> pa.Table:
    """The table that is kept: the sample's rows, and what became of each.

    The prediction is the one that the attack saw; where an example broke before it was asked about, that of the sample.
    """
    import pyarrow as pa

    said = sample.rows.column("prediction").to_pylist()
    drawn = [(n, sample.rows.column(n)) for n in sample.rows.column_names if n in _KEPT or n.startswith(GROUP)]
    own: list[tuple[str, pa.DataType, list[Any]]] = [
        ("prediction", pa.string(), [o.prediction or before for o, before in zip(outcomes, said, strict=True)]),
        ("text", pa.string(), list(texts)),
        ("status", pa.string(), [o.status for o in outcomes]),
        ("queries", pa.int64(), [o.queries for o in outcomes]),
        ("perturbed", pa.string(), [o.perturbed for o in outcomes]),
        ("prediction_after", pa.string(), [o.prediction_after for o in outcomes]),
        ("score_before", pa.float64(), [o.score_before for o in outcomes]),
        ("score_after", pa.float64(), [o.score_after for o in outcomes]),
        ("words", pa.int64(), [o.words for o in outcomes]),
        ("words_changed", pa.int64(), [o.words_changed for o in outcomes]),
        ("close_calls", pa.int64(), [o.close_calls for o in outcomes]),
        ("similarity", pa.float64(), list(similarity)),
        ("error", pa.string(), [o.error for o in outcomes]),
        ("stratum", pa.string(), list(sample.strata)),
    ]
    arrays = [(name, column.combine_chunks()) for name, column in drawn]
    arrays += [(name, pa.array(values, type=kind)) for name, kind, values in own]
    meta = PredictionsMeta.of(sample.rows).encode() | facts.encode()
    schema = pa.schema([(name, values.type) for name, values in arrays], metadata=meta)
    return pa.table([values for _, values in arrays], schema=schema)
