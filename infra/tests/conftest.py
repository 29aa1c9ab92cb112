"""A service with data and alerts, and a stream, monitored by the real Prometheus and Alertmanager."""

from collections.abc import Iterator
from datetime import date, timedelta
from threading import Event, Thread
from typing import Any, NamedTuple

import pandas as pd
import pytest

from infra.tests import rules
from infra.tests.watchers import Stack, alertmanager_telling, node_exporter, prometheus_watching, receiving
from ontime import database, heartbeat, local_time, release_pointer
from ontime.datasets import Tables
from ontime.params import Params
from ontime.settings import Settings
from pipelines import brokers
from pipelines.operations import monitor, stream, stream_metrics
from pipelines.operations.embedded_broker import embedded_nats
from pipelines.operations.local_server import free_port
from serving import keys
from tests import streaming
from tests.conftest import few_raw, params, raw, signing_keys, tables, weeks
from tests.service import MORNING, running
from tests.serving.test_serving import request_of
from tests.small_world import Small, other, published, settings, small, store

__all__ = ["few_raw", "other", "params", "raw", "settings", "signing_keys", "small", "tables", "weeks"]  # fixtures

DAY = date(2013, 2, 19)
# The metrics that exceed their limit in this world, one per tier.
LIMITS = {"stale_feed_share": 0.01, "rate_gap": 0.01, "prediction_psi": 0.01, "feature_psi": 0.01}
# In this order before all others, so that no process is left with minutes of work when the others have ended.
LONGEST = ("test_stack.py", "test_distributed.py", "test_terraform.py", "test_images.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


class World(NamedTuple):
    settings: Settings
    flights: list[dict[str, Any]]  # materialised, as requests


@pytest.fixture(scope="session")
def world(
    small: Small,
    other: Small,
    weeks: pd.DataFrame,
    tables: Tables,
    params: Params,
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    """Predictions for two days of February 2013, one of them monitored; a canary and a retraining are running."""
    folder = tmp_path_factory.mktemp("world")
    settings = published(folder, small, other).model_copy(update={"evidently": folder / "evidently"})
    stored = store(settings, weeks, tables)
    (settings.releases / heartbeat.COPY).touch()  # as a mirror does
    # Not by pipelines.operations.transitions, which would need an MLflow registry with these two versions.
    release_pointer.set_challenger(settings.releases, "2", 0.5)
    timetable = tables["flights"].set_index("entity_id", drop=False).loc[stored["entity_id"]]
    flights = [request_of(flight) for _, flight in timetable.iterrows()]
    with running(settings) as service:
        for start in range(0, len(flights), 1000):
            service.post("/v1/predictions", flights[start : start + 1000])
    monitor.run(settings, _with_alerts(params), DAY)
    engine = database.connect(settings.database_url)
    midnight = local_time.midnight(DAY)
    database.record_decision(engine, "retraining", "begun", {"day": str(DAY), "reason": "for these tests"}, midnight)
    database.record_decision(engine, "backup", "made", {"reason": "for these tests"})
    return World(settings, flights)


def _with_alerts(params: Params) -> Params:
    """Parameters with daily drift, and with limits so low that an alert of each tier fires."""
    rules = dict(params.monitor.alerts)
    for name, above in LIMITS.items():
        rules[name] = rules[name].model_copy(update={"above": above, "days": 1, "of": 1})
    return params.model_copy(
        update={"monitor": params.monitor.model_copy(update={"drift_every_days": 1, "alerts": rules})}
    )


@pytest.fixture(scope="session")
def streamed(
    small: Small, other: Small, few_raw: Tables, params: Params, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of the metrics of a stream that has predicted half a day of February 2013, on a database of its own."""
    folder, port, stopping = tmp_path_factory.mktemp("stream"), free_port(), Event()
    settings = published(folder, small, other).model_copy(update={"stream_port": port})
    lateness = timedelta(seconds=params.stream.allowed_lateness_seconds)
    noon = streaming.days_later(0.5)
    with embedded_nats(folder / "nats") as address:
        broker = brokers.connect(address)
        streaming.publish(broker, streaming.event_messages(few_raw, params, noon), noon)
        opened = streaming.opened(settings, params, broker, few_raw)
        with stream_metrics.measured(opened, settings, lateness, lambda: noon) as step:
            thread = Thread(target=stream.run, args=(opened, stopping, step))
            thread.start()
            try:
                yield port
            finally:
                stopping.set()
                thread.join(60)
                opened.close()
                broker.close()


@pytest.fixture(scope="session")
def stack(world: World, streamed: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service with API keys, Prometheus with one of them, Alertmanager, and a receiver of pages and tickets."""
    folder = tmp_path_factory.mktemp("watchers")
    (folder / "metrics_key").write_text(keys.add(folder / "keys.json", "prometheus", ["admin"]))
    desk = keys.add(folder / "keys.json", "desk", ["predict"])
    with (
        running(world.settings, ONTIME_API_KEYS=str(folder / "keys.json")) as service,
        receiving() as receiver,
        alertmanager_telling(receiver.url, folder) as alertmanager,
        node_exporter(folder) as node,
        prometheus_watching(service.port, streamed, alertmanager.port, node, folder) as prometheus,
    ):
        watched = Stack(service, {"Authorization": f"Bearer {desk}"}, prometheus, alertmanager, receiver)
        _asked_a_little(watched, world)
        yield watched


def _asked_a_little(stack: Stack, world: World) -> None:
    """Requests of each kind until the rates have values: a counter must be scraped, increase, and be scraped again."""
    refused = 'ontime_requests_total{status="422"}'
    for seen in (refused, f"rate({refused}[1m]) > 0"):
        assert [stack.ask(each) for each in (world.flights[:40], strangers(10), [])] == [200, 200, 422]
        stack.wait_for(seen)
    stack.wait_for("rate(ontime_stream_step_seconds_count[1m])")
    stack.wait_for('ALERTS{alertstate="firing"}')
    for name in rules.recorded():  # each group of rules is evaluated at a moment of its own
        stack.wait_for(name)


def strangers(count: int) -> list[dict[str, Any]]:
    """Flights that are not materialised."""
    return [{**MORNING, "flight_number": number} for number in range(1, count + 1)]
