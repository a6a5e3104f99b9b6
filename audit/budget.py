"""How long a run and each of its probes may take, and the interruption when that is over.

What is interrupted is never taken for measured: the runner records it as an error with the limit as its reason, and what was
journalled before is used by the next run. Reading a figure off rows is not limited, collecting rows is.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from pydantic import Field

from probes.evidence import Message, Plain, message

AGAIN = 1.0


class Budget(Plain):
    """Seconds that a plan allows; None is no limit.

    Attributes:
        run: for the whole run, training and loading included; training itself is not cut off.
        probe: for each probe instance.
        probes: by instance, instead of ``probe``.
    """

    run: float | None = Field(default=None, gt=0)
    probe: float | None = Field(default=None, gt=0)
    probes: dict[str, float] = Field(default_factory=dict)


class TimeIsUp(BaseException):  # not an Exception: a probe that survives broken inputs must not survive this
    """The time that was allowed is over."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What one probe instance may still take, and the reason if that is not enough. ``seconds`` None is no limit."""

    seconds: float | None
    reason: Message


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A budget that has begun to run."""

    budget: Budget = field(default_factory=Budget)
    started: float = field(default_factory=time.monotonic)

    def allowance(self, instance: str) -> Allowance:
        """What ``instance`` may take from now on."""
        budget = self.budget
        own = budget.probes.get(instance, budget.probe)
        left = None if budget.run is None else max(budget.run - (time.monotonic() - self.started), 0.0)
        if left is None or budget.run is None or (own is not None and own <= left):
            return Allowance(
                seconds=own,
                reason=message("It was stopped after the {seconds} s that the plan allows it.", seconds=own or 0),
            )
        return Allowance(
            seconds=left,
            reason=message(
                "It did not finish within the {seconds} s that the plan allows the whole run.", seconds=budget.run
            ),
        )


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Interrupts its body after ``seconds``.

    The interruption comes between two steps of Python, so a single long call into a library ends first. It needs the main
    thread and a system with interval timers; elsewhere the time is checked when the body ends, which is later and as strict.

    Raises:
        TimeIsUp: the time is over.
    """
    if seconds is None:
        yield
        return
    if seconds <= 0:
        raise TimeIsUp
    end = time.monotonic() + seconds
    try:
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
            with _alarm(seconds):
                yield
        else:
            yield
    except Exception as error:
        # An interruption in the midst of a library's own call may come out as an error of that library.
        if time.monotonic() >= end:
            raise TimeIsUp from error
        raise
    if time.monotonic() > end:
        raise TimeIsUp


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    # Again and again, should something on the way swallow the first.
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
