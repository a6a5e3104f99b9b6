"""The errors of Plumbline, in one tree. A message says what was seen, what was expected and what to do next.

    PlumblineError                exit 1   the root; everything that Plumbline raises on purpose
      InputError                  exit 2   something the user wrote or pointed at cannot be used
        DataError                          rows, columns, roles, labels
        CheckpointError                    weights, tokenizer, label names
        RecipeError                        what training was asked to do
          DivergenceError                  the training ended in weights that are not finite

Each room adds its own branches in its own ``errors.py``.
"""

from __future__ import annotations


class PlumblineError(Exception):
    """Root of all deliberate errors.

    Args:
        seen: what was found, with names and places.
        expected: what would have been right.
        fix: what the user can do next.
        where: file, line or column, if there is one.
    """

    exit_code = 1

    def __init__(self, seen: str, *, expected: str = "", fix: str = "", where: str = "") -> None:
        self.seen, self.expected, self.fix, self.where = seen, expected, fix, where
        super().__init__(str(self))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.seen, self.expected, self.fix, self.where))

    def __str__(self) -> str:
        head = f"{self.where}: {self.seen}" if self.where else self.seen
        lines = [head]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(lines)


def _rebuild(kind: type[PlumblineError], seen: str, expected: str, fix: str, where: str) -> PlumblineError:
    return kind(seen, expected=expected, fix=fix, where=where)


class InputError(PlumblineError):
    """Something that the user wrote or pointed at cannot be used."""

    exit_code = 2


class DataError(InputError):
    """Rows, columns, roles or labels are unusable."""


class CheckpointError(InputError):
    """Weights, tokenizer or label names are unusable."""


class RecipeError(InputError):
    """A recipe asks for something that cannot be done."""


class DivergenceError(RecipeError):
    """Training ended in weights that are not finite."""
