"""Point in time: what is known later does not enter, and where a window begins and ends changes nothing."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import features, leaks, schema
from ontime.datasets import Tables
from ontime.params import Params
from tests.futures import with_another_future

LATE = pd.Timestamp("2013-02-08 12:00", tz=schema.ZONE)  # a blizzard came in: many delays, many cancellations


def build(tables: Tables, start: pd.Timestamp, hours: float, params: Params) -> pd.DataFrame:
    return features.build(tables, start, start + timedelta(hours=hours), params.features, params.question)


@pytest.mark.parametrize(
    "moment", ["2013-02-08 10:00", "2013-03-10 04:00", "2013-07-22 16:30", "2013-11-03 04:00", "2013-11-03 12:00"]
)
def test_another_future_changes_no_feature_of_who_was_asked_about_before_it(
    moment: str, tables: Tables, params: Params
) -> None:
    """In a window with days on both sides, as the stage builds it: what comes later lies before the features."""
    cut = pd.Timestamp(moment, tz=schema.ZONE)
    start, hours = cut - timedelta(days=5), 10 * 24
    flights = build(tables, start, hours, params)

    changed = build(with_another_future(tables, cut.to_pydatetime()), start, hours, params)

    assert_frame_equal(changed[changed["moment"] <= cut], flights[flights["moment"] <= cut])
    assert not changed[changed["moment"] > cut].equals(flights[flights["moment"] > cut])


def test_another_past_does_change_features(tables: Tables, params: Params) -> None:
    long_before = LATE - timedelta(hours=12)
    other = with_another_future(tables, long_before.to_pydatetime())

    before, after = build(tables, LATE, 1, params), build(other, LATE, 1, params)

    changed = [name for name in schema.ONLINE if not before[name].equals(after[name])]
    assert {"departures_origin_3h_delay", "temp_f", "overdue_origin_share", "aircraft_departure_delay",
            "wind_direction_degrees", "arrivals_all_6h_lost", "record_7d_delay"} <= set(changed)  # fmt: skip


@pytest.mark.parametrize("month", ["2013-01", "2013-03", "2013-11"])
def test_a_month_built_alone_equals_the_same_month_built_with_its_year(
    month: str, tables: Tables, params: Params
) -> None:
    start = pd.Timestamp(f"{month}-01", tz=schema.ZONE)
    end = start + pd.DateOffset(months=1)
    halo = timedelta(hours=params.features.halo_hours)
    flights, weather = tables["flights"], tables["weather"]
    alone = {
        **tables,
        "flights": flights[flights["scheduled_departure"].between(start - halo, end + timedelta(hours=1))],
        "weather": weather[weather["hour"].between(start - halo, end)],
    }

    built = features.build(alone, start, end, params.features, params.question)

    assert_frame_equal(built, features.build(tables, start, end, params.features, params.question))


def test_a_longer_halo_changes_nothing(tables: Tables, params: Params) -> None:
    longer = params.features.model_copy(update={"halo_hours": params.features.halo_hours + 240})

    built = features.build(tables, LATE, LATE + timedelta(days=3), longer, params.question)

    assert_frame_equal(built, build(tables, LATE, 72, params))


def test_a_flight_built_in_its_minute_equals_the_same_flight_built_in_its_month(
    tables: Tables, weeks: pd.DataFrame, params: Params
) -> None:
    """What production does every few minutes and what training does once a month are the same rows."""
    start = weeks["moment"].iloc[-1] + timedelta(minutes=params.features.lead_minutes)

    alone = features.build(tables, start, start + timedelta(minutes=1), params.features, params.question)

    together = weeks[weeks["entity_id"].isin(alone["entity_id"])].reset_index(drop=True)
    assert_frame_equal(alone, together[alone.columns])


def test_every_flight_has_one_row_with_the_declared_features(weeks: pd.DataFrame, tables: Tables) -> None:
    day = tables["flights"]["scheduled_departure"].dt.tz_convert(schema.ZONE).dt.tz_localize(None)
    selected = tables["flights"][(day >= "2013-02-04") & (day < "2013-02-25")]

    assert weeks["entity_id"].tolist() == selected["entity_id"].tolist()
    assert list(weeks.columns[2:-3]) == list(schema.FEATURE_NAMES)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("departures_origin_1h_count", "count"),
        ("departures_origin_1h_late", "late"),
        ("departures_origin_1h_delay", "delay"),
    ],
)
def test_departures_of_the_last_hour_are_those_that_a_loop_counts(
    column: str, expected: str, weeks: pd.DataFrame, tables: Tables
) -> None:
    flight = weeks[weeks["moment"] == weeks["moment"].iloc[5000]].iloc[0]
    left = tables["flights"][
        (tables["flights"]["origin"] == flight["origin"])
        & (tables["flights"]["departed_at"] > flight["moment"] - timedelta(hours=1))
        & (tables["flights"]["departed_at"] <= flight["moment"])
    ]
    by_hand = {
        "count": len(left),
        "late": (left["dep_delay_minutes"] >= 15).mean(),
        "delay": left["dep_delay_minutes"].mean(),
    }

    assert flight[column] == pytest.approx(by_hand[expected], nan_ok=True)


def arrivals_before(flight: pd.Series, flights: pd.DataFrame, hours: float) -> pd.DataFrame:
    since = flight["moment"] - timedelta(hours=hours)
    return flights[(flights["arrived_at"] > since) & (flights["arrived_at"] <= flight["moment"])]


@pytest.mark.parametrize(
    ("column", "same", "hours"),
    [
        ("arrivals_dest_6h_lost", ["dest"], 6),
        ("arrivals_dest_24h_lost", ["dest"], 24),
        ("arrivals_all_6h_lost", [], 6),
        ("arrivals_origin_carrier_24h_lost", ["origin", "carrier"], 24),
        ("arrivals_route_24h_delay", ["origin", "dest"], 24),
        ("arrivals_dest_carrier_24h_delay", ["dest", "carrier"], 24),
    ],
)
def test_what_flights_lost_on_the_way_is_what_a_loop_finds(
    column: str, same: list[str], hours: float, weeks: pd.DataFrame, tables: Tables
) -> None:
    flights = tables["flights"]
    for position in (700, 5000, 9000):
        flight = weeks.iloc[position]
        landed = arrivals_before(flight, flights, hours)
        landed = landed[(landed[same] == flight[same]).all(axis=1)]
        value = landed["arr_delay_minutes"] - (landed["dep_delay_minutes"] if column.endswith("lost") else 0)

        assert flight[column] == pytest.approx(value.mean(), nan_ok=True)


@pytest.mark.parametrize("days", [7, 28])
def test_the_record_of_a_flight_number_is_what_a_loop_finds(
    days: int, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    flights, at_least = tables["flights"], params.label.at_least
    timetable = flights.set_index("entity_id")
    same = ["carrier", "flight_number", "origin", "dest"]
    with_record = weeks[weeks["record_7d_count"] > 0]
    for position in (700, 5000, 9000):
        flight = with_record.iloc[position]
        all_landed = arrivals_before(flight, flights, 24 * days)["arr_delay_minutes"]
        landed = all_landed[(flights[same] == timetable.loc[flight["entity_id"], same]).all(axis=1)]
        late = (landed >= at_least).mean() - (all_landed >= at_least).mean()

        assert flight[f"record_{days}d_count"] == len(landed)
        assert flight[f"record_{days}d_late"] == pytest.approx(late)
        assert flight[f"record_{days}d_delay"] == pytest.approx(landed.mean() - all_landed.mean())


def test_a_flight_number_that_has_not_flown_has_no_record(weeks: pd.DataFrame) -> None:
    new = weeks[weeks["record_28d_count"] == 0]

    assert 0 < len(new) < len(weeks) / 5
    assert new[["record_7d_late", "record_7d_delay", "record_28d_late", "record_28d_delay"]].isna().all(axis=None)


def test_the_wind_is_split_into_its_parts_from_east_and_north(weeks: pd.DataFrame) -> None:
    windy = weeks[weeks["wind_direction_degrees"].notna()]
    north_wind = windy[windy["wind_direction_degrees"].isin([0, 360])]
    east_wind = windy[windy["wind_direction_degrees"] == 90]

    np.testing.assert_allclose(
        np.hypot(windy["wind_from_east_mph"], windy["wind_from_north_mph"]), windy["wind_speed_mph"], atol=1e-9
    )
    np.testing.assert_allclose(north_wind["wind_from_north_mph"], north_wind["wind_speed_mph"], atol=1e-9)
    np.testing.assert_allclose(east_wind["wind_from_east_mph"], east_wind["wind_speed_mph"], atol=1e-9)
    assert len(north_wind) > 100
    assert len(east_wind) > 100
    assert windy["wind_from_east_mph"].min() < 0
    assert windy["wind_from_north_mph"].min() < 0


def test_who_is_overdue_is_who_a_loop_finds(weeks: pd.DataFrame, tables: Tables) -> None:
    flights = tables["flights"]
    afternoons = weeks[weeks["departure_minute"] > 14 * 60]
    for position in (300, 3300, 6300):
        flight = afternoons.iloc[position]
        moment = flight["moment"]
        due = flights[
            (flights["origin"] == flight["origin"])
            & (flights["scheduled_departure"] > moment - timedelta(hours=3))
            & (flights["scheduled_departure"] <= moment)
        ]
        waiting = due[~(due["departed_at"] <= moment)]
        waited = (moment - waiting["scheduled_departure"]).dt.total_seconds().sum() / 60

        assert flight["overdue_origin_share"] == pytest.approx(len(waiting) / len(due))
        assert flight["overdue_origin_wait"] == pytest.approx(waited / len(due))


def test_the_weather_is_the_last_whole_hour_before_the_moment(weeks: pd.DataFrame, tables: Tables) -> None:
    flight = weeks.iloc[3000]
    observed = tables["weather"][
        (tables["weather"]["origin"] == flight["origin"]) & (tables["weather"]["known_at"] <= flight["moment"])
    ].iloc[-1]

    assert flight["temp_f"] == observed["temp_f"]
    assert flight["weather_age_hours"] == (flight["moment"] - observed["known_at"]).total_seconds() / 3600


def test_the_label_is_empty_where_a_flight_never_arrived(weeks: pd.DataFrame, tables: Tables) -> None:
    arrived = weeks["value"].notna()

    delays = tables["flights"].set_index("entity_id")["arr_delay_minutes"].loc[weeks["entity_id"]]
    np.testing.assert_array_equal(weeks["value"], delays)
    assert weeks.loc[~arrived, "label"].isna().all()
    assert (weeks.loc[arrived, "label"].astype(bool) == (weeks.loc[arrived, "value"] >= 15)).all()
    assert 0 < (~arrived).sum() < 2000


def outcomes(labelled: pd.DataFrame) -> pd.DataFrame:
    return labelled[["label", "value"]].astype(float)


def test_honest_features_are_not_refused(weeks: pd.DataFrame, params: Params) -> None:
    labelled = weeks[weeks["label"].notna()]

    leaks.refuse(labelled, outcomes(labelled), params.leaks)


def test_a_feature_that_equals_the_label_is_refused(weeks: pd.DataFrame, params: Params) -> None:
    labelled = weeks[weeks["label"].notna()]
    planted = labelled.assign(plane_seats=labelled["label"].astype(float))

    with pytest.raises(leaks.LeakFound, match=r"of label; look at plane_seats"):
        leaks.refuse(planted, outcomes(labelled), params.leaks)


def test_two_features_that_sum_to_the_delay_are_refused(weeks: pd.DataFrame, params: Params) -> None:
    labelled = weeks[weeks["label"].notna()]
    noise = np.random.default_rng(1).normal(0, 100, len(labelled))
    planted = labelled.assign(plane_seats=labelled["value"] - noise, plane_engines=noise)

    with pytest.raises(leaks.LeakFound, match=r"of value; look at plane_(seats|engines), plane_(seats|engines)"):
        leaks.refuse(planted, outcomes(labelled), params.leaks)
