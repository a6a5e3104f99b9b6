"""What a bundle's numbers rest on is summed up again: one figure changed consistently everywhere is found, whatever probe it is of.

The forger here has this very code: the record, the verdict, every page and document and both lists agree with one another. Only the
rows do not.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

import audit
from audit.demands import Demands, decide_run
from audit.pairing import Run
from audit.verify import verify
from reports.bundle import Bundle, BundleWriter, write_outputs
from reports.documents import write_documents
from reports.record import AuditRecord

PROBES: dict[str, dict[str, Any]] = {
    "performance": {"probe": "performance.classification"},
    "calibration": {"probe": "performance.calibration"},
    "groups": {"probe": "fairness.groups", "positive": "positive", "permutations": 50},
    "attack": {"probe": "robustness.attack", "recipe": "deepwordbug", "examples": 12, "min_group": 3, "pool": 4},
    "membership": {"probe": "privacy.membership"},
    "faithfulness": {"probe": "explanation.faithfulness", "examples": 12},
}
"""What must be summed up again: performance, calibration, group fairness, attack rates, membership, faithfulness."""


def people(rows: int = 160) -> pd.DataFrame:
    lines = []
    for i in range(rows):
        she, good = i % 2 == 0, i // 2 % 2 == 0
        adjective = ("great", "fine")[i // 4 % 2] if good else ("awful", "bad")[i // 4 % 2]
        text = f"{'she' if she else 'he'} was {adjective} {'very ' * (i // 8 % 4)}{'really ' * (i // 32 % 8)}".strip()
        wrong = i % 11 == 0
        lines.append((text, "positive" if good != wrong else "negative", "woman" if she else "man"))
    return pd.DataFrame(lines, columns=["text", "label", "gender"])


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A run of a model that it trains itself, with a probe of every family."""
    folder = tmp_path_factory.mktemp("rich")
    people().to_csv(folder / "train.csv", index=False)
    people(120).to_csv(folder / "audit.csv", index=False)
    part = {"input": "text", "label": "label"}
    recipe = {"base": str(tiny_base), "steps": 60, "batch_size": 16, "learning_rate": 0.003, "seed": 1}
    plan = {
        "schema": "plumbline.plan/v1", "name": "recomputed", "seed": 3,
        "subject": {"recipe": recipe | {"holdout": 0.3}, "save_to": "model"},
        "data": {"train": {"source": "train.csv", **part}, "audit": {"source": "audit.csv", **part, "groups": ["gender"]}},
        "probes": PROBES,
        "policy": "policy.yaml",
        "attestations": {"owner": "somebody"},
    }  # fmt: skip
    YAML().dump(plan, folder / "plan.yaml")
    rules = [{"id": "accurate", "measure": "performance:accuracy", "min": 0.5, "min_n": 10}]
    policy = {"schema": "plumbline.policy/v1", "name": "p", "version": 1, "owner": "o", "rules": rules}
    YAML().dump(policy, folder / "policy.yaml")
    audit.run_plan(folder / "plan.yaml", folder / "run", cache=folder / "cache", progress=False)
    return folder / "run"


def forge(run: Path, out: Path, change: Any) -> Path:
    """A bundle whose record says something else, decided, rendered, documented and hashed anew."""
    bundle = Bundle.open(run)
    body = json.loads((run / "results.json").read_text())
    change(body)
    record = AuditRecord.model_validate(body)
    verdict = bundle.verdict()
    demands = Demands(policy=verdict.policy, waivers=verdict.waivers, baselines={}, on=verdict.decided_on)
    again = decide_run(Run(record=record, rows_of=bundle.rows), demands)
    writer = BundleWriter(out)
    writer.copy_evidence(bundle)
    write_outputs(writer, record, again)
    write_documents(writer, record, again)
    writer.close()
    assert Bundle.open(out).check() == [], "the forger made every hash good"
    return out


def measurements(body: Any, instance: str) -> list[dict[str, Any]]:
    (finding,) = [f for f in body["findings"] if f["instance"] == instance]
    return [m for m in finding["reading"]["measurements"] if m["kind"] == "measurement"]


def test_what_must_be_recomputed_is(rich: Path) -> None:
    report = verify(rich)
    assert report.problems == []
    assert {f.instance for f in Bundle.open(rich).record().findings if f.rows is not None} == set(PROBES)
    for instance in (*PROBES, "data", "verdict", "report.html", "junit.xml", "summary.md", "model_card.md"):
        assert any(line.startswith(f"{instance}:") for line in report.recomputed), instance
    assert not any(line.startswith(f"{instance}:") for line in report.not_recomputed for instance in PROBES)


def test_a_forger_who_changes_nothing_is_not_accused(rich: Path, tmp_path: Path) -> None:
    assert verify(forge(rich, tmp_path / "same", lambda body: None)).problems == []


@pytest.mark.parametrize("instance", PROBES)
def test_one_value_changed_consistently_everywhere_is_found(rich: Path, tmp_path: Path, instance: str) -> None:
    def change(body: Any) -> None:
        first = measurements(body, instance)[0]
        first["value"] += 1e-6

    problems = verify(forge(rich, tmp_path / "forged", change)).problems
    assert any(p.startswith(f"results.json: {instance}: ") for p in problems), problems
    assert not any(p.startswith(f"results.json: {other}: ") for p in problems for other in PROBES if other != instance)


@pytest.mark.parametrize("instance", PROBES)
def test_so_is_one_end_of_an_interval(rich: Path, tmp_path: Path, instance: str) -> None:
    def change(body: Any) -> None:
        sampled = next(m for m in measurements(body, instance) if (m["interval"] or {}).get("low") is not None)
        sampled["interval"]["low"] -= 1e-6

    problems = verify(forge(rich, tmp_path / "forged", change)).problems
    assert any(p.startswith(f"results.json: {instance}: ") and "low" in p for p in problems), problems


@pytest.mark.parametrize("instance", ["performance", "attack", "membership"])
def test_so_is_a_count(rich: Path, tmp_path: Path, instance: str) -> None:
    def change(body: Any) -> None:
        measurements(body, instance)[0]["counts"]["n"] += 1

    problems = verify(forge(rich, tmp_path / "forged", change)).problems
    assert any(p.startswith(f"results.json: {instance}: ") and "counts.n" in p for p in problems), problems


def test_so_is_a_figure_that_is_left_out(rich: Path, tmp_path: Path) -> None:
    def change(body: Any) -> None:
        (finding,) = [f for f in body["findings"] if f["instance"] == "membership"]
        finding["reading"]["measurements"].pop()

    problems = verify(forge(rich, tmp_path / "forged", change)).problems
    assert any(p.startswith("results.json: membership: ") for p in problems), problems


def test_what_can_only_be_believed_is_listed_with_its_reason(rich: Path) -> None:
    told = verify(rich).not_recomputed
    for part in (
        "evidence",
        "provenance/model.manifest.json",
        "provenance/data.manifest.json",
        "provenance/environment.json",
        "provenance/timings.json",
        "results.json: training",
        "results.json: attestations.owner",
    ):
        (line,) = [line for line in told if line.startswith(f"{part}: ")]
        assert line.startswith(f"{part}: on trust, no signature was checked: "), line
        assert len(line) > len(f"{part}: on trust, no signature was checked: ") + 20, "it says why"


def test_the_model_at_hand_is_compared_with_the_audited_one(rich: Path, tmp_path: Path) -> None:
    model = shutil.copytree(rich.parent / "model", tmp_path / "model")
    same = verify(rich, model=model)
    assert same.problems == []
    assert any(f"{model} holds the" in line for line in same.recomputed)
    (model / "README.md").write_text("# another")
    told = verify(rich, model=model)
    assert told.problems == []
    assert any("README.md" in line and "decides nothing" in line for line in told.not_recomputed)
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    (model / "tokenizer_extra.json").write_text("{}")
    problems = verify(rich, model=model).problems
    assert any("model.safetensors: has sha256" in p for p in problems), problems
    assert any("tokenizer_extra.json" in p for p in problems), problems
    (model / "model.safetensors").unlink()
    assert any("model.safetensors: is missing" in p for p in verify(rich, model=model).problems)


def test_a_run_of_a_table_has_no_model_to_compare(finished: Path, tmp_path: Path) -> None:
    (problem,) = verify(finished, model=tmp_path).problems
    assert "only with a checkpoint" in problem


def said_of_itself(body: Any, change: Any) -> None:
    """In the plan and in the finding alike, as a forger would."""
    for part in ("planned", "findings"):
        (found,) = [p for p in body[part] if p["instance"] == "performance"]
        change(found["info"])


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("limits", lambda info: info["limits"].clear()),
        ("asks", lambda info: info["asks"].update(text="Is it good?")),
        ("defines", lambda info: info["defines"][0].update(source="a standard")),
        ("needs", lambda info: info["needs"].pop()),
    ],
)
def test_so_is_what_a_probe_says_of_itself(rich: Path, tmp_path: Path, part: str, change: Any) -> None:
    problems = verify(forge(rich, tmp_path / "forged", lambda body: said_of_itself(body, change))).problems
    assert problems == [f"results.json: performance: performance.classification says otherwise of its {part}"]


def test_what_another_version_says_of_itself_is_told_as_believed(rich: Path, tmp_path: Path) -> None:
    def change(info: Any) -> None:
        info["version"] = "0.0.9"
        info["limits"].clear()

    report = verify(forge(rich, tmp_path / "forged", lambda body: said_of_itself(body, change)))
    assert any(
        line.startswith("performance: what performance.classification says of itself") for line in report.not_recomputed
    )


def test_plan_and_findings_agree(rich: Path, tmp_path: Path) -> None:
    def unplanned(body: Any) -> None:
        body["planned"] = [p for p in body["planned"] if p["instance"] != "calibration"]

    def twice(body: Any) -> None:
        body["findings"].append(next(f for f in body["findings"] if f["instance"] == "calibration"))

    def another_seed(body: Any) -> None:
        next(f for f in body["findings"] if f["instance"] == "calibration")["seed"] += 1

    for change, said in (
        (unplanned, "is not in the plan"),
        (twice, "is found 2 times"),
        (another_seed, "its seed is 4"),
    ):
        problems = verify(forge(rich, tmp_path / change.__name__, change)).problems
        assert any(p.startswith("results.json: calibration: ") and said in p for p in problems), problems


def test_what_was_planned_and_did_not_run_is_told(rich: Path, tmp_path: Path) -> None:
    def left_out(body: Any) -> None:
        body["findings"] = [f for f in body["findings"] if f["instance"] != "calibration"]

    told = verify(forge(rich, tmp_path / "forged", left_out)).not_recomputed
    assert any(line.startswith("calibration: is in the plan and did not run") for line in told)
