"""One declaration of a flight: what is valid, what its key is, and that features are named once."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ontime import schema
from ontime.schema import Flight, Question
from ontime.sources import Tables

DEPARTURE = datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
FIELDS = {
    "carrier": "UA",
    "flight_number": 1545,
    "origin": "EWR",
    "dest": "IAH",
    "scheduled_departure": DEPARTURE,
    "scheduled_arrival": DEPARTURE + timedelta(minutes=244),
    "distance_miles": 1400,
}


@st.composite
def flights(draw: st.DrawFn) -> Flight:
    zone = timezone(timedelta(minutes=draw(st.integers(-720, 840))))
    departure = draw(st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 29))).replace(second=0, microsecond=0)  # noqa: DTZ001  the zone follows
    elapsed = draw(st.integers(*schema.ELAPSED_MINUTES))
    return Flight(
        carrier=draw(st.from_regex(schema.CARRIER_PATTERN, fullmatch=True)).strip(),
        flight_number=draw(st.integers(*schema.FLIGHT_NUMBER)),
        origin=draw(st.sampled_from(schema.ORIGINS)),
        dest=draw(st.from_regex(schema.AIRPORT_PATTERN, fullmatch=True)).strip(),
        scheduled_departure=departure.replace(tzinfo=zone),
        scheduled_arrival=departure.replace(tzinfo=zone) + timedelta(minutes=elapsed),
        distance_miles=draw(st.integers(*schema.DISTANCE_MILES)),
    )


@given(flights())
def test_a_flight_survives_being_written_and_read(flight: Flight) -> None:
    assert Flight.model_validate_json(flight.model_dump_json()) == flight


@given(flights(), st.integers(-720, 840))
def test_the_key_is_the_same_in_every_time_zone(flight: Flight, offset: int) -> None:
    zone = timezone(timedelta(minutes=offset))
    moved = flight.model_copy(update={"scheduled_departure": flight.scheduled_departure.astimezone(zone)})

    assert moved.id == flight.id


def test_the_key_of_a_request_is_the_key_in_the_tables(raw: Tables) -> None:
    for _, row in raw.flights[::10_000].iterrows():
        asked = schema.flight_id(row["carrier"], row["flight_number"], row["origin"], row["scheduled_departure"])
        assert asked == row["flight_id"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flight_number", 0),
        ("flight_number", "1545"),
        ("carrier", "ua"),
        ("carrier", "UAL"),
        ("origin", "PHL"),
        ("distance_miles", 0),
        ("distance_miles", 1400.5),
        ("scheduled_departure", datetime(2013, 1, 1, 10, 15)),  # noqa: DTZ001  no zone is what is wrong
        ("scheduled_arrival", DEPARTURE + timedelta(minutes=14)),
        ("scheduled_arrival", DEPARTURE + timedelta(minutes=1201)),
        ("scheduled_arrival", DEPARTURE + timedelta(minutes=244, seconds=1)),
    ],
)
def test_an_impossible_flight_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Flight.model_validate({**FIELDS, field: value})


@pytest.mark.parametrize("text", ["1383646500", "1383646500.5", "-1", "2013-01-01", "2013-01-01T10:15:00"])
def test_a_time_is_no_number_and_never_without_its_offset(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Flight.model_validate({**FIELDS, "scheduled_departure": text})

    assert [error["loc"] for error in refused.value.errors()] == [("scheduled_departure",)]


def test_every_feature_has_a_name_of_its_own_and_a_meaning() -> None:
    assert len(set(schema.FEATURE_NAMES)) == len(schema.FEATURES)
    assert all(feature.unit and feature.meaning(Question(15, 120)) for feature in schema.FEATURES)


def test_late_among_the_features_is_what_the_question_calls_late() -> None:
    meanings = {feature.name: feature.meaning(Question(30, 180)) for feature in schema.FEATURES}

    assert meanings["departures_all_1h_late"].startswith("share 30 minutes late or more among departures")
    assert not any("{" in meaning for meaning in meanings.values())


@pytest.mark.parametrize(("delay", "late"), [(29, False), (30, True), (31, True), (-12, False)])
def test_a_flight_is_late_from_the_minute_that_the_question_names(delay: int, late: bool) -> None:
    assert Question(30, 180).is_late(delay) is late


def test_a_feature_comes_from_the_request_or_from_the_store() -> None:
    assert schema.SCHEDULE + schema.MATERIALISED == schema.FEATURE_NAMES
    assert set(schema.CATEGORICAL) <= set(schema.SCHEDULE)
