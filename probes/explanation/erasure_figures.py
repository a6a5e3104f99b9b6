"""From rows of erased inputs to figures: what each method's ranking takes from the probability of the explained class, set
against random rankings of the same inputs. It reads rows as `explanation.faithfulness` collects them and asks no model.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.bounded_means import bounded_mean
from probes.evidence import CurvePoint, Label, Series
from probes.explanation.erasure import ONLY, WITHOUT, mean_by
from probes.intervals import Estimate, Float, Int

if TYPE_CHECKING:
    import pyarrow as pa

BASELINE = "baseline"
ERASED = {"comprehensiveness": WITHOUT, "sufficiency": ONLY, "aopc": WITHOUT}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Everything that is averaged, one line an input and one column a method; T inputs, M methods.

    Attributes:
        methods: names in the order of columns; the last one is `BASELINE`, the random rankings.
        clusters: code of each input's cluster, shape (T,).
        means: by measure of `ERASED`, the mean drop of each input, shape (T, M).
        curves: by kind of erasure, the shares and the mean probability at each, shape (S,) and (T, M, S).
        plain: the probability with all units in place, shape (T,).
        targets: the predicted class of each input, shape (T,).
    """

    methods: tuple[str, ...]
    clusters: Int
    means: dict[str, Float]
    curves: dict[str, tuple[Float, Float]]
    plain: Float
    targets: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def units(self) -> int:
        """How many clusters there are."""
        return len(np.unique(self.clusters))

    def where(self, target: str) -> Figures:
        """The inputs for which one class is predicted."""
        at = np.array([t for t, name in enumerate(self.targets) if name == target], dtype=np.int64)
        return Figures(
            methods=self.methods,
            clusters=self.clusters[at],
            means={name: values[at] for name, values in self.means.items()},
            curves={kind: (shares, values[at]) for kind, (shares, values) in self.curves.items()},
            plain=self.plain[at],
            targets=tuple(self.targets[t] for t in at),
        )

    def alone(self, measure: str, method: str, level: float) -> Estimate | None:
        """A measure's mean over inputs, in [-1, 1]; None where fewer than two clusters leave no variance."""
        values = self.means[measure][:, self.methods.index(method)]
        return bounded_mean(values, level, self.clusters, (-1.0, 1.0))

    def over_random(self, measure: str, method: str, level: float) -> Estimate | None:
        """The mean over inputs of the method's value less that of random rankings of the same input, in [-2, 2]."""
        both = self.means[measure]
        values = both[:, self.methods.index(method)] - both[:, self.methods.index(BASELINE)]
        found = bounded_mean(values, level, self.clusters, (-2.0, 2.0))
        if found is None:
            return None
        return Estimate(
            value=found.value, low=found.low, high=found.high, method=f"{found.method}, paired", params=found.params
        )

    def series(self, kind: str, label: Callable[[str], Label], level: float) -> tuple[Series, ...]:
        """The mean probability at each share, one line a method."""
        shares, values = self.curves[kind]
        return tuple(
            Series(label=label(name), points=tuple(self._points(kind, shares, values[:, m, :], level)))
            for m, name in enumerate(self.methods)
        )

    def _points(self, kind: str, shares: Float, values: Float, level: float) -> Sequence[CurvePoint]:
        columns = [(0.0, self.plain), *zip(shares.tolist(), values.T, strict=True)]
        if kind == ONLY:
            columns = [*columns[1:], (1.0, self.plain)]
        points = []
        for x, column in columns:
            found = bounded_mean(column, level, self.clusters, (0.0, 1.0))
            low, high = (found.low, found.high) if found else (None, None)
            points.append(CurvePoint(x=x, y=float(column.mean()), low=low, high=high, n=len(column)))
        return points


def figures(rows: pa.Table, methods: Sequence[str]) -> Figures:
    """Average rows of erased inputs.

    Args:
        rows: as `explanation.faithfulness` collects them, in any order; at least one row.
        methods: names in the order in which they are shown, without the baseline.
    """
    rows = rows.sort_by([(name, "ascending") for name in ("row_id", "unit_id", "method", "order", "kind", "share")])
    keys = list(zip(rows["row_id"].to_pylist(), rows["unit_id"].to_pylist(), strict=True))
    first: dict[tuple[str, int], int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    places = {key: t for t, key in enumerate(first)}
    inputs = np.array([places[key] for key in keys], dtype=np.int64)
    names = (*methods, BASELINE)
    column = {name: m for m, name in enumerate(names)}
    method = np.array([column[name] for name in rows["method"].to_pylist()], dtype=np.int64)
    kinds = np.array(rows["kind"].to_pylist(), dtype=object)
    share, probability = rows["share"].to_numpy(), rows["probability"].to_numpy()
    drop = rows["plain"].to_numpy() - probability
    ranked = {name: rows[name].to_numpy(zero_copy_only=False) for name in ("bin", "step")}
    size = len(places) * len(names)
    cell = inputs * len(names) + method
    means = {}
    for measure, kind in ERASED.items():
        chosen = (kinds == kind) & ranked["step" if measure == "aopc" else "bin"]
        found = mean_by(cell[chosen], size, drop[chosen]).reshape(len(places), len(names))
        # Samek et al. count the input from which nothing is taken yet as a step too, whose drop is 0.
        steps = len(np.unique(share[chosen]))
        means[measure] = found * steps / (steps + 1) if measure == "aopc" else found
    at = np.array([first[key] for key in places], dtype=np.int64)
    return Figures(
        methods=names,
        clusters=cluster_codes([(rows["cluster"][int(i)].as_py(), keys[i]) for i in at]),
        means=means,
        curves={
            kind: _curve(kinds == kind, share, probability, cell, (len(places), len(names))) for kind in (WITHOUT, ONLY)
        },
        plain=rows["plain"].to_numpy()[at],
        targets=tuple(rows["target"].take(at).to_pylist()),
    )


def _curve(
    chosen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], share: Float, probability: Float, cell: Int,
    shape: tuple[int, int],
) -> tuple[Float, Float]:  # fmt: skip
    shares, code = np.unique(share[chosen], return_inverse=True)
    size = shape[0] * shape[1] * len(shares)
    found = mean_by(cell[chosen] * len(shares) + code, size, probability[chosen])
    return shares, found.reshape(*shape, len(shares))


def cluster_codes(rows: Sequence[tuple[str | None, Hashable]]) -> Int:
    """Codes of clusters, shape (N,), from pairs of a cluster's name and what a row without one is known by."""
    known: dict[Hashable, int] = {}
    named = [("cluster", name) if name is not None else ("alone", alone) for name, alone in rows]
    return np.array([known.setdefault(key, len(known)) for key in named], dtype=np.int64)
