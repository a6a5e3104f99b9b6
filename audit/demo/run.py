"""Runs the demo: writes the material, a plan and a policy, has them audited like anybody's, and compares with what is planted.

It measures nothing itself and knows no shortcut through the audit; the comparison reads the record and the
verdict alone.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from audit.demo.material import Material, generate
from audit.demo.planted import PLANTED, Defect
from probes.evidence import Measurement, slice_name
from reports.record import AuditRecord, Verdict

if TYPE_CHECKING:
    from audit.result import Result

BASE = "sentence-transformers/all-MiniLM-L6-v2"
CLAIM_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class DemoOutcome:
    """What the demo's audit made of the planted defects.

    Attributes:
        result: the audit.
        found, missed: names of planted defects; both empty with clean material.
        unexpected: failing rules and claimed gaps that nothing planted explains, and checks that broke, in words.
        ok: nothing was missed, nothing was unexpected.
        path: the demo's folder.
    """

    result: Result
    found: tuple[str, ...]
    missed: tuple[str, ...]
    unexpected: tuple[str, ...]
    ok: bool
    path: Path


def run_demo(
    out: Path,
    *,
    clean: bool = False,
    base: str | None = None,
    device: str = "auto",
    progress: bool = True,
    rows: int = 2000,
    seed: int = 7,
) -> DemoOutcome:
    """Write everything into ``out``, audit it, and compare.

    Args:
        out: its ``run`` must not exist yet; the material, plan, policy, model and cache lie beside it.
        clean: the material without defects.
        base: the model to train, a folder or hub id; the bundled encoder by default.
        seed: of the material; training has its own in the plan.

    Raises:
        PlumblineError: ``out`` is taken, or the base model cannot be had.
    """
    from audit.api import run_plan

    plan = write_demo(out, generate(rows, seed, clean=clean), base=base or BASE)
    result = run_plan(plan, out / "run", device=device, progress=progress, cache=out / "cache")
    return compare(result, out, planted=() if clean else PLANTED)


def write_demo(out: Path, material: Material, *, base: str = BASE) -> Path:
    """Write ``train.csv``, ``audit.csv``, ``policy.yaml`` and ``plan.yaml`` into ``out``; returns the plan's path."""
    from ruamel.yaml import YAML

    out.mkdir(parents=True, exist_ok=True)
    for part in ("train", "audit"):
        columns = material.columns(part)
        with (out / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    yaml = YAML()
    yaml.width = 4096
    plan = yaml.load(_packaged("plan.yaml"))
    plan["name"] += "-clean" if material.clean else ""
    plan["subject"]["save_to"] += "-clean" if material.clean else ""
    plan["subject"]["recipe"]["base"] = str(Path(base).resolve()) if Path(base).is_dir() else base
    with (out / "plan.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(plan, file)
    (out / "policy.yaml").write_text(_packaged("policy.yaml"), encoding="utf-8")
    return out / "plan.yaml"


def compare(result: Result, out: Path, *, planted: Sequence[Defect]) -> DemoOutcome:
    """Hold record and verdict against what is planted."""
    failed = {r.check.rule.id for r in result.verdict.rulings if r.outcome == "fail"}
    found = tuple(d.name for d in planted if failed.issuperset(d.rules))
    missed = tuple(d.name for d in planted if not failed.issuperset(d.rules))
    unexpected = (
        *_broken(result.verdict),
        *(f"rule {rule} fails" for rule in sorted(failed.difference(*(d.rules for d in planted)))),
        *claimed_gaps(result.record, explained={f for d in planted for f in d.features}),
    )
    return DemoOutcome(
        result=result, found=found, missed=missed, unexpected=unexpected, ok=not missed and not unexpected, path=out
    )


def claimed_gaps(record: AuditRecord, *, explained: set[str]) -> tuple[str, ...]:
    """Gaps between groups that chance does not explain, in words, on features other than ``explained``.

    A gap is claimed where its p-value survives Holm's correction at 0.05 over all that are looked at.
    """
    from statsmodels.stats.multitest import multipletests

    suspects = [
        m
        for finding in record.findings
        for m in (finding.reading.measurements if finding.reading else ())
        if isinstance(m, Measurement)
        and m.name.endswith("_difference_p_value")
        and not explained.intersection(a.name for a in m.slice)
    ]
    if not suspects:
        return ()
    claimed, corrected, *_ = multipletests([m.value for m in suspects], alpha=CLAIM_LEVEL, method="holm")
    return tuple(
        f"{m.name.removesuffix('_p_value')} over {slice_name(m.slice)}: p = {p:.4f} after Holm over {len(suspects)}"
        for m, is_claimed, p in zip(suspects, claimed, corrected, strict=True)
        if is_claimed
    )


def _broken(verdict: Verdict) -> list[str]:
    return [f"{r.check.name} could not be decided: {r.reason}" for r in verdict.rulings if r.outcome == "error"] + (
        [] if verdict.rulings else ["no check ran"]
    )


def _packaged(name: str) -> str:
    return resources.files("audit.demo").joinpath(name).read_text(encoding="utf-8")
