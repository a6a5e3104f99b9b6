"""Commands that make keys and put signatures beside a finished run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from audit.commands.options import Run
from audit.commands.pipelines import unheard

PASSPHRASE = "PLUMBLINE_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
PassphraseFrom = Annotated[
    str, typer.Option("--passphrase-env", metavar="NAME", help="The environment variable with the key's passphrase.")
]


def sign(
    context: typer.Context,
    run: Run,
    *,
    key: Annotated[Path | None, typer.Option(metavar="KEYFILE", help="A private key, in PEM.")] = None,
    passphrase_env: PassphraseFrom = PASSPHRASE,
    sigstore: Annotated[
        bool, typer.Option("--sigstore", help="Sign with an identity, through Sigstore's public services.")
    ] = False,
) -> None:
    """Verify a finished run, and put a signature beside it."""
    from audit.signing.keys import private_key
    from audit.signing.signing import sign_keyless, sign_with_key

    unheard(context)
    if (key is None) != sigstore:
        raise typer.BadParameter("give a key, or --sigstore; one of them", param_hint="--key")
    signed = sign_keyless(run) if key is None else sign_with_key(run, private_key(key, passphrase_env))
    if not signed.new:
        typer.echo(f"{run} is signed by this key already: {signed.signer}")
        return
    typer.echo(f"Signature: {signed.file}")
    if key is not None:
        typer.echo(f"Key: {signed.signer}")
        typer.echo(f"Next: plumbline verify {run} --key PUBLIC")
    else:
        typer.echo(f"Next: plumbline verify {run} --sigstore-identity WHO --sigstore-issuer URL")


def keygen(
    file: Annotated[
        Path, typer.Argument(metavar="KEYFILE", help="Where the private key goes; the public one is KEYFILE.pub.")
    ],
    kind: Annotated[str, typer.Option("--kind", metavar="ed25519|ecdsa", help="What kind of key.")] = "ed25519",
    passphrase_env: PassphraseFrom = PASSPHRASE,
) -> None:
    """Make a pair of keys to sign runs with."""
    from audit.signing.keys import generate

    if kind not in ("ed25519", "ecdsa"):
        raise typer.BadParameter(f"{kind!r} is neither ed25519 nor ecdsa", param_hint="--kind")
    passphrase = os.environ.get(passphrase_env)
    public, keyid = generate(file, cast(Literal["ed25519", "ecdsa"], kind), passphrase.encode() if passphrase else None)
    locked = (
        f"locked with the passphrase in {passphrase_env}"
        if passphrase
        else f"no passphrase: {passphrase_env} is not set"
    )
    typer.echo(f"Private key: {file} ({locked}); keep it to yourself")
    typer.echo(f"Public key: {public}; give it to whoever verifies")
    typer.echo(f"Key: {keyid}")
