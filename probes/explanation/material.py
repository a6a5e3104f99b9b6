"""What a check of explanations works on: the drawn inputs in units, the class that is explained for each, and the methods that
this model allows. It draws by the rule that all explanation probes share, and judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes.errors import ProbeError, Unavailable
from probes.evidence import Message, message

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.engines.captum.explainer import Attribution, Encoded, Explainer
    from probes.probe import Context
    from probes.subject import Subject

KEY = b"plumbline.explanation"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rows cannot say by themselves; travels in the schema's metadata.

    Attributes:
        methods: those that were used, in the order asked for, with their titles.
        refused: those that were asked for and cannot be used here, with the reason.
        left_out: default methods that cannot be used here, with the reason.
        rule: how the inputs were drawn.
        absent: what stood in for a unit that was taken away.
        drawn: inputs drawn.
        empty: of those, inputs without a unit, which nothing can be said about.
        truncated: of those, inputs that were cut at the model's maximum length.
    """

    methods: dict[str, Message]
    refused: dict[str, Message]
    left_out: dict[str, Message]
    rule: Message
    absent: Message
    drawn: int
    empty: int
    truncated: int

    def encode(self, **more: Any) -> dict[bytes, bytes]:
        """As schema metadata; ``more`` are a probe's own facts, JSON values."""
        body: dict[str, Any] = {"drawn": self.drawn, "empty": self.empty, "truncated": self.truncated, **more}
        for name in ("methods", "refused", "left_out"):
            body[name] = [[key, said.model_dump(mode="json")] for key, said in getattr(self, name).items()]
        for name in ("rule", "absent"):
            body[name] = getattr(self, name).model_dump(mode="json")
        return {KEY: json.dumps(body, ensure_ascii=False, sort_keys=True).encode()}

    @classmethod
    def of(cls, rows: pa.Table) -> tuple[Facts, dict[str, Any]]:
        """Read back, with whatever ``more`` there was.

        Raises:
            ProbeError: the rows carry no such facts.
        """
        raw = (rows.schema.metadata or {}).get(KEY)
        if raw is None:
            raise ProbeError("the rows carry no description", expected=f"schema metadata {KEY.decode()!r}")
        body = json.loads(raw)
        known: dict[str, Any] = {name: body.pop(name) for name in ("drawn", "empty", "truncated")}
        for name in ("methods", "refused", "left_out"):
            known[name] = {key: Message(**said) for key, said in body.pop(name)}
        for name in ("rule", "absent"):
            known[name] = Message(**body.pop(name))
        return cls(**known), body

    def remarks(self) -> tuple[Message, ...]:
        """What a reader should know before the figures."""
        out = [self.rule]
        if self.empty:
            out.append(
                message("{rows} drawn inputs have no unit that could be weighed; they are left out.", rows=self.empty)
            )
        if self.truncated:
            out.append(
                message(
                    "{rows} drawn inputs are longer than the model reads; what was cut is neither weighed nor taken away.",
                    rows=self.truncated,
                )
            )
        for kept in (self.refused, self.left_out):
            out += [message("{method} is left out: {reason}", method=name, reason=why) for name, why in kept.items()]
        return tuple(out)


@dataclass(frozen=True, kw_only=True)
class Material:
    """Inputs with at least one unit, one entry each, and the methods to examine."""

    explainer: Explainer
    row_ids: tuple[str, ...]
    unit_ids: tuple[int, ...]
    clusters: tuple[str | None, ...]
    encoded: tuple[Encoded, ...]
    targets: tuple[int, ...]
    facts: Facts

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods to examine."""
        return tuple(self.facts.methods)

    def attribute(self, method: str, ctx: Context) -> list[Attribution]:
        """The method's weights for every input."""
        return self.explainer.attribute(self.encoded, self.targets, method, ctx)


def gather(subject: Subject, ctx: Context, examples: int, methods: Sequence[str]) -> Material:
    """Draw inputs and choose methods.

    Args:
        subject: with a model at hand.
        examples: inputs to draw, at most.
        methods: names; the default set where empty.

    Raises:
        Unavailable: no model, no adapter for the task, no inputs, or none of the methods can be used.
        ProbeError: a method is unknown.
    """
    from probes.engines.captum.explainer import open_explainer
    from probes.explanation.sampling import draw

    explainer = open_explainer(subject, ctx)
    if not subject.data.has_inputs:
        raise Unavailable("the data has no inputs to explain", fix="name the column under `input`")
    titles, refused = _choose(explainer, methods)
    if not titles:
        reasons = "; ".join(f"{name}: {why.fill()}" for name, why in refused.items())
        raise Unavailable(f"no method can be used on this model ({reasons})")
    table = subject.predictions(ctx)
    drawn = draw(table, examples, ctx)
    chosen = table.take(list(drawn.positions))
    places = {row: i for i, row in enumerate(subject.data.row_ids)}
    row_ids, unit_ids = chosen["row_id"].to_pylist(), chosen["unit_id"].to_pylist()
    clusters = chosen["cluster"].to_pylist() if "cluster" in chosen.column_names else [None] * len(row_ids)
    inputs = subject.data.inputs
    encoded = explainer.encode([inputs[places[row]] for row in row_ids])
    kept = [i for i, one in enumerate(encoded) if one.units]
    targets = [explainer.classes.index(name) for name in chosen["prediction"].to_pylist()]
    facts = Facts(
        methods=titles,
        refused=refused if methods else {},
        left_out={} if methods else refused,
        rule=drawn.rule,
        absent=explainer.absent,
        drawn=len(encoded),
        empty=len(encoded) - len(kept),
        truncated=sum(one.truncated for one in encoded),
    )
    return Material(
        explainer=explainer,
        row_ids=tuple(row_ids[i] for i in kept),
        unit_ids=tuple(unit_ids[i] for i in kept),
        clusters=tuple(clusters[i] for i in kept),
        encoded=tuple(encoded[i] for i in kept),
        targets=tuple(targets[i] for i in kept),
        facts=facts,
    )


def _choose(explainer: Explainer, wanted: Sequence[str]) -> tuple[dict[str, Message], dict[str, Message]]:
    """Titles of the methods that can be used, and why others cannot."""
    from probes.engines.captum.methods import default_methods, methods

    known = methods()
    titles: dict[str, Message] = {}
    refused: dict[str, Message] = {}
    for name in dict.fromkeys(wanted or default_methods()):
        if name not in known:
            raise ProbeError(f"no method is called {name!r}", expected=f"one of {', '.join(known)}")
        reason = explainer.check(name)
        if reason is None:
            titles[name] = known[name].title
        else:
            refused[name] = reason
    return titles, refused
