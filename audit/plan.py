"""Reads a plan: what is examined, on which data, by which probes. Also the shorter file for `fine-tune`.

It checks everything that can be known without opening the model or the data, down to each probe's options. It
runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from audit.budget import Budget
from audit.documents import Document, read_document
from audit.errors import PlanError
from audit.faults import Loc, Problem, closest, contradiction
from audit.yaml_files import MOST_TOLD, refuse
from fine_tune.data import DataSpec
from fine_tune.recipe import Recipe
from probes.errors import ProbeError
from probes.evidence import Plain
from probes.probe import Probe
from probes.registry import create, discover
from probes.subject import EndpointSpec, PredictionsSpec
from reports.regulations import regulation_ids

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]
Instance = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)]


def _table(value: Any) -> Any:
    return PredictionsSpec(source=value) if isinstance(value, str) else value


Predictions = Annotated[PredictionsSpec, BeforeValidator(_table, json_schema_input_type=str | PredictionsSpec)]


class SubjectSpec(Plain):
    """What is examined: exactly one of ``checkpoint``, ``recipe``, ``predictions`` and ``endpoint``.

    Attributes:
        checkpoint: a folder, relative to the plan, or a hub id.
        recipe: trains first, and examines what came out.
        save_to: where a recipe leaves its checkpoint, relative to the plan; None keeps it in the cache.
        predictions: a table of what a model said; a path alone is short for its ``source``.
        endpoint: a model behind HTTP that speaks JSON.
        task: Hugging Face name of the task; None takes the checkpoint's, or text-classification.
        threshold: score of ``positive`` from which it is predicted, in [0, 1]; None takes the largest score.
        positive: the class that ``threshold`` is about.
        trust_remote_code: run code that lies beside the weights. Off, and said in the report if on.
    """

    checkpoint: Name | None = None
    recipe: Recipe | None = None
    save_to: Name | None = None
    predictions: Predictions | None = None
    endpoint: EndpointSpec | None = None
    task: str | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    positive: str | None = None
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = ("checkpoint", "recipe", "predictions", "endpoint")
        given = [k for k in kinds if getattr(self, k) is not None]
        if len(given) != 1:
            seen = (
                f"the subject is given {len(given)} ways ({', '.join(given)})" if given else "the subject is not given"
            )
            raise contradiction(seen, f"exactly one of {', '.join(kinds)}", ("subject",))
        if self.save_to is not None and self.recipe is None:
            raise contradiction("save_to without a recipe", "subject.recipe", ("subject", "save_to"))
        if self.threshold is not None and self.predictions is not None:
            seen = "the subject has a threshold, and a table of predictions was decided on already"
            raise contradiction(seen, "no threshold beside predictions", ("subject", "threshold"))
        if (self.threshold is None) != (self.positive is None):
            have, lack = ("threshold", "positive") if self.positive is None else ("positive", "threshold")
            raise contradiction(f"the subject has {have} without {lack}", "both or neither", ("subject", have))
        return self


class ProbeSpec(Plain):
    """One probe instance: the probe's id, and its options beside it."""

    model_config = ConfigDict(extra="allow")

    probe: str

    @property
    def options(self) -> dict[str, Any]:
        """The probe's options as written."""
        return dict(self.model_extra or {})


class Profile(Plain):
    """A way to run a plan, such as a quick one for every change: ``plumbline run PLAN --profile NAME``.

    Attributes:
        only: run these instances alone; all if empty. Rules on the others are errors, so a profile that leaves probes out
            usually brings a policy of its own.
        options: by instance, options that differ from the plan's.
        sample: audit this many rows, drawn by the plan's seed.
        budget: instead of the plan's.
        policy: a file, instead of the plan's.
    """

    only: tuple[Instance, ...] = ()
    options: dict[Instance, dict[str, Any]] = Field(default_factory=dict)
    sample: int | None = Field(default=None, ge=1)
    budget: Budget | None = None
    policy: str | None = None


class PlanData(Plain):
    """The rows to train on, where the subject is a recipe, and the rows to examine it on."""

    train: DataSpec | None = None
    audit: DataSpec | None = None


class Plan(Plain):
    """What to examine, how, and what to hold it to: ``plan.yaml``. Paths in it are relative to its folder.

    Attributes:
        name: what the report calls the audit.
        seed: every random choice derives from it.
        level: confidence level of intervals, two-sided.
        subject: what is examined.
        data: what it is examined on; without ``audit`` only where predictions carry their own labels.
        probes: probe instances by name; rules refer to them as ``instance:measure``.
        policy, waivers: files.
        baselines: run folders by the name that rules use.
        attestations: what only people can say; shown as attested. `reports.attestations` lists the keys that the regulatory
            index looks for; others are shown too.
        regulations: frameworks that the report's regulatory index shows in full: ``plumbline regulations`` lists them.
        include_text: keep raw text in the report.
        budget: how long the run and each probe may take, in seconds.
        profiles: other ways to run the plan, by name.
    """

    schema_: Literal["plumbline.plan/v1"] = Field(default="plumbline.plan/v1", alias="schema")
    name: Name
    seed: int = Field(default=0, ge=0, lt=2**63)
    level: float = Field(default=0.95, gt=0, lt=1)
    subject: SubjectSpec
    data: PlanData = PlanData()
    probes: dict[Instance, ProbeSpec] = Field(min_length=1)
    policy: str | None = None
    waivers: str | None = None
    baselines: dict[Instance, str] = Field(default_factory=dict)
    attestations: dict[str, str] = Field(default_factory=dict)
    regulations: tuple[str, ...] = ()
    include_text: bool = False
    budget: Budget = Budget()
    profiles: dict[Instance, Profile] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.subject.recipe is not None and self.data.train is None:
            raise contradiction("the subject is a recipe, and there is nothing to train on", "data.train", ("data",))
        if self.subject.predictions is None and self.data.audit is None:
            raise contradiction("there is nothing to examine the subject on", "data.audit", ("data",))
        for i, name in enumerate(self.regulations):
            if name not in regulation_ids():
                seen, known = f"no regulation is called {name!r}", f"one of {', '.join(regulation_ids())}"
                raise contradiction(seen, known, ("regulations", i))
        for place, names in self._named_instances():
            for name in names:
                if name not in self.probes:
                    seen = f"{'.'.join(place)} names {name!r}, which is no probe instance of the plan"
                    raise contradiction(seen, f"one of {', '.join(self.probes)}", place)
        return self

    def _named_instances(self) -> Iterator[tuple[tuple[str, ...], Iterable[str]]]:
        """Where probe instances are named outside of ``probes``, and which."""
        yield ("budget", "probes"), self.budget.probes
        for name, profile in self.profiles.items():
            yield ("profiles", name, "only"), profile.only
            yield ("profiles", name, "options"), profile.options
            yield ("profiles", name, "budget"), profile.budget.probes if profile.budget else ()

    def under(self, profile: Profile) -> Plan:
        """The plan as a profile has it."""
        probes = {
            name: ProbeSpec(probe=spec.probe, **{**spec.options, **profile.options.get(name, {})})
            for name, spec in self.probes.items()
        }
        update: dict[str, Any] = {"probes": probes, "budget": profile.budget or self.budget}
        if profile.policy is not None:
            update["policy"] = profile.policy
        if profile.sample is not None and self.data.audit is not None:
            audit = self.data.audit.model_copy(update={"sample": profile.sample})
            update["data"] = self.data.model_copy(update={"audit": audit})
        return self.model_copy(update=update)


class FineTuneData(Plain):
    """The rows to train on."""

    train: DataSpec


class FineTuneSpec(Plain):
    """What `plumbline fine-tune` reads: a recipe and its data. Paths in it are relative to its folder."""

    schema_: Literal["plumbline.fine-tune/v1"] = Field(default="plumbline.fine-tune/v1", alias="schema")
    recipe: Recipe
    data: FineTuneData


@dataclass(frozen=True)
class LoadedPlan:
    """A plan, where it lay, the folder that its paths start from, and the profile that it is under, if any."""

    plan: Plan
    path: Path
    base_dir: Path
    document: Document[Plan]
    profile: str | None = None

    @property
    def only(self) -> tuple[str, ...]:
        """The instances that its profile runs; empty for all."""
        return self.plan.profiles[self.profile].only if self.profile else ()


def load_plan(path: Path | str, profile: str | None = None) -> LoadedPlan:
    """Read and check a plan, with all its profiles.

    Args:
        path: the file.
        profile: which of its profiles to put it under.

    Raises:
        PlanError: the file cannot be read, a key or value is wrong, a probe or one of its options is unknown;
            every problem is listed with its line.
    """
    path = Path(path)
    document = read_document(path, Plan, error=PlanError)
    plan = document.value
    create_probes(plan.probes, document)
    for each in plan.profiles.values():
        create_probes(plan.under(each).probes, document)
    if profile is not None and profile not in plan.profiles:
        raise PlanError(
            f"the plan has no profile {profile!r}",
            expected=f"one of {', '.join(plan.profiles) or 'none: it has no profiles'}",
            where=str(path),
        )
    chosen = plan.under(plan.profiles[profile]) if profile is not None else plan
    return LoadedPlan(chosen, path, path.parent, document, profile)


def load_fine_tune(path: Path | str) -> Document[FineTuneSpec]:
    """Read what `plumbline fine-tune` is given.

    Raises:
        PlanError: as `load_plan`.
    """
    return read_document(Path(path), FineTuneSpec, error=PlanError)


def model_place(name: str, base_dir: Path) -> str:
    """A model that a plan names: the folder below ``base_dir`` if there is one, else the name, as a hub id."""
    folder = base_dir / name
    return str(folder) if folder.is_dir() else name


def create_probes(specs: Mapping[str, ProbeSpec], document: Document[Plan] | None = None) -> dict[str, Probe]:
    """The plan's probes with their options, by instance, in the plan's order.

    Args:
        specs: `Plan.probes`.
        document: where they were read from, so that the message can name lines.

    Raises:
        PlanError: a probe is unknown, or an option is unknown, missing or of the wrong type; all are listed.
    """
    out: dict[str, Probe] = {}
    problems = []
    for instance, spec in specs.items():
        try:
            out[instance] = create(spec.probe, spec.options)
        except ProbeError as error:
            place: Loc = ("probes", instance, *_blamed(spec, error))
            line = document.line(place) if document else None
            fix = error.fix
            if place[-1] == "probe":
                fix = closest(spec.probe, list(discover())) or fix
            problems.append(Problem(line, f"probe instance {instance}: {error.seen}", error.expected, fix))
            if len(problems) > MOST_TOLD:
                break
    refuse(document.path if document else Path("plan"), problems, PlanError)
    return out


def _blamed(spec: ProbeSpec, error: ProbeError) -> tuple[str, ...]:
    """The key that the error is about: the registry's messages quote the option or the id."""
    for option in spec.options:
        if f"option {option!r}" in error.seen or f"option {option} is" in error.seen:
            return (option,)
    return ("probe",) if error.seen == f"no probe is called {spec.probe!r}" else ()


def placed_recipe(recipe: Recipe, base_dir: Path) -> Recipe:
    """The recipe with the models that it names, the base and those under ``privacy.earlier``, where `model_place` finds them."""
    update: dict[str, object] = {"base": model_place(recipe.base, base_dir)}
    if recipe.privacy is not None:
        earlier = tuple(model_place(name, base_dir) for name in recipe.privacy.earlier)
        update["privacy"] = recipe.privacy.model_copy(update={"earlier": earlier})
    return recipe.model_copy(update=update)
