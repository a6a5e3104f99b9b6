"""CPU time a query of `probes.engines.textattack` against TextAttack as it comes (every query padded to the model's 512
tokens) and with padding to the longest text of a call: the same model, recipe, seeds, texts, process and threads, taking
turns. Every example's result is compared: result class, text, queries and predicted label.

Texts are TweetEval's (hate, test part) where PLUMBLINE_DATA is set, else invented ones. The model is
sentence-transformers/all-MiniLM-L6-v2, from wherever this machine has it, with a head for two classes fitted by logistic
regression on a few hundred such texts; every text is attacked with the label that the model gives it, so that none is
skipped. Our side does all that an audit does: it journals each outcome and asks again for its scores. Loading is not timed.

    python benchmarks/robustness.py [--quick] [--texts 40] [--recipe deepwordbug] [--set popsize=4 ...] [--more]

``--more`` runs four more recipes on ten texts each, for identity alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

BASE = "sentence-transformers/all-MiniLM-L6-v2"
CLASSES = ("neutral", "hateful")
SIDES = ("plain", "dynamic", "pooled")
TURN = 20
FITTED_ON = 400
MORE: tuple[tuple[str, dict[str, str | int | float], int | None], ...] = (
    ("pruthi", {}, None),
    ("inputreduction", {}, None),
    ("textbugger-characters", {}, None),
    ("badcharacters", {"popsize": 2, "maxiter": 2}, None),
)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts to attack, others with labels to fit a head on, and where they come from."""

    attacked: list[str]
    fitted: list[str]
    labels: list[int]
    source: str


def texts_to_attack(count: int) -> Texts:
    """``count`` different texts, and those that the head is fitted on."""
    root = os.environ.get("PLUMBLINE_DATA")
    folder = Path(root) / "tweeteval_hate" if root else None
    if folder is not None and (folder / "test_text.txt").is_file():

        def lines(name: str) -> list[str]:
            return (folder / name).read_text(encoding="utf-8").split("\n")

        attacked = [text for text in dict.fromkeys(lines("test_text.txt")) if text.strip()][:count]
        pairs = [
            (text, int(label))
            for text, label in zip(lines("train_text.txt"), lines("train_labels.txt"), strict=True)
            if label
        ]
        pairs = pairs[:FITTED_ON]
        return Texts(
            attacked=attacked,
            fitted=[t for t, _ in pairs],
            labels=[n for _, n in pairs],
            source="TweetEval hate, test part",
        )
    rng = np.random.default_rng(0)
    said = {
        0: [
            "I enjoy meeting",
            "everyone should welcome",
            "we had dinner with",
            "my family works with",
            "it is good to help",
        ],
        1: ["I hate and despise", "nobody should tolerate", "we must get rid of", "I am disgusted by", "send away all"],
    }
    who = [
        "my new neighbours",
        "those people",
        "the visitors",
        "every student here",
        "these foreigners",
        "old colleagues",
    ]
    why = ["because they talk all day", "and that will never change", "no matter what the papers say", "since last summer",
           "although the weather was bad", "as I told you many times before"]  # fmt: skip

    def one(label: int) -> str:
        return " ".join(str(rng.choice(part)) for part in (said[label], who, why, why)) + "."

    attacked = list(dict.fromkeys(one(i % 2) for i in range(20 * count)))[:count]
    labels = [i % 2 for i in range(FITTED_ON)]
    return Texts(attacked=attacked, fitted=[one(n) for n in labels], labels=labels, source="invented texts")


def save_model(folder: Path, texts: Texts) -> None:
    """The encoder in ``folder``, with a head fitted by logistic regression on what it makes of ``texts.fitted``."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from fine_tune.checkpoint import resolve_base

    base = str(resolve_base(BASE))
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(CLASSES)), "label2id": {c: i for i, c in enumerate(CLASSES)}}
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=2, local_files_only=True, **names
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    pooled = []
    with torch.inference_mode():
        for start in range(0, len(texts.fitted), 32):
            batch = tokenizer(
                texts.fitted[start : start + 32], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            pooled.append(model.base_model(**batch).pooler_output.numpy())
    fitted = LogisticRegression(C=10.0, max_iter=1000).fit(np.concatenate(pooled), texts.labels)
    with torch.no_grad():
        half = torch.tensor(fitted.coef_[0] / 2, dtype=torch.float32)
        offset = float(fitted.intercept_[0]) / 2
        model.classifier.weight.copy_(torch.stack([-half, half]))
        model.classifier.bias.copy_(torch.tensor([-offset, offset]))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


Compared = tuple[Any, ...]


@dataclass
class Side:
    """One way of attacking, with what it has cost so far. ``attack`` takes examples and gives what is compared."""

    attack: Callable[[Sequence[Any]], list[Compared]]
    cpu: float = 0.0
    wall: float = 0.0
    queries: int = 0
    found: dict[str, Compared] = field(default_factory=dict)

    def turn(self, examples: Sequence[Any]) -> None:
        """Attack, and add the time."""
        cpu, wall = time.process_time(), time.perf_counter()
        found = self.attack(examples)
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall
        self.queries += sum(one[2] for one in found)
        self.found |= {example.row_id: one for example, one in zip(examples, found, strict=True)}


class Ring:
    """The three sides over one model and recipe."""

    def __init__(
        self, folder: Path, recipe: str, arguments: Mapping[str, str | int | float], budget: int | None
    ) -> None:
        from fine_tune.checkpoint import Checkpoint
        from fine_tune.data import AuditData, Roles
        from probes.engines.textattack.attacks import Campaign
        from probes.subject import CheckpointSubject

        data = AuditData.from_columns({"text": ["any"]}, Roles(input="text"))
        self.subject = CheckpointSubject(Checkpoint.open(folder), data)
        self.campaign = Campaign(recipe=recipe, arguments=arguments, query_budget=budget, network=False)
        self._reader = self.subject.reader("cpu")

    def examples(self, texts: Sequence[str]) -> list[Any]:
        """Each text with the label that the model gives it."""
        from probes.engines.textattack.attacks import Example
        from probes.probe import Context

        given = self.subject.predict(texts, Context(instance="labels")).argmax(axis=1)
        return [
            Example(row_id=str(i), text=t, label=CLASSES[n]) for i, (t, n) in enumerate(zip(texts, given, strict=True))
        ]

    def ours(self, journals: Path) -> Side:
        """The engine, with a new journal on disk at each call."""
        from audit.store import FileJournal
        from probes.engines.textattack.attacks import attack_examples
        from probes.probe import Context

        calls = itertools.count()

        def attack(examples: Sequence[Any]) -> list[Compared]:
            journal = FileJournal(journals / f"{self.campaign.recipe}-{next(calls)}.jsonl")
            ctx = Context(instance="benchmark", journal=journal)
            # Plain TextAttack does not ask for the scores of what it found either.
            outcomes = attack_examples(self.subject, examples, self.campaign, ctx, scored=False)
            return [(o.status, o.perturbed, o.queries, o.prediction, o.prediction_after) for o in outcomes]

        return Side(attack)

    def theirs(self, *, padded: bool) -> Side:
        """TextAttack alone, one attack after the other; ``padded`` as it comes, else to the longest text of a call."""
        from textattack.models.wrappers import HuggingFaceModelWrapper

        from probes.engines.textattack.attacks import seed_of
        from probes.engines.textattack.generators import Generators
        from probes.engines.textattack.recipes import build
        from probes.probe import Context

        class Tight(HuggingFaceModelWrapper):
            def __call__(self, text_input_list: list[str]) -> Any:
                import torch

                batch = self.tokenizer(text_input_list, padding=True, truncation=True, return_tensors="pt")
                with torch.no_grad():
                    return self.model(**batch).logits

        kind = HuggingFaceModelWrapper if padded else Tight
        attack = build(
            self.campaign.recipe, kind(self._reader.model, self._reader.processor), arguments=self.campaign.arguments,
            network=False, query_budget=self.campaign.query_budget,
        )  # fmt: skip
        ctx = Context(instance="benchmark")

        def run(examples: Sequence[Any]) -> list[Compared]:
            found = []
            for example in examples:
                Generators().seed(seed_of(example, ctx))
                try:
                    result = attack.attack(example.text, CLASSES.index(example.label))
                except Exception as error:
                    found.append(("error", None, 0, type(error).__name__, None))
                    continue
                found.append(as_compared(result))
            return found

        return Side(run)


def as_compared(result: Any) -> Compared:
    """Result class, text, queries and labels of TextAttack's result, named as ours."""
    kind = type(result).__name__.removesuffix("AttackResult")
    before, after = result.original_result, result.perturbed_result
    text = after.attacked_text.text
    if kind == "Skipped":
        return ("skipped", None, result.num_queries, CLASSES[before.output], None)
    kind = {"Successful": "succeeded", "Failed": "failed"}.get(kind) or (
        "failed" if text == before.attacked_text.text else "succeeded"
    )
    return (kind, text, result.num_queries, CLASSES[before.output], CLASSES[after.output])


def side_by_side(ring: Ring, texts: Sequence[str], journals: Path) -> dict[str, Any]:
    """All three sides in turn over the texts; prints the table."""
    sides = {
        "TextAttack, padded to 512": ring.theirs(padded=True),
        "TextAttack, padded to longest": ring.theirs(padded=False),
        "engine": ring.ours(journals),
    }
    examples = ring.examples(texts)
    for side in sides.values():
        side.attack([ring.examples(["a word to begin with"])[0]])
    plain, tight, ours = sides.values()
    for start in range(0, len(examples), TURN):
        # The quick sides have two turns around the slow one, so that what else the machine does falls on all alike.
        for side in (tight, ours, plain, ours, tight):
            side.turn(examples[start : start + TURN])
    print(f"{ring.campaign.recipe}: {len(texts)} texts, {plain.queries:,} queries")
    print(f"{'':<32} {'CPU ms a query':>15} {'queries a second':>17}")
    for name, side in sides.items():
        print(f"{name:<32} {side.cpu / side.queries * 1e3:>15.2f} {side.queries / side.wall:>17.1f}")
    same = sum(plain.found[e.row_id] == ours.found[e.row_id] for e in examples)
    print(f"identical to TextAttack alone: {same} of {len(texts)}")
    cpu = {k: s.cpu / s.queries for k, s in zip(SIDES, sides.values(), strict=True)}
    wall = {k: s.wall / s.queries for k, s in zip(SIDES, sides.values(), strict=True)}
    return {
        "n": len(texts),
        "identical": same,
        "identical_dynamic": sum(tight.found[e.row_id] == ours.found[e.row_id] for e in examples),
        "succeeded": sum(one[0] == "succeeded" for one in ours.found.values()),
        "queries": plain.queries,
        "cpu_ratio_vs_plain": round(cpu["plain"] / cpu["pooled"], 2),
        "cpu_ratio_vs_dynamic": round(cpu["dynamic"] / cpu["pooled"], 2),
        "wall_ratio_vs_plain": round(wall["plain"] / wall["pooled"], 2),
        "wall_ratio_vs_dynamic": round(wall["dynamic"] / wall["pooled"], 2),
        "cpu_ms_a_query": {k: round(v * 1e3, 2) for k, v in cpu.items()},
        "queries_a_second": {k: round(1 / v, 1) for k, v in wall.items()},
    }


def identity(ring: Ring, texts: Sequence[str], journals: Path) -> dict[str, Any]:
    """Plain TextAttack and the engine on the same texts, compared and not timed."""
    examples = ring.examples(texts)
    plain, ours = ring.theirs(padded=True).attack(examples), ring.ours(journals).attack(examples)
    same = sum(a == b for a, b in zip(plain, ours, strict=True))
    queries = sum(one[2] for one in ours)
    print(f"{ring.campaign.recipe}: {same} of {len(texts)} identical, {queries:,} queries", flush=True)
    return {"n": len(texts), "identical": same, "queries": queries}


def main() -> None:
    """Run and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four texts and a budget of 40 queries each")
    parser.add_argument("--texts", type=int, help="how many texts to attack")
    parser.add_argument("--recipe", default="deepwordbug", help="the recipe to time")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="arguments of the recipe")
    parser.add_argument("--more", action="store_true", help="four more recipes on ten texts each, for identity alone")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch
    from transformers.utils import logging

    from probes.engines.textattack.loading import load

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    load()
    torch.set_num_threads(1)
    count = given.texts or (4 if given.quick else 40)
    arguments = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in given.set)}
    texts = texts_to_attack(max(count, 10))
    with tempfile.TemporaryDirectory(prefix="plumbline-robustness-") as place:
        folder, journals = Path(place) / "model", Path(place) / "journals"
        folder.mkdir()
        journals.mkdir()
        save_model(folder, texts)
        print(f"{BASE} with a fitted head, one thread; {texts.source}", flush=True)
        timed = Ring(folder, given.recipe, arguments, 40 if given.quick else None)
        found = side_by_side(timed, texts.attacked[:count], journals)
        more = {}
        if given.more:
            for recipe, settings, budget in MORE:
                more[recipe] = identity(Ring(folder, recipe, settings, budget), texts.attacked[:10], journals)
    print(
        json.dumps(
            {
                "benchmark": "robustness",
                "recipe": given.recipe,
                **found,
                "more": more,
                "texts": texts.source,
                "quick": given.quick,
            }
        )
    )


if __name__ == "__main__":
    main()
