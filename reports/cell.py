"""The first screen and the table of checks as a notebook shows them, below the cell that asked for an audit.

Markup that stays in its cell: no script, no link, no id, no heading, no rule of style that reaches outside, nothing to load. Where a viewer
strips the style, words and tables remain. It says what the report says, shorter, and refers to it for the rest.
"""

from __future__ import annotations

import re
from functools import lru_cache

from jinja2 import Environment
from markupsafe import Markup

from reports import wording
from reports.checks import check_views
from reports.decision import decision
from reports.language import ENGLISH
from reports.markup import TEMPLATES, environment
from reports.record import AuditRecord, Verdict

MOST_BYTES = 100_000
# Rows of the table of checks; the next smaller number is taken where names make the cell too large.
ROWS = (50, 20, 8)
_LONGEST = 300
_SYMBOL = re.compile(r'<symbol id="g-(\w+)"[^>]*>(.*?)</symbol>', re.DOTALL)


def render_cell(record: AuditRecord, verdict: Verdict, language: str = ENGLISH) -> str:
    """The markup, of at most about 100 kB.

    Raises:
        RecordError: there is no catalogue for the language.
    """
    checks = check_views(record, verdict)
    view, text = decision(record, verdict, checks), ""
    template = _templates(language).get_template("cell.html")
    for most in ROWS:
        text = template.render(d=view, checks=checks, most=most, name=record.name, css=_css(), glyphs=_glyphs())
        if len(text.encode("utf-8")) <= MOST_BYTES:
            break
    return wording.visible(text)


def line(record: AuditRecord, verdict: Verdict) -> str:
    """The audit in one short line for a terminal: name, verdict, and the first reason that there is room for."""
    name = wording.shortened(record.name, 80)
    reason = wording.shortened(str(verdict.reasons[0]), 200) if verdict.reasons else ""
    more = len(verdict.reasons) - 1
    rest = f" (+{more} more)" if more > 0 else ""
    return " ".join(wording.visible(f"<audit {name}: {verdict.outcome}. {reason}{rest}>").split())


@lru_cache(maxsize=8)
def _templates(language: str) -> Environment:
    return environment(language, _LONGEST)


@lru_cache(maxsize=1)
def _css() -> Markup:
    text = (TEMPLATES / "cell.css").read_text(encoding="utf-8")
    return Markup(re.sub(r"/\*.*?\*/\s*", "", text, flags=re.DOTALL).replace("\n", ""))  # noqa: S704  our own file


@lru_cache(maxsize=1)
def _glyphs() -> dict[str, Markup]:
    """The report's own shapes, drawn in place: a shape that is referred to needs an id, which another cell could have too."""
    text = (TEMPLATES / "glyphs.html").read_text(encoding="utf-8")
    return {name: Markup(shape) for name, shape in _SYMBOL.findall(text)}  # noqa: S704  our own file
