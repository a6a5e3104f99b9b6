"""A small finished run on a table of predictions, and the files it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import audit

PLAN = """
schema: plumbline.plan/v1
name: screening
seed: 3
subject: {predictions: {source: scores.csv}}
data:
  audit: {source: scores.csv, id: row_id, label: label, groups: [gender, origin], cluster: template}
probes:
  performance: {probe: performance.classification}
  calibration: {probe: performance.calibration}
  groups: {probe: fairness.groups, positive: "yes", permutations: 200}
policy: policy.yaml
"""

POLICY = """
schema: plumbline.policy/v1
name: release
version: 3
owner: risk@example.org
rules:
  - {id: accurate, measure: "performance:accuracy", min: 0.6, source: "Standard 1"}
  - {id: parity, measure: "groups:demographic_parity_difference", where: {feature: gender}, max: 0.10}
  - {id: each-group, measure: "groups:recall", each: {group: gender}, min: 0.3, severity: advisory}
"""


@pytest.fixture(autouse=True)
def _in_no_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests say themselves whose pipeline they run in, whoever's runs them."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "GITLAB_CI", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)


def predictions(rows: int = 600, seed: int = 1, gap: float = 0.3) -> pd.DataFrame:
    """Scores of a model that favours one gender by ``gap``."""
    rng = np.random.default_rng(seed)
    truth = rng.random(rows) < 0.5
    gender = rng.choice(["f", "m"], rows)
    score = np.clip(0.25 + 0.5 * truth + gap * (gender == "m") - gap / 2 + rng.normal(0, 0.15, rows), 0.01, 0.99)
    return pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(rows)],
            "label": np.where(truth, "yes", "no"),
            "prediction": np.where(score >= 0.5, "yes", "no"),
            "score_no": 1 - score,
            "score_yes": score,
            "gender": gender,
            "origin": rng.choice(["x", "y", "z", ""], rows),
            "template": [f"t{i // 4}" for i in range(rows)],
        }
    )


def write_material(folder: Path, frame: pd.DataFrame | None = None, *, plan: str = PLAN, policy: str = POLICY) -> Path:
    """Plan, policy and scores in a folder; returns the plan's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (predictions() if frame is None else frame).to_csv(folder / "scores.csv", index=False)
    (folder / "policy.yaml").write_text(policy)
    (folder / "plan.yaml").write_text(plan)
    return folder / "plan.yaml"


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The bundle of a finished run; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("finished")
    plan = write_material(folder)
    audit.run_plan(plan, folder / "run", cache=folder / "cache", progress=False)
    return folder / "run"


@pytest.fixture
def material():
    """Access to the builders, for tests that vary them."""
    return type("Material", (), {"write": staticmethod(write_material), "predictions": staticmethod(predictions),
                                 "PLAN": PLAN, "POLICY": POLICY})  # fmt: skip
