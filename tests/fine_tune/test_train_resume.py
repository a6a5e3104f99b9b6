"""A training that is killed and taken up again ends where one that was never stopped ends, to the last bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fine_tune import resume as resume_module
from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import RecipeError
from fine_tune.recipe import Recipe
from fine_tune.resume import COMPLETE, ResumeFolder
from fine_tune.train import fine_tune

ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """Stands for a kill: nothing in the code may catch it."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    from transformers import Trainer

    whole = Trainer.training_step

    def training_step(self: Trainer, *given: object, **named: object) -> object:
        if self.state.global_step == step:
            raise Killed
        return whole(self, *given, **named)

    monkeypatch.setattr(Trainer, "training_step", training_step)
    return monkeypatch


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume_module, "SAVE_SECONDS", 0.0)


# 48 rows in batches of 8 are passes of 6 steps: the kill at 6 is between two passes. AdaLoRA fixes its ranks at 13.
@pytest.mark.parametrize(
    ("step", "options"),
    [
        (6, {}),
        (10, {}),
        (9, {"method": "lora"}),
        (8, {"method": "head"}),
        (13, {"method": "adalora"}),
        (15, {"early_stopping": 9, "validation_share": 0.25, "learning_rate": 0.01}),
        (11, {"gradient_accumulation": 2, "class_weights": "balanced", "label_smoothing": 0.1}),
        (10, {"balance": ["gender"], "gradient_accumulation": 2}),
        (9, {"reweigh": ["gender"]}),
    ],
)
def test_the_same_weights(
    step: int, options: dict[str, object], tiny_base: Path, review_data: AuditData, tmp_path: Path
) -> None:
    asked = Recipe.of({"base": str(tiny_base), "batch_size": 8, "steps": 18, **options})
    straight = fine_tune(asked, review_data, tmp_path / "straight", progress=False)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(step, patch)
        fine_tune(asked, review_data, tmp_path / "killed", progress=False)
    assert not (tmp_path / "killed").exists()
    assert (tmp_path / ".killed.resume").exists()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(step + 1, patch)
        fine_tune(asked, review_data, tmp_path / "killed", progress=False)
    resumed = fine_tune(asked, review_data, tmp_path / "killed", progress=False)
    assert resumed.weights_digest == straight.weights_digest
    assert resumed.training_record == straight.training_record
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed", "straight"]
    assert sorted(p.name for p in resumed.folder.iterdir()) == sorted(p.name for p in straight.folder.iterdir())


def test_the_same_weights_where_lengths_do_not_matter(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are all of one size, so their rows come in plain random order."""
    from fine_tune import learning

    place = learning.Place
    monkeypatch.setattr(learning, "Place", lambda **given: place(**{**given, "by_length": False}))
    asked = Recipe.of({"base": str(tiny_base), "batch_size": 8, "steps": 14})
    straight = fine_tune(asked, review_data, tmp_path / "straight", progress=False)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(9, patch)
        fine_tune(asked, review_data, tmp_path / "killed", progress=False)
    resumed = fine_tune(asked, review_data, tmp_path / "killed", progress=False)
    assert resumed.weights_digest == straight.weights_digest


def test_it_goes_on_instead_of_starting_over(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    asked = Recipe.of({"base": str(tiny_base), "batch_size": 8, "steps": 12})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(8, patch)
        fine_tune(asked, review_data, tmp_path / "out", progress=False)
    begun: list[int] = []
    whole = Trainer.training_step

    def training_step(self: Trainer, *given: object, **named: object) -> object:
        begun.append(self.state.global_step)
        return whole(self, *given, **named)

    monkeypatch.setattr(Trainer, "training_step", training_step)
    fine_tune(asked, review_data, tmp_path / "out", progress=False)
    assert begun == [8, 9, 10, 11]


def test_without_resume_it_starts_over(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Recipe.of({"base": str(tiny_base), "batch_size": 8, "steps": 6})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(4, patch)
        fine_tune(asked, review_data, tmp_path / "out", progress=False)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(0, patch)
        fine_tune(asked, review_data, tmp_path / "out", progress=False, resume=False)
    assert not (tmp_path / ".out.resume").exists()


def test_states_of_other_requests_and_torn_ones_do_not_count(tmp_path: Path) -> None:
    folder = ResumeFolder.beside(tmp_path / "out", "mine")
    other = ResumeFolder(folder.path, "other")
    whole, torn, foreign, empty = (folder.path / f"checkpoint-{step}" for step in (9, 10, 12, 14))
    for place in (whole, torn, foreign, empty):
        place.mkdir(parents=True)
    for place, key in ((whole, "mine"), (foreign, "other")):
        (place / COMPLETE).write_text(json.dumps({"key": key, "passes": 1}))
    (torn / COMPLETE).write_text('{"key": "mi')
    assert folder.newest() == whole
    assert other.newest() == foreign
    assert ResumeFolder(folder.path, "third").newest() is None
    folder.complete(empty, {"passes": 2})
    assert folder.newest() == empty
    assert folder.note(empty)["passes"] == 2
    assert list(folder.path.iterdir()) == [empty]


def test_a_training_that_cannot_succeed_leaves_no_state(
    tiny_base: Path, review_data: AuditData, tmp_path: Path
) -> None:
    asked = Recipe.of({"base": str(tiny_base), "learning_rate": 1e30, "warmup_ratio": 0, "steps": 20})
    with pytest.raises(RecipeError, match="diverged"):
        fine_tune(asked, review_data, tmp_path / "out", progress=False)
    assert list(tmp_path.iterdir()) == []


CHILD = """
import sys, json
from pathlib import Path
import torch
torch.set_num_threads(1)
from fine_tune import resume
resume.SAVE_SECONDS = 0.0
import pandas as pd
from fine_tune.data import AuditData
from fine_tune.recipe import Recipe
from fine_tune.train import fine_tune
data = AuditData.from_frame(pd.read_json(sys.argv[1]), input="text", label="label", id="row", name="reviews")
fine_tune(Recipe.of(json.loads(sys.argv[2])), data, Path(sys.argv[3]), progress=False)
"""


@pytest.mark.slow
def test_kill_9(tiny_base: Path, review_frame: object, tmp_path: Path) -> None:
    review_frame.to_json(tmp_path / "rows.json")  # type: ignore[attr-defined]
    asked = {"base": str(tiny_base), "batch_size": 4, "steps": 200}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def child(out: str) -> subprocess.Popen[bytes]:
        given = [str(tmp_path / "rows.json"), json.dumps(asked), str(tmp_path / out)]
        return subprocess.Popen([sys.executable, "-c", CHILD, *given], env=environment)

    straight = child("straight")
    killed = child("killed")
    deadline = time.monotonic() + 120
    states = ResumeFolder.beside(tmp_path / "killed", "")
    while not list(states.path.glob(f"checkpoint-*/{COMPLETE}")) and time.monotonic() < deadline:
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    assert states.path.exists()
    assert child("killed").wait(timeout=120) == 0
    assert straight.wait(timeout=120) == 0
    first, second = (Checkpoint.open(tmp_path / name) for name in ("straight", "killed"))
    assert first.digest == second.digest
    assert first.training_record == second.training_record
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed", "rows.json", "straight"]
