"""`python -m serving`: the service on `ONTIME_HOST`:`ONTIME_PORT`, 127.0.0.1:8000 unless told otherwise."""

import sys

import uvicorn

from ontime.release import ReleaseRefused
from ontime.settings import Settings
from serving.app import create_app


def main() -> None:
    settings = Settings()
    try:
        app = create_app(settings)
    except ReleaseRefused as refused:
        sys.exit(f"serve: {refused}")
    print(f"serve: release {app.version} on http://{settings.host}:{settings.port}", flush=True)
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning")


if __name__ == "__main__":
    main()
