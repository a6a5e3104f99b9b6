"""The checkpoint's card: what the training record says, for people, in the form of a Hugging Face model card. It
claims nothing that was not measured, and names no folder of the machine it was made on.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from fine_tune.privacy.facts import Remark
from fine_tune.privacy.ledger import Ledger
from fine_tune.privacy.settings import EXAMPLE
from fine_tune.recipe import Recipe, TrainingRecord, Trial

CARD = "README.md"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_METHODS = {
    "full": "every weight",
    "head": "the newly added layers",
    "bias": "the biases and the newly added layers",
    "lora": "low-rank additions (LoRA), merged into the weights",
    "adalora": "low-rank additions with a shared rank budget (AdaLoRA), merged into the weights",
}


def model_card(record: TrainingRecord) -> str:
    """The card of one record, with its YAML head; the same record gives the same text."""
    from huggingface_hub import ModelCard

    body = "\n\n".join(
        (
            f"# {_base(record)}, fine-tuned for {record.recipe.task}",
            f"Fine-tuned with Plumbline. The classes are {_listed(record.classes)}.",
            "## Base model\n\n" + _table(_base_rows(record)),
            "## Data\n\n" + _table(_data_rows(record)),
            "## Training\n\n" + _table(_recipe_rows(record)),
            *_groups(record),
            "## Metrics\n\n" + _metrics(record),
            *([_trials(record)] if record.trials else []),
            *([_privacy(record.ledger)] if record.ledger is not None else []),
            "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(record)),
            "## How to use\n\n" + _usage(record),
        )
    )
    head = _head(record)
    text = f"---\n{head}\n---\n\n{body}\n"
    # Reading it back is the check that it is a card.
    ModelCard(text, ignore_metadata_errors=False)
    return text


def _head(record: TrainingRecord) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    named = record.recipe.base if _on_hub(record.recipe.base) else None
    results = None
    if record.validation_loss is not None:
        results = [
            EvalResult(
                task_type=record.recipe.task,
                dataset_type="validation-rows",
                dataset_name=f"{_plain(record.data.name)}, validation rows",
                metric_type="loss",
                metric_name="Cross-entropy",
                metric_value=record.validation_loss,
            )
        ]
    values: dict[str, Any] = {"model_name": "fine-tuned model"} if results else {}
    data = ModelCardData(
        base_model=named,
        library_name="transformers",
        pipeline_tag=record.recipe.task,
        tags=["plumbline"],
        eval_results=results,
        **values,
    )
    return str(data.to_yaml())


def _base_rows(record: TrainingRecord) -> list[tuple[str, object]]:
    return [("Model", _base(record)), ("sha256 of its files", f"`{record.base_digest}`")]


def _data_rows(record: TrainingRecord) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        ("Name", record.data.name),
        ("sha256 of its rows", f"`{record.data.digest}`"),
        ("Rows", f"{record.data.rows:,}"),
        ("Rows trained on", f"{len(record.training_ids):,}"),
        ("Rows for validation", f"{len(record.validation_ids):,}"),
        ("Rows kept away from both", f"{len(record.holdout_ids):,}"),
        *_canary_rows(record),
        ("sha256 of the row ids", f"`{record.ids_digest}`"),
        ("Inputs cut at the maximum length", f"{record.truncated:,}"),
    ]
    if record.weighting is not None:
        rows.append(("Weighted", f"yes; worth {record.weighting.effective_rows:,.1f} equal rows"))
    return rows


def _groups(record: TrainingRecord) -> list[str]:
    """What rows of each group and label counted, or how often each group was drawn."""
    out = []
    if record.weighting is not None and record.weighting.cells:
        lines = ["| group | label | training rows | weight of each |", "|---|---|---|---|"]
        lines += [
            f"| {_cell(' × '.join(c.group))} | {_cell(c.label)} | {c.rows:,} | {c.weight:.4g} |"
            for c in record.weighting.cells
        ]
        head = f"Reweighed by {_plain(' × '.join(record.recipe.reweigh))}, so that label and group are independent (Kamiran and Calders, 2012)."
        head += f" {record.weighting.ungrouped:,} rows have no group and keep the weight 1."
        out.append("\n".join(["## Weights by group", "", head, "", *lines]))
    if record.balancing is not None:
        lines = ["| group | training rows | draws a pass |", "|---|---|---|"]
        lines += [f"| {_cell(' × '.join(g.group))} | {g.rows:,} | {g.draws:,.1f} |" for g in record.balancing.groups]
        head = f"Drawn by {_plain(' × '.join(record.balancing.features))}, every group equally often."
        head += f" {record.balancing.ungrouped:,} rows have no group and are drawn once a pass."
        out.append("\n".join(["## Draws by group", "", head, "", *lines]))
    return out


def _canary_rows(record: TrainingRecord) -> list[tuple[str, object]]:
    if not record.canaries:
        return []
    included = sum(canary.included for canary in record.canaries)
    mislabelled = sum(canary.included and canary.flipped for canary in record.canaries)
    return [
        ("Canaries, in none of these parts", f"{len(record.canaries):,}"),
        ("Canaries trained on", f"{included:,}, of which {mislabelled:,} with a wrong label"),
    ]


def _recipe_rows(record: TrainingRecord) -> list[tuple[str, object]]:
    recipe = _kept(record)
    own = recipe.model_dump(
        mode="json", exclude={"base", "task", "method", "learning_rate", "search", "report_to", "privacy"}
    )
    usual = Recipe(base="x").model_dump(mode="json")
    always = {"seed", "batch_size", "schedule", "weight_decay", "warmup_ratio"}
    shown = {k: v for k, v in own.items() if v is not None and (k in always or v != usual[k])}
    return [
        ("What moved", f"{_METHODS[recipe.method]} ({record.trained_parameters:,} of {record.parameters:,} weights)"),
        ("Learning rate", recipe.rate),
        *((name.replace("_", " ").capitalize(), value) for name, value in shown.items()),
        ("Steps taken", f"{record.steps:,}"),
        *([] if record.best_step is None else [("Step whose weights were kept", record.best_step)]),
        ("Device", record.device),
        *([("Processes", record.processes)] if record.processes > 1 else []),
        ("Versions", ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))),
        ("sha256 of the recipe", f"`{record.recipe.digest}`"),
    ]


def _metrics(record: TrainingRecord) -> str:
    rows: list[tuple[str, object]] = []
    if record.final_loss is not None:
        name = "Training loss, last report" + (", canaries included" if record.canaries else "")
        rows.append((name, f"{record.final_loss:.4f}"))
    if record.validation_loss is not None:
        rows.append(("Validation loss (cross-entropy)", f"{record.validation_loss:.4f}"))
    return _table(rows) if rows else "No loss was reported."


def _trials(record: TrainingRecord) -> str:
    lines = ["## Search", "", "| trial | values | validation loss | |", "|---|---|---|---|"]
    for number, trial in enumerate(record.trials):
        kept = "kept" if number == record.kept_trial else ""
        loss = "diverged" if trial.validation_loss is None else f"{trial.validation_loss:.4f}"
        lines.append(f"| {number} | {_values(trial)} | {loss} | {kept} |")
    return "\n".join(lines)


def _privacy(ledger: Ledger) -> str:
    """What the ledger says, no more: an epsilon with its terms, or the reasons why there is none."""
    facts = ledger.facts
    rows: list[tuple[str, object]] = [
        ("Unit whose presence is protected", facts.unit if facts.unit == EXAMPLE else f"whatever has the same `{facts.unit}`"),
        ("Neighbouring data sets", ledger.neighbours),
        ("Mechanism", f"{ledger.mechanism}, {facts.sampling} sampling"),
        ("Units", f"{facts.units:,}"),
        ("Units a step on average", f"{facts.expected_batch:,}, each with probability {facts.sampling_rate:.4g}"),
        ("Steps", f"{facts.taken_steps:,} of {facts.planned_steps:,} planned"),
        ("Noise multiplier", facts.noise_multiplier),
        ("Contributions clipped to", facts.max_grad_norm),
        ("Accountant", facts.accountant),
        ("Earlier steps on the same rows that are charged", f"{sum(r.steps for r in facts.releases if r.purpose == 'tuning'):,}"),
        ("Sampling and noise", "from the operating system's entropy" if facts.secure_rng else "from the recipe's seed"),
    ]  # fmt: skip
    again = sum(r.steps for r in facts.releases if r.purpose == "resumed training")
    if again:
        rows.append(("Steps of a released checkpoint that were taken once more, charged both times", f"{again:,}"))
    if ledger.epsilon is None:
        head = "Trained with noise, and **no epsilon can be stated**:\n\n" + _lines(ledger.refusals)
    else:
        # Rounded up, because a rounded-down epsilon would claim more than was proved.
        shown = math.ceil(ledger.epsilon * 1000) / 1000
        head = f"Differentially private: epsilon {shown:g} at delta {facts.delta:g}, for the weights."
    return "\n\n".join(
        (
            "## Privacy",
            head,
            _table(rows),
            "Not covered:\n\n" + _lines(ledger.not_covered),
            "Beside the private steps:\n\n"
            + "\n".join(f"- {_plain(o.name)} ({o.standing}): {_plain(str(o.reason))}" for o in ledger.outside),
            "Known of the arithmetic and the libraries:\n\n" + _lines(ledger.known_issues),
        )
    )


def _lines(remarks: tuple[Remark, ...]) -> str:
    return "\n".join(f"- {_plain(str(one))}" for one in remarks)


def _limits(record: TrainingRecord) -> list[str]:
    out = [
        "Nobody has audited it yet: losses say nothing about groups of people, robustness or privacy."
        if record.ledger is None
        else "Nobody has audited it yet: losses say nothing about groups of people or robustness, and no attack has tried the guarantee.",
        "It has learnt what the training data says, errors and prejudice included.",
        "Licence and limits of the base model and of the data apply; they were not checked here.",
    ]
    if record.validation_loss is None:
        out.append("No rows were held out for validation, so how it does on new rows is not known.")
    elif record.trials or record.best_step is not None:
        out.append("The validation loss chose these weights, so on new rows it is expected to be somewhat higher.")
    if record.truncated:
        out.append(f"{record.truncated:,} inputs were cut; what came after the cut was not seen.")
    return out


def _usage(record: TrainingRecord) -> str:
    return (
        "The folder loads as it is:\n\n```python\nfrom transformers import pipeline\n\n"
        f'model = pipeline("{record.recipe.task}", model="path/to/this/folder")\n```\n\n'
        "Every row id, loss and seed is in `training_record.json`. This card is no part of the checkpoint's digest."
    )


def _kept(record: TrainingRecord) -> Recipe:
    if record.kept_trial is None:
        return record.recipe
    return record.recipe.trials()[record.kept_trial][1]


def _base(record: TrainingRecord) -> str:
    base = record.recipe.base
    return base if _on_hub(base) else Path(base).name or base


def _on_hub(base: str) -> bool:
    return bool(_HUB_ID.fullmatch(base)) and not Path(base).exists()


def _values(trial: Trial) -> str:
    return _cell(", ".join(f"{name} {value}" for name, value in trial.values.items()))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{_plain(name)}`" for name in names)


def _table(rows: list[tuple[str, object]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {_cell(name)} | {_cell(str(value))} |" for name, value in rows)])


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """One line without markup that names from the data could bring in."""
    return " ".join(text.split()).replace("<", "&lt;")
