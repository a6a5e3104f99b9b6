"""Bill of materials, statement and model card: pure, the same bytes each time, and what the official readers accept."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from reports.documents import BOM, MODEL_CARD, STATEMENT, documents
from reports.errors import RecordError
from reports.hub_card import hub_card
from reports.manifests import (
    DataManifest,
    EnvironmentLock,
    ModelManifest,
    Provenance,
    SplitCounts,
    jcs,
    policy_digest,
    tree_digest,
)
from reports.standing import STOPS, as_enforced, standing, stops
from reports.statement import result, statement
from reports.wording import visible

FILES = {"config.json": "1" * 64, "model.safetensors": "2" * 64}


@pytest.fixture
def provenance(record):
    return Provenance(
        model=ModelManifest(
            name=record.subject.name,
            digest=record.subject.digest,
            files=FILES,
            deciding=("model.safetensors",),
            tree=tree_digest(FILES),
        ),
        data=DataManifest(
            card=record.data,
            source={"source": "screening-audit.csv", "rows_available": 2000},
            splits=(
                SplitCounts(split="audit", digest=record.data.digest, rows=2000, labels=record.data.labels,
                            groups={"gender": {"female": 900}}),
                SplitCounts(split="training", digest="5" * 64, rows=7000),
            ),
        ),
        environment=EnvironmentLock(
            versions=dict(record.environment),
            packages={"torch": "2.13.0+cpu", "numpy": "2.4.0"},
            hardware={"cores": 2},
            determinism={"PYTHONHASHSEED": "0"},
        ),
    )  # fmt: skip


@pytest.fixture
def made(record, verdict, provenance):
    return documents(record, verdict, provenance)


def test_the_tree_digest_is_that_of_sorted_path_nul_sha_lines():
    by_hand = b"a.txt\0" + b"0" * 64 + b"\n" + b"b/c.bin\0" + b"f" * 64 + b"\n"
    assert tree_digest({"b/c.bin": "f" * 64, "a.txt": "0" * 64}) == sha256(by_hand).hexdigest()
    assert tree_digest({}) == sha256(b"").hexdigest()


names = st.text(st.characters(blacklist_characters="\0\n", blacklist_categories=("Cs",)), min_size=1, max_size=8)
digests = st.integers(0, 2**256 - 1).map(lambda n: f"{n:064x}")


@given(st.dictionaries(names, digests, min_size=1, max_size=5), st.randoms(), digests)
def test_the_tree_digest_knows_no_order_and_every_file(files, random, other):
    items = list(files.items())
    random.shuffle(items)
    assert tree_digest(dict(items)) == tree_digest(files)
    path, sha = items[0]
    assert (tree_digest({**files, path: other}) == tree_digest(files)) == (sha == other)
    assert tree_digest({k: v for k, v in files.items() if k != path}) != tree_digest(files)


def test_the_same_audit_gives_the_same_bytes_and_another_one_another_serial_number(record, verdict, provenance, made):
    assert documents(record, verdict, provenance) == made
    moved = provenance.model_copy(update={"model": provenance.model.model_copy(update={"tree": "9" * 64})})
    other = documents(record, verdict, moved)
    assert json.loads(other[BOM])["serialNumber"] != json.loads(made[BOM])["serialNumber"]
    assert other[STATEMENT] != made[STATEMENT]


@pytest.mark.parametrize("name", [BOM, STATEMENT])
def test_json_is_canonical(made, name):
    text = made[name]
    assert text == jcs(json.loads(text)) + "\n"


def test_a_number_beyond_canonical_json_is_an_error_of_ours():
    with pytest.raises(RecordError, match="canonical JSON"):
        jcs({"n": 2**60})


def test_the_bill_of_materials_passes_the_strict_validator(made):
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(made[BOM]) is None
    broken = json.loads(made[BOM])
    broken["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] = 0.5
    assert validator.validate_str(json.dumps(broken)) is not None


def test_the_bill_of_materials_holds_figures_intervals_groups_and_packages(record, verdict, made):
    bom = json.loads(made[BOM])
    model = bom["metadata"]["component"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": tree_digest(FILES)}]
    assert [c["name"] for c in model["components"]] == sorted(FILES)
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {
        "type": "groups:recall", "value": "0.61", "slice": "group:gender=female",
        "confidenceInterval": {"lowerBound": "0.55", "upperBound": "0.67"},
    } in metrics  # fmt: skip
    considered = model["modelCard"]["considerations"]
    said = {a["groupAtRisk"]: a for a in considered["fairnessAssessments"]}
    assert len(said) == 3
    female = said["group gender = female"]
    assert "waived" in female["harms"]
    assert female["mitigationStrategy"] == next(w.statement for w in verdict.waivers if w.id == "W-17")
    assert "mitigationStrategy" not in said["group gender = male"]
    limits = " ".join(considered["technicalLimitations"])
    for unanswered in (
        "attack-typos: not_applicable",
        "membership: errored",
        "attack-synonyms: did not run",
        "No positives",
    ):
        assert unanswered in limits
    assert "pkg:pypi/torch@2.13.0%2Bcpu" in {c.get("purl") for c in bom["components"]}


def test_the_statement_is_one_that_in_toto_reads(record, verdict, made):
    body = json.loads(made[STATEMENT])
    read = json_format.Parse(made[STATEMENT], statement_pb2.Statement())
    Statement.copy_from_pb(read).validate()
    json_format.ParseDict(body["predicate"], test_result_pb2.TestResult())
    subjects = {s["name"]: s["digest"]["sha256"] for s in body["subject"]}
    assert subjects == {
        "model": record.subject.digest,
        "model files": tree_digest(FILES),
        "data": record.data.digest,
        "policy": policy_digest(verdict.policy),
        "results.json": verdict.record_sha256,
        "verdict.json": sha256(verdict.to_json().encode()).hexdigest(),
    }
    assert [c["name"] for c in body["predicate"]["configuration"]] == ["policy", "waivers"]


def test_every_check_stands_in_one_list_of_the_statement(verdict, made):
    predicate = json.loads(made[STATEMENT])["predicate"]
    assert predicate["result"] == "FAILED"
    passed, warned, failed = (predicate[f"{kind}Tests"] for kind in ("passed", "warned", "failed"))
    assert sorted([*passed, *warned, *failed]) == sorted(r.check.name for r in verdict.rulings)
    assert warned == ["every-group-is-protected [group:gender=female]", "faithful"]
    assert {"equal-opportunity [feature:gender]", "no-regression", "no-old-regression", "membership"} <= set(failed)


def test_a_result_passes_only_where_everything_passed(record, verdict, make_verdict, make_passing):
    clean = make_passing(record, verdict)
    assert result(clean) == "PASSED"
    waived = next(r for r in verdict.rulings if r.outcome == "waived")
    assert result(clean.model_copy(update={"outcome": "waived", "rulings": (*clean.rulings, waived)})) == "WARNED"
    assert result(make_verdict(record, enforced=False)) == "FAILED"
    for outcome in ("fail", "inconclusive", "error"):
        assert result(clean.model_copy(update={"outcome": outcome})) == "FAILED"


@pytest.mark.parametrize("enforced", [True, False])
@pytest.mark.parametrize("on_inconclusive", ["block", "warn"])
def test_the_statement_and_the_outputs_for_pipelines_have_one_notion_of_what_stops(
    record, provenance, make_verdict, enforced, on_inconclusive
):
    verdict = make_verdict(record, enforced=enforced)
    defaults = verdict.policy.defaults.model_copy(update={"on_inconclusive": on_inconclusive})
    verdict = verdict.model_copy(update={"policy": verdict.policy.model_copy(update={"defaults": defaults})})
    undecided = tuple(r for r in verdict.rulings if r.outcome not in ("fail", "error"))
    for one in (verdict, verdict.model_copy(update={"outcome": "inconclusive", "rulings": undecided})):
        predicate = json.loads(statement(record, one, provenance))["predicate"]
        as_if = as_enforced(one)
        where = {r.check.name: standing(r, as_if) for r in one.rulings}
        assert predicate["failedTests"] == [name for name, at in where.items() if at in STOPS]
        assert predicate["passedTests"] == [name for name, at in where.items() if at == "passed"]
        assert predicate["warnedTests"] == [name for name, at in where.items() if at in ("told", "excused")]
        assert (predicate["result"] == "FAILED") == stops(as_if)
        assert stops(one) == (stops(as_if) and enforced), "reporting only changes the exit code and no outcome"


def test_further_subjects_are_named_beside_the_others(record, verdict, provenance):
    body = json.loads(statement(record, verdict, provenance, {"MANIFEST.json": "7" * 64}))
    assert body["subject"][-1] == {"name": "MANIFEST.json", "digest": {"sha256": "7" * 64}}


def test_the_hub_reads_the_card(record, made):
    data = ModelCard(made[MODEL_CARD], ignore_metadata_errors=False).data
    assert data.model_name == record.subject.name
    figures = {(r.metric_name): r for r in data.eval_results}
    recall = figures["groups:recall [group:gender=female]"]
    assert (recall.metric_type, recall.metric_value) == ("recall", 0.61)
    assert recall.metric_args["low"] == 0.55
    assert recall.metric_args["rows"] == 212
    assert recall.dataset_revision == record.data.digest
    measured = [m for f in record.findings if f.reading for m in f.reading.measurements if m.kind == "measurement"]
    assert len(data.eval_results) == len(measured) - 1
    assert "Further figures, by group, class and setting: 1." in made[MODEL_CARD]


def test_text_from_data_is_no_markup_and_raw_inputs_stay_out(made, hostile, secret):
    body = made[MODEL_CARD].split("---\n", 2)[2]
    assert hostile not in body
    assert all(secret not in text for text in made.values())


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=12))
def test_the_hub_reads_a_card_whatever_the_model_is_called(record, verdict, name):
    named = record.model_copy(update={"subject": record.subject.model_copy(update={"name": f"m{name}"})})
    data = ModelCard(hub_card(named, verdict), ignore_metadata_errors=False).data
    assert data.model_name == visible(f"m{name}")
