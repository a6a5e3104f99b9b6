"""Puts checks, evidence and measurements into the room that a page has, as markup, and says what did not fit.

Renders pieces through the page's templates; decides only what is shown, never what it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from probes.evidence import AnyMeasurement, Evidence, Message, message
from reports import charts
from reports.checks import CheckView
from reports.instances import ProbeView
from reports.language import in_language, say
from reports.room import Room, shared_out
from reports.sections import Report

_OPTIONAL_ENDS = re.compile("</(?:td|th|tr|tbody|thead|li|dt|dd)>")
_EMPTY = Markup("")
_EXAMPLES = ("text_pairs", "token_weights", "image_grid")
_PER_MEASURE = (100, 40, 20, 10, 5, 3, 2, 1)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A probe's evidence and measurements as markup; how much evidence did not fit, and what names it."""

    evidence: tuple[Markup, ...] = ()
    left: int = 0
    left_out: tuple[Message, ...] = ()
    measurements: Markup = _EMPTY


NOTHING = Shown()


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """One page's templates and room."""

    env: Environment
    room: Room
    language: str
    shared: Mapping[str, Any] = field(default_factory=dict)

    def checks(self, views: tuple[CheckView, ...]) -> dict[str, Markup]:
        """Each check in full, by anchor, as far as the room reaches. Those that need action have room of their own."""
        spent, out = {True: 0, False: 0}, {}
        most = {True: self.room.action_bytes, False: self.room.other_bytes}
        for check in views:
            if spent[check.needs_action] > most[check.needs_action]:
                continue
            markup = self._piece("check.html", check=check, strip=self._strip(check))
            spent[check.needs_action] += _size(markup)
            if spent[check.needs_action] <= most[check.needs_action]:
                out[check.anchor] = markup
        return out

    def evidence(self, view: Report, total: int) -> dict[str, Shown]:
        """What each probe found, by its anchor, in at most about ``total`` bytes.

        Every probe gets what it needs as far as that goes. Where it does not, all get alike, and one that a check needing action
        rests on gets half as much again.
        """
        urgent = {c.ruling.check.rule.instance for c in view.checks if c.needs_action}
        probes = [p for family in view.families for p in family.probes]
        whole = {p.anchor: self._whole(p) for p in probes}
        needs = {p.anchor: sum(map(_size, whole[p.anchor].evidence)) for p in probes}
        tables = {p.anchor: _size(whole[p.anchor].measurements) for p in probes}
        heads = {p.anchor: _size(self._measurements(p, _PER_MEASURE[-1])) for p in probes}
        weights = {p.anchor: 1.5 if p.instance in urgent else 1.0 for p in probes}
        # Pictures and examples before long tables of figures, which the bundle holds in a form that is easier to use.
        rooms = shared_out({a: needs[a] + heads[a] for a in needs}, weights, total)
        more = shared_out({a: tables[a] - heads[a] for a in needs}, weights, total - sum(rooms.values()))
        return {
            p.anchor: whole[p.anchor]
            if needs[p.anchor] + tables[p.anchor] <= rooms[p.anchor] + more[p.anchor]
            else self._cut(p, whole[p.anchor], rooms[p.anchor] + more[p.anchor])
            for p in probes
        }

    def _whole(self, probe: ProbeView) -> Shown:
        evidence = tuple(self._one(e, probe, self.room) for e in probe.evidence)
        return Shown(evidence=evidence, measurements=self._measurements(probe, len(probe.measurements)))

    def _cut(self, probe: ProbeView, whole: Shown, most: int) -> Shown:
        """As much as ``most`` bytes hold: first one piece of every kind, so that no kind crowds out another, then the rest.

        A piece that is too long is tried short. What is kept stands in its own order.
        """
        least = self._measurements(probe, _PER_MEASURE[-1])
        left = most - min(_size(least), most // 4)
        kept: dict[int, Markup] = {}
        first = self._first_of_each_kind(probe.evidence)
        for waiting, i in zip(range(len(first), 0, -1), first, strict=True):
            markup = self._within(probe, i, whole.evidence[i], left // waiting, left)
            if markup is not None:
                kept[i] = markup
                left -= _size(markup)
        for i in (i for i in range(len(probe.evidence)) if i not in first):
            markup = self._within(probe, i, whole.evidence[i], left, left)
            if markup is not None:
                kept[i] = markup
                left -= _size(markup)
        spent = sum(map(_size, kept.values()))
        table = whole.measurements
        for count in _PER_MEASURE:
            if spent + _size(table) <= most:
                break
            table = self._measurements(probe, count)
        return Shown(
            evidence=tuple(kept[i] for i in sorted(kept)),
            left_out=_titles([e for i, e in enumerate(probe.evidence) if i not in kept]),
            left=len(probe.evidence) - len(kept),
            measurements=table,
        )

    def _first_of_each_kind(self, evidence: tuple[Evidence, ...]) -> list[int]:
        """Where the first piece of every kind stands: examples, then tables and pictures, then notes.

        Of maps, one by a method that passed its checks on this model goes before the others.
        """
        first: dict[str, int] = {}
        for i in sorted(range(len(evidence)), key=lambda i: (not self._passed(evidence[i]), i)):
            first.setdefault(evidence[i].kind, i)
        return sorted(first.values(), key=lambda i: (evidence[i].kind == "note", evidence[i].kind not in _EXAMPLES, i))

    def _passed(self, evidence: Evidence) -> bool:
        if evidence.kind != "token_weights" or not evidence.texts:
            return False
        trust = self.shared["report"].trust.get(evidence.texts[0].method)
        return trust is not None and trust.state == "passed"

    def _within(self, probe: ProbeView, i: int, whole: Markup, fair: int, most: int) -> Markup | None:
        """A piece of evidence in full where it is within its fair share, else short where that fits at all."""
        if _size(whole) <= fair:
            return whole
        for room in self.room.shorter():
            short = self._one(probe.evidence[i], probe, room)
            if _size(short) <= fair:
                return short
        return short if _size(short) <= most else None

    def _measurements(self, probe: ProbeView, per_measure: int) -> Markup:
        """The table of measurements, the first ``per_measure`` slices of each measure."""
        if not probe.measurements:
            return _EMPTY
        groups: dict[str, list[AnyMeasurement]] = {}
        for m in probe.measurements:
            groups.setdefault(m.name, []).append(m)
        shown = tuple((name, _methods(found), found[:per_measure]) for name, found in groups.items())
        left = len(probe.measurements) - sum(len(found) for _, _, found in shown)
        return self._piece("measurements.html", probe=probe, groups=shown, left=left)

    def _one(self, evidence: Evidence, probe: ProbeView, room: Room) -> Markup:
        return replace(self, room=room)._piece(
            f"evidence/{evidence.kind}.html", e=in_language(evidence, self.language), probe=probe
        )

    def _piece(self, template: str, **names: Any) -> Markup:
        text = self.env.get_template(template).render(room=self.room, **self.shared, **names)
        return Markup(compact(text))  # noqa: S704  rendered with autoescape

    def _strip(self, check: CheckView) -> Markup:
        ruling = check.ruling
        if ruling.value is None or ruling.outcome == "pass":
            # Of what passed, the picture is the probe's own, one click away.
            return _EMPTY
        i = ruling.interval
        ends = (i.low if i else ruling.value, ruling.value, i.high if i else ruling.value)
        return charts.strip(ends, ruling.limit, check.upper, say(check.named, self.language))


def compact(markup: str) -> str:
    """Markup without the end tags that HTML lets one leave out; text from data is escaped and holds none."""
    return _OPTIONAL_ENDS.sub("", markup)


def _methods(found: list[AnyMeasurement]) -> str:
    """The interval methods of one measure, said once at its head."""
    names = {m.interval.method.name if m.interval else "" for m in found if m.kind == "measurement"}
    return ", ".join(sorted(n for n in names if n))


def _titles(evidence: list[Evidence]) -> tuple[Message, ...]:
    """What names the pieces; notes have no titles, and are named together."""
    titles = tuple(e.title for e in evidence if e.kind != "note")
    return titles if len(titles) == len(evidence) else (*titles, message("notes"))


def _size(text: str) -> int:
    return len(text.encode("utf-8"))
