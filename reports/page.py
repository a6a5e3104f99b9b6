"""The report as one HTML file that needs no network, no server and no script.

Pure and byte-deterministic. Everything that comes from data is text until escaped; markup is only what the templates and
`charts` write. What does not fit is left out with a sentence that says what, and where it lies in the bundle.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from probes.evidence import Evidence, Table, slice_name
from reports import charts, wording
from reports.assets import STYLE, address, picture_name, style
from reports.checks import CheckView
from reports.differences import differences
from reports.errors import RecordError
from reports.instances import ProbeView
from reports.language import catalogue, in_language, say, unit_said
from reports.record import AuditRecord, Verdict
from reports.sections import Report, report
from reports.showing import PLAIN, Showing

TEMPLATES = Path(__file__).parent / "templates"
MOST_BYTES = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Room:
    """How much of each kind is shown before the page refers to the bundle."""

    check_bytes: int = 600_000
    evidence_bytes: int = 500_000
    rows: int = 400
    listed: int = 200
    examples: int = 20

    def scaled(self, share: float) -> Room:
        """The same, smaller."""
        return Room(
            check_bytes=int(self.check_bytes * share),
            evidence_bytes=int(self.evidence_bytes * share),
            rows=max(int(self.rows * share), 5),
            listed=max(int(self.listed * share), 5),
            examples=max(int(self.examples * share), 2),
        )


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A probe's evidence as markup, and how much of it did not fit."""

    evidence: tuple[Markup, ...]
    left_out: int


def render(record: AuditRecord, verdict: Verdict, showing: Showing = PLAIN) -> str:
    """The whole page.

    Raises:
        RecordError: there is no catalogue for the language, or no page below two million bytes can hold the record.
    """
    view = report(record, verdict)
    for share in (1.0, 0.4, 0.1, 0.02):
        page = _page(view, record, showing, Room().scaled(share))
        if len(page.encode("utf-8")) <= MOST_BYTES:
            return page
    raise RecordError(
        f"the report of {record.name!r} would be larger than {MOST_BYTES} bytes",
        expected="a plan with fewer probe instances, or shorter names",
        fix="split the plan",
    )


def _page(view: Report, record: AuditRecord, showing: Showing, room: Room) -> str:
    language = showing.language
    env = _environment(language)
    css = style()
    shared = {
        "redact": not record.data.include_text,
        "trust": view.trust,
        "source": partial(_source, folder=showing.assets),
    }
    checks, left = _checks(env, view.checks, room, language)
    text = env.get_template("page.html").render(
        report=view,
        showing=showing,
        language=language.replace("_", "-"),
        css=Markup(css),  # noqa: S704  our own file
        sheet=address(showing.assets, STYLE) if showing.assets else "",
        css_hash=b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        checks=checks,
        checks_left_out=left,
        shown=_evidence(env, view, room, language, shared),
        include_text=record.data.include_text,
        room=room,
    )
    return wording.visible(text)


def _checks(env: Environment, views: tuple[CheckView, ...], room: Room, language: str) -> tuple[dict[str, Markup], int]:
    """Each check in full, by anchor, as far as the room reaches; those that need action come first."""
    template, spent, out = env.get_template("check.html"), 0, {}
    for check in views:
        strip = Markup("")
        if check.ruling.value is not None:
            i = check.ruling.interval
            ends = (i.low if i else check.ruling.value, check.ruling.value, i.high if i else check.ruling.value)
            strip = charts.strip(ends, check.ruling.limit, check.upper, say(check.named, language))
        markup = Markup(template.render(check=check, strip=strip))  # noqa: S704  rendered with autoescape
        spent += len(markup)
        if spent > room.check_bytes:
            break
        out[check.anchor] = markup
    return out, len(views) - len(out)


def _evidence(env: Environment, view: Report, room: Room, language: str, shared: Mapping[str, Any]) -> dict[str, Shown]:
    """Each probe's evidence, by anchor, as far as the room reaches."""
    spent, out = 0, {}
    for probe in (p for family in view.families for p in family.probes):
        markups = []
        for evidence in probe.evidence:
            markup = _one(env, in_language(evidence, language), probe, room, shared)
            if spent + len(markup) <= room.evidence_bytes:
                markups.append(markup)
                spent += len(markup)
        out[probe.anchor] = Shown(evidence=tuple(markups), left_out=len(probe.evidence) - len(markups))
    return out


def _one(env: Environment, evidence: Evidence, probe: ProbeView, room: Room, shared: Mapping[str, Any]) -> Markup:
    template = env.get_template(f"evidence/{evidence.kind}.html")
    return Markup(template.render(e=evidence, probe=probe, room=room, **shared))  # noqa: S704  autoescaped


def _source(png_base64: str, folder: str | None) -> Markup:
    """Where a picture of the page comes from: the page itself, or its folder."""
    if folder is None:
        return Markup("data:image/png;base64,{}").format(png_base64)
    return escape(address(folder, picture_name(png_base64)))


@lru_cache(maxsize=8)
def _environment(language: str) -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        finalize=_finalize,
    )
    env.install_gettext_translations(catalogue(language), newstyle=True)  # type: ignore[attr-defined]
    env.filters["say"] = partial(say, language=language)
    env.filters["figure"] = charts.figure
    env.filters["ends"] = lambda interval: say(wording.ends(interval), language)
    env.filters["measure"] = lambda name: say(wording.measure_said(name), language)
    env.filters["unit"] = partial(unit_said, language=language)
    env.filters["signed"] = wording.signed
    env.filters["words"] = lambda text: len(text.split())
    env.globals.update(
        strip=charts.strip,
        interval_plot=charts.interval_plot,
        bars=charts.bars,
        curve=charts.curve,
        key=charts.key,
        thinned=charts.thinned,
        most_drawn=charts.MOST_ROWS,
        outcome_words=wording.OUTCOME_WORDS,
        slice_said=wording.slice_said,
        slice_name=slice_name,
        differences=differences,
        numeric_columns=_numeric_columns,
        weight_class=_weight_class,
    )
    return env


def _finalize(value: Any) -> Any:
    """Holds every piece of text from data to a readable length."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else wording.shortened(value)


def _numeric_columns(table: Table) -> tuple[bool, ...]:
    """Which columns hold numbers alone, and are set flush right."""
    columns = zip(*table.rows, strict=True) if table.rows else ((),) * len(table.columns)
    return tuple(
        any(c is not None for c in cells) and all(c is None or isinstance(c, int | float) for c in cells)
        for cells in columns
    )


def _weight_class(weight: float) -> str:
    """Four steps a side: the step is what the page shows by colour and by underline alike."""
    step = min(int(abs(weight) * 4 + 0.5), 4)
    return f"w{'p' if weight > 0 else 'n'}{step}" if step else "w0"
