"""The feed's clock shows the same season and day of the week as ours."""

from datetime import UTC, datetime, timedelta

import pytest

from ontime import database
from ontime.params import Params
from ontime.settings import Settings
from pipelines.operations import feed_clock


@pytest.mark.parametrize("year", [2014, 2020, 2026, 2040])
@pytest.mark.parametrize("month", [1, 3, 7, 12])
def test_the_feeds_clock_shows_the_same_season_and_weekday(
    year: int, month: int, settings: Settings, params: Params
) -> None:
    today = datetime(year, month, 15, 12, tzinfo=UTC)

    then = today - timedelta(weeks=feed_clock.weeks_behind(settings, params, today))

    assert then.weekday() == today.weekday()
    assert abs(then - datetime(2013, month, 15, 12, tzinfo=UTC)) <= timedelta(days=4)


@pytest.mark.parametrize("year", range(2014, 2042))
@pytest.mark.parametrize(("month", "day"), [(1, 1), (12, 31)])
def test_at_new_years_the_feed_is_still_in_its_year(
    year: int, month: int, day: int, settings: Settings, params: Params
) -> None:
    today = datetime(year, month, day, 12, tzinfo=UTC)

    then = today - timedelta(weeks=feed_clock.weeks_behind(settings, params, today))

    assert then.year == 2013
    assert then.weekday() == today.weekday()


def test_the_feeds_clock_can_be_set(settings: Settings, params: Params) -> None:
    live_feed = settings.model_copy(update={"weeks_behind": 0})

    assert feed_clock.weeks_behind(live_feed, params, datetime(2026, 7, 1, tzinfo=UTC)) == 0


def test_a_decision_by_hand_has_its_time_on_the_feeds_clock(settings: Settings, params: Params) -> None:
    """It is recorded at the real time, years after the dataset."""
    engine = database.connect(settings.database_url)
    a_week_ago = datetime.now(UTC) - timedelta(weeks=1)
    database.record_decision(engine, "promotion", "by hand", {"version": "1"})
    database.record_decision(engine, "promotion", "by the policy", {"version": "2"}, a_week_ago)

    by_hand, by_policy = database.decisions_of(engine, "promotion")

    assert feed_clock.time_of(by_policy, settings, params) == a_week_ago
    assert abs(feed_clock.time_of(by_hand, settings, params) - feed_clock.now(settings, params)) < timedelta(minutes=10)
