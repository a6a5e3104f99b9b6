"""Writes a first plan and a first policy for a model and a table, so that nobody has to start from an empty file.

What was guessed is said beside the line it decided, and again to whoever asked. What is uncertain is left as a comment.
Thresholds are examples, and marked so. Nothing that exists is overwritten, and no model is run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.column_roles import PREDICTED, Guess, Guesses, describe, guess_roles
from audit.errors import PlanError
from audit.first_policy import policy_text
from audit.opening import TABLES
from audit.plan import load_plan
from audit.policy import check_measures, read_policy
from audit.quoting import quote
from audit.runner import planned_probes, unmet
from audit.schema_files import FOLDER
from fine_tune.data import AuditData, DataSpec
from fine_tune.sources import HUB, Columns, read_path
from probes.evidence import ProbeInfo
from probes.registry import discover
from reports.attestations import KNOWN
from reports.record import PlannedProbe
from reports.regulations import regulation_ids

if TYPE_CHECKING:
    from probes.subject import Subject

_NAMES = {"performance.classification": "performance"}
# A first run should take no longer than reading its plan.
_SLOW_FAMILIES = frozenset({"robustness", "explanation"})
_SLOW = frozenset({"fairness.identity_swaps"})
_SHOW_INPUTS = {"performance.examples"}  # there is no need that says so: such a probe finds out when it runs
_ROLES = ("input", "label", "groups", "cluster", "id", "weight", "counterpart", "rationale")
_POSITIVE = ("positive", "yes", "true", "1", "hateful", "toxic", "spam", "approve", "approved", "accept", "accepted",
             "invite", "hire", "hired")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FirstPlan:
    """What was written, and what was guessed on the way."""

    plan: Path
    policy: Path
    notes: tuple[str, ...]


def write_first_plan(checkpoint: str, data: str, out: Path, *, input: str | None = None) -> FirstPlan:
    """Look at a model and a table, and write ``plan.yaml`` and ``policy.yaml`` with their schemas.

    Args:
        checkpoint: a folder, a hub id, or a table of predictions.
        data: a csv, tsv, json, jsonl or parquet file.
        out: the folder to write into; made if it is not there.
        input: the column that the model reads, where it cannot be guessed.

    Raises:
        PlanError: one of the files exists, or it is not clear which column the model reads.
        InputError: the model or the data cannot be used.
    """
    files = {n: out / n for n in ("plan.yaml", "policy.yaml", "plan.schema.json", "policy.schema.json")}
    for path in files.values():
        if path.exists():
            raise PlanError(
                f"{path} exists already", expected="a folder without it", fix="name another folder with --out"
            )
    if data.startswith(HUB):
        raise PlanError(
            f"{data} is no file", expected="a csv, tsv, json, jsonl or parquet file", fix="save the rows as a file"
        )
    columns = read_path(Path(data))
    is_table = Path(checkpoint).suffix.lower() in TABLES
    spoken = read_path(Path(checkpoint)) if is_table else {}
    classes = _spoken_classes(spoken, checkpoint) if is_table else _checkpoint_classes(checkpoint)
    guesses = _guesses(columns, classes, input, spoken if is_table else None)
    subject = _open(checkpoint, data, guesses, spoken if is_table else None)
    planned, left_out = _probes(subject)
    texts = {
        "plan.yaml": _plan_text(checkpoint, data, out, _Seen(guesses, subject, planned, left_out, _predicted(spoken))),
        "policy.yaml": policy_text(_short(checkpoint), planned, subject),
        "plan.schema.json": (FOLDER / "plan.json").read_text(encoding="utf-8"),
        "policy.schema.json": (FOLDER / "policy.json").read_text(encoding="utf-8"),
    }
    _check(texts)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with files[name].open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    notes = [f"{'used' if g.sure else 'not used'}: {quote(g.column)} as {g.role} ({g.why})" for g in guesses.guesses]
    notes += [f"left out: {id_} ({why})" for id_, why in left_out]
    notes += [
        f"guessed: {quote(p.params['positive'])} is the positive class" for p in planned if "positive" in p.params
    ]
    return FirstPlan(plan=files["plan.yaml"], policy=files["policy.yaml"], notes=tuple(notes))


@dataclass(frozen=True)
class _Seen:
    guesses: Guesses
    subject: Subject
    planned: tuple[PlannedProbe, ...]
    left_out: list[tuple[str, str]]
    predicted: str | None


def _checkpoint_classes(name: str) -> tuple[str, ...]:
    from fine_tune.checkpoint import Checkpoint

    opened = Checkpoint.open(name)
    _ = opened.task
    return opened.classes


def _spoken_classes(columns: Columns, where: str) -> tuple[str, ...]:
    scored = tuple(n.removeprefix("score_") for n in columns if n.startswith("score_"))
    if scored:
        return scored
    column = _predicted(columns)
    if column is None:
        raise PlanError(
            "the table holds neither predictions nor scores",
            expected=f"columns score_<class>, or one of {', '.join(PREDICTED)}",
            where=where,
        )
    return tuple(sorted(v for v, _ in describe(column, columns[column]).values))


def _predicted(columns: Columns) -> str | None:
    return next((n for n in columns if describe(n, ()).key in PREDICTED), None)


def _guesses(columns: Columns, classes: Sequence[str], given: str | None, spoken: Columns | None) -> Guesses:
    if given is not None and given not in columns:
        raise PlanError(
            f"the data has no column {given!r}",
            expected=f"one of {', '.join(map(repr, columns))}",
            fix="--input COLUMN",
        )
    looked = [describe(name, values) for name, values in columns.items() if name != given]
    found = guess_roles(looked, classes)
    guesses = list(found.guesses)
    if given is not None:
        chosen = Guess(role="input", column=given, why="it was named", sure=True)
        guesses = [chosen, *(g for g in guesses if g.role != "input")]
    if spoken is not None:
        lost = "the predictions have no such column"
        guesses = [
            Guess(role=g.role, column=g.column, why=lost, sure=False)
            if g.role == "id" and g.sure and not {g.column, "row_id"} & spoken.keys()
            else g
            for g in guesses
        ]
    elif not any(g.role == "input" and g.sure for g in guesses):
        likely = [g.column for g in guesses if g.role == "input"] or list(columns)
        raise PlanError(
            "it is not clear which column the model reads",
            expected=f"one of {', '.join(map(repr, likely))}",
            fix=f"name it: --input {likely[0]}",
        )
    return Guesses(guesses=tuple(guesses), labels=found.labels)


def _roles(guesses: Guesses) -> dict[str, Any]:
    out: dict[str, Any] = {r: guesses.sure(r)[0] for r in _ROLES if r != "groups" and guesses.sure(r)}
    if guesses.sure("groups"):
        out["groups"] = tuple(guesses.sure("groups"))
    if guesses.labels and "label" in out:
        out["labels"] = guesses.labels
    return out


def _open(checkpoint: str, data: str, guesses: Guesses, spoken: Columns | None) -> Subject:
    from probes.subject import PredictionsSpec, PredictionsSubject, subject_of

    rows = AuditData.load(DataSpec.model_validate({"source": data, **_roles(guesses)}))
    if spoken is not None:
        return PredictionsSubject.open(PredictionsSpec(source=checkpoint, prediction=_predicted(spoken)), rows)
    from fine_tune.checkpoint import Checkpoint

    return subject_of(Checkpoint.open(checkpoint), rows)


def _probes(subject: Subject) -> tuple[tuple[PlannedProbe, ...], list[tuple[str, str]]]:
    """Every probe that can run on this subject with no other option than a positive class; and why others can't."""
    wanted: dict[str, tuple[str, Mapping[str, Any]]] = {}
    left_out = []
    for id_, cls in discover().items():
        options = _options(cls.info, subject.classes)
        if options is None:
            left_out.append((id_, "it has options that only you can set"))
            continue
        if id_ in _SHOW_INPUTS and not subject.data.has_inputs:
            left_out.append((id_, "the data has no inputs"))
            continue
        why = unmet(PlannedProbe(instance="probe", info=cls.info, params=options), subject)
        if why is not None:
            left_out.append((id_, str(why)))
            continue
        if cls.info.family in _SLOW_FAMILIES or id_ in _SLOW:
            left_out.append((id_, "it asks the model many times; add it once the rest runs"))
            continue
        name = _NAMES.get(id_, id_.partition(".")[2])
        wanted[id_.replace(".", "-") if name in wanted else name] = (id_, options)
    known = discover()
    # A probe that needs nothing looks at the data alone, and a plan of such probes would say nothing of the model.
    if not any(known[id_].info.needs for id_, _ in wanted.values()):
        raise PlanError("no probe can run on this model with this data", expected="labels or groups in the data")
    return planned_probes(wanted), left_out


def _options(info: ProbeInfo, classes: Sequence[str]) -> dict[str, Any] | None:
    named = {p.name for p in info.parameters}
    needed = {p.name for p in info.parameters if p.required}
    if needed - {"positive"}:
        return None
    if "positive" not in named or (len(classes) != 2 and "positive" not in needed):
        return {}
    return {"positive": next((c for c in classes if c.casefold() in _POSITIVE), classes[-1])}


def _plan_text(checkpoint: str, data: str, out: Path, seen: _Seen) -> str:
    subject, roles = seen.subject, _roles(seen.guesses)
    lines = [
        "# yaml-language-server: $schema=plan.schema.json",
        "# A first plan, written by `plumbline init`. It looked at the data and guessed: read every line before you rely",
        "# on it. Paths are relative to this file.",
        "schema: plumbline.plan/v1",
        f"name: {quote(_short(checkpoint))}",
        "seed: 1",
        "subject:",
        *_subject_lines(checkpoint, out, seen),
        f"  # its classes: {', '.join(map(quote, subject.classes))}",
        "data:",
        "  audit:",
        f"    source: {quote(_relative(data, out))}  # {len(subject.data)} rows",
    ]
    for role, value in roles.items():
        lines += _role_lines(role, value, seen)
    unsure = [g for g in seen.guesses.guesses if not g.sure]
    if unsure:
        lines.append("    # Not certain, so not used; use what is right:")
        for g in unsure:
            suggested = f"    # {g.role}: {quote(g.column)}"
            if g.role == "groups":
                suggested = f"    # to add to the list under `groups`: {quote(g.column)}"
            lines.append(f"{suggested}  # {g.why}")
    if "cluster" not in roles:
        lines += [
            "    # Rows are taken as independent. If some belong together (one person, one template), name their column:",
            "    # cluster: ...",
        ]
    lines.append("probes:")
    for p in seen.planned:
        options = "".join(f", {k}: {quote(v)}" for k, v in p.params.items())
        lines.append(f"  # {p.info.asks}")
        if "positive" in p.params:
            lines.append("  # guess: which class counts as positive (an advantage, or a detection); check it")
        lines.append(f"  {p.instance}: {{probe: {p.info.id}{options}}}")
    if seen.left_out:
        lines.append("  # Not possible here:")
        lines += [f"  # {id_}: {' '.join(why.split())}" for id_, why in seen.left_out]
    lines += [
        "policy: policy.yaml",
        "# Frameworks that matter here; the report shows in full what there is for each of their requirements:",
        f"# regulations: [{', '.join(regulation_ids())}]",
        "# What only people can say; the report shows it as attested. Write what you can stand for, and leave out the rest:",
        "# attestations:",
        *(f'#   {key}: ""  # {known.asks}' for key, known in KNOWN.items()),
    ]
    return "\n".join(lines) + "\n"


def _subject_lines(checkpoint: str, out: Path, seen: _Seen) -> list[str]:
    if seen.subject.kind in ("checkpoint", "ensemble"):
        place = _relative(checkpoint, out) if Path(checkpoint).exists() else checkpoint
        return [f"  checkpoint: {quote(place)}"]
    named = "" if seen.predicted in (None, "prediction") else f", prediction: {quote(seen.predicted or '')}"
    return [f"  predictions: {{source: {quote(_relative(checkpoint, out))}{named}}}"]


def _role_lines(role: str, value: Any, seen: _Seen) -> list[str]:
    if role == "labels":
        pairs = ", ".join(f"{quote(k)}: {quote(v)}" for k, v in value.items())
        return [f"    labels: {{{pairs}}}  # guess: the class that each value stands for"]
    why = {g.column: g.why for g in seen.guesses.guesses if g.sure and g.role == role}
    if role == "groups":
        missing = {f: seen.subject.data.missing(f) for f in value}
        said = [f"    # guess: {quote(f)}: {why[f]}" + (f"; {missing[f]} rows without a value" if missing[f] else "")
                for f in value]  # fmt: skip
        lines = [*said, f"    groups: [{', '.join(map(quote, value))}]"]
        return [*lines, "    missing_group: exclude  # or own: a group of its own"] if any(missing.values()) else lines
    return [f"    {role}: {quote(value)}  # guess: {why[value]}"]


def _relative(path: str, out: Path) -> str:
    try:
        return Path(os.path.relpath(Path(path).resolve(), out.resolve())).as_posix()
    except ValueError:  # another drive
        return Path(path).resolve().as_posix()


def _short(checkpoint: str) -> str:
    return Path(checkpoint).name or checkpoint


def _check(texts: Mapping[str, str]) -> None:
    """What is written must load: a file that does not is worse than none."""
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        for name, text in texts.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        loaded = load_plan(Path(folder) / "plan.yaml")
        document = read_policy(Path(folder) / "policy.yaml")
        probes = {name: (spec.probe, spec.options) for name, spec in loaded.plan.probes.items()}
        check_measures(document.value, planned_probes(probes), document)
