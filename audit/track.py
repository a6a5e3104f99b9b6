"""Hands a finished run to a tracking server: its measurements, its verdict and its files. It measures and decides nothing.

What goes is copied first, file by file, each against its hash; files that hold personal data stay here unless asked for. The bundle
is never written into, and what the server does cannot change its verdict.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from audit.errors import GateError, TrackerError
from audit.result import Result
from audit.trackers.mlflow import MLflow
from audit.trackers.shipment import Shipment, Tracker
from audit.trackers.wandb import WandB
from reports.bundle import Bundle
from reports.errors import VerificationError
from reports.files import MANIFEST, SUMS, file_digest, safe_path
from reports.tracking import FIGURES, entries

SHOWN_PROBLEMS = 5


@dataclass(frozen=True, kw_only=True)
class Logged:
    """What was handed over.

    Attributes:
        place: the run's address on the server, or where it lies.
        metrics: how many numbers.
        undefined: how many figures have no value, and stand there as texts.
        files: the files of the bundle that went.
        left_out: those that did not, because they hold personal data.
    """

    place: str
    metrics: int
    undefined: int
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def log(
    run: str | Path | Result,
    *,
    to: Tracker | str,
    run_name: str | None = None,
    include_personal_data: bool = False,
) -> Logged:
    """Log a finished run to a tracking server.

    Args:
        run: a bundle, or a result.
        to: `MLflow` or `WandB` with their options, ``"mlflow"`` or ``"wandb"`` with none, or any other `Tracker`.
        run_name: what it is called there; the run's own name by default.
        include_personal_data: send the files too that the bundle marks as holding personal data.

    Raises:
        VerificationError: the bundle's files do not agree with its list of hashes.
        GateError: the result holds another verdict than its bundle.
        TrackerError: the server cannot be used.
    """
    tracker = _named(to) if isinstance(to, str) else to
    bundle = Bundle.open(run.path if isinstance(run, Result) else run)
    _refuse_altered(bundle)
    record, verdict = bundle.record(), bundle.verdict()
    if isinstance(run, Result) and run.verdict != verdict:
        raise GateError(
            f"this result was decided anew, and {bundle.folder} holds another verdict",
            expected="the verdict that lies beside the evidence",
            fix="keep the decision first: gate(..., out=NEW)",
        )
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        sent, left_out = _pack(bundle, Path(folder) / "bundle", include_personal_data)
        told = entries(
            record, verdict, bundle_sha256=file_digest(Path(folder) / "bundle" / MANIFEST), left_out=left_out
        )
        (Path(folder) / FIGURES).write_text(told.figures, encoding="utf-8", newline="\n")
        shipment = Shipment(name=run_name or record.name, entries=told, folder=Path(folder), source=bundle.folder)
        place = tracker.send(shipment)
    return Logged(place=place, metrics=len(told.metrics), undefined=told.undefined, files=sent, left_out=left_out)


def _named(name: str) -> Tracker:
    trackers: dict[str, Tracker] = {"mlflow": MLflow(), "wandb": WandB()}
    if name not in trackers:
        raise TrackerError(f"there is no tracker {name!r}", expected=f"one of {', '.join(trackers)}")
    return trackers[name]


def _refuse_altered(bundle: Bundle) -> None:
    problems = bundle.check()
    if problems:
        more = f" and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise VerificationError(
            f"{bundle.folder} is not what its list says: {'; '.join(problems[:SHOWN_PROBLEMS])}{more}",
            expected="the files as the run left them",
            fix=f"plumbline verify {bundle.folder}",
        )


def _pack(bundle: Bundle, folder: Path, personal: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy what may go; returns the paths that go and those that stay."""
    listed = bundle.manifest().files
    going = {e.path: e.sha256 for e in listed if personal or not e.contains_personal_data}
    for path, sha in (*going.items(), (MANIFEST, None), (SUMS, None)):
        content = bundle.read_bytes(path, expected=sha)
        target = folder / safe_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return (*going, MANIFEST, SUMS), tuple(e.path for e in listed if e.path not in going)
