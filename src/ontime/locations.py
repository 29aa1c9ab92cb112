"""Updates the artifact locations in MLflow's database after the folder was moved, copied or restored elsewhere.

MLflow stores absolute locations, so after a move it would go on writing to the old folder. It has no API to change
them: the tables of a database file are updated directly. A server has its own locations.
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


def relocate(tracking_url: str, artifacts: Path) -> None:
    """Point MLflow to `artifacts` for reading and writing. Locations that exist only elsewhere are kept."""
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
        # MLflow creates the experiment `Default` itself, under `mlruns` of the working directory of that moment.
        if locations.get("Default", f"{here}/0") != f"{here}/0":
            _locate(connection, "Default", f"{here}/0")


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


def _path(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))
