"""The folder that a run leaves behind: written atomically, listed and hashed, and read back with suspicion.

Every path is relative and stays inside the folder; links are refused. This module measures nothing and decides
nothing, and it never repairs a bundle that does not agree with its own list.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self, TypeVar

from fine_tune.untrusted import MOST_RECORD, MOST_TABLE, read_file, read_parquet
from probes.evidence import Plain
from reports.errors import RecordError, VerificationError
from reports.files import (
    MANIFEST,
    OWN_FILES,
    OWN_FOLDERS,
    PARQUET,
    RESULTS,
    SUMS,
    VERDICT,
    FileEntry,
    Manifest,
    digest,
    file_digest,
    files_below,
    lies_beside,
    parquet_bytes,
    put_file,
    safe_path,
)
from reports.outputs import page_name, write_outputs
from reports.reading import parse
from reports.record import AuditRecord, RowsRef, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "MANIFEST",
    "RESULTS",
    "SUMS",
    "VERDICT",
    "Bundle",
    "BundleWriter",
    "FileEntry",
    "Manifest",
    "page_name",
    "write_outputs",
]

M = TypeVar("M", bound=Plain)


class BundleWriter:
    """Writes a bundle. Nothing counts until `close`; a folder that was cut off half-way says so in its manifest.

    Args:
        folder: created where absent. A bundle that is already there is replaced; any other non-empty folder is refused.

    Raises:
        RecordError: the folder holds something else.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._entries: dict[str, FileEntry] = {}
        if self.folder.exists() and not self.folder.is_dir():
            raise RecordError(
                f"{self.folder} is a file", expected="a folder to write the bundle to", fix="choose another --out"
            )
        if self.folder.is_dir() and any(self.folder.iterdir()) and not _is_ours(self.folder):
            raise RecordError(
                f"{self.folder} is not empty and holds no bundle",
                expected="a new folder, an empty one, or an earlier bundle",
                fix="choose another --out",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._put(MANIFEST, Manifest(complete=False, files=()).to_json().encode())

    def write_text(self, path: str, text: str, media_type: str, personal: bool = False) -> FileEntry:
        """Write one text file as UTF-8."""
        return self.write_bytes(path, text.encode("utf-8"), media_type, personal)

    def write_bytes(self, path: str, content: bytes, media_type: str, personal: bool = False) -> FileEntry:
        """Write one file.

        Raises:
            RecordError: the path would leave the bundle, or is one of its own lists.
        """
        if path in (MANIFEST, SUMS):
            raise RecordError(f"{path} is written by the bundle itself", fix="choose another name")
        if lies_beside(path):
            raise RecordError(f"{path} lies beside a bundle and not in it", fix="choose another name")
        self._put(path, content)
        entry = FileEntry(
            path=path, size=len(content), sha256=digest(content), media_type=media_type, contains_personal_data=personal
        )
        self._entries[path] = entry
        return entry

    def write_table(self, path: str, table: pa.Table, personal: bool = False) -> RowsRef:
        """Write one table as parquet; the same rows give the same bytes under the same pyarrow."""
        entry = self.write_bytes(path, parquet_bytes(table), PARQUET, personal)
        return RowsRef(path=path, sha256=entry.sha256, rows=table.num_rows)

    def copy_evidence(self, source: Bundle) -> None:
        """Copy ``evidence/`` and ``provenance/`` of another bundle, hashes checked: how `gate --out` makes a new one.

        Raises:
            VerificationError: a file of the source is missing or altered.
        """
        for entry in source.manifest().files:
            if entry.path.partition("/")[0] in OWN_FOLDERS:
                content = source.read_bytes(entry.path, expected=entry.sha256)
                self.write_bytes(entry.path, content, entry.media_type, entry.contains_personal_data)

    def close(self) -> None:
        """Drop what an earlier bundle left in this folder, then write ``MANIFEST.json`` and ``SHA256SUMS``.

        Signatures and reviews of the earlier one go too: they speak of another bundle.
        """
        for path in files_below(self.folder):
            if path not in self._entries and path not in (MANIFEST, SUMS) and (_belongs(path) or lies_beside(path)):
                (self.folder / path).unlink()
        entries = tuple(self._entries[p] for p in sorted(self._entries))
        manifest = Manifest(files=entries).to_json().encode()
        self._put(MANIFEST, manifest)
        sums = {MANIFEST: digest(manifest), **{e.path: e.sha256 for e in entries}}
        self._put(SUMS, _sums_text(sums).encode())

    def _put(self, path: str, content: bytes) -> None:
        put_file(self.folder, path, content)


class Bundle:
    """A bundle to read from. Make one with `Bundle.open`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Open a folder.

        Raises:
            RecordError: there is no such folder, or it holds no bundle.
        """
        path = Path(folder)
        if not path.is_dir():
            raise RecordError(f"{path} is no folder", expected="the folder that `plumbline run --out` wrote")
        if not any((path / name).exists() for name in (RESULTS, MANIFEST)):
            raise RecordError(
                f"{path} holds neither {RESULTS} nor {MANIFEST}", expected="the folder that `plumbline run --out` wrote"
            )
        return cls(path)

    def record(self) -> AuditRecord:
        """``results.json``.

        Raises:
            RecordError: it is missing, cut off, of an unknown schema, or not a record.
        """
        return self._model(RESULTS, AuditRecord)

    def verdict(self) -> Verdict:
        """``verdict.json``.

        Raises:
            RecordError: it is missing, cut off, of an unknown schema, or not a verdict.
        """
        return self._model(VERDICT, Verdict)

    def manifest(self) -> Manifest:
        """``MANIFEST.json``.

        Raises:
            RecordError: it is missing, cut off, of an unknown schema, or not a manifest.
        """
        return self._model(MANIFEST, Manifest)

    def read_bytes(self, path: str, expected: str | None = None, most: int = MOST_TABLE) -> bytes:
        """One file's content, if it has at most ``most`` bytes.

        Raises:
            RecordError: the path would leave the bundle, or the file is too large.
            VerificationError: the file is missing, a link, or its hash is not ``expected``.
        """
        target = self._inside(path)
        if not target.is_file():
            raise VerificationError(
                f"{path} is missing from {self.folder}", fix="take the bundle from its source again"
            )
        content = read_file(target, most, error=RecordError)
        if expected is not None and digest(content) != expected:
            raise VerificationError(
                f"{path} has sha256 {digest(content)}", expected=expected, fix="take the bundle from its source again"
            )
        return content

    def rows(self, ref: RowsRef) -> pa.Table:
        """The rows that a finding rests on, their hash checked.

        Raises:
            VerificationError: the file is missing or altered, or holds another number of rows.
            RecordError: the hash is right and yet it is no parquet file.
        """
        import pyarrow as pa

        content = self.read_bytes(ref.path, expected=ref.sha256)
        table = read_parquet(pa.BufferReader(content), ref.path, error=RecordError)
        if table.num_rows != ref.rows:
            raise VerificationError(f"{ref.path} holds {table.num_rows} rows", expected=f"{ref.rows} rows")
        return table

    def check(self) -> list[str]:
        """What disagrees between the files, ``MANIFEST.json`` and ``SHA256SUMS``; empty when nothing does.

        What lies beside the bundle is passed over, except that it must be no link.
        """
        # A file's name may be bytes that are no text, which no report could be written with.
        return [problem.encode("utf-8", "backslashreplace").decode() for problem in self._problems()]

    def _problems(self) -> list[str]:
        present = files_below(self.folder)
        problems = [f"{path}: is a link" for path in present if (self.folder / path).is_symlink()]
        problems += [f"{name}: missing" for name in (MANIFEST, SUMS, RESULTS, VERDICT) if name not in present]
        if MANIFEST not in present or SUMS not in present:
            return sorted(set(problems))
        try:
            manifest = self.manifest()
        except RecordError as error:
            return [*problems, f"{MANIFEST}: {error.seen}"]
        if not manifest.complete:
            problems.append(f"{MANIFEST}: the bundle was not finished")
        listed: dict[str, str] = {}
        for entry in manifest.files:
            problems += self._differences(entry)
            if lies_beside(entry.path):
                problems.append(f"{entry.path}: is listed in {MANIFEST}, and lies beside a bundle")
            if entry.path in listed:
                problems.append(f"{entry.path}: listed twice in {MANIFEST}")
            listed[entry.path] = entry.sha256
        own = (MANIFEST, SUMS)
        unlisted = [p for p in present if p not in listed and p not in own and not lies_beside(p)]
        problems += [f"{path}: not listed in {MANIFEST}" for path in unlisted]
        listed[MANIFEST] = file_digest(self.folder / MANIFEST)
        problems += self._sums_differences(listed)
        return sorted(set(problems))

    def _differences(self, entry: FileEntry) -> list[str]:
        try:
            target = self._inside(entry.path)
        except (RecordError, VerificationError) as error:
            return [f"{entry.path}: {error.seen}"]
        if not target.is_file():
            return [f"{entry.path}: missing"]
        if entry.size > MOST_TABLE:
            return [f"{entry.path}: {entry.size:,} bytes, more than a file of a bundle may have"]
        if target.stat().st_size != entry.size:
            return [f"{entry.path}: {target.stat().st_size} bytes instead of {entry.size}"]
        if file_digest(target) != entry.sha256:
            return [f"{entry.path}: altered (sha256 differs)"]
        return []

    def _sums_differences(self, listed: dict[str, str]) -> list[str]:
        try:
            content = read_file(self.folder / SUMS, MOST_RECORD, error=RecordError)
            lines = content.decode("utf-8").splitlines()
        except (UnicodeDecodeError, RecordError):
            return [f"{SUMS}: unreadable"]
        sums: dict[str, str] = {}
        for line in lines:
            sha, gap, path = line.partition("  ")
            if not gap or path in sums:
                return [f"{SUMS}: the line {line[:100]!r} is not understood"]
            sums[path] = sha
        names = sorted(set(sums) | set(listed))
        differing = [f"{n}: {SUMS} and {MANIFEST} disagree" for n in names if sums.get(n) != listed.get(n)]
        if not differing and content != _sums_text(listed).encode():
            return [f"{SUMS}: is not written the way Plumbline writes it"]
        return differing

    def _inside(self, path: str) -> Path:
        target = self.folder / safe_path(path)
        walked = self.folder
        for part in PurePosixPath(path).parts:
            walked = walked / part
            if walked.is_symlink():
                raise VerificationError(f"{path} is a link", expected="a plain file inside the bundle")
        return target

    def _model(self, name: str, model: type[M]) -> M:
        try:
            content = self.read_bytes(name, most=MOST_RECORD)
        except VerificationError as error:
            raise RecordError(error.seen, expected=f"a bundle with its {name}", fix=error.fix) from None
        return parse(content, model, where=str(self.folder / name))


def _sums_text(sums: Mapping[str, str]) -> str:
    """``SHA256SUMS`` in the format of ``sha256sum``."""
    return "".join(f"{sha}  {path}\n" for path, sha in sorted(sums.items()))


def _belongs(path: str) -> bool:
    name = PurePosixPath(path).name
    is_page = path == name and name.startswith("report") and name.endswith(".html")
    return path in OWN_FILES or is_page or path.partition("/")[0] in OWN_FOLDERS or name.startswith(".writing-")


def _is_ours(folder: Path) -> bool:
    """Only our own manifest says that a folder may be replaced."""
    try:
        Bundle(folder).manifest()
    except RecordError:
        return False
    return True
