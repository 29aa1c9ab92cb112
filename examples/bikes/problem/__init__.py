"""Bikes in Washington, by the hour: will an hour see 300 rentals or more?

The data are Capital Bikeshare's hours of 2011 and 2012. With an hour's notice, an operator can move bikes to where they
are needed.
"""

from datetime import UTC, date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import AfterValidator, Field

from ontime.declaration import (
    Cell,
    Columns,
    Described,
    EntityRequest,
    Feature,
    FreshnessCheck,
    KnownFrom,
    Label,
    Minute,
    Names,
    Problem,
    Question,
    Slice,
    Words,
)
from ontime.times import minute_of_day, wall, weekday

ZONE = "America/New_York"  # Washington's clock
LAGS = (2, 3, 24, 168)  # hours; the rentals of an hour are known when it is over
MEASURED = {  # columns of the weather: unit, meaning
    "temp_c": ("deg C", "temperature"),
    "humidity": ("%", "relative humidity"),
    "wind_kmh": ("km/h", "wind"),
}


def _whole_hour(moment: datetime) -> datetime:
    if moment.minute:
        raise ValueError(f"{moment.isoformat()} is not a whole hour")
    return moment


class Hour(EntityRequest):
    """An hour, identified by its start."""

    begins_at: Annotated[Minute, AfterValidator(_whole_hour), Field(description="with offset; a whole hour")]

    @property
    def entity_id(self) -> str:
        return f"{self.begins_at.astimezone(UTC):%Y%m%dT%HZ}"

    @property
    def event_at(self) -> datetime:
        return self.begins_at


def of_requests(hours: Columns) -> Columns:
    begins = wall(hours["begins_at"], ZONE)
    day = begins.astype("datetime64[D]")
    return {
        "hour": minute_of_day(begins) / 60,
        "weekday": weekday(begins),
        "day_of_year": (day - day.astype("datetime64[Y]")).astype(np.float64) + 1,
    }


FEATURES = (
    Feature("hour", "hour of day", "hour", KnownFrom.REQUEST, "calendar"),
    Feature("weekday", "0 to 6, Monday is 0", "day of the week", KnownFrom.REQUEST, "calendar"),
    Feature("day_of_year", "1 to 366", "day of the year", KnownFrom.REQUEST, "calendar"),
    *(Feature(f"rentals_{lag}h_ago", "rentals", f"rentals {lag} hours before", KnownFrom.MOMENT, "rentals")
      for lag in LAGS),
    Feature("rentals_trend", "share", "last known hour against the one a week before it", KnownFrom.MOMENT, "rentals"),
    *(Feature(name, unit, f"{meaning}, last observation", KnownFrom.MOMENT, "weather")
      for name, (unit, meaning) in MEASURED.items()),
    Feature("sky", "words", "sky, last observation", KnownFrom.MOMENT, "weather", categorical=True),
    Feature("weather_age_hours", "hours", "age of that observation", KnownFrom.MOMENT, "weather"),
)  # fmt: skip

WORDS = Words(
    entity="hour",
    entities="hours",
    positive="busy",
    negative="quiet",
    is_positive="is busy",
    are_positive="are busy",
    question="{at_least} rentals or more, asked {lead} before the hour begins",
    definition="An hour is busy with {at_least} rentals or more.",
    event="hour",
    value="rentals within the hour",
    title="Will the hour be busy?",
    invitation="Choose an hour. The model says how likely it is to see {at_least} rentals or more, from what was known "
    "{lead} before it begins.",
    footer="Times are on Washington's clock. Bikes of Capital Bikeshare.",
    population="every hour of Capital Bikeshare in Washington",
    who_alerts="an operator",
    request_only="Nothing is known about this hour but its time: no rentals before it, no weather.",
    with_only_request="at such a time",
    store_unavailable="The database of recent rentals and weather did not answer.",
    communities="Hours are not people, but the people who ride at night are not those who ride at noon.",
    limits=(
        "One city in its first two years, while its network grew.",
        "Weather is the last observation, never a forecast.",
    ),
    intended="an operator who moves bikes to where they will be needed, and teaching.",
    not_intended="planning stations, and other cities",
    without_label="hours that are missing in the data",
    families={
        "calendar": "the time itself", "rentals": "earlier rentals", "weather": "temperature, wind, rain"
    },
)  # fmt: skip


def describe(hour: Hour, _: Names) -> Described:
    begins = hour.begins_at.astimezone(ZoneInfo(ZONE))
    return Described(
        title=f"{begins:%H}:00",
        subtitle=f"{begins:%a} {begins.day} {begins:%b}",
        details=f"{begins:%A}, {begins.day} {begins:%B %Y}, from {begins:%H:%M}.",
    )


def outcome(busy: bool, rentals: float | None, question: Question) -> str:
    if rentals is None:
        return "It was busy." if busy else "It was quiet."
    return f"{rentals:,.0f} rentals: {'busy' if busy else 'quiet'} (busy from {question.label_at_least:g} on)."


def reason(name: str, value: float | str, _: Hour, __: Names, question: Question) -> str:
    feature = next(each for each in FEATURES if each.name == name)
    if isinstance(value, str):
        return f"{feature.meaning(question)}: {value}"
    if np.isnan(value):
        return f"not known: {feature.meaning(question)}"
    return f"{feature.meaning(question)}: {value:.3g} {feature.unit}"


PROBLEM = Problem(
    name="bikes",
    zone=ZONE,
    request=Hour,
    request_features=of_requests,
    features=FEATURES,
    label=Label(column="rentals", known_at="ends_at", unit="rentals", limits=(0, 5000)),
    baseline=(Cell("hour"), Cell("weekday")),
    slices=(
        Slice("time", "hour", {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}),
        Slice("sky", "sky"),
    ),
    freshness_checks=(FreshnessCheck("weather_age_hours", lambda hours: hours <= 6),),
    search=(),
    words=WORDS,
    describe=describe,
    outcome=outcome,
    reason=reason,
    examples={"an evening in October": {"begins_at": "2012-10-10T17:00:00-04:00"}},
    example_outcome={
        "entity_id": "20121010T21Z", "label": True, "value": 800, "known_at": "2012-10-10T18:00:00-04:00"
    },
    example_day=date(2012, 10, 10),
    example_hour=17,
    halo_hours=24,
)  # fmt: skip
