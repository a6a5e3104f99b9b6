"""Which rows a membership test may compare, and two small models: one that learnt its rows by heart, one that did not."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from fine_tune.data import AuditData, Roles
from fine_tune.recipe import Recipe
from fine_tune.train import fine_tune
from probes.checkpoint_subject import CheckpointSubject
from probes.errors import Unavailable
from probes.evidence import Measurement, Need, Undefined
from probes.fake_subject import FakeSubject
from probes.probe import Context, MemoryJournal
from probes.registry import create

CTX = Context(instance="membership", seed=3)
WORDS = "good bad fine awful great poor the a movie film plot actor was is very not really she he they"


def figures(reading):
    return {(m.name, *(str(a) for a in m.slice)): m for m in reading.measurements}


def read(table, **options):
    return create("privacy.membership", options).summarise(table, CTX)


def subject_of(texts, parts, *, clusters=None, audit=None, groups=None):
    """A fake whose training rows are known; ``parts`` says of each row whether it was trained, validated or held out."""
    n = len(texts)
    columns = {"text": texts, "label": ["yes", "no"] * (n // 2) + ["yes"] * (n % 2)}
    roles = {"input": "text", "label": "label"}
    if clusters is not None:
        columns["c"], roles["cluster"] = clusters, "c"
    if groups is not None:
        columns["g"], roles["groups"] = groups, ("g",)
    given = AuditData.from_columns(columns, Roles(**roles), name="given")
    ids = {p: tuple(r for r, part in zip(given.row_ids, parts, strict=True) if part == p) for p in "tvh"}
    fake = FakeSubject(
        np.full((len(audit or texts), 2), 0.5),
        ("no", "yes"),
        labels=["yes"] * len(audit or texts),
        inputs=audit or texts,
    )
    fake.training_source = given
    record = SimpleNamespace(
        training_ids=ids["t"], validation_ids=ids["v"], holdout_ids=ids["h"], recipe=SimpleNamespace(privacy=None)
    )
    fake.checkpoint = SimpleNamespace(training_record=record)
    return fake


def collected(subject, **options):
    return create("privacy.membership", options).collect(subject, CTX)


def test_rows_of_both_kinds_with_labels_and_groups():
    subject = subject_of([f"t{i}" for i in range(8)], "ttthhvth", groups=list("aabbabab"))
    table = collected(subject)
    assert table["row_id"].to_pylist() == ["0", "1", "2", "6", "3", "4", "7"]
    assert table["member"].to_pylist() == [True] * 4 + [False] * 3
    assert table["label"].to_pylist() == ["yes", "no", "yes", "yes", "no", "yes", "no"]
    assert table["group_g"].to_pylist() == list("aababab")
    scores = subject.predict([f"t{i}" for i in (0, 1, 2, 6, 3, 4, 7)], CTX)
    column = [1, 0, 1, 1, 0, 1, 0]
    own = scores[np.arange(7), column]
    assert table["loss"].to_pylist() == pytest.approx(-np.log(own))
    assert table["score"].to_pylist() == pytest.approx(np.log(own / (1 - own)))


def test_inputs_that_stand_in_several_rows_are_left_out_on_both_sides():
    subject = subject_of(["a", "a", "b", "c", "a", "d", "e", "e", "f", "f"], "ttthhhtthv")
    table = collected(subject)
    assert table["row_id"].to_pylist() == ["2", "3", "5"]
    remarks = [r.fill() for r in read(table).remarks]
    assert any(r.startswith("6 rows have an input that stands in several rows") for r in remarks)


def test_held_out_rows_of_validation_clusters_are_left_out():
    subject = subject_of([f"t{i}" for i in range(6)], "tthvht", clusters=["a", "b", "a", "c", "c", "b"])
    table = collected(subject)
    assert table["row_id"].to_pylist() == ["0", "1", "5", "2"]
    assert any("went to validation as a whole" in r.text for r in read(table).remarks)


def test_samples_are_bounded_seeded_and_said():
    subject = subject_of([f"t{i}" for i in range(100)], "t" * 60 + "h" * 40)
    table = collected(subject, members=20, nonmember_rows=10)
    assert table["member"].to_pylist() == [True] * 20 + [False] * 10
    assert table.equals(collected(subject, members=20, nonmember_rows=10))
    other = create("privacy.membership", {"members": 20, "nonmember_rows": 10}).collect(
        subject, Context(instance="membership", seed=4)
    )
    assert other["row_id"].to_pylist() != table["row_id"].to_pylist()
    assert "20 of 60 training rows and 10 of 40" in read(table).remarks[0].fill()


def test_without_a_random_holdout_there_is_no_figure():
    subject = subject_of([f"t{i}" for i in range(6)], "ttttvv")
    with pytest.raises(Unavailable, match="kept no random rows out") as caught:
        collected(subject)
    assert "nonmembers: audit" in caught.value.fix


def test_against_the_audit_data_figures_have_names_of_their_own():
    subject = subject_of(
        [f"t{i}" for i in range(6)], "ttttvv", audit=["t1", "x", "y", "z", "t5"], groups=list("aabbab")
    )
    table = collected(subject, nonmembers="audit")
    assert table["member"].to_pylist() == [True] * 4 + [False] * 3
    reading = read(table, nonmembers="audit")
    found = figures(reading)
    assert isinstance(found["auc",], Undefined)
    assert isinstance(found["advisory_auc",], Measurement)
    assert not any(m.name == "group_auc" for m in reading.measurements)
    said = " ".join(r.fill() for r in reading.remarks)
    assert "these figures are advisory" in said
    assert "2 rows of the audit data were given to the training too" in said


def test_no_training_rows_at_hand():
    subject = FakeSubject(np.full((2, 2), 0.5), ("no", "yes"), labels=["no", "yes"])
    with pytest.raises(Unavailable, match="not at hand"):
        collected(subject)


# models


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n = 240
    texts = [" ".join(rng.choice(WORDS.split(), 8)) for _ in range(n)]
    columns = {"text": texts, "label": rng.choice(["no", "yes"], n).tolist(), "g": rng.choice(["a", "b"], n).tolist()}
    return AuditData.from_columns(columns, Roles(input="text", label="label", groups=("g",)), name="noise")


def trained(base, data, folder, **changes):
    values = {"base": str(base), "batch_size": 16, "holdout": 0.5, "learning_rate": 3e-3} | changes
    made = fine_tune(Recipe.of(values), data, folder, progress=False)
    return CheckpointSubject(made, data, training_data=data)


@pytest.fixture(scope="module")
def by_heart(tiny_base, data, tmp_path_factory):
    """Labels are coins, so whatever is learnt of them is learnt by heart."""
    return trained(tiny_base, data, tmp_path_factory.mktemp("heart") / "m", epochs=25)


def test_a_model_that_learnt_by_heart_is_found(by_heart):
    assert {Need.TRAINING_DATA, Need.TRAINING_RECORD} <= by_heart.offers
    found = figures(read(collected(by_heart)))
    assert found["auc",].interval.low > 0.55
    assert found["auc",].counts.n == 240


def test_a_model_that_learnt_nothing_is_not_found(tiny_base, data, tmp_path):
    subject = trained(tiny_base, data, tmp_path / "m", steps=2, learning_rate=1e-5)
    auc = figures(read(collected(subject)))["auc",]
    assert auc.interval.low < 0.5 < auc.interval.high


def test_only_the_very_data_is_taken_for_the_training_data(by_heart, data):
    other = data.select(range(len(data) - 1))
    subject = CheckpointSubject(by_heart.checkpoint, data, training_data=other)
    assert Need.TRAINING_DATA not in subject.offers
    assert subject.training_source is None
    with pytest.raises(Unavailable, match="not at hand"):
        collected(subject)


class Counting(MemoryJournal):
    """A journal that can refuse to go on, as a kill does."""

    def __init__(self, most):
        super().__init__()
        self.most, self.kept = most, 0

    def append(self, items):
        told = list(items)
        if any(isinstance(value, dict) and "inside" in value for _, value in told):
            if self.kept == self.most:
                raise KeyboardInterrupt
            self.kept += 1
        super().append(told)


def test_deep_attacks_resume_and_read_the_same(tiny_base, data, tmp_path):
    subject = trained(tiny_base, data.select(range(80)), tmp_path / "m", steps=10)
    probe = create("privacy.membership", {"deep": "lira", "shadow_models": 4, "min_group": 5})
    whole = probe.collect(subject, CTX)
    journal = Counting(2)
    stopped = Context(instance="membership", seed=3, journal=journal)
    with pytest.raises(KeyboardInterrupt):
        probe.collect(subject, stopped)
    journal.most = 4
    resumed = probe.collect(subject, stopped)
    assert journal.kept == 4
    assert resumed.equals(whole)
    assert resumed.schema.metadata == whole.schema.metadata
    facts = json.loads(whole.schema.metadata[b"plumbline.membership"])
    assert facts["models"] == 4
    inside = np.array(whole["shadow_members"].to_pylist())
    assert (inside.sum(axis=1) == 2).all(), "every row is in half of the models"
    reading = probe.summarise(whole, CTX)
    names = {m.name for m in reading.measurements}
    assert {"auc", "lira_auc", "lira_offline_auc", "lira_tpr_at_1_percent_fpr"} <= names
    assert not any(name.startswith("rmia") for name in names)
    assert any(r.text.startswith("{models} shadow models were trained") for r in reading.remarks)
    # The same shadow models serve the other attack, whose formula takes probabilities.
    other = create("privacy.membership", {"deep": "both", "shadow_models": 4, "min_group": 5})
    found = figures(other.summarise(other.collect(subject, stopped), CTX))
    assert journal.kept == 4, "no model was trained again"
    assert isinstance(found["rmia_auc",], Measurement)
    assert isinstance(found["rmia_offline_auc",], Measurement)
    assert found["lira_auc",] == figures(reading)["lira_auc",]
