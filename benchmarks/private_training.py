"""A step of private training against one without privacy: CPU time and peak memory of the three ways to clip gradients, full
fine-tuning of sentence-transformers/all-MiniLM-L6-v2 with a fresh head, steps of 32 and of 128 rows. It says what privacy costs in
time and memory, and nothing about what it costs in accuracy.

Every way takes its turn in one process, with the same rows, weights, dropout masks and one thread; the ratio is the median over
rounds of a step's CPU time over that of the same round's step without privacy. A private step has everything that a step of
`fine_tune` has: forward pass, clipped sums, noise on every weight, AdamW. Rows are computed at most 32 at once by every way, as
`physical_batch` has it; a step of 128 rows is four such pieces. Hooks take about ten times as long, so they take part in every
second round of 32 rows, and in a round of 128 they compute one of its four pieces, another one each round, whose time counts four
times, while noise and AdamW count once: what they spend goes into one gradient a row of every weight, whatever the length.

Memory is the peak of a whole process (`resource.getrusage`, ru_maxrss; on a GPU torch's own count), a fresh one for each way, after
two steps of 32 rows; what the process held before its first step is printed beside it. Texts are TweetEval's (hate, training part)
where PLUMBLINE_DATA is set, else generated ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

BASE = "sentence-transformers/all-MiniLM-L6-v2"
OPEN, WAYS = "non-private", ("bookkeeping", "ghost", "hooks")
# Takes part in every second round, and of several pieces of a step it computes one.
SLOW, EVERY = "hooks", 2
AT_ONCE, LONGEST = 32, 128
BOUND, SIGMA = 1.0, 1.0


def texts_to_learn(count: int) -> tuple[list[str], str]:
    """Texts, and where they come from."""
    root = os.environ.get("PLUMBLINE_DATA")
    path = Path(root) / "tweeteval_hate" / "train_text.txt" if root else None
    if path is not None and path.is_file():
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        return lines[:count], "TweetEval hate, training part"
    rng = np.random.default_rng(0)
    words = ["the", "a", "people", "they", "never", "always", "hate", "love", "this", "city", "stupid", "great", "why"]
    lengths = np.clip(rng.lognormal(3.0, 0.5, count), 3, 60).astype(int)
    return [" ".join(rng.choice(words, n)) for n in lengths.tolist()], "generated texts"


class Bench:
    """One model, one optimizer, and steps of either kind."""

    def __init__(self, device: str) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

        from fine_tune.checkpoint import resolve_base

        logging.set_verbosity_error()
        torch.set_num_threads(1)
        torch.manual_seed(0)
        base = resolve_base(BASE)
        self.device = device
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2).to(device)
        self._model.train()
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-5)

    def pieces(self, texts: list[str]) -> list[dict[str, Any]]:
        """The rows of one step by length, at most `AT_ONCE` at a time, each piece padded to its own longest row."""
        import torch

        order = sorted(texts, key=len)
        out = []
        for start in range(0, len(order), AT_ONCE):
            made = self._tokenizer(
                order[start : start + AT_ONCE], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
            )
            out.append({n: v.to(self.device) for n, v in made.items()})
            out[-1]["labels"] = torch.arange(len(out[-1]["input_ids"]), device=self.device) % 2
        return out

    def _losses(self, piece: dict[str, Any]) -> Any:
        from torch.nn import functional as F  # noqa: N812

        logits = self._model(input_ids=piece["input_ids"], attention_mask=piece["attention_mask"]).logits
        return F.cross_entropy(logits.float(), piece["labels"], reduction="none")

    def step(self, way: str, pieces: list[dict[str, Any]], seed: int) -> tuple[list[float], float]:
        """Seconds of each piece of one step, and of its end: noise and AdamW. They are CPU time, or elapsed time on a GPU.
        Opening and closing a clipper is not timed."""
        import torch

        from fine_tune.privacy.clipping import make_clipper

        torch.manual_seed(seed)
        rows = sum(len(p["labels"]) for p in pieces)
        clipper = None if way == OPEN else make_clipper(self._model, BOUND, way)  # type: ignore[arg-type]
        marks = [self._now()]
        for piece in pieces:
            if clipper is None:
                (self._losses(piece).sum() / rows).backward()
            else:
                clipper.backward(self._losses(piece))
            marks.append(self._now())
        if clipper is not None:
            for name, total in clipper.take().items():
                noise = torch.normal(0.0, SIGMA * BOUND, total.shape, device=self.device)
                clipper.parameters[name].grad = total.add_(noise).div_(rows)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        end = self._now() - marks[-1]
        if clipper is not None:
            clipper.close()
        return [after - before for before, after in itertools.pairwise(marks)], end

    def sums(self, way: str, piece: dict[str, Any]) -> dict[str, Any]:
        """Clipped sums of one piece, with the same dropout masks whatever the way."""
        import torch

        from fine_tune.privacy.clipping import make_clipper

        torch.manual_seed(0)
        clipper = make_clipper(self._model, BOUND, way)  # type: ignore[arg-type]
        try:
            clipper.backward(self._losses(piece))
            return clipper.take()
        finally:
            clipper.close()

    def _now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()


def memory_here(way: str, device: str, rows: int) -> dict[str, float]:
    """Megabytes that this process held before and at most during two steps."""
    bench = Bench(device)
    texts, _ = texts_to_learn(2 * rows)
    pieces = [bench.pieces(texts[i * rows : (i + 1) * rows]) for i in range(2)]
    before = _peak(device)
    for seed, one in enumerate(pieces):
        bench.step(way, one, seed)
    return {"before": before, "peak": _peak(device)}


def _peak(device: str) -> float:
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def memory_apart(way: str, device: str, rows: int) -> dict[str, float]:
    """The same in a process of its own. Must run before this process grows: a child starts with its parent's peak."""
    command = [sys.executable, __file__, "--memory", way, "--device", device, "--rows", str(rows)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def rounds_of(bench: Bench, texts: list[str], size: int, count: int) -> Iterator[dict[str, float]]:
    """Seconds of a step by way, once a round; each round has other rows and begins with another way."""
    ways = [OPEN, *WAYS]
    for number in range(count):
        at = number * size % max(1, len(texts) - size + 1)
        pieces = bench.pieces(texts[at : at + size])
        one = number % len(pieces)
        taken: dict[str, tuple[list[float], float]] = {}
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            if way != SLOW:
                taken[way] = bench.step(way, pieces, number)
            elif len(pieces) > 1 or number % EVERY == 0:
                taken[way] = bench.step(way, pieces[one : one + 1], number)
        found = {way: sum(parts) + end for way, (parts, end) in taken.items()}
        if SLOW in taken:
            (part,), end = taken[SLOW]
            found[SLOW] = len(pieces) * part + end
        print(f"B={size}, round {number + 1}: " + ", ".join(f"{w} {s:.2f} s" for w, s in found.items()), flush=True)
        yield found


def largest_difference(bench: Bench, texts: list[str]) -> float:
    """How far Opacus' sums are from book-keeping's at most, over the largest entry."""
    piece = bench.pieces(texts[:AT_ONCE])[0]
    ours = bench.sums("bookkeeping", piece)
    scale = max(float(t.abs().max()) for t in ours.values())
    worst = 0.0
    for way in ("ghost", "hooks"):
        theirs = bench.sums(way, piece)
        worst = max(worst, *(float((ours[n] - theirs[n]).abs().max()) for n in ours))
    return worst / scale


def run(*, quick: bool, device: str) -> dict[str, Any]:
    """Measures, prints the table and gives the figures."""
    sizes = {8: 2, 16: 1} if quick else {32: 5, 128: 4}
    memory = {way: memory_apart(way, device, min(AT_ONCE, *sizes)) for way in (OPEN, *WAYS)}
    texts, source = texts_to_learn(3 * max(sizes))
    bench = Bench(device)
    difference = largest_difference(bench, texts)
    for way in (OPEN, *WAYS):
        bench.step(way, bench.pieces(texts[: min(sizes)]), 0)
    ratios: dict[str, dict[str, float]] = {}
    seconds: dict[str, dict[str, float]] = {}
    for size, count in sizes.items():
        found = list(rounds_of(bench, texts, size, count))
        ratios[str(size)], seconds[str(size)] = {}, {}
        for way in (OPEN, *WAYS):
            there = [f for f in found if way in f]
            ratios[str(size)][way] = round(statistics.median(f[way] / f[OPEN] for f in there), 3)
            seconds[str(size)][way] = round(statistics.median(f[way] for f in there), 3)
    print(f"full fine-tuning of {BASE}, {source}, {'CPU time' if device == 'cpu' else 'elapsed time'}, one thread")
    print(
        f"{'':<14}"
        + "".join(f"{f'B={s}, s':>12}{'ratio':>8}" for s in ratios)
        + f"{'peak, MB':>12}{'ratio':>8}{'before':>10}"
    )
    for way in (OPEN, *WAYS):
        line = "".join(f"{seconds[s][way]:>12.2f}{ratios[s][way]:>8.2f}" for s in ratios)
        peak = memory[way]["peak"]
        print(f"{way:<14}{line}{peak:>12.0f}{peak / memory[OPEN]['peak']:>8.2f}{memory[way]['before']:>10.0f}")
    print(f"clipped sums of Opacus and of book-keeping differ by at most {difference:.1e} of the largest entry")
    return {
        "step_time_ratio": {way: max(r[way] for r in ratios.values()) for way in (OPEN, *WAYS)},
        "memory_ratio": {way: round(m["peak"] / memory[OPEN]["peak"], 3) for way, m in memory.items()},
        "step_time_ratio_by_batch": ratios,
        "step_seconds_by_batch": seconds,
        "peak_mb": {way: round(m["peak"]) for way, m in memory.items()},
        "before_mb": {way: round(m["before"]) for way, m in memory.items()},
        "largest_difference": difference,
        "device": device,
        "quick": quick,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="steps of 8 and 16 rows, fewer rounds")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU that torch can use")
    parser.add_argument("--memory", choices=(OPEN, *WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=AT_ONCE, help=argparse.SUPPRESS)
    given = parser.parse_args()
    figures = (
        memory_here(given.memory, given.device, given.rows)
        if given.memory
        else run(quick=given.quick, device=given.device)
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
