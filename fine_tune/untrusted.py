"""Reads what others wrote: whole files up to a stated size, and JSON without the values that harm whoever reads on.

Every limit on foreign files stands here. Nothing is unpacked, executed, followed out of its folder or repaired, and what a file
means is its reader's business.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fine_tune.errors import InputError

MIB = 1 << 20
GIB = 1 << 30

MOST_CONFIG = 16 * MIB
"""Bytes of a model's settings that are read as JSON; the longest known are indexes of shards, of about 9 MiB."""

MOST_TOKENIZER = 256 * MIB
"""Bytes of any file of a model but its weights; the longest known are vocabularies of about 35 MiB."""

MOST_RECORD = 64 * MIB
"""Bytes of a record, a verdict, a list or a lock in a bundle; they are seldom above 5 MiB."""

MOST_TABLE = 4 * GIB
"""Bytes of a table: of the file, and of what its columns take once they are read."""

MOST_CELLS = 1 << 30
"""Rows times columns of a parquet file, whose constant columns take nearly no room until they are read."""

MOST_INPUT = 256 * MIB
"""Bytes of one file that is an input, such as an image."""

DEEPEST = 64
"""Lists and mappings inside one another, in JSON."""

LARGEST = 1 << 64
"""Whole numbers in JSON; seeds are below it, and every one of them has a finite float."""

_PIECE = 1 << 14
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_file(path: Path, most: int, *, error: type[InputError]) -> bytes:
    """The content of a plain file of at most ``most`` bytes; its size is looked at before anything is read.

    Raises:
        InputError: ``error``: it is absent, no plain file, or larger.
    """
    name = str(path)
    try:
        # A pipe without a writer would block for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as problem:
        seen = getattr(problem, "strerror", None) or problem
        raise error(f"the file cannot be read: {seen}", fix="check the path", where=name) from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise error(
            "this is no plain file and cannot be read", expected="a file, no folder, device or pipe", where=name
        )
    with os.fdopen(handle, "rb") as stream:
        if found.st_size > most:
            raise _too_large(found.st_size, most, name, error)
        try:
            content = stream.read(most + 1)
        except OSError as problem:
            raise error(f"the file cannot be read: {problem.strerror or problem}", where=name) from None
    if len(content) > most:
        raise _too_large(len(content), most, name, error)
    return content


def check_size(path: Path, most: int, *, error: type[InputError]) -> None:
    """Check that a file that another library is going to read is a plain one of at most ``most`` bytes.

    Raises:
        InputError: ``error``: it is not.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as problem:
        seen = getattr(problem, "strerror", None) or problem
        raise error(f"the file cannot be read: {seen}", fix="check the path", where=str(path)) from None
    if not stat.S_ISREG(found.st_mode):
        raise error(
            "this is no plain file and cannot be read", expected="a file, no folder, device or pipe", where=str(path)
        )
    if found.st_size > most:
        raise _too_large(found.st_size, most, str(path), error)


def place(base: Path, name: str, *, error: type[InputError]) -> Path:
    """A path that somebody wrote, relative to ``base``; ``~`` is the user's own folder.

    Raises:
        InputError: ``error``: it names nothing that could be a path here.
    """
    try:
        path = base / Path(name).expanduser()
        path.is_file()
    except (OSError, RuntimeError, ValueError) as problem:
        seen = getattr(problem, "strerror", None) or problem
        raise error(f"{name[:200]!r} is no path here: {seen}", expected="a path, or a name", fix="check it") from None
    if "\0" in name:
        raise error(f"{name[:200]!r} is no path", expected="text without NUL characters")
    return path


def _too_large(size: int, most: int, where: str, error: type[InputError]) -> InputError:
    return error(
        f"the file has {size:,} bytes, and nothing of it was read",
        expected=f"at most {most:,} bytes",
        fix="check that it is what its name says",
        where=where,
    )


def parse_json(
    content: bytes, where: str, *, error: type[InputError], fix: str = "", strict: bool = True, unique: bool = False
) -> Any:
    """The value that JSON in UTF-8 spells.

    Args:
        content: the bytes.
        where: names them in a message.
        error: what to raise.
        fix: what the reader of a message can do.
        strict: refuse numbers that are not finite, or too large to compute with.
        unique: refuse a key that stands twice in one object, of which other readers may take the other one.

    Raises:
        InputError: ``error``: it is cut off, no JSON, no UTF-8, nested too deeply, or holds a number that may not be there, or half
            a character.
    """
    try:
        value = json.loads(
            content.decode("utf-8-sig"),
            parse_constant=_no_number if strict else None,
            parse_int=_whole if strict else None,
            parse_float=_finite if strict else None,
            object_pairs_hook=_unique if unique else None,
        )
        _check_depth(value)
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as problem:
        cut = problem.pos >= len(problem.doc.rstrip()) or problem.msg.startswith("Unterminated")
        seen = "is cut off" if cut else f"is no JSON ({problem.msg})"
        place = f"line {problem.lineno}, column {problem.colno}"
        raise error(f"it {seen} at {place}", expected="a whole JSON file", fix=fix, where=where) from None
    except UnicodeEncodeError:
        raise error("it holds half a character", expected="JSON in UTF-8", fix=fix, where=where) from None
    except RecursionError:
        raise error("it cannot be read: it is nested too deeply", expected=_DEPTH, fix=fix, where=where) from None
    except (UnicodeDecodeError, ValueError) as problem:
        raise error(f"it cannot be read: {problem}", expected="JSON in UTF-8", fix=fix, where=where) from None
    return value


_DEPTH = f"at most {DEEPEST} lists and objects inside one another"


def read_parquet(source: Any, where: str, *, error: type[InputError]) -> Any:
    """A parquet file as an arrow table, read in pieces up to `MOST_TABLE`.

    Args:
        source: a path, or an arrow buffer reader.
        where: names it in a message.
        error: what to raise.

    Raises:
        InputError: ``error``: it is damaged, or would take more.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(source)
        told = opened.metadata
        cells = told.num_rows * max(1, told.num_columns)
        size = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
        if cells > MOST_CELLS or size > MOST_TABLE:
            raise error(
                f"the file unpacks to {told.num_rows:,} rows of {told.num_columns:,} columns, {size:,} bytes",
                expected=f"at most {MOST_CELLS:,} cells and {MOST_TABLE:,} bytes",
                fix="check that it is what its name says, or split it",
                where=where,
            )
        pieces, taken = [], 0
        for piece in opened.iter_batches(batch_size=_PIECE):
            pieces.append(piece)
            taken += sum(_unpacked(column) for column in piece.columns)
            if taken > MOST_TABLE:
                raise error(
                    f"the file unpacks to more than {MOST_TABLE:,} bytes",
                    fix="check that it is what its name says, or split it",
                    where=where,
                )
        return pa.Table.from_batches(pieces, schema=opened.schema_arrow)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError) as problem:
        seen = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
        raise error(f"the file cannot be read: {seen}", expected="a whole parquet file", where=where) from None


def _unpacked(column: Any) -> int:
    """Bytes that a column takes once each row holds its own value, as rows do in Python."""
    import pyarrow as pa

    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return int(plain.nbytes)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _whole(text: str) -> int:
    # Python's own limit on digits would say so too, in words that nobody can act on.
    if len(text) > 21 or abs(number := int(text)) > LARGEST:
        raise ValueError(f"the whole number {text[:30]}{'...' if len(text) > 30 else ''} is too large")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:30]} is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise RecursionError


def _inside(value: Any) -> Iterator[Any]:
    """The lists and mappings right inside one."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (v for v in inner if isinstance(v, dict | list))
