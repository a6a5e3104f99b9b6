"""What the frontier's twins are made of and judged by: reads the file that says so. It trains and audits nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audit.demands import open_baseline
from audit.errors import PlanError
from audit.runner import Job, planned_probes
from probes.registry import discover
from reports.bundle import Bundle

if TYPE_CHECKING:
    from audit.compare import Run
    from fine_tune.data import AuditData
    from fine_tune.recipe import Recipe
    from reports.record import PlannedProbe, Policy

_USUAL = ("performance.classification", "performance.calibration", "privacy.ledger", "privacy.membership")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What twins are made of and judged by, whichever file said so.

    Attributes:
        recipe: with the base found; its epsilon is replaced.
        train, data: rows to train on and to judge on.
        planned: probes for each twin.
        policy, baselines: of each twin's own audit.
        seed, level, attestations, regulations, include_text: of the audits.
        threshold, positive: of the decision.
    """

    name: str
    recipe: Recipe
    train: AuditData
    data: AuditData
    planned: tuple[PlannedProbe, ...]
    seed: int
    level: float = 0.95
    policy: Policy | None = None
    baselines: Mapping[str, Run] = field(default_factory=dict)
    attestations: Mapping[str, str] = field(default_factory=dict)
    regulations: tuple[str, ...] = ()
    include_text: bool = False
    threshold: float | None = None
    positive: str | None = None

    def job(self, name: str, planned: tuple[PlannedProbe, ...], device: str) -> Job:
        """One audit."""
        return Job(
            name=f"{self.name}, {name}", seed=self.seed, level=self.level, planned=planned,
            attestations=self.attestations, regulations=self.regulations, include_text=self.include_text, device=device,
        )  # fmt: skip


def parse_epsilons(text: str) -> tuple[float | None, ...]:
    """``1,3,8,inf`` as numbers by size; ``inf`` is None: no guarantee, and no number.

    Raises:
        PlanError: fewer than two, one twice, or something that is no epsilon.
    """
    out: list[float | None] = []
    for part in (p.strip() for p in text.split(",")):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not value > 0:
            raise PlanError(f"the frontier names {part!r}", expected="numbers above 0 and inf, such as 1,3,8,inf")
        out.append(None if math.isinf(value) else value)
    if len(set(out)) < len(out) or len(out) < 2:
        raise PlanError(f"the frontier is {text!r}", expected="two epsilons or more, each once, such as 1,3,8,inf")
    return tuple(sorted(out, key=lambda e: math.inf if e is None else e))


def twin_recipe(recipe: Recipe, epsilon: float | None) -> Recipe:
    """The recipe at another epsilon; everything else stays, and a step sees as many rows on average.

    Raises:
        PlanError: the recipe says nothing of privacy, so there is no delta.
    """
    privacy = recipe.privacy
    if privacy is None:
        raise PlanError(
            "the recipe has no privacy, so its twins have no delta, unit or clipping",
            expected="recipe.privacy, such as {epsilon: 8, delta: 1.0e-5}",
            fix="add it; --frontier puts its own epsilons in the place of the one that is written there",
        )
    if epsilon is not None:
        return recipe.model_copy(
            update={"privacy": privacy.model_copy(update={"epsilon": epsilon, "noise_multiplier": None})}
        )
    batch = privacy.logical_batch or recipe.batch_size
    pieces = next(n for n in range(1, batch + 1) if batch % n == 0 and batch // n <= privacy.physical_batch)
    return recipe.model_copy(update={"privacy": None, "batch_size": batch, "gradient_accumulation": pieces})


def read_asked(file: Path) -> Asked:
    """From a plan, or from a fine-tuning file with rows held out.

    Raises:
        InputError: it cannot be read, trains nothing, trains several models, says nothing of privacy or has no rows to judge on.
    """
    from audit.plan import Plan
    from audit.yaml_files import read_source

    value = read_source(file, error=PlanError).value
    told = value.get("schema") if isinstance(value, dict) else None
    is_plan = told == Plan.model_fields["schema_"].default or (isinstance(value, dict) and "subject" in value)
    return _of_plan(file) if is_plan else _of_recipe(file)


def _of_plan(file: Path) -> Asked:
    from audit.plan import load_plan, placed_recipe
    from audit.policy import check_measures, read_policy
    from audit.subjects import open_audit_data, refuse_one_class
    from fine_tune.data import AuditData

    loaded = load_plan(file)
    plan = loaded.plan
    recipe, train, data = plan.subject.recipe, plan.data.train, open_audit_data(loaded)
    if recipe is None or train is None or data is None:
        raise PlanError(
            "the plan trains nothing, so there are no twins", expected="subject.recipe, data.train and data.audit",
            where=str(file),
        )  # fmt: skip
    planned = planned_probes({name: (spec.probe, spec.options) for name, spec in plan.probes.items()})
    document = read_policy(loaded.base_dir / plan.policy) if plan.policy else None
    if document is not None:
        check_measures(document.value, planned, document)
    rows = AuditData.load(train, base_dir=loaded.base_dir, seed=plan.seed)
    refuse_one_class(data, rows.task_labels)
    there = {name: loaded.base_dir / path for name, path in plan.baselines.items()}
    return Asked(
        name=plan.name, recipe=_ready(placed_recipe(recipe, loaded.base_dir)), train=rows, data=data,
        planned=planned, policy=document.value if document else None,
        baselines={name: open_baseline(name, Bundle.open(p)) for name, p in there.items() if p.exists()},
        seed=plan.seed, level=plan.level, attestations=plan.attestations,
        regulations=plan.regulations, include_text=plan.include_text,
        threshold=plan.subject.threshold, positive=plan.subject.positive,
    )  # fmt: skip


def _of_recipe(file: Path) -> Asked:
    from audit.plan import load_fine_tune, placed_recipe
    from fine_tune.data import AuditData
    from fine_tune.splits import split_rows

    spec = load_fine_tune(file).value
    recipe = _ready(placed_recipe(spec.recipe, file.parent))
    if not recipe.holdout:
        raise PlanError(
            "there are no rows to judge the twins on", expected="recipe.holdout above 0, or a plan with data.audit",
            fix="set holdout: 0.2 in the recipe, or give a plan whose subject is the recipe", where=str(file),
        )  # fmt: skip
    train = AuditData.load(spec.data.train, base_dir=file.parent, seed=recipe.drawing_seed)
    away = train.select(split_rows(train, recipe).holdout)
    usual = (*_USUAL, *(("privacy.canaries",) if recipe.canaries else ()))
    planned = planned_probes({id_.rpartition(".")[2]: (id_, {}) for id_ in usual if id_ in discover()})
    return Asked(
        name=file.stem, recipe=recipe, train=train, data=replace(away, name=f"{train.name}, the rows held out"),
        planned=planned, seed=recipe.drawing_seed,
    )  # fmt: skip


def _ready(recipe: Recipe) -> Recipe:
    """The recipe, if twins of it can be compared.

    Raises:
        PlanError: it says nothing of privacy, or asks for several models.
    """
    if recipe.seeds is not None or recipe.search:
        raise PlanError(
            "the recipe trains several models by itself", expected="a recipe without seeds and search",
            fix="one model at each epsilon is compared; give the recipe of one",
        )  # fmt: skip
    twin_recipe(recipe, None)
    return recipe
