"""Settings that do not change the model: `ONTIME_...` environment variables, typed, with defaults.

Secrets need not be in the environment, which child processes inherit and logs may show: `ONTIME_SECRETS` names a folder
with a file for each secret setting, such as `ontime_database_url`, as Docker and Kubernetes mount them.
"""

import json
import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

import sqlalchemy as sa
from pydantic import AfterValidator, AnyHttpUrl, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ontime import signatures
from ontime.actors import system_user

PREFIX = "ONTIME_"
SECRETS = PREFIX + "SECRETS"
SECRET_NAMES = (
    "ONTIME_DATABASE_URL",
    "ONTIME_BACKUP",
    "ONTIME_BROKER",
    "ONTIME_ONLINE_STORE_URL",
    "",
)  # whose value no error shows
SPOOL_FILES, REJECTED = "*.jsonl", "rejected"  # in the spool: predictions, and the folder of lines that are none
HOST = r"(?:\[[0-9a-fA-F:]+\]|[\w.-]+)"
HOST_AND_PORT = rf"{HOST}:\d+"
BROKER = re.compile(rf"(?:(?:nats|tls)://(?:[^/?#]*@)?|kafka://){HOST_AND_PORT}(?:,{HOST_AND_PORT})*(?:\?\S+)?")
REDIS = re.compile(rf"rediss?://(?:[^/?#@]*@)?{HOST}(?::\d+)?(?:/\d+)?")
# Limits far beyond any sensible value catch a mistyped zero, such as a rate limit that never limits.
Seconds = Annotated[float, Field(gt=0, le=600)]


class BadSettings(ValueError):
    """An environment variable is invalid; the message names it."""


def _database(url: SecretStr) -> SecretStr:
    try:
        backend = sa.make_url(url.get_secret_value()).get_backend_name()
    except sa.exc.ArgumentError:
        raise ValueError("is not a database address, such as sqlite:///var/ontime.db") from None
    if backend not in ("sqlite", "postgresql"):
        raise ValueError(f"{backend} is not supported; use sqlite or postgresql")
    return url


def _broker(url: SecretStr) -> SecretStr:
    if not BROKER.fullmatch(url.get_secret_value()):
        raise ValueError("is not the address of a broker, such as nats://host:4222 or kafka://host:9092,host2:9092")
    return url


def _redis(url: SecretStr) -> SecretStr:
    if not REDIS.fullmatch(url.get_secret_value()):
        raise ValueError(
            "is not the address of a Redis server, such as redis://host:6379/0 or rediss://user:password@host"
        )
    return url


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"has {next(name for name in parsed if names.count(name) > 1)} twice")
    return parsed


def _parse_json(value: object) -> object:
    """The content of a JSON text, in which no name occurs twice: json itself keeps the last value."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, object_pairs_hook=_unique)
    except json.JSONDecodeError:  # its message would have a part of the value, which may be a secret
        raise ValueError("is not valid JSON") from None


FromJSON = BeforeValidator(_parse_json)


class Settings(BaseSettings):
    """docs/settings.md is generated from these fields and their docstrings: `make docs-reference`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", allow_inf_nan=False)

    releases: Path = Path("releases")
    """The folder of the published releases, with the pointer to the live one."""
    signing_key: Path = signatures.SIGNING_KEY
    """The private key that signs releases. Only needed where releases are published."""
    trusted_keys: Path = signatures.TRUSTED_KEYS
    """The public keys whose releases are loaded."""
    releases_store: str | None = None
    """A bucket that releases are copied to and from, such as `s3://ontime-releases`."""
    database_url: Annotated[SecretStr, AfterValidator(_database)] = SecretStr("sqlite:///var/ontime.db")
    """SQLite or PostgreSQL with features, predictions, outcomes and decisions."""
    online_store_url: Annotated[SecretStr, AfterValidator(_redis)] | None = None
    """A Redis server with a copy of the features, for look-ups. Without it, the database alone is asked."""
    tracking_url: str = "sqlite:///var/mlflow.db"
    """MLflow's server or database: runs and registered versions."""
    artifacts: Path = Path("var/mlflow-artifacts")
    """Where MLflow stores files if it has no server."""
    dvc_site_cache: Path | None = None
    """DVC's internal database, by default in `var/dvc`. Set it if that is on a network disk."""
    problem: Path | None = None
    """A folder to use as the problem instead of `src/ontime/problem`."""
    prefect_url: str | None = None
    """Prefect's API. Without it, a flow that runs by hand starts a temporary server."""
    actor: Annotated[str, Field(min_length=1, max_length=100)] = Field(default_factory=system_user)
    """Who is recorded in `decisions`, by default the system's user, which says little for a scheduler."""

    engine: Literal["local", "dask", "spark"] = "local"
    """Where partitions are processed: `local`, `dask` or `spark` (docs/engines.md)."""
    engine_address: str | None = None
    """Dask's scheduler or Spark's master. Without it, processes of this machine."""
    shared_storage: str | None = None
    """An address such as `s3://bucket/prefix`, if the engine's workers are on other machines."""
    broker: Annotated[SecretStr, AfterValidator(_broker)] | None = None
    """Where `ontime stream` reads and writes messages. Without it, it starts a NATS server in `var/broker`."""
    stream_host: str = "127.0.0.1"
    """The interface on which `ontime stream` serves `/metrics`, without keys: open it only in a private network."""
    stream_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port of these metrics. Without it, they are not served."""

    workspace: Path = Path("var/retraining")
    """The clone of this repository in which retrainings run, so that they never change your files."""
    evidently: Path = Path("var/evidently")
    """The workspace of Evidently that `make ui` shows."""
    quarantine: Path = Path("var/quarantine")
    """The folder of batches that violate the contract."""
    webhook: AnyHttpUrl | None = None
    """An address that receives alerts as JSON."""
    backup: Annotated[dict[str, SecretStr], NoDecode, FromJSON] = {}
    """JSON with the databases to back up, by name. If it is empty, those of these settings."""
    backups: str = "backups"
    """Where `ontime backup` writes: a folder, or an address such as `s3://ontime-backups`."""
    weeks_behind: Annotated[int, Field(ge=0, le=5_220)] | None = None  # at most a century
    """How many weeks the feed's clock is behind. By default, it is in the same week of the dataset's year."""

    host: str = "127.0.0.1"
    """The interface of the service. Any other than the loopback interface needs API keys."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """The port of the service."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """The number of processes of the service."""
    api_keys: Path | None = None
    """The file of API keys that `make key` writes. Without it, the service binds to the loopback interface only."""
    requests_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] = 60_000
    """The rate limit of each key in each worker."""
    spool: Path = Path("var/spool")
    """The folder that stores predictions while the database is unavailable."""
    spool_drain_seconds: Annotated[float, Field(ge=0, le=600)] = 0.0
    """How long a stopping service waits for the database to take the spool, if that is deleted with the container."""
    database_patience_seconds: Seconds = 2.0
    """After this time without an answer, the database counts as unavailable."""
    request_seconds: Seconds = 10.0
    """The time to receive a request and compute its response."""
    stop_seconds: Seconds = 15.0
    """The time that running requests have to finish at shutdown."""
    traces_url: AnyHttpUrl | None = None
    """An OpenTelemetry collector that receives traces, such as `http://collector:4318/v1/traces`."""
    links: Annotated[dict[str, str], NoDecode, FromJSON] = {}
    """JSON with links to show on the page `/ops`, such as `{"MLflow": "http://127.0.0.1:5000"}`."""
    ui_links: Path = Path("var/ui/links.json")
    """The file of more such links, which `make ui` writes while it runs."""

    @model_validator(mode="after")
    def open_to_loopback_only(self) -> Self:
        if self.api_keys is None and not is_loopback(self.host):
            raise ValueError(f"ONTIME_HOST={self.host} is reachable from outside: set ONTIME_API_KEYS (see `make key`)")
        return self


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a host name may resolve to any address
        return False


def load_settings() -> Settings:
    """The settings from the environment. Raises BadSettings with the variable and its value."""
    names = {PREFIX + name.upper() for name in Settings.model_fields} | {SECRETS}
    folder = os.environ.get(SECRETS)
    if folder is not None and not Path(folder).is_dir():
        raise BadSettings(f"{SECRETS}={folder} is not a folder")
    files = [path.name.upper() for path in Path(folder).iterdir()] if folder else []
    unknown = sorted(name for name in (*os.environ, *files) if name.startswith(PREFIX) and name not in names)
    if unknown:
        raise BadSettings(f"{unknown[0]} is not a setting; the settings are {', '.join(sorted(names))}")
    try:
        return Settings(_secrets_dir=folder)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper() if first["loc"] else ""
        shown = "" if name in SECRET_NAMES else f"={os.environ.get(name, '')}"
        raise BadSettings(f"{name}{shown} {first['msg'].removeprefix('Value error, ')}".strip()) from None
