"""The built-in demonstration: material with planted defects, and a run that must find them and nothing else.

This package only gathers names; importing it loads no torch.
"""

from __future__ import annotations

from audit.demo.planted import PLANTED, Defect
from audit.demo.run import DemoOutcome, run_demo

__all__ = ["PLANTED", "Defect", "DemoOutcome", "run_demo"]
