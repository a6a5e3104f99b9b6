"""How easily an attacker changes right answers: TextAttack's recipes on a sample of the data, counted as TextAttack counts.

`collect` attacks through `probes.engines.textattack` and keeps a row an example; `summarise` counts. It judges no text, and it
never takes what could not be attacked for what withstood.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fine_tune.errors import PlumblineError
from fine_tune.predictions import feature_names
from probes.engines.textattack.recipes import RecipeCard, cards, standing
from probes.errors import ProbeError, Unavailable
from probes.evidence import AnyMeasurement, Evidence, Message, Need, Reading, message
from probes.registry import probe
from probes.robustness.attack_evidence import (
    accuracy_plot,
    class_plot,
    error_kind,
    error_table,
    group_plot,
    group_remarks,
    instructive_pairs,
    outcome_table,
    success_curve,
)
from probes.robustness.attack_groups import Grouped, by_class, by_group
from probes.robustness.attack_rows import Facts, Sample, attack_rows
from probes.robustness.definitions import ATTACK, LIMITS, METHOD
from probes.robustness.outcomes import Outcomes, Overall, tally

if TYPE_CHECKING:
    import pyarrow as pa

    from probes.engines.textattack.attacks import Outcome
    from probes.probe import Context
    from probes.robustness.similarity import Encoder
    from probes.subject import Subject

TASK = "text-classification"
NO_ENCODER = message("No encoder was named; the option `encoder` takes a folder or a hub id.")


@probe(
    "robustness.attack",
    needs={Need.PREDICTIONS, Need.LABELS, Need.QUERIES},
    tasks=("text-classification",),
    defines=ATTACK,
    limits=LIMITS,
    method=METHOD,
    requires=("textattack",),
)
@dataclass(frozen=True, kw_only=True)
class Attack:
    """How easily does an attacker change right answers by changing the text a little?

    A recipe of TextAttack is run on a random sample, each example by itself, until its answer changes or the recipe gives
    up.
    """

    recipe: str = field(default="deepwordbug", metadata={"help": "The recipe, by name, such as deepwordbug or pruthi."})
    arguments: dict[str, str | int | float] = field(
        default_factory=dict, metadata={"help": "The recipe's own arguments, by name."}
    )
    examples: int | None = field(
        default=200, metadata={"help": "Rows to attack, drawn in proportion to label and groups; null for all."}
    )
    query_budget: int | None = field(
        default=None, metadata={"help": "Texts that one attack may ask about; the recipe's own limit by default."}
    )
    encoder: str | None = field(
        default=None,
        metadata={"help": "A sentence encoder, not the subject's, that says how alike texts stay: folder or hub id."},
    )
    network: bool = field(default=False, metadata={"help": "Whether recipe and encoder may download what they need."})
    features: tuple[str, ...] | None = field(
        default=None, metadata={"help": "Sensitive features to look at; all of the data's by default."}
    )
    min_group: int = field(
        default=10, metadata={"help": "Groups with fewer attacked examples are listed, and not compared."}
    )
    permutations: int = field(default=2000, metadata={"help": "Random regroupings behind each p-value."})
    most_errors: float = field(
        default=0.1, metadata={"help": "Share of examples, 0 to 1, that may break before nothing is reported."}
    )
    shown: int = field(default=12, metadata={"help": "Successful attacks to show as pairs of texts."})
    pool: int = field(default=32, metadata={"help": "Attacks that run at once: speed and memory, not results."})

    def __post_init__(self) -> None:
        # For its errors: an unknown recipe or argument is the plan's mistake; what is missing here is not.
        standing(self.recipe, arguments=self.arguments, network=self.network)
        least = {"examples": 1, "query_budget": 1, "min_group": 1, "permutations": 1, "shown": 0, "pool": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ProbeError(f"{name} is {value}", expected=f"at least {low}")
        if not 0 <= self.most_errors <= 1:
            raise ProbeError(f"most_errors is {self.most_errors}", expected="a share from 0 to 1")
        if self.features is not None and len(set(self.features)) != len(self.features):
            raise ProbeError(f"features is {list(self.features)}", expected="each name once")

    def collect(self, subject: Subject, ctx: Context) -> pa.Table:
        """One row a drawn example (see `probes.robustness.attack_rows`).

        Raises:
            Unavailable: the subject reads no texts, or the recipe cannot run here and now.
        """
        from probes.engines.textattack.attacks import Campaign, Example, attack_examples

        if subject.task != TASK:
            raise Unavailable(f"it attacks texts of the task {TASK}, and this subject's task is {subject.task}")
        why = standing(self.recipe, arguments=self.arguments, network=self.network)
        if why is not None:
            raise Unavailable(str(why))
        encoder, no_similarity = self._encoder(subject, ctx)
        sample = Sample.of(subject.predictions(ctx), self.examples, ctx.rng("sample"))
        known = dict(zip(subject.data.row_ids, subject.data.inputs, strict=True))
        ids = sample.rows.column("row_id").to_pylist()
        texts, labels = [known[i] for i in ids], sample.rows.column("label").to_pylist()
        campaign = Campaign(
            recipe=self.recipe, arguments=self.arguments, query_budget=self.query_budget, network=self.network,
            pool=self.pool,
        )  # fmt: skip
        examples = [Example(row_id=i, text=t, label=y) for i, t, y in zip(ids, texts, labels, strict=True)]
        outcomes = attack_examples(subject, examples, campaign, ctx)
        facts = replace(sample.facts, no_similarity=no_similarity)
        similarity: list[float | None] = [None] * len(texts)
        if encoder is not None:
            similarity, cut = _compare(encoder, texts, outcomes, ctx)
            base = (subject.training or {}).get("base_digest")
            facts = replace(facts, encoder=encoder.name, encoder_cut=cut, encoder_is_base=base == encoder.digest)
        return attack_rows(sample, texts, outcomes, similarity, facts)

    def summarise(self, rows: pa.Table, ctx: Context) -> Reading:
        """Accuracy before and after, success, queries, words, similarity; success by class, by group and by budget.

        Raises:
            ProbeError: too many examples ended in an error for the rest to be told as a result.
        """
        outcomes, facts = Outcomes.of(rows), Facts.of(rows)
        self._check_errors(outcomes, rows)
        overall = Overall(outcomes=outcomes, ctx=ctx, budget=self.query_budget, no_similarity=facts.no_similarity)
        whole, classes = overall.measurements(), by_class(outcomes, ctx, self.min_group)
        measurements: list[AnyMeasurement] = [*whole, *classes]
        evidence: list[Evidence] = [
            outcome_table(outcomes), accuracy_plot(whole), *success_curve(outcomes, ctx), *class_plot(classes)
        ]  # fmt: skip
        remarks = [*self._remarks(outcomes, facts, ctx), *outcomes.answers.remarks()]
        features = feature_names(rows) if self.features is None else self.features
        for feature in features:
            how = Grouped(
                feature=feature,
                known=tuple(facts.groups.get(feature, ())),
                least=self.min_group,
                draws=self.permutations,
            )
            read = by_group(outcomes, rows, how, ctx)
            measurements += [*read.rates, *read.gaps]
            evidence += group_plot(read)
            remarks += group_remarks(read)
        evidence += instructive_pairs(rows, features, self.shown, ctx)
        evidence += error_table(rows)
        return Reading(measurements=tuple(measurements), evidence=tuple(evidence), remarks=tuple(remarks))

    def _encoder(self, subject: Subject, ctx: Context) -> tuple[Encoder | None, Message | None]:
        """The encoder, or why there is none; its absence costs one figure and not the attack."""
        if self.encoder is None:
            return None, NO_ENCODER
        from probes.robustness.similarity import Encoder

        try:
            encoder = Encoder.open(self.encoder, network=self.network, device=ctx.device)
        except PlumblineError as error:
            return None, message("{why}", why=str(error))
        reader = getattr(subject, "reader", None)
        if reader is not None and encoder.has_weights_of(reader(ctx.device).model):
            return None, message(
                "The encoder {encoder} has the same weights as the subject's own, which the attack has just misled. "
                "Another encoder is needed.",
                encoder=self.encoder,
            )
        return encoder, None

    def _check_errors(self, outcomes: Outcomes, rows: pa.Table) -> None:
        broken = int(outcomes.has("error").sum())
        if not broken or broken <= self.most_errors * len(outcomes):
            return
        kinds = Counter(error_kind(text) for text in rows.column("error").to_pylist() if text is not None)
        raise ProbeError(
            f"{broken} of {len(outcomes)} examples ended in an error, most often in {kinds.most_common(1)[0][0]}"
            if kinds
            else f"{broken} of {len(outcomes)} examples ended in an error",
            expected=f"at most {100 * self.most_errors:.6g} %, the option most_errors",
            fix="look at the column `error` of the rows, or try another recipe",
        )

    def _remarks(self, outcomes: Outcomes, facts: Facts, ctx: Context) -> list[Message]:
        card, found = _card(self.recipe), tally(outcomes)
        out = [message("The recipe is {title} ({source}).", title=card.title, source=card.source)]
        if len(outcomes) < facts.labelled:
            out.append(
                message(
                    "{drawn} of {rows} rows with a label were drawn at random with seed {seed}: every row has the same "
                    "chance, and each combination of label and groups its share of the sample, rounded up or down.",
                    drawn=len(outcomes),
                    rows=facts.labelled,
                    seed=ctx.seed,
                )
            )
        else:
            out.append(message("All {rows} rows with a label were taken.", rows=facts.labelled))
        if facts.unlabelled:
            out.append(message("{rows} rows have no label, and so no right answer to attack.", rows=facts.unlabelled))
        if found["error"]:
            out.append(
                message(
                    "{broken} of {drawn} examples ended in an error; every figure leaves them out.",
                    broken=found["error"],
                    drawn=len(outcomes),
                )
            )
        if self.query_budget is not None:
            spent = int((outcomes.has("failed") & (outcomes.queries >= self.query_budget)).sum())
            out.append(
                message(
                    "An attack could ask about {budget} texts at most; {spent} attacks failed with that spent.",
                    budget=self.query_budget,
                    spent=spent,
                )
            )
        kept = int((outcomes.has("succeeded") & outcomes.right_after).sum())
        if kept:
            out.append(
                message(
                    "{kept} successful attacks keep the answer, as that is this recipe's goal; they count as right under "
                    "attack.",
                    kept=kept,
                )
            )
        close = int((outcomes.close_calls > 0).sum())
        if close:
            out.append(
                message(
                    "In {examples} examples some decision hung on less than 0.00001 of a score; on another device or "
                    "with another size of batch they may end otherwise.",
                    examples=close,
                )
            )
        return out + _encoder_remarks(facts)


def _card(recipe: str) -> RecipeCard:
    """By name; capitals, hyphens and underscores do not matter."""

    def plain(name: str) -> str:
        return re.sub(r"[-_ ]", "", name.lower())

    return next(card for name, card in cards().items() if plain(name) == plain(recipe))


def _encoder_remarks(facts: Facts) -> list[Message]:
    out = []
    if facts.encoder is not None:
        out.append(message("Similarity is that of the encoder {encoder}.", encoder=facts.encoder))
    if facts.encoder_cut:
        out.append(
            message("{texts} texts are longer than the encoder reads; it saw their beginning.", texts=facts.encoder_cut)
        )
    if facts.encoder_is_base:
        out.append(
            message(
                "The subject was trained from this encoder. Their weights differ, but what misleads one may mislead the "
                "other, and similarity then looks higher than it is."
            )
        )
    return out


def _compare(
    encoder: Encoder, texts: Sequence[str], outcomes: Sequence[Outcome], ctx: Context
) -> tuple[list[float | None], int]:
    """The similarity of each successful attack's texts, None for the others, and how many texts the encoder cut."""
    found: list[float | None] = [None] * len(texts)
    places = [i for i, o in enumerate(outcomes) if o.status == "succeeded" and o.perturbed is not None]
    pairs = [(texts[i], outcomes[i].perturbed or "") for i in places]
    for i, value in zip(places, encoder.similarities(pairs, ctx), strict=True):
        found[i] = value
    return found, encoder.cut([text for pair in pairs for text in pair])
