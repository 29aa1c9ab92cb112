"""Updates the artifact locations in MLflow's database after the folder was moved, copied or restored elsewhere.

MLflow stores absolute locations, so after a move it would go on writing to the old folder. It has no API to change
them: the tables of a database file are updated directly. A server has its own locations.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

import sqlalchemy as sa

EXPERIMENT, DEFAULT = "ontime", "Default"
COLUMNS = (  # of MLflow's tables, besides `experiments`
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def relocate(tracking_url: str, artifacts: Path) -> None:
    """Point MLflow to `artifacts` for reading and writing. Locations that exist only elsewhere are kept."""
    database = _file(tracking_url)
    if database is None or not database.exists():
        return
    here = artifacts.resolve().as_uri()
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return
        if _locations(connection).items() <= _expected(here).items():
            return
        connection.execute("BEGIN IMMEDIATE")  # before reading again, so that no other process moves them meanwhile
        locations = _locations(connection)
        before = locations.get(EXPERIMENT, here)
        if before != here:
            for table, column in COLUMNS:
                _move(connection, table, column, before, here)
            _locate(connection, EXPERIMENT, here)
        if locations.get(DEFAULT, f"{here}/0") != f"{here}/0":
            _locate(connection, DEFAULT, f"{here}/0")


def _expected(here: str) -> dict[str, str]:
    """The location of each experiment. MLflow creates `Default` itself, in `mlruns` of the working directory."""
    return {EXPERIMENT: here, DEFAULT: f"{here}/0"}


def _locations(connection: sqlite3.Connection) -> dict[str, str]:
    """Of the experiments that exist."""
    rows = connection.execute(
        "SELECT name, artifact_location FROM experiments WHERE name IN (?, ?)", (EXPERIMENT, DEFAULT)
    )
    return dict(rows)


def _file(tracking_url: str) -> Path | None:
    url = sa.make_url(tracking_url)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _locate(connection: sqlite3.Connection, experiment: str, location: str) -> None:
    connection.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (location, experiment))


def _move(connection: sqlite3.Connection, table: str, column: str, before: str, here: str) -> None:
    """Replace the folder of each location, unless the artifact exists only in the old folder."""
    rows = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608  COLUMNS
    for (location,) in rows.fetchall():
        moved = here + location.removeprefix(before)
        if location.startswith(f"{before}/") and (_path(moved).exists() or not _path(location).exists()):
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (moved, location))  # noqa: S608  COLUMNS


def local_path(uri: str) -> Path | None:
    """The folder of a location; None if it is not on this machine."""
    return _path(uri) if uri.startswith("file:") else None


def _path(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))
