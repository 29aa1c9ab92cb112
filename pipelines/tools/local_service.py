"""Starts the real service as a process on a free port, and calls it over HTTP; the service is never imported."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any

from ontime import signatures
from ontime.settings import PREFIX, Settings
from pipelines.operations import local_server

READY_SECONDS = 60


class ServiceFailed(RuntimeError):
    """The service did not respond with status 200."""


class Service:
    """A JSON client. Each request has its own connection, because the service closes idle ones after seconds."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> Any:
        return self._request("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._request("POST", path, json.dumps(body))

    def _request(self, method: str, path: str, body: str | None = None) -> Any:
        with closing(HTTPConnection(local_server.HOST, self.port, timeout=READY_SECONDS)) as connection:
            connection.request(method, path, body)
            response = connection.getresponse()
            content = response.read()
        if response.status != 200:
            raise ServiceFailed(f"{method} {path}: {response.status} {content[:300].decode(errors='replace')}")
        return json.loads(content)


@contextmanager
def running_service(settings: Settings) -> Iterator[Service]:
    """The service with these releases and this database, ready; stopped afterwards. Raises ProcessFailed."""
    port, log = local_server.free_port(), settings.releases.parent / "service.log"
    log.unlink(missing_ok=True)  # of the previous service
    command = [sys.executable, "-m", "serving"]
    # A retraining keeps all cores busy; a slow commit must not send predictions to the spool.
    environment = environment_of(settings, PORT=str(port), DATABASE_PATIENCE_SECONDS="30")
    with local_server.run_server(
        command, port, name="the service", ready="/health/ready", ready_seconds=READY_SECONDS, log=log, env=environment
    ):
        yield Service(port)


def environment_of(settings: Settings, **more: str) -> dict[str, str]:
    """The environment of a process with these settings, and `more` of them by name."""
    variables = {
        "RELEASES": str(settings.releases),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "SPOOL": str(settings.spool),
        "TRUSTED_KEYS": str(signatures.trusted_keys_path()),
        "QUARANTINE": str(settings.quarantine),
        **more,
    }
    if settings.problem:
        variables["PROBLEM"] = str(settings.problem)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return inherited | {f"{PREFIX}{name}": value for name, value in variables.items()}
