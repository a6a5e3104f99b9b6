"""The machine that a run was made on: every installed package, the hardware, and the switches that decide on determinism.

It names no host, no user and no path, and loads no library by itself: of torch it says what stands in this process.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path

from probes.evidence import Scalar
from reports.manifests import EnvironmentLock

VARIABLES = (
    "PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM",
)  # fmt: skip
UNSET = "(not set)"


def environment_lock(versions: dict[str, str]) -> EnvironmentLock:
    """All of it, beside the ``versions`` that the record already names."""
    return EnvironmentLock(
        versions=versions, packages=packages(), hardware=hardware(), determinism=determinism()
    )  # fmt: skip


def packages() -> dict[str, str]:
    """Version of every installed distribution, by its name as the package index normalises it."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        # The first of a name is the one that an import finds.
        if name:
            found.setdefault(normalised(name), distribution.version)
    return dict(sorted(found.items()))


def normalised(name: str) -> str:
    """``scikit_learn`` and ``Scikit.Learn`` are both ``scikit-learn``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def hardware() -> dict[str, Scalar]:
    """Processor, cores and memory; accelerators where torch stands in this process and sees some."""
    found: dict[str, Scalar] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_bytes": _memory(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["accelerators"] = torch.cuda.device_count()
        for i in range(torch.cuda.device_count()):
            found[f"accelerator_{i}"] = torch.cuda.get_device_name(i)
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())
    elif torch is not None and torch.backends.mps.is_available():
        found["accelerators"], found["accelerator_0"] = 1, "mps"
    return found


def determinism() -> dict[str, Scalar]:
    """The variables above, and torch's own switches where it stands in this process."""
    found: dict[str, Scalar] = {name: os.environ.get(name, UNSET) for name in VARIABLES}
    torch = sys.modules.get("torch")
    if torch is None:
        return {**found, "torch": "not loaded by this run"}
    return {
        **found,
        "torch": torch.__version__,
        "torch_deterministic_algorithms": _said(torch.are_deterministic_algorithms_enabled()),
        "torch_cudnn_deterministic": _said(torch.backends.cudnn.deterministic),
        "torch_cudnn_benchmark": _said(torch.backends.cudnn.benchmark),
        "torch_float32_matmul_precision": torch.get_float32_matmul_precision(),
        "torch_threads": torch.get_num_threads(),
        "torch_default_dtype": str(torch.get_default_dtype()),
    }


def _said(switch: bool) -> str:
    return "on" if switch else "off"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")


def _memory() -> int | str:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "unknown"
