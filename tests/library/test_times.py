"""The clock on the wall of any zone is the one that the time zone database tells, and months begin by it."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontime import partitions, times

# Half and three quarters of an hour off, half an hour of summer time, no summer time, New York.
ZONES = ["America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"]
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31))  # noqa: DTZ001  in UTC, as numpy has them


@pytest.mark.parametrize("zone", ZONES)
@given(moments=st.lists(MOMENTS, min_size=1, max_size=20))
def test_many_moments_are_shown_as_each_is_by_the_standard_library(zone: str, moments: list[datetime]) -> None:
    shown = times.wall(np.array(moments, "datetime64[us]"), zone)

    expected = [each.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for each in moments]
    assert shown.tolist() == expected
    assert times.weekday(shown).tolist() == [each.weekday() for each in expected]
    assert times.minute_of_day(shown).tolist() == [60 * each.hour + each.minute for each in expected]


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2013-03-10T06:59:59", "2013-03-10T01:59:59"),  # spring skips an hour
        ("2013-03-10T07:00:00", "2013-03-10T03:00:00"),
        ("2013-11-03T05:59:59", "2013-11-03T01:59:59"),  # autumn repeats one
        ("2013-11-03T06:00:00", "2013-11-03T01:00:00"),
    ],
)
def test_the_clock_changes_to_the_second(moment: str, shown: str) -> None:
    local = times.wall(np.array([moment], "datetime64[s]"), "America/New_York")

    assert local.tolist() == np.array([shown], "datetime64[us]").tolist()


@pytest.mark.parametrize(
    ("zone", "month", "begin"),
    [
        ("America/New_York", "2013-03", "2013-03-01 05:00"),
        ("America/Asuncion", "2017-10", "2017-10-01 04:00"),  # the clock goes from midnight to one
        ("Africa/Cairo", "2014-08", "2014-07-31 22:00"),
        ("America/Havana", "2015-11", "2015-11-01 04:00"),  # goes back from one to midnight
    ],
)
def test_a_month_begins_with_its_first_moment(zone: str, month: str, begin: str) -> None:
    first = pd.Timestamp(partitions.month(month, ZoneInfo(zone)).start)

    before = f"{pd.Period(month) - 1}"
    assert first == partitions.month(before, ZoneInfo(zone)).end == pd.Timestamp(begin, tz="UTC")
    assert [f"{each:%Y-%m}" for each in (first - pd.Timedelta(seconds=1), first)] == [before, month]
