"""The only door to MLflow: one run with metrics, params, tags and the files of a bundle.

It goes through a client of its own, so that neither the run that is active in this process nor its tracking server is touched.
MLflow's telemetry stays off, unless this process had loaded MLflow before.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from os import environ
from typing import Any

from audit.errors import TrackerError
from audit.trackers.shipment import PLACE, Shipment, not_installed, preferred, refused, without_credentials

_SURROUNDINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # By itself it tries seven times, which takes minutes where no server is there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


@dataclass(frozen=True, kw_only=True)
class MLflow:
    """An experiment on an MLflow server.

    Attributes:
        uri: of the server; None is what ``MLFLOW_TRACKING_URI`` says. User and password belong into MLflow's own variables.
        experiment: its name; made where there is none.
    """

    uri: str | None = None
    experiment: str = PLACE

    def send(self, shipment: Shipment) -> str:
        """Log everything as one run, the verdict last; returns its address.

        Raises:
            TrackerError: MLflow is not installed, no server is named, or the server is not there or refuses.
        """
        uri = self.uri or environ.get("MLFLOW_TRACKING_URI", "")
        if not uri:
            raise TrackerError(
                "no MLflow server is named",
                expected="its address, such as http://127.0.0.1:5000",
                fix="give --uri, or set MLFLOW_TRACKING_URI",
            )
        with preferred(**_SURROUNDINGS):
            try:
                from mlflow import MlflowClient
                from mlflow.exceptions import MlflowException
            except ImportError:
                raise not_installed("MLflow", "mlflow-skinny") from None
            # A kind of store whose driver is not installed is an ImportError, a server that is not there an OSError.
            try:
                return self._log(MlflowClient(tracking_uri=uri), shipment, uri)
            except (MlflowException, OSError, ImportError) as error:
                raise refused("MLflow", uri, error) from None

    def _log(self, client: Any, shipment: Shipment, uri: str) -> str:
        experiment = self._experiment(client)
        source = {"mlflow.source.name": "plumbline", "mlflow.source.type": "JOB"}
        run: str = client.create_run(experiment, run_name=shipment.name, tags=source).info.run_id
        try:
            _put(client, run, shipment)
            client.set_terminated(run, "FINISHED")
        except BaseException:
            with suppress(Exception):
                client.set_terminated(run, "FAILED")
            raise
        if not uri.startswith(("http://", "https://")):
            return f"run {run} in {without_credentials(uri)}"
        return f"{without_credentials(uri).rstrip('/')}/#/experiments/{experiment}/runs/{run}"

    def _experiment(self, client: Any) -> str:
        """The experiment's id."""
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return str(client.create_experiment(self.experiment))
            except MlflowException:
                found = client.get_experiment_by_name(self.experiment)  # another job may have been quicker
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise TrackerError(
                f"the experiment {self.experiment!r} was deleted on that server",
                expected="an experiment that is in use",
                fix="restore it there, or give another --experiment",
            )
        return str(found.experiment_id)


def _put(client: Any, run: str, shipment: Shipment) -> None:
    from mlflow.entities import Metric, Param, RunTag

    told, now = shipment.entries, int(time.time() * 1000)
    # The client itself makes as many requests of this as its server wants.
    client.log_batch(
        run,
        metrics=[Metric(name, value, now, 0) for name, value in told.metrics.items()],
        params=[Param(name, text) for name, text in told.params.items()],
        tags=[RunTag(name, text) for name, text in told.tags.items()],
    )
    client.log_artifacts(run, str(shipment.folder))
    last = {**told.verdict, "mlflow.note.content": told.headline}
    client.log_batch(run, tags=[RunTag(name, text) for name, text in last.items()])
