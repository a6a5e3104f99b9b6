"""A finished run shown again: as text, or as a file with what belongs beside it. Decides nothing, and never writes into a run."""

from __future__ import annotations

from pathlib import Path

from audit.signing.trusted import NOBODY, Trusted, signature_beside
from reports.assets import asset_files
from reports.bundle import Bundle
from reports.errors import RecordError
from reports.page import render as page_of
from reports.showing import NOTHING_BESIDE, Fact, Showing


def render(run: str | Path, language: str = "en", trusted: Trusted = NOBODY) -> str:
    """The report's HTML of a finished run, and what is known of the signatures beside it.

    Raises:
        VerificationError: a signature of ``trusted`` is missing or does not hold.
    """
    bundle = Bundle.open(run)
    showing = Showing(language=language, beside=_beside(bundle, trusted))
    return page_of(bundle.record(), bundle.verdict(), showing)


def render_to(
    run: str | Path, out: str | Path, language: str = "en", *, sibling: bool = False, trusted: Trusted = NOBODY
) -> Path:
    """Write a finished run's report to a file, and return its path.

    Args:
        out: the page. Folders above it are made.
        sibling: put style and pictures into a folder beside the page, for servers that allow nothing inline; the folder is
            named after the page.
        trusted: whose signatures must be there and hold.

    Raises:
        RecordError: the page would lie in the run itself, which is never written into.
        VerificationError: a signature of ``trusted`` is missing or does not hold; then nothing is written.
    """

    page, bundle = Path(out), Bundle.open(run)
    if page.resolve().is_relative_to(Path(run).resolve()):
        raise RecordError(
            f"{page} lies in the run itself",
            expected="a place outside: a run is never written into",
            fix="choose another",
        )
    record = bundle.record()
    showing = Showing(
        language=language, assets=f"{page.stem}.assets" if sibling else None, beside=_beside(bundle, trusted)
    )
    text = page_of(record, bundle.verdict(), showing)
    page.parent.mkdir(parents=True, exist_ok=True)
    if showing.assets:
        folder = page.with_name(showing.assets)
        folder.mkdir(exist_ok=True)
        for name, content in asset_files(record, showing).items():
            (folder / name).write_bytes(content)
    page.write_text(text, encoding="utf-8", newline="\n")
    return page


def _beside(bundle: Bundle, trusted: Trusted) -> tuple[Fact, ...]:
    return (signature_beside(bundle, trusted), *NOTHING_BESIDE[1:])
