"""Raw tables in our names and in UTC, also where clocks change and where days end."""

import pandas as pd
import pytest

from ontime import schema, sources
from ontime.sources import SourceBroken, Tables


def moments(*texts: str) -> pd.Series:
    return pd.to_datetime(pd.Series(texts), utc=True).dt.as_unit("us")


def test_the_first_flight_of_the_year_is_where_its_ticket_says(raw: Tables) -> None:
    first = raw.flights.iloc[0]

    assert first["flight_id"] == "UA1545-EWR-20130101T1015Z"
    assert first["scheduled_departure"] == pd.Timestamp("2013-01-01 05:15", tz=schema.CLOCK)
    assert first["scheduled_arrival"] == pd.Timestamp("2013-01-01 08:19", tz="America/Chicago")
    assert first["departed_at"] == pd.Timestamp("2013-01-01 05:17", tz=schema.CLOCK)


def test_every_known_arrival_shows_the_time_on_the_clock_at_its_destination(raw: Tables) -> None:
    zones = raw.airports.dropna(subset="zone").set_index("airport")["zone"]
    landed = raw.flights[raw.flights["arrived_at"].notna() & raw.flights["dest"].isin(zones.index)]
    wrong = 0
    for zone, rows in landed.groupby(landed["dest"].map(zones)):
        wall = rows["arrived_at"].dt.tz_convert(zone)
        wrong += int((wall.dt.hour * 100 + wall.dt.minute != rows["arr_hhmm"] % 2400).sum())

    # Flights in the air while a clock changed: the table's own delays do not agree with its clock times.
    assert wrong < 100


def test_a_flight_keeps_its_time_in_the_air_across_a_clock_change(raw: Tables) -> None:
    flights = raw.flights
    known = flights[flights["arrived_at"].notna()]
    gate_to_gate = (known["arrived_at"] - known["departed_at"]).dt.total_seconds() / 60

    assert (gate_to_gate > known["air_minutes"]).all()


def test_an_arrival_after_midnight_is_on_the_next_day() -> None:
    departure = moments("2013-07-02T03:30Z")  # 23:30 in New York

    arrival = sources.scheduled_arrival(departure, pd.Series([30]), pd.Series([schema.CLOCK]))

    assert arrival.tolist() == moments("2013-07-02T04:30Z").tolist()


def test_midnight_written_2400_ends_the_day() -> None:
    assert sources.minutes_of_day(pd.Series([0, 515, 2359, 2400])).tolist() == [0, 315, 1439, 1440]


@pytest.mark.parametrize("hhmm", [2401, 1260, -5])
def test_what_is_no_time_is_refused_by_place_and_value(hhmm: int) -> None:
    with pytest.raises(SourceBroken, match=rf"flights.sched_dep_time: 1 values are no HHMM time.*1: {hhmm}"):
        sources.minutes_of_day(pd.Series([515, hhmm], name="sched_dep_time"))


def test_an_unknown_vintage_is_refused_with_those_there_are() -> None:
    with pytest.raises(SourceBroken, match="vintage '1999' is unknown"):
        sources.read("1999")


def test_a_package_that_is_missing_is_named_with_what_to_do() -> None:
    with pytest.raises(SourceBroken, match="package nosuchflights is not installed: run `make install`"):
        sources.package_data("nosuchflights")


def test_a_flight_of_new_years_eve_evening_belongs_to_december() -> None:
    assert sources.month_of(moments("2014-01-01T02:00Z", "2013-07-01T05:00Z")).tolist() == ["2013-12", "2013-07"]
