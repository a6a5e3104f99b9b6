"""What the record says of subject, data and surroundings, as far as it follows from the rows and the machine.

The parts that follow from the rows are computed here for the run and again for verification.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fine_tune.predictions import MISSING, PredictionsMeta, feature_names
from reports.record import DataCard, FeatureCard, SubjectCard

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.data import AuditData
    from probes.subject import Subject

LIBRARIES = (
    "torch", "transformers", "tokenizers", "datasets", "peft", "numpy", "scipy", "pyarrow", "scikit-learn", "fairlearn",
    "captum", "textattack", "opacus", "pillow", "datasketch", "phonenumbers",
)  # fmt: skip


def version_of(distribution: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def plumbline_version() -> str:
    """This package's version."""
    return version_of("plumbline-audit") or "0+unknown"


def environment() -> dict[str, str]:
    """Versions that numbers may depend on; no clock, no paths, no host names."""
    found = {name: version_of(name) for name in LIBRARIES}
    return {
        "plumbline-audit": plumbline_version(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: version for name, version in found.items() if version},
    }


def subject_card(subject: Subject) -> SubjectCard:
    """The subject as the record shows it."""
    return SubjectCard(
        kind=subject.kind,
        name=subject.name,
        digest=subject.digest,
        task=subject.task,
        classes=subject.classes,
        threshold=subject.threshold,
        positive=subject.positive,
        offers=tuple(sorted(subject.offers)),
        details=dict(subject.details),
    )


def data_card(data: AuditData, predictions: pa.Table | None, *, include_text: bool) -> DataCard:
    """The data as the record shows it: counted from the rows of predictions where there are any."""
    roles = {k: tuple(v) if isinstance(v, list | tuple) else str(v) for k, v in data.roles.items()}
    card = DataCard(
        name=data.name,
        digest=data.digest,
        rows=len(data),
        roles=roles,
        labels=_counted([v for v in data.labels if v is not None]),
        features=tuple(
            FeatureCard(
                name=name,
                values=_counted([v for v in data.group(name) if v is not None]),
                missing=data.missing(name),
                missing_is=data.missing_group,
            )
            for name in data.features
        ),
        clusters=len(set(data.clusters)) if data.clusters is not None else None,
        include_text=include_text,
    )
    return card if predictions is None else recount(card, predictions)


def recount(card: DataCard, predictions: pa.Table) -> DataCard:
    """The same card with every count that the rows of predictions determine taken from them."""
    features = []
    for name in feature_names(predictions):
        old = next((f for f in card.features if f.name == name), FeatureCard(name=name, values={}))
        found = _tally(predictions[f"group_{name}"])
        missing = found.pop(None, 0) + (found.get(MISSING, 0) if old.missing_is == "own" else 0)
        counted = _counted({v: n for v, n in found.items() if v is not None})
        features.append(old.model_copy(update={"values": counted, "missing": missing}))
    columns = predictions.column_names
    labels = _tally(predictions["label"]) if "label" in columns else {}
    meta = PredictionsMeta.of(predictions)
    counted = dict.fromkeys(meta.classes, 0) | _counted({v: n for v, n in labels.items() if v is not None})
    return card.model_copy(
        update={
            "rows": _distinct(predictions["row_id"]),
            "labels": counted if any(counted.values()) else {},
            "features": tuple(features),
            "clusters": _distinct(predictions["cluster"]) if "cluster" in columns else None,
            "truncated": meta.truncated or 0,
        }
    )


def _tally(column: pa.ChunkedArray) -> dict[str | None, int]:
    """How often each value occurs, None too; counted in arrow, as a million rows would be a million objects here."""
    pairs = column.value_counts()
    return dict(zip(pairs.field("values").to_pylist(), pairs.field("counts").to_pylist(), strict=True))


def _distinct(column: pa.ChunkedArray) -> int:
    import pyarrow.compute as pc

    return int(pc.count_distinct(column, mode="all").as_py())


def _counted(values: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda kv: (-kv[1], kv[0])))
