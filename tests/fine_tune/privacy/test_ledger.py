"""An epsilon only where every condition holds; otherwise the reasons."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fine_tune.privacy import ledger as module
from fine_tune.privacy.accounting import epsilon_spent
from fine_tune.privacy.conditions import refusals
from fine_tune.privacy.facts import Facts, Outside, Release, message
from fine_tune.privacy.ledger import Ledger, settle


def release(**changes: Any) -> Release:
    return Release(**{"purpose": "training", "noise_multiplier": 1.0, "sampling_rate": 0.01, "steps": 20, **changes})


def facts(**changes: Any) -> Facts:
    usual: dict[str, Any] = {
        "unit": "example", "units": 800, "rows": 800, "expected_batch": 8, "sampling": "poisson", "sampling_rate": 0.01,
        "max_grad_norm": 1.0, "noise_multiplier": 1.0, "delta": 1e-4, "accountant": "rdp", "planned_steps": 20,
        "taken_steps": 20, "releases": (release(),), "finite": True, "self_tested": True, "gradients": "bookkeeping",
        "secure_rng": True,
    }  # fmt: skip
    return Facts(**{**usual, **changes})


def test_when_everything_holds_there_is_an_epsilon() -> None:
    made = settle(facts(), versions={"opacus": "1.6"})
    assert made.refusals == ()
    assert made.epsilon == made.epsilon_rdp == epsilon_spent([release().phase], 1e-4, "rdp")
    assert made.epsilon_prv is not None
    assert made.epsilon_prv < made.epsilon_rdp
    assert settle(facts(accountant="prv")).epsilon == pytest.approx(made.epsilon_prv)
    assert any("1.6" in str(one) for one in made.known_issues)
    assert Ledger.model_validate_json(made.model_dump_json(by_alias=True)) == made


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"delta": 0.5}, "delta is 0.5"),
    ({"delta": 1 / 800}, "between 0 and 1/800"),
    ({"delta": 0.0}, "delta is 0"),
    ({"units": 0}, "0 units"),
    ({"noise_multiplier": 0.0, "releases": (release(noise_multiplier=0.0),)}, "No noise was added"),
    ({"releases": (release(steps=10), release(steps=10, noise_multiplier=0.0))}, "No noise was added"),
    ({"sampling": "shuffled"}, "drawn by shuffled sampling"),
    ({"sampling": "other"}, "drawn by other sampling"),
    ({"sampling_rate": 0.0099, "releases": (release(sampling_rate=0.0099),)}, "8 of 800 units a step is 0.01"),
    ({"planned_steps": 30}, "20 steps were taken, and 30"),
    ({"taken_steps": 21}, "21 steps were taken, and 20"),
    ({"planned_steps": 0, "taken_steps": 0, "releases": ()}, "No step was planned"),
    ({"releases": ()}, "knows of 0 noisy sums"),
    ({"releases": (release(steps=19),)}, "knows of 19 noisy sums"),
    ({"releases": (release(steps=21),)}, "knows of 21 noisy sums"),
    ({"releases": (release(purpose="tuning"),)}, "knows of 0 noisy sums"),
    ({"releases": (release(steps=15), release(purpose="resumed training", steps=5))}, "knows of 15 noisy sums"),
    ({"releases": (release(), release(purpose="resumed training", noise_multiplier=2.0))}, "told of other noise"),
    ({"releases": (release(), release(purpose="resumed training", sampling_rate=0.02))}, "told of other noise"),
    ({"releases": (release(noise_multiplier=1.5),)}, "other noise or another rate"),
    ({"releases": (release(sampling_rate=0.001),)}, "other noise or another rate"),
    ({"max_grad_norm": 0.0}, "bounds nothing"),
    ({"finite": False}, "not finite"),
    ({"self_tested": False}, "one-at-a-time"),
]


@pytest.mark.parametrize(("changes", "reason"), BROKEN)
def test_each_broken_condition_leaves_a_reason_and_no_epsilon(changes: dict[str, Any], reason: str) -> None:
    made = settle(facts(**changes))
    assert (made.epsilon, made.epsilon_rdp, made.epsilon_prv) == (None, None, None)
    assert reason in " ".join(map(str, made.refusals))


@settings(deadline=None)
@given(st.sets(st.integers(0, len(BROKEN) - 1), min_size=1, max_size=3))
def test_no_combination_of_broken_conditions_gives_an_epsilon(which: set[int]) -> None:
    changes = {name: value for i in sorted(which) for name, value in BROKEN[i][0].items()}
    assert refusals(facts(**changes))


def test_what_rests_on_the_rows_without_noise_leaves_no_epsilon() -> None:
    def item(standing: str) -> Outside:
        return Outside(name="base weights", standing=standing, reason=message("because"))  # type: ignore[arg-type]

    for standing in ("public", "charged", "not used"):
        assert settle(facts(), outside=[item(standing)]).epsilon is not None
    refused = settle(facts(), outside=[item("private")])
    assert refused.epsilon is None
    assert "base weights" in str(refused.refusals[0])


def test_a_ledger_that_was_edited_is_not_read() -> None:
    good = settle(facts()).model_dump(by_alias=True)
    for name, value in [("delta", 0.5), ("sampling", "shuffled"), ("taken_steps", 19), ("self_tested", False)]:
        forged = {**good, "facts": {**good["facts"], name: value}}
        with pytest.raises(ValidationError, match="speak against"):
            Ledger.model_validate(forged)
    with pytest.raises(ValidationError, match="or the reasons"):
        Ledger.model_validate({**good, "epsilon": None})


def test_earlier_trainings_are_composed_at_their_own_noise_and_rate() -> None:
    earlier = release(purpose="tuning", noise_multiplier=2.0, sampling_rate=0.05, steps=7)
    made = settle(facts(releases=(earlier, release())))
    assert made.epsilon == epsilon_spent([earlier.phase, release().phase], 1e-4, "rdp")
    again = settle(facts(releases=(release(), release(purpose="resumed training", steps=3))))
    assert again.epsilon == epsilon_spent([release(steps=23).phase], 1e-4, "rdp")


def test_an_accountant_that_gives_nothing_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from fine_tune.errors import RecipeError

    def broken(*given: object) -> float:
        if given[-1] == "prv":
            raise RecipeError("no figure")
        return 1.0

    monkeypatch.setattr(module, "epsilon_spent", broken)
    made = settle(facts(accountant="prv"))
    assert made.epsilon is None
    assert made.epsilon_prv is None
    assert "gives no figure" in str(made.refusals[0])
    assert settle(facts(accountant="rdp")).epsilon == 1.0


def test_an_epsilon_that_bounds_nothing_costs_no_time() -> None:
    weak = {"noise_multiplier": 0.01, "releases": (release(noise_multiplier=0.01),)}
    made = settle(facts(**weak))
    assert made.epsilon is not None
    assert made.epsilon > 1000
    assert made.epsilon_prv is None
    assert "beyond 1000" in str(settle(facts(accountant="prv", **weak)).refusals[0])


def test_more_than_was_asked_is_said() -> None:
    made = settle(facts(target_epsilon=0.01))
    assert made.epsilon is not None
    assert "more than the 0.01" in str(made.not_covered[0])


def test_the_origin_of_the_noise_is_stated_either_way() -> None:
    said = {secret: " ".join(map(str, settle(facts(secure_rng=secret)).known_issues)) for secret in (True, False)}
    assert "entropy" in said[True]
    assert "compute the noise" in said[False]


def test_steps_that_were_taken_once_more_are_charged_beside() -> None:
    both = settle(facts(releases=(release(), release(purpose="resumed training", steps=7))))
    assert both.refusals == ()
    assert both.epsilon == pytest.approx(epsilon_spent([release(steps=27).phase], 1e-4, "rdp"), rel=1e-9)
