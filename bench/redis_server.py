"""Starts a Redis server of its own, from the machine's binary."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.operations import local_server, processes
from pipelines.operations.local_server import HOST, free_port, wait_until_ready

# A write is in the append-only file at once, and on disk within a second: Redis's default once the file is switched on.
DURABILITY = {"appendonly": "yes", "appendfsync": "everysec"}
READY_SECONDS = 30


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """The address of an empty server on a free port of the loopback interface, with its files in `folder`.

    Exits with what to install if there is no redis-server on PATH.
    """
    binary = shutil.which("redis-server")
    if binary is None:
        raise SystemExit(
            "bench: redis-server is not on PATH; run apt-get install redis-server (Debian, Ubuntu) or brew install "
            "redis (macOS). The bench starts a server of its own: the one of the system is not needed"
        )
    port, log = free_port(), folder / "redis.log"
    options = {"bind": HOST, "port": str(port), "dir": str(folder), "save": "", **DURABILITY}
    command = [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]
    with (
        log.open("w", encoding="utf-8") as file,
        processes.process_group(command, env=os.environ, stdout=file, stderr=file) as process,
    ):
        try:
            wait_until_ready(process, "redis-server", lambda: _is_up(port), READY_SECONDS, log.read_text)
            yield f"{HOST}:{port}"
        finally:
            local_server.stop([process])


def _is_up(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
