"""Inputs that are whole files, such as images: reads those that a table names, and unwraps those that it holds. It follows
no name out of the table's folder, and decodes nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fine_tune.errors import DataError
from fine_tune.untrusted import MOST_INPUT, place, read_file


def read_files(names: Sequence[Any], folder: Path, where: str) -> list[bytes | None]:
    """The content of files that a column names, relative to ``folder``; a missing name is a missing input.

    Raises:
        DataError: a name leads outside the folder, or names no readable file.
    """
    home = folder.resolve()
    out: list[bytes | None] = []
    for i, name in enumerate(names):
        if name is None:
            out.append(None)
            continue
        try:
            path = place(home, str(name), error=DataError).resolve()
        except (OSError, RuntimeError):
            raise DataError(f"row {i} names a link in a circle: {name!r}", expected="a file", where=where) from None
        if not path.is_relative_to(home):
            raise DataError(
                f"row {i} names the file {name!r}, which lies outside the folder of the table",
                expected="paths relative to the table, below its folder",
                fix="copy the files beside the table",
                where=where,
            )
        if not path.is_file():
            raise DataError(f"row {i} names no file: {name!r}", expected="a file", fix=nearby(path), where=where)
        out.append(read_file(path, MOST_INPUT, error=DataError))
    return out


def embedded(values: Sequence[Any], name: str, where: str) -> list[bytes | None]:
    """The bytes of files that `datasets` keeps as ``{"bytes": ..., "path": ...}``; the path is no part of the content.

    Raises:
        DataError: a path without the content.
    """
    out: list[bytes | None] = []
    for i, value in enumerate(values):
        content = None if value is None else value["bytes"]
        if content is None and value is not None and value["path"] is not None:
            raise DataError(
                f"row {i} of column {name!r} holds the path of a file and not its content",
                expected="files that are embedded",
                fix="write the dataset with save_to_disk, which embeds them; or name a table of paths with `files: true`",
                where=where,
            )
        out.append(content)
    return out


def nearby(path: Path) -> str:
    """What to do about a path where nothing lies."""
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist either"
    close = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return f"did you mean {close[0]!r}?" if close else "check the path; it is relative to the file that names it"
