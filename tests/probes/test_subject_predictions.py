"""A table of predictions as subject: tied to the data row by row, or refused with what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fine_tune.data import AuditData
from fine_tune.errors import DataError
from fine_tune.predictions import MISSING, PredictionsMeta
from probes.errors import Unavailable
from probes.evidence import Need
from probes.probe import Context
from probes.subject import FakeSubject, PredictionsSpec, PredictionsSubject

CTX = Context(instance="test")


def data(ids: bool = True) -> AuditData:
    frame = pd.DataFrame({"key": ["a", "b", "c"], "y": ["no", "yes", "yes"], "sex": ["f", None, "m"]})
    return AuditData.from_frame(frame, label="y", groups=["sex"], id="key" if ids else None)


def said(**changes: object) -> pd.DataFrame:
    frame = pd.DataFrame({"key": ["c", "a", "b"], "score_no": [0.1, 0.8, 0.6], "score_yes": [0.9, 0.2, 0.4]})
    return frame.assign(**changes)


def test_rows_are_tied_by_id() -> None:
    subject = PredictionsSubject.from_frame(said(), data())
    table = subject.predictions(CTX)
    assert table["row_id"].to_pylist() == ["a", "b", "c"]
    assert table["prediction"].to_pylist() == ["no", "no", "yes"]
    assert table["score_yes"].to_pylist() == [0.2, 0.4, 0.9]
    assert subject.offers == {Need.PREDICTIONS, Need.LABELS, Need.GROUPS}
    assert PredictionsMeta.of(table).truncated is None
    with pytest.raises(Unavailable, match="cannot be asked"):
        subject.predict(["text"], CTX)


def test_rows_are_tied_by_order_where_nobody_has_ids() -> None:
    subject = PredictionsSubject.from_frame(said().drop(columns="key"), data(ids=False))
    assert subject.predictions(CTX)["score_yes"].to_pylist() == [0.9, 0.2, 0.4]
    with pytest.raises(DataError, match=r"2 rows and data frame has 3, and no ids"):
        PredictionsSubject.from_frame(said().drop(columns="key").iloc[:2], data(ids=False))
    with pytest.raises(DataError, match="no column 'key' for id"):
        PredictionsSubject.from_frame(said().drop(columns="key"), data())
    with pytest.raises(DataError, match="data frame has none"):
        PredictionsSubject.from_frame(said(), data(ids=False), spec=PredictionsSpec(source="x", id="key"))


def test_predictions_alone_have_no_scores() -> None:
    frame = pd.DataFrame({"key": ["a", "b", "c"], "prediction": ["yes", "no", "yes"]})
    table = PredictionsSubject.from_frame(frame, data()).predictions(CTX)
    assert not [n for n in table.column_names if n.startswith("score_")]
    assert table["prediction"].to_pylist() == ["yes", "no", "yes"]


def test_columns_can_be_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"k": ["a", "b", "c"], "p0": [0.3, 0.6, 0.1], "p1": [0.7, 0.4, 0.9], "out": ["yes"] * 3})
    frame.to_csv(tmp_path / "scores.csv", index=False)
    spec = PredictionsSpec(source="scores.csv", prediction="out", scores={"yes": "p1", "no": "p0"}, id="k")
    subject = PredictionsSubject.open(spec, data(), base_dir=tmp_path)
    assert subject.classes == ("yes", "no")
    assert subject.predictions(CTX)["prediction"].to_pylist() == ["yes"] * 3
    assert subject.predictions(CTX)["score_yes"].to_pylist() == [0.7, 0.4, 0.9]


BAD = [
    ({"score_no": [0.1, np.nan, 0.6]}, "missing or not finite, such as row 0"),
    ({"score_no": [0.1, "high", 0.6]}, "'high'"),
    ({"score_no": [0.1, -0.8, 0.6], "score_yes": [0.9, 1.8, 0.4]}, "outside 0 to 1"),
    ({"score_no": [0.1, 0.8, 0.7]}, "do not sum to 1"),
    ({"key": ["a", "a", "b"]}, "'a' occurs in rows 0 and 1"),
    ({"key": ["a", "b", "z"]}, "no prediction, such as id 'c'"),
    ({"prediction": ["yes", "no", "maybe"]}, "'maybe'"),
    ({"prediction": ["yes", None, "no"]}, "1 rows have no prediction"),
]


@pytest.mark.parametrize(("changes", "seen"), BAD)
def test_bad_tables_are_named(changes: dict[str, object], seen: str) -> None:
    with pytest.raises(DataError) as error:
        PredictionsSubject.from_frame(said(**changes), data())
    assert seen in str(error.value)


def test_other_ways_to_be_wrong() -> None:
    with pytest.raises(DataError, match="neither predictions nor scores"):
        PredictionsSubject.from_frame(said()[["key"]], data())
    with pytest.raises(DataError, match="scores of 'no' alone"):
        PredictionsSubject.from_frame(said()[["key", "score_no"]], data())
    renamed = said().rename(columns={"score_no": "score_0", "score_yes": "score_1"})
    with pytest.raises(DataError, match=r"'no', 'yes'\n  expected: one of '0', '1'"):
        PredictionsSubject.from_frame(renamed, data())
    with pytest.raises(DataError, match="did you mean 'score_yes'"):
        PredictionsSubject.from_frame(
            said(), data(), spec=PredictionsSpec(source="x", scores={"yes": "score_yess", "no": "score_no"})
        )


def fake(**options: object) -> FakeSubject:
    return FakeSubject(
        [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]],
        ("no", "yes"),
        labels=["no", "yes", None],
        groups={"sex": ["f", "m", None], "label": ["x", "y", "y"]},
        roles={"cluster": ["t", "t", "u"], "weight": [1, 2, 3], "id": ["a", "b", "c"]},
        **options,
    )


def test_a_table_of_our_own_needs_no_options(tmp_path: Path) -> None:
    made = fake(threshold=0.7, positive="yes").predictions(CTX)
    pq.write_table(made, tmp_path / "predictions.parquet")
    subject = PredictionsSubject.open(PredictionsSpec(source="predictions.parquet"), base_dir=tmp_path)
    assert subject.predictions(CTX).equals(made, check_metadata=True)
    assert (subject.threshold, subject.positive) == (0.7, "yes")
    assert subject.data.features == ("sex", "label")
    assert subject.data.missing("sex") == 1
    assert subject.data.clusters == ["t", "t", "u"]
    assert not subject.data.has_inputs
    assert subject.offers == {Need.PREDICTIONS, Need.LABELS, Need.GROUPS}


def test_a_table_of_our_own_finds_its_data_again() -> None:
    source = fake()
    subject = PredictionsSubject.from_table(source.predictions(CTX), source.data)
    assert subject.predictions(CTX).equals(source.predictions(CTX))
    carried = PredictionsSubject.from_table(source.predictions(CTX))
    assert carried.data.digest == source.data.digest
    bare = FakeSubject([[0.9, 0.1], [0.4, 0.6]], ("no", "yes"), inputs=["one", "two"])
    other = FakeSubject([[0.9, 0.1], [0.4, 0.6]], ("no", "yes"), inputs=["two", "one"])
    with pytest.raises(DataError, match="predicted on another input"):
        PredictionsSubject.from_table(bare.predictions(CTX), other.data)


def test_missing_groups_of_their_own_stay_so() -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "y": ["no", "yes"], "sex": ["f", None]})
    rows = AuditData.from_frame(frame, input="text", label="y", groups=["sex"], missing_group="own")
    table = PredictionsSubject.from_frame(frame.assign(prediction=["no", "no"]), rows).predictions(CTX)
    assert table["group_sex"].to_pylist() == ["f", MISSING]
    carried = PredictionsSubject.from_table(table).data
    assert carried.missing("sex") == 1
    assert carried.group("sex") == ["f", MISSING]


def test_the_digest_sees_scores_and_predictions() -> None:
    first = PredictionsSubject.from_frame(said(), data())
    assert first.digest == PredictionsSubject.from_frame(said().iloc[::-1], data()).digest
    moved = said()
    moved.loc[0, ["score_no", "score_yes"]] = [0.1000001, 0.8999999]
    assert first.digest != PredictionsSubject.from_frame(moved, data()).digest
    assert first.digest != PredictionsSubject.from_frame(said(prediction=["no"] * 3), data()).digest
