"""Everything that cannot be rebuilt, in one folder: `make backup`, `make restore FROM=...`.

    python -m pipelines.tools.backup make backups/2026-11-21
    python -m pipelines.tools.backup verify backups/2026-11-21               is it complete?
    python -m pipelines.tools.backup restore backups/2026-11-21              where nothing is
    python -m pipelines.tools.backup restore backups/2026-11-21 --replace    keeps what was there beside it

A backup runs while everything else does. Before a restore, stop whatever writes: service, worker, MLflow. A backup
does not contain API keys (`make key` creates others) nor predictions in a service's spool (the service stores them
once the database is back). With PostgreSQL and buckets, --replace keeps nothing: back them up first.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import sqlalchemy as sa
from botocore.exceptions import BotoCoreError
from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from ontime import database, environment, files, locks
from ontime.release_pointer import POINTER
from ontime.settings import BadSettings, Settings, load_settings

INVENTORY = "backup.json"
DVC_REMOTE = "var/dvc-remote"  # .dvc/config's
DATABASES = ("sqlite", "postgresql")
AWAY = (OSError, BotoCoreError, sa.exc.SQLAlchemyError)  # a place that cannot be read or written


class NotBackedUp(RuntimeError):
    """Nothing was written, or not everything was restored; the message says why, and what is back already."""


class Inventory(BaseModel):
    """What a backup holds; written last, so a folder without it is no backup."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_at: datetime
    parts: dict[str, str]  # name -> the address it came from, without a password
    sha256: dict[str, str]  # file in the backup -> digest


def parts_of(settings: Settings) -> dict[str, str]:
    """Name and address of each part, databases first: what they refer to is older than they, so it is there after."""
    if settings.backup:
        told = {name: url.get_secret_value() for name, url in settings.backup.items()}
        return dict(sorted(told.items(), key=lambda part: not _is_database(part[1])))
    parts = {"ontime": settings.database_url.get_secret_value()}
    if _is_database(settings.tracking_url):
        parts["mlflow"] = settings.tracking_url
    folders = {"artifacts": settings.artifacts, "releases": settings.releases, "dvc": Path(DVC_REMOTE)}
    return parts | {name: f"file://{folder.resolve()}" for name, folder in folders.items()}


def _is_database(url: str) -> bool:
    return url.partition("://")[0].partition("+")[0] in DATABASES


def make(settings: Settings, folder: Path) -> Inventory:
    """Write the backup `folder`, whole or not at all. Raises NotBackedUp."""
    if folder.exists():
        raise NotBackedUp(f"{folder} exists; a backup never replaces another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    parts = parts_of(settings)
    try:
        for name, url in tqdm(parts.items(), desc="backup", unit="part", disable=None):
            _copy_database(url, aside / name) if _is_database(url) else _copy_files(url, aside / name)
        digests = {str(path.relative_to(aside)): files.digest(path) for path in _files_in(aside)}
        inventory = Inventory(
            made_at=datetime.now(UTC),
            parts={name: _without_password(url) for name, url in parts.items()},
            sha256=digests,
        )
        files.write_text(aside / INVENTORY, inventory.model_dump_json(indent=2) + "\n")
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return inventory


def restore(settings: Settings, folder: Path, *, replace: bool = False) -> Inventory:
    """Put everything back. Raises NotBackedUp, or Busy, before anything is touched: for a damaged backup, for a place
    that is taken, and where something is at work.
    """
    inventory, parts = verify(folder), parts_of(settings)
    if missing := sorted(set(inventory.parts) ^ set(parts)):
        raise NotBackedUp(f"{', '.join(missing)}: not in both the backup and this environment's parts")
    if not replace and (taken := [_without_password(url) for url in parts.values() if not _is_empty(url)]):
        raise NotBackedUp(f"{', '.join(taken)}: not empty; --replace puts the backup in its place (make: REPLACE=1)")
    with ExitStack() as alone:
        for lock in _locks_of(settings, parts):
            alone.enter_context(locks.hold(lock, "make restore"))
        _put_back(folder, parts)
    return inventory


def _locks_of(settings: Settings, parts: dict[str, str]) -> list[Path]:
    """Of this folder, unless the parts are named elsewhere, and of the SQLite files: who uses one would go on
    writing into what is kept beside."""
    files_of = (sa.make_url(url).database for url in parts.values() if url.startswith("sqlite"))
    return [*(() if settings.backup else (locks.WORKSPACE,)), *(database.lock_of(each) for each in files_of if each)]


def _put_back(folder: Path, parts: dict[str, str]) -> None:
    done: list[str] = []
    for name, url in tqdm(parts.items(), desc="restore", unit="part", disable=None):
        try:
            _put_database(folder / name, url) if _is_database(url) else _put_files(folder / name, url)
        except AWAY as failed:
            raise NotBackedUp(f"{name}: {failed}; back already: {', '.join(done) or 'nothing'}") from failed
        done.append(name)


def verify(folder: Path) -> Inventory:
    """The inventory of a backup whose every byte is as it was written. Raises NotBackedUp."""
    try:
        inventory = Inventory.model_validate_json((folder / INVENTORY).read_bytes())
    except OSError as error:
        raise NotBackedUp(f"{folder / INVENTORY}: {error.strerror}: no backup, or one that was cut off") from None
    except ValidationError as error:
        raise NotBackedUp(f"{folder / INVENTORY}: {error.errors()[0]['msg']}") from None
    found = {str(path.relative_to(folder)) for path in _files_in(folder)} - {INVENTORY}
    if found != set(inventory.sha256):
        raise NotBackedUp(f"{folder}: {sorted(found ^ set(inventory.sha256))[0]} is missing, or not in {INVENTORY}")
    for name, digest in inventory.sha256.items():
        if files.digest(folder / name) != digest:
            raise NotBackedUp(f"{folder / name}: sha256 is not the one in {INVENTORY}")
    return inventory


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _without_password(url: str) -> str:
    return sa.make_url(url).render_as_string(hide_password=True) if _is_database(url) else url


def _is_empty(url: str) -> bool:
    if _is_database(url):
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return not Path(parsed.database or "").exists()
        engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"))
        with closing(engine.connect()) as connection:
            return not sa.inspect(connection).get_table_names()
    store, root = fsspec.core.url_to_fs(url)
    # A lock, or what was written aside, is not something to lose.
    return not store.exists(root) or all(Path(each).name.startswith(".") for each in store.find(root))


def _copy_database(url: str, path: Path) -> None:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        _postgres("pg_dump", parsed, "--format=custom", f"--file={path}")
        return
    source = Path(parsed.database or "")
    if not source.exists():
        raise NotBackedUp(f"{source} does not exist, so there is nothing to back up")
    # SQLite's own way: a plain copy would miss what is not in the file yet.
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(path)) as copy:
        live.backup(copy)


def _put_database(path: Path, url: str) -> None:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        target = Path(parsed.database or "")
        _keep_beside(target, "", "-wal", "-shm")  # with what is not in the file yet
        with files.replacing(target) as aside:
            shutil.copyfile(path, aside)
        return
    engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:  # all of it: a table that is younger than the backup would stay
        for schema in set(sa.inspect(connection).get_schema_names()) - {"information_schema"}:
            connection.execute(sa.schema.DropSchema(schema, cascade=True))
        connection.execute(sa.schema.CreateSchema("public"))
    engine.dispose()
    _postgres(
        "pg_restore", parsed, "--no-owner", "--single-transaction", "--exit-on-error", f"--dbname={parsed.database}",
        str(path),
    )  # fmt: skip


def _keep_beside(target: Path, *endings: str) -> None:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    for ending in endings:
        there = target.with_name(target.name + ending)
        if there.exists():
            there.rename(target.with_name(f"{target.name}.before-{stamp}{ending}"))


def _postgres(command: str, url: sa.URL, *words: str) -> None:
    """PostgreSQL's own tool; the password goes by environment, where no list of processes shows it."""
    told = {"PGHOST": url.host, "PGPORT": str(url.port or 5432), "PGUSER": url.username, "PGPASSWORD": url.password}
    told |= {"PGDATABASE": url.database} if command == "pg_dump" else {}
    told |= {f"PG{name.upper()}": str(url.query[name]) for name in ("sslmode", "sslrootcert") if name in url.query}
    environment = {**os.environ, **{name: value for name, value in told.items() if value}}
    done = subprocess.run([command, *words], env=environment, capture_output=True, text=True)  # noqa: S603  our own words
    if done.returncode:
        raise OSError(f"{command} {url.render_as_string(hide_password=True)}: {done.stderr.strip()}")


def _copy_files(url: str, folder: Path) -> None:
    """A pointer before all else, and then the list of what there is: what it names is on that list.

    What is being written lies under a name that begins with a dot, and is not copied.
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


def _put_files(folder: Path, url: str) -> None:
    """Files that came after the backup go: a release of theirs would stand in the way of another with its number."""
    store, root = fsspec.core.url_to_fs(url)
    if "file" in store.protocol:
        _keep_beside(Path(root), "")
        shutil.copytree(folder, root)
        return
    wanted = {f"{root}/{path.relative_to(folder)}": path for path in _files_in(folder)}
    for path, source in wanted.items():
        store.put_file(str(source), path)
    store.invalidate_cache()
    for path in set(store.find(root)) - set(wanted):
        store.rm_file(path)


def main() -> None:
    asked: Any = argparse.ArgumentParser(prog="backup")
    asked.add_argument("what", choices=["make", "verify", "restore"])
    asked.add_argument("folder", type=Path)
    asked.add_argument("--replace", action="store_true")
    told = asked.parse_args()
    said = "backup" if told.what == "make" else told.what  # "make: ..." would be taken for make's own words
    try:
        settings = load_settings()
        if told.what == "make":
            done = make(settings, told.folder)
        elif told.what == "verify":
            done = verify(told.folder)
        else:
            done = restore(settings, told.folder, replace=told.replace)
    except (NotBackedUp, BadSettings, *AWAY) as failed:
        sys.exit(f"{said}: {failed}")
    held = f"{', '.join(done.parts)}; {len(done.sha256):,} files, made {done.made_at:%Y-%m-%d %H:%M} UTC"
    print(f"{said}: {told.folder}: {held}")


if __name__ == "__main__":
    environment.enforce()
    main()
