"""Reads a YAML file into plain values and remembers the line of each.

YAML 1.2 (``on`` and ``no`` are text), one document a file, ``${NAME}`` from the environment. It refuses what
could mislead or harm: duplicate keys, tags, numbers that are not finite, halves of characters, files above 1 MB, deep nests and
anchors that grow out of hand. It knows no model.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audit.faults import Loc, Problem, dotted, place_of
from fine_tune.errors import InputError
from fine_tune.untrusted import DEEPEST, read_file

MAX_BYTES = 1_000_000
MAX_NODES = 50_000
# An anchor on a long text costs nothing here and everything where the file is written out.
MAX_CHARACTERS = 4 * MAX_BYTES
MOST_TOLD = 100
LONGEST_SEEN = 500

_PLACE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_HALF = re.compile("[\ud800-\udfff]")
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


def refuse(path: Path, problems: Sequence[Problem], error: type[InputError]) -> None:
    """Raise ``error`` with all problems, in the order of their lines; do nothing where there are none."""
    ordered = [replace(p, seen=_cut(p.seen), fix=_cut(p.fix)) for p in sorted(problems, key=lambda p: p.line or 0)]
    if len(ordered) == 1:
        only = ordered[0]
        raise error(only.seen, expected=only.expected, fix=only.fix, where=_where(path, only))
    if ordered:
        lines = [f"{_where(path, p)}: {p}" for p in ordered[:MOST_TOLD]]
        told = (
            f"more than {MOST_TOLD} problems, of which the first are"
            if len(ordered) > MOST_TOLD
            else f"{len(ordered)} problems"
        )
        raise error(f"{told}\n  " + "\n  ".join(lines), where=str(path))


def _cut(text: str) -> str:
    """What a file says is quoted, and a file may say a million characters."""
    return text if len(text) <= LONGEST_SEEN else f"{text[:LONGEST_SEEN]}…"


def _where(path: Path, problem: Problem) -> str:
    return f"{path}:{problem.line}" if problem.line else str(path)


def read_source(path: Path, *, error: type[InputError]) -> Source:
    """Read a YAML file into plain values with their lines, without any model.

    Raises:
        InputError: ``error``: the file is missing, too large, not UTF-8, not YAML, or uses what is refused.
    """
    source, problems = scan(path, error=error)
    refuse(path, problems, error)
    return source


def scan(path: Path, *, error: type[InputError]) -> tuple[Source, list[Problem]]:
    """As `read_source`, but entries that are refused come as problems, so that others can be told with them."""
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
    except (YAMLError, ValueError, OverflowError) as problem:
        raise error(f"not readable as YAML: {(str(problem).splitlines() or [''])[0]}", where=str(path)) from None
    except RecursionError:
        raise error("nested too deeply to read", expected=f"at most {DEEPEST} levels", where=str(path)) from None
    if root is None:
        raise error("the file is empty", expected="a mapping (key: value)", where=str(path))
    return Source(path, value, {(): root.start_mark.line + 1, **reader.lines}, reader.expanded), reader.problems


def _text(path: Path, error: type[InputError]) -> str:
    try:
        return read_file(path, MAX_BYTES, error=error).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"byte {problem.start} is not UTF-8", expected="a text file in UTF-8", where=str(path)) from None


class _Reader:
    """Turns YAML nodes into plain values, noting lines and problems on the way."""

    def __init__(self, constructor: Any) -> None:
        self.constructor = constructor
        self.lines: dict[Loc, int] = {}
        self.expanded: dict[Loc, str] = {}
        self.problems: list[Problem] = []
        self.nodes = 0
        self.characters = 0

    def plain(self, node: Any, loc: Loc, around: frozenset[int]) -> Any:
        self.nodes += 1
        line = node.start_mark.line + 1
        if self.nodes > MAX_NODES or id(node) in around:
            raise ValueError(f"line {line}: more than {MAX_NODES:,} entries, counting what anchors repeat")
        if len(loc) > DEEPEST:
            raise RecursionError
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if isinstance(node.value, str):
            return self._scalar(node, kind, loc, line)
        if kind not in ("map", "seq"):
            self._bad(loc, line, *_tagged(node))
            return None
        inside = around | {id(node)}
        if kind == "seq":
            for i, item in enumerate(node.value):
                self.lines[(*loc, i)] = item.start_mark.line + 1
            return [self.plain(item, (*loc, i), inside) for i, item in enumerate(node.value)]
        out: dict[str, Any] = {}
        for key, value in node.value:
            at = key.start_mark.line + 1
            place = (*loc, key.value) if isinstance(key.value, str) else loc
            if place != loc:
                self._count(key.value, at)
            if place == loc:
                self._bad(None, at, "a key that is a list or a mapping", "text as key")
            elif key.value in out:
                again = f"the key {key.value!r} again, first in line {self.lines[place]}"
                self._bad(place, at, again, "each key once")
            else:
                self.lines[place] = at
                out[key.value] = self.plain(value, place, inside)
        return out

    def _count(self, text: str, line: int) -> None:
        self.characters += len(text)
        if self.characters > MAX_CHARACTERS:
            raise ValueError(f"line {line}: anchors repeat texts beyond {MAX_CHARACTERS:,} characters")
        if not text.isascii() and _HALF.search(text):
            raise ValueError(f"line {line}: half a character (a surrogate) in {text[:40]!r}")

    def _bad(self, loc: Loc | None, line: int, seen: str, expected: str, fix: str = "") -> None:
        self.problems.append(Problem(line, seen, expected, fix, loc))

    def _scalar(self, node: Any, kind: str, loc: Loc, line: int) -> Any:
        text: str = node.value
        self._count(text, line)
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in ("int", "float"):
            return self._number(node, kind, loc, line)
        if kind not in ("str", "bool", "timestamp"):
            self._bad(loc, line, *_tagged(node))
            return None
        return self._expand(text, loc, line)

    def _number(self, node: Any, kind: str, loc: Loc, line: int) -> int | float | None:
        build = self.constructor.construct_yaml_int if kind == "int" else self.constructor.construct_yaml_float
        try:
            number: int | float = build(node)
            if math.isfinite(number):
                return number
        except (ValueError, OverflowError):
            pass
        self._bad(loc, line, f"{dotted(loc)} is {node.value[:40]}", "a finite number")
        return None

    def _expand(self, text: str, loc: Loc, line: int) -> Any:
        def put(match: re.Match[str]) -> str:
            if match.group(0) == "$${":
                return "${"
            name, default = match.group(1), match.group(2)
            if name is None:
                form, fix = "${NAME} or ${NAME:-default}", "write $${ for a literal ${"
                self._bad(loc, line, f"an unreadable variable in {text!r}", form, fix)
                return ""
            found = os.environ.get(name, default)
            if found is None:
                fix = f"export {name}=..., or write ${{{name}:-default}}"
                self._bad(loc, line, f"the environment has no variable {name}", f"{name} to be set", fix)
                return ""
            return found

        whole = _PLACE.fullmatch(text)
        out = _PLACE.sub(put, text)
        if whole and whole.group(1) and _NUMBER.fullmatch(out) and math.isfinite(float(out)):
            self.expanded[loc] = out
            return int(out) if out.lstrip("+-").isdigit() else float(out)
        return out


def _tagged(node: Any) -> tuple[str, str, str]:
    return f"the tag {str(node.tag)[:80]}", "plain YAML without tags", "remove the tag"
