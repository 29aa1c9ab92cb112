"""Months that are cleaned one by one give the tables, the report and the errors of all rows at once."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import contract, contract_parts, repeated_keys, sources
from ontime.contract import ContractBroken
from ontime.contract_parts import Part
from ontime.datasets import Rule, Tables
from ontime.problem import rules
from ontime.problem.data import DATA
from pipelines import explore, layout, validate
from pipelines.engines import local
from tests import PARAMS_YAML

pytestmark = pytest.mark.slow

Change = Callable[[Tables], Tables]
Stage = Callable[[Tables], None]
ZONE = "America/New_York"


@pytest.fixture(scope="module")
def spring(raw_2023: Tables) -> Tables:
    """February to April 2023, with a clock change, a repaired flight and a quarantined one."""
    cut = sources.cut(raw_2023, *(pd.Timestamp(day, tz=ZONE) for day in ("2023-02-01", "2023-05-01")))
    return {name: rows.reset_index(drop=True) for name, rows in cut.items()}


@pytest.fixture
def validate_months(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Runs the stage in an empty project, and in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "map_parts", map)

    def run(tables: Tables) -> None:
        layout.write_tables(tables, layout.INGESTED)
        validate.main()

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


def with_flights(tables: Tables, rows: Any, column: str, value: Any) -> Tables:
    flights = tables["flights"].copy()
    flights.loc[flights.index[rows], column] = value
    return {**tables, "flights": flights}


def test_months_give_what_all_rows_at_once_give(spring: Tables, validate_months: Stage) -> None:
    tables, quarantined, report = contract.clean(spring)

    validate_months(spring)

    layout.write_tables(tables, Path("whole"))
    assert files_of(layout.VALIDATED) == files_of(Path("whole"))
    for name, rows in quarantined.items():
        stored = pd.read_parquet(layout.QUARANTINED / f"{name}.parquet")
        assert_frame_equal(stored, rows.reset_index(drop=True))
    assert len(quarantined["flights"]) == 1
    assert layout.read_json(layout.REPORTS / "data_quality.json") == report


def out_of_range_in_two_months(tables: Tables) -> Tables:
    return with_flights(tables, [10, 20, -1], "distance_miles", 60_000)


def a_key_in_two_months(tables: Tables) -> Tables:
    return with_flights(tables, [-5], "entity_id", tables["flights"]["entity_id"].iloc[7])


def a_key_three_times(tables: Tables) -> Tables:
    return with_flights(tables, [8, -5], "entity_id", tables["flights"]["entity_id"].iloc[7])


def an_airline_of_one_month(tables: Tables) -> Tables:
    """Seven percent of all flights: the limit is a share of all months."""
    flights = tables["flights"]
    late = np.arange(len(flights))[-int(0.07 * len(flights)) :]
    changed = with_flights(tables, late, "carrier", "ZZ")["flights"]
    renamed = changed["entity_id"].mask(changed["carrier"] == "ZZ", "ZZ" + changed["entity_id"].str.slice(2))
    airline = pd.DataFrame({"carrier": ["ZZ"], "name": ["Newcomer"], "accepted": [False]})
    airlines = pd.concat([tables["airlines"], airline], ignore_index=True)
    return {**tables, "flights": changed.assign(entity_id=renamed), "airlines": airlines}


def a_day_in_celsius_at_one_airport(tables: Tables) -> Tables:
    weather = tables["weather"].copy()
    rows = (weather["origin"] == "JFK") & (weather["local_hour"].dt.month == 4)
    weather.loc[rows, ["temp_f", "dewp_f"]] = (weather.loc[rows, ["temp_f", "dewp_f"]] - 32) / 1.8
    return {**tables, "weather": weather}


def rain_in_millimetres(tables: Tables) -> Tables:
    """Every twelfth hour has 1.27 mm."""
    rain = np.where(np.arange(len(tables["weather"])) % 12, 0.0, 1.27)
    return {**tables, "weather": tables["weather"].assign(precip_inches=rain)}


def fewer_seats(tables: Tables) -> Tables:
    return {**tables, "planes": tables["planes"].assign(seats=tables["planes"]["seats"] // 4 + 1)}


def no_whole_miles(tables: Tables) -> Tables:
    return {**tables, "flights": tables["flights"].astype({"distance_miles": float})}


def no_weather_column(tables: Tables) -> Tables:
    return {**tables, "weather": tables["weather"].drop(columns="wind_gust_mph")}


def seats_of_no_plane(tables: Tables) -> Tables:
    return {**tables, "planes": tables["planes"].assign(seats=0)}


@pytest.mark.parametrize(
    "broken",
    [
        out_of_range_in_two_months, a_key_in_two_months, a_key_three_times, an_airline_of_one_month,
        a_day_in_celsius_at_one_airport, rain_in_millimetres, fewer_seats,
        no_whole_miles, no_weather_column, seats_of_no_plane,
    ],
)  # fmt: skip
def test_the_errors_of_months_are_those_of_all_rows_at_once(
    broken: Change, spring: Tables, validate_months: Stage
) -> None:
    tables = broken(spring)
    with pytest.raises(ContractBroken) as whole:
        contract.clean(tables)

    with pytest.raises(ContractBroken) as months:
        validate_months(tables)

    assert sorted(str(months.value).splitlines()) == sorted(str(whole.value).splitlines())
    assert not layout.VALIDATED.exists()


def test_a_key_in_two_months_is_named_with_its_rows(spring: Tables, validate_months: Stage) -> None:
    key, last = spring["flights"]["entity_id"].iloc[7], len(spring["flights"]) - 5

    with pytest.raises(ContractBroken) as refused:
        validate_months(a_key_in_two_months(spring))

    line = f"flights.entity_id: field_uniqueness: 2 rows; first row 7: {key!r}, row {last}: {key!r}"
    assert line in str(refused.value)


def test_a_share_of_all_months_may_be_large_in_one(
    spring: Tables, validate_months: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "UNSEEN_CARRIERS_LIMIT", 0.08)

    validate_months(an_airline_of_one_month(spring))

    assert (layout.VALIDATED / "months.json").is_file()


def test_the_previous_flight_of_an_aircraft_may_be_in_another_month(spring: Tables, validate_months: Stage) -> None:
    flights = spring["flights"]
    flown = flights[flights["air_minutes"] > 60]
    month = sources.months_of(flown["scheduled_departure"])
    pair = [flown.index[month == "2023-02"][-1], flown.index[month == "2023-03"][0]]
    same = with_flights(spring, pair, "tailnum", "N1ZZ")

    expected = contract.clean(same)[2]
    validate_months(same)

    count, before = (
        {rule["rule"]: rule["hits"] for rule in report["rules"]}["impossible_rotation"]
        for report in (layout.read_json(layout.REPORTS / "data_quality.json"), contract.clean(spring)[2])
    )
    assert layout.read_json(layout.REPORTS / "data_quality.json") == expected
    assert count == before + 1


def test_the_contract_never_sees_more_than_a_month_and_its_halo(
    spring: Tables, validate_months: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = []
    clean_part = contract.clean_part

    def record(tables: Tables, period: tuple[datetime, datetime]) -> Part:
        for table in DATA.long:
            moments = tables[table.name][table.moment]
            spans.append((period[0] - moments.min(), moments.max() - period[1]))
        return clean_part(tables, period)

    monkeypatch.setattr(contract, "clean_part", record)
    validate_months(spring)

    assert len(spans) == 3 * len(DATA.long)
    assert max(max(each) for each in spans) <= DATA.halo


def test_a_month_without_rows_of_a_table_is_recorded_and_explored(spring: Tables, validate_months: Stage) -> None:
    weather = spring["weather"]
    march = sources.months_of(weather["hour"]) == "2023-03"
    flights = spring["flights"]
    april = sources.months_of(flights["scheduled_departure"]) == "2023-04"
    gaps = {**spring, "weather": weather[~march], "flights": flights[~april]}

    validate_months(gaps)
    Path("params.yaml").write_text(PARAMS_YAML.read_text())
    explore.main()

    assert json.loads((layout.VALIDATED / "months.json").read_text()) == {
        "flights": ["2023-02", "2023-03"],
        "weather": ["2023-02", "2023-04"],
    }
    assert "| 2023-03 |" in (layout.REPORTS / "eda.md").read_text()


def test_a_small_table_that_depends_on_the_month_is_refused(spring: Tables) -> None:
    part = contract.clean_part(spring)
    other = part._replace(tables={**part.tables, "airlines": part.tables["airlines"][:-1]})

    whole = contract_parts.add_parts([part, other])

    assert [str(each) for each in whole.violations if each.is_broken] == [
        "airlines: is not the same with each month: its rules and repairs must not depend on a table with a moment"
    ]


def test_a_repair_that_moves_a_row_to_another_month_is_refused(
    spring: Tables, validate_months: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def third(tables: Tables) -> pd.Series:
        return pd.Series(tables["weather"].index == 3, tables["weather"].index)

    def in_may(tables: Tables, hits: pd.Series) -> Tables:
        hours = tables["weather"]["hour"].mask(hits, pd.Timestamp("2023-05-09", tz="UTC"))
        return {**tables, "weather": tables["weather"].assign(hour=hours)}

    moving = Rule("moved", "weather", "hour", "repaired", "", third, repair=in_may)
    changed = replace(DATA, known_errors=(*DATA.known_errors, moving))
    for module in (contract, contract_parts):
        monkeypatch.setattr(module, "DATA", changed)

    with pytest.raises(
        ContractBroken, match=r"weather.hour: a repair moves rows to another month: 1 row; first row 3:"
    ):
        validate_months(spring)


def test_equal_hashes_of_different_keys_are_no_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_keys, "_hash", lambda rows, _: np.zeros(len(rows), np.uint64))
    months = [pd.DataFrame({"entity_id": [key]}) for key in ("a", "b", "a")]
    key = ("flights", ("entity_id",))

    repeated = repeated_keys.in_several_months({key: np.zeros(1, np.uint64)} for _ in months)
    two, three = (repeated_keys.violation(key, repeated[key], rows) for rows in (months[:2], months))

    assert not two.is_broken
    assert three.rows == 2
