"""`make bench-brokers`: messages per second, and microseconds of the client's CPU time, to publish and to fetch.

NATS is the embedded server, which synchronises to disk. Kafka is librdkafka's mock cluster, which stores in memory, so
its rates are those of the client. Both are processes of their own. Writes reports/bench_brokers.json.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import brokers
from pipelines.brokers import Broker, Message
from pipelines.layout import REPORTS, write_json
from pipelines.operations.embedded_broker import embedded_nats
from tests.mock_kafka import create_in_mock_cluster, mock_cluster

MESSAGES, BYTES, KEYS = 50_000, 300, 64
MOST = 500  # messages of one fetch
REPEATS = 3
SECONDS = 10  # the patience of a request


def measure_topic(broker: Broker, topic: str) -> dict[str, float]:
    messages = [Message(f"key {n % KEYS}", f"{topic} {n}", bytes(BYTES)) for n in range(MESSAGES)]
    published = time.perf_counter(), time.process_time()
    broker.publish(topic, messages)
    stored = time.perf_counter(), time.process_time()
    reader, count = broker.reader(topic, {}), 0
    while count < MESSAGES:
        count += len(reader.fetch(MOST, SECONDS))
        reader.acknowledge()
    fetched = time.perf_counter(), time.process_time()
    reader.close()
    return {
        "publish_seconds": stored[0] - published[0],
        "publish_cpu_seconds": stored[1] - published[1],
        "fetch_seconds": fetched[0] - stored[0],
        "fetch_cpu_seconds": fetched[1] - stored[1],
    }


def rates_of(address: str) -> dict[str, float]:
    """The best of some repeats, because other processes can only slow them down."""
    broker = brokers.connect(address)
    repeats = []
    for number in range(REPEATS):
        topic = f"bench-{number}"
        if address.startswith("kafka"):
            create_in_mock_cluster(address, topic)
        broker.create_topic(topic)
        repeats.append(measure_topic(broker, topic))
    broker.close()
    best = {name: min(repeat[name] for repeat in repeats) for name in repeats[0]}
    return {
        "published_per_second": round(MESSAGES / best["publish_seconds"]),
        "publish_cpu_microseconds": round(1e6 * best["publish_cpu_seconds"] / MESSAGES, 1),
        "fetched_per_second": round(MESSAGES / best["fetch_seconds"]),
        "fetch_cpu_microseconds": round(1e6 * best["fetch_cpu_seconds"] / MESSAGES, 1),
    }


def main() -> None:
    with TemporaryDirectory() as folder, embedded_nats(Path(folder)) as address:
        nats = rates_of(address)
    with mock_cluster() as address:
        kafka = rates_of(address)
    results = {"nats": nats, "kafka": kafka}
    for name, rates in results.items():
        print(
            f"bench-brokers: {name}: published {rates['published_per_second']:,.0f} messages a second"
            f" ({rates['publish_cpu_microseconds']} µs of CPU time each),"
            f" fetched {rates['fetched_per_second']:,.0f} ({rates['fetch_cpu_microseconds']} µs)"
        )
    write_json(REPORTS / "bench_brokers.json", {"messages": MESSAGES, "bytes": BYTES, "most": MOST, **results})


if __name__ == "__main__":
    main()
