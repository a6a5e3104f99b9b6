from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from audit import cli
from audit.doctor import CORE, EXTRAS, install_line
from audit.errors import PolicyError
from probes.evidence import Axis, Counts, Interval, Method, message
from reports.errors import VerificationError
from reports.record import Check, Rule, Ruling, Verdict

ROOT = Path(__file__).parents[2]


def ruling(outcome: Any, slice_value: str = "", **rule: Any) -> Ruling:
    terms = {"id": f"rule-{outcome}", "measure": "groups:recall", "min": 0.7} | rule
    return Ruling(
        check=Check(
            rule=Rule.model_validate(terms),
            slice=(Axis(kind="group", name="g", value=slice_value),) if slice_value else (),
        ),
        outcome=outcome,
        reason=message("because"),
        limit=0.7,
        value=None if outcome == "error" else 0.65432,
        interval=Interval(low=0.6, high=None, level=0.95, method=Method(name="wilson")),
        counts=Counts(n=100, denominator=100, smallest=100),
        level=0.95,
        decision="interval",
        min_n=50,
    )


def verdict(exit_code: int = 0, outcome: Any = "pass", *rulings: Ruling, enforced: bool = True) -> Verdict:
    return Verdict(
        outcome=outcome,
        exit_code=exit_code,
        enforced=enforced,
        decided_on=date(2026, 1, 1),
        record_sha256="0" * 64,
        reasons=(message("{n} checks failed.", n=1),),
        rulings=rulings,
        policy=None,
        warnings=(message("a warning"),),
    )


@dataclass
class StandIn:
    """What `audit.Result` offers to the command line."""

    verdict: Verdict
    path: Path = Path("out/run")


@dataclass
class Calls:
    given: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)


Fake = Callable[..., Calls]


@pytest.fixture(autouse=True)
def _a_pipe_of_unknown_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replaces a function that a command calls by one that returns, or raises, what the test says."""

    def put(name: str, outcome: Any) -> Calls:
        calls = Calls()

        def stand_in(*args: Any, **options: Any) -> Any:
            calls.given.append((args, options))
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(name, stand_in)
        return calls

    return put


def call(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), prog_name="plumbline")


@pytest.mark.parametrize("code", [0, 10, 11, 12])
@pytest.mark.parametrize("command", ["run", "gate"])
def test_the_verdict_is_the_exit_code(fake: Fake, command: str, code: int) -> None:
    fake("audit.api.run_plan", StandIn(verdict(code)))
    fake("audit.api.gate", StandIn(verdict(code)))
    words = ("run", "plan.yaml", "--out", "x") if command == "run" else ("gate", "x")
    assert call(*words).exit_code == code


def test_what_is_not_enforced_exits_0_and_says_so(fake: Fake) -> None:
    fake("audit.api.run_plan", StandIn(verdict(10, "fail", enforced=False)))
    result = call("run", "plan.yaml", "--out", "x", "--report-only")
    assert result.exit_code == 0
    assert "Verdict: FAIL (NOT ENFORCED)" in result.stdout


def test_every_option_of_run_arrives(fake: Fake) -> None:
    calls = fake("audit.api.run_plan", StandIn(verdict()))
    words = "run p.yaml --out o --no-resume --only a --only b --device cpu --policy q.yaml --waivers w.yaml"
    call(*words.split(), "--baseline", "main=old/run", "--cache", "c", "--report-only", "--profile", "pr")
    ((args, options),) = calls.given
    assert args == (Path("p.yaml"), Path("o"))
    assert options == {
        "policy": Path("q.yaml"),
        "waivers": Path("w.yaml"),
        "baselines": {"main": Path("old/run")},
        "only": ("a", "b"),
        "lock": None,
        "profile": "pr",
        "device": "cpu",
        "cache": Path("c"),
        "report_only": True,
        "resume": False,
    }


def test_every_option_of_gate_arrives(fake: Fake) -> None:
    calls = fake("audit.api.gate", StandIn(verdict()))
    result = call(
        *["gate", "r", "--policy", "q", "--waivers", "w", "--baseline", "a=b", "--out", "n", "--on", "2026-02-28"]
    )
    ((args, options),) = calls.given
    assert args == (Path("r"), Path("q"), Path("w"), {"a": Path("b")})
    assert options == {"on": date(2026, 2, 28), "out": Path("n"), "report_only": False}
    assert f"Report: {Path('out/run/report.html')}" in result.stdout
    fake("audit.api.gate", StandIn(verdict()))
    assert "Nothing was written" in call("gate", "r").stdout  # the report in the run shows another decision


def test_the_table_puts_trouble_first_and_cuts_nothing(fake: Fake) -> None:
    long = "a-group-with-a-very-long-name-" * 8
    hostile = "[red]\x1b[31mred\x07"
    rulings = (
        ruling("pass"),
        ruling("error", max=1.0, min=None),
        ruling("fail", long, severity="advisory"),
        ruling("inconclusive", hostile, min=None, baseline="main", max_drop=0.7),
    )
    fake("audit.api.gate", StandIn(verdict(12, "error", *rulings)))
    out = call("gate", "r").stdout
    words = [out.index(f" {w} ") for w in ("ERROR", "FAIL", "INCONCLUSIVE", "PASS")]
    assert words == sorted(words)
    lines = out.splitlines()
    header = next(line for line in lines if "outcome" in line)
    column = slice(header.index("slice"), header.index("outcome"))
    assert long in "".join(line[column].strip() for line in lines)  # folded, not cut
    assert "0.654 [0.600, -]" in out
    assert "max_drop 0.700 from main" in out
    assert "rule-fail (advisory)" in out
    assert "[red]" in out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "1 checks failed." in out
    assert "warning: a warning" in out


@pytest.mark.parametrize(
    ("error", "code"), [(PolicyError("seen", expected="that", where="p.yaml:3"), 2), (VerificationError("altered"), 13)]
)
def test_deliberate_errors_have_their_code_and_no_traceback(fake: Fake, error: Exception, code: int) -> None:
    fake("audit.api.gate", error)
    result = call("gate", "r")
    assert result.exit_code == code
    assert result.stderr == f"error: {error}\n"
    assert result.stdout == ""


def test_a_bug_is_one_line_and_a_file(fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fake("audit.api.gate", ZeroDivisionError("a\nb"))
    result = call("gate", "r")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "ZeroDivisionError: a b; this is a bug in Plumbline" in result.stderr
    (crash,) = tmp_path.glob("plumbline-crash-*.txt")
    assert str(crash) in result.stderr
    assert "Traceback" in crash.read_text(encoding="utf-8")
    monkeypatch.setenv("PLUMBLINE_DEBUG", "1")
    assert "Traceback" in call("gate", "r").stderr


@pytest.mark.parametrize(("number", "said", "code"), [(28, "No space left", 1), (13, "Permission denied", 2)])
def test_what_the_machine_refuses_is_no_bug(fake: Fake, number: int, said: str, code: int) -> None:
    fake("audit.api.gate", OSError(number, said, "out/x"))
    result = call("gate", "r")
    assert result.exit_code == code
    assert result.stderr == f"error: out/x cannot be used: {said}\n"


def test_interrupted(fake: Fake) -> None:
    fake("audit.api.run_plan", KeyboardInterrupt())
    result = call("run", "p.yaml", "--out", "x")
    assert result.exit_code == 130
    assert "nothing measured is lost; run again to resume" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        "",
        "nonsense",
        "run",
        "run p.yaml",
        "run p.yaml --out x --baseline main",
        "run p.yaml --out x --baseline a=1 --baseline a=2",
        "run p.yaml --out x --no-such-option",
        "gate",
        "gate r --on yesterday",
        "verify",
        "probes no.such",
        "render r --out r/report.html",
        "run no-such-plan.yaml --out x",
        "fine-tune no-such-recipe.yaml --out x",
    ],
)
def test_wrong_usage_exits_2(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*words.split())
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_lists_the_steps(fake: Fake) -> None:
    @dataclass
    class Step:
        instance: str
        probe: str
        status: str
        reason: str
        seconds: float | None = None

    calls = fake("audit.api.describe_plan", [Step("groups", "fairness.groups", "not applicable", "no groups")])
    result = call("run", "p.yaml", "--dry-run", "--only", "groups")
    assert result.exit_code == 0
    assert "not applicable" in result.stdout
    assert "no groups" in result.stdout
    assert calls.given[0][0] == (Path("p.yaml"), ("groups",))


def test_render_writes_a_file_or_standard_output(fake: Fake, tmp_path: Path) -> None:
    from audit.signing.trusted import NOBODY

    calls = fake("audit.rendering.render", "<p>é</p>\n")
    assert call("render", "r", "--lang", "zh_CN").stdout_bytes == "<p>é</p>\n".encode()
    assert calls.given == [((Path("r"), "zh_CN", NOBODY), {})]
    written = fake("audit.rendering.render_to", tmp_path / "page.html")
    result = call("render", "r", "--out", "page.html", "--assets", "sibling")
    assert result.stdout == f"Report: {tmp_path / 'page.html'}\n"
    assert written.given == [((Path("r"), Path("page.html"), "en"), {"sibling": True, "trusted": NOBODY})]
    assert call("render", "r", "--assets", "sibling").exit_code == 2


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["results.json: altered"], 13)])
def test_verify(fake: Fake, problems: list[str], code: int) -> None:
    from audit.verify import VerificationReport

    report = VerificationReport(problems=problems, recomputed=["groups"], not_recomputed=["attack"])
    fake("audit.verify.verify", report)
    result = call("verify", "r")
    assert result.exit_code == code
    assert "recomputed: groups" in result.stdout
    assert "not recomputed: attack" in result.stdout
    assert ("PROBLEM: results.json: altered" in result.stdout) == bool(problems)


def test_the_demo_fails_when_it_misses_what_is_planted(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    import audit.demo

    @dataclass
    class Outcome:
        result: StandIn
        found: list[str]
        missed: list[str]
        unexpected: list[str]
        ok: bool

    monkeypatch.setattr(audit.demo, "run_demo", None, raising=False)
    calls = fake("audit.demo.run_demo", Outcome(StandIn(verdict(10, "fail")), ["gap"], [], [], True))
    result = call("demo", "--out", "d", "--clean")
    assert result.exit_code == 0  # a failing verdict is what the demo plants
    assert calls.given == [((Path("d"),), {"clean": True, "base": None, "device": "auto"})]
    fake("audit.demo.run_demo", Outcome(StandIn(verdict()), [], ["gap"], [], False))
    missed = call("demo")
    assert missed.exit_code == 10
    assert "MISSED: gap" in missed.stdout
    assert "error: " in missed.stderr


def test_probes_are_listed_and_shown() -> None:
    listed = call("probes")
    assert listed.exit_code == 0
    assert "fairness.groups" in listed.stdout
    shown = call("probes", "fairness.groups")
    assert shown.exit_code == 0
    for part in ("Options", "Measures", "selection_rate", "positive", "Limits"):
        assert part in shown.stdout


def test_attacks_say_whether_they_can_run_here() -> None:
    listed = call("attacks")
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    by_name = {line.split()[0]: line for line in lines if line[1:2].isalpha()}
    assert by_name["deepwordbug"].split()[-1] == "yes"
    assert "with an argument" in by_name["masked-lm"]
    assert "no:" in by_name["hotflip"]


def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("audit.doctor.version_of", lambda name: None if name == "captum" else "1.0")
    monkeypatch.setenv("PLUMBLINE_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setenv("PLUMBLINE_DATA", str(tmp_path / "absent"))
    result = call("doctor")
    assert result.exit_code == 0
    assert "pip install 'plumbline-audit[explain]'" in result.stdout
    assert "is writable" in result.stdout
    assert "is no folder" in result.stdout
    assert not (tmp_path / "not").exists()


def test_install_lines() -> None:
    assert install_line(["captum"]) == "pip install 'plumbline-audit[explain]'"
    assert install_line(["captum", "opacus", "other"]) == "pip install 'plumbline-audit[explain,privacy]' other"
    assert install_line(["other"]) == "pip install other"


def test_doctor_knows_what_pyproject_asks_for() -> None:
    import re

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = re.compile(r"[A-Za-z0-9._-]+")

    def names(requirements: list[str]) -> set[str]:
        return {name.match(r).group(0) for r in requirements}  # type: ignore[union-attr]

    assert set(CORE) == names(project["dependencies"])
    extras = {e: names(r) - set(CORE) for e, r in project["optional-dependencies"].items() if e not in ("all", "dev")}
    assert {e: set(n) for e, n in EXTRAS.items()} == extras


def run_cli(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "audit.cli", *words],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "COLUMNS"} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_a_piped_table_has_no_colours_and_keeps_its_width() -> None:
    done = run_cli("probes")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert any("fairness.groups" in line and "predictions" in line for line in done.stdout.splitlines())


def test_a_terminal_without_unicode() -> None:
    done = run_cli("probes", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert "fairness.groups" in done.stdout


def test_the_version() -> None:
    done = run_cli("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("plumbline 0")


def test_a_bad_plan_says_where_in_a_process_of_its_own(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps({"schema": "plumbline.plan/v1", "nmae": "x"}), encoding="utf-8")
    done = run_cli("run", str(plan), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert f"{plan}:1: unknown key 'nmae'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
