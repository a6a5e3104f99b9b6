"""Puts checks, evidence and measurements into the room that a page has, as markup, and says what did not fit.

Renders pieces through the page's templates; decides only what is shown, never what it says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from probes.evidence import AnyMeasurement, Evidence, Message
from reports import charts
from reports.checks import CheckView
from reports.instances import ProbeView
from reports.language import in_language, say
from reports.room import Room, shared_out
from reports.sections import Report

_OPTIONAL_ENDS = re.compile("</(?:td|th|tr|tbody|thead|li|dt|dd)>")
_EMPTY = Markup("")
_PER_MEASURE = (100, 40, 20, 10, 5, 3, 2, 1)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A probe's evidence and measurements as markup, and the titles of the evidence that did not fit."""

    evidence: tuple[Markup, ...] = ()
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

        Every probe gets what it needs as far as that goes. Where it does not, a probe that has much to show gets more than
        one that has little, though less than in proportion, and one that a check needing action rests on gets twice as much.
        """
        urgent = {c.ruling.check.rule.instance for c in view.checks if c.needs_action}
        probes = [p for family in view.families for p in family.probes]
        whole = {p.anchor: self._whole(p) for p in probes}
        needs = {
            p.anchor: sum(map(_size, whole[p.anchor].evidence)) + _size(whole[p.anchor].measurements) for p in probes
        }
        weights = {p.anchor: math.sqrt(needs[p.anchor] + 1) * (2 if p.instance in urgent else 1) for p in probes}
        rooms = shared_out(needs, weights, total)
        return {
            p.anchor: whole[p.anchor] if needs[p.anchor] <= rooms[p.anchor] else self._cut(p, whole[p.anchor], rooms[p.anchor])
            for p in probes
        }  # fmt: skip

    def _whole(self, probe: ProbeView) -> Shown:
        evidence = tuple(self._one(e, probe, self.room) for e in probe.evidence)
        return Shown(evidence=evidence, measurements=self._measurements(probe, len(probe.measurements)))

    def _cut(self, probe: ProbeView, whole: Shown, most: int) -> Shown:
        """As much as ``most`` bytes hold, evidence in its order; a piece that is too long is tried short."""
        kept, left_out = [], []
        least = self._measurements(probe, _PER_MEASURE[-1])
        left = most - min(_size(least), most // 3)
        for evidence, markup in zip(probe.evidence, whole.evidence, strict=True):
            if _size(markup) > left:
                markup = self._one(evidence, probe, self.room.short())  # noqa: PLW2901
            if _size(markup) > left:
                left_out.append(_title(evidence))
                continue
            kept.append(markup)
            left -= _size(markup)
        spent = sum(map(_size, kept))
        table = whole.measurements
        for count in _PER_MEASURE:
            if spent + _size(table) <= most:
                break
            table = self._measurements(probe, count)
        return Shown(evidence=tuple(kept), left_out=tuple(left_out), measurements=table)

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


def _title(evidence: Evidence) -> Message:
    return evidence.text if evidence.kind == "note" else evidence.title


def _size(text: str) -> int:
    return len(text.encode("utf-8"))
