"""Which units of an input spoke for the model's answer, and which words or regions do so over many inputs: attributions of a
drawn sample by several methods, with the error that each one reached. It does not say whether a method is to be believed
(`explanation.faithfulness` does) or whether the model ought to lean on what it names (`explanation.shortcuts` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from probes.errors import ProbeError
from probes.evidence import Need, Reading, message
from probes.explanation.attribution_definitions import DEFINES
from probes.explanation.attribution_reading import read
from probes.explanation.material import gather
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.engines.captum.explainer import Attribution
    from probes.explanation.material import Material
    from probes.probe import Context
    from probes.subject import Subject


@probe(
    "explanation.attribution",
    needs={Need.PREDICTIONS, Need.GRADIENTS},
    tasks=("text-classification", "image-classification"),
    defines=DEFINES,
    limits=(
        message(
            "An attribution describes this model on this input. It is no cause in the world, and a word without weight may "
            "still matter together with others."
        ),
        message(
            "Methods disagree; whether one of them names what this model rests on is for explanation.faithfulness to say, and "
            "a map that failed there is no reason."
        ),
        message("Weights are relative to a baseline with every unit taken away. Another baseline gives other weights."),
        message("Weights that add up to within a small error can still be wrong one by one."),
        message(
            "The figures are about the drawn inputs, in which rare classes and groups are seen more often than they occur."
        ),
        message(
            "Intervals of words take means over inputs to be about normal, which is rough where a word occurs in few of them."
        ),
    ),
    method=message(
        "What is explained is the log-odds of the predicted class. Integrated gradients halve the stretches of their path whose "
        "measured error is largest, until the errors of all stretches are within the tolerance. A word's weight in an input is the "
        "mean over its occurrences there, letters of either case alike; its mean over inputs has Student's t interval, clusters "
        "allowed for. With two classes a weight for one counts as the same weight against the other. Claims that a word pushes a "
        "class are corrected by Holm's method for all words and classes of a method. Medians have Woodruff's interval."
    ),
    requires=("captum",),
)
@dataclass(frozen=True, kw_only=True)
class AttributionProbe:
    """Which words, or regions of an image, push the model towards its answers?"""

    examples: int = field(default=200, metadata={"help": "Inputs to explain, at least 1."})
    methods: tuple[str, ...] = field(
        default=(), metadata={"help": "Attribution methods; those that explanations use by default if empty."}
    )
    tolerance: float = field(
        default=0.05, metadata={"help": "Completeness error at which integrated gradients stop, above 0 and below 1."}
    )
    least: int = field(
        default=8, metadata={"help": "Independent inputs that a word must occur in to be compared, at least 3."}
    )
    show: int = field(
        default=6, metadata={"help": "Inputs to show with their weights, 0 to 50; raw text, see include_text."}
    )

    def __post_init__(self) -> None:
        if self.examples < 1:
            raise ProbeError(f"examples is {self.examples}", expected="at least 1")
        if not 0 < self.tolerance < 1:
            raise ProbeError(f"tolerance is {self.tolerance}", expected="a number above 0 and below 1")
        if self.least < 3:
            raise ProbeError(f"least is {self.least}", expected="at least 3")
        if not 0 <= self.show <= 50:
            raise ProbeError(f"show is {self.show}", expected="0 to 50")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row an input and method: row_id, unit_id, cluster, label, prediction, method, units, weights, error,
        evaluations, converged, rows, columns (of patches, 0 for texts), shown, overlay.

        ``units`` and ``weights`` are lists of one length. ``error`` and ``converged`` are null where a method has none.

        Raises:
            Unavailable: no model at hand, no adapter for the task, no inputs, or no method that can be used.
        """
        import pyarrow as pa

        from probes.engines.captum.methods import methods

        known = methods()
        material = gather(subject, ctx, self.examples, self.methods)
        labels = _labels(subject.predictions(ctx), material)
        shown = _chosen(labels, material, self.show, ctx)
        kinds = {
            "row_id": pa.string(), "unit_id": pa.int32(), "cluster": pa.string(), "label": pa.string(),
            "prediction": pa.string(), "method": pa.string(), "units": pa.list_(pa.string()),
            "weights": pa.list_(pa.float64()), "error": pa.float64(), "evaluations": pa.int32(), "converged": pa.bool_(),
            "rows": pa.int32(), "columns": pa.int32(), "shown": pa.bool_(), "overlay": pa.binary(),
        }  # fmt: skip
        columns: dict[str, list[Any]] = {name: [] for name in kinds}
        for name in material.methods:
            for i, one in enumerate(self._attribute(material, name, ctx)):
                encoded = material.encoded[i]
                values = {
                    "row_id": material.row_ids[i], "unit_id": material.unit_ids[i], "cluster": material.clusters[i],
                    "label": labels[i], "prediction": material.explainer.classes[material.targets[i]], "method": name,
                    "units": list(encoded.units), "weights": one.weights.tolist(), "error": one.error,
                    "evaluations": one.evaluations, "converged": one.converged, "rows": encoded.grid[0],
                    "columns": encoded.grid[1], "shown": i in shown,
                    "overlay": _overlay(material, i, one) if i in shown else None,
                }  # fmt: skip
                for column, value in values.items():
                    columns[column].append(value)
        facts = material.facts.encode(
            classes=list(material.explainer.classes), tolerance=self.tolerance, kind=material.explainer.kind,
            signed=[name for name in material.methods if known[name].signed],
            clustered=any(value is not None for value in material.clusters),
        )  # fmt: skip
        schema = pa.schema(list(kinds.items()), metadata=facts)
        return pa.table([pa.array(columns[n], type=kind) for n, kind in kinds.items()], schema=schema)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Errors, agreement and words by method, and some inputs with their weights."""
        return read(rows, self.least, ctx)

    def _attribute(self, material: Material, name: str, ctx: Context) -> list[Attribution]:
        from probes.engines.captum.methods import methods
        from probes.engines.captum.methods.integrated_gradients import IntegratedGradients

        method = methods()[name]
        if isinstance(method, IntegratedGradients):
            method = replace(method, tolerance=self.tolerance)
        return material.explainer.attribute(material.encoded, material.targets, method, ctx)


def _labels(predictions: pa.Table, material: Material) -> list[str | None]:
    keys = zip(predictions["row_id"].to_pylist(), predictions["unit_id"].to_pylist(), strict=True)
    known = dict(zip(keys, predictions["label"].to_pylist(), strict=True))
    return [known[key] for key in zip(material.row_ids, material.unit_ids, strict=True)]


def _chosen(labels: Sequence[str | None], material: Material, most: int, ctx: Context) -> frozenset[int]:
    """Positions to show: drawn at random, wrong and right answers in turn, each prediction in turn within."""
    classes = material.explainer.classes
    waiting: dict[tuple[bool, int], list[int]] = {}
    for i in ctx.rng("shown").permutation(len(labels)).tolist():
        wrong = labels[i] is not None and labels[i] != classes[material.targets[i]]
        waiting.setdefault((not wrong, material.targets[i]), []).append(i)
    turns = [waiting[key] for key in sorted(waiting, key=lambda key: (key[1], key[0]))]
    longest = max((len(turn) for turn in turns), default=0)
    return frozenset([turn[k] for k in range(longest) for turn in turns if k < len(turn)][:most])


def _overlay(material: Material, i: int, one: Attribution) -> bytes | None:
    from probes.explanation.overlays import overlay

    picture = material.explainer.picture(material.encoded[i])
    return None if picture is None else overlay(picture, one.weights, material.encoded[i].grid)
