"""An example, and what came of attacking it, as plain data; and how TextAttack's results are read as that. It attacks nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from probes.engines.textattack.lanes import Result
from probes.engines.textattack.loading import load

LONGEST_ERROR = 300

Status = Literal["succeeded", "failed", "skipped", "error"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A text to attack. ``label`` is the name of its true class."""

    row_id: str
    text: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one example.

    Attributes:
        status: ``succeeded`` where TextAttack says successful, or maximised with another text than it was given; ``failed``;
            ``skipped`` where the clean prediction is wrong already, as TextAttack counts it; ``error``.
        queries: as TextAttack counts them; 0 after an error.
        perturbed: the text that the search ended with, also where it failed; None where skipped or after an error.
        prediction: the class decided for on the clean text; None after an error.
        prediction_after: on ``perturbed``.
        score_before, score_after: the subject's probability of the true label on either text, as its ``predict`` gives it.
        words: of the clean text, as TextAttack splits it.
        words_changed: edit distance in words between the two texts, at most ``words``.
        close_calls: decisions with less than 1e-5 between the two likeliest classes, which may turn out otherwise on
            another machine.
        error: what went wrong, in one line.
    """

    status: Status
    queries: int
    perturbed: str | None
    prediction: str | None
    prediction_after: str | None
    score_before: float | None
    score_after: float | None
    words: int
    words_changed: int
    close_calls: int
    error: str | None


def outcome_of(ended: Result | str, example: Example, classes: Sequence[str]) -> Outcome:
    """What an attack came to, or the line that says what went wrong; without scores, which are asked for later."""
    if isinstance(ended, str):
        return Outcome(
            status="error", queries=0, perturbed=None, prediction=None, prediction_after=None, score_before=None,
            score_after=None, words=_words(example.text), words_changed=0, close_calls=0, error=ended,
        )  # fmt: skip
    before, after = ended.result.original_result, ended.result.perturbed_result
    status = _status(ended.result)
    skipped = status == "skipped"
    perturbed: str = after.attacked_text.text
    words = int(before.attacked_text.num_words)
    changed = int(before.attacked_text.words_diff_num(after.attacked_text)) if not skipped else 0
    return Outcome(
        status=status,
        queries=ended.queries,
        perturbed=None if skipped else perturbed,
        prediction=classes[int(before.output)],
        prediction_after=None if skipped else classes[int(after.output)],
        score_before=None,
        score_after=None,
        words=words,
        words_changed=min(words, changed),
        close_calls=ended.close_calls,
        error=None,
    )


def _status(result: Any) -> Status:
    from textattack import attack_results

    if isinstance(result, attack_results.SkippedAttackResult):
        return "skipped"
    if isinstance(result, attack_results.MaximizedAttackResult):
        same = result.perturbed_result.attacked_text.text == result.original_result.attacked_text.text
        return "failed" if same else "succeeded"
    return "succeeded" if isinstance(result, attack_results.SuccessfulAttackResult) else "failed"


def _words(text: str) -> int:
    return len(load().shared.utils.words_from_text(text))


def in_one_line(error: Exception) -> str:
    """Kind and first line, without addresses in memory, which differ from run to run."""
    line = next(iter(str(error).strip().splitlines()), "")
    return re.sub(r"0x[0-9a-fA-F]+", "0x…", f"{type(error).__name__}: {line}"[:LONGEST_ERROR])
