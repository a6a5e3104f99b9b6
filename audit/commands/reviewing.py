"""The command by which a person decides about a finished run: ``plumbline review``."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, get_args

import typer

from audit.commands.options import Run
from audit.commands.pipelines import unheard


def review(
    context: typer.Context,
    run: Run,
    *,
    decision: Annotated[str, typer.Option(metavar="DECISION", help="accept, reject or accept-with-conditions.")],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who decides.")],
    text: Annotated[str, typer.Option(metavar="TEXT", help="Why.")],
    condition: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="With accept-with-conditions. Repeatable.")
    ] = None,
    date: Annotated[
        datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day of the decision; today by default.")
    ] = None,
) -> None:
    """Record a reviewer's decision beside a run, bound to it. The verdict stays as it is."""
    from audit.reviewing import review as record
    from audit.tables import printable
    from reports.reviews import ReviewDecision, reviews_beside

    known = get_args(ReviewDecision)
    if decision not in known:
        raise typer.BadParameter(f"{decision!r} is none of {', '.join(known)}", param_hint="--decision")
    unheard(context)
    day = date.date() if date else None
    path: Path = record(run, decision=decision, by=by, text=text, conditions=tuple(condition or ()), on=day)  # type: ignore[arg-type]
    from reports.bundle import Bundle

    outcome = Bundle.open(run).verdict().outcome
    for name, said in reviews_beside(run, outcome):
        typer.echo(printable(f"{name}: {said}"))
    typer.echo(f"Review: {path}")
    typer.echo(f"Next: plumbline render {run} --out COPY.html shows it on the first screen")
