"""What `fairness.counterfactual` and `fairness.identity_swaps` report of a grid of twins: measures with their intervals, a plot, a
table, and the pairs of texts that lie furthest apart. It collects nothing and draws no random number but by its context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.answers import Answers
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Counts,
    Evidence,
    Interval,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Slice,
    Table,
    Undefined,
    feature_axes,
    group_axes,
    message,
)
from probes.fairness.counterfactual_definitions import BY_NAME, DEFINES
from probes.fairness.counterfactual_figures import (
    Chance,
    chance,
    flip_share,
    largest_gap,
    pair_flip_share,
    shift_estimate,
    shifts,
)
from probes.fairness.counterfactual_pairs import worst_pairs
from probes.fairness.templates import Templates
from probes.intervals import Estimate, Float
from probes.probe import Context
from probes.rates import Proportions
from probes.reasons import naming

if TYPE_CHECKING:
    import pyarrow as pa

_NO_SCORES = message("The predictions have no scores.")
_TOO_FEW = message("Fewer than two independent templates are left to compare.")
_NONE = message("No template is left with two identities of {feature} to compare.")


def undefined(feature: str | None, reason: Message, rows: int) -> list[AnyMeasurement]:
    """Every measure of a feature, or of none, as a figure without value."""
    counts = Counts(n=rows, denominator=0, smallest=0)
    at = () if feature is None else feature_axes(feature)
    names = [d.name for d in DEFINES if not d.name.startswith("score_shift")]
    return [Undefined(name=name, slice=at, counts=counts, reason=reason) for name in names]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheet:
    """One feature's grid, with what is needed to read it.

    Attributes:
        grid: the templates.
        answers: of the table's rows.
        table: the rows, with the column ``text`` where texts are known.
        positive: codes of the classes whose scores are looked at.
        covered, inputs: inputs that have a twin, of all.
        draws: random exchanges behind each p-value.
    """

    grid: Templates
    answers: Answers
    table: pa.Table
    positive: tuple[int, ...]
    covered: int
    inputs: int
    draws: int

    def read(self, ctx: Context) -> tuple[list[AnyMeasurement], list[Evidence], list[Message]]:
        """Measures, evidence and remarks."""
        grid, at = self.grid, feature_axes(self.grid.feature)
        exact = self._exact(at)
        if not len(grid):
            reason = _NONE.model_copy(update={"params": {"feature": grid.feature}})
            known = {m.name for m in exact}
            rest = [m for m in undefined(grid.feature, reason, self.inputs) if m.name not in known]
            return [*exact, *rest], [], self._remarks()
        measured = [*exact, self._share("flip_rate", flip_share(grid), ctx.level, at),
                    self._share("pair_flip_rate", pair_flip_share(grid), ctx.level, at)]  # fmt: skip
        evidence: list[Evidence] = []
        for k in self.positive:
            tail: Slice = (Axis(kind="class", name=self.answers.classes[k]),) if len(self.positive) > 1 else ()
            found, shown = self._scores(k, tail, ctx)
            measured += found
            evidence += shown
        return (
            measured,
            [*evidence, *worst_pairs(grid, self.table, self.answers.classes, self.positive[0], ctx)],
            self._remarks(),
        )

    def _counts(self, templates: int, smallest: int | None = None, units: int | None = None) -> Counts:
        clusters = None if self.grid.units is None else units
        few = templates if smallest is None else smallest
        return Counts(n=self.grid.rows, denominator=templates, smallest=few, clusters=clusters)

    def _exact(self, at: Slice) -> list[AnyMeasurement]:
        size, lost = len(self.grid), self.grid.labels_differ
        whole = Counts(n=self.inputs, denominator=self.inputs, smallest=self.inputs)
        values = (
            ("templates_compared", float(size), self._counts(size)),
            ("templates_left_out", float(lost), self._counts(size + lost)),
            ("coverage", self.covered / self.inputs, whole),
        )
        return [_measured(name, value, None, counts, at) for name, value, counts in values]

    def _share(self, name: str, share: Proportions, level: float, at: Slice) -> AnyMeasurement:
        units = len(np.unique(self.grid.codes()))
        counts = Counts(
            n=self.grid.rows, denominator=int(share.denominators[0]), smallest=int(share.denominators[0]),
            clusters=units if share.clusters is not None else None,
        )  # fmt: skip
        if units < 2:
            return Undefined(name=name, slice=at, counts=counts, reason=_TOO_FEW)
        estimate = share.estimate(0, level)
        return _measured(name, estimate.value, estimate.interval(level), counts, at)

    def _scores(self, k: int, tail: Slice, ctx: Context) -> tuple[list[AnyMeasurement], list[Evidence]]:
        """Shifts of one class's score: of each identity, and the largest gap."""
        grid, at = self.grid, (*feature_axes(self.grid.feature), *tail)
        slices = [(*group_axes({grid.feature: name}), *tail) for name in grid.identities]
        codes = grid.codes()
        enough = len(np.unique(codes)) >= 2
        if grid.scores is None or not enough:
            reason, counts = (_TOO_FEW if grid.scores is not None else _NO_SCORES), self._counts(len(grid))
            names = [(n, s) for s in slices for n in ("score_shift", "score_shift_p_value")]
            names += [(n, at) for n in ("largest_shift_gap", "largest_shift_gap_p_value")]
            return [Undefined(name=n, slice=s, counts=counts, reason=reason) for n, s in names], []
        scores = grid.scores[:, :, k]
        moved = shifts(scores)
        rng = ctx.rng("\0".join((grid.feature, self.answers.classes[k])))
        by_chance = chance(moved, grid.units, rng, self.draws)
        out: list[AnyMeasurement] = []
        points, lines = [], []
        for g, name in enumerate(grid.identities):
            there = grid.present[:, g]
            counts = self._counts(int(there.sum()), units=len(np.unique(codes[there])))
            estimate = shift_estimate(moved, g, codes, ctx.level)
            p = float(by_chance.adjusted[g])
            points.append(_point(name, estimate, counts.denominator))
            lines.append(_line(name, counts.denominator, float(scores[there, g].mean()), estimate, p))
            if estimate is None:
                out.append(Undefined(name="score_shift", slice=slices[g], counts=counts, reason=_TOO_FEW))
            else:
                out.append(_measured("score_shift", estimate.value, estimate.interval(ctx.level), counts, slices[g]))
            out.append(_measured("score_shift_p_value", p, None, counts, slices[g]))
        out += self._gap(scores, by_chance, at, ctx.level)
        return out, self._shown(points, lines, self.answers.classes[k])

    def _gap(self, scores: Float, by_chance: Chance, at: Slice, level: float) -> list[AnyMeasurement]:
        gap = largest_gap(scores, self.grid.codes(), level)
        sizes = self.grid.present.sum(axis=0)
        counts = self._counts(len(self.grid), int(sizes.min()), len(np.unique(self.grid.codes())))
        p = _measured("largest_shift_gap_p_value", by_chance.spread, None, counts, at)
        p = p.model_copy(update={"monte_carlo_error": by_chance.error(by_chance.spread)})
        if gap is None or gap.unmet:
            reason = message(
                "{pairs} pairs of identities are in fewer than two independent templates together, so the largest difference "
                "may be one that was never seen.",
                pairs=len(sizes) * (len(sizes) - 1) // 2 if gap is None else gap.unmet,
            )
            return [Undefined(name="largest_shift_gap", slice=at, counts=counts, reason=reason), p]
        counts = counts.model_copy(
            update={"denominator": gap.templates, "smallest": min(gap.templates, int(sizes.min()))}
        )
        return [_measured("largest_shift_gap", gap.estimate.value, gap.estimate.interval(level), counts, at), p]

    def _shown(
        self, points: Sequence[IntervalPoint], lines: Sequence[tuple[Cell, ...]], positive: str
    ) -> list[Evidence]:
        feature = self.grid.feature
        plot = IntervalPlot(
            title=message("Shift of the score of {positive} by {feature}", positive=positive, feature=feature),
            unit="score",
            points=tuple(points),
            reference=0.0,
            reference_label=message("as the others of the template"),
        )
        heads = (
            message("who is meant"), message("templates"), message("mean score"), message("shift"), message("from"),
            message("to"), message("p-value, adjusted for {identities} identities", identities=len(lines)),
        )  # fmt: skip
        title = message("Scores of {positive} by who is meant: {feature}", positive=positive, feature=feature)
        return [plot, Table(title=title, columns=heads, rows=tuple(lines))]

    def _remarks(self) -> list[Message]:
        grid, feature = self.grid, self.grid.feature
        out = []
        if grid.labels_differ:
            out.append(
                message(
                    "{templates} templates whose twins in {feature} have different labels are left out: there, different answers "
                    "may be right.",
                    templates=grid.labels_differ, feature=feature,
                )
            )  # fmt: skip
        if grid.few:
            few = message("Too few templates to compare in {feature}: {names}.", feature=feature)
            many = message("Too few templates to compare in {feature}: {names} and {more} more.", feature=feature)
            out.append(naming(few, many, [f"{name} ({templates})" for name, templates in grid.few]))
        if grid.torn:
            out.append(
                message(
                    "{cells} answers of {feature} stand for several rows of one template and identity that were given different "
                    "classes: the class of their mean score, or the commonest, counts.",
                    cells=grid.torn, feature=feature,
                )
            )  # fmt: skip
        if grid.units is not None:
            out.append(
                message(
                    "The templates of {feature} come in {units} clusters; intervals and p-values allow for templates of one "
                    "cluster being alike.",
                    feature=feature, units=len(np.unique(grid.units)),
                )
            )  # fmt: skip
        return out


def _measured(name: str, value: float, interval: Interval | None, counts: Counts, at: Slice) -> Measurement:
    definition = BY_NAME[name]
    return Measurement(
        name=name,
        value=value,
        interval=interval,
        counts=counts,
        unit=definition.unit,
        slice=at,
        better=definition.better,
    )


def _point(name: str, estimate: Estimate | None, n: int) -> IntervalPoint:
    if estimate is None:
        return IntervalPoint(label=name, value=None, n=n, note=_TOO_FEW)
    return IntervalPoint(label=name, value=estimate.value, low=estimate.low, high=estimate.high, n=n)


def _line(name: str, n: int, score: float, estimate: Estimate | None, p: float) -> tuple[Cell, ...]:
    if estimate is None:
        return (name, n, score, None, None, None, p)
    return (name, n, score, estimate.value, estimate.low, estimate.high, p)
