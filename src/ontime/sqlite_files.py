"""Notices that the files of an open SQLite database were deleted or replaced.

SQLite goes on writing to the deleted files, and what it commits there is lost when the process ends.
"""

from pathlib import Path

import sqlalchemy as sa


class DatabaseFileReplaced(sa.exc.SQLAlchemyError):
    """The file at the path of the database is not the one that is open."""


class SQLiteFiles:
    """The database file and its write-ahead log, as they were when `remember` was called."""

    def __init__(self, engine: sa.Engine) -> None:
        """For other databases, and in memory, `check` always passes."""
        path = engine.url.database if engine.dialect.name == "sqlite" else None
        self._paths = [] if path in (None, "", ":memory:") else [Path(str(path)), Path(f"{path}-wal")]
        self.remember()

    def remember(self) -> None:
        self._inodes = self._read_inodes()

    def check(self) -> None:
        """Raises DatabaseFileReplaced."""
        current = self._read_inodes()
        for path, before, now in zip(self._paths, self._inodes, current, strict=True):
            if before is None:  # the log did not exist yet
                continue
            if before != now:
                change = "deleted" if now is None else "replaced"
                raise DatabaseFileReplaced(f"{path} was {change} while it was open")
        self._inodes = current

    def _read_inodes(self) -> list[int | None]:
        return [_inode(path) for path in self._paths]


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
