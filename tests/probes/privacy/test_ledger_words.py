"""Every sentence and word of a ledger is found by catalogue extraction: what is `message("...")` in the source, with one keyword."""

from __future__ import annotations

import ast
import typing
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

import fine_tune.privacy
from fine_tune.privacy import facts as module
from fine_tune.privacy.facts import Facts, Outside, Release, message
from fine_tune.privacy.ledger import MECHANISM, NEIGHBOURS, settle
from probes.privacy.ledger_words import WORDS, word

ROOT = Path(fine_tune.privacy.__file__).parents[2]


@pytest.fixture(scope="module")
def extracted():
    found = set()
    for folder in ("fine_tune", "probes/privacy"):
        for _, _, text, _, _ in extract_from_dir(ROOT / folder, [("**.py", "python")], keywords={"message": None}):
            found.add(text)
    return found


def ledger(**changes):
    release = Release(purpose="training", noise_multiplier=1.0, sampling_rate=0.01, steps=20)
    usual = {
        "unit": "example", "units": 800, "rows": 800, "expected_batch": 8, "sampling": "poisson", "sampling_rate": 0.01,
        "max_grad_norm": 1.0, "noise_multiplier": 1.0, "delta": 1e-4, "accountant": "prv", "planned_steps": 20,
        "taken_steps": 20, "releases": (release,), "finite": True, "self_tested": True, "gradients": "bookkeeping",
        "secure_rng": True,
    }  # fmt: skip
    return settle(Facts(**{**usual, **changes}), versions={"opacus": "1.6"})


def test_a_known_sentence_is_found(extracted):
    assert "{taken} steps were taken, and {planned} were planned." in extracted
    assert "The number of steps was fixed up front." in extracted


def test_every_sentence_that_a_ledger_says_is_found(extracted):
    worst = ledger(
        delta=0.5, sampling="shuffled", sampling_rate=0.02, planned_steps=0, taken_steps=3, finite=False, self_tested=False,
        max_grad_norm=0.0, noise_multiplier=0.0, secure_rng=False,
    )  # fmt: skip
    over = ledger(target_epsilon=0.01)
    said = [
        *worst.refusals,
        *worst.known_issues,
        *over.not_covered,
        *over.known_issues,
        *ledger(accountant="rdp").known_issues,
    ]
    assert len(said) > 12
    assert [one.text for one in said if one.text not in extracted] == []


def test_no_sentence_is_made_in_another_way():
    """A sentence whose template is no literal could not be found; nobody makes a `Remark` but its shorthand."""
    for path in (ROOT / "fine_tune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == "message":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"
            if node.func.id == "Remark":
                assert path.name == Path(module.__file__).name


def test_every_word_is_known_and_found(extracted):
    words = {NEIGHBOURS, MECHANISM}
    for kind in (module.Standing, module.Sampling, module.Purpose):
        words |= set(typing.get_args(kind))
    names = set()
    for node in ast.walk(ast.parse((ROOT / "fine_tune/privacy/scope.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == Outside.__name__:
            names |= {k.value.value for k in node.keywords if k.arg == "name"}
    assert len(names) >= 7
    assert words | names == set(WORDS)
    assert set(WORDS) <= extracted


def test_a_word_that_is_not_known_stays_as_it_is():
    assert word("tuning").text == "tuning"
    assert word("a {brace} and more").fill() == "a {brace} and more"
    assert str(message("{rows} rows", rows=3)) == "3 rows"
