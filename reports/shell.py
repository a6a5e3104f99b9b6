"""A page that is not one run's report, in the house's style: the same templates, style sheet and policy of safety, another body.

Pure. It knows how a page is put together and kept small, and nothing of what stands on it.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reports import wording
from reports.assets import style
from reports.errors import RecordError
from reports.language import ENGLISH
from reports.markup import page_environment, sheet
from reports.room import MOST_BYTES


@dataclass(frozen=True, kw_only=True)
class Most:
    """How many of a kind are shown before the page says how many more there are."""

    rows: int = 600
    listed: int = 200

    def scaled(self, share: float) -> Most:
        """The same, smaller."""
        return Most(rows=max(int(self.rows * share), 5), listed=max(int(self.listed * share), 5))


def whole_page(template: str, names: Mapping[str, Any], language: str = ENGLISH) -> str:
    """A page from one of our templates, with as much on it as fits below two million bytes.

    Raises:
        RecordError: there is no catalogue for the language, or the page does not fit however little is shown.
    """
    css = style() + "\n" + sheet("shell.css")
    env = page_environment(language)
    for share in (1.0, 0.4, 0.1, 0.02):
        page = env.get_template(template).render(
            **names,
            most=Most().scaled(share),
            language=language.replace("_", "-"),
            css=Markup(css),  # noqa: S704  our own files
            css_hash=b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        )
        page = wording.visible(page)
        if len(page.encode("utf-8")) <= MOST_BYTES:
            return page
    raise RecordError(
        f"the page would be larger than {MOST_BYTES} bytes", expected="fewer runs, measures or checks", fix="use --json"
    )
