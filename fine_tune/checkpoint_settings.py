"""What the settings of a model ask of whoever loads it, looked at before anything is loaded: code, files elsewhere, another model's
adapter, sizes that no machine holds. It refuses, and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fine_tune.errors import CheckpointError
from fine_tune.untrusted import MOST_CONFIG, MOST_TOKENIZER, check_size, parse_json, read_file

SETTINGS = (
    "config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "*preprocessor_config.json", "processor_config.json", "feature_extractor_config.json", "chat_template.json",
)  # fmt: skip
"""Files that transformers reads as JSON and takes instructions from."""

ADAPTER = "adapter_config.json"
MOST_LAYERS = 2_000
MOST_LABELS = 1_000_000

# A leftover of the machine that saved the tokenizer, which nothing reads.
_UNREAD = "special_tokens_map_file"
_REPEATED = ("layer", "depth", "block")
_WEIGHT_BYTES = 4


def read_settings(path: Path) -> dict[str, Any]:
    """An object of settings; NaN and infinities may stand in it, as they do in published models.

    Raises:
        CheckpointError: it is too large, no JSON, or no object.
    """
    content = read_file(path, MOST_CONFIG, error=CheckpointError)
    try:
        body = parse_json(content, str(path.parent), error=CheckpointError, strict=False)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path.name} cannot be read: {error.seen}", expected="JSON in UTF-8", where=str(path.parent)
        ) from None
    if not isinstance(body, dict):
        raise CheckpointError(f"{path.name} holds no object", where=str(path.parent))
    return body


def check_settings(folder: Path, files: list[str], *, name: str, trusted: bool) -> None:
    """Check every file that loading would read but the weights.

    Args:
        folder: the model's.
        files: paths in it.
        name: what the user calls the model.
        trusted: code that comes with the model may run.

    Raises:
        CheckpointError: a file is larger than any that is known, or settings name code, files outside, or an adapter.
    """
    for file in files:
        if "/" not in file and not file.endswith(".safetensors") and _is_read(file):
            check_size(folder / file, MOST_TOKENIZER, error=CheckpointError)
    if ADAPTER in files:
        raise CheckpointError(
            f"{name} has {ADAPTER} beside config.json, so that another model, which that file names, would be loaded",
            expected="one whole model",
            fix="merge the adapter into its base and save that, or remove the adapter's files",
            where=str(folder),
        )
    for file in files:
        if not any(fnmatch(file, pattern) for pattern in SETTINGS):
            continue
        for key, value in _entries(read_settings(folder / file)):
            _check_entry(key, value, file, name=name, trusted=trusted)


def _is_read(file: str) -> bool:
    return not fnmatch(file, "*.md") and not fnmatch(file, "*.bin")


def _check_entry(key: str, value: Any, file: str, *, name: str, trusted: bool) -> None:
    if key == "auto_map" and value and not trusted:
        raise _code(name, f"auto_map in {file}")
    if key.endswith("_implementation") and isinstance(value, str) and "/" in value and not trusted:
        raise _code(name, f"{key} in {file}")
    named = (key.endswith(("_file", "_files")) and key != _UNREAD) or key == "init_inputs"
    outside = next((text for text in _texts(value) if _leads_out(text)), None) if named else None
    if outside is not None:
        raise CheckpointError(
            f"{key} in {file} of {name} names {outside[:200]!r}, which lies outside the folder",
            expected="the name of a file beside it",
            fix="remove the entry, if the file that it means lies in the folder",
        )
    if file == "config.json" and any(part in key.lower() for part in _REPEATED):
        most = max((n for n in _numbers(value)), default=0)
        if most > MOST_LAYERS:
            raise CheckpointError(
                f"{key} in {file} of {name} is {most:.6g}",
                expected=f"at most {MOST_LAYERS:,}",
                fix="take the model from its source again",
            )


def _code(name: str, place: str) -> CheckpointError:
    return CheckpointError(
        f"{name} brings code of its own ({place})",
        expected="an architecture that transformers knows",
        fix="read that code; if you trust it, set trust_remote_code: true, and the report will say so",
    )


def _entries(body: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(body, dict):
        for key, value in body.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(body, list):
        for value in body:
            yield from _entries(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _numbers(value: Any) -> Iterator[float]:
    for inner in value if isinstance(value, list) else [value]:
        if isinstance(inner, int | float) and not isinstance(inner, bool):
            yield inner


def _leads_out(name: str) -> bool:
    return "/" in name or "\\" in name or name in ("..", "~") or "\0" in name


def check_config(config: dict[str, Any], where: str) -> None:
    """Check the entries that are read here rather than by transformers.

    Raises:
        CheckpointError: one of them is of the wrong kind, or absurd.
    """
    architectures, count = config.get("architectures"), config.get("num_labels")
    if architectures is not None and not (
        isinstance(architectures, list) and all(isinstance(a, str) for a in architectures)
    ):
        raise CheckpointError(
            f"architectures is {str(architectures)[:80]}",
            expected="a list of class names",
            where=f"{where}/config.json",
        )
    if count is not None and (not isinstance(count, int) or not 0 <= count <= MOST_LABELS):
        raise CheckpointError(
            f"num_labels is {str(count)[:80]}", expected=f"a number up to {MOST_LABELS:,}", where=f"{where}/config.json"
        )


def check_room(name: str, config: Any, auto: Any) -> None:
    """Check that the model that ``config`` describes fits this machine's memory; it is laid out without any.

    Args:
        name: what the user calls the model.
        config: transformers' own.
        auto: the auto class that builds it.

    Raises:
        CheckpointError: it does not.
    """
    import torch

    try:
        # Laying it out must not move the caller's random numbers.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model = auto.from_config(config)
        asked = _WEIGHT_BYTES * sum(p.numel() for p in model.parameters())
    except Exception:
        # What cannot be laid out is refused, with its own words, by whoever loads it.
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    if memory is not None and asked > memory:
        raise CheckpointError(
            f"config.json of {name} describes a model of {asked / 1e9:,.1f} GB",
            expected=f"at most the {memory / 1e9:,.1f} GB that this machine has",
            fix="take the model from its source again, or use a larger machine",
        )
