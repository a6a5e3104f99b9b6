"""A text checkpoint over many rows, killed half-way (SIGKILL) and resumed: is any batch computed twice, do the bytes agree
with those of a run that was left alone, and what does the journal cost? Three processes: left alone, killed, resumed. The
model is tiny and random, so that the journal's share of the time is as large as it can be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PLAN = """schema: plumbline.plan/v1
name: resume
seed: 7
subject: {{checkpoint: {model}}}
data:
  audit: {{source: texts.csv, id: row, input: text, label: label, groups: [group]}}
probes:
  performance: {{probe: performance.classification}}
"""
WORDS = ("good", "bad", "fine", "awful", "great", "the", "a", "movie", "film", "plot", "was", "is", "not", "she", "he")


def write_material(folder: Path, model: Path, rows: int) -> None:
    """A plan and ``rows`` different short texts."""
    from fine_tune.checkpoint import Checkpoint

    classes = Checkpoint.open(model).classes
    rng = np.random.default_rng(rows)
    lines = ["row,text,label,group"]
    for i in range(rows):
        text = f"{' '.join(rng.choice(WORDS, rng.integers(2, 7)))} {i:x}"
        lines.append(f"r{i},{text},{classes[i % len(classes)]},{'ab'[i % 3 == 0]}")
    (folder / "texts.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "plan.yaml").write_text(PLAN.format(model=json.dumps(str(model))), encoding="utf-8")


def audit_here(folder: Path, name: str, kill_at: int) -> dict[str, Any]:
    """Audit in this process; every batch that the model computes is noted, and batch ``kill_at`` is the last thing it does."""
    import torch

    import audit
    from fine_tune.tasks.text_classification import TextReader

    torch.set_num_threads(1)
    log = os.open(folder / "computed.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    answer, calls = TextReader.answer, 0

    def noted(self: Any, inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        batch = hashlib.sha256("\n".join(inputs).encode()).hexdigest()
        os.write(log, f"{name} {batch} {len(inputs)}\n".encode())
        found = answer(self, inputs)
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    TextReader.answer = noted  # type: ignore[method-assign]
    start = time.perf_counter()
    audit.run_plan(folder / "plan.yaml", folder / name, progress=False, device="cpu")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mb = peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
    return {"seconds": round(time.perf_counter() - start, 2), "peak_mb": round(peak_mb)}


def audit_apart(folder: Path, name: str, cache: str, kill_at: int = 0) -> dict[str, Any] | None:
    """The same in a process of its own; None if that was killed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PLUMBLINE_CACHE": str(folder / cache)}
    command = [sys.executable, __file__, "--folder", str(folder), "--name", name, "--kill-at", str(kill_at)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, env=environment)
    if kill_at and done.returncode == -signal.SIGKILL:
        return None
    done.check_returncode()
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def computed(folder: Path, *names: str) -> list[tuple[str, int]]:
    """Digest and rows of every batch that the model computed in these runs."""
    lines = (line.split() for line in (folder / "computed.log").read_text(encoding="utf-8").splitlines())
    return [(batch, int(rows)) for name, batch, rows in lines if name in names]


def journal_costs(cache: Path) -> dict[str, Any]:
    """Size of the journal, and seconds to open it and to look every entry up."""
    from audit.store import FileJournal

    # The other journal remembers how long things took.
    (path,) = (p for p in (cache / "journals").iterdir() if p.stem != "seconds")
    start = time.perf_counter()
    journal = FileJournal(path)
    journal.lookup("")
    opened = time.perf_counter()
    keys = [json.loads(line)[0] for line in path.read_bytes().splitlines()]
    parsed = time.perf_counter()
    assert all(journal.lookup(key) is not None for key in keys)
    looked_up = time.perf_counter() - parsed
    return {
        "journal_mb": round(path.stat().st_size / 1e6, 2),
        "journal_entries": len(keys),
        "journal_open_seconds": round(opened - start, 3),
        "journal_lookup_all_seconds": round(looked_up, 3),
    }


def run(rows: int, model: Path | None) -> dict[str, Any]:
    """Left alone, killed and resumed; prints the table."""
    with tempfile.TemporaryDirectory(prefix="plumbline-resume-") as place:
        folder = Path(place)
        if model is None:
            from predictions import save_model

            model = folder / "model"
            model.mkdir()
            save_model(model, tiny=True)
        write_material(folder, model.resolve(), rows)
        alone = audit_apart(folder, "alone", "cache-alone")
        batches = computed(folder, "alone")
        killed = audit_apart(folder, "killed", "cache", kill_at=len(batches) // 2)
        resumed = audit_apart(folder, "killed", "cache")
        assert alone is not None and killed is None and resumed is not None
        both = computed(folder, "killed")
        twice = len(both) - len(set(both))
        same = all(
            (folder / "alone" / path).read_bytes() == (folder / "killed" / path).read_bytes()
            for path in ("evidence/predictions.parquet", "results.json")
        )
        costs = journal_costs(folder / "cache")
    print(
        f"{rows:,} rows in {len(batches):,} batches; killed after computing batch {len(batches) // 2:,}, then resumed"
    )
    print(f"left alone: {alone['seconds']:.1f} s, peak {alone['peak_mb']} MB")
    print(f"the second half, resumed: {resumed['seconds']:.1f} s, peak {resumed['peak_mb']} MB")
    print(f"batches computed twice: {twice} (the one that the kill kept from the journal); same bytes: {same}")
    print(
        f"journal: {costs['journal_mb']} MB, {costs['journal_open_seconds']} s to open,"
        f" {costs['journal_lookup_all_seconds']} s to look up all {costs['journal_entries']:,} entries"
    )
    return {
        "benchmark": "resume",
        "rows": rows,
        "rows_missed": rows - sum(n for _, n in set(both)),
        "batches": len(batches),
        "batches_computed_twice": twice,
        "same_bytes": same,
        "alone": alone,
        "resumed": resumed,
        **costs,
    }


def main() -> None:
    """Run and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3,000 rows, in seconds")
    parser.add_argument("--rows", type=int, help="how many rows; 100,000 by default")
    parser.add_argument("--model", type=Path, help="a checkpoint to use instead of a tiny random one")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--kill-at", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if given.folder is not None:
        print(json.dumps(audit_here(given.folder, given.name, given.kill_at)))
        return
    print(json.dumps(run(given.rows or (3_000 if given.quick else 100_000), given.model)))


if __name__ == "__main__":
    main()
