"""Turns the rows of `data.quality` into figures. It computes; `probes.data.quality_evidence` tells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.predictions import GROUP, MISSING
from probes.data.label_figures import Relabelled, label_measures
from probes.data.personal import KINDS
from probes.data.quality_definitions import BY_NAME
from probes.data.simple_model import confident
from probes.errors import ProbeError
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Counts,
    Measurement,
    Message,
    Slice,
    Undefined,
    feature_axes,
    group_axes,
    message,
)
from probes.gaps import largest_gap
from probes.intervals import Bool, Estimate, Int
from probes.ranking import roc_auc
from probes.rates import Proportions, count

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"plumbline.data_quality"
NO_ROWS = message("There is no row.")
NO_INPUTS = message("The inputs are not at hand.")
NO_LABELS = message("No row has a label.")
NO_GROUPS = message("The data names no groups.")
_FEW_GROUPS = message("Fewer than two groups have enough labelled rows.")


class Sheet:
    """Figures in the making: the rows in the order of their ids, as arrays.

    Attributes:
        rows: every column, by name.
        facts: what collecting noted.
        min_group, level: as the probe and the context say.
    """

    def __init__(self, table: pa.Table, min_group: int, level: float) -> None:
        raw = (table.schema.metadata or {}).get(KEY)
        if raw is None:
            raise ProbeError("the rows carry no description", expected=f"schema metadata {KEY.decode()!r}")
        self.facts: dict[str, Any] = json.loads(raw)
        self.min_group, self.level, self.n = min_group, level, len(table)
        order = sorted(range(self.n), key=table["row_id"].to_pylist().__getitem__)
        self.rows: dict[str, list[Any]] = {
            name: table[name].take(order).to_pylist() if order else [] for name in table.column_names
        }
        self.features = tuple(n.removeprefix(GROUP) for n in table.column_names if n.startswith(GROUP))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Labels that occur, sorted."""
        return tuple(sorted({v for v in self.rows["label"] if v is not None}))

    @cached_property
    def labels(self) -> Int:
        """Code of each row's label, -1 where it has none."""
        return _coded(self.rows["label"], self.classes)

    @cached_property
    def units(self) -> Int:
        """Rows with one code are near copies or of one cluster."""
        return np.unique(np.array(self.rows["unit"], dtype=str), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def relabelled(self) -> Relabelled | None:
        """What the simple model says of labels; None where there is none."""
        known = tuple(self.facts["models"].get("", {}).get("classes", ()))
        at = [i for i, line in enumerate(self.rows.get("label_scores", ())) if line is not None]
        if not at:
            return None
        scores, given = (
            np.array([self.rows["label_scores"][i] for i in at]),
            _coded([self.rows["label"][i] for i in at], known),
        )
        return Relabelled(classes=known, at=np.array(at), given=given, sure=confident(scores, given))

    def groups(self, feature: str) -> tuple[tuple[str, ...], Int]:
        """A feature's groups, sorted, and each row's code, -1 where it has none."""
        names = tuple(sorted({v for v in self.rows[GROUP + feature] if v is not None}))
        return names, _coded(self.rows[GROUP + feature], names)

    @cached_property
    def measurements(self) -> tuple[AnyMeasurement, ...]:
        """Every figure, or why it has no value."""
        return (
            *self._missing(), *self._balance(), *self._duplicates(), *self._leaks(), *label_measures(self), *self._proxies(),
            *self._personal(),
        )  # fmt: skip

    def marked(self, column: str) -> Int:
        """Positions of the rows whose flag is set."""
        return np.array([i for i, v in enumerate(self.rows.get(column, ())) if v], dtype=np.int64)

    def _missing(self) -> list[AnyMeasurement]:
        def role(name: str) -> Slice:
            return (Axis(kind="setting", name="role", value=name),)

        out = [self._whole("missing_share", "blank", role("input"), self._no_text)]
        if "label" in self.facts["roles"]:
            out.append(self._share("missing_share", [v is None for v in self.rows["label"]], role("label")))
        if "rationale" in self.facts["roles"]:
            out.append(self._share("missing_share", self.rows["no_rationale"], role("rationale")))
        for feature in self.features:
            empty = [v is None or v == MISSING for v in self.rows[GROUP + feature]]
            out.append(self._share("missing_share", empty, feature_axes(feature)))
        return out

    def _balance(self) -> list[AnyMeasurement]:
        known = self.labels >= 0
        if not known.any():
            out: list[AnyMeasurement] = [self.undefined("class_share", NO_LABELS if self.n else NO_ROWS)]
        else:
            out = [
                self._share("class_share", (self.labels[known] == k).tolist(), (Axis(kind="class", name=name),))
                for k, name in enumerate(self.classes)
            ]
        if not self.features:
            return [*out, self.undefined("label_share_gap", NO_GROUPS)]
        return [*out, *(self._gap(feature) for feature in self.features)]

    def shares(self, feature: str) -> tuple[tuple[str, ...], list[Proportions]]:
        """The groups of a feature and, for each class, the share that it has of their labelled rows."""
        names, codes = self.groups(feature)
        inside = np.where(self.labels >= 0, codes, -1)
        return names, [count(inside, len(names), self.labels == k, self.units) for k in range(len(self.classes))]

    def _gap(self, feature: str) -> AnyMeasurement:
        _, rates = self.shares(feature)
        at, sizes = feature_axes(feature), rates[0].denominators if rates else np.zeros(0, dtype=np.int64)
        able = np.flatnonzero(sizes >= self.min_group)
        if len(able) < 2 or len(rates) < 2:
            reason = message("All labels are equal.") if len(able) >= 2 else _FEW_GROUPS
            return self.undefined("label_share_gap", reason if self.n else NO_ROWS, at)
        # With two classes the shares of one say all.
        estimate = largest_gap([r.select(able) for r in (rates[1:] if len(rates) == 2 else rates)], self.level)
        counts = Counts(
            n=self.n, denominator=int(sizes[able].sum()), smallest=int(sizes[able].min()),
            clusters=self.independent(np.isin(self.groups(feature)[1], able) & (self.labels >= 0)),
        )  # fmt: skip
        return self.estimated("label_share_gap", estimate, counts, at)

    def _duplicates(self) -> list[AnyMeasurement]:
        known = None not in self.rows["copies"]
        twice = [v > 1 for v in self.rows["copies"]] if known else []
        reason = NO_INPUTS if self.n else NO_ROWS
        out = [self._share("duplicate_share", twice, ()) if known else self.undefined("duplicate_share", reason)]
        if "near_copies" in self.rows:
            out.append(self._share("near_duplicate_share", [v > 1 for v in self.rows["near_copies"]], ()))
        else:
            out.append(self.undefined("near_duplicate_share", self._why("near_reason")))
        conflicts = [v for v in self.rows["conflict"] if v is not None]
        nothing = NO_LABELS if known else reason
        out.append(
            self._share("conflicting_label_share", conflicts, ())
            if conflicts
            else self.undefined("conflicting_label_share", nothing if self.n else NO_ROWS)
        )
        return out

    def _leaks(self) -> list[AnyMeasurement]:
        reason = self.facts["training"].get("reason")
        if reason is not None:
            why = Message(**reason)
            return [self.undefined(name, why) for name in ("leaked_share", "near_leaked_share")]
        out = [self._share("leaked_share", self.rows["trained"], ())]
        if "training_id" in self.rows:
            out.append(self._share("near_leaked_share", [v is not None for v in self.rows["training_id"]], ()))
        else:
            out.append(self.undefined("near_leaked_share", self._why("near_leak_reason")))
        return out

    def _proxies(self) -> list[AnyMeasurement]:
        if not self.features:
            return [self.undefined("proxy_auc", NO_GROUPS)]
        return [m for feature in self.features for m in self._proxy(feature)]

    def _proxy(self, feature: str) -> list[AnyMeasurement]:
        name, here = "proxy_auc", feature_axes(feature)
        at = [i for i, line in enumerate(self.rows.get(f"scores_{feature}", ())) if line is not None]
        known = tuple(self.facts["models"].get(feature, {}).get("classes", ()))
        small = [g for g in self.groups(feature)[0] if g not in known]
        held = _coded([self.rows[GROUP + feature][i] for i in at], known)
        sizes = np.bincount(held, minlength=len(known)) if at else np.zeros(len(known), dtype=np.int64)
        reason = self.no_model(feature, message("Fewer than two groups have enough rows."))
        if np.count_nonzero(sizes) < 2:
            return [self.undefined(name, reason, here)]
        scores = np.array([self.rows[f"scores_{feature}"][i] for i in at])
        units, estimates, out = self.units[at], list[Estimate](), list[AnyMeasurement]()
        whole = Counts(
            n=self.n, denominator=len(at), smallest=int(sizes[sizes > 0].min()), clusters=self.independent(np.array(at))
        )
        for k in np.flatnonzero(sizes).tolist():
            estimates.append(roc_auc(scores[:, k], held == k, self.level, units))
            one = whole.model_copy(update={"smallest": int(min(sizes[k], len(at) - sizes[k]))})
            out.append(self.estimated(name, estimates[-1], one, group_axes({feature: known[k]})))
        for group in small:
            rows = self.rows[GROUP + feature].count(group)
            out.append(
                Undefined(
                    name=name, slice=group_axes({feature: group}), counts=Counts(n=self.n, denominator=rows, smallest=rows),
                    reason=message("{rows} rows; {need} are needed.", rows=rows, need=self.min_group),
                )
            )  # fmt: skip
        mean = Estimate(
            value=float(np.mean([e.value for e in estimates])), low=float(np.mean([e.low for e in estimates])),
            high=float(np.mean([e.high for e in estimates])), method="mean of the groups' DeLong limits",
            params={"groups": len(estimates)},
        )  # fmt: skip
        return [self.estimated(name, mean, whole, here), *out]

    def _personal(self) -> list[AnyMeasurement]:
        name = "personal_data_rows"
        if "personal" not in self.rows or not self.n:
            return [self.undefined(name, self._no_text if self.n else NO_ROWS)]
        counts, kinds = Counts(n=self.n, denominator=self.n, smallest=self.n), self.rows["personal"]
        found = [(sum(map(bool, kinds)), ())] + [
            (sum(kind in one for one in kinds), (Axis(kind="setting", name="kind", value=kind),)) for kind in KINDS
        ]
        d = BY_NAME[name]
        return [
            Measurement(name=name, value=v, interval=None, counts=counts, unit=d.unit, slice=at, better=d.better)
            for v, at in found
        ]

    def _why(self, fact: str) -> Message:
        """What collecting noted under this name, or that there are no texts."""
        return Message(**self.facts[fact]) if fact in self.facts else self._no_text

    @property
    def _no_text(self) -> Message:
        return Message(**self.facts["no_text"]) if "no_text" in self.facts else NO_ROWS

    def no_model(self, target: str, otherwise: Message) -> Message:
        if not self.n:
            return NO_ROWS
        if "no_text" in self.facts:
            return self._no_text
        reason = self.facts["models"].get(target, {}).get("reason")
        return otherwise if reason is None or (not target and not self.classes) else Message(**reason)

    def _whole(self, name: str, column: str, at: Slice, reason: Message) -> AnyMeasurement:
        return self._share(name, self.rows[column], at) if column in self.rows else self.undefined(name, reason, at)

    def _share(self, name: str, success: Sequence[bool], at: Slice) -> AnyMeasurement:
        """A share of what is there, counted and so without an interval."""
        rows = len(success)
        if not rows:
            return self.undefined(name, NO_ROWS, at)
        d, counts = BY_NAME[name], Counts(n=self.n, denominator=rows, smallest=rows)
        return Measurement(
            name=name, value=sum(success) / rows, interval=None, counts=counts, unit=d.unit, slice=at, better=d.better
        )

    def estimated(self, name: str, estimate: Estimate, counts: Counts, at: Slice) -> Measurement:
        d = BY_NAME[name]
        return Measurement(
            name=name, value=estimate.value, interval=estimate.interval(self.level), counts=counts, unit=d.unit,
            slice=at, better=d.better,
        )  # fmt: skip

    def undefined(self, name: str, reason: Message, at: Slice = ()) -> Undefined:
        return Undefined(name=name, slice=at, counts=Counts(n=self.n, denominator=0, smallest=0), reason=reason)

    def independent(self, rows: Int | Bool) -> int | None:
        """Independent units among some rows, or None where every row is its own."""
        return len(np.unique(self.units[rows])) if len(np.unique(self.units)) < self.n else None


def _coded(values: Sequence[str | None], names: Sequence[str]) -> Int:
    code = {name: k for k, name in enumerate(names)}
    return np.array([-1 if v is None else code.get(v, -1) for v in values], dtype=np.int64)
