"""librdkafka's mock cluster of Kafka, as a process of its own: it stores in memory and has no admin API."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from confluent_kafka import Producer

from pipelines.operations import processes

PATIENCE = 10  # seconds
CODE = """
import sys
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 2})
print(*(f"{each.host}:{each.port}" for each in cluster.list_topics().brokers.values()), flush=True)
sys.stdin.read()
"""


@contextmanager
def mock_cluster() -> Iterator[str]:
    """The address of a running cluster. It deletes what exceeds 5 MB in a partition."""
    with processes.piped([sys.executable, "-c", CODE]) as process:
        yield f"kafka://{process.stdout.readline().strip() if process.stdout else ''}"


def create_in_mock_cluster(address: str, topic: str) -> None:
    """Create a topic of four partitions: the mock cluster creates any topic whose metadata a producer requests."""
    Producer({"bootstrap.servers": urlsplit(address).netloc}).list_topics(topic, timeout=PATIENCE)
