"""Training rows weighted or drawn by the groups of people that they are about: reweighing, and draws in which every group
comes up equally often. It looks at the rows that are trained on alone, and refuses groups that neither can help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fine_tune.data import AuditData
from fine_tune.errors import DataError
from fine_tune.recipe import BalanceNote, GroupCell, GroupDraws

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GroupedRows:
    """The groups of some rows.

    Attributes:
        codes: group of each row, shape (N,); -1 where a feature is missing.
        names: each group's value in every feature, sorted; length G, two or more.
    """

    codes: Int
    names: tuple[tuple[str, ...], ...]

    @property
    def ungrouped(self) -> int:
        """Rows without a group."""
        return int(np.count_nonzero(self.codes < 0))


def group_rows(data: AuditData, rows: Sequence[int], features: Sequence[str], option: str) -> GroupedRows:
    """The groups that ``rows`` fall into, by one feature or several crossed.

    Args:
        data: where the features are.
        rows: row numbers, those that are trained on.
        features: one or more names.
        option: the recipe's option, for messages.

    Raises:
        DataError: a feature is none of the data's, or the rows are all of one group.
    """
    unknown = [f for f in features if f not in data.features]
    if unknown:
        raise DataError(
            f"{option} names {', '.join(map(repr, unknown))}, and the sensitive features of {data.name} are "
            f"{', '.join(map(repr, data.features)) or 'none'}",
            expected="features that the training data names under `groups`",
            fix=f"add {', '.join(unknown)} to data.train's groups, or correct {option}",
        )
    columns = [data.group(f) for f in features]
    found: list[tuple[str, ...] | None] = []
    for i in rows:
        values = [column[i] for column in columns]
        found.append(None if any(v is None for v in values) else tuple(str(v) for v in values))
    names = tuple(sorted({name for name in found if name is not None}))
    if len(names) < 2:
        raise DataError(
            f"{option} by {' × '.join(features)}: the training rows of {data.name} fall into {len(names)} group",
            expected="two groups or more",
            fix=f"leave {option} out, or name another feature",
        )
    code = {name: g for g, name in enumerate(names)}
    codes = np.array([-1 if name is None else code[name] for name in found], dtype=np.int64)
    return GroupedRows(codes=codes, names=names)


def reweighing(grouped: GroupedRows, labels: Sequence[str], own: Float) -> tuple[Float, tuple[GroupCell, ...]]:
    """Weights that make group and label independent: W(g, y) = P(g) P(y) / P(g, y) (Kamiran and Calders 2012).

    Shares are of the rows with a group, each counted as ``own`` says, so that the products with those weights are
    independent. A row without a group has the weight 1.

    Args:
        grouped: of N rows.
        labels: of the same rows.
        own: what each row counts otherwise, shape (N,).

    Returns:
        one weight a row, and one cell for each group and label.

    Raises:
        DataError: a group has no row of some label, which no weight can make up for.
    """
    classes = sorted(set(labels))
    place = {name: k for k, name in enumerate(classes)}
    truth = np.array([place[label] for label in labels], dtype=np.int64)
    inside = grouped.codes >= 0
    groups, kinds = len(grouped.names), len(classes)
    joint = grouped.codes[inside] * kinds + truth[inside]
    rows = np.bincount(joint, minlength=groups * kinds).reshape(groups, kinds)
    mass = np.bincount(joint, weights=own[inside], minlength=groups * kinds).reshape(groups, kinds)
    empty = [f"{' × '.join(grouped.names[g])} with {classes[k]}" for g, k in np.argwhere(mass <= 0).tolist()]
    if empty:
        raise DataError(
            f"reweigh: no training row counts for {', '.join(empty[:4])}{' and others' if len(empty) > 4 else ''}",
            expected="rows of every label in every group; no weight makes up for rows that are not there",
            fix="name fewer features, merge small groups, or leave reweigh out",
        )
    table = mass.sum(axis=1, keepdims=True) * mass.sum(axis=0, keepdims=True) / (mass.sum() * mass)
    weights = np.ones(len(labels))
    weights[inside] = table.reshape(-1)[joint]
    cells = tuple(
        GroupCell(group=grouped.names[g], label=classes[k], rows=int(rows[g, k]), weight=float(table[g, k]))
        for g in range(groups)
        for k in range(kinds)
    )
    return weights, cells


@dataclass(frozen=True, kw_only=True)
class BalancedDraws:
    """Passes over the training rows in which every group comes up equally often.

    A pass has as many draws as there are rows. Rows without a group are drawn once; the other draws are shared out evenly
    over groups, and those of one group evenly over its rows: each comes up m or m + 1 times, m possibly 0. Which ones
    come up once more is drawn anew in each pass.
    """

    grouped: GroupedRows

    def __len__(self) -> int:
        return len(self.grouped.codes)

    def order(self, seed: int) -> list[int]:
        """Positions of one pass, in random order; the same for the same seed."""
        rng = np.random.default_rng(seed)
        codes, count = self.grouped.codes, len(self.grouped.names)
        drawn = [np.flatnonzero(codes < 0)]
        each, over = divmod(len(self) - len(drawn[0]), count)
        share = np.full(count, each)
        share[rng.choice(count, size=over, replace=False)] += 1
        for g in range(count):
            rows = np.flatnonzero(codes == g)
            whole, part = divmod(int(share[g]), len(rows))
            drawn += [np.repeat(rows, whole), rng.choice(rows, size=part, replace=False)]
        order = np.concatenate(drawn)
        rng.shuffle(order)
        return [int(i) for i in order]

    def note(self, features: Sequence[str]) -> BalanceNote:
        """For the record."""
        sizes = np.bincount(self.grouped.codes[self.grouped.codes >= 0], minlength=len(self.grouped.names))
        draws = float(sizes.sum()) / len(sizes)
        groups = tuple(
            GroupDraws(group=name, rows=int(n), draws=draws) for name, n in zip(self.grouped.names, sizes, strict=True)
        )
        return BalanceNote(features=tuple(features), groups=groups, ungrouped=self.grouped.ungrouped)
