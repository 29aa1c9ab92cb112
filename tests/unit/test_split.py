"""A flight belongs to one period, whatever code has put it together."""

from datetime import date

import pandas as pd
import pytest

from ontime import split
from ontime.split import Period, SplitBroken

WEEK = Period(date(2013, 2, 4), date(2013, 2, 11))


@pytest.fixture
def flights() -> pd.DataFrame:
    """One flight a day for three weeks."""
    days = pd.date_range("2013-02-04", periods=21)
    return pd.DataFrame({"flight_id": [f"UA1-EWR-{day:%Y%m%d}T1200Z" for day in days], "day": days})


def test_the_flights_of_a_period_are_no_strays_in_it(flights: pd.DataFrame) -> None:
    split.refuse_strays("train", split.within(flights, WEEK), WEEK)


def test_flights_drawn_at_random_are_refused_with_their_days(flights: pd.DataFrame) -> None:
    drawn = flights.sample(frac=0.5, random_state=1)

    with pytest.raises(SplitBroken, match="train: 6 of 10 flights are of 2013-02-14 to 2013-02-22, outside"):
        split.refuse_strays("train", drawn, WEEK)


def test_the_day_on_which_the_next_period_begins_is_a_stray(flights: pd.DataFrame) -> None:
    with pytest.raises(SplitBroken, match="valid: 1 of 8 flights are of 2013-02-11 to 2013-02-11"):
        split.refuse_strays("valid", flights[:8], WEEK)
