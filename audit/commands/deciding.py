"""Commands that end with a verdict: a run, and the gate on a finished one."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from audit.commands.options import (
    Baselines,
    Device,
    PolicyFile,
    ProfileName,
    ReportOnly,
    Run,
    WaiverFile,
    leave,
    pairs,
    show,
)
from audit.commands.pipelines import CiKind, SarifFile, told


def run(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")],
    *,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Where the run goes. Not with --dry-run.")] = None,
    resume: Annotated[bool, typer.Option(help="Use what was measured before.")] = True,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run this probe instance alone. Repeatable.")
    ] = None,
    profile: ProfileName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    device: Device = "auto",
    policy: PolicyFile = None,
    waivers: WaiverFile = None,
    baseline: Baselines = None,
    lock: Annotated[
        Path | None,
        typer.Option(metavar="LOCK", help="What `plumbline lock` fixed before; the verdict says what differs."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Where measured rows are kept.")] = None,
    report_only: ReportOnly = False,
    ci: CiKind = "auto",
    sarif: SarifFile = None,
) -> None:
    """Do what a plan says: measure, decide, and leave a report."""
    from audit import api
    from audit.ci import Pipeline

    baselines = pairs(baseline)
    chosen = tuple(only or ())
    if dry_run:
        from audit.tables import print_steps

        print_steps(api.describe_plan(plan, chosen, profile=profile, device=device, cache=cache))
        return
    if out is None:
        raise typer.BadParameter("a run needs a folder to go to", param_hint="--out")
    pipeline = Pipeline.found(ci, sarif=sarif)
    pipeline.check_apart(out)
    with told(context, pipeline, plan) as tell:
        result = api.run_plan(
            plan,
            out,
            policy=policy,
            waivers=waivers,
            baselines=baselines,
            lock=lock,
            profile=profile,
            only=chosen,
            device=device,
            cache=cache,
            report_only=report_only,
            resume=resume,
        )
        show(result)
        tell(result)
    leave(result)


def gate(
    context: typer.Context,
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
    power: Annotated[bool, typer.Option("--power", help="Say what each check could tell apart on this data.")] = False,
    ci: CiKind = "auto",
    sarif: SarifFile = None,
) -> None:
    """Decide on a finished run again, without its model."""
    from audit import api
    from audit.ci import Pipeline
    from reports.files import VERDICT

    pipeline = Pipeline.found(ci, sarif=sarif)
    baselines = pairs(baseline)
    for folder in (run, out):
        if folder is not None:
            pipeline.check_apart(folder)
    with told(context, pipeline, run / VERDICT if policy is None else policy) as tell:
        day = on.date() if on else None
        result = api.gate(run, policy, waivers, baselines, on=day, out=out, report_only=report_only)
        if power:
            from audit.power import resolutions
            from audit.tables import print_resolutions

            print_resolutions(resolutions(result.record, result.verdict))
        show(result, written=out is not None)
        tell(result)
    leave(result)
