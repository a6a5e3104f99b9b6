"""How a deciding command stands in a pipeline: its options, and what happens around its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from audit.ci import Pipeline
    from audit.result import Result

CiKind = Annotated[
    str, typer.Option("--ci", metavar="auto|github|gitlab|none", help="Whose pipeline to write summaries for.")
]
SarifFile = Annotated[
    Path | None, typer.Option("--sarif", metavar="FILE", help="Also write a SARIF 2.1.0 log, for code scanning.")
]


def unheard(context: typer.Context, pipeline: Pipeline | None = None) -> None:
    """From here to the end of the command, its errors included, GitHub's runner reads no commands in what is printed.

    For every command that prints names from data or models, except to be piped somewhere.
    """
    if pipeline is None:
        from audit.ci import Pipeline as Found

        pipeline = Found.found()
    pipeline.silence(typer.echo)
    context.find_root().call_on_close(lambda: pipeline.listen(typer.echo))


@contextmanager
def told(context: typer.Context, pipeline: Pipeline, asked: Path) -> Iterator[Callable[[Result], None]]:
    """Around a command that decides: hands out what tells the pipeline its verdict, and tells it of a failure.

    GitHub's runner reads no commands meanwhile, the message of an error included, which is printed after this.
    """
    unheard(context, pipeline)
    if pipeline.kind == "github" and pipeline.job_summary is None:
        typer.echo("note: GITHUB_STEP_SUMMARY is not set, so no job summary is written", err=True)
    try:
        yield lambda result: pipeline.publish(result, typer.echo)
    except Exception as error:
        # Exits and wrong usage are the framework's own.
        if not (isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "show")):
            with suppress(
                OSError
            ):  # what cannot be written now could not be before; the first reason is the one to tell
                pipeline.publish_failure(error, asked, typer.echo)
        raise
