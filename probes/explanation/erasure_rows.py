"""The table that `explanation.faithfulness` keeps: one row an erasure, and one a further metric. Averages are made from it by
`probes.explanation.erasure_figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from probes.explanation.erasure import WITHOUT, Erasures
from probes.intervals import Float

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.explanation.material import Material


def table(
    material: Material,
    erasures: Sequence[Erasures],
    scores: Sequence[Float],
    further: Mapping[str, Mapping[str, Sequence[float]]],
    averages: tuple[Sequence[float], Sequence[float]],
) -> pa.Table:
    """One row an erasure.

    Args:
        material: T inputs.
        erasures, scores: one an input; probabilities (M, K) of its masks.
        further: by kind and method, one value an input.
        averages: the shares of comprehensiveness and sufficiency, and those of AOPC.
    """
    import pyarrow as pa

    bins, steps = (set(shares) for shares in averages)
    columns: dict[str, list[Any]] = {name: [] for name in _TYPES}
    for t, (one, found) in enumerate(zip(erasures, scores, strict=True)):
        target = material.targets[t]
        plain = float(found[0, target])
        for step in one.steps:
            _add(columns, material, t, plain)
            columns["method"].append(step.method)
            columns["order"].append(step.order)
            columns["kind"].append(step.kind)
            columns["share"].append(step.share)
            columns["bin"].append(step.share in bins)
            columns["step"].append(step.kind == WITHOUT and step.share in steps)
            columns["probability"].append(float(found[step.mask, target]))
        for kind, by_method in further.items():
            for method, values in by_method.items():
                _add(columns, material, t, plain)
                columns["method"].append(method)
                columns["order"].append(0)
                columns["kind"].append(kind)
                columns["share"].append(0.0)
                columns["bin"].append(False)
                columns["step"].append(False)
                columns["probability"].append(values[t])
    kinds = {name: getattr(pa, kind)() for name, kind in _TYPES.items()}
    schema = pa.schema(list(kinds.items()), metadata=material.facts.encode())
    return pa.table([pa.array(columns[name], type=kind) for name, kind in kinds.items()], schema=schema)


_TYPES = {
    "row_id": "string", "unit_id": "int32", "cluster": "string", "units": "int32", "target": "string", "plain": "float64",
    "method": "string", "order": "int32", "kind": "string", "share": "float64", "bin": "bool_", "step": "bool_",
    "probability": "float64",
}  # fmt: skip


def _add(columns: dict[str, list[Any]], material: Material, t: int, plain: float) -> None:
    columns["row_id"].append(material.row_ids[t])
    columns["unit_id"].append(material.unit_ids[t])
    columns["cluster"].append(material.clusters[t])
    columns["units"].append(len(material.encoded[t].units))
    columns["target"].append(material.explainer.classes[material.targets[t]])
    columns["plain"].append(plain)
