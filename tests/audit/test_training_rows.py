"""A plan's training rows reach the probes that ask for them, and no others; the training record has the last word."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from audit.api import run_plan
from audit.plan import load_plan
from audit.store import Store
from audit.subjects import Workshop, open_subject, training_rows
from probes.evidence import Measurement, Need

PLAN = """
schema: plumbline.plan/v1
name: reviews
subject:
  {subject}
data:
  train: {{source: {train}, input: text, label: label}}
  audit: {{source: reviews.csv, input: text, label: label, cluster: template, id: row}}
probes:
  {probe}
"""
RECIPE = "recipe: {{base: {base}, task: text-classification, epochs: 1, batch_size: 16}}\n  save_to: model"
INFLUENCE = "why: {probe: explanation.influence, examples: 6, nearest: 2}"


@pytest.fixture
def folder(tmp_path: Path, review_frame: pd.DataFrame) -> Path:
    review_frame.to_csv(tmp_path / "reviews.csv", index=False)
    review_frame.iloc[::-1].to_csv(tmp_path / "other.csv", index=False)
    return tmp_path


def plan(folder: Path, *, subject: str, train: str = "reviews.csv", probe: str = INFLUENCE) -> Path:
    path = folder / "plan.yaml"
    path.write_text(PLAN.format(subject=subject, train=train, probe=probe), encoding="utf-8")
    return path


def test_a_trained_model_says_what_drove_its_predictions(folder: Path, tiny_base: Path) -> None:
    path = plan(folder, subject=RECIPE.format(base=tiny_base))
    result = run_plan(path, folder / "run", device="cpu", progress=False, cache=folder / "cache")
    found = result.record.finding("why")
    assert found is not None
    assert found.status == "measured", found.reason
    assert found.reading is not None
    assert {m.name for m in found.reading.measurements} == {
        "top_influence_share",
        "nearest_same_class",
        "training_rows",
    }
    assert Need.TRAINING_DATA in result.record.subject.offers
    # A checkpoint that names what it was trained on is taken at its record's word, and other rows are not.
    workshop = Workshop(store=Store(folder / "cache"), device="cpu", progress=False)
    for train, offered in (("reviews.csv", True), ("other.csv", False)):
        subject = open_subject(load_plan(plan(folder, subject="checkpoint: model", train=train)), workshop)
        assert (Need.TRAINING_DATA in subject.offers) is offered
    result = run_plan(folder / "plan.yaml", folder / "again", device="cpu", progress=False, cache=folder / "cache")
    found = result.record.finding("why")
    assert found is not None
    assert found.status == "not_applicable"


def test_training_rows_are_read_only_where_a_probe_asks(folder: Path, tiny_checkpoint: Path) -> None:
    subject = f"checkpoint: {tiny_checkpoint}"
    path = plan(folder, subject=subject, train="absent.csv", probe="p: {probe: performance.classification}")
    assert training_rows(load_plan(path)) is None
    asked = training_rows(load_plan(plan(folder, subject=subject)))
    assert asked is not None
    assert len(asked) == 48


LEAKED = """
schema: plumbline.plan/v1
name: reviews
subject: {{predictions: {{source: said.csv}}}}
data:
  train: {{source: {train}, input: text, label: label}}
  audit: {{source: reviews.csv, input: text, label: label, id: row}}
probes:
  quality: {{probe: data.quality}}
"""


def leaked(folder: Path, train: str) -> float:
    path = folder / "plan.yaml"
    path.write_text(LEAKED.format(train=train), encoding="utf-8")
    result = run_plan(path, folder / f"run-{train}", device="cpu", progress=False, cache=folder / "cache")
    found = result.record.finding("quality")
    assert found is not None
    assert found.reading is not None, found.reason
    assert any("which the plan names" in remark.text for remark in found.reading.remarks)
    (figure,) = (m for m in found.reading.measurements if m.name == "leaked_share")
    assert isinstance(figure, Measurement)
    return figure.value


def test_a_probe_that_uses_training_rows_gets_those_that_the_plan_names(
    folder: Path, review_frame: pd.DataFrame
) -> None:
    """Even where there is no record, as for a table of predictions; other training rows are no cached figure's."""
    spoken = review_frame[["row", "label"]].rename(columns={"label": "prediction"})
    spoken.to_csv(folder / "said.csv", index=False)
    unseen = review_frame.assign(text=[f"nothing like it {i}" for i in range(len(review_frame))])
    unseen.to_csv(folder / "unseen.csv", index=False)
    assert leaked(folder, "reviews.csv") == 1
    assert leaked(folder, "unseen.csv") == 0
