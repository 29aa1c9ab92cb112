"""One connection to NATS, in a thread of its own, so that it stays alive while the caller computes.

A lost connection is not repaired but replaced by the next call. What the server has stored is then always a prefix of
what was published; the client's own reconnection would send what was in its buffers after messages that were lost, and
change the order.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.errors import Error

from pipelines.brokers.interface import PATIENCE_SECONDS, BrokerUnavailable

RETRY_SECONDS = 0.1  # between attempts to connect
CONNECT_SECONDS = 2  # for one attempt
CLOSE_SECONDS = 1

Result = TypeVar("Result")


class NatsConnection:
    def __init__(self, address: str) -> None:
        self._address = address
        scheme_and_user, hosts = re.findall(r"(\w+://(?:.*@)?)([^@]*)", address)[0]
        self._servers = [scheme_and_user + host for host in hosts.split(",")]
        self._client: Client | None = None
        self._lost = asyncio.Event()
        self._last_error: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()

    def run(
        self, work: Callable[[Client], Coroutine[Any, Any, Result]], seconds: float, patience: float = PATIENCE_SECONDS
    ) -> Result:
        """The result of `work`, which gets a client that was connected within `patience` and may take so many seconds.

        Raises BrokerUnavailable; the next call then has a new client.
        """
        return asyncio.run_coroutine_threadsafe(self._run(work, seconds, patience), self._loop).result()

    async def _run(
        self, work: Callable[[Client], Coroutine[Any, Any, Result]], seconds: float, patience: float
    ) -> Result:
        try:
            return await self._until_lost(work(await self._connected(patience)), seconds)
        except (OSError, Error) as error:
            await self._drop()
            raise BrokerUnavailable(self._address, error) from error

    async def _connected(self, patience: float) -> Client:
        if self._client is not None and self._client.is_connected:
            return self._client
        await self._drop()
        self._lost, self._last_error = asyncio.Event(), None
        try:
            self._client = await asyncio.wait_for(
                nats.connect(
                    self._servers, name="ontime", allow_reconnect=False, connect_timeout=CONNECT_SECONDS,
                    reconnect_time_wait=RETRY_SECONDS, max_reconnect_attempts=-1,
                    error_cb=self._note, closed_cb=self._closed,
                ),
                patience,
            )  # fmt: skip
        except TimeoutError:
            raise ConnectionError(self._last_error or f"no answer in {patience:g} seconds") from None
        return self._client

    async def _until_lost(self, work: Coroutine[Any, Any, Result], seconds: float) -> Result:
        task, lost = asyncio.ensure_future(work), asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait((task, lost), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ConnectionError("the connection was lost" if lost.done() else f"no answer in {seconds:g} seconds")
        finally:
            task.cancel()
            lost.cancel()

    async def _note(self, error: Exception) -> None:
        self._last_error = error

    async def _closed(self) -> None:
        self._lost.set()

    async def _drop(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            with suppress(OSError, Error):  # it tries to send what it has
                await asyncio.wait_for(client.close(), CLOSE_SECONDS)

    def close(self) -> None:
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
