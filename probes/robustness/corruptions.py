"""How well images are still recognised that are noisy, blurred, faint, bright, partly covered, coarse or strongly compressed.

It only asks the subject about changed inputs, so that anything that answers can be examined. Nobody is out to fool the
model here; `robustness.adversarial` asks about that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fine_tune.data import content_digest
from fine_tune.predictions import PredictionsMeta
from fine_tune.rows import decide
from probes.errors import ProbeError, Unavailable
from probes.evidence import Need, Reading
from probes.probe import silent
from probes.registry import probe
from probes.robustness import panels
from probes.robustness.corrupting import KINDS, SEVERITIES, corrupt, pixels, undamaged
from probes.robustness.corruption_definitions import CORRUPTIONS, LIMITS, METHOD
from probes.robustness.corruption_reading import KEY, ORIGINAL, SHOWN, SHOWN_AT, read
from probes.robustness.labelled import draw_labelled, repeated

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.probe import Context
    from probes.subject import Subject

AT_ONCE = 32
TASK = "image-classification"


@probe(
    "robustness.corruptions",
    needs={Need.PREDICTIONS, Need.LABELS, Need.QUERIES},
    tasks=("image-classification",),
    defines=CORRUPTIONS,
    limits=LIMITS,
    method=METHOD,
)
@dataclass(frozen=True, kw_only=True)
class Corruptions:
    """How much accuracy is left when images are noisy, blurred or otherwise damaged?

    Each drawn image is damaged in each way at five severities, and the model asked again.
    """

    kinds: tuple[str, ...] = field(
        default=tuple(KINDS), metadata={"help": f"Kinds of damage: {', '.join(KINDS)}; all by default."}
    )
    examples: int | None = field(
        default=500, metadata={"help": "Rows with a label to draw, in proportion to the labels; null takes all."}
    )
    min_group: int = field(default=1, metadata={"help": "Groups with fewer drawn rows are listed, and not compared."})
    permutations: int = field(default=2000, metadata={"help": "Random regroupings behind each p-value."})

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise ProbeError(
                f"kinds is {', '.join(self.kinds) or 'empty'}", expected=f"different ones of {', '.join(KINDS)}"
            )
        for name in ("examples", "min_group", "permutations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ProbeError(f"{name} is {value}", expected="a number from 1 or more")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row a drawn row, kind and severity, and what the model then says.

        Raises:
            Unavailable: the inputs are no images.
        """
        if subject.task != TASK:
            raise Unavailable(f"inputs of {subject.task} are no images", fix=f"it runs for {TASK}")
        if not subject.data.has_inputs:
            raise Unavailable("the data has no inputs to damage", fix="name the column under `input`")
        drawn, labelled = draw_labelled(subject.predictions(ctx), self.examples, ctx)
        places = {row: i for i, row in enumerate(subject.data.row_ids)}
        inputs = subject.data.inputs
        images = [inputs[places[row]] for row in drawn["row_id"].to_pylist()]
        contents = [content_digest(image) for image in images]
        order = sorted(range(len(images)), key=contents.__getitem__)
        parts = [order[i : i + AT_ONCE] for i in range(0, len(order), AT_ONCE)]
        quiet, meta = replace(ctx, progress=silent), _meta(subject)
        lines: dict[int, list[_Line]] = {}
        for part in ctx.progress(parts, len(parts), f"damaging {subject.data.name}"):
            damaged = [self._damaged(images[i], contents[i], ctx) for i in part]
            scores = subject.predict([one for forms in damaged for one in forms], quiet)
            said = iter(decide(scores, meta))
            for i, forms in zip(part, damaged, strict=True):
                plain = content_digest(undamaged(images[i]))
                lines[i] = [_Line(next(said), content_digest(form) != plain) for form in forms]
        return self._table(drawn, lines, self._pictures(images, contents, ctx), meta, labelled)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Accuracy by kind and severity, and by group; curves, amounts and pictures."""
        return read(rows, ctx, min_group=self.min_group, permutations=self.permutations)

    @property
    def _ways(self) -> list[tuple[str, int]]:
        return [(kind, severity) for kind in self.kinds for severity in SEVERITIES]

    def _damaged(self, image: Any, content: str, ctx: Context) -> list[Any]:
        """Every damaged form of an image, the same wherever the image stands."""
        return [
            corrupt(image, kind, severity, ctx.rng(f"{kind} {severity} {content}")) for kind, severity in self._ways
        ]

    def _pictures(self, images: Sequence[Any], contents: Sequence[str], ctx: Context) -> dict[tuple[int, int], bytes]:
        """One drawn image, and what the middle severity makes of it: PNG by row and line, line -1 being undamaged."""
        if not images:
            return {}
        i = int(ctx.rng("picture").integers(len(images)))
        damaged = self._damaged(images[i], contents[i], ctx)
        shown = {(i, k): damaged[k] for k, (_, severity) in enumerate(self._ways) if severity == SHOWN_AT}
        return {key: panels.png(pixels(value)) for key, value in {(i, -1): images[i], **shown}.items()}

    def _table(
        self,
        drawn: pa.Table,
        lines: dict[int, list[_Line]],
        pictures: dict[tuple[int, int], bytes],
        meta: PredictionsMeta,
        labelled: int,
    ) -> pa.Table:
        import pyarrow as pa

        ways = self._ways
        keys = [(i, k) for i in range(len(drawn)) for k in range(len(ways))]
        columns = repeated(drawn, len(ways)) | {
            "corruption": pa.array([ways[k][0] for _, k in keys], pa.string()),
            "severity": pa.array([ways[k][1] for _, k in keys], pa.int32()),
            "prediction_after": pa.array([lines[i][k].prediction for i, k in keys], pa.string()),
            "changed": pa.array([lines[i][k].changed for i, k in keys], pa.bool_()),
            ORIGINAL: pa.array([pictures.get((i, -1)) if k == 0 else None for i, k in keys], pa.binary()),
            SHOWN: pa.array([pictures.get(key) for key in keys], pa.binary()),
        }
        facts = json.dumps({"kinds": list(self.kinds), "labelled": labelled}).encode()
        return pa.table(columns).replace_schema_metadata({**meta.encode(), KEY: facts})


@dataclass(frozen=True)
class _Line:
    """What was said of a damaged image, and whether the damage changed a single value of it."""

    prediction: str
    changed: bool


def _meta(subject: Subject) -> PredictionsMeta:
    return PredictionsMeta(
        task=subject.task, classes=subject.classes, threshold=subject.threshold, positive=subject.positive
    )
