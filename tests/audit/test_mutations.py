"""A hundred small changes anywhere in a signed bundle, drawn with a seed: none verifies, each is named by its file."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit.cli import app
from audit.signing.keys import generate, private_key
from audit.signing.signing import sign_with_key
from audit.signing.trusted import Trusted
from audit.verify import verify
from reports.bundle import MANIFEST, RESULTS, SUMS, Bundle
from reports.files import SIGNATURE, files_below

DIGITS = 30
BYTES = 70


@pytest.fixture(scope="module")
def signed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations")
    shutil.copytree(finished, folder / "run")
    generate(folder / "key", "ed25519", None)
    sign_with_key(folder / "run", private_key(folder / "key"))
    return folder / "run"


def digit_changed(content: bytes, draw: random.Random) -> bytes:
    at = draw.choice([m.start() for m in re.finditer(rb"\d", content)])
    other = draw.choice([d for d in b"0123456789" if d != content[at]])
    return content[:at] + bytes([other]) + content[at + 1 :]


def byte_changed(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    other = draw.choice([b for b in range(256) if b != content[at]])
    return content[:at] + bytes([other]) + content[at + 1 :]


def byte_lost_or_added(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + content[at + 1 :] if draw.random() < 0.5 else content[:at] + b" " + content[at:]


def changes(folder: Path) -> list[tuple[str, bytes]]:
    """A hundred times a file and what it holds instead: digits of the record first, then bytes, every file in turn."""
    draw = random.Random(8)
    paths = files_below(folder)
    numbers = (RESULTS, "verdict.json", "provenance/data.manifest.json", MANIFEST, SUMS, SIGNATURE)
    out = [(p, digit_changed((folder / p).read_bytes(), draw)) for p in (numbers * DIGITS)[:DIGITS]]
    turn = draw.sample(paths, len(paths))
    for i in range(BYTES):
        path = turn[i % len(turn)]
        change = byte_lost_or_added if i % 5 == 4 else byte_changed
        out.append((path, change((folder / path).read_bytes(), draw)))
    return out


def test_a_hundred_changes_are_all_found_and_named(signed: Path) -> None:
    trusted = Trusted(keys=(signed.parent / "key.pub",))
    assert verify(signed, trusted).problems == []
    drawn = changes(signed)
    assert len(drawn) == 100
    assert {path for path, _ in drawn} == set(files_below(signed)), "every file is changed at least once"
    missed = []
    for path, content in drawn:
        kept = (signed / path).read_bytes()
        assert content != kept
        (signed / path).write_bytes(content)
        try:
            problems = verify(signed, trusted).problems
        finally:
            (signed / path).write_bytes(kept)
        if not any(path in problem for problem in problems):
            missed.append((path, problems))
    assert not missed
    assert verify(signed, trusted).problems == []


@pytest.mark.parametrize("path", [RESULTS, MANIFEST, SUMS, SIGNATURE, "evidence/predictions.parquet", "report.html"])
def test_the_command_exits_13_and_names_the_file(signed: Path, path: str) -> None:
    words = ["verify", str(signed), "--key", str(signed.parent / "key.pub")]
    assert CliRunner().invoke(app, words).exit_code == 0
    kept = (signed / path).read_bytes()
    draw = random.Random(path)
    for change in (digit_changed, byte_changed, byte_lost_or_added):
        (signed / path).write_bytes(change(kept, draw))
        try:
            done = CliRunner().invoke(app, words)
        finally:
            (signed / path).write_bytes(kept)
        assert done.exit_code == 13, done.output
        assert any(line.startswith("PROBLEM") and path in line for line in done.output.splitlines())


@pytest.mark.parametrize("other", [b"\r", b"\x0b", b"\x1c", b"\r\n", b""])
def test_another_end_of_line_in_the_sums_is_found(signed: Path, tmp_path: Path, other: bytes) -> None:
    """They mean a line's end to Python, and something else to ``sha256sum``."""
    run = shutil.copytree(signed, tmp_path / "run")
    content = (run / SUMS).read_bytes()
    (run / SUMS).write_bytes(content[:-1] + other)
    assert any(p.startswith(SUMS) for p in Bundle.open(run).check())
    (run / SUMS).write_bytes(content.replace(b"\n", other or b"  \n", 1))
    assert any(SUMS in p for p in Bundle.open(run).check())
