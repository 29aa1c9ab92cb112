"""The prediction log: predictions go to the database, or to the spool on disk while the database is down.

The log knows whether the database is available, so look-ups in the online store go through it as well.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any

import sqlalchemy as sa

from ontime import database, online_store
from ontime.declaration import Question
from serving import metrics
from serving.monitoring_status import latest_status
from serving.operations_responses import MonitoringStatus
from serving.spool import Row, Spool

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


class PredictionNotStored(Exception):
    """Neither the database nor the spool accepts predictions, so none may be returned."""


class PredictionLog:
    """`database_error` and `spool_error` are the reasons why these are not available, None while they are.

    A thread checks the database, and writes the spool to it once it is available again. The thread also reads
    `monitoring`, so that readiness never waits for the database.
    """

    def __init__(self, engine: sa.Engine, spool: Spool) -> None:
        self.engine, self.spool = engine, spool
        self.database_error: str | None = None
        self.spool_error: str | None = None
        self.monitoring: MonitoringStatus | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._watch_database, name="database watcher", daemon=True)

    def start(self) -> None:
        self._drain()
        with suppress(sa.exc.SQLAlchemyError):  # the thread handles it
            self.read_monitoring()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.spool.close()
        self.engine.dispose()

    def read_monitoring(self) -> None:
        """Update `monitoring`. Raises SQLAlchemyError while the database is down."""
        self.monitoring = latest_status(self.engine)

    def look_up_features(self, question: Question, entity_ids: Sequence[str]) -> Mapping[str, online_store.Stored]:
        """The rows of the online store by entity; empty while the database is down."""
        if self.database_error is None:
            try:
                return online_store.look_up_features(self.engine, question, entity_ids)
            except sa.exc.SQLAlchemyError as error:
                self._set_database_error(error)
        return {}

    def store(self, rows: Sequence[Row]) -> None:
        """Return after the rows are on disk, in the database or in the spool. Raises PredictionNotStored."""
        if self.database_error is None:
            try:
                database.log_predictions(self.engine, rows)
            except sa.exc.SQLAlchemyError as error:
                self._set_database_error(error)
            else:
                self.spool_error = None
                return
        try:
            self.spool.append(rows)
        except OSError as error:
            self.spool_error = str(error)
            logger.error("spool: %s", error)
            raise PredictionNotStored from None
        self.spool_error = None
        metrics.SPOOL_ROWS.set(len(self.spool))

    def store_shadows(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the rows were stored. They do not go to the spool: no client received these predictions."""
        if self.database_error is not None:
            return False
        try:
            database.log_shadows(self.engine, rows)
        except sa.exc.SQLAlchemyError as error:
            self._set_database_error(error)
            return False
        return True

    def _set_database_error(self, error: sa.exc.SQLAlchemyError) -> None:
        self.database_error = str(error).partition("\n")[0]  # the following lines contain the rows
        metrics.DATABASE_UNAVAILABLE.set(1)
        logger.error("database: %s", self.database_error)

    def _watch_database(self) -> None:
        while not self._stopping.wait(RETRY_SECONDS):
            if self.database_error is None:
                try:  # so that readiness is correct even without traffic
                    database.ping(self.engine)
                    self.read_monitoring()
                except sa.exc.SQLAlchemyError as error:
                    self._set_database_error(error)
            self._drain()

    def _drain(self) -> None:
        """Write the spool to the database, including files of killed processes; on success the database is up."""
        was_down = self.database_error is not None
        try:
            if was_down:
                database.prepare(self.engine)
            drained = self.spool.drain(lambda rows: database.restore_predictions(self.engine, rows))
        except (sa.exc.SQLAlchemyError, OSError) as error:
            if not was_down:
                logger.error("spool: %s", str(error).partition("\n")[0])
            return
        if was_down or drained:
            self.database_error = self.spool_error = None
            metrics.DATABASE_UNAVAILABLE.set(0)
            logger.warning("database: available, %d predictions were written from the spool", drained)
        metrics.SPOOL_ROWS.set(len(self.spool))
