"""MLflow: a run of the experiment `distilfleet`, at `MLFLOW_TRACKING_URI` or MLflow's own place."""

import time
from collections.abc import Mapping
from typing import Any

from ..record.history import History
from .tracker import settings_of

PACKAGE = "mlflow-skinny"
EXPERIMENT = "distilfleet"
MOST_LETTERS = 500
"""Of a parameter's value, which MLflow refuses if it is longer."""


class MlflowRun:
    """One run, by MLflow's client, which keeps nothing global."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.client = client
        self.id = run_id

    def send(self, number: int, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now_ms = int(1000 * time.time())
        metrics = [Metric(name, value, now_ms, number) for name, value in figures.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def close(self) -> None:
        self.client.set_terminated(self.id)


def opened(history: History, known_id: str) -> MlflowRun:
    """Goes on with the run of that id; a new one has the settings as parameters."""
    from mlflow import MlflowClient

    client = MlflowClient()
    if known_id:
        client.update_run(known_id, status="RUNNING")
        return MlflowRun(client, known_id)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    place = client.create_experiment(EXPERIMENT) if experiment is None else experiment.experiment_id
    run_id = client.create_run(place, run_name=history.path.name).info.run_id
    for name, value in settings_of(history).items():
        client.log_param(run_id, name, value[:MOST_LETTERS])
    client.set_tag(run_id, "record", str(history.path.absolute()))
    return MlflowRun(client, run_id)
