"""What is known of laws, standards and guidelines: versioned data files, read and checked.

Each file of ``reports/regulation/`` describes one framework: its requirements in our own words, and for each what a record
can show and what only people can state. This module judges nothing: what a record shows is `reports.regulatory_index`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from probes.evidence import Message, Plain, message
from reports.attestations import KNOWN
from reports.errors import RecordError

FOLDER = Path(__file__).parent / "regulation"

Recorded = Literal[
    "subject", "training", "data", "groups", "labels", "environment", "predictions", "policy", "rulings", "lock", "baseline",
    "definitions", "limits",
]  # fmt: skip

RECORDED: dict[Recorded, Message] = {
    "subject": message("The subject, with its digest"),
    "training": message("The training record"),
    "data": message("The data, with their digest and roles"),
    "groups": message("Group sizes"),
    "labels": message("True classes"),
    "environment": message("The software that measured"),
    "predictions": message("Every prediction, kept in the bundle"),
    "policy": message("The policy, with owner and version"),
    "rulings": message("A decision on every check"),
    "lock": message("Limits fixed before the run"),
    "baseline": message("The change since a baseline"),
    "definitions": message("How each measure is defined"),
    "limits": message("What would make each figure wrong"),
}


def _known_attestation(key: str) -> str:
    if key not in KNOWN:
        raise ValueError(f"no attestation is called {key!r}; expected one of {', '.join(KNOWN)}")
    return key


def _sentence(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError("braces would be taken for a place to fill")
    return text


Words = Annotated[
    str, StringConstraints(min_length=1, max_length=300, strip_whitespace=True), AfterValidator(_sentence)
]
Selector = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+(:[a-z0-9_]+)?)?$")]


class Needed(Plain):
    """One thing that a requirement asks to see: exactly one of three kinds.

    Attributes:
        shows: what the figures show; for ``measured_by`` alone.
        measured_by: ``family``, ``family.probe`` or ``family.probe:measure``; any of them is evidence.
        recorded: a part of the record or of the verdict.
        attested: a key of the plan's attestations.
    """

    shows: Words | None = None
    measured_by: tuple[Selector, ...] = ()
    recorded: Recorded | None = None
    attested: Annotated[str, AfterValidator(_known_attestation)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [bool(self.measured_by), self.recorded is not None, self.attested is not None]
        if sum(given) != 1:
            raise ValueError("exactly one of measured_by, recorded and attested")
        if bool(self.measured_by) != (self.shows is not None):
            raise ValueError("shows belongs to measured_by, and only to it")
        return self

    @property
    def title(self) -> Message:
        """What is asked for, in words."""
        if self.shows is not None:
            return Message(text=self.shows)
        return RECORDED[self.recorded] if self.recorded is not None else KNOWN[self.attested or ""].title


class Requirement(Plain):
    """One requirement: a title and a sentence in our own words, and where it stands."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: Words
    asks: Words
    source: Words
    fields: tuple[Needed, ...] = Field(min_length=1)


class Framework(Plain):
    """One law, standard or guideline.

    Attributes:
        version: counts up whenever the file says something else.
        as_of: the day up to which its facts were looked at.
        citation: the document and the parts of it that are covered.
        scope: whom it reaches.
        status: whether and since when it binds.
        checked_against: what its wording was compared with, and what not.
    """

    schema_: Literal["plumbline.regulation/v1"] = Field(alias="schema")
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: int = Field(ge=1)
    as_of: date
    name: Words
    citation: Words
    scope: Words
    status: Words
    checked_against: tuple[Words, ...] = Field(min_length=1)
    requirements: tuple[Requirement, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        ids = [r.id for r in self.requirements]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"two requirements are called {', '.join(twice)}")
        return self


def regulation_ids() -> tuple[str, ...]:
    """The frameworks that there is a file for, in the order of their names; reads none of them."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.yaml")))


def regulations() -> tuple[Framework, ...]:
    """Every framework.

    Raises:
        RecordError: a data file is damaged.
    """
    return tuple(regulation(i) for i in regulation_ids())


@lru_cache(maxsize=64)
def regulation(id_: str) -> Framework:
    """One framework.

    Raises:
        RecordError: there is none of that name, or its file is damaged.
    """
    if id_ not in regulation_ids():
        raise RecordError(f"no regulation is called {id_!r}", expected=f"one of {', '.join(regulation_ids())}")
    return read_regulation(FOLDER / f"{id_}.yaml")


def read_regulation(path: Path) -> Framework:
    """A framework from its file.

    Raises:
        RecordError: the file is no YAML, breaks the model, or is named otherwise than its framework.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        framework = Framework.model_validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise RecordError(f"it cannot be read: {error}", fix="install Plumbline again", where=str(path)) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise RecordError(f"{place}: {first['msg']}", expected="plumbline.regulation/v1", where=str(path)) from None
    if framework.id != path.stem:
        raise RecordError(
            f"its id is {framework.id!r}", expected=f"{path.stem!r}, as its file is called", where=str(path)
        )
    return framework


def regulation_messages() -> Iterable[str]:
    """Every sentence of the data files that people read, for the catalogues: the files hold no `message(...)` to extract."""
    for framework in regulations():
        yield from (framework.name, framework.scope, framework.status, *framework.checked_against)
        for requirement in framework.requirements:
            yield from (requirement.title, requirement.asks)
            yield from (f.shows for f in requirement.fields if f.shows is not None)
