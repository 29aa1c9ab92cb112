"""Erases everything that the database stores about an entity, and keeps it from returning.

An erased entity is remembered by a keyed hash only. A spooled prediction of it, and the next run of materialise, would
otherwise store it again. The key is in the same database: a reader of both tables can test a guess of an id.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa

from ontime.database_tables import (
    dead_letters,
    entities,
    features,
    forgotten,
    hash_keys,
    outcomes,
    predictions,
    shadows,
    stream_events,
)

BY_ENTITY = (
    entities,
    features,
    predictions,
    outcomes,
    stream_events,
    dead_letters,
)  # shadows have no entity_id: they belong to a prediction


def entity_hash(key: str, entity_id: str) -> str:
    """How `decisions` and `forgotten` name an entity.

    >>> entity_hash("00ff", "a") == entity_hash("00ff", "a"), entity_hash("00ff", "a") == entity_hash("00fe", "a")
    (True, False)
    """
    return blake2b(entity_id.encode(), key=bytes.fromhex(key), digest_size=16).hexdigest()


def hash_key(connection: sa.Connection) -> str:
    """The key of this database, created at the first call. Only inside `exclusive_transaction`."""
    key = _existing_key(connection)
    if key is None:
        key = secrets.token_hex(32)
        connection.execute(sa.insert(hash_keys), {"key": key})
    return key


def _existing_key(connection: sa.Connection) -> str | None:
    return connection.execute(sa.select(hash_keys.c.key)).scalar()


def erase(
    connection: sa.Connection, entity_ids: Collection[str], at: datetime, spooled: Collection[str] = ()
) -> dict[str, int]:
    """Delete every row about these entities, and remember their hashes; the number of rows deleted, by table.

    `spooled`: ids of their predictions that are not in the database yet, whose shadows may be. Idempotent. Only inside
    `exclusive_transaction`.
    """
    made_for = sa.select(predictions.c.prediction_id).where(predictions.c.entity_id.in_(entity_ids))
    of_them = sa.or_(shadows.c.prediction_id.in_(made_for), shadows.c.prediction_id.in_(spooled))
    counts = {"shadows": connection.execute(sa.delete(shadows).where(of_them)).rowcount}
    for table in BY_ENTITY:
        counts[table.name] = connection.execute(sa.delete(table).where(table.c.entity_id.in_(entity_ids))).rowcount
    key = hash_key(connection)
    hashes = [entity_hash(key, each) for each in entity_ids]
    connection.execute(sa.delete(forgotten).where(forgotten.c.entity_hash.in_(hashes)))
    connection.execute(sa.insert(forgotten), [{"entity_hash": each, "forgotten_at": at} for each in hashes])
    return counts


def erased_at(connection: sa.Connection, entity_ids: Iterable[str]) -> dict[str, datetime]:
    """The erased ones of these entities, with the time of the last erasure."""
    key = _existing_key(connection)
    if key is None:  # nothing was ever erased
        return {}
    times = {row.entity_hash: row.forgotten_at for row in connection.execute(sa.select(forgotten))}
    hashes = {each: entity_hash(key, each) for each in set(entity_ids)} if times else {}
    return {entity_id: times[digest] for entity_id, digest in hashes.items() if digest in times}


def without_ids(text: str, entity_ids: Iterable[str]) -> str:
    """The text without these ids in quotes, as the reasons of a quarantined batch have them.

    >>> without_ids("events: first row 1: 'A1'", ["A1"])
    'events: first row 1: (erased)'
    """
    for entity_id in entity_ids:
        text = text.replace(repr(entity_id), "(erased)")
    return text


def remaining_predictions(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The predictions of a spool without those that were made before their entity was erased; these lose their shadows.

    A prediction made after the erasure is a new one, which its caller asked for.
    """
    times = erased_at(connection, (row["entity_id"] for row in rows))
    erased = [row for row in rows if row["entity_id"] in times and row["answered_at"] <= times[row["entity_id"]]]
    if not erased:
        return list(rows)
    names = {row["prediction_id"] for row in erased}
    connection.execute(sa.delete(shadows).where(shadows.c.prediction_id.in_(names)))
    return [row for row in rows if row["prediction_id"] not in names]
