"""What every probe promises, whoever wrote it: checked for each one that `discover` finds.

A probe whose options have no defaults gets an entry in ``OPTIONS``; nothing else here names a probe.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes.errors import Unavailable
from probes.evidence import Measurement, Message, Need, ProbeInfo, Reading, Undefined
from probes.fake_subject import FakeSubject
from probes.probe import Context
from probes.registry import create, discover

OPTIONS: dict[str, dict[str, Any]] = {
    "fairness.groups": {"positive": "yes", "permutations": 100},
    "robustness.attack": {"examples": 24, "min_group": 3, "permutations": 100},
}
PROBES = discover()
ROWS = 240


class Watched(FakeSubject):
    """The shipped fake, noting which of its doors a probe goes through."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        top = rng.beta(3, 2, ROWS)
        labels = rng.choice(["no", "yes"], ROWS).astype(object)
        labels[::17] = None
        super().__init__(
            np.column_stack([1 - top, top]),
            ("no", "yes"),
            labels=labels.tolist(),
            groups={
                "gender": rng.choice(np.array(["f", "m", "x", None]), ROWS, p=[0.4, 0.4, 0.1, 0.1]).tolist(),
                "age": rng.choice(["old", "young"], ROWS).tolist(),
            },
            roles={"cluster": rng.integers(0, 80, ROWS).astype(str).tolist()},
        )
        self.opened = set[Need]()
        self.offers |= {Need.MEMBERS}
        self.members = {f"seed-{i}": self._member(i) for i in range(4)}

    def _member(self, seed: int) -> FakeSubject:
        top = np.random.default_rng(seed).random(ROWS)
        return FakeSubject(np.column_stack([1 - top, top]), self.classes, labels=self.data.labels)

    def predictions(self, ctx: Context) -> pa.Table:
        self.opened.add(Need.PREDICTIONS)
        return super().predictions(ctx)

    def predict(self, inputs, ctx):
        self.opened.add(Need.QUERIES)
        return super().predict(inputs, ctx)


@pytest.fixture(params=sorted(PROBES))
def measured(request, ctx):
    """A probe, its collected rows, its reading, and the subject it was collected from."""
    id_ = request.param
    subject = Watched()
    lacking = set(PROBES[id_].info.needs) - subject.offers
    if lacking:
        pytest.skip(f"the fake subject does not offer {', '.join(sorted(lacking))}")
    probe = create(id_, OPTIONS.get(id_, {}))
    try:
        collected = probe.collect(subject, ctx)
    except Unavailable as why:
        pytest.skip(f"it does not apply to the fake subject: {why}")
    return probe, collected, probe.summarise(collected, ctx), subject


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_there_are_probes():
    assert {"performance.classification", "performance.calibration", "fairness.groups"} <= set(PROBES)


@pytest.mark.parametrize("id_", sorted(PROBES))
def test_says_what_it_asks_and_cannot_say(id_):
    info = PROBES[id_].info
    assert info.asks.text.endswith("?"), "the docstring's first sentence is the question that the probe asks"
    assert info.defines
    assert info.limits, "say what would make the answer wrong, or what it does not cover"
    assert info.method is not None
    assert len({d.name for d in info.defines}) == len(info.defines)
    assert all(p.help for p in info.parameters), "every option has a help text"
    for d in info.defines:
        assert d.formula.text
        assert d.low is None or d.high is None or d.low < d.high
    assert ProbeInfo.model_validate_json(info.model_dump_json()) == info


def test_goes_only_through_the_doors_it_names(measured):
    probe, _, _, subject = measured
    assert subject.opened <= set(probe.info.needs)


def test_reading_survives_json(measured):
    _, _, reading, _ = measured
    text = reading.model_dump_json()
    assert Reading.model_validate_json(text) == reading
    json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} in a reading"))


def test_same_seed_same_reading(measured):
    probe, collected, reading, _ = measured
    again = create(probe.info.id, OPTIONS.get(probe.info.id, {}))
    assert again.summarise(collected, Context(instance="test", seed=7)) == reading


def test_stored_rows_give_the_same_reading(measured, ctx, tmp_path):
    probe, collected, reading, _ = measured
    pq.write_table(collected, tmp_path / "rows.parquet")
    stored = pq.read_table(tmp_path / "rows.parquet")
    assert probe.summarise(stored, ctx) == reading
    assert probe.summarise(stored, ctx) == reading


def test_input_is_untouched(measured, ctx):
    probe, collected, _, subject = measured
    before, given = _bytes(collected), _bytes(subject.predictions(ctx))
    probe.collect(subject, ctx)
    probe.summarise(collected, ctx)
    assert _bytes(collected) == before
    assert _bytes(subject.predictions(ctx)) == given


def test_every_measure_is_defined_as_measured(measured):
    probe, _, reading, _ = measured
    assert reading.measurements
    keys = [(m.name, m.slice) for m in reading.measurements]
    assert len(keys) == len(set(keys)), "one figure a name and slice"
    for m in reading.measurements:
        d = probe.info.definition(m.name)
        assert d is not None, m.name
        if isinstance(m, Undefined):
            assert m.reason.fill()
            continue
        assert (m.better, m.unit) == (d.better, d.unit)
        assert d.low is None or m.value >= d.low - 1e-12
        assert d.high is None or m.value <= d.high + 1e-12
        assert m.counts.smallest <= m.counts.denominator


def test_intervals_hold_their_value_and_widen_with_the_level(measured, ctx):
    probe, collected, reading, _ = measured
    wider = probe.summarise(collected, ctx.at(0.99))
    for a, b in zip(reading.measurements, wider.measurements, strict=True):
        assert (a.name, a.slice, a.kind) == (b.name, b.slice, b.kind)
        if not isinstance(a, Measurement) or not isinstance(b, Measurement):
            continue
        assert a.value == b.value
        if a.interval is None or b.interval is None:
            continue
        assert (a.interval.level, b.interval.level) == (0.95, 0.99)
        if a.interval.low is not None:
            assert b.interval.low <= a.interval.low + 1e-12 <= a.value + 2e-12
        if a.interval.high is not None:
            assert b.interval.high >= a.interval.high - 1e-12 >= a.value - 2e-12


def test_every_place_of_every_sentence_is_filled(measured):
    _, _, reading, _ = measured
    for text in _messages(reading.model_dump()):
        assert "{" not in text.replace("{{", ""), text


def _messages(value):
    if isinstance(value, dict):
        if set(value) == {"text", "params"}:
            yield Message(**value).fill()
        else:
            for v in value.values():
                yield from _messages(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _messages(v)


def test_empty_table_is_no_traceback(measured, ctx):
    """Nothing to count: every figure is undefined or a clear error, never a number."""
    from fine_tune.errors import PlumblineError

    probe, collected, _, _ = measured
    try:
        reading = probe.summarise(collected.slice(0, 0), ctx)
    except PlumblineError:
        return
    assert all(isinstance(m, Undefined) for m in reading.measurements)


def test_discovering_every_probe_loads_no_torch():
    heavy = ("torch", "transformers", "datasets", "sklearn", "fairlearn", "captum", "textattack", "opacus", "pandas")
    code = f"import sys\nfrom probes.registry import discover\ndiscover()\nprint([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
