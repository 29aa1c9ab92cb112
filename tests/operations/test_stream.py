"""Predictions from a stream are those of the batch, each once, whatever order, repetition or lateness messages have."""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from ontime import database, database_tables, online_store
from ontime.datasets import Tables
from ontime.params import Params
from ontime.redis_copy import RedisReader
from ontime.settings import Settings
from pipelines import brokers
from pipelines.brokers import Broker
from pipelines.operations import arrivals, dead_letters, materialise, stream, stream_store
from pipelines.operations.embedded_broker import embedded_nats
from pipelines.operations.stream_events import message_of
from pipelines.operations.stream_feed import FeedPublisher
from pipelines.operations.stream_reader import EVENTS, OUTCOMES
from tests import streaming
from tests.mock_kafka import create_in_mock_cluster, mock_cluster
from tests.redis_server import running_server
from tests.service import wait_for
from tests.streaming import START, days_later, run_to_end

pytestmark = pytest.mark.slow

MOCK_MESSAGES = 20_000  # the mock cluster drops older messages than the last 5 MB of a partition


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with embedded_nats(tmp_path / "nats") as address:
        connected = brokers.connect(address)
        yield connected
        connected.close()


def has_read(running: stream.Stream, count: int) -> bool:
    """After a step. Kafka may deliver nothing for a while, so a step without a message is not the end."""
    idle = not running.step(0.1)
    with running.engine.connect() as connection:
        return idle and stream_store.last_event_number(connection) == count


def with_lateness(params: Params, seconds: int) -> Params:
    return params.model_copy(update={"stream": params.stream.model_copy(update={"allowed_lateness_seconds": seconds})})


@pytest.fixture
def at_once(params: Params) -> Params:
    return with_lateness(params, 0)


def test_a_week_is_predicted_as_by_the_batch_bit_for_bit(
    settings: Settings, params: Params, broker: Broker, raw: Tables, tables: Tables
) -> None:
    end = days_later(7)
    feed = FeedPublisher(broker, params, lambda *_: raw)
    feed.publish(START - arrivals.lookback(params), end + timedelta(seconds=params.stream.allowed_lateness_seconds))

    running = run_to_end(streaming.opened(settings, params, broker, raw))

    built, reference = streaming.expected(tables, params, settings, end)
    assert running.watermark == end
    assert len(reference.entities) > 5_900
    streaming.assert_once_and_equal(running.engine, reference)
    assert streaming.stored_vectors(running.engine, params, built) == []
    assert sorted(streaming.output_ids(broker)) == sorted(streaming.predicted(running.engine).ids)
    assert running.counts["late"] == running.counts["dead letters"] == running.counts["repeated"] == 0


def test_from_several_partitions_of_kafka_the_predictions_are_the_same(
    settings: Settings, at_once: Params, few_raw: Tables, few: Tables
) -> None:
    """Of librdkafka's mock cluster: real client and protocol, four partitions."""
    end = days_later(0.5)
    with mock_cluster() as address:
        for topic in (EVENTS, OUTCOMES, stream.PREDICTIONS):
            create_in_mock_cluster(address, topic)
        broker = brokers.connect(address)
        events = streaming.event_messages(few_raw, at_once, end)
        running = streaming.opened(settings, at_once, broker, few_raw)
        for first in range(0, len(events), MOCK_MESSAGES):
            part = events[first : first + MOCK_MESSAGES]
            streaming.publish(broker, part)
            wait_for(partial(has_read, running, first + len(part)))
        streaming.publish(broker, [], end)
        wait_for(lambda: not running.step(0.1) and running.watermark == end)

        _, reference = streaming.expected(few, at_once, settings, end)
        streaming.assert_once_and_equal(running.engine, reference)
        assert len(stream_store.read_positions(running.engine, EVENTS)) == 4
        assert sorted(streaming.output_ids(broker)) == sorted(streaming.predicted(running.engine).ids)
        broker.close()


def test_the_features_are_in_redis_as_well(
    settings: Settings, params: Params, broker: Broker, few_raw: Tables, tmp_path: Path
) -> None:
    end = days_later(1)
    feed = FeedPublisher(broker, params, lambda *_: few_raw)
    feed.publish(START - timedelta(days=1), end + timedelta(seconds=params.stream.allowed_lateness_seconds))
    (tmp_path / "redis").mkdir()

    with running_server(tmp_path / "redis") as server:
        with_redis = server.used_by(settings)
        running = run_to_end(streaming.opened(with_redis, params, broker, few_raw))
        reader = RedisReader.of(with_redis)
        assert reader is not None
        reader.read_epochs(running.engine)
        ids = streaming.predicted(running.engine).entities
        copied = reader.look_up(params.question, ids)

    stored = online_store.look_up_features(running.engine, params.question, ids)
    assert len(ids) > 100
    assert {each: row.online.vector.tobytes() for each, row in copied.items()} == {
        each: row.online.vector.tobytes() for each, row in stored.items()
    }


def test_outcomes_come_from_their_topic(
    settings: Settings, params: Params, broker: Broker, few_raw: Tables, few: Tables
) -> None:
    FeedPublisher(broker, params, lambda *_: few_raw).publish(START, days_later(2))

    running = run_to_end(streaming.opened(settings, params, broker, few_raw))

    reference = {
        each["entity_id"]: (each["label"], each["value"])
        for each in materialise.outcomes_of(few["flights"], params.label.at_least)
        if START <= each["known_at"] < days_later(2)  # type: ignore[operator]
    }
    with running.engine.connect() as connection:
        rows = connection.execute(sa.select(database_tables.outcomes)).all()
    assert len(reference) > 300
    assert {row.entity_id: (row.label, row.value) for row in rows} == reference


def test_on_both_databases_the_order_of_events_within_the_allowed_lateness_does_not_matter(
    on_both: Settings, params: Params, broker: Broker, few_raw: Tables, few: Tables
) -> None:
    end, hour = days_later(1), timedelta(hours=1)
    events = streaming.event_messages(few_raw, params, end + hour)
    order = random.Random(1)
    # Each is at most half an hour behind one that was known later.
    shuffled = sorted(events, key=lambda event: event.known_at + order.random() * hour / 2)
    streaming.publish(broker, shuffled, end + hour)

    running = run_to_end(streaming.opened(on_both, with_lateness(params, 3600), broker, few_raw))

    _, reference = streaming.expected(few, params, on_both, end)
    streaming.assert_once_and_equal(running.engine, reference)
    assert running.counts["late"] == 0
    assert running.counts["out of order"] > 1_000


def test_repeated_events_are_counted_and_change_nothing(
    settings: Settings, at_once: Params, broker: Broker, few_raw: Tables, few: Tables
) -> None:
    end = days_later(0.5)
    events = streaming.event_messages(few_raw, at_once, end)
    streaming.publish(broker, events)
    streaming.publish_raw(broker, EVENTS, *(message_of(each) for each in events[::7]))
    streaming.publish(broker, [], end)

    running = run_to_end(streaming.opened(settings, at_once, broker, few_raw))

    _, reference = streaming.expected(few, at_once, settings, end)
    streaming.assert_once_and_equal(running.engine, reference)
    assert running.counts["repeated"] == len(events[::7])


def test_late_events_are_kept_and_measured_and_change_no_prediction_that_was_made(
    settings: Settings, at_once: Params, broker: Broker, few_raw: Tables, few: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.0)
    noon, evening = days_later(0.5), days_later(0.75)
    events = streaming.event_messages(few_raw, at_once, evening)
    withheld = [e for e in events if e.table == "weather" and noon - timedelta(hours=3) <= e.known_at < noon]
    rest = [each for each in events if each not in withheld]
    streaming.publish(broker, [each for each in rest if each.known_at < noon], noon)
    running = run_to_end(streaming.opened(settings, at_once, broker, few_raw))
    before = streaming.predicted(running.engine)

    streaming.publish(broker, withheld)
    streaming.publish(broker, [each for each in rest if each.known_at >= noon], evening)
    run_to_end(running)

    _, reference = streaming.expected(few, at_once, settings, evening)
    after = streaming.predicted(running.engine)
    assert running.counts["late"] == len(withheld) == 9
    assert {each: after.vectors[each] for each in before.entities} == before.vectors
    assert any(before.vectors[each] != reference.vectors[each] for each in before.entities)  # they did change something
    later = set(after.entities) - set(before.entities)
    assert len(later) > 50
    assert all(after.vectors[each] == reference.vectors[each] for each in later)  # ... and are used from then on
    decision = database.last_decision(running.engine, "late events")
    assert decision is not None
    assert decision.evidence["events"] == len(withheld)
    assert 0 < decision.evidence["changed"] <= decision.evidence["entities"]
    assert decision.evidence["mean_change"] > 0


def test_what_is_no_event_is_a_dead_letter_with_its_place_and_the_rest_goes_on(
    settings: Settings, at_once: Params, broker: Broker, few_raw: Tables, few: Tables
) -> None:
    end = days_later(0.5)
    events = streaming.event_messages(few_raw, at_once, end)
    body = json.loads(message_of(events[0]))
    wrong = {
        "values.carrier": {**body, "values": {**body["values"], "carrier": "United"}},
        "values.distance_miles": {**body, "values": {**body["values"], "distance_miles": "1400"}},
        "values.altitude": {**body, "values": {**body["values"], "altitude": 3}},
        "values.entity_id": {**body, "values": {**body["values"], "entity_id": "UA1-EWR-20130101T1015Z"}},
        "known_at": {**body, "known_at": "yesterday"},
        "table": {**body, "table": "trains"},
        "values": {**body, "values": {"entity_id": "UA1-EWR-20130101T1015Z"}},
    }
    streaming.publish_raw(
        broker, EVENTS, b"\xff\x00", b"[]", b'{"a": 1}', *(json.dumps(each).encode() for each in wrong.values())
    )
    streaming.publish(broker, events, end)
    streaming.publish_raw(broker, OUTCOMES, b'{"entity_id": "UA1", "label": "yes"}', b"?")

    running = run_to_end(streaming.opened(settings, at_once, broker, few_raw))

    _, reference = streaming.expected(few, at_once, settings, end)
    streaming.assert_once_and_equal(running.engine, reference)
    letters = dead_letters.letters(running.engine)
    assert [row.place for row in letters if row.topic == EVENTS] == ["", "", "", *wrong]
    assert [row.place for row in letters if row.topic == OUTCOMES] == ["label", ""]
    assert all(row.reason for row in letters)
    assert [row.entity_id for row in letters][3] == events[0].entity_id


def test_an_early_event_is_kept_and_used_when_it_is_sent_again_in_time(
    settings: Settings, at_once: Params, broker: Broker, few_raw: Tables, few: Tables
) -> None:
    noon, evening = days_later(0.5), days_later(0.75)
    events = streaming.event_messages(few_raw, at_once, evening)
    early = [each for each in events if each.known_at >= noon + timedelta(minutes=6)][:50]
    now = [noon]
    streaming.publish(broker, [each for each in events if each.known_at < noon], noon)
    running = run_to_end(streaming.opened(settings, at_once, broker, few_raw, lambda: now[0]))
    streaming.publish(broker, early)
    run_to_end(running)
    assert running.watermark == noon
    assert running.counts["early"] == len(early) == len(dead_letters.letters(running.engine))

    now[0] = evening
    streaming.publish(broker, [each for each in events if each.known_at >= noon and each not in early])
    assert dead_letters.resend(running.engine, broker) == len(early)
    streaming.publish(broker, [], evening)
    # Those sent again come after later ones: in time only with as much lateness as that.
    patient = with_lateness(at_once, 6 * 3600)
    running.close()
    last = run_to_end(streaming.opened(settings, patient, broker, few_raw, lambda: now[0]))
    now[0] = evening + timedelta(hours=6)
    streaming.publish(broker, [], now[0])
    run_to_end(last)

    _, reference = streaming.expected(few, at_once, settings, evening)
    streaming.assert_once_and_equal(last.engine, reference)
    assert dead_letters.letters(last.engine) == []


def test_after_a_loss_of_the_broker_it_stops_until_somebody_accepts_that(
    settings: Settings, at_once: Params, few_raw: Tables, few: Tables, tmp_path: Path
) -> None:
    noon, evening = days_later(0.5), days_later(0.75)
    events = streaming.event_messages(few_raw, at_once, evening)
    with embedded_nats(tmp_path / "first") as address:
        broker = brokers.connect(address)
        streaming.publish(broker, [each for each in events if each.known_at < noon], noon)
        run_to_end(streaming.opened(settings, at_once, broker, few_raw)).close()
        broker.close()
    with embedded_nats(tmp_path / "empty") as address:
        broker = brokers.connect(address)
        streaming.publish(broker, [each for each in events if each.known_at >= noon], evening)
        stopped = streaming.opened(settings, at_once, broker, few_raw)
        with pytest.raises(brokers.MessagesLost, match="ontime stream --accept-loss"):
            run_to_end(stopped)
        stopped.close()

        stream_store.forget_positions(database.connect(settings.database_url))
        running = run_to_end(streaming.opened(settings, at_once, broker, few_raw))

        _, reference = streaming.expected(few, at_once, settings, evening)
        streaming.assert_once_and_equal(running.engine, reference)
        broker.close()


def test_the_rows_in_memory_are_those_that_features_look_back_on(
    settings: Settings, at_once: Params, broker: Broker, few_raw: Tables
) -> None:
    streaming.publish(broker, streaming.event_messages(few_raw, at_once, days_later(7)), days_later(7))

    running = run_to_end(streaming.opened(settings, at_once, broker, few_raw))

    moments = running.rows.tables["flights"]["scheduled_departure"]
    assert moments.min() >= days_later(7) - arrivals.lookback(at_once) - timedelta(days=2)
    assert len(moments) < 6_200


def test_the_status_shows_the_watermark_and_what_is_left(
    settings: Settings, params: Params, broker: Broker, few_raw: Tables
) -> None:
    streaming.publish(broker, streaming.event_messages(few_raw, params, days_later(0.5)), days_later(0.5))
    streaming.publish_raw(broker, EVENTS, b"{}")
    running = run_to_end(streaming.opened(settings, params, broker, few_raw))
    lateness = timedelta(seconds=params.stream.allowed_lateness_seconds)

    status = stream_store.status(running.engine, EVENTS, lateness)

    assert status["watermark"] == status["scored_until"] == days_later(0.5) - lateness
    assert (status["unscored_ranges"], status["dead_letters"], status["late_events"]) == (0, 1, 0)
    assert status["reader"] is not None
    running.close()
    assert stream_store.status(database.connect(settings.database_url), EVENTS, lateness)["reader"] is None
