"""How the rows of one group are decided by their score: one threshold, or a lot between two. It fits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.intervals import Float


@dataclass(frozen=True, kw_only=True)
class ThresholdRule:
    """The chance that a row is given the positive label, by its score s:

        (1 - ignore) * (share * [s > threshold] + (1 - share) * [s > other]) + ignore * constant

    Attributes:
        threshold, other: in [-inf, inf]; infinite ones give the label to nobody, or to everybody.
        share: chance that ``threshold`` is used and not ``other``; 1 where there is one threshold.
        ignore: chance that the score is not looked at.
        constant: chance of the positive label where it is not.
    """

    threshold: float
    other: float
    share: float = 1.0
    ignore: float = 0.0
    constant: float = 0.0

    @classmethod
    def fixed(cls, threshold: float) -> ThresholdRule:
        """One threshold, nothing left to a lot."""
        return cls(threshold=threshold, other=threshold)

    @property
    def by_lot(self) -> bool:
        """Whether two rows with the same score may be decided otherwise."""
        return self.ignore > 0 or (0 < self.share < 1 and self.threshold != self.other)

    def chances(self, scores: Float) -> Float:
        """The chance of the positive label for each score, in [0, 1]."""
        above = self.share * (scores > self.threshold) + (1 - self.share) * (scores > self.other)
        return (1 - self.ignore) * above + self.ignore * self.constant

    def encode(self) -> list[float | str]:
        """As JSON values; infinite thresholds become words, which JSON has no numbers for."""
        values = (self.threshold, self.other, self.share, self.ignore, self.constant)
        return [float(v) if np.isfinite(v) else str(float(v)) for v in values]

    @classmethod
    def decode(cls, values: Sequence[float | str]) -> ThresholdRule:
        """Back from `encode`."""
        threshold, other, share, ignore, constant = (float(v) for v in values)
        return cls(threshold=threshold, other=other, share=share, ignore=ignore, constant=constant)
