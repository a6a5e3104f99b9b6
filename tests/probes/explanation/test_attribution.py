"""What attributions say over many inputs: by hand on few rows, in any order, on a real tiny model, and on pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fine_tune.checkpoint import Checkpoint
from probes.checkpoint_subject import CheckpointSubject
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Undefined, message
from probes.explanation.attribution import AttributionProbe
from probes.explanation.material import Facts
from probes.explanation.overlays import AGAINST, FOR, overlay
from probes.explanation.unit_means import by_name, median_estimate, pushes
from probes.fake_subject import FakeSubject
from probes.probe import Context

CTX = Context(instance="test", seed=7)


def rows_of(rows, *, methods=("integrated_gradients",), signed=None, classes=("no", "yes"), clustered=False):
    """Rows as `collect` gives them; what a row leaves out has a usual value."""
    usual = {
        "unit_id": 0, "cluster": None, "label": "yes", "prediction": "yes", "method": methods[0], "error": 0.01,
        "evaluations": 9, "converged": True, "rows": 0, "columns": 0, "shown": False, "overlay": None,
    }  # fmt: skip
    facts = Facts(
        methods={name: message(name.replace("_", " ")) for name in methods}, refused={}, left_out={},
        rule=message("All rows are explained."), absent=message("nothing"), drawn=len(rows), empty=0, truncated=0,
    )  # fmt: skip
    metadata = facts.encode(
        classes=list(classes), tolerance=0.05, kind="text", signed=list(methods if signed is None else signed),
        clustered=clustered,
    )  # fmt: skip
    names = ["row_id", *usual, "units", "weights"]
    full = [{"row_id": f"r{i}", **usual, **row} for i, row in enumerate(rows)]
    kinds = {
        "units": pa.list_(pa.string()),
        "weights": pa.list_(pa.float64()),
        "cluster": pa.string(),
        "overlay": pa.binary(),
    }
    columns = {n: pa.array([row[n] for row in full], kinds.get(n)) for n in names}
    return pa.table(columns).replace_schema_metadata(metadata)


def figures(reading):
    return {(m.name, m.slice[0].value): m for m in reading.measurements}


def test_errors_and_costs_by_hand():
    rows = rows_of(
        [
            {"units": ["a", "b"], "weights": [1.0, 0.0], "error": e, "converged": c, "evaluations": n}
            for e, c, n in [(0.01, True, 5), (0.02, True, 7), (0.04, True, 9), (0.2, False, 129), (0.03, True, 5)]
        ]
    )
    reading = AttributionProbe().summarise(rows, CTX)
    found = figures(reading)
    at = "integrated_gradients"
    assert found["inputs_explained", at].value == 5
    assert found["converged_share", at].value == pytest.approx(0.8)
    assert found["converged_share", at].interval.low == pytest.approx(0.3755, abs=1e-3), "Wilson, 4 of 5"
    assert found["completeness_error", at].value == pytest.approx(0.03)
    assert found["gradients_spent", at].value == pytest.approx(31.0)
    assert found["gradients_spent", at].interval is None
    said = " ".join(m.fill() for m in reading.remarks)
    assert "1 of 5 inputs did not converge; the largest error is 0.200" in said


def test_words_push_by_hand():
    """``Bad`` weighs 1, 2, 3, ... for the answer "no"; that is the same against "yes". Other words are too rare."""
    rows = [{"units": ["Bad", "bad", f"x{i}"], "weights": [2.0 * i, 0.0, 0.1], "prediction": "no"} for i in range(1, 5)]
    rows.append({"units": ["BAD"], "weights": [-5.0], "prediction": "yes"})
    (one,) = pushes(
        [{**row, "rows": 0, "columns": 0} for row in rows], ("no", "yes"), np.arange(5), least=5, level=0.95
    )
    values = -np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (one.name, one.towards, one.inputs, one.units) == ("bad", "yes", 5, 5)
    assert one.estimate.value == pytest.approx(-3.0)
    half = stats.t.isf(0.025, 4) * values.std(ddof=1) / np.sqrt(5)
    assert (one.estimate.low, one.estimate.high) == pytest.approx((-3 - half, -3 + half))
    assert one.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    reading = AttributionProbe(least=5).summarise(rows_of(rows), CTX)
    (line,) = next(e for e in reading.evidence if e.kind == "table" and e.raw == (0,)).rows
    assert line[0] == "bad"
    assert line[1].fill() == "towards no"
    assert line[2] == pytest.approx(3.0), "the weight is positive for the class that is named"
    assert figures(reading)["units_compared", "integrated_gradients"].value == 1
    assert figures(reading)["units_pushing", "integrated_gradients"].value == 1


def test_many_words_are_corrected_for():
    """Forty words of noise: without a correction about two would be claimed; with Holm's, the one that pushes."""
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in range(40)]
    rows = [
        {"units": [*words, "real"], "weights": [*rng.normal(size=40), 2 + 0.1 * rng.normal()], "prediction": "yes"}
        for _ in range(12)
    ]
    reading = AttributionProbe().summarise(rows_of(rows), CTX)
    found = figures(reading)
    assert found["units_compared", "integrated_gradients"].value == 41
    assert found["units_pushing", "integrated_gradients"].value == 1
    table = next(e for e in reading.evidence if e.kind == "table" and e.raw == (0,))
    assert table.rows[0][0] == "real"
    assert "15 of 41 compared" in table.title.fill()
    assert [row[-1] < 0.05 for row in table.rows] == [True] + [False] * 14


def test_copies_of_a_text_are_one_witness():
    """Twenty rows of two clusters are two independent inputs, which are too few to compare a word by."""
    rows = [{"units": ["w"], "weights": [1.0 + 0.01 * i], "cluster": f"c{i % 2}"} for i in range(20)]
    reading = AttributionProbe(least=3).summarise(rows_of(rows, clustered=True), CTX)
    assert figures(reading)["units_compared", "integrated_gradients"].value == 0
    assert figures(reading)["converged_share", "integrated_gradients"].counts.clusters == 2


def test_with_three_classes_a_word_speaks_for_the_class_that_was_predicted():
    rows = [{"units": ["w"], "weights": [s * (1 + 0.1 * i)], "prediction": c, "rows": 0, "columns": 0}
            for c, s in (("a", 1), ("b", -1)) for i in range(4)]  # fmt: skip
    found = pushes(rows, ("a", "b", "c"), np.arange(8), least=3, level=0.95)
    assert {(one.towards, np.sign(one.estimate.value)) for one in found} == {("a", 1.0), ("b", -1.0)}
    shown = AttributionProbe(least=3).summarise(rows_of(rows, classes=("a", "b", "c")), CTX)
    table = next(e for e in shown.evidence if e.kind == "table" and e.raw == (0,))
    assert {row[1].fill() for row in table.rows} == {"towards a", "away from b"}


def test_patches_are_summed_into_nine_regions():
    units = [f"{r},{c}" for r in range(4) for c in range(4)]
    found = by_name({"units": units, "weights": [1.0] * 16, "rows": 4, "columns": 4})
    assert len(found) == 9
    assert sum(found.values()) == 16
    assert found[0, 0] == 4
    assert found[2, 2] == 1


def test_methods_that_rank_alike_agree():
    rows = [
        {"units": list("abc"), "weights": [1.0, 2.0, 3.0 + i], "method": "relevance", "row_id": f"r{i}"}
        for i in range(3)
    ]
    others = [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0]]
    rows += [
        {"units": list("abc"), "weights": w, "method": "integrated_gradients", "row_id": f"r{i}"}
        for i, w in enumerate(others)
    ]
    reading = AttributionProbe().summarise(rows_of(rows, methods=("relevance", "integrated_gradients")), CTX)
    (found,) = [m for m in reading.measurements if m.name == "method_agreement"]
    assert found.value == pytest.approx((1 - 1 + 0.5) / 3)
    assert found.slice[0].value == "relevance, integrated_gradients"
    assert (found.interval.low, found.interval.high) == (-1.0, 1.0)


def test_weights_without_signs_push_nothing():
    reading = AttributionProbe().summarise(rows_of([{"units": ["a"], "weights": [1.0]}] * 9, signed=()), CTX)
    assert not [m for m in reading.measurements if m.name.startswith("units_")]
    assert any("no sign" in m.fill() for m in reading.remarks)


def test_weights_that_are_not_finite_are_left_out_and_counted():
    rows = rows_of(
        [
            {"units": ["a"], "weights": [float("nan")], "error": None, "converged": False},
            {"units": ["a"], "weights": [1.0]},
        ]
    )
    reading = AttributionProbe().summarise(rows, CTX)
    assert figures(reading)["inputs_explained", "integrated_gradients"].value == 1
    assert any("not finite" in m.fill() for m in reading.remarks)


def test_examples_carry_method_error_and_relative_weights():
    rows = [
        {
            "units": ["so", "bad"],
            "weights": [0.5, -2.0],
            "shown": True,
            "error": 0.013,
            "prediction": "no",
            "label": "yes",
        },
        {"units": ["so"], "weights": [0.0], "shown": True, "error": 0.4, "converged": False, "label": None},
    ]
    reading = AttributionProbe().summarise(rows_of(rows), CTX)
    (found,) = [e for e in reading.evidence if e.kind == "token_weights"]
    first, second = found.texts
    assert (first.tokens, first.weights, first.label, first.method) == (
        ("so", "bad"),
        (0.25, -1.0),
        "no",
        "integrated_gradients",
    )
    assert first.note.fill() == "label yes; completeness error 1.3 %"
    assert second.note.fill() == "no label; did not converge: completeness error 40.0 %"
    assert second.weights == (0.0,)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    words = np.array(["a", "b", "c", "d"])
    rows = [
        {
            "units": words[: 2 + i % 3].tolist(), "weights": rng.normal(size=2 + i % 3).tolist(), "error": float(rng.random()),
            "prediction": ("no", "yes")[i % 2], "cluster": f"c{i // 2}", "shown": i < 2,
        }
        for i in range(14)
    ]  # fmt: skip
    table = rows_of(rows, clustered=True)
    shuffled = table.take(pa.array(rng.permutation(14)))
    probe = AttributionProbe(least=3)
    assert probe.summarise(shuffled, CTX) == probe.summarise(table, CTX)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_median_lies_in_its_interval(values, level):
    array = np.array(values)
    found = median_estimate(array, np.arange(len(array)), level)
    assert found.low <= found.value <= found.high or len(values) == 1
    wider = median_estimate(array, np.arange(len(array)), 0.999)
    assert wider.low <= found.low
    assert wider.high >= found.high


def test_the_medians_interval_covers():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        found = median_estimate(rng.exponential(size=40), np.arange(40), 0.95)
        hits += found.low <= np.log(2) <= found.high
    assert hits / 400 >= 0.93


@pytest.fixture(scope="module")
def subject(tiny_checkpoint, request):
    import pandas as pd

    from fine_tune.data import AuditData

    words = ("good", "fine", "awful", "bad")
    frame = pd.DataFrame(
        {
            "text": [
                f"the {('film', 'plot')[i % 2]} was {words[i % 4]} {'really ' * (i % 5)}".strip() for i in range(30)
            ],
            "label": [("positive", "negative")[i % 4 // 2] for i in range(30)],
            "row": [f"r{i:02d}" for i in range(30)],
        }
    )
    data = AuditData.from_frame(frame, input="text", label="label", id="row", name="reviews")
    return CheckpointSubject(Checkpoint.open(tiny_checkpoint), data)


def test_a_model_is_explained_by_every_default_method(subject):
    probe = AttributionProbe(examples=20, show=4, least=3)
    rows = probe.collect(subject, CTX)
    assert len(rows) == 60
    assert sum(rows["shown"].to_pylist()) == 12
    reading = probe.summarise(rows, CTX)
    found = figures(reading)
    for name in ("relevance", "integrated_gradients", "input_x_gradient"):
        assert found["inputs_explained", name].value == 20
    assert found["converged_share", "integrated_gradients"].value == 1
    assert found["completeness_error", "integrated_gradients"].value <= 0.05
    assert len([e for e in reading.evidence if e.kind == "token_weights"]) == 3
    again = AttributionProbe(examples=20, show=4, least=3).collect(subject, Context(instance="test", seed=7))
    assert again.equals(rows, check_metadata=True)


def test_the_tolerance_is_the_plans(subject):
    def spent(tolerance):
        probe = AttributionProbe(examples=8, tolerance=tolerance, methods=("integrated_gradients",))
        rows = probe.collect(subject, CTX)
        assert max(rows["error"].to_pylist()) <= tolerance
        return sum(rows["evaluations"].to_pylist())

    assert spent(0.001) > spent(0.1)


def test_options_are_checked():
    for wrong in ({"examples": 0}, {"tolerance": 0.0}, {"tolerance": 1.0}, {"least": 2}, {"show": -1}):
        with pytest.raises(ProbeError):
            AttributionProbe(**wrong)


def test_without_a_model_it_cannot_run():
    with pytest.raises(Unavailable, match="no model at hand"):
        AttributionProbe().collect(FakeSubject([[0.5, 0.5]] * 4, ("no", "yes")), CTX)


def test_an_empty_table_has_no_figures():
    reading = AttributionProbe().summarise(rows_of([{"units": ["a"], "weights": [1.0]}]).slice(0, 0), CTX)
    assert reading.measurements
    assert all(isinstance(m, Undefined) for m in reading.measurements)
    assert not any(isinstance(m, Measurement) for m in reading.measurements)


def test_an_overlay_shows_where_and_which_way():
    from PIL import Image

    weights = np.zeros(16)
    weights[0], weights[15] = 1.0, -0.8
    png = overlay(np.full((32, 32, 1), 128, dtype=np.uint8), weights, (4, 4))
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert picture.shape == (96, 96, 3)
    assert np.abs(picture[48, 48] - 128).max() <= 8, "what has no weight keeps its grey"
    towards = np.abs(picture[8, 8] - np.array(FOR)).sum()
    assert towards < np.abs(picture[8, 8] - np.array(AGAINST)).sum()
    assert picture[88, 80][2] > picture[88, 80][0], "against is blue"
    assert (picture[0, 5] > 240).all(), "the strongest is framed"
    assert len(base64.b64encode(png)) < 3000
