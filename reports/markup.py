"""Templates, and how they become markup: one way to escape, to translate and to hold text from data to a readable length.

Pages, the cells of notebooks and their style sheets are all made here, so that none can escape less than another. Knows no
record and decides nothing.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from probes.evidence import Table, slice_name
from reports import charts, wording
from reports.differences import differences
from reports.language import catalogue, say, unit_said
from reports.public import is_suppressed

TEMPLATES = Path(__file__).parent / "templates"


@lru_cache(maxsize=4)
def sheet(name: str) -> str:
    """A style sheet, without the white space that only its authors read."""
    lines = (TEMPLATES / name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def environment(language: str, longest: int = wording.LONGEST) -> Environment:
    """A new environment for the templates in a language; text beyond ``longest`` characters is cut, with a mark that says so.

    Raises:
        RecordError: there is no catalogue for the language.
    """
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        finalize=partial(_held, longest=longest),
    )
    env.install_gettext_translations(catalogue(language), newstyle=True)  # type: ignore[attr-defined]
    env.filters["say"] = partial(say, language=language)
    env.globals["outcome_words"] = wording.OUTCOME_WORDS
    return env


@lru_cache(maxsize=8)
def page_environment(language: str) -> Environment:
    """`environment`, with everything that the templates of pages ask for.

    Raises:
        RecordError: there is no catalogue for the language.
    """
    env = environment(language)
    env.filters["figure"] = charts.figure
    env.filters["ends"] = lambda interval: say(wording.ends(interval), language)
    env.filters["measure"] = lambda name: say(wording.measure_said(name), language)
    env.filters["unit"] = partial(unit_said, language=language)
    env.filters["range"] = wording.range_words
    env.filters["signed"] = wording.signed
    env.filters["words"] = lambda text: len(text.split())
    env.globals.update(
        strip=charts.strip,
        interval_plot=charts.interval_plot,
        bars=charts.bars,
        curve=charts.curve,
        key=charts.key,
        thinned=charts.thinned,
        most_points=charts.MOST_POINTS,
        most_drawn=charts.MOST_ROWS,
        rests=wording.rests,
        suppressed=is_suppressed,
        slice_said=wording.slice_said,
        slice_name=slice_name,
        differences=differences,
        numeric_columns=_numeric_columns,
        weight_class=_weight_class,
    )
    return env


def _held(value: Any, longest: int) -> Any:
    """Holds every piece of text from data to a readable length."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else wording.shortened(value, longest)


def _numeric_columns(table: Table) -> tuple[bool, ...]:
    """Which columns hold numbers alone, and are set flush right."""
    columns = zip(*table.rows, strict=True) if table.rows else ((),) * len(table.columns)
    return tuple(
        any(c is not None for c in cells) and all(c is None or isinstance(c, int | float) for c in cells)
        for cells in columns
    )


def _weight_class(weight: float) -> str:
    """Four steps a side: the step is what the page shows by colour and by underline alike."""
    step = min(int(abs(weight) * 4 + 0.5), 4)
    return f"w{'p' if weight > 0 else 'n'}{step}" if step else "w0"
