"""The raw tables as of a moment: what has happened is unchanged, and nothing later is visible."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from ontime import sources
from ontime.datasets import Tables
from tests.futures import with_another_future

pytestmark = pytest.mark.slow

FIRST = datetime(2013, 1, 3, tzinfo=UTC)
MINUTES_OF_THE_YEAR = 362 * 24 * 60
MOMENTS = [
    datetime(2013, 2, 9, 1, 0, tzinfo=UTC),  # a blizzard: departures stop, a thousand flights are cancelled
    datetime(2013, 3, 10, 6, 59, tzinfo=UTC),  # the last minute before New York's clock skips an hour
    datetime(2013, 3, 10, 7, 0, tzinfo=UTC),
    datetime(2013, 11, 3, 5, 30, tzinfo=UTC),  # half past one, for the first time
    datetime(2013, 11, 3, 6, 30, tzinfo=UTC),  # half past one again
    datetime(2013, 7, 2, 4, 0, tzinfo=UTC),  # midnight in New York
    datetime(2013, 7, 2, 3, 59, tzinfo=UTC),
    datetime(2013, 7, 10, 16, 51, tzinfo=UTC),
]


def around(tables: Tables, moment: datetime) -> Tables:
    """Eight days around a moment, so that a test takes less than a second."""
    return sources.cut(tables, moment - timedelta(days=4), moment + timedelta(days=4))


def assert_same(tables: Tables, others: Tables) -> None:
    assert tables.keys() == others.keys()
    for name, table in tables.items():
        assert_frame_equal(table, others[name])


@pytest.mark.parametrize("moment", MOMENTS)
def test_another_future_leaves_the_present_unchanged(moment: datetime, raw: Tables) -> None:
    real = around(raw, moment)
    other = with_another_future(real, moment)
    assert not other["flights"].equals(real["flights"])
    assert not other["weather"].equals(real["weather"])

    assert_same(sources.as_of(other, moment), sources.as_of(real, moment))


def test_an_undeclared_column_is_hidden_until_its_flight_has_ended(raw: Tables) -> None:
    moment = MOMENTS[-1]
    real = around(raw, moment)
    added = {
        **real,
        "flights": real["flights"].assign(gates=1, gate="A1", moved=True, told_at=real["flights"]["arrived_at"]),
    }

    seen = sources.as_of(added, moment)

    assert_same(sources.as_of(with_another_future(added, moment), moment), seen)
    hidden = ~(real["flights"]["arrived_at"] <= moment) & (
        real["flights"]["scheduled_arrival"] > moment - timedelta(days=1)
    )
    for name in ("gates", "gate", "moved"):
        assert (seen["flights"][name].isna() == hidden.loc[seen["flights"].index]).all()


def test_a_table_without_a_declared_availability_is_refused(raw: Tables) -> None:
    with pytest.raises(
        sources.NotDeclared, match=r"does not declare notices: add a Table whose availability is Static\(\)"
    ):
        sources.as_of({**raw, "notices": raw["weather"]}, MOMENTS[0])


@settings(max_examples=25, deadline=None)
@given(minute=st.integers(0, MINUTES_OF_THE_YEAR))
def test_the_future_is_hidden_at_every_minute_of_the_year(minute: int, raw: Tables) -> None:
    moment = FIRST + timedelta(minutes=minute)
    real = around(raw, moment)

    assert_same(sources.as_of(with_another_future(real, moment), moment), sources.as_of(real, moment))


@pytest.mark.parametrize("table", ["flights", "weather"])
def test_a_future_that_starts_too_early_is_visible(table: str, raw: Tables) -> None:
    """Else the tests above would prove nothing."""
    moment = MOMENTS[-1]
    real = around(raw, moment)
    planted = with_another_future(real, moment - timedelta(hours=1))

    seen, other = (sources.as_of(tables, moment)[table] for tables in (real, planted))

    assert not other.equals(seen)


def test_the_past_is_unchanged(raw: Tables) -> None:
    """Hiding everything would pass the tests above."""
    moment = MOMENTS[-1]

    seen = sources.as_of(around(raw, moment), moment)

    flights = raw["flights"].loc[seen["flights"].index]
    landed = flights["arrived_at"] <= moment
    assert landed.sum() > 3000
    assert_frame_equal(seen["flights"][landed], flights[landed])
    assert seen["flights"]["scheduled_departure"].max() > moment + timedelta(hours=23)
    assert seen["weather"]["known_at"].max() > moment - timedelta(hours=1)


def flight_without_arrival(raw: Tables) -> pd.DataFrame:
    """A diversion: it has an arrival time, but no delay."""
    flights = raw["flights"]
    return flights[flights["arr_hhmm"].notna() & flights["arr_delay_minutes"].isna()].head(1)


@pytest.mark.parametrize(("minutes", "visible"), [(-1, False), (0, True)])
def test_a_diversion_is_known_a_day_after_the_scheduled_arrival(minutes: int, visible: bool, raw: Tables) -> None:
    diverted = flight_without_arrival(raw)
    final = (diverted["scheduled_arrival"].iloc[0] + pd.Timedelta(days=1, minutes=minutes)).to_pydatetime()

    flights = sources.as_of({**raw, "flights": diverted}, final)["flights"]

    assert flights["arr_hhmm"].notna().tolist() == [visible]
