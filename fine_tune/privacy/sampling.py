"""Which units take part in which step: Poisson sampling, drawn from a generator of its own whose state can be kept. It never
truncates, repeats or fills up a batch, because the accountants hold for exactly this way of drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fine_tune.errors import DataError, RecipeError


@dataclass(frozen=True, kw_only=True)
class UnitRows:
    """The rows of each protected unit.

    Attributes:
        rows: training row numbers by unit; every row belongs to one unit.
    """

    rows: tuple[npt.NDArray[np.int64], ...]

    @classmethod
    def single(cls, count: int) -> UnitRows:
        """Every row is a unit of its own."""
        return cls(rows=tuple(np.arange(count, dtype=np.int64)[:, None]))

    @classmethod
    def of(cls, names: Sequence[str | None]) -> UnitRows:
        """Rows of one name are one unit.

        Raises:
            DataError: a row has no name, so nobody knows whom it belongs to.
        """
        nameless = [i for i, name in enumerate(names) if name is None]
        if nameless:
            raise DataError(
                f"{len(nameless)} rows do not say which unit they belong to, such as row {nameless[0]}",
                expected="a value in every row of the column that names the unit",
                fix="fill the column, or remove these rows",
            )
        values = np.asarray(names, dtype=str)
        _, codes = np.unique(values, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes))[:-1]
        return cls(rows=tuple(np.split(order.astype(np.int64), ends)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def largest(self) -> int:
        """Rows of the unit that has the most."""
        return max((len(rows) for rows in self.rows), default=0)


class PoissonSampler:
    """Draws each unit for each step independently with the same probability; a batch may be empty.

    A unit with several rows contributes one of them, drawn anew each time, so that clipping one row's gradient bounds
    what the unit contributes.

    Args:
        units: whose presence is protected.
        expected: units a step on average.
        generator: a numpy generator; its state is part of what resuming needs.

    Raises:
        RecipeError: more units are expected than there are.
    """

    def __init__(self, units: UnitRows, expected: int, generator: np.random.Generator) -> None:
        if not 1 <= expected <= len(units):
            raise RecipeError(
                f"a step is to see {expected} units on average, and there are {len(units)}",
                expected=f"a logical batch from 1 to {len(units)}",
            )
        self._units, self._generator = units, generator
        self.rate = expected / len(units)

    def draw(self) -> list[int]:
        """Row numbers of one step, ascending by unit; maybe none."""
        taken = np.flatnonzero(self._generator.random(len(self._units)) < self.rate)
        out = []
        for unit in taken:
            rows = self._units.rows[unit]
            out.append(int(rows[0]) if len(rows) == 1 else int(rows[self._generator.integers(len(rows))]))
        return out

    def state(self) -> dict[str, Any]:
        """The generator's state, as JSON values."""
        return dict(self._generator.bit_generator.state)

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on drawing from ``state``."""
        self._generator.bit_generator.state = state


def sampling_of(sampler: object) -> Literal["poisson", "other"]:
    """How a sampler draws. Only this module's own is known to draw each unit independently, whatever another calls itself."""
    return "poisson" if type(sampler) is PoissonSampler else "other"
