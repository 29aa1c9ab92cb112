"""A flight belongs to one period, whatever code has put it together."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import split
from ontime.params import Params
from ontime.split import Period, SplitBroken
from pipelines import layout

WEEK = Period(date(2013, 2, 4), date(2013, 2, 11))


@pytest.fixture
def flights() -> pd.DataFrame:
    """One flight a day for three weeks."""
    days = pd.date_range("2013-02-04", periods=21)
    return pd.DataFrame({"entity_id": [f"UA1-EWR-{day:%Y%m%d}T1200Z" for day in days], "day": days})


def test_the_flights_of_a_period_are_no_strays_in_it(flights: pd.DataFrame) -> None:
    split.refuse_strays("train", split.within(flights, WEEK), WEEK)


def test_flights_drawn_at_random_are_refused_with_their_days(flights: pd.DataFrame) -> None:
    drawn = flights.sample(frac=0.5, random_state=1)

    with pytest.raises(SplitBroken, match="train: 6 of 10 flights are of 2013-02-14 to 2013-02-22, outside"):
        split.refuse_strays("train", drawn, WEEK)


def test_the_day_on_which_the_next_period_begins_is_a_stray(flights: pd.DataFrame) -> None:
    with pytest.raises(SplitBroken, match="valid: 1 of 8 flights are of 2013-02-11 to 2013-02-11"):
        split.refuse_strays("valid", flights[:8], WEEK)


@pytest.mark.parametrize(("first", "last"), [("2013-01-02", "2013-12-31"), ("2013-01-01", "2013-12-30")])
def test_periods_outside_of_the_dataset_are_refused_with_its_days(first: str, last: str, params: Params) -> None:
    with pytest.raises(SplitBroken, match=f"2013-01-01 until split.test_until 2014-01-01 .* {first} to {last}: change"):
        split.refuse_outside(params.split, date.fromisoformat(first), date.fromisoformat(last))


def test_periods_that_fill_the_dataset_are_within_it(params: Params) -> None:
    split.refuse_outside(params.split, date(2013, 1, 1), date(2013, 12, 31))


def test_a_period_without_a_labelled_flight_is_refused_with_its_days(flights: pd.DataFrame) -> None:
    summer = Period(date(2013, 7, 1), date(2013, 8, 1))

    with pytest.raises(SplitBroken, match="no flight from 2013-07-01 until 2013-08-01 has a label"):
        split.refuse_empty(split.within(flights, summer), summer)


def test_a_month_without_rows_has_no_file_and_is_no_error(flights: pd.DataFrame, tmp_path: Path) -> None:
    months = ["2013-01", "2013-02", "2013-03"]
    layout.write_months(flights, flights["day"].dt.strftime("%Y-%m"), tmp_path)

    assert_frame_equal(layout.read_months(tmp_path, months), flights)
    assert_frame_equal(layout.read_months(tmp_path, ["2013-01"]), flights[:0])
