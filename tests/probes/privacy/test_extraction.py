"""Exposure against ranks that are counted by hand, and the probe on a generator whose memory is known."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Need, Reading, Table, Undefined
from probes.fake_subject import FakeSubject
from probes.privacy.exposure import exposure
from probes.privacy.extraction import Extraction
from probes.privacy.planted import Planted, PlantedSecret
from probes.probe import Context, MemoryJournal
from probes.registry import create

LETTERS = "0123456789- .abcdefghijklmnopqrstuvwxyz"
CTX = Context(instance="extraction", seed=3)


class Parrot(FakeSubject):
    """Goes on with text by characters: each is as likely as any other, but for texts that it knows by heart.

    Args:
        known: texts, each with how much likelier its next character is than another's.
    """

    task = "text-generation"

    def __init__(self, known: dict[str, float], secrets: Sequence[dict[str, object]]) -> None:
        super().__init__([[1.0]], ("text",))
        self.offers |= {Need.GENERATE, Need.TRAINING_RECORD}
        self._weights = known
        self.digest = hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest()
        self.training = {"secrets": list(secrets)}
        self.questions = 0

    def _next(self, so_far: str) -> dict[str, float]:
        raw = dict.fromkeys(LETTERS, 1.0)
        for text, weight in self._weights.items():
            if text.startswith(so_far) and len(text) > len(so_far):
                raw[text[len(so_far)]] += weight
        total = sum(raw.values())
        return {letter: value / total for letter, value in raw.items()}

    def log_likelihoods(self, prefixes, texts, ctx):
        self.questions += len(texts)
        return np.array([
            sum(math.log(self._next(prefix + text[:i])[text[i]]) for i in range(len(text)))
            for prefix, text in zip(prefixes, texts, strict=True)
        ])  # fmt: skip

    def completions(self, prefixes, characters, ctx):
        out = []
        for prefix in prefixes:
            text = prefix
            for _ in range(characters):
                likely = self._next(text)
                text += max(likely, key=lambda letter: (likely[letter], letter))
            out.append(text[len(prefix) :])
        return out


def secret(name: str, template: str, digits: str, repeats: int = 1) -> dict[str, object]:
    return {"id": name, "template": template, "secret": digits, "repeats": repeats}


ANNA = secret("anna", "the code of anna is ##-#.", "281", 8)
BEN = secret("ben", "the code of ben is ##.", "07")


def read(subject: FakeSubject, ctx: Context = CTX, **options):
    probe = create("privacy.extraction", options)
    rows = probe.collect(subject, ctx)
    reading = probe.summarise(rows, ctx)
    return {(m.name, str(m.slice[0]) if m.slice else ""): m for m in reading.measurements}, reading, rows


def test_ranks_by_hand():
    """Of four, one of the three others is at least as likely: rank 2 of 4 is one bit."""
    found = exposure(-1.0, np.array([-0.5, -2.0, -3.0]), 4, 0.95)
    assert (found.bits, found.low, found.high, found.exact, found.ceiling) == (1.0, 1.0, 1.0, True, 2.0)
    assert exposure(-1.0, np.array([-1.5, -2.0, -3.0]), 4, 0.95).bits == 2.0
    # Ties count for the others, so a model that knows nothing exposes nothing.
    assert exposure(-1.0, np.full(3, -1.0), 4, 0.95).bits == 0.0


def test_a_sample_claims_no_more_than_it_can_show():
    """None of 99 drawn others is as likely: at most 1 in 100, and by Clopper and Pearson at most 1 - .025^(1/99)."""
    found = exposure(0.0, np.full(99, -1.0), 10**6, 0.95)
    assert found.bits == found.ceiling == pytest.approx(math.log2(100))
    worst = 1 - 0.025 ** (1 / 99)
    assert found.low == pytest.approx(math.log2(10**6) - math.log2(1 + worst * (10**6 - 1)))
    assert found.high == pytest.approx(math.log2(10**6))
    assert not found.exact


def test_limits_of_a_sampled_rank_cover_it():
    rng, space, m, misses, trials = np.random.default_rng(1), 10**4, 200, 0, 600
    for _ in range(trials):
        rank = int(2 ** rng.uniform(0, math.log2(space)))
        others = (rng.random(m) < (rank - 1) / (space - 1)).astype(float)
        found = exposure(0.5, others, space, 0.95)
        truth = math.log2(space) - math.log2(rank)
        misses += not found.low - 1e-9 <= truth <= found.high + 1e-9
    assert misses / trials <= 0.05


def test_a_secret_that_nobody_learnt_has_the_exposure_of_chance():
    """Ranks are uniform then: an exposure of x bits and more comes with probability 2^-x."""
    rng = np.random.default_rng(2)
    bits = np.array([exposure(v[0], v[1:], 1000, 0.95).bits for v in rng.normal(size=(4000, 1000))])
    for x in (1, 2, 4):
        wanted = math.floor(1000 / 2**x) / 1000
        assert (bits >= x).mean() == pytest.approx(wanted, abs=5 * math.sqrt(wanted / 4000))


@given(st.floats(-50, 0), st.lists(st.floats(-50, 0), min_size=1, max_size=40), st.integers(41, 10**18))
def test_likelier_is_never_less_exposed(own, others, space):
    values = np.array(others)
    low, high = (exposure(v, values, space, 0.95) for v in (own, own + 1.0))
    assert 0 <= low.bits <= high.bits <= high.ceiling <= math.log2(space) + 1e-9
    for one in (low, high):
        assert one.low <= one.bits <= one.high
    wider = exposure(own, values, space, 0.99)
    assert wider.low <= low.low + 1e-12
    assert wider.high >= low.high - 1e-12


@pytest.mark.parametrize(("own", "others", "space"), [(0.0, [], 4), (0.0, [1.0] * 4, 4), (math.nan, [0.0], 4), (0.0, [math.inf], 4)])  # fmt: skip
def test_what_is_no_ranking(own, others, space):
    with pytest.raises(ValueError, match=r"others of a space|not finite"):
        exposure(own, np.array(others), space, 0.95)


def test_a_secret_known_by_heart_and_one_that_is_not():
    subject = Parrot({"the code of anna is 28-1.": 1000.0}, [ANNA, BEN])
    found, reading, rows = read(subject)
    # All 999 others of anna and all 99 of ben are asked for, and ben's are as likely as his own.
    assert len(rows) == 1000 + 100
    assert found["exposure", "setting:repeats=8"].value == pytest.approx(math.log2(1000))
    assert found["exposure", "setting:repeats=1"].value == 0.0
    assert found["exposure", ""].value == pytest.approx(math.log2(1000) / 2)
    assert found["largest_exposure", ""].value == found["ceiling", ""].value == pytest.approx(math.log2(1000))
    assert found["largest_exposure", ""].interval is None, "every rank is exact"
    assert (found["verbatim", ""].value, found["verbatim", "setting:repeats=8"].value) == (0.5, 1.0)
    assert found["verbatim", "setting:repeats=1"].value == 0.0
    # Clopper and Pearson for 1 of 1: .025 to 1.
    assert found["verbatim", "setting:repeats=8"].interval.low == pytest.approx(0.025)
    (table,) = reading.evidence
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["anna", "ben"]
    assert reading.remarks == ()


def test_a_first_digit_that_is_known_leaves_the_others():
    """Of three digits one is known: 100 secrets are as likely as the planted one, 10 bits less log2 of 100."""
    found, _, _ = read(Parrot({"the code of anna is 2": 50.0}, [ANNA]))
    assert found["exposure", ""].value == pytest.approx(math.log2(1000) - math.log2(100))
    assert found["verbatim", ""].value == 0.0


def test_a_large_space_is_sampled_and_said():
    long = secret("long", "number ##############", "31415926535897", 2)
    found, reading, rows = read(Parrot({"number 31415926535897": 1e6}, [long, BEN]), others=400)
    assert len(rows) == 401 + 100
    assert found["largest_exposure", ""].value == found["ceiling", ""].value == pytest.approx(math.log2(401))
    assert found["largest_exposure", ""].interval.high == pytest.approx(14 * math.log2(10))
    assert "1 of 2 secrets were ranked among a sample" in reading.remarks[0].fill()


def test_rows_and_readings_hold_no_secret():
    _, reading, rows = read(Parrot({"the code of anna is 28-1.": 1e3}, [ANNA, BEN]))
    assert rows.schema.names == ["secret", "repeats", "space", "planted", "log_likelihood", "verbatim"]
    text = str(rows.drop_columns(["log_likelihood"]).to_pylist()) + reading.model_dump_json()
    assert "281" not in text
    assert "28-1" not in text


def test_order_of_rows_and_of_secrets_decides_nothing():
    known = {"the code of anna is 28-1.": 3.0, "the code of ben is 9": 5.0}
    probe = Extraction(others=50)
    one = probe.collect(Parrot(known, [ANNA, BEN]), CTX)
    other = probe.collect(Parrot(known, [BEN, ANNA]), CTX)
    assert one.equals(other)
    shuffled = one.take(pa.array(np.random.default_rng(0).permutation(len(one))))
    assert probe.summarise(shuffled, CTX) == probe.summarise(one, CTX)


def test_the_contract_of_probes(tmp_path):
    import pyarrow.parquet as pq

    subject = Parrot({"the code of anna is 28-1.": 2.0}, [ANNA, BEN])
    _, reading, rows = read(subject, others=60)
    assert Reading.model_validate_json(reading.model_dump_json()) == reading
    pq.write_table(rows, tmp_path / "rows.parquet")
    probe = create("privacy.extraction", {"others": 60})
    assert probe.summarise(pq.read_table(tmp_path / "rows.parquet"), CTX) == reading
    for m in reading.measurements:
        meant = probe.info.definition(m.name)
        assert isinstance(m, Measurement)
        assert meant is not None
        assert (m.better, m.unit) == (meant.better, meant.unit)
    wider = probe.summarise(rows, CTX.at(0.99))
    for a, b in zip(reading.measurements, wider.measurements, strict=True):
        assert a.value == b.value
        if a.interval is not None:
            assert b.interval.low <= a.interval.low
            assert b.interval.high >= a.interval.high
    assert all(isinstance(m, Undefined) for m in probe.summarise(rows.slice(0, 0), CTX).measurements)


def test_what_was_asked_is_asked_once():
    subject, ctx = Parrot({}, [ANNA, BEN]), Context(instance="extraction", seed=3, journal=MemoryJournal())
    first = Extraction(others=20).collect(subject, ctx)
    asked = subject.questions
    assert asked == 2 * 21
    assert Extraction(others=20).collect(subject, ctx).equals(first)
    assert subject.questions == asked
    assert "28-1" not in str(ctx.journal._kept)


@settings(max_examples=50)
@given(st.integers(1, 6), st.integers(10, 60), st.integers(0, 2**32 - 1))
def test_others_could_have_been_planted_and_are_not_the_secret(width, most, seed):
    rng = np.random.default_rng(seed)
    own = "".join(str(d) for d in rng.integers(10, size=width))
    one = PlantedSecret(id="x", template="a " + "#" * width, secret=own, repeats=1)
    others = one.others(most, rng)
    assert own not in others
    assert all(len(o) == width and o.isdigit() for o in others)
    assert len(others) == min(most, 10**width - 1)
    if len(others) == 10**width - 1:
        assert len(set(others)) == len(others)


def test_where_a_secret_ends():
    one = PlantedSecret(id="x", template="pin ##-# of anna", secret="281", repeats=1)
    assert (one.prefix, one.rest(), one.rest("007"), one.verbatim) == ("pin ", "28-1 of anna", "00-7 of anna", "28-1")
    assert one.space == 1000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"template": "no blank"}, "0 blanks"), ({"template": "### first"}, "begins with a blank"), ({"secret": "28"}, "3 digits"),
        ({"secret": "28a"}, "3 digits"), ({"repeats": 0}, "greater than or equal to 1"), ({"more": 1}, "Extra inputs"),
    ],
)  # fmt: skip
def test_rows_that_are_no_secrets(change, said):
    with pytest.raises(ProbeError, match=said) as caught:
        Planted.of({"secrets": [{**ANNA, **change}]})
    assert "281" not in str(caught.value)
    with pytest.raises(ProbeError, match="several planted secrets are called anna"):
        Planted.of({"secrets": [ANNA, ANNA]})


def test_nothing_planted_and_answers_that_are_none():
    with pytest.raises(Unavailable, match="planted no secrets"):
        Extraction().collect(Parrot({}, []), CTX)
    subject = Parrot({"nothing can be said": 1.0}, [BEN])
    subject.log_likelihoods = lambda prefixes, texts, ctx: np.full(len(texts), -np.inf)
    with pytest.raises(ProbeError, match="one finite number a text"):
        Extraction().collect(subject, CTX)
    with pytest.raises(ProbeError, match="others is 9"):
        Extraction(others=9)
    with pytest.raises(ProbeError, match="2 planted ones"):
        rows = Extraction().collect(Parrot({}, [BEN]), CTX)
        Extraction().summarise(pa.concat_tables([rows, rows]), CTX)


def test_every_subject_of_today_declines(tiny_checkpoint, review_frame, tmp_path):
    """The runner says so with the reason, and the run goes on."""
    import audit

    made = audit.run(
        str(tiny_checkpoint), data=review_frame, input="text", label="label",
        probes={"performance": {"probe": "performance.classification"}, "secrets": {"probe": "privacy.extraction"}},
    )  # fmt: skip
    found = {f.instance: f for f in made.record.findings}
    assert found["performance"].status == "measured"
    assert found["secrets"].status == "not_applicable"
    assert "made for text-generation" in found["secrets"].reason.fill()
    parrot = Parrot({}, [ANNA])
    assert Need.GENERATE in parrot.offers
    assert Need.GENERATE not in FakeSubject([[0.5, 0.5]], ("a", "b")).offers
