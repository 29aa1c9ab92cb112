"""The contract holds what ../shared facts say of 2013, and refuses by name what breaks it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ontime import contract
from ontime.contract import ContractBroken
from ontime.datasets import Tables
from ontime.problem import known_errors, rules
from pipelines import layout, validate

pytestmark = pytest.mark.slow

COUNTS = {
    "cancelled": 8_255,
    "departed_without_arrival_delay": 1_175,
    "landed_without_arrival_delay": 717,
    "no_tail_number": 2_512,
    "no_plane_record": 52_606,
    "departure_at_2400": 29,
    "arrival_at_2400": 150,
    "arrives_after_midnight": 6_078,
    "elapsed_below_air_time": 1_884,
    "impossible_rotation": 301,
    "off_across_a_clock_change": 0,
    "arrives_before_it_leaves": 0,
    "a_day_late": 0,
    "unseen_carrier": 0,
    "destination_without_airport": 7_602,
    "wind_of_a_thousand_mph": 1,
    "temperature_off_its_neighbours": 1,
    "repeated_observation": 0,
    "doubled_local_hour": 6,
    "no_gust": 20_778,
    "no_precipitation": 0,
    "no_pressure": 2_729,
    "no_build_year": 70,
}

COUNTS_2023 = {
    "cancelled": 10_738,
    "departed_without_arrival_delay": 1_796,
    "landed_without_arrival_delay": 1_081,
    "no_tail_number": 1_913,
    "no_plane_record": 11_284,
    "departure_at_2400": 27,
    "arrival_at_2400": 198,
    "arrives_after_midnight": 9_646,
    "elapsed_below_air_time": 1_900,
    "impossible_rotation": 5,
    "off_across_a_clock_change": 1,
    "arrives_before_it_leaves": 1,
    "a_day_late": 11,
    "unseen_carrier": 104_645,
    "destination_without_airport": 0,
    "wind_of_a_thousand_mph": 0,
    "temperature_off_its_neighbours": 0,
    "repeated_observation": 0,
    "doubled_local_hour": 6,
    "no_gust": 26_207,
    "no_precipitation": 26_207,
    "no_pressure": 10,
    "no_build_year": 89,
}
REFUSED_2023 = (
    "flights.carrier: is an airline of 2013 or accepted since: 104644 rows; first row 5: 'NK'",
    "flights: scheduled_departure agrees with the clock in New York: 435351 rows; first row 0: 'AA499-EWR-20230101T",
    "flights: departed_at agrees with the clock in New York: 424613 rows; first row 0: 'AA499-EWR-20230101T0500Z'",
    "weather: hour agrees with the clock in New York: 26207 rows; first row 0: 'EWR'",
    "weather.wind_gust_mph: is measured, not wind_speed_mph x 1.15 (knots converted twice): 23911 rows; first row 0: 2",
    "weather.precip_inches: mean size of the values that are not 0 between 0.0217 and 0.248: 12 months; first month 20",
    "weather.wind_gust_mph: share of rows with a value between 0.0527 and 0.676: 12 months; first month 2023-01: 0.999",
    "weather.wind_gust_mph: mean size of the values that are not 0 between 17.1 and 35.2: 12 months; first month 2023-",
)


@pytest.fixture(scope="module")
def report(raw: Tables) -> dict[str, Any]:
    return contract.clean(raw)[2]


@pytest.fixture(scope="module")
def cleaned_2023(raw_2023: Tables) -> tuple[Tables, dict[str, pd.DataFrame], dict[str, Any]]:
    return contract.clean(raw_2023)


@pytest.fixture(scope="module")
def refusal(as_it_comes: Tables) -> str:
    with pytest.raises(ContractBroken) as refused:
        contract.clean(as_it_comes)
    return str(refused.value)


@pytest.fixture(scope="module")
def january(tables: Tables) -> Tables:
    """The first days of the year: enough rows to break."""
    return {**tables, "flights": tables["flights"][:5000].copy(), "weather": tables["weather"][:500].copy()}


def test_the_known_errors_of_2013_is_counted(report: Any) -> None:
    assert {rule["rule"]: rule["hits"] for rule in report["rules"]} == COUNTS


def test_the_rows_of_2013_are_counted(report: Any) -> None:
    assert report["rows"] == {
        "flights": 336_776,
        "weather": 26_115,
        "planes": 3_322,
        "airports": 1_458,
        "airlines": 16,
    }
    assert report["labelled"] == 327_346
    assert report["weather_hours_missing"] == {"EWR": 57, "JFK": 54, "LGA": 54}


def test_the_impossible_wind_is_emptied_and_its_row_kept(raw: Tables, tables: Tables) -> None:
    storm = raw["weather"]["wind_speed_mph"] > 1000

    assert storm.sum() == 1
    assert tables["weather"].loc[storm, "wind_speed_mph"].isna().all()
    assert tables["weather"].loc[storm, "temp_f"].notna().all()
    assert len(tables["weather"]) == len(raw["weather"])


def test_the_cold_night_at_jfk_is_emptied(raw: Tables, tables: Tables) -> None:
    changed = tables["weather"][raw["weather"]["temp_f"].notna() & tables["weather"]["temp_f"].isna()]

    assert changed[["origin", "local_hour"]].values.tolist() == [["JFK", pd.Timestamp("2013-05-08 22:00")]]


def test_the_islands_are_added_with_their_time_zone(tables: Tables) -> None:
    added = tables["airports"][tables["airports"]["zone"] == "America/Puerto_Rico"]

    assert added["airport"].tolist() == ["BQN", "PSE", "SJU", "STT"]


def test_a_repeated_observation_is_quarantined_with_its_reason(raw: Tables) -> None:
    again = pd.concat([raw["weather"], raw["weather"].iloc[[7]].assign(temp_f=41.0)], ignore_index=True)

    cleaned, quarantined, report = contract.clean({**raw, "weather": again})

    assert len(cleaned["weather"]) == len(raw["weather"])
    assert quarantined["weather"][["temp_f", "reason"]].values.tolist() == [[41.0, "repeated_observation"]]
    assert {rule["rule"]: rule["hits"] for rule in report["rules"]}["repeated_observation"] == 1


@pytest.mark.parametrize(
    ("table", "column"), [("weather", "wind_gust_mph"), ("flights", "tailnum"), ("airlines", "carrier")]
)
def test_a_column_that_a_rule_about_dirt_needs_is_missed_by_name(table: str, column: str, raw: Tables) -> None:
    without = {**raw, table: raw[table].drop(columns=column)}

    with pytest.raises(ContractBroken, match=rf"{table}\.{column}: column_in_dataframe"):
        contract.clean(without)


def in_celsius(weather: pd.DataFrame) -> pd.DataFrame:
    return weather.assign(temp_f=(weather["temp_f"] - 32) / 1.8, dewp_f=(weather["dewp_f"] - 32) / 1.8)


def test_an_error_in_more_than_a_tenth_of_a_day_breaks_the_contract(tables: Tables) -> None:
    """One airport in Celsius would be emptied row by row, as if each were a broken sensor's."""
    june = tables["weather"][tables["weather"]["local_hour"].dt.month == 6]
    mixed = pd.concat([june[june["origin"] != "JFK"], in_celsius(june[june["origin"] == "JFK"])]).sort_index()

    with pytest.raises(ContractBroken, match="temperature_off_its_neighbours: 720 rows; over 10% of a day"):
        contract.clean({**tables, "weather": mixed})


def test_celsius_is_within_every_range_but_does_not_make_the_humidity(tables: Tables) -> None:
    with pytest.raises(ContractBroken, match="weather: humid_percent agrees with temp_f and dewp_f"):
        contract.check({**tables, "weather": in_celsius(tables["weather"])})


def test_a_flipped_delay_does_not_lead_to_the_arrival(january: Tables) -> None:
    flipped = january["flights"].assign(arr_delay_minutes=-january["flights"]["arr_delay_minutes"].clip(-180, 180))

    with pytest.raises(ContractBroken, match="flights: arr_delay_minutes agrees with the clock at the destination"):
        contract.check({**january, "flights": flipped})


@pytest.mark.parametrize("day", ["2013-06-04", "2013-06-08"])
def test_a_single_day_in_celsius_is_found_in_a_week(day: str, tables: Tables) -> None:
    week = tables["weather"][tables["weather"]["local_hour"].between("2013-06-02", "2013-06-08 23:00")]
    chosen = week["local_hour"].dt.normalize() == day

    with pytest.raises(ContractBroken, match=r"humid_percent agrees with temp_f and dewp_f: \d\d rows"):
        contract.check({**tables, "weather": week.mask(chosen, in_celsius(week))})


def test_arrivals_read_on_new_yorks_clock_leave_no_time_to_fly(january: Tables) -> None:
    west = january["flights"]["dest"].isin(["LAX", "SFO", "SEA", "LAS", "DEN", "ORD", "DFW", "IAH", "MSP"])
    earlier = pd.to_timedelta(west.map({True: 2, False: 0}), unit="h")
    flights = january["flights"].assign(
        scheduled_arrival=january["flights"]["scheduled_arrival"] - earlier,
        arrived_at=january["flights"]["arrived_at"] - earlier,
    )

    with pytest.raises(ContractBroken, match="flights: the timetable leaves time to fly"):
        contract.check({**january, "flights": flights})


def test_few_arrivals_off_the_clock_are_let_through(january: Tables) -> None:
    """A change of the clocks under way; 2023 has three such flights."""
    few = january["flights"].copy()
    few.loc[few.index[:8], "arr_delay_minutes"] += 60

    contract.check({**january, "flights": few})


def test_data_without_known_errors_pass_unchanged(tables: Tables) -> None:
    cleaned, quarantined, _ = contract.clean(tables)

    assert cleaned["weather"].equals(tables["weather"])
    assert quarantined["weather"].empty


def with_value(table: str, column: str, value: Any) -> Callable[[Tables], Tables]:
    """Two rows of a table with another value in one column."""

    def change(tables: Tables) -> Tables:
        changed = tables[table].copy()
        changed.loc[[10, 20], column] = value
        return {**tables, table: changed}

    return change


NOON = pd.Timestamp("2013-01-01 12:34", tz="UTC")


def without_whole_miles(tables: Tables) -> Tables:
    return {**tables, "flights": tables["flights"].astype({"distance_miles": float})}


def with_another_number(tables: Tables) -> Tables:
    return {**tables, "flights": tables["flights"].assign(flight_number=tables["flights"]["flight_number"] + 1)}


Change = Callable[[Tables], Tables]
BROKEN: dict[str, tuple[Change, str]] = {
    "type": (without_whole_miles, "flights.distance_miles: dtype"),
    "range": (with_value("flights", "distance_miles", 60_000), "flights.distance_miles: miles between 1 and 6000: 2"),
    "delay": (with_value("flights", "arr_delay_minutes", 5e3), "flights.arr_delay_minutes: minutes between"),
    "null": (with_value("flights", "carrier", None), "flights.carrier: not_nullable: 2 rows"),
    "category": (with_value("flights", "origin", "PHL"), "flights.origin: is a New York airport: 2 rows"),
    "reference": (with_value("flights", "dest", "ZZZ"), "flights.dest: is in airports: 2 rows"),
    "another key": (
        with_another_number,
        "a request cannot be made of row 0, entity_id 'UA1545-EWR-20130101T1015Z': the request's own is 'UA1546-EWR-",
    ),
    "carrier": (with_value("flights", "carrier", "ZZ"), "flights.carrier: is in airlines: 2 rows; first row 10: 'ZZ'"),
    "key": (with_value("flights", "entity_id", "UA1-EWR-20130101T1000Z"), "flights.entity_id: field_uniqueness"),
    "order": (with_value("flights", "scheduled_departure", NOON + pd.Timedelta(days=9)), "flights: sorted by"),
    "clock": (with_value("flights", "sched_dep_hhmm", 1), "flights: scheduled_departure agrees with the clock"),
    "landing": (with_value("flights", "arrived_at", NOON - pd.Timedelta(days=1)), "flights: lands after it left: 2"),
    "ghost": (with_value("flights", "departed_at", pd.NaT), "flights: no arrival without a departure: 2 rows"),
    "humidity": (with_value("weather", "humid_percent", 101.0), "weather.humid_percent: percent between 0 and 100: 2"),
    "foresight": (with_value("weather", "known_at", NOON), "weather: known an hour after its label: 2 rows"),
    "seats": (with_value("planes", "seats", 0), "planes.seats: seats between 1 and 600: 2 rows"),
    "column": (lambda t: {**t, "planes": t["planes"].assign(colour="red")}, "planes.colour: column_in_schema"),
    "missing": (lambda t: {**t, "planes": t["planes"].drop(columns="seats")}, "planes.seats: column_in_dataframe"),
    "empty": (lambda t: {**t, "planes": t["planes"][:0]}, "planes: has no rows"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_breaks_the_contract_is_named(broken: str, january: Tables) -> None:
    change, message = BROKEN[broken]

    with pytest.raises(ContractBroken) as refused:
        contract.check(change(january))

    assert message in str(refused.value)


def test_a_wall_clock_that_is_labelled_utc_is_refused(tables: Tables) -> None:
    """The silent contract break of 2023: a naive join would raise nothing."""
    wall = (
        tables["flights"]["scheduled_departure"]
        .dt.tz_convert("America/New_York")
        .dt.tz_localize(None)
        .dt.tz_localize("UTC")
    )

    with pytest.raises(ContractBroken, match="agrees with the clock in New York: 336776 rows"):
        contract.check({**tables, "flights": tables["flights"].assign(scheduled_departure=wall)})


@pytest.mark.parametrize("line", REFUSED_2023)
def test_2023_as_it_comes_is_refused_in_one_message_that_names(line: str, refusal: str) -> None:
    assert line in refusal


def test_2023_with_the_meaning_of_2013_holds(cleaned_2023: Any) -> None:
    cleaned, quarantined, report = cleaned_2023

    assert {rule["rule"]: rule["hits"] for rule in report["rules"]} == COUNTS_2023
    assert report["rows"]["flights"] == len(cleaned["flights"]) + len(quarantined["flights"]) == 435_352
    assert report["labelled"] == 422_818
    assert report["weather_hours_missing"] == {"EWR": 29, "JFK": 29, "LGA": 30}


def test_the_flight_of_2023_whose_timetable_is_wrong_is_quarantined(cleaned_2023: Any) -> None:
    assert cleaned_2023[1]["flights"][["entity_id", "reason"]].values.tolist() == [
        ["YX1713-JFK-20230324T0240Z", "arrives_before_it_leaves"],
    ]


def test_of_the_flight_of_2023_whose_delay_spans_a_clock_change_only_the_timetable_is_kept(cleaned_2023: Any) -> None:
    flights = cleaned_2023[0]["flights"].set_index("entity_id")

    flight = flights.loc["B667-JFK-20230312T0120Z"]

    assert flight[list(known_errors.FLOWN)].isna().all()
    assert flight.drop(list(known_errors.FLOWN)).notna().all()


def with_flights_of(carrier: str, share: float, tables: Tables, accepted: bool = False) -> Tables:
    flights = tables["flights"].copy()
    theirs = flights.index[: int(share * len(flights))]
    flights.loc[theirs, "carrier"] = carrier
    flights.loc[theirs, "entity_id"] = carrier + flights.loc[theirs, "entity_id"].str.slice(2)
    newcomer = pd.DataFrame({"carrier": [carrier], "name": ["Newcomer"], "accepted": [accepted]})
    airlines = pd.concat([tables["airlines"].assign(accepted=False), newcomer], ignore_index=True)
    return {**tables, "flights": flights, "airlines": airlines}


def test_an_airline_that_begins_is_no_reason_to_stop(january: Tables) -> None:
    contract.check(with_flights_of("ZZ", rules.UNSEEN_CARRIERS_LIMIT, january))


def test_an_airline_that_nobody_accepted_must_not_fly_more_than_a_few(january: Tables) -> None:
    with pytest.raises(ContractBroken, match="is an airline of 2013 or accepted since: 300 rows; first row 0: 'ZZ'"):
        contract.check(with_flights_of("ZZ", 0.06, january))


def test_an_airline_that_was_accepted_may_fly_what_it_likes(january: Tables) -> None:
    contract.check(with_flights_of("ZZ", 0.5, january, accepted=True))


def test_a_broken_contract_leaves_what_was_there(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = {**tables, "planes": tables["planes"].assign(seats=-1)}
    layout.write_tables(broken, layout.INGESTED)
    layout.write_tables(tables, layout.VALIDATED)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    with pytest.raises(ContractBroken, match=r"planes.seats: seats between 1 and 600: 3322 rows; first row 0: -1"):
        validate.main()

    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
