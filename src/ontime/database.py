"""The operational tables: features (the online store), predictions, outcomes, decisions.

SQLite by default, PostgreSQL by `ONTIME_DATABASE_URL`. Serving and monitoring meet here and nowhere else.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite

from ontime import schema

# Which features, in which order, a stored vector holds: another set is never mistaken for this one.
FEATURE_SET = sha256("\n".join(schema.MATERIALISED).encode()).hexdigest()[:12]


class UTCTime(sa.TypeDecorator[datetime]):
    """An aware datetime in, an aware UTC datetime out, also from SQLite, which stores no offset."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


metadata = sa.MetaData()

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
    sa.Column("prediction_id", sa.String, primary_key=True),
    sa.Column("flight_id", sa.String, nullable=False, index=True),
    sa.Column("answered_at", UTCTime, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("probability_late", sa.Double, nullable=False),
    sa.Column("alert", sa.Boolean, nullable=False),
    sa.Column("features", sa.String, nullable=False),  # "materialised" or "schedule_only"
    sa.Column("vector", sa.LargeBinary, nullable=False),  # the model's whole input, schema.FEATURE_NAMES in order
    sa.Column("latency_ms", sa.Double, nullable=False),  # from the request's arrival to this row's writing
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("flight_id", sa.String, primary_key=True),
    sa.Column("late", sa.Boolean, nullable=False),
    sa.Column("known_at", UTCTime, nullable=False),
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


class Stored(NamedTuple):
    """A row of the online store."""

    moment: datetime
    vector: NDArray[np.float32]


def connect(url: str) -> sa.Engine:
    """An engine whose tables exist. A SQLite file is made, with its folder, if it is missing."""
    parsed = sa.make_url(url)
    on_sqlite = parsed.get_backend_name() == "sqlite"
    if on_sqlite and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed)
    if on_sqlite:
        sa.event.listen(engine, "connect", _durable_and_shared)
    metadata.create_all(engine)
    return engine


def _durable_and_shared(connection: Any, record: object) -> None:  # noqa: ARG001  SQLAlchemy's signature
    """WAL lets readers and a writer work at once; FULL lets a committed row survive a power cut."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _insert_or_replace(engine: sa.Engine, table: sa.Table) -> sa.Insert:
    dialect = {"sqlite": sqlite, "postgresql": postgresql}[engine.dialect.name]
    statement = dialect.insert(table)
    changed = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changed)


def store_features(
    engine: sa.Engine, flight_ids: Sequence[str], moments: Sequence[datetime], vectors: NDArray[np.float32]
) -> None:
    """Put one row a flight into the online store; a flight that is there already is replaced."""
    rows = [
        {
            "flight_id": flight_id,
            "feature_set": FEATURE_SET,
            "moment": moment,
            "vector": vector.astype("<f4").tobytes(),
        }
        for flight_id, moment, vector in zip(flight_ids, moments, vectors, strict=True)
    ]
    with engine.begin() as connection:
        if rows:
            connection.execute(_insert_or_replace(engine, features), rows)


def look_up_features(engine: sa.Engine, flight_ids: Iterable[str]) -> dict[str, Stored]:
    """The stored rows of those flights that have one."""
    wanted = sa.select(features.c.flight_id, features.c.moment, features.c.vector).where(
        features.c.flight_id.in_(list(flight_ids)), features.c.feature_set == FEATURE_SET
    )
    with engine.connect() as connection:
        return {
            row.flight_id: Stored(row.moment, np.frombuffer(row.vector, "<f4")) for row in connection.execute(wanted)
        }


def log_predictions(engine: sa.Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the answered predictions; they are on disk when this returns."""
    with engine.begin() as connection:
        connection.execute(sa.insert(predictions), list(rows))


def record_decision(engine: sa.Engine, kind: str, verdict: str, evidence: Mapping[str, Any]) -> None:
    """Append to the log of everything that was decided about models, with the reason."""
    row = {"decided_at": datetime.now(UTC), "kind": kind, "verdict": verdict, "evidence": dict(evidence)}
    with engine.begin() as connection:
        connection.execute(sa.insert(decisions), row)


def last_decision(engine: sa.Engine, kind: str, pipeline: str) -> sa.Row[Any] | None:
    """The latest decision of that kind about the model that a pipeline run made."""
    of_pipeline = decisions.c.evidence["pipeline"].as_string() == pipeline
    latest = sa.select(decisions).where(decisions.c.kind == kind, of_pipeline).order_by(decisions.c.decision_id.desc())
    with engine.connect() as connection:
        return connection.execute(latest.limit(1)).first()
