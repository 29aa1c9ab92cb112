"""Where MLflow looks for artifacts: made to follow the folder when it is moved, copied or restored elsewhere.

MLflow keeps absolute locations, so that a moved folder would be written to in its old place. Only its database in a
file is looked at, by its tables, for MLflow has no other way: a server keeps its own locations.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

import sqlalchemy as sa

EXPERIMENT = "ontime"
COLUMNS = (  # of MLflow's tables, besides `experiments`
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def follow(tracking_url: str, artifacts: Path) -> None:
    """Let MLflow find what lies under `artifacts`, and write there. What lies only in another place stays there."""
    database = _file(tracking_url)
    if database is None or not database.exists():
        return
    here = artifacts.resolve().as_uri()
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return
        locations = dict(connection.execute("SELECT name, artifact_location FROM experiments"))
        before = locations.get(EXPERIMENT, here)
        if before != here:
            for table, column in COLUMNS:
                _move(connection, table, column, before, here)
            _locate(connection, EXPERIMENT, here)
        # The one that MLflow makes by itself, for whoever names none, lies under `mlruns` of the folder of that moment.
        if locations.get("Default", f"{here}/0") != f"{here}/0":
            _locate(connection, "Default", f"{here}/0")


def _file(tracking_url: str) -> Path | None:
    url = sa.make_url(tracking_url)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _locate(connection: sqlite3.Connection, experiment: str, location: str) -> None:
    connection.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (location, experiment))


def _move(connection: sqlite3.Connection, table: str, column: str, before: str, here: str) -> None:
    """Change the beginning of a location, unless only the old place has what it names."""
    rows = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608  COLUMNS
    for (location,) in rows.fetchall():
        moved = here + location.removeprefix(before)
        if location.startswith(f"{before}/") and (_path(moved).exists() or not _path(location).exists()):
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (moved, location))  # noqa: S608  COLUMNS


def _path(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))
