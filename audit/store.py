"""What has been measured already: a content-addressed cache of rows, and journals for what is still being measured.

Keys name everything a result depends on, so nothing here ever goes stale; deleting the folder loses time, not truth.
A kill at any moment leaves whole entries and at most one torn journal line, which is measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from audit.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa


_SECONDS = "seconds"


def default_cache() -> Path:
    """``$PLUMBLINE_CACHE``, else ``plumbline`` in the user's cache folder."""
    named = os.environ.get("PLUMBLINE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "plumbline"


def key_of(*parts: object) -> str:
    """A hex digest over the JSON of ``parts``; equal parts give equal keys in every process."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """A folder of measured rows.

    Layout: ``rows/<kk>/<key>.parquet``, ``journals/<name>.jsonl``, ``checkpoints/<key>/``.

    Raises:
        StoreError: the folder cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for name in ("rows", "journals", "checkpoints"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the cache folder {root} cannot be written: {error.strerror}",
                fix="give another one with --cache or PLUMBLINE_CACHE",
            ) from None
        self._journals: dict[str, FileJournal] = {}

    def has_rows(self, key: str) -> bool:
        """Whether rows are kept under ``key``."""
        return self._path(key).exists()

    def rows(self, key: str) -> pa.Table | None:
        """The rows kept under ``key``, or None; a file that cannot be read counts as absent."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._path(key)
        if not path.exists():
            return None
        try:
            return pq.read_table(path)
        except (pa.ArrowException, OSError):
            path.unlink(missing_ok=True)
            return None

    def keep_rows(self, key: str, rows: pa.Table) -> pa.Table:
        """Keep ``rows`` under ``key``, whole or not at all.

        Returns:
            the rows as a later run will find them: a file keeps the values, and renames the inside of a list, for instance.
        """
        import pyarrow.parquet as pq

        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        os.close(handle)
        try:
            pq.write_table(rows, temporary)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        kept = self.rows(key)
        return rows if kept is None else kept

    def keep_seconds(self, key: str, seconds: float) -> None:
        """Remember how long something took; the last time counts."""
        self.journal(_SECONDS).append([(key, round(seconds, 3))])

    def seconds(self, key: str) -> float | None:
        """How long it took the last time, or None."""
        found = self.journal(_SECONDS).lookup(key)
        return float(found) if isinstance(found, int | float) else None

    def is_shared(self, key: str) -> bool:
        """Whether the rows under ``key`` are known to be the subject's predictions themselves."""
        return self._path(key).with_suffix(".shared").exists()

    def mark_shared(self, key: str) -> None:
        """Note that the rows under ``key`` are the subject's predictions, instead of keeping them again."""
        path = self._path(key).with_suffix(".shared")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def journal(self, name: str) -> FileJournal:
        """The journal of that name; ``name`` is a digest."""
        if name not in self._journals:
            self._journals[name] = FileJournal(self.root / "journals" / f"{name}.jsonl")
        return self._journals[name]

    def checkpoint_folder(self, key: str) -> Path:
        """Where a checkpoint trained under ``key`` belongs."""
        return self.root / "checkpoints" / key

    def _path(self, key: str) -> Path:
        return self.root / "rows" / key[:2] / f"{key}.parquet"


class FileJournal:
    """A keyed, append-only JSONL file; each line is ``["key", value]``.

    Only keys and places are held in memory, so that a long journal stays cheap. A torn line (a kill while writing) is
    passed over; where a key stands twice the last one counts. Several processes may append to one file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, tuple[int, int]] | None = None

    def lookup(self, key: str) -> Any | None:
        place = self._index().get(key)
        if place is None:
            return None
        with self._path.open("rb") as file:
            file.seek(place[0])
            return json.loads(file.read(place[1]))[1]

    def append(self, items: Iterable[tuple[str, Any]]) -> None:
        lines = [(key, json.dumps([key, value], ensure_ascii=False).encode() + b"\n") for key, value in items]
        places = self._index()
        with self._path.open("a+b") as file, _locked(file):
            end = file.seek(0, os.SEEK_END)
            torn = b""
            if end:
                file.seek(end - 1)
                torn = b"" if file.read(1) == b"\n" else b"\n"
            file.write(torn + b"".join(line for _, line in lines))
            file.flush()
            place = end + len(torn)
        for key, line in lines:
            places[key] = (place, len(line))
            place += len(line)

    def _index(self) -> dict[str, tuple[int, int]]:
        if self._places is None:
            self._places = {}
            place = 0
            if self._path.exists():
                with self._path.open("rb") as file:
                    for line in file:
                        key = _key_in(line)
                        if key is not None:
                            self._places[key] = (place, len(line))
                        place += len(line)
        return self._places


def _key_in(line: bytes) -> str | None:
    """The key of a whole line, None for a torn one."""
    try:
        key, _ = json.loads(line)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, str) and line.endswith(b"\n") else None


@contextmanager
def _locked(file: IO[bytes]) -> Iterator[None]:
    """Hold the file for this process while it appends, where the system knows such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
