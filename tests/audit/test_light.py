"""Gating, rendering and verifying a finished run: quick, and without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys, time
sys.argv = ["plumbline"]
from audit import cli
from typer.testing import CliRunner
start = time.process_time()
result = CliRunner().invoke(cli.app, json.loads({words!r}))
spent = time.process_time() - start
heavy = sorted(set(sys.modules) & {{"torch", "transformers", "datasets", "fairlearn"}})
print(json.dumps([result.exit_code, spent, heavy, result.output]))
"""


def quickly(*words: object) -> tuple[int, float, list[str], str]:
    """Exit code, CPU seconds including the lazy imports, heavy modules loaded, and output: the best of three."""
    script = SCRIPT.format(words=json.dumps([str(w) for w in words]))
    outs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        outs.append(json.loads(done.stdout.splitlines()[-1]))
    return min(outs, key=lambda o: o[1])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("gate", "RUN"), 10),
        (("gate", "RUN", "--ci", "github", "--sarif", "LOG"), 10),
        (("render", "RUN", "--out", "PAGE"), 0),
        (("verify", "RUN"), 0),
        (("compare", "RUN", "RUN", "--out", "PAGE"), 0),
        (("history", "RUN", "--out", "PAGE"), 0),
        (("review", "COPY", "--decision", "reject", "--by", "Dana", "--text", "No."), 0),
    ],
)
def test_no_torch_and_under_a_second(finished, tmp_path, words, code):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    named = {"RUN": finished, "COPY": copy, "PAGE": tmp_path / "page.html", "LOG": tmp_path / "log.sarif"}
    got, spent, heavy, shown = quickly(*(named.get(w, w) for w in words))
    assert got == code, shown
    assert heavy == []
    limit = 3.0 if words[0] == "verify" else 2.0
    assert spent < limit, f"{words[0]} took {spent:.2f} s of CPU, its imports included"
