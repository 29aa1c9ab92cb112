"""One declaration of a flight: what is valid, what its key is, and that features are named once."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from ontime import schema
from ontime.datasets import Tables
from ontime.problem import request
from ontime.problem.request import Flight
from ontime.schema import Outcome, Question

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
    elapsed = draw(st.integers(*request.ELAPSED_MINUTES))
    return Flight(
        carrier=draw(st.from_regex(request.CARRIER_PATTERN, fullmatch=True)).strip(),
        flight_number=draw(st.integers(*request.FLIGHT_NUMBER)),
        origin=draw(st.sampled_from(request.ORIGINS)),
        dest=draw(st.from_regex(request.AIRPORT_PATTERN, fullmatch=True)).strip(),
        scheduled_departure=departure.replace(tzinfo=zone),
        scheduled_arrival=departure.replace(tzinfo=zone) + timedelta(minutes=elapsed),
        distance_miles=draw(st.integers(*request.DISTANCE_MILES)),
    )


@given(flights())
def test_a_flight_survives_being_written_and_read(flight: Flight) -> None:
    assert Flight.model_validate_json(flight.model_dump_json()) == flight


@given(flights(), st.integers(-720, 840))
def test_the_key_is_the_same_in_every_time_zone(flight: Flight, offset: int) -> None:
    zone = timezone(timedelta(minutes=offset))
    moved = flight.model_copy(update={"scheduled_departure": flight.scheduled_departure.astimezone(zone)})

    assert moved.entity_id == flight.entity_id


def test_the_key_of_a_request_is_the_key_in_the_tables(raw: Tables) -> None:
    for _, row in raw["flights"][::10_000].iterrows():
        key = request.flight_key(row["carrier"], row["flight_number"], row["origin"], row["scheduled_departure"])
        assert key == row["entity_id"]


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


@pytest.mark.parametrize(
    "text",
    [
        "1383646500",
        "1383646500.5",
        "-1",
        "2013-01-01",
        "2013-01-01T10:15:00",
        "2013-01-01T24:00:00Z",
        "2013-01-01T23:59:60Z",
        "2013-01-01_10:15Z",
        "2013-01-01T10:15:00-05:00:30",
        "2013-01-01T10:15:00\u221205:00",  # a minus that is not the keyboard's
        "2013-01-01T1\u0660:15Z",
        "\u0662\u0660\u0661\u0663-01-01T10:15Z",
        "2013-01-01T10:15Z\n",
        "2013-W01-2T10:15Z",
    ],
)
def test_a_time_has_one_format_and_never_lacks_its_offset(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Flight.model_validate({**FIELDS, "scheduled_departure": text})

    assert [error["loc"] for error in refused.value.errors()] == [("scheduled_departure",)]


@pytest.mark.parametrize(
    "text",
    [
        "1999-12-31T23:59:00Z",
        "2000-01-01T00:00:00+14:00",  # 1999 in UTC
        "2099-12-31T19:00:00-05:00",  # 2100 in UTC: its own key would be refused
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:00-05:00",
    ],
)
def test_a_flight_of_another_century_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is not between 2000 and 2099, in UTC"):
        Flight.model_validate({**FIELDS, "scheduled_departure": text})


@pytest.mark.parametrize("text", ["2000-01-01T00:00:00Z", "2099-12-31T03:00:00-05:00"])
def test_the_key_of_every_flight_that_is_taken_is_a_key(text: str) -> None:
    departure = datetime.fromisoformat(text)
    times = {"scheduled_departure": departure, "scheduled_arrival": departure + timedelta(hours=4)}

    flight = Flight.model_validate({**FIELDS, **times})

    assert outcome(DEPARTURE, flight.entity_id).entity_id == flight.entity_id
    assert flight.event_at == departure


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "-",
        "UA1545 EWR",
        "../UA1545",
        "UA1545/EWR",
        "UA1545?EWR",
        "UA1545%2FEWR",
        "U" * 101,
        "UA154\u0665-EWR-20130101T1015Z",
        "UA1545-EWR-2013010\u0661T1015Z",
        "UA1545-EWR-20130101T1015Z\n",
    ],
)
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="is not an entity_id such as UA1487"):
        outcome(DEPARTURE, key)


def outcome(known_at: datetime | str, entity_id: str = "UA1545-EWR-20130101T1015Z") -> Outcome:
    return Outcome.model_validate({"entity_id": entity_id, "label": True, "known_at": known_at})


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_an_outcome_is_known_by_now_and_not_in_another_century(known_at: datetime) -> None:
    now = datetime.now(UTC)
    assume(abs(known_at - now) > timedelta(hours=1))
    possible = datetime(2000, 1, 1, tzinfo=UTC) <= known_at <= now

    try:
        assert outcome(known_at).known_at == known_at
        assert possible
    except ValidationError:
        assert not possible


def test_a_clock_that_is_a_little_ahead_is_forgiven() -> None:
    now = datetime.now(UTC)

    assert outcome(now + timedelta(minutes=4)).known_at > now
    with pytest.raises(ValidationError, match="is in the future: it is 20"):
        outcome(now + timedelta(minutes=6))


def test_every_feature_has_a_name_of_its_own_and_a_meaning() -> None:
    assert len(set(schema.FEATURE_NAMES)) == len(schema.FEATURES)
    assert all(feature.unit and feature.meaning(Question(15, 120)) for feature in schema.FEATURES)


def test_late_among_the_features_is_what_the_question_calls_late() -> None:
    meanings = {feature.name: feature.meaning(Question(30, 180)) for feature in schema.FEATURES}

    assert meanings["departures_all_1h_late"].startswith("share 30 minutes late or more among departures")
    assert not any("{" in meaning for meaning in meanings.values())


@pytest.mark.parametrize(("delay", "late"), [(29, False), (30, True), (31, True), (-12, False)])
def test_a_flight_is_late_from_the_minute_that_the_question_names(delay: int, late: bool) -> None:
    assert Question(30, 180).is_positive(delay) is late


def test_a_feature_comes_from_the_request_or_from_the_store() -> None:
    assert schema.REQUEST + schema.ONLINE == schema.FEATURE_NAMES
    assert set(schema.CATEGORICAL) <= set(schema.REQUEST)
