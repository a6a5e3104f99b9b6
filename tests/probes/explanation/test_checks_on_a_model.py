"""Faithfulness and sanity on a real, tiny model: what every probe promises, and what a resumed run must give."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from fine_tune.checkpoint import Checkpoint
from probes.checkpoint_subject import CheckpointSubject
from probes.evidence import Measurement, Message, Reading, Undefined
from probes.probe import Context, MemoryJournal
from probes.registry import create

METHODS = ["input_x_gradient", "saliency"]
OPTIONS = {
    "explanation.faithfulness": {"methods": METHODS, "examples": 12, "extra": ["infidelity", "sensitivity"]},
    "explanation.sanity": {"methods": METHODS, "examples": 12, "stages": 2},
}


@pytest.fixture
def subject(tiny_checkpoint, review_data):
    return CheckpointSubject(Checkpoint.open(tiny_checkpoint), review_data)


@pytest.fixture(params=sorted(OPTIONS))
def measured(request, subject):
    probe, ctx = create(request.param, OPTIONS[request.param]), Context(instance="check", seed=7)
    rows = probe.collect(subject, ctx)
    return probe, rows, probe.summarise(rows, ctx), ctx


def test_it_keeps_every_promise_of_a_probe(measured, tmp_path, subject):
    probe, rows, reading, ctx = measured
    assert Reading.model_validate_json(reading.model_dump_json()) == reading
    pq.write_table(rows, tmp_path / "rows.parquet")
    assert probe.summarise(pq.read_table(tmp_path / "rows.parquet"), ctx) == reading
    keys = [(m.name, m.slice) for m in reading.measurements]
    assert len(keys) == len(set(keys))
    wider = probe.summarise(rows, ctx.at(0.99))
    for one, other in zip(reading.measurements, wider.measurements, strict=True):
        defined = probe.info.definition(one.name)
        assert isinstance(one, Measurement)
        assert (one.better, one.unit) == (defined.better, defined.unit)
        assert defined.low is None or one.value >= defined.low
        assert defined.high is None or one.value <= defined.high
        assert one.value == other.value
        assert other.interval.low <= one.interval.low <= one.value <= one.interval.high <= other.interval.high
    nothing = probe.summarise(rows.slice(0, 0), ctx)
    assert nothing.measurements
    assert all(isinstance(m, Undefined) for m in nothing.measurements)
    for text in messages(reading.model_dump()):
        assert "{" not in text, text


def test_a_resumed_run_gives_the_same_rows(measured, subject):
    probe, rows, _, ctx = measured
    assert probe.collect(subject, ctx).equals(rows)
    torn = MemoryJournal()
    torn.append(list(ctx.journal._kept.items())[::2])
    assert probe.collect(subject, Context(instance="check", seed=7, journal=torn)).equals(rows)


def test_clusters_of_the_data_reach_the_figures(measured):
    _, _, reading, _ = measured
    first = reading.measurements[0]
    assert first.counts.n == 12
    assert first.counts.clusters is not None
    assert first.counts.clusters < first.counts.denominator


def messages(value):
    if isinstance(value, dict):
        if set(value) == {"text", "params"}:
            yield Message(**value).fill()
        else:
            for v in value.values():
                yield from messages(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from messages(v)
