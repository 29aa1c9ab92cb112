"""Starts uvicorn on `ONTIME_HOST`:`ONTIME_PORT`, by default 127.0.0.1:8000, with one or several workers."""

import ctypes
import errno
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from threading import Thread

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from ontime import database
from ontime.release import ReleaseRefused
from ontime.release_pointer import NoRelease
from ontime.settings import BadSettings, Settings, load_settings
from serving.startup_message import authority, startup_message

SWITCH_SECONDS = 0.001  # Python's default is 0.005
MAX_FILES = 16_384  # of a worker; nearly all of them are connections
M_ARENA_MAX, ARENAS = -8, 2  # of glibc's malloc.h; the default is 8 for each core
RESERVED_FILES = 128  # for the database, the spool, releases and the log


def main() -> None:
    # uvicorn stops gracefully and then raises the signal again, which would end the process with an error status.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = load_settings()
        # prometheus_client reads this variable on import: several workers share a folder of files.
        with tempfile.TemporaryDirectory(prefix="ontime-metrics-") as folder:
            if settings.workers > 1:
                os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            _serve(settings)
    except (BadSettings, NoRelease, database.DatabaseRefused) as error:
        sys.exit(f"serve: {error}")
    except ReleaseRefused as error:
        sys.exit(f"serve: {error}; restore the releases from a copy, or remove them and run `make train`")
    except (OSError, sa.exc.SQLAlchemyError) as error:
        reason = str(error).partition("\n")[0]
        sys.exit(f"serve: {reason}; check ONTIME_RELEASES, ONTIME_DATABASE_URL and ONTIME_SPOOL")


def _serve(settings: Settings) -> None:
    from serving.model_store import ModelStore, start_deadline

    # First, so that a port in use is reported at once, and the port stays reserved during startup.
    with listen(settings.host, settings.port) as listener:
        if settings.workers > 1:
            # Errors are reported once, here. A server of databases may be away: the workers wait for it.
            with start_deadline():
                version = ModelStore(settings.releases).live.champion.manifest.version
            engine = database.open_engine(settings.database_url)
            if engine.dialect.name == "sqlite":
                database.prepare(engine)
            engine.dispose()
            app: FastAPI | str = "serving.server:create_worker_app"
        else:
            app = create_worker_app()
            version = app.state.model_store.live.champion.manifest.version
        print(startup_message(settings, version), flush=True)
        config = uvicorn_config(app, settings)
        with suppress(KeyboardInterrupt):  # uvicorn has stopped gracefully, and raises the signal again
            if settings.workers > 1:
                Multiprocess(config, sockets=[listener]).run()
            else:
                uvicorn.Server(config).run(sockets=[listener])


def uvicorn_config(app: FastAPI | str, settings: Settings) -> uvicorn.Config:
    from serving.connection import Connection

    return uvicorn.Config(
        app,
        factory=settings.workers > 1,
        http=Connection,
        # Always set, because uvicorn would otherwise read $WEB_CONCURRENCY and could refuse to start.
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing reads the address that they would replace
        ws="none",  # no WebSockets; importing their support slows the start
        timeout_graceful_shutdown=int(settings.stop_seconds),
    )


BIND_ERRORS = {
    errno.EADDRINUSE: "ONTIME_PORT={port}: {address} is in use by another process; try: ONTIME_PORT={next} make serve",
    errno.EACCES: "ONTIME_PORT={port}: ports below 1024 need privileges that this process lacks; try: ONTIME_PORT=8000",
    errno.EADDRNOTAVAIL: "ONTIME_HOST={host} is not an address of this machine; try: ONTIME_HOST=127.0.0.1",
}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that child processes inherit. Raises BadSettings with the setting to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)  # uvicorn's default
    except OSError as error:
        number = error.errno or 0
        unresolved = number < 0  # an error of getaddrinfo: the host name does not resolve
        message = BIND_ERRORS.get(errno.EADDRNOTAVAIL if unresolved else number, str(error.strerror))
        next_port = port + 1 if port < 65535 else 8000
        raise BadSettings(message.format(host=host, port=port, address=authority(host, port), next=next_port)) from None
    listener.set_inheritable(True)
    return listener


def create_worker_app() -> FastAPI:
    """The app of one worker process, with its log configured."""
    from serving.access_log import JSONFormatter
    from serving.app import create_app
    from serving.connection import Connection
    from serving.log_stream import LogStream

    # Under load the event loop is always busy; this bounds the wait of the database thread for the interpreter lock.
    sys.setswitchinterval(SWITCH_SECONDS)
    _limit_arenas()
    sys.stdout.flush()
    sys.stdout = LogStream(sys.stdout.fileno())
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    settings = load_settings()
    if (supervisor := parent_process()) is not None:
        Thread(target=_end_with_supervisor, args=(supervisor,), name="supervisor watcher", daemon=True).start()
    Connection.head_seconds = settings.request_seconds
    Connection.max_connections = _raise_open_files() - RESERVED_FILES
    return create_app(settings)


def _limit_arenas() -> None:
    """Let threads share arenas of the heap: each arena keeps the most that its threads ever needed at once."""
    with suppress(AttributeError):  # not with glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def _raise_open_files() -> int:
    """Raise the limit of open files as far as this process may, up to MAX_FILES; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > MAX_FILES:
        hard = MAX_FILES
    if soft < hard:
        with suppress(ValueError, OSError):  # macOS reports a limit that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            return hard
    return min(soft, MAX_FILES)


def _end_with_supervisor(supervisor: BaseProcess) -> None:
    """Stop this worker if its supervisor is killed: it would keep the port, so that no other service could start."""
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)
