"""Text as a YAML scalar that stays on its line and means itself, whatever it holds. It writes no documents."""

from __future__ import annotations

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quote(text: object) -> str:
    """``text`` in double quotes: control and other unprintable characters escaped, ``${`` kept from being expanded."""
    return '"' + "".join(_escaped(c) for c in str(text).replace("${", "$${")) + '"'


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
