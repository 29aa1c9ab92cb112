"""The traffic on the page /ops: which predictions of the log it counts, and in which minute."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ontime import database
from serving import operations
from tests.postgres import DATABASES


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url = f"sqlite:///{tmp_path}/ontime.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").new_database()
    connected = database.connect(url)
    yield connected
    connected.dispose()


def answer(engine: sa.Engine, answered_at: datetime, *, alert: bool = False, features: str = "online") -> None:
    row = {
        "prediction_id": database.new_prediction_ids(1)[0],
        "entity_id": "a",
        "answered_at": answered_at,
        "model_version": "1",
        "probability": 0.5,
        "alert": alert,
        "features": features,
        "vector": b"",
        "latency_ms": 5.0,
    }
    database.log_predictions(engine, [row])


def test_the_predictions_of_the_last_hour_are_counted_by_minute(engine: sa.Engine) -> None:
    half_past = (datetime.now(UTC) - timedelta(minutes=30)).replace(second=0, microsecond=0)
    answer(engine, half_past, alert=True)
    answer(engine, half_past + timedelta(seconds=59.999), features="request")
    answer(engine, half_past + timedelta(minutes=1))
    answer(engine, half_past - timedelta(minutes=40))  # longer ago than an hour

    traffic = operations.recent_traffic(engine)

    assert (traffic.predictions, traffic.alerts, traffic.request_only) == (3, 1, 1)
    assert [(each.minute, each.predictions, each.alerts) for each in traffic.by_minute] == [
        (half_past, 2, 1),
        (half_past + timedelta(minutes=1), 1, 0),
    ]


def test_a_prediction_of_a_machine_whose_clock_is_ahead_counts_in_this_minute(engine: sa.Engine) -> None:
    answer(engine, datetime.now(UTC) + timedelta(minutes=5))

    traffic = operations.recent_traffic(engine)

    assert traffic.predictions == 1
    assert [each.predictions for each in traffic.by_minute] == [1]


def test_an_hour_without_predictions_has_no_minutes(engine: sa.Engine) -> None:
    traffic = operations.recent_traffic(engine)

    assert (traffic.predictions, traffic.by_minute) == (0, ())
    assert traffic.single.p50_ms is None
