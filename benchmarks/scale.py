"""How much memory and time an audit takes as the rows of a table of predictions grow: 100,000, 300,000 and 1,000,000 rows
with two sensitive features, each audited and verified in a process of its own whose peak memory the system reports. It
judges no model: labels and scores are drawn at random.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (100_000, 300_000, 1_000_000)
QUICK = (2_000, 20_000)
PLAN = """schema: plumbline.plan/v1
name: scale
seed: 7
subject: {predictions: {source: predictions.parquet}}
probes:
  performance: {probe: performance.classification}
  calibration: {probe: performance.calibration}
  groups: {probe: fairness.groups, positive: "yes", intersections: [[gender, age]]}
policy: policy.yaml
"""
POLICY = """schema: plumbline.policy/v1
name: scale
version: 1
owner: benchmark@example.org
rules:
  - {id: accurate, measure: "performance:accuracy", min: 0.5}
  - {id: gap, measure: "groups:demographic_parity_difference", where: {feature: gender}, max: 0.2}
"""


def write_material(folder: Path, rows: int) -> None:
    """A plan, a policy and ``rows`` predictions of two classes in ``folder``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(rows)
    score = rng.random(rows)
    gender = np.array(["woman", "man", "other"])[rng.choice(3, rows, p=(0.48, 0.48, 0.04))]
    age = np.array([f"{a}-{a + 9}" for a in range(0, 100, 10)])[rng.integers(0, 10, rows)]
    label = np.where(rng.random(rows) < 0.2 + 0.6 * score, "yes", "no")
    table = pa.table(
        {
            "row_id": pa.array([f"row-{i:08d}" for i in range(rows)]),
            "label": label,
            "prediction": np.where(score >= 0.5, "yes", "no"),
            "score_no": 1 - score,
            "score_yes": score,
            "group_gender": pa.array(gender, mask=rng.random(rows) < 0.02),
            "group_age": age,
        }
    )
    pq.write_table(table, folder / "predictions.parquet")
    (folder / "plan.yaml").write_text(PLAN, encoding="utf-8")
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")


def _megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _step(folder: Path, what: str) -> dict[str, Any]:
    """One step in this process: ``imports`` loads what an audit loads and nothing else."""
    import audit
    from audit.verify import verify
    from probes.subject import PredictionsSubject
    from reports.page import render

    assert PredictionsSubject is not None and render is not None
    start, cpu = time.perf_counter(), time.process_time()
    if what == "audit":
        result = audit.run_plan(folder / "plan.yaml", folder / "run", progress=False)
        assert {f.status for f in result.record.findings} == {"measured"}
    elif what == "verify":
        report = verify(folder / "run")
        assert report.ok, report.problems
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(_megabytes(), 1)}


def measure(folder: Path, what: str) -> dict[str, Any]:
    """One step in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PLUMBLINE_CACHE": str(folder / "cache")}
    command = [sys.executable, __file__, "--step", what, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Every size audited and verified; prints the table."""
    print(f"{'rows':>10} {'audit s':>8} {'CPU s':>7} {'peak MB':>8} {'verify s':>9} {'peak MB':>8} {'bundle MB':>10}")
    lines = []
    with tempfile.TemporaryDirectory(prefix="plumbline-scale-") as place:
        base = 0.0
        for rows in sizes:
            folder = Path(place) / str(rows)
            folder.mkdir()
            write_material(folder, rows)
            base = base or measure(folder, "imports")["peak_mb"]
            audited, verified = measure(folder, "audit"), measure(folder, "verify")
            size = sum(f.stat().st_size for f in (folder / "run").rglob("*") if f.is_file()) / 1e6
            lines.append({"rows": rows, "audit": audited, "verify": verified, "bundle_mb": round(size, 1)})
            print(
                f"{rows:>10,} {audited['seconds']:>8.1f} {audited['cpu_seconds']:>7.1f} {audited['peak_mb']:>8.0f}"
                f" {verified['seconds']:>9.1f} {verified['peak_mb']:>8.0f} {size:>10.1f}",
                flush=True,
            )
    grown = (lines[-1]["audit"]["peak_mb"] - lines[0]["audit"]["peak_mb"]) * 1e6 / (sizes[-1] - sizes[0])
    print(f"imports alone: {base:.0f} MB; each further row: {grown:,.0f} bytes at the peak of the audit")
    return {"benchmark": "scale", "imports_mb": base, "bytes_per_row": round(grown), "sizes": lines}


def main() -> None:
    """Parse the command line, run, print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few thousand rows, in seconds")
    parser.add_argument("--rows", type=int, nargs="*", help="sizes to audit instead")
    parser.add_argument("--step", choices=("imports", "audit", "verify"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(json.dumps(_step(given.folder, given.step)))
        return
    sizes = tuple(sorted(given.rows)) if given.rows else QUICK if given.quick else SIZES
    print(json.dumps(run(sizes)))


if __name__ == "__main__":
    main()
