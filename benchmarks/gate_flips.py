"""How often do two gates disagree when nothing differs but the rows that were drawn? An A/A test of a finished run, decided by
intervals as Plumbline does and by values alone as most gates do. It says nothing about which verdict is right.

Two policies are put to both gates: the run's own, and one in which every limit lies at the value that was observed, which is
the worst place for a limit. A flip is a pair of gates of which some check passes in one and fails in the other.

    python benchmarks/gate_flips.py --run RUN       a finished run, such as that of examples/hatecheck.yaml
    python benchmarks/gate_flips.py                 a small run on drawn predictions, made here
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import audit
from audit.compare import Run
from audit.demands import open_run
from audit.progress import on_stderr
from audit.steadiness import Steadiness, by_point, steadiness_of_each
from reports.bundle import Bundle
from reports.record import Policy, Verdict

POLICY = """
schema: plumbline.policy/v1
name: drawn
version: 1
owner: risk@example.org
rules:
  - {id: accurate, measure: "performance:accuracy", min: 0.75}
  - {id: parity, measure: "groups:demographic_parity_difference", where: {feature: gender}, max: 0.10}
  - {id: each-group, measure: "groups:recall", each: {group: gender}, min: 0.70}
"""


def drawn_run(folder: Path) -> Path:
    """A finished run on 1,000 drawn predictions with two groups."""
    rng = np.random.default_rng(5)
    truth = rng.random(1000) < 0.5
    gender = rng.choice(["f", "m"], 1000)
    score = np.clip(0.3 + 0.4 * truth + 0.06 * (gender == "m") + rng.normal(0, 0.25, 1000), 0.01, 0.99)
    frame = pd.DataFrame(
        {
            "label": np.where(truth, "yes", "no"),
            "prediction": np.where(score >= 0.5, "yes", "no"),
            "score_no": 1 - score,
            "score_yes": score,
            "gender": gender,
        }
    )
    frame.to_csv(folder / "scores.csv", index=False)
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "plan.yaml").write_text(
        "schema: plumbline.plan/v1\nname: drawn\nsubject: {predictions: {source: scores.csv}}\n"
        "data:\n  audit: {source: scores.csv, label: label, groups: [gender]}\n"
        "probes:\n  performance: {probe: performance.classification}\n"
        '  groups: {probe: fairness.groups, positive: "yes", permutations: 100}\npolicy: policy.yaml\n'
    )
    audit.run_plan(folder / "plan.yaml", folder / "run", cache=folder / "cache", progress=False)
    return folder / "run"


def at_the_values(policy: Policy, verdict: Verdict) -> Policy:
    """One rule a decided check, with its limit at the value that was observed."""
    rules = []
    for i, ruling in enumerate(r for r in verdict.rulings if r.value is not None and r.interval is not None):
        rule = ruling.check.rule
        if rule.max_drop is not None:
            continue
        where: dict[str, Any] = {}
        for axis in ruling.check.slice:
            named = where.get(axis.kind)
            where[axis.kind] = axis.selector if named is None else (*np.atleast_1d(named).tolist(), axis.selector)
        end = {"max": ruling.value, "min": None} if rule.max is not None else {"min": ruling.value, "max": None}
        rules.append(rule.model_copy(update={"id": f"{rule.id}-{i}", "where": where, "each": {}, **end}))
    return policy.model_copy(update={"rules": tuple(rules)})


def compared(run: Run, policies: dict[str, Policy], replicates: int) -> dict[str, dict[str, Steadiness]]:
    """Both gates of every policy, all on the same draws."""
    gates = [(name, gate) for name in policies for gate in ("interval", "point")]
    asked = [policies[name] if gate == "interval" else by_point(policies[name]) for name, gate in gates]
    found = steadiness_of_each(run, asked, replicates=replicates, progress=on_stderr)
    out: dict[str, dict[str, Steadiness]] = {name: {} for name in policies}
    for (name, gate), one in zip(gates, found, strict=True):
        out[name][gate] = one
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run; one on drawn predictions is made if absent")
    parser.add_argument("--repeats", type=int, default=100, help="gates to make with each policy")
    parser.add_argument("--quick", action="store_true", help="10 gates")
    given = parser.parse_args()
    replicates = 10 if given.quick else given.repeats
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.open(given.run or drawn_run(Path(folder)))
        run, verdict = open_run(bundle), bundle.verdict()
        if verdict.policy is None:
            parser.error(f"{bundle.folder} was decided without a policy")
        policies = {"own": verdict.policy, "worst": at_the_values(verdict.policy, verdict)}
        own, worst = compared(run, policies, replicates).values()
    print(f"{replicates} gates on resampled rows of {run.record.name}, {len(own['interval'].checks)} checks")
    print(f"{'pairs of gates in which a check flips':<52}{'interval':>10}{'point':>10}")
    for name, found in (("the run's own policy", own), ("every limit at the observed value", worst)):
        print(f"{name:<52}{found['interval'].flip_rate:>10.2%}{found['point'].flip_rate:>10.2%}")
    flipping = [c for c in own["point"].checks if c.flip_rate > 0]
    singles = {gate: np.mean([c.flip_rate for c in s.checks]) for gate, s in worst.items()}
    print(f"{'the same, in the mean over single checks':<52}{singles['interval']:>10.2%}{singles['point']:>10.2%}")
    if own["interval"].interval_flip_rate is not None:
        name = "its checks whose figure has an interval"
        print(f"{name:<52}{own['interval'].interval_flip_rate:>10.2%}")
    if flipping:
        print("checks of the run's own policy that flip by value alone, and how often by interval:")
        by_interval = {c.name: c.flip_rate for c in own["interval"].checks}
        for check in flipping:
            print(f"  {check.name:<66}{by_interval.get(check.name, 0):>10.2%}{check.flip_rate:>10.2%}")
    for said in own["interval"].left_out:
        print(f"  {said}")
    figures = {
        "flip_rate": own["interval"].flip_rate,
        "flip_rate_point": own["point"].flip_rate,
        "flip_rate_with_interval": own["interval"].interval_flip_rate,
        "flip_rate_at_limit": worst["interval"].flip_rate,
        "flip_rate_at_limit_point": worst["point"].flip_rate,
        "mean_check_flip_rate_at_limit": float(singles["interval"]),
        "mean_check_flip_rate_at_limit_point": float(singles["point"]),
        "verdict_flip_rate": own["interval"].verdict_flip_rate,
        "verdict_flip_rate_point": own["point"].verdict_flip_rate,
        "checks": len(own["interval"].checks),
        "replicates": replicates,
        "run": run.record.name,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
