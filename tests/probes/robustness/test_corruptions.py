"""Damaged images: each kind against what it says it does, the form of inputs kept, paired drops, and what the probe promises."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fine_tune.data import AuditData, Roles
from fine_tune.errors import DataError
from fine_tune.tasks import Answer
from probes.answering import AskedSubject, ask, data_needs, plan_by_rows
from probes.errors import ProbeError, Unavailable
from probes.evidence import ImageGrid, Measurement, Need, Reading, Undefined
from probes.fake_subject import FakeSubject
from probes.probe import Context, MemoryJournal
from probes.registry import create
from probes.robustness.corrupting import KINDS, SEVERITIES, corrupt, pixels, undamaged
from probes.robustness.shares import Shares

CLASSES = ("dark", "light")


def png(array: npt.NDArray[Any], mode: str | None = None) -> bytes:
    kept = io.BytesIO()
    image = Image.fromarray(np.asarray(array, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(kept, format="PNG")
    return kept.getvalue()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Bright(AskedSubject):
    """Says "light" of images whose mean is above one half: a black box that reads whole images."""

    kind, name, task, digest = "callable", "bright", "image-classification", "bright"

    def __init__(self, data: AuditData) -> None:
        super().__init__(data, CLASSES, threshold=None, positive=None)
        self.offers = frozenset({Need.PREDICTIONS, Need.QUERIES} | data_needs(data))
        self.details, self.training, self.files = {}, None, {}
        self.asked = 0

    def _answers(self, inputs: Sequence[Any], ctx: Context, label: str) -> list[Answer]:
        return ask(inputs, ctx, plan=lambda v: plan_by_rows(v, 16), answer=self._look, space=self.digest, label=label)

    def _look(self, inputs: Sequence[Any]) -> list[Answer]:
        self.asked += len(inputs)
        means = [float(pixels(one).mean()) / 255 for one in inputs]
        return [Answer(scores=((1 - m, m),)) for m in means]


def data_of(images: Sequence[Any], labels: Sequence[str | None], order: Sequence[int] | None = None) -> AuditData:
    places = range(len(images)) if order is None else order
    side = ["up" if i % 3 else "down" for i in range(len(images))]
    columns = {
        "image": [images[i] for i in places], "label": [labels[i] for i in places],
        "id": [f"r{i:02}" for i in places], "side": [side[i] for i in places],
    }  # fmt: skip
    given = Roles(input="image", label="label", id="id", groups=("side",), labels={c: c for c in CLASSES})
    return AuditData.from_columns(columns, given, name="pictures")


def material(count: int = 20) -> tuple[list[bytes], list[str | None]]:
    """Dark and light images by turns, wrongly labelled every sixth."""
    images = [png(rng(i).integers(0, 160, (12, 10)) + 90 * (i % 2)) for i in range(count)]
    return images, [CLASSES[(i % 2) ^ (i % 6 == 5)] for i in range(count)]


def subject(count: int = 20, order: Sequence[int] | None = None) -> Bright:
    return Bright(data_of(*material(count), order))


def make(**options: Any) -> Any:
    return create("robustness.corruptions", {"permutations": 50, **options})


def value(reading: Reading, name: str, **settings_: str) -> Any:
    return next(m for m in reading.measurements if m.name == name and {a.name: a.value for a in m.slice} == settings_)


# Each kind does what it says ------------------------------------------------------------------------------------------


def test_noise_has_the_stated_deviation() -> None:
    flat = np.full((200, 200), 128)
    for severity in (1, 3):
        made = corrupt(flat, "noise", severity, rng()).astype(float) / 255
        assert made.std() == pytest.approx(KINDS["noise"].amounts[severity - 1], rel=0.03)
        assert made.mean() == pytest.approx(128 / 255, abs=0.002)


def test_brightness_is_added_and_cut() -> None:
    made = corrupt(np.array([[0, 100, 250]]), "brightness", 2, rng())
    assert made.tolist() == [[51, 151, 255]]


def test_contrast_shrinks_towards_the_mean() -> None:
    # Mean 100; at severity 2, 0.3 of the distance is left.
    assert corrupt(np.array([[0, 100, 200]]), "contrast", 2, rng()).tolist() == [[70, 100, 130]]


def test_occlusion_covers_the_stated_share_with_grey() -> None:
    for severity, share in zip(SEVERITIES, KINDS["occlusion"].amounts, strict=True):
        made = corrupt(np.zeros((100, 100), np.int64), "occlusion", severity, rng())
        assert np.isin(made, [0, 128]).all()
        assert (made == 128).mean() == pytest.approx(share, abs=0.01)
    places = {
        np.argwhere(corrupt(np.zeros((40, 40), np.int64), "occlusion", 1, rng(s)) == 128)[0].tobytes() for s in range(9)
    }
    assert len(places) > 5


def test_pixelation_leaves_the_stated_number_of_pixels() -> None:
    x = np.arange(400).reshape(20, 20) % 251
    made = corrupt(x, "pixelation", 2, rng())
    # Half as many a side: each 2 x 2 block is its mean.
    blocks = x.reshape(10, 2, 10, 2).mean(axis=(1, 3))
    assert np.abs(made - np.kron(blocks, np.ones((2, 2)))).max() <= 1


def test_blur_spreads_a_point_and_keeps_its_light() -> None:
    point = np.zeros((101, 101), np.int64)
    point[40:61, 40:61] = 255
    made = corrupt(point, "blur", 3, rng()).astype(float)
    assert made.sum() == pytest.approx(point.sum(), rel=0.01)
    # Far from the corners the edge of a square becomes the normal distribution with sigma = 0.03 x 101 pixels.
    from scipy.stats import norm

    assert made[50, 57] / 255 == pytest.approx(norm.cdf(3.5 / 3.03) - norm.cdf(-17.5 / 3.03), abs=0.01)


def test_compression_is_jpeg_of_the_stated_quality() -> None:
    x = rng().integers(0, 256, (16, 16, 3)).astype(np.uint8)
    kept = io.BytesIO()
    Image.fromarray(x).save(kept, format="JPEG", quality=7)
    assert np.array_equal(corrupt(x, "compression", 5, rng()), np.asarray(Image.open(kept)))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_severities_grow(kind: str) -> None:
    y, x = np.mgrid[:64, :64]
    image = (100 + 60 * np.sin(x / 3) + 40 * np.cos(y / 5)).round().astype(np.int64)
    moved = [np.abs(corrupt(image, kind, s, rng()).astype(float) - image).mean() for s in SEVERITIES]
    assert moved[0] > 0
    assert moved == sorted(moved)
    assert len(KINDS[kind].amounts) == len(SEVERITIES)


# Form ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)), severity=st.sampled_from(SEVERITIES), seed=st.integers(0, 99),
    shape=st.sampled_from([(1, 1), (3, 7), (8, 8), (5, 4, 3), (1, 9, 3)]),
)  # fmt: skip
def test_form_is_kept_and_bytes_and_arrays_agree(kind: str, severity: int, seed: int, shape: tuple[int, ...]) -> None:
    array = rng(seed).integers(0, 256, shape)
    stored = png(array)
    before = array.copy()
    made, file = corrupt(array, kind, severity, rng(seed)), corrupt(stored, kind, severity, rng(seed))
    assert np.array_equal(array, before)
    assert made.shape == shape
    assert made.dtype == np.uint8
    assert isinstance(file, bytes)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), made)
    assert np.array_equal(undamaged(array), array)


def test_transparency_stays() -> None:
    array = rng().integers(0, 256, (6, 6, 4))
    made = corrupt(array, "noise", 3, rng())
    assert made.shape == (6, 6, 4)
    assert np.array_equal(made[:, :, 3], array[:, :, 3])
    assert not np.array_equal(made[:, :, :3], array[:, :, :3])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_kind_of_file_is_damaged(mode: str) -> None:
    array = rng().integers(0, 256, (8, 8, 3))
    kept = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).convert(mode).save(kept, format="TIFF" if mode == "CMYK" else "PNG")
    made = Image.open(io.BytesIO(corrupt(kept.getvalue(), "contrast", 3, rng())))
    assert made.size == (8, 8)
    assert made.mode == {"1": "L", "L": "L", "LA": "RGBA", "RGBA": "RGBA"}.get(mode, "RGB")


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(DataError, match="no known image format"):
        corrupt(b"no picture", "noise", 1, rng())


# Oracle -------------------------------------------------------------------------------------------------------------


def test_accuracy_is_that_of_asking_about_each_damaged_image(ctx: Context) -> None:
    """Brightness by hand: an image of one grey is "light" where grey + amount > one half."""
    greys = [10, 60, 90, 120, 140, 200]
    images = [np.full((4, 4), g).tolist() for g in greys]
    labels = [CLASSES[g > 127] for g in greys]
    table = make(kinds=["brightness"]).collect(Bright(data_of(images, labels)), ctx)
    reading = make().summarise(table, ctx)
    assert value(reading, "clean_accuracy").value == 1
    for severity, amount in zip(SEVERITIES, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True):
        # An image of a label "dark" is still right where it stays at or below one half.
        right = np.mean([g > 127 or round(g + 255 * amount) / 255 <= 0.5 for g in greys])
        here = {"corruption": "brightness", "severity": str(severity)}
        assert value(reading, "corrupted_accuracy", **here).value == pytest.approx(right)
        assert value(reading, "accuracy_drop", **here).value == pytest.approx(1 - right)
    every = [value(reading, "corrupted_accuracy", corruption="brightness", severity=str(s)).value for s in SEVERITIES]
    together = value(reading, "corrupted_accuracy", corruption="brightness")
    assert together.value == pytest.approx(np.mean(every))
    assert (together.counts.denominator, together.counts.clusters) == (30, 6)
    assert value(reading, "corrupted_accuracy", corruption="all").value == together.value
    assert value(reading, "flip_rate", corruption="all").value == pytest.approx(1 - together.value)
    down = value(reading, "group_corrupted_accuracy", side="down", corruption="all")
    assert (down.counts.denominator, down.counts.clusters) == (10, 2)


def shares(n: int, level: float = 0.95, clusters: npt.NDArray[np.int64] | None = None) -> Shares:
    defined = {d.name: d for d in make().info.defines}
    ctx = Context(instance="t", level=level)
    return Shares(size=n, definitions=defined, clusters=clusters, groups={}, min_group=1, permutations=9, ctx=ctx)


def drop(lost: int, gained: int, n: int) -> Measurement:
    a = np.arange(n)
    found = shares(n).less("accuracy_drop", a < lost, (a >= lost) & (a < lost + gained))
    assert isinstance(found, Measurement)
    return found


def test_a_drop_without_gains_is_a_share_with_wilson_limits() -> None:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(12, 60, method="wilson")
    found = drop(12, 0, 60)
    assert found.value == pytest.approx(0.2)
    # Nothing gained still leaves room for gains: only the low end gives way.
    assert found.interval.high == pytest.approx(high)
    assert found.interval.low <= low


def test_a_drop_mirrors_its_sign_and_has_a_width_at_nothing() -> None:
    one, other = drop(9, 4, 50), drop(4, 9, 50)
    assert (one.value, one.interval.low, one.interval.high) == pytest.approx(
        (-other.value, -other.interval.high, -other.interval.low)
    )
    nothing = drop(0, 0, 50)
    assert nothing.interval.low < 0 < nothing.interval.high


@pytest.mark.parametrize(("p", "q", "n"), [(0.1, 0.02, 100), (0.3, 0.2, 60), (0.02, 0.02, 200), (0.4, 0.4, 50)])
def test_drops_cover(p: float, q: float, n: int) -> None:
    draws = np.random.default_rng(1).multinomial(n, [p, q, 1 - p - q], size=1500)
    unique, times = np.unique(draws, axis=0, return_counts=True)
    inside = 0
    for (lost, gained, _), count in zip(unique.tolist(), times.tolist(), strict=True):
        i = drop(lost, gained, n).interval
        inside += count * (i.low <= p - q <= i.high)
    assert inside / 1500 > 0.935


# What every probe promises ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collected() -> pa.Table:
    return make().collect(subject(), Context(instance="test", seed=7))


def test_reading_survives_json_storing_and_shuffling(collected: pa.Table, ctx: Context, tmp_path: Path) -> None:
    reading = make().summarise(collected, ctx)
    assert Reading.model_validate_json(reading.model_dump_json()) == reading
    json.loads(reading.model_dump_json(), parse_constant=lambda c: pytest.fail(f"{c} in a reading"))
    pq.write_table(collected, tmp_path / "rows.parquet")
    assert make().summarise(pq.read_table(tmp_path / "rows.parquet"), ctx) == reading
    assert make().summarise(collected.take(rng().permutation(len(collected))), ctx) == reading


def test_order_of_data_does_not_matter(collected: pa.Table) -> None:
    for order in (rng(1).permutation(20).tolist(), list(range(19, -1, -1))):
        fresh = Context(instance="test", seed=7, journal=MemoryJournal())
        assert make().collect(subject(order=order), fresh).equals(collected, check_metadata=True)


def test_measures_are_defined_and_intervals_widen(collected: pa.Table, ctx: Context) -> None:
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


def test_the_sample_is_said_and_asked_once(ctx: Context) -> None:
    journal = MemoryJournal()
    here = Context(instance="test", seed=7, journal=journal)
    asked = subject()
    table = make(examples=8, kinds=["noise", "blur"]).collect(asked, here)
    assert len(table) == 8 * 2 * 5
    assert asked.asked <= 20 + 80
    again = subject()
    assert make(examples=8, kinds=["noise", "blur"]).collect(again, here).equals(table)
    assert again.asked == 0
    said = " ".join(m.fill() for m in make().summarise(table, ctx).remarks)
    assert "8 of 20 rows with a label were drawn with seed 7" in said
    assert "2 ways at 5 severities" in said


def test_damage_without_effect_is_said(ctx: Context) -> None:
    images = [np.full((4, 4), g).tolist() for g in (10, 60, 140, 200)]
    table = make(kinds=["blur", "noise"]).collect(Bright(data_of(images, ["dark", "dark", "light", "light"])), ctx)
    said = [m.fill() for m in make().summarise(table, ctx).remarks]
    assert any("blur leaves images exactly as they were, up to 4 of 4" in text for text in said)
    assert not any("noise leaves" in text for text in said)


def test_pictures_show_one_row(collected: pa.Table, ctx: Context) -> None:
    (grid,) = (e for e in make().summarise(collected, ctx).evidence if isinstance(e, ImageGrid))
    assert len(grid.tiles) == 1 + len(KINDS)
    assert len({t.label for t in grid.tiles}) == 1
    assert "seed 7" in grid.chosen_by.fill()


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"kinds": ["fog"]}, "kinds is fog"),
        ({"kinds": []}, "kinds is empty"),
        ({"kinds": ["noise", "noise"]}, "kinds is noise, noise"),
        ({"examples": 0}, "examples is 0"),
        ({"min_group": 0}, "min_group is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], seen: str) -> None:
    with pytest.raises(ProbeError, match=seen):
        create("robustness.corruptions", options)


def test_texts_are_not_damaged(ctx: Context) -> None:
    fake = FakeSubject([[0.4, 0.6]] * 4, CLASSES, labels=["light"] * 4)
    with pytest.raises(Unavailable, match="are no images"):
        make().collect(fake, ctx)
