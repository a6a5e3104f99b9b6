"""Commands that read a finished run again: render, verify."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from audit.commands.options import Run
from audit.commands.pipelines import unheard

NOT_VERIFIED = 13


class Edition(StrEnum):
    """What a page shows of the record."""

    internal = "internal"
    regulator = "regulator"
    public = "public"


class Assets(StrEnum):
    """Where a page's style and pictures lie."""

    inline = "inline"
    sibling = "sibling"


def render(
    run: Run,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the page goes; else standard output.")] = None,
    *,
    lang: Annotated[str, typer.Option(help="The report's language.")] = "en",
    assets: Annotated[
        Assets,
        typer.Option(
            help="Where style and pictures go: into the page, or into a folder beside it, for servers such as Jenkins that "
            "allow nothing inline."
        ),
    ] = Assets.inline,
    edition: Annotated[
        Edition,
        typer.Option(
            help="internal shows raw inputs where the plan allows it; regulator redacts them and has every number; public "
            "suppresses figures on few rows, examples, row ids and names of persons."
        ),
    ] = Edition.internal,
    least: Annotated[int, typer.Option(min=2, help="Rows that a figure of the public edition rests on at least.")] = 10,
) -> None:
    """Render a finished run's report again."""
    from audit import rendering

    if out is not None:
        typer.echo(
            f"Report: {rendering.render_to(run, out, lang, sibling=assets is Assets.sibling, edition=edition.value, least=least)}"
        )
    elif assets is Assets.sibling:
        raise typer.BadParameter("a page with assets beside it needs a place", param_hint="--out")
    elif sys.stdout.isatty():
        raise typer.BadParameter("give a file, or pipe the page into something", param_hint="--out")
    else:
        sys.stdout.buffer.write(rendering.render(run, lang, edition=edition.value, least=least).encode())


def verify(context: typer.Context, run: Run) -> None:
    """Recompute a run's hashes, numbers, verdict and page."""
    from audit.tables import printable
    from audit.verify import verify as check

    unheard(context)
    report = check(run)
    for word, lines in (
        ("recomputed", report.recomputed),
        ("not recomputed", report.not_recomputed),
        ("PROBLEM", report.problems),
    ):
        for line in lines:
            typer.echo(f"{word}: {printable(line)}")
    if not report.ok:
        typer.echo(f"error: {run} does not verify: problems: {len(report.problems)}", err=True)
        raise typer.Exit(NOT_VERIFIED)
    typer.echo(f"{run} verifies")
