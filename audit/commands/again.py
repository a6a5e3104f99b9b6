"""The command that asks a probe of a finished run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.options import Device, Run
from audit.commands.pipelines import unheard
from audit.commands.reading import NOT_VERIFIED


def reproduce(
    context: typer.Context,
    run: Run,
    *,
    check: Annotated[str | None, typer.Option(metavar="RULE", help="The rule whose probe is asked again.")] = None,
    instance: Annotated[str | None, typer.Option(metavar="NAME", help="A probe instance, instead of --check.")] = None,
    plan: Annotated[
        Path | None, typer.Option(metavar="PLAN", help="The run's plan, which names its model and its data.")
    ] = None,
    device: Device = "auto",
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Where trained models are kept.")] = None,
) -> None:
    """Ask one probe of a run again, from nothing, and compare its figures."""
    if (check is None) == (instance is None):
        raise typer.BadParameter("give one of both", param_hint="--check / --instance")
    from audit.again import reproduce as ask
    from audit.tables import print_reproduction

    unheard(context)
    found = ask(run, check=check, instance=instance, plan=plan, device=device, cache=cache)
    print_reproduction(found)
    if not found.ok:
        number = len(found.differing)
        typer.echo(f"error: {found.instance} does not come out the same: figures that differ: {number}", err=True)
        raise typer.Exit(NOT_VERIFIED)
    typer.echo(f"{found.instance} comes out the same: {len(found.figures)} figures agree")
