"""Which words and protected terms a model leans on that it should not. It names a word only where taking it away flips answers
and moves scores further than the word moves labels, and only after correction for all the words that were compared. It knows no cause, and it cannot
see a shortcut that the audited labels share.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from probes.errors import ProbeError
from probes.evidence import Message, Need, Reading, message
from probes.explanation.shortcut_definitions import DEFINES
from probes.explanation.shortcut_figures import Asked, Judging, swap_figures, term_figures, word_figures
from probes.explanation.shortcut_reading import Sheet
from probes.explanation.shortcut_remarks import remarks
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.engines.captum.explainer import Explainer
    from probes.explanation.shortcut_rows import Texts
    from probes.probe import Context
    from probes.subject import Subject

FALLBACK = "input_x_gradient"

_NAMES = {d.name: d for d in DEFINES}


@probe(
    "explanation.shortcuts",
    needs={Need.PREDICTIONS, Need.QUERIES, Need.GRADIENTS},
    tasks=("text-classification",),
    defines=DEFINES,
    limits=(
        message(
            "A shortcut that the audited labels share cannot be seen: labels would explain it. Audit on labels that are right."
        ),
        message("It looks at single words; a shortcut in a phrase, in style or in length leaves no trace here."),
        message(
            "A text without one of its words is unlike those that the model was trained on, and part of a flip may be due to "
            "that; what other words of the same texts do is subtracted, and they may be stranger to take away or less so."
        ),
        message("Swapped texts may be ungrammatical, and a swap may change whether the label is right."),
        message("That no word is named does not show that there is none: rare words need many texts."),
    ),
    method=message(
        "Words in lower case; all places of a word are replaced by the model's stand-in for an absent word. A word is named if "
        "all of this holds: more texts leave the class that it pushes towards without it than without another of their words, "
        "drawn at random (exact sign-flip test by clusters, one-sided), and it pushes scores further, by more than `least`, than "
        "such another word and than that class is commoner among texts with it (t on means linearised by clusters, one-sided). "
        "The largest of these "
        "p-values, times the number of classes, enters Holm's correction over all words that "
        "were compared. Protected terms: the same exact test on flips less those of other words, Holm over terms. Intervals of "
        "words hold jointly over all compared (Bonferroni); those of terms and swaps hold one by one."
    ),
    requires=("captum",),
)
@dataclass(frozen=True, kw_only=True)
class Shortcuts:
    """Does the model lean on words that it should not lean on?

    Every text is asked about again without one of its words, without a protected term, and with a term swapped for another of
    its concept.
    """

    lexicon: dict[str, tuple[str, ...]] = field(
        default_factory=dict,
        metadata={
            "help": "Protected terms by concept, such as {gender: [woman, man]}; a term is swapped for others of its concept."
        },
    )
    groups: bool = field(
        default=True,
        metadata={"help": "Values of the groups columns that name their group in the texts are terms too."},
    )
    rows: int = field(default=2000, metadata={"help": "Texts looked at, at most; drawn at random."})
    words: int = field(default=20, metadata={"help": "Words to take out of texts; 0 looks at protected terms alone."})
    texts: int = field(default=100, metadata={"help": "Texts that a word or term is taken out of, at most."})
    min_texts: int = field(default=20, metadata={"help": "Texts that must hold a word, and texts that must not."})
    swaps: int = field(default=40, metadata={"help": "Texts in which a term is swapped, at most."})
    method: str | None = field(
        default=None,
        metadata={
            "help": "Attribution method for swapped terms; relevance where the model allows it, else input_x_gradient."
        },
    )
    least: float = field(
        default=0.05, metadata={"help": "Push beyond what labels explain that is too little to be named, as a score."}
    )
    alpha: float = field(default=0.05, metadata={"help": "Chance that any word, or any term, is named wrongly."})

    def __post_init__(self) -> None:
        for name, least in (("rows", 2), ("words", 0), ("texts", 2), ("min_texts", 2), ("swaps", 0)):
            if getattr(self, name) < least:
                raise ProbeError(f"{name} is {getattr(self, name)}", expected=f"at least {least}")
        if not 0 <= self.least < 1:
            raise ProbeError(f"least is {self.least}", expected="a difference of scores from 0 up to 1")
        if not 0 < self.alpha < 1:
            raise ProbeError(f"alpha is {self.alpha}", expected="a chance between 0 and 1")
        seen: dict[str, str] = {}
        for concept, terms in self.lexicon.items():
            for term in terms:
                if not term.strip():
                    raise ProbeError(f"the concept {concept!r} lists an empty term", expected="words")
                if seen.setdefault(term.casefold(), concept) != concept:
                    raise ProbeError(
                        f"{term!r} is listed under {seen[term.casefold()]!r} and {concept!r}",
                        expected="one concept a term",
                    )

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row a text with its compared words, and one row a question: kind, text, term, concept, other, after, weights.

        Raises:
            Unavailable: no model at hand, or the inputs are no texts.
        """
        from probes.engines.captum.explainer import open_explainer
        from probes.explanation import shortcut_rows as ask

        explainer = open_explainer(subject, ctx)
        texts = ask.open_texts(subject, explainer, self.rows, ctx)
        words = ask.candidates(texts, self.min_texts) if self.words else {}
        chosen = ask.screen(texts, words, self.words)
        questions = ask.Questions()
        ask.ask_words(questions, texts, chosen, self.texts, ctx)
        lexicon, from_groups = self._lexicon(texts)
        asked = ask.ask_terms(questions, texts, lexicon, self.texts, ctx)
        scores = questions.answers(explainer, texts.encoded, ctx)
        rows: list[dict[str, Any]] = [
            {"text": text, "after": after, **columns}
            for (text, columns), after in zip(questions.rows, scores, strict=True)
        ]
        wanted = ask.swaps(texts, lexicon, asked, self.swaps, ctx)
        method = self._method(explainer) if wanted else ""
        rows += ask.ask_swaps(explainer, texts, wanted, method, ctx)
        terms: dict[str, list[str]] = {}
        for term in lexicon.terms:
            terms.setdefault(term.concept, []).append(term.text)
        facts = {
            "texts": len(texts), "there": len(subject.data), "compared": len(words), "asked": len(chosen),
            "min_texts": self.min_texts, "texts_each": self.texts, "terms": terms, "from_groups": from_groups,
            "method": method, "truncated": sum(one.truncated for one in texts.encoded),
        }  # fmt: skip
        return ask.table_of(texts, rows, words, facts)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Words and terms by what their removal does; those that survive the correction are named."""
        from probes.explanation.shortcut_rows import KEY

        raw = (rows.schema.metadata or {}).get(KEY)
        if raw is None:
            raise ProbeError("the rows carry no description", expected=f"schema metadata {KEY.decode()!r}")
        facts = json.loads(raw)
        asked = Asked.of(rows)
        if not len(asked):
            return Reading(measurements=Sheet(**self._parts(asked, 0, ctx)).nothing())
        sheet = Sheet(**self._parts(asked, facts["compared"], ctx))
        said: list[Message] = [*remarks(facts, facts["compared"]), *sheet.said()]
        if not asked.clustered:
            said.append(message("Texts are taken as independent: the data names no cluster."))
        return Reading(measurements=tuple(sheet.measurements()), evidence=tuple(sheet.evidence()), remarks=tuple(said))

    def _parts(self, asked: Asked, compared: int, ctx: Context) -> dict[str, Any]:
        return {
            "asked": asked, "defines": _NAMES, "compared": compared, "alpha": self.alpha, "level": ctx.level,
            "words": word_figures(asked, Judging(compared=compared, level=ctx.level, least=self.least)), "terms": term_figures(asked, ctx.level),
            "swaps": swap_figures(asked, ctx.level),
        }  # fmt: skip

    def _lexicon(self, texts: Texts) -> tuple[Any, list[str]]:
        """The plan's terms, and those of the groups columns beside them."""
        from fine_tune.predictions import GROUP, feature_names
        from probes.explanation.terms import Lexicon, group_terms

        found: dict[str, tuple[str, ...]] = {}
        if self.groups:
            columns = {name: texts.table[GROUP + name].to_pylist() for name in feature_names(texts.table)}
            found = group_terms(texts.inputs, columns)
        concepts = {c: tuple(t) for c, t in self.lexicon.items()}
        for feature, values in found.items():
            concepts[feature] = (*concepts.get(feature, ()), *values)
        return Lexicon(concepts), list(found)

    def _method(self, explainer: Explainer) -> str:
        """The method that weighs swapped terms.

        Raises:
            ProbeError: the plan's method is unknown or cannot be used on this model.
        """
        from probes.engines.captum.methods import methods

        known = methods()
        if self.method is not None:
            if self.method not in known:
                raise ProbeError(f"no method is called {self.method!r}", expected=f"one of {', '.join(known)}")
            refused = explainer.check(self.method)
            if refused is not None:
                raise ProbeError(
                    f"{self.method} cannot be used on this model: {refused.fill()}", fix="name another method"
                )
            return self.method
        usable = "relevance" in known and explainer.check("relevance") is None
        return "relevance" if usable else FALLBACK
