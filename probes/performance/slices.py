"""Which slices of the data are served worst: found on one random half of the rows, measured on the other half.

It names no slice on the strength of the half that it searched, and reports how many it looked at. It keeps lengths and
flags of words, never the inputs themselves. The search and its statistics are in `probes.performance.slicing`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fine_tune.predictions import SCORE, feature_names
from probes.answers import Answers, answers, group_codes
from probes.evidence import (
    AnyMeasurement,
    Axis,
    Counts,
    IntervalPlot,
    IntervalPoint,
    Measurement,
    Message,
    Need,
    Reading,
    Slice,
    Table,
    Undefined,
    message,
    slice_name,
)
from probes.intervals import Bool, Estimate, Int
from probes.multiplicity import holm
from probes.performance.cues import length_bins, read_cues
from probes.performance.slice_measures import BY_NAME, SLICES
from probes.performance.slicing import Candidate, Compared, Trait, inside, p_value, search, split
from probes.registry import probe

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject

LENGTH = "input_length"
WORD = "word_"


_NO_LABELS = message("No row has a label.")


@probe(
    "performance.slices",
    needs={Need.PREDICTIONS, Need.LABELS},
    defines=SLICES,
    limits=(
        message("That no slice is confirmed does not show that there is none: small slices need many rows."),
        message(
            "It looks for slices by group, label, input length and frequent words, and for pairs of them; no others."
        ),
        message("Words are found between spaces and punctuation; languages written without spaces have lengths only."),
        message("A word that marks a slice need not be the reason for its errors."),
        message("Labels are taken as true."),
    ),
    method=message(
        "Half of the clusters (or rows), drawn with the plan's seed, are searched; slices are ranked by the lower limit "
        "of their difference in error rates. The first ones are tested on the other half: Fisher's exact test, or a "
        "score test by clusters, one-sided, with Holm's correction. Every figure comes from the held-out half: Wilson "
        "and Newcombe intervals; those of confirmed slices hold jointly over all tested ones."
    ),
)
@dataclass(frozen=True, kw_only=True)
class Slices:
    """Which slices of the data have more errors than the rest?

    The worst slice is named by the search half alone, so its figures carry no reward for having been picked.
    """

    words: int = field(
        default=200, metadata={"help": "Frequent words looked at, by the number of rows that hold them."}
    )
    min_rows: int = field(default=30, metadata={"help": "Rows that a slice needs in the search half."})
    confirm: int = field(default=10, metadata={"help": "Slices that are tested on the held-out half."})
    alpha: float = field(default=0.05, metadata={"help": "Chance that any slice at all is confirmed wrongly."})

    def __post_init__(self) -> None:
        if self.words < 0:
            raise ValueError(f"words is {self.words}; at least 0 is needed")
        if self.min_rows < 2:
            raise ValueError(f"min_rows is {self.min_rows}; at least 2 is needed")
        if self.confirm < 1:
            raise ValueError(f"confirm is {self.confirm}; at least 1 is needed")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; a chance between 0 and 1 is needed")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """The predictions without scores, with ``input_length`` and one flag ``word_<word>`` for each frequent word."""
        import pyarrow as pa

        table = subject.predictions(ctx)
        table = table.select([n for n in table.column_names if not n.startswith(SCORE)])
        if not subject.data.has_inputs:
            return table
        cues = read_cues(subject.data.inputs, most=self.words, least_rows=2 * self.min_rows)
        place = {row: i for i, row in enumerate(subject.data.row_ids)}
        at = np.array([place[row] for row in table.column("row_id").to_pylist()], dtype=np.int64)
        lengths = cues.lengths[at]
        table = table.append_column(LENGTH, pa.array(lengths, pa.int64(), mask=lengths < 0))
        for word, flags in cues.words.items():
            table = table.append_column(WORD + word, pa.array(flags[at]))
        return table

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Counts of slices; error rate and gap of the worst and of each confirmed slice; a table and a plot."""
        import pyarrow as pa

        every = answers(rows)
        known = every.labelled
        if not known.any():
            nothing = Counts(n=len(every), denominator=0, smallest=0)
            names = [d.name for d in SLICES if not d.name.startswith("slice_")]
            return Reading(measurements=tuple(Undefined(name=n, counts=nothing, reason=_NO_LABELS) for n in names))
        labelled = rows if known.all() else rows.filter(pa.array(known))
        return _Sheet(self, labelled, every.where(known), ctx).reading(every.remarks())


@dataclass(frozen=True, kw_only=True)
class _Tested:
    at: Slice
    candidate: Candidate
    compared: Compared
    p: float


class _Sheet:
    """One summary in the making: traits, halves, and what the held-out half says of the proposed slices."""

    def __init__(self, probe: Slices, rows: pa.Table, known: Answers, ctx: Context) -> None:
        self.probe, self.level = probe, ctx.level
        traits = _traits(rows, known)
        wrong = known.labels != known.predictions
        first = split(_units(rows, known), ctx.rng("halves"))
        self.searched, self.held = int(first.sum()), int((~first).sum())
        clusters = known.clusters
        self.search = search(
            [Trait(axis=t.axis, rows=t.rows[first], dimension=t.dimension, crossed=t.crossed) for t in traits],
            wrong[first],
            None if clusters is None else clusters[first],
            min_rows=probe.min_rows,
            most=probe.confirm,
            alpha=probe.alpha,
        )
        rest, theirs = wrong[~first], None if clusters is None else clusters[~first]
        self.clusters = known.distinct_clusters(~first)
        self.overall = float(rest.mean()) if len(rest) else None
        slices = [inside(traits, c.traits)[~first] for c in self.search.candidates]
        adjusted = holm([p_value(s, rest, theirs) for s in slices])
        self.tested = [
            _Tested(
                at=tuple(traits[i].axis for i in c.traits),
                candidate=c,
                compared=Compared.of(s, rest, theirs),
                p=float(p),
            )
            for c, s, p in zip(self.search.candidates, slices, adjusted, strict=True)
        ]

    def reading(self, remarks: tuple[Message, ...]) -> Reading:
        counts = Counts(n=self.searched, denominator=self.searched, smallest=self.searched)
        held = Counts(n=self.held, denominator=self.held, smallest=self.held, clusters=self.clusters)
        confirmed = [t for t in self.tested if t.p <= self.probe.alpha and t.compared.comparable]
        out: list[AnyMeasurement] = [_exact("slices_tried", self.search.tried, counts)]
        if self.search.tried and self.held:
            out.append(_exact("slices_confirmed", len(confirmed), held))
        else:
            out.append(Undefined(name="slices_confirmed", counts=held, reason=self._nothing()))
        out += self._worst(held)
        for t in confirmed:
            for name, estimate in self._figures(t, "slice", len(self.tested)):
                out.append(self._measured(name, estimate, t, t.at))
        summary = message(
            "{tried} slices were tried on {searched} rows; {tested} were tested on the other {held} rows, and "
            "{confirmed} of them are confirmed to have more errors than the rest.",
            tried=self.search.tried,
            searched=self.searched,
            tested=len(self.tested),
            held=self.held,
            confirmed=len(confirmed),
        )
        said = [summary]
        if self.tested:
            said.append(
                message("The slice that the search half ranks worst is {slice}.", slice=slice_name(self.tested[0].at))
            )
        evidence = (self._table(), self._plot()) if self.tested else ()
        return Reading(measurements=tuple(out), evidence=evidence, remarks=(*remarks, *said))

    def _nothing(self) -> Message:
        return message("No slice has {rows} rows in the search half.", rows=self.probe.min_rows)

    def _worst(self, held: Counts) -> list[AnyMeasurement]:
        names = ("worst_slice_error", "worst_slice_gap")
        if not self.search.tried:
            return [Undefined(name=n, counts=held, reason=self._nothing()) for n in names]
        if not self.tested:
            reason = message("No slice has more errors than the rest in the search half.")
            return [Undefined(name=n, counts=held, reason=reason) for n in names]
        worst = self.tested[0]
        if not worst.compared.comparable:
            reason = message(
                "The slice {slice} and its rest need rows in the held-out half.", slice=slice_name(worst.at)
            )
            return [Undefined(name=n, counts=held, reason=reason) for n in names]
        return [self._measured(name, e, worst, ()) for name, e in self._figures(worst, "worst_slice", 1)]

    def _figures(self, t: _Tested, prefix: str, together: int) -> list[tuple[str, Estimate]]:
        return [
            (f"{prefix}_error", t.compared.error(self.level, together)),
            (f"{prefix}_gap", t.compared.gap(self.level, together)),
        ]

    def _measured(self, name: str, estimate: Estimate, t: _Tested, at: Slice) -> Measurement:
        rates = t.compared.rates
        n = int(rates.denominators[0])
        gap = name.endswith("gap")
        return Measurement(
            name=name,
            value=estimate.value,
            interval=estimate.interval(self.level),
            counts=Counts(
                n=self.held,
                denominator=self.held if gap else n,
                smallest=int(rates.denominators.min()) if gap else n,
                clusters=None if rates.clusters is None else self.clusters if gap else int(rates.clusters[0]),
            ),
            unit="share",
            slice=at,
            better=BY_NAME[name].better,
        )

    def _table(self) -> Table:
        lines = []
        for t in self.tested:
            size, errors = int(t.compared.rates.denominators[0]), int(t.compared.rates.successes[0])
            gap = float(t.compared.gap(self.level).value) if t.compared.comparable else None
            sure = t.p <= self.probe.alpha and t.compared.comparable
            found = t.candidate
            lines.append(
                (slice_name(t.at), found.n, found.errors / found.n, size, errors / size if size else None, gap, t.p,
                 message("yes") if sure else message("no"))
            )  # fmt: skip
        return Table(
            title=message("Slices proposed by the search, the worst first"),
            columns=(
                message("slice"), message("rows searched"), message("error rate searched"), message("rows held out"),
                message("error rate held out"), message("less the rest"), message("p-value (Holm)"), message("confirmed"),
            ),
            rows=tuple(lines),
        )  # fmt: skip

    def _plot(self) -> IntervalPlot:
        points = []
        for t in self.tested:
            n = int(t.compared.rates.denominators[0])
            if not n:
                note = message("The slice has no row in the held-out half.")
                points.append(IntervalPoint(label=slice_name(t.at), value=None, n=0, note=note))
                continue
            shown = t.compared.error(self.level, len(self.tested)).interval(self.level)
            value = float(t.compared.rates.values[0])
            points.append(IntervalPoint(label=slice_name(t.at), value=value, low=shown.low, high=shown.high, n=n))
        return IntervalPlot(
            title=message("Error rates of proposed slices in the held-out half, intervals holding jointly"),
            unit="share",
            points=tuple(points),
            reference=self.overall,
            reference_label=message("all held-out rows"),
        )


def _exact(name: str, value: int, counts: Counts) -> Measurement:
    d = BY_NAME[name]
    return Measurement(name=name, value=float(value), interval=None, counts=counts, unit=d.unit, better=d.better)


def _units(rows: pa.Table, known: Answers) -> Int:
    """What must not be torn between the halves: a cluster, else equal inputs, else a row; codes by sorted name."""
    if known.clusters is not None:
        return np.unique(known.clusters, return_inverse=True)[1].astype(np.int64)
    name = "content" if "content" in rows.column_names and not rows.column("content").null_count else "row_id"
    names = np.asarray(rows.column(name).to_pylist(), dtype=str)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _traits(rows: pa.Table, known: Answers) -> list[Trait]:
    """Every group, label, length bin and word, in this order; the values of each are sorted."""
    out = []
    for feature in feature_names(rows):
        codes, names = group_codes(rows, feature)
        for g, name in enumerate(names):
            out.append(_trait("group", feature, name, codes == g, f"group {feature}"))
    for k, name in enumerate(known.classes):
        out.append(_trait("class", name, "", known.labels == k, "label"))
    if LENGTH in rows.column_names:
        lengths = rows.column(LENGTH).fill_null(-1).to_numpy().astype(np.int64)
        for low, high, inside_bin in length_bins(lengths):
            out.append(_trait("setting", "length", f"{low} to {high} characters", inside_bin, "length"))
    for name in sorted(n for n in rows.column_names if n.startswith(WORD)):
        flags = np.asarray(rows.column(name).to_numpy(), dtype=bool)
        word = name[len(WORD) :]
        out.append(
            Trait(
                axis=Axis(kind="setting", name="word", value=word), rows=flags, dimension=f"word {word}", crossed=False
            )
        )
    return out


def _trait(kind: str, name: str, value: str, rows: Bool, dimension: str) -> Trait:
    axis = Axis.model_validate({"kind": kind, "name": name, "value": value})
    return Trait(axis=axis, rows=rows, dimension=dimension)
