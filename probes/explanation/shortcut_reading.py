"""What `explanation.shortcuts` says: figures as measurements, tables, plots and sentences. It computes no figure and draws nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from probes.evidence import (
    AnyMeasurement,
    Axis,
    Counts,
    Evidence,
    Interval,
    IntervalPlot,
    IntervalPoint,
    MeasureDefinition,
    Measurement,
    Message,
    Method,
    Slice,
    Table,
    TextPair,
    TextPairs,
    Undefined,
    message,
)
from probes.explanation.shortcut_figures import Asked, SwapFigures, TermFigures, WordFigures
from probes.explanation.shortcut_rows import WORD
from probes.intervals import Estimate
from probes.reasons import naming
from probes.terms import bounded

SHOWN = 10
EXAMPLES = 4
GONE = "[…]"
_TOO_FEW = message("Fewer than two independent texts with a label hold it.")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Figures, and what they rest on, in the making of a reading."""

    asked: Asked
    words: Sequence[WordFigures]
    terms: Sequence[TermFigures]
    swaps: Sequence[SwapFigures]
    defines: dict[str, MeasureDefinition]
    compared: int
    alpha: float
    level: float

    @property
    def named(self) -> list[WordFigures]:
        """Words that survive the correction, the one with the largest excess first."""
        found = [w for w in self.words if w.p <= self.alpha and w.push is not None]
        return sorted(found, key=lambda w: (-_excess(w), w.word))

    @property
    def named_terms(self) -> list[TermFigures]:
        """Protected terms that survive the correction."""
        return [t for t in self.terms if t.p <= self.alpha]

    @property
    def shown(self) -> list[WordFigures]:
        """Named words, then the next by their p-values, up to `SHOWN` in all."""
        named = self.named
        rest = [w for w in self.words if w not in named]
        return [*named, *rest[: max(SHOWN - len(named), 0)]]

    def measurements(self) -> list[AnyMeasurement]:
        """Every figure that a policy may ask for."""
        texts = Counts(n=len(self.asked), denominator=len(self.asked), smallest=len(self.asked))
        none = message("No word stands in enough texts to be compared.")
        if not (self.asked.labels >= 0).any():
            none = message("No text has a label, so nothing says what labels explain.")
        judged = [w for w in self.words if w.push is not None]
        out: list[AnyMeasurement] = [self._exact("words_compared", self.compared, texts)]
        if judged:
            out.append(self._at_least("words_named", [w.p for w in self.named], texts))
            out.append(self._worst(judged))
        else:
            out += [Undefined(name=n, counts=texts, reason=none) for n in ("words_named", "worst_excess_push")]
        for w in self.shown:
            out += self._word(w)
        absent = message("No protected term stands in the texts.")
        out.append(self._exact("terms_compared", len(self.terms), texts))
        if self.terms:
            out.append(self._at_least("terms_named", [t.p for t in self.named_terms], texts))
        else:
            out.append(Undefined(name="terms_named", counts=texts, reason=absent))
        for t in self.terms:
            at, counts = self._at("term", t.term), self._counts(t.asked, t.units)
            out.append(self._figure("term_flip_rate", t.flips, counts, at))
            out.append(self._figure("term_flips_over_random", t.over_random, counts, at))
        for s in self.swaps:
            at, counts = self._at("concept", s.concept), self._counts(s.swapped, s.units)
            out.append(self._figure("swap_flip_rate", s.flips, counts, at))
            out.append(self._figure("swap_weight_shift", s.shift, counts, at))
        return out

    def nothing(self) -> tuple[AnyMeasurement, ...]:
        """Every figure that stands without a word or term, for rows that hold no text."""
        counts = Counts(n=0, denominator=0, smallest=0)
        names = ("words_compared", "words_named", "worst_excess_push", "terms_compared", "terms_named")
        return tuple(Undefined(name=n, counts=counts, reason=message("There is no text.")) for n in names)

    def evidence(self) -> list[Evidence]:
        """Tables and plots of words and of terms, and texts in which a named word flips the answer."""
        out: list[Evidence] = []
        if self.words:
            out += [self._words_table(), self._words_plot()]
        out += [pairs for w in self.named[:3] if (pairs := self._examples(w)) is not None]
        if self.terms:
            out += [self._terms_table()]
        if self.swaps:
            out += [self._swaps_table()]
        return out

    def said(self) -> list[Message]:
        """The answer in a sentence each for words and for terms."""
        out = []
        if self.words:
            named = [w.word for w in self.named]
            if named:
                few = message(
                    "Words that the model leans on more than labels explain, at level {alpha} over {compared} words: {names}.",
                    alpha=self.alpha, compared=self.compared,
                )  # fmt: skip
                many = message(
                    "Words that the model leans on more than labels explain, at level {alpha} over {compared} words: {names} and "
                    "{more} more.",
                    alpha=self.alpha, compared=self.compared,
                )  # fmt: skip
                out.append(naming(few, many, named))
            else:
                out.append(
                    message(
                        "No word is named at level {alpha} over {compared} words; that does not show that there is no shortcut.",
                        alpha=self.alpha, compared=self.compared,
                    )
                )  # fmt: skip
        if self.terms:
            names = [t.term for t in self.named_terms]
            if names:
                few = message(
                    "Protected terms whose removal flips more answers than that of other words, at level {alpha} over {compared} "
                    "terms: {names}.",
                    alpha=self.alpha, compared=len(self.terms),
                )  # fmt: skip
                many = message(
                    "Protected terms whose removal flips more answers than that of other words, at level {alpha} over {compared} "
                    "terms: {names} and {more} more.",
                    alpha=self.alpha, compared=len(self.terms),
                )  # fmt: skip
                out.append(naming(few, many, names))
            else:
                out.append(
                    message(
                        "No protected term is named at level {alpha} over {compared} terms.",
                        alpha=self.alpha, compared=len(self.terms),
                    )
                )  # fmt: skip
        return out

    def _worst(self, judged: Sequence[WordFigures]) -> Measurement:
        """The largest excess; limits that hold over all words at once hold for the largest too."""
        each = [w.push.excess for w in judged if w.push is not None]
        estimate = Estimate(
            value=max(e.value for e in each), low=max(e.low for e in each), high=max(e.high for e in each),
            method="largest of several, Bonferroni over words", params={"words": self.compared},
        )  # fmt: skip
        top = max(judged, key=_excess)
        rows = min(w.labelled for w in judged)
        counts = self._counts(top.labelled, top.units).model_copy(update={"smallest": rows})
        return self._measured("worst_excess_push", estimate, counts, ())

    def _word(self, w: WordFigures) -> list[AnyMeasurement]:
        at, counts = self._at("word", w.word), self._counts(w.labelled, w.units)
        asked = Counts(n=len(self.asked), denominator=w.asked, smallest=w.asked)
        return [
            self._figure("flip_rate", w.flips, asked, at),
            self._figure("excess_push", w.push.excess if w.push else None, counts, at),
            self._figure("misled", w.misled, counts, at),
        ]

    def _words_table(self) -> Table:
        rows = tuple(
            (
                w.word,
                message("yes") if w in self.named else message("no"),
                w.holding,
                w.flips.value,
                w.towards or None,
                w.push.push if w.push else None,
                w.push.lift if w.push else None,
                w.push.excess.value if w.push else None,
                w.misled.value if w.misled else None,
                w.p,
            )
            for w in self.shown
        )
        columns = (
            message("word"), message("named"), message("texts with it"), message("flips without it"), message("towards"),
            message("push"), message("lift in labels"), message("excess"), message("misled"), message("p (Holm)"),
        )  # fmt: skip
        return Table(title=message("Words taken out of the texts that hold them"), columns=columns, rows=rows)

    def _words_plot(self) -> IntervalPlot:
        points = [
            IntervalPoint(label=w.word, value=None, n=w.labelled, note=_TOO_FEW)
            if w.push is None
            else IntervalPoint(
                label=w.word, value=w.push.excess.value, low=w.push.excess.low, high=w.push.excess.high, n=w.labelled
            )
            for w in self.shown
        ]
        return IntervalPlot(
            title=message("Push beyond what labels explain, by word; intervals hold jointly over all words compared"),
            unit="score",
            points=tuple(points),
            reference=0.0,
            reference_label=message("labels explain the push"),
        )

    def _terms_table(self) -> Table:
        rows = tuple(
            (
                t.term, t.concept, t.asked, t.flips.value, t.over_random.value if t.over_random else None,
                t.over_random.low if t.over_random else None, t.over_random.high if t.over_random else None,
                t.weight, t.p, message("yes") if t in self.named_terms else message("no"),
            )
            for t in self.terms
        )  # fmt: skip
        columns = (
            message("term"), message("concept"), message("texts asked"), message("answers that flip without it"),
            message("more than without other words"), message("low"), message("high"),
            message("mean share of the weight"), message("p after Holm"), message("named"),
        )  # fmt: skip
        return Table(title=message("Protected terms taken out of the texts that hold them"), columns=columns, rows=rows)

    def _swaps_table(self) -> Table:
        rows = tuple(
            (
                s.concept, s.swapped, s.flips.value, s.flips.low, s.flips.high,
                s.shift.value if s.shift else None, s.shift.low if s.shift else None, s.shift.high if s.shift else None,
            )
            for s in self.swaps
        )  # fmt: skip
        columns = (
            message("concept"), message("texts swapped"), message("answers that flip"), message("low"), message("high"),
            message("change in the share of the weight"), message("low"), message("high"),
        )  # fmt: skip
        return Table(title=message("One protected term swapped for another of its concept"), columns=columns, rows=rows)

    def _examples(self, w: WordFigures) -> TextPairs | None:
        at, _, said = self.asked.after(WORD, w.word)
        pairs: list[TextPair] = []
        for i, after in zip(at.tolist(), said.tolist(), strict=True):
            text = self.asked.inputs[i]
            if after == self.asked.said[i] or text is None or len(pairs) == EXAMPLES:
                continue
            known = self.asked.labels[i] >= 0
            pairs.append(
                TextPair(
                    before=text,
                    after=re.sub(bounded(w.word), GONE, text, flags=re.IGNORECASE),
                    before_label=self.asked.classes[self.asked.said[i]],
                    after_label=self.asked.classes[after],
                    note=message("label: {label}", label=self.asked.classes[self.asked.labels[i]]) if known else None,
                )
            )
        if not pairs:
            return None
        rule = message(
            "the first {shown} of the texts asked about whose answer flips, in the order of the data", shown=len(pairs)
        )
        return TextPairs(
            title=message("Answers with and without {word}", word=w.word), chosen_by=rule, pairs=tuple(pairs)
        )

    def _counts(self, denominator: int, units: int) -> Counts:
        clusters = units if self.asked.clustered else None
        return Counts(n=len(self.asked), denominator=denominator, smallest=denominator, clusters=clusters)

    def _exact(self, name: str, value: int, counts: Counts) -> Measurement:
        d = self.defines[name]
        return Measurement(name=name, value=value, interval=None, counts=counts, unit=d.unit, better=d.better)

    def _at_least(self, name: str, ps: Sequence[float], counts: Counts) -> Measurement:
        """How many were named, with the bound that Holm's correction gives: at the level, every one of them is real.

        There is no upper end, because a word that was not named may decide all the same.
        """
        sure = sum(p <= 1 - self.level for p in ps)
        bound = Interval(low=sure, high=None, level=self.level, method=Method(name="Holm's correction"))
        return self._exact(name, len(ps), counts).model_copy(update={"interval": bound})

    def _figure(self, name: str, estimate: Estimate | None, counts: Counts, at: Slice) -> AnyMeasurement:
        if estimate is None:
            return Undefined(name=name, slice=at, counts=counts, reason=_TOO_FEW)
        return self._measured(name, estimate, counts, at)

    def _measured(self, name: str, estimate: Estimate, counts: Counts, at: Slice) -> Measurement:
        d = self.defines[name]
        return Measurement(
            name=name, value=estimate.value, interval=estimate.interval(self.level), counts=counts, unit=d.unit,
            slice=at, better=d.better,
        )  # fmt: skip

    def _at(self, name: str, value: str) -> Slice:
        return (Axis(kind="setting", name=name, value=value),)


def _excess(w: WordFigures) -> float:
    return w.push.excess.value if w.push else -2.0
