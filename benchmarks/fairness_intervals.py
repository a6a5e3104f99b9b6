"""How long a bootstrap of group rates takes by resampling counts (`probes.resampling`) and by resampling rows
(`fairlearn.metrics.MetricFrame(n_boot=...)`), and whether both end in the same interval. It says nothing about which interval
should be believed: both are percentile bootstraps, which the gate does not use for largest gaps.

Material: HateCheck's rows that are about a group (its own where PLUMBLINE_DATA is set, else of the same shape: 3,436 rows, 7
groups) with answers drawn at random by group, and 1,000,000 rows with 5 x 6 intersections. Both sides get the same arrays of
integer codes. fairlearn runs a fraction of the replicates on the large material; its time is scaled, and the table says so.

Then what the large material costs by itself, each line in a process of its own so that its peak memory can be told: 2,000
replicates by rows and by 50,000 clusters, and the whole reading of `fairness.groups` (rates, intervals, gaps, 2,000 random
regroupings behind each p-value, both standard errors) with such clusters over all groups, in one group each, and without any.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import resource
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from probes.intervals import Float, Int
from probes.resampling import draw_rates, gaps, pool_clusters, pool_rows

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


def joint(material: Material) -> tuple[Int, int]:
    """Codes of the intersection of all features, and how many there are."""
    codes, size = np.zeros(len(material), dtype=np.int64), 1
    for feature in material.features:
        width = int(feature.max()) + 1
        codes, size = codes * width + feature, size * width
    return codes, size


def by_counts(material: Material, replicates: int, seed: int) -> tuple[Float, Float]:
    """Ends of each group's rate, shape (2, G), and of the gap, shape (2,)."""
    codes, size = joint(material)
    pool = pool_rows(codes, size, material.answers == 1)
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


COSTS = ("rows", "clusters", "reading", "reading_clusters_over_groups", "reading_clusters_in_groups")


def cost(what: str, rows: int, clusters: int, replicates: int) -> tuple[float, float]:
    """CPU seconds and peak memory in MiB of one thing on the large material; meant for a process of its own."""
    material, rng = intersections(rows), np.random.default_rng(3)
    cluster = rng.integers(0, clusters, rows)
    if what == "rows":
        work: Callable[[], Any] = partial(by_counts, material, replicates, 0)
    elif what == "clusters":

        def work() -> tuple[Float, Float]:
            codes, size = joint(material)
            pool = pool_clusters(codes, size, material.answers == 1, cluster)
            drawn = draw_rates(pool, replicates, np.random.default_rng(0))
            return np.quantile(drawn, QUANTILES, axis=0), np.quantile(gaps(drawn), QUANTILES)
    else:
        work = group_reader(material, None if what == "reading" else cluster, in_groups=what.endswith("in_groups"))
    cpu, _, _ = cpu_seconds(work)
    return cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def group_reader(material: Material, cluster: Int | None, *, in_groups: bool) -> Callable[[], Any]:
    """What reads the intersection's groups off a table of predictions, with 2,000 regroupings; the table is made at once."""
    import pyarrow as pa

    from fine_tune.predictions import PredictionsMeta
    from probes.fairness.groups import Groups
    from probes.probe import Context

    names = pa.array(["no", "yes"])
    features = material.features
    if in_groups and cluster is not None:
        # Every cluster takes the groups of its first row.
        first = np.unique(cluster, return_index=True)
        features = tuple(codes[first[1]][np.searchsorted(first[0], cluster)] for codes in features)
    columns = {
        "row_id": pa.array(np.arange(len(material))).cast(pa.string()),
        "label": names.take(pa.array(np.random.default_rng(4).integers(0, 2, len(material)))),
        "prediction": names.take(pa.array(material.answers)),
    }
    columns |= {f"group_{i}": pa.array(codes).cast(pa.string()) for i, codes in enumerate(features)}
    if cluster is not None:
        columns["cluster"] = pa.array(cluster).cast(pa.string())
    meta = PredictionsMeta(task="text-classification", classes=("no", "yes"), threshold=None, positive=None)
    table = pa.table(columns).replace_schema_metadata(meta.encode())
    probe = Groups(positive="yes", features=(), intersections=(("0", "1"),), permutations=2000)
    return partial(probe.summarise, table, Context(instance="groups"))


def costs(rows: int, clusters: int, replicates: int) -> dict[str, tuple[float, float]]:
    """Each of `COSTS` in a fresh process; prints a line for each."""
    print(f"{rows:,} rows in 30 intersections, {clusters:,} clusters, {replicates:,} replicates or regroupings")
    found = {}
    for what in COSTS:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            found[what] = fresh.submit(cost, what, rows, clusters, replicates).result()
        print(f"  {what:<32} {found[what][0]:>8.2f} CPU s {found[what][1]:>8.0f} MiB at most", flush=True)
    return found


def main() -> None:
    """Run and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and replicates, in seconds")
    quick: bool = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    replicates, fraction, rows, rounds = (100, 20, 20_000, 1) if quick else (1_000, 200, 1_000_000, 3)
    alone = costs(rows, 2_000 if quick else 50_000, 200 if quick else 2_000)
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
    spent = {f"cpu_s_{name}": round(cpu, 3) for name, (cpu, _) in alone.items()}
    spent |= {f"peak_mib_{name}": round(peak) for name, (_, peak) in alone.items()}
    notes |= spent
    last = {"max_endpoint_difference_in_mc_sd": round(apart, 3), **notes}
    print(json.dumps({"benchmark": "fairness_intervals", **figures, **last}))


if __name__ == "__main__":
    main()
