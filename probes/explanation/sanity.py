"""Whether a map depends on what the model has learned: the weights are drawn anew from the head down, stage by stage, and the
maps of the trained and of the destroyed model are compared. A question of its own beside `explanation.faithfulness`, because
it needs no erased inputs, has rows, costs and failures of its own, and a method can pass either without the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.errors import ProbeError
from probes.evidence import MeasureDefinition, Need, Reading, message
from probes.explanation.material import gather
from probes.explanation.sanity_reading import FEWEST_UNITS, read
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.explanation.material import Material
    from probes.probe import Context
    from probes.subject import Subject

ADEBAYO = "Adebayo et al. 2018"

DEFINES = (
    MeasureDefinition(
        name="randomised_correlation",
        formula=message(
            "the highest stage_correlation among the stops of the cascade: every such model has lost its task, so a map that "
            "stays at any of them does not depend on it"
        ),
        low=-1.0,
        zero=message("the maps have nothing in common with those of models that have lost their task"),
        one=message("the map is the same for a model that has lost its task: it does not explain the model"),
        source=ADEBAYO,
        better="lower",
        smooth=False,
    ),
    MeasureDefinition(
        name="stage_correlation",
        formula=message(
            "mean over inputs of Spearman's rank correlation between the absolute weights of the trained model's map and of "
            "the map that the same method makes once all weights from the head down through the stage are drawn anew"
        ),
        low=-1.0,
        zero=message("the map has nothing in common with the trained model's"),
        one=message("the map does not change when these weights are destroyed"),
        source=ADEBAYO,
        better="lower",
    ),
    MeasureDefinition(
        name="stage_correlation_signed",
        formula=message("as stage_correlation, of the weights with their signs"),
        low=-1.0,
        zero=message("the map has nothing in common with the trained model's"),
        one=message("the map does not change when these weights are destroyed"),
        source=ADEBAYO,
        better="neither",
    ),
)


@probe(
    "explanation.sanity",
    needs={Need.PREDICTIONS, Need.WEIGHTS, Need.GRADIENTS},
    tasks=("text-classification", "image-classification"),
    defines=DEFINES,
    limits=(
        message(
            "A map that changes when the model is destroyed may still be wrong: this check can only fail a method, "
            "`explanation.faithfulness` asks whether it is right."
        ),
        message(
            "What a map owes to the input alone (long words, strange words) stays when the model is destroyed, so the "
            "correlation of an honest method need not be 0."
        ),
        message(
            "While only stages near the head are drawn anew, what the lower stages compute still reaches the output, and a "
            "map may rightly stay somewhat similar (Binder et al. 2023); and once the lowest stage is drawn anew the inputs "
            "themselves are others to the model, so that nearly every method changes there. Read the whole curve."
        ),
        message("The interval is about other inputs; the destroyed models are the few that the seed gives."),
    ),
    method=message(
        "Weights are drawn anew from the head down (cascading), matrices with the spread that they had; each method explains "
        "the class that the trained model predicts, on the trained and on the destroyed models. Similarity is Spearman's rank "
        "correlation over the units of an input, on absolute and on signed weights; a map without any order counts as 1 "
        "against another without any, and as 0 against one with. Means over inputs have Student's t interval, clusters "
        "allowed for; where all inputs agree, Clopper and Pearson's. The highest of several stops has a low end that holds for "
        "all of them at once (Bonferroni) and a high end by intersection-union."
    ),
    requires=("captum",),
)
@dataclass(frozen=True, kw_only=True)
class Sanity:
    """Do a method's maps change when what the model has learned is destroyed?

    The cascading model-randomisation check of Adebayo et al. (2018). A method whose maps stay the same draws the input, not
    the model. Each input is compared with one of `draws` destroyed models, so that the figure does not hang on one draw.
    """

    examples: int = field(default=32, metadata={"help": "Inputs to examine, at least 2."})
    methods: tuple[str, ...] = field(
        default=(), metadata={"help": "Attribution methods; those that explanations use by default if empty."}
    )
    stages: int = field(
        default=3,
        metadata={"help": "Stages of the cascade to stop at, spread evenly; the last is always the whole model."},
    )
    draws: int = field(default=2, metadata={"help": "Destroyed models a stage; inputs are dealt out among them."})
    limit: float = field(
        default=0.6,
        metadata={
            "help": "Rank correlation of absolute weights above which the report says that maps are not to be believed."
        },
    )

    def __post_init__(self) -> None:
        for name, least in (("examples", 2), ("stages", 1), ("draws", 1)):
            if getattr(self, name) < least:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected=f"at least {least}")
        if not 0 < self.limit < 1:
            raise ProbeError(f"limit is {self.limit}", expected="a correlation between 0 and 1")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row an input, method and stage: row_id, unit_id, cluster, method, stage, depth, draw, trained, destroyed.

        ``trained`` and ``destroyed`` are lists of weights, one a unit; ``depth`` counts stages from the head, 1 the head.

        Raises:
            Unavailable: no model at hand, no adapter for the task, or no method that can be used.
        """
        material = gather(subject, ctx, self.examples, self.methods)
        trained = {name: [a.weights for a in material.attribute(name, ctx)] for name in material.methods}
        made: list[dict[str, Any]] = []
        dealt = _deal(material, self.draws, ctx)
        for depth in _depths(len(material.explainer.stages), self.stages):
            stage = material.explainer.stages[depth - 1]
            for draw in range(self.draws):
                mine = [t for t, given in enumerate(dealt) if given == draw]
                if not mine:
                    continue
                destroyed = material.explainer.randomised(stage, int(ctx.rng(f"draw {draw}").integers(2**31)))
                for name in material.methods:
                    found = destroyed.attribute(
                        [material.encoded[t] for t in mine], [material.targets[t] for t in mine], name, ctx
                    )
                    made += [
                        {
                            "row_id": material.row_ids[t], "unit_id": material.unit_ids[t],
                            "cluster": material.clusters[t], "method": name, "stage": stage, "depth": depth, "draw": draw,
                            "trained": trained[name][t].tolist(), "destroyed": one.weights.tolist(),
                        }
                        for t, one in zip(mine, found, strict=True)
                    ]  # fmt: skip
        return _table(made, material)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Each method's correlation with maps of destroyed models, stage by stage, and what may be believed."""
        return read(rows, DEFINES, ctx.level, self.limit)


def _depths(stages: int, wanted: int) -> list[int]:
    """Which stages to stop at, counted from the head; the whole model is always one."""
    return sorted(
        {*np.linspace(1, stages, min(wanted, stages)).round().astype(int).tolist(), stages} if wanted > 1 else {stages}
    )


def _deal(material: Material, draws: int, ctx: Context) -> list[int]:
    """The destroyed model that each input is compared with; equally many each, and no matter how inputs are ordered."""
    order = sorted(range(len(material.encoded)), key=lambda t: (material.encoded[t].key, material.row_ids[t]))
    shuffled = ctx.rng("deal").permutation(len(order))
    given = [0] * len(order)
    for place, t in zip(shuffled.tolist(), order, strict=True):
        given[t] = place % draws
    return given


def _table(made: list[dict[str, Any]], material: Material) -> pa.Table:
    import pyarrow as pa

    kinds = {
        "row_id": pa.string(), "unit_id": pa.int32(), "cluster": pa.string(), "method": pa.string(),
        "stage": pa.string(), "depth": pa.int32(), "draw": pa.int32(), "trained": pa.list_(pa.float64()),
        "destroyed": pa.list_(pa.float64()),
    }  # fmt: skip
    small = sum(len(one.units) < FEWEST_UNITS for one in material.encoded)
    more = {"stages": list(material.explainer.stages), "small": small}
    schema = pa.schema(list(kinds.items()), metadata=material.facts.encode(**more))
    return pa.table([pa.array([row[name] for row in made], type=kind) for name, kind in kinds.items()], schema=schema)
