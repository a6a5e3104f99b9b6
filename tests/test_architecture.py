"""The house's walls: who may import whom, and what stays light."""

from __future__ import annotations

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("fine_tune", "probes", "reports", "audit")
HEAVY = ("torch", "transformers", "datasets", "captum", "textattack", "fairlearn", "opacus", "peft", "ray")
HELP_SECONDS = 0.5


def python(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTHONPROFILE"))}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_imports_go_one_way() -> None:
    done = python(
        "-c",
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))",
    )
    assert "Contracts:" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import reports",
        "import reports.record",
        "import fine_tune.data, fine_tune.recipe, fine_tune.checkpoint",
        "import audit; audit.gate, audit.render, audit.load",
        "import audit.plan, audit.policy, audit.waivers",
        "import audit.verify",
        "import audit.ci, audit.explain, audit.lint, audit.pytest_plugin",
        "from audit.cli import app; app(['policy', 'lint', 'examples/hatecheck-policy.yaml'], standalone_mode=False)",
        "from audit.cli import app; app(['policy', 'explain', 'examples/hatecheck.yaml'], standalone_mode=False)",
        "from probes.registry import discover; assert discover()",
        "from audit.cli import app; app(['--help'], standalone_mode=False)",
        "from audit.cli import app; app(['gate', '--help'], standalone_mode=False)",
        "from audit.cli import app; app(['probes'], standalone_mode=False)",
    ],
)
def test_what_stays_light(code: str) -> None:
    check = f"import sys; sys.stdout.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = python("-c", f"{code}\nprint('\\nLOADED')\n{check}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.partition("LOADED")[2].split() == []


def test_the_names_of_the_api_survive_the_modules_of_the_same_room() -> None:
    """A submodule's name shadows a lazily loaded one, once the submodule is imported."""
    done = python(
        "-c",
        "import audit, audit.cli, audit.api, audit.verify\n"
        "hidden = [n for n in audit.__all__ if not callable(getattr(audit, n))]\n"
        "assert not hidden, f'hidden by a module of the same name: {hidden}'",
    )
    assert done.returncode == 0, done.stderr


def test_help_answers_at_once() -> None:
    """CPU time, user and system, of the whole process; the best of five, since the machine is shared."""
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = python("-m", "audit.cli", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert "verify" in done.stdout
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < HELP_SECONDS, spent


def modules() -> list[Path]:
    return sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def test_every_module_says_what_it_is_responsible_for() -> None:
    silent = [
        str(p.relative_to(ROOT))
        for p in modules()
        if p.name != "__init__.py" and not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_no_room_has_a_drawer_for_everything() -> None:
    names = {"utils.py", "util.py", "helpers.py", "helper.py", "manager.py", "common.py", "misc.py"}
    assert [str(p.relative_to(ROOT)) for p in modules() if p.name in names] == []


def test_engines_and_torch_are_imported_where_they_are_used() -> None:
    """A probe's module, and everything that only decides or reports, imports nothing heavy at its top."""
    light = [p for p in modules() if p.relative_to(ROOT).parts[0] in ("probes", "reports", "audit")]
    heavy = []
    for path in light:
        if "engines" in path.parts:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            heavy += [f"{path.relative_to(ROOT)}: {n}" for n in names if n.partition(".")[0] in HEAVY]
    assert heavy == []
