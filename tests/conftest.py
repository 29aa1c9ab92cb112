"""Shared by all tests: one thread (three times faster on two cores), and the real data, read once."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads OpenMP

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr

from ontime import contract, features, schema, sources
from ontime.datasets import Tables
from ontime.params import Params, load_params
from ontime.settings import Settings
from pipelines.operations import grants, migrate
from tests import OF_THIS_PROBLEM, PARAMS_YAML, ROOT, postgres

pytest_plugins = ["tests.small_world", "tests.production"]

# Otherwise each process that a test starts compiles everything it imports, which takes half of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A deadline would assert a time, which a busy machine misses.
hypothesis_settings.register_profile("ontime", deadline=None)
hypothesis_settings.load_profile("ontime")


@pytest.fixture(scope="session", autouse=True)
def signing_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys for the releases of the tests, instead of those in var/."""
    folder = tmp_path_factory.mktemp("signing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONTIME_SIGNING_KEY", str(folder / "key.pem"))
        patch.setenv("ONTIME_TRUSTED_KEYS", str(folder / "trusted_keys"))
        yield


@pytest.fixture(scope="session")
def params() -> Params:
    return load_params(PARAMS_YAML)


@pytest.fixture(scope="session")
def raw() -> Tables:
    """The raw tables of 2013."""
    return sources.read("flights-2013")


@pytest.fixture(scope="session")
def tables(raw: Tables) -> Tables:
    """The tables of 2013 after the contract."""
    return contract.clean(raw)[0]


@pytest.fixture(scope="session")
def few_raw(raw: Tables) -> Tables:
    """The raw tables of 2013 with the flights of two airlines, a fifth, among them all flights of their aircraft."""
    return _of_two_airlines(raw)


@pytest.fixture(scope="session")
def few(tables: Tables) -> Tables:
    """The same flights after the contract."""
    return _of_two_airlines(tables)


def _of_two_airlines(tables: Tables) -> Tables:
    flights = tables["flights"]
    return {**tables, "flights": flights[flights["carrier"].isin(["9E", "DL"])].reset_index(drop=True)}


@pytest.fixture(scope="session")
def raw_2023() -> Tables:
    """The tables of 2023 with 2013's meaning."""
    return sources.read("flights-2023")


@pytest.fixture(scope="session")
def as_it_comes() -> Tables:
    """The tables of 2023, read as if they were 2013's."""
    unadapted = sources.dataset("flights-2023").unadapted
    assert unadapted is not None
    return unadapted()


@pytest.fixture(scope="session")
def weeks(tables: Tables, params: Params) -> pd.DataFrame:
    """Three weeks of February 2013 with features and label: enough to fit a small model on."""
    return weeks_of(tables, params)


def weeks_of(tables: Tables, params: Params) -> pd.DataFrame:
    start = pd.Timestamp("2013-02-04", tz=schema.ZONE)
    built = features.build(tables, start, start + timedelta(weeks=3), params.features, params.question)
    return features.with_label(built, tables["flights"], params.label.at_least)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    with postgres.running() as server:
        yield server


@pytest.fixture
def owned(postgres_server: postgres.Server) -> str:
    """The URL of a migrated database for its owner, which is no superuser; the roles of service and jobs exist."""
    for role in ("ontime_owner", grants.SERVICE, grants.WORKER):
        postgres_server.execute(
            f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    url = sa.make_url(postgres_server.new_database())
    postgres_server.execute(f"ALTER DATABASE {url.database} OWNER TO ontime_owner")
    owner = url.set(username="ontime_owner").render_as_string(hide_password=False)
    migrate.migrate(Settings(database_url=SecretStr(owner)))
    return owner


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    others = "ONTIME_PROBLEM" in os.environ and collection_path in [ROOT / each for each in OF_THIS_PROBLEM]
    return True if others or _is_deselected(collection_path, config) else None


def _is_deselected(path: Path, config: pytest.Config) -> bool:
    """Whether only slow tests are in a file, and none runs: importing Evidently and the like takes seconds as well."""
    if config.option.markexpr != "not slow" or path.suffix != ".py":
        return False
    return _is_in_slow_folder(path) or "\npytestmark = pytest.mark.slow\n" in path.read_text()


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("write_matrix") and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--write-matrix needs all rows in one process: leave out --numprocesses")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole folders of slow tests; elsewhere the mark stands in the file."""
    for item in items:
        if _is_in_slow_folder(item.path):
            item.add_marker(pytest.mark.slow)


def _is_in_slow_folder(path: Path) -> bool:
    return any(path.is_relative_to(ROOT / folder) for folder in ("tests/e2e", "tests/sabotage"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, default=0, help="requests generated for each route (`make fuzz`)")
    parser.addoption("--write-matrix", action="store_true", help="write what each sabotage led to (`make sabotage`)")
