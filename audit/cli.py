"""The command line: parsing, printing and exit codes, nothing else.

    0 pass   1 Plumbline crashed   2 unusable input   10 fail   11 inconclusive   12 nothing checked   13 not verified

Heavy imports lie inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.exits import Commands

if TYPE_CHECKING:
    from audit.result import Result

DEMO_MISSED = 10
NOT_VERIFIED = 13


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point of ``plumbline``."""
    app(prog_name="plumbline")


def _version(wanted: bool) -> None:
    if wanted:
        from audit.cards import plumbline_version

        typer.echo(f"plumbline {plumbline_version()}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Measure a model, decide against a written policy, and hand over a report that can be recomputed."""


Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that a run left behind.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="A policy file.")]
WaiverFile = Annotated[Path | None, typer.Option("--waivers", help="A waiver file.")]
Baselines = Annotated[
    list[str] | None, typer.Option("--baseline", metavar="NAME=RUN", help="A run to compare with. Repeatable.")
]
ReportOnly = Annotated[bool, typer.Option("--report-only", help="Exit 0 whatever comes out; the report says so.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("plumbline-demo"),
    clean: Annotated[bool, typer.Option("--clean", help="Material without planted defects.")] = False,
    base: Annotated[str | None, typer.Option(help="Another pretrained encoder: a hub id or a folder.")] = None,
    device: Device = "auto",
) -> None:
    """Train and audit a small model on planted defects."""
    from audit.demo import run_demo

    outcome = run_demo(out, clean=clean, base=base, device=device)
    _show(outcome.result)
    for word, names in (("found", outcome.found), ("MISSED", outcome.missed), ("UNEXPECTED", outcome.unexpected)):
        for name in names:
            typer.echo(f"{word}: {name}")
    if not outcome.ok:
        typer.echo("error: the audit did not find exactly what is planted", err=True)
        raise typer.Exit(DEMO_MISSED)


@app.command("fine-tune")
def fine_tune(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file with `recipe` and `data.train`.")],
    out: Annotated[Path, typer.Option(help="Where the checkpoint goes, or the frontier's folder.")],
    *,
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


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")],
    *,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Where the run goes. Not with --dry-run.")] = None,
    resume: Annotated[bool, typer.Option(help="Use what was measured before.")] = True,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run this probe instance alone. Repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    device: Device = "auto",
    policy: PolicyFile = None,
    waivers: WaiverFile = None,
    baseline: Baselines = None,
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Where measured rows are kept.")] = None,
    report_only: ReportOnly = False,
) -> None:
    """Do what a plan says: measure, decide, and leave a report."""
    from audit import api

    baselines = _pairs(baseline)
    chosen = tuple(only or ())
    if dry_run:
        from audit.tables import print_table

        steps = api.describe_plan(plan, chosen, device=device, cache=cache)
        rows = [(s.instance, s.probe, s.status, s.reason) for s in steps]
        print_table(("instance", "probe", "status", "reason"), rows)
        return
    if out is None:
        raise typer.BadParameter("a run needs a folder to go to", param_hint="--out")
    result = api.run_plan(
        plan,
        out,
        policy=policy,
        waivers=waivers,
        baselines=baselines,
        only=chosen,
        device=device,
        cache=cache,
        report_only=report_only,
        resume=resume,
    )
    _show(result)
    _leave(result)


@app.command()
def harden(
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


@app.command()
def mitigate(
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

    done = train_twins(
        plan, out, by=by or (), ways=("reweigh", "balance") if balance else ("reweigh",), device=device, cache=cache
    )
    for name in done.twins:
        print_comparisons(done.comparisons(name), UNMITIGATED, name)
    typer.echo(f"{UNMITIGATED}: {done.original.report}")
    for name, result in done.twins.items():
        typer.echo(f"{name}, compared with it: {result.report}")


@app.command()
def gate(
    run: Run,
    *,
    policy: PolicyFile = None,
    waivers: WaiverFile = None,
    baseline: Baselines = None,
    out: Annotated[Path | None, typer.Option(metavar="NEW", help="Keep this decision as a new run folder.")] = None,
    on: Annotated[
        datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day as of which waivers count.")
    ] = None,
    report_only: ReportOnly = False,
) -> None:
    """Decide on a finished run again, without its model."""
    from audit import api

    result = api.gate(
        run, policy, waivers, _pairs(baseline), on=on.date() if on else None, out=out, report_only=report_only
    )
    _show(result, written=out is not None)
    _leave(result)


@app.command()
def render(
    run: Run,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the page goes; else standard output.")] = None,
    lang: Annotated[str, typer.Option(help="The report's language.")] = "en",
) -> None:
    """Render a finished run's report again."""
    from audit import api

    if out is not None and out.resolve().is_relative_to(run.resolve()):
        raise typer.BadParameter(f"{out} lies in the run itself, which is never written into", param_hint="--out")
    page = api.render(run, lang)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8", newline="\n")
        typer.echo(f"Report: {out}")
    elif sys.stdout.isatty():
        raise typer.BadParameter("give a file, or pipe the page into something", param_hint="--out")
    else:
        sys.stdout.buffer.write(page.encode())


@app.command()
def verify(run: Run) -> None:
    """Recompute a run's hashes, numbers, verdict and page."""
    from audit.tables import printable
    from audit.verify import verify as check

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


@app.command()
def probes(
    id_: Annotated[str | None, typer.Argument(metavar="[ID]", help="A probe, to see it in full.")] = None,
) -> None:
    """List what can be asked, or show one probe in full."""
    from audit.doctor import install_line
    from audit.tables import print_probe, print_table
    from probes.evidence import ProbeInfo
    from probes.registry import discover, find, missing_requirements

    def available(info: ProbeInfo) -> str:
        missing = missing_requirements(info)
        return f"no: {install_line(missing)}" if missing else "yes"

    if id_ is not None:
        info = find(id_).info
        print_probe(info, available(info))
        return
    infos = [cls.info for cls in discover().values()]
    rows = [(i.id, str(i.asks), ", ".join(i.needs), available(i)) for i in infos]
    print_table(("id", "asks", "needs", "available here"), rows)


@app.command()
def attacks(
    network: Annotated[bool, typer.Option("--network", help="Count what may be downloaded as being here.")] = False,
) -> None:
    """List the attack recipes of robustness.attack: what each changes and needs, and whether it can run here."""
    from audit.tables import print_table
    from probes.engines.textattack.recipes import RecipeCard, cards, standing
    from probes.errors import ProbeError

    def here(card: RecipeCard) -> str:
        try:
            lack = standing(card.name, arguments={}, network=network)
        except ProbeError as error:
            return f"with an argument: {error.expected or error.seen}"
        return "yes" if lack is None else f"no: {lack}"

    rows = [(c.name, str(c.works_on), ", ".join(c.arguments), c.source, here(c)) for c in cards().values()]
    print_table(("recipe", "what it changes", "arguments", "source", "can run here"), rows)


@app.command()
def init(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint, or a table of predictions.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A csv, json, jsonl or parquet file with rows.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where plan.yaml and policy.yaml go.")] = Path(),
    input: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column that the model reads.")] = None,
) -> None:
    """Look at a model and its data, and write a first plan and policy."""
    from audit.first_plan import write_first_plan
    from audit.tables import printable

    first = write_first_plan(checkpoint, data, out, input=input)
    for note in first.notes:
        typer.echo(printable(note))
    typer.echo(f"Plan: {first.plan}")
    typer.echo(f"Policy: {first.policy} (every threshold is an example: set your own)")
    typer.echo(f"Next: plumbline run {first.plan} --out RUN")


@app.command()
def doctor() -> None:
    """Say what is installed, missing and possible here."""
    from audit.doctor import examine
    from audit.store import default_cache
    from audit.tables import print_table

    print_table(("what", "found", "to do"), examine(default_cache()))


def _frontier(file: Path, epsilons: str, out: Path, *, device: str, resume: bool) -> None:
    """Twins at several epsilons, a line each, and the report on all of them."""
    from audit.frontier import frontier
    from audit.frontier_asked import parse_epsilons
    from audit.tables import print_frontier

    done = frontier(file, parse_epsilons(epsilons), out, device=device, resume=resume)
    if done is not None:
        print_frontier(done)
        typer.echo(f"Report: {done.report.path / 'report.html'}")


def _pairs(given: Sequence[str] | None) -> dict[str, Path]:
    """``NAME=RUN`` as a mapping."""
    out: dict[str, Path] = {}
    for text in given or ():
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise typer.BadParameter(f"{text!r} is not NAME=RUN", param_hint="--baseline")
        if name in out:
            raise typer.BadParameter(f"two baselines are called {name!r}", param_hint="--baseline")
        out[name] = Path(path)
    return out


def _show(result: Result, *, written: bool = True) -> None:
    from audit.tables import print_verdict

    print_verdict(result.verdict)
    if written:
        typer.echo(f"Report: {result.path / 'report.html'}")
    else:
        typer.echo("Nothing was written; --out NEW keeps this decision with its report.")


def _leave(result: Result) -> None:
    raise typer.Exit(result.verdict.exit_code if result.verdict.enforced else 0)


if __name__ == "__main__":
    main()
