"""Raw tables in our names and in UTC, also where clocks change and where days end."""

import pandas as pd
import pytest

from ontime import schema, sources
from ontime.datasets import SourceBroken, Tables
from ontime.problem import rules
from ontime.problem import sources as flights_sources

pytestmark = pytest.mark.slow


def moments(*texts: str) -> pd.Series:
    return pd.to_datetime(pd.Series(texts), utc=True).dt.as_unit("us")


def test_the_first_flight_of_the_year_is_where_its_ticket_says(raw: Tables) -> None:
    first = raw["flights"].iloc[0]

    assert first["entity_id"] == "UA1545-EWR-20130101T1015Z"
    assert first["scheduled_departure"] == pd.Timestamp("2013-01-01 05:15", tz=schema.ZONE)
    assert first["scheduled_arrival"] == pd.Timestamp("2013-01-01 08:19", tz="America/Chicago")
    assert first["departed_at"] == pd.Timestamp("2013-01-01 05:17", tz=schema.ZONE)


def test_every_known_arrival_shows_the_time_on_the_clock_at_its_destination(raw: Tables) -> None:
    zones = raw["airports"].dropna(subset="zone").set_index("airport")["zone"]
    landed = raw["flights"][raw["flights"]["arrived_at"].notna() & raw["flights"]["dest"].isin(zones.index)]
    wrong = 0
    for zone, rows in landed.groupby(landed["dest"].map(zones)):
        wall = rows["arrived_at"].dt.tz_convert(zone)
        wrong += int((wall.dt.hour * 100 + wall.dt.minute != rows["arr_hhmm"] % 2400).sum())

    # Flights in the air while a clock changed: the table's own delays do not agree with its clock times.
    assert wrong < 100


def test_a_flight_keeps_its_time_in_the_air_across_a_clock_change(raw: Tables) -> None:
    flights = raw["flights"]
    arrived = flights[flights["arrived_at"].notna()]
    gate_to_gate = (arrived["arrived_at"] - arrived["departed_at"]).dt.total_seconds() / 60

    assert (gate_to_gate > arrived["air_minutes"]).all()


def test_an_arrival_after_midnight_is_on_the_next_day() -> None:
    departure = moments("2013-07-02T03:30Z")  # 23:30 in New York

    arrival = flights_sources.scheduled_arrival(departure, pd.Series([30]), pd.Series([schema.ZONE]))

    assert arrival.tolist() == moments("2013-07-02T04:30Z").tolist()


def test_midnight_written_2400_ends_the_day() -> None:
    assert flights_sources.minutes_of_day(pd.Series([0, 515, 2359, 2400])).tolist() == [0, 315, 1439, 1440]


@pytest.mark.parametrize("hhmm", [2401, 1260, -5])
def test_what_is_no_time_is_refused_by_place_and_value(hhmm: int) -> None:
    with pytest.raises(SourceBroken, match=rf"flights.sched_dep_time: 1 values are not HHMM times.*1: {hhmm}"):
        flights_sources.minutes_of_day(pd.Series([515, hhmm], name="sched_dep_time"))


def test_an_unknown_dataset_is_refused_with_those_there_are() -> None:
    with pytest.raises(SourceBroken, match=r"dataset '1999' is unknown; there are \['flights-2013', 'flights-2023'\]"):
        sources.read("1999")


def test_a_package_that_is_missing_is_named_with_what_to_do() -> None:
    with pytest.raises(SourceBroken, match="package nosuchflights is not installed: run `make install`"):
        flights_sources.package_data("nosuchflights")


def test_a_flight_of_new_years_eve_evening_belongs_to_december() -> None:
    assert sources.months_of(moments("2014-01-01T02:00Z", "2013-07-01T05:00Z")).tolist() == ["2013-12", "2013-07"]


def test_a_morning_flight_of_2023_is_where_its_ticket_says(raw_2023: Tables) -> None:
    first = raw_2023["flights"].iloc[0]

    assert first["entity_id"] == "AA499-EWR-20230101T1000Z"
    assert first["scheduled_departure"] == pd.Timestamp("2023-01-01 05:00", tz=schema.ZONE)
    assert first["scheduled_arrival"] == pd.Timestamp("2023-01-01 08:15", tz=schema.ZONE)
    assert first["departed_at"] == pd.Timestamp("2023-01-01 05:03", tz=schema.ZONE)


def test_2023_read_as_it_comes_is_off_by_the_winters_five_hours_and_the_summers_four(
    raw_2023: Tables, as_it_comes: Tables
) -> None:
    key = ["carrier", "flight_number", "origin", "sched_dep_hhmm", "day"]
    naive, right = (
        tables["flights"].assign(day=tables["flights"]["scheduled_departure"].dt.tz_convert(zone).dt.date)
        for tables, zone in ((as_it_comes, "UTC"), (raw_2023, schema.ZONE))
    )
    both = right.merge(naive, on=key, suffixes=("", "_naive"), validate="1:1")
    off = both["scheduled_departure"] - both["scheduled_departure_naive"]
    hours = (off.dt.total_seconds() / 3600).groupby(both["day"].map(lambda day: day.month)).unique().map(sorted)

    assert len(both) == len(right)
    assert (hours[1], hours[3], hours[7], hours[11]) == ([5], [4, 5], [4], [4, 5])


def test_2023_has_all_its_flights_a_quarter_of_them_by_airlines_unseen_in_2013(raw_2023: Tables) -> None:
    unseen = ~raw_2023["flights"]["carrier"].isin(rules.CARRIERS)

    assert len(raw_2023["flights"]) == 435_352
    assert unseen.sum() == 104_645
    assert round(unseen.mean(), 3) == 0.240
    assert set(raw_2023["flights"]["carrier"][unseen]) == set(flights_sources.NEW_CARRIERS)


def test_the_airlines_that_this_project_knows_are_those_of_2013(raw: Tables) -> None:
    assert set(rules.CARRIERS) == set(raw["airlines"]["carrier"]) == set(raw["flights"]["carrier"])


def test_a_code_that_was_given_to_another_airline_is_not_accepted() -> None:
    listed = pd.DataFrame({"carrier": ["YX", "YX", "UA"], "name": ["Republic Airline", "Another", "United"]})

    assert flights_sources._airlines_2023(listed)["accepted"].tolist() == [True, False, False]


@pytest.mark.parametrize("dataset", ["raw", "raw_2023"])
def test_it_is_warmest_in_the_early_afternoon(dataset: str, request: pytest.FixtureRequest) -> None:
    """Shows that the hours of the weather are UTC, in a year in which those of the flights are not."""
    weather = request.getfixturevalue(dataset)["weather"]
    warmest = weather.groupby(weather["local_hour"].dt.hour)["temp_f"].mean().idxmax()

    assert 13 <= warmest <= 15


def test_gusts_that_were_computed_are_emptied_and_the_wind_is_kept(raw_2023: Tables, as_it_comes: Tables) -> None:
    assert raw_2023["weather"]["wind_gust_mph"].isna().all()
    assert raw_2023["weather"]["wind_speed_mph"].equals(as_it_comes["weather"]["wind_speed_mph"])


def test_a_registration_gets_the_letter_that_was_left_out() -> None:
    tails = pd.Series(["203NV", "N203NV", "D942DN", None])

    assert flights_sources.with_registration_prefix(tails).tolist() == ["N203NV", "N203NV", "D942DN", tails[3]]


def test_every_aircraft_of_2023_has_an_american_registration(raw_2023: Tables) -> None:
    assert raw_2023["flights"]["tailnum"].dropna().str.startswith("N").all()


@pytest.mark.parametrize("wall", ["2023-03-12T02:30Z", "2023-11-05T01:30Z"], ids=["skipped", "repeated"])
def test_a_departure_at_a_time_that_is_not_one_moment_is_refused(wall: str) -> None:
    with pytest.raises(ValueError, match=r"2023-\d\d-\d\d 0[12]:30"):
        flights_sources.utc_of_wall_clock(moments(wall))


@pytest.mark.parametrize("moment", ["2013-04-01T04:00Z", "2013-11-03T05:30Z"])  # the second while the clock changes
def test_a_dataset_read_as_of_a_moment_is_all_of_it_as_of_that_moment(raw: Tables, moment: str) -> None:
    at = pd.Timestamp(moment).to_pydatetime()

    read, cut = sources.read("flights-2013", at), sources.as_of(raw, at)

    assert read.keys() == cut.keys()
    for name, table in read.items():
        pd.testing.assert_frame_equal(table, cut[name])
