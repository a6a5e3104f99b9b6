"""Training under torchrun: two CPU processes, the same call, one checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from fine_tune.checkpoint import Checkpoint
from fine_tune.ensemble import Ensemble

ROOT = Path(__file__).parents[2]

CHILD = """
import json, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from fine_tune import resume, train
resume.SAVE_SECONDS = 0.0
import pandas as pd
from fine_tune.data import AuditData
from fine_tune.errors import PlumblineError
from fine_tune.recipe import Recipe
frame = pd.read_json(sys.argv[1])
data = AuditData.from_frame(frame, input="text", label="label", groups=["gender"], id="row", name="reviews")
rank = os.environ["RANK"]
written = []
keep = train.write_record
train.write_record = lambda record, folder: (written.append(rank), keep(record, folder))

def say(*what):
    # In a file of its own: what two processes print may run into each other.
    with Path(sys.argv[4], rank).open("a") as place:
        place.write(json.dumps([rank, *what]) + "\\n")

for name, values in json.loads(sys.argv[2]).items():
    out = Path(sys.argv[3]) / name
    stop = values.pop("stop", None)
    if stop is not None:
        from transformers import Trainer
        whole = Trainer.training_step
        def step(self, *given, **named):
            if self.state.global_step == stop:
                raise KeyboardInterrupt
            return whole(self, *given, **named)
        Trainer.training_step = step
        try:
            train.fine_tune(Recipe.of(values), data, out, progress=False)
        except KeyboardInterrupt:
            Trainer.training_step = whole
    try:
        made = train.fine_tune(Recipe.of(values), data, out, progress=False)
        say(name, made.digest, written)
    except PlumblineError as error:
        say(name, str(error), written)
    written.clear()
"""


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
# Of accelerate's launchers the one for several GPUs starts processes like torchrun's; training still asks for CPUs.
ACCELERATE = (
    "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision",
    "no", "--dynamo_backend", "no", "--main_process_port", "0",
)  # fmt: skip


def launch(launcher: tuple[str, ...], asked: dict[str, dict[str, object]], folder: Path) -> dict[str, dict[str, list]]:
    """Train in two processes; what each said, by name and rank: a digest or an error, and what it wrote."""
    (folder / "child.py").write_text(CHILD)
    heard = folder / "said"
    heard.mkdir()
    # Both processes import the same libraries as this one.
    search = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [
            *(sys.executable, "-m", *launcher, str(folder / "child.py")),
            *(str(folder / "rows.json"), json.dumps(asked), str(folder), str(heard)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for place in heard.iterdir() for line in place.read_text().splitlines()]
    shutil.rmtree(heard)
    return {name: {rank: [said, wrote] for rank, n, said, wrote in lines if n == name} for name in asked}


def same_training(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same weights but for rounding, which is small beside what the steps move."""
    weights, others = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert weights.keys() == others.keys()
    return all(torch.allclose(weights[name], others[name], rtol=0, atol=1e-4) for name in weights)


@pytest.mark.slow
def test_two_processes(tiny_base: Path, review_frame: pd.DataFrame, tmp_path: Path) -> None:
    review_frame.to_json(tmp_path / "rows.json")
    own: dict[str, object] = {"base": str(tiny_base), "batch_size": 8, "steps": 14}
    asked = {
        "first": own,
        "stopped": {**own, "stop": 9},
        "best": {**own, "early_stopping": 3, "validation_share": 0.25, "method": "lora"},
        "balanced": {**own, "steps": 8, "balance": ["gender"]},
        "odd": {**own, "batch_size": 9},
        "grid": {**own, "steps": 2, "search": {"learning_rate": [1e-4, 1e-2]}},
        "several": {**own, "steps": 2, "seeds": [1, 2]},
    }
    said = launch(TORCHRUN, asked, tmp_path) | launch(ACCELERATE, {"launched": own}, tmp_path)
    assert all(set(ranks) == {"0", "1"} for ranks in said.values()), {n: list(r) for n, r in said.items()}
    made = {name for name in said if name != "odd"}
    for name in made:
        checkpoint = Checkpoint.open(tmp_path / name)
        assert said[name]["0"][0] == said[name]["1"][0] == checkpoint.digest
        assert set(said[name]["0"][1]) == {"0"}
        assert said[name]["1"][1] == []
        for one in checkpoint.members if isinstance(checkpoint, Ensemble) else (checkpoint,):
            record = one.training_record
            assert record is not None
            assert record.processes == 2
    assert said["first"]["0"][0] == said["stopped"]["0"][0]
    # Another launch on a busy machine was once seen to differ in the last bits, which Adam then carries on.
    assert same_training(tmp_path / "first", tmp_path / "launched")
    assert "cannot be shared by 2 processes" in said["odd"]["0"][0]
    assert {p.name for p in tmp_path.iterdir()} == made | {"rows.json", "child.py"}
