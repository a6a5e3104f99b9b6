"""Fuzz a reader of foreign files: ``python tests/fuzz/fuzz_readers.py plan --seconds 600``.

With atheris installed (``pip install atheris``; it exists for few versions of Python) inputs are led by coverage, through its
libFuzzer; without it they are changed at random, by the same mutations, and the first line of the output says so. Findings go to
``--findings``, one file a kind, and never end the run; the last line is a JSON object with the counts. Exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
CORPUS = HERE / "corpus"
SLOW_SECONDS = 20.0
MEMORY_MIB = 4096
CHILD = "PLUMBLINE_FUZZ_CHILD"


@dataclass
class Campaign:
    """One reader under attack: it feeds inputs, sorts what is no named error, and keeps one input of each kind."""

    name: str
    findings: Path
    executions: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)

    def feed(self, data: bytes) -> None:
        """Feed one input."""
        import readers

        started = time.monotonic()
        self.executions += 1
        outcome = "read"
        with tempfile.TemporaryDirectory(prefix="plumbline-fuzz-") as folder:
            try:
                said = readers.read(self.name, data, Path(folder))
                outcome = said.partition(":")[0]
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                outcome = "finding"
                self._keep(data, _kind(error), "".join(traceback.format_exception(error)))
        if time.monotonic() - started > SLOW_SECONDS:
            self._keep(data, "slow", f"{time.monotonic() - started:.0f} s")
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if self.executions % 20 == 0:
            self.note()

    def _keep(self, data: bytes, kind: str, told: str) -> None:
        self.seen[kind] = self.seen.get(kind, 0) + 1
        mark = hashlib.sha256(kind.encode()).hexdigest()[:10]
        path = self.findings / f"{self.name}-{mark}"
        if not path.exists() or path.stat().st_size > len(data):
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(f"{kind}\n{told}", encoding="utf-8", errors="replace")
        self.note()

    def note(self) -> None:
        """Write the counts down; the process that fuzzes may end without a word."""
        told = {"executions": self.executions, "outcomes": self.outcomes, "findings": self.seen}
        (self.findings / f"{self.name}.counts.json").write_text(json.dumps(told), encoding="utf-8")


def _kind(error: BaseException) -> str:
    """The type of an exception, and the place of ours that it came through last."""
    rooms = ("fine_tune", "probes", "reports", "audit")
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if any(f"{os.sep}{room}{os.sep}" in f.filename for room in rooms)]
    last = (ours or frames)[-1]
    words = re.sub(r"\S*/\S*|\d+", "#", str(error))[:80] if type(error).__name__ == "Escaped" else ""
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.name}:{last.lineno} {words}".strip()


def bases_of(name: str) -> dict[str, Any]:
    """The valid files that edits of a reader's inputs are about, by the inputs' first line."""
    import readers
    import yaml_seeds

    record, verdict, run = readers.base_run()
    return {
        "plan": lambda: {"": yaml_seeds.PLAN},
        "policy": lambda: {"": yaml_seeds.POLICY},
        "waivers": lambda: {"": yaml_seeds.waivers(record.subject.digest)},
        "record": lambda: {"": json.loads(record.to_json()), "verdict": json.loads(verdict.to_json())},
        "bundle": lambda: {p.relative_to(run).as_posix(): json.loads(p.read_bytes()) for p in run.rglob("*.json")},
    }[name]()


def seeds_of(name: str) -> list[bytes]:
    """The corpus of a reader, and the valid files themselves."""
    import readers

    kept = [p.read_bytes() for p in sorted((CORPUS / name).iterdir())]
    bases = bases_of(name)
    if name != "bundle":
        return [*kept, *((f"{head}\n" if head else "").encode() + readers.EDITS + b"[]" for head in bases)]
    run = readers.base_run()[2]
    files = [(p.relative_to(run).as_posix(), p.read_bytes()) for p in run.rglob("*") if p.is_file()]
    edits = [f"{mark}{path}\n".encode() + readers.EDITS + b"[]" for path in bases for mark in ("", "!")]
    raw = [f"!{path}\n".encode() + content for path, content in files if path.endswith(".parquet")]
    return [*kept, *edits, *raw, *(f"{path}\n".encode() + content[:2000] for path, content in files)]


def fuzz_blindly(campaign: Campaign, seconds: float) -> None:
    """Change inputs at random until the time is over; what was read, and now and then what was not, is changed further."""
    import mutation

    bases, pool = bases_of(campaign.name), seeds_of(campaign.name)
    for data in pool:
        campaign.feed(data)
    rng, ends = random.Random(0), time.monotonic() + seconds
    while time.monotonic() < ends:
        data = mutation.mutate(campaign.name, rng.choice(pool), rng.getrandbits(32), bases)
        before = campaign.outcomes.get("read", 0)
        campaign.feed(data)
        if len(data) < 1 << 16 and (campaign.outcomes.get("read", 0) > before or rng.random() < 0.01):
            pool.append(data)
    campaign.note()


def fuzz_by_coverage(campaign: Campaign, seconds: float) -> None:
    """Let libFuzzer choose inputs; this function doesn't return."""
    import atheris

    with atheris.instrument_imports(
        include=["audit", "reports", "probes", "fine_tune", "ruamel"], enable_loader_override=False
    ):
        for module in (
            "audit.decide",
            "audit.plan",
            "audit.verify",
            "audit.waivers",
            "reports.junit",
            "reports.page",
            "reports.summary",
        ):
            importlib.import_module(module)
    import mutation

    bases = bases_of(campaign.name)
    start = Path(tempfile.mkdtemp(prefix="plumbline-fuzz-corpus-"))
    for i, data in enumerate(seeds_of(campaign.name)):
        (start / f"seed-{i:04d}").write_bytes(data)

    def change(data: bytes, most: int, seed: int) -> bytes:
        edits = mutation.split(campaign.name, data)[1].startswith(mutation.EDITS)
        by_hand = edits or seed % 3 == 0
        changed = mutation.mutate(campaign.name, data, seed, bases) if by_hand else atheris.Mutate(data, most)
        return changed if len(changed) <= most else data

    options = [
        "-max_len=262144",
        "-len_control=0",
        "-print_final_stats=1",
        f"-max_total_time={int(seconds)}",
        "-timeout=300",
    ]
    words = [
        sys.argv[0],
        *options,
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={campaign.findings}/{campaign.name}-stop-",
    ]
    atheris.Setup([*words, str(start)], campaign.feed, custom_mutator=change)
    atheris.Fuzz()


def main() -> int:
    """Parse the command line, fuzz in a process of its own, and sum up."""
    import readers

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("reader", choices=readers.NAMES)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--findings", type=Path, help="where findings go; a temporary folder by default")
    parser.add_argument("--blindly", action="store_true", help="without atheris, even where it is installed")
    asked = parser.parse_args()
    folder = asked.findings or Path(tempfile.mkdtemp(prefix="plumbline-findings-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import atheris  # noqa: F401
    except ImportError:
        asked.blindly = True
    campaign = Campaign(asked.reader, folder)
    if os.environ.get(CHILD):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        (fuzz_blindly if asked.blindly else fuzz_by_coverage)(campaign, asked.seconds)
        return 0
    print(
        f"{asked.reader}: {'random changes, without coverage' if asked.blindly else 'atheris, led by coverage'}",
        flush=True,
    )
    words = [sys.executable, __file__, asked.reader, "--seconds", str(asked.seconds), "--findings", str(folder)]
    with (folder / f"{asked.reader}.log").open("wb") as log:
        done = subprocess.run(
            [*words, *(["--blindly"] if asked.blindly else [])], env={**os.environ, CHILD: "1"},
            stdout=log, stderr=log, check=False,
        )  # fmt: skip
    counts = json.loads((folder / f"{asked.reader}.counts.json").read_text(encoding="utf-8"))
    stopped = done.returncode != 0
    print(
        f"findings in {folder}"
        + (f"; the process ended with {done.returncode}, see {asked.reader}.log" if stopped else "")
    )
    print(
        json.dumps(
            {
                "reader": asked.reader,
                "seconds": asked.seconds,
                "coverage": not asked.blindly,
                "stopped": stopped,
                **counts,
            }
        )
    )
    if asked.findings is None and not counts["findings"] and not stopped:
        shutil.rmtree(folder)
    return 1 if counts["findings"] or stopped else 0


if __name__ == "__main__":
    sys.exit(main())
