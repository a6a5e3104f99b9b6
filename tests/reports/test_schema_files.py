from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from reports.manifests import DataManifest, EnvironmentLock, ModelManifest, SplitCounts
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


def test_the_lists_of_a_bundle_agree_with_their_schemas(record: AuditRecord) -> None:
    manifests = {
        "model": ModelManifest(
            name="m", digest="1" * 64, files={"config.json": "2" * 64}, deciding=("config.json",), tree="3" * 64
        ),
        "data": DataManifest(
            card=record.data,
            source={"source": "a.csv", "rows_available": 9},
            splits=(SplitCounts(split="audit", digest=None, rows=9, labels={"y": 9}),),
        ),
        "environment": EnvironmentLock(
            versions={"numpy": "2.4.0"}, packages={"numpy": "2.4.0"}, hardware={"cores": 2}, determinism={"TF32": False}
        ),
    }
    for name, manifest in manifests.items():
        schema = json.loads((FOLDER / f"{name}.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        body = json.loads(manifest.to_json())
        jsonschema.validate(body, schema)
        assert schema["$id"] == body["schema"]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(body | {"surprise": 1}, schema)
        if name == "model":
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(body | {"tree": "short"}, schema)
