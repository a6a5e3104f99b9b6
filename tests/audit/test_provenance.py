"""What a run rested on is in its bundle, agrees with the rows, and one changed entry is named even with every hash made good."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256

import pyarrow.parquet as pq
import pytest

import audit
from audit.machine import determinism, hardware, normalised, packages
from audit.provenance import model_manifest
from audit.splits import audited, trained
from audit.verify import verify
from probes.answering import subject_digest
from reports.bundle import Bundle, file_digest
from reports.documents import BOM, MODEL_CARD, STATEMENT, documents
from reports.manifests import DATA_MANIFEST, ENVIRONMENT, MODEL_MANIFEST, ModelManifest, Provenance, tree_digest


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def make_good(run):
    """Documents and lists made again, as by a forger who has this code."""
    bundle = Bundle.open(run)
    for path, text in documents(bundle.record(), bundle.verdict(), Provenance.of(bundle)).items():
        (run / path).write_text(text)
    manifest = json.loads((run / "MANIFEST.json").read_text())
    for entry in manifest["files"]:
        path = run / entry["path"]
        entry |= {"size": path.stat().st_size, "sha256": file_digest(path)}
    (run / "MANIFEST.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    listed = sorted([e["path"] for e in manifest["files"]] + ["MANIFEST.json"])
    (run / "SHA256SUMS").write_text("".join(f"{file_digest(run / n)}  {n}\n" for n in listed))


def edit(run, name, change):
    body = json.loads((run / name).read_text())
    change(body)
    (run / name).write_text(json.dumps(body, ensure_ascii=False, indent=2) + "\n")


def test_the_documents_are_written_and_made_again(run):
    report = verify(run)
    assert report.problems == []
    for path in (BOM, STATEMENT, MODEL_CARD, MODEL_MANIFEST, DATA_MANIFEST, ENVIRONMENT):
        assert (run / path).is_file()
        assert any(line.startswith(path) for line in report.recomputed)
    assert any(ENVIRONMENT in line for line in report.not_recomputed)


def test_counts_are_those_of_the_rows(run):
    provenance = Provenance.of(Bundle.open(run))
    (split,) = provenance.data.splits
    frame = pq.read_table(run / "evidence/predictions.parquet").to_pandas()
    assert split.rows == len(frame)
    for feature in ("gender", "origin"):
        known = frame.dropna(subset=[f"group_{feature}"])
        by_hand = {
            value: {str(k): int(n) for k, n in part["label"].value_counts().items()}
            for value, part in known.groupby(f"group_{feature}")
        }
        assert split.labels_in_groups[feature] == by_hand
        assert split.groups[feature] == {value: sum(labels.values()) for value, labels in by_hand.items()}


def bump(counts):
    key = next(iter(counts))
    counts[key] += 1


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (MODEL_MANIFEST, lambda b: b["files"].update({"extra.bin": "0" * 64}), "tree digest"),
        (MODEL_MANIFEST, lambda b: b.update(tree="0" * 64), "tree digest"),
        (MODEL_MANIFEST, lambda b: b.update(digest="0" * 64), "digest"),
        (MODEL_MANIFEST, lambda b: b.update(deciding=["model.safetensors"]), "no hash"),
        (DATA_MANIFEST, lambda b: b["card"].update(digest="0" * 64), "digest"),
        (DATA_MANIFEST, lambda b: bump(b["splits"][0]["groups"]["gender"]), "groups"),
        (DATA_MANIFEST, lambda b: bump(b["splits"][0]["labels_in_groups"]["gender"]["f"]), "labels_in_groups"),
        (DATA_MANIFEST, lambda b: b["splits"].clear(), "parts"),
        (ENVIRONMENT, lambda b: b["versions"].update(numpy="0.0"), "numpy"),
        (ENVIRONMENT, lambda b: b["packages"].update(numpy="0.0"), "numpy"),
    ],
)
def test_one_changed_entry_is_named_with_everything_else_made_good(run, name, change, said):
    edit(run, name, change)
    make_good(run)
    problems = verify(run).problems
    assert any(p.startswith(name) and said in p for p in problems), problems


@pytest.mark.parametrize("name", [BOM, STATEMENT, MODEL_CARD])
def test_a_changed_document_is_named(run, name):
    text = (run / name).read_text()
    (run / name).write_text(text.replace("accura", "occura", 1))
    assert (run / name).read_text() != text
    assert any(p.startswith(name) for p in verify(run).problems)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": "plumbline.model/v1"', b"[1]", b"\xff"])
def test_an_unreadable_list_is_a_problem_and_no_crash(run, content):
    (run / MODEL_MANIFEST).write_bytes(content)
    assert any(MODEL_MANIFEST in p for p in verify(run).problems)


def test_a_verdict_made_again_has_its_own_statement(run, tmp_path, material):
    policy = tmp_path / "lenient.yaml"
    policy.write_text(material.POLICY.replace("max: 0.10", "max: 0.9"))
    audit.gate(run, policy, out=tmp_path / "new")
    assert verify(tmp_path / "new").problems == []
    old, new = (json.loads((p / STATEMENT).read_text()) for p in (run, tmp_path / "new"))
    assert old["predicate"]["result"] == "FAILED"
    assert new["predicate"]["result"] != "FAILED"
    differing = {a["name"] for a, b in zip(old["subject"], new["subject"], strict=True) if a != b}
    assert differing == {"policy", "verdict.json"}


def test_swapped_weights_do_not_agree_with_the_subject_of_a_checkpoint(run):
    """The record of a table, dressed as a checkpoint's: its deciding files make up its digest."""
    from audit.verify_provenance import _model

    bundle = Bundle.open(run)
    record, provenance = bundle.record(), Provenance.of(bundle)
    files = {"README.md": "3" * 64, "model.safetensors": "2" * 64}
    source = sha256(b"model.safetensors\0" + b"2" * 64 + b"\n").hexdigest()
    s = record.subject
    made = subject_digest(source, s.task, s.classes, s.threshold, s.positive)
    record = record.model_copy(update={"subject": s.model_copy(update={"kind": "checkpoint", "digest": made})})

    def said(files):
        model = ModelManifest(
            name=s.name, digest=made, files=files, deciding=("model.safetensors",), tree=tree_digest(files)
        )
        return list(_model(provenance.model_copy(update={"model": model}), record))

    assert said(files) == []
    assert any("deciding files" in p for p in said({**files, "model.safetensors": "4" * 64}))


def test_the_parts_of_training_are_those_of_its_record():
    training = {"data": {"digest": "6" * 64}, "training_rows": 80, "validation_rows": 20, "holdout_rows": 0}
    parts = trained(training, None)
    assert [(p.split, p.rows, p.digest, p.labels) for p in parts] == [
        ("training", 80, "6" * 64, None), ("validation", 20, "6" * 64, None), ("holdout", 0, "6" * 64, None),
    ]  # fmt: skip
    assert trained(None, None) == ()


def test_a_part_without_predictions_is_counted_from_the_data(finished, material):
    import pandas as pd

    from fine_tune.data import AuditData

    frame = pd.DataFrame({"text": list("abcd"), "label": ["y", "n", "y", "y"], "g": ["u", "u", "v", None]})
    data = AuditData.from_frame(frame, input="text", label="label", groups=("g",))
    card = Bundle.open(finished).record().data
    assert audited(card, None, data).labels_in_groups == {"g": {"u": {"n": 1, "y": 1}, "v": {"y": 1}}}


def test_a_subject_that_is_no_folder_has_no_tree(run):
    assert Provenance.of(Bundle.open(run)).model.tree is None


def test_every_file_of_a_checkpoint_is_listed_and_pickles_are_not_opened(tmp_path):
    from probes.checkpoint_subject import CheckpointSubject

    subject = object.__new__(CheckpointSubject)
    weights, readme, pickled = b"weights", b"# card", b"\x80\x04cos\nsystem\n"
    (tmp_path / "sub").mkdir()
    for name, content in (("model.safetensors", weights), ("README.md", readme), ("sub/state.pt", pickled)):
        (tmp_path / name).write_bytes(content)
    subject.checkpoint = type("Folder", (), {"folder": tmp_path})()
    subject.name, subject.digest = "m", "8" * 64
    subject.files = {"model.safetensors": sha256(weights).hexdigest()}
    manifest = model_manifest(subject)
    assert manifest.files == {
        "README.md": sha256(readme).hexdigest(),
        "model.safetensors": sha256(weights).hexdigest(),
        "sub/state.pt": sha256(pickled).hexdigest(),
    }
    assert manifest.deciding == ("model.safetensors",)
    assert manifest.tree == tree_digest(manifest.files)


def test_the_machine_names_packages_cores_and_switches(monkeypatch):
    import numpy

    found = packages()
    assert found["numpy"] == numpy.__version__
    assert all(name == normalised(name) for name in found)
    assert hardware()["cores"] >= 1
    monkeypatch.setenv("PYTHONHASHSEED", "17")
    assert determinism()["PYTHONHASHSEED"] == "17"
