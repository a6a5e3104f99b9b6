"""Opens a finished run that agrees with its own hashes, for whoever decides on it, shows it or compares it.

It recomputes nothing: that is `audit.verify`, which also says what is wrong with a run that is refused here.
"""

from __future__ import annotations

from pathlib import Path

from reports.bundle import Bundle
from reports.errors import VerificationError


def open_sound(run: str | Path) -> Bundle:
    """A bundle whose files are those that it lists.

    Raises:
        RecordError: the folder is no bundle at all.
        VerificationError: a file is missing, altered or added.
    """
    bundle = Bundle.open(run)
    problems = bundle.check()
    if problems:
        raise VerificationError(
            f"{bundle.folder} does not agree with its own hashes: {problems[0]}",
            expected="a run as it was written",
            fix=f"see `plumbline verify {bundle.folder}`",
        )
    return bundle
