"""Commands that set finished runs side by side: two of them, or all below a folder. They decide nothing and write into no run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from audit.commands.pipelines import unheard

Page = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write one HTML page.")]
Lang = Annotated[str, typer.Option(help="The page's language.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def compare(
    context: typer.Context,
    before: Annotated[Path, typer.Argument(metavar="A", help="The folder that the earlier run left behind.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="The folder that the later run left behind.")],
    *,
    out: Page = None,
    lang: Lang = "en",
    as_json: AsJson = False,
) -> None:
    """Say what changed between two finished runs, and whom it harmed."""
    from audit.runs_tables import print_comparison
    from audit.two_runs import compare as compared
    from reports.comparing import comparison_page

    refuse_inside(out, (before, after))
    if not as_json:
        unheard(context)
    found = compared(before, after)
    if out is not None:
        write_page(out, comparison_page(found, lang))
    if as_json:
        sys.stdout.buffer.write(found.to_json().encode("utf-8", "replace"))
        return
    print_comparison(found)
    told(out)


def history(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with runs below it.")],
    *,
    out: Page = None,
    lang: Lang = "en",
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="M", help="INSTANCE:MEASURE or MEASURE; else those under a rule. Repeatable."),
    ] = None,
    depth: Annotated[int, typer.Option(min=0, help="How many folders deep to look.")] = 4,
    as_json: AsJson = False,
) -> None:
    """List every run below a folder: verdicts, reviews, and each measure over time."""
    from audit.runs_below import history as found_below
    from audit.runs_tables import print_history
    from reports.trending import history_page

    if not as_json:
        unheard(context)
    found = found_below(folder, measures=tuple(measure or ()), depth=depth)
    if out is not None:
        refuse_inside(out, tuple(folder / r.folder for r in found.runs))
        write_page(out, history_page(found, _links(folder, out, [r.folder for r in found.runs]), lang))
    if as_json:
        sys.stdout.buffer.write(found.to_json().encode("utf-8", "replace"))
        return
    print_history(found)
    told(out)


def _links(folder: Path, out: Path, runs: list[str]) -> dict[str, str]:
    """The address of each run's page as seen from ``out``, for those that have one. A folder's name never becomes a scheme."""
    from reports.bundle import page_name

    pages = {run: folder.resolve() / run / page_name("en") for run in runs}
    start = out.resolve().parent
    return {
        run: quote(os.path.relpath(page, start).replace(os.sep, "/")) for run, page in pages.items() if page.is_file()
    }


def refuse_inside(out: Path | None, runs: tuple[Path, ...]) -> None:
    """A page may not lie in a run, which is never written into."""
    for run in runs:
        if out is not None and out.resolve().is_relative_to(run.resolve()):
            raise typer.BadParameter(f"{out} lies in a run, which is never written into", param_hint="--out")


def write_page(out: Path, page: str) -> None:
    """The page as a file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8", newline="\n")


def told(out: Path | None) -> None:
    """Where the page lies, or how to get one."""
    typer.echo(f"Page: {out}" if out is not None else "Nothing was written; --out FILE makes one HTML page of it.")
