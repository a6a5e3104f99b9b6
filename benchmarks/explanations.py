"""CPU time and faithfulness of our explanations against what a user would write or install otherwise, on the same texts, one side
after the other: Captum's layer integrated gradients with 50 steps, one text at a time, padded to 128 tokens as tutorials do and
also without padding; transformers-interpret; and shap's partition explainer. All are judged alike, outside the clock: tokens
are summed to words, and comprehensiveness and sufficiency (DeYoung et al. 2020) are taken on the class that the model predicts,
with the mask token for what is taken away. It says nothing about which map people prefer.

The model is sentence-transformers/all-MiniLM-L6-v2, fine-tuned for a few steps on TweetEval's hate texts where PLUMBLINE_DATA is
set, else on invented sentences; the texts are others of the same kind. Loading and training are not timed. The last two sides are
for this benchmark only and may be missing, which the table says:

    pip install --target EXTRA --no-deps transformers-interpret shap slicer numba llvmlite cloudpickle
    PYTHONPATH=EXTRA python benchmarks/explanations.py

Our sides and the figures are those of `probes.engines.captum`. shap's own evaluations are left at its default of 500.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Map = Callable[[Sequence[int]], list[Float]]

BASE = "sentence-transformers/all-MiniLM-L6-v2"
CLASSES = ("neutral", "hateful")
PADDED = 128
STEPS = 50
OURS = ("integrated_gradients", "relevance")


@dataclass(frozen=True, kw_only=True)
class Material:
    """Texts to explain, the model in memory, and our explainer of it; ``targets`` are the predicted classes."""

    texts: list[str]
    source: str
    model: Any
    tokenizer: Any
    explainer: Any
    encoded: list[Any]
    targets: list[int]


def sentences() -> tuple[list[str], list[str], list[str], str]:
    """Texts and labels to train on, texts to explain, and where they come from."""
    root = os.environ.get("PLUMBLINE_DATA")
    folder = Path(root) / "tweeteval_hate" if root else None
    if folder is not None and (folder / "train_text.txt").is_file():
        texts, marks = (
            (folder / f"train_{part}.txt").read_text(encoding="utf-8").split("\n") for part in ("text", "labels")
        )
        rows = [(t, CLASSES[int(m)]) for t, m in zip(texts, marks, strict=False) if t.strip() and m.strip()]
        held = [t for t in (folder / "val_text.txt").read_text(encoding="utf-8").split("\n") if t.strip()]
        return [t for t, _ in rows], [m for _, m in rows], list(dict.fromkeys(held)), "TweetEval hate"
    rng = np.random.default_rng(0)
    people = ["my neighbours", "those drivers", "the new players", "her cousins", "some tourists", "our teachers"]
    acts = [
        "came to the market",
        "sang all evening",
        "parked in our street",
        "asked for directions",
        "won the last match",
    ]
    mild = [
        "and it was lovely",
        "which nobody minded",
        "so we said hello",
        "and then it rained",
        "as they do every year",
    ]
    harsh = ["and I despise them", "such vermin", "get rid of them all", "they disgust me", "they should be banned"]

    def invent() -> tuple[str, str]:
        bad = bool(rng.random() < 0.5)
        parts = [
            rng.choice(people),
            rng.choice(acts),
            rng.choice(harsh if bad else mild),
            "in",
            str(rng.integers(1990, 2026)),
        ]
        if rng.random() < 0.6:
            parts += ["and", rng.choice(people), rng.choice(acts), rng.choice(mild)]
        return " ".join(map(str, parts)), CLASSES[int(bad)]

    made = list(dict.fromkeys(invent() for _ in range(3000)))
    train, held = made[:2000], made[2000:]
    return [t for t, _ in train], [m for _, m in train], [t for t, _ in held], "invented sentences"


def prepare(count: int, steps: int, folder: Path) -> Material:
    """Train, load and draw the texts."""
    from fine_tune.data import AuditData, Roles
    from fine_tune.recipe import Recipe
    from fine_tune.train import fine_tune
    from probes.engines.captum.explainer import open_explainer
    from probes.probe import Context
    from probes.subject import CheckpointSubject

    texts, labels, held, source = sentences()
    data = AuditData.from_columns({"text": texts, "label": labels}, Roles(input="text", label="label"), name=source)
    recipe = Recipe(
        base=BASE, task="text-classification", method="full", seed=7, steps=steps, batch_size=16, learning_rate=5e-5,
        max_length=96, validation_share=0,
    )  # fmt: skip
    checkpoint = fine_tune(recipe, data, out=folder, progress=False)
    chosen = [held[i] for i in np.random.default_rng(1).permutation(len(held))[:count]]
    subject = CheckpointSubject(checkpoint, AuditData.from_columns({"text": chosen}, Roles(input="text")))
    context = Context(instance="benchmark")
    explainer = open_explainer(subject, context)
    reader = subject.reader("cpu")
    return Material(
        texts=chosen,
        source=source,
        model=reader.model,
        tokenizer=reader.processor,
        explainer=explainer,
        encoded=explainer.encode(chosen),
        targets=subject.predict(chosen, context).argmax(axis=1).tolist(),
    )


def by_words(one: Any, spans: Sequence[tuple[int, int]], values: Sequence[float]) -> Float:
    """Sums of token values by word; a token belongs to the word in which it starts, and separators to none."""
    sums = np.zeros(len(one.units))
    for (start, end), value in zip(spans, values, strict=True):
        for unit, (low, high) in enumerate(one.spans):
            if end > start and low <= start < high:
                sums[unit] += value
    return sums


def our_side(material: Material, method: str) -> Map:
    """A method of ours, all texts of a turn together; nothing is remembered between turns."""
    from probes.probe import Context

    def explain(chosen: Sequence[int]) -> list[Float]:
        found = material.explainer.attribute(
            [material.encoded[i] for i in chosen],
            [material.targets[i] for i in chosen],
            method,
            Context(instance="benchmark"),
        )
        return [one.weights for one in found]

    return explain


def tutorial_side(material: Material, padded: int | None) -> Map:
    """Captum as tutorials use it: one text at a time, reference ids of padding tokens, 50 steps."""
    import torch
    from captum.attr import LayerIntegratedGradients

    tokenizer, model = material.tokenizer, material.model

    def forward(ids: Any, mask: Any) -> Any:
        return model(input_ids=ids, attention_mask=mask).logits

    captum = LayerIntegratedGradients(forward, model.base_model.embeddings)
    more: dict[str, Any] = {"padding": "max_length", "max_length": padded, "truncation": True} if padded else {}

    def explain(chosen: Sequence[int]) -> list[Float]:
        maps = []
        for i in chosen:
            given = tokenizer(material.texts[i], return_tensors="pt", return_offsets_mapping=True, **more)
            ids, mask = given["input_ids"], given["attention_mask"]
            kept = torch.tensor(
                tokenizer.get_special_tokens_mask(ids[0].tolist(), already_has_special_tokens=True)
            ).bool()
            reference = torch.where(kept, ids, tokenizer.pad_token_id)
            values = captum.attribute(
                ids, baselines=reference, additional_forward_args=(mask,), target=material.targets[i], n_steps=STEPS
            )
            summed = values.sum(dim=-1)[0]
            spans = given["offset_mapping"][0].tolist()
            maps.append(by_words(material.encoded[i], spans, summed.tolist()))
        return maps

    return explain


def interpret_side(material: Material) -> Map:
    """transformers-interpret with its defaults, one text at a time."""
    from transformers_interpret import SequenceClassificationExplainer

    theirs = SequenceClassificationExplainer(material.model, material.tokenizer)

    def explain(chosen: Sequence[int]) -> list[Float]:
        maps = []
        for i in chosen:
            found = theirs(material.texts[i], index=material.targets[i])
            spans = material.tokenizer(material.texts[i], return_offsets_mapping=True)["offset_mapping"]
            maps.append(by_words(material.encoded[i], spans, [float(value) for _, value in found]))
        return maps

    return explain


def shap_side(material: Material) -> Map:
    """shap's explainer of a text-classification pipeline, one text at a time, as its text examples do."""
    import shap
    from transformers import pipeline

    pipe = pipeline("text-classification", model=material.model, tokenizer=material.tokenizer, top_k=None, device="cpu")
    theirs = shap.Explainer(pipe, silent=True)
    names = [str(name) for _, name in sorted(material.model.config.id2label.items())]

    def explain(chosen: Sequence[int]) -> list[Float]:
        maps = []
        for i in chosen:
            text, found = material.texts[i], theirs([material.texts[i]])
            column = list(found.output_names).index(names[material.targets[i]])
            spans, at = [], 0
            for piece in found.data[0]:
                bare = str(piece).strip()
                start = text.find(bare, at) if bare else at
                spans.append((start, start + len(bare)))
                at = max(at, start + len(bare))
            maps.append(by_words(material.encoded[i], spans, found.values[0][:, column].tolist()))
        return maps

    return explain


def judge(material: Material, maps: dict[str, list[Float]]) -> dict[str, tuple[Float, Float]]:
    """Comprehensiveness and sufficiency of each side's maps, one value a text."""
    from probes.explanation.erasure import ONLY, SHARES, WITHOUT, Erasures, rank

    erasures = []
    for i, one in enumerate(material.encoded):
        made = Erasures(units=len(one.units))
        for name, found in maps.items():
            order = rank(found[i], np.random.default_rng(i))
            for kind in (WITHOUT, ONLY):
                made.add(name, 0, order, kind, SHARES)
        erasures.append(made)
    scores = material.explainer.scores(material.encoded, [made.masks for made in erasures])
    drops: dict[tuple[str, str], list[float]] = {(name, kind): [] for name in maps for kind in (WITHOUT, ONLY)}
    for made, found, target in zip(erasures, scores, material.targets, strict=True):
        shares = found[:, target]
        for (name, kind), values in drops.items():
            mine = [shares[0] - shares[step.mask] for step in made.steps if (step.method, step.kind) == (name, kind)]
            values.append(float(np.mean(mine)))
    return {name: (np.array(drops[name, WITHOUT]), np.array(drops[name, ONLY])) for name in maps}


def sides_of(material: Material) -> tuple[dict[str, Map], dict[str, str]]:
    """Every side that can be built here, and why the others cannot."""
    makers: dict[str, Callable[[], Map]] = {
        **{f"ours, {name}": (lambda name=name: our_side(material, name)) for name in OURS},
        "captum 50, padded": lambda: tutorial_side(material, PADDED),
        "captum 50": lambda: tutorial_side(material, None),
        "transformers-interpret": lambda: interpret_side(material),
        "shap partition": lambda: shap_side(material),
    }
    sides: dict[str, Map] = {}
    missing: dict[str, str] = {}
    for name, make in makers.items():
        try:
            side = make()
            side([0])
        except Exception as error:
            if name.startswith(("ours", "captum")):
                raise
            missing[name] = f"{type(error).__name__}: {error}".split("\n")[0][:120]
        else:
            sides[name] = side
    return sides, missing


def run(count: int, rounds: int, steps: int) -> dict[str, Any]:
    """Every side in turn on each part of the texts; prints the table."""
    import torch
    from transformers.utils import logging

    from probes.intervals import mean_interval

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="plumbline-explanations-") as place:
        material = prepare(count, steps, Path(place) / "model")
        sides, missing = sides_of(material)
        spent = dict.fromkeys(sides, 0.0)
        maps: dict[str, list[Float]] = {name: [] for name in sides}
        for part in np.array_split(np.arange(count), rounds):
            for name, explain in sides.items():
                start = time.process_time()
                maps[name] += explain(part.tolist())
                spent[name] += time.process_time() - start
    rng = np.random.default_rng(2)
    maps["random"] = [rng.normal(size=len(one.units)) for one in material.encoded]
    judged = judge(material, maps)
    tokens = np.mean([len(material.tokenizer(text)["input_ids"]) for text in material.texts])
    print(f"{count} texts ({material.source}, {tokens:.0f} tokens on average), {BASE} after {steps} steps, one thread")
    print(f"{'':<28} {'CPU s a text':>12} {'comprehensiveness':>18} {'sufficiency':>12}")
    for name, (comprehensive, sufficient) in judged.items():
        cost = f"{spent[name] / count:.3f}" if name in spent else ""
        print(f"{name:<28} {cost:>12} {comprehensive.mean():>18.3f} {sufficient.mean():>12.3f}")
    for name, why in missing.items():
        print(f"{name:<28} not installed or not usable here ({why}); see the head of this file")
    figures: dict[str, Any] = {"benchmark": "explanations"}
    mine = f"ours, {OURS[0]}"
    others = {
        "captum50": "captum 50, padded", "captum50_unpadded": "captum 50",
        "transformers_interpret": "transformers-interpret", "shap": "shap partition",
    }  # fmt: skip
    for key, name in others.items():
        there = name in spent
        figures[f"cpu_ratio_vs_{key}"] = round(spent[name] / spent[mine], 2) if there else None
        figures[f"cpu_ratio_relevance_vs_{key}"] = round(spent[name] / spent[f"ours, {OURS[1]}"], 2) if there else None
    for key, name in {
        "": mine,
        "_relevance": f"ours, {OURS[1]}",
        **{f"_{k}": n for k, n in others.items()},
        "_random": "random",
    }.items():
        found = judged.get(name)
        for place_, measure in enumerate(("comprehensiveness", "sufficiency")):
            figures[f"{measure}{key}"] = None if found is None else round(float(found[place_].mean()), 4)
    for place_, measure in enumerate(("comprehensiveness", "sufficiency")):
        for key, name in others.items():
            if name in judged:
                gap = mean_interval(judged[mine][place_] - judged[name][place_], 0.95)
                if gap is not None:
                    figures[f"{measure}_less_{key}"] = [round(v, 4) for v in (gap.value, gap.low, gap.high)]
    figures |= {"cpu_seconds_a_text": round(spent[mine] / count, 4), "texts": count, "source": material.source}
    return figures | {"missing": sorted(missing)}


def main() -> None:
    """Run and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few texts and steps, in about a minute")
    parser.add_argument("--texts", type=int, help="how many texts to explain")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    count, rounds, steps = (4, 2, 20) if given.quick else (24, 3, 120)
    found = run(given.texts or count, rounds, steps)
    print(json.dumps({**found, "quick": given.quick}))


if __name__ == "__main__":
    main()
