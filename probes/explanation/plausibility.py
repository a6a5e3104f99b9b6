"""Whether what weighs most is what people marked as the reason: token F1, AUPRC and IoU F1 against human rationales, beside
random weights on the same texts. A plausible map may still be unfaithful (`explanation.faithfulness` asks that), and this
module says nothing of faithfulness.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from probes.errors import ProbeError, Unavailable
from probes.evidence import MeasureDefinition, Message, Need, Reading, message
from probes.explanation.plausibility_reading import read
from probes.explanation.rationales import Form, form_of, marked_characters, marked_units, parse
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.engines.captum.explainer import Explainer
    from probes.intervals import Bool
    from probes.probe import Context
    from probes.subject import Subject

KEY = b"plumbline.plausibility"
DEYOUNG = "DeYoung et al. 2020 (ERASER)"

DEFINES = (
    MeasureDefinition(
        name="token_f1",
        formula=message(
            "mean over texts of 2 |chosen and marked| / (|chosen| + |marked|), the chosen units being the top ones"
        ),
        zero=message("no chosen unit is marked"),
        one=message("exactly the marked units are chosen"),
        source=DEYOUNG,
        better="higher",
    ),
    MeasureDefinition(
        name="auprc",
        formula=message(
            "mean over texts of the area under the precision-recall curve of the weights against the marks"
        ),
        zero=message("not reached: even marked units that weigh least of all have their share of the units"),
        one=message("every marked unit weighs more than every other"),
        source=DEYOUNG,
        better="higher",
    ),
    MeasureDefinition(
        name="iou_f1",
        formula=message(
            "mean over texts of the F1 of stretches, where a stretch of chosen units and a marked one match if they share at "
            "least half of their union"
        ),
        zero=message("no stretch is found"),
        one=message("every stretch is found"),
        source=DEYOUNG,
        better="higher",
    ),
    *(
        MeasureDefinition(
            name=f"{name}_over_random",
            formula=message(
                "mean over texts of {measure} less what random weights of the same text get", measure=title
            ),
            low=-1.0,
            zero=message("as close to people's marks as random weights"),
            source=DEYOUNG,
            better="higher",
        )
        for name, title in (
            ("token_f1", message("token F1")),
            ("auprc", message("AUPRC")),
            ("iou_f1", message("IoU F1")),
        )
    ),
)


@probe(
    "explanation.plausibility",
    needs={Need.PREDICTIONS, Need.QUERIES, Need.GRADIENTS, Need.RATIONALES},
    tasks=("text-classification",),
    defines=DEFINES,
    limits=(
        message("A plausible map may be unfaithful: it looks like people's reasons without being the model's."),
        message("A low figure may mean that the model has other reasons than people, or that the map is wrong."),
        message(
            "People differ in what they mark; marks are taken as given, and marks of one person are not the reasons of all."
        ),
        message(
            "The figures are about the drawn texts, in which rare classes and groups are seen more often than they occur."
        ),
    ),
    method=message(
        "Units are words; a word is marked if at least half of its characters are. The explained class is the label's, or the "
        "predicted one where no label is known, unless the plan names one. Random weights are averaged over many random orders "
        "of each text's units. Means and paired differences have Student's t interval over texts, clusters allowed for; where "
        "all texts agree, Clopper and Pearson's. Each method is judged by itself."
    ),
    requires=("captum",),
)
@dataclass(frozen=True, kw_only=True)
class Plausibility:
    """Do the units that weigh most agree with what people marked as the reason?"""

    examples: int = field(default=200, metadata={"help": "Texts with a rationale to examine, at least 2."})
    methods: tuple[str, ...] = field(
        default=(), metadata={"help": "Attribution methods; those that explanations use by default if empty."}
    )
    explain: str | None = field(
        default=None,
        metadata={"help": "The class that people gave reasons for; the label's, or the predicted one, by default."},
    )
    top: Literal["mean_share", "rationale"] = field(
        default="mean_share",
        metadata={
            "help": "Units chosen in a text: the mean share that people marked over all texts, or as many as they marked in it."
        },
    )
    form: Literal["auto", "offsets", "spans", "mask"] = field(
        default="auto",
        metadata={
            "help": "What rationales are: character offsets, [start, end] pairs, or 0 and 1 for words between spaces."
        },
    )
    orders: int = field(default=50, metadata={"help": "Random orders of each text's units to compare with."})

    def __post_init__(self) -> None:
        for name, least in (("examples", 2), ("orders", 1)):
            if getattr(self, name) < least:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected=f"at least {least}")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row a text and method: row_id, cluster, label, prediction, explained, units, marked, method, weights, error.

        Raises:
            Unavailable: no model at hand, the inputs are no texts, or no text has a mark on a word that the model reads.
            DataError: a rationale cannot be read.
            ProbeError: the class or a method is unknown.
        """
        from probes.engines.captum.explainer import open_explainer
        from probes.explanation.sampling import draw

        explainer = open_explainer(subject, ctx)
        if explainer.kind != "text":
            raise Unavailable("rationales are marks in texts, and these inputs are no texts")
        if self.explain is not None and self.explain not in explainer.classes:
            raise ProbeError(
                f"the class {self.explain!r} is no class of the subject",
                expected=f"one of {', '.join(explainer.classes)}",
            )
        titles, refused = self._methods(explainer)
        marked = self._marked(subject)
        table = subject.predictions(ctx)
        there = [i for i, row in enumerate(table["row_id"].to_pylist()) if row in marked]
        if not there:
            raise Unavailable("no text has a part that people marked", fix="name the column under `rationale`")
        table = table.take(there)
        drawn = draw(table, self.examples, ctx)
        facts = {
            "rationales": sum(v is not None for v in subject.data.rationales or ()), "marked": len(there),
            "rule": drawn.rule.model_dump(mode="json"),
            "titles": {name: title.model_dump(mode="json") for name, title in titles.items()},
            "refused": {name: why.model_dump(mode="json") for name, why in refused.items()},
        }  # fmt: skip
        return self._weigh(subject, explainer, table.take(list(drawn.positions)), (marked, facts), ctx)

    def _methods(self, explainer: Explainer) -> tuple[dict[str, Message], dict[str, Message]]:
        """Titles of the methods that can be used on this model, and why others cannot."""
        from probes.engines.captum.methods import default_methods, methods

        known = methods()
        wanted = tuple(dict.fromkeys(self.methods or default_methods()))
        for name in wanted:
            if name not in known:
                raise ProbeError(f"no method is called {name!r}", expected=f"one of {', '.join(known)}")
        reasons = {name: explainer.check(name) for name in wanted}
        refused = {name: why for name, why in reasons.items() if why is not None}
        if len(refused) == len(wanted):
            raise Unavailable("no method can be used on this model: " + "; ".join(str(why) for why in refused.values()))
        return {name: known[name].title for name in wanted if name not in refused}, refused

    def _marked(self, subject: Subject) -> dict[str, Bool]:
        """Marked characters by row id; texts in which nobody marked anything are left out."""
        texts, ids = subject.data.inputs, subject.data.row_ids
        found = {i: parse(value, ids[i]) for i, value in enumerate(subject.data.rationales or ()) if value is not None}
        form: Form = form_of(list(found.values()), [texts[i] for i in found]) if self.form == "auto" else self.form
        characters = {ids[i]: marked_characters(marks, texts[i], form, ids[i]) for i, marks in found.items()}
        return {row: flags for row, flags in characters.items() if flags.any()}

    def _weigh(
        self, subject: Subject, explainer: Explainer, table: pa.Table, given: tuple[dict[str, Bool], dict[str, Any]],
        ctx: Context,
    ) -> pa.Table:  # fmt: skip
        import pyarrow as pa

        marked, facts = given
        rows = table.select(["row_id", "label", "prediction"]).to_pylist()
        clusters = table["cluster"].to_pylist() if "cluster" in table.column_names else [None] * len(rows)
        places = {row: i for i, row in enumerate(subject.data.row_ids)}
        every = subject.data.inputs
        encoded = explainer.encode([every[places[r["row_id"]]] for r in rows])
        units = [marked_units(marked[r["row_id"]], one.spans) for r, one in zip(rows, encoded, strict=True)]
        kept = [i for i, flags in enumerate(units) if flags.any()]
        facts["unread"] = len(rows) - len(kept)
        if not kept:
            raise Unavailable("no drawn text has a mark on a word that the model reads")
        explained = [self.explain or rows[i]["label"] or rows[i]["prediction"] for i in kept]
        targets = [explainer.classes.index(name) for name in explained]
        out: list[dict[str, Any]] = []
        for method in facts["titles"]:
            found = explainer.attribute([encoded[i] for i in kept], targets, method, ctx)
            for i, target, one in zip(kept, explained, found, strict=True):
                out.append(
                    rows[i]
                    | {
                        "cluster": clusters[i], "explained": target, "units": list(encoded[i].units),
                        "marked": units[i].tolist(), "method": method, "weights": one.weights.tolist(), "error": one.error,
                        "converged": one.converged,
                    }
                )  # fmt: skip
        schema = pa.schema(
            [
                ("row_id", pa.string()), ("label", pa.string()), ("prediction", pa.string()), ("cluster", pa.string()),
                ("explained", pa.string()), ("units", pa.list_(pa.string())), ("marked", pa.list_(pa.bool_())),
                ("method", pa.string()), ("weights", pa.list_(pa.float64())), ("error", pa.float64()),
                ("converged", pa.bool_()),
            ],
            metadata={KEY: json.dumps(facts, ensure_ascii=False, sort_keys=False).encode()},
        )  # fmt: skip
        return pa.table([pa.array([r[f.name] for r in out], type=f.type) for f in schema], schema=schema)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Agreement of each method, and its difference to random weights of the same texts."""
        raw = (rows.schema.metadata or {}).get(KEY)
        if raw is None:
            raise ProbeError("the rows carry no description", expected=f"schema metadata {KEY.decode()!r}")
        facts = json.loads(raw)
        for name in ("titles", "refused"):
            facts[name] = {key: Message(**said) for key, said in facts[name].items()}
        facts["rule"] = Message(**facts["rule"])
        return read(rows, facts, DEFINES, (self.top, self.orders), ctx)
