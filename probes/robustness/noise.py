"""Does everyday noise change the answers: texts are changed a little, as people and programs do, and asked about again.

It attacks nobody: no answer decides what is changed next. It says how often answers change and what that costs in
accuracy, and leaves open whether a text with noise still means the same. `probes.robustness.noise_kinds` makes the noise,
`probes.robustness.noise_reading` counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.errors import ProbeError, Unavailable
from probes.evidence import Need, Reading, message
from probes.registry import probe
from probes.robustness.noise_kinds import KINDS, Noised, add_noise
from probes.robustness.noise_reading import FACTS, read
from probes.robustness.noise_sheet import DEFINES

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.data import AuditData
    from probes.probe import Context
    from probes.subject import Subject

TASK = "text-classification"


@probe(
    "robustness.noise",
    needs={Need.PREDICTIONS, Need.QUERIES},
    tasks=("text-classification",),
    defines=DEFINES,
    limits=(
        message(
            "A text with noise is taken to mean what it meant: at high rates, and where a typo makes another word, it may"
            " not."
        ),
        message("Noise is drawn at random, not sought: it shows what happens by accident, not what an attacker finds."),
        message(
            "Kinds of noise know Latin letters, an English keyboard and English words; other texts may have no place."
        ),
        message("Rates count places of a kind; the same rate of two kinds is not the same amount of change."),
        message("Labels are taken as true."),
    ),
    method=message(
        "Each kind finds the places of a text that it could change; at a rate, that share of them is changed, and at least"
        " one. Order and replacements are drawn from seed, kind and text, and a higher rate changes what a lower one does,"
        " and more. Texts that have no place for a kind are counted as unchanged and are in no denominator. Flip rates and"
        " accuracy have Wilson intervals, drops in accuracy t intervals of the paired difference that are never narrower"
        " than without any change in n units; an example, or its cluster in the data, is one unit whatever number of its"
        " variants is counted."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Noise:
    """How often does everyday noise in a text change the answer, and what does that cost in accuracy?

    Typos, casing, punctuation, whitespace, letters that look alike, British and American spelling, and contractions, each
    at several rates, over all examples and for each group.
    """

    kinds: tuple[str, ...] = field(
        default=tuple(KINDS), metadata={"help": f"Kinds of noise, of {', '.join(KINDS)}; all by default."}
    )
    rates: tuple[float, ...] = field(
        default=(0.05, 0.1, 0.2), metadata={"help": "Shares of a text's places that are changed, above 0 and up to 1."}
    )
    examples: int | None = field(
        default=200, metadata={"help": "Rows to examine, drawn at random; null for all of them."}
    )
    features: tuple[str, ...] | None = field(
        default=None, metadata={"help": "Sensitive features to look at; all of the data's by default."}
    )
    min_group: int = field(
        default=10, metadata={"help": "Groups with fewer changed examples are listed, and not compared."}
    )

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise ProbeError(
                f"the kinds of noise are {list(self.kinds)}", expected=f"different ones of {', '.join(KINDS)}"
            )
        if not self.rates or len(set(self.rates)) != len(self.rates) or not all(0 < r <= 1 for r in self.rates):
            raise ProbeError(f"the rates are {list(self.rates)}", expected="different shares above 0 and up to 1")
        if self.examples is not None and self.examples < 1:
            raise ProbeError(f"examples is {self.examples}", expected="at least 1, or null for all rows")
        if self.features is not None and len(set(self.features)) != len(self.features):
            raise ProbeError(f"features is {list(self.features)}", expected="each name once")
        if self.min_group < 1:
            raise ProbeError(f"min_group is {self.min_group}", expected="at least 1")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row an example, kind and rate: the text before and after, and both answers.

        Columns: row_id, unit_id (number of the kind and rate), label, prediction, group_<name>..., cluster, kind, rate,
        text, noised, places, places_changed, changed, prediction_after, content (sha256 of the noised text). The answer to
        a text that did not change is not asked for again.

        Raises:
            Unavailable: the task or the inputs are no texts.
        """
        from fine_tune.data import content_digest
        from fine_tune.predictions import PredictionsMeta
        from fine_tune.rows import decide

        data = subject.data
        _require_texts(subject)
        whole = subject.predictions(ctx)
        meta = PredictionsMeta.of(whole)
        clean = dict(zip(whole["row_id"].to_pylist(), whole["prediction"].to_pylist(), strict=True))
        chosen = self._drawn(data.row_ids, ctx)
        texts = data.inputs
        rates = sorted(self.rates)
        lines: list[_Line] = []
        for i in ctx.progress(chosen, len(chosen), "adding noise"):
            content = content_digest(texts[i])
            for k, kind in enumerate(self.kinds):
                noised = add_noise(texts[i], KINDS[kind], rates, ctx.rng(f"{kind}\0{content}"))
                for r, (rate, one) in enumerate(zip(rates, noised, strict=True)):
                    lines.append(_Line(row=i, unit=k * len(rates) + r, kind=kind, rate=rate, noised=one))
        changed = [line for line in lines if line.noised.text != texts[line.row]]
        scores = subject.predict([line.noised.text for line in changed], ctx)
        after = {id(line): said for line, said in zip(changed, decide(scores, meta) if changed else [], strict=True)}
        facts = {"kinds": list(self.kinds), "rates": rates, "examples": len(chosen), "rows": len(data)}
        return _table(data, lines, clean, after).replace_schema_metadata(
            {**meta.encode(), FACTS: json.dumps(facts).encode()}
        )

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Flip rates, accuracy with noise and its drop: over all, by kind, by rate and by both; groups and their gaps."""
        return read(rows, self.features, self.min_group, ctx)

    def _drawn(self, row_ids: Sequence[str], ctx: Context) -> list[int]:
        """Positions of the rows to examine, by row id; the order of the rows in the data does not matter."""
        ordered = sorted(range(len(row_ids)), key=lambda i: row_ids[i])
        if self.examples is None or self.examples >= len(ordered):
            return ordered
        picked = ctx.rng("examples").choice(len(ordered), size=self.examples, replace=False)
        return [ordered[i] for i in np.sort(picked).tolist()]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Line:
    """One variant of one example; ``row`` is its position in the data."""

    row: int
    unit: int
    kind: str
    rate: float
    noised: Noised


def _require_texts(subject: Subject) -> None:
    if subject.task != TASK:
        raise Unavailable(
            f"the subject's task is {subject.task}: everyday noise is known for {TASK} only",
            fix="for images see robustness.adversarial",
        )
    if not subject.data.has_inputs:
        raise Unavailable("the data has no inputs to add noise to", fix="name the column that holds the text as input")
    for value in subject.data.inputs:
        if not isinstance(value, str):
            raise Unavailable(f"an input is {type(value).__name__}, and noise is added to texts")


def _table(data: AuditData, lines: Sequence[_Line], clean: dict[str, str], after: dict[int, str]) -> pa.Table:
    import pyarrow as pa

    from fine_tune.data import content_digest
    from fine_tune.predictions import GROUP

    ids, labels, texts = data.row_ids, data.labels, data.inputs
    string = pa.string()
    columns: list[tuple[str, pa.DataType, list[Any]]] = [
        ("row_id", string, [ids[x.row] for x in lines]),
        ("unit_id", pa.int32(), [x.unit for x in lines]),
        ("label", string, [labels[x.row] for x in lines]),
        ("prediction", string, [clean[ids[x.row]] for x in lines]),
    ]
    for name in data.features:
        groups = data.group(name)
        columns.append((GROUP + name, string, [groups[x.row] for x in lines]))
    if data.clusters is not None:
        clusters = data.clusters
        columns.append(("cluster", string, [clusters[x.row] for x in lines]))
    columns += [
        ("kind", string, [x.kind for x in lines]),
        ("rate", pa.float64(), [x.rate for x in lines]),
        ("text", string, [texts[x.row] for x in lines]),
        ("noised", string, [x.noised.text for x in lines]),
        ("places", pa.int32(), [x.noised.places for x in lines]),
        ("places_changed", pa.int32(), [x.noised.changed for x in lines]),
        ("changed", pa.bool_(), [x.noised.text != texts[x.row] for x in lines]),
        ("prediction_after", string, [after.get(id(x), clean[ids[x.row]]) for x in lines]),
        ("content", string, [content_digest(x.noised.text) for x in lines]),
    ]
    return pa.table(
        [pa.array(values, type=kind) for _, kind, values in columns], names=[name for name, _, _ in columns]
    )
