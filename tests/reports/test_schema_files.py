from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from reports.record import AuditRecord, Verdict
from reports.schema_files import FOLDER, MODELS, write_schemas


def test_the_files_in_the_package_are_current(tmp_path: Path) -> None:
    for path in write_schemas(tmp_path):
        assert (FOLDER / path.name).read_text() == path.read_text(), "run: python -m reports.schema_files"
    assert {p.stem for p in FOLDER.glob("*.json")} == set(MODELS)


def test_examples_agree_with_the_schemas(record: AuditRecord, verdict: Verdict) -> None:
    for name, model in (("record", record), ("verdict", verdict)):
        schema = json.loads((FOLDER / f"{name}.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        body = json.loads(model.to_json())
        jsonschema.validate(body, schema)
        body["surprise"] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(body, schema)
