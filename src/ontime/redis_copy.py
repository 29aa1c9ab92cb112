"""A copy of the online store in Redis, so that look-ups need not ask the database, which stays the source of truth.

A look-up that finds no valid value in Redis asks the database, so a Redis server that is missing, empty, restarted or
slow changes no answer. Nor does a stale value, because a writer goes in this order:

1. Write the rows in a transaction of the database, which locks them.
2. Before the commit, replace their values in Redis by a mark of its own, so that look-ups ask the database.
3. Commit.
4. Replace its own marks by the new values. A mark that is not there any more was replaced by a later writer.

If the writer ends before step 4, its marks stay until they expire. If Redis does not accept the marks, the same
transaction begins a new epoch, in which no earlier value is valid. Neither are values of an earlier run of the server,
which may have started with old data.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from time import monotonic
from typing import NamedTuple, Self

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from ontime import database
from ontime.database_tables import online_copies
from ontime.declaration import Question
from ontime.online_store import Stored, feature_set_of
from ontime.redis_connection import RedisConnection, RedisFailed
from ontime.redis_values import Validity, row_of_value, value_of_row
from ontime.settings import Settings

logger = logging.getLogger(__name__)

PREFIX = "ontime"
LOOK_UP_SECONDS, LOOK_UP_PAUSE_SECONDS = 0.05, 1.0
WRITE_SECONDS, WRITE_PAUSE_SECONDS = 1.0, 10.0  # a writer holds a lock of the database meanwhile
WRITTEN_AT_ONCE = 1000  # a script lets look-ups wait: about a millisecond
LONGEST_EPOCH_AGE_SECONDS = 5.0

# KEYS: the keys; ARGV: seconds to live, the mark.
MARK = "for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[2], 'EX', ARGV[1]) end"
# KEYS: the keys; ARGV: seconds to live, the mark, and a value for each key.
PUBLISH = """
for place, key in ipairs(KEYS) do
    if redis.call('GET', key) == ARGV[2] then redis.call('SET', key, ARGV[place + 2], 'EX', ARGV[1]) end
end
"""


def key_of(feature_set: str, entity_id: str) -> str:
    return f"{PREFIX}:{feature_set}:{entity_id}"


class RedisReader:
    """Looks up rows in the copy. For one thread, beside another one that calls `read_epochs`."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._epochs: Mapping[str, str] = {}
        self._epochs_read_at = -LONGEST_EPOCH_AGE_SECONDS

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """None if the settings name no Redis server."""
        url = settings.online_store_url
        return None if url is None else cls(RedisConnection(url, LOOK_UP_SECONDS, LOOK_UP_PAUSE_SECONDS))

    def read_epochs(self, engine: sa.Engine) -> None:
        """Call this every second: without it, no value is valid. Raises SQLAlchemyError."""
        began = monotonic()
        with engine.connect() as connection:
            rows = connection.execute(sa.select(online_copies)).all()
        self._epochs = {row.feature_set: row.epoch for row in rows}
        self._epochs_read_at = began

    def look_up(self, question: Question, entity_ids: Sequence[str]) -> dict[str, Stored]:
        """The rows of these entities that the copy has; the database may have more. Raises RedisFailed."""
        feature_set = feature_set_of(question)
        epoch = self._epochs.get(feature_set)
        if epoch is None or not entity_ids or monotonic() - self._epochs_read_at > LONGEST_EPOCH_AGE_SECONDS:
            return {}
        keys = [key_of(feature_set, each) for each in entity_ids]
        values = self._connection.command("MGET", *keys)
        validity = Validity(self._connection.run_id(), epoch.encode())
        rows = (row_of_value(key, validity, value) for key, value in zip(keys, values, strict=True))
        return {each: row for each, row in zip(entity_ids, rows, strict=True) if row is not None}

    def close(self) -> None:
        self._connection.close()


class MarkedRows(NamedTuple):
    """Rows whose keys in Redis have a mark, until `publish` replaces it."""

    writer: "RedisWriter"
    mark: str
    values: Mapping[str, bytes]  # by key

    def publish(self) -> None:
        """Put the rows into Redis, after the commit. If that fails, look-ups ask the database for them."""
        self.writer.publish(self.mark, self.values)


class RedisWriter:
    """Keeps the copy equal to the database. `seconds_to_live`: of a row in Redis, from when it was written."""

    def __init__(self, connection: RedisConnection, seconds_to_live: int) -> None:
        self._connection, self._seconds_to_live = connection, seconds_to_live

    @classmethod
    def of(cls, settings: Settings, features_days: int = 1) -> Self | None:
        """None if the settings name no Redis server. `features_days`: how long a row stays, once it was written."""
        url = settings.online_store_url
        seconds_to_live = 24 * 3600 * features_days
        return None if url is None else cls(RedisConnection(url, WRITE_SECONDS, WRITE_PAUSE_SECONDS), seconds_to_live)

    def mark(
        self,
        connection: sa.Connection,
        question: Question,
        entity_ids: Sequence[str],
        moments: Sequence[datetime],
        vectors: NDArray[np.float32],
        texts: Sequence[Mapping[str, str]] | None = None,
    ) -> MarkedRows:
        """Mark the keys of rows that `online_store.store_features` has just stored in the transaction of `connection`.

        Call `publish` of the result after the commit.
        """
        feature_set, mark = feature_set_of(question), f"mark {secrets.token_hex(16)}"
        keys = [key_of(feature_set, each) for each in entity_ids]
        try:
            validity = Validity(self._connection.run_id(), _epoch_of(connection, feature_set).encode())
            for part in _parts(keys):
                self._connection.command("EVAL", MARK, len(part), *part, self._seconds_to_live, mark)
        except RedisFailed as failed:
            logger.warning("redis: %s; look-ups ask the database until rows are stored again", failed)
            _begin_epoch(connection, feature_set)
            return MarkedRows(self, mark, {})
        rows = zip(keys, moments, vectors, texts or repeat(None, len(keys)), strict=True)
        values = {
            key: value_of_row(key, validity, moment, vector.astype("<f4").tobytes(), its_texts)
            for key, moment, vector, its_texts in rows
        }
        return MarkedRows(self, mark, values)

    def publish(self, mark: str, values: Mapping[str, bytes]) -> None:
        """Replace the marks that are still there by the values."""
        try:
            for part in _parts([*values]):
                rows = [values[key] for key in part]
                self._connection.command("EVAL", PUBLISH, len(part), *part, self._seconds_to_live, mark, *rows)
        except RedisFailed as failed:
            logger.warning("redis: %s; look-ups of %d rows ask the database", failed, len(values))

    def erase(self, entity_ids: Iterable[str]) -> int:
        """Delete all values of these entities, of every question and version; how many. Raises RedisFailed."""
        erased = 0
        for entity_id in entity_ids:
            pattern, cursor = f"{PREFIX}:*:{entity_id}", b"0"  # an id has no character that is special in a pattern
            while True:
                cursor, keys = self._connection.command("SCAN", cursor, "MATCH", pattern, "COUNT", WRITTEN_AT_ONCE)
                erased += self._connection.command("DEL", *keys) if keys else 0
                if cursor == b"0":
                    break
        return erased


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), WRITTEN_AT_ONCE):
        yield keys[start : start + WRITTEN_AT_ONCE]


def _epoch_of(connection: sa.Connection, feature_set: str) -> str:
    """The epoch of this database for the features, which begins at the first call."""
    query = sa.select(online_copies.c.epoch).where(online_copies.c.feature_set == feature_set)
    return connection.execute(query).scalar() or _begin_epoch(connection, feature_set)


def begin_epochs(target: database.Target, question: Question | None = None) -> bool:
    """Make the values in Redis invalid, for whoever changes rows without a RedisWriter; whether there may be any.

    `question`: only those of its rows.
    """
    update = sa.update(online_copies).values(epoch=secrets.token_hex(8))
    if question is not None:
        update = update.where(online_copies.c.feature_set == feature_set_of(question))
    with database.transaction(target) as connection:
        return bool(connection.execute(update).rowcount)


def _begin_epoch(connection: sa.Connection, feature_set: str) -> str:
    epoch = secrets.token_hex(8)
    database.insert_rows(connection, online_copies, [{"feature_set": feature_set, "epoch": epoch}], replace=True)
    return epoch
