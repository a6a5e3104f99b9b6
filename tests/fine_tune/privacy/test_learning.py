"""`fine_tune` with privacy, from recipe to checkpoint: ledger, resume, earlier trainings, refusals."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from PIL import Image

from fine_tune import resume as resume_module
from fine_tune.card import CARD
from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.errors import DataError, RecipeError
from fine_tune.privacy import training as loop
from fine_tune.privacy.ledger import Ledger
from fine_tune.recipe import Recipe, TrainingRecord
from fine_tune.resume import COMPLETE, ResumeFolder
from fine_tune.roles import Roles
from fine_tune.train import fine_tune

ROOT = Path(__file__).parents[3]


def recipe(base: Path, **options: Any) -> Recipe:
    privacy = {
        "noise_multiplier": 1.0,
        "delta": 1e-3,
        "accountant": "rdp",
        "secure_rng": False,
        **options.pop("privacy", {}),
    }
    if "epsilon" in privacy:
        privacy.pop("noise_multiplier")
    return Recipe.of({"base": str(base), "batch_size": 8, "steps": 4, "privacy": privacy, **options})


def train(base: Path, data: AuditData, out: Path, **options: Any) -> Checkpoint:
    return fine_tune(recipe(base, **options), data, out, progress=False)


def record_of(made: Checkpoint) -> TrainingRecord:
    assert made.training_record is not None
    return made.training_record


def ledger_of(made: Checkpoint) -> Ledger:
    found = record_of(made).ledger
    assert found is not None
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"method": "full"},
        {"method": "lora"},
        {"method": "bias"},
        {"method": "head"},
        {"precision": "bf16"},
        {"label_smoothing": 0.1, "class_weights": {"negative": 1.0, "positive": 2.5}},
        {"privacy": {"epsilon": 8.0, "accountant": "prv"}},
        {"privacy": {"gradients": "hooks", "physical_batch": 3}},
        {"privacy": {"secure_rng": True}},
    ],
)
def test_a_checkpoint_with_an_epsilon(
    options: dict[str, Any], tiny_base: Path, review_data: AuditData, tmp_path: Path
) -> None:
    made = train(tiny_base, review_data, tmp_path / "out", **options)
    ledger, record = ledger_of(made), record_of(made)
    assert ledger.refusals == ()
    assert ledger.epsilon is not None
    assert ledger.facts.units == ledger.facts.rows == 48
    assert ledger.facts.sampling_rate == 8 / 48
    assert record.steps == 4
    assert (record.final_loss, record.history) == (None, ())
    assert 0 < record.trained_parameters <= record.parameters
    if "epsilon" in options.get("privacy", {}):
        assert ledger.epsilon <= 8.0 + 1e-9
    card = (made.folder / CARD).read_text(encoding="utf-8")
    assert "Differentially private: epsilon" in card
    assert made.load_model().config.num_labels == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_without_privacy_there_is_no_ledger(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    asked = Recipe.of({"base": str(tiny_base), "batch_size": 8, "steps": 2, "class_weights": "balanced"})
    made = fine_tune(asked, review_data, tmp_path / "out", progress=False)
    assert record_of(made).ledger is None
    assert "## Privacy" not in (made.folder / CARD).read_text(encoding="utf-8")


def test_no_generator_state_and_no_loss_of_a_training_row_is_kept(
    tiny_base: Path, review_data: AuditData, tmp_path: Path
) -> None:
    made = train(tiny_base, review_data, tmp_path / "out", privacy={"secure_rng": True})
    written = (made.folder / "training_record.json").read_text(encoding="utf-8")
    assert not any(word in written for word in ("bit_generator", "PCG64", 'entropy":', '"noise"'))
    assert not list(made.folder.glob("*.pt"))
    found = json.loads(written)
    assert (found["final_loss"], found["validation_loss"], found["history"]) == (None, None, [])


def test_validation_rows_have_a_loss_and_stand_outside(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    made = train(tiny_base, review_data, tmp_path / "out", validation_share=0.25, holdout=0.1)
    record, ledger = record_of(made), ledger_of(made)
    assert record.validation_loss is not None
    assert ledger.facts.units == len(record.training_ids) == 48 - len(record.validation_ids) - len(record.holdout_ids)
    assert f"{len(record.validation_ids)} validation rows are outside" in " ".join(map(str, ledger.not_covered))


def test_what_epsilon_does_not_cover_is_said(
    tiny_base: Path, review_data: AuditData, review_frame: pd.DataFrame, tmp_path: Path
) -> None:
    said = " ".join(map(str, ledger_of(train(tiny_base, review_data, tmp_path / "out")).not_covered))
    assert "Up to 4 rows share a cluster" in said
    assert "name the rows that were trained on" in said
    twice = pd.concat([review_frame, review_frame.head(3).assign(row=["x", "y", "z"])], ignore_index=True)
    data = AuditData.from_frame(twice, input="text", label="label", id="row", name="twice")
    repeated = " ".join(map(str, ledger_of(train(tiny_base, data, tmp_path / "twice")).not_covered))
    assert "rows have an input that stands in several rows" in repeated


def test_persons_as_units(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    made = train(tiny_base, review_data, tmp_path / "out", privacy={"unit": "cluster", "logical_batch": 3})
    ledger = ledger_of(made)
    assert (ledger.facts.unit, ledger.facts.units, ledger.facts.rows) == ("cluster", 12, 48)
    assert ledger.facts.sampling_rate == 3 / 12
    assert ledger.epsilon is not None
    assert "share a cluster" not in " ".join(map(str, ledger.not_covered))
    with pytest.raises(DataError, match="which unit they belong to"):
        train(tiny_base, review_data, tmp_path / "gender", privacy={"unit": "gender", "logical_batch": 1})
    with pytest.raises(RecipeError, match="no such column"):
        train(tiny_base, review_data, tmp_path / "none", privacy={"unit": "author", "logical_batch": 1})


def test_tiny_rates_have_empty_batches_that_count(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    facts = ledger_of(train(tiny_base, review_data, tmp_path / "out", batch_size=1, steps=12)).facts
    assert facts.empty_steps > 0
    assert facts.taken_steps == facts.releases[0].steps == 12


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"privacy": {"delta": 0.5}}, "delta is 0.5"),
    ({"early_stopping": 2}, "early_stopping cannot be private"),
    ({"search": {"learning_rate": [1e-3, 1e-4]}}, "search cannot be private"),
    ({"seeds": [1, 2]}, "seeds cannot be private"),
    ({"privacy": {"epsilon": 1e-4}}, "cannot be reached"),
    ({"privacy": {"logical_batch": 49}}, "at most 48"),
    ({"privacy": {"earlier": ["nowhere"]}}, "privacy.earlier names nowhere"),
]


@pytest.mark.parametrize(("options", "reason"), REFUSED)
def test_refused_with_a_reason_and_nothing_left(
    options: dict[str, Any], reason: str, tiny_base: Path, review_data: AuditData, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=reason):
        train(tiny_base, review_data, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_row_weights_are_refused(tiny_base: Path, review_frame: pd.DataFrame, tmp_path: Path) -> None:
    data = AuditData.from_frame(review_frame.assign(w=2.0), input="text", label="label", weight="w", name="weighted")
    with pytest.raises(RecipeError, match="row weights"):
        train(tiny_base, data, tmp_path / "out")
    assert ledger_of(train(tiny_base, data, tmp_path / "out", sample_weights=False)).epsilon is not None


def test_surroundings_that_cannot_work_are_refused(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    for name, called in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        with monkeypatch.context() as patch:
            patch.setenv(name, "true")
            with pytest.raises(RecipeError, match=rf"(?s)does not run under {called}: a row's gradient.*torchrun"):
                train(tiny_base, review_data, tmp_path / "out")
            patch.setenv(name, "false")
            assert ledger_of(train(tiny_base, review_data, tmp_path / called)).epsilon is not None
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "opacus" else find(name, *more)
    )
    with pytest.raises(RecipeError, match="Opacus, which is not installed"):
        train(tiny_base, review_data, tmp_path / "out")


def test_a_finished_checkpoint_is_returned_and_spends_nothing(
    tiny_base: Path, review_data: AuditData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = train(tiny_base, review_data, tmp_path / "out", privacy={"secure_rng": True})
    left = tmp_path / ".out.resume" / "checkpoint-3"
    left.mkdir(parents=True)
    monkeypatch.setattr(loop.PrivateTraining, "run", lambda *_: pytest.fail("it trained again"))
    again = train(tiny_base, review_data, tmp_path / "out", privacy={"secure_rng": True})
    assert again.digest == made.digest
    assert not left.exists()


def picture_data(count: int = 24) -> AuditData:
    rng = np.random.default_rng(0)
    inputs = []
    for i in range(count):
        kept = io.BytesIO()
        Image.fromarray((rng.integers(0, 120, (9, 7)) + 130 * (i % 2)).astype(np.uint8)).save(kept, format="PNG")
        inputs.append(kept.getvalue())
    columns = {"image": inputs, "label": [("dark", "light")[i % 2] for i in range(count)]}
    return AuditData.from_columns(columns, Roles(input="image", label="label"))


def image_base(folder: Path, kind: str) -> Path:
    """An architecture without weights, for grey images of 8 by 8."""
    if kind == "vit":
        config: Any = transformers.ViTConfig(
            num_channels=1, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
        )  # fmt: skip
    else:
        config = transformers.ResNetConfig(
            num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"
        )
    config.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5]).save_pretrained(
        folder
    )
    return folder


def test_images(tmp_path: Path) -> None:
    base = image_base(tmp_path / "vit", "vit")
    made = train(base, picture_data(), tmp_path / "out", task="image-classification")
    ledger = ledger_of(made)
    assert ledger.epsilon is not None
    assert "random weights" in str(next(o.reason for o in ledger.outside if o.name == "base weights"))


def test_batch_normalisation_is_refused_and_can_be_held(tmp_path: Path) -> None:
    base = image_base(tmp_path / "resnet", "resnet")
    with pytest.raises(RecipeError, match=r"normalization|norm"):
        train(base, picture_data(), tmp_path / "out", task="image-classification")
    held = {"task": "image-classification", "privacy": {"batch_norm": "hold"}}
    assert ledger_of(train(base, picture_data(), tmp_path / "held", **held)).epsilon is not None


def test_earlier_trainings_are_charged(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    first = train(tiny_base, review_data, tmp_path / "first", privacy={"noise_multiplier": 2.0, "logical_batch": 4})
    alone = train(tiny_base, review_data, tmp_path / "alone")
    named = {"privacy": {"earlier": [str(first.folder), str(first.folder)]}}
    both = ledger_of(train(tiny_base, review_data, tmp_path / "both", **named))
    assert [(r.purpose, r.noise_multiplier, r.steps) for r in both.facts.releases] == [
        ("tuning", 2.0, 4),
        ("training", 1.0, 4),
    ]
    assert both.epsilon is not None
    assert both.epsilon > (ledger_of(alone).epsilon or 0)
    assert {o.name: o.standing for o in both.outside}["hyperparameter search"] == "charged"
    # A budget covers both, so less is left for the training itself.
    asked = {"epsilon": 9.0, "earlier": [str(first.folder)]}
    within = ledger_of(train(tiny_base, review_data, tmp_path / "within", privacy=asked))
    assert within.epsilon is not None
    assert within.epsilon <= 9.0
    with pytest.raises(RecipeError, match="protects the unit example"):
        other = {"earlier": [str(first.folder)], "unit": "cluster", "logical_batch": 2}
        train(tiny_base, review_data, tmp_path / "unit", privacy=other)


def test_a_base_that_saw_the_rows_is_charged_or_leaves_no_epsilon(
    tiny_base: Path, review_data: AuditData, review_frame: pd.DataFrame, tmp_path: Path
) -> None:
    private = train(tiny_base, review_data, tmp_path / "private")
    after = ledger_of(train(private.folder, review_data, tmp_path / "after"))
    assert [r.purpose for r in after.facts.releases] == ["tuning", "training"]
    assert {o.name: o.standing for o in after.outside}["base weights"] == "charged"
    openly = fine_tune(
        Recipe.of({"base": str(tiny_base), "batch_size": 8, "steps": 2}), review_data, tmp_path / "open", progress=False
    )
    stained = ledger_of(train(openly.folder, review_data, tmp_path / "stained"))
    assert stained.epsilon is None
    assert "base weights" in str(stained.refusals[0])
    card = (tmp_path / "stained" / CARD).read_text(encoding="utf-8")
    assert "no epsilon can be stated" in card
    assert "Differentially private" not in card
    # What came of it is stained too, however it was trained in between.
    elsewhere = AuditData.from_frame(
        review_frame.assign(text=review_frame["text"] + " really"), input="text", label="label", id="row", name="other"
    )
    between = fine_tune(
        Recipe.of({"base": str(openly.folder), "batch_size": 8, "steps": 2}), elsewhere, tmp_path / "between", progress=False
    )  # fmt: skip
    assert ledger_of(train(between.folder, review_data, tmp_path / "grandchild")).epsilon is None
    with pytest.raises(RecipeError, match="no ledger with an epsilon"):
        train(tiny_base, review_data, tmp_path / "x", privacy={"earlier": [str(tmp_path / "stained")]})


@pytest.mark.parametrize("method", ["full", "lora"])
def test_with_next_to_no_noise_it_learns(
    method: str, tiny_base: Path, review_data: AuditData, review_frame: pd.DataFrame, tmp_path: Path
) -> None:
    made = train(
        tiny_base, review_data, tmp_path / "out", method=method, steps=60, learning_rate=0.01,
        privacy={"noise_multiplier": 1e-5},
    )  # fmt: skip
    model, tokenizer = made.load_model(), made.load_tokenizer()
    with torch.inference_mode():
        scores = model(**tokenizer(list(review_frame["text"]), padding=True, return_tensors="pt")).logits
    names = [model.config.id2label[int(i)] for i in scores.argmax(1)]
    assert sum(a == b for a, b in zip(names, review_frame["label"], strict=True)) >= 36


class StopError(BaseException):
    """Stands for a kill: nothing in the code may catch it."""


def stop_at(step: int, patch: pytest.MonkeyPatch) -> None:
    whole = loop.PrivateTraining._step

    def once(self: loop.PrivateTraining) -> None:
        if self._steps == step:
            raise StopError
        whole(self)

    patch.setattr(loop.PrivateTraining, "_step", once)
    patch.setattr(resume_module, "SAVE_SECONDS", 0.0)


@pytest.mark.parametrize("options", [{}, {"method": "lora"}, {"privacy": {"gradients": "hooks"}}])
def test_a_stopped_training_ends_where_a_whole_one_does(
    options: dict[str, Any], tiny_base: Path, review_data: AuditData, tmp_path: Path
) -> None:
    straight = train(tiny_base, review_data, tmp_path / "straight", steps=9, **options)
    for step in (4, 5):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
            stop_at(step, patch)
            train(tiny_base, review_data, tmp_path / "killed", steps=9, **options)
    resumed = train(tiny_base, review_data, tmp_path / "killed", steps=9, **options)
    assert resumed.weights_digest == straight.weights_digest
    assert resumed.training_record == straight.training_record
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed", "straight"]


def test_changed_rows_are_refused_and_the_state_is_kept(
    tiny_base: Path, review_data: AuditData, review_frame: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        stop_at(3, patch)
        train(tiny_base, review_data, tmp_path / "out")
    changed = review_frame.copy()
    changed.loc[7, "text"] = "a film was fine"
    other = AuditData.from_frame(
        changed, input="text", label="label", groups=["gender"], cluster="template", id="row", name="reviews"
    )
    for given, options in (
        (other, {}),
        (review_data, {"privacy": {"noise_multiplier": 1.1}}),
        (review_data, {"steps": 5}),
    ):
        with pytest.raises(RecipeError, match="other data, base weights, settings"):
            train(tiny_base, given, tmp_path / "out", **options)
        assert ResumeFolder.beside(tmp_path / "out", "").path.exists()
    assert ledger_of(train(tiny_base, review_data, tmp_path / "out")).facts.taken_steps == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_without_resume_it_begins_anew(tiny_base: Path, review_data: AuditData, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        stop_at(3, patch)
        train(tiny_base, review_data, tmp_path / "out")
    fresh = fine_tune(recipe(tiny_base, steps=5), review_data, tmp_path / "out", progress=False, resume=False)
    assert ledger_of(fresh).facts.taken_steps == 5


CHILD = """
import json, sys
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
for name, values in json.loads(sys.argv[2]).items():
    fine_tune(Recipe.of(values), data, Path(sys.argv[3]) / name, progress=False)
"""


def environment() -> dict[str, str]:
    search = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(search), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("secure", [False, True])
def test_kill_9(secure: bool, tiny_base: Path, review_frame: pd.DataFrame, tmp_path: Path) -> None:
    review_frame.to_json(tmp_path / "rows.json")
    asked = recipe(tiny_base, steps=60, privacy={"secure_rng": secure}).model_dump(mode="json")

    def child(name: str) -> subprocess.Popen[bytes]:
        given = [str(tmp_path / "rows.json"), json.dumps({name: asked}), str(tmp_path)]
        return subprocess.Popen([sys.executable, "-c", CHILD, *given], env=environment())

    killed, states = child("killed"), ResumeFolder.beside(tmp_path / "killed", "").path
    after, deadline = random.Random(5).randint(1, 50), time.monotonic() + 120
    while time.monotonic() < deadline:
        assert killed.poll() is None, "it ended before it could be killed"
        whole = [int(p.parent.name.rpartition("-")[2]) for p in states.glob(f"checkpoint-*/{COMPLETE}")]
        if whole and max(whole) >= after:
            break
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    assert child("killed").wait(timeout=120) == 0
    assert child("straight").wait(timeout=120) == 0
    first, second = (Checkpoint.open(tmp_path / name) for name in ("straight", "killed"))
    one, other = ledger_of(first), ledger_of(second)
    assert (one.epsilon, one.facts.taken_steps, one.facts.releases) == (other.epsilon, 60, other.facts.releases)
    assert other.facts.taken_steps == 60
    assert (first.weights_digest == second.weights_digest) == (not secure)


@pytest.mark.slow
def test_two_processes_take_the_same_steps_as_one(tiny_base: Path, review_frame: pd.DataFrame, tmp_path: Path) -> None:
    """No dropout, whose masks hang on the process; rate so low that a process often, and both sometimes, draw nothing."""
    review_frame.to_json(tmp_path / "rows.json")
    options: dict[str, Any] = {"dropout": 0.0, "steps": 12, "learning_rate": 1e-3, "validation_share": 0.2}
    asked = {
        "many": recipe(tiny_base, **options).model_dump(mode="json"),
        "few": recipe(tiny_base, **{**options, "batch_size": 1}).model_dump(mode="json"),
        "secret": recipe(tiny_base, **{**options, "privacy": {"secure_rng": True}}).model_dump(mode="json"),
    }
    child = tmp_path / "child.py"
    # The streams hang on the request, which names the number of processes; here they are to be the same.
    child.write_text("from fine_tune import train\ntrain.process_count = lambda: 2\n" + CHILD)
    for count in (1, 2):
        place = tmp_path / str(count)
        place.mkdir()
        given = [str(child), str(tmp_path / "rows.json"), json.dumps(asked), str(place)]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"] if count == 2 else []
        done = subprocess.run(
            [sys.executable, *launcher, *given], env=environment(), capture_output=True, text=True, timeout=300, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    for name in asked:
        one, two = (Checkpoint.open(tmp_path / str(count) / name) for count in (1, 2))
        assert ledger_of(one).facts == ledger_of(two).facts or name == "secret"
        assert ledger_of(one).epsilon == ledger_of(two).epsilon
        if name != "secret":
            weights, others = (c.load_model().state_dict() for c in (one, two))
            assert all(torch.allclose(weights[n], others[n], rtol=0, atol=1e-5) for n in weights)
    assert ledger_of(Checkpoint.open(tmp_path / "2" / "few")).facts.empty_steps > 0


def test_the_command_line_shows_no_traceback(tiny_base: Path, review_frame: pd.DataFrame, tmp_path: Path) -> None:
    review_frame.to_csv(tmp_path / "rows.csv", index=False)
    values = recipe(tiny_base, privacy={"delta": 0.5}).model_dump(mode="json", exclude_defaults=True)
    plan = {"recipe": values, "data": {"train": {"source": "rows.csv", "input": "text", "label": "label"}}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(plan))
    done = subprocess.run(
        [sys.executable, "-c", "from audit.cli import main; main()", "fine-tune", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "delta is 0.5" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_the_command_line_is_told_of_a_release(
    tiny_base: Path, review_frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from audit.cli import app

    review_frame.to_csv(tmp_path / "rows.csv", index=False)
    values = recipe(tiny_base, steps=9).model_dump(mode="json", exclude_defaults=True)
    plan = {"recipe": values, "data": {"train": {"source": "rows.csv", "input": "text", "label": "label"}}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(plan))
    asked = ["fine-tune", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    nothing = CliRunner().invoke(app, [*asked, "--released", "7"])
    assert nothing.exit_code == 2
    assert "no noise can be repeated" in nothing.output
    with monkeypatch.context() as patch, pytest.raises(StopError):
        stop_at(5, patch)
        CliRunner().invoke(app, asked)
    done = CliRunner().invoke(app, [*asked, "--released", "7"])
    assert done.exit_code == 0, done.output
    ledger = ledger_of(Checkpoint.open(tmp_path / "out"))
    assert [(r.purpose, r.steps) for r in ledger.facts.releases] == [("training", 9), ("resumed training", 2)]
