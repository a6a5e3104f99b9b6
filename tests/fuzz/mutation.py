"""How inputs are changed: edits of a valid file by values that have broken readers before, and bytes at random."""

from __future__ import annotations

import json
import random
from typing import Any

from readers import DELETED, EDITS

MOST_EDITS = 4

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.5, 1.5, 2**31, 2**53, 2**63, 2**64 + 1, 10**30, -(10**30), 1e300, 1e308, -1e308,
    5e-324, 1e400, float("nan"), "", " ", "x", "no", "null", "1", "-0", "nan", "a" * 300, "x" * 20_000, "../x", "/etc/passwd",
    "~nobody/x", "C:\\x", "a/../../b", "hub:../../x", "https://example.org/x", "a\0b", "\x1b[31mred", "\u202eabc", "\ud800",
    "<script>alert(1)</script>", "{name}", "{0}", "%s", "${HOME}", "${NOT_SET}", "${X:-y}", "\n", "a\r\nb", "::", "a:b",
    "2026-02-30", "2026-01-31", "9999-12-31", "0001-01-01", "é" * 100, "0" * 64, "f" * 64, [], {}, [[]], [None], [1, 2], [""],
    {"": None}, {"a": 1}, {"a": {"a": {"a": {}}}}, DELETED,
)  # fmt: skip


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def mutate(name: str, data: bytes, seed: int, bases: dict[str, Any]) -> bytes:
    """One change of an input; the same arguments give the same bytes.

    Args:
        name: the reader.
        data: an input.
        seed: of every choice.
        bases: the valid files that edits are about, by the input's first line where it has one.
    """
    rng = random.Random(seed)
    head, body = split(name, data)
    if not body.startswith(EDITS):
        return head + _bytes(body, rng)
    try:
        edits = json.loads(body.removeprefix(EDITS))
    except (ValueError, RecursionError):
        edits = []
    edits = list(edits) if isinstance(edits, list) else []
    base = bases.get(head.decode("utf-8", "replace").strip("!\n"))
    if base is None:
        return head + _bytes(body, rng)
    # Few edits at a time: a file with many faults is refused for the first of them, and nothing further in is reached.
    while edits and rng.random() < 0.6:
        edits.pop(rng.randrange(len(edits)))
    edits.append([_path(base, rng), _value(base, rng)])
    return head + EDITS + json.dumps(edits[-MOST_EDITS:]).encode()


def split(name: str, data: bytes) -> tuple[bytes, bytes]:
    """An input's first line, where it says what the rest is about, and the rest."""
    if name == "bundle" or data.startswith(b"verdict\n"):
        head, _, body = data.partition(b"\n")
        return head + b"\n", body
    return b"", data


def _path(base: Any, rng: random.Random) -> list[str | int]:
    path: list[str | int] = []
    place = base
    while isinstance(place, dict | list) and place and (not path or rng.random() < 0.85):
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        path.append(rng.choice(keys))
        place = place[path[-1]]
    if isinstance(place, dict) and rng.random() < 0.05:
        path.append(rng.choice(("x", "", "schema", "../x", "\ud800", "a\0")))
    return path


def _value(base: Any, rng: random.Random) -> Any:
    chance = rng.random()
    if chance < 0.65:
        return rng.choice(HOSTILE)
    if chance < 0.68:
        return _deep(rng.choice((30, 70, 300)))
    if chance < 0.72:
        return [rng.choice(HOSTILE)] * rng.choice((2, 200))
    place = base
    for part in _path(base, rng):
        place = place[part] if not isinstance(place, dict) or part in place else None
    return place


def _bytes(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(5)
        if kind == 0 and out:
            out[at % len(out)] = rng.randrange(256)
        elif kind == 1:
            out[at:at] = rng.choice(
                (
                    b"&a ",
                    b"*a",
                    b"!!python/name:os.system ",
                    b"\0",
                    b"\xff",
                    b"{",
                    b"[",
                    b"- ",
                    b"'",
                    b"\n",
                    b"9" * 30,
                    b": ",
                    b"\xef\xbb\xbf",
                    b"\t",
                    b"\\ud800",
                    b"1e999",
                    b"---\n",
                    b"NaN",
                )
            )
        elif kind == 2:
            del out[at : at + rng.choice((1, 4, 64))]
        elif kind == 3:
            piece = bytes(out[at : at + rng.choice((1, 8, 64))])
            out[at:at] = piece * rng.choice((1, 2, 50))
        else:
            end = rng.randrange(len(out) + 1)
            out[at:at] = out[end : end + 32]
    return bytes(out[: 1 << 18])
