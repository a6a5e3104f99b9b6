"""A finished run shown again: as text, or as a file with what belongs beside it. Decides nothing, and never writes into a run."""

from __future__ import annotations

from pathlib import Path

from audit.signing.trusted import NOBODY, Trusted, signature_beside
from audit.sound import open_sound
from probes.evidence import message
from reports.assets import asset_files
from reports.bundle import Bundle
from reports.errors import RecordError
from reports.page import render as page_of
from reports.reviews import reviews_beside
from reports.showing import LEAST, Edition, Fact, Showing


def render(
    run: str | Path,
    language: str = "en",
    trusted: Trusted = NOBODY,
    *,
    edition: Edition = "internal",
    least: int = LEAST,
) -> str:
    """The report's HTML of a finished run, with the reviews beside it and what is known of its signatures.

    Args:
        trusted: whose signatures must be there and hold.
        edition: ``internal``, ``regulator`` or ``public``.
        least: rows that a figure of the public edition rests on at least.

    Raises:
        VerificationError: the run does not agree with its own hashes, or a signature of ``trusted`` is missing or does not hold.
    """
    bundle = open_sound(run)
    showing = Showing(language=language, edition=edition, least=least, beside=_beside(bundle, trusted, edition))
    return page_of(bundle.record(), bundle.verdict(), showing)


def render_to(
    run: str | Path,
    out: str | Path,
    language: str = "en",
    *,
    sibling: bool = False,
    trusted: Trusted = NOBODY,
    edition: Edition = "internal",
    least: int = LEAST,
) -> Path:
    """Write a finished run's report to a file, and return its path.

    Args:
        out: the page. Folders above it are made.
        sibling: put style and pictures into a folder beside the page, for servers that allow nothing inline; the folder is
            named after the page.
        trusted: whose signatures must be there and hold.
        edition, least: as of `render`.

    Raises:
        RecordError: the page would lie in the run itself, which is never written into.
        VerificationError: the run does not agree with its own hashes, or a signature of ``trusted`` is missing or does not hold; then nothing is written.
    """

    page, bundle = Path(out), open_sound(run)
    if page.resolve().is_relative_to(Path(run).resolve()):
        raise RecordError(
            f"{page} lies in the run itself",
            expected="a place outside: a run is never written into",
            fix="choose another",
        )
    record = bundle.record()
    showing = Showing(
        language=language,
        edition=edition,
        least=least,
        assets=f"{page.stem}.assets" if sibling else None,
        beside=_beside(bundle, trusted, edition),
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


def _beside(bundle: Bundle, trusted: Trusted, edition: Edition) -> tuple[Fact, ...]:
    """What is known from beside the bundle. A public page names no signer and no reviewer; signatures are checked all the same."""
    signature = signature_beside(bundle, trusted)
    if edition == "public":
        return ((message("Signature and human review"), message("not shown in this edition")),)
    return (signature, *reviews_beside(bundle.folder, bundle.verdict().outcome))
