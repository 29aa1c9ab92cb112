"""The problem's calendar: where its days begin, and which day a moment is of. No pandas, for the service."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from ontime.schema import ZONE


def midnight(day: date, zone: ZoneInfo = ZONE) -> datetime:
    """The beginning of a day, in UTC.

    Of a midnight that the clocks skip, the moment of the change; of one that they repeat, the first.
    """
    return datetime.combine(day, time(), zone).astimezone(UTC)


def day_of(moment: datetime) -> date:
    """The day on the calendar of a moment with a zone."""
    return moment.astimezone(ZONE).date()
