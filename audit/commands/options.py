"""Options and arguments that several commands take, and how they print and leave. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from audit.result import Result
    from audit.signing.trusted import Trusted

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that a run left behind.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="A policy file.")]
WaiverFile = Annotated[Path | None, typer.Option("--waivers", help="A waiver file.")]
Baselines = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline",
        metavar="NAME=RUN",
        help="A run to compare with, or a folder of runs, whose last passing one is taken. Repeatable.",
    ),
]
PublicKeys = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="PUBLIC", help="Ask for a signature by this public key, in PEM. Repeatable."),
]
Identity = Annotated[
    str | None,
    typer.Option("--sigstore-identity", metavar="WHO", help="Ask for a Sigstore signature by this identity."),
]
Issuer = Annotated[
    str | None, typer.Option("--sigstore-issuer", metavar="URL", help="The issuer that vouches for that identity.")
]
ProfileName = Annotated[str | None, typer.Option("--profile", metavar="NAME", help="One of the plan's profiles.")]
ReportOnly = Annotated[bool, typer.Option("--report-only", help="Exit 0 whatever comes out; the report says so.")]


def pairs(given: Sequence[str] | None) -> dict[str, Path]:
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


def trusted(keys: Sequence[Path] | None, identity: str | None, issuer: str | None) -> Trusted:
    """Whose signatures are asked for."""
    from audit.signing.trusted import Trusted as Asked

    if bool(identity) != bool(issuer):
        raise typer.BadParameter("an identity is worth what its issuer is: give both", param_hint="--sigstore-issuer")
    return Asked(keys=tuple(keys or ()), identity=identity or "", issuer=issuer or "")


def show(result: Result, *, written: bool = True) -> None:
    from audit.tables import print_verdict

    print_verdict(result.verdict)
    if written:
        typer.echo(f"Report: {result.path / 'report.html'}")
    else:
        typer.echo("Nothing was written; --out NEW keeps this decision with its report.")


def leave(result: Result) -> None:
    raise typer.Exit(result.verdict.exit_code if result.verdict.enforced else 0)
