"""The action's own steps under bash, the examples of the guide against the official schemas, and the pre-commit hook."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from audit.cli import app
from audit.plan import Plan

ROOT = Path(__file__).parents[2]
ACTION = YAML(typ="safe").load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
GUIDE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def official(name: str) -> jsonschema.protocols.Validator:
    """A schema that check-jsonschema ships."""
    found = next(f for f in files("check-jsonschema") or [] if f.parts[-2:] == ("vendor", f"{name}.json"))
    schema = json.loads(found.read_text(encoding="utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)


class Step:
    """One ``run:`` step, run as the runner does: its own bash, its environment filled in, outputs read from a file."""

    def __init__(self, name: str, known: Mapping[str, str], place: Path) -> None:
        (self.step,) = [s for s in STEPS if s.get("name") == name]
        self.known, self.place = known, place

    def run(self, path: str) -> tuple[int, str, dict[str, str]]:
        """Exit code, output, and the step's outputs."""
        script, outputs = self.place / "step.sh", self.place / "outputs.txt"
        script.write_text(self.step["run"], encoding="utf-8")
        outputs.write_text("")
        environment = {
            "PATH": path,
            "HOME": str(self.place),
            "PYTHONPATH": str(ROOT),
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_STEP_SUMMARY": str(self.place / "summary.md"),
            "GITHUB_WORKSPACE": str(self.place),
            **{k: self._filled(v) for k, v in self.step.get("env", {}).items()},
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.place, env=environment, capture_output=True, text=True, encoding="utf-8", check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr, self._outputs(outputs.read_text(encoding="utf-8"))

    def _filled(self, text: str) -> str:
        return EXPRESSION.sub(lambda m: self.known[m.group(1)], str(text))

    def _outputs(self, text: str) -> dict[str, str]:
        out: dict[str, str] = {}
        lines = iter(text.splitlines())
        for line in lines:
            if "<<" in line:
                name, _, end = line.partition("<<")
                out[name] = "\n".join(iter(lambda: next(lines), end))
            else:
                name, _, out[name] = line.partition("=")
        return out


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which ``plumbline`` is this checkout's and ``python`` only writes down what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in (
        ("plumbline", f'exec "{sys.executable}" -m audit.cli "$@"'),
        ("python", f'printf "%s\\n" "$@" > "{tmp_path}/asked.txt"'),
    ):
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture
def known(tmp_path: Path) -> dict[str, str]:
    """What the action's expressions stand for: its inputs' defaults, a plan, and a runner's places."""
    inputs = {f"inputs.{name}": str(spec.get("default", "")) for name, spec in ACTION["inputs"].items()}
    return {
        **inputs,
        "inputs.plan": "the audit's/plan.yaml",
        "runner.temp": str(tmp_path / "runner temp"),
        "github.action_path": "/actions/plumb line",
    }


@pytest.mark.parametrize("code", [0, 1, 2, 10, 11, 12, 13])
def test_the_last_step_ends_with_the_code_that_was_kept(
    tmp_path: Path, path: str, known: dict[str, str], code: int
) -> None:
    known["steps.audit.outputs.exit-code"] = str(code)
    assert Step("Verdict", known, tmp_path).run(path)[0] == code


@pytest.mark.parametrize(("minimum", "code"), [("0.6", 0), ("0.99", 10), ("high", 2)])
def test_the_steps_end_with_the_audit_s_exit_code(
    material, tmp_path: Path, path: str, known: dict[str, str], minimum: str, code: int
) -> None:
    head = "schema: plumbline.policy/v1\nname: r\nversion: 1\nowner: o\nrules:\n"
    policy = head + f"  - {{id: accurate, measure: 'performance:accuracy', min: {minimum}}}\n"
    material.write(tmp_path / "the audit's", policy=policy)
    known["inputs.sarif"] = "true"
    status, said, outputs = Step("Audit", known, tmp_path).run(path)
    assert status == 0, said
    assert outputs["exit-code"] == str(code), said
    assert ("::error file=the audit's/policy.yaml,line=6" in said) == (code != 0)
    log = json.loads((tmp_path / "runner temp" / "plumbline.sarif").read_text(encoding="utf-8"))
    assert log["runs"][0]["invocations"][0]["exitCode"] == code
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").startswith("# ")
    if code != 2:
        assert [(tmp_path / f).is_file() for f in outputs["files"].splitlines()] == [True] * 3
        assert (tmp_path / "runner temp" / "plumbline-cache").is_dir()
    known["steps.audit.outputs.exit-code"] = outputs["exit-code"]
    assert Step("Verdict", known, tmp_path).run(path)[0] == code


def test_inputs_are_words_and_never_code(tmp_path: Path, known: dict[str, str]) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "plumbline").write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > "{tmp_path}/asked.txt"\nexit 10\n')
    (folder / "plumbline").chmod(0o755)
    attack = '"; touch owned; $(touch owned) `touch owned` '
    known |= {
        "inputs.plan": f"{attack}plan.yaml",
        "inputs.policy": f"{attack}policy.yaml",
        "inputs.waivers": "w.yaml",
        "inputs.baselines": "main=old run\nnext=b\n",
        "inputs.report-only": "true",
        "inputs.upload": "bundle",
    }
    status, _, outputs = Step("Audit", known, tmp_path).run(f"{folder}:{os.environ['PATH']}")
    assert (status, outputs["exit-code"], outputs["files"]) == (0, "10", "plumbline-run")
    assert (tmp_path / "asked.txt").read_text().splitlines() == [
        "run", f"{attack}plan.yaml", "--out", "plumbline-run", "--ci", "github", "--policy", f"{attack}policy.yaml",
        "--waivers", "w.yaml", "--baseline", "main=old run", "--baseline", "next=b", "--report-only",
    ]  # fmt: skip
    assert not (tmp_path / "owned").exists()
    assert not any(EXPRESSION.search(step["run"]) for step in STEPS if "run" in step), (
        "an expression in a script is code"
    )


def test_an_old_run_cannot_pass_for_a_new_one(tmp_path: Path, path: str, known: dict[str, str]) -> None:
    (tmp_path / "plumbline-run").mkdir()
    status, said, outputs = Step("Audit", known, tmp_path).run(path)
    assert (status, outputs) == (2, {})
    assert "::error" in said


def test_an_audit_that_was_cut_off_is_no_pass(tmp_path: Path, path: str, known: dict[str, str]) -> None:
    known["steps.audit.outputs.exit-code"] = ""
    status, said, _ = Step("Verdict", known, tmp_path).run(path)
    assert status == 1
    assert "nothing passed" in said


@pytest.mark.parametrize(("extras", "target"), [("", ""), ("explain,robustness", "[explain,robustness]")])
def test_what_is_installed(tmp_path: Path, path: str, known: dict[str, str], extras: str, target: str) -> None:
    known["inputs.extras"] = extras
    assert Step("Install Plumbline", known, tmp_path).run(path)[0] == 0
    asked = (tmp_path / "asked.txt").read_text().splitlines()
    assert asked[-2:] == ["/actions/plumb line/constraints.txt", f"/actions/plumb line{target}"]
    assert (ROOT / "constraints.txt").is_file()


def test_uploads_come_before_the_verdict_whatever_it_is() -> None:
    names = [step.get("name", step.get("uses")) for step in STEPS]
    assert names.index("Audit") < names.index("Upload the run") < names.index("Verdict") == len(names) - 1
    for step in STEPS[names.index("Audit") + 1 :]:
        assert step["if"].startswith("always()")


def test_the_action_and_the_guide_s_examples_have_the_official_shape() -> None:
    official("github-actions").validate(ACTION)
    yaml = YAML(typ="safe")
    examples = [yaml.load(text) for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.S)]
    workflow, gitlab, hooks, limits = examples
    workflow["on"] = workflow.pop("on", None) or workflow.pop(True)
    official("github-workflows").validate(workflow)
    official("gitlab-ci").validate(gitlab)
    given = workflow["jobs"]["audit"]["steps"][1]["with"]
    assert set(given) <= set(ACTION["inputs"])
    assert not official("github-actions").is_valid({**ACTION, "runs": {"using": "composite"}})
    (hook,) = yaml.load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hooks["repos"][0]["hooks"][0]["id"] == hook["id"]
    probe = {"probe": "performance.classification"}
    plan = {
        "name": "guide", "subject": {"predictions": "scores.csv"}, **limits,
        "probes": dict.fromkeys(("performance", "groups", "attack"), probe),
    }  # fmt: skip
    assert set(Plan.model_validate(plan).profiles) == {"pr", "nightly"}


def test_the_guide_names_every_exit_code_and_output() -> None:
    from audit.ci import CODE_QUALITY
    from reports.files import OWN_FILES

    assert CODE_QUALITY in GUIDE
    assert {"junit.xml", "summary.md"} <= set(OWN_FILES)
    for option in ("--ci github", "--sarif FILE", "--plumbline-only", "--plumbline-out", "--margin", "--report-only"):
        assert option in GUIDE
    for code in (0, 1, 2, 10, 11, 12, 13):
        assert f"| {code} |" in GUIDE


def test_the_hook_checks_policies_and_waivers_alone(tmp_path: Path) -> None:
    (hook,) = YAML(typ="safe").load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    wanted = re.compile(hook["files"])
    names = [p.relative_to(ROOT).as_posix() for p in sorted((ROOT / "examples").glob("*.yaml"))]
    chosen = [n for n in [*names, "policy.yaml", "a/waivers.yml"] if wanted.search(n)]
    assert chosen == [n for n in names if n.endswith("-policy.yaml")] + ["policy.yaml", "a/waivers.yml"]
    assert not any(wanted.search(n) for n in ("plan.yaml", "policy.py", "mypolicy.yaml", "policy.yaml.bak"))
    program, *words = hook["entry"].split()
    assert program == "plumbline"
    done = CliRunner().invoke(app, [*words, *(str(ROOT / n) for n in names if wanted.search(n))])
    assert done.exit_code == 0, done.output
    bad = tmp_path / "policy.yaml"
    shutil.copy(ROOT / "examples" / "hatecheck-policy.yaml", bad)
    bad.write_text(bad.read_text(encoding="utf-8").replace("version:", "verison:"), encoding="utf-8")
    broken = CliRunner().invoke(app, [*words, str(ROOT / "examples" / "digits-policy.yaml"), str(bad)])
    assert broken.exit_code == 2
    assert "verison" in broken.stderr
    assert "digits-policy.yaml: policy" in broken.stdout, "the others are checked all the same"
