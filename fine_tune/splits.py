"""Which rows are trained on, which validate, which are kept away from both and which are canaries, and what each row counts. It draws
by seed alone, never drops a row unsaid, and never lets a cluster be in training and validation at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fine_tune.canaries import Canary, draw_canaries, taught
from fine_tune.data import AuditData
from fine_tune.errors import DataError, RecipeError
from fine_tune.group_balance import BalancedDraws, group_rows, reweighing
from fine_tune.recipe import GroupCell, Recipe, WeightNote

# Keeps the draw of the held-out rows apart from the validation split's, which uses the bare seed.
_HOLDOUT_STREAM = 1


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row numbers of the three parts, each ascending; together they are every row once, but for canaries.

    Attributes:
        training: everything that is trained on, the included canaries among it.
        canaries: the drawn ones; those whose coin left them out are in no part.
    """

    training: list[int]
    validation: list[int]
    holdout: list[int]
    canaries: tuple[Canary, ...] = ()


def training_classes(data: AuditData) -> tuple[str, ...]:
    """The classes in the order of the outputs.

    Raises:
        DataError: no inputs, rows without a label, or a single class.
    """
    if not data.has_inputs:
        raise DataError(f"{data.name} has no inputs to train on", expected="data whose `input` names a column")
    data.require_labels()
    bare = [data.row_ids[i] for i, label in enumerate(data.labels) if label is None]
    if bare:
        raise DataError(
            f"{len(bare)} rows of {data.name} have no label, such as row {bare[0]}",
            expected="a label in every row that is trained on",
            fix="remove these rows",
        )
    return data.task_labels


def split_rows(data: AuditData, recipe: Recipe) -> Split:
    """Draw the parts: first the rows that nothing may see, one by one; then validation, cluster by cluster; then canaries.

    Raises:
        DataError: too few rows or clusters, or the rows left for training are all of one class.
    """
    holdout: list[int] = []
    if recipe.holdout > 0:
        count = max(1, round(recipe.holdout * len(data)))
        drawn = np.random.default_rng([recipe.drawing_seed, _HOLDOUT_STREAM]).choice(
            len(data), size=count, replace=False
        )
        holdout = sorted(int(i) for i in drawn)
    away = set(holdout)
    rest = [i for i in range(len(data)) if i not in away]
    validation = _validation(data, rest, recipe) if recipe.held_out > 0 else []
    seen = set(validation)
    training = [i for i in rest if i not in seen]
    canaries = draw_canaries(data, training, recipe)
    left_out = {canary.id for canary in canaries if not canary.included}
    ids, labels = data.row_ids, taught(data, canaries).labels
    training = [i for i in training if ids[i] not in left_out]
    if len({labels[i] for i in training}) < 2:
        raise DataError(
            f"the {len(training)} rows left for training are all of one class",
            expected="at least two classes after validation, holdout and canaries are set aside",
            fix="give more rows, or lower validation_share, holdout or canaries",
        )
    return Split(training=training, validation=validation, holdout=holdout, canaries=canaries)


def _validation(data: AuditData, rows: Sequence[int], recipe: Recipe) -> list[int]:
    units = np.array(data.clusters if data.clusters is not None else data.row_ids, dtype=object)[list(rows)].astype(str)
    names, counts = np.unique(units, return_counts=True)
    sizes = dict(zip(names, counts, strict=True))
    wanted = max(1, round(recipe.held_out * len(rows)))
    held: set[str] = set()
    count = 0
    for name in np.random.default_rng(recipe.drawing_seed).permutation(names):
        if count >= wanted:
            break
        held.add(name)
        count += int(sizes[name])
    if len(held) == len(names):
        raise DataError(
            f"{data.name} has {len(names)} clusters, too few to hold any out", expected="several clusters",
            fix="set validation_share: 0 and no early stopping, or drop the cluster role",
        )  # fmt: skip
    return [i for i, unit in zip(rows, units, strict=True) if unit in held]


def row_weights(data: AuditData, rows: Sequence[int], recipe: Recipe) -> tuple[list[float], WeightNote] | None:
    """What each of the training ``rows`` counts, with a mean of one; None where all count alike.

    Raises:
        RecipeError: ``class_weights`` does not name the classes.
        DataError: every row has the weight zero, or reweighing cannot be done.
    """
    labels = [str(data.labels[i]) for i in rows]
    by_class = _class_weights(labels, data.task_labels, recipe)
    own = data.weights if recipe.sample_weights else None
    if not by_class and own is None and not recipe.reweigh:
        return None
    raw = np.array([by_class.get(label, 1.0) for label in labels], dtype=np.float64)
    counted = np.ones(len(rows)) if own is None else np.array([own[i] for i in rows], dtype=np.float64)
    raw *= counted
    cells: tuple[GroupCell, ...] = ()
    ungrouped = 0
    if recipe.reweigh and raw.any():
        grouped = group_rows(data, rows, recipe.reweigh, "reweigh")
        factors, cells = reweighing(grouped, labels, counted)
        ungrouped = grouped.ungrouped
        raw *= factors
    total = float(raw.sum())
    if total <= 0:
        raise DataError(
            f"every training row of {data.name} has the weight 0", expected="some weights above 0",
            fix="correct the weight column, or set sample_weights: false",
        )  # fmt: skip
    effective = total**2 / float((raw**2).sum())
    note = WeightNote(
        classes=by_class, by_row=own is not None, effective_rows=effective, cells=cells, ungrouped=ungrouped
    )
    return (raw * (len(raw) / total)).tolist(), note


def balanced_draws(data: AuditData, rows: Sequence[int], recipe: Recipe) -> BalancedDraws | None:
    """How the training ``rows`` are drawn under `Recipe.balance`; None where each is drawn once a pass.

    Raises:
        DataError: a feature is none of the data's, or the rows are all of one group.
    """
    if not recipe.balance:
        return None
    return BalancedDraws(grouped=group_rows(data, rows, recipe.balance, "balance"))


def _class_weights(labels: Sequence[str], classes: tuple[str, ...], recipe: Recipe) -> dict[str, float]:
    if recipe.class_weights is None:
        return {}
    if recipe.class_weights == "balanced":
        counts = Counter(labels)
        return {name: len(labels) / (len(counts) * counts[name]) for name in classes if counts[name]}
    given = dict(recipe.class_weights)
    if set(given) != set(classes):
        raise RecipeError(
            f"class_weights names {', '.join(given) or 'no class'}",
            expected=f"one weight for each of {', '.join(classes)}",
        )
    return {name: given[name] for name in classes}
