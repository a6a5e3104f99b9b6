"""One verdict, many outlets: exit code, JUnit, GitHub, GitLab, SARIF, the report and pytest say the same, case by case.

Each row below says by hand what every outlet must show; none is worked out by the code under test.
"""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from junitparser import JUnitXml
from typer.testing import CliRunner

import audit
from audit.cli import app

pytest_plugins = ["pytester"]

TODAY = datetime.date.today()

HEAD = "schema: plumbline.policy/v1\nname: release\nversion: 3\nowner: risk@example.org\n"
ACCURATE = '  - {id: accurate, measure: "performance:accuracy", min: 0.6}\n'
PARITY = '  - {id: parity, measure: "groups:demographic_parity_difference", where: {feature: gender}, max: 0.10%s}\n'
CLOSE = '  - {id: close, measure: "performance:accuracy", min: 0.87}\n'
NOBODY = '  - {id: nobody, measure: "groups:recall", where: {group: gender=x}, min: 0.3}\n'
UNKNOWN = '  - {id: unknown, measure: "performance:no_such_thing", min: 0.3}\n'
FIRST = '  - {id: first, measure: "performance:accuracy", baseline: main, max_drop: 0.01, baseline_missing: skip}\n'


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a policy makes of the same figures, and what each outlet must show.

    ``junit``: (failures, errors, skipped) among checks. ``github``: (errors, warnings, notices). ``sarif``: level of each
    result, "suppressed" for an excused one; None where the run had no verdict. ``pytest``: by outcome.
    """

    rules: str | None
    code: int
    first_line: str
    junit: tuple[int, int, int] | None
    github: tuple[int, int, int]
    sarif: list[str] | None
    gitlab: list[str]
    pytest: dict[str, int]
    waived_until: datetime.date | None = None
    options: tuple[str, ...] = ()


SOON, OVER = TODAY + datetime.timedelta(days=30), TODAY - datetime.timedelta(days=1)

CASES = {
    "pass": Case(
        rules=f"rules:\n{ACCURATE}", code=0, first_line="# ✅ Pass", junit=(0, 0, 0), github=(0, 0, 0), sarif=[], gitlab=[],
        pytest={"passed": 2},
    ),
    "fail": Case(
        rules=f"rules:\n{ACCURATE}{PARITY % ''}", code=10, first_line="# ❌ Fail", junit=(1, 0, 0), github=(1, 0, 0),
        sarif=["error"], gitlab=["blocker"], pytest={"passed": 1, "failed": 2},
    ),
    "inconclusive": Case(
        rules=f"rules:\n{ACCURATE}{CLOSE}", code=11, first_line="# ❔ Inconclusive", junit=(1, 0, 0), github=(1, 0, 0),
        sarif=["error"], gitlab=["major"], pytest={"passed": 1, "failed": 2},
    ),
    "inconclusive, only warned of": Case(
        rules=f"defaults: {{on_inconclusive: warn}}\nrules:\n{ACCURATE}{CLOSE}", code=0, first_line="# ❔ Inconclusive",
        junit=(0, 0, 0), github=(0, 1, 0), sarif=["warning"], gitlab=["minor"], pytest={"passed": 3, "warnings": 1},
    ),
    "error": Case(
        rules=f"rules:\n{ACCURATE}{NOBODY}", code=12, first_line="# ⚠️ Error", junit=(0, 1, 0), github=(1, 0, 0),
        sarif=["error"], gitlab=["critical"], pytest={"passed": 1, "failed": 2},
    ),
    "waived": Case(
        rules=f"rules:\n{ACCURATE}{PARITY % ''}", code=0, first_line="# 🛡️ Waived", junit=(0, 0, 1), github=(0, 0, 1),
        sarif=["suppressed"], gitlab=["info"], pytest={"passed": 2, "skipped": 1}, waived_until=SOON,
    ),
    "expired waiver": Case(
        rules=f"rules:\n{ACCURATE}{PARITY % ''}", code=10, first_line="# ❌ Fail", junit=(1, 0, 0), github=(1, 1, 0),
        sarif=["error"], gitlab=["blocker"], pytest={"passed": 1, "failed": 2, "warnings": 1}, waived_until=OVER,
    ),
    "missing measure": Case(
        rules=f"rules:\n{ACCURATE}{UNKNOWN}", code=2, first_line="# ⚠️ No verdict", junit=None, github=(1, 0, 0),
        sarif=None, gitlab=["critical"], pytest={"errors": 1},
    ),
    "no checks": Case(
        rules=f"rules:\n{FIRST}", code=12, first_line="# ⚠️ Error", junit=(0, 1, 0), github=(1, 1, 0), sarif=["error"],
        gitlab=["critical"], pytest={"skipped": 1, "failed": 1, "warnings": 1},
    ),
    "no rules": Case(
        rules="rules: []\n", code=12, first_line="# ⚠️ Error", junit=(0, 1, 0), github=(1, 0, 0), sarif=["error"],
        gitlab=["critical"], pytest={"failed": 1},
    ),
    "no policy": Case(
        rules=None, code=12, first_line="# ⚠️ Error", junit=(0, 1, 0), github=(1, 0, 0), sarif=["error"],
        gitlab=["critical"], pytest={"failed": 1},
    ),
    "advisory only": Case(
        rules=f"rules:\n{PARITY % ', severity: advisory'}", code=0, first_line="# ✅ Pass", junit=(0, 0, 0),
        github=(0, 1, 0), sarif=["warning"], gitlab=["minor"], pytest={"passed": 2, "warnings": 1},
    ),
    "nothing but advisory errors": Case(
        rules=f"rules:\n{NOBODY.replace('min', 'severity: advisory, min')}", code=12, first_line="# ⚠️ Error",
        junit=(0, 1, 0), github=(1, 1, 0), sarif=["error", "warning"], gitlab=["critical", "minor"],
        pytest={"passed": 1, "failed": 1, "warnings": 1},
    ),
    "fail, report only": Case(
        rules=f"rules:\n{ACCURATE}{PARITY % ''}", code=0, first_line="# ❌ Fail", junit=(0, 0, 0), github=(0, 1, 0),
        sarif=["warning"], gitlab=["minor"], pytest={}, options=("--report-only",),
    ),
}  # fmt: skip


@dataclass
class Place:
    """A case's files, and what came out."""

    folder: Path
    case: Case

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def waivers(self) -> tuple[str, ...]:
        path = self.folder / "waivers.yaml"
        return ("--waivers", str(path)) if path.is_file() else ()


def waiver_text(subject: str, until: datetime.date) -> str:
    approved = until - datetime.timedelta(days=40)
    return (
        "schema: plumbline.waivers/v1\nwaivers:\n  - {id: W-1, rule: parity, slice: 'feature:gender', "
        f"subject: {subject}, allow_up_to: 0.4, justification: Retraining is planned., statement: People look at each case., "
        f"requested_by: a@example.org, approved_by: b@example.org, approved_on: {approved}, expires: {until}, ticket: T-1}}\n"
    )


@pytest.fixture(params=list(CASES))
def place(request: pytest.FixtureRequest, tmp_path: Path, material, finished: Path, shared_cache: Path) -> Place:
    """A case's plan, policy and waivers in a folder of their own; rows are measured once for all cases."""
    case = CASES[request.param]
    plan = material.PLAN if case.rules is not None else material.PLAN.replace("policy: policy.yaml\n", "")
    material.write(tmp_path, plan=plan, policy=HEAD + (case.rules or "rules: []\n"))
    if case.waived_until is not None:
        subject = audit.load(finished).record.subject.digest
        (tmp_path / "waivers.yaml").write_text(waiver_text(subject, case.waived_until))
    return Place(tmp_path, case)


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def invoke(place: Place, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *words: str):  # type: ignore[no-untyped-def]
    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place.folder)
    return CliRunner().invoke(app, [*words, *place.waivers, *place.case.options], prog_name="plumbline")


def in_github(place: Place, monkeypatch: pytest.MonkeyPatch, cache: Path):  # type: ignore[no-untyped-def]
    """`plumbline run` as a GitHub step; what it printed that the runner reads as commands, and its exit code."""
    environment = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(place.folder / "step.md"),
        "GITHUB_WORKSPACE": str(place.folder),
    }
    words = ("run", "plan.yaml", "--out", "run", "--cache", str(cache), "--sarif", "log.sarif")
    return invoke(place, monkeypatch, environment, *words)


def heard(output: str) -> list[str]:
    """The workflow commands that GitHub's runner would obey: those outside of stop-commands."""
    found, token = [], None
    for line in (text.lstrip() for text in output.splitlines()):
        if token is not None:
            token = None if line == f"::{token}::" else token
        elif line.startswith("::stop-commands::"):
            token = line.removeprefix("::stop-commands::")
        elif line.startswith("::") or "##[" in line:
            found.append(line)
    assert token is None, "the runner must be listening again at the end"
    return found


def test_every_outlet_tells_the_same(place: Place, monkeypatch: pytest.MonkeyPatch, shared_cache: Path) -> None:
    case = place.case
    done = in_github(place, monkeypatch, shared_cache)
    assert done.exit_code == case.code, done.output
    red = case.code != 0

    commands = heard(done.stdout)
    levels = Counter(c[2:].partition(" ")[0] for c in commands)
    assert (levels["error"], levels["warning"], levels["notice"]) == case.github, commands
    assert bool(levels["error"]) == red
    summary = (place.folder / "step.md").read_text(encoding="utf-8")
    assert summary.splitlines()[0].startswith(case.first_line)

    (log,) = json.loads((place.folder / "log.sarif").read_text(encoding="utf-8"))["runs"]
    shown = ["suppressed" if "suppressions" in r else r["level"] for r in log["results"]]
    (invocation,) = log["invocations"]
    assert invocation["exitCode"] == case.code
    assert invocation["executionSuccessful"] == (case.sarif is not None)
    assert shown == (case.sarif or [])
    assert ("error" in shown or not invocation["executionSuccessful"]) == red

    if case.junit is None:
        assert not place.run.exists()
        assert commands[0].startswith("::error file=policy.yaml,line=7,")
        return
    suites = {s.name: s for s in JUnitXml.fromstring((place.run / "junit.xml").read_bytes())}
    checks = suites["checks"]
    assert (checks.failures, checks.errors, checks.skipped) == case.junit
    assert bool(checks.failures or checks.errors) == red

    page = (place.run / "report.html").read_text(encoding="utf-8")
    word = case.first_line.split()[-1]
    assert re.search(r"<title>([^:]+):", page).group(1) == word  # type: ignore[union-attr]
    assert re.search(r'<p class="word">.*?<span>([^<]+)</span>', page, re.S).group(1) == word  # type: ignore[union-attr]
    assert ("NOT ENFORCED" in page) == bool(case.options)
    assert summary == (place.run / "summary.md").read_text(encoding="utf-8")


def test_gitlab_tells_the_same(place: Place, monkeypatch: pytest.MonkeyPatch, shared_cache: Path) -> None:
    words = ("run", "plan.yaml", "--out", "run", "--cache", str(shared_cache))
    done = invoke(place, monkeypatch, {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(place.folder)}, *words)
    assert done.exit_code == place.case.code, done.output
    entries = json.loads((place.folder / "gl-code-quality-report.json").read_text(encoding="utf-8"))
    assert [e["severity"] for e in entries] == place.case.gitlab
    assert bool({"blocker", "critical", "major"} & set(place.case.gitlab)) == (place.case.code != 0)
    assert all((place.folder / e["location"]["path"]).is_file() for e in entries)
    assert "::" not in "".join(line[:2] for line in done.stdout.splitlines())
    if place.case.rules is not None:
        assert {e["location"]["path"] for e in entries} <= {"policy.yaml"}


def test_pytest_tells_the_same(
    place: Place, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, shared_cache: Path
) -> None:
    if place.case.options:
        pytest.skip("the plugin has no --report-only")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PLUMBLINE_CACHE", str(shared_cache))
    words = ["-p", "audit.pytest_plugin", "--plumbline", str(place.folder / "plan.yaml"), "-rA"]
    if place.waivers:
        words += ["--plumbline-waivers", place.waivers[1]]
    done = pytester.runpytest_inprocess(*words)
    found = {k: v for k, v in done.parseoutcomes().items() if k not in ("deselected",)}
    expected = {k.rstrip("s") if k in ("warnings", "errors") and v == 1 else k: v for k, v in place.case.pytest.items()}
    assert {k.removesuffix("s"): v for k, v in found.items()} == {k.removesuffix("s"): v for k, v in expected.items()}
    assert (done.ret != 0) == (place.case.code != 0)


def test_the_gate_tells_the_same_as_the_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, shared_cache: Path, finished: Path
) -> None:
    """And points into the bundle where nobody names a policy file."""
    if place.case.junit is None:
        pytest.skip("there is no run to gate")
    in_github(place, monkeypatch, shared_cache)
    done = invoke(place, monkeypatch, {}, "gate", "run", "--ci", "github", "--sarif", "again.sarif")
    assert done.exit_code == place.case.code, done.output
    levels = Counter(c[2:].partition(" ")[0] for c in heard(done.stdout))
    assert (levels["error"], levels["warning"], levels["notice"]) == place.case.github
    (first,) = json.loads((place.folder / "log.sarif").read_text())["runs"]
    (second,) = json.loads((place.folder / "again.sarif").read_text())["runs"]
    assert [r["level"] for r in first["results"]] == [r["level"] for r in second["results"]]
    assert [r["partialFingerprints"] for r in first["results"]] == [r["partialFingerprints"] for r in second["results"]]
    for result in second["results"]:
        at = result["locations"][0]["physicalLocation"]
        assert at["artifactLocation"]["uri"] == "run/verdict.json"
        if result["ruleId"] != "plumbline:verdict":
            line = (place.run / "verdict.json").read_text().splitlines()[at["region"]["startLine"] - 1]
            assert line.strip() == f'"id": "{result["ruleId"]}",'
