"""The digits example: data that come out the same each time, groups that are what they say, and a report with images."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest

import audit
from audit.plan import load_plan
from audit.policy import check_measures, read_policy
from audit.runner import planned_probes
from audit.verify import verify

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits_data", EXAMPLES / "digits_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def material(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as it lies in the checkout, its training cut to three steps."""
    root = tmp_path_factory.mktemp("digits")
    (root / "examples").mkdir()
    for name in ("digits.yaml", "digits-policy.yaml"):
        text = (EXAMPLES / name).read_text()
        (root / "examples" / name).write_text(text.replace("epochs: 8", "steps: 3"))
    assert "steps: 3" in (root / "examples" / "digits.yaml").read_text()
    script.main(root / "out" / "digits")
    return root


def lines(width: int, lean: float) -> np.ndarray:
    """One image of 32 x 32 with a line ``width`` pixels wide that moves ``lean`` pixels right for a pixel up."""
    ink = np.zeros((1, 32, 32))
    for y in range(4, 28):
        start = round(16 - width / 2 + lean * (16 - y))
        ink[0, y, start : start + width] = 1
    return ink


@pytest.mark.parametrize("width", [1, 2, 4])
def test_stroke_is_about_the_width_of_a_line(script: ModuleType, width: int) -> None:
    # Exactly area over half the outline of a box: 2 * 24 w / (2 * 24 + 2 w).
    assert script.stroke_width(lines(width, 0.0))[0] == pytest.approx(2 * 24 * width / (48 + 2 * width))


@pytest.mark.parametrize("lean", [-0.5, 0.0, 0.25, 0.5])
def test_slant_is_the_lean_of_a_line(script: ModuleType, lean: float) -> None:
    assert script.slant(lines(2, lean))[0] == pytest.approx(lean, abs=0.02)
    assert script.slant(0.3 * np.roll(lines(2, lean), 3, axis=2))[0] == pytest.approx(script.slant(lines(2, lean))[0])


def test_values_fall_into_groups_at_the_cuts(script: ModuleType) -> None:
    assert script.named(np.array([0.9, 1.0, 1.5, 2.0]), (1.0, 2.0), ("x", "y", "z")) == ["x", "y", "y", "z"]


def test_the_data_come_out_the_same(script: ModuleType, material: Path, tmp_path: Path) -> None:
    script.main(tmp_path)
    written = material / "out" / "digits"
    names = sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())
    assert [str(n) for n in names] == [
        "audit.parquet", "resnet/config.json", "resnet/preprocessor_config.json", "train.parquet",
    ]  # fmt: skip
    assert all((written / n).read_bytes() == (tmp_path / n).read_bytes() for n in names)
    train, test = (pq.read_table(written / f"{part}.parquet") for part in ("train", "audit"))
    assert train.num_rows + test.num_rows == 1797
    assert not {*train["id"].to_pylist()} & {*test["id"].to_pylist()}
    for part in (train, test):
        for feature in ("stroke", "slant"):
            shares = np.unique(part[feature].to_pylist(), return_counts=True)[1] / part.num_rows
            assert len(shares) == 3
            assert np.abs(shares - 1 / 3).max() < 0.05
        assert np.unique(part["digit"].to_pylist(), return_counts=True)[1].min() > 80


def test_plan_and_policy_fit_together(material: Path) -> None:
    plan = load_plan(material / "examples" / "digits.yaml")
    document = read_policy(material / "examples" / "digits-policy.yaml")
    planned = planned_probes({k: (v.probe, v.options) for k, v in plan.plan.probes.items()})
    check_measures(document.value, planned, document)


def test_the_report_shows_images_where_the_plan_allows_it(material: Path, tmp_path: Path) -> None:
    plan = material / "examples" / "digits.yaml"
    result = audit.run_plan(plan, tmp_path / "run", cache=tmp_path / "cache", progress=False, device="cpu")
    assert result.record.training is not None
    assert result.record.training["from_scratch"] is True
    assert [f.status for f in result.record.findings] == ["measured"] * 6
    assert {r.outcome for r in result.verdict.rulings} <= {"pass", "fail", "inconclusive"}
    assert result.verdict.outcome == "fail", "three steps teach too little to pass"
    page = (tmp_path / "run" / "report.html").read_text()
    # Pictures take much of a page's room; those that it has no room for are counted.
    shown = page.count('<img src="data:image/png;base64,')
    told = sum(int(n) for n in re.findall(r"(\d+) more (?:is|are) not shown here", page))
    assert 24 <= shown <= 24 + 12 + 8 <= shown + told
    assert verify(tmp_path / "run").ok

    silent = plan.with_name("silent.yaml")
    silent.write_text(plan.read_text().replace("include_text: true", "include_text: false"))
    audit.run_plan(silent, tmp_path / "silent", cache=tmp_path / "cache", progress=False, device="cpu")
    page = (tmp_path / "silent" / "report.html").read_text()
    assert "<img" not in page
    assert page.count("image, redacted") == 24 + 12 + 8
