from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from audit.documents import Document, read_document
from audit.errors import PlanError
from audit.yaml_files import MAX_BYTES, read_source
from probes.evidence import Plain


class Inner(Plain):
    limit: float | None = None
    colour: Literal["red", "green"] = "red"


class Model(Plain):
    schema_: Literal["test/v1"] = Field(default="test/v1", alias="schema")
    name: str
    count: int = 0
    when: date | None = None
    flag: bool = False
    either: str | Inner = ""
    items: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field(default_factory=dict)
    free: dict[str, Any] = Field(default_factory=dict)


def read(tmp_path: Path, text: str | bytes, **options: Any) -> Document[Model]:
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(path, Model, error=PlanError, **options)


def refused(tmp_path: Path, text: str | bytes, **options: Any) -> PlanError:
    with pytest.raises(PlanError) as caught:
        read(tmp_path, text, **options)
    return caught.value


def test_values_and_lines(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        "# a comment\nschema: test/v1\nname: no\nwhen: 2026-01-31\n"
        "items:\n  - limit: 0\n  - {limit: 1.5,\n     colour: green}\n",
    )
    assert document.value.name == "no"  # YAML 1.2
    assert document.value.when == date(2026, 1, 31)
    assert document.value.items[0].limit == 0
    assert [document.line(loc) for loc in [("name",), ("items",), ("items", 0, "limit"), ("items", 1, "colour")]] == [
        3,
        5,
        6,
        8,
    ]
    assert document.line(("items", 1, "absent")) == 7
    assert document.where(("when",)) == f"{tmp_path / 'file.yaml'}:4"


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "Off"])
def test_words_that_older_yaml_took_for_booleans_are_text(tmp_path: Path, word: str) -> None:
    assert read(tmp_path, f"name: {word}\nfree: {{a: {word}}}").value.free == {"a": word}


def test_an_old_version_directive_changes_no_words(tmp_path: Path) -> None:
    assert read(tmp_path, "%YAML 1.1\n---\nname: on\n").value.name == "on"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("name: x\nnmae: y\n", 2, "did you mean 'name'?"),
        ("name: x\nitems:\n- limit: 1\n- limt: 2\n", 4, "did you mean 'limit'?"),
        ("name: x\nnamed:\n  a:\n    color: red\n", 4, "did you mean 'colour'?"),
        ("name: x\nitems:\n- limit: ten\n", 3, "items[0].limit is 'ten'"),
        ("name: x\nitems:\n- limit: true\n", 3, "items[0].limit is true"),
        ("name: x\nitems:\n- limit: .nan\n", 3, "a finite number"),
        ("name: x\nitems:\n- limit: -.inf\n", 3, "a finite number"),
        ("name: x\nfree:\n  deep: .inf\n", 3, "free.deep is .inf"),
        ("name: x\nitems:\n- limit: '0.5'\n", 3, "items[0].limit is '0.5'"),
        ("name: x\nitems:\n- colour: gren\n", 3, "did you mean 'green'?"),
        ("name: x\ncount: 1.5\n", 2, "a whole number"),
        ("name: x\nflag: yes\n", 2, "true or false"),
        ("name: x\nwhen: 0\n", 2, "a date such as 2026-01-31"),
        ("name: x\nwhen: 2026-02-30\n", 2, "a date such as 2026-01-31"),
        ("name: 7\n", 1, "put it in quotes"),
        ("count: 7\n", 1, "has no 'name'"),
        ("name: x\nitems: 5\n", 2, "a list"),
        ("name: x\neither:\n  limt: 2\n", 3, "did you mean 'limit'?"),
        ("name: x\neither: [1]\n", 2, "either is a list"),
        ("name: x\nname: y\n", 2, "first in line 1"),
        ("name: x\nfree: {a: 1, a: 2}\n", 2, "first in line 2"),
        ("name: x\nfree: !!python/object:os.system {}\n", 2, "the tag"),
        ("name: !secret x\n", 1, "the tag !secret"),
        ("name: x\n? [a, b]\n: 1\n", 2, "a key that is a list"),
        ("name: x\n\tcount: 1\n", 2, "not readable as YAML"),
        ("name: [1,\ncount: 1", 2, "not readable as YAML"),
        ("name: x\n--- \nname: y\n", 2, "not readable as YAML"),
        ("schema: test/v2\nnmae: x\n", 1, "expected: test/v1"),
    ],
)
def test_one_problem_has_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    error = refused(tmp_path, text)
    assert error.where == f"{tmp_path / 'file.yaml'}:{line}"
    assert said in str(error)
    assert error.exit_code == 2


def test_a_union_is_one_problem(tmp_path: Path) -> None:
    error = refused(tmp_path, "name: x\neither: 5\n")
    assert error.seen == "either is 5"
    assert error.expected == "text or a mapping (key: value)"


def test_all_problems_are_listed_in_order(tmp_path: Path) -> None:
    error = refused(tmp_path, "extra: 1\ncount: x\nitems:\n- limit: ten\n")
    lines = str(error).splitlines()
    assert "4 problems" in lines[0]
    assert [line.partition("file.yaml:")[2][0] for line in lines[1:]] == ["1", "1", "2", "4"]


def test_problems_of_every_kind_are_told_together_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    error = refused(
        tmp_path,
        "nmae: x\ncount: ${ABSENT}\nitems:\n- limit: .nan\n- colour: red\n- colour: red\ncount: 2\n",
        unique={"items": "colour"},
    )
    lines = [line.partition("file.yaml:")[2] for line in str(error).splitlines()[1:]]
    assert [line[0] for line in lines] == ["1", "1", "2", "4", "6", "7"]
    assert "no variable ABSENT" in lines[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "empty"),
        (b"# only a comment\n", "empty"),
        (b"just text", "a mapping"),
        (b"name: \xff\xfe", "not UTF-8"),
        (b"name: a\x00b", "not readable"),
        (b"name: x\nfree: {a: *nothing}\n", "undefined alias"),
        (b"a: &a [*a]\n", "anchors"),
        (b"[" * 20_000, "nested too deeply"),
        (b"name: " + b"9" * 5000, "a finite number"),
        (b"name: !!int ten", "a finite number"),
        (b"#" * (MAX_BYTES + 1), "1,000,000"),
    ],
)
def test_unreadable_files(tmp_path: Path, text: bytes, said: str) -> None:
    assert said in str(refused(tmp_path, text))


def test_anchors_are_fine_until_they_explode(tmp_path: Path) -> None:
    assert read(tmp_path, "name: x\nfree: {a: &a [1], b: *a}\n").value.free == {"a": [1], "b": [1]}
    layers = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "anchors" in str(refused(tmp_path, "\n".join(layers)))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(PlanError, match="cannot be read"):
            read_document(path, Model, error=PlanError)


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "there")
    monkeypatch.setenv("LIMIT", "0.25")
    monkeypatch.setenv("YEAR", "2026")
    monkeypatch.setenv("TRICK", "x\nflag: true")
    monkeypatch.setenv("LOOP", "${PLACE}")
    monkeypatch.delenv("ABSENT", raising=False)
    document = read(
        tmp_path,
        """name: ${YEAR}
count: ${YEAR}
free:
  a: in ${PLACE}/${ABSENT:-here}
  b: ${ABSENT:-}
  c: $${PLACE}
  d: ${TRICK}
  e: "${LOOP}"
  f: '${LIMIT} %'
items: [{limit: "${LIMIT}"}, {limit: "${ABSENT:-1e-3}"}]
""",
    )
    assert document.value.name == "2026"  # the field is text, the variable looks like a number
    assert document.value.count == 2026
    assert document.value.free == {
        "a": "in there/here", "b": "", "c": "${PLACE}", "d": "x\nflag: true", "e": "${PLACE}", "f": "0.25 %"
    }  # fmt: skip
    assert [i.limit for i in document.value.items] == [0.25, 0.001]


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "ten", "true", ""])
def test_a_variable_that_is_no_number_is_no_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("LIMIT", value)
    error = refused(tmp_path, "name: x\nitems:\n- limit: ${LIMIT}\n")
    assert error.where.endswith(":3")
    assert "items[0].limit" in error.seen


def test_missing_variables_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    error = refused(tmp_path, "name: x\nfree:\n  a: ${ABSENT}/b\n")
    assert "no variable ABSENT" in error.seen
    assert error.where.endswith(":3")
    assert "unreadable variable" in refused(tmp_path, "name: ${not-a-name}\n").seen


def test_entries_told_apart(tmp_path: Path) -> None:
    text = "name: x\nitems:\n- colour: red\n- colour: green\n- colour: red\n"
    read(tmp_path, text)
    error = refused(tmp_path, text, unique={"items": "colour"})
    assert error.where.endswith(":5")
    assert "first in line 3" in error.seen


_keys = st.text(st.characters(categories=["Ll"]), min_size=1, max_size=5)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_keys, _values, min_size=1, max_size=4))
def test_json_reads_as_itself(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    import json

    path = tmp_path_factory.mktemp("json") / "file.yaml"
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    assert read_source(path, error=PlanError).value == value


@given(st.text(max_size=60))
def test_any_text_reads_or_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("text") / "file.yaml"
    path.write_text(text, encoding="utf-8", errors="ignore")
    try:
        read_document(path, Model, error=PlanError)
    except PlanError as error:
        assert str(path) in str(error)
