"""The replay: the real service, a simulated clock, and nothing that the clock has not reached."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from ontime import database, evaluation, model, release, split
from ontime.params import Params
from ontime.settings import Settings
from ontime.sources import Tables
from pipelines import replay, replay_report
from pipelines.monitor import midnight
from tests import postgres
from tests.futures import with_another_future

START, UNTIL = date(2013, 2, 19), date(2013, 2, 22)


def lived(
    settings: Settings, folder: Path, params: Params, tables: Tables, beside: ProcessPoolExecutor
) -> dict[str, list[Any]]:
    """What is in the database after three days: everything but the wall clock's part of it."""
    own = settings.model_copy(update={"database_url": type(settings.database_url)(f"sqlite:///{folder}/replayed.db")})
    folder.mkdir()
    replay.run(own, params, tables, START, UNTIL, beside)
    engine = database.connect(own.database_url.get_secret_value())
    wanted = {
        "features": sa.select(database.features),
        "flights": sa.select(database.flights),
        "outcomes": sa.select(database.outcomes),
        "predictions": sa.select(
            *(database.predictions.c[name] for name in ("flight_id", "model_version", "probability_late", "vector"))
        ),
        "decisions": sa.select(*(database.decisions.c[name] for name in ("decided_at", "kind", "verdict", "evidence"))),
    }
    with engine.connect() as connection:
        return {name: sorted(map(repr, connection.execute(statement).all())) for name, statement in wanted.items()}


@pytest.fixture(scope="module")
def february(raw: Tables) -> Tables:
    """The raw tables around the three days, and two weeks of what comes after them."""
    near = raw.flights["scheduled_departure"].between(midnight(date(2013, 2, 10)), midnight(date(2013, 3, 8)))
    hours = raw.weather["hour"].between(midnight(date(2013, 2, 10)), midnight(date(2013, 3, 8)))
    return replace(raw, flights=raw.flights[near], weather=raw.weather[hours])


@pytest.fixture(scope="module")
def beside() -> Iterator[ProcessPoolExecutor]:
    with replay.process_beside() as process:
        yield process


def test_another_future_changes_nothing_that_the_clock_has_reached(
    settings: Settings, params: Params, february: Tables, beside: ProcessPoolExecutor, tmp_path: Path
) -> None:
    other = with_another_future(february, midnight(UNTIL))

    honest = lived(settings, tmp_path / "honest", params, february, beside)
    lived_otherwise = lived(settings, tmp_path / "other", params, other, beside)

    assert not other.flights.equals(february.flights)
    assert len(honest["predictions"]) > 2000
    assert len(honest["decisions"]) == 2 * (UNTIL - START).days  # what was seen and what was decided, each day
    assert lived_otherwise == honest


def test_what_was_materialised_day_by_day_is_what_a_build_of_all_days_gives_bit_for_bit(
    settings: Settings, params: Params, february: Tables, beside: ProcessPoolExecutor
) -> None:
    replay.run(settings, params, february, START, UNTIL, beside)

    found = replay_report.parity(settings, params, february, START, UNTIL)

    assert found["flights"] > 2000
    assert found["differing"] == 0


def test_on_postgresql_it_lives_in_a_schema_of_its_own_and_begins_anew(
    settings: Settings, params: Params, february: Tables, beside: ProcessPoolExecutor, postgres_server: postgres.Server
) -> None:
    url = postgres_server.new_database()
    production = database.connect(url)
    database.record_decision(production, "gate", "keep", {"reason": "production's own"})
    address = replay.empty_schema(url)
    assert address is not None
    own = settings.model_copy(update={"database_url": SecretStr(address)})

    replay.run(own, params, february, START, date(2013, 2, 20), beside)

    lived = database.connect(address)
    assert len(database.timetable(lived, midnight(START), midnight(UNTIL))) > 500
    assert database.timetable(production, midnight(START), midnight(UNTIL)) == []
    assert [row.kind for row in database.latest_decisions(production, 9)] == ["gate"]
    lived.dispose()
    again = replay.empty_schema(url)
    assert again is not None
    assert database.timetable(database.connect(again), midnight(START), midnight(UNTIL)) == []


def test_a_flight_that_differs_in_one_bit_is_counted(
    settings: Settings, params: Params, february: Tables, beside: ProcessPoolExecutor
) -> None:
    replay.run(settings, params, february, START, date(2013, 2, 20), beside)
    engine = database.connect(settings.database_url.get_secret_value())
    spoilt = database.timetable(engine, midnight(date(2013, 2, 19)), midnight(UNTIL))[500]
    stored = database.look_up_features(engine, params.question, [spoilt.flight_id])[spoilt.flight_id]
    database.store_features(
        engine,
        params.question,
        [spoilt.flight_id],
        [stored.moment],
        np.nextafter(stored.vector, np.float32(1e9))[None, :],
    )

    found = replay_report.parity(settings, params, february, START, date(2013, 2, 20))

    assert found["differing"] == 1


def losses_of(settings: Settings, version: str, flights: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    loaded = release.load(settings.releases, version)
    told = loaded.model.predict(model.matrix_of(flights, loaded.manifest.categories))
    return evaluation.losses(flights["late"].to_numpy(bool), told.astype(np.float64))


def test_hindsight_holds_a_candidate_beside_its_rival_on_the_days_after_the_verdict(
    settings: Settings, weeks: pd.DataFrame
) -> None:
    known = split.labelled(weeks).reset_index(drop=True)
    found = replay_report.Lived(known[["day"]], known, known["late"].to_numpy(bool), {})
    verdict = {"kind": "gate", "day": "2013-02-20", "version": "2", "verdict": "keep", "against": "release 1"}
    events = [{**verdict, "against": "baseline rate_table"}, {**verdict, "kind": "promotion"}, verdict]

    told = replay_report.hindsight(settings, found, events)

    after = (known["day"] > "2013-02-20").to_numpy()
    first, second = (losses_of(settings, version, known[after]) for version in ("1", "2"))
    assert [each["version"] for each in told] == ["2"]
    assert told[0]["flights"] == after.sum() > 1000
    mean, low, high = told[0]["log_loss_difference"]
    assert mean == pytest.approx((second - first).mean(), abs=1e-4)
    assert low <= mean <= high


def test_a_months_argument_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["replay", "--months", "11"])

    with pytest.raises(SystemExit, match="MONTHS=11 is not between 1 and 9"):
        replay.main()
