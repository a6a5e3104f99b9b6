"""Asks a probe of a finished run again: opens what the caller names, and hands it to `audit.reproduction`. The Python API's and the
command line's way in; it compares nothing itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import GateError
from audit.progress import chosen, say_on_stderr
from audit.reproduction import Reproduction, ask_again, instance_of, stored_finding
from audit.result import Result
from audit.runner import profile_of
from audit.store import Store, default_cache
from probes.evidence import Need
from reports.bundle import Bundle

if TYPE_CHECKING:
    from probes.subject import Subject


def reproduce(
    run: str | Path | Result,
    *,
    check: str | None = None,
    instance: str | None = None,
    plan: str | Path | None = None,
    subject: Subject | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
    progress: bool = True,
) -> Reproduction:
    """Ask the probe behind a rule again, from nothing, and compare its figures with the run's.

    Nothing that was measured before is used, and the run is only read. A model that the plan trains is trained again unless
    it lies where the plan or the cache keeps it; either way it has to have the digest that the run examined.

    Args:
        run: a bundle, or a result.
        check: the id of a rule of the run's policy.
        instance: a probe instance, instead of ``check``.
        plan: the plan of the run, for its model and data alone; put under the profile that the run was made with.
        subject: an opened subject, instead of ``plan``, for runs that had none.
        device: auto, cpu, cuda, ...
        cache: where trained models are kept.
        progress: say on standard error how far it is.

    Raises:
        InputError: the run, the plan or what it names cannot be used, or the probe cannot ask this subject here.
        VerificationError: the bundle is damaged, model or data are others than the run's, or the probe broke.
    """
    bundle = Bundle.open(run.path if isinstance(run, Result) else run)
    record = bundle.record()
    finding = stored_finding(
        bundle, record, instance_of(bundle.verdict(), record, check=check, instance=instance)
    )  # fmt: skip
    if (plan is None) == (subject is None):
        raise GateError(
            "a run holds digests of its model and its data, and neither of them",
            expected="the plan that names both, or an opened subject",
            fix="give --plan (in Python: plan= or subject=)",
        )
    if plan is not None:
        subject = _opened(Path(plan), profile_of(record), device, cache, progress=progress)
    if subject is None:
        raise AssertionError
    if progress:
        say_on_stderr(finding.instance)
    return ask_again(bundle, finding, subject, device=_device(subject, device), progress=chosen(progress))


def _opened(plan: Path, profile: str | None, device: str, cache: str | Path | None, *, progress: bool) -> Subject:
    from audit.plan import load_plan
    from audit.subjects import Workshop, open_subject, pick_device

    loaded = load_plan(plan, profile)
    trains = loaded.plan.subject.recipe is not None
    store = Store(Path(cache) if cache else default_cache())
    return open_subject(
        loaded, Workshop(store=store, device=pick_device(device) if trains else "cpu", progress=progress)
    )


def _device(subject: Subject, wanted: str) -> str:
    from audit.subjects import pick_device

    return pick_device(wanted) if {Need.WEIGHTS, Need.MEMBERS} & subject.offers else "cpu"
