"""Puts signatures beside a finished run. Only a run that verifies is signed, and nothing but the signature's own file is written."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import SigningError
from audit.verify import verify
from reports.bundle import Bundle
from reports.errors import VerificationError
from reports.files import SIGNATURE, SIGSTORE, put_file
from reports.signatures import (
    LONGEST,
    PAYLOAD_TYPE,
    Envelope,
    bundle_statement,
    pre_authentication_encoding,
    read_envelope,
)

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What was done: the file, who signed, and whether the signature is new."""

    file: Path
    signer: str
    new: bool


def sign_with_key(folder: Path, signer: CryptoSigner) -> Signed:
    """Sign a run with a private key; the signatures of other keys on the same run are kept.

    Raises:
        RecordError: the folder holds no bundle.
        VerificationError: the run does not verify, or an earlier signature does not hold for it.
    """
    from audit.signing.keys import sign

    bundle = _verified(folder)
    keyid = str(signer.public_key.keyid)
    earlier: Envelope | None = None
    if (folder / SIGNATURE).exists():
        earlier = read_envelope(bundle.read_bytes(SIGNATURE, most=LONGEST))
        if earlier.by(keyid) is not None:
            return Signed(file=folder / SIGNATURE, signer=keyid, new=False)
    statement = bundle_statement(bundle).encode()
    made = sign(pre_authentication_encoding(PAYLOAD_TYPE, statement), signer)
    envelope = Envelope(
        payload=base64.b64encode(statement).decode(),
        payload_type=PAYLOAD_TYPE,
        signatures=(*(earlier.signatures if earlier is not None else ()), made),
    )
    put_file(folder, SIGNATURE, envelope.to_json().encode())
    return Signed(file=folder / SIGNATURE, signer=keyid, new=True)


def sign_keyless(folder: Path) -> Signed:
    """Sign a run through Sigstore, with the identity of this pipeline or of the person at the terminal.

    Raises:
        RecordError: the folder holds no bundle.
        VerificationError: the run does not verify, or an earlier signature does not hold for it.
        SigningError: there is such a signature already, or Sigstore did not sign.
    """
    from audit.signing import keyless

    bundle = _verified(folder)
    if (folder / SIGSTORE).exists():
        raise SigningError(
            f"{folder / SIGSTORE} is there already",
            expected="a run that nobody has signed through Sigstore",
            fix="remove it to sign again, or sign with --key beside it",
        )
    made = keyless.sign(bundle_statement(bundle))
    put_file(folder, SIGSTORE, made.encode())
    return Signed(file=folder / SIGSTORE, signer="", new=True)


def _verified(folder: Path) -> Bundle:
    bundle = Bundle.open(folder)
    problems = verify(folder).problems
    if problems:
        raise VerificationError(
            f"{folder} does not verify, so it is not signed: {problems[0]}",
            expected="a run that verifies",
            fix=f"see `plumbline verify {folder}`",
        )
    return bundle
