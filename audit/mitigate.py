"""Mitigation by training: trains a plan's recipe as it is and again with its groups reweighed or drawn equally often, and
audits all on the same rows.

It keeps seed, data and everything else of the recipe, measures with the plan's own probes, and compares through
`audit.compare`, row by row. It picks no model, and promises no improvement: the report says what changed, and for whom.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from audit.demands import Demands, open_baseline
from audit.errors import PlanError
from audit.pipeline import Surroundings, audit_subject, check_free
from audit.progress import chosen, say_on_stderr
from audit.result import Result
from audit.runner import Job, planned_probes
from audit.store import Store, default_cache
from probes.evidence import Measurement, Slice
from reports.bundle import Bundle
from reports.record import Comparison, Defaults, NoComparison, Policy, Rule, Selector, canonical_json

if TYPE_CHECKING:
    from audit.compare import Run
    from audit.plan import LoadedPlan
    from fine_tune.checkpoint import Checkpoint
    from fine_tune.data import AuditData
    from fine_tune.recipe import Recipe
    from reports.record import AuditRecord, PlannedProbe

Way = Literal["reweigh", "balance"]
UNMITIGATED = "unmitigated"
NAMES: dict[Way, str] = {"reweigh": "reweighed", "balance": "balanced"}
PERFORMANCE, GROUPS = "performance.classification", "fairness.groups"
_COMPARED = {
    PERFORMANCE: ("accuracy",),
    GROUPS: ("demographic_parity_difference", "equal_opportunity_difference", "equalized_odds_difference"),
}
_KINDS: tuple[Literal["feature", "group", "class", "output", "setting"], ...] = (
    "feature", "group", "class", "output", "setting",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mitigated:
    """What mitigation made.

    Attributes:
        original: the audit of the model without it.
        twins: the audit of each other model, ``reweighed`` or ``balanced``; each holds its comparison.
    """

    original: Result
    twins: dict[str, Result]

    def comparisons(self, twin: str) -> tuple[Comparison | NoComparison, ...]:
        """Each measure in both models, paired row by row, or why it cannot be compared."""
        return tuple(c for c in self.twins[twin].verdict.comparisons if c.baseline == UNMITIGATED)


def mitigate(
    plan: Path | str,
    out: Path | str,
    *,
    by: Sequence[str] = (),
    ways: Sequence[Way] = ("reweigh",),
    device: str = "auto",
    cache: Path | str | None = None,
    progress: bool = True,
) -> Mitigated:
    """Train the twins of a plan's model, and audit all.

    Args:
        plan: one whose subject is a recipe and that measures group rates.
        out: a folder for ``unmitigated``, ``reweighed`` and ``balanced``, each with its ``model`` and ``run``, and for
            ``mitigation.json``. The same call goes on where an earlier one stopped. The unmitigated model is the plan's own,
            and lies where the plan leaves it, unless the plan's recipe reweighs or balances itself.
        by: sensitive features of the training data, crossed if several; the only one, if there is one.
        ways: which twins to train.

    Raises:
        InputError: the plan trains nothing or several models, measures no groups, or its rows cannot be reweighed.
    """
    from audit.plan import load_plan
    from audit.subjects import open_audit_data, pick_device, refuse_one_class
    from fine_tune.data import AuditData

    loaded, place = load_plan(plan), Path(out)
    spec = loaded.plan.subject.recipe
    rows, data = loaded.plan.data.train, open_audit_data(loaded)
    if spec is None or rows is None or data is None:
        raise PlanError(
            "the plan trains nothing, so there are no twins", expected="subject.recipe, data.train and data.audit",
            where=str(plan),
        )  # fmt: skip
    train = AuditData.load(rows, base_dir=loaded.base_dir, seed=loaded.plan.seed)
    refuse_one_class(data, train.task_labels)
    recipes = _recipes(spec, _features(tuple(by), spec, train), ways)
    _check(recipes, train)
    planned = _planned(loaded)
    for name in recipes:
        check_free(place / name / "run")
    surroundings = Surroundings(
        store=Store(Path(cache) if cache else default_cache()), progress=chosen(progress),
        announce=say_on_stderr if progress else _quiet,
    )  # fmt: skip
    every = _All(
        loaded=loaded, train=train, data=data, planned=planned, surroundings=surroundings, device=pick_device(device),
        progress=progress, place=place,
    )  # fmt: skip
    first = every.audit(UNMITIGATED, recipes[UNMITIGATED], None)
    twins = {name: every.audit(name, recipe, first) for name, recipe in recipes.items() if name != UNMITIGATED}
    done = Mitigated(original=first, twins=twins)
    _write(place, done, recipes)
    return done


def _features(by: tuple[str, ...], recipe: Recipe, train: AuditData) -> tuple[str, ...]:
    found = by or recipe.reweigh or recipe.balance or train.features
    if not by and not recipe.reweigh and not recipe.balance and len(found) != 1:
        raise PlanError(
            f"the training data has {len(found)} sensitive features{': ' if found else ''}{', '.join(found)}",
            expected="to be told by which one, or by which ones crossed",
            fix=f"name them: --by {found[0]}" if found else "give data.train `groups`, as data.audit has them",
        )
    return found


def _recipes(recipe: Recipe, features: tuple[str, ...], ways: Sequence[Way]) -> dict[str, Recipe]:
    """The recipe of each model, by name; the first is the one without mitigation.

    Raises:
        PlanError: the recipe trains several models, or privately.
    """
    if recipe.seeds is not None or recipe.search or recipe.privacy is not None:
        what = "privately" if recipe.privacy is not None else "several models by itself"
        raise PlanError(
            f"the recipe trains {what}", expected="a recipe without seeds, search and privacy",
            fix="give the recipe of one model",
        )  # fmt: skip
    none: dict[str, tuple[str, ...]] = {"reweigh": (), "balance": ()}
    out = {UNMITIGATED: recipe.model_copy(update=none)}
    return out | {NAMES[way]: recipe.model_copy(update={**none, way: features}) for way in ways}


def _check(recipes: Mapping[str, Recipe], train: AuditData) -> None:
    """Refuse what could not be trained, before the first model is."""
    from fine_tune.splits import balanced_draws, row_weights, split_rows

    for recipe in recipes.values():
        split = split_rows(train, recipe)
        row_weights(train, split.training, recipe)
        balanced_draws(train, split.training, recipe)


def _planned(loaded: LoadedPlan) -> tuple[PlannedProbe, ...]:
    probes = {name: (spec.probe, spec.options) for name, spec in loaded.plan.probes.items()}
    if not any(id_ == GROUPS for id_, _ in probes.values()):
        raise PlanError(
            "the plan measures no group rates, so nothing would show what mitigation does",
            expected="a probe instance such as groups: {probe: fairness.groups, positive: ...}",
            where=str(loaded.path),
        )
    if not any(id_ == PERFORMANCE for id_, _ in probes.values()):
        probes[next(n for n in ("performance", "accuracy-of-twins") if n not in probes)] = (PERFORMANCE, {})
    if UNMITIGATED in loaded.plan.baselines:
        raise PlanError(
            f"the plan has a baseline called {UNMITIGATED}, which is the name of the model without mitigation here",
            expected="another name for that baseline", where=str(loaded.path),
        )  # fmt: skip
    return planned_probes(probes)


@dataclass(frozen=True, kw_only=True)
class _All:
    """Trains and audits one model after the other on the same rows, with the same probes."""

    loaded: LoadedPlan
    train: AuditData
    data: AuditData
    planned: tuple[PlannedProbe, ...]
    surroundings: Surroundings
    device: str
    progress: bool
    place: Path

    def audit(self, name: str, recipe: Recipe, before: Result | None) -> Result:
        """Train, measure and decide; against ``before`` where that is given."""
        from audit.subjects import training_rows
        from probes.subject import subject_of

        plan, spec = self.loaded.plan, self.loaded.plan.subject
        subject = subject_of(
            self._trained(name, recipe), self.data, threshold=spec.threshold, positive=spec.positive,
            training_data=training_rows(self.loaded),
        )  # fmt: skip
        job = Job(
            name=f"{plan.name}, {name}", seed=plan.seed, level=plan.level, planned=self.planned,
            attestations=plan.attestations, regulations=plan.regulations, include_text=plan.include_text, device=self.device,
        )  # fmt: skip
        demands = Demands(policy=self._policy(before), baselines=self._baselines(before), on=datetime.date.today())
        return audit_subject(job, subject, demands, self.surroundings, self.place / name / "run")

    def _trained(self, name: str, recipe: Recipe) -> Checkpoint:
        from audit.plan import placed_recipe
        from audit.subjects import training_folder
        from fine_tune.train import fine_tune

        own = recipe == self.loaded.plan.subject.recipe
        folder = training_folder(self.loaded, self.surroundings.store)[0] if own else self.place / name / "model"
        ready = placed_recipe(recipe, self.loaded.base_dir)
        trained = fine_tune(ready, self.train, folder, progress=self.progress, device=self.device)
        return replace(trained, name=f"{Path(recipe.base).name}, {name}")

    def _baselines(self, before: Result | None) -> dict[str, Run]:
        there = {name: self.loaded.base_dir / path for name, path in self.loaded.plan.baselines.items()}
        if before is not None:
            there[UNMITIGATED] = before.path
        return {name: open_baseline(name, Bundle.open(path)) for name, path in there.items() if path.exists()}

    def _policy(self, before: Result | None) -> Policy | None:
        """The plan's rules, and, against ``before``, one on each compared measure."""
        from audit.policy import check_measures, read_policy

        named = self.loaded.plan.policy
        document = read_policy(self.loaded.base_dir / named) if named else None
        if document is not None:
            check_measures(document.value, self.planned, document)
        own = document.value.rules if document else ()
        rules = own + (_rules(before.record) if before is not None else ())
        if not rules:
            return None
        if document is not None:
            return document.value.model_copy(update={"rules": rules})
        defaults = Defaults(level=self.loaded.plan.level)
        return Policy(name="mitigation", version=1, owner="plumbline mitigate", defaults=defaults, rules=rules)


def _rules(record: AuditRecord) -> tuple[Rule, ...]:
    """One advisory rule a measure and slice that is set side by side; they compare, and never decide the outcome."""
    found = [
        (finding.instance, m.name, m.slice)
        for finding in record.findings
        if finding.reading is not None
        for m in finding.reading.measurements
        if isinstance(m, Measurement) and m.name in _COMPARED.get(finding.info.id, ())
        and (finding.info.id != PERFORMANCE or not m.slice)
    ]  # fmt: skip
    return tuple(
        Rule(
            id=f"mitigation-{i}-{measure.replace('_', '-')}",
            measure=f"{instance}:{measure}",
            where=_exactly(slice_),
            baseline=UNMITIGATED,
            max_drop=0,
            severity="advisory",
            source=f"plumbline mitigate: both models on the same {record.data.rows} rows",
        )
        for i, (instance, measure, slice_) in enumerate(found, 1)
    )


def _exactly(slice_: Slice) -> dict[Literal["feature", "group", "class", "output", "setting"], Selector]:
    """What picks this slice and no other; nothing for the whole."""
    if not slice_:
        return {}
    return {kind: tuple(a.selector for a in slice_ if a.kind == kind) for kind in _KINDS}


def _write(place: Path, done: Mitigated, recipes: Mapping[str, Recipe]) -> None:
    """``mitigation.json``: every model, and what came of each twin."""
    results = {UNMITIGATED: done.original, **done.twins}
    body = {
        "schema": "plumbline.mitigation/v1",
        "models": [
            {
                "name": name, "subject": result.record.subject.digest, "recipe_digest": recipes[name].digest,
                "reweigh": list(recipes[name].reweigh), "balance": list(recipes[name].balance),
                "outcome": result.verdict.outcome, "exit_code": result.verdict.exit_code,
            }
            for name, result in results.items()
        ],
        "comparisons": {name: [c.model_dump(mode="json") for c in done.comparisons(name)] for name in done.twins},
    }  # fmt: skip
    (place / "mitigation.json").write_text(canonical_json(body), encoding="utf-8", newline="\n")


def _quiet(_: str) -> None:
    return
