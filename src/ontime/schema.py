"""What a flight is, said once: the fields of a request, their ranges, and every feature with its meaning.

The service imports this file, so it knows pydantic and plain Python only. The tables' contract, the
features' table in docs/, the model's input order and the API's documentation are all derived from it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

ORIGINS = ("EWR", "JFK", "LGA")
CLOCK = "America/New_York"  # every "minute of the day" is told on this clock

CARRIER_PATTERN = r"^[A-Z0-9]{2}$"
AIRPORT_PATTERN = r"^[A-Z]{3}$"
FLIGHT_NUMBER = (1, 9999)
DISTANCE_MILES = (1, 6000)
ELAPSED_MINUTES = (15, 1200)  # scheduled gate to gate
# The airlines of the year that the contract was made on. Others are accepted by name, in sources.NEW_CARRIERS.
CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")
DEPARTURE_DELAY_MINUTES = (-120, 2880)  # 2023 has delays of up to 30 hours, which the clocks confirm
ARRIVAL_DELAY_MINUTES = (-180, 2880)
UNTOLD = ARRIVAL_DELAY_MINUTES[0] - 1  # below every delay: stands for one that nobody told


def span(minutes: int) -> str:
    """A length of time in words.

    >>> span(120), span(60), span(90), span(1)
    ('2 hours', '1 hour', '90 minutes', '1 minute')
    """
    count, unit = (minutes // 60, "hour") if minutes and minutes % 60 == 0 else (minutes, "minute")
    return f"{count} {unit}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Question:
    """What a model is asked. Models that are asked different questions cannot be judged by the same outcomes."""

    late_minutes: int  # label.late_minutes
    lead_minutes: int  # features.lead_minutes

    @property
    def lateness(self) -> str:
        return f"{span(self.late_minutes)} late or more"

    @property
    def lead(self) -> str:
        return span(self.lead_minutes)

    def is_late(self, delay_minutes: float) -> bool:
        return delay_minutes >= self.late_minutes

    def __str__(self) -> str:
        return f"arriving {self.lateness}, asked {self.lead} before the scheduled departure"


def flight_id(carrier: str, flight_number: int, origin: str, scheduled_departure: datetime) -> str:
    """The key of a flight everywhere: `UA1545-EWR-20130101T1015Z`, its scheduled departure in UTC."""
    at = scheduled_departure.astimezone(UTC)  # spelled out below: strftime takes three times as long
    return f"{carrier}{flight_number}-{origin}-{at.year:04}{at.month:02}{at.day:02}T{at.hour:02}{at.minute:02}Z"


# RFC 3339, with or without seconds. The offset may be missing here: pydantic says so in better words. No `\d` in this
# file: it also stands for the digits of other scripts.
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
FIRST_YEAR, LAST_YEAR = 2000, 2099  # in UTC, of every time that the service takes
_BEGIN, _END = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(minutes=5)  # a caller's clock may be ahead of ours by this much


def _text_only(value: object) -> object:
    """Refuse numbers, also as text, which pydantic would read as seconds since 1970."""
    if not (_TIME.fullmatch(value) if isinstance(value, str) else isinstance(value, datetime)):
        raise ValueError(
            "a time is text with its offset, such as 2013-11-05T06:00:00-05:00 (hours to 23, minutes and seconds to 59)"
        )
    return value


def _in_our_years(moment: datetime) -> datetime:
    # Years first: to compare moments of two offsets takes longer, and this is done for every flight.
    if not (FIRST_YEAR < moment.year < LAST_YEAR or _BEGIN <= moment < _END):
        raise ValueError(f"{moment.isoformat()} is not between {FIRST_YEAR} and {LAST_YEAR}, in UTC")
    return moment


def _on_a_timetable(moment: datetime) -> datetime:
    if moment.second or moment.microsecond:
        raise ValueError(f"{moment.isoformat()} is not a whole minute")
    return _in_our_years(moment)


Time = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_in_our_years), Field(strict=False)]
Moment = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_on_a_timetable), Field(strict=False)]


def _minutes_between(departure: datetime, arrival: datetime) -> float:
    return (arrival - departure).total_seconds() / 60


class Flight(BaseModel):
    """A flight as its timetable tells it: all that a caller has to know."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    carrier: Annotated[str, Field(pattern=CARRIER_PATTERN, description="IATA airline code", examples=["UA"])]
    flight_number: Annotated[int, Field(ge=FLIGHT_NUMBER[0], le=FLIGHT_NUMBER[1], examples=[1545])]
    origin: Annotated[Literal["EWR", "JFK", "LGA"], Field(description="New York airport of departure")]
    dest: Annotated[str, Field(pattern=AIRPORT_PATTERN, description="IATA airport of arrival", examples=["IAH"])]
    scheduled_departure: Annotated[Moment, Field(description="with offset; whole minutes")]
    scheduled_arrival: Annotated[Moment, Field(description="with offset; whole minutes")]
    distance_miles: Annotated[int, Field(ge=DISTANCE_MILES[0], le=DISTANCE_MILES[1], examples=[1400])]

    @field_validator("scheduled_arrival")
    @classmethod
    def follows_the_departure(cls, arrival: datetime, info: ValidationInfo) -> datetime:
        departure = info.data.get("scheduled_departure")
        if departure is None:  # refused already, under its own name
            return arrival
        elapsed, (shortest, longest) = _minutes_between(departure, arrival), ELAPSED_MINUTES
        if not shortest <= elapsed <= longest:
            raise ValueError(f"{elapsed:g} minutes after scheduled_departure; possible is {shortest} to {longest}")
        return arrival

    @property
    def elapsed_minutes(self) -> float:
        return _minutes_between(self.scheduled_departure, self.scheduled_arrival)

    @property
    def id(self) -> str:
        return flight_id(self.carrier, self.flight_number, self.origin, self.scheduled_departure)


FLIGHT_ID = re.compile(r"[A-Z0-9]{2}[1-9][0-9]{0,3}-(?:EWR|JFK|LGA)-(20[0-9]{6}T[0-9]{4})Z")


def departure_of(flight_id: str) -> datetime:
    """The scheduled departure in a flight's key. Raises ValueError for what is not a key."""
    matched = FLIGHT_ID.fullmatch(flight_id)
    try:
        return datetime.strptime(matched[1] if matched else "", "%Y%m%dT%H%M").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(
            f"{flight_id!r} is not a flight_id such as UA1545-EWR-20130101T1015Z, of {FIRST_YEAR} to {LAST_YEAR}"
        ) from None


class Outcome(BaseModel):
    """How a flight ended: what the model was asked for."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    flight_id: Annotated[str, Field(max_length=40, examples=["UA1545-EWR-20130101T1015Z"])]
    late: Annotated[bool, Field(description="arrived late: by late_minutes of GET /v1/model, or more")]
    delay_minutes: Annotated[
        int | None,
        Field(
            ge=ARRIVAL_DELAY_MINUTES[0],
            le=ARRIVAL_DELAY_MINUTES[1],
            description="actual less scheduled arrival, where it is known; below zero: early",
        ),
    ] = None
    known_at: Annotated[Time, Field(description="with offset; not in the future; the latest word stays")]

    @field_validator("flight_id")
    @classmethod
    def is_a_flight_id(cls, flight_id: str) -> str:
        departure_of(flight_id)
        return flight_id

    @field_validator("known_at")
    @classmethod
    def is_past_and_follows_the_departure(cls, known_at: datetime, info: ValidationInfo) -> datetime:
        flight_id = info.data.get("flight_id")
        if flight_id is not None and known_at < departure_of(flight_id):
            raise ValueError(f"{known_at.isoformat()} is before the scheduled departure: nobody could know")
        now = datetime.now(UTC)
        if known_at > now + CLOCK_SKEW:
            raise ValueError(f"{known_at.isoformat()} is in the future: it is {now.isoformat(timespec='seconds')} here")
        return known_at

    @property
    def rank(self) -> tuple[datetime, int, bool]:
        """Of two outcomes of a flight the greater stays: `database.store_outcomes` orders them alike."""
        return self.known_at, UNTOLD if self.delay_minutes is None else self.delay_minutes, self.late


class Known(StrEnum):
    """When a feature's ingredients are known."""

    TIMETABLE = "timetable"  # months before; the service computes it from the request
    TIMETABLE_OF_ALL = "timetable of all flights"
    MOMENT = "prediction moment"  # events with known_at <= moment, nothing later


@dataclass(frozen=True)
class Feature:
    name: str
    unit: str
    template: str  # its meaning, with a place for {late_minutes}
    known: Known
    categorical: bool = False

    def meaning(self, question: Question) -> str:
        return self.template.format(late_minutes=question.late_minutes)


def _schedule() -> list[Feature]:
    t = Known.TIMETABLE
    return [
        Feature("carrier", "code", "airline", t, categorical=True),
        Feature("origin", "code", "airport of departure", t, categorical=True),
        Feature("dest", "code", "airport of arrival", t, categorical=True),
        Feature("departure_minute", "minute of day", "scheduled departure, New York clock", t),
        Feature("arrival_minute", "minute of day", "scheduled arrival, New York clock", t),
        Feature("weekday", "0 to 6, Monday is 0", "weekday of departure", t),
        Feature("days_to_holiday", "days", "to the nearest US federal holiday, 7 at most", t),
        Feature("distance_miles", "miles", "great-circle distance", t),
        Feature("elapsed_minutes", "minutes", "scheduled time from gate to gate", t),
        Feature("slack_minutes", "minutes", "spare time in the timetable (elapsed less 40 less miles / 7.6)", t),
    ]


def _congestion() -> list[Feature]:
    groups = {
        "origin": "from this airport",
        "origin_carrier": "of this airline from this airport",
        "dest": "to this destination",
    }
    return [
        Feature(
            f"timetable_{group}_{minutes}min",
            "flights",
            f"scheduled departures {words} within {minutes} minutes, itself included",
            Known.TIMETABLE_OF_ALL,
        )
        for group, words in groups.items()
        for minutes in (15, 60)
    ]


def _plane() -> list[Feature]:
    return [
        Feature("plane_age_years", "years", "year of the flight less year built", Known.MOMENT),
        Feature("plane_seats", "seats", "seats of the aircraft", Known.MOMENT),
        Feature("plane_engines", "engines", "engines of the aircraft", Known.MOMENT),
    ]


def _weather() -> list[Feature]:
    m, last = Known.MOMENT, "last observation at the origin"
    return [
        Feature("temp_f", "deg F", f"temperature, {last}", m),
        Feature("dewp_f", "deg F", f"dew point, {last}", m),
        Feature("humid_percent", "%", f"relative humidity, {last}", m),
        Feature("wind_speed_mph", "mph", f"wind, {last}", m),
        Feature("wind_gust_mph", "mph", f"gust, {last}; empty when calm", m),
        Feature("precip_inches", "inches", f"rain or melted snow in the hour, {last}", m),
        Feature("pressure_mb", "mbar", f"sea-level pressure, {last}", m),
        Feature("visib_miles", "miles", f"visibility, {last}", m),
        Feature("temp_change_3h_f", "deg F", "change of temperature over the 3 hours before it", m),
        Feature("pressure_change_3h_mb", "mbar", "change of pressure over the 3 hours before it", m),
        Feature("precip_3h_inches", "inches", "precipitation of the last 3 observed hours", m),
        Feature("weather_age_hours", "hours", "age of that observation at the prediction moment", m),
    ]


def _operations() -> list[Feature]:
    departed = {
        "origin": "from this airport",
        "origin_carrier": "of this airline from this airport",
        "all": "from New York",
    }
    arrived = {"dest": "at this destination", "origin": "from this airport", "carrier": "of this airline"}
    windows = [("departures", group, words, hours) for group, words in departed.items() for hours in (1, 3)]
    windows += [
        ("arrivals", group, arrived[group], hours) for group, hours in (("dest", 24), ("origin", 3), ("carrier", 6))
    ]
    features = []
    for event, group, words, hours in windows:
        stem, what = f"{event}_{group}_{hours}h", f"{event} {words} in the last {hours} h"
        features += [
            Feature(f"{stem}_count", "flights", f"{what}", Known.MOMENT),
            Feature(f"{stem}_late", "share", f"share {{late_minutes}} minutes late or more among {what}", Known.MOMENT),
            Feature(f"{stem}_delay", "minutes", f"mean delay of {what}", Known.MOMENT),
        ]
    for group in ("origin", "origin_carrier"):
        what = f"flights {departed[group]} scheduled in the last 3 h"
        features += [
            Feature(f"overdue_{group}_share", "share", f"{what}: share that has not left", Known.MOMENT),
            Feature(f"overdue_{group}_wait", "minutes", f"{what}: mean wait of all so far", Known.MOMENT),
        ]
    return features


def _rotation() -> list[Feature]:
    m = Known.MOMENT
    leg = "the aircraft's previous leg out of New York"
    return [
        Feature("aircraft_departure_delay", "minutes", "its last known departure delay", m),
        Feature("aircraft_departure_age", "minutes", "since that departure", m),
        Feature("aircraft_arrival_delay", "minutes", "its last known arrival delay", m),
        Feature("aircraft_arrival_age", "minutes", "since that arrival", m),
        Feature("turnaround_minutes", "minutes", f"scheduled departure of {leg} to this one's", m),
        Feature("previous_leg_status", "0 not departed, 1 in the air, 2 arrived", f"{leg}", m),
        Feature("return_slack_scheduled", "minutes", f"left after {leg} and the flight back, by timetable", m),
        Feature("return_slack_expected", "minutes", f"left after {leg} and the flight back, by its known delay", m),
    ]


_GROUPS = {
    "schedule": _schedule(), "congestion": _congestion(), "plane": _plane(),
    "weather": _weather(), "operations": _operations(), "rotation": _rotation(),
}  # fmt: skip
FEATURES: Sequence[Feature] = tuple(feature for group in _GROUPS.values() for feature in group)
# Features that come from one source, and break together: family -> names, in the order of FEATURES.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    family: tuple(feature.name for feature in group) for family, group in _GROUPS.items()
}
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
CATEGORICAL = tuple(feature.name for feature in FEATURES if feature.categorical)
SCHEDULE = tuple(feature.name for feature in FEATURES if feature.known is Known.TIMETABLE)
MATERIALISED = tuple(feature.name for feature in FEATURES if feature.known is not Known.TIMETABLE)
FROM_TAILNUM = tuple(feature.name for feature in (*_plane(), *_rotation()))  # of the aircraft that really flew
