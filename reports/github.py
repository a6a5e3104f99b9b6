"""The verdict for GitHub Actions: a job summary in Markdown, and annotations as workflow commands.

GitHub drops a summary above 1 MiB as a whole and shows ten annotations of a kind, so both are cut here, and say so.
What stands in an annotation comes from data and policies: it is escaped, and is one line whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from reports.checks import check_views
from reports.origin import Origin
from reports.record import AuditRecord, Ruling, Verdict
from reports.standing import Standing, one_line, standing, told_as, unexplained
from reports.summary import summary

SUMMARY_BYTES = 1 << 20
MOST_ANNOTATIONS = 10

Level = Literal["error", "warning", "notice"]
_LEVELS: dict[Standing, Level] = {
    "failed": "error",
    "errored": "error",
    "inconclusive": "error",
    "told": "warning",
    "excused": "notice",
}
_ROOM = 200  # bytes kept for the sentence that says what was cut


def job_summary(record: AuditRecord, verdict: Verdict, room: int = SUMMARY_BYTES) -> str:
    """``summary.md`` in fewer than ``room`` bytes of UTF-8, what needs action first."""
    return cut(summary(record, verdict), room)


def cut(text: str, room: int) -> str:
    """``text`` in fewer than ``room`` bytes: whole lines from its beginning, and a last one on how many are missing.

    Empty where not even that sentence has room.
    """
    if len(text.encode()) < room:
        return text
    lines = text.splitlines(keepends=True)
    kept, used = 0, _ROOM
    while kept < len(lines) and used + len(lines[kept].encode()) < room:
        used += len(lines[kept].encode())
        kept += 1
    if used >= room:
        return ""
    said = (
        f"\n**Cut here:** {len(lines) - kept} of {len(lines)} lines are left out, because GitHub shows no summary above"
    )
    return "".join(lines[:kept]) + f"{said} 1 MiB. The whole is in `summary.md` of the run.\n"


def workflow_commands(record: AuditRecord, verdict: Verdict, origin: Origin | None, root: Path) -> tuple[str, ...]:
    """At most ten workflow commands, worst first; the last one counts what is left out.

    Args:
        origin: where the rules stand; None where there is no policy.
        root: the checkout, which GitHub's paths start from.
    """
    found = list(_annotated(record, verdict, origin, root))
    if len(found) <= MOST_ANNOTATIONS:
        return tuple(found)
    shown = found[: MOST_ANNOTATIONS - 1]
    more = f"{len(found) - len(shown)} more findings are not annotated here; the job summary has them."
    worst: Level = "error" if found[len(shown)].startswith("::error") else "warning"
    return (*shown, command(worst, more, title="Plumbline"))


def _annotated(record: AuditRecord, verdict: Verdict, origin: Origin | None, root: Path) -> Iterator[str]:
    by_level: dict[Level, list[str]] = {"error": [], "warning": [], "notice": []}
    whole = unexplained(record, verdict)
    if whole is not None:
        by_level["error"].append(command("error", whole, title="Plumbline: verdict", at=_at(origin, None, root)))
    for ruling in (view.ruling for view in check_views(record, verdict)):
        level = _LEVELS.get(standing(ruling, verdict))
        if level is not None:
            text, title = f"{told_as(ruling, verdict)}: {ruling.reason}", f"Plumbline: {ruling.check.name}"
            by_level[level].append(command(level, text, title=title, at=_at(origin, ruling, root)))
    by_level["warning"] += [command("warning", str(w), title="Plumbline") for w in verdict.warnings]
    for lines in by_level.values():
        yield from lines


def _at(origin: Origin | None, ruling: Ruling | None, root: Path) -> tuple[str, int] | None:
    return (origin.shown(root), origin.line(ruling.check.rule.id if ruling else None)) if origin else None


def command(level: Level, text: str, *, title: str, at: tuple[str, int] | None = None) -> str:
    """One workflow command: ``::error file=policy.yaml,line=7,title=...::text``.

    ``%`` and line breaks are escaped everywhere, ``:`` and ``,`` in properties too, as the runner undoes them.
    """
    place = f"file={_property(at[0])},line={at[1]}," if at else ""
    return f"::{level} {place}title={_property(one_line(title, 200))}::{_data(one_line(text))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
