"""Signatures beside a bundle, as plain data: the envelope, the statement that it signs, and what a bundle holds instead of it.

Pure: it knows no key and checks no signature, which `audit.signing` does. It says only whether the statement in an envelope is the
one that this very bundle makes, and names what was swapped where it isn't.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from probes.evidence import Plain
from reports.bundle import Bundle
from reports.errors import RecordError
from reports.files import MANIFEST, RESULTS, SIGNATURE, SIGSTORE, VERDICT, digest
from reports.manifests import Provenance
from reports.record import canonical_json
from reports.statement import DATA, POLICY, SUBJECT, TREE, statement

PAYLOAD_TYPE = "application/vnd.in-toto+json"
LONGEST = 16 * 2**20

_CALLED = {
    TREE: "the weights and other files of the model",
    SUBJECT: "the model as it answered",
    DATA: "the data",
    POLICY: "the policy",
    RESULTS: f"the record ({RESULTS})",
    VERDICT: f"the verdict ({VERDICT})",
    MANIFEST: f"the list of files ({MANIFEST})",
}


def _base64(text: str) -> str:
    """Base64 as it is always written, so that no two texts stand for the same bytes."""
    try:
        same = base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except (binascii.Error, ValueError):
        same = False
    if not same:
        raise ValueError("is no base64 as it is always written")
    return text


Base64 = Annotated[str, AfterValidator(_base64)]


class EnvelopeSignature(Plain):
    """One signature of an envelope: the id of its key, and its bytes."""

    keyid: str = Field(pattern=r"^[0-9a-f]{64}$")
    sig: Base64


class Envelope(Plain):
    """A DSSE envelope: a payload, its type, and the signatures over both."""

    payload: Base64
    payload_type: str = Field(alias="payloadType")
    signatures: tuple[EnvelopeSignature, ...] = Field(min_length=1)

    def to_json(self) -> str:
        """The bytes of the file, as text."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @property
    def content(self) -> bytes:
        """The payload itself."""
        return base64.b64decode(self.payload)

    @property
    def pae(self) -> bytes:
        """What is signed."""
        return pre_authentication_encoding(self.payload_type, self.content)

    def by(self, keyid: str) -> EnvelopeSignature | None:
        """The signature of one key."""
        return next((s for s in self.signatures if s.keyid == keyid), None)


def pre_authentication_encoding(kind: str, content: bytes) -> bytes:
    """Type and payload with their lengths: what DSSE v1 signs, so that neither can pass for the other."""
    return b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(content), content)


def read_envelope(content: bytes) -> Envelope:
    """An envelope as Plumbline writes it.

    Raises:
        RecordError: it is anything else, or holds two signatures of one key.
    """
    if len(content) > LONGEST:
        raise RecordError(f"it has {len(content)} bytes", expected=f"at most {LONGEST}", where=SIGNATURE)
    expected = "an envelope that `plumbline sign` wrote"
    fix = "take the file from its source again, or remove it and sign again"
    try:
        envelope = Envelope.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise RecordError(f"{place}: {first['msg']}", expected=expected, where=SIGNATURE, fix=fix) from None
    keys = [s.keyid for s in envelope.signatures]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise RecordError(f"key {twice[0]} signs it twice", expected=expected, where=SIGNATURE, fix=fix)
    if envelope.to_json().encode() != content:
        raise RecordError("it is not written the way Plumbline writes it", expected=expected, where=SIGNATURE, fix=fix)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise RecordError(f"it signs {envelope.payload_type!r}", expected=PAYLOAD_TYPE, where=SIGNATURE, fix=fix)
    return envelope


def keyless_payload(content: bytes) -> bytes:
    """The payload of a Sigstore bundle, nothing of it checked.

    Raises:
        RecordError: it is no Sigstore bundle with an envelope.
    """
    expected = "a Sigstore bundle with a DSSE envelope, such as `plumbline sign --sigstore` writes"
    try:
        if len(content) > LONGEST:
            raise ValueError(f"it has {len(content)} bytes, more than {LONGEST}")
        envelope = json.loads(content)["dsseEnvelope"]
        return base64.b64decode(envelope["payload"], validate=True)
    except KeyError as error:
        raise RecordError(f"it lacks {error.args[0]!r}", expected=expected, where=SIGSTORE) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordError(f"it cannot be read: {error}", expected=expected, where=SIGSTORE) from None


def bundle_statement(bundle: Bundle) -> str:
    """What is signed: the statement of a bundle, over its list of files and every file on it too.

    Raises:
        RecordError: record, verdict, list or provenance cannot be read.
        VerificationError: a file of those is missing.
    """
    listed = {entry.path: entry.sha256 for entry in bundle.manifest().files}
    also = {MANIFEST: digest(bundle.read_bytes(MANIFEST)), **listed}
    return statement(bundle.record(), bundle.verdict(), Provenance.of(bundle), also)


def swapped(signed: bytes, present: str) -> Iterator[str]:
    """What a bundle holds instead of what was signed, a sentence each; the causes first, then the files that follow from them.

    Args:
        signed: the payload of the envelope.
        present: `bundle_statement` of the bundle.
    """
    if signed == present.encode():
        return
    try:
        then, now = _subjects(json.loads(signed)), _subjects(json.loads(present))
    except (ValueError, KeyError, TypeError, RecursionError):
        yield "what is signed is no statement of Plumbline's"
        return
    differing = [name for name in {**now, **then} if now.get(name) != then.get(name)]
    for name in (n for n in _CALLED if n in differing):
        yield f"{_CALLED[name]} was swapped after signing: {_change(then.get(name), now.get(name))}"
    files = sorted(name for name in differing if name not in _CALLED)
    for name in files:
        yield f"{name} was swapped after signing: {_change(then.get(name), now.get(name))}"
    if not differing:
        yield "the outcomes that were signed are not those of this bundle"


def _change(then: str | None, now: str | None) -> str:
    if then is None:
        return f"it has sha256 {now}, and was not there"
    return f"signed was sha256 {then}, here is {'nothing' if now is None else now}"


def _subjects(body: Any) -> dict[str, str]:
    return {str(subject["name"]): str(subject["digest"]["sha256"]) for subject in body["subject"]}
