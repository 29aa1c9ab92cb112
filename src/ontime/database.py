"""The database: connections, and the queries on predictions, outcomes and decisions.

SQLite by default, PostgreSQL with `ONTIME_DATABASE_URL`. Serving and monitoring share data only here. The tables are
declared in database_tables.py; online_store.py has the queries on entities and features.
"""

import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from time import time_ns
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.dialects import sqlite

from ontime import actors, decision_chain, erasure, files, locks, schema
from ontime.database_errors import DatabaseRefused as DatabaseRefused
from ontime.database_schema import prepare as prepare
from ontime.database_tables import UTCTime, decisions, entities, outcomes, predictions, shadows
from ontime.decision_chain import exclusive_transaction
from ontime.driver_connection import DriverConnection

CLOCK, FEED = "clock", "feed"  # marks a decision whose `decided_at` is a time of the data feed's clock
# Databases that were filled before these verdicts were renamed have the old words.
RENAMED_VERDICTS = {("gate", "keep"): "reject", ("monitor", "calm"): "ok"}

Target = sa.Engine | sa.Connection


def new_prediction_ids(count: int) -> list[str]:
    """Each has 32 hex digits, the first 16 from the clock: rows inserted together are stored together on disk."""
    clock, random = f"{time_ns():016x}", os.urandom(8 * count).hex()
    return [clock + random[start : start + 16] for start in range(0, 16 * count, 16)]


def first_prediction_id(since: datetime) -> str:
    """The lower bound of the ids of predictions that were made at or after `since`.

    >>> first_prediction_id(datetime(2013, 1, 1, tzinfo=UTC))
    '12d506dae8c60000'
    """
    return f"{int(since.timestamp()) * 10**9:016x}"


def time_of_prediction_id(prediction_id: str) -> datetime:
    """When a prediction was made, in UTC.

    >>> time_of_prediction_id("12d506dae8c60000")
    datetime.datetime(2013, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    return datetime.fromtimestamp(int(prediction_id[:16], 16) / 1e9, UTC)


def engine_of_process(url: SecretStr) -> sa.Engine:
    """As `connect`, but the same engine again within a process: a forked one must not use its parent's connections."""
    return _engine_of(os.getpid(), url)


@lru_cache(maxsize=4)
def _engine_of(process: int, url: SecretStr) -> sa.Engine:  # noqa: ARG001  a part of the key
    return connect(url)


def connect(url: str | SecretStr, patience_s: float = 10, cache_mb: int = 64) -> sa.Engine:
    """An engine whose tables are those of this version: see database_schema.prepare. Raises DatabaseRefused."""
    engine = open_engine(url, patience_s, cache_mb)
    prepare(engine)
    return engine


def open_engine(url: str | SecretStr, patience_s: float = 10, cache_mb: int = 64) -> sa.Engine:
    """An engine that has not connected yet. Creates a missing SQLite file.

    `url` is `Settings.database_url`, or text. `patience_s`: seconds that a statement waits for a lock, and a
    connection for its server, before it fails. `cache_mb`: of SQLite's pages, at most, for each connection: with less
    than the upper pages of the indexes, each look-up in years of data reads them again.
    """
    parsed = sa.make_url(url.get_secret_value() if isinstance(url, SecretStr) else url)
    if parsed.get_backend_name() == "sqlite":
        engine = sa.create_engine(parsed, connect_args={"timeout": patience_s})
        sa.event.listen(engine, "connect", _durable_and_shared)
        sa.event.listen(engine, "connect", lambda connection, _: _limit_cache(connection, cache_mb))
        if parsed.database and parsed.database != ":memory:":
            files.make_private_database(Path(parsed.database))
            lock = locks.hold_shared(lock_of(parsed.database))  # a restore must not replace the file meanwhile
            sa.event.listen(engine, "engine_disposed", lambda _: lock.close())
            weakref.finalize(engine, lock.close)
    else:
        milliseconds, own = int(1000 * patience_s), parsed.query.get("options", "")  # such as -csearch_path=...
        waits = {
            "connect_timeout": max(1, int(patience_s)),
            "options": f"{own} -c lock_timeout={milliseconds} -c statement_timeout={milliseconds} -c timezone=UTC",
        }
        engine = sa.create_engine(parsed, connect_args=waits, pool_timeout=patience_s)
        from ontime.postgresql import set_deadline  # here, because SQLite users need not import the driver

        set_deadline(engine, patience_s)
    return engine


def lock_of(database: str) -> Path:
    """The lock file of a SQLite file: users of the database share it, a restore holds it alone."""
    return Path(f"{database}.lock")


def _durable_and_shared(connection: Any, record: object) -> None:  # noqa: ARG001  SQLAlchemy's signature
    """WAL: readers and a writer work at once. FULL: a committed row survives a power cut."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _limit_cache(connection: Any, megabytes: int) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA cache_size = {-1000 * megabytes}")  # negative: in units of 1,024 bytes
    cursor.close()


def insert(target: Target, table: sa.Table) -> Any:
    """An INSERT with ON CONFLICT, which both dialects spell alike."""
    if target.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # here, because its import takes time that SQLite users need not spend

    return postgresql.insert(table)


@contextmanager
def transaction(target: Target) -> Iterator[sa.Connection]:
    """With an engine a transaction of its own, on disk when the block ends; with a connection the one that it is in."""
    if isinstance(target, sa.Connection):
        yield target
    else:
        with target.begin() as connection:
            yield connection


def execute(target: Target, statement: sa.Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert all rows in one `transaction`."""
    if rows:
        with transaction(target) as connection:
            connection.execute(statement, list(rows))


def newest_prediction(engine: sa.Engine) -> str:
    """The id of the latest prediction; empty before the first."""
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.max(predictions.c.prediction_id))).scalar() or ""


def count_shadows(engine: sa.Engine, after: str) -> int:
    """The number of shadow predictions later than that id."""
    with engine.connect() as connection:
        query = sa.select(sa.func.count()).select_from(shadows).where(shadows.c.prediction_id > after)
        return int(connection.execute(query).scalar_one())


def reopen(engine: sa.Engine) -> None:
    """Close all connections, as `engine.dispose()` does, but keep the lock that a restore of the file waits for."""
    pool = engine.pool
    engine.pool = pool.recreate()
    pool.dispose()


def write_nothing(engine: sa.Engine) -> None:
    """Commit a transaction that changes nothing, but is written to disk. Raises SQLAlchemyError if that fails."""
    sqlite_statement = "PRAGMA user_version = 0"
    statement = sqlite_statement if engine.dialect.name == "sqlite" else "SELECT pg_current_xact_id()"
    with engine.begin() as connection:
        connection.execute(sa.text(statement))


def ping(engine: sa.Engine) -> None:
    """Raises SQLAlchemyError if the tables cannot be read. An empty SQLite file would accept `SELECT 1`."""
    with engine.connect() as connection:
        connection.execute(sa.select(predictions.c.prediction_id).limit(1))


def log_predictions(target: Target | DriverConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert predictions, at most about 1000 at a time, in one `transaction`."""
    # One hand-written statement for all rows: executemany releases the GIL at each row, and beside a busy thread it
    # waits each time to get it back. SQLAlchemy would compile such a statement again for each number of rows.
    values = [value for row in _driver_rows(target.dialect, tuple(predictions.columns), rows) for value in row]
    run_on_driver(target, _insert_predictions(target.dialect, len(rows)), tuple(values))


@lru_cache(maxsize=256)
def _insert_predictions(dialect: sa.Dialect, count: int) -> str:
    columns = list(predictions.columns)
    row_of_marks = f"({marks(dialect, len(columns))})"
    return f"INSERT INTO predictions ({_names(columns)}) VALUES {', '.join([row_of_marks] * count)}"  # noqa: S608  names and marks only


def run_on_driver(target: Target | DriverConnection, statement: str, values: tuple[Any, ...]) -> Sequence[Any]:
    """Execute a statement in the driver's own words, in one `transaction`, and return its rows as the driver does."""
    if isinstance(target, DriverConnection):
        return target.execute(statement, values)
    with transaction(target) as connection:
        result = connection.exec_driver_sql(statement, values)
        return result.fetchall() if result.returns_rows else ()


def insert_rows(target: Target, table: sa.Table, rows: Sequence[Mapping[str, Any]], *, replace: bool = False) -> None:
    """Insert many rows with the same columns, in one `transaction`, in a third of the time that SQLAlchemy takes.

    `replace`: a row with the same primary key is replaced; otherwise it is an IntegrityError.
    """
    if not rows:
        return
    columns = [column for column in table.columns if column.name in rows[0]]
    statement = f"INSERT INTO {table.name} ({_names(columns)}) VALUES ({marks(target.dialect, len(columns))})"  # noqa: S608  names and marks only
    if replace:
        key = [column for column in columns if column.primary_key]
        changes = ", ".join(f'"{each.name}" = excluded."{each.name}"' for each in columns if not each.primary_key)
        statement += f" ON CONFLICT ({_names(key)}) DO UPDATE SET {changes}"
    with transaction(target) as connection:
        connection.exec_driver_sql(statement, _driver_rows(target.dialect, tuple(columns), rows))


def marks(dialect: sa.Dialect, count: int) -> str:
    """Placeholders of the driver for so many values."""
    return ", ".join(["?" if dialect.paramstyle == "qmark" else "%s"] * count)


def _names(columns: Iterable[sa.Column[Any]]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)


def _driver_rows(
    dialect: sa.Dialect, columns: tuple[sa.Column[Any], ...], rows: Sequence[Mapping[str, Any]]
) -> list[tuple[Any, ...]]:
    """The values of each row as the driver takes them."""
    processors = _bind_processors(dialect, columns)
    return [tuple(process(row[name]) if process else row[name] for name, process in processors) for row in rows]


@lru_cache(maxsize=64)
def _bind_processors(dialect: sa.Dialect, columns: tuple[sa.Column[Any], ...]) -> list[tuple[str, Any]]:
    """The name of each column, and what converts its values for the driver, if anything does."""
    processors: list[tuple[str, Any]] = []
    for column in columns:
        process = column.type.dialect_impl(dialect).bind_processor(dialect)
        if process is not None and isinstance(column.type, UTCTime):
            # A time takes longer than all other values together, and the rows of a batch share theirs.
            process = lru_cache(maxsize=1)(process)
        processors.append((column.name, process))
    return processors


def restore_predictions(engine: sa.Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert predictions from a spool; those that exist stay unchanged, those of erased entities are dropped."""
    if not rows:
        return
    with exclusive_transaction(engine) as connection:  # an erasure is either complete by now, or deletes these rows
        if remaining := erasure.remaining_predictions(connection, rows):
            connection.execute(insert(engine, predictions).on_conflict_do_nothing(), remaining)


def log_shadows(target: Target, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the columns of `shadows`; those that exist already stay unchanged."""
    execute(target, insert(target, shadows).on_conflict_do_nothing(), rows)


def store_outcomes(target: Target, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or update rows with the columns of `outcomes`. The outcome with the latest `known_at` wins, in any order.

    At the same `known_at` an outcome with a value wins, then the higher value, then the positive label.
    """
    statement = insert(target, outcomes)
    new, old = statement.excluded, outcomes.c
    order = [
        (new.known_at, old.known_at),
        (sa.func.coalesce(new.value, schema.LEAST_VALUE), sa.func.coalesce(old.value, schema.LEAST_VALUE)),
        (new.label, old.label),
    ]
    newer = sa.or_(
        *(
            sa.and_(*(new == old for new, old in order[:place]), order[place][0] > order[place][1])
            for place in range(len(order))
        )
    )
    changed = {"label": new.label, "known_at": new.known_at, "value": new.value}
    rows = [{"value": None, **row} for row in rows]
    execute(target, statement.on_conflict_do_update(index_elements=[old.entity_id], set_=changed, where=newer), rows)


def known_outcomes(label_at_least: float, known_by: datetime | None = None) -> sa.Subquery:
    """The outcomes known by a moment: entity_id, `label`, value, known_at. The only definition of a known outcome.

    `known_by`: None for all stored outcomes, which reports, comparisons and the page use; the monitor passes the end
    of its day. If an outcome has a value, `label` is computed from it with `label_at_least`, whatever limit applied
    when it was stored.
    """
    table = outcomes.c
    label = sa.case((table.value.is_not(None), table.value >= label_at_least), else_=table.label)
    query = sa.select(table.entity_id, label.label("label"), table.value, table.known_at)
    return (query if known_by is None else query.where(table.known_at <= known_by)).subquery("known")


def outcome_of(engine: sa.Engine, entity_id: str, label_at_least: float) -> sa.Row[Any] | None:
    outcome = known_outcomes(label_at_least)
    with engine.connect() as connection:
        return connection.execute(sa.select(outcome).where(outcome.c.entity_id == entity_id)).first()


def count_outcomes(engine: sa.Engine, since: datetime, known_by: datetime, most: int) -> int:
    """The number of entities with an event time at or after `since` and an outcome known by `known_by`.

    Counts up to `most`, so that the time does not grow with the years since.
    """
    outcome = known_outcomes(0, known_by)  # the limit does not change the count
    counted = (
        sa.select(entities.c.entity_id)
        .join(outcome, outcome.c.entity_id == entities.c.entity_id)
        .where(entities.c.event_at >= since)
        .order_by(entities.c.event_at.desc())  # new rows are more likely in memory
        .limit(most)
    )
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(counted.subquery())).scalar_one())


def record_decision(
    engine: sa.Engine,
    kind: str,
    verdict: str,
    evidence: Mapping[str, Any],
    at: datetime | None = None,
    actor: str | None = None,
) -> None:
    """Append a decision, its evidence and who made it to the log.

    `at` is a time of the feed's clock, which may be years behind, and the row records that; the default is now.
    `actor`: None for whoever runs this process.
    """
    with exclusive_transaction(engine) as connection:
        append_decision(connection, kind, verdict, evidence, at, actor)


def append_decision(
    connection: sa.Connection,
    kind: str,
    verdict: str,
    evidence: Mapping[str, Any],
    at: datetime | None = None,
    actor: str | None = None,
) -> None:
    """`record_decision` as a part of an `exclusive_transaction`."""
    row = {
        "decided_at": at or datetime.now(UTC),
        "kind": kind,
        "verdict": verdict,
        "evidence": dict(evidence) if at is None else {**evidence, CLOCK: FEED},
        "actor": actor or actors.current_actor(),
    }
    decision_chain.append(connection, row)


def _select_decisions() -> sa.Select[Any]:
    """All columns of `decisions`, with the verdicts of older databases under their present names."""
    present = [
        (sa.and_(decisions.c.kind == kind, decisions.c.verdict == old), new)
        for (kind, old), new in RENAMED_VERDICTS.items()
    ]
    verdict = sa.case(*present, else_=decisions.c.verdict).label("verdict")
    return sa.select(*(verdict if each.name == "verdict" else each for each in decisions.c))


def last_decision(engine: sa.Engine, kind: str, decided_at: datetime | None = None, **about: str) -> sa.Row[Any] | None:
    """The latest decision of that kind with this evidence, such as pipeline="...", or day="2013-05-01".

    Of the kinds that each day writes, pass `decided_at` if it is certain: it has an index, the evidence has none.
    """
    conditions = [decisions.c.evidence[name].as_string() == value for name, value in about.items()]
    if decided_at is not None:
        conditions.append(decisions.c.decided_at == decided_at)
    latest = _select_decisions().where(decisions.c.kind == kind, *conditions).order_by(decisions.c.decision_id.desc())
    with engine.connect() as connection:
        return connection.execute(latest.limit(1)).first()


def decisions_of(
    engine: sa.Engine, kind: str, since: datetime | None = None, verdict: str | None = None
) -> Sequence[sa.Row[Any]]:
    """All decisions of that kind, oldest first; of the kinds that each day writes, pass `since` or `verdict`."""
    query = _select_decisions().where(decisions.c.kind == kind).order_by(decisions.c.decision_id)
    if since is not None:
        query = query.where(decisions.c.decided_at >= since)
    if verdict is not None:
        query = query.where(query.selected_columns.verdict == verdict)
    with engine.connect() as connection:
        return connection.execute(query).all()


def decisions_before(engine: sa.Engine, kind: str, before: datetime, most: int) -> Sequence[sa.Row[Any]]:
    """The latest decisions of that kind with an earlier `decided_at` than `before`, at most `most`, oldest first."""
    query = _select_decisions().where(decisions.c.kind == kind, decisions.c.decided_at < before)
    latest = query.order_by(decisions.c.decided_at.desc(), decisions.c.decision_id.desc()).limit(most)
    with engine.connect() as connection:
        return connection.execute(latest).all()[::-1]


def latest_decisions(engine: sa.Engine, most: int) -> Sequence[sa.Row[Any]]:
    """The latest decisions, newest first, at most `most`."""
    latest = _select_decisions().order_by(decisions.c.decision_id.desc()).limit(most)
    with engine.connect() as connection:
        return connection.execute(latest).all()
