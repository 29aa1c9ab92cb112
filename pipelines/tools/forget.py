"""`ontime forget`: erases what is stored about entities, and records that it was erased, without the content.

One transaction deletes the rows of every table, writes the hashes of the entities to `forgotten`, and appends the row
in `decisions`. Files of stopped services and quarantined batches are rewritten before it commits. Idempotent: after an
interruption, run it again.
"""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from ontime import database, erasure, locks, redis_copy
from ontime.counts import counted
from ontime.decision_chain import exclusive_transaction
from ontime.declaration import ENTITY_ID
from ontime.redis_connection import RedisFailed
from ontime.redis_copy import RedisWriter
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.tools import stored_files
from pipelines.tools.stored_files import FilteredSpool, ReleaseTrace

BACKUPS = Path("backups")  # where `make backup` writes by default


class ErasureRefused(ValueError):
    """An argument is no entity, the reason is empty, or Redis is not available; the message says which."""


class Erasure(NamedTuple):
    """The number of rows erased by place, and what still holds the entities."""

    counts: dict[str, int]
    spool: FilteredSpool
    traces: dict[str, list[ReleaseTrace]]  # by entity
    backups: list[Path]
    is_copied: bool  # to a Redis server that the settings do not name

    @property
    def is_empty(self) -> bool:
        return not any(self.counts.values()) and not self.spool.waiting

    def lines(self) -> list[str]:
        """What was erased, and what remains and has to be handled by hand."""
        erased = ", ".join(f"{count} in {place}" for place, count in self.counts.items() if count)
        lines = [f"erased {erased}" if erased else "nothing was stored"]
        if self.spool.waiting:
            waiting = counted(self.spool.waiting, "prediction waits", "predictions wait")
            lines.append(
                f"{waiting} in the spool of a running service, which drops what is erased when it writes the spool to "
                "the database"
            )
        if self.is_copied:
            lines.append(
                "the online store was copied to a Redis server, which may still hold it, though no service looks it up "
                "there any more: run this command with ONTIME_ONLINE_STORE_URL"
            )
        traces = [f"{entity_id}: {each}" for entity_id, of_entity in self.traces.items() for each in of_entity]
        lines += traces or ["no published release was trained on it"]
        if traces:
            lines.append(
                "a release is never changed: retrain without the source's rows, promote, and delete the old ones"
            )
        backups = ", ".join(map(str, self.backups)) or f"none in {BACKUPS}/, perhaps elsewhere"
        lines.append(f"backups made before now still hold it: {backups}; after a restore, run this command again")
        lines.append("raw/ and data/ still hold what the source has: erase it there, then run make train")
        return lines


def forget(settings: Settings, engine: sa.Engine, entity_ids: Sequence[str], reason: str) -> Erasure:
    """Erase these entities.

    Raises ErasureRefused, SQLAlchemyError or OSError, and then the database is unchanged.
    """
    if wrong := [each for each in entity_ids if not re.fullmatch(ENTITY_ID, each)]:
        raise ErasureRefused(f"{wrong[0]!r} is not an entity_id")
    if not reason.strip():
        raise ErasureRefused("the reason is empty")
    traces = stored_files.release_traces(settings.releases, entity_ids)
    waiting = stored_files.spooled_predictions(settings.spool, entity_ids)
    with exclusive_transaction(engine) as connection:
        counts = erasure.erase(connection, entity_ids, datetime.now(UTC), waiting)
        spool = stored_files.remove_spooled(settings.spool, entity_ids)
        counts["spool"] = spool.removed
        redis, is_copied = RedisWriter.of(settings), False
        if redis is not None:
            counts["redis"] = erase_in_redis(redis, entity_ids)
        else:
            is_copied = redis_copy.begin_epochs(connection)
        counts["quarantine"] = stored_files.remove_quarantined(settings.quarantine, entity_ids)
        result = Erasure(counts, spool, traces, sorted(path for path in BACKUPS.glob("*") if path.is_dir()), is_copied)
        key = erasure.hash_key(connection)
        evidence = {
            "entities": [erasure.entity_hash(key, each) for each in entity_ids],
            "reason": reason.strip(),
            "erased": {place: count for place, count in counts.items() if count},
            "trained_on": sorted({each.version for of_entity in traces.values() for each in of_entity}),
        }
        verdict = "nothing stored" if result.is_empty else "erased"
        database.append_decision(connection, "forget", verdict, evidence, actor=settings.actor)
    return result


def erase_in_redis(redis: RedisWriter, entity_ids: Sequence[str]) -> int:
    """Delete the copies of their rows; the number. Raises ErasureRefused if Redis is not available."""
    try:
        return redis.erase(entity_ids)
    except RedisFailed as failed:
        raise ErasureRefused(
            f"Redis is not available ({failed}), and may still hold them: start the server of ONTIME_ONLINE_STORE_URL, "
            "or, if it is gone with its files, unset the variable"
        ) from None


def main(entity_ids: Sequence[str], reason: str) -> None:
    try:
        settings = load_settings()
        result = forget(settings, database.connect(settings.database_url), tuple(dict.fromkeys(entity_ids)), reason)
    except (BadSettings, ErasureRefused, database.DatabaseRefused, locks.Busy) as error:
        sys.exit(f"forget: {error}")
    for line in result.lines():
        print(f"forget: {line}")
