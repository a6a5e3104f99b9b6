"""The only door to Weights & Biases: one run with its history, configuration and the files of a bundle as an artifact.

Nothing is recorded of the machine's load, the source code, the repository or the terminal, and W&B's error reports stay off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.errors import TrackerError
from audit.trackers.shipment import PLACE, Shipment, not_installed, preferred, refused
from reports.files import files_below
from reports.wording import slug

_SURROUNDINGS = {"WANDB_ERROR_REPORTING": "false"}

_UNRECORDED: dict[str, bool | str] = {
    "console": "off",
    "silent": True,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


@dataclass(frozen=True, kw_only=True)
class WandB:
    """A project of Weights & Biases.

    Attributes:
        project: its name; made where there is none.
        entity: the user or team that it belongs to; None is the user's own default.
        offline: keep the run on this machine, for ``wandb sync``.
        folder: where W&B puts its folder ``wandb``.
    """

    project: str = PLACE
    entity: str | None = None
    offline: bool = False
    folder: Path = Path()

    def send(self, shipment: Shipment) -> str:
        """Log everything as one run, the verdict last; returns its address, or the folder to sync where it is offline.

        Raises:
            TrackerError: wandb is not installed or switched off, the folder is the bundle's, or the server is not there or refuses.
        """
        if self.folder.resolve().is_relative_to(shipment.source.resolve()):
            raise TrackerError(
                f"W&B would write into {shipment.source}, which is never written into",
                fix="start it from another folder",
            )
        with preferred(**_SURROUNDINGS):
            try:
                import wandb
            except ImportError:
                raise not_installed("Weights & Biases", "wandb") from None
            try:
                run = wandb.init(
                    project=self.project,
                    entity=self.entity,
                    name=shipment.name,
                    dir=str(self.folder),
                    job_type="audit",
                    config=shipment.entries.texts,
                    mode="offline" if self.offline else None,
                    reinit="create_new",
                    settings=_settings(wandb),
                )
                return _fill(wandb, run, shipment)
            except (wandb.Error, OSError, ValueError) as error:
                raise refused("Weights & Biases", "WANDB_BASE_URL, or wandb.ai,", error) from None


def _settings(wandb: Any) -> Any:
    """What this version knows of the things not to record."""
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in _UNRECORDED.items() if name in known})


def _fill(wandb: Any, run: Any, shipment: Shipment) -> str:
    if run.disabled:
        run.finish()
        raise TrackerError(
            "WANDB_MODE switches Weights & Biases off, so nothing would be kept",
            expected="online or offline",
            fix="unset WANDB_MODE, or give --offline",
        )
    try:
        run.log(dict(shipment.entries.metrics))
        artifact = wandb.Artifact(f"plumbline-{slug(shipment.name)}", type="plumbline-run")
        for path in files_below(shipment.folder):
            artifact.add_file(str(shipment.folder / path), name=path)
        sent = run.log_artifact(artifact)
        if not run.offline:
            sent.wait()
        run.config.update(dict(shipment.entries.verdict))
        place = str(run.settings.sync_dir) if run.offline else str(run.url)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=0)
    return place
