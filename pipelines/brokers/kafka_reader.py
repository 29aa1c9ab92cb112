"""Reads a topic of Kafka from given offsets: all its partitions are assigned to this reader, no group divides them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # it does not export it

from pipelines.brokers.interface import CONSUMER, PATIENCE_SECONDS, BrokerUnavailable, MessagesLost, Received

Options = dict[str, str | int | float | bool]  # of librdkafka
SETTINGS: Options = {
    "group.id": CONSUMER,
    "enable.auto.commit": False,
    "auto.offset.reset": "error",  # a position that the broker no longer has must not become another one
    "queued.max.messages.kbytes": 16_384,  # of all partitions, fetched before they are asked for
    "fetch.queue.backoff.ms": 20,  # a second by default, during which a full queue runs empty
}


class KafkaReader:
    def __init__(
        self, address: str, options: Options, admin: AdminClient, topic: str, positions: Mapping[int, int]
    ) -> None:
        self._address, self._admin, self._topic, self._positions = address, admin, topic, dict(positions)
        with self._available():
            self._consumer = Consumer({**options, **SETTINGS})
        self._partitions: list[int] = []

    def fetch(self, most: int, seconds: float) -> list[Received]:
        with self._available():
            if not self._partitions:
                self._assign()
            # `consume` alone would wait until there are `most`.
            first = self._consumer.poll(seconds)
            if first is None:
                self._assign()  # fails if the broker does not answer, and finds new partitions
                return []
            messages = [first, *(self._consumer.consume(most - 1, 0) if most > 1 else [])]
        return self._received(messages)

    def _received(self, messages: list[KafkaMessage]) -> list[Received]:
        received = list[Received]()
        for message in messages:
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is None and partition is not None and offset is not None:  # which they are, but not by their types
                published_at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
                received.append(Received(partition, offset, published_at, message.value() or b""))
                self._positions[partition] = offset
            elif received:
                self._partitions = []  # the next call begins behind what is returned now, and meets the error again
                break
            elif error is not None:
                failure = self._failure(error, partition)
                self._partitions = []
                raise failure
        return received

    def _failure(self, error: KafkaError, partition: int | None) -> MessagesLost | BrokerUnavailable:
        if partition is None or error.code() not in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            return BrokerUnavailable(self._address, error.str())
        with self._available():
            low, high = (self._offsets(spec)[partition] for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
        position = self._positions.get(partition, low - 1)
        return MessagesLost(self._topic, partition, position, low if position < low else high)

    def _assign(self) -> None:
        """Assign all partitions, if there are others than before: each from behind its position."""
        metadata = self._consumer.list_topics(self._topic, timeout=PATIENCE_SECONDS).topics[self._topic]
        missing = metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        if metadata.error is not None and not (missing and self._positions):
            raise KafkaException(metadata.error)
        partitions = sorted(metadata.partitions)
        for partition, position in self._positions.items():
            if partition not in metadata.partitions:  # the topic was deleted
                raise MessagesLost(self._topic, partition, position, 0)
        if partitions != self._partitions:
            self._consumer.assign(
                [
                    TopicPartition(
                        self._topic,
                        partition,
                        self._positions[partition] + 1 if partition in self._positions else OFFSET_BEGINNING,
                    )
                    for partition in partitions
                ]
            )
            self._partitions = partitions

    def _offsets(self, spec: OffsetSpec) -> dict[int, int]:
        """The first or the next offset of each partition.

        Another client asks, because its requests need not wait until the broker has answered a fetch.
        """
        partitions = {TopicPartition(self._topic, partition): spec for partition in self._partitions}
        offsets = self._admin.list_offsets(partitions, request_timeout=PATIENCE_SECONDS)
        return {partition.partition: offset.result().offset for partition, offset in offsets.items()}

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise BrokerUnavailable(self._address, error.args[0].str()) from error

    def acknowledge(self) -> None:
        offsets = [TopicPartition(self._topic, partition, offset + 1) for partition, offset in self._positions.items()]
        if offsets:
            with suppress(KafkaException):
                self._consumer.commit(offsets=offsets, asynchronous=True)

    def waiting(self) -> int:
        with self._available():
            if not self._partitions:
                self._assign()
            first, following = self._offsets(OffsetSpec.earliest()), self._offsets(OffsetSpec.latest())
        return sum(
            following[partition] - max(self._positions.get(partition, -1) + 1, first[partition])
            for partition in self._partitions
        )

    def close(self) -> None:
        self._consumer.close()
