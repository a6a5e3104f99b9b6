"""The valid files that edits start from: a plan with most of its keys, a policy with every kind of rule, waivers, and a small
table of predictions that all of them are about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROWS = 48

SMALL_PLAN = """
schema: plumbline.plan/v1
name: fuzzed
seed: 3
subject: {predictions: {source: scores.csv}}
data:
  audit: {source: scores.csv, id: row_id, label: label, groups: [gender], cluster: template}
probes:
  performance: {probe: performance.classification}
  groups: {probe: fairness.groups, positive: "yes", permutations: 20}
policy: policy.yaml
attestations: {owner: nobody}
"""

SMALL_POLICY = """
schema: plumbline.policy/v1
name: release
version: 3
owner: nobody
rules:
  - {id: accurate, measure: "performance:accuracy", min: 0.6, source: "Standard 1"}
  - {id: parity, measure: "groups:demographic_parity_difference", max: 0.10}
  - {id: each-group, measure: "groups:recall", each: {group: gender}, min: 0.3, severity: advisory}
"""

PLAN: dict[str, Any] = {
    "schema": "plumbline.plan/v1",
    "name": "fuzzed",
    "seed": 7,
    "level": 0.9,
    "subject": {
        "recipe": {"base": "base", "method": "lora", "epochs": 1, "learning_rate": 0.001, "search": {"learning_rate": [0.1, 0.2]},
                   "privacy": {"epsilon": 8, "delta": 1e-5}},
        "save_to": "out",
    },
    "data": {
        "train": {"source": "hub:org/name/config", "input": "text", "label": "label", "split": "train"},
        "audit": {"source": "audit.csv", "input": "text", "label": "label", "groups": ["gender"], "cluster": "t",
                  "id": "id", "labels": {"0": "no", "1": "yes"}, "missing_group": "own", "sample": 100},
    },
    "probes": {
        "performance": {"probe": "performance.classification"},
        "groups": {"probe": "fairness.groups", "positive": "yes", "permutations": 20, "min_group": 5},
        "membership": {"probe": "privacy.membership"},
    },
    "policy": "policy.yaml",
    "waivers": "waivers.yaml",
    "baselines": {"main": "../main"},
    "attestations": {"owner": "nobody"},
    "include_text": False,
    "budget": {"run": 60, "probe": 10.5, "probes": {"groups": 5}},
    "profiles": {"pr": {"only": ["groups"], "options": {"groups": {"permutations": 10}}, "sample": 10,
                        "budget": {"run": 5}, "policy": "quick.yaml"}},
}  # fmt: skip

POLICY: dict[str, Any] = {
    "schema": "plumbline.policy/v1",
    "name": "release",
    "version": "3",
    "owner": "nobody",
    "defaults": {"level": 0.95, "decision": "interval", "min_n": 5, "on_inconclusive": "block"},
    "rules": [
        {"id": "accurate", "measure": "performance:accuracy", "min": 0.6, "source": "Standard 1", "title": "Accurate"},
        {"id": "parity", "measure": "groups:demographic_parity_difference", "where": {"feature": "gender"}, "max": 0.1,
         "level": 0.9, "waivable": False},
        {"id": "each", "measure": "groups:recall", "each": {"group": "gender"}, "min": 0.3, "severity": "advisory"},
        {"id": "point", "measure": "performance:accuracy", "min": 0.5, "decision": "point", "min_n": 1},
        {"id": "drop", "measure": "performance:accuracy", "baseline": "main", "max_drop": 0.01,
         "baseline_missing": "skip", "unpaired": "allow"},
    ],
}  # fmt: skip


def waivers(subject: str) -> dict[str, Any]:
    """A waiver that holds for the small run's second rule."""
    return {
        "schema": "plumbline.waivers/v1",
        "waivers": [
            {"id": "w1", "rule": "parity", "slice": "feature:gender", "subject": subject, "allow_up_to": 0.9,
             "justification": "j", "statement": "s", "requested_by": "ann", "approved_by": "bob",
             "approved_on": "2026-01-01", "expires": "2026-03-01", "ticket": "T-1"},
        ],
    }  # fmt: skip


def write_material(folder: Path) -> Path:
    """Plan, policy and scores in a folder; returns the plan's path."""
    lines = ["row_id,label,prediction,score_no,score_yes,gender,template"]
    for i in range(ROWS):
        truth, score = i % 2, (i * 7 % 20) / 20
        said = "yes" if score >= 0.5 else "no"
        lines.append(f"r{i},{'yes' if truth else 'no'},{said},{1 - score:.2f},{score:.2f},{'fm'[i // 3 % 2]},t{i // 4}")
    (folder / "scores.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "policy.yaml").write_text(SMALL_POLICY, encoding="utf-8")
    (folder / "plan.yaml").write_text(SMALL_PLAN, encoding="utf-8")
    return folder / "plan.yaml"
