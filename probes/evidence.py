"""What a probe hands over: measurements, evidence and remarks, as plain frozen data.

This module is the one thing that the rooms above may know of the probes. It computes nothing, imports neither torch nor
any engine, and refuses values that would lie: no NaN, no infinity, no interval that excludes nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scalar = str | int | float


class Plain(BaseModel):
    """Base of everything that crosses a file boundary: frozen, closed to unknown keys, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


_FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)(%?)\}")


def format_number(value: float) -> str:
    """The one way numbers are written for people: integers whole, others to three decimals or three digits."""
    if isinstance(value, int) or float(value).is_integer():
        return str(int(value))
    if abs(value) >= 1000:
        return f"{value:.1f}"
    return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.2e}"


class Message(Plain):
    """An English sentence with named places, which is also its own gettext key.

    ``text`` holds ``{name}`` places (or ``{name%}`` for a share shown in percent) filled from ``params``. A place
    without a parameter stays as it is, so that a damaged record shows its damage. A parameter may be a message itself.
    """

    text: str
    params: dict[str, Scalar | Message] = Field(default_factory=dict)

    def put(self, **params: Scalar | Message) -> Message:
        """The same sentence with these values: for a sentence that stands in one place and is said in another."""
        return Message(text=self.text, params=params)

    def fill(self, translate: Callable[[str], str] = str) -> str:
        """The sentence in English, or in the language that ``translate`` turns templates into."""

        def put(match: re.Match[str]) -> str:
            name, percent = match.group(1), match.group(2)
            if name not in self.params:
                return match.group(0)
            value = self.params[name]
            if isinstance(value, Message):
                return value.fill(translate)
            if isinstance(value, str):
                return value
            return f"{100 * value:.1f} %" if percent else format_number(value)

        return _FIELD.sub(put, translate(self.text) if self.text else "")

    def __str__(self) -> str:
        return self.fill()


def message(text: str, /, **params: Scalar | Message) -> Message:
    """Shorthand for `Message`; the word that the catalogue extraction looks for."""
    return Message(text=text, params=params)


class Need(StrEnum):
    """What a probe requires of a subject and its data."""

    PREDICTIONS = "predictions"
    LABELS = "labels"
    GROUPS = "groups"
    COUNTERPARTS = "counterparts"
    RATIONALES = "rationales"
    QUERIES = "queries"
    WEIGHTS = "weights"
    GRADIENTS = "gradients"
    GENERATE = "generate"
    TRAINING_DATA = "training_data"
    TRAINING_RECORD = "training_record"
    MEMBERS = "members"
    TWINS = "twins"


AxisKind = Literal["feature", "group", "class", "output", "setting"]


class Axis(Plain):
    """One coordinate of a slice, such as ``group:gender=female`` or ``class:hateful``.

    ``value`` is empty where the name alone says it: a feature, a class, an output.
    """

    kind: AxisKind
    name: str
    value: str = ""

    @property
    def selector(self) -> str:
        """``name`` or ``name=value``: how a policy's ``where`` names this axis."""
        return f"{self.name}={self.value}" if self.value else self.name

    def __str__(self) -> str:
        return f"{self.kind}:{self.selector}"


Slice = tuple[Axis, ...]


def slice_name(axes: Slice) -> str:
    """``group:gender=female, class:hired``; the empty slice is ``all``."""
    return ", ".join(str(a) for a in axes) or "all"


def feature_axes(*names: str) -> Slice:
    """The slice of a sensitive feature, or of an intersection of several."""
    return tuple(Axis(kind="feature", name=n) for n in names)


def group_axes(values: Mapping[str, str]) -> Slice:
    """The slice of one group, ``{"gender": "female"}``, or of an intersection."""
    return tuple(Axis(kind="group", name=n, value=v) for n, v in values.items())


class Counts(Plain):
    """What a figure rests on.

    Attributes:
        n: rows looked at.
        denominator: rows that the figure divides by.
        smallest: the smallest group's denominator, where the figure compares groups; else the denominator.
        clusters: independent units among the denominator's rows, or None where rows were taken as independent.
    """

    n: int = Field(ge=0)
    denominator: int = Field(ge=0)
    smallest: int = Field(ge=0)
    clusters: int | None = None


class Method(Plain):
    """How an interval came about: a name and its parameters, enough to repeat it."""

    name: str
    params: dict[str, Scalar] = Field(default_factory=dict)

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={format_number(v) if isinstance(v, float) else v}" for k, v in self.params.items())
        return f"{self.name} ({inside})" if inside else self.name


class Interval(Plain):
    """A confidence interval; a one-sided bound leaves one end None.

    ``monte_carlo_error`` is the standard error of the ends where they were simulated, else None.
    """

    low: float | None
    high: float | None
    level: float = Field(gt=0, lt=1)
    method: Method
    monte_carlo_error: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("an interval needs at least one end")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the interval's ends are out of order: {self.low} > {self.high}")
        return self

    @property
    def degenerate(self) -> bool:
        """Both ends agree: the data shows no variation, which is not the same as certainty."""
        return self.low is not None and self.low == self.high


Better = Literal["higher", "lower", "neither"]


class Measurement(Plain):
    """One number with everything needed to judge it.

    ``interval`` is None only for an exact quantity (a ledger entry, a count), never for a sampled one.
    ``monte_carlo_error`` is the standard error of ``value`` where the value itself was simulated.
    """

    kind: Literal["measurement"] = "measurement"
    name: str
    value: float
    interval: Interval | None
    counts: Counts
    unit: str = ""
    slice: Slice = ()
    better: Better = "neither"
    monte_carlo_error: float | None = None

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name} is {self.value}; use Undefined where a figure has no value")
        return self


class Undefined(Plain):
    """Asked for, and without a value here: never 0, never NaN, always with a reason."""

    kind: Literal["undefined"] = "undefined"
    name: str
    slice: Slice = ()
    counts: Counts
    reason: Message


AnyMeasurement = Annotated[Measurement | Undefined, Field(discriminator="kind")]

Cell = str | int | float | Message | None


class Table(Plain):
    """Rows of text and numbers. A None cell is shown as a dash.

    Attributes:
        raw: positions of the columns that hold inputs from the data, which a report shows only where it may.
    """

    kind: Literal["table"] = "table"
    title: Message
    columns: tuple[Message, ...]
    rows: tuple[tuple[Cell, ...], ...]
    raw: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"every row of {self.title.text!r} needs {len(self.columns)} cells")
        return self


# A name from the data is text; a name that we give is a message, so that it can be said in every language.
Label = str | Message


class Bar(Plain):
    label: Label
    value: float
    n: int | None = None


class Bars(Plain):
    """Counts or shares by name."""

    kind: Literal["bars"] = "bars"
    title: Message
    unit: str = ""
    bars: tuple[Bar, ...]


class IntervalPoint(Plain):
    """One estimate of an interval plot; ``value`` None means undefined, and ``note`` says why."""

    label: Label
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: Message | None = None


class IntervalPlot(Plain):
    """Estimates with their intervals on one axis."""

    kind: Literal["interval_plot"] = "interval_plot"
    title: Message
    unit: str = ""
    points: tuple[IntervalPoint, ...]
    reference: float | None = None
    reference_label: Message | None = None


class CurvePoint(Plain):
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Series(Plain):
    label: Label
    points: tuple[CurvePoint, ...]


class Curve(Plain):
    """One or more lines over a numeric axis; ``diagonal`` draws y = x as the ideal."""

    kind: Literal["curve"] = "curve"
    title: Message
    x_label: Message
    y_label: Message
    series: tuple[Series, ...]
    diagonal: bool = False


class WeightedText(Plain):
    """One text as tokens with signed weights in [-1, 1].

    Attributes:
        label: what positive weights pushed towards.
        method: the method of attribution, by its name in a plan, so that a report can say what its checks found; empty
            where the weights are of another kind.
        note: how far these weights may be believed: the error reached, what was predicted.
        marked: positions of the tokens that people marked as the reason; empty where nobody did.
    """

    tokens: tuple[str, ...]
    weights: tuple[float, ...]
    label: str
    method: str = ""
    note: Message | None = None
    marked: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if len(self.tokens) != len(self.weights):
            raise ValueError("tokens and weights differ in number")
        if any(not 0 <= i < len(self.tokens) for i in self.marked):
            raise ValueError("a position that people marked is no token")
        return self


class TokenWeights(Plain):
    """Attributions over tokens. ``chosen_by`` states the rule that picked these examples."""

    kind: Literal["token_weights"] = "token_weights"
    title: Message
    chosen_by: Message
    texts: tuple[WeightedText, ...]


class TextPair(Plain):
    before: str
    after: str
    before_label: str
    after_label: str
    note: Message | None = None


class TextPairs(Plain):
    """Texts before and after a change. ``chosen_by`` states the rule that picked these examples."""

    kind: Literal["text_pairs"] = "text_pairs"
    title: Message
    chosen_by: Message
    pairs: tuple[TextPair, ...]


class Tile(Plain):
    """One small image: PNG bytes in base64. ``method`` as in `WeightedText`, where weights are laid over it."""

    png_base64: str = Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")
    label: Label
    note: Message | None = None
    method: str = ""


class ImageGrid(Plain):
    """Small images with captions. ``chosen_by`` states the rule that picked these examples."""

    kind: Literal["image_grid"] = "image_grid"
    title: Message
    chosen_by: Message
    tiles: tuple[Tile, ...]


class Note(Plain):
    """A sentence that belongs beside the figures."""

    kind: Literal["note"] = "note"
    text: Message


Evidence = Annotated[
    Table | Bars | IntervalPlot | Curve | TokenWeights | TextPairs | ImageGrid | Note, Field(discriminator="kind")
]


class Reading(Plain):
    """What a probe read off its rows."""

    measurements: tuple[AnyMeasurement, ...]
    evidence: tuple[Evidence, ...] = ()
    remarks: tuple[Message, ...] = ()


class MeasureDefinition(Plain):
    """What a measure means, for the glossary, for policies and for comparisons.

    Attributes:
        name: as it stands in measurements and policies.
        formula: in plain text.
        low, high: range of possible values; None is unbounded.
        zero, one: what the values 0 and 1 mean, where they mean something.
        source: paper, standard or library that defines it.
        better: which direction is better.
        smooth: a difference between two models may be judged by resampling the same rows. False for extremes over
            groups, whose resampling distribution misleads.
    """

    name: str
    formula: Message
    low: float | None = 0.0
    high: float | None = 1.0
    zero: Message | None = None
    one: Message | None = None
    source: str = ""
    better: Better = "neither"
    unit: str = ""
    smooth: bool = True


class Parameter(Plain):
    """One option of a probe, as documented and as recorded."""

    name: str
    type: str
    default: str | None = None
    required: bool = False
    help: str = ""


class ProbeInfo(Plain):
    """What a probe asks, measures and cannot say. A copy travels in every finding.

    ``uses`` names what it makes use of where that is offered, and does without where it is not. ``tasks`` names the tasks that it
    is made for, by their Hugging Face names; empty where it is made for any.
    """

    id: str
    asks: Message
    defines: tuple[MeasureDefinition, ...]
    limits: tuple[Message, ...] = ()
    needs: tuple[Need, ...] = ()
    uses: tuple[Need, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    method: Message | None = None
    requires: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    distribution: str = "plumbline-audit"
    version: str = ""

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    def definition(self, measure: str) -> MeasureDefinition | None:
        """The definition of one measure, or None."""
        return next((d for d in self.defines if d.name == measure), None)
