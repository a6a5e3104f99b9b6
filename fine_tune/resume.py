"""Where the state of a training that was not finished lies, and which state can be gone on from. It lies beside the
checkpoint, never inside, and is removed once the checkpoint is there. A state of another request, of other library
versions or of another number of processes is not used; one whose writing was cut short does not count.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Losing a minute is cheap; writing an optimiser's state more often may not be.
SAVE_SECONDS = 60.0

COMPLETE = "complete.json"
TENSORS = "plumbline.safetensors"
WEIGHTS = "trained.safetensors"


def request_key(*parts: object) -> str:
    """A digest over everything that a training depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class ResumeFolder:
    """The states of one training.

    Attributes:
        path: the folder, with one ``checkpoint-STEP`` a state.
        key: of the request, see `request_key`.
    """

    path: Path
    key: str

    @classmethod
    def beside(cls, out: Path, key: str) -> ResumeFolder:
        """The folder that belongs to the checkpoint ``out``."""
        return cls(out.parent / f".{out.name}.resume", key)

    def newest(self) -> Path | None:
        """The newest whole state of this request, or None."""
        whole = [(int(p.name.rpartition("-")[2]), p) for p in self.path.glob("checkpoint-*") if self.note(p)]
        return max(whole)[1] if whole else None

    def note(self, state: Path) -> dict[str, Any]:
        """What was written down with a state; empty if it is cut short or of another request."""
        try:
            found = json.loads((state / COMPLETE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.get("key") == self.key else {}

    def complete(self, state: Path, note: dict[str, Any]) -> None:
        """Mark a state as whole, the last thing that is written of it, and remove the older ones."""
        fresh = state / f"{COMPLETE}.part"
        fresh.write_text(json.dumps({**note, "key": self.key}), encoding="utf-8")
        fresh.replace(state / COMPLETE)
        self.keep_only(state)

    def keep_only(self, state: Path | None) -> None:
        """Remove every other state: older ones, and those of other requests or cut short, which nothing reads."""
        for found in self.path.glob("checkpoint-*"):
            if found != state:
                shutil.rmtree(found, ignore_errors=True)

    def remove(self) -> None:
        """Remove every state; fine if there is none."""
        shutil.rmtree(self.path, ignore_errors=True)
