"""Memory of `robustness.attack` over many examples: does the process grow with the number that were attacked? A tiny random model, so that
almost all of what is held is the engine's, and one process through the whole of it: the probe's rows are collected as in a run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WORDS = ("good", "bad", "fine", "awful", "great", "the", "a", "movie", "film", "plot", "was", "is", "not", "she", "he")
MARKS = 10


def resident_mb() -> float:
    """Memory of this process as the system counts it, in MB."""
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def model_in(folder: Path) -> Path:
    """A BERT of one small random layer that knows the words."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    pieces = [chr(c) for c in range(97, 123)]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *pieces[1:], *(f"##{c}" for c in pieces)]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocab)), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(set(vocab)), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, initializer_range=0.6, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return folder


def measure(examples: int, budget: int) -> dict[str, Any]:
    """Attack ``examples`` different short texts with DeepWordBug; memory at ten marks on the way."""
    import torch

    from audit.store import Store
    from fine_tune.checkpoint import Checkpoint
    from fine_tune.data import AuditData, Roles
    from probes.probe import Context
    from probes.registry import create
    from probes.subject import CheckpointSubject

    torch.set_num_threads(1)
    marks: list[tuple[int, float]] = []

    def watched(items: Iterable[Any], total: int, label: object) -> Iterator[Any]:
        every = max(1, total // MARKS)
        for i, item in enumerate(items, start=1):
            yield item
            if (str(label).startswith("attack") or total == examples) and i % every == 0:
                marks.append((i, round(resident_mb(), 1)))

    rng = np.random.default_rng(7)
    texts = [f"{' '.join(rng.choice(WORDS, rng.integers(3, 9)))} {i:x}" for i in range(examples)]
    labels = [("no", "yes")[i % 2] for i in range(examples)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        columns = {"text": texts, "label": labels}
        data = AuditData.from_columns(columns, Roles(input="text", label="label"), name="invented")
        subject = CheckpointSubject(Checkpoint.open(model_in(folder)), data)
        ctx = Context(instance="attack", seed=7, journal=Store(folder / "cache").journal("0" * 32), progress=watched)
        probe = create("robustness.attack", {"recipe": "deepwordbug", "examples": None, "query_budget": budget})
        start = time.perf_counter()
        rows = probe.collect(subject, ctx)
        seconds = time.perf_counter() - start
        journal = sum(p.stat().st_size for p in (folder / "cache" / "journals").glob("*.jsonl"))
    attacked = marks[-MARKS:]
    return {
        "examples": len(rows),
        "queries": int(np.sum(rows.column("queries").to_numpy())),
        "seconds": round(seconds, 1),
        "mb_at": dict(attacked),
        "growth_mb": round(attacked[-1][1] - attacked[0][1], 1),
        "journal_mb": round(journal / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 examples; the figures mean nothing")
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--budget", type=int, default=12, help="queries an example may cost")
    chosen = parser.parse_args()
    found = measure(200 if chosen.quick else chosen.examples, chosen.budget)
    print(f"{'examples':>10} {'MB':>8}")
    for done, mb in found["mb_at"].items():
        print(f"{done:>10,} {mb:>8.1f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
