"""The environment, typed: what does not change the model. `ONTIME_...` variables, or these defaults."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ONTIME_", frozen=True, extra="forbid")

    releases: Path = Path("releases")
    database_url: SecretStr = SecretStr("sqlite:///var/ontime.db")
    tracking_url: str = "sqlite:///var/mlflow.db"
    artifacts: Path = Path("var/mlflow-artifacts")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
