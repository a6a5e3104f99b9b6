"""What lies beside a page that may hold nothing inline: its style, and its pictures, each under the name of its own hash.

Some servers allow neither inline styles nor data addresses (Jenkins, unless its owner relaxes its policy). Pure: it names
files and their content, and writes none.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from probes.evidence import ImageGrid
from reports.markup import sheet
from reports.record import AuditRecord
from reports.showing import Showing

STYLE = "plumbline.css"


def style() -> str:
    """The style sheet of a report."""
    return sheet("page.css")


def picture_name(png_base64: str) -> str:
    """The file that holds a picture."""
    return f"{hashlib.sha256(png_base64.encode()).hexdigest()[:32]}.png"


def address(folder: str, name: str) -> str:
    """How the page refers to a file of its folder."""
    return f"{quote(folder)}/{name}"


def asset_files(record: AuditRecord, showing: Showing) -> Mapping[str, bytes]:
    """The files of the folder, by name. Pictures are among them only where the page shows them.

    A picture that is no valid base64 is left out: the page then shows its label alone, as a browser would.
    """
    files = {STYLE: style().encode()}
    if record.data.include_text and showing.edition == "internal":
        for picture in _pictures(record):
            try:
                files[picture_name(picture)] = b64decode(picture, validate=True)
            except binascii.Error:
                continue
    return files


def _pictures(record: AuditRecord) -> Iterator[str]:
    for finding in record.findings:
        for evidence in finding.reading.evidence if finding.reading else ():
            if isinstance(evidence, ImageGrid):
                yield from (tile.png_base64 for tile in evidence.tiles)
