"""Everything that cannot be rebuilt, in one folder: `ontime backup`, `ontime restore`.

    ontime backup --to backups/2026-11-21
    ontime verify-backup backups/2026-11-21        checks that it is complete and unchanged
    ontime restore backups/2026-11-21              refuses if any store holds data
    ontime restore backups/2026-11-21 --replace    moves existing local data aside

Each takes an address such as s3://ontime-backups/monday in place of a folder. Without one, a backup is written into
ONTIME_BACKUPS, named by the time.

A backup runs while everything else does. Before a restore, stop whatever writes: service, worker, MLflow. A backup
does not contain API keys (`make key` creates others) nor predictions in a service's spool (the service stores them
once the database is back). With PostgreSQL and buckets, --replace keeps nothing: back them up first.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, ValidationError

from ontime import database, files, locks, redis_copy
from ontime.counts import counted
from ontime.progress import progress_bar
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.tools import backup_stores
from pipelines.tools.backup_stores import RELEASES, STORE_ERRORS, files_in, is_database, without_password

INVENTORY = "backup.json"
VAR = Path("var")  # has room for a backup on its way to a bucket; /tmp may be small
DVC_REMOTE = "var/dvc-remote"  # as in .dvc/config


class NotBackedUp(RuntimeError):
    """Nothing was written, or a restore stopped halfway; the message says why, and which parts are restored."""


class Inventory(BaseModel):
    """The contents of a backup. It is written last, so a folder without it is an incomplete backup."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_at: datetime
    parts: dict[str, str]  # name -> the URL that it was copied from, without a password
    sha256: dict[str, str]  # file in the backup -> digest


def parts_of(settings: Settings) -> dict[str, str]:
    """Name and URL of each part, databases first: files that their rows refer to are written before the rows."""
    if settings.backup:
        urls = {name: url.get_secret_value() for name, url in settings.backup.items()}
        return dict(sorted(urls.items(), key=lambda part: not is_database(part[1])))
    parts = {"ontime": settings.database_url.get_secret_value()}
    if is_database(settings.tracking_url):
        parts["mlflow"] = settings.tracking_url
    folders = {"artifacts": settings.artifacts, RELEASES: settings.releases, "dvc": Path(DVC_REMOTE)}
    return parts | {name: f"file://{folder.resolve()}" for name, folder in folders.items()}


def make(settings: Settings, folder: Path) -> Inventory:
    """Write the backup `folder`, completely or not at all. Raises NotBackedUp."""
    if folder.exists():
        raise NotBackedUp(f"{folder} already exists; choose another folder")
    files.make_private_folder(folder.parent)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    parts = parts_of(settings)
    try:
        for name, url in progress_bar(parts.items(), desc="backup", unit="parts"):
            try:
                backup_stores.export_store(url, unfinished / name)
            except STORE_ERRORS as error:
                raise NotBackedUp(f"{name}: {error}") from error
        digests = {str(path.relative_to(unfinished)): files.digest(path) for path in files_in(unfinished)}
        inventory = Inventory(
            made_at=datetime.now(UTC),
            parts={name: without_password(url) for name, url in parts.items()},
            sha256=digests,
        )
        files.make_private_tree(unfinished)  # pg_dump and copied files have modes of their own
        files.write_text(unfinished / INVENTORY, inventory.model_dump_json(indent=2) + "\n")
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return inventory


def restore(settings: Settings, folder: Path, *, replace: bool = False) -> Inventory:
    """Restore every part. Raises NotBackedUp or Busy before anything changes if the backup is damaged, if a store
    holds data and `replace` is not given, or if another process uses a store.
    """
    inventory, parts = verified_inventory(folder), parts_of(settings)
    if missing := sorted(set(inventory.parts) ^ set(parts)):
        raise NotBackedUp(f"{', '.join(missing)}: not in both the backup and this environment's parts")
    occupied = [] if replace else [url for url in parts.values() if not backup_stores.is_empty(url)]
    if occupied:
        names = ", ".join(map(without_password, occupied))
        raise NotBackedUp(f"{names}: not empty; --replace puts the backup in its place (make: REPLACE=1)")
    with ExitStack() as stack:
        for lock in _locks_of(settings, parts):
            stack.enter_context(locks.hold(lock, "make restore"))
        _restore_parts(folder, parts)
    if settings.online_store_url is not None:
        engine = database.connect(settings.database_url)
        redis_copy.begin_epochs(engine)
        engine.dispose()
    return inventory


def _locks_of(settings: Settings, parts: dict[str, str]) -> list[Path]:
    """The locks of the workspace, unless the parts are named elsewhere, and of SQLite files: a process with such a
    file open would go on writing to the one that is moved aside."""
    paths = (sa.make_url(url).database for url in parts.values() if url.startswith("sqlite"))
    return [*(() if settings.backup else (locks.WORKSPACE,)), *(database.lock_of(path) for path in paths if path)]


def _restore_parts(folder: Path, parts: dict[str, str]) -> None:
    restored: list[str] = []
    for name, url in progress_bar(parts.items(), desc="restore", unit="parts"):
        try:
            backup_stores.restore_store(folder / name, url)
        except STORE_ERRORS as error:
            raise NotBackedUp(f"{name}: {error}; restored before: {', '.join(restored) or 'nothing'}") from error
        restored.append(name)


def verified_inventory(folder: Path) -> Inventory:
    """The inventory of a complete, unchanged backup. Raises NotBackedUp."""
    try:
        inventory = Inventory.model_validate_json((folder / INVENTORY).read_bytes())
    except OSError as error:
        raise NotBackedUp(f"{folder / INVENTORY}: {error.strerror}: not a backup, or an incomplete one") from None
    except ValidationError as error:
        raise NotBackedUp(f"{folder / INVENTORY}: {error.errors()[0]['msg']}") from None
    names = {str(path.relative_to(folder)) for path in files_in(folder)} - {INVENTORY}
    if names != set(inventory.sha256):
        raise NotBackedUp(f"{folder}: {sorted(names ^ set(inventory.sha256))[0]} is missing, or not in {INVENTORY}")
    for name, digest in inventory.sha256.items():
        if files.digest(folder / name) != digest:
            raise NotBackedUp(f"{folder / name}: sha256 differs from {INVENTORY}")
    return inventory


def make_at(settings: Settings, place: str) -> Inventory:
    """`make`, also for an address, and recorded. Nothing there is replaced, and the inventory is written last.

    Raises NotBackedUp.
    """
    if "://" not in place:
        inventory = make(settings, Path(place))
    else:
        with _temporary() as folder:
            inventory = make(settings, folder)
            try:
                backup_stores.upload(folder, place, last=INVENTORY)
            except STORE_ERRORS as error:
                raise NotBackedUp(f"{place}: {error}") from error
    _record(settings, place, inventory)
    return inventory


def _record(settings: Settings, place: str, inventory: Inventory) -> None:
    """Add a row to `decisions`, from whose age the alert BackupOld is computed.

    If this version cannot write to the tables, the backup counts all the same: backups are made before migrations.
    """
    evidence = {"reason": f"{place}: {', '.join(inventory.parts)}; {len(inventory.sha256):,} files"}
    engine = database.open_engine(parts_of(settings).get("ontime", settings.database_url))
    try:
        database.record_decision(engine, "backup", "made", evidence)
    except sa.exc.SQLAlchemyError as error:
        reason = str(error).partition("\n")[0]
        print(f"backup: not recorded in the database, so BackupOld may fire: {reason}", file=sys.stderr)
    finally:
        engine.dispose()


def verify_at(place: str) -> Inventory:
    """`verified_inventory`, also for an address."""
    with _local(place) as folder:
        return verified_inventory(folder)


def restore_at(settings: Settings, place: str, *, replace: bool = False) -> Inventory:
    """`restore`, also for an address."""
    with _local(place) as folder:
        return restore(settings, folder, replace=replace)


@contextmanager
def _temporary() -> Iterator[Path]:
    """A path in var/, which is deleted with its content after the block."""
    files.make_private_folder(VAR)
    with tempfile.TemporaryDirectory(prefix=".backup.", dir=VAR) as folder:
        yield Path(folder, "backup")


@contextmanager
def _local(place: str) -> Iterator[Path]:
    """The folder of a backup; of an address, a copy for this block."""
    if "://" not in place:
        yield Path(place)
        return
    with _temporary() as folder:
        backup_stores.export_store(place, folder)
        yield folder


def main(name: str, place: str | None, action: Callable[[Settings, str], Inventory]) -> None:
    """Run `make_at`, `restore_at` or `verify_at`, and print the inventory; `name` is the command's."""
    try:
        settings = load_settings()
        place = place or f"{settings.backups.rstrip('/')}/{datetime.now(UTC):%Y-%m-%dT%H%M%S}"
        inventory = action(settings, place)
    except (NotBackedUp, BadSettings, *STORE_ERRORS) as error:
        sys.exit(f"{name}: {error}")
    contents = f"{', '.join(inventory.parts)}; {counted(len(inventory.sha256), 'file')}"
    print(f"{name}: {place}: {contents}, made {inventory.made_at:%Y-%m-%d %H:%M} UTC")
