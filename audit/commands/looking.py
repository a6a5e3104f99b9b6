"""Commands that say what there is: probes, attacks, this machine; and that write a first plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.commands.pipelines import unheard


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


def init(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint, or a table of predictions.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A csv, json, jsonl or parquet file with rows.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where plan.yaml and policy.yaml go.")] = Path(),
    input: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column that the model reads.")] = None,
) -> None:
    """Look at a model and its data, and write a first plan and policy."""
    from audit.first_plan import write_first_plan
    from audit.tables import printable

    unheard(context)
    first = write_first_plan(checkpoint, data, out, input=input)
    for note in first.notes:
        typer.echo(printable(note))
    typer.echo(f"Plan: {first.plan}")
    typer.echo(f"Policy: {first.policy} (every threshold is an example: set your own)")
    typer.echo(f"Next: plumbline run {first.plan} --out RUN")


def doctor() -> None:
    """Say what is installed, missing and possible here."""
    from audit.doctor import examine
    from audit.store import default_cache
    from audit.tables import print_table

    print_table(("what", "found", "to do"), examine(default_cache()))
