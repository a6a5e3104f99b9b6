"""`data.quality`: by hand, on planted faults, on clean data, and what it must never keep or show."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune.data import AuditData, Roles
from probes.data.likeness import _Budget
from probes.data.quality_figures import KEY
from probes.errors import ProbeError
from probes.evidence import Measurement, Need, Reading, Table, Undefined, slice_name
from probes.fake_subject import FakeSubject
from probes.predictions_subject import PredictionsSubject
from probes.probe import Context
from probes.registry import create

CTX = Context(instance="quality", seed=7)
CLASSES = ("no", "yes")


def subject(inputs, labels=None, training=None, **roles) -> FakeSubject:
    """A subject on these inputs; ``training`` is what the plan names as its training inputs."""
    groups = roles.pop("groups", None)
    n = len(inputs)
    ids = roles.pop("id", [f"r{i:05d}" for i in range(n)])
    made = FakeSubject(
        np.full((n, 2), 0.5), CLASSES, labels=labels, inputs=inputs, groups=groups, roles={"id": ids, **roles}
    )
    if training is not None:
        made.training_named = rows_of(training)
    return made


def rows_of(inputs) -> AuditData:
    columns = {"text": list(inputs), "id": [f"t{i}" for i in range(len(inputs))]}
    return AuditData.from_columns(columns, Roles(input="text", id="id"), name="the training file")


def read(one: FakeSubject, **options) -> Reading:
    probe = create("data.quality", options)
    return probe.summarise(probe.collect(one, CTX), CTX)


def figures(reading: Reading) -> dict[str, float | None]:
    """Values by name and slice; None where undefined."""
    return {
        f"{m.name} {slice_name(m.slice)}": m.value if isinstance(m, Measurement) else None for m in reading.measurements
    }


def reason(reading: Reading, name: str) -> str:
    return next(m.reason.fill() for m in reading.measurements if m.name == name and isinstance(m, Undefined))


def prose(rng: np.random.Generator, rows: int, words: int = 14) -> list[str]:
    """Texts of made-up words, no two alike."""
    vocabulary = ["".join(rng.choice(list("abcdefghijklmnopqrst"), rng.integers(3, 8))) for _ in range(3000)]
    return [" ".join(rng.choice(vocabulary, words)) for _ in range(rows)]


def test_oracle():
    """Ten rows by hand.

    r0, r1 and r2 are equal, and r2 is labelled otherwise; r3 differs from them by case and a space: near, not equal. r4 and r5 are in
    the training data, r5 with another first letter: abcdefghij has 6 shingles of 5, of which 5 are kept of 7. r6 has no label, r7 and
    r8 are blank and so equal shingles, but not equal.
    """
    inputs = ["same text here"] * 3 + [
        "Same  text here",
        "trained on this",
        "abcdefghij",
        "alone",
        " ",
        "\t",
        "last one",
    ]
    labels = ["yes", "yes", "no", "yes", "no", "no", None, "no", "no", "no"]
    reading = read(subject(inputs, labels, training=["trained on this", "xbcdefghij"]), threshold=0.7)
    found = figures(reading)
    assert found["missing_share setting:role=input"] == pytest.approx(0.2)
    assert found["missing_share setting:role=label"] == pytest.approx(0.1)
    assert found["duplicate_share all"] == pytest.approx(0.3)
    assert found["near_duplicate_share all"] == pytest.approx(0.6)
    assert found["conflicting_label_share all"] == pytest.approx(3 / 9)
    assert found["leaked_share all"] == pytest.approx(0.1)
    assert found["near_leaked_share all"] == pytest.approx(0.2)
    assert found["class_share class:yes"] == pytest.approx(3 / 9)
    leaks = next(e for e in reading.evidence if isinstance(e, Table) and "training row" in e.title.text)
    assert [(r[0], r[1], pytest.approx(r[2])) for r in leaks.rows] == [("r00004", "t0", 1.0), ("r00005", "t1", 5 / 7)]


def test_planted_faults_are_found():
    rng = np.random.default_rng(0)
    texts = prose(rng, 400)
    copies, near = list(range(10)), list(range(10, 20))
    typed = [texts[i][:-1] + "z" for i in near]
    own = ["mail me at jane.doe@example.org", "card 4111 1111 1111 1111", "id 11010519491231002X"]
    training = [texts[i] for i in range(30, 37)] + [texts[i] + "!" for i in range(37, 41)] + prose(rng, 50)
    inputs = texts + [texts[i] for i in copies] + typed + own
    found = figures(read(subject(inputs, training=training)))
    assert found["duplicate_share all"] == pytest.approx(20 / 423)
    assert found["near_duplicate_share all"] == pytest.approx(40 / 423)
    assert found["leaked_share all"] == pytest.approx(7 / 423)
    assert found["near_leaked_share all"] == pytest.approx(11 / 423)
    assert found["personal_data_rows all"] == 3
    assert [found[f"personal_data_rows setting:kind={k}"] for k in ("email", "card", "cn_id", "phone")] == [1, 1, 1, 0]


def test_clean_data_show_none():
    """Labels and groups are drawn at random, so words tell nothing; the shares are 0 and the intervals hold chance."""
    rng = np.random.default_rng(1)
    texts = prose(rng, 800, words=20)
    reading = read(
        subject(
            texts, rng.choice(CLASSES, 800).tolist(), training=prose(rng, 100),
            groups={"who": rng.choice(["a", "b", "c"], 800).tolist()},
        )
    )  # fmt: skip
    found = figures(reading)
    for name in ("duplicate", "near_duplicate", "conflicting_label", "leaked", "near_leaked"):
        assert found[f"{name}_share all"] == 0
    assert found["personal_data_rows all"] == 0
    area = next(m for m in reading.measurements if m.name == "proxy_auc" and m.slice[0].kind == "feature")
    assert area.interval.low < 0.5 < area.interval.high
    gap = next(m for m in reading.measurements if m.name == "label_share_gap")
    assert gap.interval.low == 0


def test_noise_and_proxies_that_were_planted():
    """Words say the label and the group; a twelfth of group b's labels is wrong, and none of group a's."""
    rng = np.random.default_rng(2)
    truth, who = rng.integers(0, 2, 1200), rng.integers(0, 2, 1200)
    filler = prose(rng, 1200, words=4)
    texts = [f"{t} {('good', 'bad')[k]} {('she', 'he')[w]}" for t, k, w in zip(filler, truth, who, strict=True)]
    wrong = (who == 1) & (rng.random(1200) < 1 / 12)
    labels = [CLASSES[k] for k in np.where(wrong, 1 - truth, truth)]
    reading = read(subject(texts, labels, groups={"who": [("a", "b")[w] for w in who]}))
    found = figures(reading)
    assert found["suspect_label_share group:who=a"] < 0.01
    assert 0.02 < found["suspect_label_share group:who=b"] <= wrong.sum() / (who == 1).sum()
    noise = next(m for m in reading.measurements if m.name == "label_noise_share")
    assert noise.interval.low < wrong.mean() < noise.interval.high
    assert noise.value == pytest.approx(wrong.mean(), abs=0.015)
    assert found["proxy_auc group:who=a"] > 0.99
    words = next(e for e in reading.evidence if isinstance(e, Table) and "give a group away" in e.title.text)
    assert {(r[1], r[2]) for r in words.rows} >= {("a", "she"), ("b", "he")}
    suspected = next(e for e in reading.evidence if isinstance(e, Table) and "look at again" in e.title.text)
    assert {r[0] for r in suspected.rows} <= {f"r{i:05d}" for i in np.flatnonzero(wrong)}


def test_label_noise_by_hand():
    """The scores of test_simple_model's example: suspect are one of three sure rows labelled no, and one of two labelled yes.

    Suspect 2 of 5; noise 3/5 * 1/3 + 2/5 * 1/2 = 0.4.
    """
    probe = create("data.quality", {})
    rows = probe.collect(subject(prose(np.random.default_rng(0), 5), ["no", "no", "no", "yes", "yes"]), CTX)
    facts = json.loads(rows.schema.metadata[KEY])
    facts["models"][""] = {"classes": ["no", "yes"], "small": []}
    scores = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.6, 0.4]]
    rows = rows.append_column("label_scores", pa.array(scores, pa.list_(pa.float64())))
    found = figures(probe.summarise(rows.replace_schema_metadata({KEY: json.dumps(facts)}), CTX))
    assert found["suspect_label_share all"] == pytest.approx(2 / 5)
    assert found["label_noise_share all"] == pytest.approx(0.4)


def test_labels_by_group():
    """30 of 40 against 10 of 40 by hand; the group of three is shown, not compared."""
    labels = ["yes"] * 30 + ["no"] * 10 + ["yes"] * 10 + ["no"] * 30 + ["yes"] * 3
    groups = {"who": ["a"] * 40 + ["b"] * 40 + ["c"] * 3}
    reading = read(subject(prose(np.random.default_rng(0), 83), labels, groups=groups))
    gap = next(m for m in reading.measurements if m.name == "label_share_gap")
    assert gap.value == pytest.approx(0.5)
    assert 0.25 < gap.interval.low < 0.5 < gap.interval.high < 0.7
    assert gap.counts.smallest == 40
    table = next(e for e in reading.evidence if isinstance(e, Table) and e.title.text.startswith("Labels by group"))
    assert ("who", "a", "yes", 30, 40, 0.75) in {r[:6] for r in table.rows}
    assert ("who", "c", "yes", 3, 3, 1.0) in {r[:6] for r in table.rows}
    small = next(m for m in reading.measurements if m.name == "proxy_auc" and slice_name(m.slice) == "group:who=c")
    assert small.reason.fill() == "3 rows; 20 are needed."


def test_clusters_and_copies_are_one_unit():
    """Forty copies of one text and a cluster of sixty leave 2 units of a hundred rows, and no model."""
    inputs = ["the very same text"] * 40 + prose(np.random.default_rng(0), 60)
    cluster = [f"c{i}" for i in range(40)] + ["one"] * 60
    reading = read(subject(inputs, ["yes", "no"] * 50, groups={"who": ["a", "b"] * 50}, cluster=cluster))
    gap = next(m for m in reading.measurements if m.name == "label_share_gap")
    assert gap.counts.clusters == 2
    assert reason(reading, "suspect_label_share") == "One of them stands in 2 independent texts; 5 are needed."


def test_without_training_data_leakage_is_undefined_with_its_reason():
    reading = read(subject(prose(np.random.default_rng(0), 30)))
    assert reason(reading, "leaked_share") == reason(reading, "near_leaked_share")
    assert "data.train" in reason(reading, "leaked_share")
    assert any(r.text.startswith("Leakage was not looked for") for r in reading.remarks)


def test_a_training_record_that_names_other_rows_is_not_overruled():
    one = subject(prose(np.random.default_rng(0), 30), training=["a", "b"])
    one.offers |= {Need.TRAINING_RECORD}
    assert "the training file" in reason(read(one), "leaked_share")
    one.training_data = rows_of([one.data.inputs[0]])
    reading = read(one)
    assert figures(reading)["leaked_share all"] == pytest.approx(1 / 30)
    assert any("training record names" in r.text for r in reading.remarks)


def test_images_are_compared_for_exact_copies_alone():
    pictures = [bytes([i]) * 9 for i in range(40)] + [bytes([0]) * 9]
    labels = ["yes", "no"] * 20 + ["no"]
    reading = read(
        subject(pictures, labels, training=[bytes([3]) * 9, bytes([99]) * 9], groups={"who": ["a", "b"] * 20 + ["a"]})
    )
    found = figures(reading)
    assert found["duplicate_share all"] == pytest.approx(2 / 41)
    assert found["conflicting_label_share all"] == pytest.approx(2 / 41)
    assert found["leaked_share all"] == pytest.approx(1 / 41)
    assert found["label_share_gap feature:who"] is not None
    for name in (
        "near_duplicate_share",
        "near_leaked_share",
        "suspect_label_share",
        "label_noise_share",
        "proxy_auc",
        "personal_data_rows",
    ):
        assert reason(reading, name) == "The inputs are no texts."


def test_a_table_of_predictions_without_inputs_says_what_it_cannot_see():
    import pandas as pd

    frame = pd.DataFrame({"label": ["yes", "no"] * 25, "prediction": ["yes"] * 50})
    data = AuditData.from_frame(frame, label="label")
    reading = read(PredictionsSubject.from_frame(frame, data))
    for name in ("duplicate_share", "near_duplicate_share", "conflicting_label_share", "personal_data_rows"):
        assert reason(reading, name) == "The inputs are not at hand."
    assert figures(reading)["class_share class:yes"] == 0.5


def test_texts_too_alike_to_compare_leave_the_figure_undefined(monkeypatch):
    """Exact copies are still counted, and what cannot be counted is no zero."""
    monkeypatch.setattr("probes.data.likeness._Budget", partial(_Budget, left=0))
    texts = [f"one two three four five {k}" for k in "aabcdefg"]
    reading = read(subject(texts, training=[t + "!" for t in texts]))
    assert figures(reading)["duplicate_share all"] == pytest.approx(2 / 8)
    assert reason(reading, "near_duplicate_share").startswith("Near copies were not counted")
    assert reason(reading, "near_leaked_share").startswith("Near copies were not counted")
    assert figures(reading)["leaked_share all"] == 0


def test_several_texts_a_row_are_read_together():
    pairs = [{"premise": f"{a} said", "hypothesis": "write to me@example.org"} for a in "abc"]
    assert figures(read(subject(pairs)))["personal_data_rows setting:kind=email"] == 3


def test_models_look_at_a_sample_and_say_so():
    rng = np.random.default_rng(3)
    reading = read(subject(prose(rng, 300), rng.choice(CLASSES, 300).tolist()), model_rows=100)
    suspect = next(m for m in reading.measurements if m.name == "suspect_label_share")
    assert suspect.counts.denominator == 100
    assert "Simple models looked at 100 of 300 rows, drawn at random." in [r.fill() for r in reading.remarks]


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.4},
        {"threshold": 1.1},
        {"shingle": 0},
        {"min_group": 1},
        {"model_rows": 3},
        {"phone_regions": ["de"]},
    ],
)
def test_options_that_cannot_be_used_are_refused(options):
    with pytest.raises(ProbeError):
        create("data.quality", options)


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 100))
def test_property_order_does_not_matter(random, seed):
    """Rows in another order give the same reading, sentence by sentence and bit by bit."""
    rng = np.random.default_rng(seed)
    texts = prose(rng, 90, words=6)
    rows = [
        {
            "input": texts[i % 80],
            "label": str(rng.choice(["no", "yes"])),
            "who": str(rng.choice(["a", "b"])),
            "id": f"r{i:03d}",
        }
        for i in range(90)
    ]
    shuffled = list(rows)
    random.shuffle(shuffled)
    readings = [
        read(
            subject(
                [r["input"] for r in order], [r["label"] for r in order], training=texts[:5],
                groups={"who": [r["who"] for r in order]}, id=[r["id"] for r in order],
            ),
            model_rows=60,
        )
        for order in (rows, shuffled)
    ]  # fmt: skip
    assert readings[0] == readings[1]


def luhn_number(digits: list[int]) -> str:
    """15 digits with their check digit, worked out by trying all ten."""
    for last in range(10):
        number = [4, *digits, last]
        total = sum(
            sum(divmod(2 * d, 10)) if k % 2 else d for k, d in enumerate(reversed(number))
        )  # fmt: skip
        if total % 10 == 0:
            return "".join(map(str, number))
    raise AssertionError


NAMES = st.from_regex(r"[a-z]{3,10}\.[a-z]{3,10}", fullmatch=True)
EMAILS = st.builds("{}@{}.example.org".format, NAMES, st.from_regex(r"[a-z]{3,8}", fullmatch=True))
CARDS = st.lists(st.integers(0, 9), min_size=14, max_size=14).map(luhn_number)


@settings(max_examples=8, deadline=None)
@given(st.lists(EMAILS, min_size=1, max_size=4), st.lists(CARDS, min_size=1, max_size=4))
def test_property_nothing_personal_is_kept_or_shown(emails, cards):
    """Each stands in fifteen texts of one group, where a word would be shown; neither the rows nor the reading hold it."""
    secrets = [*emails, *cards]
    rng = np.random.default_rng(0)
    inputs = prose(rng, 40, words=8) + [
        f"{t} write to {secrets[i % len(secrets)]}" for i, t in enumerate(prose(rng, 15 * len(secrets), 8))
    ]
    groups = {"who": ["a"] * 40 + ["b"] * (15 * len(secrets))}
    one = subject(inputs, rng.choice(CLASSES, len(inputs)).tolist(), training=inputs[::3], groups=groups)
    probe = create("data.quality", {})
    rows = probe.collect(one, CTX)
    reading = probe.summarise(rows, CTX)
    found = figures(reading)
    assert found["personal_data_rows all"] == 15 * len(secrets)
    assert found["personal_data_rows setting:kind=email"] == 15 * len(emails)
    told = [
        reading.model_dump_json(),
        str(rows.to_pylist()),
        str(rows.schema.metadata),
        str(create("data.quality", {})),
    ]
    for secret in secrets:
        assert not any(secret in text or secret.partition("@")[0] in text for text in told)
    # Nor any other input, or a run of six of its words.
    for text in inputs:
        assert not any(" ".join(text.split()[:6]) in one for one in told)


@pytest.mark.skipif("PLUMBLINE_DATA" not in os.environ, reason="set PLUMBLINE_DATA to the folder of real data")
def test_tweets_that_are_in_both_splits():
    """TweetEval's hate test split against its training split; the exact overlap is that of two plain sets."""
    folder = Path(os.environ["PLUMBLINE_DATA"]) / "tweeteval_hate"
    train, test = ((folder / f"{part}_text.txt").read_text(encoding="utf-8").splitlines() for part in ("train", "test"))
    found = figures(read(subject(test, training=train)))
    assert found["leaked_share all"] == pytest.approx(sum(t in set(train) for t in test) / len(test))
    assert found["leaked_share all"] == pytest.approx(0.0778, abs=5e-5)
    assert found["near_leaked_share all"] == pytest.approx(0.1010, abs=5e-5)
    assert found["near_duplicate_share all"] == pytest.approx(0.0091, abs=5e-5)


@pytest.mark.skipif("PLUMBLINE_DATA" not in os.environ, reason="set PLUMBLINE_DATA to the folder of real data")
def test_hatecheck_has_templates_no_copies_and_says_who_is_meant():
    import pandas as pd

    frame = pd.read_csv(Path(os.environ["PLUMBLINE_DATA"]) / "hatecheck" / "test_suite_cases.csv")
    who = frame["target_ident"].where(frame["target_ident"].notna(), None).tolist()
    labels = ["yes" if v == "hateful" else "no" for v in frame["label_gold"]]
    made = subject(
        frame["test_case"].tolist(), labels, groups={"target": who}, cluster=frame["templ_id"].astype(str).tolist()
    )
    reading = read(made)
    found = figures(reading)
    assert found["duplicate_share all"] == 0
    assert found["near_duplicate_share all"] == pytest.approx(0.1929, abs=5e-5)
    assert found["missing_share feature:target"] == pytest.approx(0.0783, abs=5e-5)
    assert found["proxy_auc feature:target"] > 0.999
    gap = next(m for m in reading.measurements if m.name == "label_share_gap")
    assert gap.interval.low == 0
