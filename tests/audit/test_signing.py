"""A signed run binds weights, data, policy and verdict: swap any one, every hash and page made good, and verification names it."""

from __future__ import annotations

import base64
import json
import shutil
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.signer import SSlibKey
from typer.testing import CliRunner

import audit
from audit.cli import app
from audit.errors import SigningError
from audit.pipeline import rebundle, regate
from audit.rendering import render
from audit.signing.keys import generate, private_key, public_key
from audit.signing.signing import sign_with_key
from audit.signing.trusted import Trusted
from audit.verify import verify
from probes.answering import subject_digest
from reports.bundle import MANIFEST, SUMS, Bundle, BundleWriter, file_digest, write_outputs
from reports.documents import write_documents
from reports.files import SIGNATURE
from reports.manifests import DATA_MANIFEST, MODEL_MANIFEST, tree_digest
from reports.record import AuditRecord
from reports.signatures import read_envelope

PLAN = """
schema: plumbline.plan/v1
name: reviews
seed: 3
subject: {checkpoint: model}
data: {audit: {source: reviews.csv, id: row, input: text, label: label, groups: [gender]}}
probes: {performance: {probe: performance.classification}}
policy: policy.yaml
"""
POLICY = """
schema: plumbline.policy/v1
name: release
version: 1
owner: risk@example.org
defaults: {min_n: 5}
rules: [{id: accurate, measure: "performance:accuracy", min: 0.01}]
"""


def command(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("one", "two", "other"):
        generate(folder / name, "ecdsa" if name == "two" else "ed25519", None)
    return folder


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """A run of a checkpoint, which nobody has signed."""
    folder = tmp_path_factory.mktemp("signing")
    shutil.copytree(tiny_checkpoint, folder / "model")
    texts = [("the movie was good", "positive"), ("a film was awful", "negative"), ("the actor is great", "positive")]
    rows = [(f"r{i}", *texts[i % 3], "woman" if i % 2 else "man") for i in range(24)]
    pd.DataFrame(rows, columns=["row", "text", "label", "gender"]).to_csv(folder / "reviews.csv", index=False)
    (folder / "plan.yaml").write_text(PLAN)
    (folder / "policy.yaml").write_text(POLICY)
    audit.run_plan(folder / "plan.yaml", folder / "run", cache=folder / "cache", progress=False)
    return folder / "run"


@pytest.fixture
def run(unsigned: Path, tmp_path: Path) -> Path:
    return shutil.copytree(unsigned, tmp_path / "run")


@pytest.fixture
def signed(run: Path, keys: Path) -> Path:
    assert sign_with_key(run, private_key(keys / "one")).new
    return run


def one(keys: Path) -> Trusted:
    return Trusted(keys=(keys / "one.pub",))


# What is signed ---------------------------------------------------------------------------------------------------


def test_signing_writes_the_envelope_and_nothing_else(run: Path, keys: Path) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    sign_with_key(run, private_key(keys / "one"))
    after = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert set(after) - set(before) == {run / SIGNATURE}
    assert all(after[p] == content for p, content in before.items())


def test_it_is_an_envelope_that_another_implementation_checks(signed: Path, keys: Path) -> None:
    other = OtherEnvelope.from_dict(json.loads((signed / SIGNATURE).read_text()))
    key = public_key(keys / "one.pub")
    assert list(other.verify([key], 1)) == [key.keyid]
    assert other.pae() == read_envelope((signed / SIGNATURE).read_bytes()).pae


def test_what_is_signed_are_weights_data_policy_verdict_and_every_file(signed: Path) -> None:
    body = json.loads(read_envelope((signed / SIGNATURE).read_bytes()).content)
    subjects = {s["name"]: s["digest"]["sha256"] for s in body["subject"]}
    bundle = Bundle.open(signed)
    record = bundle.record()
    files = json.loads((signed / MODEL_MANIFEST).read_text())["files"]
    assert subjects["model files"] == tree_digest(files)
    assert subjects["model"] == record.subject.digest
    assert subjects["data"] == record.data.digest
    assert subjects["verdict.json"] == file_digest(signed / "verdict.json")
    assert subjects[MANIFEST] == file_digest(signed / MANIFEST)
    assert {e.path: e.sha256 for e in bundle.manifest().files}.items() <= subjects.items()
    assert body["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"


def test_an_unsigned_run_verifies_and_says_so(run: Path) -> None:
    code, said = command("verify", run)
    assert code == 0
    assert "signature: unsigned\n" in said


def test_a_signature_without_a_key_is_never_called_good(signed: Path) -> None:
    code, said = command("verify", signed)
    assert code == 0
    (line,) = [line for line in said.splitlines() if line.startswith("signature:")]
    assert line.endswith("is present, not checked: no key given")
    assert "signed by" not in said
    assert "on trust, no signature was checked" in said


def test_a_signature_is_checked_with_its_key(signed: Path, keys: Path) -> None:
    code, said = command("verify", signed, "--key", keys / "one.pub")
    keyid = public_key(keys / "one.pub").keyid
    assert code == 0
    assert f"signature: signed by key {keyid[:16]}, checked with the key given\n" in said
    assert f"on the word of key {keyid}" in said
    assert "on trust, no signature was checked" not in said


def test_a_wrong_key_does_not_verify(signed: Path, keys: Path) -> None:
    code, said = command("verify", signed, "--key", keys / "other.pub")
    assert code == 13
    assert f"PROBLEM: {SIGNATURE}: has no signature by the key in {keys / 'other.pub'}" in said
    assert "signed by key" not in said


def test_a_key_and_no_signature_does_not_verify(run: Path, keys: Path) -> None:
    code, said = command("verify", run, "--key", keys / "one.pub")
    assert code == 13
    assert f"{SIGNATURE}: is missing" in said


def test_a_second_key_adds_its_signature_and_both_are_asked_for(signed: Path, keys: Path) -> None:
    first = read_envelope((signed / SIGNATURE).read_bytes())
    assert command("sign", signed, "--key", keys / "two")[0] == 0
    both = read_envelope((signed / SIGNATURE).read_bytes())
    assert both.signatures[0] == first.signatures[0]
    assert both.payload == first.payload
    assert len(both.signatures) == 2
    assert verify(signed, Trusted(keys=(keys / "one.pub", keys / "two.pub"))).problems == []
    code, said = command("verify", signed, "--key", keys / "two.pub")
    assert code == 0
    assert "is present, not checked: that key was not given" in said
    assert command("verify", signed, "--key", keys / "two.pub", "--key", keys / "other.pub")[0] == 13


def test_signing_again_with_the_same_key_changes_nothing(signed: Path, keys: Path) -> None:
    before = (signed / SIGNATURE).read_bytes()
    code, said = command("sign", signed, "--key", keys / "one")
    assert (code, (signed / SIGNATURE).read_bytes()) == (0, before)
    assert "already" in said


def test_what_does_not_verify_is_not_signed(run: Path, keys: Path) -> None:
    (run / "summary.md").write_text("all is well")
    code, said = command("sign", run, "--key", keys / "one")
    assert code == 13
    assert "summary.md" in said
    assert not (run / SIGNATURE).exists()


# What was swapped -------------------------------------------------------------------------------------------------

Changes = tuple[Callable[[Any], None], dict[str, Callable[[Any], None]]]


def forge(run: Path, out: Path, changed: Changes) -> None:
    """Another record and other lists below ``provenance/``; verdict, pages, documents and hashes made again of them."""
    bundle = Bundle.open(run)
    body = json.loads((run / "results.json").read_text())
    changed[0](body)
    record = AuditRecord.model_validate(body)
    writer = BundleWriter(out)
    writer.copy_evidence(bundle)
    for path, change in changed[1].items():
        manifest = json.loads((run / path).read_text())
        change(manifest)
        writer.write_text(path, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", "application/json")
    verdict = bundle.verdict().model_copy(update={"record_sha256": file_sha(record)})
    write_outputs(writer, record, verdict)
    write_documents(writer, record, verdict)
    writer.close()


def file_sha(record: AuditRecord) -> str:
    from hashlib import sha256

    return sha256(record.to_json().encode()).hexdigest()


def other_weights(run: Path) -> Changes:
    manifest = json.loads((run / MODEL_MANIFEST).read_text())
    files = manifest["files"] | {"model.safetensors": "0" * 64}
    s = Bundle.open(run).record().subject
    deciding = tree_digest({p: files[p] for p in manifest["deciding"]})
    made = subject_digest(deciding, s.task, s.classes, s.threshold, s.positive)
    new = {"files": files, "tree": tree_digest(files), "digest": made}
    return (lambda body: body["subject"].update(digest=made)), {MODEL_MANIFEST: lambda m: m.update(new)}


def other_data(run: Path) -> Changes:
    def manifest(m: Any) -> None:
        m["card"]["digest"] = m["splits"][0]["digest"] = "0" * 64

    return (lambda body: body["data"].update(digest="0" * 64)), {DATA_MANIFEST: manifest}


def swap(what: str, run: Path, out: Path) -> None:
    if what in ("weights", "data"):
        forge(run, out, other_weights(run) if what == "weights" else other_data(run))
        return
    bundle = Bundle.open(run)
    verdict = bundle.verdict()
    policy, on = verdict.policy, verdict.decided_on
    assert policy is not None
    if what == "policy":
        rules = (policy.rules[0].model_copy(update={"min": 0.001}),)
        policy = policy.model_copy(update={"rules": rules})
    else:
        on += timedelta(days=1)
    rebundle(bundle, regate(bundle, policy=policy, waivers=(), baselines={}, on=on), {}, out)


CALLED = {
    "weights": "the weights and other files of the model",
    "data": "the data",
    "policy": "the policy",
    "verdict": "the verdict (verdict.json)",
}


@pytest.mark.parametrize("what", CALLED)
def test_what_was_swapped_is_named(signed: Path, keys: Path, tmp_path: Path, what: str) -> None:
    swap(what, signed, tmp_path / "swapped")
    assert verify(tmp_path / "swapped").problems == [], "without the signature nothing gives the forger away"
    assert not (tmp_path / "swapped" / SIGNATURE).exists()
    shutil.copy(signed / SIGNATURE, tmp_path / "swapped" / SIGNATURE)
    for trusted in (Trusted(), one(keys)):
        report = verify(tmp_path / "swapped", trusted)
        assert report.problems
        assert all(p.startswith(f"{SIGNATURE}: ") for p in report.problems)
        told = {
            w for w, name in CALLED.items() for p in report.problems if p.startswith(f"{SIGNATURE}: {name} was swapped")
        }
        assert told - {"verdict"} == {what} - {"verdict"}, "no other cause is named"
        assert "verdict" in told, "it was decided on something else"
        assert report.signatures == ["a signature lies beside it that does not hold for this bundle"]
    assert command("verify", tmp_path / "swapped", "--key", keys / "one.pub")[0] == 13


def test_a_swapped_file_of_evidence_is_named_even_if_nothing_else_changes(signed: Path, keys: Path) -> None:
    timings = signed / "provenance/timings.json"
    timings.write_text('{\n  "seconds": {}\n}\n')
    rehash(signed)
    problems = verify(signed, one(keys)).problems
    assert any(p.startswith(f"{SIGNATURE}: provenance/timings.json was swapped") for p in problems), problems


def test_a_statement_that_was_changed_to_fit_is_no_longer_signed(signed: Path, keys: Path, tmp_path: Path) -> None:
    swap("verdict", signed, tmp_path / "swapped")
    sign_with_key(tmp_path / "swapped", private_key(keys / "other"))
    fitting = json.loads((tmp_path / "swapped" / SIGNATURE).read_text())
    fitting["signatures"] = json.loads((signed / SIGNATURE).read_text())["signatures"]
    (tmp_path / "swapped" / SIGNATURE).write_text(json.dumps(fitting, ensure_ascii=False, indent=2) + "\n")
    problems = verify(tmp_path / "swapped", one(keys)).problems
    assert any("does not hold" in p for p in problems), problems


@pytest.mark.parametrize("member", ["payload", "sig", "keyid", "payloadType"])
def test_one_changed_character_of_an_envelope_does_not_verify(signed: Path, keys: Path, member: str) -> None:
    text = (signed / SIGNATURE).read_text()
    at = text.index(f'"{member}": "') + len(member) + 5
    for offset in (0, 3):
        other = "A" if text[at + offset] != "A" else "B"
        (signed / SIGNATURE).write_text(text[: at + offset] + other + text[at + offset + 1 :])
        problems = verify(signed, one(keys)).problems
        assert any(p.startswith(SIGNATURE) for p in problems), (member, offset)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"payload": "', b'{"payload": "e30=", "payloadType": "x", "signatures": []}'],
)  # fmt: skip
def test_what_is_no_envelope_is_a_problem_and_no_crash(run: Path, content: bytes) -> None:
    (run / SIGNATURE).write_bytes(content)
    code, said = command("verify", run)
    assert code == 13
    assert f"PROBLEM: {SIGNATURE}: " in said


def test_a_payload_that_is_no_statement_is_a_problem(signed: Path) -> None:
    body = json.loads((signed / SIGNATURE).read_text())
    body["payload"] = base64.b64encode(b"[1]").decode()
    (signed / SIGNATURE).write_text(json.dumps(body, indent=2) + "\n")
    assert any("no statement" in p for p in verify(signed).problems)


def test_two_signatures_by_one_key_are_refused(signed: Path, keys: Path) -> None:
    body = json.loads((signed / SIGNATURE).read_text())
    body["signatures"] *= 2
    (signed / SIGNATURE).write_text(json.dumps(body, indent=2) + "\n")
    assert any("twice" in p for p in verify(signed, one(keys)).problems)


def test_a_signature_does_not_outlive_its_bundle(signed: Path, tmp_path: Path) -> None:
    audit.gate(signed, None, out=tmp_path / "new")
    assert not (tmp_path / "new" / SIGNATURE).exists()
    shutil.copytree(signed, tmp_path / "old")
    audit.gate(signed, None, out=tmp_path / "old")
    assert not (tmp_path / "old" / SIGNATURE).exists(), "a bundle made again in the same place is unsigned"


# What the page says -----------------------------------------------------------------------------------------------


def test_the_page_says_what_is_true_of_the_signature(run: Path, keys: Path, tmp_path: Path) -> None:
    assert render(run) == (run / "report.html").read_text(encoding="utf-8")
    sign_with_key(run, private_key(keys / "one"))
    keyid = public_key(keys / "one.pub").keyid[:16]
    page = render(run)
    assert f"a signature that names key {keyid} is present, not checked: no key given" in page
    assert "checked with the key given" not in page
    code, _ = command("render", run, "--out", tmp_path / "page.html", "--key", keys / "one.pub")
    assert code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"signed by key {keyid}, checked with the key given" in page
    assert "unsigned" not in page.partition("<h2")[0]


def test_no_page_is_rendered_where_the_signature_asked_for_does_not_hold(
    signed: Path, keys: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    assert command("render", signed, "--out", out, "--key", keys / "other.pub")[0] == 13
    (signed / "summary.md").write_text("changed")
    assert command("render", signed, "--out", out, "--key", keys / "one.pub")[0] == 13
    assert not out.exists()


def test_a_page_of_a_swapped_bundle_says_that_its_signature_does_not_hold(signed: Path, tmp_path: Path) -> None:
    swap("verdict", signed, tmp_path / "swapped")
    shutil.copy(signed / SIGNATURE, tmp_path / "swapped" / SIGNATURE)
    assert "a signature lies beside it that does not hold for this bundle" in render(tmp_path / "swapped")


# Keys -------------------------------------------------------------------------------------------------------------


def test_a_new_key_is_its_owners_alone_and_replaces_none(tmp_path: Path) -> None:
    code, said = command("keygen", tmp_path / "key")
    assert code == 0
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert public_key(tmp_path / "key.pub").keyid in said
    assert "PRIVATE" not in said
    before = (tmp_path / "key").read_bytes()
    assert command("keygen", tmp_path / "key")[0] == 2
    (tmp_path / "key").unlink()
    assert command("keygen", tmp_path / "key")[0] == 2, "the public one is there"
    assert not (tmp_path / "key").exists()
    assert b"PRIVATE KEY" in before
    assert command("keygen", tmp_path / "none" / "key")[0] == 2


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_passphrase_comes_from_the_environment(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("PLUMBLINE_KEY_PASSPHRASE", "correct horse")
    assert command("keygen", tmp_path / "key", "--kind", kind)[0] == 0
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    monkeypatch.delenv("PLUMBLINE_KEY_PASSPHRASE")
    code, said = command("sign", run, "--key", tmp_path / "key")
    assert (code, "PLUMBLINE_KEY_PASSPHRASE is not set" in said) == (2, True)
    monkeypatch.setenv("MINE", "wrong")
    code, said = command("sign", run, "--key", tmp_path / "key", "--passphrase-env", "MINE")
    assert (code, "passphrase" in said, "wrong" in said.replace("MINE", "")) == (2, True, False)
    monkeypatch.setenv("MINE", "correct horse")
    code, said = command("sign", run, "--key", tmp_path / "key", "--passphrase-env", "MINE")
    assert code == 0, said
    assert verify(run, Trusted(keys=(tmp_path / "key.pub",))).problems == []


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), None])
def test_keys_of_other_tools_sign_too(run: Path, tmp_path: Path, curve: ec.EllipticCurve | None) -> None:
    key = ed25519.Ed25519PrivateKey.generate() if curve is None else ec.generate_private_key(curve)
    form = PrivateFormat.PKCS8 if curve is None else PrivateFormat.TraditionalOpenSSL
    (tmp_path / "k").write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "k.pub").write_bytes(pem)
    sign_with_key(run, private_key(tmp_path / "k"))
    assert verify(run, Trusted(keys=(tmp_path / "k.pub",))).problems == []
    assert SSlibKey.from_crypto(key.public_key()).keyid in (run / SIGNATURE).read_text()


def test_what_is_no_key_is_said_and_no_traceback(run: Path, keys: Path, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n")
    unfit = x25519.X25519PrivateKey.generate()
    (tmp_path / "unfit").write_bytes(unfit.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for name in ("junk", "unfit", "absent"):
        code, said = command("sign", run, "--key", tmp_path / name)
        assert (code, "secret" in said) == (2, False), said
    code, said = command("verify", run, "--key", keys / "one")
    assert (code, "is a private key" in said) == (2, True)
    assert command("verify", run, "--key", tmp_path)[0] == 2
    assert command("sign", run)[0] == 2
    assert command("sign", tmp_path, "--key", keys / "one")[0] == 2


def test_a_missing_library_is_named_with_its_extra(run: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "securesystemslib.signer", None)
    with pytest.raises(SigningError, match=r"plumbline-audit\[sign\]"):
        private_key(keys / "one")
    assert command("verify", run, "--key", keys / "one.pub")[0] == 2
    assert command("verify", run)[0] == 0, "whoever checks no signature needs no library"


def rehash(run: Path) -> None:
    """Lists of files as a forger makes them fit."""
    manifest = json.loads((run / MANIFEST).read_text())
    for entry in manifest["files"]:
        entry |= {"size": (run / entry["path"]).stat().st_size, "sha256": file_digest(run / entry["path"])}
    (run / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    listed = sorted([e["path"] for e in manifest["files"]] + [MANIFEST])
    (run / SUMS).write_text("".join(f"{file_digest(run / name)}  {name}\n" for name in listed))
