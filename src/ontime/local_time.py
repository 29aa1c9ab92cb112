"""Days in the problem's time zone. Without pandas, for the service."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from ontime.schema import ZONE


def midnight(day: date, zone: ZoneInfo = ZONE) -> datetime:
    """The start of a day, in UTC.

    If a clock change skips midnight, the time of the change; if it repeats midnight, the first.
    """
    return datetime.combine(day, time(), zone).astimezone(UTC)


def day_of(moment: datetime) -> date:
    """The date of an aware datetime in the problem's time zone."""
    return moment.astimezone(ZONE).date()
