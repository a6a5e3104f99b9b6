"""Opens a finished run that agrees with its own hashes, for whoever decides on it, shows it or compares it.

It recomputes nothing: that is `audit.verify`, which also says what is wrong with a run that is refused here.
"""

from __future__ import annotations

from pathlib import Path

from fine_tune.errors import PlumblineError
from reports.bundle import Bundle
from reports.errors import VerificationError


def open_sound(run: str | Path) -> Bundle:
    """A bundle whose files are those that it lists.

    Raises:
        RecordError: the folder is no bundle at all.
        VerificationError: a file is missing, altered or added.
    """
    bundle = Bundle.open(run)
    require_sound(bundle)
    return bundle


def require_sound(
    bundle: Bundle,
    *,
    error: type[PlumblineError] = VerificationError,
    called: str = "",
    expected: str = "a run as it was written",
) -> None:
    """Refuse a bundle whose files are not those that it lists.

    Args:
        error: what to raise, where a room has an error of its own for it.
        called: what the bundle is to whoever asks; its folder alone where that says enough.
        expected: what was wanted.

    Raises:
        PlumblineError: ``error``: a file is missing, altered or added.
    """
    problems = bundle.check()
    if problems:
        raise error(
            f"{called or bundle.folder} does not agree with its own hashes: {problems[0]}",
            expected=expected,
            fix=f"see `plumbline verify {bundle.folder}`",
        )
