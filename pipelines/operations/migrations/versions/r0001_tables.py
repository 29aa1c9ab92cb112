"""The tables of the first version that had migrations.

A database of an earlier version has most of them, so each is created only where it is missing, and so is each index.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from ontime import database_tables

revision = "0001"
down_revision = None

TIME = sa.DateTime(timezone=True)
# Of earlier versions: an index below has the same first column.
OBSOLETE_INDEXES = ("ix_predictions_entity_id", "ix_predictions_answered_at")


def upgrade() -> None:
    # The one table whose columns `problem/` declares: migrate.py adds what is declared later.
    database_tables.entities.create(op.get_bind(), checkfirst=True)
    _create_online_store()
    _create_predictions()
    _create_outcomes_and_decisions()
    _create_stream()
    _create_erasure()


def _create(name: str, *columns: sa.Column[Any], sqlite_options: dict[str, bool] | None = None) -> None:
    op.create_table(name, *columns, if_not_exists=True, **(sqlite_options or {}))


def _index(table: str, *columns: str, unique: bool = False) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns), unique=unique, if_not_exists=True)


def _create_online_store() -> None:
    _create(
        "features",
        sa.Column("entity_id", sa.String, primary_key=True),
        sa.Column("feature_set", sa.String, primary_key=True),
        sa.Column("moment", TIME, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("texts", sa.JSON),
    )
    _index("features", "moment")
    _create(
        "online_copies",
        sa.Column("feature_set", sa.String, primary_key=True),
        sa.Column("epoch", sa.String, nullable=False),
    )


def _create_predictions() -> None:
    _create(
        "predictions",
        sa.Column("prediction_id", sa.String, primary_key=True),
        sa.Column("entity_id", sa.String, nullable=False),
        sa.Column("answered_at", TIME, nullable=False),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("alert", sa.Boolean, nullable=False),
        sa.Column("features", sa.String, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sqlite_options={"sqlite_with_rowid": False},
    )
    _index("predictions", "entity_id", "prediction_id")
    _index("predictions", "answered_at", "alert", "features")
    for name in OBSOLETE_INDEXES:
        op.drop_index(name, "predictions", if_exists=True)
    _create(
        "shadows",
        sa.Column("prediction_id", sa.String, primary_key=True),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
    )
    _index("shadows", "model_version")


def _create_outcomes_and_decisions() -> None:
    _create(
        "outcomes",
        sa.Column("entity_id", sa.String, primary_key=True),
        sa.Column("label", sa.Boolean, nullable=False),
        sa.Column("known_at", TIME, nullable=False),
        sa.Column("value", sa.Double),
    )
    _index("outcomes", "known_at")
    _create(
        "decisions",
        sa.Column("decision_id", sa.Integer, primary_key=True),
        sa.Column("decided_at", TIME, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
    )
    _index("decisions", "kind", "decision_id")
    _index("decisions", "kind", "decided_at")


def _create_stream() -> None:
    _create(
        "stream_events",
        sa.Column("event_number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("table_name", sa.String, nullable=False),
        sa.Column("entity_id", sa.String),
        sa.Column("moment", TIME, nullable=False),
        sa.Column("known_at", TIME, nullable=False),
        sa.Column("content", sa.String, nullable=False),
        sa.Column("late", sa.Boolean, nullable=False),
        sqlite_options={"sqlite_autoincrement": True},
    )
    _index("stream_events", "entity_id")
    _index("stream_events", "moment")
    _create(
        "stream_positions",
        sa.Column("topic", sa.String, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("clock", TIME),
    )
    _create(
        "stream_readers",
        sa.Column("topic", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("lease_until", TIME, nullable=False),
    )
    _create(
        "stream_ranges",
        sa.Column("start", TIME, primary_key=True),
        sa.Column("end", TIME, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("id_prefix", sa.String, nullable=False, unique=True),
        sa.Column("scored", sa.Integer),
        sa.Column("is_published", sa.Boolean, nullable=False),
    )
    _index("stream_ranges", "end")
    _index("stream_ranges", "is_published")
    _create(
        "dead_letters",
        sa.Column("letter_id", sa.Integer, primary_key=True),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("place", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("entity_id", sa.String),
        sa.Column("kept_at", TIME, nullable=False),
        sa.Column("resent_at", TIME),
        sqlite_options={"sqlite_autoincrement": True},
    )
    _index("dead_letters", "entity_id")
    _index("dead_letters", "kept_at")


def _create_erasure() -> None:
    _create(
        "forgotten",
        sa.Column("entity_hash", sa.String, primary_key=True),
        sa.Column("forgotten_at", TIME, nullable=False),
    )
    _create("hash_keys", sa.Column("key", sa.String, primary_key=True))
