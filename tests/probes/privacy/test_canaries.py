"""The canary probe: by hand, by what it refuses, and on a model that memorises and its private twin."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune.checkpoint import Checkpoint
from fine_tune.data import AuditData
from fine_tune.privacy.settings import Privacy
from fine_tune.recipe import Recipe
from fine_tune.train import fine_tune
from probes.checkpoint_subject import CheckpointSubject
from probes.errors import ProbeError, Unavailable
from probes.evidence import Measurement, Need, Reading, Undefined
from probes.privacy.canaries import KEY, Canaries
from probes.privacy.canary_reading import centred
from probes.privacy.one_run import ceiling, epsilon_bound
from probes.probe import Context
from probes.registry import create

CTX = Context(instance="canaries", seed=7)
PEOPLE = [f"person{i}" for i in range(260)]


def table(scores, included, flipped=None, labels=None, *, ids=None, epsilon=None, delta=0.0) -> pa.Table:
    m = len(scores)
    facts = {"private": delta > 0, "epsilon": epsilon, "delta": delta}
    schema = pa.schema(
        [("row_id", pa.string()), ("label", pa.string()), ("flipped", pa.bool_()), ("included", pa.bool_()), ("score", pa.float64())],
        metadata={KEY: json.dumps(facts).encode()},
    )  # fmt: skip
    return pa.table(
        {
            "row_id": [str(i) for i in (range(m) if ids is None else ids)], "label": labels or ["a"] * m,
            "flipped": np.zeros(m, bool) if flipped is None else flipped,
            "included": np.asarray(included, bool), "score": np.asarray(scores, float),
        },
        schema=schema,
    )  # fmt: skip


def figures(reading: Reading) -> dict[str, Measurement | Undefined]:
    return {m.name: m for m in reading.measurements}


def test_by_hand():
    """40 canaries told apart: 20 of 20 on either side; at 0.95 over four shares the bound is ln(s / (1 - s)), s = 0.0125^(1/40)."""
    included = np.arange(40) % 2 == 0
    read = figures(Canaries().summarise(table(included * 2.0, included, epsilon=1.5, delta=1e-6), CTX))
    share = 0.0125 ** (1 / 40)
    assert read["bound"].value == pytest.approx(np.log(share / (1 - share)), abs=2e-3)
    assert read["bound"].value == read["ceiling"].value == ceiling(40, 1e-6, 0.95)
    assert read["claim"].value == 1.5
    assert read["bound_minus_claim"].value == pytest.approx(read["bound"].value - 1.5)
    assert read["right_guesses"].value == 1.0
    interval = read["bound"].interval
    assert (interval.low, interval.high, interval.level) == (read["bound"].value, None, 0.95)
    assert read["bound"].counts.n == 40


def test_flipped_and_other_labels_are_each_held_to_their_own_median():
    # Own labels: 20 of a at 4 and 6, 20 of b at 0 and 2. Flipped ones: 2 of a and 2 of b, too few alone, median -5.
    scores = np.array([4.0, 6.0] * 10 + [0.0, 2.0] * 10 + [-7.0, -6.0, -4.0, -3.0])
    flipped = np.arange(44) >= 40
    labels = ["a"] * 20 + ["b"] * 20 + ["a", "b", "a", "b"]
    assert centred(scores, flipped, labels).tolist() == [-1.0, 1.0] * 20 + [-2.0, -1.0, 1.0, 2.0]


@given(seed=st.integers(0, 500))
@settings(max_examples=15)
def test_order_names_and_shifts_of_a_kind_change_nothing(seed):
    rng = np.random.default_rng(seed)
    included, flipped = rng.random(60) < 0.5, rng.random(60) < 0.5
    scores, labels = rng.normal(size=60) + 2 * included, rng.choice(["a", "b"], 60).tolist()
    one = Canaries().summarise(table(scores, included, flipped, labels), CTX).measurements
    again = rng.permutation(60)
    renamed = [{"a": "x", "b": "y"}[labels[i]] for i in again]
    moved = table((scores + 7 * flipped)[again], included[again], flipped[again], renamed, ids=again)
    assert Canaries().summarise(moved, CTX).measurements == one


def test_value_stays_and_the_end_moves_with_the_level():
    rng = np.random.default_rng(3)
    included = rng.random(300) < 0.5
    rows = table(rng.normal(size=300) + 2 * included, included, epsilon=3.0, delta=1e-6)
    usual, strict = (figures(Canaries().summarise(rows, CTX.at(level)))["bound"] for level in (0.95, 0.99))
    assert usual.value == strict.value
    assert strict.interval.low < usual.interval.low <= usual.value


def test_delta_must_be_far_below_one_over_m():
    included = np.arange(200) % 2 == 0
    read = figures(Canaries().summarise(table(included * 1.0, included, epsilon=3.0, delta=1e-4), CTX))
    assert all(isinstance(read[name], Undefined) for name in ("bound", "ceiling", "bound_minus_claim", "right_guesses"))
    assert "5.00e-05" in str(read["bound"].reason)
    assert read["claim"].value == 3.0
    read = figures(Canaries().summarise(table(included * 1.0, included, epsilon=3.0, delta=5e-5), CTX))
    assert isinstance(read["bound"], Measurement)


def test_no_claim_no_difference():
    included = np.arange(100) % 2 == 0
    open_, unsettled = (
        figures(Canaries().summarise(table(included * 1.0, included, delta=delta), CTX)) for delta in (0.0, 1e-6)
    )
    assert "was not private" in str(open_["claim"].reason)
    assert open_["bound"].value > 2
    assert "states no epsilon" in str(unsettled["bound_minus_claim"].reason)


def test_one_share_has_the_published_ceiling():
    included = np.arange(1000) % 2 == 0
    read = figures(Canaries(shares=(1.0,)).summarise(table(included * 1.0, included, epsilon=1.0, delta=1e-5), CTX))
    assert read["ceiling"].value == pytest.approx(5.78, abs=0.005)
    assert read["bound"].value == epsilon_bound(1000, 1000, 1000, 1e-5, 0.95)


def test_empty_rows_are_undefined():
    rows = table([], [], epsilon=1.0, delta=1e-6)
    read = figures(Canaries().summarise(rows, CTX))
    assert {name for name, m in read.items() if isinstance(m, Measurement)} == {"claim"}


@pytest.mark.parametrize(
    "options", [{"confidence": 1.0}, {"confidence": 0.4}, {"shares": []}, {"shares": [0.5, 0.5]}, {"shares": [1.5]}]
)
def test_options_are_checked(options):
    with pytest.raises(ProbeError):
        create("privacy.canaries", options)


# ------------------------------------------------------------------------------------------------------------- real models


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A one-layer BERT, 64 wide, whose vocabulary has a word for every row, so that a row can be learned by heart."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", *PEOPLE]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=8).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=8, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.1,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data() -> AuditData:
    rng = np.random.default_rng(5)
    sides = rng.choice(["good", "bad"], len(PEOPLE))
    frame = pd.DataFrame({"text": [f"{p} {s}" for p, s in zip(PEOPLE, sides, strict=True)], "label": sides})
    return AuditData.from_frame(frame, input="text", label="label", name="people")


def measured(checkpoint: Checkpoint, data: AuditData) -> dict[str, Measurement | Undefined]:
    audited = data.select(range(160, 260))
    subject = CheckpointSubject(checkpoint, audited, training_data=data)
    probe = create("privacy.canaries", {})
    assert set(probe.info.needs) <= subject.offers
    return figures(probe.summarise(probe.collect(subject, CTX), CTX))


def test_a_model_that_learns_by_heart_is_found_out(base, data, tmp_path):
    asked = Recipe(base=str(base), canaries=160, steps=300, batch_size=32, learning_rate=3e-3, seed=1, weight_decay=0)
    made = fine_tune(asked, data, tmp_path / "open", progress=False)
    read = measured(made, data)
    assert read["bound"].value > 1
    assert read["bound"].value <= read["ceiling"].value
    assert isinstance(read["bound_minus_claim"], Undefined)
    # Had its record claimed an epsilon of 0.5, the claim would be disproved.
    subject = CheckpointSubject(made, data.select(range(160, 260)), training_data=data)
    rows = Canaries().collect(subject, CTX)
    lie = json.dumps({"private": True, "epsilon": 0.5, "delta": 1e-6}).encode()
    assert figures(Canaries().summarise(rows.replace_schema_metadata({KEY: lie}), CTX))["bound_minus_claim"].value > 0.5


def test_its_private_twin_is_not(base, data, tmp_path):
    private = Privacy(epsilon=3, delta=1e-5, secure_rng=False)
    asked = Recipe(
        base=str(base),
        canaries=160,
        steps=20,
        batch_size=32,
        learning_rate=5e-3,
        seed=1,
        privacy=private,
        weight_decay=0,
    )
    made = fine_tune(asked, data, tmp_path / "private", progress=False)
    read = measured(made, data)
    assert read["ceiling"].value > 3, "or this could not fail"
    assert read["bound"].value <= 3
    assert read["claim"].value <= 3.01
    assert read["bound_minus_claim"].value <= 0
    record = made.training_record
    assert record is not None
    assert record.ledger is not None
    assert record.ledger.facts.units == 100 + sum(c.included for c in record.canaries)


def test_canaries_are_no_part_of_what_is_judged(base, data, tmp_path):
    asked = Recipe(base=str(base), canaries=40, steps=1)
    made = fine_tune(asked, data, tmp_path / "made", progress=False)
    subject = CheckpointSubject(made, data, training_data=data)
    planted = {c.id for c in made.training_record.canaries}
    assert len(subject.data) == 220
    assert subject.details["canary_rows_left_out"] == 40
    assert not planted & set(subject.data.row_ids)
    assert not planted & set(subject.training_data.row_ids)
    assert subject.training["canaries"] == 40
    assert subject.training["canaries_trained_on"] == sum(c.included for c in made.training_record.canaries)


def test_without_canaries_or_rows_it_says_so(base, data, tmp_path):
    made = fine_tune(Recipe(base=str(base), steps=1), data, tmp_path / "made", progress=False)
    with pytest.raises(Unavailable, match="had no canaries"):
        Canaries().collect(CheckpointSubject(made, data, training_data=data), CTX)
    bare = CheckpointSubject(made, data)
    assert Need.TRAINING_DATA not in bare.offers
    with pytest.raises(Unavailable, match="not at hand"):
        Canaries().collect(bare, CTX)
