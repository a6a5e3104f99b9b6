"""Commands that train: the demo, fine-tuning, hardening, mitigation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.commands.options import Device, Run, show
from audit.commands.pipelines import unheard

if TYPE_CHECKING:
    from audit.demo.run import DemoOutcome

DEMO_MISSED = 10


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("plumbline-demo"),
    clean: Annotated[bool, typer.Option("--clean", help="Material without planted defects.")] = False,
    base: Annotated[str | None, typer.Option(help="Another pretrained encoder: a hub id or a folder.")] = None,
    device: Device = "auto",
) -> None:
    """Train and audit a small model on planted defects."""
    from audit.demo import run_demo

    unheard(context)
    outcome = run_demo(out, clean=clean, base=base, device=device)
    show(outcome.result)
    told_of(outcome)
    if not outcome.ok:
        typer.echo("error: the audit did not find exactly what is planted", err=True)
        raise typer.Exit(DEMO_MISSED)


def told_of(outcome: DemoOutcome) -> None:
    """What was found, missed and claimed without cause, a line each."""
    for word, names in (("found", outcome.found), ("MISSED", outcome.missed), ("UNEXPECTED", outcome.unexpected)):
        for name in names:
            typer.echo(f"{word}: {name}")


def fine_tune(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file with `recipe` and `data.train`.")],
    *,
    out: Annotated[Path, typer.Option(help="Where the checkpoint goes, or the frontier's folder.")],
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Take up what an earlier call left unfinished.")] = True,
    frontier: Annotated[
        str | None,
        typer.Option(
            metavar="EPSILONS",
            help="Train and audit a twin at each, such as 1,3,8,inf; inf has no guarantee. RECIPE may be a plan then.",
        ),
    ] = None,
    released: Annotated[
        int | None,
        typer.Option(
            metavar="STEP",
            help="Private training alone: weights of this step left, and the kept state may be older, as one from a backup.",
        ),
    ] = None,
) -> None:
    """Train, and leave a checkpoint with its record."""
    unheard(context)
    if released is not None:
        from fine_tune.privacy.released import mark_checkpoint

        mark_checkpoint(out, released)
    if frontier is not None:
        _frontier(recipe, frontier, out, device=device, resume=resume)
        return
    from audit.plan import load_fine_tune, placed_recipe
    from audit.subjects import pick_device
    from fine_tune.data import AuditData
    from fine_tune.processes import is_main
    from fine_tune.train import fine_tune as train

    spec = load_fine_tune(recipe).value
    data = AuditData.load(spec.data.train, base_dir=recipe.parent, seed=spec.recipe.drawing_seed)
    train(
        placed_recipe(spec.recipe, recipe.parent), data, out, device=pick_device(device), progress=True, resume=resume
    )
    if is_main():
        typer.echo(f"Checkpoint: {out}")


def harden(
    context: typer.Context,
    run: Run,
    *,
    plan: Annotated[Path, typer.Option(metavar="PLAN", help="The plan that the run was made from.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the new model and both audits go.")],
    share: Annotated[float, typer.Option(help="Share of the audited rows whose variants may be trained on.")] = 0.5,
    noise: Annotated[str, typer.Option(metavar="all|flipped", help="Noise variants to train on.")] = "all",
    device: Device = "auto",
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Where measured rows are kept.")] = None,
) -> None:
    """Train a run's model again with its attacks and noise, and audit both on rows kept apart."""
    from audit.harden import harden as train_twin
    from audit.side_by_side import print_comparisons
    from audit.tables import printable

    unheard(context)
    if noise not in ("all", "flipped"):
        raise typer.BadParameter(f"{noise!r} is neither all nor flipped", param_hint="--noise")
    done = train_twin(
        run, plan, out, share=share, noise="all" if noise == "all" else "flipped", device=device, cache=cache
    )
    print_comparisons(done.comparisons)
    for note in done.notes:
        typer.echo(printable(str(note)))
    typer.echo(f"Checkpoint: {done.model}")
    typer.echo(f"Original: {done.original.report}")
    typer.echo(f"Hardened, compared with it: {done.hardened.report}")


def mitigate(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan that trains a model and measures its groups.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the models and their audits go.")],
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURE", help="Sensitive feature of the training data. Repeatable: then they are crossed."
        ),
    ] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="Also train a model that sees every group equally often.")
    ] = False,
    device: Device = "auto",
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Where measured rows are kept.")] = None,
) -> None:
    """Train a plan's model again with its groups reweighed, and audit both on the same rows."""
    from audit.mitigate import UNMITIGATED
    from audit.mitigate import mitigate as train_twins
    from audit.side_by_side import print_comparisons

    unheard(context)
    done = train_twins(
        plan, out, by=by or (), ways=("reweigh", "balance") if balance else ("reweigh",), device=device, cache=cache
    )
    for name in done.twins:
        print_comparisons(done.comparisons(name), UNMITIGATED, name)
    typer.echo(f"{UNMITIGATED}: {done.original.report}")
    for name, result in done.twins.items():
        typer.echo(f"{name}, compared with it: {result.report}")


def _frontier(file: Path, epsilons: str, out: Path, *, device: str, resume: bool) -> None:
    """Twins at several epsilons, a line each, and the report on all of them."""
    from audit.frontier import frontier
    from audit.frontier_asked import parse_epsilons
    from audit.tables import print_frontier

    done = frontier(file, parse_epsilons(epsilons), out, device=device, resume=resume)
    if done is not None:
        print_frontier(done)
        typer.echo(f"Report: {done.report.path / 'report.html'}")
