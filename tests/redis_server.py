"""A real Redis server for tests, from the machine's binary (Debian: apt-get install redis-server)."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import SecretStr

from ontime.settings import Settings
from pipelines.operations.local_server import free_port, wait_until_ready


class RedisServer:
    """A server that has written each change to its file before it responds, so that it restarts with all of them."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("redis-server")
        assert binary is not None, "redis-server is not on this machine: apt-get install redis-server"
        self.port = free_port()
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
        }
        self._command = [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until_ready(self._process, "redis-server", self._is_up, 30, lambda: "see its folder")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=30)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within the block, the server neither responds nor closes a connection."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def used_by(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"online_store_url": SecretStr(self.url)})

    def _is_up(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


@contextmanager
def running_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()
