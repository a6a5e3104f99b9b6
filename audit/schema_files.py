"""Writes the JSON Schemas of the files that people write: ``python -m audit.schema_files``.

The files are part of the package, for editors and other tools; reading a plan does not use them.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from audit.plan import FineTuneSpec, Plan
from reports.record import Policy, Waivers

FOLDER = Path(__file__).parent / "schemas"

MODELS: dict[str, type[BaseModel]] = {
    "plan.json": Plan,
    "policy.json": Policy,
    "waivers.json": Waivers,
    "fine-tune.json": FineTuneSpec,
}


def schema_text(model: type[BaseModel]) -> str:
    """The JSON Schema of one model, as it stands in the package."""
    schema = model.model_json_schema(by_alias=True)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{model.model_fields['schema_'].default.replace('.', ':').replace('/', ':')}",
    }
    return json.dumps({**head, **schema}, ensure_ascii=False, indent=2) + "\n"


def write_schemas(folder: Path = FOLDER) -> tuple[Path, ...]:
    """Write every schema; returns the files."""
    written = []
    for name, model in MODELS.items():
        path = folder / name
        path.write_text(schema_text(model), encoding="utf-8")
        written.append(path)
    return tuple(written)


if __name__ == "__main__":
    write_schemas()
