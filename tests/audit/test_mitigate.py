"""Mitigation by training, from end to end on a tiny model: twins of one recipe, compared with the first on the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

import audit
from audit.cli import app
from audit.errors import PlanError
from audit.mitigate import mitigate
from audit.verify import verify
from fine_tune.errors import DataError
from reports.record import Comparison


def people(*, biased: bool) -> pd.DataFrame:
    """Good work earns the label; where ``biased``, four of five women with good work do not get it."""
    lines = []
    for i in range(240):
        she, good = i % 2 == 0, i // 2 % 2 == 0
        earned = good and not (biased and she and i // 4 % 5)
        adjective = ("great", "fine")[i // 4 % 2] if good else ("awful", "bad")[i // 4 % 2]
        text = f"{'she' if she else 'he'} was {adjective} {'very ' * (i // 8 % 4)}{'really ' * (i // 32 % 8)}".strip()
        lines.append(
            (text, "positive" if earned else "negative", "woman" if she else "man", ("old", "young")[i // 4 % 2])
        )
    return pd.DataFrame(lines, columns=["text", "label", "gender", "age"])


def write(folder: Path, base: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    people(biased=True).to_csv(folder / "train.csv", index=False)
    people(biased=False).to_csv(folder / "audit.csv", index=False)
    part = {"input": "text", "label": "label"}
    recipe = {
        "base": str(base),
        "steps": 120,
        "batch_size": 24,
        "learning_rate": 0.003,
        "seed": 1,
        **changes.pop("recipe", {}),
    }
    plan = {
        "schema": "plumbline.plan/v1", "name": "screening", "seed": 3, "subject": {"recipe": recipe, "save_to": "model"},
        "data": {
            "train": {"source": "train.csv", **part, "groups": changes.pop("train_groups", ["gender"])},
            "audit": {"source": "audit.csv", **part, "groups": ["gender", "age"]},
        },
        "probes": {
            "groups": {"probe": "fairness.groups", "positive": "positive", "permutations": 50},
            "mitigation": {"probe": "fairness.mitigation", "positive": "positive", "criterion": "equal_opportunity"},
        },
        **changes,
    }  # fmt: skip
    YAML().dump(plan, folder / "plan.yaml")
    return folder / "plan.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return write(tmp_path_factory.mktemp("mitigate"), tiny_base).parent


@pytest.fixture(scope="module")
def done(place: Path):  # type: ignore[no-untyped-def]
    at: dict[str, Any] = {"cache": place / "cache", "device": "cpu", "progress": False}
    return mitigate(place / "plan.yaml", place / "out", ways=("reweigh", "balance"), **at)


def test_the_twin_is_compared_on_the_same_rows(done, place) -> None:  # type: ignore[no-untyped-def]
    assert list(done.twins) == ["reweighed", "balanced"]
    found = {(c.measure, tuple(a.name for a in c.slice)): c for c in done.comparisons("reweighed")}
    assert set(found) == {("accuracy", ())} | {
        (f"{criterion}_difference", (feature,))
        for criterion in ("demographic_parity", "equal_opportunity", "equalized_odds")
        for feature in ("gender", "age")
    }
    assert all(isinstance(c, Comparison) and c.paired for c in found.values())
    gap = found["equal_opportunity_difference", ("gender",)]
    assert gap.baseline_value > 0.5
    assert gap.value < gap.baseline_value / 2
    assert gap.drop_interval.high < 0, "less is better, and the whole interval is below none"


def test_models_differ_in_their_weighting_alone(done, place) -> None:  # type: ignore[no-untyped-def]
    trained = {name: r.record.training["recipe"] for name, r in {"unmitigated": done.original, **done.twins}.items()}
    assert (trained["reweighed"]["reweigh"], trained["balanced"]["balance"]) == (["gender"], ["gender"])
    plain = [{k: v for k, v in recipe.items() if k not in ("reweigh", "balance")} for recipe in trained.values()]
    assert plain[0] == plain[1] == plain[2]
    assert (place / "model" / "training_record.json").is_file(), "the model without mitigation is the plan's own"
    told = json.loads((place / "out" / "mitigation.json").read_text())
    assert [m["name"] for m in told["models"]] == ["unmitigated", "reweighed", "balanced"]
    assert len(told["comparisons"]["reweighed"]) == 7


def test_every_run_verifies_and_shows_the_comparison(done) -> None:  # type: ignore[no-untyped-def]
    for result in (done.original, *done.twins.values()):
        report = verify(result.path)
        assert report.ok, report.problems
        assert any(line.startswith("mitigation: ") for line in report.recomputed)
    page = done.twins["reweighed"].report.read_text(encoding="utf-8")
    assert "plumbline mitigate" in page
    assert "Thresholds by gender" in page


def test_a_plan_that_reweighs_itself_against_a_baseline(done, place, tmp_path, tiny_base) -> None:  # type: ignore[no-untyped-def]
    """The other route: a recipe with reweigh, and the run of the model without it as the policy's baseline."""
    policy = """
schema: plumbline.policy/v1
name: p
version: 1
owner: o
rules:
  - {id: no-worse, measure: "groups:equal_opportunity_difference", where: {feature: gender}, baseline: before, max_drop: 0}
"""
    plan = write(tmp_path / "own", tiny_base, recipe={"reweigh": ["gender"]}, policy="policy.yaml")
    (tmp_path / "own" / "policy.yaml").write_text(policy)
    result = audit.run_plan(
        plan,
        tmp_path / "run",
        baselines={"before": done.original.path},
        cache=place / "cache",
        progress=False,
        device="cpu",
    )
    assert result.record.subject.digest == done.twins["reweighed"].record.subject.digest
    (ruling,) = result.verdict.rulings
    assert ruling.outcome == "pass"


def test_from_the_command_line(done, place, tmp_path) -> None:  # type: ignore[no-untyped-def]
    call = [
        "mitigate",
        str(place / "plan.yaml"),
        "--out",
        str(place / "out"),
        "--cache",
        str(place / "cache"),
        "--device",
        "cpu",
    ]
    told = CliRunner().invoke(app, [*call, "--by", "gender"])
    assert told.exit_code == 0, told.output
    assert "reweighed, compared with it: " in told.output
    assert "unmitigated: " in told.output
    assert "hardened" not in told.output


@pytest.mark.parametrize(
    ("changes", "by", "says"),
    [
        ({"train_groups": ["gender", "age"]}, (), "2 sensitive features: gender, age"),
        ({"train_groups": []}, (), "0 sensitive features"),
        ({"recipe": {"privacy": {"epsilon": 1, "delta": 1e-5}}}, (), "trains privately"),
        ({"recipe": {"seeds": [1, 2], "seed": 0}}, (), "several models"),
        ({"probes": {"performance": {"probe": "performance.classification"}}}, (), "measures no group rates"),
        ({"subject": {"checkpoint": "x"}}, (), "trains nothing"),
        ({"baselines": {"unmitigated": "x"}}, (), "baseline called unmitigated"),
    ],
)
def test_what_has_no_twin_is_said_before_anything_is_trained(
    changes: dict[str, Any], by: tuple[str, ...], says: str, tmp_path: Path, tiny_base: Path
) -> None:
    plan = write(tmp_path, tiny_base, **changes)
    with pytest.raises(PlanError, match=says):
        mitigate(plan, tmp_path / "out", by=by, device="cpu", progress=False, cache=tmp_path / "cache")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "model").exists()


def test_a_feature_that_training_does_not_know_is_said_at_once(tmp_path: Path, tiny_base: Path) -> None:
    plan = write(tmp_path, tiny_base)
    with pytest.raises(DataError, match="reweigh names 'age', and the sensitive features"):
        mitigate(plan, tmp_path / "out", by=("age",), device="cpu", progress=False, cache=tmp_path / "cache")
    assert not (tmp_path / "model").exists()
