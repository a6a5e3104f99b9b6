"""Verification: an untouched bundle verifies; one changed digit anywhere does not, even when everything is re-hashed."""

from __future__ import annotations

import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import audit
from audit.verify import verify
from reports.bundle import Bundle, BundleWriter, file_digest, write_outputs
from reports.record import AuditRecord, Verdict


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def rehash(run):
    """Make the bundle's own lists agree with its files again, as a forger would."""
    manifest = json.loads((run / "MANIFEST.json").read_text())
    for entry in manifest["files"]:
        path = run / entry["path"]
        entry |= {"size": path.stat().st_size, "sha256": file_digest(path)}
    (run / "MANIFEST.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    names = sorted([e["path"] for e in manifest["files"]] + ["MANIFEST.json"])
    (run / "SHA256SUMS").write_text("".join(f"{file_digest(run / n)}  {n}\n" for n in names))


def change_digit(path, nth):
    text = path.read_text()
    places = [m.start() for m in re.finditer(r"\d", text)]
    at = places[nth % len(places)]
    path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])


def test_an_untouched_bundle_verifies(run):
    report = verify(run)
    assert report.problems == []
    words = " ".join(report.recomputed)
    for part in ("performance", "calibration", "groups", "verdict", "report.html", "junit.xml", "summary.md", "data"):
        assert part in words


@pytest.mark.parametrize("name", ["results.json", "verdict.json", "report.html", "summary.md", "junit.xml"])
@pytest.mark.parametrize("nth", [3, 40, 333, 697, 1234, 9999])
@pytest.mark.parametrize("rehashed", [False, True])
def test_one_changed_digit_does_not_verify(run, name, nth, rehashed):
    change_digit(run / name, nth)
    if rehashed:
        rehash(run)
    report = verify(run)
    assert not report.ok
    if not rehashed:
        assert any(name in p for p in report.problems)


@pytest.mark.parametrize("column", ["prediction", "score_yes", "group_gender", "label", "cluster"])
def test_a_changed_row_does_not_verify_even_with_every_hash_made_good(run, column):
    path = run / "evidence/predictions.parquet"
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[7] = values[7] + 0.01 if isinstance(values[7], float) else next(v for v in values if v != values[7])
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type)), path)
    rehash(run)
    assert not verify(run).ok
    record = json.loads((run / "results.json").read_text())
    for ref in [record["predictions"], *(f["rows"] for f in record["findings"])]:
        ref["sha256"] = file_digest(path)
    model = AuditRecord.model_validate(record)
    forged = audit.load(run).verdict.model_dump(mode="json", by_alias=True)
    (run / "results.json").write_text(model.to_json())
    forged["record_sha256"] = file_digest(run / "results.json")
    (run / "verdict.json").write_text(Verdict.model_validate(forged).to_json())
    rehash(run)
    assert not verify(run).ok


def test_numbers_changed_consistently_everywhere_still_fail_by_recomputation(run, tmp_path):
    bundle = Bundle.open(run)
    record = json.loads((run / "results.json").read_text())
    for finding in record["findings"]:
        for m in finding["reading"]["measurements"]:
            if m["name"] == "demographic_parity_difference" and m["kind"] == "measurement":
                m["value"], m["interval"]["low"], m["interval"]["high"] = 0.01, 0.0, 0.02
    forged = AuditRecord.model_validate(record)
    policy = bundle.verdict().policy
    from audit.decide import decide

    verdict = decide(forged, policy, on=bundle.verdict().decided_on)
    assert verdict.outcome == "pass"
    writer = BundleWriter(tmp_path / "forged")
    writer.copy_evidence(bundle)
    write_outputs(writer, forged, verdict)
    writer.close()
    report = verify(tmp_path / "forged")
    assert not report.ok
    assert any("demographic_parity_difference" in p for p in report.problems)


@pytest.mark.parametrize("name", ["evidence/predictions.parquet", "junit.xml", "verdict.json", "SHA256SUMS"])
def test_a_missing_file_is_named(run, name):
    (run / name).unlink()
    report = verify(run)
    assert any(name in p for p in report.problems)


def test_an_added_file_is_named(run):
    (run / "evidence" / "extra.txt").write_text("hello")
    assert any("extra.txt" in p for p in verify(run).problems)


@pytest.mark.parametrize("name", ["environment.json", "data.manifest.json", "model.manifest.json"])
def test_a_manifest_that_disagrees_with_the_record_is_named(run, name):
    path = run / "provenance" / name
    path.write_text(path.read_text().replace(': "', ': "x', 1))
    rehash(run)
    assert any(name in p for p in verify(run).problems)


def test_a_verdict_by_another_policy_does_not_verify(run):
    verdict = json.loads((run / "verdict.json").read_text())
    verdict["policy"]["rules"][1]["max"] = 0.9
    (run / "verdict.json").write_text(Verdict.model_validate(verdict).to_json())
    rehash(run)
    assert any("verdict" in p for p in verify(run).problems)
