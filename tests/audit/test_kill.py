"""A run that is killed (SIGKILL) at any moment and resumed leaves the bytes of one that was left alone.

Run as a script, this file is the place that the runs are started from: it has loaded the libraries already, and each run is a fork
of it, so that a kill falls into the run's own work instead of into the loading of torch. Moments are those of the run's processor
time, which a busy machine leaves alone.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import audit
from audit.pipeline import claimed

KILLS = 10
PLAN = """
schema: plumbline.plan/v1
name: killed
seed: 11
subject:
  recipe: {{base: {base}, task: text-classification, method: full, seed: 3, steps: 10, batch_size: 8, max_length: 32}}
data:
  train: {{source: reviews.csv, id: row, input: text, label: label}}
  audit: {{source: reviews.csv, id: row, input: text, label: label, groups: [gender], cluster: template}}
probes:
  performance: {{probe: performance.classification}}
  groups: {{probe: fairness.groups, positive: positive, permutations: 50}}
  noise: {{probe: robustness.noise, kinds: [typos, casing], rates: [0.2], examples: 40}}
  attributions: {{probe: explanation.attribution, methods: [input_x_gradient], examples: 8, show: 2}}
policy: policy.yaml
"""
POLICY = """
schema: plumbline.policy/v1
name: release
version: 1
owner: risk@example.org
rules:
  - {id: accurate, measure: "performance:accuracy", min: 0.1}
  - {id: parity, measure: "groups:demographic_parity_difference", where: {feature: gender}, max: 0.9}
  - {id: steady, measure: "noise:flip_rate", where: {setting: [kind=typos, rate=0.2]}, max: 0.9, severity: advisory}
"""


class Place:
    """Starts `plumbline run`, each in a process group of its own, and kills it if asked to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        root = Path(__file__).parents[2]
        environment["PYTHONPATH"] = os.pathsep.join(p for p in (str(root), environment.get("PYTHONPATH", "")) if p)
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, name: str, kill_after: float | None = None) -> tuple[int, float]:
        """Exit status of the run, negative for a signal, and its seconds of processor time; bundle and cache lie in ``name``."""
        place = self.folder / name
        words = ["run", str(self.folder / "plan.yaml"), "--out", str(place / "run"), "--cache", str(place / "cache"),
                 "--resume", "--device", "cpu"]  # fmt: skip
        asked = json.dumps({"words": words, "kill_after": kill_after, "log": str(place) + ".log"})
        self._process.stdin.write(asked + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        return told["status"], told["seconds"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


def bytes_of(run: Path) -> dict[str, bytes]:
    """Every file of a bundle but the times that it took."""
    files = {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}
    timed = ("provenance/timings.json", "MANIFEST.json", "SHA256SUMS")
    return {name: content for name, content in files.items() if name not in timed}


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_as_if_it_had_not_been(tmp_path, tiny_base, review_frame):
    frame = review_frame.loc[review_frame.index.repeat(2)].reset_index(drop=True)
    frame["row"] = [f"r{i}" for i in range(len(frame))]
    frame.to_csv(tmp_path / "reviews.csv", index=False)
    (tmp_path / "plan.yaml").write_text(PLAN.format(base=json.dumps(str(tiny_base))))
    (tmp_path / "policy.yaml").write_text(POLICY)
    day = datetime.date.today()
    place = Place(tmp_path)
    try:
        place.run("first")
        ended, seconds = place.run("alone")
        assert ended in (0, 10, 11), (tmp_path / "alone.log").read_text()
        alone = bytes_of(tmp_path / "alone" / "run")
        assert {"results.json", "verdict.json", "report.html"} <= alone.keys()
        rng = np.random.default_rng(8)
        landed, traces = 0, []
        for i in range(3 * KILLS):
            name, moment = f"killed{i}", float(rng.uniform(0, seconds))
            status, _ = place.run(name, kill_after=moment)
            if status == -signal.SIGKILL:
                landed += 1
                traces.append((round(moment, 2), len(list((tmp_path / name).rglob("*.parquet")))))
                status, _ = place.run(name)
            assert status == ended, (moment, (tmp_path / f"{name}.log").read_text())
            found = bytes_of(tmp_path / name / "run")
            assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["cache", "run"]
            if datetime.date.today() != day:
                pytest.skip("the day turned, and a verdict names its day")
            for file in ("results.json", "verdict.json"):
                assert found[file] == alone[file], f"{file} differs after a kill at {moment:.2f} of {seconds:.2f} s"
            assert found == alone
            shutil.rmtree(tmp_path / name)
            if landed == KILLS:
                break
        assert landed == KILLS
        assert {bool(tables) for _, tables in traces} == {False, True}, traces
    finally:
        place.close()


def test_what_a_killed_run_left_is_removed_and_what_another_works_on_is_not(finished, tmp_path):
    dead, alive, other = (
        tmp_path / name for name in (".r.00000000.partial", ".r.11111111.partial", ".s.22222222.partial")
    )
    for folder in (dead, alive, other):
        shutil.copytree(finished, folder)
    with claimed(alive) as ours:
        assert ours
        audit.gate(finished, out=tmp_path / "r")
        assert not dead.exists()
        assert (alive / "results.json").is_file()
    assert (other / "results.json").is_file()
    assert (tmp_path / "r" / "results.json").is_file()


def serve() -> None:
    """Fork a run for every line on standard input, and answer each with its status and seconds."""
    import captum.attr  # noqa: F401
    import pandas as pd  # noqa: F401
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer  # noqa: F401

    import audit.cli  # noqa: F401
    from probes.registry import find, source_digest

    torch.set_num_threads(1)
    for number, line in enumerate(sys.stdin):
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            run_here(asked["words"], asked["log"])
        os.setpgid(child, child)
        status, seconds = wait(child, asked["kill_after"])
        if number == 0:
            # What the first run had to load and to read, the others find in the process that they are forked from.
            for name in Path(f"{asked['log']}.modules").read_text().split():
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
            for probe in (
                "performance.classification",
                "fairness.groups",
                "robustness.noise",
                "explanation.attribution",
            ):
                source_digest(find(probe))
        sys.stdout.write(json.dumps({"status": os.waitstatus_to_exitcode(status), "seconds": seconds}) + "\n")
        sys.stdout.flush()


def wait(child: int, kill_after: float | None) -> tuple[int, float]:
    """Status and processor seconds of a child, which is killed with all its group once it had ``kill_after``."""
    process, seconds = psutil.Process(child), 0.0
    while True:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            return status, used.ru_utime + used.ru_stime
        times = process.cpu_times()
        seconds = times.user + times.system
        if kill_after is not None and seconds >= kill_after:
            os.killpg(child, signal.SIGKILL)
            kill_after = None
        time.sleep(0.01)


def run_here(words: list[str], log: str) -> None:
    """What a run does in its own process; does not return."""
    from audit.cli import main

    with contextlib.suppress(OSError):  # the other side may have done it
        os.setpgid(0, 0)
    code = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["plumbline", *words]
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        Path(f"{log}.modules").write_text("\n".join(sys.modules))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
