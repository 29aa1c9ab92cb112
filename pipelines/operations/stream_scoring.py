"""Scores a range: the features of the entities whose prediction moment is in it, their predictions, and one commit."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from pydantic_core import to_json

from ontime import contract, database, features, live_releases, model, release_pointer, sources
from ontime.database_tables import predictions
from ontime.datasets import KEY, Tables
from ontime.decision_chain import exclusive_transaction
from ontime.live_releases import LiveReleases
from ontime.params import Params
from ontime.problem.data import DATA
from ontime.redis_copy import RedisWriter
from ontime.release import Release, ReleaseRefused
from ontime.settings import Settings
from pipelines.brokers import Message
from pipelines.operations import materialise, stream_store
from pipelines.operations.stream_state import Position, RecentRows
from pipelines.operations.stream_store import MomentRange

logger = logging.getLogger(__name__)

INSERTED_AT_ONCE = 1000
OUTPUT = ("prediction_id", "entity_id", "answered_at", "model_version", "probability", "alert")


class ReleaseFollower:
    """The live releases; `current` reads them again when the pointer has moved."""

    def __init__(self, settings: Settings, params: Params) -> None:
        """Raises NoRelease, ReleaseRefused and QuestionDiffers."""
        self._settings, self._params = settings, params
        self._pointer = release_pointer.require_pointer(settings.releases)
        materialise.refuse_question_mismatch(settings, params)
        self._live = live_releases.read_live(settings.releases)

    def current(self) -> LiveReleases:
        try:
            pointer = release_pointer.require_pointer(self._settings.releases)
            if pointer != self._pointer:
                materialise.refuse_question_mismatch(self._settings, self._params)
                self._live = live_releases.read_live(self._settings.releases)
                self._pointer = pointer
        except (ReleaseRefused, materialise.QuestionDiffers, OSError) as refused:
            logger.error("release refused, %s goes on: %s", self._live.champion.manifest.version, refused)
        return self._live


def features_in(rows: RecentRows, broken: Mapping[str, set[date]], part: MomentRange, params: Params) -> pd.DataFrame:
    """The features of the entities whose prediction moment is in the range, by moment."""
    lead = timedelta(minutes=params.features.lead_minutes)
    tables = usable(rows, broken)
    built = features.build(tables, part.start + lead, part.end + lead, params.features, params.question)
    return built.sort_values("moment", kind="stable")


def usable(rows: RecentRows, broken: Mapping[str, set[date]]) -> Tables:
    """The recent rows without the days that break the contract, and with the repairs of known errors."""
    remaining = dict(rows.tables)
    for name, days in broken.items():
        if days:
            moments = remaining[name][str(DATA.table(name).moment)]
            remaining[name] = remaining[name][~sources.days_of(moments).dt.date.isin(days)]
    return contract.repaired(remaining)


def prediction_id(part: MomentRange, position: Position) -> str:
    """The same whenever a range is scored: 16 digits of the range, then 16 of the place of the entity's first event."""
    return part.id_prefix + sha256(f"{position.topic} {position.partition} {position.offset}".encode()).hexdigest()[:16]


def predict(
    built: pd.DataFrame, rows: RecentRows, part: MomentRange, live: LiveReleases, began: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the tables `predictions` and `shadows`; `began`: when the work began, on the clock of perf_counter."""
    ids = built[KEY].tolist()
    releases = filter(None, (live.champion, live.challenger))
    scores = {release.manifest.version: _scores(built, release) for release in releases}
    now, latency_ms = datetime.now(UTC), 1000 * (perf_counter() - began)
    logged, shadows = [], []
    for place, entity_id in enumerate(ids):
        answering = live.challenger if live.routes_to_challenger(entity_id) and live.challenger else live.champion
        version = answering.manifest.version
        matrix, probabilities = scores[version]
        key = prediction_id(part, rows.position_of(entity_id))
        logged.append(
            {
                "prediction_id": key,
                "entity_id": entity_id,
                "answered_at": now,
                "model_version": version,
                "probability": probabilities[place],
                "alert": probabilities[place] >= answering.manifest.threshold,
                "features": "online",
                "vector": matrix[place].tobytes(),
                "latency_ms": latency_ms,
            }
        )
        shadows += [
            {"prediction_id": key, "model_version": other, "probability": values[place]}
            for other, (_, values) in scores.items()
            if other != version
        ]
    return logged, shadows


def _scores(built: pd.DataFrame, release: Release) -> tuple[np.ndarray, list[float]]:
    matrix = model.matrix_of(built, release.manifest.categories).astype("<f4", copy=False)
    return matrix, release.model.predict(matrix).tolist()


def score(
    engine: sa.Engine, rows: RecentRows, broken: Mapping[str, set[date]], part: MomentRange, live: LiveReleases,
    params: Params, owner: str, began: float, redis: RedisWriter | None = None,
) -> Sequence[Mapping[str, Any]] | None:  # fmt: skip
    """Score a range and commit it as a whole; its predictions, or None if another process has taken the range over."""
    built = materialise.without_erased(engine, features_in(rows, broken, part, params))
    marked = None
    logged, shadows = predict(built, rows, part, live, began) if len(built) else ([], [])
    with exclusive_transaction(engine) as connection:
        if not stream_store.finish(connection, owner, part, len(logged)):
            return None
        if logged:
            entities = rows.tables[DATA.entities].set_index(KEY, drop=False)
            marked = materialise.store_rows(connection, params.question, built, entities, redis)
            for start in range(0, len(logged), INSERTED_AT_ONCE):
                database.log_predictions(connection, logged[start : start + INSERTED_AT_ONCE])
            database.log_shadows(connection, shadows)
    if marked is not None:
        marked.publish()
    return logged


def messages_of(logged: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages of predictions for the output topic."""
    return [
        Message(row["entity_id"], row["prediction_id"], to_json({name: row[name] for name in OUTPUT})) for row in logged
    ]


def predictions_in(engine: sa.Engine, id_prefix: str) -> list[Mapping[str, Any]]:
    """The predictions of a range that was scored before."""
    table = predictions.c
    query = sa.select(*(table[name] for name in OUTPUT)).where(
        table.prediction_id >= f"{id_prefix}{'0' * 16}", table.prediction_id <= f"{id_prefix}{'f' * 16}"
    )
    with engine.connect() as connection:
        return [row._asdict() for row in connection.execute(query.order_by(table.prediction_id))]
