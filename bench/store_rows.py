"""Makes the SQLite databases of `make bench-store`: a store of 28 days, and one with years before the same 28 days.

*The period.* 10,000 real entities, evenly spaced in the last 28 days of the online store, with their features and
outcomes. Each is predicted 20 times in the hours before its lead, with its real vector and the live release's
probability; in the last 7 days a second release scores them in the shadow. All times are moved by whole days, so that
the last of the 28 days is yesterday.
*The years.* The same period again, each time another 28 days earlier, under other ids and other versions of the model.
*Decisions.* One row of the monitor and one of the policy for each day, with the evidence of a real run of the monitor,
and the rows of a retraining for each period.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from tqdm import tqdm, trange

from bench import entities
from ontime import database, database_tables, decision_chain, local_time, online, online_store, release
from ontime.database_tables import UTCTime
from ontime.declaration import EntityRequest
from ontime.problem import PROBLEM
from ontime.release import Release

PERIOD_DAYS = 28
TRIAL_DAYS = 7  # at the end of each period
PERIOD_ENTITIES = 10_000
PREDICTIONS_PER_ENTITY = 20
PERIOD_ROWS = PERIOD_ENTITIES * PREDICTIONS_PER_ENTITY
MINUTES_BETWEEN = 15  # of the predictions of an entity; the last one is at its lead
LATENCY_MS = 5.0
NANOSECONDS_PER_DAY = 86_400 * 10**9
CACHE_KIB = 262_144
IN_ORDER = (  # of the rows that a year repeats
    database_tables.entities,
    database_tables.features,
    database_tables.outcomes,
    database_tables.predictions,
    database_tables.shadows,
)


class Versions(NamedTuple):
    """Published releases for the same question; the years before the period have versions of their own."""

    champion: Release
    challenger: Release
    earlier_champion: str
    earlier_challenger: str


def publish_versions(releases: Path) -> Versions:
    """The live release, and three copies of it under higher numbers."""
    live = entities.current_release().manifest
    contents = {name: (releases / live.version / name).read_bytes() for name in live.sha256}
    newest = int(release.published(releases)[-1])
    copies = [str(newest + number) for number in (1, 2, 3)]
    for version in copies:
        release.publish(releases, contents, live.model_copy(update={"version": version}))
    return Versions(entities.current_release(), release.load(releases, copies[0]), *copies[1:])


def write_period(path: Path, versions: Versions, last_day: date) -> None:
    """Write a new database with one period, whose last day is `last_day`; without decisions."""
    question = versions.champion.manifest.question
    rows = _evenly_spaced_rows()
    stored = entities.stored([_request_of(row) for row in rows])
    outcomes = _outcomes_of([row["entity_id"] for row in rows])
    moved = timedelta(days=(last_day - local_time.day_of(rows[-1]["event_at"])).days)
    rows = [_moved(row, moved) for row in rows]
    engine = database.connect(f"sqlite:///{path}")
    online_store.store_entities(engine, rows)
    online_store.store_features(
        engine,
        question,
        [row["entity_id"] for row in rows],
        [each.moment + moved for each in stored],
        np.stack([each.online.vector for each in stored]),
        [each.online.texts for each in stored],
    )
    database.store_outcomes(engine, [_moved(row, moved) for row in outcomes])
    trial = local_time.midnight(last_day - timedelta(days=TRIAL_DAYS - 1))
    predictions, shadows = _predictions(rows, stored, versions, trial)
    database.execute(engine, sa.insert(database_tables.predictions), predictions)
    database.log_shadows(engine, shadows)
    engine.dispose()


def _evenly_spaced_rows() -> list[dict[str, Any]]:
    """Rows of `entities` from the last 28 days of the real store, in the order of their events."""
    table = database_tables.entities
    with entities.engine().connect() as connection:
        newest = connection.execute(sa.select(sa.func.max(table.c.event_at))).scalar()
        if newest is None:
            raise SystemExit(f"bench: {entities.DATABASE} holds no entities; run `make train`")
        first = local_time.midnight(local_time.day_of(newest) - timedelta(days=PERIOD_DAYS - 1))
        query = sa.select(table).where(table.c.event_at >= first).order_by(table.c.event_at, table.c.entity_id)
        rows = connection.execute(query).mappings().all()
    if len(rows) < PERIOD_ENTITIES:
        raise SystemExit(f"bench: {entities.DATABASE} has {len(rows):,} entities since {first}, not {PERIOD_ENTITIES}")
    return [dict(rows[place]) for place in np.linspace(0, len(rows) - 1, PERIOD_ENTITIES).astype(int).tolist()]


def _request_of(row: Mapping[str, Any]) -> EntityRequest:
    return PROBLEM.request(**{name: row[name] for name in PROBLEM.request.model_fields})


def _outcomes_of(entity_ids: Sequence[str]) -> list[dict[str, Any]]:
    table = database_tables.outcomes
    with entities.engine().connect() as connection:
        query = sa.select(table).where(table.c.entity_id.in_(entity_ids))
        return [dict(row) for row in connection.execute(query).mappings()]


def _moved(row: Mapping[str, Any], by: timedelta) -> dict[str, Any]:
    return {name: value + by if isinstance(value, datetime) else value for name, value in row.items()}


def _predictions(
    rows: Sequence[Mapping[str, Any]], stored: Sequence[online_store.Stored], versions: Versions, trial: datetime
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `predictions` and of `shadows`, sorted by their ids."""
    champion, challenger = versions.champion, versions.challenger
    requests, online_rows = [_request_of(row) for row in rows], [each.online for each in stored]
    matrix = online.request_matrix(requests, online_rows, champion)
    live = champion.model.predict(matrix).tolist()
    shadow = challenger.model.predict(online.request_matrix(requests, online_rows, challenger)).tolist()
    vectors = [vector.astype("<f4").tobytes() for vector in matrix]
    lead = timedelta(minutes=champion.manifest.question.lead_minutes)
    predictions, shadows = [], []
    for place, row in enumerate(rows):
        for number in range(PREDICTIONS_PER_ENTITY):
            answered_at = row["event_at"] - lead - number * timedelta(minutes=MINUTES_BETWEEN)
            serial = place * PREDICTIONS_PER_ENTITY + number
            prediction_id = f"{int(answered_at.timestamp()) * 10**9:016x}{serial:016x}"
            predictions.append(
                prediction_row(prediction_id, row["entity_id"], answered_at, champion, live[place], vectors[place])
            )
            if row["event_at"] >= trial:
                version = challenger.manifest.version
                shadows.append({"prediction_id": prediction_id, "model_version": version, "probability": shadow[place]})
    return tuple(sorted(each, key=lambda row: str(row["prediction_id"])) for each in (predictions, shadows))  # type: ignore[return-value]  # two of them


def prediction_row(
    prediction_id: str, entity_id: str, answered_at: datetime, champion: Release, probability: float, vector: bytes
) -> dict[str, Any]:
    return {
        "prediction_id": prediction_id,
        "entity_id": entity_id,
        "answered_at": answered_at,
        "model_version": champion.manifest.version,
        "probability": probability,
        "alert": probability >= champion.manifest.threshold,
        "features": "online",
        "vector": vector,
        "latency_ms": LATENCY_MS,
    }


def write_years(path: Path, period: Path, periods: int, versions: Versions) -> None:
    """Write a new database: the rows of the database `period`, and those of `periods` - 1 earlier periods before them.

    The database itself copies the rows, oldest first, so memory does not grow with them. Its indexes are made
    afterwards, by sorting. Nothing is synchronised to disk meanwhile.
    """
    database.connect(f"sqlite:///{path}").dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}", "locking_mode=EXCLUSIVE"):
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function("earlier_id", 2, _earlier_id, deterministic=True)
        connection.execute("ATTACH ? AS period", (str(path.parent / period.name),))
        indexes = connection.execute(
            "SELECT name, sql FROM main.sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        for number in trange(periods - 1, -1, -1, desc="bench: rows", unit="period", disable=None):
            connection.execute("BEGIN")
            for table in IN_ORDER:
                connection.execute(_copy_statement(table, number, versions))
            connection.execute("COMMIT")
        for _, statement in tqdm(indexes, desc="bench: indexes", unit="index", disable=None):
            connection.execute(statement)


def _earlier_id(prediction_id: str, days: int) -> str:
    """The id of the same prediction so many days earlier: its first 16 digits are a time in nanoseconds."""
    return f"{int(prediction_id[:16], 16) - days * NANOSECONDS_PER_DAY:016x}{prediction_id[16:]}"


def _copy_statement(table: sa.Table, periods_back: int, versions: Versions) -> str:
    """Copy the rows of the period, moved so many periods back; its own rows unchanged for 0."""
    days = PERIOD_DAYS * periods_back
    earlier = versions.earlier_champion if table is database_tables.predictions else versions.earlier_challenger

    def moved(column: sa.Column[Any]) -> str:
        if not days:
            return column.name
        if isinstance(column.type, UTCTime):
            return f"strftime('%Y-%m-%d %H:%M:%f000', {column.name}, '-{days} days')"
        special = {
            "entity_id": f"entity_id || '-{periods_back}'",
            "prediction_id": f"earlier_id(prediction_id, {days})",
            "model_version": f"'{earlier}'",
        }
        return special.get(column.name, column.name)

    columns = ", ".join(moved(column) for column in table.columns)
    key = ", ".join(column.name for column in table.primary_key.columns)
    return f"INSERT INTO main.{table.name} SELECT {columns} FROM period.{table.name} ORDER BY {key}"  # noqa: S608  own names


def write_decisions(path: Path, days: Sequence[date], monitored: Mapping[str, Any], versions: Versions) -> None:
    """Write the decisions of these days; `monitored` is the evidence of one real run of the monitor."""
    engine = database.connect(f"sqlite:///{path}")
    with decision_chain.exclusive_transaction(engine) as connection:
        for number, day in enumerate(tqdm(days, desc="bench: decisions", unit="day", disable=None)):
            at = local_time.midnight(day + timedelta(days=1))
            for kind, verdict, evidence in _decisions_of_day(number, day, monitored, versions, days[-1]):
                database.append_decision(connection, kind, verdict, evidence, at, "bench")
    engine.dispose()


def _decisions_of_day(
    number: int, day: date, monitored: Mapping[str, Any], versions: Versions, last_day: date
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Kind, verdict and evidence of each row. A retraining starts on the first day of each period."""
    retrain = number % PERIOD_DAYS == 0
    action = "retrain" if retrain else "nothing"
    yield "monitor", "ok", {**monitored, "day": str(day)}
    reason = f"{PERIOD_DAYS} days since the last training, the maximum is {PERIOD_DAYS}" if retrain else "all is well"
    yield "policy", action, {"day": str(day), "action": action, "reason": reason, "version": None, "champion": "1"}
    if retrain:
        yield "retraining", "begun", {"day": str(day), "reason": reason}
        yield "gate", "promote", {"version": f"r{number}", "pipeline": f"{number:064x}", "reason": "better"}
        yield "retrained", "promoted", {"day": str(day), "reason": "better"}
        yield "promotion", "promoted", {"version": f"r{number}", "reason": "better"}
    if day == last_day:  # so recent that the policy does not end the trial on the measured days
        yield "challenge", "begun", {"version": versions.challenger.manifest.version, "reason": "by hand"}


def append_predictions(path: Path, rows: Iterable[Mapping[str, Any]], count: int) -> None:
    """Insert predictions fast, without waiting for the disk."""
    columns = [column.name for column in database_tables.predictions.columns]
    statement = f"INSERT INTO predictions VALUES ({', '.join('?' * len(columns))})"  # noqa: S608  marks only
    values = ([_stored(row[name]) for name in columns] for row in rows)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.executemany(statement, tqdm(values, total=count, desc="bench: busy hour", disable=None))


def _stored(value: Any) -> Any:
    """A value as SQLAlchemy stores it in SQLite."""
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value


def now_rows(path: Path, versions: Versions, count: int, minutes: int) -> Iterator[dict[str, Any]]:
    """New rows of `predictions`, as if the service had answered them evenly over the last minutes until now."""
    engine = database.connect(f"sqlite:///{path}")
    table = database_tables.predictions.c
    last = local_time.midnight(local_time.day_of(datetime.now(UTC)) - timedelta(days=PERIOD_DAYS))
    with engine.connect() as connection:
        query = sa.select(table.entity_id, table.probability, table.vector).where(table.answered_at >= last)
        pool = connection.execute(query.limit(PERIOD_ROWS)).all()
    engine.dispose()
    order = np.random.default_rng(1).integers(len(pool), size=count).tolist()
    start, step = datetime.now(UTC) - timedelta(minutes=minutes), timedelta(minutes=minutes) / count
    for number, place in enumerate(order):
        entity_id, probability, vector = pool[place]
        answered_at = start + number * step
        yield prediction_row(
            database.new_prediction_ids(1)[0], entity_id, answered_at, versions.champion, probability, vector
        )
