"""The service on `ONTIME_HOST`:`ONTIME_PORT`, 127.0.0.1:8000 unless told otherwise."""

import errno
import logging
import os
import signal
import socket
import sys
import tempfile
from contextlib import suppress

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from ontime import database
from ontime.release import NoRelease, ReleaseRefused
from ontime.settings import BadSettings, Settings, load_settings

SWITCH_SECONDS = 0.001  # Python's own is 0.005


def main() -> None:
    # uvicorn stops gracefully, and then raises the signal again: without this it would end the process unclean.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = load_settings()
        # prometheus_client decides on import where its numbers live: several workers share a folder of files.
        with tempfile.TemporaryDirectory(prefix="ontime-metrics-") as folder:
            if settings.workers > 1:
                os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            _serve(settings)
    except BadSettings as bad:
        sys.exit(f"serve: {bad}")
    except NoRelease as missing:
        sys.exit(f"serve: {missing}")
    except ReleaseRefused as refused:
        sys.exit(f"serve: {refused}; restore the releases from a copy, or remove them and run `make train`")
    except (OSError, sa.exc.SQLAlchemyError) as failure:
        reason = str(failure).partition("\n")[0]
        sys.exit(f"serve: {reason}; look at ONTIME_RELEASES, ONTIME_DATABASE_URL and ONTIME_SPOOL")


def _serve(settings: Settings) -> None:
    from serving.live import Live

    # Before anything else: a port that is taken is said at once, and nobody takes it in the meantime.
    with _listening(settings.host, settings.port) as listener:
        if settings.workers > 1:
            # Whatever is wrong is said once, here, and the tables exist before the workers race to make them.
            version = Live(settings.releases).serving.champion.manifest.version
            database.connect(settings.database_url).dispose()
            app: FastAPI | str = "serving.run:app_of_worker"
        else:
            app = app_of_worker()
            version = app.state.live.serving.champion.manifest.version
        said = "" if settings.api_keys else "; no keys are asked for, so it binds to loopback only"
        print(f"serve: release {version} on http://{_address(settings.host, settings.port)}{said}", flush=True)
        config = _config(app, settings)
        with suppress(KeyboardInterrupt):  # uvicorn has stopped gracefully, and raises the signal again
            if settings.workers > 1:
                Multiprocess(config, sockets=[listener]).run()
            else:
                uvicorn.Server(config).run(sockets=[listener])


def _config(app: FastAPI | str, settings: Settings) -> uvicorn.Config:
    from serving.connection import Connection

    return uvicorn.Config(
        app,
        factory=settings.workers > 1,
        http=Connection,
        # Said here, because uvicorn would take another number from $WEB_CONCURRENCY and refuse to start.
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",  # nothing here speaks WebSockets, and looking for them takes time at the start
        timeout_graceful_shutdown=int(settings.stop_seconds),
    )


REFUSED_ADDRESSES = {
    errno.EADDRINUSE: "ONTIME_PORT={port}: {address} is in use by another process; try: ONTIME_PORT={next} make serve",
    errno.EACCES: "ONTIME_PORT={port}: ports below 1024 need rights that this process lacks; try: ONTIME_PORT=8000",
    errno.EADDRNOTAVAIL: "ONTIME_HOST={host} is not an address of this machine; try: ONTIME_HOST=127.0.0.1",
}


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there, also for child processes. Raises BadSettings, naming the setting to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)  # as many as uvicorn would let wait
    except OSError as error:
        number = error.errno or 0
        unknown = number < 0  # of getaddrinfo: the host is a name that leads nowhere
        refused = REFUSED_ADDRESSES.get(errno.EADDRNOTAVAIL if unknown else number, str(error.strerror))
        other = port + 1 if port < 65535 else 8000
        raise BadSettings(refused.format(host=host, port=port, address=_address(host, port), next=other)) from None
    listener.set_inheritable(True)
    return listener


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def app_of_worker() -> FastAPI:
    """The service of one process, with its log."""
    from serving.app import create_app
    from serving.connection import Connection
    from serving.guard import JSONLines

    # The event loop is always busy under load; the database's thread gets the interpreter back after this at most.
    sys.setswitchinterval(SWITCH_SECONDS)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a TextIOWrapper; a log is read as it is written
    to_stdout = logging.StreamHandler(sys.stdout)
    to_stdout.setFormatter(JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[to_stdout], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    settings = load_settings()
    Connection.head_seconds = settings.request_seconds
    return create_app(settings)
