"""How far a guarantee reaches: what was fitted or chosen beside the private steps, and what epsilon does not protect. It says
so and decides nothing.
"""

from __future__ import annotations

from collections import Counter

from fine_tune.learning import Job
from fine_tune.privacy.earlier import Charges
from fine_tune.privacy.facts import Outside, Remark, message
from fine_tune.privacy.settings import EXAMPLE


def outside(job: Job, spent: Charges) -> tuple[Outside, ...]:
    """Everything that was fitted or chosen beside the private steps."""
    recipe = job.recipe
    return (
        Outside(name="base weights", standing=spent.base, reason=_base(job, spent)),
        Outside(
            name="vocabulary and normalisation",
            standing="public",
            reason=message(
                "Vocabulary, image size and normalisation come with the base, and no row of the data moves them."
            ),
        ),
        Outside(
            name="class names and their number", standing="public", reason=message("Taken as known without the rows.")
        ),
        Outside(
            name="number of units", standing="public", reason=message("It sets the sampling rate, and is printed here.")
        ),
        Outside(
            name="class weights",
            standing="public" if recipe.class_weights else "not used",
            reason=message("Numbers in the recipe; taken as known without the rows.")
            if recipe.class_weights
            else message("Every class counts alike."),
        ),
        Outside(name="early stopping", standing="not used", reason=message("The number of steps was fixed up front.")),
        Outside(
            name="hyperparameter search",
            standing="charged" if spent.named else "not used",
            reason=message("Earlier trainings on these rows are charged.")
            if spent.named
            else message(
                "None in this training. Whoever tried other settings on the same rows must name those checkpoints."
            ),
        ),
    )


def not_covered(job: Job, spent: Charges) -> tuple[Remark, ...]:
    """What epsilon does not protect."""
    privacy = job.recipe.privacy
    training = job.split.training
    out = []
    if privacy is not None and privacy.unit == EXAMPLE:
        clusters = job.data.clusters
        if clusters is not None:
            largest = max(Counter(clusters[i] for i in training if clusters[i] is not None).values(), default=1)
            if largest > 1:
                out.append(
                    message("Epsilon protects one row. Up to {rows} rows share a cluster, such as one author: of them together more can be learned.", rows=largest)
                )  # fmt: skip
        contents = job.data.content_digests
        if contents is not None:
            again = sum(n for n in Counter(contents[i] for i in training).values() if n > 1)
            if again:
                out.append(
                    message(
                        "{rows} rows have an input that stands in several rows; each of them is protected alone, not the input.",
                        rows=again,
                    )
                )
        if job.data.counterparts is not None and any(job.data.counterparts[i] is not None for i in training):
            out.append(message("Rows that are versions of one another are protected one by one, not as one."))
    out.append(
        message(
            "Epsilon is about the weights. The training record and this ledger name the rows that were trained on, and state digests and counts of them without noise: who receives those beside the weights knows the members."
        )
    )
    if spent.repeatable:
        out.append(
            message(
                "An earlier training that is charged drew its noise from its recipe's seed: whoever holds its training record can take that noise away."
            )
        )
    if job.split.validation:
        out.append(
            message(
                "{rows} validation rows are outside the guarantee: their loss is written down without noise.",
                rows=len(job.split.validation),
            )
        )
    return tuple(out)


def _base(job: Job, spent: Charges) -> Remark:
    if job.base.untrained:
        return message("There are none: the training starts from random weights.")
    if spent.base == "charged":
        return message("The base was trained privately on these rows; its steps are charged.")
    if spent.base == "private":
        return message("The base was trained on these rows without a guarantee.")
    return message("Taken as trained without the protected rows; nobody can check this from the weights.")
