"""Plans, policies, waivers, locks and bundles from strangers: traps end in one message, quickly, and nothing steers the terminal."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from audit import cli
from audit.errors import PlanError, PolicyError, WaiverError
from audit.lock import read_lock
from audit.plan import load_plan
from audit.policy import load_policy
from audit.verify import verify
from audit.waivers import load_waivers
from fine_tune.errors import InputError, PlumblineError
from reports.bundle import Bundle
from reports.errors import RecordError

READERS = ((load_plan, PlanError), (load_policy, PolicyError), (load_waivers, WaiverError))
HEAD = "schema: plumbline.policy/v1\nname: a\nversion: 1\nowner: o\n"
SECONDS = 60  # of the largest file that is allowed; the machine may be busy

TRAPS = {
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "long laughs": 'a: &a "' + "x" * 800_000 + '"\nb: [' + "*a, " * 40_000 + "]\n",
    "itself": "a: &a [*a]\n",
    "deep lists": "a: " + "[" * 200 + "]" * 200 + "\n",
    "deep mappings": "a: " + "{a: " * 200 + "}" * 200 + "\n",
    "code": "!!python/object/apply:os.system ['touch escaped']\n",
    "code inside": HEAD + "rules: !!python/object/apply:os.system ['touch escaped']\n",
    "half a character": 'name: "\\ud800"\n',
    "no character": 'name: "\\UFFFFFFFF"\n',
    "nul": "name: a\0b\n",
    "a key twice": "name: a\nname: b\n",
    "two documents": "name: a\n---\nname: b\n",
    "infinite": "seed: .inf\n",
    "huge number": "seed: " + "9" * 5000 + "\n",
    "huge hexadecimal": "seed: 0x" + "f" * 100_000 + "\n",
    "half a file": HEAD + "rules: [{id: ",
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize(("read", "error"), READERS)
def test_yaml_traps(read, error, trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.yaml"
    path.write_text(TRAPS[trap], encoding="utf-8")
    with pytest.raises(error) as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 20_000
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("content", [HEAD.encode() + b"rules: []\n" + b"".join(b"k%d: 1\n" % i for i in range(40_000)),
                                     HEAD.encode() + b"rules:\n" + b"- 1\n" * 40_000])  # fmt: skip
def test_forty_thousand_faults_are_told_in_part_and_soon(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(PolicyError, match="more than 100 problems"):
        load_policy(path)
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize(("read", "error"), READERS)
def test_files_that_are_none_or_too_large(read, error, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"name: caf\xe9\n")
    for name, seen in (
        ("large", "nothing of it was read"),
        ("pipe", "no plain file"),
        ("latin", "not UTF-8"),
        ("absent", "cannot be read"),
    ):
        with pytest.raises(error, match=seen):
            read(tmp_path / name)
    with pytest.raises(error):
        read(Path("/dev/zero"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@,?\n \t0.9~é\ud800", max_size=60), st.sampled_from(READERS))
def test_any_text_is_a_document_or_a_named_error(tmp_path: Path, text: str, reader) -> None:
    read, error = reader
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(error):
        read(path)  # no text as short as this is a whole document


_ids = st.sampled_from(
    [
        "../x",
        "/etc/passwd",
        "~",
        "C:\\x",
        "https://example.org",
        "a/b",
        "",
        " ",
        ".",
        "..",
        "-x",
        "a\nb",
        "x" * 200,
        "é",
    ]
)


@given(_ids)
def test_ids_that_are_paths_name_no_rule_no_waiver_and_no_instance(tmp_path_factory, name: str) -> None:
    folder = tmp_path_factory.mktemp("ids")
    rule = {"id": name, "measure": "a:b", "max": 1}
    policy = {"schema": "plumbline.policy/v1", "name": "n", "version": 1, "owner": "o", "rules": [rule]}
    plan = {"schema": "plumbline.plan/v1", "name": "n", "subject": {"predictions": "p.csv"}, "probes": {name: {"probe": "performance.classification"}}}  # fmt: skip
    based = policy | {"rules": [{"id": "r", "measure": "a:b", "baseline": name, "max_drop": 1}]}
    for body, read in ((policy, load_policy), (based, load_policy), (plan, load_plan)):
        (folder / "file.yaml").write_text(json.dumps(body))
        with pytest.raises(InputError):
            read(folder / "file.yaml")


# Bundles -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.parametrize("name", ["results.json", "verdict.json", "MANIFEST.json", "SHA256SUMS", "provenance/environment.json"])  # fmt: skip
@pytest.mark.parametrize("trap", ["large", "pipe", "link", "deep", "pickle"])
def test_files_of_a_bundle_that_are_traps(copied: Path, name: str, trap: str, tmp_path: Path) -> None:
    path = copied / name
    content = path.read_bytes()
    path.unlink()
    if trap == "large":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif trap == "pipe":
        os.mkfifo(path)
    elif trap == "link":
        (tmp_path / "outside").write_bytes(content)
        path.symlink_to(tmp_path / "outside")
    elif trap == "deep":
        path.write_bytes(b"[" * 100_000)
    else:
        path.write_bytes(b"\x80\x04.")
    report = verify(copied)
    assert not report.ok
    assert any(name in problem for problem in report.problems), report.problems


def test_a_list_that_agrees_with_a_file_of_a_terabyte(copied: Path) -> None:
    with (copied / "summary.md").open("wb") as file:
        file.truncate(1 << 40)
    body = json.loads((copied / "MANIFEST.json").read_text())
    for entry in body["files"]:
        entry["size"] = 1 << 40 if entry["path"] == "summary.md" else entry["size"]
    (copied / "MANIFEST.json").write_text(json.dumps(body))
    assert any("more than a file of a bundle may have" in problem for problem in Bundle.open(copied).check())


def test_paths_in_a_manifest_that_lead_out(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    body = json.loads((copied / "MANIFEST.json").read_text())
    for path in ("../secret", "/etc/passwd", "evidence/../../secret", "C:\\x", "a\0b", "", "a//b"):
        (copied / "MANIFEST.json").write_text(json.dumps(body | {"files": [body["files"][0] | {"path": path}]}))
        assert any("could leave the bundle" in problem for problem in Bundle.open(copied).check()), path
        result = CliRunner().invoke(cli.app, ["gate", str(copied), "--out", str(tmp_path / "new")])
        assert result.exit_code in (2, 13), result.output
    assert not (tmp_path / "new" / "secret").exists()


def test_an_embedded_baseline_that_is_no_record_is_named(copied: Path) -> None:
    from audit.demands import embedded_baselines
    from reports.record import Policy, Rule

    place = copied / "evidence" / "baseline" / "main"
    place.mkdir(parents=True)
    (place / "results.json").write_text('{"schema": "plumbline.record/v1"}')
    rule = Rule(id="r", measure="performance:accuracy", baseline="main", max_drop=0.1)
    with pytest.raises(RecordError, match=r"results\.json"):
        embedded_baselines(Bundle.open(copied), Policy(name="p", version=1, owner="o", rules=(rule,)))


def test_an_archive_is_no_bundle_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "run.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../escaped", "x")
    with pytest.raises(RecordError, match="is no folder"):
        Bundle.open(path)
    with pytest.raises(RecordError, match="cannot be read"):
        read_lock(path, today=date(2026, 1, 1))
    assert not (tmp_path.parent / "escaped").exists()


def test_what_an_error_quotes_cannot_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(HEAD + 'rules: []\n"\\e]0;owned\\a\\e[2J": 1\n')
    result = CliRunner().invoke(cli.app, ["policy", "lint", str(tmp_path / "policy.yaml")])
    assert result.exit_code == 2
    assert "\x1b" not in result.output + result.stderr


def test_names_of_files_that_are_no_text(copied: Path) -> None:
    (copied / os.fsdecode(b"evidence/\xff\xfe")).write_bytes(b"x")
    result = CliRunner().invoke(cli.app, ["verify", str(copied)])
    assert result.exit_code == 13, result.output
    with pytest.raises(PlumblineError) as refused:
        from audit.demands import open_baseline

        open_baseline("main", Bundle.open(copied))
    str(refused.value).encode()
