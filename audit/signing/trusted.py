"""What may be believed of the signatures beside a bundle, by the keys and identities that a reader trusts.

A signature that nobody was asked to check is never called good. It repairs nothing, and says nothing of the bundle's numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fine_tune.errors import PlumblineError
from probes.evidence import Message, message
from reports.bundle import Bundle
from reports.errors import RecordError, VerificationError
from reports.files import SIGNATURE, SIGSTORE
from reports.showing import NOTHING_BESIDE, Fact
from reports.signatures import LONGEST, bundle_statement, keyless_payload, read_envelope, swapped

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

UNSIGNED = message("unsigned")
NOT_THIS = message("a signature lies beside it that does not hold for this bundle")
_SHOWN = 16


@dataclass(frozen=True, kw_only=True)
class Trusted:
    """Whom a reader trusts to have signed; every one of them must have.

    Attributes:
        keys: files with public keys.
        identity, issuer: who signed through Sigstore, and who vouches for that; both or neither.
    """

    keys: tuple[Path, ...] = ()
    identity: str = ""
    issuer: str = ""

    @property
    def anybody(self) -> bool:
        return bool(self.keys or self.identity)


NOBODY = Trusted()


@dataclass
class Signatures:
    """What was found beside a bundle.

    Attributes:
        said: the state, a sentence each; `UNSIGNED` alone where there is nothing.
        problems: what does not hold, naming its file.
        signers: the keys and identities whose signatures were checked and hold.
    """

    said: list[Message] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    signers: list[str] = field(default_factory=list)

    def refuse(self, problems: Iterable[str]) -> None:
        """Note what does not hold, and that something doesn't."""
        self.problems += problems
        if NOT_THIS not in self.said:
            self.said.append(NOT_THIS)


def check_signatures(bundle: Bundle, trusted: Trusted = NOBODY) -> Signatures:
    """Look at every signature that lies beside a bundle, and check those that ``trusted`` allows to.

    Raises:
        SigningError: a key that was given cannot be used, or a package is missing.
    """
    from audit.signing.keys import public_key

    found = Signatures()
    keys = [(path, public_key(path)) for path in trusted.keys]
    _by_keys(bundle, keys, found)
    _by_identity(bundle, trusted, found)
    if not found.said:
        found.said.append(UNSIGNED)
    return found


def signature_beside(bundle: Bundle, trusted: Trusted = NOBODY) -> Fact:
    """The line on signatures of the first screen, for a page that is rendered now; see `reports.showing.NOTHING_BESIDE`.

    Raises:
        SigningError: as `check_signatures`.
        VerificationError: a signature was to be checked, and it or the bundle does not hold.
    """
    found = check_signatures(bundle, trusted)
    if trusted.anybody:
        problems = [*bundle.check(), *found.problems]
        if problems:
            raise VerificationError(
                f"{bundle.folder}: {problems[0]}",
                expected="a bundle with the signatures asked for",
                fix=f"see `plumbline verify {bundle.folder}`; nothing was rendered",
            )
    name, unsigned = NOTHING_BESIDE[0]
    if found.said == [UNSIGNED]:
        return name, unsigned
    said = found.said[0]
    for more in found.said[1:]:
        said = message("{first}; {second}", first=said, second=more)
    return name, said


def _by_keys(bundle: Bundle, keys: list[tuple[Path, SSlibKey]], found: Signatures) -> None:
    from audit.signing.keys import holds

    if not _present(bundle, SIGNATURE):
        if keys:
            found.problems.append(f"{SIGNATURE}: is missing, and was to be checked: the bundle is unsigned")
        return
    try:
        envelope = read_envelope(bundle.read_bytes(SIGNATURE, most=LONGEST))
    except PlumblineError as error:
        found.refuse([f"{SIGNATURE}: {error.seen}"])
        return
    given = {key.keyid: path for path, key in keys}
    missing = [keyid for keyid in given if envelope.by(keyid) is None]
    wrong = [
        f"{SIGNATURE}: the signature by key {key.keyid} does not hold: it or what it signs was changed after signing"
        for _, key in keys
        if key.keyid not in missing and not holds(envelope, key)
    ]
    wrong += _swaps(bundle, SIGNATURE, envelope.content)
    names = ", ".join(s.keyid for s in envelope.signatures)
    found.problems += [
        f"{SIGNATURE}: has no signature by the key in {given[keyid]}, whose id is {keyid}; the keys it names: {names}"
        for keyid in missing
    ]
    if wrong:
        found.refuse(wrong)
        return
    for keyid in (s.keyid for s in envelope.signatures):
        short = keyid[:_SHOWN]
        if keyid in given:
            found.signers.append(f"key {keyid}")
            found.said.append(message("signed by key {key}, checked with the key given", key=short))
        elif keys:
            found.said.append(
                message("a signature that names key {key} is present, not checked: that key was not given", key=short)
            )
        else:
            found.said.append(
                message("a signature that names key {key} is present, not checked: no key given", key=short)
            )


def _by_identity(bundle: Bundle, trusted: Trusted, found: Signatures) -> None:
    from audit.signing import keyless

    if not _present(bundle, SIGSTORE):
        if trusted.identity:
            found.problems.append(f"{SIGSTORE}: is missing, and was to be checked: nobody signed through Sigstore")
        return
    try:
        content = bundle.read_bytes(SIGSTORE, most=LONGEST)
        payload = keyless_payload(content)
        if trusted.identity:
            payload = keyless.check(content, trusted.identity, trusted.issuer)
    except (RecordError, VerificationError) as error:
        found.refuse([error.seen if error.seen.startswith(SIGSTORE) else f"{SIGSTORE}: {error.seen}"])
        return
    wrong = list(_swaps(bundle, SIGSTORE, payload))
    if wrong:
        found.refuse(wrong)
    elif trusted.identity:
        found.signers.append(trusted.identity)
        found.said.append(
            message(
                "signed by {identity} through Sigstore, checked for the issuer {issuer}",
                identity=trusted.identity,
                issuer=trusted.issuer,
            )
        )
    else:
        found.said.append(message("a Sigstore signature is present, not checked: no identity given"))


def _swaps(bundle: Bundle, file: str, signed: bytes) -> Iterator[str]:
    try:
        present = bundle_statement(bundle)
    except PlumblineError as error:
        yield f"{file}: cannot be compared with the bundle: {error.seen}"
        return
    for said in swapped(signed, present):
        yield f"{file}: {said}"


def _present(bundle: Bundle, file: str) -> bool:
    return (bundle.folder / file).exists() or (bundle.folder / file).is_symlink()
