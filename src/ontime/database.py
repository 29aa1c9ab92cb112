"""The operational tables: entities and features (the online store), predictions, shadows, outcomes, decisions.

SQLite by default, PostgreSQL by `ONTIME_DATABASE_URL`. Serving and monitoring meet here and nowhere else.
"""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from random import SystemRandom
from time import time_ns
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import SecretStr
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import ReflectedColumn

from ontime import locks, schema
from ontime.declaration import Question, kind_of
from ontime.problem import PROBLEM

# Which features, in which order, a stored vector holds.
FEATURE_SET = sha256("\n".join(schema.ONLINE).encode()).hexdigest()[:12]

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

KINDS: Mapping[type, Any] = {
    str: sa.String, int: sa.BigInteger, float: sa.Double, bool: sa.Boolean, datetime: UTCTime,
}  # fmt: skip
entities = sa.Table(
    "entities",
    metadata,
    sa.Column("entity_id", sa.String, primary_key=True),
    sa.Column("event_at", UTCTime, nullable=False, index=True),
    *(
        sa.Column(name, KINDS[kind_of(each.annotation)], nullable=not each.is_required())
        for name, each in PROBLEM.request.model_fields.items()
    ),
)

features = sa.Table(
    "features",
    metadata,
    sa.Column("entity_id", sa.String, primary_key=True),
    sa.Column("feature_set", sa.String, primary_key=True),
    sa.Column("moment", UTCTime, nullable=False),  # nothing known later is in the vector
    sa.Column("vector", sa.LargeBinary, nullable=False),  # float32 little-endian, schema.ONLINE in order
    sa.Column("texts", sa.JSON),  # the values of those of them that are categories, by name; null: there are none
)

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", sa.String, primary_key=True),  # in order of time: see `new_prediction_id`
    sa.Column("entity_id", sa.String, nullable=False, index=True),  # monitoring joins entities and outcomes
    sa.Column("answered_at", UTCTime, nullable=False, index=True),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("probability", sa.Double, nullable=False),
    sa.Column("alert", sa.Boolean, nullable=False),
    sa.Column("features", sa.String, nullable=False),  # "online", or "request": nothing but the request was known
    sa.Column("vector", sa.LargeBinary, nullable=False),  # the model's whole input, schema.FEATURE_NAMES in order
    sa.Column("latency_ms", sa.Double, nullable=False),  # from the request's receipt to this row's writing
    sqlite_with_rowid=False,  # one tree to write instead of two
)

shadows = sa.Table(  # what the other model of the two would have answered; see Pointer.challenger
    "shadows",
    metadata,
    sa.Column("prediction_id", sa.String, primary_key=True),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("probability", sa.Double, nullable=False),
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("entity_id", sa.String, primary_key=True),
    sa.Column("label", sa.Boolean, nullable=False),  # by the rule of whoever stored it: see `known_outcomes`
    sa.Column("known_at", UTCTime, nullable=False),
    sa.Column("value", sa.Double),  # that `label` was made of; null where nobody told it
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


class DatabaseRefused(ValueError):
    """A database of another problem, or of a version before this one; the message says what to do."""


class OnlineRow(NamedTuple):
    """What the online store has of an entity."""

    vector: NDArray[np.float32]  # schema.ONLINE in order, NaN where unknown, and for categories
    texts: Mapping[str, str]  # the values of the categories among them


class Stored(NamedTuple):
    """A row of the online store, and its prediction moment: nothing known later is in it."""

    moment: datetime
    online: OnlineRow


def connect(url: str | SecretStr, patience_s: float = 10) -> sa.Engine:
    """An engine whose tables exist. A SQLite file is made, with its folder, if it is missing.

    `url`: `Settings.database_url`, or as text. `patience_s`: how long a statement waits for a lock, and a connection
    for its server, before it fails.
    """
    parsed = sa.make_url(url.get_secret_value() if isinstance(url, SecretStr) else url)
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
    """Let the tables exist. Raises DatabaseRefused for those of another problem, or of an earlier version."""
    inspector = sa.inspect(engine)
    there = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in there:
            continue
        columns = {column["name"]: column for column in inspector.get_columns(table.name)}
        if missing := sorted(set(table.columns.keys()) - columns.keys()):
            raise _refused(engine, f"its table {table.name} has no {', '.join(missing)}")
        foreign = sorted(columns.keys() - set(table.columns.keys()))
        if needed := [name for name in foreign if _must_be_given(columns[name])]:
            raise _refused(engine, f"its table {table.name} needs {', '.join(needed)}, which nothing fills any more")
    metadata.create_all(engine)


def _must_be_given(column: ReflectedColumn) -> bool:
    """Whether a row without this column is refused by the database."""
    by_itself = column.get("default") is not None or "identity" in column or "computed" in column
    return not column["nullable"] and not by_itself


def _refused(engine: sa.Engine, why: str) -> DatabaseRefused:
    return DatabaseRefused(
        f"{engine.url.render_as_string()}: {why}: it was made for another problem than {PROBLEM.name}, or before the "
        "names in CHANGELOG.md changed. Move it away, or name another one in ONTIME_DATABASE_URL; `make train` fills a "
        "new one"
    )


def lock_of(database: str) -> Path:
    """Beside a SQLite file: shared by who uses it, held by who puts another in its place."""
    return Path(f"{database}.lock")


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

    Features may count labels, which are others where the limit is another one.
    """
    return f"{FEATURE_SET}-{question.label_at_least:g}-{question.lead_minutes}"


def store_features(
    engine: sa.Engine,
    question: Question,
    entity_ids: Sequence[str],
    moments: Sequence[datetime],
    vectors: NDArray[np.float32],
    texts: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Put one row an entity into the online store; an entity that is there already is replaced."""
    rows = [
        {
            "entity_id": entity_id,
            "feature_set": set_of(question),
            "moment": moment,
            "vector": vector.astype("<f4").tobytes(),
            "texts": None if text is None else dict(text),
        }
        for entity_id, moment, vector, text in zip(
            entity_ids, moments, vectors, texts or repeat(None, len(entity_ids)), strict=True
        )
    ]
    _execute(engine, _insert_or_replace(engine, features), rows)


def store_entities(engine: sa.Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put rows with the columns of `entities` where people can search them."""
    _execute(engine, _insert_or_replace(engine, entities), rows)


def look_up_features(engine: sa.Engine, question: Question, entity_ids: Iterable[str]) -> dict[str, Stored]:
    """The stored rows of those entities that have one for that question."""
    wanted = sa.select(features.c.entity_id, features.c.moment, features.c.vector, features.c.texts).where(
        features.c.entity_id.in_(list(entity_ids)), features.c.feature_set == set_of(question)
    )
    with engine.connect() as connection:
        return {
            row.entity_id: Stored(row.moment, OnlineRow(np.frombuffer(row.vector, "<f4"), row.texts or {}))
            for row in connection.execute(wanted)
        }


def last_moment(engine: sa.Engine, question: Question, before: datetime) -> datetime | None:
    """The latest prediction moment in the online store, for that question, that is earlier than `before`."""
    by_event = (  # event times have an index, and moments are in the same order
        sa.select(features.c.moment)
        .join(entities, entities.c.entity_id == features.c.entity_id)
        .where(
            features.c.feature_set == set_of(question),
            features.c.moment < before,
            entities.c.event_at < before + timedelta(minutes=question.lead_minutes),
        )
        .order_by(entities.c.event_at.desc())
    )
    with engine.connect() as connection:
        return connection.execute(by_event.limit(1)).scalar()


def entities_between(engine: sa.Engine, since: datetime, until: datetime) -> Sequence[sa.Row[Any]]:
    """The entities with an event time in [since, until), in that order."""
    event = entities.c.event_at
    wanted = sa.select(entities).where(event >= since, event < until).order_by(event, entities.c.entity_id)
    with engine.connect() as connection:
        return connection.execute(wanted).all()


def event_times(engine: sa.Engine, entity_ids: Sequence[str]) -> dict[str, datetime]:
    """Of those of these entities that are known."""
    wanted = sa.select(entities.c.entity_id, entities.c.event_at).where(entities.c.entity_id.in_(entity_ids))
    with engine.connect() as connection:
        return {row.entity_id: row.event_at for row in connection.execute(wanted)}


def look_up_all(engine: sa.Engine, question: Question, since: datetime, until: datetime) -> dict[str, bytes]:
    """The stored vectors of all entities with a prediction moment in [since, until), as they lie on disk."""
    wanted = sa.select(features.c.entity_id, features.c.vector).where(
        features.c.feature_set == set_of(question), features.c.moment >= since, features.c.moment < until
    )
    with engine.connect() as connection:
        return {row.entity_id: row.vector for row in connection.execute(wanted)}


def texts_between(
    engine: sa.Engine, question: Question, since: datetime, until: datetime
) -> dict[str, Mapping[str, str]]:
    """The stored categories of all entities with an event time in [since, until)."""
    wanted = (
        sa.select(features.c.entity_id, features.c.texts)
        .join(entities, entities.c.entity_id == features.c.entity_id)
        .where(features.c.feature_set == set_of(question), entities.c.event_at >= since, entities.c.event_at < until)
    )
    with engine.connect() as connection:
        return {row.entity_id: row.texts or {} for row in connection.execute(wanted)}


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

    Of two that were known at the same moment it is the one with a value, then with the higher one, then the positive
    one.
    """
    statement = _insert(engine, outcomes)
    new, old = statement.excluded, outcomes.c
    order = [
        (new.known_at, old.known_at),
        (sa.func.coalesce(new.value, schema.LEAST_VALUE), sa.func.coalesce(old.value, schema.LEAST_VALUE)),
        (new.label, old.label),
    ]
    newer = sa.or_(
        *(
            sa.and_(*(a == b for a, b in order[:place]), order[place][0] > order[place][1])
            for place in range(len(order))
        )
    )
    changed = {"label": new.label, "known_at": new.known_at, "value": new.value}
    rows = [{"value": None, **row} for row in rows]
    _execute(engine, statement.on_conflict_do_update(index_elements=[old.entity_id], set_=changed, where=newer), rows)


def known_outcomes(label_at_least: float, known_by: datetime | None = None) -> sa.Subquery:
    """Entity, `label`, value and moment of each outcome that counts: here and nowhere else it is decided what is known.

    An outcome is known once it is stored; `known_by` is the moment that a look at the past stands at. Reports, the
    comparison and the page look from now, so they see the same; the monitor looks from the end of its day.
    Where the value is known, `label` is by the rule asked for here, whatever the rule was when it was stored.
    """
    table = outcomes.c
    label = sa.case((table.value.is_not(None), table.value >= label_at_least), else_=table.label)
    wanted = sa.select(table.entity_id, label.label("label"), table.value, table.known_at)
    return (wanted if known_by is None else wanted.where(table.known_at <= known_by)).subquery("known")


def outcome_of(engine: sa.Engine, entity_id: str, label_at_least: float) -> sa.Row[Any] | None:
    known = known_outcomes(label_at_least)
    with engine.connect() as connection:
        return connection.execute(sa.select(known).where(known.c.entity_id == entity_id)).first()


def count_outcomes(engine: sa.Engine, since: datetime, known_by: datetime) -> int:
    """The entities with an event time at or after `since` whose outcome was known at `known_by`."""
    known = known_outcomes(0, known_by)  # whichever the rule, it counts alike
    counted = (
        sa.select(sa.func.count())
        .select_from(entities)
        .join(known, known.c.entity_id == entities.c.entity_id)
        .where(entities.c.event_at >= since)
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
