"""How far a measure moved between two runs, and how sure that is: a difference with its interval, and a p-value from that.

For a smooth measure the interval is the delete-a-group jackknife over paired rows, in whole clusters, with a t quantile
(Shao and Tu 1995, ch. 2); shares get at least the half-width that no discordant pair at all would still leave,
z^2 / (n + z^2). An extreme over groups has no honest resampling interval, so there both runs' own intervals at half the
error are set against each other (Bonferroni), which holds paired or not. It says how far, never whether that is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from audit.pairing import Both, Incomparable, Pairs
from audit.restate import context_of, probe_of, reread
from probes.evidence import (
    AnyMeasurement,
    Counts,
    Interval,
    Measurement,
    Message,
    Method,
    Slice,
    Undefined,
    message,
    slice_name,
)
from probes.probe import Progress, silent

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from probes.probe import Probe

BLOCKS = 50
JACKKNIFE = "delete-a-group jackknife, paired"
BOUNDS = "bonferroni of both intervals"
# The option under which our probes draw p-values and nothing else; see `_quick`.
_FOR_P_VALUES_ALONE = "permutations"

Figure = tuple[str, Slice]


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One figure in both runs, on the rows in question. ``interval`` is that of the difference, now minus then."""

    now: Measurement
    then: Measurement
    interval: Interval | None

    @property
    def difference(self) -> float:
        return self.now.value - self.then.value

    @property
    def counts(self) -> Counts:
        """The smaller of both, so that nothing rests on more than it does."""
        a, b = self.now.counts, self.then.counts
        return Counts(
            n=min(a.n, b.n),
            denominator=min(a.denominator, b.denominator),
            smallest=min(a.smallest, b.smallest),
            clusters=a.clusters,
        )


def by_jackknife(
    both: Both, figures: Sequence[Figure], level: float, progress: Progress = silent
) -> dict[Figure, Moved | Message]:
    """Each figure's difference with its interval, or why resampling the rows gives none.

    Raises:
        Incomparable: the common rows form a single cluster.
    """
    import numpy as np

    if both.pairs is None:
        raise Incomparable(message("the two runs have no rows in common"))
    ctx = context_of(both.finding, level)
    blocks, older_blocks = _blocks(both.rows, both.pairs, ctx.rng("comparison"))
    probes = (probe_of(both.finding), probe_of(both.older))
    whole = tuple(
        _figures(p.summarise(t, ctx).measurements) for p, t in zip(probes, (both.rows, both.older_rows), strict=True)
    )
    probe, older = (
        _quick(p, t, found, figures, lambda q, u: _figures(q.summarise(u, ctx).measurements))
        for p, t, found in zip(probes, (both.rows, both.older_rows), whole, strict=True)
    )
    out: dict[Figure, Moved | Message] = {}
    replicates: dict[Figure, list[float]] = {}
    for figure in figures:
        try:
            _pick(whole[0], figure), _pick(whole[1], figure)
            replicates[figure] = []
        except Incomparable as error:
            out[figure] = error.reason
    count = int(max(blocks.max(), older_blocks.max())) + 1
    for block in progress(range(count), count, both.finding.instance):
        one = _figures(probe.summarise(both.rows.take(np.flatnonzero(blocks != block)), ctx).measurements)
        two = _figures(older.summarise(both.older_rows.take(np.flatnonzero(older_blocks != block)), ctx).measurements)
        for figure in list(replicates):
            try:
                replicates[figure].append(_pick(one, figure).value - _pick(two, figure).value)
            except Incomparable as error:
                out[figure] = error.reason
                del replicates[figure]
    for figure, values in replicates.items():
        now, then = _pick(whole[0], figure), _pick(whole[1], figure)
        definition = both.finding.info.definition(figure[0])
        unit = definition.unit if definition else ""
        interval = _spread(now.value - then.value, values, now.counts.denominator, level, unit)
        out[figure] = Moved(now=now, then=then, interval=interval)
    return {figure: out[figure] for figure in figures}


def by_bounds(both: Both, figures: Sequence[Figure], level: float) -> dict[Figure, Moved | Message]:
    """Each figure's difference with the interval that both runs' own intervals leave, or why there is none."""
    half = 1 - (1 - level) / 2
    now = _figures(reread(both.finding, both.rows, half).measurements)
    then = _figures(reread(both.older, both.older_rows, half).measurements)
    out: dict[Figure, Moved | Message] = {}
    for figure in figures:
        try:
            a, b = _pick(now, figure), _pick(then, figure)
        except Incomparable as error:
            out[figure] = error.reason
            continue
        out[figure] = Moved(now=a, then=b, interval=_against(a.interval, b.interval, level, half))
    return out


def p_value(difference: float, interval: Interval | None) -> float | None:
    """Two-sided p-value of no difference at all, as the interval has it: its own level where the interval just touches 0.

    None where there is no interval to speak of: an exact figure, a bound with one end, or one without any width.
    """
    from scipy import stats

    if interval is None or interval.low is None or interval.high is None or interval.degenerate:
        return None
    width = difference - interval.low if difference > 0 else interval.high - difference
    if width <= 0:
        return None
    if interval.method.name == JACKKNIFE:
        freedom = int(interval.method.params["groups"]) - 1
        reach = float(stats.t.ppf((1 + interval.level) / 2, freedom)) * abs(difference) / width
        return float(min(1.0, 2 * stats.t.sf(reach, freedom)))
    # Each of the two intervals stands at half the error, so the two tails are counted twice.
    reach = float(stats.norm.ppf(1 - (1 - interval.level) / 4)) * abs(difference) / width
    return float(min(1.0, 4 * stats.norm.sf(reach)))


def figures_of(measurements: Iterable[AnyMeasurement]) -> Mapping[Figure, AnyMeasurement]:
    """Measurements by name and slice."""
    return _figures(measurements)


def _figures(measurements: Iterable[AnyMeasurement]) -> dict[Figure, AnyMeasurement]:
    return {(m.name, m.slice): m for m in measurements}


def _pick(found: Mapping[Figure, AnyMeasurement], figure: Figure) -> Measurement:
    m = found.get(figure)
    if isinstance(m, Undefined):
        raise Incomparable(message("{measure} on {slice} has no value: {why}",
                                   measure=m.name, slice=slice_name(m.slice), why=m.reason))  # fmt: skip
    if m is None:
        raise Incomparable(message("{slice} does not occur in both runs", slice=slice_name(figure[1])))
    return m


def _quick(
    probe: Probe,
    rows: pa.Table,
    found: Mapping[Figure, AnyMeasurement],
    figures: Sequence[Figure],
    read: Callable[[Probe, pa.Table], Mapping[Figure, AnyMeasurement]],
) -> Probe:
    """The probe without the random regroupings that only its p-values need, if its figures are the same without them.

    Replicates need values alone, and most of the time would go into p-values that nobody sees.
    """
    own: Any = probe
    names = {f.name for f in fields(own)}
    if _FOR_P_VALUES_ALONE not in names or getattr(own, _FOR_P_VALUES_ALONE) == 1:
        return probe
    quick: Probe = replace(own, **{_FOR_P_VALUES_ALONE: 1})
    again = read(quick, rows)
    same = all(_value(again.get(f)) == _value(found.get(f)) for f in figures)
    return quick if same else probe


def _value(m: AnyMeasurement | None) -> float | None:
    return m.value if isinstance(m, Measurement) else None


def _blocks(
    rows: pa.Table, pairs: Pairs, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A block number for each row of both tables: whole clusters (or input rows), dealt at random into at most ``BLOCKS``.

    The first table says which rows belong together; the same row of the data is in the same block in both.
    """
    import numpy as np

    for name in ("cluster", "row_id"):
        if name in rows.column_names:
            values = [f"\0{i}" if v is None else v for i, v in enumerate(rows[name].to_pylist())]
            _, together = np.unique(np.asarray(values, dtype=object).astype(str), return_inverse=True)
            break
    else:
        together = pairs.units
    count = int(together.max()) + 1
    if count < 2:
        raise Incomparable(message("the common rows form a single cluster"))
    blocks = (rng.permutation(count) % min(count, BLOCKS))[together]
    of_unit = np.zeros(int(pairs.units.max()) + 1, dtype=np.int64)
    of_unit[pairs.units] = blocks
    return of_unit[pairs.units], of_unit[pairs.older_units]


def _spread(difference: float, replicates: Sequence[float], n: int, level: float, unit: str) -> Interval:
    import numpy as np
    from scipy import stats

    count = len(replicates)
    values = np.asarray(replicates)
    error = math.sqrt((count - 1) / count * float(((values - values.mean()) ** 2).sum()))
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    if unit == "share":
        z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
        half = max(half, z2 / (n + z2))
    method = Method(name=JACKKNIFE, params={"groups": count})
    return Interval(low=difference - half, high=difference + half, level=level, method=method)


def _against(now: Interval | None, then: Interval | None, level: float, half: float) -> Interval | None:
    if now is None or then is None:
        return None
    low, high = _minus(now.low, then.high), _minus(now.high, then.low)
    if low is None and high is None:
        return None
    return Interval(low=low, high=high, level=level, method=Method(name=BOUNDS, params={"each": half}))


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
