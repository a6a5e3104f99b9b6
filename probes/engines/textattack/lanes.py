"""One recipe's attack, multiplied so that several examples can be under way at once, each in a lane of its own; and what
becomes of one example in a lane. Search, transformations, constraints and the counting of queries stay TextAttack's.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from probes.engines.textattack.loading import load

SPLIT = "\ufdd0\ufdd1"
# TextAttack puts no bound on these; what they hold can be computed again.
UNBOUNDED = ("_mse_dist_mat", "_cos_sim_mat", "_nn_cache", "grammar_error_cache", "wordCache")
MOST_KEPT = 100_000


# Words and short texts; a few megabytes.
KEPT_SPLITS = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one attack came to.

    Attributes:
        result: TextAttack's result.
        queries: as TextAttack counts them, those answered from its cache included.
        close_calls: see `probes.engines.textattack.wrapper.wrapper_of`.
    """

    result: Any
    queries: int
    close_calls: int


class Lane:
    """An attack with a goal function, a search and caches of its own; transformations and constraints are shared.

    Args:
        attack: a recipe's attack; it is left as it is.
        wrapper: from `wrapper_of`; the lane counts in a copy.
    """

    def __init__(self, attack: Any, wrapper: Any) -> None:
        textattack = load()
        self._wrapper = copy.copy(wrapper)
        self._goal = copy.copy(attack.goal_function)
        self._goal.model = self._wrapper
        # TextAttack would cut a search's question into pieces; in one piece it waits once.
        self._goal.batch_size = 1_000_000_000
        self._first: Any = None
        self._best: Any = None
        self._ask_goal = self._goal.get_results
        self._goal.get_results = self._get_results
        constraints = [*attack.constraints, *attack.pre_transformation_constraints]
        self._attack = textattack.Attack(
            self._goal, constraints, attack.transformation, copy.copy(attack.search_method),
            attack.transformation_cache_size, attack.constraint_cache_size,
        )  # fmt: skip

    def attack(self, text: str, label: int) -> Result:
        """`textattack.Attack.attack`, and no more, except where the query budget ends a search that does not expect it.

        Some searches fail when they ask beyond the budget. Then the best result so far stands, as it does for the others.

        Raises:
            Exception: whatever the recipe raises on this text.
        """
        self._first = self._best = None
        self._wrapper.begin()
        self._goal.num_queries = 0
        try:
            result = self._attack.attack(text, int(label))
        except Exception:
            if self._first is None or self._goal.num_queries < self._goal.query_budget:
                raise
            result = self._at_the_end_of_the_budget()
        finally:
            self._attack.clear_cache()
            close_calls = self._wrapper.close_calls
            self._wrapper.begin()
            self._first = self._best = None
        return Result(result=result, queries=int(result.num_queries), close_calls=close_calls)

    def _get_results(self, attacked_text_list: list[Any], check_skip: bool = False) -> tuple[list[Any], bool]:
        results, over = self._ask_goal(attacked_text_list, check_skip=check_skip)
        if self._goal.query_budget < float("inf"):
            for one in results:
                if self._first is None:
                    self._first = one
                elif self._best is None or _rank(one) > _rank(self._best):
                    self._best = one
        return results, over

    def _at_the_end_of_the_budget(self) -> Any:
        from textattack import attack_results
        from textattack.goal_function_results import GoalFunctionResultStatus as Status

        best = self._first if self._best is None or _rank(self._best) < _rank(self._first) else self._best
        best.num_queries = self._goal.num_queries
        kinds = {
            Status.SUCCEEDED: attack_results.SuccessfulAttackResult,
            Status.MAXIMIZING: attack_results.MaximizedAttackResult,
        }
        return kinds.get(best.goal_status, attack_results.FailedAttackResult)(self._first, best)


def _rank(result: Any) -> tuple[bool, float]:
    from textattack.goal_function_results import GoalFunctionResultStatus as Status

    return result.goal_status == Status.SUCCEEDED, float(result.score)


@contextmanager
def split_marker_apart() -> Iterator[None]:
    """While it is open, ``<SPLIT>`` in a text is text.

    TextAttack joins and parts the columns of an example with that word, and cuts a text that holds it. A text of one
    column needs no such word, so it is one that stands in no text: Unicode noncharacters.
    """
    kind = load().shared.AttackedText
    before = kind.SPLIT_TOKEN
    kind.SPLIT_TOKEN = SPLIT
    try:
        yield
    finally:
        kind.SPLIT_TOKEN = before


@contextmanager
def words_split_once() -> Iterator[None]:
    """While it is open, a string that was split into words is not split again.

    TextAttack splits every word of a text anew for each candidate; the function has no state, so what it gave stands.
    """
    module = load().shared.attacked_text
    before = module.words_from_text

    @lru_cache(maxsize=KEPT_SPLITS)
    def split(text: str) -> tuple[str, ...]:
        return tuple(before(text))

    def words_from_text(text: Any, words_to_ignore: Any = ()) -> list[str]:
        return before(text, words_to_ignore) if words_to_ignore or not isinstance(text, str) else list(split(text))

    module.words_from_text = words_from_text
    try:
        yield
    finally:
        module.words_from_text = before


def bound_caches(attack: Any) -> None:
    """Empty those of the recipe's caches that would grow for ever, once they hold more than `MOST_KEPT` entries."""
    seen: set[int] = set()
    todo = [attack.transformation, attack.search_method, *attack.constraints, *attack.pre_transformation_constraints]
    while todo:
        part = todo.pop()
        if id(part) in seen or not type(part).__module__.startswith("textattack."):
            continue
        seen.add(id(part))
        for name, value in vars(part).items():
            if name in UNBOUNDED and isinstance(value, dict):
                if sum(len(v) if isinstance(v, dict) else 1 for v in value.values()) > MOST_KEPT:
                    value.clear()
            else:
                todo.extend(value if isinstance(value, (list, tuple)) else [value])
