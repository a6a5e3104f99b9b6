"""Attacks examples with a recipe, many at once, and keeps what came of each as soon as it is known. For every example the
outcome is that of TextAttack's ``Attack.attack`` alone with the same seed; only the way in which the model is called differs.
It draws no sample and counts no rates.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fine_tune.data import check_labels
from probes.engines.textattack import loading
from probes.engines.textattack.fibers import Pool, Raised
from probes.engines.textattack.generators import Generators
from probes.engines.textattack.lanes import Lane, Result, bound_caches, split_marker_apart, words_split_once
from probes.engines.textattack.outcomes import Example, Outcome, in_one_line, outcome_of
from probes.engines.textattack.recipes import build
from probes.engines.textattack.victim import Encoded, Seen, Victim
from probes.engines.textattack.wrapper import wrapper_of
from probes.errors import EndpointError
from probes.probe import Context, silent

if TYPE_CHECKING:
    from probes.subject import Subject

__all__ = ["Campaign", "Example", "Outcome", "Tally", "attack_examples", "seed_of"]

VERSION = "attack/1"


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """How to attack.

    Attributes:
        recipe: its name; see `probes.engines.textattack.recipes.cards`.
        arguments: the recipe's own.
        query_budget: queries an example at most; None for no limit.
        network: whether the recipe may download what it needs.
        pool: examples under way at once, at least 1.
    """

    recipe: str
    arguments: Mapping[str, str | int | float]
    query_budget: int | None
    network: bool
    pool: int = 32


def attack_examples(
    subject: Subject, examples: Sequence[Example], campaign: Campaign, ctx: Context, *, scored: bool = True
) -> list[Outcome]:
    """Attack every example; outcomes in the order of ``examples``.

    An example's seed derives from its text, the plan's seed and the instance, so its outcome depends neither on the others
    nor on their order, nor on whether the run was resumed. Examples with the same text and label are attacked once. Each
    outcome is journalled when it is known. What goes wrong on one example is its outcome, and the others go on.

    The model's figures differ by about 1e-7 with the company in which a text was asked about, so that a tie between
    candidates could break otherwise in another pool; none did in the tests. Across devices nothing is promised.

    Args:
        scored: ask for the true labels' scores of both texts at the end, two more questions an example; without, they are None.

    Raises:
        Unavailable: the recipe cannot run here; the reason says why.
        ProbeError: no such recipe, or an argument or the budget is wrong.
        DataError: the subject reads no texts, or a label is none of its classes.
        CheckpointError, EndpointError: the model cannot be loaded, or the endpoint does not answer.
    """
    check_labels((e.label for e in examples), subject.classes, "the examples")
    space = _space(subject, campaign, ctx)
    keys = [_key(space, e, seed_of(e, ctx)) for e in examples]
    first: dict[str, Example] = {}
    for key, example in zip(keys, examples, strict=True):
        first.setdefault(key, example)
    known: dict[str, Outcome] = {}
    tally = Tally(campaign.recipe)

    def finished() -> Generator[None, None, None]:
        for key in first:
            kept = ctx.journal.lookup(key)
            if kept is not None:
                known[key] = Outcome(**kept)
                yield
        todo = {key: example for key, example in first.items() if key not in known}
        if not todo:
            return
        with closing(_attack(subject, todo, campaign, ctx)) as coming:
            for key, outcome in coming:
                ctx.journal.append([(key, asdict(outcome))])
                known[key] = outcome
                tally.add(outcome)
                yield

    for _ in ctx.progress(finished(), len(first), tally):
        pass
    ended = [(example, known[key]) for key, example in zip(keys, examples, strict=True)]
    return _scored(ended, subject, ctx) if scored else [outcome for _, outcome in ended]


def seed_of(example: Example, ctx: Context) -> int:
    """The seed of the three generators while this example is attacked, in [0, 2**32)."""
    text = hashlib.sha256(example.text.encode("utf-8", "surrogatepass")).hexdigest()
    return int(ctx.rng(f"attack {text}").integers(2**32))


class Tally:
    """How an attack is going, as one line that changes: what `probes.probe.Progress` shows beside the bar."""

    def __init__(self, recipe: str) -> None:
        self._recipe, self._start = recipe, time.perf_counter()
        self._queries = self._attacked = self._succeeded = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self._queries += outcome.queries
        self._attacked += outcome.status in ("succeeded", "failed")
        self._succeeded += outcome.status == "succeeded"

    def __str__(self) -> str:
        line = f"attacking with {self._recipe}"
        if self._queries:
            speed = self._queries / max(time.perf_counter() - self._start, 1e-9)
            line += f" · {speed:.0f} queries a second"
        if self._attacked:
            line += f" · {self._succeeded} of {self._attacked} succeeded"
        return line


def _attack(
    subject: Subject, todo: Mapping[str, Example], campaign: Campaign, ctx: Context
) -> Generator[tuple[str, Outcome], None, None]:
    """Outcomes as they are known, with their keys."""
    victim = Victim.of(subject, ctx)
    generators = Generators()
    pool: Pool[list[Encoded], Seen] = Pool(partial(_answer, victim), width=campaign.pool, private=generators)
    wrapper = wrapper_of(victim, pool.ask)
    attack = build(
        campaign.recipe,
        wrapper,
        arguments=campaign.arguments,
        network=campaign.network,
        query_budget=campaign.query_budget,
    )
    free: list[Lane] = []
    codes = {name: code for code, name in enumerate(victim.classes)}

    def work(example: Example) -> Callable[[], Result | str]:
        def attacked() -> Result | str:
            lane = free.pop() if free else Lane(attack, wrapper)
            generators.seed(seed_of(example, ctx))
            try:
                return lane.attack(example.text, codes[example.label])
            except Exception as error:
                return in_one_line(error)
            finally:
                free.append(lane)

        return attacked

    keys = list(todo)
    with split_marker_apart(), words_split_once(), closing(pool.run(work(todo[key]) for key in keys)) as ending:
        for position, ended in ending:
            example = todo[keys[position]]
            yield keys[position], outcome_of(ended, example, victim.classes)
            bound_caches(attack)


def _answer(victim: Victim, questions: list[list[Encoded]]) -> list[Seen | Raised]:
    """All questions at once; where that fails, one by one, so that a text which the subject cannot answer harms no other."""
    inputs = {one.key: one for question in questions for one in question}
    try:
        said = dict(zip(inputs, victim.answer(list(inputs.values())), strict=True))
    except EndpointError:
        raise
    except Exception as error:
        if len(questions) == 1:
            return [Raised(error)]
        return [one for question in questions for one in _answer(victim, [question])]
    return [np.stack([said[one.key] for one in question]) for question in questions]


def _scored(ended: Sequence[tuple[Example, Outcome]], subject: Subject, ctx: Context) -> list[Outcome]:
    """With the scores of the true labels.

    They are asked for once more, all together, because a figure from within an attack differs in its last bits with what
    else was under way; so a resumed run gives the same bytes as one that was not stopped.
    """
    asked = {
        text: None
        for example, outcome in ended
        if outcome.error is None
        for text in (example.text, outcome.perturbed)
        if text is not None
    }
    scores = dict(zip(asked, subject.predict(list(asked), replace(ctx, progress=silent)), strict=True))

    def score(text: str | None, example: Example) -> float | None:
        return None if text is None else float(scores[text][subject.classes.index(example.label)])

    return [
        outcome
        if outcome.error is not None
        else replace(outcome, score_before=score(example.text, example), score_after=score(outcome.perturbed, example))
        for example, outcome in ended
    ]


def _space(subject: Subject, campaign: Campaign, ctx: Context) -> list[Any]:
    """All that an outcome depends on but the example and its seed."""
    versions = [importlib.metadata.version(name) for name in ("torch", "tokenizers", "numpy", "scipy")]
    recipe = [campaign.recipe, sorted(campaign.arguments.items()), campaign.query_budget]
    return [VERSION, subject.digest, *recipe, ctx.device.partition(":")[0], *sorted(loading.facts().items()), *versions]


def _key(space: list[Any], example: Example, seed: int) -> str:
    body = json.dumps([*space, example.text, example.label, seed], ensure_ascii=False)
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()
