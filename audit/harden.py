"""Hardening: trains a model again on its own data and on texts that attacks and noise changed, and audits both models on
rows of which neither was trained on a variant.

It keeps the recipe, measures with the run's own probes and compares through `audit.compare`, row by row. It never judges
a model on rows that it was trained on, and it promises no improvement: the report says what changed.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.demands import Demands, open_baseline
from audit.errors import HardenError
from audit.harden_origin import audited_data, checked_record, original_model, training_data, training_of, twin_recipe
from audit.harden_rows import (
    Added,
    Halves,
    Noise,
    augmented,
    rows_to_add,
    split_halves,
    units_of,
    variants_of,
)
from audit.pipeline import Surroundings, audit_subject, check_free
from audit.progress import chosen, say_on_stderr
from audit.result import Result
from audit.runner import Job, planned_probes
from audit.store import Store, default_cache
from probes.evidence import Message, message
from probes.probe import Context
from reports.bundle import Bundle
from reports.record import Comparison, Defaults, NoComparison, Policy, Rule, canonical_json

if TYPE_CHECKING:
    from audit.plan import LoadedPlan
    from audit.subjects import Workshop
    from fine_tune.checkpoint import Checkpoint
    from fine_tune.data import AuditData
    from fine_tune.recipe import Recipe
    from reports.record import AuditRecord

BASELINE, HARDENED = "original", "hardened"
PERFORMANCE = "performance.classification"
_TOTALS: dict[str, Any] = {"group": (), "class": (), "setting": ()}
_ALL_NOISE: dict[str, Any] = {"setting": ("kind=all", "rate=all")}
# What is set side by side, by probe: a measure, and how its figure over all rows is named.
_COMPARED: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    PERFORMANCE: (("accuracy", {}),),
    "robustness.attack": (("accuracy_under_attack", _TOTALS), ("attack_success_rate", _TOTALS)),
    "robustness.noise": (("accuracy_with_noise", _ALL_NOISE), ("flip_rate", _ALL_NOISE)),
}


@dataclass(frozen=True, kw_only=True)
class Hardened:
    """What hardening made.

    Attributes:
        original, hardened: the audits of both models on the same rows; the second holds the comparison.
        model: folder of the new model.
        added: rows that were added to the training data.
        notes: what was trained on and what was judged with, for people.
    """

    original: Result
    hardened: Result
    model: Path
    added: int
    notes: tuple[Message, ...]

    @property
    def comparisons(self) -> tuple[Comparison | NoComparison, ...]:
        """Each measure in both models, paired row by row, or why it cannot be compared."""
        return self.hardened.verdict.comparisons


def harden(
    run: Path | str,
    plan: Path | str,
    out: Path | str,
    *,
    share: float = 0.5,
    noise: Noise = "all",
    device: str = "auto",
    cache: Path | str | None = None,
    progress: bool = True,
) -> Hardened:
    """Train the twin of a run's model, and audit both.

    Args:
        run: a bundle with measured attacks or noise.
        plan: the plan that it was made from, which says where model, training and audit data lie.
        out: a folder for ``model``, the runs ``original`` and ``hardened``, ``added_rows.parquet`` and
            ``hardening.json``. The same call goes on where an earlier one stopped.
        share: share of the audited rows whose variants may be trained on; both models are judged on the others.
        noise: ``all`` noise variants, or those alone that ``flipped`` an answer.

    Raises:
        HardenError: the run has no training record or nothing to harden with, or plan and run do not belong together.
        InputError: something else cannot be used.
    """
    from audit.plan import load_plan
    from audit.subjects import Workshop, pick_device

    if not 0 < share < 1:
        raise HardenError(f"the share is {share:g}", expected="a number between 0 and 1", fix="such as --share 0.5")
    place = Path(out)
    if place.resolve().is_relative_to(Path(run).resolve()):
        raise HardenError(
            f"{out} lies in the run itself, which is never written into",
            expected="another folder",
            fix="choose another --out",
        )
    for name in (BASELINE, HARDENED):
        check_free(place / name)
    bundle = Bundle.open(run)
    record = checked_record(bundle)
    training = training_of(record)
    variants = variants_of(bundle, record, noise)
    loaded = load_plan(plan)
    data = audited_data(loaded, record)
    train = training_data(loaded, training)
    halves = split_halves(units_of(data), share, Context(instance="harden", seed=record.seed).rng("halves"))
    added = rows_to_add(variants, data, halves, record.subject.classes)
    surroundings = Surroundings(
        store=Store(Path(cache) if cache else default_cache()),
        progress=chosen(progress),
        announce=say_on_stderr if progress else _quiet,
    )
    workshop = Workshop(store=surroundings.store, device=pick_device(device), progress=progress)
    recipe = twin_recipe(loaded, training, added)
    original = original_model(loaded, workshop, record)
    twin = fine_tuned(recipe, augmented(train, added), place / "model", workshop)
    both = _Both(
        loaded=loaded,
        record=record,
        judged=replace(data.select(halves.judged), name=f"{data.name}, the part kept for judging"),
        surroundings=surroundings,
        device=workshop.device,
        place=place,
    )
    first = both.audit(BASELINE, original, {})
    told: dict[str, str | int] = {
        "hardened_from": record.subject.digest,
        "rows_added": len(added.data),
        "rows_added_from": added.rows,
    }
    second = both.audit(HARDENED, twin, told, first)
    notes = (*added.notes, *_notes(data, halves, train))
    done = Hardened(original=first, hardened=second, model=place / "model", added=len(added.data), notes=notes)
    _write(place, done, added, recipe)
    return done


def fine_tuned(recipe: Recipe, data: AuditData, folder: Path, workshop: Workshop) -> Checkpoint:
    """The twin, trained or taken from ``folder`` where it is finished."""
    from fine_tune.train import fine_tune

    trained = fine_tune(recipe, data, folder, progress=workshop.progress, device=workshop.device)
    return replace(trained, name=f"{Path(recipe.base).name}, hardened")


@dataclass(frozen=True, kw_only=True)
class _Both:
    """Audits one model after the other on the same rows, with the run's own probes."""

    loaded: LoadedPlan
    record: AuditRecord
    judged: AuditData
    surroundings: Surroundings
    device: str
    place: Path

    def audit(
        self, name: str, checkpoint: Checkpoint, told: dict[str, str | int], before: Result | None = None
    ) -> Result:
        """Measure and decide; against ``before`` where that is given. ``told`` is shown with the subject."""
        from probes.subject import subject_of

        spec = self.loaded.plan.subject
        subject = subject_of(checkpoint, self.judged, threshold=spec.threshold, positive=spec.positive)
        subject.details.update(told)
        baselines = {} if before is None else {BASELINE: open_baseline(BASELINE, Bundle.open(before.path))}
        demands = Demands(policy=self._policy(before), baselines=baselines, on=datetime.date.today())
        return audit_subject(self._job(name), subject, demands, self.surroundings, self.place / name)

    def _job(self, name: str) -> Job:
        record, probes = self.record, {p.instance: (p.info.id, p.params) for p in self.record.planned}
        ran = {f.instance for f in record.findings}
        if not any(p.info.id == PERFORMANCE and p.instance in ran for p in record.planned):
            own = next(n for n in ("performance", "accuracy-of-both", "hardening-accuracy") if n not in probes)
            probes[own] = (PERFORMANCE, {})
            ran.add(own)
        return Job(
            name=f"{record.name}, {name}",
            seed=record.seed,
            level=record.level,
            planned=planned_probes(probes),
            only=frozenset(ran),
            attestations=record.attestations,
            regulations=record.regulations,
            include_text=record.data.include_text,
            device=self.device,
        )

    def _policy(self, before: Result | None) -> Policy | None:
        """The plan's rules but for those on other baselines, and, against ``before``, one on each compared measure."""
        from audit.policy import load_policy

        named = self.loaded.plan.policy
        given = load_policy(self.loaded.base_dir / named) if named else None
        own = tuple(rule for rule in (given.rules if given else ()) if rule.baseline is None)
        rules = own + (_rules(before.record, len(self.judged)) if before is not None else ())
        if not rules:
            return None
        if given is not None:
            return given.model_copy(update={"rules": rules})
        defaults = Defaults(level=self.record.level)
        return Policy(name="hardening", version=1, owner="plumbline harden", defaults=defaults, rules=rules)


def _rules(record: AuditRecord, rows: int) -> tuple[Rule, ...]:
    """One advisory rule a measure that is set side by side; they compare, and never decide the outcome."""
    source = f"plumbline harden: both models on the same {rows} rows, of which neither was trained on a variant"
    found = [
        (finding.instance, measure, where)
        for finding in record.findings
        if finding.status == "measured"
        for measure, where in _COMPARED.get(finding.info.id, ())
    ]
    return tuple(
        Rule(
            id=f"hardening-{i}-{measure.replace('_', '-')}",
            measure=f"{instance}:{measure}",
            where=where,
            baseline=BASELINE,
            max_drop=0,
            severity="advisory",
            source=source,
        )
        for i, (instance, measure, where) in enumerate(found, 1)
    )


def _notes(data: AuditData, halves: Halves, train: AuditData) -> tuple[Message, ...]:
    contents = data.content_digests or []
    known = set(train.content_digests or ())
    seen = sum(contents[i] in known for i in halves.judged)
    ties = [name for name in ("cluster", "counterpart") if name in data.columns]
    whole = message(
        "Both models are judged on {judged} of {rows} audited rows, drawn at random whatever the attacks found; the other"
        " {trained} are judged by neither, as variants of them may be trained on.",
        judged=len(halves.judged), rows=len(data), trained=len(halves.trained),
    )  # fmt: skip
    apart = (
        message("Rows that share their text or their {ties} are on the same side.", ties=" or ".join(ties))
        if ties
        else message(
            "Rows that share their text are on the same side. The data names no cluster: rows that are alike in other ways"
            " may be on both, which makes hardening look better than it is."
        )
    )
    domain = message(
        "The added rows come from the audited data with its labels: part of what changes may be due to more rows of that"
        " kind, and not to their noise."
    )
    twice = message(
        "{rows} of the judged rows have a text that is in the original training data, which both models saw.", rows=seen
    )
    return (whole, apart, domain, *((twice,) if seen else ()))


def _write(place: Path, done: Hardened, added: Added, recipe: Recipe) -> None:
    """``added_rows.parquet`` and ``hardening.json``: what was added, and what came of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(added.data.columns)), place / "added_rows.parquet")
    body = {
        "schema": "plumbline.hardening/v1",
        "original": done.original.record.subject.digest,
        "hardened": done.hardened.record.subject.digest,
        "judged_on": {"name": done.hardened.record.data.name, "digest": done.hardened.record.data.digest,
                      "rows": done.hardened.record.data.rows},
        "added": {"digest": added.data.digest, "rows": len(added.data), "audited_rows": added.rows, "found_by": added.sources},
        "recipe_digest": recipe.digest,
        "notes": [str(note) for note in done.notes],
        "comparisons": [c.model_dump(mode="json") for c in done.comparisons],
    }  # fmt: skip
    (place / "hardening.json").write_text(canonical_json(body), encoding="utf-8", newline="\n")


def _quiet(_: str) -> None:
    return
