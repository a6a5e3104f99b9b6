"""Reads the rows of `robustness.adversarial`: shares against epsilon, their curves, the warnings that attacks themselves give
reason for, and pictures. Pure statistics on a table; it attacks nothing.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.answers import answers
from probes.errors import ProbeError
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Cell,
    Curve,
    CurvePoint,
    Evidence,
    ImageGrid,
    Measurement,
    Message,
    Reading,
    Series,
    Slice,
    Table,
    Tile,
    message,
)
from probes.intervals import Bool, Float
from probes.robustness.adversarial_definitions import ADVERSARIAL
from probes.robustness.masking import warnings
from probes.robustness.shares import Shares, shares_of

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context

KEY = b"plumbline.adversarial"
PANELS = ("png_before", "png_after", "png_change")
_PANELS_SAID = (message("{row}, before"), message("{row}, after"), message("{row}, the change"))

_NAMES = {
    "fgsm": message("FGSM: one step along the sign of the gradient"),
    "noise": message("noise: a random sign at every place"),
    "pgd": message("PGD: descent in several steps"),
}


def read(rows: pa.Table, ctx: Context, *, min_group: int, permutations: int) -> Reading:
    """What the rows say.

    Raises:
        ProbeError: the rows are not those of this probe.
    """
    sheet = _Sheet.of(rows, ctx, min_group, permutations)
    measurements = sheet.measurements()
    evidence = [*sheet.curves(measurements), *sheet.tables(measurements), *sheet.pictures()]
    return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=tuple(sheet.remarks()))


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """N drawn rows under A attacks at E epsilons.

    Attributes:
        right: answered rightly before any change, shape (N,).
        flipped: the right answer is changed by this attack at this epsilon, shape (N, A, E).
        steepest: largest entry of the gradient, shape (N,); NaN where a row was not attacked.
    """

    rows: pa.Table
    facts: dict[str, Any]
    attacks: tuple[str, ...]
    right: Bool
    flipped: Bool
    steepest: Float
    shares: Shares
    said: tuple[Message, ...]
    seed: int

    @classmethod
    def of(cls, rows: pa.Table, ctx: Context, min_group: int, permutations: int) -> _Sheet:
        raw = (rows.schema.metadata or {}).get(KEY)
        if raw is None:
            raise ProbeError(
                "the rows carry no description of their epsilons", expected="rows of robustness.adversarial"
            )
        facts = json.loads(raw)
        attacks, many = tuple(_NAMES), len(facts["epsilons"])
        per_row = len(attacks) * many
        ordered = rows.sort_by([(name, "ascending") for name in ("row_id", "unit_id")])
        number, left = divmod(len(ordered), per_row)
        first = ordered.take(np.arange(number) * per_row)
        expected = [(a, name) for a in attacks for name, _ in facts["epsilons"]] * number
        if left or list(zip(ordered["attack"].to_pylist(), ordered["epsilon"].to_pylist(), strict=True)) != expected:
            raise ProbeError(f"{len(rows)} rows", expected=f"{per_row} for each drawn row")
        known = answers(first.drop_columns([c for c in PANELS if c in first.column_names]))
        right = known.labels == known.predictions
        after = np.array(
            [
                a is not None and a != b
                for a, b in zip(ordered["prediction_after"].to_pylist(), ordered["label"].to_pylist(), strict=True)
            ],
            dtype=bool,
        )
        return cls(
            rows=ordered,
            facts=facts,
            attacks=attacks,
            right=right,
            flipped=after.reshape(number, len(attacks), many),
            steepest=np.array(first["steepest"].to_pylist(), dtype=np.float64),
            shares=shares_of(first, known, ADVERSARIAL, ctx, min_group=min_group, permutations=permutations),
            said=known.remarks(),
            seed=ctx.seed,
        )

    @property
    def epsilons(self) -> list[tuple[str, float]]:
        return [(name, size) for name, size in self.facts["epsilons"]]

    def found(self, attack: str | None) -> Bool:
        """Changed at this epsilon or a smaller one, by one attack or by any, shape (N, E)."""
        chosen = self.flipped.any(axis=1) if attack is None else self.flipped[:, self.attacks.index(attack)]
        return np.asarray(np.logical_or.accumulate(chosen, axis=1), dtype=np.bool_)

    def measurements(self) -> list[AnyMeasurement]:
        every = np.ones(len(self.right), dtype=bool)
        out = [self.shares.overall("clean_accuracy", self.right, every)]
        for attack in (None, *self.attacks):
            found = self.found(attack)
            for e, (name, _) in enumerate(self.epsilons):
                at = _at(name, attack)
                out += [
                    self.shares.overall("robust_accuracy", self.right & ~found[:, e], every, at),
                    self.shares.overall("attack_success_rate", found[:, e], self.right, at),
                ]
        worst = self.found(None)
        out += self.shares.by_group("clean_accuracy", self.right, every, compare=False)
        for e, (name, _) in enumerate(self.epsilons):
            out.append(self.shares.overall("accuracy_drop", worst[:, e], every, _at(name)))
            out += self.shares.by_group("robust_accuracy", self.right & ~worst[:, e], every, _at(name))
            out += self.shares.by_group("attack_success_rate", worst[:, e], self.right, _at(name))
        return out

    def curves(self, measured: list[AnyMeasurement]) -> list[Evidence]:
        """Robust accuracy against epsilon: by attack, then for each feature by group."""
        values = [m for m in measured if isinstance(m, Measurement)]
        by_slice = {m.slice: m for m in values if m.name.removeprefix("group_") == "robust_accuracy"}
        clean = {m.slice: m for m in values if m.name.removeprefix("group_") == "clean_accuracy"}
        if not clean:
            return []

        def line(group: Slice, attack: str | None) -> tuple[CurvePoint, ...]:
            start = [] if self.epsilons[0][1] == 0 else [(0.0, clean.get(group))]
            wanted = [*start, *((size, by_slice.get((*group, *_at(name, attack)))) for name, size in self.epsilons)]
            return tuple(_point(size, m) for size, m in wanted if m is not None)

        every = tuple(Series(label=a or message("any attack"), points=line((), a)) for a in (None, *self.attacks))
        axes = {"x_label": message("epsilon ({unit})", unit=self.facts["unit"]), "y_label": message("robust accuracy")}
        out: list[Evidence] = [Curve(title=message("Right answers that survive, by attack"), series=every, **axes)]
        for feature, (_, names) in self.shares.groups.items():
            lines = tuple(
                Series(label=name, points=line((Axis(kind="group", name=feature, value=name),), None)) for name in names
            )
            if any(line.points for line in lines):
                title = message("Right answers that survive any attack, by group of {feature}", feature=feature)
                out.append(Curve(title=title, series=tuple(line for line in lines if line.points), **axes))
        return out

    def tables(self, measured: list[AnyMeasurement]) -> list[Evidence]:
        """Rows that each attack changes by itself, and the largest gaps between groups."""
        if not len(self.right):
            return []
        alone = self.flipped.sum(axis=0)
        rows: list[tuple[Cell, ...]] = [
            (_NAMES[attack], *(int(n) for n in alone[a])) for a, attack in enumerate(self.attacks)
        ]
        rows.append((message("any of them, or at a smaller epsilon"), *(int(n) for n in self.found(None).sum(axis=0))))
        title = message("Right answers changed, of {right}", right=int(self.right.sum()))
        columns = (message("attack"), *(message("epsilon {epsilon}", epsilon=name) for name, _ in self.epsilons))
        out: list[Evidence] = [Table(title=title, columns=columns, rows=tuple(rows))]
        values = {(m.name, m.slice): m for m in measured if isinstance(m, Measurement)}
        for feature in self.shares.groups:
            lines: list[tuple[Cell, ...]] = []
            for name, _ in self.epsilons:
                at = (Axis(kind="feature", name=feature), *_at(name))
                gap = values.get(("robust_accuracy_difference", at))
                chance = values.get(("robust_accuracy_difference_p_value", at))
                ends = (None, None) if gap is None or gap.interval is None else (gap.interval.low, gap.interval.high)
                lines.append(
                    (name, None if gap is None else gap.value, *ends, None if chance is None else chance.value)
                )
            out.append(
                Table(
                    title=message("Largest gap in robust accuracy between groups of {feature}", feature=feature),
                    columns=(message("epsilon"), message("gap"), message("low"), message("high"), message("p-value")),
                    rows=tuple(lines),
                )
            )
        return out

    def pictures(self) -> list[Evidence]:
        import pyarrow.compute as pc

        shown = self.rows.filter(pc.is_valid(self.rows[PANELS[0]])).to_pylist()
        if not shown:
            return []
        tiles = []
        for row in shown:
            notes = (
                message("label {label}, predicted so with a score of {score}", label=row["label"], score=row["score_before"]),
                message(
                    "{attack} at {epsilon}: predicted {prediction}; the label's score is {score}",
                    attack=row["attack"], epsilon=row["epsilon"], prediction=row["prediction_after"],
                    score=row["score_after"],
                ),
                message("the change alone: grey is none, black and white are {epsilon}", epsilon=row["epsilon"]),
            )  # fmt: skip
            for panel, said, note in zip(PANELS, _PANELS_SAID, notes, strict=True):
                data = base64.b64encode(row[panel]).decode()
                tiles.append(Tile(png_base64=data, label=said.put(row=row["row_id"]), note=note))
        gradient = [self.attacks.index(a) for a in ("fgsm", "pgd")]
        rule = message(
            "{shown} of the {there} rows that FGSM or PGD changed, drawn at random with seed {seed}; each at the smallest "
            "epsilon that changed it, by PGD where both did.",
            shown=len(shown), there=int(self.flipped[:, gradient].any(axis=(1, 2)).sum()), seed=self.seed,
        )  # fmt: skip
        return [ImageGrid(title=message("Right answers that were changed"), chosen_by=rule, tiles=tuple(tiles))]

    def remarks(self) -> list[Message]:
        number, attacked = len(self.right), int(self.right.sum())
        out = [
            message(
                "{drawn} of {labelled} rows with a label were drawn with seed {seed}, in proportion to the labels; the "
                "{attacked} that are answered rightly were attacked.",
                drawn=number, labelled=self.facts["labelled"], seed=self.seed, attacked=attacked,
            ),
            message(
                "PGD takes {steps} steps of 2.5 epsilon / {steps}. Random starts: {restarts}; they depend on the input and the "
                "seed alone.",
                steps=self.facts["steps"], restarts=self.facts["restarts"],
            ),
            *self.said,
        ]  # fmt: skip
        names = [name for name, _ in self.epsilons]
        return [*out, *warnings(self.attacks, names, self.flipped[self.right], self.steepest[self.right])]


def _at(epsilon: str, attack: str | None = None) -> Slice:
    size = Axis(kind="setting", name="epsilon", value=epsilon)
    return (size,) if attack is None else (size, Axis(kind="setting", name="attack", value=attack))


def _point(x: float, m: Measurement) -> CurvePoint:
    low, high = (None, None) if m.interval is None else (m.interval.low, m.interval.high)
    return CurvePoint(x=x, y=m.value, low=low, high=high, n=m.counts.denominator)
