"""The only door to sigstore: signing with an identity instead of a key, where there is a network.

The signature, a short-lived certificate and an entry of the public log come back as one Sigstore bundle. The entry is public and stays:
it holds the signer's identity and hashes, and nothing else of the run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from audit.doctor import install_line
from audit.errors import SigningError
from reports.errors import VerificationError
from reports.files import SIGSTORE
from reports.signatures import PAYLOAD_TYPE


def sign(statement: str) -> str:
    """A statement signed with the identity of this pipeline, or of the person at the terminal, as a Sigstore bundle.

    Raises:
        SigningError: sigstore is not installed, no identity is to be had, or its services did not answer.
    """
    _library()
    from sigstore.dsse import Statement
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken, Issuer, detect_credential
    from sigstore.sign import SigningContext

    with _named("could not sign", "sign with --key where there is no network"):
        found = detect_credential()
    if found is None and not sys.stdin.isatty():
        raise SigningError(
            "there is no identity to sign with: neither one of a pipeline nor a person at a terminal",
            expected="a pipeline that hands out OpenID tokens (in GitHub Actions: permissions: id-token: write), or a terminal",
        )
    with _named("could not sign", "sign with --key where there is no network"):
        trust = ClientTrustConfig.production()
        token = IdentityToken(found) if found else Issuer(trust.signing_config.get_oidc_url()).identity_token()
        with SigningContext.from_trust_config(trust).signer(token) as signer:
            return str(signer.sign_dsse(Statement(statement.encode())).to_json()) + "\n"


def check(content: bytes, identity: str, issuer: str) -> bytes:
    """The payload of a Sigstore bundle that this identity, as this issuer vouches for it, signed.

    Raises:
        SigningError: sigstore is not installed, or its root of trust cannot be had.
        VerificationError: the signature, its certificate or its entry in the log does not hold, or it is somebody else's.
    """
    _library()
    from sigstore.models import Bundle
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    with _named("could not get its root of trust", "try again where there is a network; without it, nothing is known"):
        verifier = Verifier.production()
    try:
        bundle = Bundle.from_json(content)
        alike = (str(bundle.to_json()) + "\n").encode() == content
        kind, payload = verifier.verify_dsse(bundle, Identity(identity=identity, issuer=issuer))
    except Exception as error:  # the file is anybody's: whatever it makes the library raise, it does not hold
        said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        raise VerificationError(f"{SIGSTORE}: does not hold: {said}", expected=f"a signature by {identity}") from None
    if not alike:
        raise VerificationError(f"{SIGSTORE}: is not written the way Plumbline writes it")
    if kind != PAYLOAD_TYPE:
        raise VerificationError(f"{SIGSTORE}: it signs {kind!r}", expected=PAYLOAD_TYPE)
    return bytes(payload)


def _library() -> None:
    try:
        import sigstore  # noqa: F401
    except ImportError:
        raise SigningError(
            "keyless signatures need a package that is not installed", fix=install_line(["sigstore"])
        ) from None


@contextmanager
def _named(what: str, fix: str) -> Iterator[None]:
    """Whatever the library raises, as one error of ours: several of its own errors are private to it."""
    try:
        yield
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        raise SigningError(
            f"Sigstore {what}: {said}", expected="its public services within reach, and an identity", fix=fix
        ) from error
