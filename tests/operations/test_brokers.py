"""Every broker keeps order and positions, and says what it has lost; the one of this machine survives a kill."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer
from typing import TypeVar

import psutil  # type: ignore[import-untyped]
import pytest

from ontime import locks
from pipelines import brokers
from pipelines.brokers import Broker, BrokerUnavailable, Message, MessagesLost, Reader, Received
from pipelines.brokers.kafka import PRODUCER
from pipelines.brokers.nats_connection import NatsConnection
from pipelines.operations import local_server
from pipelines.operations.embedded_broker import address_of, embedded_nats
from tests import ROOT
from tests.mock_kafka import create_in_mock_cluster, mock_cluster
from tests.service import wait_for

Result = TypeVar("Result")

pytestmark = pytest.mark.slow
SECONDS = 20  # the patience of a fetch that will return earlier


def messages(*numbers: int) -> list[Message]:
    return [Message("key", f"id-{number}", f"body {number}".encode()) for number in numbers]


def bodies(received: Sequence[Received]) -> list[str]:
    return [message.body.decode() for message in received]


def numbered(*numbers: int) -> list[str]:
    return [f"body {number}" for number in numbers]


def read(reader: Reader, count: int) -> list[Received]:
    """As many messages, in however many parts they come."""
    received: list[Received] = []
    deadline = time.monotonic() + SECONDS
    while len(received) < count and time.monotonic() < deadline:
        received += reader.fetch(count - len(received), 1)
    return received


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_nats(tmp_path_factory.mktemp("nats")) as address:
        yield address


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    with mock_cluster() as address:
        yield f"{address}?session.timeout.ms=6000"


@pytest.fixture(params=["nats", "kafka"])
def address(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def broker(address: str) -> Iterator[Broker]:
    broker = brokers.connect(address)
    yield broker
    broker.close()


@pytest.fixture
def topic(broker: Broker, address: str, request: pytest.FixtureRequest) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    if address.startswith("kafka"):
        create_in_mock_cluster(address, name)
    broker.create_topic(name)
    return name


def test_messages_of_a_key_are_read_in_the_order_in_which_they_were_published(broker: Broker, topic: str) -> None:
    broker.publish(topic, messages(*range(1500)))
    broker.publish(topic, messages(1500))

    received = read(broker.reader(topic, {}), 1501)

    assert bodies(received) == numbered(*range(1501))
    assert len({message.partition for message in received}) == 1
    offsets = [message.offset for message in received]
    assert offsets == list(range(offsets[0], offsets[0] + 1501))
    assert abs(received[0].published_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_reader_begins_behind_the_position(broker: Broker, topic: str) -> None:
    broker.publish(topic, messages(*range(10)))
    third = read(broker.reader(topic, {}), 10)[2]

    behind = broker.reader(topic, {third.partition: third.offset})

    assert bodies(read(behind, 7)) == numbered(*range(3, 10))


def test_a_reader_behind_the_last_message_waits_for_the_next_one(broker: Broker, topic: str) -> None:
    broker.publish(topic, messages(1))
    last = read(broker.reader(topic, {}), 1)[0]
    behind = broker.reader(topic, {last.partition: last.offset})

    assert behind.fetch(10, 0.1) == []
    broker.publish(topic, messages(2))
    assert bodies(behind.fetch(10, SECONDS)) == numbered(2)


def test_a_fetch_returns_at_most_so_many_messages_and_the_next_one_goes_on(broker: Broker, topic: str) -> None:
    broker.publish(topic, messages(*range(10)))
    reader = broker.reader(topic, {})

    parts = [reader.fetch(4, SECONDS) for _ in range(3)]

    assert [len(part) for part in parts] == [4, 4, 2]
    assert bodies([message for part in parts for message in part]) == numbered(*range(10))


def test_a_fetch_returns_as_soon_as_there_is_a_message(broker: Broker, topic: str) -> None:
    reader = broker.reader(topic, {})
    assert reader.fetch(10, 0.5) == []
    later = Timer(0.5, broker.publish, (topic, messages(1)))
    later.start()

    begin = time.monotonic()
    received = reader.fetch(10, SECONDS)

    later.join()
    assert bodies(received) == numbered(1)
    assert time.monotonic() - begin < SECONDS / 2


def test_waiting_counts_the_messages_that_were_not_fetched(broker: Broker, topic: str) -> None:
    broker.publish(topic, messages(*range(10)))
    reader = broker.reader(topic, {})

    before = reader.waiting()
    received = read(reader, 4)
    reader.acknowledge()

    assert (before, reader.waiting()) == (10, 6)
    assert broker.reader(topic, {received[3].partition: received[3].offset}).waiting() == 6


def test_a_topic_that_exists_is_left_as_it_is(broker: Broker, topic: str) -> None:
    broker.publish(topic, messages(1))

    broker.create_topic(topic)

    assert bodies(read(broker.reader(topic, {}), 1)) == numbered(1)


def test_a_reader_that_was_killed_is_replaced_by_the_next_one(broker: Broker, address: str, topic: str) -> None:
    broker.publish(topic, messages(1, 2))
    assert len(read(broker.reader(topic, {}), 1)) == 1  # is not closed, and acknowledges nothing

    with_its_own_connection = brokers.connect(address)
    received = read(with_its_own_connection.reader(topic, {}), 2)
    with_its_own_connection.close()

    assert bodies(received) == numbered(1, 2)


def test_a_position_that_the_broker_does_not_know_is_refused(broker: Broker, topic: str) -> None:
    broker.publish(topic, messages(1, 2))
    last = read(broker.reader(topic, {}), 2)[-1]

    position = last.offset + 10
    lost = f"topic {topic}, partition {last.partition}: .* until offset {position} .* goes on with {last.offset + 1};"
    with pytest.raises(MessagesLost, match=lost):
        broker.reader(topic, {last.partition: position}).fetch(1, SECONDS)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("nats://user:secret@127.0.0.1:{port}", "nats://127.0.0.1:{port}"),
        ("kafka://127.0.0.1:{port}?sasl.password=secret", "kafka://127.0.0.1:{port}"),
    ],
)
def test_a_broker_that_does_not_answer_is_named_without_its_password(address: str, shown: str) -> None:
    port = local_server.free_port()

    with pytest.raises(BrokerUnavailable) as error:
        brokers.connect(address.format(port=port))

    assert f"the broker at {shown.format(port=port)} is not available" in str(error.value)
    assert "secret" not in str(error.value)


def test_nats_stores_no_second_message_of_an_id(nats: str) -> None:
    broker = brokers.connect(nats)
    broker.create_topic("repeated")

    broker.publish("repeated", messages(*range(40)))
    broker.publish("repeated", messages(*range(20, 60)))
    broker.publish("repeated", messages(59, 60))

    reader = broker.reader("repeated", {})
    assert bodies(read(reader, 61)) == numbered(*range(61))
    assert reader.fetch(1, 0.2) == []
    broker.close()


def test_messages_that_nats_has_deleted_are_reported_with_both_offsets(nats: str) -> None:
    broker = brokers.connect(nats)
    broker.create_topic("deleted")
    broker.publish("deleted", messages(*range(1, 11)))
    reader = broker.reader("deleted", {})
    first = reader.fetch(2, SECONDS)
    purge("deleted", nats, first_kept=7)

    with pytest.raises(MessagesLost, match="until offset 2 was read, but the broker goes on with 7"):
        reader.fetch(2, SECONDS)
    with pytest.raises(MessagesLost, match="goes on with 7"):
        broker.reader("deleted", {0: first[-1].offset}).fetch(2, SECONDS)
    assert bodies(read(broker.reader("deleted", {}), 4)) == numbered(7, 8, 9, 10)
    broker.close()


def purge(topic: str, address: str, first_kept: int) -> None:
    """Delete the first messages of a topic, as retention would."""
    connection = NatsConnection(address)
    connection.run(lambda client: client.jsm().purge_stream(topic, seq=first_kept), SECONDS)
    connection.close()


def server_of(folder: Path) -> psutil.Process:
    config = str(folder / "nats.conf")
    return next(process for process in psutil.process_iter(["cmdline"]) if config in (process.info["cmdline"] or []))


def kill_server(folder: Path) -> None:
    server = server_of(folder)
    server.kill()
    wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


def until_available(work: Callable[[], Result]) -> Result:
    """The result of a call that is repeated after BrokerUnavailable, as its caller does."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return work()
        except BrokerUnavailable:
            if time.monotonic() > deadline:
                raise


def test_a_broker_goes_on_after_its_server_was_killed_and_started_again(tmp_path: Path) -> None:
    with embedded_nats(tmp_path) as address:
        broker = brokers.connect(address)
        broker.create_topic("events")
        broker.publish("events", messages(*range(100)))
        reader = broker.reader("events", {})
        first = reader.fetch(10, SECONDS)
        kill_server(tmp_path)
        reader.acknowledge()
        with pytest.raises(BrokerUnavailable):
            reader.fetch(10, 0.5)

    with embedded_nats(tmp_path) as same_address:
        until_available(lambda: broker.publish("events", messages(*range(50, 120))))
        rest = until_available(lambda: reader.fetch(200, SECONDS))

        assert same_address == address == address_of(tmp_path)
        assert bodies([*first, *rest]) == numbered(*range(120))
        assert reader.waiting() == 0
        broker.close()


def is_stopped(process: int, thread: int) -> bool:
    stat = Path(f"/proc/{process}/task/{thread}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def publish_until_it_fails(broker: Broker, everything: Sequence[Message]) -> None:
    """Publish the same messages again and again: NATS stores them once."""
    for _ in range(100):
        broker.publish("events", everything)


def test_messages_keep_their_order_if_the_server_is_killed_while_they_are_published(tmp_path: Path) -> None:
    everything = messages(*range(30_000))
    with embedded_nats(tmp_path) as address:
        broker = brokers.connect(address)
        broker.create_topic("events")
        reader = broker.reader("events", {})
        killer = Timer(0.3, kill_server, (tmp_path,))
        killer.start()
        with pytest.raises(BrokerUnavailable):
            publish_until_it_fails(broker, everything)
        killer.join()

    with embedded_nats(tmp_path):
        until_available(lambda: broker.publish("events", everything))
        received = until_available(lambda: read(reader, len(everything)))

        assert bodies(received) == numbered(*range(30_000))
        assert reader.waiting() == 0
        broker.close()


def test_a_server_that_hangs_is_unavailable_until_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.brokers.nats.PATIENCE_SECONDS", 0.5)
    with embedded_nats(tmp_path) as address:
        broker = brokers.connect(address)
        broker.create_topic("events")
        broker.publish("events", messages(1, 2))
        reader = broker.reader("events", {})
        first = reader.fetch(1, SECONDS)
        server = server_of(tmp_path)
        server.suspend()
        wait_for(lambda: all(is_stopped(server.pid, thread.id) for thread in server.threads()))
        with pytest.raises(BrokerUnavailable, match="no answer"):
            reader.fetch(1, 0.1)
        with pytest.raises(BrokerUnavailable):
            broker.publish("events", messages(3))
        server.resume()

        until_available(lambda: broker.publish("events", messages(3)))
        rest = until_available(lambda: read(reader, 2))

        assert bodies([*first, *rest]) == numbered(1, 2, 3)
        broker.close()


def test_the_embedded_server_ends_when_its_process_is_killed(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from pipelines.operations.embedded_broker import embedded_nats
with embedded_nats(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        server = server_of(tmp_path)
        process.kill()

    wait_for(lambda: not server.is_running())
    with embedded_nats(tmp_path) as address:
        assert address == address_of(tmp_path)


def test_one_server_runs_on_a_folder_and_ends_with_the_block(tmp_path: Path) -> None:
    with embedded_nats(tmp_path) as address, pytest.raises(locks.Busy), embedded_nats(tmp_path):
        pytest.fail("a second one runs")

    with pytest.raises(BrokerUnavailable, match="it does not run"):
        address_of(tmp_path)
    assert (tmp_path / "address").read_text() == address
    with pytest.raises(BrokerUnavailable, match="no server has run"):
        address_of(tmp_path / "other")


def test_a_stranger_cannot_connect_to_the_embedded_server(nats: str) -> None:
    with pytest.raises(BrokerUnavailable, match="Authorization"):
        brokers.connect(f"nats://{nats.partition('@')[2]}")


def test_messages_that_kafka_has_deleted_are_reported_with_both_offsets(kafka: str) -> None:
    create_in_mock_cluster(kafka, "deleted")
    broker = brokers.connect(kafka)
    big = [Message("key", str(number), bytes(200_000)) for number in range(60)]
    broker.publish("deleted", big[:10])
    first = broker.reader("deleted", {}).fetch(1, SECONDS)[0]
    broker.publish("deleted", big)  # the mock cluster deletes what exceeds 5 MB

    with pytest.raises(MessagesLost, match="until offset 0 was read, but the broker goes on with") as error:
        broker.reader("deleted", {first.partition: first.offset}).fetch(1, SECONDS)

    assert error.value.next_offset == broker.reader("deleted", {}).fetch(1, SECONDS)[0].offset > 1
    broker.close()


def test_a_topic_of_kafka_that_was_deleted_is_lost_and_a_missing_one_is_named(kafka: str) -> None:
    broker = brokers.connect(kafka)

    with pytest.raises(MessagesLost, match="until offset 5 was read"):
        broker.reader("nowhere", {0: 5}).fetch(1, SECONDS)
    with pytest.raises(BrokerUnavailable, match="Unknown topic"):
        broker.reader("nowhere", {}).fetch(1, SECONDS)
    broker.close()


def test_a_reader_of_kafka_begins_behind_the_position_in_each_partition(kafka: str) -> None:
    create_in_mock_cluster(kafka, "partitions")
    broker = brokers.connect(kafka)
    broker.publish("partitions", [Message(f"key {n % 8}", str(n), str(n).encode()) for n in range(200)])
    received = read(broker.reader("partitions", {}), 200)
    half = {message.partition: message.offset for message in received[:100]}

    rest = read(broker.reader("partitions", half), 100)

    assert len({message.partition for message in received}) > 1
    assert sorted(int(body) for body in bodies([*received[:100], *rest])) == list(range(200))
    for key in range(8):
        of_key = [int(message.body) for message in received if int(message.body) % 8 == key]
        assert of_key == sorted(of_key)
    broker.close()


def test_kafka_is_unavailable_when_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_cluster() as address:
        create_in_mock_cluster(address, "events")
        before = brokers.connect(address)
        before.publish("events", messages(1))
        before.close()
        broker = brokers.connect(address)
        reader = broker.reader("events", {})
        assert bodies(reader.fetch(10, SECONDS)) == numbered(1)

    monkeypatch.setitem(PRODUCER, "message.timeout.ms", 1000)
    monkeypatch.setattr("pipelines.brokers.kafka_reader.PATIENCE_SECONDS", 1.0)
    with pytest.raises(BrokerUnavailable):
        reader.fetch(10, 0.5)
    with pytest.raises(BrokerUnavailable):
        broker.publish("events", messages(2))
    with pytest.raises(BrokerUnavailable):
        broker.publish("events", messages(2))  # by another producer, because the first one has failed
    broker.close()
