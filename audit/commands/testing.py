"""Commands that hold a run to what was said before it, and the auditor to what it promises."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.commands.making import DEMO_MISSED, told_of
from audit.commands.options import Device, PolicyFile, ProfileName
from audit.commands.pipelines import unheard

if TYPE_CHECKING:
    from audit.demo.run import DemoOutcome


def lock(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")],
    *,
    out: Annotated[Path, typer.Option(metavar="LOCK", help="Where the lock goes; an earlier one is never replaced.")],
    policy: PolicyFile = None,
    profile: ProfileName = None,
) -> None:
    """Fix policy, data, probes, options and seed before a run; give the hash to somebody who keeps it."""
    from audit.errors import PlanError
    from audit.lock import make_lock

    unheard(context)
    content = make_lock(plan, policy, profile=profile).to_json().encode()
    try:
        with out.open("xb") as stream:
            stream.write(content)
    except FileExistsError:
        raise PlanError(
            f"{out} is there already", expected="a new file", fix="name another; locks are not replaced"
        ) from None
    typer.echo(f"Lock: {out}")
    typer.echo(f"sha256: {sha256(content).hexdigest()}")
    under = "".join(
        f" --{name} {given}" for name, given in (("policy", policy), ("profile", profile)) if given is not None
    )
    typer.echo(f"Next: plumbline run {plan}{under} --lock {out} --out RUN")


def selftest(
    context: typer.Context,
    run: Annotated[Path | None, typer.Option("--aa", metavar="RUN", help="Test the gate on this finished run.")] = None,
    *,
    policy: PolicyFile = None,
    repeats: Annotated[int, typer.Option(min=2, help="Gates to make on resampled rows.")] = 100,
    most: Annotated[float, typer.Option(min=0, max=1, help="Flip rate above which the self-test fails.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the demos go, without --aa.")] = Path("plumbline-selftest"),
    device: Device = "auto",
) -> None:
    """Test the auditor: planted defects and their absence, or with --aa whether verdicts flip on chance alone."""
    unheard(context)
    if run is None:
        _demos(out, device)
        return
    from audit.api import measure_steadiness
    from audit.tables import print_steadiness

    found = measure_steadiness(run, policy, repeats=repeats, seed=seed)
    print_steadiness(found)
    if found.flip_rate > most:
        typer.echo(
            f"error: {100 * found.flip_rate:.1f} % of pairs of gates disagree; at most {100 * most:g} % may", err=True
        )
        raise typer.Exit(DEMO_MISSED)


def _demos(out: Path, device: str) -> None:
    from audit.demo import run_demo

    outcomes: list[DemoOutcome] = []
    for name, clean in (("planted", False), ("clean", True)):
        outcomes.append(run_demo(out / name, clean=clean, device=device))
        told_of(outcomes[-1])
    if not all(outcome.ok for outcome in outcomes):
        typer.echo("error: the audit did not find exactly what is planted", err=True)
        raise typer.Exit(DEMO_MISSED)
    typer.echo("The auditor found what is planted, and claimed nothing where nothing is.")
