"""A connection that calls the database's driver directly, for the statements that every request needs.

SQLAlchemy takes several times as long for a look-up as SQLite does.
"""

from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

import sqlalchemy as sa


class DriverConnection:
    """`execute` opens the connection when it has none, and closes it after an error.

    Each statement is a transaction of its own: it is on disk when the call returns. With PostgreSQL that is one round
    trip instead of three.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.dialect = engine.dialect
        self._engine, self._lock = engine, Lock()
        self._connection: sa.Connection | None = None
        self._driver: Any = None

    def execute(self, statement: str, values: Sequence[Any]) -> Sequence[Any]:
        """The rows, as the driver returns them. Raises the error of SQLAlchemy that belongs to the driver's error."""
        assert self.dialect.dbapi is not None  # noqa: S101  an engine has a driver
        with self._lock:
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._driver = self._connection.connection.dbapi_connection
            try:
                cursor = self._driver.execute(statement, values)
                return list(cursor.fetchall()) if cursor.description else ()
            except self.dialect.dbapi.Error as error:
                self._close()
                raise sa.exc.DBAPIError.instance(
                    statement, None, error, self.dialect.dbapi.Error, hide_parameters=True, dialect=self.dialect
                ) from error

    def close(self) -> None:
        """Close the connection, after the statement that another thread executes now."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                connection.invalidate()  # not back to the pool, which would keep it open
            connection.close()
