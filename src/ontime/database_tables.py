"""The tables of the database: entities and features (the online store), predictions, shadows, outcomes, decisions.

Those that begin with `stream_`, and `dead_letters`, are those of `ontime stream`: pipelines/operations/stream_store.py.
`forgotten` and `hash_keys` have no personal data: they keep an erased entity from returning (erasure.py).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ontime.problem import PROBLEM
from ontime.request_fields import kind_of


class UTCTime(sa.TypeDecorator[datetime]):
    """Takes an aware datetime and returns an aware UTC datetime, also from SQLite, which stores no offset."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


metadata = sa.MetaData()

COLUMN_TYPES: Mapping[type, Any] = {
    str: sa.String, int: sa.BigInteger, float: sa.Double, bool: sa.Boolean, datetime: UTCTime,
}  # fmt: skip
entities = sa.Table(
    "entities",
    metadata,
    sa.Column("entity_id", sa.String, primary_key=True),
    sa.Column("event_at", UTCTime, nullable=False, index=True),
    *(
        sa.Column(name, COLUMN_TYPES[kind_of(each.annotation)], nullable=not each.is_required())
        for name, each in PROBLEM.request.model_fields.items()
    ),
    *(sa.Index(f"ix_entities_{each.field}_event_at", each.field, "event_at") for each in PROBLEM.search),
)

features = sa.Table(
    "features",
    metadata,
    sa.Column("entity_id", sa.String, primary_key=True),
    sa.Column("feature_set", sa.String, primary_key=True),  # see online_store.feature_set_of
    sa.Column(
        "moment", UTCTime, nullable=False, index=True
    ),  # the prediction moment: nothing known later is in the vector
    sa.Column("vector", sa.LargeBinary, nullable=False),  # float32 little-endian, schema.ONLINE in order
    sa.Column("texts", sa.JSON),  # the values of the categorical features, by name; null: there are none
)

online_copies = sa.Table(  # which values of a Redis copy are valid: see redis_copy.py
    "online_copies",
    metadata,
    sa.Column("feature_set", sa.String, primary_key=True),
    sa.Column("epoch", sa.String, nullable=False),  # random; another one makes every earlier value invalid
)

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", sa.String, primary_key=True),  # sorted by time: see database.new_prediction_id
    sa.Column("entity_id", sa.String, nullable=False),
    sa.Column("answered_at", UTCTime, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("probability", sa.Double, nullable=False),
    sa.Column("alert", sa.Boolean, nullable=False),
    sa.Column("features", sa.String, nullable=False),  # "online", or "request": the online store had no row
    sa.Column("vector", sa.LargeBinary, nullable=False),  # the model's whole input, schema.FEATURE_NAMES in order
    sa.Column("latency_ms", sa.Double, nullable=False),  # from receipt of the request to the insert of this row
    sa.Index("ix_predictions_entity_id_prediction_id", "entity_id", "prediction_id"),  # the last one of an entity
    sa.Index("ix_predictions_answered_at_alert_features", "answered_at", "alert", "features"),  # all that /ops counts
    sqlite_with_rowid=False,  # one B-tree to write instead of two
)

shadows = sa.Table(  # predictions that the other release made for the same requests; see release_pointer.Challenger
    "shadows",
    metadata,
    sa.Column("prediction_id", sa.String, primary_key=True),
    sa.Column("model_version", sa.String, nullable=False, index=True),  # a comparison reads the rows of one trial
    sa.Column("probability", sa.Double, nullable=False),
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("entity_id", sa.String, primary_key=True),
    sa.Column("label", sa.Boolean, nullable=False),  # by the caller's limit: see database.known_outcomes
    sa.Column("known_at", UTCTime, nullable=False, index=True),
    sa.Column("value", sa.Double),  # the value behind `label`; null if the caller did not send it
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("decision_id", sa.Integer, primary_key=True),
    sa.Column("decided_at", UTCTime, nullable=False),
    sa.Column("kind", sa.String, nullable=False),  # docs/monitoring.md lists the kinds and their verdicts
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("actor", sa.String),  # who decided; null: written before the column existed
    sa.Column("chain", sa.String),  # a digest of this row and the row before it: see decision_chain.py
    sa.Index("ix_decisions_kind_decision_id", "kind", "decision_id"),
    sa.Index("ix_decisions_kind_decided_at", "kind", "decided_at"),
)

stream_events = sa.Table(  # every valid message, by commit; the recent rows of all tables follow from it
    "stream_events",
    metadata,
    sa.Column("event_number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("table_name", sa.String, nullable=False),
    sa.Column("entity_id", sa.String, index=True),  # null: a row of another table
    sa.Column("moment", UTCTime, nullable=False, index=True),  # of the row: see datasets.Table
    sa.Column("known_at", UTCTime, nullable=False),
    sa.Column("content", sa.String, nullable=False),  # the values, as JSON
    sa.Column("late", sa.Boolean, nullable=False),  # came after predictions that it would have been known for
    sqlite_autoincrement=True,  # a deleted row's number is never given again
)

stream_positions = sa.Table(  # up to where each partition of a topic has been read
    "stream_positions",
    metadata,
    sa.Column("topic", sa.String, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("offset", sa.BigInteger, nullable=False),  # of the last message
    sa.Column("clock", UTCTime),  # the latest time that a message of the partition was known at; null: none had one
)

stream_readers = sa.Table(  # which process reads a topic
    "stream_readers",
    metadata,
    sa.Column("topic", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("lease_until", UTCTime, nullable=False),
)

stream_ranges = sa.Table(  # ranges of prediction moments, each scored by one process as a whole
    "stream_ranges",
    metadata,
    sa.Column("start", UTCTime, primary_key=True),
    sa.Column("end", UTCTime, nullable=False, index=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("lease_until", UTCTime, nullable=False),
    sa.Column("id_prefix", sa.String, nullable=False, unique=True),  # of its predictions: 16 hex digits
    sa.Column("scored", sa.Integer),  # the number of predictions; null: not yet
    sa.Column("is_published", sa.Boolean, nullable=False, index=True),  # to the topic of the predictions
)

dead_letters = sa.Table(  # messages that are not valid
    "dead_letters",
    metadata,
    sa.Column("letter_id", sa.Integer, primary_key=True),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("place", sa.String, nullable=False),  # in the message, such as `values.known_at`
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("entity_id", sa.String, index=True),  # null: the message does not say it
    sa.Column("kept_at", UTCTime, nullable=False, index=True),
    sa.Column("resent_at", UTCTime),
    sqlite_autoincrement=True,
)

forgotten = sa.Table(
    "forgotten",
    metadata,
    sa.Column("entity_hash", sa.String, primary_key=True),  # see erasure.entity_hash
    sa.Column("forgotten_at", UTCTime, nullable=False),
)

hash_keys = sa.Table("hash_keys", metadata, sa.Column("key", sa.String, primary_key=True))  # one row: of entity_hash

# Which revision in pipelines/operations/migrations has made the tables, as Alembic stores it, and the one that makes
# those above. After a change of a table, `ontime migrate --new "the change"` writes the next one.
revision_table = sa.Table("ontime_revision", metadata, sa.Column("version_num", sa.String(32), primary_key=True))
REVISION = "0002"
