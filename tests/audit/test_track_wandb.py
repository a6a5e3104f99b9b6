"""Runs that Weights & Biases keeps offline, read back from its log. Needs wandb, which is too large to be in the extra dev.

PLUMBLINE_WANDB=/path/to/site-packages    a folder that holds wandb, where it is not installed here
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from reports.bundle import Bundle
from reports.tracking import entries

PERSONAL = "evidence/predictions.parquet"
READ_BACK = """
import json, struct, sys
from pathlib import Path
sys.path.append(sys.argv[2])
from wandb.proto import wandb_internal_pb2 as pb

def records(content):
    '''The log's format is LevelDB's: blocks of 32 KiB, pieces with checksum, length and kind.'''
    place, piece = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        piece += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record, piece = pb.Record.FromString(piece), b""
            yield record

out = {"metrics": {}, "config": {}, "files": {}, "order": [], "project": "", "name": "", "exit": None, "rest": ""}
for record in records(next(Path(sys.argv[1]).glob("*.wandb")).read_bytes()):
    kind = record.WhichOneof("record_type")
    out["order"].append(kind)
    updates = record.run.config.update if kind == "run" else record.config.update if kind == "config" else ()
    out["config"] |= {u.key: json.loads(u.value_json) for u in updates}
    if kind == "run":
        out["project"], out["name"] = record.run.project, record.run.display_name
    if kind == "history":
        out["metrics"] |= {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
    if kind == "artifact":
        out["files"] |= {c.path: Path(c.local_path).read_bytes().hex() for c in record.artifact.manifest.contents}
    if kind == "exit":
        out["exit"] = record.exit.exit_code
print(json.dumps(out))
"""

SEND = "import sys; sys.path.append(sys.argv.pop(1)); from audit.cli import app; app(sys.argv[1:])"


@pytest.fixture
def wandb_folder() -> str:
    """The folder that wandb is imported from."""
    named = os.environ.get("PLUMBLINE_WANDB")
    if named is None and importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed here; PLUMBLINE_WANDB may name a folder that holds it")
    return named or ""


def test_wandb_keeps_the_run_for_a_sync(finished: Path, tmp_path: Path, wandb_folder: str) -> None:
    words = ("log", finished, "--to", "wandb", "--offline", "--project", "gate", "--run-name", "nightly 7")
    done = subprocess.run(
        [sys.executable, "-c", SEND, wandb_folder, *map(str, words)],
        cwd=tmp_path, env=_at_home(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place = next(line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("Tracked: "))
    read = subprocess.run(
        [sys.executable, "-c", READ_BACK, str(tmp_path / place), wandb_folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    opened, manifest = Bundle.open(finished), sha256((finished / "MANIFEST.json").read_bytes()).hexdigest()
    told = entries(opened.record(), opened.verdict(), bundle_sha256=manifest, left_out=(PERSONAL,))
    out = json.loads(read.stdout)
    assert (out["project"], out["name"], out["exit"]) == ("gate", "nightly 7", 0)
    assert {k: v for k, v in out["metrics"].items() if not k.startswith("_")} == told.metrics
    assert {k: v for k, v in out["config"].items() if k != "_wandb"} == {**told.texts, **told.verdict}
    kinds = out["order"]
    assert kinds.index("artifact") < len(kinds) - 1 - kinds[::-1].index("config"), "the verdict comes last"
    sent = {path: bytes.fromhex(content) for path, content in out["files"].items()}
    assert sent.pop("figures.json") == told.figures.encode()
    kept = {f"bundle/{p.relative_to(finished)}": p.read_bytes() for p in finished.rglob("*") if p.is_file()}
    del kept[f"bundle/{PERSONAL}"]
    assert sent == kept


@pytest.mark.parametrize(
    ("mode", "place", "said"), [("disabled", ".", "nothing would be kept"), ("offline", "RUN", "never written into")]
)
def test_wandb_is_refused_where_it_would_keep_nothing_or_disturb(
    finished: Path, tmp_path: Path, wandb_folder: str, mode: str, place: str, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEND, wandb_folder, "log", str(finished), "--to", "wandb"],
        cwd=finished if place == "RUN" else tmp_path, env=_at_home(tmp_path) | {"WANDB_MODE": mode},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def _at_home(folder: Path) -> dict[str, str]:
    """An environment in which W&B keeps everything in this folder, and knows no account."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    ours = {f"WANDB_{name}_DIR": str(folder / name.lower()) for name in ("DATA", "CACHE", "CONFIG")}
    return known | ours | {"HOME": str(folder)}
