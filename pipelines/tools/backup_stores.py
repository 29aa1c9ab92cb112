"""Copies what a backup consists of, databases and folders of files, from their URL to a local path and back.

A database is SQLite or PostgreSQL. A folder of files is local or in a bucket that fsspec can read.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import sqlalchemy as sa
from botocore.exceptions import BotoCoreError

from ontime import files
from ontime.release_pointer import POINTER
from pipelines.operations import processes

DATABASES = ("sqlite", "postgresql")
RELEASES = "releases"  # the name of this part in a backup
# Errors of a store that cannot be read or written.
STORE_ERRORS = (OSError, BotoCoreError, sa.exc.SQLAlchemyError, processes.ProcessFailed)


def is_database(url: str) -> bool:
    """Whether the URL names a database rather than a folder of files.

    >>> is_database("postgresql+psycopg://ontime@db/ontime"), is_database("s3://bucket/releases")
    (True, False)
    """
    return url.partition("://")[0].partition("+")[0] in DATABASES


def without_password(url: str) -> str:
    """The URL as it may be stored and printed.

    >>> without_password("postgresql://ontime:secret@db/ontime")
    'postgresql://ontime:***@db/ontime'
    """
    return sa.make_url(url).render_as_string(hide_password=True) if is_database(url) else url


def files_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def is_empty(url: str) -> bool:
    if is_database(url):
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return not Path(parsed.database or "").exists()
        engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"))
        with closing(engine.connect()) as connection:
            return not sa.inspect(connection).get_table_names()
    store, root = fsspec.core.url_to_fs(url)
    # Locks and temporary files begin with a dot; they are not worth keeping.
    return not store.exists(root) or all(Path(each).name.startswith(".") for each in store.find(root))


def export_store(url: str, path: Path) -> None:
    """Copy a store to `path`, a file for a database, else a folder. Raises one of STORE_ERRORS."""
    if is_database(url):
        _export_database(url, path)
    else:
        _export_files(url, path)


def restore_store(path: Path, url: str) -> None:
    """Replace the content of a store by an exported one. Raises one of STORE_ERRORS."""
    if is_database(url):
        _restore_database(path, url)
    else:
        _restore_files(path, url)


def upload(folder: Path, url: str, last: str) -> None:
    """Copy a folder to an address at which there is nothing yet, the file `last` after all others.

    Raises one of STORE_ERRORS.
    """
    store, root = fsspec.core.url_to_fs(url)
    if store.exists(root) and store.find(root):
        raise FileExistsError("already exists; choose another address")
    names = {str(path.relative_to(folder)) for path in files_in(folder)} - {last}
    for name in (*sorted(names), last):
        target = f"{root.rstrip('/')}/{name}"
        store.makedirs(target.rpartition("/")[0], exist_ok=True)
        store.put_file(str(folder / name), target)


def _export_database(url: str, path: Path) -> None:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        _run_postgresql("pg_dump", parsed, "--format=custom", f"--file={path}")
        return
    source = Path(parsed.database or "")
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist, so there is nothing to back up")
    # SQLite's backup API: a copy of the file would miss rows that are only in the write-ahead log.
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(path)) as copy:
        live.backup(copy)


def _restore_database(path: Path, url: str) -> None:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        target = Path(parsed.database or "")
        _move_aside(target, "", "-wal", "-shm")  # the write-ahead log holds rows that the file does not
        files.make_private_folder(target.parent)
        with files.replacing(target, files.PRIVATE) as unfinished:
            shutil.copyfile(path, unfinished)
        return
    engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:  # pg_restore --clean would keep tables that are newer than the backup
        for schema in set(sa.inspect(connection).get_schema_names()) - {"information_schema"}:
            connection.execute(sa.schema.DropSchema(schema, cascade=True))
        connection.execute(sa.schema.CreateSchema("public"))
    engine.dispose()
    _run_postgresql(
        "pg_restore", parsed, "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error",
        f"--dbname={parsed.database}", str(path),
    )  # fmt: skip


def _move_aside(target: Path, *endings: str) -> None:
    """Rename the existing files, so that a restore loses nothing: `ontime.db` to `ontime.db.before-<time>`.

    A folder that is mounted, as in a container, cannot be renamed: its content moves into a hidden folder within it.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if os.path.ismount(target):
        aside = target / f".before-{stamp}"
        aside.mkdir()
        for each in set(target.iterdir()) - {aside}:
            each.rename(aside / each.name)
        return
    for ending in endings:
        existing = target.with_name(target.name + ending)
        if existing.exists():
            existing.rename(target.with_name(f"{target.name}.before-{stamp}{ending}"))


def _run_postgresql(command: str, url: sa.URL, *arguments: str) -> None:
    """Run pg_dump or pg_restore. The password is in the environment, because lists of processes show arguments."""
    variables = {
        "PGHOST": url.host,
        "PGPORT": str(url.port or 5432),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database if command == "pg_dump" else None,
        **{f"PG{name.upper()}": str(url.query[name]) for name in ("sslmode", "sslrootcert") if name in url.query},
    }
    environment = {**os.environ, **{name: value for name, value in variables.items() if value}}
    with processes.piped([command, *arguments], env=environment) as process:
        processes.output_of(process, f"{command} {url.render_as_string(hide_password=True)}")


def _export_files(url: str, folder: Path) -> None:
    """Copy the pointer first and list the files afterwards, so that the release that it names is among them.

    Files that are still being written have a name that begins with a dot, and are not copied.
    """
    store, root = fsspec.core.url_to_fs(url)
    folder.mkdir()
    pointer = f"{root.rstrip('/')}/{POINTER}"
    if store.exists(pointer):
        store.get_file(pointer, str(folder / POINTER))
    store.invalidate_cache()
    for path in store.find(root) if store.exists(root) else []:
        name = path.removeprefix(root).lstrip("/")
        if path == pointer or any(part.startswith(".") for part in name.split("/")):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        store.get_file(path, str(folder / name))


def _restore_files(folder: Path, url: str) -> None:
    """Also removes files that are newer than the backup: a leftover release would block another of the same number."""
    store, root = fsspec.core.url_to_fs(url)
    folder.mkdir(exist_ok=True)  # a bucket, which a backup may come from, keeps no empty folder
    if "file" in store.protocol:
        _move_aside(Path(root), "")
        files.make_private_folder(Path(root).parent)
        shutil.copytree(folder, root, dirs_exist_ok=True)  # also copies the modes of the backup, which is private
        if folder.name == RELEASES or (folder / POINTER).exists():
            files.make_readable_tree(Path(root))  # releases, which a service may read as another user
        return
    sources = {f"{root}/{path.relative_to(folder)}": path for path in files_in(folder)}
    for path, source in sources.items():
        store.put_file(str(source), path)
    store.invalidate_cache()
    for path in set(store.find(root)) - set(sources):
        store.rm_file(path)
