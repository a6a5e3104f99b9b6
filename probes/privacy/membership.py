"""Can rows that a model was trained on be told from rows that it has never seen? It attacks the model as it stands, sets its finding
beside chance, and turns none of it into an epsilon.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from probes.errors import ProbeError, Unavailable
from probes.evidence import Need, Reading, message
from probes.privacy.lira import confidence
from probes.privacy.membership_definitions import DEFINES
from probes.privacy.membership_reading import KEY, read
from probes.privacy.membership_rows import Material, Source, Told, material
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.privacy.shadow import Shadows
    from probes.probe import Context
    from probes.subject import Subject

Deep = Literal["none", "lira", "rmia", "both"]
FEWEST_SHADOWS = 4


@probe(
    "privacy.membership",
    needs={Need.QUERIES, Need.TRAINING_DATA, Need.TRAINING_RECORD},
    defines=DEFINES,
    limits=(
        message(
            "These attacks are a lower view of what leaks: a stronger attack may find more. Chance level does not show privacy, and "
            "no figure here is a bound on epsilon."
        ),
        message(
            "An average hides single rows: a few may be found with near certainty where the AUC is close to one half."
        ),
        message(
            "Share of rows found at a small false positive rate: the interval takes the threshold as given, and the threshold was "
            "chosen from the non-members that are there."
        ),
        message(
            "Membership is that of a single row. Whether a person is in the data, with other rows than these, is not asked."
        ),
        message(
            "With nonmembers: audit the two sides may differ for reasons besides training, such as their time or source; such "
            "figures are advisory and have names of their own."
        ),
    ),
    method=message(
        "The loss attack ranks rows by the model's loss on the true label (Yeom et al. 2018). AUC has DeLong's interval on the logit "
        "scale; shares found at a false positive rate have Clopper and Pearson's, over members; clusters are allowed for. LiRA fits "
        "a normal to the logit-scaled confidences of shadow models with and without each row, RMIA compares each row's likelihood "
        "ratio with those of rows kept out. The largest gap between groups has a simultaneous low end and an intersection-union high "
        "end; claims about single groups pay for their number by Holm's correction."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Membership:
    """Can the rows that the model was trained on be told from rows that it has never seen, and whose are found most?

    Members are rows that moved the weights; non-members are rows that the recipe kept out of the same source at random.
    """

    nonmembers: Source = field(
        default="holdout",
        metadata={
            "help": "holdout: rows that the recipe kept out at random. audit: rows of the audit data; figures are advisory then."
        },
    )
    members: int = field(default=5000, metadata={"help": "Training rows to ask about at most, drawn at random."})
    nonmember_rows: int = field(default=10000, metadata={"help": "Non-members to ask about at most, drawn at random."})
    min_group: int = field(
        default=20, metadata={"help": "Groups with fewer members or non-members are listed, and not measured."}
    )
    deep: Deep = field(
        default="none",
        metadata={"help": "lira, rmia or both: attack with shadow models too, each of which is a training of its own."},
    )
    shadow_models: int = field(
        default=16, metadata={"help": "Shadow models of a deep attack, an even number of 4 or more."}
    )
    gamma: float = field(
        default=1.0, metadata={"help": "RMIA: how many times a row must beat another to count, 1 or more."}
    )
    offset: float = field(
        default=0.3, metadata={"help": "RMIA, offline: the paper's a, from 0 to 1; 0.3 is its authors' value."}
    )

    def __post_init__(self) -> None:
        for name in ("members", "nonmember_rows", "min_group"):
            if getattr(self, name) < 2:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected="at least 2")
        if self.shadow_models < FEWEST_SHADOWS or self.shadow_models % 2:
            raise ProbeError(
                f"shadow_models is {self.shadow_models}", expected=f"an even number of {FEWEST_SHADOWS} or more"
            )
        if not self.gamma >= 1:
            raise ProbeError(f"gamma is {self.gamma}", expected="1 or more")
        if not 0 <= self.offset <= 1:
            raise ProbeError(f"offset is {self.offset}", expected="a number from 0 to 1")
        if self.deep != "none" and self.nonmembers != "holdout":
            raise ProbeError(
                f"deep: {self.deep} was asked for with nonmembers: {self.nonmembers}",
                expected="nonmembers: holdout, since shadow models are trained on random halves of both kinds of row",
            )

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row a member or non-member: row_id, member, label, cluster, groups, loss, score; of a deep attack also what each
        shadow model said (``shadow_scores``) and whether it was trained on the row (``shadow_members``).

        Raises:
            Unavailable: training rows or a random holdout are missing, an input has several answers, or shadow models cannot be
                trained here.
        """
        found = material(subject, self.nonmembers, (self.members, self.nonmember_rows), ctx)
        columns = found.columns()
        code = {name: k for k, name in enumerate(subject.classes)}
        unknown = next((label for label in columns["label"] if label not in code), None)
        if unknown is not None:
            raise Unavailable(f"a row is labelled {unknown!r}, which is no class of the model")
        labels = np.array([code[label] for label in columns["label"]], dtype=np.int64)
        inputs = found.inputs
        score = confidence(_probabilities(subject, inputs, ctx), labels)
        columns["score"], columns["loss"] = score.tolist(), np.logaddexp(0.0, -score).tolist()
        facts = _facts(found, self)
        if self.deep != "none":
            from probes.privacy.shadow import Asked, train_shadows

            opened = getattr(subject, "checkpoint", None)
            if found.record.recipe.trust_remote_code and not getattr(opened, "trust_remote_code", False):
                raise Unavailable(
                    "the training record says to run code that comes with the base model, and a record is no permission",
                    fix="read that code; if you trust it, set subject.trust_remote_code in the plan, or set deep: none",
                )
            asked = Asked(ids=columns["row_id"], inputs=inputs, labels=labels, classes=subject.classes)
            shadows = train_shadows(self.shadow_models, found.pool(), found.record, asked, ctx)
            facts |= _shadow_facts(shadows, found)
            columns["shadow_scores"] = shadows.confidences.T.tolist()
            columns["shadow_members"] = shadows.inside.T.tolist()
        return _table(columns, facts)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """AUC and shares found, of every attack; AUC by group; curves and tables."""
        return read(rows, ctx.level, min_group=self.min_group, gamma=self.gamma, offset=self.offset)


def _probabilities(subject: Subject, inputs: list[Any], ctx: Context) -> np.ndarray[Any, np.dtype[np.float64]]:
    from fine_tune.errors import DataError

    try:
        scores = np.asarray(subject.predict(inputs, ctx), dtype=np.float64)
    except DataError as error:
        raise Unavailable(
            f"the model gives no single answer an input ({subject.task}): {error.seen}",
            fix="membership needs one label an input",
        ) from error
    if scores.shape[1] < 2:
        raise Unavailable(f"the model has {scores.shape[1]} class", expected="at least two")
    return scores


def _facts(found: Material, asked: Membership) -> dict[str, Any]:
    """What a reader needs besides the rows."""

    def told(one: Told) -> dict[str, Any]:
        return {"name": one.data.name, "there": one.there, "repeated": one.repeated, "apart": one.apart}

    return {
        "source": found.source, "members": told(found.members), "others": told(found.others),
        "features": list(found.features), "deep": asked.deep, "private": found.record.recipe.privacy is not None,
    }  # fmt: skip


def _shadow_facts(shadows: Shadows, found: Material) -> dict[str, Any]:
    return {
        "models": len(shadows.rows), "fewest_rows": min(shadows.rows), "most_rows": max(shadows.rows),
        "trained_rows": len(found.record.training_ids),
    }  # fmt: skip


def _table(columns: dict[str, Any], facts: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    kinds: dict[str, pa.DataType] = {
        "member": pa.bool_(), "score": pa.float64(), "loss": pa.float64(), "shadow_scores": pa.list_(pa.float64()),
        "shadow_members": pa.list_(pa.bool_()),
    }  # fmt: skip
    fields = [(name, kinds.get(name, pa.string())) for name in columns]
    schema = pa.schema(fields, metadata={KEY: json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()})
    return pa.table([pa.array(columns[name], type=kind) for name, kind in fields], schema=schema)
