"""Faults in arriving data: the contract, and the quarantine of a day that breaks it."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import contract, database, features, schema, sources
from ontime.contract import ContractBroken
from ontime.datasets import SourceBroken, Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem import rules
from ontime.problem.sources import minutes_of_day
from tests.futures import with_another_future
from tests.sabotage.conftest import Reported
from tests.sabotage.matrix import (
    AS_OF,
    CONTRACT,
    DATASET,
    LAST_WORD,
    QUARANTINE,
    QUARANTINED_ROWS,
    REQUEST,
    alert,
    sabotage,
)
from tests.sabotage.world import FRIDAY, SATURDAY, World

NOON = midnight(SATURDAY) + timedelta(hours=12)
Refusal = Callable[[Tables], ContractBroken]
THREE_HOURS_WEST = ["LAX", "SFO", "SEA", "LAS", "SAN", "PDX", "SNA", "SJC", "OAK", "BUR", "LGB", "SMF", "PSP"]
ONE_HOUR_WEST = ["ORD", "MDW", "DFW", "IAH", "HOU", "MSP", "MCI", "STL", "MSY", "BNA", "MEM", "MKE", "AUS", "SAT"]


@pytest.fixture
def refusal(week: Tables) -> Refusal:
    """The contract's error for a change of these tables, which it accepts unchanged."""
    contract.clean(week)
    return _refused


@pytest.fixture
def refusal_of_month(month: Tables) -> Refusal:
    contract.clean(month)
    return _refused


def _refused(broken: Tables) -> ContractBroken:
    with pytest.raises(ContractBroken) as raised:
        contract.clean(broken)
    return raised.value


def with_weather(tables: Tables, **columns: pd.Series | float) -> Tables:
    return {**tables, "weather": tables["weather"].assign(**columns)}


def on_saturday(moments: pd.Series) -> pd.Series:
    return moments >= midnight(SATURDAY)


def in_celsius(weather: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    changed = weather.copy()
    changed.loc[rows, ["temp_f", "dewp_f"]] = (changed.loc[rows, ["temp_f", "dewp_f"]] - 32) / 1.8
    return changed


def with_flights(tables: Tables, **columns: pd.Series) -> Tables:
    return {**tables, "flights": tables["flights"].assign(**columns)}


@sabotage("changed unit", "distances in kilometres", CONTRACT)
def test_kilometres_are_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    kilometres = (week["flights"]["distance_miles"] * 1.609).round().astype(int)

    reported(refusal(with_flights(week, distance_miles=kilometres)))


@sabotage("changed unit", "a day's temperatures in Celsius, each within its range", CONTRACT)
def test_a_day_in_celsius_is_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    changed = in_celsius(week["weather"], on_saturday(week["weather"]["hour"]))

    reported(refusal({**week, "weather": changed}))


@sabotage("changed unit", "one airport's temperatures in Celsius, which looks like a broken sensor", CONTRACT)
def test_one_airport_in_celsius_is_not_repaired_away(week: Tables, refusal: Refusal, reported: Reported) -> None:
    rows = on_saturday(week["weather"]["hour"]) & (week["weather"]["origin"] == "JFK")

    reported(refusal({**week, "weather": in_celsius(week["weather"], rows)}))


@sabotage("changed unit", "arrival delays in hours", CONTRACT)
def test_delays_in_hours_are_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    reported(refusal(with_flights(week, arr_delay_minutes=week["flights"]["arr_delay_minutes"] / 60)))


@sabotage("changed unit", "a month's temperatures and dew points in Celsius", CONTRACT)
def test_a_month_in_celsius_is_refused(month: Tables, refusal_of_month: Refusal, reported: Reported) -> None:
    weather = month["weather"]

    reported(refusal_of_month({**month, "weather": in_celsius(weather, weather["temp_f"].notna())}))


@sabotage("changed unit", "a month's rain in millimetres, each value within its range", CONTRACT)
def test_a_month_of_rain_in_millimetres_is_refused(
    month: Tables, refusal_of_month: Refusal, reported: Reported
) -> None:
    millimetres = month["weather"]["precip_inches"] * 25.4

    assert millimetres.max() < rules.WEATHER_LIMITS["precip_inches"][1]
    reported(refusal_of_month(with_weather(month, precip_inches=millimetres)))


@sabotage("changed unit", "a month's wind in metres per second", CONTRACT)
def test_a_month_of_wind_in_metres_per_second_is_refused(
    month: Tables, refusal_of_month: Refusal, reported: Reported
) -> None:
    reported(refusal_of_month(with_weather(month, wind_speed_mph=month["weather"]["wind_speed_mph"] * 0.447)))


@sabotage("changed unit", "a month's visibility in kilometres", CONTRACT)
def test_a_month_of_visibility_in_kilometres_is_refused(
    month: Tables, refusal_of_month: Refusal, reported: Reported
) -> None:
    reported(refusal_of_month(with_weather(month, visib_miles=month["weather"]["visib_miles"] * 1.609)))


@sabotage(
    "changed unit",
    "a month's visibility in kilometres, with 10 for all that is more",
    instead="nothing in the values: 10 or more in kilometres is usual weather in miles too. Visibility has no second "
    "measurement to compare with",
)
def test_visibility_in_kilometres_that_ends_at_ten_is_not_seen(month: Tables, reported: Reported) -> None:
    kilometres = (month["weather"]["visib_miles"] * 1.609).clip(upper=10)

    contract.clean(with_weather(month, visib_miles=kilometres))

    reported("the contract holds")


@sabotage("changed meaning", "a month's rain as the hour's first reading instead of its sum, as in 2023", CONTRACT)
def test_a_reading_instead_of_the_sum_is_refused(month: Tables, refusal_of_month: Refusal, reported: Reported) -> None:
    rain = month["weather"]["precip_inches"]
    reading = (rain / 5).round(2).where(rain == 0, lambda first: first.clip(lower=0.0001))  # 0.0001 marks a trace

    reported(refusal_of_month(with_weather(month, precip_inches=reading)))


@sabotage("changed meaning", "a month in which it never rains", CONTRACT)
def test_a_month_that_is_zero_is_refused(month: Tables, refusal_of_month: Refusal, reported: Reported) -> None:
    reported(refusal_of_month(with_weather(month, precip_inches=0.0)))


@sabotage("changed meaning", "a barometer that repeats its last value for a month", CONTRACT)
def test_a_month_that_is_constant_is_refused(month: Tables, refusal_of_month: Refusal, reported: Reported) -> None:
    reported(refusal_of_month(with_weather(month, pressure_mb=1017.6)))


@sabotage("shifted time zone", "New York local time labelled UTC, as in the flights of 2023", CONTRACT)
def test_a_wall_clock_labelled_utc_is_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    wall = week["flights"]["scheduled_departure"].dt.tz_convert(schema.ZONE).dt.tz_localize(None).dt.tz_localize("UTC")

    reported(refusal(with_flights(week, scheduled_departure=wall)))


@sabotage("shifted time zone", "weather shifted by an hour: standard time all summer", CONTRACT)
def test_weather_by_winter_time_is_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    late = {name: week["weather"][name] + pd.Timedelta(hours=1) for name in ("hour", "known_at")}

    reported(refusal({**week, "weather": week["weather"].assign(**late)}))


@sabotage("shifted time zone", "arrivals read in New York's time zone instead of the destination's", CONTRACT)
def test_arrivals_on_new_yorks_clock_are_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    hours = 3 * week["flights"]["dest"].isin(THREE_HOURS_WEST) + 1 * week["flights"]["dest"].isin(ONE_HOUR_WEST)
    early = {
        name: week["flights"][name] - pd.to_timedelta(hours, unit="h") for name in ("scheduled_arrival", "arrived_at")
    }

    reported(refusal(with_flights(week, **early)))


@sabotage("dropped column", "weather without its gusts", CONTRACT)
def test_a_dropped_column_is_refused_by_name(week: Tables, refusal: Refusal, reported: Reported) -> None:
    reported(refusal({**week, "weather": week["weather"].drop(columns="wind_gust_mph")}))


@sabotage("dropped column", "a day without temperatures, joined to days that have them", alert("blind_features"))
def test_a_column_that_is_empty_from_now_on_is_seen(production: World, reported: Reported) -> None:
    weather = production.tables["weather"]
    without = weather.assign(temp_f=weather["temp_f"].mask(weather["hour"] >= midnight(SATURDAY) - timedelta(hours=4)))

    production.tables = {**production.tables, "weather": without}
    result = production.run_day(SATURDAY)

    reported(result.report("blind_features"))


@sabotage("renamed category", "UA written as United", CONTRACT)
def test_an_airline_by_its_name_is_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    reported(refusal(with_flights(week, carrier=week["flights"]["carrier"].replace("UA", "United"))))


@sabotage("renamed category", "UA coded U2 in the flights only", CONTRACT)
def test_an_airline_that_the_airlines_lack_is_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    reported(refusal(with_flights(week, carrier=week["flights"]["carrier"].replace("UA", "U2"))))


@sabotage("renamed category", "UA coded U2 in the flights and in the airlines", CONTRACT)
def test_an_airline_that_nobody_has_accepted_is_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    new = {name: week[name].replace({"carrier": {"UA": "U2"}}) for name in ("flights", "airlines")}

    reported(refusal({**week, **new}))


@sabotage("duplicated batch", "a day of flights delivered twice", QUARANTINE)
def test_a_day_of_flights_that_comes_twice_is_quarantined(production: World, reported: Reported) -> None:
    healthy = production.materialise(SATURDAY)
    assert healthy.broken == ()

    flights = production.tables["flights"]
    again = pd.concat([flights, flights[flights["scheduled_departure"].between(midnight(SATURDAY), NOON)]])
    production.tables = {**production.tables, "flights": again.sort_values("scheduled_departure", ignore_index=True)}
    stored = production.materialise(SATURDAY)

    assert (production.settings.quarantine / "2013-06-08-flights.parquet").is_file()
    reported(f"quarantined: {stored.broken[0].name}: {stored.broken[0].reasons[0]}")


@sabotage("changed unit", "a day's temperatures in Celsius, in production", alert("quarantined_batches"))
def test_a_day_in_celsius_is_quarantined_and_stops_everything(production: World, reported: Reported) -> None:
    weather = production.tables["weather"]
    changed = in_celsius(weather, on_saturday(weather["hour"]))

    production.tables = {**production.tables, "weather": changed}
    result = production.run_day(SATURDAY)

    reported(result.report("quarantined_batches"))


@sabotage("duplicated batch", "a day of weather delivered twice", QUARANTINED_ROWS)
def test_weather_that_comes_twice_is_quarantined_and_counted(week: Tables, reported: Reported) -> None:
    again = pd.concat([week["weather"], week["weather"][on_saturday(week["weather"]["hour"])]], ignore_index=True)

    clean, _, _ = contract.clean(week)
    repaired, quarantined, _ = contract.clean({**week, "weather": again})

    assert len(repaired["weather"]) == len(clean["weather"]) == len(week["weather"])
    reported(f"{len(quarantined['weather'])} rows quarantined: {quarantined['weather']['reason'].iloc[0]}")


@sabotage("duplicated batch", "outcomes reported again, and an older report afterwards", LAST_WORD)
def test_outcomes_that_come_again_change_nothing(production: World, reported: Reported) -> None:
    before = production.outcomes()
    older = [{**row, "label": not row["label"], "known_at": row["known_at"] - timedelta(minutes=1)} for row in before]
    newer = [
        {**row, "label": not row["label"], "known_at": row["known_at"] + timedelta(minutes=1)} for row in before[:9]
    ]

    database.store_outcomes(production.engine, before)
    database.store_outcomes(production.engine, older)
    after_older = production.outcomes()
    database.store_outcomes(production.engine, newer)

    assert sum(now["label"] != then["label"] for now, then in zip(production.outcomes(), before, strict=True)) == 9
    assert after_older == before
    reported("the outcomes are unchanged; the report known last counts")


@sabotage(
    "missing hour of weather",
    "noon of a Saturday, at all three airports",
    harmless=True,
    instead="the last observation is used until the next one, and its age is a feature",
)
def test_a_missing_hour_is_bridged_by_the_hour_before(tables: Tables, params: Params, reported: Reported) -> None:
    start, end = midnight(SATURDAY), midnight(SATURDAY + timedelta(days=1))
    without = {**tables, "weather": tables["weather"][tables["weather"]["hour"] != NOON]}

    whole, gap = (features.build(each, start, end, params.features, params.question) for each in (tables, without))

    older = gap["weather_age_hours"] > whole["weather_age_hours"]
    assert 0 < older.sum() < 100
    assert gap["temp_f"].notna().all()
    others = ~gap["moment"].between(NOON, NOON + timedelta(hours=5))  # known at one, and missed for three hours' change
    assert_frame_equal(gap[others], whole[others])
    missing = contract.clean(sources.cut(without, start, end))[2]["weather_hours_missing"]
    reported(f"weather_age_hours {gap['weather_age_hours'].max():.0f} at most; hours missing: {missing}")


@sabotage("changed format", "departures as decimal hours: 1475 instead of 1445", DATASET)
def test_times_that_no_clock_shows_are_refused(reported: Reported) -> None:
    hours = pd.Series([615, 1445, 2359], name="sched_dep_time")
    minutes_of_day(hours)

    with pytest.raises(SourceBroken) as refused:
        minutes_of_day(hours.replace(1445, 1475))

    reported(refused.value)


@sabotage("shifted time zone", "a request with a local time without UTC offset", REQUEST)
def test_a_request_without_an_offset_is_refused(production: World, reported: Reported) -> None:
    (flight, *_) = production.requests(FRIDAY, FRIDAY)
    naive = {**flight, "scheduled_departure": flight["scheduled_departure"][:19]}

    with production.service() as client:
        assert client.post("/v1/predictions", json=flight).status_code == 200
        refused = client.post("/v1/predictions", json=naive)

    assert refused.status_code == 422
    (problem,) = refused.json()["detail"]
    reported(f"422: {problem['place']}: {problem['reason']}")


@sabotage("future leak", "weather declared as known an hour before it is measured", CONTRACT)
def test_weather_that_is_known_early_is_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    early = week["weather"]["known_at"] - pd.Timedelta(hours=1)

    reported(refusal({**week, "weather": week["weather"].assign(known_at=early)}))


@sabotage(
    "future leak",
    "a feed whose future data differ from the real ones",
    AS_OF,
)
def test_what_lies_ahead_of_the_clock_changes_no_feature(week: Tables, params: Params, reported: Reported) -> None:
    def features_at(moment: datetime, tables: Tables) -> pd.DataFrame:
        clean = contract.clean(sources.as_of(tables, moment))[0]
        return features.build(clean, moment, moment + timedelta(hours=2), params.features, params.question)

    planted = with_another_future(week, NOON)

    hidden = features_at(NOON, planted)

    assert_frame_equal(hidden, features_at(NOON, week))
    result = features.build(planted, NOON, NOON + timedelta(hours=6), params.features, params.question)
    assert not result.equals(features.build(week, NOON, NOON + timedelta(hours=6), params.features, params.question))
    reported("the features are the same, bit for bit")


@sabotage("flipped labels", "arrival delays with the wrong sign", CONTRACT)
def test_delays_with_the_wrong_sign_are_refused(week: Tables, refusal: Refusal, reported: Reported) -> None:
    flipped = -week["flights"]["arr_delay_minutes"].clip(-180, 180)  # within the range of early arrivals

    reported(refusal(with_flights(week, arr_delay_minutes=flipped)))
