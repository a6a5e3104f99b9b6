"""A run's record from a stranger gives no leave to run code: hardening opens the base as the plan says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from audit import harden_origin
from fine_tune.checkpoint import Checkpoint
from fine_tune.recipe import Recipe


@pytest.mark.parametrize(
    ("said_by_plan", "said_by_record", "trusted"),
    [(False, True, False), (True, True, True), (True, False, False), (False, False, False)],
)
@pytest.mark.parametrize("with_recipe", [True, False])
def test_only_the_plan_gives_leave(
    monkeypatch: pytest.MonkeyPatch, said_by_plan: bool, said_by_record: bool, trusted: bool, with_recipe: bool
) -> None:
    asked = []

    def opened(name: str, *, trust_remote_code: bool, architecture: bool) -> SimpleNamespace:
        asked.append(trust_remote_code)
        return SimpleNamespace(digest="d")

    monkeypatch.setattr(Checkpoint, "open", opened)
    planned = Recipe(base="b", trust_remote_code=said_by_plan) if with_recipe else None
    subject = SimpleNamespace(recipe=planned, trust_remote_code=said_by_plan)
    loaded = SimpleNamespace(plan=SimpleNamespace(subject=subject), base_dir=Path())
    training = {"recipe": Recipe(base="b", trust_remote_code=said_by_record).model_dump(), "base_digest": "d"}
    added = SimpleNamespace(data=SimpleNamespace(digest="0" * 64))
    made = harden_origin.twin_recipe(loaded, training, added)
    assert (asked, made.trust_remote_code) == ([trusted], trusted)
