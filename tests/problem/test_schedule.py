"""The timetable's features, and the coding of everything into the model's numbers."""

from typing import Any

import holidays
import numpy as np
import pandas as pd
import pytest

from ontime import encoding, schema
from ontime.declaration import Columns
from ontime.problem import holidays as calendar
from ontime.problem import schedule


def flights(departures: list[str] | np.ndarray, arrivals: list[str] | np.ndarray, miles: object = 760) -> Columns:
    """The fields of requests; times in UTC."""
    count = len(departures)
    return {
        "carrier": np.array(["UA"] * count, object),
        "flight_number": np.full(count, 1545),
        "origin": np.array(["EWR"] * count, object),
        "dest": np.array(["ORD"] * count, object),
        "scheduled_departure": np.array(departures, "datetime64[us]"),
        "scheduled_arrival": np.array(arrivals, "datetime64[us]"),
        "distance_miles": np.broadcast_to(np.asarray(miles), count),
    }


def features_of(departure: str, arrival: str, miles: float = 760) -> dict[str, object]:
    return {name: values[0] for name, values in schedule.features(flights([departure], [arrival], miles)).items()}


def test_the_timetable_becomes_minutes_weekday_and_slack() -> None:
    row = features_of("2013-11-05T10:15", "2013-11-05T13:15")  # New York is five hours behind

    assert row == {
        "carrier": "UA",
        "origin": "EWR",
        "dest": "ORD",
        "departure_minute": 315,
        "arrival_minute": 495,
        "weekday": 1,  # a Tuesday
        "days_to_holiday": 6,  # Veterans Day is the 11th
        "distance_miles": 760,
        "elapsed_minutes": 180,
        "slack_minutes": 180 - (40 + 100),
    }


@pytest.mark.parametrize(
    ("day", "days"),
    [
        ("2013-11-28", 0),  # Thanksgiving
        ("2013-11-27", 1),
        ("2013-12-31", 1),  # New Year's Day of another year
        ("2013-01-02", 1),
        ("2013-07-02", 2),
        ("2013-08-01", 7),  # none near
    ],
)
def test_the_nearest_holiday_may_be_in_another_year(day: str, days: int) -> None:
    assert schedule.days_to_holiday(np.array([day], "datetime64[D]")).tolist() == [days]


def test_the_calendar_is_the_librarys() -> None:
    """The service reads a file, to start without the library; `python -m ontime.problem.holidays` writes it."""
    expected = holidays.country_holidays("US", years=calendar.YEARS, observed=False)

    assert schedule.HOLIDAYS.read_text().split() == [str(day) for day in sorted(expected)]


@pytest.mark.parametrize("day", ["1998-12-31", "2101-01-01"])
def test_a_day_beyond_the_calendar_is_refused(day: str) -> None:
    with pytest.raises(ValueError, match=r"us_holidays.txt covers 1999-01-01 to 2100-12-25"):
        schedule.days_to_holiday(np.array([day], "datetime64[D]"))


def test_many_flights_get_what_each_gets_alone() -> None:
    days = np.arange("2012-12-20", "2014-01-20", dtype="datetime64[D]")

    together = schedule.days_to_holiday(days)

    assert together.tolist() == [schedule.days_to_holiday(days[[place]])[0] for place in range(len(days))]


def test_a_month_of_flights_gets_what_each_flight_gets_alone() -> None:
    """Training computes a month at once, the service one flight."""
    departures = np.arange("2013-10-20T00:07", "2013-11-20T00:07", 97, dtype="datetime64[m]")
    arrivals = departures + np.linspace(40, 400, len(departures)).astype("timedelta64[m]")
    miles = np.linspace(80, 4983, len(departures)).astype(int)

    together = schedule.features(flights(departures, arrivals, miles))

    for place in range(0, len(departures), 20):
        alone = features_of(str(departures[place]), str(arrivals[place]), miles[place])
        assert alone == {name: values[place] for name, values in together.items()}


def test_a_category_is_its_position_and_an_unseen_one_is_missing() -> None:
    columns = {name: np.array([1.0, 2.0, 3.0]) for name in schema.FEATURE_NAMES}
    names = {name: ["B", "A", "unseen"] for name in schema.CATEGORICAL}

    matrix = encoding.encode({**columns, **names}, {name: ["A", "B"] for name in schema.CATEGORICAL})

    assert matrix.dtype == np.float32
    carrier = matrix[:, schema.FEATURE_NAMES.index("carrier")]
    np.testing.assert_array_equal(carrier, np.array([1, 0, np.nan], np.float32))
    assert matrix[:, schema.FEATURE_NAMES.index("temp_f")].tolist() == [1, 2, 3]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_a_missing_category_is_missing_whatever_the_names_of_the_others(missing: Any) -> None:
    columns = {name: np.array([1.0]) for name in schema.FEATURE_NAMES}
    names = {name: np.array([missing], object) for name in schema.CATEGORICAL}

    matrix = encoding.encode({**columns, **names}, {name: ["<NA>", "None", "nan"] for name in schema.CATEGORICAL})

    assert np.isnan(matrix[0, schema.FEATURE_NAMES.index("carrier")])
