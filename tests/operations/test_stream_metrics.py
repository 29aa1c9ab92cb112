"""/metrics of `ontime stream` says what the stream did, what waits, and how far it is behind."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ontime.datasets import Tables
from ontime.params import Params
from ontime.settings import BadSettings, Settings
from pipelines import brokers
from pipelines.brokers import Broker
from pipelines.operations import local_server, stream, stream_metrics, stream_store
from pipelines.operations.embedded_broker import embedded_nats
from pipelines.operations.stream import Stream
from pipelines.operations.stream_metrics import measured
from pipelines.operations.stream_reader import EVENTS, OUTCOMES
from tests import streaming
from tests.service import wait_for
from tests.streaming import START, days_later

pytestmark = pytest.mark.slow


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with embedded_nats(tmp_path / "nats") as address:
        connected = brokers.connect(address)
        yield connected
        connected.close()


@pytest.fixture
def watched(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """With a port for /metrics, which is never older than a moment."""
    monkeypatch.setattr(stream_metrics, "REFRESH_SECONDS", 0.0)
    return settings.model_copy(update={"stream_port": local_server.free_port()})


Samples = dict[tuple[str, str], float]


def scraped(settings: Settings) -> Samples:
    """The samples by name and the value of their only label, if they have one; without those of the histogram."""
    with urlopen(f"http://127.0.0.1:{settings.stream_port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, sample.labels.get("kind", "")): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


@contextmanager
def running(settings: Settings, opened: Stream, params: Params, now: Callable[[], datetime] | None) -> Iterator[None]:
    """The stream in a thread, with its metrics."""
    stopping, lateness = Event(), timedelta(seconds=params.stream.allowed_lateness_seconds)
    with measured(opened, settings, lateness, now) as step:
        thread = Thread(target=stream.run, args=(opened, stopping, step))
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(60)
            opened.close()


def test_metrics_are_the_counts_of_the_stream_and_the_state_of_its_database(
    watched: Settings, params: Params, broker: Broker, few_raw: Tables
) -> None:
    end, later = days_later(0.5), timedelta(minutes=10)
    streaming.publish(broker, streaming.event_messages(few_raw, params, end), end)
    streaming.publish_raw(broker, EVENTS, b"not json")
    streaming.publish_raw(broker, OUTCOMES, b"{}")
    opened = streaming.opened(watched, params, broker, few_raw)

    with running(watched, opened, params, lambda: end + later):
        wait_for(lambda: scraped(watched)["ontime_stream_dead_letters", ""] == 2, 60)
        wait_for(lambda: opened.scored_until() == opened.watermark)
        wait_for(lambda: scraped(watched)["ontime_stream_predictions_total", ""] > 50)
        samples = scraped(watched)

    kinds = {kind: value for (name, kind), value in samples.items() if name == "ontime_stream_messages_total"}
    status = stream_store.status(opened.engine, EVENTS, timedelta(0))
    lateness = timedelta(seconds=params.stream.allowed_lateness_seconds)
    assert opened.counts["events"] > 1_000
    assert kinds == {kind.replace(" ", "_"): opened.counts[kind] for kind in stream_metrics.MESSAGE_KINDS}
    assert set(opened.counts) <= {*stream_metrics.MESSAGE_KINDS, "predictions"}
    assert samples["ontime_stream_predictions_total", ""] == len(streaming.predicted(opened.engine).ids)
    assert samples["ontime_stream_unscored_ranges", ""] == status["unscored_ranges"] == 0
    assert samples["ontime_stream_watermark_seconds", ""] == (end - lateness).timestamp()
    assert samples["ontime_stream_behind_seconds", ""] == (later + lateness).total_seconds()
    assert samples["ontime_stream_reading", ""] == 1
    assert samples["ontime_stream_waiting_messages", ""] == 0
    assert samples["ontime_stream_step_seconds_count", ""] >= 1


def test_what_waits_is_counted_by_the_process_that_reads(
    watched: Settings, params: Params, broker: Broker, few_raw: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = days_later(0.25)
    events = streaming.event_messages(few_raw, params, end)
    streaming.publish(broker, events, end)
    reading, other = (streaming.opened(watched, params, broker, few_raw) for _ in range(2))
    monkeypatch.setattr(stream, "MOST_MESSAGES", 100)
    assert reading.step()
    assert not other.is_reading

    metrics = [stream_metrics.StreamMetrics(each, timedelta(0), None) for each in (reading, other)]
    for each in metrics:
        each.step()

    waiting, is_reading = (
        [each.registry.get_sample_value(f"ontime_stream_{name}") for each in metrics]
        for name in ("waiting_messages", "reading")
    )
    assert waiting == [len(events) + 1 - 200, 0]
    assert is_reading == [1, 0]
    for opened in (reading, other):
        opened.close()


def test_without_a_broker_nobody_reads_and_the_watermark_falls_behind(
    watched: Settings, params: Params, few_raw: Tables, tmp_path: Path
) -> None:
    hours = iter(range(1, 1_000_000))

    def clock() -> datetime:
        return START + timedelta(hours=next(hours))

    with embedded_nats(tmp_path / "nats") as address:
        broker = brokers.connect(address)
        opened = streaming.opened(watched, params, broker, few_raw)
        with running(watched, opened, params, clock):
            wait_for(lambda: scraped(watched)["ontime_stream_reading", ""] == 1)
            assert math.isnan(scraped(watched)["ontime_stream_behind_seconds", ""])
            streaming.publish(broker, [], START)
            wait_for(lambda: scraped(watched)["ontime_stream_behind_seconds", ""] > 0)

            broker.close()

            wait_for(lambda: scraped(watched)["ontime_stream_reading", ""] == 0)
            first, second = (scraped(watched)["ontime_stream_behind_seconds", ""] for _ in range(2))
    assert second > first


def test_by_a_simulated_clock_nothing_is_behind(
    watched: Settings, params: Params, broker: Broker, few_raw: Tables
) -> None:
    opened = streaming.opened(watched, params, broker, few_raw)

    with running(watched, opened, params, None):
        assert ("ontime_stream_behind_seconds", "") not in scraped(watched)


def test_without_a_port_no_metrics_are_served(
    settings: Settings, params: Params, broker: Broker, few_raw: Tables
) -> None:
    opened = streaming.opened(settings, params, broker, few_raw)

    with measured(opened, settings, timedelta(0), None) as step:
        assert step == opened.step
    opened.close()


def test_a_port_in_use_is_refused_with_the_setting(
    watched: Settings, params: Params, broker: Broker, few_raw: Tables
) -> None:
    opened = streaming.opened(watched, params, broker, few_raw)

    with (
        measured(opened, watched, timedelta(0), None),
        pytest.raises(BadSettings, match=f"ONTIME_STREAM_PORT={watched.stream_port}: .*choose another address"),
        measured(opened, watched, timedelta(0), None),
    ):
        pass
    opened.close()
