"""Reads the YAML files that people write into typed models, and says by line what is wrong with them.

It knows nothing of what a plan or a policy means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from audit.faults import Loc, Problem, explain, place_of, show
from audit.yaml_files import Source, refuse, scan
from fine_tune.errors import InputError

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Document(Generic[M]):
    """A file that was read and validated, with the way back to its lines."""

    value: M
    source: Source

    @property
    def path(self) -> Path:
        return self.source.path

    def line(self, loc: Loc) -> int:
        """The line of an entry such as ``("rules", 0, "max")``, or of the nearest one around it."""
        return self.source.line(loc)

    def where(self, loc: Loc = ()) -> str:
        """``policy.yaml:12``."""
        return self.source.where(loc)


def read_document(
    path: Path, model: type[M], *, error: type[InputError], unique: Mapping[str, str] | None = None
) -> Document[M]:
    """Read a file into ``model``.

    Args:
        path: the file.
        model: a closed pydantic model.
        error: what to raise.
        unique: by list at the top, the key that tells its entries apart, such as ``{"rules": "id"}``.

    Raises:
        InputError: ``error``, naming every problem with its line, what was found and what was expected.
    """
    source, problems = scan(path, error=error)
    if not isinstance(source.value, dict):
        refuse(path, problems, error)
        raise error(f"found {show(source.value)}", expected="a mapping (key: value)", where=source.where())
    refuse(path, _wrong_schema(source, model), error)
    problems += _repeated(source, unique or {})
    value = source.value
    try:
        try:
            document = Document(_validate(model, value), source)
        except ValidationError as first:
            texts = [place_of(e["loc"], source.lines) for e in first.errors() if e["type"] == "string_type"]
            for loc in (t for t in texts if t in source.expanded):
                value = _replaced(value, loc, source.expanded[loc])
            document = Document(_validate(model, value), source)
    except ValidationError as invalid:
        known = {p.place for p in problems if p.place is not None}
        problems += explain(invalid, model, source, known)
        if not problems:
            raise AssertionError("a validation error without errors") from invalid
        refuse(path, problems, error)
    refuse(path, problems, error)
    return document


def _validate(model: type[M], value: Any) -> M:
    # JSON in strict mode is what these files mean: no text as a number, no true as 1, but dates and lists.
    return model.model_validate_json(json.dumps(value), strict=True)


def _wrong_schema(source: Source, model: type[BaseModel]) -> list[Problem]:
    name = model.model_fields["schema_"].default if "schema_" in model.model_fields else None
    found = source.value.get("schema", name)
    if found == name:
        return []
    return [
        Problem(
            source.line(("schema",)),
            f"schema is {show(found)}",
            str(name),
            "give the file that this place asks for",
        )
    ]


def _repeated(source: Source, unique: Mapping[str, str]) -> list[Problem]:
    out = []
    for place, key in unique.items():
        seen: dict[str, int] = {}
        items = source.value.get(place)
        for i, item in enumerate(items if isinstance(items, list) else []):
            name = item.get(key) if isinstance(item, dict) else None
            if not isinstance(name, str):
                continue
            line = source.line((place, i, key))
            if name in seen:
                again = f"{place}: the {key} {name!r} again, first in line {seen[name]}"
                out.append(Problem(line, again, f"each {key} once", place=(place, i, key)))
            seen.setdefault(name, line)
    return out


def _replaced(value: Any, loc: Loc, text: str) -> Any:
    if not loc:
        return text
    head, rest = loc[0], loc[1:]
    if isinstance(value, dict):
        return {k: _replaced(v, rest, text) if k == head else v for k, v in value.items()}
    return [_replaced(v, rest, text) if i == head else v for i, v in enumerate(value)]
