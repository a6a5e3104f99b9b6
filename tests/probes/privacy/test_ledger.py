"""What a ledger's figures are, and every way in which an epsilon is refused though one was written down."""

from __future__ import annotations

import copy
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune.privacy.facts import Facts, Outside, Release, message
from fine_tune.privacy.ledger import settle
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Table, Undefined
from probes.fake_subject import FakeSubject
from probes.probe import Context
from probes.registry import create

CTX = Context(instance="ledger")
RATE = 50 / 1000


def facts(**changes):
    values = {
        "unit": "example", "units": 1000, "rows": 1000, "expected_batch": 50, "sampling": "poisson", "sampling_rate": RATE,
        "max_grad_norm": 0.5, "noise_multiplier": 1.1, "delta": 1e-5, "accountant": "rdp", "planned_steps": 20,
        "taken_steps": 20, "empty_steps": 1, "finite": True, "self_tested": True, "gradients": "hooks", "secure_rng": True,
        "target_epsilon": 3.0, "releases": (Release(purpose="training", noise_multiplier=1.1, sampling_rate=RATE, steps=20),),
    }  # fmt: skip
    return Facts(**(values | changes))


OUTSIDE = (
    Outside(name="vocabulary", standing="public", reason=message("It comes with the base.")),
    Outside(name="search", standing="charged", reason=message("{n} trials are charged.", n=2)),
)


def ledger(**changes):
    return settle(
        facts(**changes), outside=OUTSIDE, not_covered=[message("{rows} rows share an input.", rows=3)],
        versions={"opacus": "1.6.0"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def sound():
    return ledger().model_dump(mode="json", by_alias=True)


def subject_with(kept, **training):
    subject = FakeSubject([[0.5, 0.5]], ("no", "yes"))
    subject.training = {"ledger": kept, **training}
    return subject


def read(kept, **training):
    probe = create("privacy.ledger", {})
    reading = probe.summarise(probe.collect(subject_with(kept, **training), CTX), CTX)
    return {m.name: m for m in reading.measurements}, reading


def test_every_figure_by_hand(sound):
    found, reading = read(sound)
    wanted = {
        "delta": 1e-5, "delta_times_units": 0.01, "noise_multiplier": 1.1, "sampling_rate": 0.05, "max_grad_norm": 0.5,
        "expected_batch": 50, "units": 1000, "rows": 1000, "steps": 20, "planned_steps": 20, "empty_steps": 1,
        "charged_steps": 20, "epsilon_asked": 3,
    }  # fmt: skip
    for name, value in wanted.items():
        assert found[name].value == pytest.approx(value), name
    assert all(isinstance(m, Measurement) and m.interval is None for m in found.values())
    assert found["epsilon"].value == found["epsilon_rdp"].value == sound["epsilon"]
    assert found["epsilon_prv"].value < found["epsilon_rdp"].value
    assert found["epsilon"].better == "lower"
    assert (found["epsilon"].counts.n, found["epsilon"].counts.denominator) == (1000, 1000)
    said = [r.fill() for r in reading.remarks]
    assert "3 rows share an input." in said
    assert any("floating point" in s for s in said)


def test_epsilon_against_a_bound_worked_out_by_hand():
    """One step on everybody: the Gaussian mechanism itself, whose epsilon is known in closed form (Balle and Wang 2018)."""
    from scipy import optimize, stats

    one = (Release(purpose="training", noise_multiplier=2.0, sampling_rate=1.0, steps=1),)
    kept = ledger(
        units=50, rows=50, expected_batch=50, sampling_rate=1.0, noise_multiplier=2.0, releases=one, planned_steps=1,
        taken_steps=1, accountant="prv",
    ).model_dump(mode="json", by_alias=True)  # fmt: skip

    def over(eps):
        a, b = 1 / 4 - 2 * eps, -1 / 4 - 2 * eps
        return stats.norm.cdf(a) - math.exp(eps) * stats.norm.cdf(b) - 1e-5

    exact = optimize.brentq(over, 0.1, 10)
    found, _ = read(kept)
    assert exact <= found["epsilon"].value <= exact + 0.02


def test_tables_hold_the_terms(sound):
    _, reading = read(sound)
    tables = [e for e in reading.evidence if isinstance(e, Table)]
    assert len(tables) == 3
    text = json.dumps([[[str(c) for c in row] for row in t.rows] for t in tables])
    for piece in (
        "poisson",
        "add or remove one unit",
        "hooks",
        "vocabulary",
        "2 trials are charged.",
        "1.6.0",
        "training",
    ):
        assert piece in text, piece


def test_trained_elsewhere_or_without_privacy():
    elsewhere = FakeSubject([[0.5, 0.5]], ("no", "yes"))
    with pytest.raises(Unavailable, match="trained elsewhere"):
        create("privacy.ledger", {}).collect(elsewhere, CTX)
    with pytest.raises(Unavailable, match="without privacy"):
        create("privacy.ledger", {}).collect(subject_with(None), CTX)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"delta": 0.5}, "must lie between 0 and"),
        ({"sampling": "shuffled"}, "shuffled sampling"),
        ({"finite": False}, "not finite"),
        ({"self_tested": False}, "not compared"),
        ({"taken_steps": 19}, "19 steps were taken"),
        ({"releases": ()}, "noisy sums"),
        ({"sampling_rate": 0.031}, "sampling rate was"),
    ],
)
def test_a_ledger_that_refuses_is_repeated_as_refusing(changes, said):
    found, reading = read(ledger(**changes).model_dump(mode="json", by_alias=True))
    for name in ("epsilon", "epsilon_prv", "epsilon_rdp"):
        assert isinstance(found[name], Undefined)
        assert said in found[name].reason.fill()
    assert isinstance(found["noise_multiplier"], Measurement)
    assert any(said in r.fill() for r in reading.remarks)


def test_further_reasons_are_counted_and_listed():
    found, reading = read(ledger(sampling="shuffled", finite=False).model_dump(mode="json", by_alias=True))
    assert "shuffled" in found["epsilon"].reason.fill()
    assert "And 1 more" in found["epsilon"].reason.fill()
    assert sum("shuffled" in r.fill() for r in reading.remarks) == 1


@pytest.mark.parametrize("lie", [{"sampling": "shuffled"}, {"finite": False}, {"delta": 0.1}])
def test_an_epsilon_beside_facts_that_speak_against_it_is_no_ledger(sound, lie):
    """Someone edits the record: an epsilon stands where there can be none."""
    kept = copy.deepcopy(sound)
    kept["facts"] |= lie
    with pytest.raises(ProbeError, match="its own facts speak against"):
        read(kept)


@pytest.mark.parametrize("lie", [0.3, 30.0])
def test_an_epsilon_that_the_steps_do_not_give_is_not_repeated(sound, lie):
    kept = copy.deepcopy(sound)
    kept["epsilon"] = lie
    found, _ = read(kept)
    assert isinstance(found["epsilon"], Undefined)
    assert "the recorded steps give" in found["epsilon"].reason.fill()
    assert isinstance(found["epsilon_rdp"], Measurement), "that figure is right"


def test_something_private_outside_leaves_no_epsilon():
    search = Outside(name="vocabulary", standing="private", reason=message("Counted on the rows."))
    found, _ = read(settle(facts(), outside=[search]).model_dump(mode="json", by_alias=True))
    assert "vocabulary was fitted on the protected rows" in found["epsilon"].reason.fill()


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"training_rows": 900}, "training rows: 1000 and 900"),
        ({"steps": 40}, "steps: 20 and 40"),
        ({"recipe": {"privacy": {"delta": 1e-6}}}, "delta"),
        ({"recipe": {"privacy": {"unit": "person"}}}, "unit: example and person"),
        ({"recipe": {"privacy": {"max_grad_norm": 1.0}}}, "clipping norm"),
        ({"recipe": {"privacy": {"noise_multiplier": 0.9}}}, "noise multiplier"),
    ],
)
def test_a_record_that_says_otherwise_leaves_no_epsilon(sound, training, said):
    found, _ = read(sound, **training)
    assert isinstance(found["epsilon"], Undefined)
    assert said in found["epsilon"].reason.fill()


def test_a_record_that_agrees_keeps_it(sound):
    privacy = {"delta": 1e-5, "unit": "example", "max_grad_norm": 0.5, "noise_multiplier": None}
    found, _ = read(sound, training_rows=1000, steps=20, recipe={"privacy": privacy})
    assert isinstance(found["epsilon"], Measurement)
    found, _ = read(sound, training_rows=970, canaries_trained_on=30)
    assert isinstance(found["epsilon"], Measurement)


def test_no_epsilon_was_asked_for():
    found, _ = read(ledger(target_epsilon=None).model_dump(mode="json", by_alias=True))
    assert "noise multiplier" in found["epsilon_asked"].reason.fill()


def test_a_ledger_that_is_none():
    with pytest.raises(ProbeError, match="cannot be read"):
        create("privacy.ledger", {}).collect(subject_with({"epsilon": 1}), CTX)


def test_earlier_trainings_are_charged():
    parts = tuple(
        Release(purpose=purpose, noise_multiplier=noise, sampling_rate=RATE, steps=steps)
        for purpose, noise, steps in (("tuning", 1.5, 30), ("training", 1.1, 20))
    )
    both, alone = (read(ledger(releases=r).model_dump(mode="json", by_alias=True))[0] for r in (parts, parts[1:]))
    assert both["charged_steps"].value == 50
    assert both["steps"].value == alone["charged_steps"].value == 20
    for name in ("epsilon", "epsilon_prv", "epsilon_rdp"):
        assert both[name].value > alone[name].value


@given(
    st.integers(1, 10**6), st.integers(1, 10**4), st.floats(1e-12, 0.999), st.floats(0.01, 100), st.integers(0, 10**5)
)
def test_terms_are_repeated_digit_for_digit(units, batch, delta, noise, steps):
    kept = ledger(
        units=units, rows=units, expected_batch=batch, delta=delta, noise_multiplier=noise, planned_steps=steps, finite=False
    )  # fmt: skip
    found, _ = read(kept.model_dump(mode="json", by_alias=True))
    said = (found["units"].value, found["expected_batch"].value, found["delta"].value, found["noise_multiplier"].value)
    assert said == (units, batch, delta, noise)
    assert found["planned_steps"].value == steps
    assert isinstance(found["epsilon"], Undefined)
