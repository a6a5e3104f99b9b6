"""Writes the JSON Schemas of everything that a bundle holds as JSON of ours into the package: ``python -m reports.schema_files``.

The models are the source; the files are for readers in other languages, and a test keeps them current.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from probes.evidence import Plain
from reports.files import Manifest
from reports.lock import Lock
from reports.manifests import DataManifest, EnvironmentLock, ModelManifest
from reports.record import AuditRecord, Verdict

FOLDER = Path(__file__).parent / "schemas"
MODELS: dict[str, type[Plain]] = {
    "record": AuditRecord,
    "verdict": Verdict,
    "bundle": Manifest,
    "lock": Lock,
    "model": ModelManifest,
    "data": DataManifest,
    "environment": EnvironmentLock,
}


def schema(model: type[Plain]) -> dict[str, Any]:
    """The JSON Schema of one model, named by the schema that its files carry."""
    body = model.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": model.model_fields["schema_"].default}
    return {**head, **body}


def write_schemas(folder: Path = FOLDER) -> tuple[Path, ...]:
    """Write every schema; the paths that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, model in MODELS.items():
        path = folder / f"{name}.json"
        path.write_text(
            json.dumps(schema(model), indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )
        paths.append(path)
    return tuple(paths)


def main() -> None:
    """Write the schemas where the package keeps them."""
    write_schemas()


if __name__ == "__main__":
    main()
