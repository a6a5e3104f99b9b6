"""The store: what was measured once comes back, whole, after any kill."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import StoreError
from audit.store import FileJournal, Store, key_of
from reports.files import parquet_bytes


def test_rows_come_back_with_their_metadata(tmp_path):
    store = Store(tmp_path)
    table = pa.table({"a": [1, 2]}).replace_schema_metadata({b"plumbline": b"{}"})
    assert store.rows("k" * 64) is None
    store.keep_rows("k" * 64, table)
    again = Store(tmp_path).rows("k" * 64)
    assert again.equals(table, check_metadata=True)


def test_what_is_kept_is_given_back_as_a_later_run_finds_it(tmp_path):
    """A bundle's bytes must not tell whether its rows were measured or found."""
    table = pa.table({"units": pa.array([["a", "b"], []], pa.list_(pa.field("item", pa.string())))})
    first = Store(tmp_path).keep_rows("k" * 64, table)
    later = Store(tmp_path).rows("k" * 64)
    assert parquet_bytes(table) != parquet_bytes(later)
    assert parquet_bytes(first) == parquet_bytes(later)


def test_a_damaged_file_counts_as_absent(tmp_path):
    store = Store(tmp_path)
    store.keep_rows("k" * 64, pa.table({"a": [1]}))
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:20])
    assert store.rows("k" * 64) is None
    assert not path.exists()


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file")


def test_keys_depend_on_every_part_and_not_on_dict_order():
    assert key_of("a", {"x": 1, "y": 2}) == key_of("a", {"y": 2, "x": 1})
    assert key_of("a", {"x": 1}) != key_of("a", {"x": 2})
    assert key_of("ab", "c") != key_of("a", "bc")


def test_journal_survives_and_the_last_value_counts(tmp_path):
    journal = FileJournal(tmp_path / "j.jsonl")
    journal.append([("a", [0.1, 0.2]), ("b", {"text": "zeile\n\u2028 zwei"})])
    journal.append([("a", [0.3])])
    assert journal.lookup("a") == [0.3]
    again = FileJournal(tmp_path / "j.jsonl")
    assert again.lookup("a") == [0.3]
    assert again.lookup("b") == {"text": "zeile\n\u2028 zwei"}
    assert again.lookup("c") is None


@given(st.integers(0, 200), st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_a_cut_anywhere_loses_only_the_torn_line(tmp_path_factory, cut, values):
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    FileJournal(path).append([(f"k{i}", v) for i, v in enumerate(values)])
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    kept = sum(1 for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))
    journal = FileJournal(path)
    found = [journal.lookup(f"k{i}") for i in range(len(values))]
    assert found[:kept] == values[:kept]
    assert all(v is None for v in found[kept:])
    journal.append([("after", 1)])
    again = FileJournal(path)
    assert again.lookup("after") == 1
    assert [again.lookup(f"k{i}") for i in range(kept)] == values[:kept]


def test_two_writers_share_a_file(tmp_path):
    one, two = FileJournal(tmp_path / "j"), FileJournal(tmp_path / "j")
    one.append([("a", 1)])
    two.append([("b", 2)])
    one.append([("c", 3)])
    assert (one.lookup("a"), one.lookup("c"), two.lookup("b")) == (1, 3, 2)
    assert [json.loads(line)[0] for line in (tmp_path / "j").read_text().splitlines()] == ["a", "b", "c"]
