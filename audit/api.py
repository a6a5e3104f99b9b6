"""The Python API: one call from a model, or what it said, to a verdict; and plans, gates and renderings of finished runs.

Everything here is also what the command line calls. Nothing is imported until it is needed, so that gating and rendering
load no torch.
"""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.budget import Clock
from audit.demands import Demands, find_baseline, open_baseline, open_run
from audit.errors import GateError, PlanError
from audit.lock import read_lock
from audit.pipeline import Surroundings, audit_subject, check_free, rebundle, regate
from audit.progress import chosen, say_on_stderr
from audit.result import Result
from audit.runner import Job, cost_key, planned_probes, said_of_profile, steps
from audit.sound import open_sound
from audit.store import Store, default_cache
from probes.evidence import Need
from reports.record import PlannedProbe, Policy, Waiver

if TYPE_CHECKING:
    import pandas as pd

    from audit.documents import Document
    from audit.pairing import Run
    from audit.plan import LoadedPlan
    from audit.steadiness import Steadiness
    from probes.subject import Subject
    from reports.origin import Origin

PathLike = str | Path
Probes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One line of a dry run. ``status``: train, cached, to do, not applicable, left out.

    ``seconds`` is what an instance with the same options took the last time here, whatever it was asked of; None if never.
    """

    instance: str
    probe: str
    status: str
    reason: str = ""
    seconds: float | None = None


def run(
    subject: Any,
    *,
    data: PathLike | pd.DataFrame | None = None,
    input: str | Sequence[str] | None = None,
    label: str | None = "label",
    groups: Sequence[str] = (),
    cluster: str | None = None,
    counterpart: str | None = None,
    id: str | None = None,
    labels: Mapping[Any, str] | None = None,
    positive: str | None = None,
    processor: Any = None,
    classes: Sequence[str] | None = None,
    digest: str | None = None,
    probes: Probes | None = None,
    policy: PathLike | Policy | None = None,
    waivers: PathLike | Sequence[Waiver] = (),
    out: PathLike | None = None,
    name: str | None = None,
    seed: int = 0,
    level: float = 0.95,
    device: str = "auto",
    progress: bool = True,
) -> Result:
    """Audit a model of any kind, or a table of predictions, in one call.

    Args:
        subject: a checkpoint's folder or hub id; a `PreTrainedModel` in memory, with ``processor``; a
            `transformers.pipeline`; a callable from a list of inputs to probabilities; a fitted estimator with
            ``predict_proba``; a `probes.subject.EndpointSpec`; any `probes.subject.Subject`; or predictions as a data
            frame, or a csv or parquet file, with a ``prediction`` column or ``score_<class>`` columns.
        data: the rows to examine it on, as a data frame or file; None where the predictions carry their own columns.
        input, label, groups, cluster, counterpart, id: columns by role; models read ``text`` unless told otherwise. Several columns as
            ``input`` make up one mapping a row; an estimator takes those that it was fitted on, where it names them.
        labels: class name for each value of the label column, where they differ.
        positive: the class that is an advantage or a detection, for group rates of binary tasks; needed for two classes.
        processor: tokenizer or image processor of a model in memory.
        classes: names in the order of a callable's scores; None where its answers name their classes.
        digest: the user's word that a callable or an estimator answers as it did under the same digest. Without it,
            nothing is reused and the subject's digest is new in each run, which a waiver can't be bound to.
        probes: instance name to ``{"probe": id, **options}``; by default performance, calibration, groups if any,
            and the spread over seeds of an ensemble.
        policy: a policy file or object; without one nothing is decided, and the verdict says so.
        waivers: a waiver file or objects.
        out: where the bundle goes; a temporary folder by default (see `Result.save`).
        seed, level: of the run.
        device: auto, cpu, cuda, ...

    Raises:
        InputError: something given cannot be used; the message says what to do.
    """
    from audit.opening import Told, keeps_answers, open_given
    from audit.policy import check_measures
    from audit.subjects import pick_device
    from fine_tune.roles import Roles

    one, several = (input, ()) if input is None or isinstance(input, str) else (None, tuple(input))
    roles = Roles(
        input=one, label=label, groups=tuple(groups), cluster=cluster, counterpart=counterpart, id=id, labels=dict(labels or {})
    )  # fmt: skip
    told = Told(processor=processor, classes=None if classes is None else tuple(classes), digest=digest)
    opened = open_given(subject, data, roles, inputs=several, told=told)
    wanted = probes if probes is not None else default_probes(opened, positive)
    planned = planned_probes({k: (v.get("probe", ""), _options(v)) for k, v in wanted.items()})
    demanded, found = _policy(policy)
    if demanded is not None:
        check_measures(demanded, planned)
    job = Job(
        name=name or opened.name,
        seed=seed,
        level=level,
        planned=planned,
        device=pick_device(device) if {Need.WEIGHTS, Need.MEMBERS} & opened.offers else "cpu",
    )
    place = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="plumbline-")) / "run"
    demands = Demands(policy=demanded, waivers=_waivers(waivers), baselines={}, on=datetime.date.today())
    with tempfile.TemporaryDirectory(prefix="plumbline-") as passing:
        surroundings = _surroundings(None if keeps_answers(opened) else passing, progress)
        return replace(audit_subject(job, opened, demands, surroundings, place), origin=found)


def default_probes(subject: Subject, positive: str | None) -> dict[str, dict[str, Any]]:
    """The probes that fit a subject when the caller names none.

    Raises:
        PlanError: there are groups and two classes, and nobody said which class is the positive one.
    """
    probes: dict[str, dict[str, Any]] = {
        "performance": {"probe": "performance.classification"},
        "calibration": {"probe": "performance.calibration"},
    }
    if subject.data.features:
        if len(subject.classes) == 2 and positive is None:
            raise PlanError(
                "group rates of two classes need to know which one is the positive class",
                expected=f"positive= one of {', '.join(map(repr, subject.classes))}",
            )
        probes["groups"] = {"probe": "fairness.groups", **({"positive": positive} if positive else {})}
    if {Need.MEMBERS, Need.LABELS} <= subject.offers:
        probes["seeds"] = {"probe": "performance.seeds"}
    return probes


def run_plan(
    plan: PathLike,
    out: PathLike,
    *,
    policy: PathLike | None = None,
    waivers: PathLike | None = None,
    baselines: Mapping[str, PathLike] | None = None,
    lock: PathLike | None = None,
    profile: str | None = None,
    only: Iterable[str] = (),
    device: str = "auto",
    cache: PathLike | None = None,
    report_only: bool = False,
    resume: bool = True,
    progress: bool = True,
) -> Result:
    """Do what a plan says and leave a bundle at ``out``.

    Args:
        plan: the plan's file.
        policy, waivers: used instead of those that the plan names.
        baselines: run folders by the names that rules use, or folders of runs, whose last passing one is taken; added
            to the plan's.
        lock: a lock that was made before; the verdict says whether the run kept to it.
        profile: one of the plan's profiles to run it under.
        only: run these probe instances alone, instead of the profile's; rules on the others are errors, never passes.
        resume: use what was measured before; False measures everything again in a cache of its own.
        report_only: exit code 0 whatever the outcome, and the report says NOT ENFORCED.

    Raises:
        InputError: plan, policy, waivers, data or checkpoint cannot be used; what was measured stays in the cache.
    """
    from audit.plan import load_plan
    from audit.policy import origin
    from audit.subjects import Workshop, open_subject, pick_device

    clock_from = time.monotonic()
    loaded = load_plan(plan, profile)
    place = Path(out)
    check_free(place)
    job = _job(loaded, only)
    document = _demanded(loaded, policy, job.planned)
    demands = Demands(
        policy=document.value if document else None,
        waivers=_waivers(_beside(loaded, waivers, loaded.plan.waivers) or ()),
        baselines=_baselines(
            {**_plan_baselines(loaded), **_asked_for(baselines, document.value if document else None)}
        ),
        on=datetime.date.today(),
        lock=read_lock(Path(lock), today=datetime.date.today()) if lock is not None else None,
    )
    with tempfile.TemporaryDirectory(prefix="plumbline-") as fresh:
        surroundings = _surroundings(cache if resume else fresh, progress)
        clock = Clock(budget=loaded.plan.budget, started=clock_from)
        job = replace(job, device=_device(loaded, device, pick_device), clock=clock)
        subject = open_subject(loaded, Workshop(store=surroundings.store, device=job.device, progress=progress))
        result = audit_subject(job, subject, demands, surroundings, place, report_only=report_only)
    return replace(result, origin=origin(document) if document else None)


def describe_plan(
    plan: PathLike,
    only: Iterable[str] = (),
    *,
    profile: str | None = None,
    device: str = "auto",
    cache: PathLike | None = None,
) -> list[PlannedStep]:
    """What `run_plan` would do, without training or measuring anything."""
    from audit.plan import load_plan
    from audit.subjects import Workshop, open_subject, pick_device, training_folder

    loaded = load_plan(plan, profile)
    job = _job(loaded, only)
    store = Store(Path(cache) if cache else default_cache())
    if loaded.plan.subject.recipe is not None:
        folder, train = training_folder(loaded, store)
        if not any((folder / name).is_file() for name in ("training_record.json", "ensemble.json")):
            first = PlannedStep(instance="(training)", probe="", status="train", reason=f"on {len(train)} rows")
            wanted = [p for p in job.planned if not job.only or p.instance in job.only]
            return [
                first,
                *(
                    PlannedStep(
                        instance=p.instance, probe=p.info.id, status="to do", seconds=store.seconds(cost_key(p))
                    )
                    for p in wanted
                ),
            ]
    job = replace(job, device=_device(loaded, device, pick_device))
    subject = open_subject(loaded, Workshop(store=store, device=job.device, progress=False))
    return [
        PlannedStep(
            instance=p.instance,
            probe=p.info.id,
            status=status,
            reason=str(why or ""),
            seconds=store.seconds(cost_key(p)) if status == "to do" else None,
        )
        for p, status, why in steps(job, subject, store)
    ]


def policy_of(plan: PathLike, policy: PathLike | None = None) -> Document[Policy] | None:
    """The policy that a plan is decided by, or ``policy`` instead; None where there is none. Opens no model and no data.

    Raises:
        InputError: plan or policy cannot be used, or a rule names what the plan does not measure.
    """
    from audit.plan import load_plan

    loaded = load_plan(plan)
    return _demanded(loaded, policy, _job(loaded, ()).planned)


def load(run: PathLike) -> Result:
    """A finished run from its bundle.

    Raises:
        VerificationError: the bundle does not agree with its own hashes.
    """
    bundle = open_sound(run)
    return Result(record=bundle.record(), verdict=bundle.verdict(), path=Path(run))


def gate(
    run: PathLike | Result,
    policy: PathLike | Policy | None = None,
    waivers: PathLike | Sequence[Waiver] | None = None,
    baselines: Mapping[str, PathLike] | None = None,
    *,
    on: datetime.date | None = None,
    out: PathLike | None = None,
    report_only: bool = False,
) -> Result:
    """Decide on a finished run again, without its model; the bundle itself is never touched.

    Args:
        run: a bundle, or a result.
        policy: a policy; by default the one that the bundle was decided with.
        waivers: waivers; by default the bundle's own.
        baselines: run folders by name.
        on: the day as of which waivers count; today by default.
        out: write a new bundle with this verdict there.

    Raises:
        VerificationError: the bundle does not agree with its own hashes, so nothing is decided on it.
    """
    bundle = open_sound(run.path if isinstance(run, Result) else run)
    old = bundle.verdict()
    demanded, found = _policy(old.policy if policy is None else policy)
    given = _baselines(_asked_for(baselines, demanded))
    excuses = old.waivers if waivers is None else _waivers(waivers)
    day = on or datetime.date.today()
    verdict = regate(
        bundle, policy=demanded, waivers=excuses, baselines=given, on=day, report_only=report_only
    )  # fmt: skip
    if out is not None:
        return replace(rebundle(bundle, verdict, given, Path(out)), origin=found)
    return Result(record=bundle.record(), verdict=verdict, path=bundle.folder, origin=found)


def measure_steadiness(
    run: PathLike | Result,
    policy: PathLike | Policy | None = None,
    *,
    repeats: int = 100,
    seed: int = 0,
    progress: bool = True,
) -> Steadiness:
    """Decide on a finished run ``repeats`` times on resampled rows, and say how often two such gates disagree.

    Args:
        run: a bundle, or a result.
        policy: a policy; by default the one that the bundle was decided with.
        repeats: gates to make, at least 2.
        seed: of the draws.
        progress: show a bar on standard error.

    Raises:
        GateError: there is no policy, or none of its rules can be decided without a baseline.
    """
    from audit.steadiness import steadiness

    bundle = open_sound(run.path if isinstance(run, Result) else run)
    demanded, _ = _policy(bundle.verdict().policy if policy is None else policy)
    if demanded is None:
        raise GateError(
            f"{bundle.folder} was decided without a policy",
            expected="a policy to repeat the gate with",
            fix="give --policy",
        )
    return steadiness(open_run(bundle), demanded, replicates=repeats, seed=seed, progress=chosen(progress))


def _job(loaded: LoadedPlan, only: Iterable[str]) -> Job:
    plan = loaded.plan
    planned = planned_probes({name: (spec.probe, spec.options) for name, spec in plan.probes.items()})
    chosen_ones = frozenset(only) or frozenset(loaded.only)
    unknown = sorted(chosen_ones - {p.instance for p in planned})
    if unknown:
        raise PlanError(
            f"the plan has no probe instance {', '.join(map(repr, unknown))}",
            expected=f"one of {', '.join(p.instance for p in planned)}",
            where=str(loaded.path),
        )
    return Job(
        name=plan.name,
        seed=plan.seed,
        level=plan.level,
        planned=planned,
        only=chosen_ones,
        attestations=plan.attestations,
        regulations=plan.regulations,
        include_text=plan.include_text,
        remarks=() if loaded.profile is None else (said_of_profile(loaded.profile),),
    )


def _demanded(loaded: LoadedPlan, policy: PathLike | None, planned: Sequence[PlannedProbe]) -> Document[Policy] | None:
    from audit.policy import check_measures, read_policy

    file = _beside(loaded, policy, loaded.plan.policy)
    if file is None:
        return None
    document = read_policy(file)
    check_measures(document.value, planned, document)
    return document


def _device(loaded: LoadedPlan, wanted: str, pick: Any) -> str:
    spec = loaded.plan.subject
    return "cpu" if spec.predictions is not None or spec.endpoint is not None else str(pick(wanted))


def _surroundings(cache: PathLike | None, progress: bool) -> Surroundings:
    announce = say_on_stderr if progress else _quiet
    return Surroundings(
        store=Store(Path(cache) if cache else default_cache()),
        progress=chosen(progress),
        announce=announce,
    )


def _quiet(_: str) -> None:
    return


def _options(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in spec.items() if k != "probe"}


def _policy(given: PathLike | Policy | None) -> tuple[Policy | None, Origin | None]:
    """The policy, and where its rules stand if it was read from a file."""
    from audit.policy import origin, read_policy

    if given is None or isinstance(given, Policy):
        return given, None
    document = read_policy(given)
    return document.value, origin(document)


def _waivers(given: PathLike | Sequence[Waiver]) -> tuple[Waiver, ...]:
    from audit.waivers import load_waivers

    return load_waivers(given) if isinstance(given, str | Path) else tuple(given)


def _baselines(given: Mapping[str, PathLike]) -> dict[str, Run]:
    found = {name: find_baseline(Path(path)) for name, path in given.items()}
    return {name: open_baseline(name, bundle) for name, bundle in found.items() if bundle is not None}


def _asked_for(given: Mapping[str, PathLike] | None, policy: Policy | None) -> Mapping[str, PathLike]:
    """The baselines given; one that no rule asks for is a slip of the pen, which ``baseline_missing: skip`` would hide."""
    names = sorted({r.baseline for r in (policy.rules if policy else ()) if r.baseline is not None})
    for name in given or {}:
        if name not in names:
            raise GateError(
                f"a baseline called {name!r} was given, and no rule of the policy asks for it",
                expected=f"one of {', '.join(names)}" if names else "none: no rule compares with a baseline",
            )
    return given or {}


def _plan_baselines(loaded: LoadedPlan) -> dict[str, PathLike]:
    """The plan's baselines that exist; a rule on one that does not is ruled on as missing."""
    paths = {name: loaded.base_dir / path for name, path in loaded.plan.baselines.items()}
    return {name: path for name, path in paths.items() if path.exists()}


def _beside(loaded: LoadedPlan, given: PathLike | None, named: str | None) -> Path | None:
    if given is not None:
        return Path(given)
    return loaded.base_dir / named if named else None
