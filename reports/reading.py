"""From bytes to a model of the record, with one clear sentence where that fails. Reads nothing but what it is handed."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from fine_tune.untrusted import parse_json
from probes.evidence import Plain
from reports.errors import RecordError

M = TypeVar("M", bound=Plain)


def parse(content: bytes, model: type[M], where: str) -> M:
    """The model that the JSON in ``content`` spells.

    Raises:
        RecordError: it is cut off, no JSON, of another schema, or breaks the model. The message names the first fault.
    """
    again = "take it from its source again, or run the audit again"
    body = parse_json(content, where, error=RecordError, fix=again, unique=True)
    known = str(model.model_fields["schema_"].default)
    found = body.get("schema") if isinstance(body, dict) else None
    if found != known:
        raise RecordError(
            f"the schema is {str(found)[:80]!r}" if found is not None else "it names no schema",
            expected=known,
            fix="read it with the Plumbline version that wrote it",
            where=where,
        )
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise RecordError(
            f"{place}: {first['msg']}; found {str(first.get('input'))[:80]!r}",
            expected=f"a file that agrees with {known}",
            fix="take it from its source again",
            where=where,
        ) from None
