"""Keyless signing at its seam: a stand-in for the library, with the library's own names, in place of services that need a network.

Where sigstore is installed, `test_the_library_has_what_is_asked_of_it` holds the stand-in's names against the real ones.
"""

from __future__ import annotations

import base64
import inspect
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from audit.cli import app
from audit.signing.trusted import Trusted
from audit.verify import verify
from reports.bundle import Bundle
from reports.files import SIGSTORE
from reports.signatures import PAYLOAD_TYPE, bundle_statement

WHO, ISSUER = "somebody@example.org", "https://issuer.example.org"
IT = Trusted(identity=WHO, issuer=ISSUER)


class LibraryError(Exception):
    """sigstore.errors.Error"""


class StandIn:
    """Signs by writing down who signed what; checks by reading it, as the real one does with certificate and log."""

    def __init__(self) -> None:
        self.ambient: str | None = "a token"
        self.asked_in_browser = 0
        self.unreachable = False

    def modules(self) -> dict[str, ModuleType]:
        stand_in = self

        class Statement:
            def __init__(self, contents: bytes) -> None:
                assert json.loads(contents)["_type"] == "https://in-toto.io/Statement/v1"
                self.contents = contents

        class LibraryBundle:
            def __init__(self, body: dict[str, Any]) -> None:
                self.body = body

            @classmethod
            def from_json(cls, raw: bytes) -> LibraryBundle:
                body = json.loads(raw)
                if "who" not in body:
                    raise LibraryError("no certificate")
                return cls(body)

            def to_json(self) -> str:
                return json.dumps(self.body)

        class Signer:
            def sign_dsse(self, input_: Statement) -> LibraryBundle:
                payload = base64.b64encode(input_.contents).decode()
                return LibraryBundle(
                    {
                        "dsseEnvelope": {"payload": payload, "payloadType": PAYLOAD_TYPE},
                        "who": [WHO, ISSUER],
                        "over": payload,
                    }
                )

            def __enter__(self) -> Signer:
                return self

            def __exit__(self, *_: object) -> None: ...

        class SigningContext:
            @classmethod
            def from_trust_config(cls, trust_config: object) -> SigningContext:
                return cls()

            def signer(self, identity_token: object) -> Signer:
                return Signer()

        class ClientTrustConfig:
            signing_config = SimpleNamespace(get_oidc_url=lambda: "https://oauth.example.org")

            @classmethod
            def production(cls) -> ClientTrustConfig:
                if stand_in.unreachable:
                    raise ConnectionError("no route")
                return cls()

        class Issuer:
            def __init__(self, base_url: str) -> None: ...

            def identity_token(self) -> str:
                stand_in.asked_in_browser += 1
                return "a person"

        class Verifier:
            @classmethod
            def production(cls) -> Verifier:
                if stand_in.unreachable:
                    raise ConnectionError("no route")
                return cls()

            def verify_dsse(self, bundle: LibraryBundle, policy: tuple[str, str]) -> tuple[str, bytes]:
                envelope = bundle.body["dsseEnvelope"]
                if list(policy) != bundle.body["who"]:
                    raise LibraryError("certificate's SANs do not match")
                if bundle.body.get("over") != envelope["payload"]:
                    raise LibraryError("invalid signature")
                return envelope["payloadType"], base64.b64decode(envelope["payload"])

        def identity(*, identity: str, issuer: str) -> tuple[str, str]:
            return identity, issuer

        contents: dict[str, dict[str, Any]] = {
            "sigstore": {},
            "sigstore.dsse": {"Statement": Statement},
            "sigstore.models": {"Bundle": LibraryBundle, "ClientTrustConfig": ClientTrustConfig},
            "sigstore.oidc": {"IdentityToken": str, "Issuer": Issuer, "detect_credential": lambda: stand_in.ambient},
            "sigstore.sign": {"SigningContext": SigningContext},
            "sigstore.verify": {"Verifier": Verifier},
            "sigstore.verify.policy": {"Identity": identity},
        }
        modules = {}
        for name, members in contents.items():
            modules[name] = ModuleType(name)
            vars(modules[name]).update(members)
        return modules


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    for name, module in stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return stand_in


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def command(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def ask(*more: object) -> tuple[object, ...]:
    return ("--sigstore-identity", WHO, "--sigstore-issuer", ISSUER, *more)


def test_a_run_is_signed_by_an_identity_and_checked(run: Path, library: StandIn) -> None:
    code, said = command("sign", run, "--sigstore")
    assert code == 0, said
    payload = base64.b64decode(json.loads((run / SIGSTORE).read_text())["dsseEnvelope"]["payload"])
    assert payload.decode() == bundle_statement(Bundle.open(run))
    assert library.asked_in_browser == 0
    code, said = command("verify", run)
    assert (code, "a Sigstore signature is present, not checked: no identity given" in said) == (0, True)
    code, said = command("verify", run, *ask())
    assert code == 0
    assert f"signature: signed by {WHO} through Sigstore, checked for the issuer {ISSUER}" in said
    assert f"on the word of {WHO}" in said
    assert command("render", run, *ask("--out", run.parent / "page.html"))[0] == 0
    assert f"signed by {WHO} through Sigstore" in (run.parent / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("who", "issuer"), [("other@example.org", ISSUER), (WHO, "https://other.example.org")])
def test_somebody_else_or_another_issuer_does_not_verify(run: Path, library: StandIn, who: str, issuer: str) -> None:
    command("sign", run, "--sigstore")
    problems = verify(run, Trusted(identity=who, issuer=issuer)).problems
    assert any(p.startswith(f"{SIGSTORE}: does not hold") for p in problems), problems


def test_nobody_signed_and_somebody_was_asked_for(run: Path, library: StandIn) -> None:
    assert command("verify", run, *ask())[0] == 13
    code, said = command("verify", run, "--sigstore-identity", WHO)
    assert (code, "give both" in said) == (2, True)


def test_a_changed_run_or_a_changed_signature_is_named(run: Path, library: StandIn) -> None:
    command("sign", run, "--sigstore")
    kept = (run / SIGSTORE).read_text()
    for text in (
        kept.replace(": ", ":  ", 1),
        kept.replace('"over"', '"oven"'),
        "{}",
        "[",
        '{"dsseEnvelope": {"payload": 3}}',
    ):
        (run / SIGSTORE).write_text(text)
        problems = verify(run, IT).problems
        assert any(p.startswith(SIGSTORE) for p in problems), text
    body = json.loads(kept)
    other = json.dumps(json.loads(base64.b64decode(body["dsseEnvelope"]["payload"])) | {"subject": []}).encode()
    body["dsseEnvelope"]["payload"] = body["over"] = base64.b64encode(other).decode()
    (run / SIGSTORE).write_text(json.dumps(body) + "\n")
    for trusted in (Trusted(), IT):
        assert any(p.startswith(f"{SIGSTORE}: the data was swapped") for p in verify(run, trusted).problems)


def test_without_an_identity_or_a_network_it_is_said(run: Path, library: StandIn) -> None:
    library.ambient = None
    code, said = command("sign", run, "--sigstore")
    assert (code, "no identity to sign with" in said, library.asked_in_browser) == (2, True, 0)
    library.ambient, library.unreachable = "a token", True
    code, said = command("sign", run, "--sigstore")
    assert (code, "no route" in said, (run / SIGSTORE).exists()) == (2, True, False)
    library.unreachable = False
    assert command("sign", run, "--sigstore")[0] == 0
    assert command("sign", run, "--sigstore")[0] == 2, "there is one already"
    library.unreachable = True
    code, said = command("verify", run, *ask())
    assert (code, "root of trust" in said) == (2, True), (
        "what cannot be checked does not verify, and is not called false"
    )


def test_without_the_library_its_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sigstore", None)
    code, said = command("sign", run, "--sigstore")
    assert (code, "plumbline-audit[sigstore]" in said) == (2, True)


def test_the_library_has_what_is_asked_of_it(finished: Path) -> None:
    pytest.importorskip("sigstore", reason="keyless signing is an extra of its own")
    from sigstore.dsse import Statement
    from sigstore.models import Bundle as LibraryBundle
    from sigstore.models import ClientTrustConfig, SigningConfig
    from sigstore.oidc import Issuer, detect_credential
    from sigstore.sign import Signer, SigningContext
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    Statement(bundle_statement(Bundle.open(finished)).encode())
    Identity(identity=WHO, issuer=ISSUER)
    assert detect_credential() is None or isinstance(detect_credential(), str)
    asked: list[tuple[Any, tuple[str, ...]]] = [
        (ClientTrustConfig.production, ()),
        (SigningContext.from_trust_config, ("trust_config",)),
        (SigningContext.signer, ("self", "identity_token")),
        (Signer.sign_dsse, ("self", "input_")),
        (Issuer.identity_token, ("self",)),
        (SigningConfig.get_oidc_url, ("self",)),
        (LibraryBundle.from_json, ("raw",)),
        (LibraryBundle.to_json, ("self",)),
        (Verifier.production, ()),
        (Verifier.verify_dsse, ("self", "bundle", "policy")),
    ]
    for function, names in asked:
        parameters = inspect.signature(function).parameters
        assert tuple(parameters)[: len(names)] == names, function
        assert all(p.default is not p.empty for n, p in parameters.items() if n not in names), function
