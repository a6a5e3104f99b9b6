"""Canaries: training rows that a coin puts into the training or leaves out, so that the finished model can be asked which way the
coins fell. It draws them and remembers them; it trains nothing, and guesses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from fine_tune.errors import DataError
from fine_tune.privacy.settings import EXAMPLE

if TYPE_CHECKING:
    from fine_tune.data import AuditData
    from fine_tune.recipe import Recipe

FEWEST = 10
# Streams of their own: which rows are drawn, which are flipped, and how the coins fall say nothing about each other.
_ROWS, _FLIPS, _COINS = 2, 3, 4


class Canary(BaseModel):
    """One row with a coin.

    Attributes:
        id: of the row.
        content: sha256 of its input, so that it can be left out of figures on other data.
        label: what it is trained with, or would have been.
        flipped: that is another class than the data says, so that a model can't know it but from this row.
        included: the coin fell on "in": the row was trained on. Otherwise the model has never seen it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    content: str
    label: str
    flipped: bool
    included: bool


def draw_canaries(data: AuditData, rows: Sequence[int], recipe: Recipe) -> tuple[Canary, ...]:
    """Draw `Recipe.canaries` rows, flip the labels of half of them to another class, and toss a fair coin for each.

    Each coin is tossed alone, so the number of rows that are trained on is random too: whether one canary is in says
    nothing of another. This is what the bound of Steinke, Nasr and Jagielski (2023) asks for, and it tests exactly the
    neighbours that the ledger names, add or remove one unit. Under privacy an included canary is a unit like any other
    and counts in N, which stands in the ledger as public; no guess uses it. Where a unit may hold several rows, only units of
    one row are drawn: taking a row from a larger one would change a unit and not remove it.

    The coins come from `Recipe.drawing_seed` and lie in the training record, which the auditor holds. Neither the noise nor
    the order of the rows depends on them. Whoever reads the record knows them, as he knows the other training rows.

    Args:
        data: all rows.
        rows: those that would be trained on, after holdout and validation are set aside.
        recipe: how many, and the seed.

    Raises:
        DataError: too few rows can be canaries, or the labels are no classes.
    """
    if not recipe.canaries:
        return ()
    classes, labels, ids = data.task_labels, data.labels, data.row_ids
    if any(labels[i] not in classes for i in rows):
        raise DataError(
            f"{data.name} has labels that are no single class, and a canary's label could not be flipped",
            expected="one class a row", fix="set canaries: 0 for this task",
        )  # fmt: skip
    fit, contents = _fit(data, rows, recipe), data.content_digests or ids
    if len(fit) < recipe.canaries:
        raise DataError(
            f"{recipe.canaries} canaries were asked for, and {len(fit)} of {len(rows)} training rows can be one",
            expected="rows whose input stands in no other row, and that are alone in their privacy unit",
            fix=f"lower canaries to {len(fit)}" if len(fit) >= FEWEST else "give more rows, or set canaries: 0",
        )  # fmt: skip
    drawn = np.sort(_stream(recipe, _ROWS).choice(len(fit), size=recipe.canaries, replace=False))
    flips = _stream(recipe, _FLIPS)
    flipped = np.zeros(recipe.canaries, dtype=np.bool_)
    flipped[flips.permutation(recipe.canaries)[: recipe.canaries // 2]] = True
    others = flips.integers(1, len(classes), recipe.canaries)
    coins = _stream(recipe, _COINS).integers(0, 2, recipe.canaries)
    out = []
    for k, place in enumerate(fit[j] for j in drawn):
        own = classes.index(str(labels[place]))
        told = classes[(own + int(others[k])) % len(classes)] if flipped[k] else classes[own]
        out.append(
            Canary(
                id=ids[place], content=contents[place], label=told, flipped=bool(flipped[k]), included=bool(coins[k])
            )
        )
    return tuple(out)


def taught(data: AuditData, canaries: Sequence[Canary]) -> AuditData:
    """The data as it is trained on: every canary with the label that it is trained with."""
    if not canaries:
        return data
    told = {canary.id: canary.label for canary in canaries}
    labels = [told.get(row, label) for row, label in zip(data.row_ids, data.labels, strict=True)]
    return replace(data, columns={**data.columns, "label": labels})


def without_canaries(data: AuditData, canaries: Sequence[Canary]) -> AuditData:
    """The rows whose input is no canary's: what a model may be judged on.

    Raises:
        DataError: no row is left.
    """
    contents = data.content_digests
    if not canaries or contents is None:
        return data
    planted = {canary.content for canary in canaries}
    kept = [i for i, content in enumerate(contents) if content not in planted]
    if not kept:
        raise DataError(
            f"every row of {data.name} is a canary of this training", expected="rows that were not drawn as canaries",
            fix="examine the model on other data",
        )  # fmt: skip
    return data if len(kept) == len(contents) else data.select(kept)


def _fit(data: AuditData, rows: Sequence[int], recipe: Recipe) -> list[int]:
    """Rows that can be canaries: whose input the model can't meet elsewhere, and that are a privacy unit alone."""
    contents = data.content_digests or data.row_ids
    times = Counter(contents)
    once = [i for i in rows if times[contents[i]] == 1]
    units = _units(data, recipe)
    if units is None:
        return once
    sizes = Counter(units[i] for i in rows)
    return [i for i in once if units[i] is not None and sizes[units[i]] == 1]


def _units(data: AuditData, recipe: Recipe) -> list[str | None] | None:
    """Whose row each is, where privacy protects more than a row; None otherwise, and where no column says so."""
    if recipe.privacy is None or recipe.privacy.unit == EXAMPLE:
        return None
    unit = recipe.privacy.unit
    if unit == "cluster":
        return None if data.clusters is None else list(data.clusters)
    return data.group(unit) if unit in data.features else None


def _stream(recipe: Recipe, purpose: int) -> np.random.Generator:
    return np.random.default_rng([recipe.drawing_seed, purpose])
