"""Commands that read a finished run again: render, verify."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from audit.commands.options import Identity, Issuer, PublicKeys, Run, trusted
from audit.commands.pipelines import unheard

NOT_VERIFIED = 13


def render(
    run: Run,
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the page goes; else standard output.")] = None,
    lang: Annotated[str, typer.Option(help="The report's language.")] = "en",
    key: PublicKeys = None,
    sigstore_identity: Identity = None,
    sigstore_issuer: Issuer = None,
) -> None:
    """Render a finished run's report again."""
    from audit import api

    if out is not None and out.resolve().is_relative_to(run.resolve()):
        raise typer.BadParameter(f"{out} lies in the run itself, which is never written into", param_hint="--out")
    page = api.render(run, lang, trusted(key, sigstore_identity, sigstore_issuer))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8", newline="\n")
        typer.echo(f"Report: {out}")
    elif sys.stdout.isatty():
        raise typer.BadParameter("give a file, or pipe the page into something", param_hint="--out")
    else:
        sys.stdout.buffer.write(page.encode())


def verify(
    context: typer.Context,
    run: Run,
    *,
    key: PublicKeys = None,
    sigstore_identity: Identity = None,
    sigstore_issuer: Issuer = None,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also compare this model's files with those that were audited.")
    ] = None,
) -> None:
    """Recompute a run's hashes, numbers, verdict and page, and check its signatures."""
    from audit.tables import printable
    from audit.verify import verify as check

    unheard(context)
    report = check(run, trusted(key, sigstore_identity, sigstore_issuer), model)
    for word, lines in (
        ("signature", report.signatures),
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
