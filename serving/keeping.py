"""The service's way to its database, which may go away: predictions wait in a spool then, and none is lost."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any

import sqlalchemy as sa

from ontime import database
from ontime.declaration import Question
from serving import metrics
from serving.answers import Monitored
from serving.monitored import last_look
from serving.spool import Row, Spool

logger = logging.getLogger(__name__)

RETRY_EVERY_SECONDS = 0.5


class CannotKeep(Exception):
    """Neither the database nor the disk takes the predictions: none may be given."""


class Keeper:
    """`away` says why the database is not asked now. A thread finds out, and empties the spool when it is back.

    `monitored` is what that thread read last, so that readiness never waits for a database.
    """

    def __init__(self, engine: sa.Engine, spool: Spool) -> None:
        self.engine, self.spool = engine, spool
        self.away: str | None = None
        self.full: str | None = None
        self.monitored: Monitored | None = None
        self._stop = Event()
        self._thread = Thread(target=self._retry, name="database watcher", daemon=True)

    def start(self) -> None:
        self._drain()
        with suppress(sa.exc.SQLAlchemyError):  # the thread finds out what that means
            self.look()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.spool.close()
        self.engine.dispose()

    def look(self) -> None:
        """Read what the monitor said last. Raises SQLAlchemyError while the database is away."""
        self.monitored = last_look(self.engine)

    def look_up(self, question: Question, entity_ids: Sequence[str]) -> Mapping[str, database.Stored]:
        """What the online store has of those entities; nothing while the database is away."""
        if self.away is None:
            try:
                return database.look_up_features(self.engine, question, entity_ids)
            except sa.exc.SQLAlchemyError as error:
                self._goes_away(error)
        return {}

    def keep(self, rows: Sequence[Row]) -> None:
        """They are on disk when this returns, in the database or in the spool. Raises CannotKeep."""
        if self.away is None:
            try:
                database.log_predictions(self.engine, rows)
            except sa.exc.SQLAlchemyError as error:
                self._goes_away(error)
            else:
                self.full = None
                return
        try:
            self.spool.append(rows)
        except OSError as error:
            self.full = str(error)
            logger.error("spool: %s", error)
            raise CannotKeep from None
        self.full = None
        metrics.SPOOL_ROWS.set(len(self.spool))

    def keep_shadows(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether they were kept: what nobody was told may be lost."""
        if self.away is not None:
            return False
        try:
            database.log_shadows(self.engine, rows)
        except sa.exc.SQLAlchemyError as error:
            self._goes_away(error)
            return False
        return True

    def _goes_away(self, error: sa.exc.SQLAlchemyError) -> None:
        self.away = str(error).partition("\n")[0]  # the lines after it hold the rows
        metrics.DATABASE_AWAY.set(1)
        logger.error("database: %s", self.away)

    def _retry(self) -> None:
        while not self._stop.wait(RETRY_EVERY_SECONDS):
            if self.away is None:
                try:  # so that readiness tells the truth also when nobody asks for a prediction
                    database.ping(self.engine)
                    self.look()
                except sa.exc.SQLAlchemyError as error:
                    self._goes_away(error)
            self._drain()

    def _drain(self) -> None:
        """Into the database with all that waits, also what a killed process left; it is not away if this succeeds."""
        was_away = self.away is not None
        try:
            if was_away:
                database.prepare(self.engine)
            drained = self.spool.drain(lambda rows: database.restore_predictions(self.engine, rows))
        except (sa.exc.SQLAlchemyError, OSError) as error:
            if not was_away:
                logger.error("spool: %s", str(error).partition("\n")[0])
            return
        if was_away or drained:
            self.away = self.full = None
            metrics.DATABASE_AWAY.set(0)
            logger.warning("database: there again, %d predictions came from the spool", drained)
        metrics.SPOOL_ROWS.set(len(self.spool))
