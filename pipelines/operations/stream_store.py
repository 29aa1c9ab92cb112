"""What `ontime stream` keeps in the database: events, positions, ranges of prediction moments, and dead letters.

Everything that a batch of messages causes is committed together with the position of its last message, so each message
counts once, whenever a process is killed. The prediction moments are divided into ranges, each of which one process
scores as a whole; a range is claimed for a while, so that another process scores it if the first one dies.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic_core import from_json

from ontime import database
from ontime.database_tables import dead_letters, stream_events, stream_positions, stream_ranges, stream_readers
from ontime.decision_chain import exclusive_transaction

LEASE = timedelta(seconds=10)  # after which another process takes over what a silent one had claimed


class PositionMoved(RuntimeError):
    """Another process has read the same messages meanwhile; nothing of the batch was stored."""


class MomentRange(NamedTuple):
    """The prediction moments from `start` until `end`, exclusive, and what the process that claimed them needs."""

    start: datetime
    end: datetime
    id_prefix: str  # the first 16 digits of the ids of its predictions
    last_event: int  # the number of the last event that its features may use


class StoredEvent(NamedTuple):
    number: int
    topic: str
    partition: int
    offset: int
    table: str
    known_at: datetime
    values: Mapping[str, Any]  # as JSON has them


def take_reader_lease(engine: sa.Engine, topic: str, owner: str) -> bool:
    """Whether this process may read the topic for the next LEASE. Repeated calls extend the lease."""
    now = datetime.now(UTC)
    table = stream_readers.c
    with exclusive_transaction(engine) as connection:
        holder = connection.execute(sa.select(stream_readers).where(table.topic == topic)).first()
        if holder is not None and holder.owner != owner and holder.lease_until > now:
            return False
        row = {"owner": owner, "lease_until": now + LEASE}
        if holder is None:
            connection.execute(sa.insert(stream_readers), {"topic": topic, **row})
        else:
            connection.execute(sa.update(stream_readers).where(table.topic == topic), row)
    return True


def release_reader_lease(engine: sa.Engine, owner: str) -> None:
    """Let another process read at once."""
    with engine.begin() as connection:
        connection.execute(sa.delete(stream_readers).where(stream_readers.c.owner == owner))


def read_positions(engine: sa.Engine, topic: str) -> dict[int, int]:
    """The offset of the last message of each partition that was read."""
    query = sa.select(stream_positions.c.partition, stream_positions.c.offset)
    with engine.connect() as connection:
        return {row.partition: row.offset for row in connection.execute(query.where(stream_positions.c.topic == topic))}


def forget_positions(engine: sa.Engine) -> None:
    """Read all topics again from the first message that the broker has."""
    with exclusive_transaction(engine) as connection:
        connection.execute(sa.delete(stream_positions))


def move_positions(
    connection: sa.Connection,
    topic: str,
    before: Mapping[int, int],
    after: Mapping[int, int],
    clocks: Mapping[int, datetime],
) -> None:
    """Move the position of each partition in `after`. Raises PositionMoved if one was not where `before` says.

    `clocks`: the latest time at which something in these messages was known; a partition's clock never goes back.
    """
    table = stream_positions.c
    rows = connection.execute(sa.select(stream_positions).where(table.topic == topic)).all()
    present = {row.partition: row for row in rows}
    for partition, offset in after.items():
        row = present.get(partition)
        if (row.offset if row else None) != before.get(partition):
            raise PositionMoved(f"{topic}, partition {partition}")
        clock = max(filter(None, (row.clock if row else None, clocks.get(partition))), default=None)
        if row is None:
            values = {"topic": topic, "partition": partition, "offset": offset, "clock": clock}
            connection.execute(sa.insert(stream_positions), values)
        else:
            place = (table.topic == topic, table.partition == partition)
            connection.execute(sa.update(stream_positions).where(*place), {"offset": offset, "clock": clock})


def clock_of(connection: sa.Connection, topic: str) -> datetime | None:
    """The time until which every partition of the topic has been read; None before the first event of one."""
    clocks = connection.execute(sa.select(stream_positions.c.clock).where(stream_positions.c.topic == topic)).scalars()
    times = list(clocks)
    return min(times) if times and None not in times else None


def append_events(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the columns of `stream_events`, in this order. Only inside `exclusive_transaction`."""
    database.insert_rows(connection, stream_events, rows)


def store_dead_letters(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(dead_letters), list(rows))


def scored_until(connection: sa.Connection) -> datetime | None:
    """The end of the last range that was claimed; None before the first one."""
    return connection.execute(sa.select(sa.func.max(stream_ranges.c.end))).scalar()


def last_event_number(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.max(stream_events.c.event_number))).scalar() or 0


def claim(
    connection: sa.Connection, owner: str, first: datetime, until: datetime | None, longest: timedelta
) -> MomentRange | None:
    """Claim a range that a silent process has left, or else the next one up to `until`; None if there is nothing to do.

    `first`: where the very first range begins. Only inside `exclusive_transaction`.
    """
    now, table = datetime.now(UTC), stream_ranges.c
    leased = {"owner": owner, "lease_until": now + LEASE}
    left = connection.execute(
        sa.select(stream_ranges)
        .where(table.scored.is_(None), sa.or_(table.lease_until <= now, table.owner == owner))
        .order_by(table.start)
        .limit(1)
    ).first()
    if left is not None:
        connection.execute(sa.update(stream_ranges).where(table.start == left.start), leased)
        return MomentRange(left.start, left.end, left.id_prefix, last_event_number(connection))
    last = connection.execute(sa.select(stream_ranges).order_by(table.end.desc()).limit(1)).first()
    start = last.end if last is not None else first
    if until is None or until <= start:
        return None
    end = min(until, start + longest)
    if last is not None and last.owner == owner and last.scored == 0:  # no row for each quiet second of a night
        moved = {"start": start, "end": end, "scored": None, "is_published": False, **leased}
        connection.execute(sa.update(stream_ranges).where(table.start == last.start), moved)
        return MomentRange(start, end, last.id_prefix, last_event_number(connection))
    newest = connection.execute(sa.select(sa.func.max(table.id_prefix))).scalar() or ""
    prefix = f"{max(time_ns(), int(newest or '0', 16) + 1):016x}"
    row = {"start": start, "end": end, "id_prefix": prefix, "is_published": False, **leased}
    connection.execute(sa.insert(stream_ranges), row)
    return MomentRange(start, end, prefix, last_event_number(connection))


def is_left(connection: sa.Connection) -> bool:
    """Whether a process that fell silent has left a range that nobody has scored."""
    table = stream_ranges.c
    left = sa.select(table.start).where(table.scored.is_(None), table.lease_until <= datetime.now(UTC))
    return connection.execute(left.limit(1)).first() is not None


def finish(connection: sa.Connection, owner: str, part: MomentRange, scored: int) -> bool:
    """Record that a range is scored; False if another process has taken it over."""
    table = stream_ranges.c
    mine = sa.update(stream_ranges).where(table.start == part.start, table.owner == owner, table.scored.is_(None))
    return connection.execute(mine, {"scored": scored}).rowcount == 1


def unpublished(connection: sa.Connection, owner: str) -> list[sa.Row[Any]]:
    """The ranges that are scored and perhaps not published: those of this process, and those that a silent one left."""
    table = stream_ranges.c
    waiting = sa.select(stream_ranges).where(
        table.is_published.is_(False),
        table.scored.is_not(None),
        sa.or_(table.owner == owner, table.lease_until <= datetime.now(UTC)),
    )
    return list(connection.execute(waiting.order_by(table.start)))


def mark_published(connection: sa.Connection, starts: Sequence[datetime]) -> None:
    if starts:
        table = stream_ranges.c
        connection.execute(sa.update(stream_ranges).where(table.start.in_(list(starts))), {"is_published": True})


def events_after(engine: sa.Engine, number: int, until: int, since: datetime, most: int) -> list[StoredEvent]:
    """The events with a higher number, up to `until`, of rows with a moment at or after `since`, at most `most`."""
    table = stream_events.c
    columns = (table.event_number, table.topic, table.partition, table.offset, table.table_name, table.known_at,
               table.content)  # fmt: skip
    query = (
        sa.select(*columns)
        .where(table.event_number > number, table.event_number <= until, table.moment >= since)
        .order_by(table.event_number)
        .limit(most)
    )
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [
        StoredEvent(number, topic, partition, offset, name, known_at, from_json(content))
        for number, topic, partition, offset, name, known_at, content in rows
    ]


def backlog(connection: sa.Connection) -> tuple[int, int]:
    """The number of claimed ranges without predictions yet, and of dead letters that were not sent again."""
    unscored = sa.select(sa.func.count()).select_from(stream_ranges).where(stream_ranges.c.scored.is_(None))
    unsent = sa.select(sa.func.count()).select_from(dead_letters).where(dead_letters.c.resent_at.is_(None))
    return connection.execute(unscored).scalar_one(), connection.execute(unsent).scalar_one()


def status(engine: sa.Engine, topic: str, lateness: timedelta) -> dict[str, Any]:
    """Up to when everything is known (the watermark) and scored, and what waits or could not be used."""
    late = sa.select(sa.func.count()).select_from(stream_events).where(stream_events.c.late)
    reader = sa.select(stream_readers).where(stream_readers.c.topic == topic)
    with engine.connect() as connection:
        clock, holder = clock_of(connection, topic), connection.execute(reader).first()
        unscored, unsent = backlog(connection)
        return {
            "watermark": None if clock is None else clock - lateness,
            "scored_until": scored_until(connection),
            "unscored_ranges": unscored,
            "late_events": connection.execute(late).scalar_one(),
            "dead_letters": unsent,
            "reader": None if holder is None or holder.lease_until < datetime.now(UTC) else holder.owner,
        }
