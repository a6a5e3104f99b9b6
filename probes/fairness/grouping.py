"""One sensitive feature, or an intersection of several: its groups, and their rates as counts.

It sorts rows into groups, sets small groups aside and counts rates. It compares no groups (`gap_measures` does), chooses no
positive class and reads no tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probes.answers import Answers
from probes.evidence import Counts, Message, Slice, feature_axes, group_axes, message
from probes.intervals import Bool, Int
from probes.rates import Proportions, Rate, count_rate


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """The groups of one feature or intersection.

    Attributes:
        features: the feature's name, or the intersection's names.
        names: each group's value in every feature, sorted; length G.
        codes: group of each row, -1 where some feature is missing.
        sizes: rows a group, shape (G,).
        enough: groups of at least the probe's ``min_group`` rows, shape (G,).
        min_group: that size.
    """

    features: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    codes: Int
    sizes: Int
    enough: Bool
    min_group: int

    def __len__(self) -> int:
        return len(self.names)

    @property
    def title(self) -> str:
        return " × ".join(self.features)

    @property
    def missing(self) -> int:
        """Rows without a group."""
        return int(np.count_nonzero(self.codes < 0))

    def label(self, g: int) -> str:
        return " × ".join(self.names[g])

    def at(self, g: int) -> Slice:
        return group_axes(dict(zip(self.features, self.names[g], strict=True)))

    def too_small(self, g: int) -> Message | None:
        """Why a group is not shown as a rate, or None where it is."""
        if self.enough[g]:
            return None
        return message(
            "The group has {rows} rows, fewer than the {least} that are shown as a rate.",
            rows=int(self.sizes[g]),
            least=self.min_group,
        )

    def counts(self, rates: Proportions, g: int) -> Counts:
        """What one group's rate rests on."""
        n = int(rates.denominators[g])
        clusters = None if rates.clusters is None else int(rates.clusters[g])
        return Counts(n=int(self.sizes[g]), denominator=n, smallest=n, clusters=clusters)

    @property
    def here(self) -> Slice:
        return feature_axes(*self.features)


def group(features: tuple[str, ...], columns: Sequence[tuple[Int, tuple[str, ...]]], min_group: int) -> Grouping:
    """The groups that occur in the rows, from each feature's codes and names."""
    joint = columns[0][0].copy()
    missing = joint < 0
    for codes, names in columns[1:]:
        joint = joint * max(len(names), 1) + codes
        missing |= codes < 0
    kept, codes = np.unique(joint[~missing], return_inverse=True)
    out = np.full(len(joint), -1, dtype=np.int64)
    out[~missing] = codes
    found = []
    for value in kept.tolist():
        parts: list[str] = []
        rest = value
        for _, names in reversed(columns):
            rest, last = divmod(rest, max(len(names), 1))
            parts.insert(0, names[last])
        found.append(tuple(parts))
    sizes = np.bincount(codes, minlength=len(kept))
    return Grouping(
        features=features,
        names=tuple(found),
        codes=out,
        sizes=sizes,
        enough=sizes >= min_group,
        min_group=min_group,
    )


def count_rates(grouping: Grouping, answers: Answers, positive: int) -> dict[str, Rate]:
    """The rates of every group, one class against the rest; accuracy is over all classes."""
    codes, size, clusters = grouping.codes, len(grouping), answers.clusters
    chosen, truly, known = answers.predictions == positive, answers.labels == positive, answers.labelled

    def rate(inside: Bool, success: Bool) -> Rate:
        return count_rate(np.where(inside, codes, -1), size, success, clusters)

    recall, wrongly = rate(truly, chosen), rate(known & ~truly, chosen)
    return {
        "selection_rate": rate(np.ones(len(codes), dtype=bool), chosen),
        "recall": recall,
        "false_negative_rate": recall.complement(),
        "false_positive_rate": wrongly,
        "true_negative_rate": wrongly.complement(),
        "precision": rate(known & chosen, truly),
        "accuracy": rate(known, answers.labels == answers.predictions),
    }
