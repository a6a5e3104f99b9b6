"""The integral of gradients along a straight path, to a stated error with as few gradients as it takes: pure arithmetic,
which is told scores and slopes and says where it wants further ones.

The integrand is a vector (a slope for each unit), but the integral of its sum over any stretch of the path is known exactly:
it is the difference of the scores at both ends, and a score comes free with every gradient. So the error of each stretch is
*measured*, not estimated, and only stretches that are off are halved. A stretch has Simpson's rule on three places; the five places of two halves give their share of the result by Boole's,
and are judged by both. Every gradient is used again. A fixed number of steps spends as much on a
text whose path is straight as on one that bends, and knows of neither; the trapezoid that weights its n places by 1 / n sums to
(n - 1) / n besides, and misses that share of every attribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

SIMPSON = np.array([1, 4, 1]) / 6
BOOLE = np.array([7, 32, 12, 32, 7]) / 90
# A stretch is halved when it is off by this share of the worst.
NEAR_WORST = 0.5


@dataclass(kw_only=True)
class Stretch:
    """A part of the path, whole or in two halves. ``low`` and ``high`` are dyadic, so halving them is exact."""

    low: float
    high: float
    halves: tuple[Stretch, Stretch] | None = None

    def places(self, rule: Float) -> list[float]:
        """Where ``rule`` looks: equally spaced, both ends included."""
        step = (self.high - self.low) / (len(rule) - 1)
        return [self.low + step * k for k in range(len(rule))]

    def halve(self) -> None:
        middle = (self.low + self.high) / 2
        self.halves = (Stretch(low=self.low, high=middle), Stretch(low=middle, high=self.high))

    @property
    def ripe(self) -> bool:
        """Both halves are whole: their five places serve as one rule."""
        return self.halves is not None and all(half.halves is None for half in self.halves)

    def ends(self) -> Iterator[Stretch]:
        """The stretches that are not halved, in order."""
        if self.halves is None:
            yield self
            return
        for half in self.halves:
            yield from half.ends()

    def parts(self) -> Iterator[Stretch]:
        """Stretches with one rule each, in order: pairs of halves where neither is halved again, and what is left alone."""
        if self.halves is None or self.ripe:
            yield self
            return
        for half in self.halves:
            yield from half.parts()


def _in_two() -> Stretch:
    """The whole path; five places, because three can be right about the sum by luck."""
    path = Stretch(low=0.0, high=1.0)
    path.halve()
    return path


@dataclass(kw_only=True)
class PathIntegral:
    """Slopes integrated over [0, 1]. Ask `wanted`, answer with `give`, until `done`.

    Attributes:
        tolerance: it is done when the errors of all stretches, each without its sign, sum to at most ``tolerance`` times
            max(|score(1) - score(0)|, 0.1 * sum of |weights|). Errors of opposite sign are not set off against each other.
        most: places that may be asked for; it is done then too, without having converged.
    """

    tolerance: float
    most: int
    _known: dict[float, tuple[float, Float]] = field(default_factory=dict)
    _path: Stretch = field(default_factory=_in_two)
    done: bool = False
    converged: bool = False

    @property
    def spent(self) -> int:
        """Places asked for."""
        return len(self._known)

    @property
    def weights(self) -> Float:
        """The integral, one figure a unit."""
        parts = (self._value(part, BOOLE if part.ripe else SIMPSON) for part in self._path.parts())
        return np.asarray(sum(parts), dtype=np.float64)

    @property
    def error(self) -> float:
        """How far `weights` are from summing to score(1) - score(0), relative to the scale in ``tolerance``."""
        weights = self.weights
        scale = self._scale(weights)
        return abs(float(weights.sum()) - self._rise(self._path)) / scale if scale > 0 else 0.0

    def wanted(self) -> list[float]:
        """Places in [0, 1] whose score and slopes are needed next; none once it is done."""
        if self.done:
            return []
        places = {place for end in self._path.ends() for place in end.places(SIMPSON)}
        return sorted(places - set(self._known))

    def give(self, places: Sequence[float], scores: Sequence[float], slopes: Sequence[Float]) -> None:
        """Take all that was `wanted`; decides whether it is done, and halves stretches if not."""
        self._known.update(zip(places, zip(scores, slopes, strict=True), strict=True))
        parts = list(self._path.parts())
        errors = np.array([self._error(part) for part in parts])
        self.converged = bool(errors.sum() <= self.tolerance * self._scale(self.weights))
        # What is not finite never converges, and asking on would not help.
        self.done = self.converged or self.spent >= self.most or not np.isfinite(errors).all()
        if not self.done:
            for part, error in zip(parts, errors, strict=True):
                if error >= NEAR_WORST * errors.max():
                    self._refine(part)

    def _refine(self, part: Stretch) -> None:
        ends = list(part.ends())
        misses = [abs(self._miss(end, SIMPSON)) for end in ends]
        for end, miss in zip(ends, misses, strict=True):
            if miss >= NEAR_WORST * max(misses):
                end.halve()

    def _error(self, part: Stretch) -> float:
        """Of both rules the worse: by luck, or by symmetry, one of them can be right about a sum."""
        by_ends = sum(abs(self._miss(end, SIMPSON)) for end in part.ends())
        return max(by_ends, abs(self._miss(part, BOOLE))) if part.ripe else by_ends

    def _scale(self, weights: Float) -> float:
        return max(abs(self._rise(self._path)), 0.1 * float(np.abs(weights).sum()))

    def _rise(self, part: Stretch) -> float:
        return self._known[part.high][0] - self._known[part.low][0]

    def _value(self, part: Stretch, rule: Float) -> Float:
        slopes = np.array([self._known[place][1] for place in part.places(rule)])
        return np.asarray((part.high - part.low) * (rule @ slopes), dtype=np.float64)

    def _miss(self, part: Stretch, rule: Float) -> float:
        return float(self._value(part, rule).sum()) - self._rise(part)
