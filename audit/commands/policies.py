"""Commands on policies as files, without a model: ``plumbline policy lint`` and ``plumbline policy explain``; schemas."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from audit.documents import Document
    from reports.record import PlannedProbe, Policy

UNUSABLE = 2

app = typer.Typer(no_args_is_help=True, help="Check policies and waivers, and say what they ask for.")


@app.command()
def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policies and waiver files.")],
    plan: Annotated[
        Path | None, typer.Option(metavar="PLAN", help="Check a policy's measures against this plan too.")
    ] = None,
) -> None:
    """Check policies and waivers as files."""
    from audit.lint import lint as check
    from audit.tables import printable
    from fine_tune.errors import PlumblineError

    planned = None if plan is None else _planned(plan)
    unusable = 0
    for file in files:
        try:
            linted = check(file, planned, on=datetime.date.today())
        except PlumblineError as error:
            unusable += 1
            typer.echo(f"error: {error}", err=True)
            continue
        typer.echo(printable(f"{file}: {linted.holds}"))
        for note in linted.notes:
            typer.echo(printable(f"{file}: note: {note}"))
    if unusable:
        raise typer.Exit(UNUSABLE)


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(metavar="PLAN|POLICY", help="A plan with a policy, or a policy alone.")],
    margin: Annotated[float, typer.Option(help="How far inside its limit each figure would lie.")] = 0.05,
) -> None:
    """Say what each rule would need: rows, a probe, and its cost."""
    from audit.explain import requirements
    from audit.tables import print_table
    from probes.evidence import format_number

    if margin <= 0:
        raise typer.BadParameter("a figure on its limit never passes; give more than 0", param_hint="--margin")
    document, planned = _read(file)
    rows = [
        (
            r.rule.id + (" (advisory)" if r.rule.severity == "advisory" else ""),
            r.rule.measure,
            str(r.terms.demand),
            str(r.terms.min_n),
            f"{'-' if r.rows is None else r.rows}: {r.basis}",
            "-" if r.probe is None else f"{r.probe} ({', '.join(r.needs)})",
            str(r.cost or "-"),
        )
        for r in requirements(document.value, planned, margin)
    ]
    head = f"rows to pass, {format_number(margin)} inside"
    print_table(("rule", "measure", "demand", "min_n", head, "probe (needs)", "cost"), rows)
    typer.echo("Rows are independent ones; rows that belong together (a cluster) count for less, so more are needed.")


def schema(
    name: Annotated[str, typer.Argument(metavar="NAME", help="plan, policy, waivers or fine-tune.")],
) -> None:
    """Print the JSON Schema of a file that people write, for editors."""
    folder = Path(__file__).parents[1] / "schemas"
    known = sorted(p.stem for p in folder.glob("*.json"))
    if name not in known:
        raise typer.BadParameter(f"there is no schema {name!r}; there are {', '.join(known)}", param_hint="NAME")
    typer.echo((folder / f"{name}.json").read_text(encoding="utf-8"), nl=False)


def _read(file: Path) -> tuple[Document[Policy], tuple[PlannedProbe, ...]]:
    from audit.api import policy_of
    from audit.errors import PlanError
    from audit.lint import POLICY
    from audit.policy import read_policy
    from audit.yaml_files import read_source

    value = read_source(file, error=PlanError).value
    if isinstance(value, dict) and value.get("schema") == POLICY:
        return read_policy(file), ()
    document = policy_of(file)
    if document is None:
        raise PlanError("the plan names no policy", expected="a plan with `policy:`, or a policy", where=str(file))
    return document, _planned(file)


def _planned(plan: Path) -> tuple[PlannedProbe, ...]:
    from audit.plan import load_plan
    from audit.runner import planned_probes

    loaded = load_plan(plan)
    return planned_probes({name: (spec.probe, spec.options) for name, spec in loaded.plan.probes.items()})
