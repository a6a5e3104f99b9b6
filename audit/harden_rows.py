"""From a finished run's attacks and noise to training rows: which changed texts there are, which of them may be trained on, and
which rows are left to judge with.

What was attacked is the data that the model is audited on, so training on it would spoil the audit. Therefore the audited
rows are split in two before anything is looked at: variants of one half are trained on, and both models are judged on the
other. It trains nothing and judges nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from audit.errors import HardenError
from fine_tune.data import AuditData, Roles, content_digest
from probes.evidence import Message, message

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from reports.bundle import Bundle
    from reports.record import AuditRecord

ATTACK, NOISE = "robustness.attack", "robustness.noise"


Noise = Literal["all", "flipped"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A changed text to learn from.

    Attributes:
        instance: the probe instance that found it.
        row_id: of the audited row.
        text: with the change.
        label: of the audited row; the change is taken to keep it.
    """

    instance: str
    row_id: str
    text: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Positions of the audited rows, ascending: those whose variants may be trained on, and those to judge with."""

    trained: tuple[int, ...]
    judged: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Added:
    """What is added to the training data.

    Attributes:
        data: inputs, labels and ids.
        units: of each row, the unit of its audited row; variants of one unit stay together.
        rows: audited rows that have a variant among them.
        sources: rows by the probe instance that found them.
        notes: what was found, kept and left out, for people.
    """

    data: AuditData
    units: tuple[str, ...]
    rows: int
    sources: dict[str, int]
    notes: tuple[Message, ...]


def variants_of(bundle: Bundle, record: AuditRecord, noise: Noise = "all") -> list[Variant]:
    """Every successful attack, and the noise variants with a label, from the rows that the run kept.

    ``flipped`` takes those noise variants only that got another answer. These are mostly of one class where a model leans
    to the other, and training on them alone teaches that noise means that class; so ``all`` is the default.

    Raises:
        HardenError: the run measured neither attacks nor noise, or nothing changed an answer.
        VerificationError: rows were altered.
    """
    found = [f for f in record.findings if f.info.id in (ATTACK, NOISE)]
    measured = [f for f in found if f.status == "measured" and f.rows is not None]
    if not measured:
        why = "; ".join(f"{f.instance}: {f.reason}" for f in found)
        raise HardenError(
            f"the run {record.name!r} measured neither attacks nor noise" + (f" ({why})" if why else ""),
            expected=f"a finished {ATTACK} or {NOISE}",
            fix="add one to the plan's probes and run it again",
        )
    out: list[Variant] = []
    for finding in measured:
        if finding.rows is not None:
            rows = bundle.rows(finding.rows)
            if finding.info.id == ATTACK:
                out += _attacked(finding.instance, rows)
            else:
                out += _noised(finding.instance, rows, noise)
    if not out:
        names = ", ".join(f.instance for f in measured)
        raise HardenError(
            f"no attack succeeded and no noise changed a text with a label, in {names}",
            expected="at least one changed text to learn from",
            fix="attack more examples, with a higher budget or another recipe",
        )
    return out


def _attacked(instance: str, rows: pa.Table) -> list[Variant]:
    return [
        Variant(instance=instance, row_id=row["row_id"], text=row["perturbed"], label=row["label"])
        for row in rows.select(["row_id", "label", "status", "perturbed", "prediction_after"]).to_pylist()
        # Input reduction succeeds where the answer stays; a text without its words teaches nothing.
        if row["status"] == "succeeded" and row["perturbed"] is not None and row["prediction_after"] != row["label"]
    ]


def _noised(instance: str, rows: pa.Table, noise: Noise) -> list[Variant]:
    names = ["row_id", "label", "changed", "noised", "prediction", "prediction_after"]
    return [
        Variant(instance=instance, row_id=row["row_id"], text=row["noised"], label=row["label"])
        for row in rows.select(names).to_pylist()
        if row["changed"] and row["label"] is not None
        if noise == "all" or row["prediction"] != row["prediction_after"]
    ]


def units_of(data: AuditData) -> list[str]:
    """The unit of each row: rows that share a cluster, a counterpart or their text, directly or by way of others."""
    parent: dict[int, int] = {i: i for i in range(len(data))}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for values in (data.clusters, data.counterparts, data.content_digests):
        first: dict[str, int] = {}
        for i, value in enumerate(values or ()):
            if value is not None:
                parent[root(i)] = root(first.setdefault(value, i))
    least: dict[int, str] = {}
    ids = data.row_ids
    for i in range(len(data)):
        r = root(i)
        least[r] = min(least.get(r, ids[i]), ids[i])
    return [least[root(i)] for i in range(len(data))]


def split_halves(units: Sequence[str], share: float, rng: np.random.Generator) -> Halves:
    """Draw whole units at random until ``share`` of the rows may be trained on; their order does not matter.

    The draw does not look at what was attacked, or the rows that are left would be those that withstood.

    Raises:
        HardenError: there are fewer than two units, or one side would be empty.
    """
    sizes = Counter(units)
    names = sorted(sizes)
    trained: set[str] = set()
    count = 0
    for i in rng.permutation(len(names)).tolist():
        if count + sizes[names[i]] / 2 > share * len(units):
            continue
        trained.add(names[i])
        count += sizes[names[i]]
    if not trained or len(trained) == len(names):
        raise HardenError(
            f"the audited rows form {len(names)} unit(s), too few to split in two at a share of {share:g}",
            expected="several clusters, so that some are trained on and others judged",
            fix="audit more clusters, or give another --share",
        )
    return Halves(
        trained=tuple(i for i, unit in enumerate(units) if unit in trained),
        judged=tuple(i for i, unit in enumerate(units) if unit not in trained),
    )


def rows_to_add(variants: Iterable[Variant], data: AuditData, halves: Halves, classes: Sequence[str]) -> Added:
    """The variants of the half that may be trained on, each different text once.

    Left out, and counted: variants of judged rows; texts that a judged row has too; texts that would be added with two
    labels; repetitions.

    Raises:
        HardenError: a variant is of no audited row, has another label than it, or nothing is left.
    """
    variants = list(variants)
    position = {row: i for i, row in enumerate(data.row_ids)}
    labels, contents = data.labels, data.content_digests or []
    for v in variants:
        if v.row_id not in position or labels[position[v.row_id]] != v.label:
            raise HardenError(
                f"{v.instance} attacked row {v.row_id!r} with the label {v.label!r}, which the audit data does not have",
                expected="the data that the run was audited on",
                fix="give the plan that the run was made from",
            )
    trained = set(halves.trained)
    judged = {contents[i] for i in halves.judged}
    mine = [v for v in variants if position[v.row_id] in trained]
    unseen = [v for v in mine if content_digest(v.text) not in judged]
    said: dict[str, set[str]] = {}
    for v in unseen:
        said.setdefault(v.text, set()).add(v.label)
    clear = [v for v in unseen if len(said[v.text]) == 1]
    kept = list({v.text: v for v in sorted(clear, key=lambda v: (v.text, v.instance, v.row_id))}.values())
    if not kept:
        raise HardenError(
            f"of {len(variants)} changed texts, none is left to train on",
            expected="at least one in the half that may be trained on",
            fix="attack more examples, or give a larger --share",
        )
    units = units_of(data)
    kept.sort(key=lambda v: (v.row_id, v.text))
    columns = {
        "input": [v.text for v in kept],
        "label": [v.label for v in kept],
        "id": [f"hardening/{n}/{v.row_id}" for n, v in enumerate(kept)],
    }
    left = (
        (len(variants) - len(mine), message("of rows that are kept for judging")),
        (len(mine) - len(unseen), message("equal to a text that is kept for judging")),
        (len(unseen) - len(clear), message("with two different labels")),
        (len(clear) - len(kept), message("repeated")),
    )
    rows = len({v.row_id for v in kept})
    notes = [
        message("{kept} of {found} changed texts are trained on; they come from {rows} audited rows.",
                found=len(variants), kept=len(kept), rows=rows),
        message("Their labels: {labels}.", labels=_tally(v.label for v in kept)),
        *(message("{count} were left out: {why}.", count=n, why=why) for n, why in left if n),
        *((message("All added rows have the same label: the new model may learn that a changed text means {label}.",
                   label=kept[0].label),) if len({v.label for v in kept}) == 1 else ()),
    ]  # fmt: skip
    return Added(
        data=AuditData.from_columns(columns, _roles(columns, classes), name="rows added by hardening"),
        units=tuple(units[position[v.row_id]] for v in kept),
        rows=rows,
        sources=dict(sorted(Counter(v.instance for v in kept).items())),
        notes=tuple(notes),
    )


def _tally(labels: Iterable[str]) -> str:
    return ", ".join(f"{label} {count}" for label, count in sorted(Counter(labels).items()))


def augmented(train: AuditData, added: Added) -> AuditData:
    """The training rows and, after them, the added ones; with the roles that training reads.

    Variants of one audited unit are one cluster where the training data has clusters, so that validation rows do not
    resemble training rows. An added row weighs as much as the training rows do on average.

    Raises:
        HardenError: an id occurs in both.
    """
    taken = set(train.row_ids) & set(added.data.row_ids)
    if taken:
        raise HardenError(
            f"the training data has a row called {min(taken)!r} already",
            expected="no ids that begin with hardening/",
            fix="name these rows otherwise",
        )
    columns: dict[str, list[Any]] = {
        "input": [*train.inputs, *added.data.inputs],
        "label": [*train.labels, *added.data.labels],
        "id": [*train.row_ids, *added.data.row_ids],
    }
    if train.clusters is not None:
        columns["cluster"] = [*train.clusters, *(f"hardening {unit}" for unit in added.units)]
    if train.weights is not None:
        mean = sum(train.weights) / len(train)
        columns["weight"] = [*train.weights, *([mean] * len(added.data))]
    made = AuditData.from_columns(columns, _roles(columns, train.task_labels), name=f"{train.name} with hardening rows")
    return replace(made, provenance={**train.provenance, "added_rows": len(added.data)})


def _roles(columns: Mapping[str, Any], classes: Sequence[str]) -> Roles:
    return Roles(**{name: name for name in columns}, labels={name: name for name in classes})
