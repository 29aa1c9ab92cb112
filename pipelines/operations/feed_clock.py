"""The feed's clock: the present for a live feed; for a past dataset, whole weeks behind, in the same season.

Whole weeks keep the day of the week. Around changes to daylight saving time, local times may differ by an hour.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ontime import database, local_time, sources
from ontime.params import Params
from ontime.settings import Settings

WEEK_DAYS, YEAR_DAYS = 7, 365


def now(settings: Settings, params: Params) -> datetime:
    """This moment on the feed's clock, in UTC."""
    today = datetime.now(UTC)
    return today - timedelta(weeks=weeks_behind(settings, params, today))


def time_of(decision: sa.Row[Any], settings: Settings, params: Params) -> datetime:
    """When a decision was made, on the feed's clock. A person's decision is recorded at the real time."""
    at: datetime = decision.decided_at
    if decision.evidence.get(database.CLOCK) == database.FEED:
        return at
    return at - timedelta(weeks=weeks_behind(settings, params, at))


def yesterday(settings: Settings, params: Params) -> date:
    """The last whole day on the feed's clock, in the problem's time zone."""
    return local_time.day_of(now(settings, params)) - timedelta(days=1)


def weeks_behind(settings: Settings, params: Params, today: datetime) -> int:
    """The delay in weeks that maps `today` to a day of the dataset, as close as possible to the same season."""
    if settings.weeks_behind is not None:
        return settings.weeks_behind
    dataset, day = sources.dataset(params.dataset), local_time.day_of(today)
    fewest = max(0, -((dataset.last_day - day).days // WEEK_DAYS))
    most = max(fewest, (day - dataset.first_day).days // WEEK_DAYS)
    return min(range(fewest, most + 1), key=lambda weeks: _season_distance_days(day, day - timedelta(weeks=weeks)))


def _season_distance_days(day: date, other: date) -> int:
    """Days between two dates, ignoring the year."""
    distance = abs(day.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(distance, YEAR_DAYS - distance)
