"""The request for a flight: the fields of its timetable. The contracts of the tables use the same ranges."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from ontime.declaration import EntityRequest, Minute

ORIGINS = ("EWR", "JFK", "LGA")
CLOCK = "America/New_York"  # the time zone of every "minute of the day"

CARRIER_PATTERN = r"^[A-Z0-9]{2}$"
AIRPORT_PATTERN = r"^[A-Z]{3}$"
FLIGHT_NUMBER = (1, 9999)
DISTANCE_MILES = (1, 6000)
ELAPSED_MINUTES = (15, 1200)  # scheduled gate to gate


def flight_key(carrier: str, flight_number: int, origin: str, scheduled_departure: datetime) -> str:
    """The key of a flight, with its scheduled departure in UTC.

    >>> flight_key("UA", 1545, "EWR", datetime(2013, 1, 1, 10, 15, tzinfo=UTC))
    'UA1545-EWR-20130101T1015Z'
    """
    at = scheduled_departure.astimezone(UTC)  # formatted by hand below: strftime takes three times as long
    return f"{carrier}{flight_number}-{origin}-{at.year:04}{at.month:02}{at.day:02}T{at.hour:02}{at.minute:02}Z"


def _minutes_between(departure: datetime, arrival: datetime) -> float:
    return (arrival - departure).total_seconds() / 60


class Flight(EntityRequest):
    """A flight of the timetable."""

    carrier: Annotated[str, Field(pattern=CARRIER_PATTERN, description="IATA airline code", examples=["UA"])]
    flight_number: Annotated[int, Field(ge=FLIGHT_NUMBER[0], le=FLIGHT_NUMBER[1], examples=[1545])]
    origin: Annotated[Literal["EWR", "JFK", "LGA"], Field(description="New York airport of departure")]
    dest: Annotated[str, Field(pattern=AIRPORT_PATTERN, description="IATA airport of arrival", examples=["IAH"])]
    scheduled_departure: Annotated[Minute, Field(description="with offset; whole minutes")]
    scheduled_arrival: Annotated[Minute, Field(description="with offset; whole minutes")]
    distance_miles: Annotated[int, Field(ge=DISTANCE_MILES[0], le=DISTANCE_MILES[1], examples=[1400])]

    @field_validator("scheduled_arrival")
    @classmethod
    def follows_the_departure(cls, arrival: datetime, info: ValidationInfo) -> datetime:
        departure = info.data.get("scheduled_departure")
        if departure is None:  # already reported as its own error
            return arrival
        elapsed, (shortest, longest) = _minutes_between(departure, arrival), ELAPSED_MINUTES
        if not shortest <= elapsed <= longest:
            raise ValueError(f"{elapsed:g} minutes after scheduled_departure; must be {shortest} to {longest}")
        return arrival

    @property
    def entity_id(self) -> str:
        return flight_key(self.carrier, self.flight_number, self.origin, self.scheduled_departure)

    @property
    def event_at(self) -> datetime:
        return self.scheduled_departure
