"""Data from strangers: archives, names that lead elsewhere, files without end. Each is refused with a message."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fine_tune.data import AuditData, DataSpec
from fine_tune.errors import DataError, PlumblineError
from fine_tune.media import read_files
from fine_tune.sources import SUFFIXES, read_hub, read_path


def test_an_archive_is_no_data(tmp_path: Path) -> None:
    for name in ("rows.zip", "rows.csv.zip", "rows.parquet", "rows.json", "rows.csv"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("../escaped.csv", "a,b\n1,2\n")
        with pytest.raises(DataError):
            read_path(tmp_path / name)
    assert not (tmp_path.parent / "escaped.csv").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_of_terabytes_and_a_pipe_are_not_read(tmp_path: Path, suffix: str) -> None:
    with (tmp_path / f"rows{suffix}").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="nothing of it was read"):
        read_path(tmp_path / f"rows{suffix}")
    os.mkfifo(tmp_path / f"pipe{suffix}")
    with pytest.raises(DataError, match="no plain file"):
        read_path(tmp_path / f"pipe{suffix}")


@pytest.mark.parametrize("name", ["hub:../x", "hub:..", "hub:~", "hub:/etc", "hub:a/../b", "hub:C:\\x", "hub:https://example.org/x", "hub:a b", "hub:"])  # fmt: skip
def test_hub_ids_that_are_paths(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(DataError, match="names no hub dataset"):
        read_hub(name, config=None, split=None)


def test_a_folder_does_not_pass_for_a_hub_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "name" / "train.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="is a folder here"):
        read_hub("hub:org/name", config=None, split=None)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"a": [1, 2]})}).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_an_honest_folder_is_read(saved: Path) -> None:
    assert list(read_path(saved)["a"]) == [1, 2]


@pytest.mark.parametrize(
    ("file", "body"),
    [
        ("dataset_dict.json", {"splits": ["../other"]}),
        ("dataset_dict.json", {"splits": [None]}),
        ("train/state.json", {"_data_files": [{"filename": "../../secret.arrow"}]}),
        ("train/state.json", {"_data_files": [{"filename": "/etc/passwd"}]}),
    ],
)
def test_a_folder_that_names_files_elsewhere(saved: Path, file: str, body: dict[str, object]) -> None:
    path = saved / file
    path.write_text(json.dumps(json.loads(path.read_text()) | body))
    with pytest.raises(DataError, match="may lie outside the folder"):
        read_path(saved)


def test_a_folder_with_a_link_elsewhere(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "train", tmp_path / "outside")
    shutil.rmtree(saved / "train")
    (saved / "train").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="leads outside"):
        read_path(saved)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "link", "loop", "a\0b", "n" * 5000, "~", "pipe"])
def test_inputs_that_are_files_lie_below_their_table(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "x").write_text("secret")
    (home / "link").symlink_to(tmp_path / "x")
    (home / "loop").symlink_to(home / "loop")
    os.mkfifo(home / "pipe")
    with pytest.raises(DataError):
        read_files([name], home, "table")


def test_an_input_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "image.png").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(DataError, match="nothing of it was read"):
        read_files(["image.png"], tmp_path, "table")


@pytest.mark.parametrize("source", ["~nobody-of-that-name/x.csv", "n" * 5000 + ".csv", "a\0b.csv"])
def test_sources_that_are_no_paths(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError, match="is no path"):
        AuditData.load(DataSpec(source=source, input="text"), base_dir=tmp_path)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".json", b"[" * 100_000),
        (".json", b'[{"a": ' + b"9" * 5000 + b"}]"),
        (".jsonl", b'{"a": ' + b"[" * 100_000 + b"\n"),
        (".jsonl", b'{"a": ' + b"9" * 5000 + b"}\n"),
        (".csv", b"a,b\n1,\0\n"),
        (".csv", b"a,b\n\xff,1\n"),
        (".csv", b'a,b\n"' + b"x" * 100_000),
        (".parquet", b"PAR1" + b"\xff" * 100 + b"PAR1"),
    ],
)
def test_tables_that_are_traps(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    try:
        columns = read_path(path)
    except DataError as error:
        assert str(path) in error.where
    else:
        assert content.startswith(b"a,b\n1,")  # Python 3.11 reads NUL in csv as a character
        assert columns["b"] == ["\0"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(SUFFIXES),
    st.binary(max_size=80) | st.text(alphabet='a,b\n"{}[]:1\t\\\0é', max_size=60).map(str.encode),
)
def test_any_bytes_are_columns_or_a_named_error(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    try:
        columns = read_path(path)
    except PlumblineError as error:
        assert error.seen
    else:
        assert len({len(values) for values in columns.values()}) == 1
