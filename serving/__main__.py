"""`python -m serving`: the service on `ONTIME_HOST`:`ONTIME_PORT`, 127.0.0.1:8000 unless told otherwise."""

import sys

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI

from ontime.release import NoRelease, ReleaseRefused
from ontime.settings import Settings
from serving.app import create_app


def main() -> None:
    settings = Settings()
    app = _app_or_exit(settings)
    print(f"serve: release {app.version} on http://{settings.host}:{settings.port}", flush=True)
    # Said here, because uvicorn would take another number from $WEB_CONCURRENCY and refuse to start.
    uvicorn.run(app, host=settings.host, port=settings.port, workers=1, log_level="warning")


def _app_or_exit(settings: Settings) -> FastAPI:
    """The app, or an exit with 1 and one line that says what is wrong and what to do."""
    try:
        return create_app(settings)
    except NoRelease as missing:
        sys.exit(f"serve: {missing}")
    except ReleaseRefused as refused:
        sys.exit(f"serve: {refused}; restore {settings.releases} from a copy, or remove it and run `make train`")
    except (OSError, sa.exc.SQLAlchemyError) as failure:
        reason = str(failure).partition("\n")[0]
        sys.exit(f"serve: {reason}; look at ONTIME_RELEASES and ONTIME_DATABASE_URL")


if __name__ == "__main__":
    main()
