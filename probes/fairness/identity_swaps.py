"""Texts rewritten so that somebody else is meant, and whether the answer changes: identity terms, names and pronouns of our lists
and the plan's are swapped, with agreement. It looks for no twins in the data; `fairness.counterfactual` does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from fine_tune.predictions import SCORE, PredictionsMeta
from probes.answers import answers
from probes.errors import ProbeError, Unavailable
from probes.evidence import AnyMeasurement, Evidence, Message, Need, Reading, message
from probes.fairness.asked import positives
from probes.fairness.counterfactual_definitions import DEFINES, LIMITS, METHOD
from probes.fairness.counterfactual_reading import Sheet, undefined
from probes.fairness.swap_rows import draw, find_swappable, table_of
from probes.fairness.templates import Rows, arrange
from probes.fairness.wordlists import LANGUAGES, WordList, attribute_names, check_terms, digest, extend, word_list
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject

ID = "fairness.identity_swaps"
FACTS = b"plumbline.identity_swaps"


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
        message(
            "Texts that name two identities of one attribute are left out; they, them and their are never swapped."
        ),
        *LIMITS,
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
        found, facts = find_swappable(self._lists(), data.inputs, ctx)
        facts |= {"examples": self.examples, "lexicon": self.lexicon}
        lines = [line for name in facts["attributes"] for line in draw(found[name], data, name, self.examples, ctx)]
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
        table = table_of(data, lines, spoken, meta)
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
        used = set(mine["identity"].to_pylist())
        order = {identity: i for i, identity in enumerate(i for i in facts["attributes"][name] if i in used)}
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
