"""The only door to securesystemslib: keys in PEM files, made, read, signed with and checked against.

It signs what it is handed and knows nothing of bundles. A private key is never printed, and a file that is there is never replaced.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from audit.doctor import install_line
from audit.errors import SigningError
from reports.signatures import Envelope, EnvelopeSignature

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PASSPHRASE = "PLUMBLINE_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
KINDS = "ed25519, ecdsa (P-256, P-384, P-521)"
LONGEST = 2**16

Kind = Literal["ed25519", "ecdsa"]


def generate(path: Path, kind: Kind, passphrase: bytes | None) -> tuple[Path, str]:
    """Write a new private key, readable by its owner alone, and its public key as ``NAME.pub``.

    Returns:
        The public key's file, and the key's id.

    Raises:
        SigningError: one of the files is there already.
    """
    _library()
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )
    from securesystemslib.signer import CryptoSigner

    public = path.with_name(f"{path.name}.pub")
    for file in (path, public):
        if file.exists() or file.is_symlink():
            raise SigningError(
                f"{file} is there already", expected="a new file", fix="name another; keys are not replaced"
            )
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(SECP256R1())
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    _write_new(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
    return public, str(CryptoSigner(key).public_key.keyid)


def private_key(
    path: Path, passphrase_from: str = PASSPHRASE, environment: Mapping[str, str] = os.environ
) -> CryptoSigner:
    """A private key.

    Args:
        path: PEM.
        passphrase_from: the environment variable that holds its passphrase, if it has one.
        environment: the environment.

    Raises:
        SigningError: the file cannot be read, is no private key of a kind that signs here, or its passphrase is missing or wrong.
    """
    _library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    content = _read(path)
    given = environment.get(passphrase_from)
    if b"ENCRYPTED" in content and not given:
        raise SigningError(
            f"{path} has a passphrase, and {passphrase_from} is not set",
            fix=f"set {passphrase_from}, or name another variable with --passphrase-env",
        )
    secret = given.encode() if given and b"ENCRYPTED" in content else None
    try:
        return CryptoSigner(load_pem_private_key(content, secret))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # What the library says could quote the file: a reason is chosen instead.
        wrong = "cannot be opened with the passphrase given" if secret else "is no private key that can sign here"
        raise SigningError(f"{path} {wrong}", expected=f"a private key in PEM: {KINDS}") from error


def public_key(path: Path) -> SSlibKey:
    """A public key.

    Raises:
        SigningError: the file cannot be read, or is no public key of a kind that can be checked here.
    """
    _library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    content = _read(path)
    try:
        return SSlibKey.from_crypto(load_pem_public_key(content))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        private = b"PRIVATE KEY" in content
        raise SigningError(
            f"{path} {'is a private key, not a public one' if private else 'is no public key that can be used here'}",
            expected=f"a public key in PEM: {KINDS}",
            fix="give the file that `plumbline keygen` wrote as NAME.pub" if private else "",
        ) from error


def sign(pae: bytes, signer: CryptoSigner) -> EnvelopeSignature:
    """The signature of what an envelope signs."""
    made = signer.sign(pae)
    return EnvelopeSignature(keyid=made.keyid, sig=base64.b64encode(bytes.fromhex(made.signature)).decode())


def holds(envelope: Envelope, key: SSlibKey) -> bool:
    """Whether the envelope has a signature of this key, and it is one of this payload."""
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature

    found = envelope.by(key.keyid)
    if found is None:
        return False
    try:
        key.verify_signature(Signature(found.keyid, base64.b64decode(found.sig).hex()), envelope.pae)
    except UnverifiedSignatureError:
        return False
    return True


def _library() -> None:
    try:
        import cryptography  # noqa: F401
        import securesystemslib.signer  # noqa: F401
    except ImportError:
        raise SigningError(
            "signing needs packages that are not installed", fix=install_line(["securesystemslib"])
        ) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(LONGEST + 1)
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}", expected="a key in PEM") from None
    if len(content) > LONGEST:
        raise SigningError(f"{path} is longer than {LONGEST} bytes", expected="a key in PEM")
    return content


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise SigningError(f"{path} cannot be written: {error.strerror}", expected="a new file in a folder") from None
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
