"""A connection to a Redis server that is given up at the first error, and opened again after a pause."""

import re
from time import monotonic
from typing import Any

from pydantic import SecretStr

RUN_ID = re.compile(rb"^run_id:([0-9a-f]{40})\r?$", re.MULTILINE)


class RedisFailed(Exception):
    """Redis does not respond in time, or with an error; the message has no secret."""


class RedisConnection:
    """Commands of one thread at a time.

    `timeout_s`: for the connection to open, and for each response. `pause_s`: how long no command is tried after an
    error, so that a server that hangs delays one command, and not each.
    """

    def __init__(self, url: SecretStr, timeout_s: float, pause_s: float) -> None:
        from redis.connection import Connection, parse_url  # here: its import takes time that nobody else need spend

        options: dict[str, Any] = {
            **parse_url(url.get_secret_value()),  # type: ignore[no-untyped-call]
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
        }
        self._connection = options.pop("connection_class", Connection)(**options)  # by default without retries
        self._pause_s, self._next_try = pause_s, 0.0
        self._run_id: bytes | None = None

    def run_id(self) -> bytes:
        """Identifies the run of the server that this connection is open to. Raises RedisFailed."""
        if self._run_id is None:
            match = RUN_ID.search(self._sent("INFO", "server"))
            if match is None:
                raise self._failure("INFO has no run_id")
            self._run_id = match[1]
        return self._run_id

    def command(self, *words: str | bytes | int) -> Any:
        """The response of the server, of the run that `run_id` returned last. Raises RedisFailed."""
        if self._run_id is None:
            self.run_id()
        return self._sent(*words)

    def close(self) -> None:
        self._run_id = None
        self._connection.disconnect()

    def _sent(self, *words: str | bytes | int) -> Any:
        from redis.exceptions import RedisError

        if monotonic() < self._next_try:
            raise RedisFailed("it has failed a moment ago")
        try:
            self._connection.send_command(*words)
            return self._connection.read_response()
        except RedisError as error:
            raise self._failure(str(error)) from None

    def _failure(self, reason: str) -> RedisFailed:
        self.close()
        self._next_try = monotonic() + self._pause_s
        return RedisFailed(reason)
