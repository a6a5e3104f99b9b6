"""Attacks on inputs that are numbers: against closed forms and a slow loop, and what the probe promises on tiny models."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune.data import AuditData, Roles
from fine_tune.tasks import Answer
from probes.answering import AskedSubject, ask, data_needs, plan_by_rows, subject_digest
from probes.engines import captum_robust
from probes.engines.continuous import ImageValues, Values
from probes.errors import ProbeError, Unavailable
from probes.evidence import ImageGrid, Measurement, Need, Reading, Undefined
from probes.fake_subject import FakeSubject
from probes.probe import Context, MemoryJournal
from probes.registry import create
from probes.robustness.masking import warnings
from probes.robustness.perturbing import ATTACKS

SIDE = 4
MEAN, STD = 0.4, 0.25
CLASSES = ("no", "yes")
EPSILONS = ("4/255", "16/255", "0.2")


class Eyes:
    """A processor with one mean and standard deviation, on grey images of 4 x 4."""

    channels = 1

    def pixels(self, inputs: Any) -> np.ndarray:
        arrays = np.stack([np.asarray(one, dtype=np.float32).reshape(-1, *np.shape(one)[:2]) for one in inputs])
        return ((arrays / 255 - MEAN) / STD).astype(np.float32)


class Net(torch.nn.Module):
    """``body`` from flat pixels to logits, in the manner of transformers."""

    def __init__(self, body: torch.nn.Module) -> None:
        super().__init__()
        self.body = body
        self.asked = 0

    def forward(self, pixel_values: torch.Tensor) -> Any:
        self.asked += 1
        if pixel_values.shape[-1] != SIDE:
            pixel_values = pixel_values[..., :SIDE, :SIDE]
        return SimpleNamespace(logits=self.body(pixel_values.flatten(1)))


class Reader:
    """What an image reader is to a probe; three images a batch."""

    settings = "test"

    def __init__(self, model: Net) -> None:
        self.model, self.eyes, self.processor = model.eval(), Eyes(), None

    def plan(self, inputs: Any, batch_tokens: int) -> list[list[int]]:
        return plan_by_rows(inputs, 3)

    def answer(self, inputs: Any) -> list[Answer]:
        with torch.inference_mode():
            logits = self.model(torch.from_numpy(self.eyes.pixels(inputs))).logits
        return [Answer(scores=(tuple(row),)) for row in logits.double().softmax(-1).tolist()]


class Images(AskedSubject):
    """Tiny images and a tiny model."""

    kind, name, task = "model", "tiny", "image-classification"

    def __init__(self, model: Net, data: AuditData, classes: tuple[str, ...] = CLASSES, **decision: Any) -> None:
        super().__init__(data, classes, **{"threshold": None, "positive": None, **decision})
        self._reader = Reader(model)
        self.offers = frozenset({Need.PREDICTIONS, Need.QUERIES, Need.GRADIENTS} | data_needs(data))
        weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        self.digest = subject_digest(
            hashlib.sha256(weights).hexdigest(), self.task, classes, self.threshold, self.positive
        )
        self.details, self.training, self.files = {}, None, {}

    def reader(self, device: str) -> Reader:
        return self._reader

    def _answers(self, inputs: Any, ctx: Context, label: str) -> list[Answer]:
        return ask(
            inputs, ctx, plan=lambda v: plan_by_rows(v, 5), answer=self._reader.answer, space=self.digest, label=label
        )


def linear(weights: np.ndarray, bias: float, scale: float = 1.0) -> Net:
    """Logit of "yes" less that of "no" is scale (w x + b) for pixels x of 0 to 1."""
    body = torch.nn.Linear(SIDE * SIDE, 2)
    flat = torch.tensor(weights.ravel(), dtype=torch.float32) * STD * scale
    with torch.no_grad():
        body.weight[0], body.weight[1] = -flat / 2, flat / 2
        shift = scale * (float(weights.sum()) * MEAN + bias)
        body.bias[0], body.bias[1] = -shift / 2, shift / 2
    return Net(body)


def curved(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(torch.nn.Sequential(torch.nn.Linear(SIDE * SIDE, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)))


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE))


def data_of(images: np.ndarray, labels: list[str | None], order: np.ndarray | None = None, **roles: Any) -> AuditData:
    places = np.arange(len(images)) if order is None else order
    rng = np.random.default_rng(5)
    hand, pen = rng.choice(["left", "right"], len(images)), rng.choice(["thin", "thick", "wide"], len(images))
    columns = {
        "image": [images[i].tolist() for i in places], "label": [labels[i] for i in places],
        "id": [f"r{i}" for i in places], "hand": hand[places].tolist(), "pen": pen[places].tolist(),
        **{name: [values[i] for i in places] for name, values in roles.items()},
    }  # fmt: skip
    given = Roles(
        input="image", label="label", id="id", groups=("hand", "pen"), labels={c: c for c in CLASSES},
        **{name: name for name in roles},
    )  # fmt: skip
    return AuditData.from_columns(columns, given, name="pictures")


def subject_of(model: Net, count: int = 24, **options: Any) -> Images:
    """Labels are what the model says, but for every fifth."""
    images = pictures(count)
    said = [a.scores[0][1] > 0.5 for a in Reader(model).answer([i.tolist() for i in images])]
    labels = [CLASSES[int(yes) ^ (i % 5 == 4)] for i, yes in enumerate(said)]
    return Images(model, data_of(images, labels, **options))


def make(**options: Any) -> Any:
    return create("robustness.adversarial", {"epsilons": EPSILONS, "permutations": 50, "steps": 8, **options})


def value(reading: Reading, name: str, **settings_: str) -> Any:
    for m in reading.measurements:
        if m.name == name and {a.name: a.value for a in m.slice} == settings_:
            return m
    raise AssertionError((name, settings_))


def sheet(table: pa.Table, column: str) -> np.ndarray:
    """A column as (rows, attacks, epsilons)."""
    return np.array(table[column].to_pylist(), dtype=object).reshape(-1, len(ATTACKS), len(EPSILONS))


# Oracles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1000.0], ids=["unsure", "sure to the last bit"])
def test_a_linear_model_is_as_robust_as_algebra_says(ctx: Context, scale: float) -> None:
    """x' = clip(x - s eps sign(w), 0, 1) is the worst there is, with s = +1 for "yes"; both attacks must find it."""
    rng = np.random.default_rng(3)
    weights, bias = rng.normal(size=(SIDE, SIDE)), 0.05
    images = pictures(40, seed=4)
    x = images / 255
    bias = -float(np.median((weights * x).sum(axis=(1, 2))))
    margin = (weights * x).sum(axis=(1, 2)) + bias
    truth = np.where(margin > 0, 1, -1)
    truth[::7] *= -1
    subject = Images(linear(weights, bias, scale), data_of(images, [CLASSES[int(t > 0)] for t in truth]))
    reading_of = make(epsilons=("0", "2/255", "8/255", "0.1", "1"))
    reading = reading_of.summarise(reading_of.collect(subject, ctx), ctx)
    assert value(reading, "clean_accuracy").value == pytest.approx(np.mean(truth * margin > 0))
    for name, size in (("0", 0.0), ("2/255", 2 / 255), ("8/255", 8 / 255), ("0.1", 0.1), ("1", 1.0)):
        worst = np.clip(x - truth[:, None, None] * size * np.sign(weights), 0, 1)
        kept = np.mean(truth * ((weights * worst).sum(axis=(1, 2)) + bias) > 0)
        for attack in ({}, {"attack": "fgsm"}, {"attack": "pgd"}):
            assert value(reading, "robust_accuracy", epsilon=name, **attack).value == pytest.approx(kept), (
                name,
                attack,
            )
    assert value(reading, "robust_accuracy", epsilon="1").value == 0
    assert value(reading, "accuracy_drop", epsilon="0").value == 0


class Source:
    """A `Continuous` without a processor."""

    unit, low, high, steps, device, settings = "number", 0.0, 1.0, None, "cpu", "test"

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def logits(self, data: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.model(data)


def slow_pgd(
    model: torch.nn.Module, x: torch.Tensor, label: int, epsilon: float, steps: int, start: Any
) -> torch.Tensor:
    """One input, one step at a time, cross-entropy in 64 bits."""
    model = model.double()
    origin = x.double()
    now = (origin + epsilon * start.double()).clamp(0, 1)
    for _ in range(steps):
        now = now.detach().requires_grad_()
        torch.nn.functional.cross_entropy(model(now[None]), torch.tensor([label])).backward(inputs=[now])
        moved = now.detach() + 2.5 * epsilon / steps * now.grad.sign()
        now = torch.minimum(torch.maximum(moved, origin - epsilon), origin + epsilon).clamp(0, 1)
    return now.detach()


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.5])
def test_descent_agrees_with_a_slow_loop(epsilon: float) -> None:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3))
    x, start = torch.rand(5, 6), torch.rand(5, 6) * 2 - 1
    targets = torch.tensor([0, 1, 2, 1, 0])
    fast = captum_robust.pgd(Source(model), Values(data=x), targets, epsilon, steps=6, start=start)
    slow = [slow_pgd(copy.deepcopy(model), x[i], int(targets[i]), epsilon, 6, start[i]) for i in range(5)]
    assert torch.allclose(fast.double(), torch.stack(slow), atol=1e-5)
    once = captum_robust.fgsm(Source(model), Values(data=x), targets, epsilon)
    data = x.clone().requires_grad_()
    torch.nn.functional.cross_entropy(model(data), targets).backward(inputs=[data])
    assert torch.allclose(once, (x + epsilon * data.grad.sign()).clamp(0, 1))


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not")
def test_sure_answers_still_have_a_direction() -> None:
    """Captum's own loss and threshold stop where 32 bits say that p = 1; ours goes on."""
    model = torch.nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2, 3, -4], [0, 0, 0, 0]]) * 500)
        model.bias.zero_()
    x, targets = torch.tensor([[0.9, 0.1, 0.9, 0.1]]), torch.tensor([0])
    assert model(x).softmax(-1)[0, 0].item() == 1.0
    moved = captum_robust.fgsm(Source(model), Values(data=x), targets, 0.1) - x
    assert torch.allclose(moved, torch.tensor([[-0.1, 0.1, -0.1, 0.1]]))
    from captum.robust import FGSM

    theirs = FGSM(lambda v: model(v).softmax(-1)).perturb(x, 0.1, targets)
    assert torch.equal(theirs, x), "captum no longer needs this; the comment in the door is out of date"


def test_what_fills_up_is_left_alone() -> None:
    torch.manual_seed(0)
    model, mask = torch.nn.Linear(4, 2), torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 0]])
    x = torch.full((2, 4), 0.5)
    values, targets = Values(data=x, mask=mask), torch.tensor([0, 1])
    start = torch.rand(2, 4) * 2 - 1
    for made in (
        captum_robust.fgsm(Source(model), values, targets, 0.1),
        captum_robust.pgd(Source(model), values, targets, 0.1, steps=3, start=start),
    ):
        assert torch.equal((made != x).float(), mask)


def test_log_odds_have_the_direction_of_cross_entropy() -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    (ours,) = torch.autograd.grad(captum_robust.log_odds_of_error(logits, targets).sum(), logits)
    (theirs,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"), logits)
    wrong = 1 - logits.softmax(-1).gather(1, targets[:, None])
    assert torch.allclose(ours * wrong, theirs)
    p = logits.softmax(-1).gather(1, targets[:, None])[:, 0]
    assert torch.allclose(captum_robust.log_odds_of_error(logits, targets), torch.log((1 - p) / p))


# Properties ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collected() -> pa.Table:
    return make().collect(subject_of(curved()), Context(instance="test", seed=7))


def with_flips(table: pa.Table, flipped: np.ndarray) -> pa.Table:
    """The same rows, where attacks on rows that were right succeed as told."""
    label = np.array(table["label"].to_pylist(), dtype=object)
    right = label == np.array(table["prediction"].to_pylist(), dtype=object)
    other = np.where(label == "yes", "no", "yes")
    after = np.where(right, np.where(flipped.reshape(-1), other, label), None)
    place = table.column_names.index("prediction_after")
    return table.set_column(place, "prediction_after", pa.array(after.tolist(), pa.string()))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_robust_accuracy_never_rises_with_epsilon(collected: pa.Table, seed: int, share: float) -> None:
    ctx = Context(instance="test", seed=7)
    shape = (len(collected) // 9, 3, 3)
    table = with_flips(collected, np.random.default_rng(seed).random(shape) < share)
    reading = make().summarise(table, ctx)
    clean = value(reading, "clean_accuracy").value
    for attack in ({}, *({"attack": a} for a in ATTACKS)):
        curve = [value(reading, "robust_accuracy", epsilon=e, **attack).value for e in EPSILONS]
        assert [clean, *curve] == sorted([clean, *curve], reverse=True)
        if attack:
            assert all(
                value(reading, "robust_accuracy", epsilon=e).value <= v for e, v in zip(EPSILONS, curve, strict=True)
            )
    for e in EPSILONS:
        drop = value(reading, "accuracy_drop", epsilon=e).value
        assert drop == pytest.approx(clean - value(reading, "robust_accuracy", epsilon=e).value)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_neither_order_of_rows_nor_names_of_groups_matter(collected: pa.Table, seed: int) -> None:
    ctx, rng = Context(instance="test", seed=7), np.random.default_rng(seed)
    reading = make().summarise(collected, ctx)
    assert make().summarise(collected.take(rng.permutation(len(collected))), ctx) == reading
    place = collected.column_names.index("group_hand")
    names = {"left": "zz", "right": "aa"}
    renamed = collected.set_column(
        place, "group_hand", pa.array([names[v] for v in collected["group_hand"].to_pylist()], pa.string())
    )
    other = make().summarise(renamed, ctx)
    for e in EPSILONS:
        before, after = (value(r, "robust_accuracy_difference", hand="", epsilon=e) for r in (reading, other))
        assert (before.value, before.interval) == (after.value, after.interval)


def test_changes_stay_within_epsilon_and_bounds(ctx: Context) -> None:
    from probes.robustness.perturbing import Perturbing

    subject = subject_of(curved())
    attack = Perturbing(
        subject=subject, inputs=subject.data.inputs, labels=subject.data.labels, epsilons=[0.1], steps=5, restarts=2,
        ctx=ctx,
    )  # fmt: skip
    for name in ATTACKS:
        for place in range(6):
            before, after = attack.pair(place, name, 0.1)
            assert np.abs(after - before).max() <= 0.1 + 1e-6
            assert after.min() >= 0
            assert after.max() <= 1


def test_rows_come_out_the_same_in_any_order(ctx: Context) -> None:
    model, images = curved(), pictures(20)
    labels = [CLASSES[i % 2] for i in range(20)]
    tables = []
    for order in (np.arange(20), np.random.default_rng(1).permutation(20)):
        fresh = Context(instance="test", seed=7, journal=MemoryJournal())
        tables.append(make(examples=14, restarts=2).collect(Images(model, data_of(images, labels, order)), fresh))
    assert tables[0].equals(tables[1], check_metadata=True)


def test_more_restarts_never_find_less(ctx: Context) -> None:
    subject = subject_of(curved())
    few, many = (make(restarts=n).collect(subject, ctx) for n in (1, 4))
    pgd = ATTACKS.index("pgd")
    flips = [(sheet(t, "prediction_after") != sheet(t, "label"))[:, pgd] for t in (few, many)]
    assert (flips[1] >= flips[0]).all()
    scores = [sheet(t, "score_after")[:, pgd].ravel() for t in (few, many)]
    held = (~flips[1]).ravel()
    assert all(b <= a for a, b in zip(scores[0][held], scores[1][held], strict=True) if a is not None)


# What every probe promises ------------------------------------------------------------------------------------------


def test_reading_survives_json_storing_and_asking_twice(collected: pa.Table, ctx: Context, tmp_path: Path) -> None:
    reading = make().summarise(collected, ctx)
    assert Reading.model_validate_json(reading.model_dump_json()) == reading
    json.loads(reading.model_dump_json(), parse_constant=lambda c: pytest.fail(f"{c} in a reading"))
    pq.write_table(collected, tmp_path / "rows.parquet")
    assert make().summarise(pq.read_table(tmp_path / "rows.parquet"), ctx) == reading
    again = make().collect(subject_of(curved()), Context(instance="test", seed=7, journal=MemoryJournal()))
    assert again.equals(collected, check_metadata=True)


def test_every_measure_is_defined_and_intervals_widen(collected: pa.Table, ctx: Context) -> None:
    probe = make()
    reading, wider = probe.summarise(collected, ctx), probe.summarise(collected, ctx.at(0.99))
    keys = [(m.name, m.slice) for m in reading.measurements]
    assert len(keys) == len(set(keys))
    assert {m.name for m in reading.measurements} == {d.name for d in probe.info.defines}
    for a, b in zip(reading.measurements, wider.measurements, strict=True):
        d = probe.info.definition(a.name)
        assert d is not None
        if isinstance(a, Measurement) and isinstance(b, Measurement):
            assert (a.better, a.unit, a.value) == (d.better, d.unit, b.value)
            if a.interval and b.interval:
                assert b.interval.low <= a.interval.low <= a.value <= a.interval.high <= b.interval.high
    for message in (*reading.remarks, *(e.title for e in reading.evidence)):
        assert "{" not in message.fill()


def test_nothing_to_count_has_no_value(collected: pa.Table, ctx: Context) -> None:
    reading = make().summarise(collected.slice(0, 0), ctx)
    assert reading.measurements
    assert all(isinstance(m, Undefined) for m in reading.measurements)
    assert reading.evidence == ()


def test_a_model_that_is_always_wrong_is_not_attacked(ctx: Context) -> None:
    images = pictures(6)
    model = curved()
    said = [a.scores[0][1] > 0.5 for a in Reader(model).answer([i.tolist() for i in images])]
    subject = Images(model, data_of(images, [CLASSES[1 - int(yes)] for yes in said]))
    reading = make().summarise(make().collect(subject, ctx), ctx)
    assert value(reading, "robust_accuracy", epsilon="0.2").value == 0
    assert isinstance(value(reading, "attack_success_rate", epsilon="0.2"), Undefined)


def test_model_and_data_are_left_as_they_were(ctx: Context) -> None:
    torch.manual_seed(2)
    body = torch.nn.Sequential(
        torch.nn.Linear(SIDE * SIDE, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)
    )
    body[1].running_mean.uniform_(-1, 1)
    subject = subject_of(Net(body))
    model = subject.reader("cpu").model
    before = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    digest, inputs = subject.data.digest, json.dumps(subject.data.inputs)
    subject.predictions(ctx)
    model.train()
    make().collect(subject, ctx)
    assert {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()} == before
    assert all(p.grad is None for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not any(m.training for m in model.modules())
    assert (subject.data.digest, json.dumps(subject.data.inputs)) == (digest, inputs)


def test_global_random_numbers_are_neither_used_nor_moved(collected: pa.Table) -> None:
    torch.manual_seed(99)
    state = torch.get_rng_state()
    fresh = Context(instance="test", seed=7, journal=MemoryJournal())
    subject = subject_of(curved())
    torch.set_rng_state(state)
    assert make().collect(subject, fresh).equals(collected)
    assert torch.equal(torch.get_rng_state(), state)


class Killed(Exception):
    pass


class Brittle(MemoryJournal):
    """Gives up after some appends."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def append(self, items: Any) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().append(items)


def test_lines_can_be_told_apart_and_left_out_by_row(collected: pa.Table, ctx: Context) -> None:
    """What a comparison of two runs does: pair by row, unit and content, and leave out whole rows."""
    keys = list(zip(*(collected[c].to_pylist() for c in ("row_id", "unit_id", "content")), strict=True))
    assert len(set(keys)) == len(keys)
    rows = np.array(collected["row_id"].to_pylist())
    reading = make().summarise(collected.take(np.flatnonzero(rows != rows[0])), ctx)
    assert value(reading, "clean_accuracy").counts.n == len(collected) // 9 - 1
    with pytest.raises(ProbeError, match="9 for each drawn row"):
        make().summarise(collected.slice(1), ctx)


def test_a_killed_run_goes_on_where_it_was(collected: pa.Table) -> None:
    model = curved()
    subject, journal = subject_of(model), Brittle(8)
    ctx = Context(instance="test", seed=7, journal=journal)
    with pytest.raises(Killed):
        make(pictures=0).collect(subject, ctx)
    journal.left = -1
    model.asked = 0
    resumed = make(pictures=0).collect(subject, ctx)
    part, model.asked = model.asked, 0
    whole = make(pictures=0).collect(subject_of(model), Context(instance="test", seed=7, journal=MemoryJournal()))
    assert resumed.equals(whole, check_metadata=True)
    assert 0 < part < model.asked
    model.asked = 0
    assert make(pictures=0).collect(subject, ctx).equals(whole)
    assert model.asked <= 1, "only what measuring the normalisation may ask"


# What it says -------------------------------------------------------------------------------------------------------


def test_pictures_follow_a_stated_rule(collected: pa.Table, ctx: Context) -> None:
    reading = make().summarise(collected, ctx)
    (grid,) = (e for e in reading.evidence if isinstance(e, ImageGrid))
    assert len(grid.tiles) == 12
    assert "seed 7" in grid.chosen_by.fill()
    assert [str(t.label).rpartition(", ")[2] for t in grid.tiles[:3]] == ["before", "after", "the change"]
    assert max(len(t.png_base64) for t in grid.tiles) < 2000
    shown = [row for row in collected.to_pylist() if row["png_before"] is not None]
    lines = collected.to_pylist()
    for row in shown:
        smaller = [
            r
            for r in lines
            if r["row_id"] == row["row_id"] and r["distance"] < row["distance"] and r["attack"] != "noise"
        ]
        assert row["prediction_after"] != row["label"]
        assert all(r["prediction_after"] == r["label"] for r in smaller)
    assert make(pictures=0).collect(subject_of(curved()), ctx)["png_before"].null_count == len(collected)


def test_the_sample_is_drawn_and_said(ctx: Context) -> None:
    labels: list[str | None] = [CLASSES[i % 2] for i in range(30)]
    labels[3] = labels[4] = None
    subject = Images(curved(), data_of(pictures(30), labels))
    table = make(examples=10).collect(subject, ctx)
    assert len(table) == 10 * 9
    first = table.take(np.arange(10) * 9)
    assert sorted(first["label"].to_pylist()) == ["no"] * 5 + ["yes"] * 5
    said = " ".join(m.fill() for m in make(examples=10).summarise(table, ctx).remarks)
    assert "10 of 28 rows with a label were drawn with seed 7" in said


def test_clusters_widen_intervals(ctx: Context) -> None:
    images, labels = pictures(24), [CLASSES[i % 2] for i in range(24)]
    alone = make().collect(Images(curved(), data_of(images, labels)), ctx)
    tied = make().collect(Images(curved(), data_of(images, labels, cluster=[f"c{i // 6}" for i in range(24)])), ctx)
    a, b = (value(make().summarise(t, ctx), "robust_accuracy", epsilon="4/255") for t in (alone, tied))
    assert a.value == b.value
    assert b.counts.clusters == 4
    assert b.interval.high - b.interval.low > a.interval.high - a.interval.low


def test_the_subjects_threshold_decides(ctx: Context) -> None:
    """With a threshold of 0.9 a slight push makes "yes" a "no" that argmax would not."""
    weights = np.full((SIDE, SIDE), 1.0)
    images = np.full((8, SIDE, SIDE), 128) + np.arange(8)[:, None, None]
    model = linear(weights, bias=-16 * 128 / 255 + 2.3)
    strict = Images(model, data_of(images, ["yes"] * 8), threshold=0.9, positive="yes")
    plain = Images(model, data_of(images, ["yes"] * 8))
    low, high = (make().summarise(make().collect(s, ctx), ctx) for s in (strict, plain))
    assert value(low, "clean_accuracy").value == value(high, "clean_accuracy").value == 1
    assert value(low, "robust_accuracy", epsilon="16/255").value == 0
    assert value(high, "robust_accuracy", epsilon="16/255").value == 1


def test_groups_are_named_and_small_ones_listed(collected: pa.Table, ctx: Context) -> None:
    reading = make(min_group=11).summarise(collected, ctx)
    lines = [m for m in reading.measurements if m.name == "group_robust_accuracy"]
    assert len(lines) == 5 * len(EPSILONS)
    small = [m for m in lines if isinstance(m, Undefined)]
    assert small
    assert all("fewer than the 11" in m.reason.fill() for m in small)


# A real checkpoint --------------------------------------------------------------------------------------------------


def test_a_checkpoint_with_batch_normalisation(tmp_path: Path, ctx: Context) -> None:
    """Nothing of the model moves, and at epsilon 0 accuracy is that of the table of predictions."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    from fine_tune.checkpoint import Checkpoint
    from probes.checkpoint_subject import CheckpointSubject

    torch.manual_seed(0)
    config = ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic",
        id2label=dict(enumerate(CLASSES)), label2id={c: i for i, c in enumerate(CLASSES)},
    )  # fmt: skip
    fresh = ResNetForImageClassification(config).train()
    for _ in range(4):
        fresh(pixel_values=torch.randn(8, 1, 16, 16))
    fresh.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.5], image_std=[0.5]).save_pretrained(tmp_path)
    data = data_of(pictures(16), [CLASSES[i % 2] for i in range(16)])
    subject = CheckpointSubject(Checkpoint.open(tmp_path), data)
    model = subject.reader("cpu").model
    before = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    assert any("running_mean" in name for name in before)
    probe = make(epsilons=("0", "64/255", "1"))
    table = probe.collect(subject, ctx)
    assert {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()} == before
    assert all(p.grad is None for p in model.parameters())
    reading = probe.summarise(table, ctx)
    said = subject.predictions(ctx)
    accuracy = np.mean([a == b for a, b in zip(said["label"].to_pylist(), said["prediction"].to_pylist(), strict=True)])
    assert accuracy > 0
    for settings_ in ({}, {"attack": "fgsm"}, {"attack": "noise"}, {"attack": "pgd"}):
        assert value(reading, "robust_accuracy", epsilon="0", **settings_).value == pytest.approx(accuracy)
    assert value(reading, "robust_accuracy", epsilon="1").value < accuracy


# Gradient masking ---------------------------------------------------------------------------------------------------


class Rounded(torch.nn.Module):
    """Steps without a slope: gradients say that nothing matters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, SIDE * SIDE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top = (torch.round(x * 8) / 8 * self.weight).sum(dim=1, keepdim=True)
        return torch.cat([-top, top], dim=1)


def test_a_model_without_a_slope_is_not_called_robust(ctx: Context) -> None:
    reading = make().summarise(make().collect(subject_of(Net(Rounded())), ctx), ctx)
    warned = [m.fill() for m in reading.remarks if "gradient masking" in m.fill()]
    right = round(24 * value(reading, "clean_accuracy").value)
    assert any(f"at {right} of {right} rows the model has no gradient" in text for text in warned)
    assert value(reading, "attack_success_rate", epsilon="4/255", attack="fgsm").value == 0


class Detached(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top = x.detach().sum(dim=1, keepdim=True)
        return torch.cat([-top, top], dim=1)


def test_a_broken_path_is_unavailable(ctx: Context) -> None:
    with pytest.raises(Unavailable, match="no gradient reaches the inputs"):
        make().collect(subject_of(Net(Detached())), ctx)


def test_other_failures_of_torch_are_not_taken_for_that() -> None:
    class Failing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        captum_robust.fgsm(Source(Failing()), Values(data=torch.zeros(1, 2)), torch.tensor([0]), 0.1)


def flips(**rows: list[list[int]]) -> np.ndarray:
    return np.stack([np.array(rows[a], dtype=bool) for a in ATTACKS], axis=1)


def test_warnings_follow_the_counts() -> None:
    none, every = [[0, 0]] * 20, [[0, 1]] * 20
    steep = np.ones(20)
    assert warnings(ATTACKS, ("1", "2"), flips(fgsm=none, noise=none, pgd=every), steep) == []
    (said,) = warnings(ATTACKS, ("1", "2"), flips(fgsm=every, noise=none, pgd=none), steep)
    assert "at epsilon 2, fgsm changes 20 rows that PGD does not, and PGD 0 that fgsm does not" in said.fill()
    (said,) = warnings(ATTACKS, ("1", "2"), flips(fgsm=none, noise=every, pgd=none), steep)
    assert "noise changes 20 rows" in said.fill()
    # Six against none: one-sided p = 1 / 64, which chance gives often enough over several epsilons.
    six = [[0, 1]] * 6 + [[0, 0]] * 14
    assert warnings(ATTACKS, ("1", "2"), flips(fgsm=six, noise=none, pgd=none), steep) == []
    seven = [[0, 1]] * 7 + [[0, 0]] * 13
    assert len(warnings(ATTACKS, ("1", "2"), flips(fgsm=seven, noise=none, pgd=none), steep)) == 1
    (said,) = warnings(ATTACKS, ("1", "2"), flips(fgsm=none, noise=none, pgd=[[1, 0]] * 3 + [[1, 1]] * 17), steep)
    assert "At epsilon 2, pgd does not change 3 rows that it changed at a smaller one" in said.fill()
    (said,) = warnings(ATTACKS, ("1", "2"), flips(fgsm=none, noise=none, pgd=every), np.r_[0, 0, np.ones(18)])
    assert "at 2 of 20 rows the model has no gradient" in said.fill()


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"epsilons": []}, "epsilons is empty"),
        ({"epsilons": ["8/0"]}, "'8/0' is no size"),
        ({"epsilons": ["eight"]}, "'eight' is no size"),
        ({"epsilons": [-0.1]}, "is no size"),
        ({"epsilons": [float("inf")]}, "is no size"),
        ({"epsilons": ["1/10", 0.1]}, "names a size twice"),
        ({"steps": 0}, "steps is 0"),
        ({"restarts": 0}, "restarts is 0"),
        ({"pictures": 7}, "pictures is 7"),
        ({"examples": 0}, "examples is 0"),
        ({"min_group": 0}, "min_group is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], seen: str) -> None:
    with pytest.raises(ProbeError, match=seen):
        create("robustness.adversarial", options)


def test_levels_taken_for_shares_are_refused(ctx: Context) -> None:
    with pytest.raises(ProbeError, match="epsilon is 8, and a pixel value goes from 0 to 1") as caught:
        make(epsilons=["2/255", 8]).collect(subject_of(curved(), 6), ctx)
    assert "8/255" in str(caught.value.fix)


def test_texts_are_not_attacked(ctx: Context) -> None:
    fake = FakeSubject([[0.4, 0.6]] * 4, CLASSES, labels=["yes"] * 4)
    with pytest.raises(Unavailable, match="no numbers"):
        make().collect(fake, ctx)


def test_needs_and_requirements_are_named() -> None:
    info = make().info
    assert set(info.needs) == {Need.GRADIENTS, Need.LABELS, Need.PREDICTIONS}
    assert info.requires == ("captum",)


def test_stub_follows_the_real_reader() -> None:
    """What the stub offers is what the adapter for images uses."""
    source = ImageValues.of(Reader(curved()), "cpu")  # type: ignore[arg-type]
    assert source.gain.flatten().tolist() == pytest.approx([1 / STD])
    assert source.offset.flatten().tolist() == pytest.approx([-MEAN / STD])
