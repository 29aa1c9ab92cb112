"""The prediction log: predictions go to the database, or to the spool on disk while the database is down.

A database that refuses a statement, because of its tables or the rights of its user, is not down: the next attempt
would fail too, and the spool would only grow. Then no prediction is returned, and the service is not ready.

The log knows whether the database is available, so look-ups in the online store go through it as well. They ask Redis
first where `ONTIME_ONLINE_STORE_URL` is set, and the database for what Redis does not have.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event
from time import monotonic, sleep
from typing import Any

import sqlalchemy as sa

from ontime import database, database_schema, online_store
from ontime.database_errors import DatabaseRefused, is_invalid_row, is_refusal
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
STATEMENT_REFUSED = "the database refuses a statement of this version (the log has the reason)"
SPOOL_FAILED = "could not be stored: the database is down, and the spool cannot be written ({reason}); retry"
STOP_SECONDS = 10.0  # for a spool on a network disk that hangs


class PredictionNotStored(Exception):
    """Neither the database nor the spool accepts predictions, so none may be returned. The message may be public."""


class PredictionLog:
    """`database_error` and `spool_error` are the reasons why these are not available, None while they are.

    `refusal` is the public reason why the database refuses statements until somebody changes it. A thread checks the
    database, and writes the spool to it, in batches beside the requests. It also reads `monitoring`, so that readiness
    never waits for the database.
    """

    def __init__(
        self, engine: sa.Engine, spool: Spool, redis: RedisReader | None = None, drain_seconds: float = 0
    ) -> None:
        """`drain_seconds`: for how long a stop waits for the database to take the rows of the spool."""
        self.engine, self.spool, self._redis, self._drain_seconds = engine, spool, redis, drain_seconds
        self._connection = DriverConnection(engine)  # of the two statements that requests wait for
        self._redis_error: str | None = None
        self.database_error: str | None = None
        self.refusal: str | None = None
        self.spool_error: str | None = None
        self._drain_error: str | None = None
        self.monitoring: MonitoringStatus | None = None
        self._files = SQLiteFiles(engine)
        self._stopping = Event()
        self._thread = threads.Supervised("database watcher", self._watch_database)

    def start(self) -> None:
        """Also while the database is down, as a replica does that replaces another one during an outage."""
        self._measure_readiness()
        try:
            database_schema.prepare(self.engine)
            database_schema.try_statements(self.engine)
            with suppress(sa.exc.SQLAlchemyError):  # the thread handles it
                self._read_database()
        except (DatabaseRefused, sa.exc.SQLAlchemyError) as error:
            self._set_database_error(error)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(max(STOP_SECONDS, self._drain_seconds))
        if self._thread.is_running:
            logger.error("spool: the watcher does not end, perhaps because %s hangs; it is left behind", self.spool)
            return
        self._drain_at_stop()
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
    def objection(self) -> str | None:
        """Why no prediction can be stored now, in public words; None if the database or the spool accepts them."""
        if self.refusal is not None:
            return self.refusal
        return None if self.spool_error is None else SPOOL_FAILED.format(reason=self.spool_error)

    def _measure_readiness(self) -> None:
        metrics.READY.set(self.objection is None)

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
                self._handle(error)
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
                self._handle(error)
            else:
                return
        if self.refusal is not None:
            raise PredictionNotStored(self.refusal)
        try:
            self.spool.append(rows)
        except OSError as error:
            self._set_spool_error(error)
            raise PredictionNotStored(self.objection) from None
        self._set_spool_error(None)
        metrics.SPOOL_ROWS.set(len(self.spool))

    def store_shadows(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the rows were stored. They do not go to the spool: no client received these predictions."""
        if self.database_error is not None:
            return False
        try:
            database.log_shadows(self.engine, rows)
        except sa.exc.SQLAlchemyError as error:
            with suppress(PredictionNotStored):
                self._handle(error)
            return False
        return True

    def _handle(self, error: sa.exc.SQLAlchemyError) -> None:
        """Of a request. Raises PredictionNotStored for invalid values, which the database would reject again."""
        if is_invalid_row(error):
            logger.error("database: values were rejected: %s", _first_line(error))
            raise PredictionNotStored from None
        self._set_database_error(error)

    def _set_database_error(self, error: sa.exc.SQLAlchemyError | DatabaseRefused) -> None:
        reason = _first_line(error)
        if reason != self.database_error:  # not at each attempt
            logger.error("database: %s", reason)
        if isinstance(error, DatabaseRefused):
            self.refusal = error.reason
        else:
            self.refusal = STATEMENT_REFUSED if is_refusal(error) else None
        self.database_error = reason
        metrics.DATABASE_UNAVAILABLE.set(self.refusal is None)
        metrics.DATABASE_REFUSES.set(self.refusal is not None)
        self._measure_readiness()
        if isinstance(error, DatabaseFileReplaced):
            # SQLite copies the log into the file when its last connection closes, also a log that was deleted.
            self._reopen()

    def _reopen(self) -> None:
        """Close all connections; the next statements open new ones."""
        self._connection.close()
        database.reopen(self.engine)

    def _set_spool_error(self, error: OSError | None) -> None:
        if error is not None and self.spool_error is None:  # not at each attempt
            logger.error("spool: %s", error)
        self.spool_error = None if error is None else error.strerror or type(error).__name__  # without its path
        self._measure_readiness()

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
        metrics.SPOOL_OLDEST.set(self.spool.oldest_seconds)

    def _drain_at_stop(self) -> None:
        """Wait for the database while predictions are in a spool that is deleted with its container."""
        deadline = monotonic() + self._drain_seconds
        while len(self.spool) and monotonic() < deadline:
            self._stopping.clear()  # which would end the drain after a batch
            self._check_database()
            self._stopping.set()
            if len(self.spool):
                sleep(RETRY_SECONDS)
        if count := len(self.spool):
            logger.error("spool: %d predictions remain in %s, for the next process with this folder", count, self.spool)

    def _try_database(self) -> None:
        """Use the database again once it accepts a write: a full disk still answers queries."""
        try:
            self._reopen()
            database_schema.prepare(self.engine)
            database_schema.try_statements(self.engine)
            if not self.spool.store_first(self._restore):
                database.write_nothing(self.engine)
        except (sa.exc.SQLAlchemyError, DatabaseRefused) as error:
            self._set_database_error(error)
            return
        except OSError:
            return
        self._files.remember()
        self.database_error = self.refusal = None
        self._set_spool_error(None)
        metrics.DATABASE_UNAVAILABLE.set(0)
        metrics.DATABASE_REFUSES.set(0)
        logger.warning("database: available, %d predictions are in the spool", len(self.spool))

    def _try_spool(self) -> None:
        try:
            self.spool.check_space()
        except OSError:
            return
        self._set_spool_error(None)

    def _drain(self) -> None:
        """Write the spool to the database, including files of killed processes."""
        drained, error_before, self._drain_error = 0, self._drain_error, None
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
            self._drain_error = str(error)
            if self._drain_error != error_before:  # not at each attempt
                logger.error("spool: %s", error)
        if drained:
            logger.warning("database: %d predictions were written from the spool", drained)

    def _restore(self, rows: Sequence[Row]) -> Mapping[int, str]:
        """Insert rows of the spool; returns the places of those that the table never accepts, with the reasons."""
        reasons = {place: reason for place, row in enumerate(rows) if (reason := _reason_to_reject(row))}
        accepted = {place: row for place, row in enumerate(rows) if place not in reasons}
        try:
            database.restore_predictions(self.engine, list(accepted.values()))
        except INVALID_ROW as error:
            if not is_invalid_row(error):
                raise
            for place, row in accepted.items():
                try:
                    database.restore_predictions(self.engine, [row])
                except INVALID_ROW as error:
                    if not is_invalid_row(error):
                        raise
                    reasons[place] = _first_line(error)
        return reasons


def _first_line(error: Exception) -> str:
    """The following lines contain the rows."""
    return str(error).partition("\n")[0]


def _reason_to_reject(row: Row) -> str | None:
    """Why this is not a row of the table; None if it is one. A file may be of another version, or be damaged."""
    if row.keys() != COLUMN_TYPES.keys():
        return f"the columns are {', '.join(row)}, and not {', '.join(COLUMN_TYPES)}"
    for name, expected in COLUMN_TYPES.items():
        value = float(row[name]) if expected is float and type(row[name]) is int else row[name]
        if not isinstance(value, expected):
            return f"{name} is not of type {expected.__name__}"
    return None
