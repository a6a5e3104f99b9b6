"""A folder that `datasets` wrote, before `datasets` opens it: everything that it names must lie in it. Nothing of the rows is read."""

from __future__ import annotations

from pathlib import Path

from fine_tune.errors import DataError
from fine_tune.untrusted import MOST_CONFIG, parse_json, read_file


def refuse_outside(folder: Path) -> None:
    """Check that a folder names no file and no split outside of it, and holds no link that leads there.

    Raises:
        DataError: it does.
    """
    home = folder.resolve()
    for path in folder.rglob("*"):
        try:
            inside = path.resolve().is_relative_to(home)
        except (OSError, RuntimeError):
            inside = False
        if not inside:
            raise DataError(
                f"{path.relative_to(folder)} is a link that leads outside the folder",
                expected="files that lie in the folder",
                where=str(folder),
            )
        if path.name not in ("state.json", "dataset_dict.json") or not path.is_file():
            continue
        body = parse_json(read_file(path, MOST_CONFIG, error=DataError), str(path), error=DataError, strict=False)
        said = body if isinstance(body, dict) else {}
        listed = [f.get("filename") for f in said.get("_data_files") or [] if isinstance(f, dict)]
        for name in [*listed, *(said.get("splits") or [])]:
            if not isinstance(name, str) or Path(name).name != name or "\\" in name:
                raise DataError(
                    f"it names {str(name)[:200]!r}, which may lie outside the folder",
                    expected="names of files and splits in it",
                    where=str(path),
                )
