"""The environment, typed: what does not change the model. `ONTIME_...` variables, or these defaults.

What is secret need not be in the environment, which every child process and many a log gets to see: `ONTIME_SECRETS`
names a folder with a file for each such setting, as Docker and Kubernetes mount them (`ontime_database_url`).
"""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

import sqlalchemy as sa
from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

PREFIX = "ONTIME_"
SECRETS = PREFIX + "SECRETS"
Seconds = Annotated[float, Field(gt=0, le=600)]


class BadSettings(ValueError):
    """The environment says something impossible; the message names the variable."""


def _database(url: SecretStr) -> SecretStr:
    try:
        backend = sa.make_url(url.get_secret_value()).get_backend_name()
    except sa.exc.ArgumentError:
        raise ValueError("is no database address, such as sqlite:///var/ontime.db") from None
    if backend not in ("sqlite", "postgresql"):
        raise ValueError(f"{backend} is not supported; sqlite and postgresql are")
    return url


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    releases: Path = Path("releases")
    releases_store: str | None = None  # a bucket, such as s3://ontime-releases: see pipelines/operations/mirror.py
    database_url: Annotated[SecretStr, AfterValidator(_database)] = SecretStr("sqlite:///var/ontime.db")
    tracking_url: str = "sqlite:///var/mlflow.db"
    artifacts: Path = Path("var/mlflow-artifacts")
    dvc_site_cache: Path | None = None  # DVC's own database; None: var/dvc, unless that is on a network's disk
    problem: Path | None = None  # another one than src/ontime/problem: read by ontime/__init__.py
    prefect_url: str | None = None  # of an API; None: a flow that is run by hand starts a server for itself

    # Retraining and monitoring.
    workspace: Path = Path("var/retraining")  # a clone of this repository: a retraining never touches your own files
    evidently: Path = Path("var/evidently")  # the workspace that `make ui` shows
    quarantine: Path = Path("var/quarantine")  # batches that broke the contract
    webhook: AnyHttpUrl | None = None  # alerts are posted there, as JSON
    backup: dict[str, SecretStr] = {}  # name -> address of what is backed up; empty: what the settings here name
    weeks_behind: Annotated[int, Field(ge=0)] | None = None  # the feed's clock; None: this very week, in the dataset

    # The service.
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    api_keys: Path | None = None  # written by `make key`; without it the service binds to loopback only
    requests_per_minute: Annotated[int, Field(ge=1)] = 60_000  # of one key, at each worker
    spool: Path = Path("var/spool")  # predictions wait here while the database is away
    database_patience_seconds: Seconds = 2.0  # then it is away
    request_seconds: Seconds = 10.0  # a request has to be here, and its answer ready, by then
    stop_seconds: Seconds = 15.0  # requests in entity end within this
    links: dict[str, str] = {}  # what the page /ops links to, such as {"MLflow": "http://127.0.0.1:5000"}
    ui_links: Path = Path("var/ui/links.json")  # and what `make ui` shows, written there while it runs

    @model_validator(mode="after")
    def open_to_loopback_only(self) -> Self:
        if self.api_keys is None and not is_loopback(self.host):
            raise ValueError(f"ONTIME_HOST={self.host} is reachable from outside: set ONTIME_API_KEYS (see `make key`)")
        return self


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name: nobody knows where it leads
        return False


def load_settings() -> Settings:
    """The environment's. Raises BadSettings, naming the variable and the value."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {SECRETS}
    folder = os.environ.get(SECRETS)
    if folder is not None and not Path(folder).is_dir():
        raise BadSettings(f"{SECRETS}={folder} is no folder")
    files = [path.name.upper() for path in Path(folder).iterdir()] if folder else []
    unknown = sorted(name for name in (*os.environ, *files) if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise BadSettings(f"{unknown[0]} is no setting; known are {', '.join(sorted(known))}")
    try:
        return Settings(_secrets_dir=folder)
    except SettingsError as error:  # no JSON where a table is wanted; its own words leave the value out
        raise BadSettings(str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper() if first["loc"] else ""
        shown = "" if name in ("ONTIME_DATABASE_URL", "ONTIME_BACKUP", "") else f"={os.environ.get(name, '')}"
        raise BadSettings(f"{name}{shown} {first['msg'].removeprefix('Value error, ')}".strip()) from None
