"""How long a bootstrap of group rates takes by resampling counts (`probes.resampling`) and by resampling rows
(`fairlearn.metrics.MetricFrame(n_boot=...)`), and whether both end in the same interval. It says nothing about which interval
should be believed: both are percentile bootstraps, which the gate does not use for largest gaps.

Material: HateCheck's rows that are about a group (its own where PLUMBLINE_DATA is set, else of the same shape: 3,436 rows, 7
groups) with answers drawn at random by group, and 1,000,000 rows with 5 x 6 intersections. Both sides get the same arrays of
integer codes. fairlearn runs a fraction of the replicates on the large material; its time is scaled, and the table says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from probes.intervals import Float, Int
from probes.resampling import draw_rates, gaps, pool_rows

QUANTILES = [0.025, 0.975]
HATECHECK = (484, 482, 484, 551, 463, 463, 509)  # rows a group, for the shape without the file


@dataclass(frozen=True, kw_only=True)
class Material:
    """Answers (N,) of 0 and 1, and one column of group codes a feature."""

    name: str
    answers: Int
    features: tuple[Int, ...]

    def __len__(self) -> int:
        return len(self.answers)


def hatecheck() -> Material:
    """3,436 rows in 7 groups; selection rates between 0.45 and 0.75."""
    root = os.environ.get("PLUMBLINE_DATA")
    path = Path(root) / "hatecheck" / "test_suite_cases.csv" if root else None
    if path is not None and path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            named = [row["target_ident"] for row in csv.DictReader(file) if row["target_ident"]]
        groups, name = np.unique(named, return_inverse=True)[1], "HateCheck's groups, drawn answers"
    else:
        groups, name = np.repeat(np.arange(len(HATECHECK)), HATECHECK), "HateCheck's shape, drawn answers"
    rng = np.random.default_rng(1)
    shares = np.linspace(0.45, 0.75, int(groups.max()) + 1)
    return Material(name=name, answers=(rng.random(len(groups)) < shares[groups]).astype(np.int64), features=(groups,))


def intersections(rows: int) -> Material:
    """Two features of 5 and 6 groups."""
    rng = np.random.default_rng(2)
    five, six = rng.integers(0, 5, rows), rng.integers(0, 6, rows)
    answers = (rng.random(rows) < 0.3 + 0.04 * five + 0.03 * six).astype(np.int64)
    return Material(name="5 x 6 intersections", answers=answers, features=(five, six))


def by_counts(material: Material, replicates: int, seed: int) -> tuple[Float, Float]:
    """Ends of each group's rate, shape (2, G), and of the gap, shape (2,)."""
    joint, size = np.zeros(len(material), dtype=np.int64), 1
    for codes in material.features:
        width = int(codes.max()) + 1
        joint, size = joint * width + codes, size * width
    pool = pool_rows(joint, size, material.answers == 1)
    drawn = draw_rates(pool, replicates, np.random.default_rng(seed))
    return np.quantile(drawn, QUANTILES, axis=0), np.quantile(gaps(drawn), QUANTILES)


def by_rows(material: Material, replicates: int, seed: int) -> tuple[Float, Float]:
    """The same from fairlearn."""
    import pandas as pd
    from fairlearn.metrics import MetricFrame, selection_rate

    frame = MetricFrame(
        metrics=selection_rate,
        y_true=material.answers,
        y_pred=material.answers,
        sensitive_features=pd.DataFrame({f"feature {i}": codes for i, codes in enumerate(material.features)}),
        n_boot=replicates,
        ci_quantiles=QUANTILES,
        random_state=seed,
    )
    rates = np.array([end.to_numpy(dtype=float) for end in frame.by_group_ci])
    return rates, np.array(frame.difference_ci(), dtype=float)


def cpu_seconds(work: Callable[[], Any], least: float = 0.0) -> tuple[float, float, Any]:
    """CPU and wall time of one call, the mean over as many as fill ``least`` seconds; and what the last one gave."""
    calls, cpu, wall = 0, time.process_time(), time.perf_counter()
    while True:
        found, calls = work(), calls + 1
        if time.perf_counter() - wall >= least:
            return (time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls, found


def compare(material: Material, replicates: int, fraction: int, rounds: int) -> tuple[float, tuple[Float, Float]]:
    """The speed-up in CPU time, both alternating, and fairlearn's ends; prints a line of the table.

    On a fraction of the replicates fairlearn runs once with one replicate and once with ``replicates // fraction``, so that
    what it does once is counted once and only the time of a replicate is multiplied.
    """
    ran = replicates // fraction
    ours, theirs, walls, ends = [], [], [], None
    for seed in range(rounds):
        cpu, wall, _ = cpu_seconds(partial(by_counts, material, replicates, seed), 0.3)
        ours.append(cpu)
        cpu, their_wall, ends = cpu_seconds(partial(by_rows, material, ran, seed))
        if fraction > 1:
            once_cpu, once_wall, _ = cpu_seconds(partial(by_rows, material, 1, seed))
            further = (replicates - 1) / (ran - 1)
            cpu, their_wall = once_cpu + (cpu - once_cpu) * further, once_wall + (their_wall - once_wall) * further
        theirs.append(cpu)
        walls.append((wall, their_wall))
    mine, their = float(np.median(ours)), float(np.median(theirs))
    ours_wall, their_wall = np.median(np.array(walls), axis=0)
    scaled = "" if fraction == 1 else f"  (fairlearn ran {ran} replicates, scaled to {replicates:,})"
    print(
        f"{len(material):>10,} {material.name:<34} {mine:>10.5f} {their:>10.2f} {their / mine:>10,.0f}"
        f" {their_wall / ours_wall:>11,.0f}{scaled}",
        flush=True,
    )
    assert ends is not None
    return their / mine, ends


def endpoint_difference(material: Material, replicates: int, theirs: tuple[Float, Float], repeats: int) -> float:
    """The largest difference between ends, of every group's rate and of the gap, in Monte Carlo standard deviations.

    Ours come from 100 times the replicates, so that what differs by chance is fairlearn's end alone; the standard deviation
    of an end over ``replicates`` replicates is that of repeated runs of ours.
    """
    reference = by_counts(material, 100 * replicates, 99)
    runs = [by_counts(material, replicates, 1000 + i) for i in range(repeats)]
    worst = 0.0
    for part in (0, 1):
        deviation = np.std([run[part] for run in runs], axis=0, ddof=1)
        worst = max(worst, float((np.abs(theirs[part] - reference[part]) / deviation).max()))
    return worst


def main() -> None:
    """Run and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and replicates, in seconds")
    quick: bool = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    replicates, fraction, rows, rounds = (100, 20, 20_000, 1) if quick else (1_000, 200, 1_000_000, 3)
    small, large = hatecheck(), intersections(rows)
    by_rows(small, 1, 0), by_counts(small, 10, 0)
    print(f"a percentile bootstrap of group rates and their gap, {replicates:,} replicates")
    heads = ("rows", "material", "counts s", "fairlearn s", "CPU ratio", "wall ratio")
    print(f"{heads[0]:>10} {heads[1]:<34} {heads[2]:>10} {heads[3]:>10} {heads[4]:>10} {heads[5]:>11}")
    few, ends = compare(small, replicates, 1, rounds)
    many, _ = compare(large, replicates, fraction, rounds)
    apart = endpoint_difference(small, replicates, ends, 30 if quick else 200)
    count = ends[0].size + ends[1].size
    print(f"largest of {count} differences between ends, in Monte Carlo standard deviations of an end: {apart:.2f}")
    names = {"speedup_rows_3436": few, "speedup_rows_1000000": many}
    figures = {name: round(value) for name, value in names.items()}
    notes = {
        "quick": quick,
        "rows": [len(small), len(large)],
        "replicates": replicates,
        "fairlearn_fraction": 1 / fraction,
    }
    last = {"max_endpoint_difference_in_mc_sd": round(apart, 3), **notes}
    print(json.dumps({"benchmark": "fairness_intervals", **figures, **last}))


if __name__ == "__main__":
    main()
