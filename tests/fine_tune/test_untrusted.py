"""Foreign files: what is too large, of the wrong kind, or no honest JSON is refused before it is read on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune import untrusted
from fine_tune.errors import DataError, PlumblineError
from fine_tune.untrusted import DEEPEST, LARGEST, parse_json, place, read_file, read_parquet


def parsed(text: str | bytes, **more: bool) -> object:
    return parse_json(text.encode() if isinstance(text, str) else text, "x.json", error=DataError, **more)


def test_a_file_is_measured_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="1,099,511,627,776 bytes, and nothing of it was read"):
        read_file(path, 100, error=DataError)
    path.write_bytes(b"x" * 100)
    assert read_file(path, 100, error=DataError) == b"x" * 100


def test_pipes_devices_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(DataError, match=r"no plain file|cannot be read"):
            read_file(path, 100, error=DataError)


@pytest.mark.parametrize("name", ["a\0b", "~nobody-of-that-name/x", "n" * 5000])
def test_what_cannot_be_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is no path"):
        place(tmp_path, name, error=DataError)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b'{"a": ', "cut off"),
        (b"\xff{}", "cannot be read"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 99999999999999999999999}', "too large"),
        (b"9" * 100_000, "too large"),
        (b'{"a": "\\ud800"}', "half a character"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * (DEEPEST + 2) + b"]" * (DEEPEST + 2), "nested too deeply"),
    ],
)
def test_json_that_harms_is_refused(text: bytes, seen: str) -> None:
    with pytest.raises(DataError, match=seen):
        parsed(text)


def test_a_key_twice_is_refused_where_it_would_matter() -> None:
    assert parsed('{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(DataError, match="'a' stands twice"):
        parsed('{"a": 1, "a": 2}', unique=True)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=30,
    )
)  # fmt: skip
def test_honest_json_comes_back_as_it_was(value: object) -> None:
    assert parsed(json.dumps(value), unique=True) == value
    assert parsed(json.dumps(value)) == json.loads(json.dumps(value))


@given(st.binary(max_size=200) | st.text(alphabet='{}[]:,"\\u0d8e1-.NaInfty ', max_size=60).map(str.encode))
def test_any_bytes_are_a_value_or_a_named_error(content: bytes) -> None:
    try:
        json.dumps(parsed(content), allow_nan=False, ensure_ascii=False).encode()
    except DataError as error:
        assert error.seen


def test_a_parquet_file_that_unpacks_beyond_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.parquet"
    same = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int8()), pa.array(["x" * 1000]))
    pq.write_table(pa.table({"text": same}), path, compression="zstd")
    assert path.stat().st_size < 30_000
    table = read_parquet(path, "bomb", error=DataError)
    assert table.num_rows == 200_000
    monkeypatch.setattr(untrusted, "MOST_TABLE", 1 << 20)
    with pytest.raises(DataError, match="unpacks to more than 1,048,576 bytes"):
        read_parquet(path, "bomb", error=DataError)
    monkeypatch.setattr(untrusted, "MOST_CELLS", 100_000)
    with pytest.raises(DataError, match="unpacks to 200,000 rows"):
        read_parquet(path, "bomb", error=DataError)


@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_a_damaged_parquet_file_is_a_table_or_a_named_error(at: int, value: int, cut: bool) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]}), sink)
    content = bytearray(sink.getvalue().to_pybytes())
    at %= len(content)
    damaged = bytes(content[:at]) if cut else bytes(content[:at]) + bytes([value]) + bytes(content[at + 1 :])
    try:
        assert read_parquet(pa.BufferReader(damaged), "x", error=DataError) is not None
    except PlumblineError as error:
        assert "x" in error.where
