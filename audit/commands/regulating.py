"""The command on laws, standards and guidelines: what is known of them, and what a run has to show for each requirement."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reports.regulations import Framework
    from reports.regulatory_index import FieldView, FrameworkView, RegulatoryIndex


def regulations(
    id_: Annotated[str | None, typer.Argument(metavar="[ID]", help="A framework, to see it in full.")] = None,
    run: Annotated[Path | None, typer.Option("--run", metavar="RUN", help="Say what this run has to show.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List laws, standards and guidelines, or what a run shows for each of their requirements."""
    from reports.regulations import regulation
    from reports.regulations import regulations as every

    known = (regulation(id_),) if id_ is not None else every()
    if run is not None:
        _show_index(run, id_, as_json=as_json)
    elif as_json:
        typer.echo(_json([f.model_dump(mode="json", by_alias=True) for f in known]))
    elif id_ is not None:
        _show_framework(known[0])
    else:
        _show_known(known)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _show_known(known: Iterable[Framework]) -> None:
    from audit.tables import print_table

    rows = [(f.id, f.name, str(len(f.requirements)), f.as_of.isoformat(), f.status) for f in known]
    print_table(("id", "framework", "requirements", "as of", "status"), rows)


def _show_framework(framework: Framework) -> None:
    from audit.tables import print_table, printable

    lines = [
        framework.name,
        framework.citation,
        f"{framework.scope} {framework.status}",
        f"Version {framework.version}, as of {framework.as_of.isoformat()}. Checked against:",
        *(f"  {text}" for text in framework.checked_against),
    ]
    for line in lines:
        typer.echo(printable(line))
    rows = []
    for requirement in framework.requirements:
        for i, needed in enumerate(requirement.fields):
            by = ", ".join(needed.measured_by) or needed.recorded or f"attestations.{needed.attested}"
            said = f"{requirement.title}. {requirement.asks}" if i == 0 else ""
            rows.append((requirement.source if i == 0 else "", said, str(needed.title), by))
    print_table(("where", "requirement", "field", "measured, recorded or attested by"), rows)


def _show_index(run: Path, id_: str | None, *, as_json: bool) -> None:
    from audit.sound import open_sound
    from audit.tables import print_table
    from reports.regulatory_index import regulatory_index

    bundle = open_sound(run)
    index = regulatory_index(bundle.record(), bundle.verdict())
    if id_ is not None:
        index = index.model_copy(update={"frameworks": tuple(f for f in index.frameworks if f.id == id_)})
    if as_json:
        typer.echo(_json(index.model_dump(mode="json", by_alias=True)))
        return
    if id_ is None:
        columns = ("id", "framework", "named in the plan", "measured", "attested", "missing")
        print_table(columns, [_total(f) for f in index.frameworks])
    else:
        _show_requirements(index)
    for name in index.unknown:
        typer.echo(f"The plan names {name!r}, which this version does not know.")
    typer.echo(str(index.says))


def _total(f: FrameworkView) -> tuple[str, ...]:
    named = "yes" if f.named else ""
    return (f.id, str(f.name), named, *(str(f.counts[s]) for s in ("measured", "attested", "missing")))


def _show_requirements(index: RegulatoryIndex) -> None:
    from audit.tables import print_table

    rows = [
        (r.source if i == 0 else "", str(r.title) if i == 0 else "", str(x.title), x.standing, _evidence(x))
        for framework in index.frameworks
        for r in framework.requirements
        for i, x in enumerate(r.fields)
    ]
    print_table(("where", "requirement", "field", "standing", "evidence"), rows)


def _evidence(field: FieldView) -> str:
    found = [", ".join(str(link.label) for link in field.links)] if field.standing == "measured" else []
    found += [", ".join(f"{outcome} {n}" for outcome, n in field.outcomes.items())]
    found += [field.text or "", *(str(gap) for gap in field.gaps)]
    return "; ".join(part for part in found if part)
