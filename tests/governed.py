"""An entity about which every place stores something, for the tests of `make forget` and `make export`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from ontime import database, database_tables, release, schema
from ontime.datasets import Tables
from ontime.settings import Settings
from pipelines.layout import write_table
from serving.spool import Spool
from tests.small_world import store

ANSWERED_AT = datetime(2013, 2, 18, 9, 30, tzinfo=UTC)
TABLES = ("entities", "features", "predictions", "shadows", "outcomes", "stream_events", "dead_letters")


class Governed(NamedTuple):
    settings: Settings
    engine: sa.Engine
    erased: str  # the id of the entity that the tests erase or export
    other: str  # the id of an entity that stays

    def counts(self) -> dict[str, int]:
        with self.engine.connect() as connection:
            return {
                name: connection.execute(
                    sa.select(sa.func.count()).select_from(database_tables.metadata.tables[name])
                ).scalar_one()
                for name in TABLES
            }

    def predicted(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(database_tables.predictions.c.entity_id)).scalars())


def prediction(number: int, entity_id: str) -> dict[str, Any]:
    vector = np.full(len(schema.FEATURE_NAMES), 2, "<f4")
    vector[schema.FEATURE_NAMES.index(schema.CATEGORICAL[0])] = 0  # the code of the first category
    return {
        "prediction_id": f"{number:032}",
        "entity_id": entity_id,
        "answered_at": ANSWERED_AT,
        "model_version": "1",
        "probability": 0.25,
        "alert": True,
        "features": "online",
        "vector": vector.tobytes(),
        "latency_ms": 1.5,
    }


def stream_event(entity_id: str | None, moment: datetime) -> dict[str, Any]:
    place = {"topic": "events", "partition": 0, "offset": 1}
    row = {"table_name": "flights", "entity_id": entity_id, "moment": moment, "known_at": moment}
    return place | row | {"content": f'{{"entity_id": "{entity_id}"}}', "late": False}


def dead_letter(entity_id: str | None, kept_at: datetime) -> dict[str, Any]:
    place = {"topic": "events", "partition": 0, "offset": 2, "place": "values.carrier", "reason": "is null"}
    return place | {"body": f"{entity_id}".encode(), "entity_id": entity_id, "kept_at": kept_at, "resent_at": None}


def governed(settings: Settings, weeks: pd.DataFrame, tables: Tables, folder: Path) -> Governed:
    """Features, outcomes, predictions, shadows and a quarantined row of two entities; the first is a probe as well."""
    settings = settings.model_copy(update={"quarantine": folder / "quarantine", "actor": "ada@desk"})
    rows = store(settings, weeks, tables)
    probed = release.load(settings.releases, "1").probes[0].entity.entity_id
    erased = probed if probed in set(rows["entity_id"]) else rows["entity_id"].iloc[0]
    other = next(each for each in rows["entity_id"] if each != erased)
    engine = database.connect(settings.database_url)
    predictions = [prediction(number, each) for number, each in enumerate((erased, other, erased))]
    database.log_predictions(engine, predictions)
    shadows = [
        {"prediction_id": each["prediction_id"], "model_version": "2", "probability": 0.3} for each in predictions
    ]
    database.log_shadows(engine, shadows)
    for each in (erased, other):
        database.insert_rows(engine, database_tables.stream_events, [stream_event(each, ANSWERED_AT)])
        database.insert_rows(engine, database_tables.dead_letters, [dead_letter(each, ANSWERED_AT)])
    batch = tables["flights"][tables["flights"]["entity_id"].isin([erased, other])]
    write_table(batch, settings.quarantine / "2013-02-18-flights.parquet")
    (settings.quarantine / "2013-02-18-flights.txt").write_text(f"flights: first row 1: {erased!r}\n")
    return Governed(settings, engine, erased, other)


def stopped_service(settings: Settings, *rows: dict[str, Any]) -> None:
    """A spool file whose service was killed."""
    spool = Spool(settings.spool)
    spool.append(rows)
    spool._file.close()  # releases the lock, as the end of the process does
