"""Which slices of a record a public edition may give no figure of, so that no small group can be counted or computed back.

A figure is too small where it rests on some rows but fewer than ``least``, or where some rows but fewer are all that it leaves
out of its group. Then the whole slice is hidden in that probe's finding, because its other figures would give the same count
away; and of each family of sibling slices whose total is known, further ones, the smallest first, until at least two are hidden
and ``least`` rows or more among them (complementary suppression; NCES 2011-603, SLDS Technical Brief 3, which reports
minimum sizes of 5 to 30, mostly 10). Zero is told: a class that a group does not have is a fact of the design more often than of
a person. Pure; it only decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from probes.evidence import AnyMeasurement, Axis, Counts, Slice
from reports.record import AuditRecord, DataCard, Finding

Key = frozenset[Axis]
_PEOPLE = ("group", "class")
_MISSING = Axis(kind="group", name="\0missing")


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """What is hidden everywhere, and per probe instance; and every count that must not be read anywhere.

    Attributes:
        everywhere: keys of slices too small in the data itself. Rows without a value count as a group of theirs.
        inside: by instance, keys of slices too small among the rows that it looked at.
        counts: by instance, and under "" for the data itself, the counts of what is hidden there, and what is left of their
            group or feature without them.
        least: rows that a figure must rest on.
    """

    everywhere: frozenset[Key]
    inside: Mapping[str, frozenset[Key]]
    counts: Mapping[str, frozenset[int]]
    least: int

    def keys(self, instance: str) -> frozenset[Key]:
        """The keys that count for one instance."""
        return self.everywhere | self.inside.get(instance, frozenset())

    def hides(self, instance: str, slice_: Slice, counts: Counts | None = None) -> bool:
        """No figure of this slice may be told."""
        if counts is not None and (small(counts.denominator, self.least) or small(counts.smallest, self.least)):
            return True
        axes = frozenset(slice_)
        return any(key <= axes for key in self.keys(instance))

    def untold(self, instance: str, count: int) -> bool:
        """The number is a count that may not be told where this instance speaks."""
        return small(count, self.least) or count in self.counts[""] or count in self.counts.get(instance, frozenset())

    def names(self, instance: str, text: str) -> bool:
        """The text speaks of a hidden slice."""
        return any(all(_said(axis, text) for axis in key) for key in self.keys(instance))

    def missing(self, feature: str) -> bool:
        """How many rows have no value of the feature may not be told."""
        return frozenset({_MISSING, Axis(kind="feature", name=feature)}) in self.everywhere


def small(count: int, least: int) -> bool:
    """Some rows, but too few."""
    return 0 < count < least


def hidden(record: AuditRecord, least: int) -> Hidden:
    """What a public edition of the record hides."""
    sizes = _sizes(record.data)
    everywhere = frozenset(key for family in sizes for key in _complemented(_small_of(family, least), family, least))
    flat = {key: count for family in sizes for key, count in family.items()}
    inside = {f.instance: _inside(f, flat, everywhere, least) for f in record.findings}
    counts = {f.instance: _untold_inside(f, flat, everywhere | inside[f.instance], least) for f in record.findings}
    counts[""] = _untold(record.data, sizes, everywhere)
    return Hidden(everywhere=everywhere, inside=inside, counts=counts, least=least)


def _sizes(data: DataCard) -> list[dict[Key, int]]:
    """The groups of each feature and the classes, with their rows: cells that add up to a known total."""
    out = [{frozenset({Axis(kind="class", name=n)}): c for n, c in data.labels.items()}]
    for feature in data.features:
        cells = {frozenset({Axis(kind="group", name=feature.name, value=v)}): c for v, c in feature.values.items()}
        if feature.missing:
            cells[frozenset({_MISSING, Axis(kind="feature", name=feature.name)})] = feature.missing
        out.append(cells)
    return out


def _small_of(family: Mapping[Key, int], least: int) -> set[Key]:
    return {key for key, count in family.items() if small(count, least)}


def _complemented(found: set[Key], family: Mapping[Key, int], least: int) -> set[Key]:
    """``found``, and as many of the smallest others as it takes that no hidden count can be computed from the rest."""
    out = set(found)
    rest = sorted((count, sorted(map(str, key)), key) for key, count in family.items() if key not in out and count)
    while out and rest and (len(out) < 2 or sum(family[k] for k in out) < least):
        out.add(rest.pop(0)[2])
    return out


def _inside(finding: Finding, flat: Mapping[Key, int], everywhere: frozenset[Key], least: int) -> frozenset[Key]:
    """The keys hidden in one finding: too small there, or all but too few of their group; then their complements."""
    families: dict[tuple[str, ...], dict[Key, int]] = {}
    found: set[Key] = set()
    for m in finding.reading.measurements if finding.reading else ():
        key = _key(m)
        if not key:
            continue
        cells = families.setdefault(tuple(sorted(f"{a.kind}:{a.name if a.kind == 'group' else ''}" for a in key)), {})
        d = m.counts.denominator
        cells[key] = min(cells.get(key, d), d) if d else cells.get(key, d)
        if small(d, least) or small(m.counts.n - d, least) or small(flat.get(key, d) - d, least):
            found.add(key)
    for cells in families.values():
        inherited = {k for k in cells if any(e <= k for e in everywhere)}
        found |= _complemented((found | inherited) & set(cells), cells, least)
    return frozenset(found)


def _key(m: AnyMeasurement) -> Key:
    """The people of a slice: its groups and classes. What varies beside them (a rate, a kind of noise) counts the same people."""
    return frozenset(a for a in m.slice if a.kind in _PEOPLE)


def _untold(data: DataCard, sizes: list[dict[Key, int]], everywhere: frozenset[Key]) -> frozenset[int]:
    """Sizes of hidden groups and classes, and what they leave of their feature and of all rows."""
    out: set[int] = set()
    for family in sizes:
        total = sum(family.values())
        for key in everywhere & set(family):
            out |= {family[key], total - family[key], data.rows - family[key]}
    return frozenset(out - {0})


def _untold_inside(finding: Finding, flat: Mapping[Key, int], keys: frozenset[Key], least: int) -> frozenset[int]:
    """Counts that hidden figures rest on, and what is left of their group."""
    out: set[int] = set()
    for m in finding.reading.measurements if finding.reading else ():
        axes, d = frozenset(m.slice), m.counts.denominator
        if not d or not (small(d, least) or any(k <= axes for k in keys)):
            continue
        out.add(d)
        size = flat.get(_key(m))
        if size is not None:
            out |= {size - d} if m.counts.n != size else {size, size - d}
    return frozenset(out - {0})


def _said(axis: Axis, text: str) -> bool:
    word = axis.value or axis.name
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None
