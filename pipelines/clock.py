"""The feed's clock. A live feed runs on ours; 2013's runs so many whole weeks behind it that it is the same season.

Weeks, so that a Monday stays a Monday. New York's offset may differ by an hour around the changes of the clock.
"""

from datetime import UTC, date, datetime, timedelta

from ontime.online import NEW_YORK
from ontime.params import Params
from ontime.settings import Settings

DAYS_OF_A_YEAR = 365.2425


def now(settings: Settings, params: Params) -> datetime:
    """This moment on the feed's clock, in UTC."""
    today = datetime.now(UTC)
    return today - timedelta(weeks=weeks_behind(settings, params, today))


def yesterday(settings: Settings, params: Params) -> date:
    """The last whole day on the feed's clock, by New York's calendar."""
    return now(settings, params).astimezone(NEW_YORK).date() - timedelta(days=1)


def weeks_behind(settings: Settings, params: Params, today: datetime) -> int:
    """So many that it is about the same day of the vintage's year; at New Year's, still a day of that year."""
    if settings.weeks_behind is not None:
        return settings.weeks_behind
    vintage = int(params.vintage[:4])
    weeks = round((today.year - vintage) * DAYS_OF_A_YEAR / 7)
    return weeks + (today - timedelta(weeks=weeks)).year - vintage  # at most a week too late, or too early
