"""Kafka, by librdkafka: the address has its options, such as `kafka://host:9092?security.protocol=SASL_SSL&...`."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # it does not export it

from ontime.counts import counted
from pipelines.brokers.interface import PATIENCE_SECONDS, BrokerUnavailable, Message
from pipelines.brokers.kafka_reader import KafkaReader, Options

CONNECT_SECONDS = 5
BY_KEY = -1  # the partition that the key determines
QUEUE_SECONDS = 0.1  # until there is room for another message in the producer's queue
PRODUCER: Options = {
    "acks": "all",
    "enable.idempotence": True,  # a retry stores no second message, and changes no order
    # A message after one that could not be stored is not stored either, so to publish all again changes no order.
    "enable.gapless.guarantee": True,
    "partitioner": "murmur2_random",  # that of Java, so that other producers choose the same partition for a key
    "linger.ms": 5,
    "message.timeout.ms": int(PATIENCE_SECONDS * 1000),
    "queue.buffering.max.kbytes": 65_536,
    "delivery.report.only.error": True,
}
ON_CREATION = {"message.timestamp.type": "LogAppendTime"}  # the broker's clock, as `Received.published_at` promises


def connect_to(address: str) -> "KafkaBroker":
    """As `brokers.connect`."""
    parts = urlsplit(address)
    options: Options = {
        "client.id": "ontime",
        "log_level": 2,  # librdkafka would write each failed connection to stderr
        **dict(parse_qsl(parts.query, keep_blank_values=True)),
        "bootstrap.servers": parts.netloc,
    }
    try:
        broker = KafkaBroker(address, options)
        broker.topics(CONNECT_SECONDS)
    except KafkaException as error:
        raise BrokerUnavailable(address, error.args[0].str()) from error
    return broker


class KafkaBroker:
    def __init__(self, address: str, options: Options) -> None:
        self._address, self._options = address, options
        self._admin = AdminClient(options)
        self._producer: Producer | None = None

    def topics(self, seconds: float) -> list[str]:
        """The names of all topics. Raises KafkaException."""
        return list(self._admin.list_topics(timeout=seconds).topics)

    def create_topic(self, topic: str) -> None:
        try:
            if topic in self.topics(PATIENCE_SECONDS):
                return
            self._admin.create_topics([NewTopic(topic, config=ON_CREATION)], request_timeout=PATIENCE_SECONDS)[
                topic
            ].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # created by somebody else, just now
                raise BrokerUnavailable(self._address, error.args[0].str()) from error

    def publish(self, topic: str, messages: Sequence[Message]) -> None:
        errors: list[KafkaError] = []
        try:
            if self._producer is None:
                self._producer = Producer({**self._options, **PRODUCER})
            everywhere = self._partitions(topic) if any(message.key is None for message in messages) else ()
            for message in messages:
                for partition in everywhere if message.key is None else (BY_KEY,):
                    self._produce(self._producer, topic, message, partition, errors)
                if errors:
                    break
            unsent = self._producer.flush(PATIENCE_SECONDS + CONNECT_SECONDS)
        except KafkaException as error:  # such as that of a producer that has failed before
            errors, unsent = [error.args[0]], 0
        if errors or unsent:
            if self._producer is not None:
                self._producer.purge()
                self._producer = None
            count = counted(unsent, "message was", "messages were")
            reason = errors[0].str() if errors else f"{count} not stored in {PATIENCE_SECONDS:g} seconds"
            raise BrokerUnavailable(self._address, reason)

    def _partitions(self, topic: str) -> list[int]:
        """The partitions of a topic. Raises KafkaException."""
        return list(self._admin.list_topics(topic, PATIENCE_SECONDS).topics[topic].partitions)

    def _produce(
        self, producer: Producer, topic: str, message: Message, partition: int, errors: list[KafkaError]
    ) -> None:
        def report(error: KafkaError | None, _: object) -> None:
            if error is not None:
                errors.append(error)

        while not errors:
            try:
                producer.produce(topic, message.body, message.key, partition, report)
                return
            except BufferError:
                producer.poll(QUEUE_SECONDS)

    def reader(self, topic: str, positions: Mapping[int, int]) -> KafkaReader:
        return KafkaReader(self._address, self._options, self._admin, topic, positions)

    def close(self) -> None:
        self._producer = None
