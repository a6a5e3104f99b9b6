"""The frontier from end to end: twins of one recipe on tiny models, each with its own audit, and one report that verifies."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from audit.cli import app
from audit.decide import decide
from audit.errors import PlanError
from audit.frontier import frontier
from audit.frontier_asked import parse_epsilons, twin_recipe
from audit.runner import planned_probes
from audit.verify import verify
from fine_tune.privacy.settings import Privacy
from fine_tune.recipe import Recipe
from probes.privacy.canaries import KEY
from probes.probe import Context
from probes.registry import create
from reports.bundle import Bundle
from reports.record import AuditRecord, DataCard, Finding, Policy, Rule, SubjectCard

WORDS = ["good", "bad", "fine", "awful", "great", "poor", "movie", "film", "plot", "actor"]


def rows(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, 4)) + f" {chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(count)]
    labels = ["positive" if "good" in t or "great" in t else "negative" for t in texts]
    return pd.DataFrame({"text": texts, "label": labels, "gender": rng.choice(["woman", "man"], count)})


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_checkpoint) -> Path:
    folder = tmp_path_factory.mktemp("frontier")
    rows(160, 1).to_csv(folder / "train.csv", index=False)
    rows(120, 2).to_csv(folder / "audit.csv", index=False)
    recipe = {
        "base": str(tiny_checkpoint), "steps": 6, "batch_size": 16, "learning_rate": 0.01, "holdout": 0.25, "canaries": 20,
        "privacy": {"epsilon": 8.0, "delta": 1e-5, "secure_rng": False},
    }  # fmt: skip
    train = {"source": "train.csv", "input": "text", "label": "label", "groups": ["gender"]}
    plan = {
        "schema": "plumbline.plan/v1", "name": "twins", "seed": 3, "subject": {"recipe": recipe},
        "data": {"train": train, "audit": {**train, "source": "audit.csv"}},
        "probes": {"performance": {"probe": "performance.classification"}, "groups": {"probe": "fairness.groups", "positive": "positive", "permutations": 50},
                   "canaries": {"probe": "privacy.canaries"}},
        "policy": "policy.yaml",
    }  # fmt: skip
    policy = {
        "schema": "plumbline.policy/v1", "name": "p", "version": 1, "owner": "o",
        "rules": [{"id": "the-claim-holds", "measure": "canaries:bound_minus_claim", "max": 0, "source": "test"}],
    }  # fmt: skip
    for name, body in (("plan", plan), ("policy", policy), ("recipe", {"recipe": recipe, "data": {"train": train}})):
        YAML().dump(body, folder / f"{name}.yaml")
    return folder


@pytest.fixture(scope="module")
def done(place):
    made = frontier(
        place / "plan.yaml",
        parse_epsilons("inf,1,8"),
        place / "out",
        cache=place / "cache",
        progress=False,
        device="cpu",
    )
    assert made is not None
    return made


def test_one_report_shows_every_twin(done, place):
    assert list(done.twins) == ["1", "8", "no guarantee"]
    reading = done.report.record.findings[0].reading
    assert reading is not None, done.report.record.findings[0].reason
    names = {m.name for m in reading.measurements}
    assert names == {
        "accuracy", "recall", "calibration_error", "membership_auc", "accuracy_cost", "recall_cost", "epsilon",
        "noise_multiplier",
    }  # fmt: skip
    assert done.figure("1", "epsilon").value == pytest.approx(1, abs=0.02)
    assert done.figure("no guarantee", "epsilon") is None
    assert done.figure("no guarantee", "accuracy_cost") is None
    assert done.figure("8", "noise_multiplier").value < done.figure("1", "noise_multiplier").value
    page = (done.report.path / "report.html").read_text()
    assert "no guarantee" in page
    assert "inf" not in {m.slice[0].value for m in reading.measurements}


def test_every_figure_agrees_with_the_twin_s_own_audit(done):
    for twin, result in done.twins.items():
        own = result.record.finding("performance")
        accuracy = next(m for m in own.reading.measurements if m.name == "accuracy" and not m.slice)
        assert done.figure(twin, "accuracy").value == accuracy.value
        assert done.figure(twin, "accuracy").interval == accuracy.interval
        group = result.record.finding("groups")
        recalls = {m.slice[-1].value: m.value for m in group.reading.measurements if m.name == "recall" and m.kind == "measurement"}  # fmt: skip
        here = {
            m.slice[1].value: m.value
            for m in done.report.record.findings[0].reading.measurements
            if m.name == "recall" and m.slice[0].value == twin and m.kind == "measurement"
        }
        assert here
        assert here.items() <= recalls.items()


def test_bundles_verify_and_each_twin_is_ruled_on(done, place):
    for folder in ("frontier", "epsilon-1/run", "no-guarantee/run"):
        report = verify(place / "out" / folder)
        assert report.ok, report.problems
    assert done.twins["1"].verdict.outcome == "pass"
    assert done.twins["no guarantee"].verdict.outcome == "inconclusive", "there is no claim to hold it to"
    written = json.loads((place / "out" / "frontier.json").read_text())
    assert [t["epsilon"] for t in written["twins"]] == [1.0, 8.0, None]
    assert len(written["measurements"]) == len(done.report.record.findings[0].reading.measurements)


def test_twins_differ_in_privacy_alone(done, place):
    records = {}
    for folder in ("epsilon-1", "epsilon-8", "no-guarantee"):
        records[folder] = json.loads((place / "out" / folder / "model" / "training_record.json").read_text())
    assert len({r["ids_digest"] for r in records.values()}) == 1
    recipes = [dict(r["recipe"], privacy=None) for r in records.values()]
    assert recipes[0] == recipes[1] == recipes[2]
    assert records["no-guarantee"]["ledger"] is None


def test_the_same_call_again_trains_nothing(done, place):
    before = (place / "out" / "frontier" / "results.json").read_bytes()
    again = frontier(
        place / "plan.yaml",
        parse_epsilons("1,8,inf"),
        place / "out",
        cache=place / "cache",
        progress=False,
        device="cpu",
    )
    assert again.seconds == done.seconds, "nothing was trained, so the times are the first call's"
    assert all(seconds > 0 for seconds in done.seconds.values())
    assert (place / "out" / "frontier" / "results.json").read_bytes() == before


def test_a_recipe_alone_is_judged_on_the_rows_it_held_out(place, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_CACHE", str(place / "cache2"))
    monkeypatch.setenv("COLUMNS", "200")
    said = CliRunner().invoke(
        app,
        [
            "fine-tune",
            str(place / "recipe.yaml"),
            "--frontier",
            "2,inf",
            "--out",
            str(place / "alone"),
            "--device",
            "cpu",
        ],
    )
    assert said.exit_code == 0, said.output
    assert "no guarantee" in said.output
    record = Bundle.open(place / "alone" / "frontier").record()
    assert record.data.rows == 40
    measured = {f.instance: f.status for f in Bundle.open(place / "alone" / "epsilon-2" / "run").record().findings}
    assert measured == dict.fromkeys(("classification", "calibration", "ledger", "membership", "canaries"), "measured")


@pytest.mark.parametrize(("epsilon", "outcome", "code"), [(1.0, "fail", 10), (4.0, "pass", 0)])
def test_a_policy_fails_on_a_claim_below_the_bound(epsilon, outcome, code):
    """100 canaries told apart without a mistake bound epsilon at 3.1: a claim of 1 is disproved, one of 4 is not."""
    import pyarrow as pa

    included = np.arange(100) % 2 == 0
    told = json.dumps({"private": True, "epsilon": epsilon, "delta": 1e-6}).encode()
    table = pa.table(
        {"row_id": [str(i) for i in range(100)], "label": ["a"] * 100, "flipped": ~included & included, "included": included, "score": included * 1.0}
    ).replace_schema_metadata({KEY: told})  # fmt: skip
    planned = planned_probes({"canaries": ("privacy.canaries", {})})
    reading = create("privacy.canaries", {}).summarise(table, Context(instance="canaries"))
    assert reading.measurements[0].value > 3
    finding = Finding(instance="canaries", info=planned[0].info, params={}, status="measured", reading=reading, seed=0)
    card = SubjectCard(
        kind="checkpoint", name="m", digest="0" * 64, task="text-classification", classes=("a", "b"), threshold=None,
        positive=None, offers=(), details={},
    )  # fmt: skip
    record = AuditRecord(
        plumbline="1", name="n", seed=0, level=0.95, subject=card, data=DataCard(name="d", digest="0" * 64, rows=100, roles={}, labels={}), environment={}, training=None,
        planned=planned, findings=(finding,),
    )  # fmt: skip
    rule = Rule(id="claim", measure="canaries:bound_minus_claim", max=0, source="test")
    verdict = decide(record, Policy(name="p", version=1, owner="o", rules=(rule,)), on=datetime.date(2030, 1, 1))
    assert (verdict.outcome, verdict.exit_code) == (outcome, code)


@pytest.mark.parametrize("text", ["", "3", "1,1", "1,0", "1,-2", "1,nan", "1,x", "inf,inf"])
def test_what_is_no_frontier(text):
    with pytest.raises(PlanError, match="frontier"):
        parse_epsilons(text)


def test_inf_is_no_number():
    assert parse_epsilons(" inf, 3,0.5") == (0.5, 3.0, None)


def test_the_twin_without_guarantee_takes_the_same_steps():
    private = Privacy(epsilon=1, delta=1e-5, logical_batch=96, physical_batch=32)
    asked = Recipe(base="x", batch_size=8, privacy=private)
    free = twin_recipe(asked, None)
    assert (free.privacy, free.batch_size, free.gradient_accumulation) == (None, 96, 3)
    assert twin_recipe(asked, 3.0).privacy == private.model_copy(update={"epsilon": 3.0})
    with pytest.raises(PlanError, match="has no privacy"):
        twin_recipe(Recipe(base="x"), 3.0)


def test_nothing_to_judge_on_is_an_error(place):
    body = YAML().load(place / "recipe.yaml")
    del body["recipe"]["holdout"]
    YAML().dump(body, place / "bare.yaml")
    with pytest.raises(PlanError, match="no rows to judge"):
        frontier(place / "bare.yaml", (1.0, None), place / "bare", progress=False, device="cpu")
