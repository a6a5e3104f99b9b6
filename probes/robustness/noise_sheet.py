"""The rows of `probes.robustness.noise` as arrays, what its measures mean, and the paired drop in accuracy.

The unit is the example, or its cluster in the data: its variants are never taken as independent. It reads nothing off the
rows by itself; `probes.robustness.noise_reading` and `probes.robustness.noise_groups` do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.evidence import (
    AnyMeasurement,
    Axis,
    Better,
    Counts,
    MeasureDefinition,
    Measurement,
    Message,
    Slice,
    Undefined,
    message,
)
from probes.intervals import Bool, Estimate, Int, critical, mean_interval, tail_of

if TYPE_CHECKING:
    import pyarrow as pa

ALL = "all"


def _define(
    name: str, formula: Message, zero: Message | None = None, one: Message | None = None, *,
    low: float = 0.0, high: float | None = 1.0, unit: str = "share", better: Better = "lower", smooth: bool = True,
    source: str = "Plumbline",
) -> MeasureDefinition:  # fmt: skip
    return MeasureDefinition(
        name=name, formula=formula, low=low, high=high, zero=zero, one=one, source=source, better=better, unit=unit,
        smooth=smooth,
    )  # fmt: skip


_NEVER, _ALWAYS = message("no answer changes"), message("every answer changes")
_ALIKE = message("noise hits all groups alike")
DEFINES = (
    _define("flip_rate", message("changed texts whose answer differs from that to the text as it was / changed texts"),
            _NEVER, _ALWAYS),
    _define("accuracy_with_noise", message("changed texts that are answered as labelled / changed texts with a label"),
            message("every answer is wrong"), message("every answer is right"), better="higher"),
    _define("accuracy_drop",
            message("accuracy on the texts as they were, less accuracy on the same texts with noise; changed texts with a"
                    " label only"),
            message("noise costs no accuracy"), message("every answer was right and is wrong with noise"), low=-1.0),
    _define("unchanged", message("texts that a kind of noise has no place in"), high=None, unit="texts", better="neither"),
    _define("group_flip_rate", message("flip_rate of one group"), _NEVER, _ALWAYS),
    _define("group_accuracy_drop", message("accuracy_drop of one group"), message("noise costs no accuracy"),
            message("every answer was right and is wrong with noise"), low=-1.0),
    _define("flip_rate_difference", message("highest less lowest flip rate over groups"), _ALIKE,
            message("noise changes every answer of one group and none of another"), smooth=False),
    _define("flip_rate_difference_p_value",
            message("how often chance alone makes a flip_rate_difference as large, groups permuted"),
            message("chance never makes so large a difference"), message("chance always makes so large a difference"), unit="",
            better="neither", smooth=False, source="Phipson and Smyth 2010"),
    _define("accuracy_drop_difference", message("highest less lowest drop in accuracy over groups"), _ALIKE, high=2.0,
            smooth=False),
)  # fmt: skip
_BY_NAME = {d.name: d for d in DEFINES}
UNLABELLED = message("No changed text has a label.")
_ALONE = message("Fewer than two independent examples were changed, so there is nothing to estimate variation from.")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The rows as arrays, one entry a variant, in the order of row and unit ids.

    Attributes:
        kinds, rates: as the plan asked for, in order.
        kind, rate: codes into them.
        changed: the text differs.
        flipped: so does the answer.
        known: there is a label.
        before, after: the answer was right, and is.
        rows: code of the example.
        units: code of the independent unit: the data's cluster, or the example.
        table: the rows themselves.
    """

    kinds: tuple[str, ...]
    rates: tuple[float, ...]
    kind: Int
    rate: Int
    changed: Bool
    flipped: Bool
    known: Bool
    before: Bool
    after: Bool
    rows: Int
    units: Int
    table: pa.Table

    def cells(self, *, crossed: bool) -> Iterator[tuple[str, str, Bool]]:
        """Kind, rate and rows of each cell: all together, each kind, each rate; with ``crossed`` each pair too."""
        for k in (-1, *range(len(self.kinds))):
            for r in (-1, *range(len(self.rates))):
                if crossed or k < 0 or r < 0:
                    inside = np.ones(len(self.kind), dtype=bool)
                    if k >= 0:
                        inside &= self.kind == k
                    if r >= 0:
                        inside &= self.rate == r
                    yield self.kinds[k] if k >= 0 else ALL, rate_name(self.rates[r]) if r >= 0 else ALL, inside

    def counts(self, inside: Bool, used: Bool) -> Counts:
        n = int(np.count_nonzero(used))
        return Counts(
            n=int(np.count_nonzero(inside)), denominator=n, smallest=n, clusters=len(np.unique(self.units[used]))
        )


def rate_name(rate: float) -> str:
    """A rate as it stands in slices and policies: ``0.05``."""
    return f"{rate:g}"


def setting(kind: str, rate: str) -> Slice:
    """``setting:kind=typos, setting:rate=0.1``; ``all`` where several are taken together."""
    return (Axis(kind="setting", name="kind", value=kind), Axis(kind="setting", name="rate", value=rate))


def sheet_of(rows: pa.Table, facts: dict[str, Any]) -> Sheet:
    """The rows as arrays; ``facts`` name the kinds and rates that were asked for."""
    table = rows.sort_by([("row_id", "ascending"), ("unit_id", "ascending")])

    def texts(name: str) -> np.ndarray[Any, Any]:
        return np.array(table[name].to_pylist(), dtype=object)

    def codes(name: str) -> Int:
        values = np.unique(texts(name).astype(str), return_inverse=True)[1]
        return np.asarray(values, dtype=np.int64).reshape(-1)

    labels, before, after = texts("label"), texts("prediction"), texts("prediction_after")
    kinds, rates = tuple(facts["kinds"]), tuple(facts["rates"])
    units = codes("cluster" if "cluster" in table.column_names else "row_id")
    return Sheet(
        kinds=kinds,
        rates=rates,
        kind=np.array([kinds.index(k) for k in table["kind"].to_pylist()], dtype=np.int64),
        rate=np.array([rates.index(r) for r in table["rate"].to_pylist()], dtype=np.int64),
        changed=np.array(table["changed"].to_pylist(), dtype=bool),
        flipped=np.asarray(before != after, dtype=bool),
        known=np.array([label is not None for label in labels], dtype=bool),
        before=np.asarray(before == labels, dtype=bool),
        after=np.asarray(after == labels, dtype=bool),
        rows=codes("row_id"),
        units=units,
        table=table,
    )


def drop(sheet: Sheet, name: str, at: Slice, cell: tuple[Bool, Bool], level: float) -> AnyMeasurement:
    """The drop in accuracy of one cell: ``cell`` holds its variants, and those that changed and have a label."""
    inside, used = cell
    counts = sheet.counts(inside, used)
    found = drop_in_accuracy(sheet.before[used], sheet.after[used], sheet.units[used], level)
    if found is None:
        reason = _ALONE if counts.denominator else UNLABELLED
        return Undefined(name=name, slice=at, counts=counts, reason=reason)
    return measured(name, found, counts, at, level)


def drop_in_accuracy(before: Bool, after: Bool, units: Int, level: float) -> Estimate | None:
    """Accuracy before less accuracy after on the same n texts, in [-1, 1], with a paired interval.

    The interval is Student's t over the differences of each pair (-1, 0 or 1), robust to clusters. Where hardly any pair
    differs that interval would be too narrow, down to nothing; so it is never narrower than what no changed pair at all
    leaves open in as many independent units, z^2 / (units + z^2), Wilson's limit of a proportion of zero.

    Args:
        before, after: whether each text was answered rightly, shape (n,).
        units: code of each text's independent unit, shape (n,).

    Returns:
        None where there are fewer than two units.
    """
    values = before.astype(float) - after.astype(float)
    found = mean_interval(values, level, units, bounds=(-1.0, 1.0))
    if found is None:
        return None
    number = len(np.unique(units))
    floor = _square(level) / (number + _square(level))
    return Estimate(
        value=found.value,
        low=max(min(found.low, found.value - floor), -1.0),
        high=min(max(found.high, found.value + floor), 1.0),
        method="paired t, at least Wilson's zero",
        params={"units": number, **{k: v for k, v in found.params.items() if k != "clusters"}},
    )


@lru_cache(maxsize=256)
def _square(level: float) -> float:
    return float(critical(tail_of(level))) ** 2


def measured(name: str, estimate: Estimate, counts: Counts, at: Slice, level: float) -> Measurement:
    """An estimate as a measurement."""
    return exact(name, estimate.value, counts, at).model_copy(update={"interval": estimate.interval(level)})


def exact(name: str, value: float, counts: Counts, at: Slice) -> Measurement:
    """A value without an interval."""
    definition = _BY_NAME[name]
    return Measurement(
        name=name, value=value, interval=None, counts=counts, unit=definition.unit, slice=at, better=definition.better
    )
