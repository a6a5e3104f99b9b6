"""Words a failed validation for the person who wrote the file: what was found, what was expected.

It neither reads files nor raises.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, with its line (counted from 1) and its place where it has them."""

    line: int | None
    seen: str
    expected: str = ""
    fix: str = ""
    place: Loc | None = None

    def __str__(self) -> str:
        expected = f"; expected {self.expected}" if self.expected else ""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{self.seen}{expected}{fix}"


_EXPECTED = {
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "model_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
    "dict_type": "a mapping (key: value)",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "date_type": "a date such as 2026-01-31",
    "date_parsing": "a date such as 2026-01-31",
    "date_from_datetime_parsing": "a date such as 2026-01-31",
    "date_from_datetime_inexact": "a date such as 2026-01-31",
    "string_too_short": "text that is not empty",
    "none_required": "nothing",
}
# Explaining takes a look at every pair of places, and nobody reads on.
MOST_EXPLAINED = 300
_SHAPES = {"string_type", "tuple_type", "list_type", "dict_type", "model_type", "none_required"}


def contradiction(seen: str, expected: str, place: Loc) -> PydanticCustomError:
    """What a model's validator raises for entries that do not go together; ``place`` is where to point."""
    context: dict[str, Any] = {"seen": seen, "expected": expected, "place": place}
    return PydanticCustomError("contradiction", "{seen}; expected {expected}", context)


def place_of(loc: Loc, lines: Mapping[Loc, Any]) -> Loc:
    """The part of a location that stands in the file: pydantic adds names of union members and ``[key]``."""
    place: Loc = ()
    for part in loc:
        if (*place, part) in lines:
            place = (*place, part)
    return place


def dotted(loc: Loc) -> str:
    """``rules[0].max``."""
    out = ""
    for part in loc:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def show(value: Any) -> str:
    """A value as the file's author would recognise it, in at most 80 characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def closest(word: str, known: Sequence[str]) -> str:
    """``did you mean 'owner'?``, or nothing where no known word is near."""
    lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f"did you mean {lower[near[0]]!r}?" if near else ""


class Lined(Protocol):
    """A file's plain values, and the line of every entry."""

    @property
    def value(self) -> Any: ...

    @property
    def lines(self) -> Mapping[Loc, int]: ...


def explain(error: ValidationError, model: type[BaseModel], source: Lined, known: Collection[Loc]) -> list[Problem]:
    """One problem for every place of the file that did not validate, in no particular order; of thousands, the first few hundred.

    Args:
        error: from validating the source's value as ``model``.
        model: gives the keys that would have been right.
        source: the file.
        known: places whose problems are told already; what follows from them is left out.
    """
    value, lines = source.value, source.lines
    details = error.errors(include_url=False)[:MOST_EXPLAINED]
    places = [place_of(d.get("ctx", {}).get("place", d["loc"]), lines) for d in details]
    schema = _schema(model)
    out: dict[tuple[Loc, str], list[Problem]] = {}
    for detail, place in zip(details, places, strict=True):
        deeper = any(len(p) > len(place) and p[: len(place)] == place for p in places)
        if detail["type"] in _SHAPES and deeper and isinstance(_at(value, place), dict | list):
            continue  # another member of the union fits the value's shape; its own complaints say more
        if detail["type"] not in ("extra_forbidden", "missing") and any(_related(place, k) for k in known):
            continue
        problem = _problem(detail, place, _at(value, place), schema, lines[place])
        out.setdefault((place, problem.seen), []).append(problem)
    return [_merged(group) for group in out.values()]


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def _related(a: Loc, b: Loc) -> bool:
    """One lies within the other."""
    shorter = min(len(a), len(b))
    return a[:shorter] == b[:shorter]


def _merged(group: list[Problem]) -> Problem:
    expected = " or ".join(dict.fromkeys(p.expected for p in group if p.expected))
    fixes = [p.fix for p in group if p.fix]
    return Problem(group[0].line, group[0].seen, expected, fixes[0] if fixes else "")


def _problem(detail: ErrorDetails, place: Loc, found: Any, schema: dict[str, Any], line: int) -> Problem:
    kind, ctx = detail["type"], detail.get("ctx", {})
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "extra_forbidden":
        known = _keys(schema, place[:-1])
        within = f" in {dotted(place[:-1])}" if place[:-1] else ""
        return Problem(line, f"unknown key {last!r}{within}", f"one of {', '.join(known)}", closest(last, known))
    if kind == "contradiction":
        return Problem(line, ctx["seen"], ctx["expected"])
    if kind == "missing":
        return Problem(line, f"{dotted(place) or 'the file'} has no {last!r}", f"the key {last}")
    if kind in ("value_error", "assertion_error"):
        text = str(ctx["error"]) if "error" in ctx else detail["msg"]
        head, _, rest = text.partition("expected ")
        name = dotted(place)
        seen = head.rstrip(" ;,.:") or f"{name} is {show(found)}"
        return Problem(line, f"{name}: {seen}" if head and name else seen, rest)
    expected, options = _wanted(detail)
    if last == "[key]":
        found = place[-1]
        seen = f"unusable key {found!r} in {dotted(place[:-1])}"
    else:
        seen = f"{dotted(place) or 'the file'} is {show(found)}"
    fix = closest(str(found), options)
    if kind == "string_type" and isinstance(found, int | float):
        fix = "put it in quotes"
    return Problem(line, seen, expected, fix)


def _wanted(detail: ErrorDetails) -> tuple[str, list[str]]:
    """What was expected, and the words it lists, if it is one of several words."""
    kind, ctx = detail["type"], detail.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return f"text that matches {ctx.get('pattern')}", []
    if kind in ("literal_error", "enum"):
        text = str(ctx.get("expected", ""))
        return text, re.findall(r"'([^']*)'", text)
    plain = detail["msg"].removeprefix("Input should be ").removeprefix("Value should be ")
    return _EXPECTED.get(kind, plain), []


def _at(value: Any, place: Loc) -> Any:
    for part in place:
        value = value[part]
    return value


def _keys(schema: dict[str, Any], place: Loc) -> list[str]:
    """The keys that the model knows at a place, in its order."""
    nodes = _resolve(schema, schema)
    for part in place:
        inner: list[dict[str, Any]] = []
        for node in nodes:
            if isinstance(part, int):
                step = node.get("items")
            else:
                step = node.get("properties", {}).get(part, node.get("additionalProperties"))
            if isinstance(step, dict):
                inner += _resolve(step, schema)
        nodes = inner
    return list(dict.fromkeys(key for node in nodes for key in node.get("properties", {})))


def _resolve(node: dict[str, Any], root: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _resolve(root["$defs"][node["$ref"].rpartition("/")[2]], root)
    members = [m for key in ("anyOf", "oneOf", "allOf") for m in node.get(key, [])]
    return [r for m in members for r in _resolve(m, root)] if members else [node]
