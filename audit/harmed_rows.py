"""Rows that a newer run gets wrong and an older one got right: counted, and named by their ids.

It reads the predictions that both bundles keep, and no text. Rows without a label, or in one run alone, are counted and
left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.pairing import Incomparable, Pairs, Run, pair
from fine_tune.predictions import GROUP, MISSING, feature_names
from probes.evidence import Message, message
from reports.comparison import GroupRows, HarmedRows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_NEEDED = ("row_id", "label", "prediction")


def harmed_rows(before: Run, after: Run) -> tuple[HarmedRows | None, Message | None]:
    """What became of the rows that both runs predicted, or why that cannot be said."""
    older, newer = before.record.predictions, after.record.predictions
    if older is None or newer is None:
        return None, message("Not both runs keep their predictions.")
    then, now = before.rows_of(older), after.rows_of(newer)
    if not set(_NEEDED) <= set(then.column_names) & set(now.column_names):
        return None, message("The predictions of this task are not right or wrong by a label.")
    try:
        pairs = pair(now, then)
    except Incomparable as error:
        return None, message("Rows cannot be paired: {why}.", why=error.reason)
    if not len(pairs):
        return None, message("The two runs have no rows in common.")
    if len(pairs.first) != len(pairs.second):
        return None, message("Rows cannot be paired: an id names several rows of predictions.")
    return _counted(then, now, pairs), None


def _counted(then: pa.Table, now: pa.Table, pairs: Pairs) -> HarmedRows | None:
    import numpy as np

    mine, theirs = now.take(pairs.first), then.take(pairs.second)
    labels = np.asarray(mine["label"].to_pylist(), dtype=object)
    known = np.asarray([label is not None for label in labels], dtype=bool)
    right_now = labels == np.asarray(mine["prediction"].to_pylist(), dtype=object)
    right_then = labels == np.asarray(theirs["prediction"].to_pylist(), dtype=object)
    harmed, mended = known & right_then & ~right_now, known & ~right_then & right_now
    names = _names(mine)
    return HarmedRows(
        rows_before=then.num_rows,
        rows_after=now.num_rows,
        common=len(pairs),
        labelled=int(known.sum()),
        paired_by=pairs.by,
        right_twice=int((known & right_then & right_now).sum()),
        wrong_twice=int((known & ~right_then & ~right_now).sum()),
        mended=int(mended.sum()),
        harmed=tuple(names[i] for i in np.flatnonzero(harmed)),
        groups=tuple(_groups(mine, known, harmed, mended)),
    )


def _names(rows: pa.Table) -> list[str]:
    """Ids, with the unit's number where a row has several units."""
    ids = [str(i) for i in rows["row_id"].to_pylist()]
    if "unit_id" not in rows.column_names or len(set(ids)) == len(ids):
        return ids
    return [f"{i}:{unit}" for i, unit in zip(ids, rows["unit_id"].to_pylist(), strict=True)]


def _groups(
    rows: pa.Table, known: npt.NDArray[np.bool_], harmed: npt.NDArray[np.bool_], mended: npt.NDArray[np.bool_]
) -> list[GroupRows]:
    import numpy as np

    out = []
    for feature in feature_names(rows):
        values = np.asarray([MISSING if v is None else str(v) for v in rows[f"{GROUP}{feature}"].to_pylist()])
        for value in np.unique(values):
            inside = known & (values == value)
            out.append(
                GroupRows(
                    feature=feature,
                    value=str(value),
                    rows=int(inside.sum()),
                    harmed=int((inside & harmed).sum()),
                    mended=int((inside & mended).sum()),
                )
            )
    return out
