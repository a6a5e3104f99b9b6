"""Commands that read a finished run again: render, verify."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from audit.commands.options import Run
from audit.commands.pipelines import unheard

NOT_VERIFIED = 13


def render(
    run: Run,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the page goes; else standard output.")] = None,
    lang: Annotated[str, typer.Option(help="The report's language.")] = "en",
    open_it: Annotated[
        bool, typer.Option("--open", help="Open it in the browser; a temporary copy without --out.")
    ] = False,
) -> None:
    """Render a finished run's report again, with the reviews beside it."""
    from audit import api

    if out is not None and out.resolve().is_relative_to(run.resolve()):
        raise typer.BadParameter(f"{out} lies in the run itself, which is never written into", param_hint="--out")
    page = api.render(run, lang)
    if open_it and out is None:
        out = Path(tempfile.mkdtemp(prefix="plumbline-")) / "report.html"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8", newline="\n")
        typer.echo(f"Report: {out}")
        if open_it:
            _show(out)
    elif sys.stdout.isatty():
        raise typer.BadParameter("give a file, or pipe the page into something", param_hint="--out")
    else:
        sys.stdout.buffer.write(page.encode())


def _show(page: Path) -> None:
    """Open a page in the browser that is set up here; where there is none, say so, for the page is written all the same."""
    import webbrowser

    try:
        opened = webbrowser.open(page.resolve().as_uri())
    except webbrowser.Error:
        opened = False
    if not opened:
        typer.echo(f"note: no browser could be opened here; open {page} yourself", err=True)


def verify(context: typer.Context, run: Run) -> None:
    """Recompute a run's hashes, numbers, verdict and page."""
    from audit.tables import printable
    from audit.verify import verify as check

    unheard(context)
    report = check(run)
    for word, lines in (
        ("review", report.reviews),
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
