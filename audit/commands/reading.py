"""Commands that read a finished run again: render, verify, log."""

from __future__ import annotations

import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.commands.options import Identity, Issuer, PublicKeys, Run, trusted
from audit.commands.pipelines import unheard

if TYPE_CHECKING:
    from audit.trackers.shipment import Tracker

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
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the page goes; else standard output.")] = None,
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
    key: PublicKeys = None,
    sigstore_identity: Identity = None,
    sigstore_issuer: Issuer = None,
    open_it: Annotated[
        bool, typer.Option("--open", help="Open it in the browser; a temporary copy without --out.")
    ] = False,
) -> None:
    """Render a finished run's report again, with its reviews and what is known of its signatures."""
    from audit import rendering

    asked = trusted(key, sigstore_identity, sigstore_issuer)
    if open_it and out is None:
        out = Path(tempfile.mkdtemp(prefix="plumbline-")) / "report.html"
    if out is not None:
        page = rendering.render_to(
            run, out, lang, sibling=assets is Assets.sibling, trusted=asked, edition=edition.value, least=least
        )
        typer.echo(f"Report: {page}")
        if open_it:
            _show(page)
    elif assets is Assets.sibling:
        raise typer.BadParameter("a page with assets beside it needs a place", param_hint="--out")
    elif sys.stdout.isatty():
        raise typer.BadParameter("give a file, or pipe the page into something", param_hint="--out")
    else:
        sys.stdout.buffer.write(rendering.render(run, lang, asked, edition=edition.value, least=least).encode())


def _show(page: Path) -> None:
    """Open a page in the browser that is set up here; where there is none, say so, for the page is written all the same."""
    import webbrowser

    try:
        opened = webbrowser.open(page.resolve().as_uri())
    except webbrowser.Error:
        opened = False
    if not opened:
        typer.echo(f"note: no browser could be opened here; open {page} yourself", err=True)


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
        ("review", report.reviews),
        ("recomputed", report.recomputed),
        ("not recomputed", report.not_recomputed),
        ("PROBLEM", report.problems),
    ):
        for line in lines:
            # An error of several lines is one line here, as every other part is.
            typer.echo(f"{word}: {printable('; '.join(part.strip() for part in line.splitlines()))}")
    if not report.ok:
        typer.echo(f"error: {run} does not verify: problems: {len(report.problems)}", err=True)
        raise typer.Exit(NOT_VERIFIED)
    typer.echo(f"{run} verifies")


def log(
    context: typer.Context,
    run: Run,
    *,
    to: Annotated[str, typer.Option(metavar="mlflow|wandb", help="Which kind of tracking server.")],
    uri: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow's server; MLFLOW_TRACKING_URI by default.")
    ] = None,
    experiment: Annotated[str | None, typer.Option(metavar="NAME", help="MLflow's experiment.")] = None,
    project: Annotated[str | None, typer.Option(metavar="NAME", help="W&B's project.")] = None,
    entity: Annotated[str | None, typer.Option(metavar="NAME", help="W&B's user or team.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="W&B: keep it here, for `wandb sync`.")] = False,
    run_name: Annotated[str | None, typer.Option(metavar="NAME", help="What the run is called there.")] = None,
    include_personal_data: Annotated[
        bool, typer.Option("--include-personal-data", help="Send the files that hold personal data too.")
    ] = False,
) -> None:
    """Log a finished run to MLflow or Weights & Biases."""
    from audit.tables import printable
    from audit.track import log as hand_over

    unheard(context)
    tracker = _tracker(to, {"uri": uri, "experiment": experiment}, {"project": project, "entity": entity}, offline)
    done = hand_over(run, to=tracker, run_name=run_name, include_personal_data=include_personal_data)
    typer.echo(f"Logged: {done.metrics} metrics, {done.undefined} figures without a value, {len(done.files)} files")
    for path in done.left_out:
        typer.echo(printable(f"left out, holds personal data: {path}"))
    if done.left_out:
        typer.echo("--include-personal-data sends these too; without them the run cannot be verified from there.")
    typer.echo(printable(f"Tracked: {done.place}"))
    if to == "wandb" and Path(done.place).is_dir():
        typer.echo(printable(f"Next: wandb sync {done.place}"))


def _tracker(to: str, mlflow: dict[str, str | None], wandb: dict[str, str | None], offline: bool) -> Tracker:
    """The door that was asked for; an option of the other one is an error rather than nothing."""
    from audit.trackers.mlflow import MLflow
    from audit.trackers.shipment import PLACE
    from audit.trackers.wandb import WandB

    if to not in ("mlflow", "wandb"):
        raise typer.BadParameter(f"{to!r} is neither mlflow nor wandb", param_hint="--to")
    others = {**wandb, "offline": "" if offline else None} if to == "mlflow" else mlflow
    for name, value in others.items():
        if value is not None:
            raise typer.BadParameter(f"this is for the other tracker, not for {to}", param_hint=f"--{name}")
    if to == "mlflow":
        return MLflow(uri=mlflow["uri"], experiment=mlflow["experiment"] or PLACE)
    return WandB(project=wandb["project"] or PLACE, entity=wandb["entity"], offline=offline)
