"""Translators' files: every sentence of the report and of the record, collected from the source, and what a catalogue lacks.

    python -m audit.catalogues update     collect; new sentences arrive empty, sentences that nobody says any more leave
    python -m audit.catalogues compile    write what the report reads
    python -m audit.catalogues check      say what is missing, out of date or wrongly filled, and end with 1

It translates nothing and guesses nothing: no fuzzy entries, and no dates or line numbers, so that the same source gives the
same bytes. Sentences are collected by Babel where the source spells them, as ``message("...")`` or ``_("...")``, and asked
for where they are made: from probes' docstrings, from the names of measures and units, and from data files.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from babel.dates import get_month_names
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from probes.registry import discover
from reports.language import DOMAIN, LOCALE
from reports.regulations import regulation_messages
from reports.wording import measure_words

ROOT = Path(__file__).parent.parent
ROOMS = ("fine_tune", "probes", "reports", "audit")
WAYS = [("**.py", "python"), ("**/templates/**.html", "jinja2.ext:babel_extract")]
KEYWORDS = {"message": None, "_": None, "gettext": None, "ngettext": (1, 2)}
_PLACES = re.compile(r"\{[a-z_][a-z0-9_]*%?\}|%\([a-z_]+\)[sd]")
# A digit right after a letter belongs to a name, such as F1 or L2.
_NUMBERS = re.compile(r"(?<![A-Za-z\d.])\d+(?:\.\d+)*")
_MONTHS = {name: str(number) for number, name in get_month_names("wide", locale="en").items()}
_MONTH = re.compile(rf"\b({'|'.join(_MONTHS)})(?= \d{{4}})")
_DATES = (
    "POT-Creation-Date",
    "PO-Revision-Date",
    "Last-Translator",
    "Language-Team",
    "Generated-By",
    "Report-Msgid-Bugs-To",
)

Key = str | tuple[str, str]


class Plain(Catalog):  # type: ignore[misc]  # Babel's types are not read
    """A catalogue whose head names no day, no person and no tool's version."""

    def _plain_headers(self) -> list[tuple[str, str]]:
        kept = (pair for pair in self._get_mime_headers() if pair[0] not in _DATES)
        return [("Content-Type", "text/plain; charset=UTF-8") if k == "Content-Type" else (k, v) for k, v in kept]

    mime_headers = property(_plain_headers, Catalog._set_mime_headers)


def spelled() -> Iterator[Key]:
    """Sentences that stand in the source and the templates of our rooms."""
    for room in ROOMS:
        for _, _, said, _, _ in extract_from_dir(ROOT / room, WAYS, keywords=KEYWORDS):
            yield said if isinstance(said, str) else (said[0], said[1])


def asked_by_probes() -> Iterator[Key]:
    """What our own probes ask, from their docstrings, and the words of their measures."""
    for cls in discover().values():
        if cls.info.distribution != "plumbline-audit":
            continue
        yield cls.info.asks.text
        for definition in cls.info.defines:
            yield measure_words(definition.name)
            yield measure_words(definition.name, first="keep")


def units() -> Iterator[Key]:
    """Units as our probes write them: ``unit="rows"``."""
    for file in sorted((ROOT / "probes").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "unit" and isinstance(node.value, ast.Constant):
                yield str(node.value.value)


SOURCES: tuple[Callable[[], Iterable[Key]], ...] = (spelled, asked_by_probes, units, regulation_messages)


def collected() -> tuple[Key, ...]:
    """Every sentence once, in order; the plural ones as pairs."""
    found = {key for source in SOURCES for key in source()} - {""}
    return tuple(sorted(found, key=lambda key: (_first(key), key)))


def path(language: str, suffix: str = "po") -> Path:
    """Where a language's catalogue lies."""
    return LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.{suffix}"


def known() -> tuple[str, ...]:
    """Languages that have a translators' file."""
    return tuple(sorted(p.parent.parent.name for p in LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.po")))


def read(language: str) -> Catalog:
    """The translators' file of a language; an empty one where there is none yet."""
    empty = Plain(
        locale=language, project="Plumbline", version="", header_comment=f"# Plumbline in {language}.", fuzzy=False
    )
    if not path(language).is_file():
        return empty
    with path(language).open("rb") as file:
        for entry in read_po(file, locale=language):
            if entry.id:
                empty.add(entry.id, entry.string, flags=entry.flags)
    return empty


def updated(language: str) -> Catalog:
    """The language's catalogue with exactly the sentences that are said now."""
    old, new = read(language), Plain(locale=language, project="Plumbline", version="", fuzzy=False)
    new.header_comment = old.header_comment
    for key in collected():
        there = old.get(_first(key))
        kept = there is not None and there.id == (key if isinstance(key, str) else list(key) and key)
        new.add(
            key,
            there.string if kept and there is not None else ("" if isinstance(key, str) else ("",) * new.num_plurals),
        )
    return new


def po_bytes(catalog: Catalog) -> bytes:
    """A catalogue as translators read it."""
    out = io.BytesIO()
    write_po(out, catalog, no_location=True, sort_output=True, omit_header=False, width=120)
    return out.getvalue()


def mo_bytes(catalog: Catalog) -> bytes:
    """A catalogue as gettext reads it."""
    out = io.BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


def faults(language: str) -> list[str]:
    """What is wrong with a language's files, a line each; empty where nothing is."""
    out = []
    catalog = read(language)
    if path(language).read_bytes() != po_bytes(updated(language)):
        out.append(f"{path(language)}: does not hold exactly the sentences of the source; run `update`")
    if not path(language, "mo").is_file() or path(language, "mo").read_bytes() != mo_bytes(catalog):
        out.append(f"{path(language, 'mo')}: is not what the translators' file compiles to; run `compile`")
    for entry in catalog:
        if entry.id:
            out += [f"{language}: {_first(entry.id)!r}: {fault}" for fault in _wrong(entry, catalog.num_plurals)]
    return out


def _wrong(entry: Message, plurals: int) -> Iterator[str]:
    if entry.fuzzy:
        yield "is marked fuzzy"
    plural = isinstance(entry.id, tuple)
    said = tuple(entry.string) if plural else (entry.string,)
    if not all(said) or len(said) != (plurals if plural else 1):
        yield "is not translated"
        return
    wanted = sorted(_PLACES.findall(entry.id[-1] if plural else entry.id))
    for one in said:
        if sorted(_PLACES.findall(one)) != wanted:
            yield f"has the places {', '.join(sorted(_PLACES.findall(one))) or 'none'}; expected {', '.join(wanted) or 'none'}"
        if numbers(one) != numbers(entry.id[-1] if plural else entry.id):
            yield f"has the numbers {', '.join(numbers(one)) or 'none'}; expected those of the English sentence"


def numbers(text: str) -> list[str]:
    """Numbers of a sentence, sorted, an English month before a year among them; places that are filled do not count."""
    figures = _MONTH.sub(lambda month: _MONTHS[month.group()], _PLACES.sub("", text))
    return sorted(_NUMBERS.findall(figures))


def _first(key: Any) -> str:
    return key if isinstance(key, str) else str(key[0])


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m audit.catalogues", description="Catalogues of the report's languages."
    )
    parser.add_argument("step", choices=("update", "compile", "check"))
    parser.add_argument("--language", action="append", help="only this one; `update` makes a new one")
    asked = parser.parse_args(arguments)
    languages = tuple(asked.language or known())
    wrong: list[str] = []
    for language in languages:
        if asked.step == "update":
            content = po_bytes(updated(language))
            path(language).parent.mkdir(parents=True, exist_ok=True)
            path(language).write_bytes(content)
        elif asked.step == "compile":
            path(language, "mo").write_bytes(mo_bytes(read(language)))
        else:
            wrong += faults(language)
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
