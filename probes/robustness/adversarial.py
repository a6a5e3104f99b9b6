"""How many right answers survive small changes that are made to fool the model, for tasks whose inputs are numbers.

It attacks through `probes.robustness.perturbing` and hands the counting to `probes.robustness.adversarial_reading`. It
tries no change larger than the plan's epsilons, and takes an attack that fails for no proof.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from fine_tune.predictions import PredictionsMeta
from probes.errors import ProbeError, Unavailable
from probes.evidence import Need, Reading
from probes.registry import probe
from probes.robustness import panels
from probes.robustness.adversarial_definitions import ADVERSARIAL, LIMITS, METHOD
from probes.robustness.adversarial_reading import KEY, PANELS, read
from probes.robustness.labelled import draw_labelled, repeated
from probes.robustness.perturbing import ATTACKS, Outcome, Perturbing

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.engines.continuous import Continuous
    from probes.probe import Context
    from probes.subject import Subject

MOST_PICTURES = 6


@probe(
    "robustness.adversarial",
    needs={Need.PREDICTIONS, Need.LABELS, Need.GRADIENTS},
    tasks=("image-classification",),
    defines=ADVERSARIAL,
    limits=LIMITS,
    method=METHOD,
    requires=("captum",),
)
@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """How many right answers survive small changes that are made to fool the model?

    Each number of an input, such as a pixel, may move by epsilon. Two attacks look for a change that makes a right answer
    wrong, with random noise of the same size beside them as a control.
    """

    epsilons: tuple[str | float, ...] = field(
        default=("1/255", "2/255", "4/255", "8/255"),
        metadata={
            "help": "Largest changes of one number, in the input's own unit: for images of pixels from 0 to 1, as a "
            "fraction such as 8/255 or a decimal. Slices name them as they are written."
        },
    )
    steps: int = field(default=10, metadata={"help": "Steps of each projected gradient descent, 1 to 1000."})
    restarts: int = field(default=1, metadata={"help": "Descents from different random starts, 1 to 100."})
    examples: int | None = field(
        default=500, metadata={"help": "Rows with a label to draw, in proportion to the labels; null takes all."}
    )
    pictures: int = field(default=4, metadata={"help": "Successful attacks to show, 0 to 6."})
    min_group: int = field(default=1, metadata={"help": "Groups with fewer drawn rows are listed, and not compared."})
    permutations: int = field(default=2000, metadata={"help": "Random regroupings behind each p-value."})

    def __post_init__(self) -> None:
        if not self.epsilons:
            raise ProbeError("epsilons is empty", expected="at least one, such as 8/255")
        sizes = [size for _, size in _sizes(self.epsilons)]
        if len(set(sizes)) != len(sizes):
            raise ProbeError(
                f"epsilons names a size twice: {', '.join(map(str, self.epsilons))}", expected="different ones"
            )
        for name, low, high in (
            ("steps", 1, 1000), ("restarts", 1, 100), ("pictures", 0, MOST_PICTURES), ("min_group", 1, None),
            ("permutations", 1, None), ("examples", 1, None),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and (value < low or (high is not None and value > high)):
                upper = f" to {high}" if high is not None else " or more"
                raise ProbeError(f"{name} is {value}", expected=f"a number from {low}{upper}")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row a drawn row, attack and epsilon; what the model says before and after, and pictures of a few changes.

        Raises:
            Unavailable: no labels or inputs, inputs that are no numbers, or a model without a usable gradient.
        """
        if not subject.data.has_inputs:
            raise Unavailable("the data has no inputs to change", fix="name the column under `input`")
        sizes = _sizes(self.epsilons)
        drawn, labelled = draw_labelled(subject.predictions(ctx), self.examples, ctx)
        right = [i for i, row in enumerate(drawn.to_pylist()) if row["label"] == row["prediction"]]
        places = {row: i for i, row in enumerate(subject.data.row_ids)}
        inputs = subject.data.inputs
        attack = Perturbing(
            subject=subject,
            inputs=[inputs[places[drawn["row_id"][i].as_py()]] for i in right],
            labels=[drawn["label"][i].as_py() for i in right],
            epsilons=[size for _, size in sizes],
            steps=self.steps,
            restarts=self.restarts,
            ctx=ctx,
        )
        _check_size(sizes[-1], attack.source)
        outcomes = attack.outcomes()
        pictures = _pictures(attack, outcomes, self.pictures, ctx)
        facts = {
            "epsilons": sizes, "labelled": labelled, "unit": attack.source.unit, "steps": self.steps,
            "restarts": self.restarts,
        }  # fmt: skip
        lines = _Lines(
            drawn=drawn,
            sizes=sizes,
            outcomes=dict(zip(right, outcomes, strict=True)),
            pictures={(right[i], attack, e): made for (i, attack, e), made in pictures.items()},
        )
        return lines.table(subject, facts)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Robust accuracy against epsilon, by attack and by group; curves, tables and pictures."""
        return read(rows, ctx, min_group=self.min_group, permutations=self.permutations)


def _sizes(epsilons: Sequence[str | float]) -> list[tuple[str, float]]:
    """Each epsilon as it is written and as a number, ascending."""
    out = []
    for epsilon in epsilons:
        name = epsilon.strip() if isinstance(epsilon, str) else format(epsilon, "g")
        try:
            size = float(Fraction(name))
        except (ValueError, ZeroDivisionError, OverflowError):
            size = math.nan
        if not 0 <= size < math.inf:
            raise ProbeError(f"epsilon {epsilon!r} is no size", expected="0 or more, as 8/255 or 0.03")
        out.append((name, size))
    return sorted(out, key=lambda one: one[1])


def _check_size(largest: tuple[str, float], source: Continuous) -> None:
    span = source.high - source.low
    if largest[1] > span:
        raise ProbeError(
            f"epsilon is {largest[0]}, and a {source.unit} goes from {source.low:g} to {source.high:g}",
            expected=f"epsilons of at most {span:g}",
            fix=f"write {largest[0]}/255 if levels from 0 to 255 are meant" if source.steps == 255 else "",
        )


def _pictures(
    attack: Perturbing, outcomes: Sequence[Outcome], most: int, ctx: Context
) -> dict[tuple[int, str, int], tuple[bytes, ...]]:
    """Before, after and change of some inputs, by place, attack and epsilon; each at the smallest one that changed it."""
    found = []
    for i, outcome in enumerate(outcomes):
        changed = [
            (e, name)
            for name in ("pgd", "fgsm")
            for e, said in enumerate(outcome.after[name])
            if said.prediction != attack.labels[i] and attack.epsilons[e] > 0
        ]
        if changed:
            smallest = min(e for e, _ in changed)
            found.append((i, next(name for e, name in changed if e == smallest), smallest))
    out = {}
    for k in ctx.rng("pictures").permutation(len(found))[:most].tolist():
        i, name, e = found[k]
        before, after = attack.pair(i, name, attack.epsilons[e])
        seen = [attack.source.picture(x) for x in (before, after, panels.change(before, after, attack.epsilons[e]))]
        made = tuple(panels.png(one) for one in seen if one is not None)
        if len(made) == len(seen):
            out[found[k]] = made
    return out


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """What was found, one line a drawn row, attack and epsilon."""

    drawn: pa.Table
    sizes: list[tuple[str, float]]
    outcomes: dict[int, Outcome]
    pictures: dict[tuple[int, str, int], tuple[bytes, ...]]

    def table(self, subject: Subject, facts: dict[str, Any]) -> pa.Table:
        import pyarrow as pa

        keys = [(i, a, e) for i in range(len(self.drawn)) for a in ATTACKS for e in range(len(self.sizes))]
        outcomes = [self.outcomes.get(i) for i, _, _ in keys]
        said = [None if o is None else o.after[a][e] for o, (_, a, e) in zip(outcomes, keys, strict=True)]
        columns = repeated(self.drawn, len(ATTACKS) * len(self.sizes)) | {
            "attack": pa.array([a for _, a, _ in keys], pa.string()),
            "epsilon": pa.array([self.sizes[e][0] for _, _, e in keys], pa.string()),
            "distance": pa.array([self.sizes[e][1] for _, _, e in keys], pa.float64()),
            "prediction_after": pa.array([None if s is None else s.prediction for s in said], pa.string()),
            "score_before": pa.array([None if o is None else o.before for o in outcomes], pa.float64()),
            "score_after": pa.array([None if s is None else s.score for s in said], pa.float64()),
            "steepest": pa.array([None if o is None else o.steepest for o in outcomes], pa.float64()),
        }
        for k, panel in enumerate(PANELS):
            columns[panel] = pa.array(
                [self.pictures[key][k] if key in self.pictures else None for key in keys], pa.binary()
            )
        meta = PredictionsMeta(
            task=subject.task, classes=subject.classes, threshold=subject.threshold, positive=subject.positive
        )
        return pa.table(columns).replace_schema_metadata({**meta.encode(), KEY: json.dumps(facts).encode()})
