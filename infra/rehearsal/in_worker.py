"""What the rehearsal asks of a pod that has the worker's image, its database and its volume.

python -m infra.rehearsal.in_worker requests 200            requests for the latest entities, as JSON
python -m infra.rehearsal.in_worker weeks                   how many weeks the feed's clock is behind
python -m infra.rehearsal.in_worker rows < prediction_ids   rows in the tables, and the ids that have none
python -m infra.rehearsal.in_worker scored FILE             rows in a file that `ontime score` has written
"""

import json
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import sqlalchemy as sa

from ontime import database
from ontime.database_tables import entities, predictions, shadows
from ontime.params import load_params
from ontime.requests import request_of
from ontime.settings import Settings, load_settings
from pipelines.operations import feed_clock


def latest_requests(engine: sa.Engine, count: int) -> list[dict[str, Any]]:
    """What callers would send for the entities with the latest event times."""
    with engine.connect() as connection:
        query = sa.select(entities).order_by(entities.c.event_at.desc(), entities.c.entity_id).limit(count)
        table = pd.DataFrame(connection.execute(query).mappings().all(), dtype=object)
    return [request_of(row).model_dump(mode="json") for _, row in table.iterrows()]


def stored_rows(engine: sa.Engine, prediction_ids: Collection[str]) -> dict[str, Any]:
    """How many predictions and shadows are stored, and which of the ids are not among the predictions."""
    with engine.connect() as connection:
        stored_ids = set(connection.scalars(sa.select(predictions.c.prediction_id)))
        shadow_count = connection.scalar(sa.select(sa.func.count()).select_from(shadows))
    missing = sorted(set(prediction_ids) - stored_ids)
    return {"predictions": len(stored_ids), "shadows": shadow_count, "missing": missing}


def main() -> None:
    settings, (command, *arguments) = load_settings(), sys.argv[1:]
    print(json.dumps(COMMANDS[command](settings, *arguments)))


def _requests(settings: Settings, count: str) -> list[dict[str, Any]]:
    return latest_requests(database.connect(settings.database_url), int(count))


def _weeks(settings: Settings) -> int:
    return feed_clock.weeks_behind(settings, load_params(), datetime.now(UTC))


def _rows(settings: Settings) -> dict[str, Any]:
    return stored_rows(database.connect(settings.database_url), sys.stdin.read().split())


def _scored(_: Settings, path: str) -> int:
    return int(pq.read_metadata(Path(path)).num_rows)


COMMANDS: Mapping[str, Callable[..., Any]] = {
    "requests": _requests,
    "weeks": _weeks,
    "rows": _rows,
    "scored": _scored,
}


if __name__ == "__main__":
    main()
