"""The report as one HTML file that needs no network, no server and no script.

Pure and byte-deterministic. Everything that comes from data is text until escaped; markup is only what the templates and
`charts` write. What does not fit is left out with a sentence that says what, and where it lies in the bundle.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import defaultdict
from functools import partial
from typing import Any

from markupsafe import Markup, escape

from reports import wording
from reports.assets import STYLE, address, picture_name, style
from reports.editions import edition_of, redaction_words
from reports.errors import RecordError
from reports.fitting import NOTHING, Fitting, compact
from reports.markup import page_environment
from reports.record import AuditRecord, Verdict
from reports.room import AIM, ALL_NUMBERS, MOST_BYTES, SHARES, Room
from reports.sections import Report, report
from reports.showing import PLAIN, Showing


def render(record: AuditRecord, verdict: Verdict, showing: Showing = PLAIN) -> str:
    """The whole page.

    It aims at `AIM` bytes; checks that need action may take it further, and an edition that keeps all numbers has no aim
    below the hard limit.

    Raises:
        RecordError: there is no catalogue for the language, or no page below two million bytes can hold the record.
    """
    record, verdict = edition_of(record, verdict, showing)
    view = report(record, verdict, showing)
    whole = showing.edition == "regulator"
    for share in SHARES:
        room = (ALL_NUMBERS if whole else Room()).scaled(share)
        page = _page(view, showing, room, aim=int(MOST_BYTES * 0.95 * share) if whole else AIM)
        if _size(page) <= MOST_BYTES:
            return page
    raise RecordError(
        f"the report of {record.name!r} would be larger than {MOST_BYTES} bytes",
        expected="a plan with fewer probe instances, or shorter names",
        fix="split the plan",
    )


def _page(view: Report, showing: Showing, room: Room, *, aim: int) -> str:
    """The page without evidence first, to know how much room is left for it; then with as much as fits."""
    language = showing.language
    env, css = page_environment(language), style()
    redact = not view.include_text
    shared = {
        "report": view,
        "showing": showing,
        "redact": redact,
        "redaction": redaction_words(showing),
        "trust": view.trust,
        "source": partial(_source, folder=showing.assets),
    }
    fitting = Fitting(env=env, room=room, language=language, shared=shared)
    names: dict[str, Any] = {
        "report": view,
        "showing": showing,
        "language": language.replace("_", "-"),
        "sheet": address(showing.assets, STYLE) if showing.assets else "",
        "css": Markup(css),  # noqa: S704  our own file
        "css_hash": b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        "checks": fitting.checks(view.checks),
        "include_text": not redact,
        "room": room,
    }
    template = env.get_template("page.html")
    bare = compact(template.render(shown=defaultdict(lambda: NOTHING), **names))
    shown = fitting.evidence(view, max(aim - _size(bare), room.evidence_bytes))
    return wording.visible(compact(template.render(shown=shown, **names)))


def _source(png_base64: str, folder: str | None) -> Markup:
    """Where a picture of the page comes from: the page itself, or its folder."""
    if folder is None:
        return Markup("data:image/png;base64,{}").format(png_base64)
    return escape(address(folder, picture_name(png_base64)))


def _size(text: str) -> int:
    return len(text.encode("utf-8"))
