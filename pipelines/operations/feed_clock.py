"""The feed's clock. A live feed runs on ours; that of a past dataset so many whole weeks behind that the season fits.

Weeks, so that a Monday stays a Monday. The zone's offset may differ by an hour around the changes of the clock.
"""

from datetime import UTC, date, datetime, timedelta

from ontime import local_time, sources
from ontime.params import Params
from ontime.settings import Settings

WEEK, YEAR_DAYS = 7, 365


def now(settings: Settings, params: Params) -> datetime:
    """This moment on the feed's clock, in UTC."""
    today = datetime.now(UTC)
    return today - timedelta(weeks=weeks_behind(settings, params, today))


def yesterday(settings: Settings, params: Params) -> date:
    """The last whole day on the feed's clock, by the problem's calendar."""
    return local_time.day_of(now(settings, params)) - timedelta(days=1)


def weeks_behind(settings: Settings, params: Params, today: datetime) -> int:
    """So many that it is a day of the dataset, at about the same time of the year if it has one."""
    if settings.weeks_behind is not None:
        return settings.weeks_behind
    dataset, day = sources.dataset(params.dataset), local_time.day_of(today)
    fewest = max(0, -((dataset.last_day - day).days // WEEK))
    most = max(fewest, (day - dataset.first_day).days // WEEK)
    return min(range(fewest, most + 1), key=lambda weeks: _out_of_season(day, day - timedelta(weeks=weeks)))


def _out_of_season(day: date, other: date) -> int:
    """How many days apart in the year."""
    apart = abs(day.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(apart, YEAR_DAYS - apart)
