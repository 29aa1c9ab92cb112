"""Rows of the online store as the bytes of a Redis value, which say whether they are valid.

A value is read only if its checksum fits its key and its content, and if it was written during the same run of the
Redis server, in the same epoch of the database (redis_copy.py). Anything else under the key counts as absent.
"""

import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zlib import crc32

import numpy as np

from ontime import schema
from ontime.online import OnlineRow
from ontime.online_store import Stored

FORMAT = b"ontime-1"
# Format, checksum of key and rest; run of Redis, epoch, microseconds since 1970.
HEADER = struct.Struct("<8sI40s16sq")
CHECKED_FROM = struct.calcsize("<8sI")
VECTOR_BYTES = 4 * len(schema.ONLINE)
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Validity(NamedTuple):
    """When a value is valid: during one run of the Redis server, and in one epoch of a database."""

    run_id: bytes  # 40 hex digits, which Redis draws when it starts
    epoch: bytes  # 16 hex digits


def value_of_row(
    key: str, validity: Validity, moment: datetime, vector: bytes, texts: Mapping[str, str] | None
) -> bytes:
    """The value of a row of `features`, with the bytes of its vector."""
    microseconds = (moment - UNIX_EPOCH) // MICROSECOND
    written = HEADER.pack(FORMAT, 0, *validity, microseconds)[CHECKED_FROM:] + vector
    written += json.dumps(dict(texts)).encode() if texts else b""
    return HEADER.pack(FORMAT, _checksum(key, written), *validity, microseconds) + written[HEADER.size - CHECKED_FROM :]


def row_of_value(key: str, validity: Validity, value: bytes | None) -> Stored | None:
    """The row; None if there is no value, or one that is not valid."""
    if value is None or len(value) < HEADER.size + VECTOR_BYTES:
        return None
    format_, checksum, *written_for, microseconds = HEADER.unpack_from(value)
    if format_ != FORMAT or tuple(written_for) != validity or checksum != _checksum(key, value[CHECKED_FROM:]):
        return None
    vector = np.frombuffer(value, "<f4", len(schema.ONLINE), HEADER.size)
    texts = value[HEADER.size + VECTOR_BYTES :]
    return Stored(UNIX_EPOCH + microseconds * MICROSECOND, OnlineRow(vector, json.loads(texts) if texts else {}))


def _checksum(key: str, written: bytes) -> int:
    return crc32(written, crc32(key.encode()))
