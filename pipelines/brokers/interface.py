"""What every broker does, whichever it is, and the errors that it raises."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from ontime.refusal import Refusal

# In seconds: for a broker that restarts, and for one answer of it. `Reader.fetch` takes its own patience.
PATIENCE_SECONDS = 10.0
CONSUMER = "ontime"  # the name under which a broker's own tools show how far the reader is


class BrokerUnavailable(ConnectionError):
    """The broker does not answer, or cannot do what was asked; the message names its address, without a password."""

    def __init__(self, address: str, reason: object) -> None:
        super().__init__(
            f"the broker at {without_secrets(address)} is not available ({reason}): start it, or correct ONTIME_BROKER"
        )


class MessagesLost(Refusal):
    """The broker no longer has messages that the reader needs: they became too old, or the topic was deleted."""

    def __init__(self, topic: str, partition: int, position: int, next_offset: int) -> None:
        super().__init__(
            f"topic {topic}, partition {partition}: everything until offset {position} was read, but the broker goes on"
            f" with {next_offset}; what is between them is lost. Keep messages for longer in the broker. To go on"
            " without them, for example after the topic was deleted: ontime stream --accept-loss"
        )
        self.topic, self.partition, self.position, self.next_offset = topic, partition, position, next_offset


class Message(NamedTuple):
    """To publish. Messages of one key keep their order; without a key, each partition of the topic gets a copy.

    NATS stores no second message of a `message_id` within two hours. Kafka stores it: the reader's caller must know it.
    """

    key: str | None
    message_id: str
    body: bytes


class Received(NamedTuple):
    partition: int
    offset: int
    published_at: datetime  # in UTC, by the broker's clock
    body: bytes


class Reader(Protocol):
    """The messages of a topic after a position in each partition. Two readers of one topic must not run at once."""

    def fetch(self, most: int, seconds: float) -> list[Received]:
        """The next messages, at most `most` of them, in order within each partition; waits until there is one.

        Returns [] if none came within so many seconds. Memory is bounded: besides these messages at most 16 MB are
        fetched in advance. After BrokerUnavailable the next call goes on where the last one ended. Raises MessagesLost
        as well.
        """

    def acknowledge(self) -> None:
        """Tell the broker that all fetched messages are stored, which only its own tools show: never raises."""

    def waiting(self) -> int:
        """How many messages of the topic were not fetched yet. Raises BrokerUnavailable."""

    def close(self) -> None: ...


class Broker(Protocol):
    def create_topic(self, topic: str) -> None:
        """Create a topic that is stored on disk, if it is missing. Raises BrokerUnavailable."""

    def publish(self, topic: str, messages: Sequence[Message]) -> None:
        """Return when the broker has stored all messages.

        After BrokerUnavailable some may be stored, so publish all of them again.
        """

    def reader(self, topic: str, positions: Mapping[int, int]) -> Reader:
        """A reader that begins after these positions (partition -> offset of the last message that was read).

        Other partitions are read from their beginning. The broker is only asked by `fetch`.
        """

    def close(self) -> None: ...


def without_secrets(address: str) -> str:
    """The address without user, password, token and options.

    >>> without_secrets("nats://user:secret@a:4222,b:4222"), without_secrets("kafka://a:9092?sasl.password=secret")
    ('nats://a:4222,b:4222', 'kafka://a:9092')
    """
    return re.sub(r"//.*@", "//", address.partition("?")[0])
