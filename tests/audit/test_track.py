"""Runs handed to trackers, and read back from them: MLflow's store in files always, a real server and W&B where they are installed.

PLUMBLINE_MLFLOW=/path/to/bin/mlflow          the command of the whole of MLflow, for the tests against a server
PLUMBLINE_WANDB=/path/to/site-packages        a folder that holds wandb
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import audit
from audit.cli import app
from audit.errors import GateError, TrackerError
from audit.trackers.shipment import Shipment, without_credentials
from reports.bundle import Bundle
from reports.errors import VerificationError
from reports.tracking import Entries, entries

mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed; it is part of the extra dev")
STARTING = 120
PERSONAL = "evidence/predictions.parquet"


def server_command() -> str | None:
    """The whole of MLflow: the client alone has a command of the same name, which can't serve."""
    if named := os.environ.get("PLUMBLINE_MLFLOW"):
        return named
    try:
        importlib.metadata.version("mlflow")
    except importlib.metadata.PackageNotFoundError:
        return None
    return shutil.which("mlflow", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that was started for these tests."""
    command = server_command()
    if command is None:
        pytest.skip("the whole of MLflow is not installed here; PLUMBLINE_MLFLOW may name its command")
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [command, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
             "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "MLFLOW_"))}
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            words, cwd=folder, env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/health", started, folder / "log")
        yield address
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def _wait_for(address: str, started: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(STARTING):
        assert started.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise AssertionError(log.read_text())


@pytest.fixture(params=["files", "server"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where to log to: MLflow's own store in a folder, or a server."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if request.param == "server":
        address: str = request.getfixturevalue("server")
        return address
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "store").as_uri()


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


def client(uri: str) -> Any:
    return mlflow.MlflowClient(tracking_uri=uri)


def the_run(uri: str, experiment: str) -> Any:
    """The one run of an experiment."""
    asked = client(uri)
    found = asked.search_runs([asked.get_experiment_by_name(experiment).experiment_id])
    assert len(found) == 1
    return found[0]


def fetched(uri: str, run: str, to: Path) -> dict[str, str]:
    """The files of a run with their hashes, as they come down from the server."""
    to.mkdir()
    where = Path(client(uri).download_artifacts(run, "", str(to)))
    return {
        p.relative_to(where).as_posix(): sha256(p.read_bytes()).hexdigest() for p in where.rglob("*") if p.is_file()
    }


def expected(bundle: Path, left_out: tuple[str, ...] = (PERSONAL,)) -> Entries:
    opened = Bundle.open(bundle)
    manifest = sha256((bundle / "MANIFEST.json").read_bytes()).hexdigest()
    return entries(opened.record(), opened.verdict(), bundle_sha256=manifest, left_out=left_out)


def test_everything_arrives_and_comes_back(finished: Path, uri: str, tmp_path: Path, request: Any) -> None:
    name = request.node.name
    before = {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()}
    done = call("log", finished, "--to", "mlflow", "--uri", uri, "--experiment", name, "--run-name", "nightly 7")
    assert done.exit_code == 0, done.output
    run, told = the_run(uri, name), expected(finished)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "nightly 7"
    assert run.data.metrics == told.metrics
    assert run.data.metrics["plumbline/exit_code"] == 10
    assert run.data.params == told.params
    ours = {k: v for k, v in run.data.tags.items() if k.startswith("plumbline.")}
    assert ours == {**told.tags, **told.verdict}
    assert ours["plumbline.verdict"] == "fail"
    assert run.info.run_id in done.stdout
    files = fetched(uri, run.info.run_id, tmp_path / "down")
    assert files.pop("figures.json") == sha256(told.figures.encode()).hexdigest()
    kept = {f"bundle/{p.relative_to(finished).as_posix()}": sha256(c).hexdigest() for p, c in before.items()}
    del kept[f"bundle/{PERSONAL}"]
    assert files == kept
    assert "bundle/report.html" in files
    assert {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()} == before


def test_personal_data_stays_unless_asked_for(finished: Path, uri: str, tmp_path: Path, request: Any) -> None:
    name = request.node.name
    done = call("log", finished, "--to", "mlflow", "--uri", uri, "--experiment", f"{name}-without")
    assert f"left out, holds personal data: {PERSONAL}" in done.stdout
    assert the_run(uri, f"{name}-without").data.tags["plumbline.left_out"] == PERSONAL
    whole = call("log", finished, "--to", "mlflow", "--uri", uri, "--experiment", name, "--include-personal-data")
    assert "left out" not in whole.stdout
    run = the_run(uri, name)
    assert run.data.tags["plumbline.left_out"] == "nothing"
    assert f"bundle/{PERSONAL}" in fetched(uri, run.info.run_id, tmp_path / "down")
    assert call("verify", tmp_path / "down" / "bundle").exit_code == 0


def test_from_python(finished: Path, uri: str, request: Any) -> None:
    name = request.node.name
    done = audit.log(audit.load(finished), to=audit.MLflow(uri=uri, experiment=name))
    assert done.left_out == (PERSONAL,)
    assert done.metrics == len(the_run(uri, name).data.metrics)
    with pytest.raises(TrackerError, match="no tracker 'neptune'"):
        audit.log(finished, to="neptune")


def test_more_than_one_request_holds(finished: Path, uri: str, tmp_path: Path, request: Any) -> None:
    told = replace(
        expected(finished),
        metrics={f"m/{i}/all": i / 7 for i in range(2300)},
        params={f"p{i}": f"é{i}" * 100 for i in range(230)},
        tags={f"t{i}": f"女{i}" * 100 for i in range(230)},
    )
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "figures.json").write_text("[]")
    shipment = Shipment(name="large", entries=told, folder=tmp_path / "files", source=finished)
    audit.MLflow(uri=uri, experiment=request.node.name).send(shipment)
    data = the_run(uri, request.node.name).data
    assert data.metrics == told.metrics
    assert data.params == told.params
    assert {k: v for k, v in data.tags.items() if k.startswith("t")} == told.tags


def test_what_was_cut_off_failed_and_shows_no_verdict(
    finished: Path, uri: str, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    def full(*_: object) -> None:
        raise mlflow.exceptions.MlflowException("no space is left")

    monkeypatch.setattr(mlflow.MlflowClient, "log_artifacts", full)
    done = call("log", finished, "--to", "mlflow", "--uri", uri, "--experiment", request.node.name)
    assert done.exit_code == 2
    assert "no space is left" in done.stderr
    run = the_run(uri, request.node.name)
    assert run.info.status == "FAILED"
    assert "plumbline.verdict" not in run.data.tags


@pytest.mark.parametrize("path", ["results.json", "report.html", PERSONAL])
def test_an_altered_bundle_is_refused_before_anything_is_sent(
    finished: Path, uri: str, tmp_path: Path, path: str
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(finished, copied)
    content = (copied / path).read_bytes()
    (copied / path).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    experiment = f"altered-{path}-{uri[:4]}"
    done = call("log", copied, "--to", "mlflow", "--uri", uri, "--experiment", experiment)
    assert done.exit_code == 13
    assert path in done.stderr
    assert client(uri).get_experiment_by_name(experiment) is None
    with pytest.raises(VerificationError):
        audit.log(copied, to=audit.MLflow(uri=uri))


def test_a_deleted_experiment_is_named(finished: Path, uri: str, request: Any) -> None:
    asked = client(uri)
    asked.delete_experiment(asked.create_experiment(request.node.name))
    done = call("log", finished, "--to", "mlflow", "--uri", uri, "--experiment", request.node.name)
    assert done.exit_code == 2
    assert "was deleted" in done.stderr


def test_a_verdict_that_is_not_in_the_bundle_is_not_logged(finished: Path, tmp_path: Path) -> None:
    relaxed = audit.gate(finished, report_only=True)
    with pytest.raises(GateError, match="another verdict"):
        audit.log(relaxed, to=audit.MLflow(uri=tmp_path.as_uri()))


def test_a_server_that_is_not_there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://anna:geheim@127.0.0.1:{closed.getsockname()[1]}"
        done = call("log", finished, "--to", "mlflow", "--uri", address)
    assert done.exit_code == 2
    assert "is up and lets you in" in done.stderr
    assert "geheim" not in done.output
    assert "Traceback" not in done.output


def test_no_password_of_an_address_is_shown() -> None:
    assert without_credentials("x http://a:b@h/c https://d@e") == "x http://...@h/c https://...@e"
    assert without_credentials("http://h/c?to=a@b") == "http://h/c?to=a@b"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "mlflow"), "no MLflow server is named"),
        (("--to", "neptune"), "neither mlflow nor wandb"),
        (("--to", "mlflow", "--offline"), "--offline"),
        (("--to", "mlflow", "--project", "p"), "--project"),
        (("--to", "wandb", "--uri", "http://h"), "--uri"),
        ((), "--to"),
    ],
)
def test_wrong_usage(finished: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = call("log", finished, *words)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(("name", "extra"), [("mlflow", "mlflow"), ("wandb", "wandb")])
def test_a_client_that_is_not_installed(
    finished: Path, monkeypatch: pytest.MonkeyPatch, name: str, extra: str, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    done = call("log", finished, "--to", name)
    assert done.exit_code == 2
    assert f"pip install 'plumbline-audit[{extra}]'" in done.stderr


def alone(script: str, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own, with none of the variables by which MLflow knows a test or a pipeline."""
    known = {k: v for k, v in os.environ.items() if k not in ("CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS")}
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        env=known | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


WATCHED = """
import os, sys, threading
started, start = [], threading.Thread.start
def watched(thread):
    started.append(thread.name)
    start(thread)
threading.Thread.start = watched
import audit
audit.log(sys.argv[1], to=audit.MLflow(uri=sys.argv[2]))
assert not [name for name in started if "telemetry" in name.lower()], started
assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ
"""


def test_mlflow_reports_nothing_to_its_makers(finished: Path, tmp_path: Path) -> None:
    """Its telemetry begins with a thread that asks where to; there is none."""
    done = alone(WATCHED, finished, (tmp_path / "store").as_uri(), MLFLOW_ALLOW_FILE_STORE="true")
    assert done.returncode == 0, done.stderr


def test_naming_a_tracker_loads_no_client() -> None:
    done = alone(
        "import sys, audit\naudit.log, audit.MLflow(), audit.WandB()\n"
        "assert not {'mlflow', 'wandb', 'torch'} & set(sys.modules), sorted(sys.modules)"
    )
    assert done.returncode == 0, done.stderr
