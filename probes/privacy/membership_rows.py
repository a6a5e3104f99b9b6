"""Which rows a membership test may compare: those that chance alone put into the training rows or out of them. It reads records and
draws samples; it asks no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from probes.errors import Unavailable

if TYPE_CHECKING:
    from fine_tune.data import AuditData
    from fine_tune.recipe import TrainingRecord
    from probes.probe import Context
    from probes.subject import Subject

Source = Literal["holdout", "audit"]


@dataclass(frozen=True, kw_only=True)
class Told:
    """Rows of one kind, drawn.

    Attributes:
        data: where they stand.
        places: row numbers there.
        there: how many there were to draw from.
        repeated, apart: how many could not be used: because their input stands in several rows, or because their cluster
            went to validation as a whole.
    """

    data: AuditData
    places: list[int]
    there: int
    repeated: int = 0
    apart: int = 0

    @property
    def rows(self) -> AuditData:
        """The drawn rows."""
        return self.data.select(self.places)


@dataclass(frozen=True, kw_only=True)
class Material:
    """Members and non-members of one training, and all that it was given."""

    source: Source
    record: TrainingRecord
    given: AuditData
    members: Told
    others: Told
    features: tuple[str, ...] = field(default=())

    def columns(self) -> dict[str, list[Any]]:
        """row_id, member, label, cluster and one column a feature, members first; clusters are None where there are none."""
        out: dict[str, list[Any]] = {"row_id": [], "member": [], "label": [], "cluster": []}
        out |= {f"group_{name}": [] for name in self.features}
        for told, member in ((self.members, True), (self.others, False)):
            rows = told.rows
            out["row_id"] += rows.row_ids
            out["member"] += [member] * len(rows)
            out["label"] += rows.labels
            out["cluster"] += rows.clusters if rows.clusters is not None else [None] * len(rows)
            for name in self.features:
                out[f"group_{name}"] += rows.group(name)
        return out

    @property
    def inputs(self) -> list[Any]:
        """What the model reads, in the order of `columns`."""
        return [*self.members.rows.inputs, *self.others.rows.inputs]

    def pool(self) -> AuditData:
        """Training and holdout rows together: what shadow models are trained on halves of."""
        wanted = {*self.record.training_ids, *self.record.holdout_ids}
        return self.given.select(i for i, row in enumerate(self.given.row_ids) if row in wanted)


def material(subject: Subject, source: Source, most: tuple[int, int], ctx: Context) -> Material:
    """Members and non-members, at most so many of each, drawn at random.

    Against the holdout, rows of both kinds are left out alike where chance did not decide: inputs that stand in several rows
    of the data, since the model may have seen a row that was kept out; and holdout rows whose cluster went to validation as a
    whole, since no training row can be like them. Canaries are on neither side.

    Raises:
        Unavailable: the training rows are not at hand, no rows were kept out, or none of one kind is left.
    """
    given = cast("AuditData | None", getattr(subject, "training_source", None))
    record = cast("TrainingRecord | None", getattr(getattr(subject, "checkpoint", None), "training_record", None))
    if given is None or record is None:
        raise Unavailable("the training rows are not at hand", fix="name them under data.train of the plan")
    members, others = _of_holdout(given, record) if source == "holdout" else _of_audit(given, record, subject.data)
    features = tuple(name for name in given.features if name in others.data.features)
    drawn = []
    for told, number, purpose in ((members, most[0], "members"), (others, most[1], "non-members")):
        if not told.places:
            raise Unavailable(f"no row is left among the {purpose}", fix="keep more rows out of training")
        drawn.append(_draw(told, number, ctx.rng(purpose)))
    return Material(
        source=source, record=record, given=given, members=drawn[0], others=drawn[1], features=features
    )  # fmt: skip


def _of_holdout(given: AuditData, record: TrainingRecord) -> tuple[Told, Told]:
    if not record.holdout_ids:
        raise Unavailable(
            "the training kept no random rows out, and other rows may differ from its own for reasons besides membership",
            expected="a recipe with holdout above 0",
            fix="train with holdout: 0.1, or set nonmembers: audit for figures that are advisory",
        )
    trained, away = _places(given, record.training_ids), _places(given, record.holdout_ids)
    contents = given.content_digests or given.row_ids
    times = Counter(contents)
    clusters = given.clusters
    taken = set[str | None]()
    if clusters is not None:
        taken = {clusters[i] for i in _places(given, record.validation_ids)}

    def told(places: Sequence[int]) -> Told:
        together = [i for i in places if clusters is None or clusters[i] is None or clusters[i] not in taken]
        once = [i for i in together if times[contents[i]] == 1]
        return Told(
            data=given, places=once, there=len(places), repeated=len(together) - len(once),
            apart=len(places) - len(together),
        )  # fmt: skip

    return told(trained), told(away)


def _of_audit(given: AuditData, record: TrainingRecord, audited: AuditData) -> tuple[Told, Told]:
    seen = set(given.content_digests or ())
    contents = audited.content_digests or []
    if not audited.has_inputs:
        raise Unavailable("the audit data has no inputs", fix="name the column under `input`")
    labelled = [i for i, label in enumerate(audited.labels) if label is not None]
    new = [i for i in labelled if contents[i] not in seen]
    trained = _places(given, record.training_ids)
    return Told(data=given, places=trained, there=len(trained)), Told(
        data=audited, places=new, there=len(labelled), repeated=len(labelled) - len(new)
    )


def _places(data: AuditData, ids: Iterable[str]) -> list[int]:
    where = {row: i for i, row in enumerate(data.row_ids)}
    return [where[row] for row in ids]


def _draw(told: Told, most: int, rng: np.random.Generator) -> Told:
    if len(told.places) <= most:
        return told
    chosen = sorted(int(i) for i in rng.choice(len(told.places), size=most, replace=False))
    return Told(
        data=told.data, places=[told.places[i] for i in chosen], there=told.there, repeated=told.repeated, apart=told.apart
    )  # fmt: skip
