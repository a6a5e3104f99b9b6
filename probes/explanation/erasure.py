"""Which units of an input are taken away, and what that does to the probability of the class that is explained: rankings,
masks, and the averages that comprehensiveness, sufficiency and AOPC are. It asks no model, draws no sample of inputs, and
knows no method of attribution: a ranking is a ranking, whoever made it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from probes.intervals import Bool, Float, Int

WITHOUT = "without"
ONLY = "only"
SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)


def units_of(share: float, units: int) -> int:
    """How many of ``units`` a share is: rounded up, so that at least one unit is taken where there is any.

    A share such as 0.2 of 5 is one unit although 0.2 has no exact binary form.
    """
    return min(units, math.ceil(round(share * units, 9)))


def rank(weights: Float, rng: np.random.Generator) -> Int:
    """Positions of the units, shape (U,), the strongest support first; units of equal weight in random order."""
    return np.lexsort((rng.permutation(len(weights)), -weights))


def random_orders(units: int, orders: int, rng: np.random.Generator) -> Int:
    """Random rankings, shape (orders, U)."""
    return np.array([rng.permutation(units) for _ in range(orders)], dtype=np.int64).reshape(orders, units)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One erasure: by which ranking, what is left, and where its mask stands among the input's masks.

    Attributes:
        method: whose ranking.
        order: which of its rankings, 0 where there is one.
        kind: `WITHOUT` the share that is ranked first, or `ONLY` that share.
        share: of the units, in (0, 1].
        mask: position in `Erasures.masks`.
    """

    method: str
    order: int
    kind: str
    share: float
    mask: int


@dataclass(kw_only=True)
class Erasures:
    """All erasures of one input; a mask that several rankings ask for is scored once.

    Attributes:
        units: how many units the input has, U.
        steps: in the order in which they were asked for.
    """

    units: int
    steps: list[Step] = field(default_factory=list)
    _masks: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._position(np.ones(self.units, dtype=np.bool_))

    def add(self, method: str, order: int, ranking: Int, kind: str, shares: Sequence[float]) -> None:
        """Take away the first ``share`` of a ranking, or all but that, for each of ``shares``."""
        for share in shares:
            first = np.zeros(self.units, dtype=np.bool_)
            first[ranking[: units_of(share, self.units)]] = True
            mask = self._position(first if kind == ONLY else ~first)
            self.steps.append(Step(method=method, order=order, kind=kind, share=share, mask=mask))

    @property
    def masks(self) -> Bool:
        """True where a unit is kept, shape (M, U), each row once; row 0 keeps all."""
        raw = b"".join(self._masks)
        return np.frombuffer(raw, dtype=np.bool_).reshape(len(self._masks), self.units)

    def _position(self, mask: Bool) -> int:
        return self._masks.setdefault(mask.tobytes(), len(self._masks))


def curve_shares(steps: int) -> tuple[float, ...]:
    """The shares of a curve that takes all units away in ``steps`` equal steps."""
    return tuple(round((i + 1) / steps, 9) for i in range(steps))


def mean_by(codes: Int, size: int, values: Float) -> Float:
    """The mean of the values of each code in [0, size), shape (size,); NaN where it has none."""
    times = np.bincount(codes, minlength=size)
    sums = np.bincount(codes, weights=values, minlength=size)
    out: Float = np.divide(sums, times, out=np.full(size, np.nan), where=times > 0)
    return out
