"""Audit a model: one call, a verdict, and a report that can be recomputed.

    import audit
    result = audit.run("path-or-hub-id", data=frame, label="label", groups=["gender"], positive="hired")
    result.verdict; result.to_frame(); result.save("out/")
    audit.load("out/"); audit.gate(result, policy="policy.yaml")
    audit.log(result, to=audit.MLflow(uri="http://127.0.0.1:5000"))

Names are loaded when they are used, so that importing this package is cheap and loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit.again import reproduce
    from audit.api import PlannedStep, describe_plan, gate, load, measure_steadiness, run, run_plan
    from audit.rendering import render, render_to
    from audit.result import Result
    from audit.track import log
    from audit.trackers.mlflow import MLflow
    from audit.trackers.wandb import WandB
    from probes.performance.custom import metric

_HOMES = {
    "MLflow": "audit.trackers.mlflow",
    "PlannedStep": "audit.api",
    "Result": "audit.result",
    "WandB": "audit.trackers.wandb",
    "describe_plan": "audit.api",
    "gate": "audit.api",
    "load": "audit.api",
    "log": "audit.track",
    "measure_steadiness": "audit.api",
    "metric": "probes.performance.custom",
    "render": "audit.rendering",
    "render_to": "audit.rendering",
    "reproduce": "audit.again",
    "run": "audit.api",
    "run_plan": "audit.api",
}

__all__ = [
    "MLflow",
    "PlannedStep",
    "Result",
    "WandB",
    "describe_plan",
    "gate",
    "load",
    "log",
    "measure_steadiness",
    "metric",
    "render",
    "render_to",
    "reproduce",
    "run",
    "run_plan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'audit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
