"""Which pipeline is found, where its outputs go, and that text from data is never obeyed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import audit
from audit.ci import CODE_QUALITY, Pipeline
from audit.cli import app
from audit.errors import GateError, PlanError
from reports.github import SUMMARY_BYTES


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words], prog_name="plumbline")


@pytest.mark.parametrize(
    ("asked", "environment", "kind"),
    [
        ("auto", {}, "none"),
        ("auto", {"CI": "true", "GITHUB_ACTIONS": "false"}, "none"),
        ("auto", {"GITHUB_ACTIONS": "true"}, "github"),
        ("auto", {"GITLAB_CI": "true"}, "gitlab"),
        ("none", {"GITHUB_ACTIONS": "true"}, "none"),
        ("gitlab", {"GITHUB_ACTIONS": "true"}, "gitlab"),
    ],
)
def test_the_environment_says_where_we_are(asked: str, environment: dict[str, str], kind: str) -> None:
    found = Pipeline.found(asked, environment=environment)
    assert found.kind == kind
    assert bool(found.token) == (kind == "github")
    assert (found.code_quality == Path(CODE_QUALITY)) == (kind == "gitlab")


def test_places_come_from_the_environment() -> None:
    values = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": "/w",
        "GITHUB_STEP_SUMMARY": "/s.md",
        "CI_PROJECT_DIR": "/p",
    }
    found = Pipeline.found(environment=values)
    assert (found.root, found.job_summary) == (Path("/w"), Path("/s.md"))
    assert Pipeline.found("gitlab", environment=values).root == Path("/p")
    assert Pipeline.found("gitlab", environment=values).job_summary is None
    assert Pipeline.found(environment=values).token != found.token
    with pytest.raises(GateError, match="'jenkins'"):
        Pipeline.found("jenkins")


def test_nothing_is_written_outside_a_pipeline(finished: Path, tmp_path: Path) -> None:
    done = call("gate", finished)
    assert done.exit_code == 10
    assert "::" not in done.stdout
    assert "GITHUB" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_asked_for_github_elsewhere_the_summary_is_missed(finished: Path) -> None:
    done = call("gate", finished, "--ci", "github")
    assert done.stderr == "note: GITHUB_STEP_SUMMARY is not set, so no job summary is written\n"
    assert "::error file=" in done.stdout


def test_no_output_goes_into_a_run(finished: Path, tmp_path: Path) -> None:
    before = sorted(p.name for p in finished.iterdir())
    done = call("gate", finished, "--sarif", finished / "log.sarif")
    assert done.exit_code == 2
    assert "lies in the run itself" in done.stderr
    assert call("run", "p.yaml", "--out", "new", "--sarif", "new/log.sarif").exit_code == 2
    assert sorted(p.name for p in finished.iterdir()) == before
    assert not (tmp_path / "new").exists()


def test_what_lies_outside_the_bundle_leaves_it_verifiable(finished: Path, tmp_path: Path) -> None:
    assert (
        call("gate", finished, "--ci", "gitlab", "--sarif", tmp_path / "deep" / "log.sarif", "--out", "new").exit_code
        == 10
    )
    assert (tmp_path / CODE_QUALITY).is_file()
    assert (tmp_path / "deep" / "log.sarif").is_file()
    assert call("verify", "new").exit_code == 0


def test_the_summary_is_added_and_never_too_long(finished: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "s.md"))
    (tmp_path / "s.md").write_text("earlier\n")
    call("gate", finished)
    assert (tmp_path / "s.md").read_text().startswith("earlier\n# ❌ Fail: screening")
    (tmp_path / "s.md").write_text("x" * (SUMMARY_BYTES - 700))
    call("gate", finished)
    text = (tmp_path / "s.md").read_text()
    assert len(text.encode()) < SUMMARY_BYTES
    assert "**Cut here:**" in text


def test_names_from_data_are_not_obeyed(material, tmp_path: Path, monkeypatch) -> None:
    """A group whose name is a command, alone on a line of a folded table's cell and in an error's message."""
    frame = material.predictions()
    nasty = "::error::owned ##[add-mask]x " * 9
    frame["gender"] = frame["gender"].replace("f", nasty)
    policy = material.POLICY.replace("min: 0.3, severity: advisory", "min: 0.99")
    plan = material.write(tmp_path / "m", frame, policy=policy)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("COLUMNS", "80")
    done = call("run", plan, "--out", "run", "--cache", "cache")
    assert done.exit_code == 10
    lines = done.stdout.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert any("::error::owned" in line for line in lines), "the name is shown, and still no command"
    obeyed, stopped = [], False
    for line in (text.strip() for text in lines):
        if line.startswith("::stop-commands::"):
            stopped = True
        elif line == f"::{token}::":
            stopped = False
        elif not stopped and (line.startswith("::") or "##[" in line.partition("::")[0]):
            obeyed.append(line)
    assert len(obeyed) == 3
    assert all(line.startswith("::error file=") for line in obeyed)
    assert not stopped
    assert token not in call("run", plan, "--out", "run", "--cache", "cache").stdout


def test_the_message_of_an_error_is_not_obeyed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    def refuse(*_: object, **__: object) -> None:
        raise PlanError("seen\n::add-mask::secret", where="m/plan.yaml:3")

    monkeypatch.setattr("audit.api.run_plan", refuse)
    done = call("run", "plan.yaml", "--out", "run")
    assert done.exit_code == 2
    lines = done.output.splitlines()
    assert (
        "::error file=m/plan.yaml,line=3,title=Plumbline%3A no verdict::m/plan.yaml:3: seen ::add-mask::secret" in lines
    )
    token = lines[0].removeprefix("::stop-commands::")
    said = lines.index("::add-mask::secret")
    assert lines[: said + 1].count(f"::stop-commands::{token}") == lines[: said + 1].count(f"::{token}::") + 1
    assert lines[-1] == f"::{token}::"


def test_verification_is_not_obeyed_either(finished: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "##[add-mask]x").write_text("")
    done = call("verify", "run")
    assert done.exit_code == 13
    lines = done.output.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert any(line.startswith("PROBLEM: ##[add-mask]x: not listed") for line in lines)
    assert lines[-1] == f"::{token}::"


@pytest.mark.parametrize("words", ["init x y", "harden r --plan p --out o", "demo", "fine-tune r --out o", "verify r"])
def test_commands_that_print_names_are_not_obeyed(words: str, monkeypatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise PlanError("::error::owned")

    for name in (
        "first_plan.write_first_plan",
        "harden.harden",
        "demo.run_demo",
        "plan.load_fine_tune",
        "verify.verify",
    ):
        monkeypatch.setattr(f"audit.{name}", stop)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    lines = call(*words.split()).output.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert lines == [f"::stop-commands::{token}", "error: ::error::owned", f"::{token}::"]


def test_what_is_piped_elsewhere_stays_clean(finished: Path, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert call("schema", "plan").stdout.startswith("{")
    assert call("render", finished).stdout.startswith("<!DOCTYPE html>")


def test_a_crash_is_told_too(finished: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "s.md"))

    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("audit.api.gate", crash)
    (tmp_path / "log.sarif").write_text("of an earlier run")
    done = call("gate", finished, "--ci", "github", "--sarif", "log.sarif")
    assert done.exit_code == 1
    assert "Plumbline stopped with ZeroDivisionError: by zero" in done.stdout
    (log,) = json.loads((tmp_path / "log.sarif").read_text())["runs"]
    assert (log["invocations"][0]["executionSuccessful"], log["invocations"][0]["exitCode"]) == (False, 1)
    assert "Exit code 1. Nothing was decided, so nothing passed." in (tmp_path / "s.md").read_text()


def test_what_cannot_be_written_does_not_hide_why(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left", "out/x")

    monkeypatch.setattr("audit.api.run_plan", full)
    done = call("run", "p.yaml", "--out", "run", "--sarif", "file/log.sarif")
    assert done.exit_code == 1
    assert done.stderr == "error: out/x cannot be used: No space left\n"


def test_a_result_knows_where_its_policy_lay(material, finished: Path, tmp_path: Path) -> None:
    plan = material.write(tmp_path / "m")
    result = audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "cache", progress=False)
    assert result.origin is not None
    assert result.origin.path == tmp_path / "m" / "policy.yaml"
    lines = (tmp_path / "m" / "policy.yaml").read_text().splitlines()
    assert all(f"id: {rule}," in lines[number - 1] for rule, number in result.origin.lines.items())
    assert len(result.origin.lines) == 3
    shutil.copy(tmp_path / "m" / "policy.yaml", tmp_path / "other.yaml")
    gated = audit.gate(finished, tmp_path / "other.yaml")
    assert gated.origin is not None
    assert gated.origin.path == tmp_path / "other.yaml"
    assert audit.gate(finished).origin is None
    frame, policy = material.predictions(), tmp_path / "calls.yaml"
    policy.write_text(material.POLICY.replace("id: parity", "id: gap"))
    called = audit.run(frame, groups=["gender"], id="row_id", positive="yes", policy=policy, progress=False)
    assert called.origin is not None
    assert set(called.origin.lines) == {"accurate", "gap", "each-group"}
    assert called.save(tmp_path / "kept").origin == called.origin
