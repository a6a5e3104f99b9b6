"""Reads columns from where data lies: files, folders of `datasets`, the hub. It gives no column a meaning,
changes no value except that an empty csv cell is missing, and refuses what it cannot read whole.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tune.errors import DataError
from fine_tune.media import embedded, nearby
from fine_tune.saved_folders import refuse_outside
from fine_tune.untrusted import MOST_TABLE, check_size, parse_json, read_file, read_parquet

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

Columns = dict[str, Sequence[Any]]

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
HUB = "hub:"
_PIECE = 1 << 16
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def read_path(path: Path, *, split: str | None = None, keep_codes: Iterable[str] = ()) -> Columns:
    """Every column of a file, or of a folder written by `datasets.save_to_disk`.

    Args:
        path: its suffix names the format.
        split: a split of a folder that holds several, or a value of the column ``split`` in a file.
        keep_codes: ClassLabel columns of a folder that stay numbers.

    Raises:
        DataError: nothing there, an unknown suffix, an unreadable, ragged or empty file, an unknown split.
    """
    if path.is_dir():
        return dataset_columns(_from_disk(path, split), where=str(path), keep_codes=keep_codes)
    if not path.exists():
        raise DataError(f"no data at {path}", expected="a file or folder that exists", fix=nearby(path))
    check_size(path, MOST_TABLE, error=DataError)
    suffix = path.suffix.lower()
    readers = {
        ".csv": lambda: _delimited(path, ","),
        ".tsv": lambda: _delimited(path, "\t"),
        ".json": lambda: _json(path),
        ".jsonl": lambda: _json_lines(path),
        ".ndjson": lambda: _json_lines(path),
        ".parquet": lambda: _parquet(path),
    }
    if suffix not in readers:
        raise DataError(
            f"the suffix {suffix!r} names no known format",
            expected=f"one of {', '.join(SUFFIXES)}, or a folder written by datasets.save_to_disk",
            where=str(path),
        )
    try:
        columns = readers[suffix]()
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.start} is no UTF-8",
            expected="UTF-8 text",
            fix="save the file as UTF-8",
            where=str(path),
        ) from None
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}", where=str(path)) from None
    if not columns or not len(next(iter(columns.values()))):
        raise DataError("the file holds no rows", expected="at least one row of data", where=str(path))
    return columns if split is None else _only_split(columns, split, path)


def read_lines(files: Mapping[str, Path]) -> Columns:
    """Columns from parallel text files, one value a line; lines end at ``\\n`` alone.

    Raises:
        DataError: a file is absent, empty or unreadable, or the files differ in their number of lines.
    """
    columns: Columns = {}
    for name, path in files.items():
        if not path.is_file():
            raise DataError(f"no file for column {name!r}", expected="a text file", fix=nearby(path), where=str(path))
        try:
            lines = read_file(path, MOST_TABLE, error=DataError).decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"byte {error.start} is no UTF-8", expected="UTF-8 text", where=str(path)) from None
        if lines[-1] == "":
            lines.pop()
        if not lines:
            raise DataError("the file holds no rows", expected="one value a line", where=str(path))
        columns[name] = [line.removesuffix("\r") for line in lines]
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            "parallel files differ in length: " + ", ".join(f"{k} has {v}" for k, v in lengths.items()),
            expected="the same number of lines in each",
        )
    return columns


def read_hub(source: str, *, config: str | None, split: str | None, keep_codes: Iterable[str] = ()) -> Columns:
    """Columns of ``hub:org/name[/config]``, downloaded or taken from the local cache by `datasets`.

    Raises:
        DataError: the name is malformed, the hub cannot be reached and nothing is cached, or no such split.
    """
    import datasets

    parts = source.removeprefix(HUB).rstrip("/").split("/")
    if not 1 <= len(parts) <= 3 or not all(map(_HUB_NAME.fullmatch, parts)):
        raise DataError(f"{source!r} names no hub dataset", expected="hub:org/name or hub:org/name/config")
    name = "/".join(parts[:2])
    if len(parts) == 3:
        config = parts[2]
    if Path(name).exists():
        raise DataError(
            f"{source} names a hub dataset, and {name} is a folder here, which would be read instead",
            expected="one or the other",
            fix=f"name the folder or its file by its path, or run where there is no {name}",
        )
    try:
        loaded = datasets.load_dataset(name, config)
    except Exception as error:
        raise DataError(
            f"{source} could not be loaded: {first_line(error)}",
            expected="a dataset that the hub serves without running its own code, or that is cached here",
            fix="check the name and the network, or give `local` a path and set PLUMBLINE_DATA",
        ) from error
    return dataset_columns(_pick_split(loaded, split, source), where=source, keep_codes=keep_codes)


def dataset_columns(dataset: datasets.Dataset, *, where: str = "", keep_codes: Iterable[str] = ()) -> Columns:
    """Every column of a `datasets.Dataset`; ClassLabel codes become names, except in ``keep_codes``, and images and
    sounds the bytes of their files.
    """
    import datasets

    if not len(dataset):
        raise DataError("the dataset holds no rows", expected="at least one row of data", where=where)
    out: Columns = {}
    plain = dataset.with_format(None)
    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.Image | datasets.Audio):
            plain = plain.cast_column(name, type(feature)(decode=False))
        values = list(plain[name])
        if isinstance(feature, datasets.Image | datasets.Audio):
            values = embedded(values, name, where)
        if isinstance(feature, datasets.ClassLabel) and name not in keep_codes:
            values = [None if v is None or v < 0 else feature.int2str(v) for v in values]
        out[name] = values
    return out


def take(columns: Mapping[str, Sequence[Any]], name: str, role: str, where: str = "") -> Sequence[Any]:
    """One column.

    Raises:
        DataError: there is none of that name; the message lists the others and the closest.
    """
    if name in columns:
        return columns[name]
    close = difflib.get_close_matches(name, list(columns), n=1, cutoff=0.5)
    raise DataError(
        f"no column {name!r} for {role}",
        expected=f"one of {', '.join(columns)}",
        fix=f"did you mean {close[0]!r}?" if close else f"name the column that holds {role}",
        where=where,
    )


def _delimited(path: Path, delimiter: str) -> Columns:
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, None)
            if not header:
                return {}
            doubled = sorted({h for h in header if header.count(h) > 1})
            if doubled:
                raise DataError(f"two columns are called {doubled[0]!r}", fix="rename one of them", where=str(path))
            rows = []
            for cells in reader:
                if not cells and len(header) > 1:
                    continue
                row = cells or [""]
                if len(row) != len(header):
                    raise DataError(
                        f"line {reader.line_num} has {len(row)} cells",
                        expected=f"{len(header)}, as the header has",
                        fix="quote cells that hold the delimiter or a line break",
                        where=str(path),
                    )
                rows.append(row)
        except csv.Error as error:
            raise DataError(f"line {reader.line_num}: {error}", expected="well-formed csv", where=str(path)) from None
    return {name: [row[i] or None for row in rows] for i, name in enumerate(header)}


def _json(path: Path) -> Columns:
    content = read_file(path, MOST_TABLE, error=DataError)
    body = parse_json(content, str(path), error=DataError, strict=False) if content.strip() else []
    if isinstance(body, dict) and isinstance(body.get("data"), list):
        body = body["data"]
    if isinstance(body, dict) and body and all(isinstance(v, list) for v in body.values()):
        if len({len(v) for v in body.values()}) > 1:
            raise DataError("the columns differ in length", expected="lists of one length", where=str(path))
        return dict(body)
    if not isinstance(body, list) or not all(isinstance(r, dict) for r in body):
        raise DataError(
            "the JSON is no table",
            expected="a list of objects, or an object of lists of one length",
            where=str(path),
        )
    return _from_records(body)


def _json_lines(path: Path) -> Columns:
    records = []
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            seen = error.msg if isinstance(error, json.JSONDecodeError) else str(error) or "nested too deeply"
            raise DataError(f"line {number}: {seen}", expected="one JSON object a line", where=str(path)) from None
        if not isinstance(record, dict):
            raise DataError(f"line {number} is no object", expected="one JSON object a line", where=str(path))
        records.append(record)
    return _from_records(records)


def _from_records(records: list[dict[str, Any]]) -> Columns:
    names = list(dict.fromkeys(name for record in records for name in record))
    return {name: [record.get(name) for record in records] for name in names}


def _parquet(path: Path) -> Columns:
    import pyarrow as pa

    table = read_parquet(path, str(path), error=DataError)
    out: Columns = {}
    for name in table.column_names:
        values, kind = _values(table.column(name)), table.schema.field(name).type
        # The form in which `datasets` keeps images and sounds.
        media = pa.types.is_struct(kind) and {f.name for f in kind} == {"bytes", "path"}
        out[name] = embedded(values, name, str(path)) if media else values
    return out


def _values(column: pa.ChunkedArray) -> Sequence[Any]:
    """A column's values, without an object for each: equal texts are one text, and whole floats stay an array."""
    import pyarrow as pa

    if pa.types.is_float64(column.type) and not column.null_count:
        floats: Sequence[Any] = column.to_numpy()
        return floats
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        plain: list[Any] = column.to_pylist()
        return plain
    known: dict[str | None, str | None] = {}
    out: list[str | None] = []
    for start in range(0, len(column), _PIECE):
        texts: list[str | None] = column.slice(start, _PIECE).to_pylist()
        out += texts if len(known) > _PIECE // 2 else [known.setdefault(text, text) for text in texts]
    return out


def _from_disk(path: Path, split: str | None) -> datasets.Dataset:
    import datasets

    refuse_outside(path)
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:
        raise DataError(
            f"the folder cannot be read as a dataset: {first_line(error)}",
            expected="a folder written by datasets.save_to_disk",
            where=str(path),
        ) from None
    return _pick_split(loaded, split, str(path))


def _pick_split(loaded: datasets.Dataset | datasets.DatasetDict, split: str | None, where: str) -> datasets.Dataset:
    import datasets

    if not isinstance(loaded, datasets.DatasetDict):
        return loaded
    names = list(loaded)
    if split is None and len(names) == 1:
        split = names[0]
    if split not in loaded:
        seen = f"no split {split!r}" if split else "several splits and none is named"
        raise DataError(seen, expected=f"split: one of {', '.join(names)}", where=where)
    return loaded[split]


def _only_split(columns: Columns, split: str, path: Path) -> Columns:
    marks = take(columns, "split", f"split {split!r}", str(path))
    rows = [i for i, mark in enumerate(marks) if str(mark) == split]
    if not rows:
        known = ", ".join(sorted({str(m) for m in marks})[:20])
        raise DataError(f"no row has split {split!r}", expected=f"one of {known}", where=str(path))
    return {name: [values[i] for i in rows] for name, values in columns.items()}


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line, with its type; lines of stars, as NLTK frames its errors, say nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip("* \t")]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
