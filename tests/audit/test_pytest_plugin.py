"""The pytest plugin in a pytest of its own: one line a rule, the fixture, and what it must not do to other people's tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PLUMBLINE_CACHE", str(tmp_path_factory.getbasetemp() / "plugin-cache"))


@pytest.fixture
def plan(pytester: pytest.Pytester, material) -> Path:
    return material.write(pytester.path / "m")


def run(pytester: pytest.Pytester, *words: object) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "audit.pytest_plugin", *map(str, words))


def test_one_line_a_rule_beside_other_tests(pytester: pytest.Pytester, plan: Path) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    done = run(pytester, "--plumbline", "m/plan.yaml", "-v")
    done.stdout.fnmatch_lines_random(
        [
            "test_mine.py::test_mine PASSED*",
            "m/plan.yaml::accurate PASSED*",
            "m/plan.yaml::parity FAILED*",
            "m/plan.yaml::each-group PASSED*",
            "m/plan.yaml::(verdict) FAILED*",
            "parity [[]feature:gender[]]: fail: groups:demographic_parity_difference on *; the policy allows at most 0.100, *",
            "fail, exit code 10",
        ]
    )
    done.assert_outcomes(passed=3, failed=2)
    assert "Traceback" not in done.stdout.str()
    assert (pytester.path / ".pytest_cache" / "d" / "plumbline" / "run" / "report.html").is_file()


def test_the_rules_alone_and_one_of_them(pytester: pytest.Pytester, plan: Path) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    words = ("--plumbline", plan, "--plumbline-only", "--plumbline-out", "here/run")
    run(pytester, *words).assert_outcomes(passed=2, failed=2)
    assert (pytester.path / "here" / "run" / "verdict.json").is_file()
    done = run(pytester, *words, "-k", "accurate")
    done.assert_outcomes(passed=1, deselected=3)
    assert done.ret == 0


def test_the_fixture_hands_out_the_result(pytester: pytest.Pytester, plan: Path) -> None:
    pytester.makepyfile(
        test_mine="""
        def test_first(audit_result):
            assert audit_result.verdict.outcome == "fail"
            assert audit_result.origin.path.name == "policy.yaml"
        def test_second(audit_result):
            assert len(audit_result.checks()) == 4
        """
    )
    run(pytester, "--plumbline", plan).assert_outcomes(passed=4, failed=2)
    done = run(pytester)
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines(["*audit_result needs a plan: run pytest with --plumbline PLAN*"])


def test_other_policy_and_waivers(pytester: pytest.Pytester, plan: Path) -> None:
    (pytester.path / "other.yaml").write_text(
        "schema: plumbline.policy/v1\nname: o\nversion: 1\nowner: o\nrules:\n"
        '  - {id: only, measure: "performance:accuracy", min: 0.5}\n'
    )
    done = run(pytester, "--plumbline", plan, "--plumbline-policy", "other.yaml", "-v")
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["*::only PASSED*"])
    (pytester.path / "waivers.yaml").write_text("schema: plumbline.waivers/v1\nwaivers: [{id: x}]\n")
    broken = run(pytester, "--plumbline", plan, "--plumbline-waivers", "waivers.yaml")
    assert broken.ret != 0
    broken.stdout.fnmatch_lines(["*waivers.yaml:2: *"])
    broken.assert_outcomes(failed=4)


@pytest.mark.parametrize(
    ("change", "said"), [(("seed: 3", "sead: 3"), "*plan.yaml:4: unknown key 'sead'*"), (("scores.csv, id", "gone.csv, id"), "*gone.csv*")]
)  # fmt: skip
def test_a_plan_that_cannot_be_used_is_red(pytester: pytest.Pytester, plan: Path, change, said: str) -> None:
    plan.write_text(plan.read_text().replace(*change))
    done = run(pytester, "--plumbline", plan)
    assert done.ret not in (0, 5)
    done.stdout.fnmatch_lines([said])
    assert "Traceback" not in done.stdout.str()


def test_the_fixture_of_a_broken_audit_has_no_traceback(pytester: pytest.Pytester, plan: Path) -> None:
    (plan.parent / "scores.csv").unlink()
    pytester.makepyfile(test_mine="def test_mine(audit_result): pass")
    done = run(pytester, "--plumbline", plan)
    done.assert_outcomes(errors=1, failed=4)
    done.stdout.fnmatch_lines(["*scores.csv*"])
    assert "Traceback" not in done.stdout.str()
    assert "pytest_plugin.py" not in done.stdout.str()


@pytest.mark.parametrize("name", ["hatecheck", "digits", "private-hate"])
def test_the_examples_have_an_item_for_every_rule(pytester: pytest.Pytester, name: str) -> None:
    from audit.policy import load_policy

    examples = Path(__file__).parents[2] / "examples"
    for file in (f"{name}.yaml", f"{name}-policy.yaml"):
        shutil.copy(examples / file, pytester.path / file)
    done = run(pytester, "--plumbline", f"{name}.yaml", "--plumbline-only", "--collect-only", "-q")
    items = [line.partition("::")[2] for line in done.stdout.lines if "::" in line]
    assert items == [*(rule.id for rule in load_policy(examples / f"{name}-policy.yaml").rules), "(verdict)"]


def test_a_plan_that_is_not_there(pytester: pytest.Pytester) -> None:
    done = run(pytester, "--plumbline", "nowhere.yaml")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--plumbline: nowhere.yaml is no file*"])


def test_without_a_cache_the_place_must_be_named(pytester: pytest.Pytester, plan: Path) -> None:
    done = run(pytester, "--plumbline", plan, "-p", "no:cacheprovider")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*name a folder with --plumbline-out*"])


@pytest.mark.slow
def test_processes_share_one_audit(pytester: pytest.Pytester, plan: Path) -> None:
    """Each process leaves a line when it measures; there must be one, and every rule must be told."""
    pytester.makeconftest(
        """
        import audit.api
        from pathlib import Path
        measure = audit.api.run_plan
        def counted(*args, **options):
            with Path(__file__).with_name("measured.txt").open("a") as f:
                f.write("once\\n")
            return measure(*args, **options)
        audit.api.run_plan = counted
        """
    )
    done = pytester.runpytest_subprocess(
        "-p", "xdist", "-p", "audit.pytest_plugin", "-n", "2", "--dist", "load", "--plumbline", str(plan)
    )
    done.assert_outcomes(passed=2, failed=2)
    assert (pytester.path / "measured.txt").read_text() == "once\n"


def test_unused_it_imports_nothing_and_collects_nothing(pytester: pytest.Pytester, plan: Path) -> None:
    pytester.makepyfile(
        test_mine="""
        import sys
        def test_mine():
            ours = {m for m in sys.modules if m.partition(".")[0] in ("audit", "reports", "probes", "fine_tune")}
            assert ours == {"audit", "audit.pytest_plugin"}, ours
            assert not {"torch", "pandas", "pyarrow", "pydantic", "numpy"} & set(sys.modules)
        """
    )
    command = [sys.executable, "-m", "pytest", "-p", "audit.pytest_plugin", str(pytester.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=pytester.path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_auditing_predictions_loads_no_torch(pytester: pytest.Pytester, plan: Path) -> None:
    pytester.makepyfile(
        test_mine="""
        import sys
        def test_mine(audit_result):
            assert "torch" not in sys.modules
        """
    )
    words = ("-p", "audit.pytest_plugin", "--plumbline", str(plan), "-k", "mine or accurate")
    pytester.runpytest_subprocess(*words).assert_outcomes(passed=2, deselected=3)


def test_it_is_named_for_pytest() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"plumbline": "audit.pytest_plugin"}
