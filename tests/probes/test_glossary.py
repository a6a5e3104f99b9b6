"""Every measure of every probe explains itself: the report's glossary has nothing else to go by."""

from __future__ import annotations

import pytest

from probes.evidence import MeasureDefinition
from probes.registry import discover

MEASURES = [(id_, d) for id_, found in sorted(discover().items()) for d in found.info.defines]


@pytest.mark.parametrize(("probe", "measure"), MEASURES, ids=[f"{p}:{d.name}" for p, d in MEASURES])
def test_a_measure_has_a_formula_a_range_and_the_meaning_of_its_ends(probe: str, measure: MeasureDefinition) -> None:
    assert len(str(measure.formula)) > 8
    if measure.low is None or measure.high is None:
        # A count or an open scale: its ends mean nothing, so it says what it counts.
        assert measure.unit or measure.zero or measure.source
        return
    assert measure.low < measure.high
    if measure.low <= 0 <= measure.high:
        assert measure.zero is not None, "what does 0 mean?"
    if (measure.low, measure.high) == (0, 1):
        assert measure.one is not None, "what does 1 mean?"


def test_every_probe_says_what_would_make_it_wrong() -> None:
    assert MEASURES
    assert [id_ for id_, found in discover().items() if not found.info.limits] == []
