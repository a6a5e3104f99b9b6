"""The command line: which commands there are, under which names. What they do lies in `audit.commands`.

    0 pass   1 Plumbline crashed   2 unusable input   10 fail   11 inconclusive   12 nothing checked   13 not verified

Heavy imports lie inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from audit.commands import again, deciding, looking, making, policies, reading, regulating, signing, testing
from audit.exits import Commands

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


app.command()(making.demo)
app.command("fine-tune")(making.fine_tune)
app.command()(deciding.run)
app.command()(testing.lock)
app.command()(making.harden)
app.command()(making.mitigate)
app.command()(deciding.gate)
app.command()(testing.selftest)
app.command()(reading.render)
app.command()(reading.verify)
app.command()(signing.sign)
app.command()(signing.keygen)
app.command()(reading.log)
app.command()(again.reproduce)
app.command()(looking.probes)
app.command()(looking.attacks)
app.command()(regulating.regulations)
app.command()(looking.init)
app.command()(looking.doctor)
app.command()(policies.schema)
app.add_typer(policies.app, name="policy")


if __name__ == "__main__":
    main()
