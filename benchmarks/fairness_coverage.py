"""Does the interval of the largest gap hold the true one, and is a gap claimed only where there is one?

Tables are drawn with known true rates: groups x sizes x true gaps, rates near 0 and 1, rows in clusters (beta-binomial), and two
rates at once (equalized odds, the worst and the mean). Side by side on the same tables: fairlearn's percentile bootstrap (by
`probes.resampling`, whose distribution is that of `MetricFrame(n_boot=...)`: checked on one table), the plain form with which
this project began (limits of all pairs simultaneous below by the studentised range, intersection-union above), and `probes.gaps`,
through the functions that every audit uses. Printed are coverage, misses on either side and mean widths.

A gap is claimed where the low end is above 0 and the permutation p-value, after Holm over four metrics, is at most .05. Under a
true gap of 0 any claim is false. p-values are drawn only for tables in which some low end is above 0: no other can claim.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import warnings
from dataclasses import dataclass

import numpy as np

from probes.extremes import Shares, lower_end, upper_end
from probes.gaps import gap_high, gap_low, largest_gap, mean_gap, simultaneous_tail
from probes.intervals import Bool, Float
from probes.multiplicity import holm
from probes.permutation import gap_p_value
from probes.rates import Proportions, Rate, count_rate, independent
from probes.resampling import draw_rates, gaps, percentile_interval, pool_rows

LEVEL, TAIL = 0.95, 0.025
METRICS = 4
CLAIMS = 3  # times the repetitions where the claims are counted: a share near its bound needs more of them
ROWS_A_CLUSTER, LIKENESS = 8, 0.3
UNEQUAL = (20, 200, 30, 300, 50, 500, 100)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Groups of ``sizes`` rows with true ``rates``: one line for one rate, two for equalized odds.

    Attributes:
        mean: whether the mean of the rates' gaps is asked for, else the largest.
        clustered: whether rows come in clusters of `ROWS_A_CLUSTER` that are alike by `LIKENESS`.
    """

    name: str
    sizes: tuple[int, ...]
    rates: tuple[tuple[float, ...], ...]
    mean: bool = False
    clustered: bool = False

    @property
    def truth(self) -> float:
        gap = [max(line) - min(line) for line in self.rates]
        return float(np.mean(gap)) if self.mean else max(gap)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Of one cell: coverage, misses and mean width by method, and false claims (None where there is a gap)."""

    cell: Cell
    repetitions: int
    coverage: dict[str, float]
    above: dict[str, float]
    below: dict[str, float]
    width: dict[str, float]
    claims: float | None


def cells() -> list[Cell]:
    """The table."""
    out = []
    for groups, sizes in ((2, (50, 300, 0)), (7, (30, 50, 300, 0)), (20, (50, 300, 0)), (50, (30, 0))):
        for size in sizes:
            n = (size,) * groups if size else tuple(UNEQUAL[g % 7] for g in range(groups))
            kind = f"{groups} x {size or 'unequal'}"
            rates = {
                "no gap": (0.3,) * groups,
                "one dominates": (0.7, *(0.4,) * (groups - 1)),
                "spread evenly": tuple(np.linspace(0.3, 0.6, groups).tolist()),
            }
            if groups > 2:
                rates["one pair dominates"] = (0.3, *(0.5,) * (groups - 2), 0.7)
            out += [Cell(name=f"{kind}, {name}", sizes=n, rates=(line,)) for name, line in rates.items()]
    for groups, size in ((2, 50), (7, 50), (20, 50), (20, 300)):
        for name, line in (
            ("no gap at .02", (0.02,) * groups),
            (".1 against .01", (0.1, *(0.01,) * (groups - 1))),
            (".9 against .99", (0.9, *(0.99,) * (groups - 1))),
        ):
            out.append(Cell(name=f"{groups} x {size}, {name}", sizes=(size,) * groups, rates=(line,)))
    for name, line in (("no gap", (0.4,) * 5), ("one dominates", (0.7, *(0.4,) * 4))):
        out.append(Cell(name=f"5 x 240 in clusters, {name}", sizes=(240,) * 5, rates=(line,), clustered=True))
    flat, apart = (0.3,) * 7, (0.7, *(0.4,) * 6)
    pair = (0.3, *(0.5,) * 5, 0.7)
    for mean in (False, True):
        of = "mean of two" if mean else "worst of two"
        for name, lines in (("no gap", (flat, flat)), ("gap in one", (flat, apart)), ("gaps in both", (pair, pair))):
            out.append(Cell(name=f"7 x 100, {of}, {name}", sizes=(100,) * 7, rates=lines, mean=mean))
    return out


def draw(cell: Cell, line: tuple[float, ...], repetitions: int, rng: np.random.Generator) -> list[Rate]:
    """One rate of as many tables."""
    sizes = np.array(cell.sizes)
    if not cell.clustered:
        return [
            Rate(proportions=independent(hits, sizes), cells=None)
            for hits in rng.binomial(sizes, line, (repetitions, len(line)))
        ]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    clusters = np.repeat(np.arange(len(groups) // ROWS_A_CLUSTER), ROWS_A_CLUSTER)
    mine = np.array(line)[groups[::ROWS_A_CLUSTER]]
    strength = (1 - LIKENESS) / LIKENESS
    out = []
    for _ in range(repetitions):
        hits = rng.binomial(ROWS_A_CLUSTER, rng.beta(mine * strength, (1 - mine) * strength))
        success = (np.arange(ROWS_A_CLUSTER) < hits[:, None]).ravel()
        out.append(count_rate(groups, len(sizes), success, clusters))
    return out


def stack(tables: list[Proportions]) -> Shares:
    """Tables of one rate on top of one another."""
    parts = [Shares.of(t) for t in tables]
    return Shares(
        values=np.stack([p.values for p in parts]),
        sizes=np.stack([p.sizes for p in parts]),
        freedom=np.stack([p.freedom for p in parts]),
    )


def ours(cell: Cell, drawn: list[list[Proportions]]) -> Float:
    """Both ends, shape (2, repetitions)."""
    if len(drawn) == 1:
        shares = stack(drawn[0])
        return np.stack([lower_end(shares, TAIL), upper_end(shares, TAIL)])
    gap = mean_gap if cell.mean else largest_gap
    found = [gap(rates, LEVEL) for rates in zip(*drawn, strict=True)]
    return np.array([[e.low for e in found], [e.high for e in found]])


def before(cell: Cell, drawn: list[list[Proportions]]) -> Float:
    """The plain form; of a mean, the mean of both ends."""
    lows, highs = [], []
    for tables in drawn:
        shares = stack(tables)
        wide = shares.limits(simultaneous_tail(TAIL / len(drawn), len(cell.sizes)))
        lows.append(gap_low(shares.values, wide))
        highs.append(gap_high(shares.values, shares.limits(TAIL)))
    over = np.mean if cell.mean else np.max
    return np.stack([over(lows, axis=0), over(highs, axis=0)])


def percentile(cell: Cell, drawn: list[list[Proportions]], replicates: int, rng: np.random.Generator) -> Float:
    """fairlearn's: rows resampled, percentiles of the statistic, clusters unknown to it."""
    groups = np.repeat(np.arange(len(cell.sizes)), cell.sizes)
    over = np.mean if cell.mean else np.max
    ends = []
    for rates in zip(*drawn, strict=True):
        again = [gaps(draw_rates(pool_rows(groups, len(r), _rows(r)), replicates, rng)) for r in rates]
        found = percentile_interval(over(again, axis=0), LEVEL)
        ends.append((found.low, found.high))
    return np.array(ends, dtype=np.float64).T


def _rows(rate: Proportions) -> Bool:
    """Whether each row is a hit, group by group."""
    inside = [np.arange(n) < hits for hits, n in zip(rate.successes, rate.denominators, strict=True)]
    return np.concatenate(inside)


def false_claims(cell: Cell, repetitions: int, rng: np.random.Generator) -> float:
    """The share of tables of `METRICS` metrics, all without a gap, in which any is claimed."""
    metrics = [draw(cell, cell.rates[0], repetitions, rng) for _ in range(METRICS)]
    lows = np.stack([lower_end(stack([t.proportions for t in tables]), TAIL) for tables in metrics])
    claims = 0
    for at in np.flatnonzero((lows > 0).any(axis=0)):
        p = [gap_p_value(tables[at], rng, 999)[0] for tables in metrics]
        claims += bool(((holm(p) <= 1 - LEVEL) & (lows[:, at] > 0)).any())
    return claims / repetitions


def simulate(task: tuple[int, Cell, int, int]) -> Found:
    """One cell; ``task`` is its number, itself, repetitions and bootstrap replicates."""
    number, cell, repetitions, replicates = task
    rng = np.random.default_rng([7, number])
    drawn = [[t.proportions for t in draw(cell, line, repetitions, rng)] for line in cell.rates]
    ends = {
        "ours": ours(cell, drawn),
        "before": before(cell, drawn),
        "percentile": percentile(cell, drawn, replicates, rng),
    }
    above = {name: float(np.mean(low > cell.truth + 1e-9)) for name, (low, _) in ends.items()}
    below = {name: float(np.mean(high < cell.truth - 1e-9)) for name, (_, high) in ends.items()}
    flat = cell.truth == 0 and len(cell.rates) == 1
    return Found(
        cell=cell,
        repetitions=repetitions,
        coverage={name: 1 - above[name] - below[name] for name in ends},
        above=above,
        below=below,
        width={name: float(np.mean(high - low)) for name, (low, high) in ends.items()},
        claims=false_claims(cell, CLAIMS * repetitions, rng) if flat else None,
    )


def against_fairlearn(replicates: int) -> float:
    """Largest difference between the ends of `MetricFrame(n_boot=...)` and of `probes.resampling` on one table."""
    from fairlearn.metrics import MetricFrame, selection_rate

    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(7), 50)
    hit = rng.random(350) < 0.3
    frame = MetricFrame(
        metrics=selection_rate,
        y_true=hit.astype(int),
        y_pred=hit.astype(int),
        sensitive_features=groups,
        n_boot=replicates,
        ci_quantiles=[TAIL, 1 - TAIL],
        random_state=1,
    )
    theirs = np.array(frame.difference_ci(), dtype=float)
    found = percentile_interval(gaps(draw_rates(pool_rows(groups, 7, hit), 20 * replicates, rng)), LEVEL)
    return float(np.abs(theirs - np.array([found.low, found.high], dtype=float)).max())


def main() -> None:
    """Run and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, in seconds")
    quick: bool = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    started = time.perf_counter()
    every = cells()
    repetitions, replicates = (100, 100) if quick else (1000, 200)
    tasks = [(i, c, repetitions, replicates) for i, c in enumerate(every)]
    print(f"{'':<36} {'reps':>5} {'gap':>5} | {'coverage (misses above, below)':^36} | {'mean width':^23} | false")
    heads = ("percentile", "before", "ours", "percent.", "before", "ours")
    print(f"{'cell':<36} {'':>5} {'':>5} | {heads[0]:>10} {heads[1]:>7} {heads[2]:>17} |"
          f" {heads[3]:>8} {heads[4]:>7} {heads[5]:>6} | claims")  # fmt: skip
    found = []
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for f in pool.imap(simulate, tasks):
            found.append(f)
            sides = f"{f.coverage['ours']:.3f} ({f.above['ours']:.3f}, {f.below['ours']:.3f})"
            claims = "" if f.claims is None else f"{f.claims:.4f}"
            print(
                f"{f.cell.name:<36} {f.repetitions:>5} {f.cell.truth:>5.2f} | {f.coverage['percentile']:>10.3f}"
                f" {f.coverage['before']:>7.3f} {sides} | {f.width['percentile']:>8.3f} {f.width['before']:>7.3f}"
                f" {f.width['ours']:>6.3f} | {claims}",
                flush=True,
            )
    apart = against_fairlearn(100 if quick else 1000)
    print(f"MetricFrame(n_boot=...) and counts on one table: ends differ by at most {apart:.4f}")
    figures = {
        "min_coverage": min(f.coverage["ours"] for f in found),
        "max_false_claims": max(f.claims for f in found if f.claims is not None),
        "cells": len(found),
        "mean_width": float(np.mean([f.width["ours"] for f in found])),
        "mean_width_before": float(np.mean([f.width["before"] for f in found])),
        "min_coverage_before": min(f.coverage["before"] for f in found),
        "min_coverage_percentile": min(f.coverage["percentile"] for f in found),
        "max_misses_above": max(f.above["ours"] for f in found),
        "max_misses_below": max(f.below["ours"] for f in found),
        "least_width_to_before": min(f.width["ours"] / f.width["before"] for f in found),
        "max_width_to_before": max(f.width["ours"] / f.width["before"] for f in found),
        "percentile_to_fairlearn": apart,
    }
    rounded = {name: value if isinstance(value, int) else round(value, 4) for name, value in figures.items()}
    notes = {"quick": quick, "repetitions": repetitions, "seconds": round(time.perf_counter() - started)}
    print(json.dumps({"benchmark": "fairness_coverage", **rounded, **notes}))


if __name__ == "__main__":
    main()
