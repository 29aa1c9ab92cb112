"""What an error of the database means: it is away for a time, or it refuses the statement each time."""

import sqlite3

import sqlalchemy as sa


class DatabaseRefused(ValueError):
    """The database belongs to another problem or another version; the message says what to do.

    `reason`: the same without the address, for readers who must not see it.
    """

    def __init__(self, engine: sa.Engine, reason: str) -> None:
        super().__init__(f"{engine.url.render_as_string()}: {reason}")
        self.reason = reason


def is_refusal(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether the same statement will fail each time, until somebody changes the table or the rights of the user.

    Everything else is a database that is away: no connection, a lock, a full disk, a server that accepts only reads;
    and a wrong password, because a rotation that reaches some replicas late must not stop them.
    """
    if isinstance(error, sa.exc.ProgrammingError | sa.exc.NotSupportedError):
        return True
    return isinstance(error, sa.exc.OperationalError) and _is_refusal_of_sqlite(error.orig)


def is_invalid_row(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether the database rejects this row, and may accept another one."""
    if isinstance(error, sa.exc.IntegrityError):
        # A trigger that stops all inserts, such as one that watches the disk, says nothing about the row.
        return getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_CONSTRAINT_TRIGGER
    return isinstance(error, sa.exc.DataError)


def _is_refusal_of_sqlite(error: BaseException | None) -> bool:
    """SQLite has one class for a locked file and an unknown column. A missing table is not one: it is created again."""
    is_statement = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return is_statement and not str(error).startswith("no such table")
