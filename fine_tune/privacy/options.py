"""What each option of a recipe means for the guarantee: one table, which the code obeys and the documentation prints. It looks
at options alone; what a model's layers allow is checked where gradients are clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fine_tune.errors import RecipeError

if TYPE_CHECKING:
    from fine_tune.recipe import Recipe

Meaning = Literal["free", "public", "charged", "refused"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option and its standing under privacy.

    Attributes:
        name: as in a recipe.
        meaning: ``free``: changes nothing about the guarantee. ``public``: must not come from the protected rows, and the
            ledger says that it was taken so. ``charged``: allowed, and epsilon grows. ``refused``: stops the training.
        why: in one sentence.
        instead: what to do, where it is refused.
        used: whether a recipe uses it in the way that this line speaks of.
    """

    name: str
    meaning: Meaning
    why: str
    instead: str = ""
    used: Callable[[Recipe], bool] = lambda _: False


OPTIONS: tuple[Option, ...] = (
    Option(
        name="class_weights: balanced",
        meaning="refused",
        why="the weights are counts of the protected labels, which no noise hides",
        instead="give numbers that you know from elsewhere",
        used=lambda r: r.class_weights == "balanced",
    ),
    Option(
        name="class_weights: numbers",
        meaning="public",
        why="numbers that do not come from the protected rows; they are not scaled to a mean of one, which would need counts",
        used=lambda r: isinstance(r.class_weights, dict),
    ),
    Option(
        name="sample_weights (reweighing)",
        meaning="refused",
        why="weights are scaled by their sum over the protected rows, so that one row moves every other row's share",
        instead="set sample_weights: false, or leave the weight role out; it stops only where the data has that role",
    ),
    Option(
        name="reweigh",
        meaning="refused",
        why="the weights are counts of the protected rows' labels by group, which no noise hides",
        instead="leave it out, and look at every group's recall in the report",
        used=lambda r: bool(r.reweigh),
    ),
    Option(
        name="balance",
        meaning="refused",
        why="a row of a small group would be drawn more often than by the rate that epsilon is computed from",
        instead="leave it out; batches are drawn by Poisson sampling at one rate for all",
        used=lambda r: bool(r.balance),
    ),
    Option(
        name="label_smoothing",
        meaning="free",
        why="a row's own loss changes by a constant rule; clipping bounds it as before",
        used=lambda r: r.label_smoothing > 0,
    ),
    Option(
        name="dropout, schedule, warm-up, weight decay, max_length",
        meaning="free",
        why="they do not look at other rows",
    ),
    Option(
        name="augmentation (rows added to the data)",
        meaning="charged",
        why="several versions of one row are several contributions; name the original under privacy.unit, so that they count as one unit",
    ),
    Option(
        name="early_stopping",
        meaning="refused",
        why="when to stop would be read off rows without noise",
        instead="fix epochs or steps",
        used=lambda r: r.early_stopping is not None,
    ),
    Option(
        name="search",
        meaning="refused",
        why="the choice would be read off validation losses without noise",
        instead="search on public data, or train each recipe and name the checkpoints under privacy.earlier, so that they are charged",
        used=lambda r: bool(r.search),
    ),
    Option(
        name="privacy.earlier",
        meaning="charged",
        why="trainings on the same rows, for tuning or before, add up",
        used=lambda r: r.privacy is not None and bool(r.privacy.earlier),
    ),
    Option(
        name="seeds",
        meaning="refused",
        why="each member is a training of its own on the same rows, and the ensemble would spend all of them together",
        instead="train one model; the members' budgets would add up",
        used=lambda r: r.seeds is not None,
    ),
    Option(
        name="validation_share",
        meaning="public",
        why="the validation loss is written down without noise, so the validation rows are outside the guarantee",
        used=lambda r: r.held_out > 0,
    ),
    Option(
        name="holdout",
        meaning="free",
        why="these rows are never seen; the membership probe compares with them",
        used=lambda r: r.holdout > 0,
    ),
    Option(
        name="canaries",
        meaning="free",
        why="an included canary is a unit like any other; one that is left out is never seen",
        used=lambda r: r.canaries > 0,
    ),
    Option(
        name="augmented_by (plumbline harden)",
        meaning="free",
        why="the added rows come from audited rows and from asking the finished model; each is a unit of its own",
        used=lambda r: r.augmented_by is not None,
    ),
    Option(
        name="report_to",
        meaning="refused",
        why="a tracker would receive the training loss, which is a function of the protected rows without noise",
        instead="leave report_to out; the record keeps no training loss either",
        used=lambda r: bool(r.report_to),
    ),
    Option(
        name="gradient_accumulation",
        meaning="refused",
        why="a step's rows are drawn anew each time, and their number varies",
        instead="set privacy.physical_batch, which bounds memory in the same way",
        used=lambda r: r.gradient_accumulation > 1,
    ),
    Option(
        name="gradient_checkpointing",
        meaning="refused",
        why="the second forward pass would be recorded twice, and clipping would be wrong",
        instead="lower privacy.physical_batch",
        used=lambda r: r.gradient_checkpointing,
    ),
    Option(
        name="compile",
        meaning="refused",
        why="compiled layers hide the inputs that clipping needs",
        instead="compile: false",
        used=lambda r: r.compile,
    ),
    Option(
        name="precision: fp16",
        meaning="refused",
        why="scaled losses overflow now and then, and a skipped step is a release that nobody charged",
        instead="precision: bf16 or fp32",
        used=lambda r: r.precision == "fp16",
    ),
    Option(
        name="method: adalora",
        meaning="refused",
        why="the ranks are shared out by gradients without noise",
        instead="method: lora",
        used=lambda r: r.method == "adalora",
    ),
    Option(
        name="BatchNorm (privacy.batch_norm: refuse)",
        meaning="refused",
        why="each row's output depends on the other rows of its batch, so no row's contribution can be clipped alone",
        instead="privacy.batch_norm: hold, a base with GroupNorm or LayerNorm, or method: head",
    ),
    Option(
        name="privacy.batch_norm: hold",
        meaning="public",
        why="running statistics stay as they came with the base, so each row is normalised alone",
        used=lambda r: r.privacy is not None and r.privacy.batch_norm == "hold",
    ),
    Option(
        name="precision: bf16 with gradients: ghost",
        meaning="refused",
        why="the second backward pass rounds otherwise than the first, so a contribution may exceed the norm that it was clipped to",
        instead="gradients: auto",
        used=lambda r: r.precision == "bf16" and r.privacy is not None and r.privacy.gradients == "ghost",
    ),
    Option(
        name="weight sharing",
        meaning="refused",
        why="two uses of one weight are one contribution, and clipping each alone bounds nothing",
        instead="untie the weights (tie_word_embeddings: false), or train without them (head, lora)",
    ),
)


def check_options(recipe: Recipe) -> None:
    """Refuse what the guarantee cannot stand; at once where no privacy is asked for.

    Raises:
        RecipeError: an option is refused; every one is listed with its reason.
    """
    if recipe.privacy is None:
        return
    found = [o for o in OPTIONS if o.meaning == "refused" and o.used(recipe)]
    if found:
        raise RecipeError(
            "; ".join(f"{o.name} cannot be private: {o.why}" for o in found),
            expected="options that look at no protected row without noise",
            fix="; ".join(o.instead for o in found),
        )
