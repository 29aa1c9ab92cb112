"""A real PostgreSQL server for tests, from the machine's binaries (Debian: apt-get install postgresql)."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest
import sqlalchemy as sa

from pipelines.operations.local_server import free_port, wait_until_ready

DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.slow))  # parameters of a fixture


def _binaries() -> Path:
    """The folder of the newest version. Without PostgreSQL it exits: a test that cannot run fails."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    folder = installed[-1] if installed else Path(on_path).parent if on_path else None
    if folder is None:
        raise SystemExit("PostgreSQL's initdb is not on this machine; run apt-get install postgresql")
    return folder


class Server:
    """A server that runs as PostgreSQL's own user where the tests run as root, which PostgreSQL refuses."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._data, self._bin, self._durable = folder / "data", _binaries(), durable
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "--auth=trust", "--username=ontime", "--no-sync", "--encoding=UTF8", "-D", str(self._data))
        self.port = free_port()  # not before initdb: another process could take it in that second
        self.start()

    def _run(self, tool: str, *words: str) -> None:
        command = [str(self._bin / tool), *words]
        subprocess.run(command, user=self._user, cwd="/", check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        command += ["-c", f"fsync={'on' if self._durable else 'off'}"]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, user=self._user, cwd="/", **quiet)  # type: ignore[call-overload]
        wait_until_ready(self._process, "PostgreSQL", self._is_ready, 60, lambda: "see its folder")

    def _is_ready(self) -> bool:
        try:
            self.execute("SELECT 1")
        except sa.exc.OperationalError:
            return False
        return True

    def stop(self) -> None:
        self._process.send_signal(2)  # SIGINT: its "fast" way to stop, which ends every connection
        self._process.wait(timeout=30)

    def kill(self) -> None:
        """With SIGKILL, every process of it: one that is left would keep the next start from the data."""
        for process in (processes := self._processes()):
            process.kill()
        self._process.wait(timeout=30)
        psutil.wait_procs(processes, timeout=30)

    def _processes(self) -> list[psutil.Process]:
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """The CPU time of all its processes, also of those that have ended."""
        times = [process.cpu_times() for process in self._processes()]
        return float(sum(each.user + each.system for each in times) + times[0].children_user + times[0].children_system)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within the block, the server neither responds nor closes a connection."""
        processes = self._processes()
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://ontime@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        engine = sa.create_engine(self.url(), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(sa.text(statement))
        finally:
            engine.dispose()

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{time.time_ns()}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@contextmanager
def running(*, durable: bool = False) -> Iterator[Server]:
    """A server with an empty cluster, in a folder of its own: stopped and deleted afterwards.

    Not in a folder of pytest: each start of pytest closes those to other users, also while a server writes there.
    `durable`: a commit waits for the disk, as by default, which takes time.
    """
    place = "/var/tmp" if durable else None  # noqa: S108  on disk, while /tmp may be in memory; the folder is a new one
    with tempfile.TemporaryDirectory(prefix="postgres-", dir=place, ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder), durable=durable)
        try:
            yield server
        finally:
            server.stop()
