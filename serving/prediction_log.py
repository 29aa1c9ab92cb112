"""The prediction log: predictions go to the database, or to the spool on disk while the database is down.

The log knows whether the database is available, so look-ups in the online store go through it as well. They ask Redis
first where `ONTIME_ONLINE_STORE_URL` is set, and the database for what Redis does not have.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event
from time import monotonic
from typing import Any

import sqlalchemy as sa

from ontime import database, online_store
from ontime.database_tables import predictions
from ontime.declaration import Question
from ontime.driver_connection import DriverConnection
from ontime.redis_connection import RedisFailed
from ontime.redis_copy import RedisReader
from ontime.sqlite_files import DatabaseFileReplaced, SQLiteFiles
from serving import metrics, threads
from serving.monitoring_status import latest_status
from serving.operations_responses import MonitoringStatus
from serving.spool import Row, Spool

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
COLUMN_TYPES = {column.name: column.type.python_type for column in predictions.columns}
INVALID_ROW = (sa.exc.DataError, sa.exc.IntegrityError)  # of a value, not of the table or the server


class PredictionNotStored(Exception):
    """Neither the database nor the spool accepts predictions, so none may be returned."""


class PredictionLog:
    """`database_error` and `spool_error` are the reasons why these are not available, None while they are.

    A thread checks the database, and writes the spool to it, in batches beside the requests. The thread also reads
    `monitoring`, so that readiness never waits for the database.
    """

    def __init__(self, engine: sa.Engine, spool: Spool, redis: RedisReader | None = None) -> None:
        self.engine, self.spool, self._redis = engine, spool, redis
        self._connection = DriverConnection(engine)  # of the two statements that requests wait for
        self._redis_error: str | None = None
        self.database_error: str | None = None
        self.spool_error: str | None = None
        self.monitoring: MonitoringStatus | None = None
        self._files = SQLiteFiles(engine)
        self._stopping = Event()
        self._thread = threads.Supervised("database watcher", self._watch_database)

    def start(self) -> None:
        with suppress(sa.exc.SQLAlchemyError):  # the thread handles it
            self._read_database()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.spool.close()
        if self._redis is not None:
            self._redis.close()
        self._connection.close()
        self.engine.dispose()

    def _read_database(self) -> None:
        """What requests must not wait for. Raises SQLAlchemyError while the database is down."""
        if self._redis is not None:
            self._redis.read_epochs(self.engine)
        self.read_monitoring()

    def read_monitoring(self) -> None:
        """Update `monitoring`. Raises SQLAlchemyError while the database is down."""
        self.monitoring = latest_status(self.engine)

    @property
    def answers_at_once(self) -> bool:
        """Whether a look-up waits for no server, so that a thread for it would cost more than the look-up."""
        return self._redis is None and self.engine.dialect.name == "sqlite"

    def look_up_features(self, question: Question, entity_ids: Sequence[str]) -> Mapping[str, online_store.Stored]:
        """The rows of the online store by entity; empty while the database is down, whatever Redis has."""
        if self.database_error is not None:
            return {}
        rows = self._look_up_in_redis(question, entity_ids)
        remaining = [each for each in entity_ids if each not in rows]
        if remaining:
            try:
                rows |= online_store.look_up_features(self._connection, question, remaining)
            except sa.exc.SQLAlchemyError as error:
                self._set_database_error(error)
                return {}
        return rows

    def _look_up_in_redis(self, question: Question, entity_ids: Sequence[str]) -> dict[str, online_store.Stored]:
        """The rows that Redis has; empty without Redis, or while it fails."""
        if self._redis is None:
            return {}
        rows: dict[str, online_store.Stored] = {}
        error: str | None = None
        try:
            rows = self._redis.look_up(question, entity_ids)
        except RedisFailed as failed:
            error = str(failed)
        if (error is None) != (self._redis_error is None):
            logger.warning("redis: %s", "available" if error is None else f"{error}; look-ups ask the database")
            self._redis_error = error
            metrics.REDIS_UNAVAILABLE.set(error is not None)
        metrics.LOOK_UPS.labels("redis").inc(len(rows))
        metrics.LOOK_UPS.labels("database").inc(len(entity_ids) - len(rows))
        return rows

    def store(self, rows: Sequence[Row]) -> None:
        """Return after the rows are on disk, in the database or in the spool. Raises PredictionNotStored."""
        if self.database_error is None:
            try:
                database.log_predictions(self._connection, rows)
                self._files.check()  # after the commit: before it, the file may still be replaced
            except sa.exc.SQLAlchemyError as error:
                self._set_database_error(error)
            else:
                return
        try:
            self.spool.append(rows)
        except OSError as error:
            self._set_spool_error(error)
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
        if isinstance(error, DatabaseFileReplaced):
            # SQLite copies the log into the file when its last connection closes, also a log that was deleted.
            self._reopen()

    def _reopen(self) -> None:
        """Close all connections; the next statements open new ones."""
        self._connection.close()
        database.reopen(self.engine)

    def _set_spool_error(self, error: OSError) -> None:
        self.spool_error = str(error)
        logger.error("spool: %s", error)

    def _watch_database(self) -> None:
        while not self._stopping.wait(RETRY_SECONDS):
            with self._thread.busy():
                self._check_database()

    def _check_database(self) -> None:
        if self.database_error is None:
            try:  # so that readiness is correct even without traffic
                database.ping(self.engine)
                self._files.check()
                self._read_database()
            except sa.exc.SQLAlchemyError as error:
                self._set_database_error(error)
        else:
            self._try_database()
        if self.database_error is None:
            self._drain()
        elif self.spool_error is not None:
            self._try_spool()

    def _try_database(self) -> None:
        """Use the database again once it accepts a write: a full disk still answers queries."""
        try:
            self._reopen()
            database.prepare(self.engine)
            if not self.spool.store_first(self._restore):
                database.write_nothing(self.engine)
        except (sa.exc.SQLAlchemyError, database.DatabaseRefused, OSError):
            return
        self._files.remember()
        self.database_error = self.spool_error = None
        metrics.DATABASE_UNAVAILABLE.set(0)
        logger.warning("database: available, %d predictions are in the spool", len(self.spool))

    def _try_spool(self) -> None:
        try:
            self.spool.check_space()
        except OSError:
            return
        self.spool_error = None

    def _drain(self) -> None:
        """Write the spool to the database, including files of killed processes."""
        drained = 0
        try:
            self.spool.seal()  # each time: a batch that began while the database was down may reach the spool later
            while not self._stopping.is_set():
                started_at = monotonic()
                count = self.spool.drain_batch(self._restore)
                drained += count
                metrics.SPOOL_ROWS.set(len(self.spool))
                self._thread.progress()
                if not count:
                    break
                self._stopping.wait(monotonic() - started_at)  # half of the time is left to the requests
        except sa.exc.SQLAlchemyError as error:
            self._set_database_error(error)
        except OSError as error:
            logger.error("spool: %s", error)
        if drained:
            logger.warning("database: %d predictions were written from the spool", drained)

    def _restore(self, rows: Sequence[Row]) -> Mapping[int, str]:
        """Insert rows of the spool; returns the places of those that the table never accepts, with the reasons."""
        reasons = {place: reason for place, row in enumerate(rows) if (reason := _reason_to_reject(row))}
        accepted = {place: row for place, row in enumerate(rows) if place not in reasons}
        try:
            database.restore_predictions(self.engine, list(accepted.values()))
        except INVALID_ROW:
            for place, row in accepted.items():
                try:
                    database.restore_predictions(self.engine, [row])
                except INVALID_ROW as error:
                    reasons[place] = str(error).partition("\n")[0]
        return reasons


def _reason_to_reject(row: Row) -> str | None:
    """Why this is not a row of the table; None if it is one. A file may be of another version, or be damaged."""
    if row.keys() != COLUMN_TYPES.keys():
        return f"the columns are {', '.join(row)}, and not {', '.join(COLUMN_TYPES)}"
    for name, expected in COLUMN_TYPES.items():
        value = float(row[name]) if expected is float and type(row[name]) is int else row[name]
        if not isinstance(value, expected):
            return f"{name} is not of type {expected.__name__}"
    return None
