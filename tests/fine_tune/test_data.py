"""Data with roles: formats agree, bad values are refused by name, missing groups are counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune.data import AuditData, DataSpec, Roles
from fine_tune.errors import DataError
from fine_tune.predictions import MISSING
from fine_tune.roles import as_text, as_texts

ROLES = {
    "input": "text",
    "label": "y",
    "groups": ("sex", "age"),
    "cluster": "template",
    "counterpart": "twin",
    "weight": "w",
    "id": "key",
    "labels": {0: "no", 1: "yes"},
}


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": ["a", "b", "c", "d"],
            "text": ["None", "NA", 'a "quoted", text', "line\u2028separator\nand break"],
            "y": [0, 1, 1, 0],
            "sex": ["f", None, "m", "None"],
            "age": [30, None, 40, 30],
            "template": ["t1", "t1", None, "t2"],
            "twin": ["p", "p", None, None],
            "w": [1.0, 0.5, 2.0, 0.0],
        }
    )


def write(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    rows = frame()
    if kind in {"csv", "tsv"}:
        rows.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    elif kind == "parquet":
        rows.to_parquet(path)
    else:
        rows.to_json(path, orient="records", lines=kind == "jsonl", force_ascii=False)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_format_gives_the_same_data(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    data = AuditData.load(DataSpec(source=path.name, **ROLES), base_dir=tmp_path)
    plain = AuditData.from_frame(frame(), **ROLES)
    assert data.columns == plain.columns
    assert data.digest == plain.digest
    assert data.inputs[0] == "None"
    assert data.inputs[1] == "NA"
    assert data.inputs[3] == "line\u2028separator\nand break"
    assert data.group("age") == ["30", None, "40", "30"]
    assert data.group("sex") == ["f", None, "m", "None"]


def test_a_saved_dataset_gives_the_same_data(tmp_path: Path) -> None:
    import datasets

    made = datasets.Dataset.from_pandas(frame())
    named = made.cast_column("y", datasets.ClassLabel(names=["no", "yes"]))
    named.save_to_disk(str(tmp_path / "rows"))
    spec = DataSpec(source="rows", **{**ROLES, "labels": {"no": "no", "yes": "yes"}})
    data = AuditData.load(spec, base_dir=tmp_path)
    assert data.digest == AuditData.from_frame(frame(), **ROLES).digest
    assert data.labels == ["no", "yes", "yes", "no"]
    by_code = AuditData.from_dataset(named, Roles(**ROLES))
    assert by_code.labels == data.labels
    assert data.dataset.num_rows == 4


def test_digest_sees_every_change() -> None:
    base = AuditData.from_frame(frame(), **ROLES)
    seen = {base.digest}
    for column, value in (("text", "x"), ("y", 1), ("sex", "m"), ("template", "t9"), ("w", 3.0), ("key", "z")):
        changed = frame()
        changed.loc[0, column] = value
        seen.add(AuditData.from_frame(changed, **ROLES).digest)
    seen.add(AuditData.from_frame(frame().iloc[::-1], **ROLES).digest)
    seen.add(AuditData.from_frame(frame(), **{**ROLES, "groups": ("sex",)}).digest)
    seen.add(AuditData.from_frame(frame(), **ROLES, missing_group="own").digest)
    assert len(seen) == 10


def test_roles_and_accessors() -> None:
    data = AuditData.from_frame(frame(), **ROLES, name="rows")
    assert data.features == ("sex", "age")
    assert data.missing("sex") == 1
    assert data.group("sex")[1] is None
    assert AuditData.from_frame(frame(), **ROLES, missing_group="own").group("sex")[1] == MISSING
    assert data.clusters == ["t1", "t1", "row c", "t2"]
    assert data.counterparts == ["p", "p", None, None]
    assert data.weights == [1.0, 0.5, 2.0, 0.0]
    assert data.task_labels == ("no", "yes")
    assert data.select([3, 1]).row_ids == ["d", "b"]
    assert data.select([3, 1]).content_digests == [data.content_digests[3], data.content_digests[1]]
    assert data.roles["groups"] == ("sex", "age")
    assert "labels" not in data.roles


def test_row_numbers_are_ids_without_an_id_column() -> None:
    assert AuditData.from_frame(frame(), input="text").row_ids == ["0", "1", "2", "3"]


@given(st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=True)))
def test_a_value_reads_the_same_as_itself_from_numpy(value: object) -> None:
    array = np.array([value], dtype=object)
    assert as_text(array[0]) == as_text(value)


def test_integers_with_a_gap_stay_integers() -> None:
    assert as_texts([30.0, None, 40.0]) == as_texts([30, None, 40]) == as_texts(["30.0", "", "40.0"])
    assert as_texts([30.0, 0.5]) == as_texts(["30.0", "0.5"]) == ["30.0", "0.5"]


BAD = [
    (lambda f: f, {"input": "txt"}, "'txt'", "did you mean 'text'"),
    (lambda f: f, {"groups": ("gender",)}, "'gender'", "one of key, text"),
    (lambda f: f.assign(key=["a", "b", "a", "d"]), {}, "'a' in rows 0, 2", "one row for each id"),
    (lambda f: f.assign(text=["x", None, "y", np.nan]), {}, "rows 1, 3", "an input in every row"),
    (lambda f: f.assign(y=[0, 1, 2, 0]), {}, "'2'", "one of '0', '1'"),
    (lambda f: f.assign(w=[1, np.nan, 1, 1]), {}, "weight is nan in row 1", "finite"),
    (lambda f: f.assign(w=[1, -1, 1, 1]), {}, "weight is -1.0 in row 1", "not negative"),
    (lambda f: f.assign(w=["1", "much", "1", "1"]), {}, "much", "a number"),
    (lambda f: f.iloc[:0], {}, "no rows", "at least one row"),
]


@pytest.mark.parametrize(("change", "roles", "seen", "said"), BAD)
def test_bad_values_are_named(change, roles, seen, said) -> None:
    with pytest.raises(DataError) as error:
        AuditData.from_frame(change(frame()), **{**ROLES, **roles})
    assert seen in str(error.value)
    assert said in str(error.value)


def test_a_group_column_with_ten_thousand_values_is_refused() -> None:
    many = pd.DataFrame({"text": ["t"] * 10_000, "age": range(10_000)})
    with pytest.raises(DataError, match="10,000 different values"):
        AuditData.from_frame(many, input="text", groups=["age"])


def test_labels_are_checked_against_classes() -> None:
    data = AuditData.from_frame(frame(), **ROLES)
    data.require_labels(["yes", "no"])
    with pytest.raises(DataError, match=r"'no', 'yes'\n  expected: one of '0', '1'"):
        data.require_labels(["0", "1"])
    one = AuditData.from_frame(frame().assign(y=1), **ROLES)
    with pytest.raises(DataError, match="every label of data frame is 'yes'"):
        one.require_labels()
    with pytest.raises(DataError, match="no labels"):
        AuditData.from_frame(frame(), input="text").require_labels()


FILES = [
    ("rows.csv", b"", "no rows"),
    ("rows.csv", b"text,y\n", "no rows"),
    ("rows.csv", b"text,y\na,0\nb\n", "line 3 has 1 cells"),
    ("rows.csv", b'text,y\n"a,0\n', "line"),
    ("rows.csv", b"text,text\na,b\n", "two columns are called 'text'"),
    ("rows.csv", b"text,y\n\xff\xfe,0\n", "no UTF-8"),
    ("rows.jsonl", b'{"text": "a"}\n{"text": \n', "line 2"),
    ("rows.json", b"[1, 2]", "no table"),
    ("rows.json", b"", "no rows"),
    ("rows.parquet", b"PAR1 nonsense", "cannot be read"),
    ("rows.xlsx", b"PK", "'.xlsx' names no known format"),
]


@pytest.mark.parametrize(("name", "content", "seen"), FILES)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, seen: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        AuditData.load(DataSpec(source=name, input="text"), base_dir=tmp_path)
    assert seen in str(error.value)
    assert name in str(error.value)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "csv")
    with pytest.raises(DataError, match=r"did you mean 'rows\.csv'"):
        AuditData.load(DataSpec(source="row.csv", input="text"), base_dir=tmp_path)


def test_empty_cells_in_a_single_column_are_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text\na\n\nb\n")
    with pytest.raises(DataError, match="no input in row 1"):
        AuditData.load(DataSpec(source="rows.csv", input="text"), base_dir=tmp_path)


def test_split_of_a_file_is_a_column(tmp_path: Path) -> None:
    frame().assign(split=["train", "test", "test", "train"]).to_csv(tmp_path / "rows.csv", index=False)
    data = AuditData.load(DataSpec(source="rows.csv", split="test", input="text", id="key"), base_dir=tmp_path)
    assert data.row_ids == ["b", "c"]
    with pytest.raises(DataError, match=r"no row has split 'dev'\n  expected: one of test, train"):
        AuditData.load(DataSpec(source="rows.csv", split="dev", input="text"), base_dir=tmp_path)


def test_a_sample_is_seeded_and_said(tmp_path: Path) -> None:
    many = pd.DataFrame({"text": [f"text {i}" for i in range(100)]})
    many.to_csv(tmp_path / "rows.csv", index=False)
    spec = DataSpec(source="rows.csv", input="text", sample=10)
    first = AuditData.load(spec, base_dir=tmp_path, seed=1)
    assert len(first) == 10
    assert first.digest == AuditData.load(spec, base_dir=tmp_path, seed=1).digest
    assert first.digest != AuditData.load(spec, base_dir=tmp_path, seed=2).digest
    assert first.provenance["sample"] == 10
    assert first.provenance["sample_seed"] == 1
    assert first.provenance["rows_available"] == 100
    assert first.row_ids == sorted(first.row_ids, key=int)


def test_local_paths_stand_in_for_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts.txt").write_bytes("one\u2028line\ntwo\x0cpages\nthree\n".encode())
    (tmp_path / "labels.txt").write_text("0\n1\n0\n")
    local = {"text": "texts.txt", "label": "labels.txt"}
    spec = DataSpec(source="hub:nobody/nothing", local=local, input="text", label="label", labels={0: "a", 1: "b"})
    monkeypatch.setenv("PLUMBLINE_DATA", str(tmp_path))
    data = AuditData.load(spec)
    assert data.inputs == ["one\u2028line", "two\x0cpages", "three"]
    assert data.labels == ["a", "b", "a"]
    (tmp_path / "labels.txt").write_text("0\n1\n")
    with pytest.raises(DataError, match="text has 3, label has 2"):
        AuditData.load(spec)


def test_the_hub_without_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*args: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    monkeypatch.delenv("PLUMBLINE_DATA", raising=False)
    with pytest.raises(DataError, match="no route to host"):
        AuditData.load(DataSpec(source="hub:org/name/config", input="text"))


def test_the_hub_gives_names_and_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def give(name: str, config: str | None) -> datasets.DatasetDict:
        asked.append((name, config))
        features = datasets.Features({"text": datasets.Value("string"), "y": datasets.ClassLabel(names=["no", "yes"])})
        rows = datasets.Dataset.from_dict({"text": ["a", "b"], "y": [0, 1]}, features=features)
        return datasets.DatasetDict({"train": rows, "test": rows})

    monkeypatch.setattr(datasets, "load_dataset", give)
    data = AuditData.load(DataSpec(source="hub:org/name/hate", split="test", input="text", label="y"))
    assert data.labels == ["no", "yes"]
    assert asked == [("org/name", "hate")]
    with pytest.raises(DataError, match="several splits"):
        AuditData.load(DataSpec(source="hub:org/name", input="text"))
    with pytest.raises(DataError, match="no split 'tset'"):
        AuditData.load(DataSpec(source="hub:org/name", split="tset", input="text"))


def test_a_spec_is_closed() -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        DataSpec(source="x.csv", input="text", inputs="text")
    assert DataSpec.model_validate(json.loads(DataSpec(source="x", groups=["a"]).model_dump_json())).groups == ("a",)


@pytest.mark.skipif("PLUMBLINE_DATA" not in os.environ, reason="set PLUMBLINE_DATA to the folder of real data")
def test_hatecheck_comes_out_whole() -> None:
    spec = DataSpec(
        source="hub:Paul/hatecheck",
        local="hatecheck/test_suite_cases.csv",
        input="test_case",
        label="label_gold",
        groups=("target_ident", "functionality"),
        cluster="templ_id",
        id="case_id",
    )
    data = AuditData.load(spec)
    assert len(data) == 3728
    assert data.missing("target_ident") == 292
    assert len(set(data.group("functionality"))) == 29
    assert data.task_labels == ("hateful", "non-hateful")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ValueError"), ("one\ntwo", "ValueError: one"), ("\n  one  \n", "ValueError: one"),
        ("\n" + 9 * "*" + "\n  Resource punkt not found.\n" + 9 * "*", "ValueError: Resource punkt not found."),
    ],
)  # fmt: skip
def test_the_first_line_of_another_library_s_error(text: str, said: str) -> None:
    from fine_tune.sources import first_line

    assert first_line(ValueError(text)) == said
