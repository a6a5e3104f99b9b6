"""Runs many functions at once in one thread: each goes on until it asks something, the questions of all are answered
together, and each goes on with its own answer, one after the other in a fixed order. It knows nothing of attacks or models.

Fibers are greenlets rather than threads that pass a baton. Both were measured: a switch costs 0.4 against 21 microseconds,
and a thread that computes with torch brings an OpenMP team of its own, which made a small network 3.5 times slower on two
cores.
"""

from __future__ import annotations

import contextvars
import importlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from probes.errors import Unavailable

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Raised:
    """Instead of an answer: what the one who asked shall see raised."""

    error: Exception


class Private(Protocol):
    """State of the process that each fiber shall have for itself, such as generators of random numbers."""

    def take(self) -> Any:
        """A copy of the state as it is now."""
        ...

    def put(self, state: Any) -> None:
        """Make ``state`` the process's."""
        ...


class Pool(Generic[Question, Answer]):
    """Several functions under way at once, whose questions are answered together.

    Args:
        answer: given the questions of all that wait, in order, an answer or `Raised` for each. What it raises itself ends
            the whole run.
        width: how many are under way at most, at least 1.
        private: swapped at every switch.
    """

    def __init__(
        self, answer: Callable[[list[Question]], Sequence[Answer | Raised]], *, width: int, private: Private
    ) -> None:
        if width < 1:
            raise ValueError(f"a pool of {width}")
        self._answer, self._width, self._private = answer, width, private
        self._inside = False

    def ask(self, question: Question) -> Answer:
        """Stop until the question is answered; outside of `run` it is answered at once."""
        reply = self._suspend(question) if self._inside else self._answer([question])[0]
        if isinstance(reply, Raised):
            raise reply.error
        answered: Answer = reply
        return answered

    def run(self, works: Iterable[Callable[[], Result]]) -> Generator[tuple[int, Result], None, None]:
        """Call each of ``works``, at most ``width`` at once; each call's position and result, as they end.

        Works are taken in order, and those that wait go on in the order in which they were started, so the same works and
        answers give the same sequence. What a work raises is raised here. Between two results, and at the end, the
        private state is the caller's. Leaving early ends what is under way.

        Raises:
            Unavailable: greenlet is not installed.
        """
        greenlet = _greenlet()
        outside = self._private.take()
        coming = enumerate(works)
        live: list[_Fiber] = []
        try:
            while True:
                ended: list[tuple[int, Result]] = []
                while len(live) < self._width and (following := next(coming, None)) is not None:
                    fiber = _Fiber(following[0], following[1], greenlet, state=outside)
                    live.append(fiber)
                    self._go_on(fiber, None)
                    if fiber.ended:
                        ended.append((live.pop().position, fiber.said))
                self._private.put(outside)
                yield from ended
                if not live:
                    return
                outside = self._private.take()
                replies = self._answer([fiber.said for fiber in live])
                for fiber, reply in zip(live, replies, strict=True):
                    self._go_on(fiber, reply)
                self._private.put(outside)
                yield from [(fiber.position, fiber.said) for fiber in live if fiber.ended]
                live = [fiber for fiber in live if not fiber.ended]
                outside = self._private.take()
        finally:
            for fiber in live:
                fiber.end()
            self._private.put(outside)

    def _suspend(self, question: Question) -> Any:
        return _greenlet().getcurrent().parent.switch(question)

    def _go_on(self, fiber: _Fiber, reply: Any) -> None:
        self._private.put(fiber.state)
        self._inside = True
        try:
            fiber.go_on(reply)
        finally:
            self._inside = False
        fiber.state = None if fiber.ended else self._private.take()


class _Fiber:
    """One function under way. ``said`` is what it asks or, once it has ended, its result."""

    def __init__(self, position: int, work: Callable[[], Any], greenlet: Any, *, state: Any) -> None:
        self.position, self.state = position, state
        self.said: Any = None
        self._greenlet = greenlet.greenlet(lambda _: work())
        # Otherwise it would start without the context variables of its caller, numpy's error settings among them.
        self._greenlet.gr_context = contextvars.copy_context()

    def go_on(self, reply: Any) -> None:
        self.said = self._greenlet.switch(reply)

    @property
    def ended(self) -> bool:
        return bool(self._greenlet.dead)

    def end(self) -> None:
        if not self._greenlet.dead:
            self._greenlet.throw()


def _greenlet() -> Any:
    try:
        return importlib.import_module("greenlet")
    except ImportError:
        raise Unavailable(
            "greenlet is not installed", expected="the extra that brings it",
            fix='pip install "plumbline-audit[robustness]"',
        ) from None  # fmt: skip
