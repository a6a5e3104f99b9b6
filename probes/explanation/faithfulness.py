"""Whether a map names what the answer rests on: the units that a method ranks first are taken away, or alone are kept, and the
probability of the explained class must move more than under random rankings of the same inputs. It trusts no method, compares
with no human judgement (`explanation.plausibility` does), and leaves the randomisation check to `explanation.sanity`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from probes.errors import ProbeError
from probes.evidence import MeasureDefinition, Need, Reading, message
from probes.explanation.erasure import ONLY, SHARES, WITHOUT, Erasures, curve_shares, random_orders, rank
from probes.explanation.erasure_figures import BASELINE
from probes.explanation.faithfulness_reading import read
from probes.explanation.material import gather
from probes.registry import probe

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from probes.explanation.material import Material
    from probes.probe import Context
    from probes.subject import Subject

ERASER = "DeYoung et al. 2020"
SAMEK = "Samek et al. 2017"
YEH = "Yeh et al. 2019; captum.metrics"

DEFINES = (
    MeasureDefinition(
        name="comprehensiveness",
        formula=message(
            "mean over shares of the probability of the predicted class less that without the units ranked first, rounded up "
            "to whole units; the paper also counts a share of 0, whose difference is 0, which makes its figure smaller by "
            "shares / (shares + 1)"
        ),
        low=-1.0,
        zero=message("taking away what is ranked first changes nothing"),
        one=message("a certain answer is wholly lost with the first units"),
        source=ERASER,
        better="higher",
    ),
    MeasureDefinition(
        name="sufficiency",
        formula=message(
            "mean over shares of the probability of the predicted class less that with the units ranked first alone"
        ),
        low=-1.0,
        zero=message("what is ranked first is enough for the answer"),
        one=message("a certain answer is wholly lost although the first units stay"),
        source=ERASER,
        better="lower",
    ),
    MeasureDefinition(
        name="aopc",
        formula=message(
            "area over the perturbation curve: mean, over equal steps from no unit taken away to all of them in the order of "
            "the ranking, of the probability of the predicted class less that after the step"
        ),
        low=-1.0,
        zero=message("taking units away changes nothing"),
        one=message("a certain answer is lost with the first step"),
        source=SAMEK,
        better="higher",
    ),
    MeasureDefinition(
        name="comprehensiveness_over_random",
        formula=message("mean over inputs of comprehensiveness less that of random rankings of the same input"),
        low=-2.0,
        high=2.0,
        zero=message("as good as a random ranking"),
        source=ERASER,
        better="higher",
    ),
    MeasureDefinition(
        name="sufficiency_over_random",
        formula=message("mean over inputs of sufficiency less that of random rankings of the same input"),
        low=-2.0,
        high=2.0,
        zero=message("as good as a random ranking"),
        source=ERASER,
        better="lower",
    ),
    MeasureDefinition(
        name="aopc_over_random",
        formula=message("mean over inputs of AOPC less that of random rankings of the same input"),
        low=-2.0,
        high=2.0,
        zero=message("as good as a random ranking"),
        source=SAMEK,
        better="higher",
    ),
    MeasureDefinition(
        name="class_comprehensiveness_over_random",
        formula=message("comprehensiveness_over_random among the inputs for which the class is predicted"),
        low=-2.0,
        high=2.0,
        zero=message("as good as a random ranking"),
        source=ERASER,
        better="higher",
    ),
    MeasureDefinition(
        name="class_sufficiency_over_random",
        formula=message("sufficiency_over_random among the inputs for which the class is predicted"),
        low=-2.0,
        high=2.0,
        zero=message("as good as a random ranking"),
        source=ERASER,
        better="lower",
    ),
    MeasureDefinition(
        name="infidelity",
        formula=message(
            "mean squared difference between the summed weights of units taken away at random, scaled by the one factor that "
            "fits best, and the change of the log-odds"
        ),
        high=None,
        zero=message("weights add up to the change, whatever is taken away"),
        source=YEH,
        better="lower",
    ),
    MeasureDefinition(
        name="sensitivity_max",
        formula=message(
            "largest change of the weights, relative to their norm, among random steps of the input's points that are small "
            "against their spread"
        ),
        high=None,
        zero=message("the map does not move"),
        source=YEH,
        better="lower",
    ),
)


@probe(
    "explanation.faithfulness",
    needs={Need.PREDICTIONS, Need.QUERIES, Need.GRADIENTS},
    tasks=("text-classification", "image-classification"),
    defines=DEFINES,
    limits=(
        message(
            "Inputs with units taken away are unlike those that the model was trained on; part of what moves its answer is "
            "their strangeness. Random rankings share it, so read the differences."
        ),
        message(
            "A faithful map shows what this model leans on, not whether it should, nor what happens in the world; and where "
            "several units can stand in for one another no ranking loses much by one of them."
        ),
        message(
            "Methods that take units away themselves (occlusion, Shapley sampling) ask nearly the same question as this "
            "check, and are flattered by it."
        ),
        message(
            "Where the model answers a class by default, when it finds nothing, there is little to take away: for that class "
            "comprehensiveness is near 0 or below for every method. Read the figures by predicted class."
        ),
        message(
            "The figures are about the drawn inputs, in which rare classes and groups are seen more often than they occur."
        ),
        message(
            "Infidelity and sensitivity are off unless asked for: weights that are merely positive can have a lower "
            "infidelity than integrated gradients, and a map that never moves has the best sensitivity there is."
        ),
    ),
    method=message(
        "Each input's units are ranked by their weights for the predicted class, ties broken at random; shares of the units, "
        "rounded up, are replaced by the model's neutral stand-in (the mask token; for images the baseline), and the model is "
        "asked again. The same is done for random rankings of each input, which are averaged. Means and paired differences "
        "have Student's t interval over inputs, clusters allowed for; where all inputs agree, Clopper and Pearson's. Each "
        "method is judged by itself: with several, one may pass by chance."
    ),
    requires=("captum",),
)
@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """Do the units that an attribution method ranks first decide the model's answers, more than random units do?

    Comprehensiveness, sufficiency (DeYoung et al. 2020) and AOPC (Samek et al. 2017) of each method, on probabilities, beside
    those of random rankings of the same inputs. `infidelity` and `sensitivity_max` are Captum's and are opt-in for good
    reason. Infidelity rewards weights that are large everywhere: an arbitrary positive score can get a lower one than
    integrated gradients, here scaled away only in part. Sensitivity costs one attribution more for each step that it tries,
    and is best for a map that ignores the input.
    """

    examples: int = field(default=200, metadata={"help": "Inputs to examine, at least 2."})
    methods: tuple[str, ...] = field(
        default=(), metadata={"help": "Attribution methods; those that explanations use by default if empty."}
    )
    shares: tuple[float, ...] = field(
        default=SHARES,
        metadata={"help": "Shares of the units that comprehensiveness and sufficiency average over, in (0, 1]."},
    )
    steps: int = field(
        default=5, metadata={"help": "Equal steps from no unit to all of them, for AOPC and the curves."}
    )
    orders: int = field(
        default=3, metadata={"help": "Random rankings of each input that the methods are compared with."}
    )
    extra: tuple[Literal["infidelity", "sensitivity"], ...] = field(
        default=(), metadata={"help": "Captum's infidelity and sensitivity_max; mind their limits."}
    )

    def __post_init__(self) -> None:
        for name, least in (("examples", 2), ("steps", 2), ("orders", 1)):
            if getattr(self, name) < least:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected=f"at least {least}")
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ProbeError(f"shares is {self.shares}", expected="shares of the units above 0 and up to 1")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row an erasure: row_id, unit_id, cluster, units, target, plain, method, order, kind, share, bin, step, probability.

        ``plain`` is the probability with all units in place; ``bin`` and ``step`` say which averages the row belongs to.
        With `extra`, rows of the kinds ``infidelity`` and ``sensitivity`` hold their value under ``probability``.

        Raises:
            Unavailable: no model at hand, no adapter for the task, or no method that can be used.
        """
        from probes.explanation.erasure_rows import table

        material = gather(subject, ctx, self.examples, self.methods)
        attributions = {name: material.attribute(name, ctx) for name in material.methods}
        every = tuple(sorted({*self.shares, *curve_shares(self.steps)}))
        erasures = []
        for i, one in enumerate(material.encoded):
            weights = {name: found[i].weights for name, found in attributions.items()}
            erasures.append(self._erasures(weights, len(one.units), every, ctx, one.key))
        scores = material.explainer.scores(material.encoded, [e.masks for e in erasures], ctx)
        further = self._further(material, attributions, ctx)
        return table(material, erasures, scores, further, (self.shares, curve_shares(self.steps)))

    def _erasures(
        self, weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]], units: int, every: tuple[float, ...],
        ctx: Context, key: str,
    ) -> Erasures:  # fmt: skip
        made = Erasures(units=units)
        rankings = [(name, 0, rank(w, ctx.rng(f"ties/{key}"))) for name, w in weights.items()]
        drawn = random_orders(units, self.orders, ctx.rng(f"random/{key}"))
        rankings += [(BASELINE, i, order) for i, order in enumerate(drawn)]
        for name, order, ranking in rankings:
            made.add(name, order, ranking, WITHOUT, every)
            made.add(name, order, ranking, ONLY, self.shares)
        return made

    def _further(
        self, material: Material, attributions: dict[str, Any], ctx: Context
    ) -> dict[str, dict[str, list[float]]]:
        """Captum's metrics by name and method, one value an input."""
        from probes.engines.captum import metrics

        out: dict[str, dict[str, list[float]]] = {}
        if "infidelity" in self.extra:
            out["infidelity"] = metrics.infidelity(material.explainer, material.encoded, attributions, ctx)
        if "sensitivity" in self.extra:
            out["sensitivity"] = {
                name: metrics.sensitivity_max(material.explainer, material.encoded, material.targets, name, ctx)
                for name in material.methods
            }
        return out

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Each method's figures and their differences to random rankings; curves, plots and what may be believed."""
        return read(rows, DEFINES, ctx.level)
