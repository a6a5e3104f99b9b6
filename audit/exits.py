"""Turns what a command raises into a message and an exit code; no traceback reaches the terminal unasked.

A deliberate error says its own exit code. Anything else is a bug: exit code 1, and its traceback in a file.
"""

from __future__ import annotations

import errno
import os
import tempfile
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from fine_tune.errors import PlumblineError

INTERRUPTED = 130
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}


class Commands(TyperGroup):
    """Turns what a command raises into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("\ninterrupted: nothing measured is lost; run again to resume", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except PlumblineError as error:
            _debug()
            typer.echo(f"error: {_shown(str(error))}", err=True)
            raise typer.Exit(error.exit_code) from None
        except Exception as error:
            # Exits and wrong usage are the framework's own, which shows them; so is a reader that closed the pipe.
            framework = isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "show")
            if framework or (isinstance(error, OSError) and error.errno == errno.EPIPE):
                raise
            _debug()
            number = error.errno if isinstance(error, OSError) else None
            if isinstance(error, OSError) and number in _NO_ROOM | _REFUSED:
                place = error.filename or "a file"
                typer.echo(f"error: {place} cannot be used: {error.strerror}", err=True)
                raise typer.Exit(2 if number in _REFUSED else 1) from None
            typer.echo(_crash(error), err=True)
            raise typer.Exit(1) from None


def _shown(text: str) -> str:
    """What an error says, which quotes foreign files, without anything that could steer a terminal."""
    from audit.tables import printable

    return "\n".join(printable(line) for line in text.split("\n"))


def _debug() -> None:
    if os.environ.get("PLUMBLINE_DEBUG") == "1":
        typer.echo(traceback.format_exc(), err=True)


def _crash(error: Exception) -> str:
    """One line for the terminal; the traceback goes to a file."""
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="plumbline-crash-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
        place = f"the traceback is in {file.name}"
    except OSError:
        place = "set PLUMBLINE_DEBUG=1 to see the traceback"
    return f"error: {what}; this is a bug in Plumbline, {place}"
