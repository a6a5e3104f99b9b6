"""Reads the YAML files that people write into typed models, and says by line what is wrong with them.

YAML 1.2 (``on`` and ``no`` are text), one document a file, ``${NAME}`` from the environment. It refuses what
could mislead or harm: duplicate keys, tags, numbers that are not finite, files above 1 MB and anchors that
grow out of hand. It knows nothing of what a plan or a policy means.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from audit.faults import Loc, Problem, dotted, explain, place_of, show
from fine_tune.errors import InputError

MAX_BYTES = 1_000_000
MAX_NODES = 50_000

M = TypeVar("M", bound=BaseModel)

_PLACE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Source:
    """A YAML file as plain values.

    Attributes:
        path: the file, as it was named.
        value: mappings, lists, text, numbers, booleans and None; dates stay text.
        lines: the line of every entry, counted from 1; of a mapping's entry, the line of its key.
        expanded: the text of those entries that became numbers because a variable's value looked like one.
    """

    path: Path
    value: Any
    lines: Mapping[Loc, int]
    expanded: Mapping[Loc, str] = field(default_factory=dict)

    def line(self, loc: Loc) -> int:
        """The line of an entry, or of the nearest one around it."""
        return self.lines[place_of(loc, self.lines)]

    def where(self, loc: Loc = ()) -> str:
        """``policy.yaml:12``."""
        return f"{self.path}:{self.line(loc)}"


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
    source = read_source(path, error=error)
    if not isinstance(source.value, dict):
        raise error(f"found {show(source.value)}", expected="a mapping (key: value)", where=source.where())
    refuse(path, [*_wrong_schema(source, model), *_repeated(source, unique or {})], error)
    value = source.value
    try:
        try:
            return Document(_validate(model, value), source)
        except ValidationError as first:
            texts = [place_of(e["loc"], source.lines) for e in first.errors() if e["type"] == "string_type"]
            for loc in (t for t in texts if t in source.expanded):
                value = _replaced(value, loc, source.expanded[loc])
            return Document(_validate(model, value), source)
    except ValidationError as problem:
        refuse(path, explain(problem, model, source.value, source.lines), error)
        raise AssertionError("a validation error without errors") from problem


def _validate(model: type[M], value: Any) -> M:
    # JSON in strict mode is what these files mean: no text as a number, no true as 1, but dates and lists.
    return model.model_validate_json(json.dumps(value), strict=True)


def refuse(path: Path, problems: Sequence[Problem], error: type[InputError]) -> None:
    """Raise ``error`` with all problems, in the order of their lines; do nothing where there are none."""
    ordered = sorted(problems, key=lambda p: p.line or 0)
    if len(ordered) == 1:
        only = ordered[0]
        raise error(only.seen, expected=only.expected, fix=only.fix, where=_where(path, only))
    if ordered:
        lines = [f"{_where(path, p)}: {p}" for p in ordered]
        raise error(f"{len(ordered)} problems\n  " + "\n  ".join(lines), where=str(path))


def _where(path: Path, problem: Problem) -> str:
    return f"{path}:{problem.line}" if problem.line else str(path)


def read_source(path: Path, *, error: type[InputError]) -> Source:
    """Read a YAML file into plain values with their lines, without any model.

    Raises:
        InputError: ``error``: the file is missing, too large, not UTF-8, not YAML, or uses what is refused.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    text = _text(path, error)
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
        reader = _Reader(yaml.constructor)
        value = reader.plain(root, (), frozenset()) if root is not None else None
    except MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        raise error(
            f"not readable as YAML: {problem.problem or problem.context}",
            expected="YAML 1.2, indented with spaces, one document",
            where=f"{path}:{mark.line + 1}" if mark else str(path),
        ) from None
    except (YAMLError, ValueError) as problem:
        raise error(f"not readable as YAML: {str(problem).splitlines()[0]}", where=str(path)) from None
    except RecursionError:
        raise error("nested too deeply to read", where=str(path)) from None
    if root is None:
        raise error("the file is empty", expected="a mapping (key: value)", where=str(path))
    refuse(path, reader.problems, error)
    return Source(path, value, {(): root.start_mark.line + 1, **reader.lines}, reader.expanded)


def _text(path: Path, error: type[InputError]) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise error(f"the file has {size:,} bytes", expected=f"at most {MAX_BYTES:,}", where=str(path))
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"byte {problem.start} is not UTF-8", expected="a text file in UTF-8", where=str(path)) from None
    except OSError as problem:
        raise error(
            f"the file cannot be read ({problem.strerror})",
            expected="a YAML file",
            fix="check the path",
            where=str(path),
        ) from None


class _Reader:
    """Turns YAML nodes into plain values, noting lines and problems on the way."""

    def __init__(self, constructor: Any) -> None:
        self.constructor = constructor
        self.lines: dict[Loc, int] = {}
        self.expanded: dict[Loc, str] = {}
        self.problems: list[Problem] = []
        self.nodes = 0

    def plain(self, node: Any, loc: Loc, around: frozenset[int]) -> Any:
        self.nodes += 1
        line = node.start_mark.line + 1
        if self.nodes > MAX_NODES or id(node) in around:
            raise ValueError(f"line {line}: anchors repeat themselves beyond {MAX_NODES:,} entries")
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if isinstance(node.value, str):
            return self._scalar(node, kind, loc, line)
        if kind not in ("map", "seq"):
            self._tag(node, line)
            return None
        inside = around | {id(node)}
        if kind == "seq":
            for i, item in enumerate(node.value):
                self.lines[(*loc, i)] = item.start_mark.line + 1
            return [self.plain(item, (*loc, i), inside) for i, item in enumerate(node.value)]
        out: dict[str, Any] = {}
        for key, value in node.value:
            at = key.start_mark.line + 1
            if not isinstance(key.value, str):
                self.problems.append(Problem(at, "a key that is a list or a mapping", "text as key"))
            elif key.value in out:
                first = self.lines[(*loc, key.value)]
                self.problems.append(
                    Problem(at, f"the key {key.value!r} again, first in line {first}", "each key once")
                )
            else:
                self.lines[(*loc, key.value)] = at
                out[key.value] = self.plain(value, (*loc, key.value), inside)
        return out

    def _tag(self, node: Any, line: int) -> None:
        self.problems.append(Problem(line, f"the tag {node.tag}", "plain YAML without tags", "remove the tag"))

    def _scalar(self, node: Any, kind: str, loc: Loc, line: int) -> Any:
        text: str = node.value
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in ("int", "float"):
            build = self.constructor.construct_yaml_int if kind == "int" else self.constructor.construct_yaml_float
            number = build(node)
            if not math.isfinite(number):
                self.problems.append(Problem(line, f"{dotted(loc)} is {text}", "a finite number"))
            return number
        if kind not in ("str", "bool", "timestamp"):
            self._tag(node, line)
            return None
        return self._expand(text, loc, line)

    def _expand(self, text: str, loc: Loc, line: int) -> Any:
        def put(match: re.Match[str]) -> str:
            if match.group(0) == "$${":
                return "${"
            name, default = match.group(1), match.group(2)
            if name is None:
                self.problems.append(
                    Problem(
                        line,
                        f"an unreadable variable in {text!r}",
                        "${NAME} or ${NAME:-default}",
                        "write $${ for a literal ${",
                    )
                )
                return ""
            found = os.environ.get(name, default)
            if found is None:
                self.problems.append(
                    Problem(
                        line,
                        f"the environment has no variable {name}",
                        f"{name} to be set",
                        f"export {name}=..., or write ${{{name}:-default}}",
                    )
                )
                return ""
            return found

        whole = _PLACE.fullmatch(text)
        out = _PLACE.sub(put, text)
        if whole and whole.group(1) and _NUMBER.fullmatch(out) and math.isfinite(float(out)):
            self.expanded[loc] = out
            return int(out) if out.lstrip("+-").isdigit() else float(out)
        return out


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
                out.append(
                    Problem(
                        line,
                        f"{place}: the {key} {name!r} again, first in line {seen[name]}",
                        f"each {key} once",
                    )
                )
            seen.setdefault(name, line)
    return out


def _replaced(value: Any, loc: Loc, text: str) -> Any:
    if not loc:
        return text
    head, rest = loc[0], loc[1:]
    if isinstance(value, dict):
        return {k: _replaced(v, rest, text) if k == head else v for k, v in value.items()}
    return [_replaced(v, rest, text) if i == head else v for i, v in enumerate(value)]
