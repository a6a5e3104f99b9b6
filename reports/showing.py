"""How one record is shown: the language, the edition, where the style lies, and what is known from beside the bundle.

Plain data that `page.render` takes. A record says the same in every showing; a showing can only leave out or translate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from probes.evidence import Message, message
from reports.language import ENGLISH

Edition = Literal["internal", "regulator", "public"]
Fact = tuple[Message, Message | str | int | float | date]

# The minimum that most US states report school results by (NCES 2011-603, SLDS Technical Brief 3).
LEAST = 10

NOTHING_BESIDE: tuple[Fact, ...] = (
    (
        message("Signature"),
        message("unsigned when this page was written; plumbline verify says whether a signature lies beside it"),
    ),
    (
        message("Human review"),
        message("none when this page was written; plumbline render shows one that lies beside it"),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Showing:
    """One way to show a record.

    Attributes:
        language: ``en`` or the name of a catalogue.
        edition: ``internal`` shows examples where the plan allows it; ``regulator`` redacts them and keeps all numbers;
            ``public`` suppresses small cells too.
        least: rows that a figure of the public edition rests on at least.
        assets: the folder beside the page that holds its style and pictures, for servers that allow nothing inline; None
            writes them into the page. `assets.asset_files` says what belongs into it.
        beside: what was established from files beside the bundle (a signature, a review), as lines of the first screen.
            A bundle's own page has only the sentences that say so: it is closed before it can be signed or reviewed.
    """

    language: str = ENGLISH
    edition: Edition = "internal"
    least: int = LEAST
    assets: str | None = None
    beside: tuple[Fact, ...] = NOTHING_BESIDE


PLAIN = Showing()
