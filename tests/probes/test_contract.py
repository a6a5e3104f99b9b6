"""What every probe promises, whoever wrote it: checked for each one that `discover` finds.

Probes that need a model meet a tiny one, trained here; the others meet the shipped fake, which is quicker. A probe whose
options have no defaults, or are made for more than a test, gets an entry in ``OPTIONS``; nothing else here names a probe.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData, Roles
from fine_tune.privacy.facts import Facts, Release
from fine_tune.privacy.ledger import settle
from fine_tune.recipe import Recipe
from fine_tune.train import fine_tune
from probes.checkpoint_subject import CheckpointSubject
from probes.errors import Unavailable
from probes.evidence import Measurement, Message, Need, ProbeInfo, Reading, Undefined
from probes.fake_subject import FakeSubject
from probes.probe import Context
from probes.registry import create, discover

OPTIONS: dict[str, dict[str, Any]] = {
    "fairness.counterfactual": {"positive": "yes", "permutations": 100, "min_templates": 2},
    "fairness.groups": {"positive": "yes", "permutations": 100},
    "fairness.impact_ratio": {"positive": "yes", "sex": "gender", "race_ethnicity": "age"},
    "fairness.scores": {"positive": "yes"},
    "fairness.identity_swaps": {"positive": "yes", "permutations": 100, "min_templates": 2},
    "fairness.mitigation": {"positive": "yes", "criterion": "equalized_odds"},
    "explanation.attribution": {"examples": 16, "least": 3, "show": 2},
    "explanation.faithfulness": {"examples": 10, "steps": 3, "orders": 2},
    "explanation.influence": {"examples": 4, "nearest": 2},
    "explanation.plausibility": {"examples": 16, "orders": 3},
    "explanation.sanity": {"examples": 8, "stages": 2, "draws": 1},
    "explanation.shortcuts": {"rows": 60, "words": 6, "texts": 10, "min_texts": 3, "swaps": 4},
    "privacy.membership": {"min_group": 3, "deep": "both", "shadow_models": 4},
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
            inputs=[f"{('she', 'he', 'it')[i % 3]} read text {i}" for i in range(ROWS)],
            groups={
                "gender": rng.choice(np.array(["f", "m", "x", None]), ROWS, p=[0.4, 0.4, 0.1, 0.1]).tolist(),
                "age": rng.choice(["old", "young"], ROWS).tolist(),
            },
            roles={
                "cluster": rng.integers(0, 80, ROWS).astype(str).tolist(),
                "counterpart": [None if i % 50 == 0 else f"t{i // 3}" for i in range(ROWS)],
            },
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


def ledger_of(training: dict[str, Any]) -> dict[str, Any]:
    """The ledger that these steps would have had under privacy, so that its probe has something to read."""
    rows, steps = training["training_rows"], training["steps"]
    release = Release(purpose="training", noise_multiplier=1.0, sampling_rate=8 / rows, steps=steps)
    facts = Facts(
        unit="example", units=rows, rows=rows, expected_batch=8, sampling="poisson", sampling_rate=8 / rows,
        max_grad_norm=1.0, noise_multiplier=1.0, delta=0.001, accountant="rdp", planned_steps=steps, taken_steps=steps,
        finite=True, self_tested=True, gradients="bookkeeping", secure_rng=True, releases=(release,),
    )  # fmt: skip
    return settle(facts).model_dump(mode="json", by_alias=True)


class WatchedModel(CheckpointSubject):
    """A checkpoint, noting which of its doors a probe goes through; its own way to its model does not count."""

    def __init__(self, checkpoint: Checkpoint, data: AuditData, training: AuditData) -> None:
        super().__init__(checkpoint, data, training_data=training)
        self.opened = set[Need]()
        self._inside = False
        self.training = {**(self.training or {}), "ledger": ledger_of(self.training or {})}

    @contextmanager
    def _at(self, door: Need) -> Iterator[None]:
        outside = not self._inside
        if outside:
            self.opened.add(door)
            self._inside = True
        try:
            yield
        finally:
            self._inside = self._inside and not outside

    def predictions(self, ctx: Context) -> pa.Table:
        with self._at(Need.PREDICTIONS):
            return super().predictions(ctx)

    def predict(self, inputs, ctx):
        with self._at(Need.QUERIES):
            return super().predict(inputs, ctx)

    def reader(self, device):
        with self._at(Need.GRADIENTS):
            return super().reader(device)


@pytest.fixture(scope="module")
def model_parts(tiny_base, tmp_path_factory):
    """A tiny model after four steps of training, what it was trained on, and 48 texts with every role."""
    words = ("good", "fine", "great", "bad", "awful", "poor")
    people = ("she", "he", "they")
    texts = [
        f"the {('movie', 'film', 'plot')[i % 3]} was {words[i % 6]} and {people[i // 6 % 3]} was {words[(i * 5 + 1) % 6]} "
        f"{' '.join(['very'] * (i % 4))}".strip()
        for i in range(48)
    ]
    columns = {
        "text": texts,
        "label": [("yes", "no")[i % 6 // 3] for i in range(48)],
        "person": [(people[i // 6 % 3], None)[i % 7 == 0] for i in range(48)],
        "template": [f"t{i // 2}" for i in range(48)],
        "why": [json.dumps([[text.index(words[i % 6]), text.index(words[i % 6]) + 3]]) for i, text in enumerate(texts)],
        "id": [f"r{i:02d}" for i in range(48)],
    }
    audit = Roles(input="text", label="label", groups=("person",), cluster="template", rationale="why", id="id")
    training = AuditData.from_columns(columns, Roles(input="text", label="label", id="id"), name="training")
    recipe = Recipe.of(
        {"base": str(tiny_base), "steps": 4, "batch_size": 8, "validation_share": 0, "holdout": 0.3, "canaries": 10}
    )
    made = fine_tune(recipe, training, tmp_path_factory.mktemp("contract") / "model", progress=False)
    return made, AuditData.from_columns(columns, audit, name="texts"), training


@pytest.fixture(scope="module")
def collected_from_model():
    """What probes that need a model have collected, so that it is done once for all tests."""
    return {}


@pytest.fixture(params=sorted(PROBES))
def measured(request, ctx, collected_from_model):
    """A probe, its collected rows, its reading, and the subject it was collected from."""
    id_ = request.param
    subject = Watched()
    probe = create(id_, OPTIONS.get(id_, {}))
    needs = set(PROBES[id_].info.needs)
    if needs <= subject.offers:
        try:
            collected = probe.collect(subject, ctx)
        except Unavailable as error:
            if subject.task not in str(error):
                raise
            pytest.skip(f"it cannot run on texts: {error}")
        return probe, collected, probe.summarise(collected, ctx), subject
    if id_ not in collected_from_model:
        model = WatchedModel(*request.getfixturevalue("model_parts"))
        lacking = needs - model.offers
        if lacking:
            pytest.skip(f"neither the fake subject nor the tiny model offers {', '.join(sorted(lacking))}")
        try:
            collected = probe.collect(model, ctx)
        except Unavailable as error:
            # Made for other inputs; whatever else keeps it from running is a failure here.
            if model.task not in str(error):
                raise
            pytest.skip(f"it cannot run on texts: {error}")
        collected_from_model[id_] = probe, collected, probe.summarise(collected, ctx), model
    return collected_from_model[id_]


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
    assert subject.opened <= {*probe.info.needs, *probe.info.uses}


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
