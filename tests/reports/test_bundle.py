from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from reports.bundle import MANIFEST, RESULTS, SUMS, VERDICT, Bundle, BundleWriter, write_outputs
from reports.errors import RecordError, VerificationError
from reports.record import AuditRecord, RowsRef, Verdict

TABLE = pa.table({"row_id": ["a", "b", "c"], "score": [0.1, None, 0.9]})
ROWS = "evidence/groups/rows.parquet"


@pytest.fixture
def folder(tmp_path: Path, record: AuditRecord, verdict: Verdict) -> Path:
    writer = BundleWriter(tmp_path / "run")
    writer.write_table(ROWS, TABLE, personal=True)
    writer.write_text("provenance/environment.json", "{}\n", "application/json")
    write_outputs(writer, record, verdict)
    writer.close()
    return tmp_path / "run"


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_read_back(folder: Path, record: AuditRecord, verdict: Verdict) -> None:
    bundle = Bundle.open(folder)
    assert bundle.check() == []
    assert bundle.record() == record
    assert bundle.verdict() == verdict
    assert hashlib.sha256((folder / RESULTS).read_bytes()).hexdigest() == verdict.record_sha256
    assert {"results.json", "verdict.json", "report.html", "summary.md", "junit.xml"} <= set(tree(folder))


def test_manifest_lists_every_file_and_says_what_is_personal(folder: Path) -> None:
    manifest = Bundle.open(folder).manifest()
    assert [e.path for e in manifest.files] == sorted(set(tree(folder)) - {MANIFEST, SUMS})
    personal = {e.path for e in manifest.files if e.contains_personal_data}
    assert ROWS in personal
    assert RESULTS in personal, "the record holds raw inputs"
    assert "report.html" not in personal, "the page redacts them"


def test_sums_are_in_the_format_of_sha256sum(folder: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", SUMS], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert MANIFEST in done.stdout


def test_same_bundle_same_bytes(folder: Path, tmp_path: Path, record: AuditRecord, verdict: Verdict) -> None:
    writer = BundleWriter(tmp_path / "again")
    write_outputs(writer, record, verdict)
    writer.write_text("provenance/environment.json", "{}\n", "application/json")
    writer.write_table(ROWS, TABLE, personal=True)
    writer.close()
    assert tree(tmp_path / "again") == tree(folder)


def test_table_bytes_do_not_depend_on_chunks_or_pandas(tmp_path: Path) -> None:
    writer = BundleWriter(tmp_path / "run")
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    pandas = TABLE.replace_schema_metadata({b"pandas": b"{}"})
    shas = {writer.write_table(f"evidence/{i}.parquet", t).sha256 for i, t in enumerate((TABLE, chunked, pandas))}
    assert len(shas) == 1


def test_rows_come_back_with_their_metadata(tmp_path: Path) -> None:
    table = TABLE.replace_schema_metadata({b"plumbline": b"{}"})
    writer = BundleWriter(tmp_path / "run")
    ref = writer.write_table(ROWS, table)
    writer.close()
    back = Bundle.open(tmp_path / "run").rows(ref)
    assert back.equals(table)
    assert back.schema.metadata == {b"plumbline": b"{}"}
    assert ref.rows == 3


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", [RESULTS, VERDICT, "report.html", "summary.md", "junit.xml", ROWS, MANIFEST, SUMS])
def test_one_changed_byte_is_found(folder: Path, name: str) -> None:
    flip(folder / name)
    assert Bundle.open(folder).check() != []


@pytest.mark.parametrize("name", [RESULTS, VERDICT, "report.html", ROWS, MANIFEST, SUMS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert any(p.startswith(name) for p in Bundle.open(folder).check())


def test_an_added_file_is_named(folder: Path) -> None:
    (folder / "evidence" / "extra.txt").write_text("x")
    assert Bundle.open(folder).check() == [f"evidence/extra.txt: not listed in {MANIFEST}"]


def test_links_are_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.parquet"
    (folder / ROWS).rename(outside)
    (folder / ROWS).symlink_to(outside)
    bundle = Bundle.open(folder)
    assert any("link" in p for p in bundle.check())
    ref = RowsRef(path=ROWS, sha256=hashlib.sha256(outside.read_bytes()).hexdigest(), rows=3)
    with pytest.raises(VerificationError, match="link"):
        bundle.rows(ref)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", ".", "a//b", "a\\b", "C:x", "a\nb"])
def test_paths_stay_inside(tmp_path: Path, path: str) -> None:
    writer = BundleWriter(tmp_path / "run")
    with pytest.raises(RecordError):
        writer.write_text(path, "x", "text/plain")
    with pytest.raises(RecordError):
        Bundle(tmp_path / "run").rows(RowsRef(path=path, sha256="0" * 64, rows=0))


def test_a_manifest_that_points_outside_is_a_problem(folder: Path) -> None:
    body = json.loads((folder / MANIFEST).read_text())
    body["files"][0]["path"] = "../outside"
    (folder / MANIFEST).write_text(json.dumps(body))
    assert any("could leave the bundle" in p for p in Bundle.open(folder).check())


def test_rows_with_another_hash_do_not_verify(folder: Path) -> None:
    bundle = Bundle.open(folder)
    with pytest.raises(VerificationError) as caught:
        bundle.rows(RowsRef(path=ROWS, sha256="0" * 64, rows=3))
    assert caught.value.exit_code == 13
    with pytest.raises(VerificationError, match="missing"):
        bundle.rows(RowsRef(path="evidence/none.parquet", sha256="0" * 64, rows=3))


def test_rows_that_are_no_parquet_are_unreadable(tmp_path: Path) -> None:
    writer = BundleWriter(tmp_path / "run")
    entry = writer.write_text("evidence/x.parquet", "not parquet", "text/plain")
    writer.close()
    with pytest.raises(RecordError) as caught:
        Bundle.open(tmp_path / "run").rows(RowsRef(path=entry.path, sha256=entry.sha256, rows=1))
    assert caught.value.exit_code == 2


def cut(text: str) -> str:
    return text[: len(text) // 2]


def other_schema(text: str) -> str:
    return text.replace("plumbline.record/v1", "plumbline.record/v9", 1)


def infinite(text: str) -> str:
    return text.replace('"seed": 7', '"seed": NaN', 1)


def unknown_key(text: str) -> str:
    return text.replace('"seed": 7', '"seed": 7, "extra": 1', 1)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "cut off"),
        (other_schema, "plumbline.record/v9"),
        (infinite, "NaN"),
        (unknown_key, "extra"),
        (lambda _: "[]", "names no schema"),
        (lambda _: "\0\1", "no JSON"),
    ],
)
def test_a_damaged_record_gives_one_clear_message(folder: Path, damage: Callable[[str], str], says: str) -> None:
    path = folder / RESULTS
    path.write_text(damage(path.read_text()))
    with pytest.raises(RecordError, match=says) as caught:
        Bundle.open(folder).record()
    assert caught.value.exit_code == 2
    assert RESULTS in str(caught.value)


def test_folders_that_hold_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no folder"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(RecordError, match="holds neither"):
        Bundle.open(tmp_path)


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RecordError, match="not empty"):
        BundleWriter(tmp_path)
    with pytest.raises(RecordError, match="is a file"):
        BundleWriter(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_earlier_bundle_is_replaced_whole(folder: Path, record: AuditRecord, verdict: Verdict) -> None:
    writer = BundleWriter(folder)
    assert any("not finished" in p for p in Bundle.open(folder).check())
    write_outputs(writer, record, verdict)
    writer.close()
    assert Bundle.open(folder).check() == []
    assert not (folder / ROWS).exists()


def test_evidence_travels_to_a_new_bundle(folder: Path, tmp_path: Path, record: AuditRecord, verdict: Verdict) -> None:
    writer = BundleWriter(tmp_path / "new")
    writer.copy_evidence(Bundle.open(folder))
    write_outputs(writer, record, verdict)
    writer.close()
    assert tree(tmp_path / "new") == tree(folder)
    flip(folder / ROWS)
    with pytest.raises(VerificationError):
        BundleWriter(tmp_path / "third").copy_evidence(Bundle.open(folder))


def test_its_own_lists_cannot_be_overwritten(tmp_path: Path) -> None:
    with pytest.raises(RecordError):
        BundleWriter(tmp_path / "run").write_text(MANIFEST, "{}", "application/json")
