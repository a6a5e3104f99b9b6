"""Keeps TextAttack's downloads from harming what comes after them.

TextAttack takes a file lock before it downloads and forgets it when the download fails, so that the next recipe that wants
the same file waits for ever. Locks and half-written files of a failed download are let go of here; without permission for
the network, a download is refused before it begins.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from probes.errors import Unavailable

_INSTALLER = "textattack.shared.utils.install"
_LOCK = threading.RLock()


@contextlib.contextmanager
def released_downloads(*, network: bool) -> Iterator[None]:
    """For the length of the block, downloads are refused unless ``network``, and a failure leaves no lock and no file.

    One block at a time in a process: the names it replaces belong to TextAttack's module.
    """
    installer: Any = sys.modules[_INSTALLER]
    with _LOCK, _hub_offline(not network):
        held: list[Any] = []
        made: list[Path] = []
        before = {name: getattr(installer, name) for name in ("filelock", "tempfile", "http_get")}
        installer.filelock = types.SimpleNamespace(FileLock=_remembering(before["filelock"].FileLock, held.append))
        installer.tempfile = types.SimpleNamespace(
            NamedTemporaryFile=_remembering(before["tempfile"].NamedTemporaryFile, lambda x: made.append(Path(x.name)))
        )
        if not network:
            installer.http_get = _refuse
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(installer, name, value)
            for lock in held:
                lock.release(force=True)
            for path in made:
                path.unlink(missing_ok=True)


def _remembering(make: Callable[..., Any], remember: Callable[[Any], object]) -> Callable[..., Any]:
    def made(*args: object, **options: object) -> Any:
        value = make(*args, **options)
        remember(value)
        return value

    return made


def _refuse(url: str, *_args: object, **_options: object) -> None:
    raise Unavailable(f"the recipe would download {url}, and the network is not allowed", fix="allow the network")


@contextlib.contextmanager
def _hub_offline(offline: bool) -> Iterator[None]:
    """The Hugging Face hub's own switch, which its functions read at every call."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
