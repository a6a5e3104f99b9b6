"""Progress for people: bars on standard error, and nothing at all where nobody watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from probes.probe import Progress, silent


def on_stderr(items: Iterable[Any], total: int, label: object) -> Iterator[Any]:
    """A bar with count, speed and time left; one line at the end where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield from items
        console.print(f"{label}: {total} done", highlight=False)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(str(label), total=total)
        for item in items:
            yield item
            bars.update(task, advance=1, description=str(label))


def say_on_stderr(text: str) -> None:
    """One line about what happens now."""
    from rich.console import Console

    Console(stderr=True).print(text, highlight=False, markup=False)


def chosen(progress: bool) -> Progress:
    """Bars, or silence."""
    return on_stderr if progress else silent
