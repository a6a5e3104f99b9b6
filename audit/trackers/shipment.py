"""What a door to a tracking server is given, and what it promises. Knows no server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Protocol

from audit.doctor import install_line
from audit.errors import TrackerError
from reports.tracking import Entries

_CREDENTIALS = re.compile(r"//[^/\s]*@")
LONGEST_REASON = 600
PLACE = "plumbline"
"""The experiment or project that runs are logged to unless another one is named."""


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """One run, ready to go.

    Attributes:
        name: what the run is called there.
        entries: numbers and texts.
        folder: the files that go, as they are to lie there: ``bundle/`` and ``figures.json``. A copy, whose hashes were checked.
        source: the bundle, which nothing is written into.
    """

    name: str
    entries: Entries
    folder: Path
    source: Path


class Tracker(Protocol):
    """A door to one kind of server."""

    def send(self, shipment: Shipment) -> str:
        """Log everything, the verdict last, and say where it lies.

        Raises:
            TrackerError: the client is not installed, the server is not there or refuses, or nothing would be kept.
        """
        ...


def not_installed(title: str, distribution: str) -> TrackerError:
    """The error for a client that is not here."""
    return TrackerError(f"{title} needs {distribution}, which is not installed", fix=install_line([distribution]))


def refused(title: str, place: str, error: Exception) -> TrackerError:
    """The error for a server that is not there, or that does not take what it is given. No password of an address is in it."""
    lines = str(error).strip().splitlines()
    reason = without_credentials(f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}")
    return TrackerError(
        f"{title} did not take the run: {reason[:LONGEST_REASON]}",
        expected=f"a server at {without_credentials(place)} that is up and lets you in",
        fix="log it again later: the run and its verdict are as they were",
    )


def without_credentials(text: str) -> str:
    """``text`` with user and password of every address in it replaced by dots."""
    return _CREDENTIALS.sub("//...@", text)


@contextmanager
def preferred(**variables: str) -> Iterator[None]:
    """Environment variables for a while, where the user has not set them."""
    ours = {name: value for name, value in variables.items() if name not in environ}
    environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            environ.pop(name, None)
