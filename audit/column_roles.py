"""Guesses which column of a table plays which part, and says how sure it is and why.

A guess is sure only where the column's name or its values leave little doubt; every other is kept as a suggestion, which
no plan uses until a person agrees. It reads no file and writes none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fine_tune.roles import as_texts

INPUTS = ("text", "input", "sentence", "content", "note", "review", "comment", "tweet", "prompt", "document", "message",
          "body", "test_case", "question", "post", "image", "file", "path")  # fmt: skip
LABELS = ("label", "labels", "target", "class", "gold", "truth", "y", "y_true", "category", "label_gold", "gold_label",
          "true_label", "ground_truth", "expected")  # fmt: skip
GROUPS = ("gender", "sex", "race", "ethnicity", "age", "age_group", "age_band", "religion", "nationality", "country",
          "language", "dialect", "disability", "origin", "region", "target_ident", "identity", "group", "marital_status",
          "orientation", "sexual_orientation", "native_language", "accent", "education")  # fmt: skip
CLUSTERS = ("cluster", "template", "template_id", "templ_id", "user", "user_id", "author", "author_id", "patient",
            "patient_id", "speaker", "speaker_id", "session", "session_id", "thread", "thread_id", "case_templ",
            "person_id", "applicant_id")  # fmt: skip
IDS = ("id", "row_id", "rowid", "uid", "uuid", "guid", "index", "example_id", "case_id", "item_id")
OTHERS = {
    "weight": ("weight", "weights", "sample_weight"),
    "counterpart": ("counterpart", "twin", "pair", "pair_id"),
    "rationale": ("rationale", "rationales", "evidence"),
}
PREDICTED = ("prediction", "predicted", "pred", "y_pred", "predicted_label", "pred_label", "model_label")
MOST_GROUPS = 20


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one column looks like.

    Attributes:
        name: as in the table.
        kind: text, whole number, number or other.
        filled, distinct: rows with a value, and different values among them.
        words: mean number of words of a value.
        values: values as text with their number of rows, most frequent first; at most 200.
    """

    name: str
    kind: str
    rows: int
    filled: int
    distinct: int
    words: float
    values: tuple[tuple[str, int], ...]

    @property
    def key(self) -> str:
        """The name in the form in which known names are written."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.casefold()).strip("_")


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One column in one part, and why. ``sure`` guesses are used; others are only suggested."""

    role: str
    column: str
    why: str
    sure: bool


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """Every guess about a table.

    Attributes:
        guesses: sure ones and suggestions.
        labels: class name for each value of the label column, where they differ; empty where they are the same.
    """

    guesses: tuple[Guess, ...]
    labels: dict[str, str] = field(default_factory=dict)

    def sure(self, role: str) -> list[str]:
        """The columns that are used in a role."""
        return [g.column for g in self.guesses if g.role == role and g.sure]


def describe(name: str, values: Sequence[Any]) -> Column:
    """Look at one column."""
    texts = as_texts(values)
    present = [t for t in texts if t is not None]
    counted = Counter(present)
    some = present[:2000]
    return Column(
        name=name,
        kind=_kind(values, present),
        rows=len(texts),
        filled=len(present),
        distinct=len(counted),
        words=sum(len(t.split()) for t in some) / len(some) if some else 0.0,
        values=tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:200]),
    )


def _kind(values: Sequence[Any], present: Sequence[str]) -> str:
    if any(isinstance(v, dict | list | bytes) for v in values):
        return "other"
    for kind, form in (("whole number", r"-?\d+"), ("number", r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")):
        if present and all(re.fullmatch(form, t) for t in present):
            return kind
    return "text"


def guess_roles(columns: Sequence[Column], classes: Sequence[str]) -> Guesses:
    """Guess the part of every column.

    Args:
        columns: of the table that a model is examined on.
        classes: the model's class names, in the order of its outputs.
    """
    free = [c for c in columns if c.filled and c.key not in PREDICTED and not c.name.startswith("score_")]
    found: list[Guess] = []
    labels: dict[str, str] = {}

    def take(guesses: Iterable[Guess]) -> None:
        for guess in guesses:
            found.append(guess)
            if guess.sure:
                free[:] = [c for c in free if c.name != guess.column]

    label, labels = _label(free, classes)
    take(label)
    take(_input(free))
    take(_id(free))
    take(_named(free, "cluster", CLUSTERS, lambda c: 1 < c.distinct < c.filled))
    for role, names in OTHERS.items():
        take(
            Guess(role=role, column=c.name, why="its name says so; its values were not checked", sure=False)
            for c in free
            if c.key in names
        )
    take(_groups(free))
    return Guesses(guesses=tuple(found), labels=labels)


def _label(free: Sequence[Column], classes: Sequence[str]) -> tuple[list[Guess], dict[str, str]]:
    readings = [(c, _as_classes(c, classes)) for c in free]
    possible = [(c, m, why, safe) for c, (m, why, safe) in readings if m is not None and c.distinct > 1]
    named = [p for p in possible if p[0].key in LABELS]
    best = named if named else [p for p in possible if p[3]]
    if len(best) == 1 and (best[0][3] or named):
        column, mapping, why, safe = best[0]
        same = all(k == v for k, v in (mapping or {}).items())
        if safe:
            return [Guess(role="label", column=column.name, why=why, sure=True)], {} if same else dict(mapping or {})
    out = [
        Guess(role="label", column=c.name, why=f"{why}; check before use", sure=False)
        for c, _, why, _ in best or possible
    ]
    if not out:
        out = [
            Guess(
                role="label",
                column=c.name,
                why="its name says so, and it holds one value"
                if c.distinct == 1
                else "its name says so, and its values are not the model's classes",
                sure=False,
            )
            for c in free
            if c.key in LABELS
        ]
    return out, {}


def _as_classes(column: Column, classes: Sequence[str]) -> tuple[dict[str, str] | None, str, bool]:
    """Values to class names, in which way, and whether that is safe to use."""
    values = [v for v, _ in column.values]
    if column.distinct > min(len(classes), len(values)) or not values:
        return None, "", False
    if set(values) <= set(classes):
        return {v: v for v in values}, "its values are the model's class names", True
    plain = {_plain(c): c for c in classes}
    if len(plain) == len(classes) and all(_plain(v) in plain for v in values):
        return (
            {v: plain[_plain(v)] for v in values},
            "its values are the model's class names, written differently",
            True,
        )
    numbers = {str(i): c for i, c in enumerate(classes)}
    if set(values) <= set(numbers) and column.distinct == len(classes):
        known = column.key in LABELS
        return {v: numbers[v] for v in sorted(values)}, "its numbers are those of the model's outputs", known
    return None, "", False


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def _input(free: Sequence[Column]) -> list[Guess]:
    named = [c for name in INPUTS for c in free if c.key == name and c.kind in ("text", "other")]
    wordy = [c for c in free if c.kind == "text" and c.words >= 3 and c.distinct > c.filled / 2]
    if named:
        rest = [c for c in (*named[1:], *wordy) if c is not named[0]]
        first = [Guess(role="input", column=named[0].name, why="its name says so", sure=True)]
    elif len(wordy) == 1:
        return [Guess(role="input", column=wordy[0].name, why="it is the only column of sentences", sure=True)]
    else:
        rest, first = sorted(wordy, key=lambda c: -c.words), []
    more = [Guess(role="input", column=c.name, why="it holds sentences too", sure=False) for c in dict.fromkeys(rest)]
    return [*first, *more]


def _id(free: Sequence[Column]) -> list[Guess]:
    unique = [c for c in free if c.distinct == c.rows and c.kind != "number" and c.words <= 1]
    named = [c for c in unique if c.key in IDS]
    if named:
        return [Guess(role="id", column=named[0].name, why="its name says so, and its values are unique", sure=True)]
    return [Guess(role="id", column=c.name, why="its values are unique", sure=False) for c in unique[:1]]


def _named(free: Sequence[Column], role: str, names: Sequence[str], fits: Callable[[Column], bool]) -> list[Guess]:
    fitting = [c for c in free if c.key in names and fits(c)]
    return [
        Guess(role=role, column=c.name, why="its name says so, and its values come back", sure=i == 0)
        for i, c in enumerate(fitting)
    ]


def _groups(free: Sequence[Column]) -> list[Guess]:
    out = []
    for c in free:
        few = 2 <= c.distinct <= MOST_GROUPS
        known = c.key in GROUPS
        if known and few:
            out.append(Guess(role="groups", column=c.name, why=f"its name says so; {c.distinct} groups", sure=True))
        elif known and c.distinct > MOST_GROUPS:
            why = f"its name says so, and {c.distinct} values are too many: put them into bands first"
            out.append(Guess(role="groups", column=c.name, why=why, sure=False))
        elif few and c.words <= 3 and c.kind != "number" and c.filled > 2 * c.distinct:
            out.append(Guess(role="groups", column=c.name, why=f"it has {c.distinct} values", sure=False))
    return out
