"""A diagnosis names the cause that was planted first, from the database to the page; without a fault, none."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy import bindparam

from monitoring import diagnosis, performance
from ontime import database, database_tables, release_pointer
from ontime.local_time import midnight
from ontime.params import Params
from pipelines.tools import diagnose
from pipelines.tools.diagnose import Days, DiagnosisReport
from tests.sabotage.causes import FAULTS, Answered, Fault
from tests.sabotage.world import FRIDAY, SATURDAY, World

SINCE = SATURDAY - timedelta(days=14)
# The whole list is `make bench-diagnose`: this is one for each kind, and for each way to break a family.
CHOSEN = (
    "weather: shifted by a column",
    "operations: missing",
    "operations: all zero",
    "operations: the values of 1 days before",
    "rotation: delays with the other sign",
    "rotation: shifted by a column",
    "50% of the outcomes of origin JFK flipped",
    "50% of the outcomes of carrier UA flipped",
    "50% of the outcomes of hour 09:00-13:59 flipped",
    "late from 1 minutes on",
)


def plant(production: World, fault: Fault, timetable: pd.DataFrame) -> None:
    """Store the faulty input, and its predictions, as if the service had received it."""
    manifest = release_pointer.live_manifest(production.settings.releases)
    assert manifest is not None
    model = release_pointer.load_live(production.settings.releases).model
    rows = performance.predictions_with_outcomes(
        production.engine, midnight(SINCE), midnight(SATURDAY), manifest.label_at_least, vectors=True
    )
    rows = rows[rows["label"].notna()].reset_index(drop=True)
    flights = performance.with_slice_features(rows, {manifest.version: manifest.categories})
    delays = timetable.loc[rows["entity_id"], "arr_delay_minutes"].to_numpy()
    healthy = Answered(
        flights.assign(arr_delay_minutes=delays), performance.vectors_of(rows), rows["label"].to_numpy(bool)
    )
    broken = fault.plant(healthy, np.random.default_rng(1))
    changed = [
        {
            "key": key,
            "vector": vector.astype("<f4").tobytes(),
            "probability": float(probability),
            "label": bool(label),
        }
        for key, vector, probability, label in zip(
            rows["entity_id"], broken.matrix, model.predict(broken.matrix.astype(np.float32)), broken.label, strict=True
        )
    ]
    predictions, outcomes = database_tables.predictions, database_tables.outcomes
    with production.engine.begin() as connection:
        connection.execute(
            sa.update(predictions)
            .where(predictions.c.entity_id == bindparam("key"))
            .values(vector=bindparam("vector"), probability=bindparam("probability")),
            changed,
        )
        connection.execute(
            sa.update(outcomes)
            .where(outcomes.c.entity_id == bindparam("key"))
            .values(label=bindparam("label"), value=None),
            changed,
        )


def diagnosed(production: World) -> DiagnosisReport:
    params: Params = production.params
    return diagnose.diagnose_days(production.settings, params, Days(SINCE, SATURDAY), None)


@pytest.mark.parametrize("planted", CHOSEN)
def test_the_cause_that_was_planted_is_named_first(planted: str, production: World, timetable: pd.DataFrame) -> None:
    fault = next(each for each in FAULTS if each.planted == planted)
    plant(production, fault, timetable)

    first = diagnosed(production).diagnosis.causes[0]

    assert first.name == fault.cause
    assert first.cost.value > diagnosis.NOTABLE_LOG_LOSS


def test_without_a_fault_nothing_stands_out(production: World) -> None:
    result = diagnosed(production).diagnosis

    assert result.notable == ()


def test_the_monitor_says_why_on_the_first_day_of_an_alert_and_goes_on_saying_it(
    production: World, timetable: pd.DataFrame
) -> None:
    fault = next(each for each in FAULTS if each.planted == "100% of the outcomes of carrier UA flipped")
    plant(production, fault, timetable)
    production.delete_monitoring(FRIDAY - timedelta(days=4))
    days = [FRIDAY - timedelta(days=count) for count in (4, 3, 2, 1, 0)]
    results = [production.monitor_day(day) for day in days]

    decisions = [database.last_decision(production.engine, "monitor", day=str(day)) for day in days]

    assert [bool(each.alerts) for each in results] == [False, False, True, True, True]
    assert [row.evidence.get("why", "")[: len("carrier UA")] for row in decisions if row] == [
        "",
        "",
        *["carrier UA"] * 3,
    ]


def test_page_and_numbers_say_the_same(
    production: World,
    timetable: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plant(production, next(each for each in FAULTS if each.planted == "operations: missing"), timetable)
    monkeypatch.setattr(diagnose, "load_settings", lambda: production.settings)
    monkeypatch.setattr(diagnose, "load_params", lambda: production.params)
    monkeypatch.setattr(diagnose, "REPORTS", tmp_path)

    diagnose.main(SINCE, SATURDAY, as_json=True)

    printed = json.loads(capsys.readouterr().out)
    page = Path(printed.pop("page")).read_text()
    numbers = json.loads((tmp_path / "diagnosis.json").read_text())
    assert numbers == printed
    assert numbers["stands_out"][0] == "operations"
    assert "<h1>First suspect: operations</h1>" in page
    assert page.count("<svg") == 2
