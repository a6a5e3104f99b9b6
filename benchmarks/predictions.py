"""Rows a second of `probes.subject.CheckpointSubject` against `transformers.pipeline`, with its defaults and with
batch_size=32: the same model, texts, process and threads, taking turns, CPU time first. It says how fast answers come and
whether they agree, and nothing about how good they are: the head is fresh and random.

Texts are TweetEval's (hate, test part) where PLUMBLINE_DATA is set, else generated ones of like lengths. The encoder is
sentence-transformers/all-MiniLM-L6-v2, from wherever this machine has it. Our side journals every batch to disk, as an audit
does. Loading is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BASE = "sentence-transformers/all-MiniLM-L6-v2"
CLASSES = ("neutral", "hateful")
Logits = npt.NDArray[np.float64]


def texts_to_read(count: int) -> tuple[list[str], str]:
    """Different texts, and where they come from."""
    root = os.environ.get("PLUMBLINE_DATA")
    path = Path(root) / "tweeteval_hate" / "test_text.txt" if root else None
    if path is not None and path.is_file():
        lines = dict.fromkeys(path.read_text(encoding="utf-8").split("\n"))
        return [line for line in lines if line.strip()][:count], "TweetEval hate, test part"
    rng = np.random.default_rng(0)
    words = ["the", "a", "people", "they", "never", "always", "hate", "love", "this", "city", "stupid", "great", "why"]
    lengths = np.clip(rng.lognormal(3.0, 0.5, count), 3, 60).astype(int)
    return [f"{i} " + " ".join(rng.choice(words, n)) for i, n in enumerate(lengths.tolist())], "generated texts"


def save_model(folder: Path, *, tiny: bool) -> None:
    """The encoder with a fresh head for two classes in ``folder``; a random one of two thin layers if ``tiny``."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig

    from fine_tune.checkpoint import resolve_base

    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(CLASSES)), "label2id": {c: i for i, c in enumerate(CLASSES)}}
    if tiny:
        from transformers import BertForSequenceClassification, BertTokenizerFast

        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(97, 123))]
        pieces += ["##" + chr(c) for c in range(97, 123)]
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=128).save_pretrained(folder)
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = BertConfig(vocab_size=len(pieces), max_position_embeddings=128, **shape, **names)
        BertForSequenceClassification(config).save_pretrained(folder)
        return
    base = str(resolve_base(BASE))
    given: dict[str, Any] = {"num_labels": len(CLASSES), "local_files_only": True, **names}
    AutoModelForSequenceClassification.from_pretrained(base, **given).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(folder)


def our_side(folder: Path, texts: Sequence[str], journals: Path) -> Callable[[], Logits]:
    """Predicts all texts with a new journal at each call; log-probabilities, shape (texts, classes)."""
    from audit.store import FileJournal
    from fine_tune.checkpoint import Checkpoint
    from fine_tune.data import AuditData, Roles
    from probes.probe import Context
    from probes.subject import CheckpointSubject

    data = AuditData.from_columns({"text": list(texts)}, Roles(input="text"))
    subject = CheckpointSubject(Checkpoint.open(folder), data)
    subject.reader("cpu")
    calls = iter(range(1_000_000))

    def predict() -> Logits:
        context = Context(instance="benchmark", journal=FileJournal(journals / f"{next(calls)}.jsonl"))
        return np.log(subject.predict(texts, context))

    return predict


def their_side(folder: Path, texts: Sequence[str]) -> Callable[[int | None], Logits]:
    """Predicts all texts with a batch size, None for the default; logits, shape (texts, classes)."""
    from transformers import pipeline

    pipe = pipeline("text-classification", model=str(folder), device="cpu")

    def predict(batch_size: int | None) -> Logits:
        more = {} if batch_size is None else {"batch_size": batch_size}
        said = pipe(list(texts), top_k=None, function_to_apply="none", truncation=True, **more)
        by_name = [{one["label"]: one["score"] for one in row} for row in said]
        return np.array([[row[name] for name in CLASSES] for row in by_name], dtype=np.float64)

    return predict


def centred(logits: Logits) -> Logits:
    """Logits up to the constant that softmax forgets, so that they compare with log-probabilities."""
    return logits - logits.mean(axis=1, keepdims=True)


def run(count: int, rounds: int, *, tiny: bool) -> dict[str, Any]:
    """Every side in turn, ``rounds`` times after a first one that is not counted; prints the table."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    texts, source = texts_to_read(count)
    with tempfile.TemporaryDirectory(prefix="plumbline-predictions-") as place:
        folder, journals = Path(place) / "model", Path(place) / "journals"
        folder.mkdir()
        journals.mkdir()
        save_model(folder, tiny=tiny)
        ours, theirs = our_side(folder, texts, journals), their_side(folder, texts)
        sides: dict[str, Callable[[], Logits]] = {
            "CheckpointSubject": ours,
            "pipeline, defaults": lambda: theirs(None),
            "pipeline, batch_size=32": lambda: theirs(32),
        }
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        said: dict[str, Logits] = {}
        for turn in range(rounds + 1):
            for name, predict in sides.items():
                cpu, wall = time.process_time(), time.perf_counter()
                said[name] = centred(predict())
                if turn:
                    spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    print(f"{len(texts):,} texts ({source}), {'a tiny model' if tiny else BASE}, one thread, {rounds} rounds")
    print(f"{'':<26} {'rows a CPU second':>18} {'rows a second':>14}")
    speed: dict[str, tuple[float, float]] = {}
    for name, times in spent.items():
        cpu, wall = (float(t) for t in np.median(np.array(times), axis=0))
        speed[name] = len(texts) / cpu, len(texts) / wall
        print(f"{name:<26} {speed[name][0]:>18,.0f} {speed[name][1]:>14,.0f}")
    mine, default, batched = said.values()
    apart = max(float(np.abs(mine - other).max()) for other in (default, batched))
    print(f"largest difference between centred logits: {apart:.2e}; they spread by {float(mine.std()):.2e}")
    first, second, third = speed.values()
    return {
        "benchmark": "predictions",
        "ratio_vs_pipeline_default": round(first[0] / second[0], 3),
        "ratio_vs_pipeline_batched": round(first[0] / third[0], 3),
        "max_logit_difference": apart,
        "logit_spread": float(mine.std()),
        "wall_ratio_vs_pipeline_default": round(first[1] / second[1], 3),
        "wall_ratio_vs_pipeline_batched": round(first[1] / third[1], 3),
        "rows": len(texts),
        "texts": source,
        "quick": tiny,
    }


def main() -> None:
    """Run and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny random model and few texts, in seconds")
    parser.add_argument("--texts", type=int, help="how many texts to read")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    found = run(given.texts or (200 if given.quick else 1000), 1 if given.quick else 3, tiny=given.quick)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
