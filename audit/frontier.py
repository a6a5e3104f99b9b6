"""The frontier: trains twins of one recipe at several epsilons, audits each, and leaves one report on what privacy costs, and whom.

It keeps recipe, seed and rows the same for all, measures with the plan's own probes, and compares through the probe
`privacy.frontier`, whose figures are recomputed like any others. It picks no epsilon.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.demands import Demands
from audit.frontier_asked import Asked, read_asked, twin_recipe
from audit.pipeline import Surroundings, audit_subject, check_free
from audit.progress import chosen, say_on_stderr
from audit.result import Result
from audit.runner import planned_probes
from audit.store import Store, default_cache
from probes.evidence import Measurement
from probes.twins_subject import Twin, TwinsSubject
from reports.record import canonical_json

if TYPE_CHECKING:
    from fine_tune.checkpoint import Checkpoint

PROBE = "privacy.frontier"
TIMINGS = "timings.json"


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """What came of it.

    Attributes:
        report: the audit of all twins together.
        twins: each one's own audit, by its epsilon in words, in order.
        seconds: how long each training took, by ``timings.json`` where an earlier call made it; None where nobody knows.
    """

    report: Result
    twins: dict[str, Result]
    seconds: dict[str, float | None]

    def figure(self, twin: str, measure: str) -> Measurement | None:
        """A figure of the whole of one twin, or None where it has no value."""
        finding = self.report.record.findings[0]
        for m in finding.reading.measurements if finding.reading else ():
            if m.name == measure and len(m.slice) == 1 and m.slice[0].value == twin and isinstance(m, Measurement):
                return m
        return None


def frontier(
    file: Path | str,
    epsilons: Sequence[float | None],
    out: Path | str,
    *,
    device: str = "auto",
    cache: Path | str | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Frontier | None:
    """Train and audit a twin at each epsilon.

    Args:
        file: a plan whose subject is a recipe; or a fine-tuning file whose recipe holds rows out, which twins are then judged
            on.
        epsilons: as `parse_epsilons` gives them.
        out: a folder for ``epsilon-E`` and ``no-guarantee``, each with a ``model`` and its ``run``, the bundle ``frontier`` on
            all of them, ``frontier.json`` and ``timings.json``. The same call goes on where an earlier one stopped.

    Returns:
        None in a process of a launch that is not its first one: that one audits.

    Raises:
        InputError: something given cannot be used.
    """
    from audit.subjects import pick_device
    from fine_tune.processes import is_main

    place = Path(out)
    asked = read_asked(Path(file))
    folders = {epsilon: place / folder_name(epsilon) for epsilon in epsilons}
    for bundle in (*(f / "run" for f in folders.values()), place / "frontier"):
        check_free(bundle)
    workplace = pick_device(device)
    made: dict[float | None, Checkpoint] = {}
    seconds: dict[float | None, float | None] = {}
    for epsilon, folder in folders.items():
        made[epsilon], seconds[epsilon] = _train(
            asked, epsilon, folder / "model", device=workplace, resume=resume, progress=progress
        )
    if not is_main():
        return None
    surroundings = Surroundings(
        store=Store(Path(cache) if cache else default_cache()), progress=chosen(progress),
        announce=say_on_stderr if progress else _quiet,
    )  # fmt: skip
    return _audit(asked, made, seconds, place, surroundings=surroundings, device=workplace)


def folder_name(epsilon: float | None) -> str:
    """Where a twin lies."""
    return "no-guarantee" if epsilon is None else f"epsilon-{epsilon:g}"


def _train(
    asked: Asked, epsilon: float | None, folder: Path, *, device: str, resume: bool, progress: bool
) -> tuple[Checkpoint, float | None]:
    """The twin, trained or taken from ``folder`` where it is finished, and how long it took."""
    from fine_tune.train import fine_tune

    there = (folder / "training_record.json").is_file()
    start = time.perf_counter()
    trained = fine_tune(
        twin_recipe(asked.recipe, epsilon), asked.train, folder, progress=progress, device=device, resume=resume
    )
    took = None if there else round(time.perf_counter() - start, 3)
    return replace(trained, name=f"{Path(asked.recipe.base).name}, {folder.parent.name}"), took


def _audit(
    asked: Asked,
    made: Mapping[float | None, Checkpoint],
    seconds: Mapping[float | None, float | None],
    place: Path,
    *,
    surroundings: Surroundings,
    device: str,
) -> Frontier:
    """Each twin by itself, then all together, on rows that are no canary of any of them."""
    from fine_tune.canaries import without_canaries
    from probes.subject import CheckpointSubject

    data = asked.data
    for checkpoint in made.values():
        record = checkpoint.training_record
        data = without_canaries(data, record.canaries if record is not None else ())
    twins, results = [], {}
    for epsilon, checkpoint in made.items():
        subject = CheckpointSubject(
            checkpoint, data, threshold=asked.threshold, positive=asked.positive, training_data=asked.train
        )
        twin = Twin(epsilon=epsilon, subject=subject)
        twins.append(twin)
        demands = Demands(policy=asked.policy, baselines=asked.baselines, on=datetime.date.today())
        job = asked.job(f"epsilon {twin.name}", asked.planned, device)
        results[twin.name] = audit_subject(job, subject, demands, surroundings, place / folder_name(epsilon) / "run")
    together = TwinsSubject(twins, f"{asked.name}: twins at epsilon {', '.join(t.name for t in twins)}")
    planned = planned_probes({"frontier": (PROBE, _options(asked))})
    nothing = Demands(policy=None, baselines={}, on=datetime.date.today())
    report = audit_subject(asked.job("frontier", planned, device), together, nothing, surroundings, place / "frontier")
    before = _timed(place)
    timed = {t.name: before.get(t.name) if seconds[t.epsilon] is None else seconds[t.epsilon] for t in twins}
    done = Frontier(report=report, twins=results, seconds=timed)
    _write(place, done, twins)
    return done


def _options(asked: Asked) -> dict[str, Any]:
    """The class whose recall is shown: the one that the plan's group rates or its threshold speak of."""
    named = next((p.params.get("positive") for p in asked.planned if p.info.id == "fairness.groups"), None)
    positive = asked.positive or named
    return {} if positive is None else {"positive": positive}


def _write(place: Path, done: Frontier, twins: Sequence[Twin]) -> None:
    """``frontier.json``: every twin, where it lies and every figure; ``timings.json``: what no two runs share."""
    finding = done.report.record.findings[0]
    body = {
        "schema": "plumbline.frontier/v1",
        "twins": [
            {
                "name": twin.name, "epsilon": twin.epsilon, "folder": folder_name(twin.epsilon),
                "subject": twin.subject.digest, "outcome": done.twins[twin.name].verdict.outcome,
                "exit_code": done.twins[twin.name].verdict.exit_code,
            }
            for twin in twins
        ],
        "status": finding.status,
        "measurements": [m.model_dump(mode="json") for m in (finding.reading.measurements if finding.reading else ())],
    }  # fmt: skip
    for name, content in (("frontier.json", body), (TIMINGS, {"training_seconds": done.seconds})):
        (place / name).write_text(canonical_json(content), encoding="utf-8", newline="\n")


def _timed(place: Path) -> dict[str, float]:
    """What an earlier call wrote down of its trainings; a file that cannot be read counts as absent."""
    try:
        found = json.loads((place / TIMINGS).read_bytes())["training_seconds"]
        return {name: float(value) for name, value in found.items() if value is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _quiet(_: str) -> None:
    return
