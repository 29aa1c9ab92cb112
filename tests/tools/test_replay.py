"""The replay: the real service on a simulated clock, without data from after the clock."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from ontime import database, database_tables, environment, evaluation, model, online_store, release, sources, split
from ontime.conformal import CONFIDENCE
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.settings import Settings
from pipelines.tools import replay, replay_numbers, simulated_production, ui_pages
from tests import PARAMS_YAML, postgres
from tests.futures import with_another_future
from tests.library.test_conformal import answered
from tests.service import wait_for

pytestmark = pytest.mark.slow

START, UNTIL = date(2013, 2, 19), date(2013, 2, 22)


def replayed(
    settings: Settings,
    folder: Path,
    params: Params,
    tables: Tables,
    monitor_pool: ProcessPoolExecutor,
    *,
    stream: bool = False,
) -> dict[str, list[Any]]:
    """The content of the database after three days, without wall-clock times."""
    own = settings.model_copy(update={"database_url": type(settings.database_url)(f"sqlite:///{folder}/replayed.db")})
    folder.mkdir()
    replay.run(own, params, tables, START, UNTIL, monitor_pool, stream=stream)
    engine = database.connect(own.database_url)
    queries = {
        "features": sa.select(database_tables.features),
        "entities": sa.select(database_tables.entities),
        "outcomes": sa.select(database_tables.outcomes),
        "predictions": sa.select(
            *(database_tables.predictions.c[name] for name in ("entity_id", "model_version", "probability", "vector"))
        ),
        "decisions": sa.select(
            *(database_tables.decisions.c[name] for name in ("decided_at", "kind", "verdict", "evidence"))
        ),
    }
    with engine.connect() as connection:
        return {name: sorted(map(repr, connection.execute(statement).all())) for name, statement in queries.items()}


@pytest.fixture(scope="module")
def february(raw: Tables) -> Tables:
    """The raw tables around the three days, and two weeks of what comes after them."""
    return sources.cut(raw, midnight(date(2013, 2, 10)), midnight(date(2013, 3, 8)))


@pytest.fixture(scope="module")
def monitor_pool() -> Iterator[ProcessPoolExecutor]:
    with replay.monitor_process() as process:
        yield process


def test_another_future_changes_nothing_that_the_clock_has_reached(
    settings: Settings, params: Params, february: Tables, monitor_pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    other = with_another_future(february, midnight(UNTIL))

    honest = replayed(settings, tmp_path / "honest", params, february, monitor_pool)
    with_other_future = replayed(settings, tmp_path / "other", params, other, monitor_pool)

    assert not other["flights"].equals(february["flights"])
    assert len(honest["predictions"]) > 2000
    assert len(honest["decisions"]) == 2 * (UNTIL - START).days  # the monitor's and the policy's, each day
    assert with_other_future == honest


def test_through_a_broker_it_ends_with_the_same_rows_and_the_same_decisions(
    settings: Settings, params: Params, february: Tables, tmp_path: Path, monitor_pool: ProcessPoolExecutor
) -> None:
    whole = replayed(settings, tmp_path / "batch", params, february, monitor_pool)
    streamed = replayed(settings, tmp_path / "streamed", params, february, monitor_pool, stream=True)

    assert len(whole["predictions"]) > 2_500
    assert set(whole["decisions"]) == set(streamed["decisions"])
    assert whole["predictions"] == streamed["predictions"]
    # The batch also stores a day before the first prediction, and outcomes of before.
    assert set(streamed["features"]) <= set(whole["features"])
    assert set(streamed["outcomes"]) >= set(whole["outcomes"])


def test_what_was_materialised_day_by_day_is_what_a_build_of_all_days_gives_bit_for_bit(
    settings: Settings, params: Params, february: Tables, monitor_pool: ProcessPoolExecutor
) -> None:
    replay.run(settings, params, february, START, UNTIL, monitor_pool)

    parity = replay_numbers.parity(settings, params, february, START, UNTIL)

    assert parity["entities"] > 2000
    assert parity["differing"] == 0


def test_on_postgresql_it_has_a_schema_of_its_own_that_is_emptied_first(
    settings: Settings,
    params: Params,
    february: Tables,
    monitor_pool: ProcessPoolExecutor,
    postgres_server: postgres.Server,
) -> None:
    url = postgres_server.new_database()
    production = database.connect(url)
    database.record_decision(production, "gate", "reject", {"reason": "production's own"})
    address = simulated_production.empty_schema(url)
    assert address is not None
    own = settings.model_copy(update={"database_url": SecretStr(address)})

    replay.run(own, params, february, START, date(2013, 2, 20), monitor_pool)

    replay_engine = database.connect(address)
    assert len(online_store.entities_between(replay_engine, midnight(START), midnight(UNTIL))) > 500
    assert online_store.entities_between(production, midnight(START), midnight(UNTIL)) == []
    assert [row.kind for row in database.latest_decisions(production, 9)] == ["gate"]
    replay_engine.dispose()
    again = simulated_production.empty_schema(url)
    assert again is not None
    assert online_store.entities_between(database.connect(again), midnight(START), midnight(UNTIL)) == []


def test_a_flight_that_differs_in_one_bit_is_counted(
    settings: Settings, params: Params, february: Tables, monitor_pool: ProcessPoolExecutor
) -> None:
    replay.run(settings, params, february, START, date(2013, 2, 20), monitor_pool)
    engine = database.connect(settings.database_url)
    flight = online_store.entities_between(engine, midnight(date(2013, 2, 19)), midnight(UNTIL))[500]
    stored = online_store.look_up_features(engine, params.question, [flight.entity_id])[flight.entity_id]
    online_store.store_features(
        engine,
        params.question,
        [flight.entity_id],
        [stored.moment],
        np.nextafter(stored.online.vector, np.float32(1e9))[None, :],
    )

    parity = replay_numbers.parity(settings, params, february, START, date(2013, 2, 20))

    assert parity["differing"] == 1


def losses_of(settings: Settings, version: str, flights: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    loaded = release.load(settings.releases, version)
    probabilities = loaded.model.predict(model.matrix_of(flights, loaded.manifest.categories))
    return evaluation.losses(flights["label"].to_numpy(bool), probabilities.astype(np.float64))


def test_hindsight_holds_a_candidate_beside_its_rival_on_the_days_after_the_verdict(
    settings: Settings, weeks: pd.DataFrame
) -> None:
    labelled = split.labelled(weeks).reset_index(drop=True)
    results = replay_numbers.Results(labelled[["day"]], labelled, labelled["label"].to_numpy(bool), {})
    verdict = {"kind": "gate", "day": "2013-02-20", "version": "2", "verdict": "reject", "against": "release 1"}
    events = [{**verdict, "against": "baseline rate_table"}, {**verdict, "kind": "promotion"}, verdict]

    hindsight = replay_numbers.hindsight(settings, results, events)

    after = (labelled["day"] > "2013-02-20").to_numpy()
    first, second = (losses_of(settings, version, labelled[after]) for version in ("1", "2"))
    assert [each["version"] for each in hindsight] == ["2"]
    assert hindsight[0]["entities"] == after.sum() > 1000
    mean, low, high = hindsight[0]["log_loss_difference"]
    assert mean == pytest.approx((second - first).mean(), abs=1e-4)
    assert low <= mean <= high


OUTSIDE = "replay: {} is not within flights-2013, 2013-01-01 to 2013-12-31"


@pytest.mark.parametrize(
    ("start", "until"),
    [
        ("2012-12-31", "2013-02-01"),
        ("2013-12-01", "2014-01-02"),
        ("2013-06-01", "2013-06-01"),
        ("2013-06-02", "2013-06-01"),
    ],
)
def test_days_that_cannot_be_lived_through_are_refused(start: str, until: str, params: Params) -> None:
    first, last = (date.fromisoformat(day) for day in (start, until))

    with pytest.raises(SystemExit, match=OUTSIDE.format(f"{start} until {until}")):
        replay.replayed_days(params, start=first, until=last)


def test_a_replay_whose_retrainings_fit_no_baseline_is_refused_before_anything_is_removed(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    replay.FOLDER.mkdir(parents=True)
    other = params.retrain.model_copy(update={"candidates": ["lightgbm"]})
    monkeypatch.setattr(replay, "load_params", lambda: params.model_copy(update={"retrain": other}))

    with pytest.raises(SystemExit, match=r"retrain\.candidates in params\.yaml lists lightgbm, without rate_table"):
        replay.main()

    assert replay.FOLDER.is_dir()


def test_a_months_argument_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(PARAMS_YAML, tmp_path)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit, match=OUTSIDE.format("2013-04-01 until 2014-03-01")):
        replay.main(months=11)


def test_an_unknown_dataset_is_refused_with_those_that_exist(params: Params) -> None:
    with pytest.raises(SystemExit, match=r"replay: dataset flights-1999 is unknown; .* flights-2013, flights-2023$"):
        replay.replayed_days(params, dataset="flights-1999")


def test_a_replay_calibrates_each_month_on_the_one_before() -> None:
    predictions, late = answered(6000, 1)
    days = pd.Timestamp("2013-03-01") + pd.to_timedelta(np.arange(6000) // 100, "D")
    features = pd.DataFrame(
        {"day": days, "origin": "EWR", "carrier": "UA", "departure_minute": 600.0, "distance_miles": 700.0}
    )
    sudden = late | np.asarray(days >= pd.Timestamp("2013-04-16"))  # from then on every flight is late

    rows = replay_numbers.coverage_by_month(
        replay_numbers.Results(features[["day"]], features, sudden, {"retrained": predictions.probability})
    )

    assert [row["slice"] for row in rows] == ["2013-04"]
    assert rows[0]["positive_covered"][0] < CONFIDENCE - 0.1


def test_the_process_beside_a_replay_ends_with_it(tmp_path: Path) -> None:
    code = (
        "import os, time\nfrom pipelines.tools.replay import monitor_process\n"
        "if __name__ == '__main__':\n"
        "    print(monitor_process().submit(os.getpid).result(), flush=True)\n    time.sleep(600)\n"
    )
    (tmp_path / "replays.py").write_text(code)
    with subprocess.Popen(
        [sys.executable, "replays.py"],
        cwd=tmp_path,
        env=environment.project_variables(os.environ),
        stdout=subprocess.PIPE,
        text=True,
    ) as replay:
        assert replay.stdout is not None
        beside = int(replay.stdout.readline())

        replay.kill()

    wait_for(lambda: not psutil.pid_exists(beside))


def test_the_pages_of_the_tools_know_where_a_replay_is() -> None:
    assert replay.FOLDER == ui_pages.REPLAY
