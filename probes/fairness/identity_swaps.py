"""Texts rewritten so that somebody else is meant, and whether the answer changes: identity terms, names and pronouns of our lists
and the plan's are swapped, with agreement. It looks for no twins in the data; `fairness.counterfactual` does.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from fine_tune.predictions import SCORE, PredictionsMeta
from probes.answers import answers
from probes.errors import ProbeError, Unavailable
from probes.evidence import AnyMeasurement, Evidence, Message, Need, Reading, message
from probes.fairness.counterfactual_definitions import DEFINES, METHOD
from probes.fairness.counterfactual_reading import TEXT, Sheet, positives, undefined
from probes.fairness.rewriting import Finding, Rewriter
from probes.fairness.templates import Rows, arrange
from probes.fairness.wordlists import LANGUAGES, WordList, attribute_names, check_terms, digest, extend, word_list
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from fine_tune.data import AuditData
    from probes.probe import Context
    from probes.subject import Subject

ID = "fairness.identity_swaps"
FACTS = b"plumbline.identity_swaps"
_HAN = re.compile(r"[\u3400-\u9fff]")


@probe(
    ID,
    needs={Need.PREDICTIONS, Need.QUERIES},
    tasks=("text-classification",),
    defines=DEFINES,
    limits=(
        message(
            "A rewritten text is taken to deserve the same answer; where the person meant matters to it, it may not."
        ),
        message(
            "It swaps the words of its lists and no others: a person who is described in other words is not noticed."
        ),
        message(
            "No sentence is parsed: her, his, and words that are both noun and adjective are told apart by the next word, and some "
            "rewritten texts will read badly or not be true to life; part of a change may be due to that."
        ),
        message("Texts that name two identities of one attribute are left out, and so are they, them and their."),
        message("That scores do not shift on average does not show that no single answer depends on who is meant."),
    ),
    method=METHOD,
)
@dataclass(frozen=True, kw_only=True)
class IdentitySwaps:
    """Does the answer change when a text is rewritten so that somebody else is meant?

    A text and its rewritten twins are one template. Attributes (gender, religion, ...) are swapped one at a time.
    """

    own_source: ClassVar[str] = digest()

    positive: str | None = field(
        default=None, metadata={"help": "The class whose scores are looked at; needed where there are two classes."}
    )
    lexicon: Literal["auto", "en", "zh", "none"] = field(
        default="auto",
        metadata={
            "help": "Whose word lists: en, zh, none, or auto: zh for texts with a Chinese character, en for others."
        },
    )
    terms: dict[str, dict[str, tuple[str | None, ...]]] = field(
        default_factory=dict,
        metadata={
            "help": "More words by attribute and identity, such as {region: {north: [northerner], south: [southerner]}}; those at "
            "the same position stand for one another, null where there is none. They come before the lists'."
        },
    )
    attributes: tuple[str, ...] | None = field(
        default=None, metadata={"help": "Attributes to swap; all that the lists and `terms` have by default."}
    )
    examples: int | None = field(
        default=100, metadata={"help": "Texts to rewrite an attribute, drawn at random; null for all that can be."}
    )
    min_templates: int = field(
        default=10, metadata={"help": "Identities in fewer texts are listed, and not compared; at least 2."}
    )
    permutations: int = field(default=2000, metadata={"help": "Random exchanges behind each p-value."})

    def __post_init__(self) -> None:
        for name, least in (("min_templates", 2), ("permutations", 1)):
            if getattr(self, name) < least:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected=f"at least {least}")
        if self.examples is not None and self.examples < 1:
            raise ProbeError(f"examples is {self.examples}", expected="at least 1, or null for all texts")
        for attribute, by_identity in self.terms.items():
            check_terms(attribute, by_identity)
        known = self._names()
        if not known:
            raise ProbeError("lexicon is none and there are no terms", expected="a word list, or words under `terms`")
        wrong = [name for name in self.attributes or () if name not in known]
        if wrong or self.attributes == () or len(set(self.attributes or ())) != len(self.attributes or ()):
            raise ProbeError(
                f"the attributes are {list(self.attributes or ())}", expected=f"different ones of {', '.join(known)}"
            )

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row a text and identity: the text as it is or rewritten, and the answer.

        Columns: row_id, unit_id (number of the row within its text), feature (the attribute), identity, original (whether it is
        the text as it is), label, prediction, score_<class>..., cluster, text, content. The answer to a text as it is comes from
        the subject's predictions.

        Raises:
            Unavailable: the inputs are no texts.
            ProbeError: an option does not fit the subject.
        """
        from fine_tune.rows import decide

        positives(self.positive, subject.classes, subject.positive, ID)
        data = subject.data
        if not data.has_inputs or not all(isinstance(value, str) for value in data.inputs):
            raise Unavailable(
                "the inputs are no texts, and only texts are rewritten", fix=f"leave {ID} out of this plan"
            )
        whole = subject.predictions(ctx)
        meta = PredictionsMeta.of(whole)
        found, facts = self._find(data.inputs, ctx)
        lines = [line for name in facts["attributes"] for line in self._lines(name, found[name], data, ctx)]
        asked = [line for line in lines if not line.original]
        scores = subject.predict([line.text for line in asked], ctx) if asked else np.empty((0, len(meta.classes)))
        said = decide(scores, meta) if asked else []
        place = {row: i for i, row in enumerate(whole["row_id"].to_pylist())}
        kept = np.column_stack([whole[SCORE + c].to_numpy().astype(np.float64) for c in meta.classes])
        predicted = whole["prediction"].to_pylist()
        fresh = iter(zip(said, scores, strict=True))
        spoken = []
        for line in lines:
            at = place[data.row_ids[line.row]]
            spoken.append((predicted[at], kept[at]) if line.original else next(fresh))
        table = _table(data, lines, spoken, meta)
        return table.replace_schema_metadata({**meta.encode(), FACTS: json.dumps(facts, ensure_ascii=False).encode()})

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Flips and shifts of every attribute; plots, tables and pairs of texts as evidence."""
        raw = (rows.schema.metadata or {}).get(FACTS)
        if raw is None:
            raise ProbeError("the rows carry no description", expected=f"schema metadata {FACTS.decode()!r}")
        facts = json.loads(raw)
        measurements: list[AnyMeasurement] = []
        evidence: list[Evidence] = []
        remarks = _remarks(facts)
        silent = []
        for name in facts["attributes"]:
            mine = rows.filter([feature == name for feature in rows["feature"].to_pylist()]) if len(rows) else rows
            if not len(mine):
                silent.append(name)
                if self.attributes is not None or name in self.terms:
                    reason = message(
                        "No text says who is meant in words of {feature} that can be swapped.", feature=name
                    )
                    measurements += undefined(name, reason, facts["texts"])
                continue
            found, shown, said = self._sheet(mine, name, facts).read(ctx)
            measurements, evidence, remarks = [*measurements, *found], [*evidence, *shown], [*remarks, *said]
        if not measurements:
            reason = message("No text says who is meant in words that can be swapped.")
            measurements = undefined(None, reason, facts["texts"])
        if silent:
            remarks.append(message("No text could be rewritten in {names}.", names=", ".join(silent)))
        return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=tuple(remarks))

    def _sheet(self, mine: pa.Table, name: str, facts: dict[str, Any]) -> Sheet:
        every = answers(mine)
        order = {identity: i for i, identity in enumerate(facts["attributes"][name])}
        texts: dict[str, int] = {}
        template = np.array([texts.setdefault(row, len(texts)) for row in mine["row_id"].to_pylist()], dtype=np.int64)
        identity = np.array([order[one] for one in mine["identity"].to_pylist()], dtype=np.int64)
        where = Rows(feature=name, template=template, identity=identity, names=tuple(order))
        grid = arrange(where, every, PredictionsMeta.of(mine).threshold, self.min_templates)
        return Sheet(
            grid=grid, answers=every, table=mine, positive=positives(self.positive, every.classes, every.positive, ID),
            covered=facts["swappable"].get(name, 0), inputs=facts["texts"], draws=self.permutations,
        )  # fmt: skip

    def _names(self) -> list[str]:
        return list(dict.fromkeys((*attribute_names(self._languages()), *self.terms)))

    def _languages(self) -> tuple[str, ...]:
        if self.lexicon == "none":
            return ()
        return LANGUAGES if self.lexicon == "auto" else (self.lexicon,)

    def _lists(self) -> dict[str, WordList]:
        """The word list for texts with a Chinese character (zh) and for others (en), with the plan's terms."""
        if self.lexicon == "auto":
            lists = {language: word_list(language) for language in LANGUAGES}
        else:
            one = WordList(language="none", attributes=()) if self.lexicon == "none" else word_list(self.lexicon)
            lists = dict.fromkeys(LANGUAGES, one)
        return {language: extend(one, self.terms, self.attributes) for language, one in lists.items()}

    def _find(self, texts: Sequence[str], ctx: Context) -> tuple[dict[str, list[_Found]], dict[str, Any]]:
        """Every text that can be rewritten, by attribute; and what was seen on the way."""
        lists = self._lists()
        rewriters = {language: [Rewriter(one, a) for a in one.attributes] for language, one in lists.items()}
        identities: dict[str, list[str]] = {}
        for one in lists.values():
            for a in one.attributes:
                identities[a.name] = list(dict.fromkeys((*identities.get(a.name, ()), *a.identities)))
        found: dict[str, list[_Found]] = {name: [] for name in identities}
        mixed: Counter[str] = Counter()
        stuck: Counter[str] = Counter()
        nobody = 0
        for i, text in enumerate(ctx.progress(texts, len(texts), "looking for who is meant")):
            seen = False
            for rewriter in rewriters["zh" if _HAN.search(text) else "en"]:
                finding = rewriter.find(text)
                if not finding.spots:
                    continue
                seen, name = True, rewriter.attribute.name
                if len(finding.identities) > 1:
                    mixed[name] += 1
                    continue
                variants = _variants(rewriter, text, finding)
                if len(variants) > 1:
                    found[name].append(_Found(row=i, finding=finding, variants=variants))
                else:
                    stuck[name] += 1
            nobody += not seen
        facts = {
            "texts": len(texts), "nobody": nobody, "attributes": identities, "mixed": dict(mixed), "stuck": dict(stuck),
            "swappable": {name: len(many) for name, many in found.items() if many},
            "ruled": {name: ruled for name, many in found.items() if (ruled := sum(one.finding.ruled for one in many))},
            "examples": self.examples, "lexicon": self.lexicon,
        }  # fmt: skip
        return found, facts

    def _lines(self, name: str, found: Sequence[_Found], data: AuditData, ctx: Context) -> Iterable[_Line]:
        """The rows of the texts that are drawn; the order of the rows in the data does not matter."""
        ids = data.row_ids
        ordered = sorted(found, key=lambda one: ids[one.row])
        if self.examples is not None and self.examples < len(ordered):
            picked = ctx.rng(f"examples/{name}").choice(len(ordered), size=self.examples, replace=False)
            ordered = [ordered[i] for i in np.sort(picked).tolist()]
        for one in ordered:
            for identity, text in one.variants.items():
                original = text is None
                yield _Line(
                    row=one.row,
                    feature=name,
                    identity=identity,
                    original=original,
                    text=data.inputs[one.row] if text is None else text,
                )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A text that can be rewritten; ``variants`` by identity, None for the one that it names as it is."""

    row: int
    finding: Finding
    variants: Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One row of the table; ``row`` is the text's position in the data."""

    row: int
    feature: str
    identity: str
    original: bool
    text: str


def _variants(rewriter: Rewriter, text: str, finding: Finding) -> dict[str, str | None]:
    out: dict[str, str | None] = {}
    (own,) = finding.identities
    for number, identity in enumerate(rewriter.attribute.identities):
        changed = None if number == own else rewriter.rewrite(text, finding, number)
        if number == own or changed is not None:
            out[identity] = changed
    return out


def _remarks(facts: dict[str, Any]) -> list[Message]:
    """What was looked for, and what was left out."""
    out = [
        message(
            "{nobody} of {texts} texts hold no word of the lists (lexicon {lexicon}); nothing is known about them.",
            nobody=facts["nobody"], texts=facts["texts"], lexicon=facts["lexicon"],
        )
    ]  # fmt: skip
    drawn = [f"{name}: {n}" for name, n in facts["swappable"].items() if facts["examples"] and n > facts["examples"]]
    if drawn:
        out.append(
            message(
                "{examples} texts each were drawn at random from those that could be rewritten ({names}).",
                examples=facts["examples"], names=", ".join(drawn),
            )
        )  # fmt: skip
    for key, said in (
        ("mixed", message("Texts that name two identities of one attribute are left out: {names}.")),
        ("stuck", message("Texts whose words no other identity has in that form are left out: {names}.")),
        ("ruled", message("The next word decided between two forms of a word in these numbers of texts: {names}.")),
    ):
        if facts[key]:
            names = ", ".join(f"{name} {n}" for name, n in facts[key].items())
            out.append(said.model_copy(update={"params": {"names": names}}))
    return out


def _table(
    data: AuditData, lines: Sequence[_Line], spoken: Sequence[tuple[str, Any]], meta: PredictionsMeta
) -> pa.Table:
    import pyarrow as pa

    from fine_tune.data import content_digest

    ids, labels, string = data.row_ids, data.labels, pa.string()
    seen: Counter[int] = Counter()
    units = []
    for line in lines:
        units.append(seen[line.row])
        seen[line.row] += 1
    columns: list[tuple[str, pa.DataType, list[Any]]] = [
        ("row_id", string, [ids[x.row] for x in lines]),
        ("unit_id", pa.int32(), units),
        ("feature", string, [x.feature for x in lines]),
        ("identity", string, [x.identity for x in lines]),
        ("original", pa.bool_(), [x.original for x in lines]),
        ("label", string, [labels[x.row] for x in lines]),
        ("prediction", string, [said for said, _ in spoken]),
        *((SCORE + c, pa.float64(), [float(s[k]) for _, s in spoken]) for k, c in enumerate(meta.classes)),
    ]
    if data.clusters is not None:
        clusters = data.clusters
        columns.append(("cluster", string, [clusters[x.row] for x in lines]))
    columns += [
        (TEXT, string, [x.text for x in lines]),
        ("content", string, [content_digest(x.text) for x in lines]),
    ]
    return pa.table([pa.array(v, type=t) for _, t, v in columns], names=[name for name, _, _ in columns])
