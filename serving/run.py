"""The service on `ONTIME_HOST`:`ONTIME_PORT`, 127.0.0.1:8000 unless told otherwise."""

import logging
import os
import signal
import sys
import tempfile

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI

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

    if settings.workers > 1:
        # Whatever is wrong is said once, here, and the tables exist before the workers race to make them.
        version = Live(settings.releases).serving.champion.manifest.version
        database.connect(settings.database_url.get_secret_value()).dispose()
        app: FastAPI | str = "serving.run:app_of_worker"
    else:
        app = app_of_worker()
        version = app.state.live.serving.champion.manifest.version
    said = "" if settings.api_keys else "; no keys are asked for, so it binds to loopback only"
    print(f"serve: release {version} on http://{settings.host}:{settings.port}{said}", flush=True)
    uvicorn.run(
        app,
        factory=settings.workers > 1,
        host=settings.host,
        port=settings.port,
        # Said here, because uvicorn would take another number from $WEB_CONCURRENCY and refuse to start.
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",  # nothing here speaks WebSockets, and looking for them takes time at the start
        timeout_graceful_shutdown=int(settings.stop_seconds),
    )


def app_of_worker() -> FastAPI:
    """The service of one process, with its log."""
    from serving.app import create_app
    from serving.guard import JSONLines

    # The event loop is always busy under load; the database's thread gets the interpreter back after this at most.
    sys.setswitchinterval(SWITCH_SECONDS)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a TextIOWrapper; a log is read as it is written
    to_stdout = logging.StreamHandler(sys.stdout)
    to_stdout.setFormatter(JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[to_stdout], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return create_app(load_settings())
