"""Every input of the corpus again: each is read or ends in a named error, and nothing outside is written, begun or reached."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
INPUTS = [(path.parent.name, path) for path in sorted((HERE / "corpus").glob("*/*"))]


def load(name: str) -> ModuleType:
    """A module beside this one, which are no package so that they run as scripts too."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


load("yaml_seeds")
readers = load("readers")
mutation = load("mutation")
fuzz = load("fuzz_readers")


@pytest.mark.parametrize(("name", "path"), INPUTS, ids=[f"{name}/{path.name}" for name, path in INPUTS])
def test_the_corpus_is_read_or_refused(name: str, path: Path, tmp_path: Path) -> None:
    said = readers.read(name, path.read_bytes(), tmp_path)
    assert said == "read" or said.partition(": ")[2]


@pytest.mark.parametrize("name", readers.NAMES)
def test_the_valid_files_are_read(name: str, tmp_path: Path) -> None:
    """What edits start from reaches the end, so that an edit can reach it too."""
    for i, head in enumerate(fuzz.bases_of(name)):
        (tmp_path / str(i)).mkdir()
        data = (f"{head}\n" if head else "").encode() + readers.EDITS + b"[]"
        assert readers.read(name, data, tmp_path / str(i)) == "read"


@pytest.mark.parametrize("name", readers.NAMES)
def test_random_changes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    """A moment of fuzzing, the same one every time; ``fuzz_readers.py`` goes on from here."""
    campaign = fuzz.Campaign(name, tmp_path)
    bases, seeds = fuzz.bases_of(name), fuzz.seeds_of(name)
    for i in range(15):
        campaign.feed(mutation.mutate(name, seeds[-1 - i % len(seeds)], i, bases))
    assert campaign.executions == 15
    assert campaign.seen == {}, [p.read_text() for p in tmp_path.glob("*.txt")]


@pytest.mark.parametrize(
    "deed",
    [
        lambda outside: outside.write_text("x"),
        lambda outside: outside.mkdir(),
        lambda _: os.system("true"),
        lambda _: subprocess.run(["true"], check=True),
        lambda _: pickle.loads(pickle.dumps(Path("x"))),
    ],
)
def test_the_watch_sees_what_it_is_for(deed, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    with pytest.raises(readers.Escaped), readers.watched(tmp_path / "inside"):
        deed(tmp_path / "outside")
    with readers.watched(tmp_path / "inside"):
        (tmp_path / "inside" / "file").write_text("x")


def test_what_is_no_named_error_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes, folder: Path) -> None:
        raise KeyError(data.decode())

    monkeypatch.setitem(readers.READERS, "plan", broken)
    campaign = fuzz.Campaign("plan", tmp_path)
    for data in (b"long", b"s", b"longer"):
        campaign.feed(data)
    assert list(campaign.seen.values()) == [3]
    kept = [p for p in tmp_path.iterdir() if not p.suffix]
    assert [p.read_bytes() for p in kept] == [b"s"]
