"""The envelope is DSSE as its specification and another implementation spell it, in one form of bytes alone."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as OtherEnvelope

from reports.errors import RecordError
from reports.files import SIGSTORE
from reports.signatures import (
    PAYLOAD_TYPE,
    Envelope,
    EnvelopeSignature,
    keyless_payload,
    pre_authentication_encoding,
    read_envelope,
    swapped,
)

KEY = "a" * 64


def envelope(payload: bytes = b"{}", keys: tuple[str, ...] = (KEY,)) -> Envelope:
    signatures = tuple(EnvelopeSignature(keyid=key, sig=base64.b64encode(b"signature").decode()) for key in keys)
    return Envelope(payload=base64.b64encode(payload).decode(), payload_type=PAYLOAD_TYPE, signatures=signatures)


def body(subjects: dict[str, str], **more: object) -> bytes:
    return json.dumps(
        {"subject": [{"name": n, "digest": {"sha256": s}} for n, s in subjects.items()], **more}
    ).encode()  # fmt: skip


def test_what_is_signed_is_the_example_of_the_specification() -> None:
    assert pre_authentication_encoding("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pre_authentication_encoding("ü", "é".encode()) == "DSSEv1 2 ü 2 é".encode()


def test_another_implementation_reads_the_same_of_it() -> None:
    ours = envelope("payload é".encode(), (KEY, "b" * 64))
    theirs = OtherEnvelope.from_dict(json.loads(ours.to_json()))
    assert theirs.pae() == ours.pae
    assert theirs.payload == ours.content
    assert list(theirs.signatures) == [s.keyid for s in ours.signatures]
    assert read_envelope(ours.to_json().encode()) == ours


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"payload": "', '"payload":  "', "not written"),
        ('"e30="', '"e30"', "base64"),
        ('"e30="', '"e31="', "base64"),
        ('"e30="', '"e3 0="', "base64"),
        (PAYLOAD_TYPE, "text/plain", "it signs 'text/plain'"),
        (KEY, KEY[:-1] + "A", "keyid"),
        (KEY, KEY[:-1], "keyid"),
        ('"signatures"', '"more": 1, "signatures"', "more"),
    ],
)
def test_there_is_one_way_to_write_it(old: str, new: str, said: str) -> None:
    text = envelope().to_json()
    assert old in text
    with pytest.raises(RecordError) as refused:
        read_envelope(text.replace(old, new).encode())
    assert said in refused.value.seen


def test_nobody_signs_twice_and_somebody_must() -> None:
    with pytest.raises(RecordError, match="twice"):
        read_envelope(envelope(keys=(KEY, KEY)).to_json().encode())
    none = json.dumps(json.loads(envelope().to_json()) | {"signatures": []})
    with pytest.raises(RecordError, match="signatures"):
        read_envelope(none.encode())


def test_causes_are_named_before_what_follows_from_them() -> None:
    signed = body({"data": "1", "policy": "2", "verdict.json": "3", "report.html": "4", "gone.txt": "5"})
    here = body({"data": "1", "policy": "9", "verdict.json": "8", "report.html": "7", "new.txt": "6"}).decode()
    said = list(swapped(signed, here))
    assert [s.partition(" was swapped")[0] for s in said] == [
        "the policy", "the verdict (verdict.json)", "gone.txt", "new.txt", "report.html",
    ]  # fmt: skip
    assert "signed was sha256 2, here is 9" in said[0]
    assert "here is nothing" in said[2]
    assert "was not there" in said[3]


def test_the_same_statement_has_nothing_swapped_and_another_outcome_has() -> None:
    signed = body({"data": "1"}, predicate={"result": "FAILED"})
    assert list(swapped(signed, signed.decode())) == []
    other = body({"data": "1"}, predicate={"result": "PASSED"}).decode()
    assert list(swapped(signed, other)) == ["the outcomes that were signed are not those of this bundle"]
    assert list(swapped(b"\xff", signed.decode())) == ["what is signed is no statement of Plumbline's"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"dsseEnvelope": 1}', b'{"dsseEnvelope": {"payload": "?"}}', b"[" * 99999])  # fmt: skip
def test_what_is_no_bundle_of_sigstores_is_said(content: bytes) -> None:
    with pytest.raises(RecordError) as refused:
        keyless_payload(content)
    assert refused.value.where == SIGSTORE


@given(
    st.binary(max_size=200)
    | st.builds(lambda i, b: spliced(envelope().to_json().encode(), i, b), st.integers(0, 400), st.binary(max_size=3))
)
def test_no_bytes_make_the_readers_stumble(content: bytes) -> None:
    for reader in (read_envelope, keyless_payload):
        try:
            reader(content)
        except RecordError:
            continue


def spliced(content: bytes, at: int, other: bytes) -> bytes:
    return content[:at] + other + content[at + 1 :]
