"""What is fuzzed: each reader of foreign files, from bytes to the furthest place that its content reaches without a model.

A reader may end in a value or in a `PlumblineError`. Anything else is a finding: another exception, a file written or a process
begun outside the reader's own folder, or a connection. An input is either raw bytes, or edits of a valid file, which reach
further in than bytes that are no JSON any more.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml_seeds

from fine_tune.errors import PlumblineError

EDITS = b"#edits\n"
DELETED = "#deleted"
TODAY = datetime.date(2026, 1, 31)
NAMES = ("plan", "policy", "waivers", "record", "bundle")


class Escaped(Exception):
    """A reader wrote, connected or began a process where it must not."""


def read(name: str, data: bytes, folder: Path) -> str:
    """Feed one input to one reader; ``folder`` is all that it may write to.

    Returns:
        ``read``, or the first line of the named error that it ended in.

    Raises:
        Exception: a finding.
    """
    if name != "plan":
        base_run()
    with watched(folder):
        try:
            READERS[name](data, folder)
        except PlumblineError as error:
            str(error).encode()
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "read"


# Nothing outside --------------------------------------------------------------------------------------------------

_allowed: list[str] = []
_escapes: list[str] = []
_WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_NEVER = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
}


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if not _allowed:
        return
    if event in _NEVER:
        _escapes.append(f"{event} {arguments!r:.200}")
    elif event == "open" and isinstance(arguments[0], str | bytes):
        path, mode, flags = arguments
        if (isinstance(mode, str) and any(c in mode for c in "wax+")) or (
            isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            _place(event, path)
    elif event in _WRITES:
        _place(event, arguments[0])


def _place(event: str, path: Any) -> None:
    where = os.path.realpath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else str(path)
    compiled = "__pycache__" in where
    if not compiled and where != os.devnull and not where.startswith(f"{_allowed[-1]}{os.sep}"):
        _escapes.append(f"{event} {where}")


@functools.cache
def _watch() -> None:
    sys.addaudithook(_notice)


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raise `Escaped` for what the interpreter reports of writes outside ``folder``, processes, connections and pickles."""
    _watch()
    _escapes.clear()
    _allowed.append(os.path.realpath(folder))
    try:
        yield
    finally:
        _allowed.pop()
    if _escapes:
        raise Escaped("; ".join(_escapes))


# Edits of a valid file --------------------------------------------------------------------------------------------


def edited(base: Any, data: bytes) -> bytes:
    """The bytes of ``base`` with the edits in ``data``: a list of ``[path, value]``.

    An edit whose place is gone does nothing, so that an input outlives a change of the format.
    """
    value = json.loads(json.dumps(base))
    try:
        edits = json.loads(data.removeprefix(EDITS))
    except (ValueError, RecursionError):
        return data
    for edit in edits if isinstance(edits, list) else []:
        try:
            path, new = edit
            place = value
            for part in path[:-1]:
                place = place[part]
            if new == DELETED:
                del place[path[-1]]
            else:
                place[path[-1]] = new
        except (TypeError, ValueError, KeyError, IndexError):
            continue
    return json.dumps(value, ensure_ascii=random.Random(len(data)).random() < 0.5).encode("utf-8", "surrogatepass")


def content_of(data: bytes, base: Any) -> bytes:
    """Raw bytes as they are, or the valid file with the edits."""
    return edited(base, data) if data.startswith(EDITS) else data


# The readers ------------------------------------------------------------------------------------------------------


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read_plan(data: bytes, folder: Path) -> None:
    from audit.plan import load_fine_tune, load_plan

    path = _written(folder, "plan.yaml", content_of(data, yaml_seeds.PLAN))
    if b"fine-tune/v1" in data:
        load_fine_tune(path)
        return
    loaded = load_plan(path)
    loaded.plan.model_dump_json()
    for profile in list(loaded.plan.profiles)[:5]:
        load_plan(path, profile)


def read_policy(data: bytes, folder: Path) -> None:
    from audit.decide import decide
    from audit.policy import check_measures
    from audit.policy import read_policy as read_file

    path = _written(folder, "policy.yaml", content_of(data, yaml_seeds.POLICY))
    document = read_file(path)
    record = base_run()[0]
    check_measures(document.value, record.planned, document)
    levels = {level: record.model_copy(update={"level": level}) for level in document.value.levels()}
    verdict = decide(record, document.value, (), on=TODAY, restated=levels)
    _render(record, verdict)


def read_waivers(data: bytes, folder: Path) -> None:
    from audit.decide import decide
    from audit.waivers import load_waivers

    record, verdict, _ = base_run()
    base = yaml_seeds.waivers(record.subject.digest)
    waivers = load_waivers(_written(folder, "waivers.yaml", content_of(data, base)))
    _render(record, decide(record, verdict.policy, waivers, on=TODAY))


def read_record(data: bytes, folder: Path) -> None:
    from reports.reading import parse
    from reports.record import AuditRecord, Verdict

    record, verdict, _ = base_run()
    of_verdict = data.startswith(b"verdict\n")
    body = data.removeprefix(b"verdict\n")
    base = json.loads(verdict.to_json() if of_verdict else record.to_json())
    content = content_of(body, base)
    if of_verdict:
        verdict = parse(content, Verdict, where="verdict.json")
    else:
        record = parse(content, AuditRecord, where="results.json")
        from audit.decide import decide

        verdict = decide(record, verdict.policy, (), on=TODAY)
    _render(record, verdict)


def _render(record: Any, verdict: Any) -> None:
    from reports.junit import junit
    from reports.page import render
    from reports.summary import summary

    record.to_json().encode()
    verdict.to_json().encode()
    junit(record, verdict).encode()
    summary(record, verdict).encode()
    render(record, verdict).encode()


def read_bundle(data: bytes, folder: Path) -> None:
    """The input's first line names a file of the bundle; ``!`` before it makes hashes agree with what the file then holds."""
    from audit.demands import find_baseline, open_baseline
    from audit.verify import verify
    from reports.bundle import Bundle

    said, _, content = data.partition(b"\n")
    agree = said.startswith(b"!")
    run = folder / "run"
    shutil.copytree(base_run()[2], run)
    name = _known_file(run, said.lstrip(b"!"))
    old = (run / name).read_bytes()
    base = json.loads(old) if name.endswith(".json") else None
    new = content_of(content, base) if base is not None else content
    (run / name).write_bytes(new)
    if agree:
        _make_agree(run, name, old, new)
    bundle = Bundle.open(run)
    for problem in bundle.check():
        problem.encode()
    report = verify(run)
    "".join((*report.problems, *report.recomputed, *report.not_recomputed)).encode()
    found = find_baseline(folder)
    if found is not None:
        open_baseline("main", found)


def _known_file(run: Path, said: bytes) -> str:
    files = sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())
    name = said.decode("utf-8", "replace")
    return name if name in files else files[sum(said) % len(files)]


def _make_agree(run: Path, name: str, old: bytes, new: bytes) -> None:
    from reports.files import digest

    before, after = digest(old), digest(new)
    for listing in ("results.json", "MANIFEST.json", "SHA256SUMS"):
        if listing != name:
            _replace_in_listing(run / listing, before, after)
    try:
        manifest = json.loads((run / "MANIFEST.json").read_text(encoding="utf-8"))
        sums = []
        for entry in manifest["files"]:
            content = (run / entry["path"]).read_bytes() if (run / entry["path"]).is_file() else b""
            entry |= {"size": len(content), "sha256": digest(content)}
            sums.append(f"{entry['sha256']}  {entry['path']}\n")
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (run / "MANIFEST.json").write_text(text, encoding="utf-8")
        sums.append(f"{digest(text.encode())}  MANIFEST.json\n")
        (run / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    except (ValueError, KeyError, TypeError, OSError, AttributeError, RecursionError):
        return


def _replace_in_listing(path: Path, before: str, after: str) -> None:
    path.write_bytes(path.read_bytes().replace(before.encode(), after.encode()))


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "plan": read_plan,
    "policy": read_policy,
    "waivers": read_waivers,
    "record": read_record,
    "bundle": read_bundle,
}


@functools.cache
def base_run() -> tuple[Any, Any, Path]:
    """A small finished run, made once a process: its record, its verdict and its folder."""
    import atexit

    import audit
    from reports.bundle import Bundle

    folder = Path(tempfile.mkdtemp(prefix="plumbline-fuzz-base-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    audit.run_plan(yaml_seeds.write_material(folder), folder / "run", cache=folder / "cache", progress=False)
    bundle = Bundle.open(folder / "run")
    return bundle.record(), bundle.verdict(), folder / "run"
