"""Fibers: many functions at once give what each gives alone, in a fixed order, and leave nothing behind."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("greenlet")

from probes.engines.textattack.fibers import Pool, Raised
from probes.engines.textattack.generators import Generators
from probes.errors import Unavailable


class Nothing:
    def take(self) -> None:
        return None

    def put(self, state: None) -> None:
        pass


class Dice:
    """The state of one generator alone."""

    def take(self) -> Any:
        return random.getstate()

    def put(self, state: Any) -> None:
        random.setstate(state)


def test_by_hand() -> None:
    rounds: list[list[str]] = []

    def answer(questions: list[str]) -> list[str]:
        rounds.append(questions)
        return [q.upper() for q in questions]

    pool = Pool(answer, width=2, private=Nothing())

    def work(name: str, questions: int) -> Callable[[], str]:
        return lambda: "".join(pool.ask(f"{name}{i}") for i in range(questions))

    ended = list(pool.run([work("a", 3), work("b", 1), work("c", 0), work("d", 2)]))
    assert ended == [(1, "B0"), (2, ""), (0, "A0A1A2"), (3, "D0D1")]
    assert rounds == [["a0", "b0"], ["a1", "d0"], ["a2", "d1"]]


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=9), st.integers(1, 5))
def test_each_gets_what_it_gets_alone(plans: list[list[int]], width: int) -> None:
    most: list[int] = []

    def answer(questions: list[int]) -> list[int]:
        most.append(len(questions))
        return [q * q for q in questions]

    pool = Pool(answer, width=width, private=Dice())

    def work(number: int, plan: list[int]) -> Callable[[], list[float]]:
        def run() -> list[float]:
            random.seed(number)
            return [pool.ask(q) + random.random() for q in plan]

        return run

    works = [work(i, plan) for i, plan in enumerate(plans)]
    together = dict(pool.run(works))
    assert max(most, default=0) <= width
    assert together == {i: w() for i, w in enumerate(works)}, "outside of run, questions are answered at once"


def test_the_callers_state_is_its_own() -> None:
    pool = Pool(lambda qs: qs, width=2, private=Dice())

    def work() -> float:
        random.seed(1)
        pool.ask(0)
        return random.random()

    random.seed(5)
    expected = [random.random() for _ in range(4)]
    random.seed(5)
    seen = [random.random()]
    for _ in pool.run([work, work]):
        seen.append(random.random())
    seen.append(random.random())
    assert seen == expected


def test_what_is_raised_for_one_is_raised_in_it_alone() -> None:
    def answer(questions: list[int]) -> list[int | Raised]:
        return [Raised(ValueError("odd")) if q % 2 else q for q in questions]

    pool = Pool(answer, width=4, private=Nothing())

    def work(q: int) -> Callable[[], str]:
        def run() -> str:
            try:
                return f"got {pool.ask(q)}"
            except ValueError as error:
                return str(error)

        return run

    assert dict(pool.run(work(q) for q in range(4))) == {0: "got 0", 1: "odd", 2: "got 2", 3: "odd"}


@pytest.mark.parametrize("how", ["answer raises", "a work raises", "the caller leaves"])
def test_whatever_ends_a_run_ends_all_that_is_under_way(how: str) -> None:
    closed: list[int] = []
    state: list[str] = ["outside"]

    class Watched:
        def take(self) -> str:
            return state[0]

        def put(self, value: str) -> None:
            state[0] = value

    def answer(questions: list[int]) -> list[int]:
        if how == "answer raises" and max(questions) >= 20:
            raise KeyError("answer")
        return questions

    pool = Pool(answer, width=3, private=Watched())

    def work(number: int) -> Callable[[], int]:
        def run() -> int:
            state[0] = f"inside {number}"
            try:
                for step in range(number + 1):
                    pool.ask(10 * step)
                    if how == "a work raises" and step == 1:
                        raise KeyError("work")
                    assert state[0] == f"inside {number}"
                return number
            finally:
                closed.append(number)

        return run

    run = pool.run(work(n) for n in (1, 5, 7))
    if how == "the caller leaves":
        assert next(run) == (0, 1)
        run.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(KeyError):
            list(run)
    assert sorted(closed) == [1, 5, 7]
    assert state == ["outside"]


def test_works_are_taken_as_there_is_room() -> None:
    taken: list[int] = []
    pool = Pool(lambda qs: qs, width=2, private=Nothing())

    def works() -> Iterator[Callable[[], int]]:
        for n in range(6):
            taken.append(n)
            yield lambda: pool.ask(0)

    run = pool.run(works())
    next(run)
    assert len(taken) <= 4
    assert len(list(run)) == 5


def test_a_pool_of_none() -> None:
    with pytest.raises(ValueError, match="pool of 0"):
        Pool(lambda qs: qs, width=0, private=Nothing())


def test_without_greenlet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(Unavailable, match="plumbline-audit\\[robustness\\]"):
        list(Pool(lambda qs: qs, width=1, private=Nothing()).run([lambda: 1]))


def test_context_variables_come_along() -> None:
    pool = Pool(lambda qs: qs, width=2, private=Nothing())

    def work() -> float:
        pool.ask(0)
        return float(np.float64(1.0) / np.float64(0.0))

    with np.errstate(divide="raise"):
        run = pool.run([work])
        with pytest.raises(FloatingPointError):
            next(run)


def test_generators_are_put_back_whole() -> None:
    generators = Generators()

    def draw() -> list[float]:
        # An odd number of normal ones: numpy and random keep the second of a pair for later.
        return [random.gauss(0, 1), random.random(), np.random.randn(), float(torch.rand(())), float(torch.randn(()))]

    generators.seed(3)
    draw()
    kept = generators.take()
    first = draw()
    generators.seed(4)
    torch.set_grad_enabled(False)
    draw()
    generators.put(kept)
    assert torch.is_grad_enabled()
    assert draw() == first
