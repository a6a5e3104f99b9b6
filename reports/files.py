"""The files of a bundle: their names and list, their hashes, which paths are safe, and how a table becomes bytes.

Trusts nothing: a path that could leave its folder is refused here, for readers and writers alike.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from probes.evidence import Plain
from reports.errors import RecordError
from reports.lock import Sha256
from reports.record import canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

RESULTS = "results.json"
VERDICT = "verdict.json"
MANIFEST = "MANIFEST.json"
SUMS = "SHA256SUMS"
PARQUET = "application/vnd.apache.parquet"
JSON = "application/json"

SIGNATURE = "signature.dsse.json"
SIGSTORE = "signature.sigstore.json"
REVIEWS = "reviews"
BESIDE = (SIGNATURE, SIGSTORE, REVIEWS)
"""What people put beside a finished bundle: signatures of it, and a folder of reviews, one ``.json`` file each. It is not part of
the bundle, no list names it, and none of it outlives the bundle that it speaks of."""

OWN_FOLDERS = ("evidence", "provenance")
OWN_FILES = (RESULTS, VERDICT, "summary.md", "junit.xml", "model_card.md", MANIFEST, SUMS)


class FileEntry(Plain):
    """One file of a bundle."""

    path: str
    size: int = Field(ge=0)
    sha256: Sha256
    media_type: str
    contains_personal_data: bool = False


class Manifest(Plain):
    """``MANIFEST.json``: every file but itself and ``SHA256SUMS``, by path. ``complete`` is False while it is written."""

    schema_: Literal["plumbline.bundle/v1"] = Field(default="plumbline.bundle/v1", alias="schema")
    complete: bool = True
    files: tuple[FileEntry, ...]

    def to_json(self) -> str:
        """The bytes of ``MANIFEST.json``, as text."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


def digest(content: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file in hex, read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def safe_path(path: str) -> PurePosixPath:
    """``path`` as a relative path that cannot leave its folder.

    Raises:
        RecordError: it is absolute, empty, or climbs out.
    """
    pure = PurePosixPath(path)
    bad = not path or "\\" in path or ":" in path or any(ord(c) < 32 or ord(c) == 127 for c in path)
    if bad or pure.is_absolute() or ".." in pure.parts or not pure.parts or str(pure) != path:
        raise RecordError(
            f"the path {path!r} could leave the bundle", expected="a relative path such as evidence/rows.parquet"
        )
    return pure


def lies_beside(path: str) -> bool:
    """Whether a file of this path lies beside a bundle rather than in it. Nothing but these very names does."""
    if path.partition("/")[0] not in BESIDE:
        return False
    parts = PurePosixPath(path).parts
    return path in (SIGNATURE, SIGSTORE) or (parts[0] == REVIEWS and len(parts) == 2 and path.endswith(".json"))


def put_file(folder: Path, path: str, content: bytes) -> None:
    """Write one file of a folder whole or not at all.

    Raises:
        RecordError: the path would leave the folder, by its name or through a link.
    """
    target = folder / safe_path(path)
    inside = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(inside):
        raise RecordError(f"{path} leads out of the bundle through a link", fix="choose another --out")
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as parquet: fixed version, compression and row groups, no pandas metadata, chunks joined."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"pandas"}
    plain = table.replace_schema_metadata(kept or None).unify_dictionaries().combine_chunks()
    sink = pa.BufferOutputStream()
    pq.write_table(plain, sink, version="2.6", compression="zstd", compression_level=3, row_group_size=1 << 17)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def files_below(folder: Path) -> list[str]:
    """Every file and link below a folder, by its path in it; links to folders are listed and not followed."""
    found: list[str] = []
    for here, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        found += [(Path(here) / name).relative_to(folder).as_posix() for name in _sorted(files, links)]
    return sorted(found)


def _sorted(*lists: Iterable[str]) -> list[str]:
    return sorted(name for names in lists for name in names)
