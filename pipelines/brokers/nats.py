"""NATS JetStream: a topic is a stream with one subject and one partition, 0; offsets are its sequence numbers."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StorageType, StreamConfig, StreamState
from nats.js.errors import NotFoundError

from pipelines.brokers.interface import (
    CONSUMER,
    PATIENCE_SECONDS,
    BrokerUnavailable,
    Message,
    MessagesLost,
    Received,
)
from pipelines.brokers.nats_connection import CONNECT_SECONDS, NatsConnection

REPEATED_SECONDS = 2 * 3600  # in which a second message of the same id is not stored
# The server stores a batch as a whole, and synchronises it to disk once: with `sync_interval: always` 24,600 messages a
# second instead of 1,000. It takes at most 1,000 messages, and milliseconds for the files in which it prepares a batch.
BATCH, SMALLEST_BATCH = 1_000, 20
IN_FLIGHT = 256  # messages that are sent one by one
DAY = 86_400
ENDS = ("", "404", "408")  # the status that ends an answer: all messages, no more messages, time is up


def connect_to(address: str) -> "NatsBroker":
    """As `brokers.connect`."""
    connection = NatsConnection(address)
    try:
        connection.run(Client.flush, PATIENCE_SECONDS, patience=CONNECT_SECONDS)
    except BrokerUnavailable:
        connection.close()
        raise
    return NatsBroker(connection)


class NatsBroker:
    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    def create_topic(self, topic: str) -> None:
        self._connection.run(partial(_create, topic=topic), PATIENCE_SECONDS)

    def publish(self, topic: str, messages: Sequence[Message]) -> None:
        for start in range(0, len(messages), BATCH):
            batch = messages[start : start + BATCH]
            self._connection.run(partial(_publish, topic=topic, messages=batch), PATIENCE_SECONDS)

    def reader(self, topic: str, positions: Mapping[int, int]) -> "NatsReader":
        return NatsReader(self._connection, topic, positions.get(0))

    def close(self) -> None:
        self._connection.close()


class NatsReader:
    """Reads by a durable consumer, which is made again for each connection; no message is delivered twice."""

    def __init__(self, connection: NatsConnection, topic: str, position: int | None) -> None:
        self._connection, self._topic, self._position = connection, topic, position
        self._client: Client | None = None  # that of the consumer
        self._inbox, self._complete = "", asyncio.Event()
        self._messages, self._most, self._status = list[Msg](), 0, ""
        self._last: Msg | None = None

    def fetch(self, most: int, seconds: float) -> list[Received]:
        try:
            messages = self._connection.run(
                partial(self._fetch, most=most, seconds=seconds), seconds + PATIENCE_SECONDS, patience=max(seconds, 1)
            )
        except BrokerUnavailable:
            self._client = None
            raise
        received = list[Received]()
        for message in messages:
            metadata = message.metadata
            offset = metadata.sequence.stream
            if self._position is not None and offset != self._position + 1:
                if not received:
                    raise MessagesLost(self._topic, 0, self._position, offset)
                self._client = None  # the next call begins behind what is returned now, and raises the error
                break
            self._position, self._last = offset, message
            received.append(Received(0, offset, metadata.timestamp, message.data))
        return received

    async def _fetch(self, client: Client, most: int, seconds: float) -> list[Msg]:
        if client is not self._client:
            await self._start(client)
        self._messages, self._most, self._status = [], most, ""
        self._complete.clear()
        # The client's own `fetch` takes more than twice the CPU time, and may wait until there are `most`. With both
        # `no_wait` and `expires` the server answers as soon as it has any message, with all it has.
        request = {"batch": most, "expires": int(seconds * 1e9), "no_wait": True}
        await client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._topic}.{CONSUMER}", json.dumps(request).encode(), self._inbox
        )
        await self._complete.wait()
        if self._status not in ENDS:
            raise ConnectionError(f"JetStream answers with status {self._status}")
        return self._messages

    async def _receive(self, message: Msg) -> None:
        if message.reply:
            self._messages.append(message)
        else:  # no message of the topic
            self._status = (message.headers or {}).get("Status", "")
        if not message.reply or len(self._messages) == self._most:
            self._complete.set()

    async def _start(self, client: Client) -> None:
        state = await _create(client, self._topic)
        if self._position is not None and not state.first_seq - 1 <= self._position <= state.last_seq:
            next_offset = state.first_seq if self._position < state.first_seq else state.last_seq + 1
            raise MessagesLost(self._topic, 0, self._position, next_offset)
        management = client.jsm(timeout=PATIENCE_SECONDS)
        with suppress(NotFoundError):
            await management.delete_consumer(self._topic, CONSUMER)  # of a reader before this one
        await management.add_consumer(
            self._topic,
            ConsumerConfig(
                durable_name=CONSUMER,
                deliver_policy=DeliverPolicy.ALL if self._position is None else DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=None if self._position is None else self._position + 1,
                ack_policy=AckPolicy.ALL,
                ack_wait=DAY,
                max_deliver=1,  # what a lost connection has swallowed is read again by the next consumer
                max_ack_pending=-1,
            ),
        )
        self._inbox = client.new_inbox()
        # No limit of bytes, above which the client would drop messages: `most` is the limit.
        await client.subscribe(self._inbox, cb=self._receive, pending_bytes_limit=0)
        self._client = client

    def acknowledge(self) -> None:
        message, self._last = self._last, None
        if message is not None:
            with suppress(BrokerUnavailable):
                self._connection.run(partial(self._acknowledge, message=message), PATIENCE_SECONDS, patience=0)

    async def _acknowledge(self, client: Client, message: Msg) -> None:
        if client is self._client:  # otherwise the consumer is one of an earlier connection
            await message.ack()

    def waiting(self) -> int:
        state = self._connection.run(partial(_create, topic=self._topic), PATIENCE_SECONDS)
        return state.last_seq - max(self._position or 0, state.first_seq - 1)

    def close(self) -> None:
        """The consumer remains, so that the broker's tools show how many messages wait."""


async def _create(client: Client, topic: str) -> StreamState:
    """The state of the topic, which is created if it is missing."""
    management = client.jsm(timeout=PATIENCE_SECONDS)
    try:
        return (await management.stream_info(topic)).state
    except NotFoundError:
        config = StreamConfig(
            name=topic, subjects=[topic], storage=StorageType.FILE, duplicate_window=REPEATED_SECONDS, allow_atomic=True
        )
        return (await management.add_stream(config)).state


async def _publish(client: Client, topic: str, messages: Sequence[Message]) -> None:
    if len(messages) < SMALLEST_BATCH or not await _publish_batch(client, topic, messages):
        await _publish_each(client, topic, messages)


async def _publish_batch(client: Client, topic: str, messages: Sequence[Message]) -> bool:
    """Whether the server has stored the messages as one batch; it refuses one that repeats a message, for example."""
    batch = {"Nats-Batch-Id": uuid4().hex}
    for number, message in enumerate(messages[:-1], 1):
        await client.publish(topic, message.body, headers=_id(message) | batch | {"Nats-Batch-Sequence": str(number)})
    last, commit = messages[-1], {"Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
    reply = await client.request(topic, last.body, PATIENCE_SECONDS, headers=_id(last) | batch | commit)
    # A server before 2.12, or a stream that somebody else has made, knows no batches.
    return json.loads(reply.data).get("count") == len(messages)


async def _publish_each(client: Client, topic: str, messages: Sequence[Message]) -> None:
    stream = client.jetstream(publish_async_max_pending=IN_FLIGHT)
    stored = [await stream.publish_async(topic, message.body, headers=_id(message)) for message in messages]
    await asyncio.gather(*stored)


def _id(message: Message) -> dict[str, str]:
    return {"Nats-Msg-Id": message.message_id}
