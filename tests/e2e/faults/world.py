"""A small production for each attack, and what several attacks count."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from ontime import release, release_pointer
from ontime.settings import Settings
from tests import postgres
from tests.e2e.faults.report import Figures
from tests.service import Load, Service, running, wait_for
from tests.serving.test_durability import stored_ids, waiting_in


@dataclass(frozen=True)
class Attack:
    """`name` says what is done to the service; `run` does it to a new production, and returns what it counted."""

    name: str
    run: Callable[[Settings], Figures]


def new_production(folder: Path) -> Settings:
    """The live release, published as 1 and as 2, and an empty database."""
    current = release_pointer.load_live(Settings().releases).manifest
    contents = {name: (Settings().releases / current.version / name).read_bytes() for name in current.sha256}
    for version in ("1", "2"):
        release.publish(folder / "releases", contents, current.model_copy(update={"version": version}))
    release_pointer.set_live(folder / "releases", "1")
    return Settings(
        releases=folder / "releases",
        database_url=SecretStr(f"sqlite:///{folder.resolve()}/ontime.db"),
        spool=folder / "spool",
        api_keys=None,
    )


def on_postgresql(settings: Settings, server: postgres.Server) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(server.new_database())})


def ids_of(*loads: Load) -> set[str]:
    """The predictions in the responses."""
    return {answer["prediction_id"] for load in loads for answer in load.answers}


def losses(settings: Settings, answered: Iterable[str]) -> Figures:
    """How many predictions were in responses, and how many of them are not in the database."""
    stored, answered = stored_ids(settings), set(answered)
    return {"predictions answered": len(answered), "lost": len(answered - set(stored))}


def statuses(load: Load) -> str:
    """The number of responses by status, or by the error of the connection."""
    counts = Counter(failure.partition(" ")[0].partition("(")[0] for failure in load.failures)
    return ", ".join(f"{status}: {count:,}" for status, count in [("200", len(load.answers)), *sorted(counts.items())])


def longest_wait_ms(load: Load) -> int:
    """Of a caller, for its response."""
    return round(1000 * max(seconds for _, seconds in load.arrivals))


def wait_until_normal(service: Service) -> None:
    """Until readiness has no notes: the database is up, the spool empty. Raises AssertionError with the notes."""
    try:
        wait_for(lambda: service.get("/health/ready")["notes"] == [], 120)
    except AssertionError as error:
        raise AssertionError(f"{error}: {service.get('/health/ready')['notes']}") from None


def drain_spool(settings: Settings) -> None:
    """Start a service that writes the spool of a killed one to the database, and stop it."""
    with running(settings) as service:
        wait_for(lambda: not waiting_in(settings.spool), 120)
        service.stop()
