"""Replicates skip what only p-values need, and say the same as if they did not."""

from __future__ import annotations

import pandas as pd
import pytest

import audit
from audit import moving
from audit.pairing import Both
from reports.bundle import Bundle


def table(shift: int) -> pd.DataFrame:
    rows = range(90)
    return pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in rows],
            "label": ["yes" if i % 2 else "no" for i in rows],
            "prediction": ["yes" if (i + (i % 7 == shift)) % 2 else "no" for i in rows],
            "g": ["f" if i % 3 else "m" for i in rows],
        }
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Both:
    folder = tmp_path_factory.mktemp("moving")
    probes = {"groups": {"probe": "fairness.groups", "positive": "yes", "permutations": 300}}
    sides = []
    for shift in (0, 3):
        audit.run(table(shift), id="row_id", label="label", groups=["g"], positive="yes", probes=probes,
                  out=folder / str(shift), progress=False)  # fmt: skip
        bundle = Bundle.open(folder / str(shift))
        (finding,) = bundle.record().findings
        sides.append((finding, bundle.rows(finding.rows)))
    (older, older_rows), (finding, rows) = sides
    return Both.of(finding, older, rows, older_rows)


def test_without_regroupings_every_figure_moves_as_it_would_with_them(both, monkeypatch):
    names = ("selection_rate", "recall", "precision", "accuracy")
    wanted = [(m.name, m.slice) for m in both.finding.reading.measurements if m.name in names]
    asked: list[int] = []
    summarise = moving.probe_of(both.finding).__class__.summarise
    monkeypatch.setattr(moving.probe_of(both.finding).__class__, "summarise",
                        lambda self, rows, ctx: asked.append(self.permutations) or summarise(self, rows, ctx))  # fmt: skip
    quick = moving.by_jackknife(both, wanted, 0.95)
    assert asked.count(300) == 2
    monkeypatch.setattr(moving, "_quick", lambda probe, *_: probe)
    assert moving.by_jackknife(both, wanted, 0.95) == quick
    assert len(quick) == len(wanted) == 8


def test_a_probe_whose_figures_need_its_regroupings_keeps_them(both):
    probe = moving.probe_of(both.finding)
    wanted = [("recall", m.slice) for m in both.finding.measurements("recall")]
    found = moving.figures_of(both.finding.reading.measurements)
    other = {
        f: m.model_copy(update={"value": m.value + (f in wanted) * 0.1})
        for f, m in found.items()
        if hasattr(m, "value")
    }
    read = lambda quick, rows: other if quick.permutations == 1 else found  # noqa: E731
    assert moving._quick(probe, both.rows, found, wanted, read) is probe
    kept = moving._quick(probe, both.rows, found, wanted, lambda quick, rows: found)
    assert kept.permutations == 1
