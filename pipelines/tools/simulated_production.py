"""A production on a simulated clock, separate from the one in var/: its settings, its feed, and its service."""

import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ontime import database, online_store, release_pointer, sources
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.settings import Settings
from pipelines.operations import materialise
from pipelines.tools import local_service

SCHEMA = "replay"
LIST_ENTITIES = 1000  # in one request, the limit of the service
TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.02


def settings_in(folder: Path, database_url: str | None = None) -> Settings:
    """Settings that share no store with the production in var/."""
    return Settings(
        releases=folder / "releases",
        database_url=database_url or f"sqlite:///{folder}/ontime.db",
        online_store_url=None,
        tracking_url=f"sqlite:///{folder}/mlflow.db",
        artifacts=folder / "mlflow-artifacts",
        workspace=folder / "retraining",
        evidently=folder / "evidently",
        quarantine=folder / "quarantine",
        spool=folder / "spool",
    )


def empty_schema(database_url: str) -> str | None:
    """The URL of a new, empty schema for the replay; None for SQLite, where the replay has a file of its own."""
    url = sa.make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return None
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(SCHEMA, cascade=True, if_exists=True))
        connection.execute(sa.schema.CreateSchema(SCHEMA))
    engine.dispose()
    return url.update_query_dict({"options": f"-csearch_path={SCHEMA}"}).render_as_string(hide_password=False)


class SimulatedProduction:
    """The feed of raw tables, the database, and the running service."""

    def __init__(self, settings: Settings, params: Params, tables: Tables, service: "local_service.Service") -> None:
        self.settings, self.params, self.service = settings, params, service
        self.engine = database.connect(settings.database_url)
        self.tables = tables
        self._pointer: release_pointer.Pointer | None = None

    def feed(self, start: datetime, end: datetime) -> Tables:
        return sources.cut(self.tables, start, end)

    def materialise(self, day: date) -> None:
        """Store the features for all prediction moments of a day, and the outcomes that become known during it."""
        materialise.run(self.settings, self.params, midnight(day + timedelta(days=1)), self.feed)

    def predict(self, day: date) -> None:
        """Request predictions for the entities whose prediction moment is in the day, and wait for the shadow's."""
        self._wait_for_pointer()
        start, end = midnight(day), midnight(day + timedelta(days=1))
        lead = timedelta(minutes=self.params.features.lead_minutes)
        entities = online_store.entities_between(self.engine, start + lead, end + lead)
        newest = database.newest_prediction(self.engine)
        for first in range(0, len(entities), LIST_ENTITIES):
            self.service.post("/v1/predictions", [_request(each) for each in entities[first : first + LIST_ENTITIES]])
        if self._pointer is not None and self._pointer.challenger is not None:
            _wait_until(lambda: database.count_shadows(self.engine, newest) >= len(entities), "all shadow predictions")

    def _wait_for_pointer(self) -> None:
        """Wait until the service has loaded the releases that the pointer names."""
        pointer = release_pointer.read_pointer(self.settings.releases)
        if pointer == self._pointer or pointer is None:
            return
        versions = (pointer.version, pointer.challenger.version if pointer.challenger else None)
        _wait_until(
            lambda: _live_versions(self.service.get("/v1/ops")) == versions, f"release {pointer.version} to be live"
        )
        self._pointer = pointer


def _live_versions(state: dict[str, Any]) -> tuple[str, str | None]:
    return state["answering"], state["challenger"]["version"] if state["challenger"] else None


def _request(entity: sa.Row[Any]) -> dict[str, Any]:
    fields = {name: entity._mapping[name] for name in PROBLEM.request.model_fields}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}


def _wait_until(condition: Callable[[], bool], description: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"replay: waited {TIMEOUT_SECONDS} s for {description}")
        time.sleep(POLL_SECONDS)
