"""Signatures and reviews lie beside a bundle: no list names them, and none of them outlives the bundle that it speaks of."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from reports.bundle import Bundle, BundleWriter, write_outputs
from reports.errors import RecordError
from reports.files import BESIDE, SIGNATURE, SIGSTORE, lies_beside
from reports.record import AuditRecord, Verdict

HERE = (SIGNATURE, SIGSTORE, "reviews/review-1.json")


def write(folder: Path, record: AuditRecord, verdict: Verdict) -> Path:
    writer = BundleWriter(folder)
    writer.write_table("evidence/groups/rows.parquet", pa.table({"row_id": ["a"]}))
    write_outputs(writer, record, verdict)
    writer.close()
    return folder


def put(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(exist_ok=True, parents=True)
        (folder / path).write_text("{}\n")


@pytest.fixture
def folder(tmp_path: Path, record: AuditRecord, verdict: Verdict) -> Path:
    return write(tmp_path / "run", record, verdict)


def test_what_lies_beside_is_passed_over(folder: Path) -> None:
    put(folder, *HERE)
    assert Bundle.open(folder).check() == []
    assert {path.partition("/")[0] for path in HERE} == set(BESIDE)


@pytest.mark.parametrize(
    "path",
    [
        "reviews/notes.txt",
        "reviews/deeper/review.json",
        "signature.dsse.json.bak",
        "provenance/signature.dsse.json",
        "review.json",
    ],
)
def test_only_these_very_names_are_passed_over(folder: Path, path: str) -> None:
    put(folder, path)
    assert not lies_beside(path)
    assert any(p.startswith(f"{path}: not listed") for p in Bundle.open(folder).check())


def test_a_folder_in_place_of_a_signature_hides_nothing(folder: Path) -> None:
    put(folder, f"{SIGNATURE}/hidden.txt")
    assert any("hidden.txt: not listed" in p for p in Bundle.open(folder).check())


@pytest.mark.parametrize("path", HERE)
def test_links_beside_are_refused_too(folder: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).symlink_to(tmp_path / "elsewhere")
    assert f"{path}: is a link" in Bundle.open(folder).check()


@pytest.mark.parametrize("path", HERE)
def test_a_bundle_cannot_contain_what_lies_beside_it(tmp_path: Path, path: str) -> None:
    with pytest.raises(RecordError, match="lies beside"):
        BundleWriter(tmp_path / "run").write_text(path, "{}", "application/json")


def test_a_list_that_names_what_lies_beside_is_a_problem(folder: Path, record: AuditRecord, verdict: Verdict) -> None:
    put(folder, SIGNATURE)
    manifest = folder / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace("summary.md", SIGNATURE))
    assert any(p.startswith(f"{SIGNATURE}: is listed") for p in Bundle.open(folder).check())


def test_a_bundle_made_again_loses_signatures_and_reviews_of_the_earlier_one(
    folder: Path, record: AuditRecord, verdict: Verdict
) -> None:
    put(folder, *HERE)
    write(folder, record, verdict)
    assert not [path for path in HERE if (folder / path).exists()]
    assert Bundle.open(folder).check() == []


def test_a_new_decision_does_not_take_them_along(
    folder: Path, tmp_path: Path, record: AuditRecord, verdict: Verdict
) -> None:
    put(folder, *HERE)
    writer = BundleWriter(tmp_path / "new")
    writer.copy_evidence(Bundle.open(folder))
    write_outputs(writer, record, verdict)
    writer.close()
    assert (tmp_path / "new/evidence/groups/rows.parquet").is_file()
    assert not [path for path in HERE if (tmp_path / "new" / path).exists()]
