"""Shadow models: who is in which, what they are asked to do, and where they can't be had."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune.recipe import Recipe
from probes.errors import Unavailable
from probes.privacy.shadow import Asked, halves, shadow_recipe, train_shadows
from probes.probe import Context


@given(st.integers(2, 10).map(lambda k: 2 * k), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_every_row_is_in_half_of_the_models(models, rows, seed):
    which = halves(models, rows, np.random.default_rng(seed))
    assert which.shape == (models, rows)
    assert (which.sum(axis=0) == models // 2).all()


def test_rows_fall_independently_of_one_another():
    which = halves(4, 4000, np.random.default_rng(0)).astype(float)
    shares = which.mean(axis=1)
    assert (abs(shares - 0.5) < 0.04).all()
    # With two of four, two given models share a row with probability one third of being in both.
    assert (which[0] * which[1]).mean() == pytest.approx(1 / 6, abs=0.03)


def record(**recipe):
    values = {"base": "b", "epochs": 2, "holdout": 0.2, "report_to": ("tensorboard",)} | recipe
    return SimpleNamespace(recipe=Recipe.of(values), trials=(), kept_trial=None)


def test_the_recipe_is_the_models_own():
    made = shadow_recipe(record(method="head", seed=5, split_seed=1), 9)
    assert (made.seed, made.split_seed, made.holdout, made.held_out, made.report_to) == (9, None, 0, 0, ())
    assert (made.method, made.epochs, made.base) == ("head", 2, "b")


def test_a_training_record_gives_no_leave_to_run_code(monkeypatch):
    """The plan does; a record may come from anywhere."""
    import probes.privacy.membership as membership
    import probes.privacy.shadow as shadow
    from probes.registry import create

    told = record(trust_remote_code=True)
    found = SimpleNamespace(
        columns=lambda: {"label": ["a", "b"], "row_id": ["0", "1"]}, inputs=["x", "y"], record=told, pool=list
    )
    monkeypatch.setattr(membership, "material", lambda *_: found)
    monkeypatch.setattr(membership, "_probabilities", lambda *_: np.full((2, 2), 0.5))
    monkeypatch.setattr(membership, "_facts", lambda *_: {})
    monkeypatch.setattr(shadow, "train_shadows", lambda *_: pytest.fail("trained"))
    probe = create("privacy.membership", {"deep": "lira", "shadow_models": 4})
    for checkpoint in (None, SimpleNamespace(trust_remote_code=False)):
        subject = SimpleNamespace(classes=("a", "b"), checkpoint=checkpoint)
        with pytest.raises(Unavailable, match="a record is no permission"):
            probe.collect(subject, Context(instance="i", seed=1))


def test_validation_is_set_aside_only_where_training_needs_it():
    assert shadow_recipe(record(validation_share=0.3), 1).held_out == 0
    assert shadow_recipe(record(validation_share=0.3, early_stopping=2), 1).held_out == 0.3


def test_of_a_search_the_values_that_won():
    one = record(search={"learning_rate": (0.1, 0.2)})
    one.trials, one.kept_trial = (
        (SimpleNamespace(values={"learning_rate": 0.1}), SimpleNamespace(values={"learning_rate": 0.2})),
        1,
    )
    made = shadow_recipe(one, 1)
    assert made.search == {}
    assert made.learning_rate == 0.2


def test_a_private_recipe_stays_private_and_charges_nothing_from_before():
    privacy = {"epsilon": 3, "delta": 1e-4, "earlier": ("elsewhere",)}
    made = shadow_recipe(record(privacy=privacy, sample_weights=False), 1)
    assert made.privacy is not None
    assert (made.privacy.epsilon, made.privacy.earlier, made.privacy.secure_rng) == (3, (), False)


def test_another_base_is_not_taken(tiny_base, review_data):
    asked = Asked(ids=[], inputs=[], labels=np.empty(0, dtype=np.int64), classes=("a", "b"))
    for name, said in ((str(tiny_base), "not the base"), (str(tiny_base / "nowhere"), "cannot be opened")):
        told = record(base=name)
        told.base_digest = "0" * 64
        with pytest.raises(Unavailable, match=said):
            train_shadows(4, review_data, told, asked, Context(instance="m"))
