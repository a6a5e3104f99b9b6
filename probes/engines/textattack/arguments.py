"""What a user may give a recipe: the names, kinds and defaults of its arguments, and the check of what was given.

It knows no recipe; a wrong argument is refused before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probes.errors import ProbeError

Value = str | int | float


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of a recipe.

    ``kind`` is ``str``, ``int`` or ``float``; ``default`` None means that nothing is passed and the recipe's own default
    holds. ``lowest`` bounds numbers, ``choices`` words. ``needs`` says in words what the value must point at.
    """

    name: str
    kind: type[str] | type[int] | type[float]
    help: str
    default: Value | None = None
    required: bool = False
    lowest: float | None = None
    choices: tuple[Value, ...] = ()
    needs: str = ""


def checked(known: Sequence[Argument], given: Mapping[str, Value], *, recipe: str) -> dict[str, Value]:
    """The values given and the defaults that are set, by name, each of its argument's kind.

    Raises:
        ProbeError: an unknown name, a wrong kind, a value out of range, or a required argument that is missing.
    """
    by_name = {argument.name: argument for argument in known}
    unknown = sorted(set(given) - set(by_name))
    if unknown:
        accepted = ", ".join(by_name) if by_name else "no arguments"
        raise ProbeError(f"recipe {recipe}: unknown argument {unknown[0]!r}", expected=accepted)
    values: dict[str, Value] = {}
    for argument in known:
        value = given.get(argument.name, argument.default)
        if value is not None:
            values[argument.name] = _of_kind(argument, value, recipe)
        elif argument.required:
            raise ProbeError(f"recipe {recipe} needs the argument {argument.name!r}", expected=argument.help)
    return values


def _of_kind(argument: Argument, value: Value, recipe: str) -> Value:
    where = f"recipe {recipe}, argument {argument.name}"
    if argument.kind is float and isinstance(value, int):
        value = float(value)
    if not isinstance(value, argument.kind):
        raise ProbeError(f"{value!r}", expected=f"{argument.kind.__name__}: {argument.help}", where=where)
    if argument.choices and value not in argument.choices:
        raise ProbeError(f"{value!r}", expected="one of " + ", ".join(map(str, argument.choices)), where=where)
    if argument.lowest is not None and not isinstance(value, str) and not value >= argument.lowest:
        raise ProbeError(f"{value!r}", expected=f"at least {argument.lowest:g}", where=where)
    return value
