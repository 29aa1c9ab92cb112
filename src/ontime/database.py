"""The operational tables: flights and features (the online store), predictions, shadows, outcomes, decisions.

SQLite by default, PostgreSQL by `ONTIME_DATABASE_URL`. Serving and monitoring meet here and nowhere else.
"""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from random import SystemRandom
from time import time_ns
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import sqlite

from ontime import locks, schema
from ontime.schema import Question

# Which features, in which order, a stored vector holds.
FEATURE_SET = sha256("\n".join(schema.MATERIALISED).encode()).hexdigest()[:12]

CLOCK, FEED = "clock", "feed"  # in the evidence of a decision whose `decided_at` is on the feed's clock


class UTCTime(sa.TypeDecorator[datetime]):
    """An aware datetime in, an aware UTC datetime out, also from SQLite, which stores no offset."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


metadata = sa.MetaData()

flights = sa.Table(
    "flights",
    metadata,
    sa.Column("flight_id", sa.String, primary_key=True),
    sa.Column("carrier", sa.String, nullable=False),
    sa.Column("flight_number", sa.Integer, nullable=False),
    sa.Column("origin", sa.String, nullable=False),
    sa.Column("dest", sa.String, nullable=False),
    sa.Column("scheduled_departure", UTCTime, nullable=False, index=True),
    sa.Column("scheduled_arrival", UTCTime, nullable=False),
    sa.Column("distance_miles", sa.Integer, nullable=False),
)

features = sa.Table(
    "features",
    metadata,
    sa.Column("flight_id", sa.String, primary_key=True),
    sa.Column("feature_set", sa.String, primary_key=True),
    sa.Column("moment", UTCTime, nullable=False),  # nothing known later is in the vector
    sa.Column("vector", sa.LargeBinary, nullable=False),  # float32 little-endian, schema.MATERIALISED in order
)

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", sa.String, primary_key=True),  # in order of time: see `new_prediction_id`
    sa.Column("flight_id", sa.String, nullable=False, index=True),  # monitoring joins timetable and outcomes
    sa.Column("answered_at", UTCTime, nullable=False, index=True),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("probability_late", sa.Double, nullable=False),
    sa.Column("alert", sa.Boolean, nullable=False),
    sa.Column("features", sa.String, nullable=False),  # "materialised" or "schedule_only"
    sa.Column("vector", sa.LargeBinary, nullable=False),  # the model's whole input, schema.FEATURE_NAMES in order
    sa.Column("latency_ms", sa.Double, nullable=False),  # from the request's arrival to this row's writing
    sqlite_with_rowid=False,  # one tree to write instead of two
)

shadows = sa.Table(  # what the other model of the two would have answered; see Pointer.challenger
    "shadows",
    metadata,
    sa.Column("prediction_id", sa.String, primary_key=True),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("probability_late", sa.Double, nullable=False),
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("flight_id", sa.String, primary_key=True),
    sa.Column("late", sa.Boolean, nullable=False),  # by the rule of whoever stored it: see `known_outcomes`
    sa.Column("known_at", UTCTime, nullable=False),
    sa.Column("delay_minutes", sa.Integer),  # of the arrival, below zero: early; null where nobody told it
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("decision_id", sa.Integer, primary_key=True),
    sa.Column("decided_at", UTCTime, nullable=False),
    sa.Column("kind", sa.String, nullable=False),  # "gate", "promotion", ...
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
)


_random = SystemRandom()


def new_prediction_id() -> str:
    """32 hex digits, the first 16 from the clock: rows that are written together lie together on disk."""
    return f"{time_ns():016x}{_random.getrandbits(64):016x}"


class Stored(NamedTuple):
    """A row of the online store."""

    moment: datetime
    vector: NDArray[np.float32]


def connect(url: str, patience_s: float = 10) -> sa.Engine:
    """An engine whose tables exist. A SQLite file is made, with its folder, if it is missing.

    `patience_s`: how long a statement waits for a lock, and a connection for its server, before it fails.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sa.create_engine(parsed, connect_args={"timeout": patience_s})
        sa.event.listen(engine, "connect", _durable_and_shared)
        if parsed.database and parsed.database != ":memory:":
            used = locks.share(lock_of(parsed.database))  # so that no restore puts another file in its place
            sa.event.listen(engine, "engine_disposed", lambda _: used.close())
            weakref.finalize(engine, used.close)
    else:
        milliseconds, own = int(1000 * patience_s), parsed.query.get("options", "")  # such as -csearch_path=...
        waits = {
            "connect_timeout": max(1, int(patience_s)),
            "options": f"{own} -c lock_timeout={milliseconds} -c statement_timeout={milliseconds} -c timezone=UTC",
        }
        engine = sa.create_engine(parsed, connect_args=waits, pool_timeout=patience_s)
    prepare(engine)
    return engine


def prepare(engine: sa.Engine) -> None:
    """Let the tables exist, with all their columns, whoever made them."""
    metadata.create_all(engine)
    _add_missing_columns(engine)


def lock_of(database: str) -> Path:
    """Beside a SQLite file: shared by who uses it, held by who puts another in its place."""
    return Path(f"{database}.lock")


def _add_missing_columns(engine: sa.Engine) -> None:
    """Give a database of an earlier version the columns that came later, which are all nullable."""
    there = {column["name"] for column in sa.inspect(engine).get_columns(outcomes.name)}
    for column in outcomes.columns:
        if column.name in there:
            continue
        kind = column.type.compile(engine.dialect)
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"ALTER TABLE {outcomes.name} ADD COLUMN {column.name} {kind}")
        except sa.exc.DBAPIError:  # another process may have been faster
            if column.name not in {each["name"] for each in sa.inspect(engine).get_columns(outcomes.name)}:
                raise


def _durable_and_shared(connection: Any, record: object) -> None:  # noqa: ARG001  SQLAlchemy's signature
    """WAL lets readers and a writer work at once; FULL lets a committed row survive a power cut."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _insert(engine: sa.Engine, table: sa.Table) -> Any:
    """An INSERT that can say what happens to a row that is there already; both databases spell it alike."""
    if engine.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # here, to spare the others its time

    return postgresql.insert(table)


def _insert_or_replace(engine: sa.Engine, table: sa.Table) -> sa.Insert:
    statement = _insert(engine, table)
    changed = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
    replacing: sa.Insert = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changed)
    return replacing


def _execute(engine: sa.Engine, statement: sa.Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """One transaction for all rows; they are on disk when this returns."""
    if rows:
        with engine.begin() as connection:
            connection.execute(statement, list(rows))


def set_of(question: Question) -> str:
    """The name of what a vector holds: another set is never mistaken for this one, nor one of another question.

    A share of late departures is another number where late means another number of minutes.
    """
    return f"{FEATURE_SET}-{question.late_minutes}-{question.lead_minutes}"


def store_features(
    engine: sa.Engine,
    question: Question,
    flight_ids: Sequence[str],
    moments: Sequence[datetime],
    vectors: NDArray[np.float32],
) -> None:
    """Put one row a flight into the online store; a flight that is there already is replaced."""
    rows = [
        {
            "flight_id": flight_id,
            "feature_set": set_of(question),
            "moment": moment,
            "vector": vector.astype("<f4").tobytes(),
        }
        for flight_id, moment, vector in zip(flight_ids, moments, vectors, strict=True)
    ]
    _execute(engine, _insert_or_replace(engine, features), rows)


def store_flights(engine: sa.Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put timetable rows, with the columns of `flights`, where people can search them."""
    _execute(engine, _insert_or_replace(engine, flights), rows)


def look_up_features(engine: sa.Engine, question: Question, flight_ids: Iterable[str]) -> dict[str, Stored]:
    """The stored rows of those flights that have one for that question."""
    wanted = sa.select(features.c.flight_id, features.c.moment, features.c.vector).where(
        features.c.flight_id.in_(list(flight_ids)), features.c.feature_set == set_of(question)
    )
    with engine.connect() as connection:
        return {
            row.flight_id: Stored(row.moment, np.frombuffer(row.vector, "<f4")) for row in connection.execute(wanted)
        }


def last_moment(engine: sa.Engine, question: Question, before: datetime) -> datetime | None:
    """The latest prediction moment in the online store, for that question, that is earlier than `before`."""
    by_departure = (  # departures have an index, and moments are in the same order
        sa.select(features.c.moment)
        .join(flights, flights.c.flight_id == features.c.flight_id)
        .where(
            features.c.feature_set == set_of(question),
            features.c.moment < before,
            flights.c.scheduled_departure < before + timedelta(days=1),
        )
        .order_by(flights.c.scheduled_departure.desc())
    )
    with engine.connect() as connection:
        return connection.execute(by_departure.limit(1)).scalar()


def timetable(engine: sa.Engine, since: datetime, until: datetime) -> Sequence[sa.Row[Any]]:
    """The flights scheduled in [since, until), in that order."""
    departure = flights.c.scheduled_departure
    wanted = sa.select(flights).where(departure >= since, departure < until).order_by(departure, flights.c.flight_id)
    with engine.connect() as connection:
        return connection.execute(wanted).all()


def look_up_all(engine: sa.Engine, question: Question, since: datetime, until: datetime) -> dict[str, bytes]:
    """The stored vectors of all flights with a prediction moment in [since, until), as they lie on disk."""
    wanted = sa.select(features.c.flight_id, features.c.vector).where(
        features.c.feature_set == set_of(question), features.c.moment >= since, features.c.moment < until
    )
    with engine.connect() as connection:
        return {row.flight_id: row.vector for row in connection.execute(wanted)}


def newest_prediction(engine: sa.Engine) -> str:
    """The id of the last answer; empty before the first."""
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.max(predictions.c.prediction_id))).scalar() or ""


def count_shadows(engine: sa.Engine, after: str) -> int:
    """How many answers later than that id have what the other model would have said."""
    with engine.connect() as connection:
        counted = sa.select(sa.func.count()).select_from(shadows).where(shadows.c.prediction_id > after)
        return int(connection.execute(counted).scalar_one())


def ping(engine: sa.Engine) -> None:
    """Raises SQLAlchemyError where the tables cannot be read: an empty SQLite file answers `SELECT 1` as well."""
    with engine.connect() as connection:
        connection.execute(sa.select(predictions.c.prediction_id).limit(1))


def log_predictions(engine: sa.Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep answered predictions, at most 1000 or so at a time; they are on disk when this returns."""
    # One statement for all rows, written by hand: executemany lets go of the interpreter at each row, and beside
    # a busy thread it waits each time to get it back. SQLAlchemy would compile such a statement anew for each length.
    dialect, marks = engine.dialect, "?" if engine.dialect.paramstyle == "qmark" else "%s"
    row_of_marks = f"({', '.join([marks] * len(predictions.columns))})"
    columns = ", ".join(column.name for column in predictions.columns)
    to_driver = {c.name: c.type.dialect_impl(dialect).bind_processor(dialect) for c in predictions.columns}
    values = [process(row[name]) if process else row[name] for row in rows for name, process in to_driver.items()]
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO predictions ({columns}) VALUES {', '.join([row_of_marks] * len(rows))}",  # noqa: S608  names and marks only
            tuple(values),
        )


def restore_predictions(engine: sa.Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep predictions that may be there already: those stay as they are."""
    _execute(engine, _insert(engine, predictions).on_conflict_do_nothing(), rows)


def log_shadows(engine: sa.Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep what the other model would have answered, with the columns of `shadows`."""
    _execute(engine, _insert(engine, shadows).on_conflict_do_nothing(), rows)


def store_outcomes(engine: sa.Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep labels, with the columns of `outcomes`: the one known last stays, in whatever order they come.

    Of two that were known at the same moment it is the one with a delay, then the later flight.
    """
    statement = _insert(engine, outcomes)
    new, old = statement.excluded, outcomes.c
    order = [
        (new.known_at, old.known_at),
        (sa.func.coalesce(new.delay_minutes, schema.UNTOLD), sa.func.coalesce(old.delay_minutes, schema.UNTOLD)),
        (new.late, old.late),
    ]
    newer = sa.or_(
        *(
            sa.and_(*(a == b for a, b in order[:place]), order[place][0] > order[place][1])
            for place in range(len(order))
        )
    )
    changed = {"late": new.late, "known_at": new.known_at, "delay_minutes": new.delay_minutes}
    rows = [{"delay_minutes": None, **row} for row in rows]
    _execute(engine, statement.on_conflict_do_update(index_elements=[old.flight_id], set_=changed, where=newer), rows)


def known_outcomes(late_minutes: int, known_by: datetime | None = None) -> sa.Subquery:
    """Flight, `late`, delay and moment of each outcome that counts: here and nowhere else it is decided what is known.

    An outcome is known once it is stored; `known_by` is the moment that a look at the past stands at. Reports, the
    comparison and the page look from now, so they see the same; the monitor looks from the end of its day.
    Where the delay is known, `late` is by the rule asked for here, whatever the rule was when it was stored.
    """
    table = outcomes.c
    late = sa.case((table.delay_minutes.is_not(None), table.delay_minutes >= late_minutes), else_=table.late)
    wanted = sa.select(table.flight_id, late.label("late"), table.delay_minutes, table.known_at)
    return (wanted if known_by is None else wanted.where(table.known_at <= known_by)).subquery("known")


def outcome_of(engine: sa.Engine, flight_id: str, late_minutes: int) -> sa.Row[Any] | None:
    known = known_outcomes(late_minutes)
    with engine.connect() as connection:
        return connection.execute(sa.select(known).where(known.c.flight_id == flight_id)).first()


def count_outcomes(engine: sa.Engine, since: datetime, known_by: datetime) -> int:
    """The flights of the timetable scheduled at or after `since` whose outcome was known at `known_by`."""
    known = known_outcomes(0, known_by)  # whichever the rule, it counts alike
    counted = (
        sa.select(sa.func.count())
        .select_from(flights)
        .join(known, known.c.flight_id == flights.c.flight_id)
        .where(flights.c.scheduled_departure >= since)
    )
    with engine.connect() as connection:
        return int(connection.execute(counted).scalar_one())


def record_decision(
    engine: sa.Engine, kind: str, verdict: str, evidence: Mapping[str, Any], at: datetime | None = None
) -> None:
    """Append to the log of everything that was decided about models, with the reason.

    `at` is a moment of the feed's clock, which may lie years behind ours, and the row says so; without it, now.
    """
    said = dict(evidence) if at is None else {**evidence, CLOCK: FEED}
    row = {"decided_at": at or datetime.now(UTC), "kind": kind, "verdict": verdict, "evidence": said}
    with engine.begin() as connection:
        connection.execute(sa.insert(decisions), row)


def last_decision(engine: sa.Engine, kind: str, **about: str) -> sa.Row[Any] | None:
    """The latest decision of that kind whose evidence says so, such as pipeline="...", or day="2013-05-01"."""
    said = [decisions.c.evidence[name].as_string() == value for name, value in about.items()]
    latest = sa.select(decisions).where(decisions.c.kind == kind, *said).order_by(decisions.c.decision_id.desc())
    with engine.connect() as connection:
        return connection.execute(latest.limit(1)).first()


def decisions_of(engine: sa.Engine, kind: str, since: datetime | None = None) -> Sequence[sa.Row[Any]]:
    """Every decision of that kind, the oldest first."""
    wanted = sa.select(decisions).where(decisions.c.kind == kind).order_by(decisions.c.decision_id)
    if since is not None:
        wanted = wanted.where(decisions.c.decided_at >= since)
    with engine.connect() as connection:
        return connection.execute(wanted).all()


def latest_decisions(engine: sa.Engine, most: int) -> Sequence[sa.Row[Any]]:
    """What was decided last, the newest first."""
    latest = sa.select(decisions).order_by(decisions.c.decision_id.desc()).limit(most)
    with engine.connect() as connection:
        return connection.execute(latest).all()
